//! Tests of idempotency keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::idempotency::{Answer, BeginOptions, Begun, Claim, Fingerprint, Idempotency};
use redpoll_services::metrics::Counter;
use redpoll_services::signal::RECHECK_MAX;
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use redpoll_testkit::{Random, RedisServer};
use serde_json::json;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3000);

async fn open(place: &Place) -> (Services, Tenant, Idempotency) {
    let (services, tenant) = (place.services().await, tenant());
    let keys = services.idempotency(&tenant, "ann").unwrap();
    (services, tenant, keys)
}

fn request(text: &str) -> Fingerprint {
    Fingerprint::of(&[b"POST", b"/payments", text.as_bytes()])
}

fn lease(lease: Duration) -> BeginOptions {
    BeginOptions { lease: Some(lease), ..BeginOptions::default() }
}

async fn start(keys: &Idempotency, key: &str, options: &BeginOptions) -> Claim {
    match keys.begin_with(key, &request("1"), options).await.unwrap() {
        Begun::Started(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn answer(body: &[u8]) -> Answer {
    Answer::new(json!({"status": 201}), body)
}

fn is_lost<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Conflict(_)))
}

/// Lets a lease end as it would by time.
async fn end_lease(services: &Services, tenant: &Tenant, key: &str) {
    let record = format!("rp:kept:{{{}:idempotency:ann:{key}}}:r", tenant.name());
    let known = services.backend().call(Command::new("HEXISTS").key(&record).arg("until")).await.unwrap();
    assert_eq!(known.as_i64(), Some(1));
    services.backend().call(Command::new("HSET").key(&record).arg("until").arg("1")).await.unwrap();
}

pub(crate) async fn a_second_request_gets_the_first_ones_answer(place: Place) {
    let (services, _, keys) = open(&place).await;
    let claim = start(&keys, "k", &BeginOptions::default()).await;
    assert_eq!((claim.attempt(), claim.lease_ms()), (1, 30_000));
    match keys.begin("k", &request("1")).await.unwrap() {
        Begun::InProgress { retry_after_ms } => assert!((1..=30_000).contains(&retry_after_ms)),
        other => panic!("{other:?}"),
    }
    let before = services.backend().now_ms().await.unwrap();
    // Any bytes, and any metadata.
    let body: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let first = Answer::new(json!({"status": 201, "headers": [["location", "/p/1"]], "n": 1.5}), body);
    claim.complete(&first).await.unwrap();
    for _ in 0..3 {
        match keys.begin("k", &request("1")).await.unwrap() {
            Begun::Replay(replayed) => {
                assert_eq!((&replayed.metadata, &replayed.body), (&first.metadata, &first.body));
                assert!((before..=services.backend().now_ms().await.unwrap()).contains(&replayed.stored_at_ms));
            }
            other => panic!("{other:?}"),
        }
    }
    // Stored again by the same owner, it stays what it was.
    claim.complete(&answer(b"later")).await.unwrap();
    assert!(matches!(keys.begin("k", &request("1")).await, Ok(Begun::Replay(kept)) if kept.body == first.body));
    assert!(is_lost(&claim.abandon().await) && is_lost(&claim.renew().await));
    let count = |counter| services.metrics().value(counter);
    assert_eq!(count(Counter::IdempotencyStarted), 1);
    assert_eq!((count(Counter::IdempotencyBusy), count(Counter::IdempotencyReplays)), (1, 4));
}

pub(crate) async fn another_request_is_a_mismatch_at_any_time(place: Place) {
    let (services, tenant, keys) = open(&place).await;
    let claim = start(&keys, "k", &BeginOptions::default()).await;
    assert!(matches!(keys.begin("k", &request("2")).await, Ok(Begun::Mismatch)));
    // Its owner may have died.
    end_lease(&services, &tenant, "k").await;
    assert!(matches!(keys.begin("k", &request("2")).await, Ok(Begun::Mismatch)));
    claim.complete(&answer(b"done")).await.unwrap();
    assert!(matches!(keys.begin("k", &request("2")).await, Ok(Begun::Mismatch)));
    assert!(matches!(keys.begin("k", &request("1")).await, Ok(Begun::Replay(_))));
    assert_eq!(services.metrics().value(Counter::IdempotencyMismatches), 3);
}

pub(crate) async fn fifty_callers_at_once_do_the_work_once(place: Place) {
    const CALLERS: usize = 50;
    let tenant = tenant();
    let processes = [place.services().await, place.services().await, place.services().await];
    let done = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let keys = processes[caller % 3].idempotency(&tenant, "ann").unwrap();
        let (done, start) = (done.clone(), start.clone());
        callers.spawn(async move {
            let options = BeginOptions { wait: Some(Duration::from_secs(60)), lease: Some(LONG), ttl: None };
            start.wait().await;
            match keys.begin_with("k", &request("1"), &options).await.unwrap() {
                Begun::Started(claim) => {
                    let number = done.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    claim.complete(&answer(&[number as u8])).await.unwrap();
                    number as u8
                }
                Begun::Replay(replayed) => replayed.body[0],
                other => panic!("{other:?}"),
            }
        });
    }
    assert_eq!(callers.join_all().await, [0; CALLERS]);
    assert_eq!(done.load(Ordering::SeqCst), 1);

    // Who stores only what is finished does it as often as it is asked for at once.
    let (done, start) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(CALLERS)));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let backend = processes[caller % 3].backend().clone();
        let (done, start) = (done.clone(), start.clone());
        let key = format!("naive:{}", tenant.name());
        callers.spawn(async move {
            let known = backend.call(Command::new("GET").key(&key)).await.unwrap();
            start.wait().await;
            if known.as_str().is_none() {
                done.fetch_add(1, Ordering::SeqCst);
                backend.call(Command::new("SET").key(&key).arg("answer")).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    assert_eq!(done.load(Ordering::SeqCst), CALLERS);
}

pub(crate) async fn a_second_caller_may_wait_for_the_first(place: Place) {
    let tenant = tenant();
    let keys = place.services().await.idempotency(&tenant, "ann").unwrap();
    let other = place.services().await.idempotency(&tenant, "ann").unwrap();
    let claim = start(&keys, "k", &lease(LONG)).await;
    let waiting = BeginOptions { wait: Some(Duration::from_secs(60)), ..BeginOptions::default() };
    let asked = Arc::new(Notify::new());
    let waiter = tokio::spawn({
        let (other, asked) = (other.clone(), asked.clone());
        async move {
            asked.notify_one();
            other.begin_with("k", &request("1"), &waiting).await
        }
    });
    asked.notified().await;
    tokio::task::yield_now().await;
    claim.complete(&answer(b"done")).await.unwrap();
    assert!(matches!(waiter.await.unwrap(), Ok(Begun::Replay(replayed)) if replayed.body == b"done"));

    // Waiting ends, also when the first one does not.
    let held = start(&keys, "k2", &lease(LONG)).await;
    let started = Instant::now();
    let brief = BeginOptions { wait: Some(Duration::from_millis(150)), ..BeginOptions::default() };
    assert!(matches!(other.begin_with("k2", &request("1"), &brief).await, Ok(Begun::InProgress { .. })));
    assert!((Duration::from_millis(150)..Duration::from_secs(20)).contains(&started.elapsed()));
    // Whoever waits while the first one gives up starts.
    let waiter = tokio::spawn(async move { other.begin_with("k2", &request("1"), &waiting).await });
    held.abandon().await.unwrap();
    assert!(matches!(waiter.await.unwrap(), Ok(Begun::Started(claim)) if claim.attempt() == 1));
    let endless = BeginOptions { wait: Some(Duration::from_secs(301)), ..BeginOptions::default() };
    assert!(matches!(keys.begin_with("k3", &request("1"), &endless).await, Err(Error::InvalidInput { .. })));
}

pub(crate) async fn a_crashed_owner_is_succeeded_and_its_answer_refused(place: Place) {
    let (services, tenant, keys) = open(&place).await;
    let before = services.backend().now_ms().await.unwrap();
    let crashed = start(&keys, "k", &lease(Duration::from_millis(300))).await;
    let waiting = BeginOptions { wait: Some(Duration::from_secs(60)), lease: Some(LONG), ttl: None };
    let next = start(&keys, "k", &waiting).await;
    assert!(services.backend().now_ms().await.unwrap() >= before + 300, "not before the lease has ended");
    assert_eq!(next.attempt(), 2, "it is told that it is not the first");
    // The first one was only slow: nothing it says is heard any more.
    assert!(is_lost(&crashed.complete(&answer(b"late")).await));
    assert!(is_lost(&crashed.renew().await) && is_lost(&crashed.abandon().await));
    next.complete(&answer(b"in time")).await.unwrap();
    assert!(is_lost(&crashed.complete(&answer(b"late")).await));
    assert!(matches!(keys.begin("k", &request("1")).await, Ok(Begun::Replay(kept)) if kept.body == b"in time"));
    let count = |counter| services.metrics().value(counter);
    assert_eq!((count(Counter::IdempotencyTakeovers), count(Counter::IdempotencyLost)), (1, 4));

    // While nobody has taken over, an ended lease can be renewed and its answer is stored.
    let slow = start(&keys, "k2", &BeginOptions::default()).await;
    end_lease(&services, &tenant, "k2").await;
    slow.renew().await.unwrap();
    assert!(matches!(keys.begin("k2", &request("1")).await, Ok(Begun::InProgress { .. })));
    end_lease(&services, &tenant, "k2").await;
    slow.complete(&answer(b"done")).await.unwrap();
    assert!(matches!(keys.begin("k2", &request("1")).await, Ok(Begun::Replay(_))));
}

pub(crate) async fn many_successors_of_a_crashed_owner_are_one(place: Place) {
    let tenant = tenant();
    let processes = [place.services().await, place.services().await];
    let keys = processes[0].idempotency(&tenant, "ann").unwrap();
    drop(start(&keys, "k", &BeginOptions::default()).await);
    end_lease(&processes[0], &tenant, "k").await;
    let mut callers = JoinSet::new();
    for caller in 0..40 {
        let keys = processes[caller % 2].idempotency(&tenant, "ann").unwrap();
        callers.spawn(async move { matches!(keys.begin("k", &request("1")).await, Ok(Begun::Started(_))) });
    }
    assert_eq!(callers.join_all().await.into_iter().filter(|started| *started).count(), 1);
}

pub(crate) async fn renewing_outlives_the_lease(place: Place) {
    let (services, _, keys) = open(&place).await;
    let claim = start(&keys, "k", &lease(Duration::from_millis(1000))).await;
    let from = services.backend().now_ms().await.unwrap();
    let work = eventually("more than two leases", || async {
        assert!(matches!(keys.begin("k", &request("1")).await, Ok(Begun::InProgress { .. })));
        services.backend().now_ms().await.unwrap() > from + 2500
    });
    claim.renewing(work).await;
    claim.complete(&answer(b"done")).await.unwrap();
}

pub(crate) async fn abandoning_frees_the_key(place: Place) {
    let (_, _, keys) = open(&place).await;
    let claim = start(&keys, "k", &BeginOptions::default()).await;
    let foreign = keys.claim("k", "another-token", &BeginOptions::default()).unwrap();
    assert!(is_lost(&foreign.abandon().await) && is_lost(&foreign.complete(&answer(b"x")).await));
    claim.abandon().await.unwrap();
    assert!(is_lost(&claim.abandon().await) && is_lost(&claim.complete(&answer(b"x")).await));
    // Another request may use it now.
    match keys.begin("k", &request("2")).await.unwrap() {
        Begun::Started(claim) => {
            // As one who began over HTTP has it: by the token.
            let claim = keys.claim("k", claim.token(), &BeginOptions::default()).unwrap();
            claim.complete(&answer(b"x")).await.unwrap();
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn scopes_and_tenants_are_walls(place: Place) {
    let (services, tenant, keys) = open(&place).await;
    start(&keys, "k", &BeginOptions::default()).await.complete(&answer(b"anns")).await.unwrap();
    let others = [
        services.idempotency(&tenant, "bob").unwrap(),
        services.idempotency(&tenant, "ann:k").unwrap(),
        services.idempotency(&crate::support::tenant(), "ann").unwrap(),
    ];
    for other in others {
        assert!(matches!(other.begin("k", &request("1")).await, Ok(Begun::Started(_))));
    }
    assert!(services.idempotency(&tenant, "").is_err());
    assert!(keys.begin("", &request("1")).await.is_err());
    assert!(keys.begin(&"x".repeat(1025), &request("1")).await.is_err());
}

pub(crate) async fn answers_are_bounded_and_kept_for_a_day(place: Place) {
    let mut settings = Settings::default();
    settings.idempotency.bytes_max = 1000;
    let services = place.services_with(settings).await;
    let tenant = tenant();
    let keys = services.idempotency(&tenant, "ann").unwrap();
    let claim = start(&keys, "k", &BeginOptions::default()).await;
    let metadata_bytes = json!({"status": 201}).to_string().len();
    let error = claim.complete(&answer(&vec![0; 1001 - metadata_bytes])).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { size_bytes: 1001, max_bytes: 1000 });
    assert!(matches!(keys.begin("k", &request("1")).await, Ok(Begun::InProgress { .. })), "nothing has changed");
    claim.complete(&answer(&vec![0; 1000 - metadata_bytes])).await.unwrap();
    let left = |key: &str| {
        let record = format!("rp:kept:{{{}:idempotency:ann:{key}}}:r", tenant.name());
        let services = services.clone();
        async move { services.backend().call(Command::new("PTTL").key(record)).await.unwrap().as_i64().unwrap() }
    };
    assert!((86_340_000..=86_400_000).contains(&left("k").await));
    // A record without an answer has an end, too, and a lease is never longer than what is remembered of it.
    let brief = BeginOptions { lease: Some(LONG), ttl: Some(Ttl::ms(700).unwrap()), wait: None };
    let claim = start(&keys, "k2", &brief).await;
    assert!((2_900_000..=3_000_000).contains(&left("k2").await));
    let before = services.backend().now_ms().await.unwrap();
    claim.complete(&answer(b"x")).await.unwrap();
    eventually("the answer's end", || async {
        let begun = keys.begin("k2", &request("1")).await.unwrap();
        matches!(begun, Begun::Started(_))
    })
    .await;
    assert!(services.backend().now_ms().await.unwrap() >= before + 700);
    for bad in [lease(Duration::ZERO), lease(Duration::from_secs(3601))] {
        assert!(matches!(keys.begin_with("b", &request("1"), &bad).await, Err(Error::InvalidInput { .. })));
    }
    let never = BeginOptions { ttl: Some(Ttl::Never), ..BeginOptions::default() };
    assert!(matches!(keys.begin_with("b", &request("1"), &never).await, Err(Error::InvalidInput { .. })));
}

pub(crate) async fn a_clock_that_went_back_does_not_prolong_a_lease(place: Place) {
    let (services, tenant, keys) = open(&place).await;
    drop(start(&keys, "k", &lease(Duration::from_millis(400))).await);
    let ahead = services.backend().now_ms().await.unwrap() + 3_600_000;
    let record = format!("rp:kept:{{{}:idempotency:ann:k}}:r", tenant.name());
    services.backend().call(Command::new("HSET").key(&record).arg("until").arg(ahead)).await.unwrap();
    match keys.begin("k", &request("1")).await.unwrap() {
        Begun::InProgress { retry_after_ms } => assert!(retry_after_ms <= 400),
        other => panic!("{other:?}"),
    }
    let waiting = BeginOptions { wait: Some(Duration::from_secs(60)), ..BeginOptions::default() };
    assert_eq!(start(&keys, "k", &waiting).await.attempt(), 2);
}

/// What the test knows of a key.
#[derive(Default)]
struct Record {
    fingerprint: usize,
    /// The owners so far, the last being the present one.
    claims: Vec<Claim>,
    lease_ended: bool,
    answer: Option<Vec<u8>>,
}

impl Record {
    fn is_owner(&self, nth: usize) -> bool {
        nth + 1 == self.claims.len()
    }
}

/// Compares what beginning came to with what is known, and takes it over. Returns which of the five outcomes it was.
fn expect_as_known(begun: Begun, slot: &mut Option<Record>, asked: usize) -> usize {
    match (begun, slot.as_mut()) {
        (Begun::Started(claim), None) => {
            assert_eq!(claim.attempt(), 1);
            *slot = Some(Record { fingerprint: asked, claims: vec![claim], ..Record::default() });
            0
        }
        (Begun::Started(claim), Some(record)) => {
            assert!(record.fingerprint == asked && record.answer.is_none() && record.lease_ended);
            assert_eq!(claim.attempt(), record.claims.len() as u64 + 1);
            record.claims.push(claim);
            record.lease_ended = false;
            1
        }
        (Begun::InProgress { .. }, Some(record)) => {
            assert!(record.fingerprint == asked && record.answer.is_none() && !record.lease_ended);
            2
        }
        (Begun::Replay(replayed), Some(record)) => {
            assert!(record.fingerprint == asked && record.answer.as_ref() == Some(&replayed.body));
            3
        }
        (Begun::Mismatch, Some(record)) => {
            assert_ne!(record.fingerprint, asked);
            4
        }
        (begun, None) => panic!("{begun:?} of a free key"),
    }
}

pub(crate) async fn records_match_the_model(place: Place) {
    const STEPS: usize = 500;
    let seed = 0x1de_5eed;
    println!("seed {seed:#x}");
    let mut random = Random::new(seed);
    let tenant = tenant();
    let processes = [place.services().await, place.services().await];
    let mut records: Vec<Option<Record>> = (0..6).map(|_| None).collect();
    // Claims whose record was abandoned are good for nothing.
    let mut former: Vec<Claim> = Vec::new();
    let mut seen = [0; 5];
    for step in 0..STEPS {
        let keys = processes[step % 2].idempotency(&tenant, "ann").unwrap();
        let chosen = random.below(6) as usize;
        let (key, slot) = (chosen.to_string(), &mut records[chosen]);
        if let Some(claim) = former.pop() {
            assert!(is_lost(&claim.complete(&answer(b"x")).await) && is_lost(&claim.renew().await), "step {step}");
        }
        let nth = slot.as_ref().map_or(0, |record| random.below(record.claims.len() as u64) as usize);
        match (random.below(10), slot.as_mut()) {
            (0..5, _) => {
                let asked = if random.chance(1, 4) { 1 } else { 0 };
                let begun = keys.begin_with(&key, &request(&asked.to_string()), &lease(LONG)).await.unwrap();
                seen[expect_as_known(begun, slot, asked)] += 1;
            }
            (_, None) => {}
            (5 | 6, Some(record)) if record.answer.is_none() => {
                end_lease(&processes[0], &tenant, &key).await;
                record.lease_ended = true;
            }
            (5..8, Some(record)) => {
                let renewed = record.claims[nth].renew().await;
                assert_eq!(renewed.is_ok(), record.is_owner(nth) && record.answer.is_none(), "step {step}");
                record.lease_ended &= renewed.is_err();
            }
            (8, Some(record)) => {
                let body = step.to_string().into_bytes();
                let stored = record.claims[nth].complete(&answer(&body)).await;
                assert_eq!(stored.is_ok(), record.is_owner(nth), "step {step}");
                if stored.is_ok() {
                    record.answer.get_or_insert(body);
                }
            }
            (_, Some(record)) => {
                let freed = record.claims[nth].abandon().await;
                assert_eq!(freed.is_ok(), record.is_owner(nth) && record.answer.is_none(), "step {step}");
                if freed.is_ok() {
                    former = slot.take().expect("there is one").claims;
                }
            }
        }
        // Answers would fill all keys in the end.
        if records.iter().flatten().filter(|record| record.answer.is_some()).count() == 5 {
            let record = format!("rp:kept:{{{}:idempotency:ann:{key}}}:r", tenant.name());
            processes[0].backend().call(Command::new("DEL").key(record)).await.unwrap();
            records[chosen] = None;
        }
    }
    assert!(seen.iter().all(|count| *count >= 3), "the test must see all of them: {seen:?}");
}

#[tokio::test]
async fn who_waits_is_woken_by_the_answer() {
    let server = RedisServer::start().unwrap();
    let place = Place::at(server.url());
    let (services, tenant, keys) = open(&place).await;
    let mut quickest = Duration::MAX;
    for round in 0..3 {
        let key = round.to_string();
        let claim = start(&keys, &key, &lease(LONG)).await;
        let other = place.services().await.idempotency(&tenant, "ann").unwrap();
        let waiting = BeginOptions { wait: Some(Duration::from_secs(60)), ..BeginOptions::default() };
        let waiter = tokio::spawn({
            let key = key.clone();
            async move { other.begin_with(&key, &request("1"), &waiting).await }
        });
        let channel = format!("rp:kept:{{{}:idempotency:ann:{key}}}:r", tenant.name());
        eventually("the subscription", || async {
            let ask = Command::new("PUBSUB").arg("NUMSUB").arg(&channel);
            let counts = services.backend().call(ask).await.unwrap().into_array().unwrap();
            counts[1].as_i64() == Some(1)
        })
        .await;
        // The waiter has looked once more by then.
        for _ in 0..20 {
            assert!(matches!(keys.begin(&key, &request("1")).await, Ok(Begun::InProgress { .. })));
        }
        let told = Instant::now();
        claim.complete(&answer(b"done")).await.unwrap();
        assert!(matches!(waiter.await.unwrap(), Ok(Begun::Replay(_))));
        quickest = quickest.min(told.elapsed());
    }
    assert!(quickest < RECHECK_MAX / 2, "{quickest:?}: nobody was woken");
}

#[tokio::test]
async fn work_is_not_begun_while_the_store_is_down() {
    let services = Place::down().services_lazily(Settings::default());
    let keys = services.idempotency(&tenant(), "ann").unwrap();
    let waiting = BeginOptions { wait: Some(Duration::from_secs(60)), ..BeginOptions::default() };
    assert!(keys.begin_with("k", &request("1"), &waiting).await.unwrap_err().is_outage());
    let claim = keys.claim("k", "t", &BeginOptions::default()).unwrap();
    assert!(claim.complete(&answer(b"x")).await.unwrap_err().is_outage());
    assert!(claim.renew().await.unwrap_err().is_outage() && claim.abandon().await.unwrap_err().is_outage());
    assert_eq!(services.metrics().value(Counter::IdempotencyOutages), 4);
}

#[tokio::test]
async fn a_store_that_evicts_is_refused_since_it_would_forget() {
    let server = RedisServer::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru"]).unwrap();
    let services = Place::at(server.url()).services().await;
    let keys = services.idempotency(&tenant(), "ann").unwrap();
    let refused = keys.begin("k", &request("1")).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("volatile-lru")), "{refused:?}");
    assert_eq!(services.metrics().value(Counter::IdempotencyOutages), 1);
}
