//! Tests of locks that one holds: leases, owners, renewal. Fences are in `lock_fences`, what waits in `lock_queue`, what several hold in `lock_sharing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redpoll_services::kept::OnEviction;
use redpoll_services::locks::{Guard, Lock, LockOptions, LockSettings, Lost, Renewal, Token};
use redpoll_services::metrics::Counter;
use redpoll_services::{Command, Error, Services, Settings, Ttl};
use redpoll_testkit::{Random, RedisServer};
use tokio::task::JoinSet;

use crate::support::{Place, eventually, tenant};

/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) async fn mutex(place: &Place) -> (Services, Lock) {
    let services = place.services().await;
    let lock = services.locks(&tenant()).mutex("orders").unwrap();
    (services, lock)
}

/// One attempt, held for long, renewed by nobody.
pub(crate) fn once() -> LockOptions {
    LockOptions { wait: Some(Duration::ZERO), lease: Some(LONG), renewal: Renewal::Manual, ..LockOptions::default() }
}

/// One attempt, held for a moment.
pub(crate) fn briefly(lease_ms: u64) -> LockOptions {
    LockOptions { lease: Some(Duration::from_millis(lease_ms)), ..once() }
}

/// Waits as long as it takes.
pub(crate) fn patiently() -> LockOptions {
    LockOptions { wait: Some(LONG), ..once() }
}

pub(crate) async fn take(lock: &Lock, options: &LockOptions) -> Guard {
    lock.acquire(options).await.unwrap().expect("nobody stands in the way")
}

pub(crate) async fn is_free(lock: &Lock) -> bool {
    lock.info().await.unwrap().holders.is_empty()
}

pub(crate) async fn call(services: &Services, command: Command) -> redpoll_resp::Value {
    services.backend().call(command).await.unwrap()
}

pub(crate) async fn one_holder_at_any_time_in_the_order_of_fences(place: Place) {
    const TASKS: usize = 64;
    const ROUNDS: usize = 5;
    let tenant = tenant();
    let (inside, newest, turns) =
        (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(place.services().await);
    }
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let lock = processes[task % processes.len()].locks(&tenant).mutex("orders").unwrap();
        let (inside, newest, turns) = (inside.clone(), newest.clone(), turns.clone());
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                // Half of them renew in the background, half give the lock back by dropping it.
                let renewal = if task % 2 == 0 { Renewal::Automatic } else { Renewal::Manual };
                let guard = take(&lock, &LockOptions { renewal, ..patiently() }).await;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                let before = newest.swap(guard.fence(), Ordering::SeqCst);
                assert!(before < guard.fence(), "fence {} after {before}", guard.fence());
                tokio::task::yield_now().await;
                turns.fetch_add(1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                if round % 2 == 0 {
                    assert_eq!(guard.release().await, Ok(true));
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(turns.load(Ordering::SeqCst), TASKS * ROUNDS);
}

/// A lock as it is often written: look, then set. The oracle of the test above finds it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_by_looking_first_has_two_holders() {
    let services = Place::embedded().services().await;
    let inside = Arc::<AtomicUsize>::default();
    let most = Arc::<AtomicUsize>::default();
    let start = Arc::new(tokio::sync::Barrier::new(16));
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (services, inside, most, start) = (services.clone(), inside.clone(), most.clone(), start.clone());
        tasks.spawn(async move {
            let is_taken = call(&services, Command::new("EXISTS").key("naive")).await.as_i64() == Some(1);
            start.wait().await;
            if !is_taken {
                call(&services, Command::new("SET").key("naive").arg("me")).await;
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
        });
    }
    tasks.join_all().await;
    assert!(most.load(Ordering::SeqCst) > 1);
}

pub(crate) async fn wait_and_lease_have_nothing_to_do_with_each_other(place: Place) {
    let (_, lock) = mutex(&place).await;
    let guard = take(&lock, &once()).await;
    // A short wait for a long lease, and a long lease that a short one cannot shorten or steal.
    for lease_ms in [10, 100_000] {
        let started = Instant::now();
        let options = LockOptions { wait: Some(Duration::from_millis(60)), ..briefly(lease_ms) };
        assert!(lock.acquire(&options).await.unwrap().is_none());
        assert!(started.elapsed() >= Duration::from_millis(60));
    }
    let info = lock.info().await.unwrap();
    assert!(info.holders[0].lease_left_ms > 60_000, "{info:?}");
    assert_eq!((info.queue_total, info.holders[0].fence), (0, guard.fence()));
    assert_eq!(guard.release().await, Ok(true));
    // A long wait for a short lease.
    let first = lock.claim(&briefly(150)).await.unwrap().unwrap();
    let started = Instant::now();
    let second = take(&lock, &LockOptions { wait: Some(LONG), ..briefly(20_000) }).await;
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    assert!(second.fence() > first.fence && second.is_held());
}

pub(crate) async fn only_the_owner_extends_and_releases(place: Place) {
    let (_, lock) = mutex(&place).await;
    let guard = take(&lock, &once()).await;
    let stranger = Token::new();
    assert_eq!(lock.release(&stranger).await, Ok(false));
    assert_eq!(lock.extend(&stranger, LONG).await, Ok(false));
    assert!(lock.acquire(&once()).await.unwrap().is_none());
    assert_eq!(guard.extend(Duration::from_secs(5)).await, Ok(true));
    assert!(lock.info().await.unwrap().holders[0].lease_left_ms <= 5000);
    assert_eq!(guard.release().await, Ok(true));
    // The token of an acquisition that has ended opens nothing for the next.
    let old = lock.claim(&briefly(10)).await.unwrap().unwrap();
    let new = take(&lock, &patiently()).await;
    assert_eq!(lock.release(&old.token).await, Ok(false));
    assert_eq!(lock.extend(&old.token, LONG).await, Ok(false));
    assert_eq!(lock.info().await.unwrap().holders[0].fence, new.fence());
    assert_eq!(new.release().await, Ok(true));
}

pub(crate) async fn asking_twice_is_asking_once(place: Place) {
    let (_, lock) = mutex(&place).await;
    let options = LockOptions { token: Some(Token::new()), ..briefly(5000) };
    let first = lock.claim(&options).await.unwrap().unwrap();
    let again = lock.claim(&LockOptions { lease: Some(LONG), ..options.clone() }).await.unwrap().unwrap();
    assert_eq!(first, again);
    assert!(lock.info().await.unwrap().holders[0].lease_left_ms > 5000, "the lease began anew");
    assert!(lock.claim(&once()).await.unwrap().is_none(), "without the token it is another's");
    // One release frees it, and says the same when it is repeated.
    assert_eq!(lock.release(&first.token).await, Ok(true));
    assert_eq!(lock.release(&first.token).await, Ok(true));
    let next = lock.claim(&options).await.unwrap().unwrap();
    assert!(next.fence > first.fence, "an acquisition after a release is a new one");
}

/// A client that asks again with its token, as after a lost reply, and goes away before it is answered.
pub(crate) async fn giving_up_a_second_request_keeps_the_lock(place: Place) {
    let services = place.services().await;
    let tenant = tenant();
    let locks = services.locks(&tenant);
    for lock in [locks.mutex("orders").unwrap(), locks.semaphore("orders", 1, 1).unwrap()] {
        let options = LockOptions { token: Some(Token::new()), ..patiently() };
        let claim = lock.claim(&options).await.unwrap().unwrap();
        for _ in 0..20 {
            // The first step of it is sent; no answer is waited for.
            let again = lock.claim(&options);
            tokio::time::timeout(Duration::ZERO, again).await.ok();
        }
        // What giving up does is done in the background; while it is, the lock stays held.
        for _ in 0..200 {
            let info = lock.info().await.unwrap();
            assert_eq!(info.holders.iter().map(|holder| holder.fence).collect::<Vec<_>>(), [claim.fence]);
        }
        assert!(lock.extend(&claim.token, LONG).await.unwrap());
        assert!(lock.claim(&once()).await.unwrap().is_none(), "somebody else was let in");
        assert!(lock.release(&claim.token).await.unwrap());
    }
}

pub(crate) async fn a_renewed_lock_is_kept(place: Place) {
    let (services, lock) = mutex(&place).await;
    let lease = Duration::from_millis(900);
    let guard = take(&lock, &LockOptions { lease: Some(lease), renewal: Renewal::Automatic, ..once() }).await;
    let started = Instant::now();
    while started.elapsed() < lease * 3 {
        assert!(lock.acquire(&once()).await.unwrap().is_none());
        assert!(guard.is_held());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(guard.protect(async { 7 }).await, Ok(7));
    assert_eq!(guard.release().await, Ok(true));
    assert_eq!(services.metrics().value(Counter::LocksLost), 0);
}

pub(crate) async fn nothing_is_renewed_after_its_release(place: Place) {
    let (_, lock) = mutex(&place).await;
    let lease = Duration::from_millis(120);
    for round in 0..4 {
        let guard = take(&lock, &LockOptions { lease: Some(lease), renewal: Renewal::Automatic, ..patiently() }).await;
        let (token, signal) = (guard.token().clone(), guard.signal());
        tokio::time::sleep(Duration::from_millis(30 * round)).await;
        assert_eq!(guard.release().await, Ok(true));
        assert_eq!(signal.clone().lost().await, Lost::Released);
        // A renewal that was on its way while the lock was released comes too late.
        assert_eq!(lock.extend(&token, LONG).await, Ok(false));
        let next = lock.claim(&briefly(200)).await.unwrap().unwrap();
        assert_eq!(lock.extend(&token, LONG).await, Ok(false));
        tokio::time::sleep(lease).await;
        let info = lock.info().await.unwrap();
        assert!(info.holders.iter().all(|holder| holder.fence == next.fence && holder.lease_left_ms < 100), "{info:?}");
        assert_eq!(lock.release(&next.token).await, Ok(true));
    }
}

pub(crate) async fn a_holder_is_told_when_its_lock_is_taken_away(place: Place) {
    let (services, lock) = mutex(&place).await;
    let lease = Duration::from_millis(600);
    let guard = take(&lock, &LockOptions { lease: Some(lease), renewal: Renewal::Automatic, ..once() }).await;
    guard.fenced_set("total", b"1", Ttl::Never).await.unwrap();
    let (held, fence) = lock.force_release().await.unwrap();
    assert!(held && fence > guard.fence());
    // What it writes is refused at once, before it knows.
    assert!(matches!(guard.fenced_set("total", b"2", Ttl::Never).await, Err(Error::Conflict(_))));
    let started = Instant::now();
    let work = guard.protect(std::future::pending::<()>());
    assert_eq!(tokio::time::timeout(LONG, work).await.unwrap(), Err(Lost::Refused));
    assert!(started.elapsed() < lease, "the next renewal says so, not the end of the lease");
    assert!(!guard.is_held());
    assert_eq!(guard.release().await, Ok(false));
    eventually("the loss is counted", || async { services.metrics().value(Counter::LocksLost) == 1 }).await;
    assert!(!lock.force_release().await.unwrap().0, "nobody holds it any more");
}

pub(crate) async fn a_lease_that_ended_is_not_revived(place: Place) {
    let (_, lock) = mutex(&place).await;
    let claim = lock.claim(&briefly(10)).await.unwrap().unwrap();
    eventually("the lease ends", || is_free(&lock)).await;
    assert_eq!(lock.extend(&claim.token, LONG).await, Ok(false));
    assert!(is_free(&lock).await);
    // Nobody has taken it since, so nothing it did was disturbed.
    assert_eq!(lock.release(&claim.token).await, Ok(true));
}

pub(crate) async fn info_tells_who_and_since_when_but_no_token(place: Place) {
    let (services, lock) = mutex(&place).await;
    let empty = lock.info().await.unwrap();
    assert_eq!((empty.fence, empty.holders_total, empty.queue_total), (0, 0, 0));
    let before = services.backend().now_ms().await.unwrap();
    let named = |owner: &str| LockOptions { owner: Some(owner.to_owned()), ..patiently() };
    let guard = take(&lock, &named("worker 7; %s")).await;
    let waiting = tokio::spawn({
        let (lock, options) = (lock.clone(), named("zwölf"));
        async move { take(&lock, &options).await.release().await }
    });
    eventually("waiting", || async { lock.info().await.unwrap().queue_total == 1 }).await;
    let info = lock.info().await.unwrap();
    let after = services.backend().now_ms().await.unwrap();
    assert_eq!((info.holders.len(), info.holders_total), (1, 1));
    let holder = &info.holders[0];
    assert_eq!((holder.owner.as_str(), holder.fence, holder.permits), ("worker 7; %s", guard.fence(), 1));
    assert!((before..=after).contains(&holder.since_ms), "{before} {holder:?} {after}");
    assert!(holder.lease_left_ms <= 120_000 && holder.lease_left_ms > 60_000);
    assert_eq!(info.queue[0].owner, "zwölf");
    assert!(!serde_json::to_string(&info).unwrap().contains(guard.token().as_str()));
    guard.release().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(true));
}

pub(crate) async fn every_key_of_a_lock_expires(place: Place) {
    let services = place.services().await;
    let locks = services.locks(&tenant());
    for lock in [locks.mutex("n").unwrap(), locks.semaphore("n", 1, 1).unwrap(), locks.write("n").unwrap()] {
        let guard = take(&lock, &once()).await;
        let waiting = tokio::spawn({
            let lock = lock.clone();
            async move { take(&lock, &patiently()).await.release().await }
        });
        eventually("waiting", || async { lock.info().await.unwrap().queue_total == 1 }).await;
        let state = lock.state_key().as_str();
        let mut seen = 0;
        for part in ["m", "q", "w", "h", "d"] {
            let key = format!("{}{part}", &state[..state.len() - 1]);
            let ttl = call(&services, Command::new("PTTL").key(&key)).await.as_i64().unwrap();
            assert_ne!(ttl, -1, "{key} stays for ever");
            seen += i32::from(ttl > 0);
        }
        assert_eq!(seen, if state.contains("mutex") { 3 } else { 5 });
        guard.release().await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}

/// What a mutex should answer while no lease ends.
#[derive(Default)]
struct Model {
    holder: Option<usize>,
    last_released: Option<usize>,
    fence: u64,
}

pub(crate) async fn decisions_match_the_model(place: Place) {
    let (_, lock) = mutex(&place).await;
    let seed = 0x1d_2026;
    println!("seed {seed:#x}");
    let (mut random, mut model) = (Random::new(seed), Model::default());
    let tokens: Vec<Token> = (0..4).map(|_| Token::new()).collect();
    for step in 0..400 {
        let who = random.below(4) as usize;
        let token = &tokens[who];
        match random.below(12) {
            0..=4 => {
                let claim = lock.claim(&LockOptions { token: Some(token.clone()), ..once() }).await.unwrap();
                let may = model.holder.is_none_or(|holder| holder == who);
                assert_eq!(claim.is_some(), may, "step {step}");
                if let Some(claim) = claim {
                    let is_new = model.holder.is_none();
                    assert_eq!(claim.fence > model.fence, is_new, "step {step}");
                    assert!(claim.fence >= model.fence, "step {step}");
                    model = Model { holder: Some(who), last_released: None, fence: claim.fence };
                }
            }
            5..=7 => {
                let released = lock.release(token).await.unwrap();
                let may = model.holder == Some(who) || model.last_released == Some(who);
                assert_eq!(released, may, "step {step}");
                if model.holder == Some(who) {
                    (model.holder, model.last_released) = (None, Some(who));
                }
            }
            8..=10 => {
                assert_eq!(lock.extend(token, LONG).await.unwrap(), model.holder == Some(who), "step {step}");
            }
            _ => {
                let (held, fence) = lock.force_release().await.unwrap();
                assert_eq!(held, model.holder.is_some(), "step {step}");
                assert!(fence > model.fence, "step {step}");
                model = Model { fence, ..Model::default() };
            }
        }
        let info = lock.info().await.unwrap();
        assert_eq!(info.holders_total, u64::from(model.holder.is_some()), "step {step}");
        assert_eq!(info.fence, model.fence, "step {step}");
    }
}

pub(crate) async fn locks_of_other_tenants_kinds_and_names_are_others(place: Place) {
    let services = place.services().await;
    let (one, other) = (services.locks(&tenant()), services.locks(&tenant()));
    let all = [
        one.mutex("n").unwrap(),
        one.mutex("n:m").unwrap(),
        one.mutex("{n}").unwrap(),
        one.write("n").unwrap(),
        one.semaphore("n", 1, 1).unwrap(),
        one.election("n").unwrap().lock().clone(),
        other.mutex("n").unwrap(),
    ];
    let mut guards = Vec::new();
    for lock in &all {
        guards.push(take(lock, &once()).await);
    }
    assert_eq!(guards.len(), all.len());
}

#[tokio::test]
async fn bad_input_is_an_error_and_changes_nothing() {
    let services = Place::embedded().services().await;
    let locks = services.locks(&tenant());
    assert!(locks.mutex("").is_err());
    assert!(locks.semaphore("n", 0, 4).is_err() && locks.semaphore("n", 5, 4).is_err());
    assert!(locks.semaphore("n", 1, 0).is_err() && locks.semaphore("n", 1, 1_000_001).is_err());
    let lock = locks.mutex("n").unwrap();
    let bad = [
        briefly(0),
        briefly(9),
        briefly(86_400_001),
        LockOptions { wait: Some(Duration::MAX), ..once() },
        LockOptions { owner: Some(String::new()), ..once() },
    ];
    for options in bad {
        assert!(matches!(lock.acquire(&options).await, Err(Error::InvalidInput { .. })), "{options:?}");
    }
    assert!(lock.extend(&Token::new(), Duration::ZERO).await.is_err());
    for fence in [0, 1 << 53, u64::MAX] {
        assert!(matches!(lock.fenced_set("r", fence, b"", Ttl::Never).await, Err(Error::InvalidInput { .. })));
    }
    assert!(lock.fenced_set("", 1, b"", Ttl::Never).await.is_err());
    assert!(is_free(&lock).await);
    for locks in [
        LockSettings { waiter_lease: Duration::from_secs(61), ..LockSettings::default() },
        LockSettings { fence_kept: Duration::from_secs(1), ..LockSettings::default() },
        LockSettings { lease: Duration::ZERO, ..LockSettings::default() },
    ] {
        let services = Place::embedded().services_with(Settings { locks, ..Settings::default() }).await;
        assert!(services.locks(&tenant()).mutex("n").is_err());
    }
}

#[tokio::test]
async fn without_a_store_nobody_is_let_in() {
    let services = Place::down().services_lazily(Settings::default());
    let lock = services.locks(&tenant()).mutex("n").unwrap();
    assert!(lock.acquire(&once()).await.is_err_and(|error| error.is_outage()));
    assert!(lock.info().await.is_err_and(|error| error.is_outage()));
    assert_eq!(services.metrics().value(Counter::LockOutages), 1);
    assert_eq!(services.metrics().value(Counter::LocksAcquired), 0);
}

#[tokio::test]
async fn a_store_that_may_evict_locks_gives_none() {
    let server = RedisServer::start().unwrap();
    let place = Place::at(server.url());
    let (services, lock) = mutex(&place).await;
    for (setting, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "volatile-lru")] {
        call(&services, Command::new("CONFIG").arg("SET").arg(setting).arg(value)).await;
    }
    let refused = lock.acquire(&once()).await;
    assert!(matches!(&refused, Err(Error::Unavailable(reason)) if reason.contains("volatile-lru")), "{refused:?}");
    let tolerant = Settings { eviction: OnEviction::Tolerate, ..Settings::default() };
    let lock = place.services_with(tolerant).await.locks(&tenant()).mutex("n").unwrap();
    take(&lock, &once()).await.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_is_told_when_the_store_is_gone() {
    let server = RedisServer::start().unwrap();
    let (services, lock) = mutex(&Place::at(server.url())).await;
    let lease = Duration::from_millis(900);
    let guard = take(&lock, &LockOptions { lease: Some(lease), renewal: Renewal::Automatic, ..once() }).await;
    drop(server);
    let started = Instant::now();
    let signal = guard.signal();
    let lost = tokio::time::timeout(LONG, signal.clone().lost()).await.unwrap();
    assert_eq!(lost, Lost::Ended);
    // Not before its lease has ended, which began at most a renewal ago, and not much later on a busy machine.
    assert!(started.elapsed() > lease / 2 && started.elapsed() < lease * 5, "{:?}", started.elapsed());
    assert!(!guard.is_held());
    eventually("the loss is counted", || async { services.metrics().value(Counter::LocksLost) == 1 }).await;
    assert!(guard.release().await.is_err());
}

#[tokio::test]
async fn a_free_lock_is_one_round_trip_there_and_one_back() {
    let (services, lock) = mutex(&Place::embedded()).await;
    take(&lock, &once()).await.release().await.unwrap();
    let calls = async || {
        let info = call(&services, Command::new("INFO").arg("commandstats")).await;
        let info = info.as_str().unwrap().to_owned();
        let calls = |line: &str| -> Option<u64> {
            line.strip_prefix("cmdstat_")?.split_once("calls=")?.1.split_once(',')?.0.parse().ok()
        };
        let sum = info.lines().filter(|line| !line.contains("_info:")).filter_map(calls).sum::<u64>();
        let of_scripts = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).and_then(calls).unwrap();
        (of_scripts, sum)
    };
    let before = calls().await;
    take(&lock, &patiently()).await.release().await.unwrap();
    let after = calls().await;
    assert_eq!(after.0 - before.0, 2, "one script to acquire, one to release");
    // Within them: GET and SET each.
    assert_eq!(after.1 - before.1, 2 + 2 + 2);
}
