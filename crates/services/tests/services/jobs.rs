//! Tests of job queues: what is enqueued comes out, in order, once for each lease, and ends where it should.

use std::time::Duration;

use redpoll_services::jobs::{
    Enqueued, Heartbeat, JobSettings, LeaseOptions, Leased, NewJob, Outcome, Payload, Queue, Settled, State, Ticket,
    Which,
};
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use serde_json::{Value as Json, json};

use crate::support::{Place, eventually, tenant};

/// Longest wait for work in a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lease that ends soon.
pub(crate) const BRIEF: Duration = Duration::from_millis(60);

pub(crate) async fn queue(place: &Place) -> Queue {
    queue_with(place, JobSettings::default()).await
}

pub(crate) async fn queue_with(place: &Place, jobs: JobSettings) -> Queue {
    site(place, jobs).await.queue
}

/// A queue, and a way around it.
pub(crate) struct Site {
    pub(crate) services: Services,
    pub(crate) tenant: Tenant,
    pub(crate) queue: Queue,
}

/// Returns what runs operations on a tenant's queue `mail`.
pub(crate) fn on_mail(services: &Services) -> impl AsyncFn(&'static str, Json) -> Result<Json, Error> {
    let tenant = tenant().name().to_owned();
    async move |name: &'static str, more: Json| {
        let mut input = json!({"tenant": tenant, "queue": "mail"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        crate::operations::run(services, "jobs", name, input).await
    }
}

pub(crate) async fn site(place: &Place, jobs: JobSettings) -> Site {
    let services = place.services_with(Settings { jobs, ..Settings::default() }).await;
    let tenant = tenant();
    Site { queue: services.jobs(&tenant).queue("mail").unwrap(), services, tenant }
}

impl Site {
    /// Asks how much a key of the queue holds.
    pub(crate) async fn size(&self, command: &'static str, kind: &str) -> i64 {
        let key = format!("rp:kept:{{{}:jobs:mail}}:{kind}", self.tenant.name());
        self.services.backend().call(Command::new(command).key(key)).await.unwrap().as_i64().unwrap()
    }
}

pub(crate) fn named(id: &str) -> NewJob {
    NewJob { id: Some(id.to_owned()), ..NewJob::new("send", Payload::bytes(id)) }
}

pub(crate) fn up_to(count: usize) -> LeaseOptions {
    LeaseOptions { count, ..LeaseOptions::default() }
}

pub(crate) fn patiently() -> LeaseOptions {
    LeaseOptions { wait: PATIENCE, ..LeaseOptions::default() }
}

pub(crate) fn briefly(count: usize) -> LeaseOptions {
    LeaseOptions { count, lease: Some(BRIEF), ..LeaseOptions::default() }
}

pub(crate) async fn take(queue: &Queue) -> Leased {
    queue.lease(&patiently()).await.unwrap().remove(0)
}

pub(crate) async fn ids(queue: &Queue, count: usize) -> Vec<String> {
    queue.lease(&up_to(count)).await.unwrap().into_iter().map(|leased| leased.job.id).collect()
}

pub(crate) async fn state_of(queue: &Queue, id: &str) -> State {
    queue.job(id).await.unwrap().job.unwrap().state
}

pub(crate) fn done() -> Outcome {
    Outcome::Completed { result: None, ttl: None }
}

pub(crate) fn failed(error: &str) -> Outcome {
    Outcome::Failed { error: error.to_owned(), retry_after: None }
}

async fn enqueue(queue: &Queue, jobs: &[NewJob]) {
    let enqueued = queue.enqueue_many(jobs).await.unwrap();
    assert!(enqueued.iter().all(|one| one.existing.is_none()), "{enqueued:?}");
}

pub(crate) async fn payloads_come_back_unaltered(place: Place) {
    let queue = queue(&place).await;
    let numbers: Json = serde_json::from_str(r#"{"b":12345678901234567890123,"a":[1.10,-0.0,null]}"#).unwrap();
    let payloads = [
        Payload::bytes(*b""),
        Payload::bytes(*b"\0\r\n\xff:{}<script>alert('x')</script>; DROP TABLE jobs"),
        Payload::bytes((0..=255).cycle().take(100_000).collect::<Vec<u8>>()),
        Payload::json(&numbers).unwrap(),
        Payload::json(&Json::Null).unwrap(),
    ];
    for payload in &payloads {
        queue.enqueue(&NewJob::new("send:x", payload.clone())).await.unwrap();
    }
    for payload in &payloads {
        let leased = take(&queue).await;
        assert_eq!((leased.job.name.as_str(), leased.job.payload.as_ref()), ("send:x", Some(payload)));
        queue.complete(&leased.ticket, Some(payload.clone())).await.unwrap();
        assert_eq!(queue.job(&leased.job.id).await.unwrap().result.as_ref(), Some(payload));
    }
    assert_eq!(payloads[3].parse::<Json>().unwrap().to_string(), numbers.to_string());
}

pub(crate) async fn what_is_too_large_changes_nothing(place: Place) {
    let settings = JobSettings { payload_max: 100, result_max: 10, ..JobSettings::default() };
    let queue = queue_with(&place, settings).await;
    let large = NewJob::new("send", Payload::bytes(vec![0; 100]));
    assert_eq!(queue.enqueue(&large).await, Err(Error::TooLarge { size_bytes: 107, max_bytes: 100 }));
    assert_eq!(queue.counts().await.unwrap().waiting, 0);
    enqueue(&queue, &[named("a")]).await;
    let leased = take(&queue).await;
    let result = Some(Payload::bytes(vec![0; 11]));
    assert!(matches!(queue.complete(&leased.ticket, result).await, Err(Error::TooLarge { .. })));
    assert_eq!(state_of(&queue, "a").await, State::Active);
    let vast = Payload::bytes(vec![0; 5000]);
    assert!(matches!(queue.progress(&leased.ticket, &vast, None).await, Err(Error::TooLarge { .. })));
    let bad = [
        queue.enqueue_many(&[]).await.map(drop),
        queue.enqueue(&named(&"x".repeat(256))).await.map(drop),
        queue.enqueue(&NewJob { name: "x".repeat(256), ..named("b") }).await.map(drop),
        queue.lease(&up_to(0)).await.map(drop),
        queue.lease(&up_to(1001)).await.map(drop),
        queue.lease(&LeaseOptions { lease: Some(Duration::ZERO), ..up_to(1) }).await.map(drop),
        queue.lease(&LeaseOptions { wait: Duration::MAX, ..up_to(1) }).await.map(drop),
        queue.clear(State::Active, Which::All).await.map(drop),
        queue.cancel(&[]).await.map(drop),
        queue.job("").await.map(drop),
        queue.settle_one(&leased.ticket, Outcome::Released { delay: Duration::MAX }).await.map(drop),
        queue
            .settle_one(&leased.ticket, Outcome::Completed { result: Some(Payload::default()), ttl: Some(Ttl::Never) })
            .await
            .map(drop),
    ];
    for (index, result) in bad.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::InvalidInput { .. })), "{index}: {result:?}");
    }
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.active, counts.completed_total), (0, 1, 0));
}

pub(crate) async fn priorities_first_and_order_within(place: Place) {
    let queue = queue(&place).await;
    let with = |id: &str, priority: i8| NewJob { priority, ..named(id) };
    enqueue(&queue, &[with("a", 0), with("b", 5), with("c", -128), with("d", 5), with("e", 127), with("f", 0)]).await;
    enqueue(&queue, &[with("g", 5), with("h", 0)]).await;
    let ahead = queue.job("h").await.unwrap().ahead;
    assert_eq!(ahead, Some(6));
    let peeked = queue.list(State::Waiting, 1, 2).await.unwrap();
    assert_eq!(peeked.iter().map(|one| one.job.as_ref().unwrap().id.as_str()).collect::<Vec<_>>(), ["b", "d"]);
    assert_eq!(ids(&queue, 3).await, ["e", "b", "d"]);
    assert_eq!(ids(&queue, 100).await, ["g", "a", "f", "h", "c"]);
    assert_eq!(ids(&queue, 1).await, [""; 0]);
}

pub(crate) async fn what_comes_back_keeps_its_place(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[named("a"), named("b"), named("c")]).await;
    let first = take(&queue).await;
    assert_eq!(queue.release(&first.ticket).await, Ok(State::Waiting));
    let again = take(&queue).await;
    assert_eq!((again.job.id.as_str(), again.job.attempt()), ("a", 1), "a hand-back is no attempt");
    let at_once = Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) };
    assert_eq!(queue.settle_one(&again.ticket, at_once).await, Ok(State::Waiting));
    let again = take(&queue).await;
    assert_eq!((again.job.id.as_str(), again.job.attempt(), again.job.failures), ("a", 2, 1));
    assert_eq!(ids(&queue, 9).await, ["b", "c"]);
}

pub(crate) async fn delayed_jobs_wait_until_they_are_due(place: Place) {
    let queue = queue(&place).await;
    let now = queue_clock(&queue).await;
    let delay = Duration::from_millis(500);
    enqueue(&queue, &[NewJob { delay, ..named("a") }, NewJob { at_ms: now + 100, ..named("b") }]).await;
    enqueue(&queue, &[NewJob { at_ms: now - 1000, ..named("past") }, NewJob { delay: PATIENCE, ..named("far") }]).await;
    assert_eq!(ids(&queue, 9).await, ["past"]);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.delayed, counts.active), (0, 3, 1));
    let listed = queue.list(State::Delayed, 0, 9).await.unwrap();
    assert_eq!(listed[0].moment_ms, Some(now + 100));
    let b = take(&queue).await;
    assert!(b.job.id == "b" && b.job.since_ms >= now + 100, "{b:?}");
    let a = take(&queue).await;
    assert!(a.job.id == "a" && a.job.since_ms >= a.job.created_ms + 500, "{a:?}");
    // Woken when it was due, not at the next interval of two seconds.
    assert!(a.job.since_ms < a.job.created_ms + 1900, "{a:?}");
}

async fn queue_clock(queue: &Queue) -> u64 {
    queue.enqueue(&named("clock")).await.unwrap();
    let created = queue.job("clock").await.unwrap().job.unwrap().created_ms;
    queue.clear(State::Waiting, Which::All).await.unwrap();
    created
}

pub(crate) async fn an_id_is_taken_until_its_job_has_ended(place: Place) {
    let queue = queue(&place).await;
    let again = async || {
        let other = NewJob { priority: 9, ..NewJob { payload: Payload::bytes(*b"other"), ..named("a") } };
        queue.enqueue(&other).await.unwrap().existing
    };
    assert_eq!(queue.enqueue(&named("a")).await.unwrap(), Enqueued { id: "a".to_owned(), existing: None });
    assert_eq!(again().await, Some(State::Waiting));
    assert_eq!(queue.counts().await.unwrap().waiting, 1);
    let leased = take(&queue).await;
    assert_eq!((leased.job.payload, leased.job.priority), (Some(Payload::bytes(*b"a")), 0), "nothing was changed");
    assert_eq!(again().await, Some(State::Active));
    queue.fail(&leased.ticket, "no").await.unwrap();
    assert_eq!(again().await, Some(State::Delayed));
    // Every way to end frees it.
    queue.cancel(&["a".to_owned()]).await.unwrap();
    assert_eq!(again().await, None);
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    assert_eq!(again().await, None);
    queue.settle_one(&take(&queue).await.ticket, Outcome::GivenUp { error: "never".to_owned() }).await.unwrap();
    assert_eq!(again().await, None);
    assert_eq!(queue.counts().await.unwrap().dead, 0, "the new one took its place");
    queue.clear(State::Waiting, Which::All).await.unwrap();
    let brief = NewJob { patience: Some(Duration::from_millis(1)), ..named("a") };
    assert_eq!(queue.enqueue(&brief).await.unwrap().existing, None);
    eventually("expiry", || async { queue.sweep().await.unwrap().expired == 1 }).await;
    assert_eq!(again().await, None);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.completed + counts.cancelled + counts.expired + counts.dead), (1, 0));
    assert_eq!(counts.bytes, "b4:sendother".len() as u64);
}

pub(crate) async fn a_batch_is_enqueued_whole_or_not_at_all(place: Place) {
    let settings = JobSettings { length_max: 10, bytes_max: 100, ..JobSettings::default() };
    let queue = queue_with(&place, settings).await;
    let some = |count: usize| (0..count).map(|number| named(&format!("{number:02}"))).collect::<Vec<_>>();
    assert!(matches!(queue.enqueue_many(&some(11)).await, Err(Error::Conflict(_))));
    let heavy = NewJob { payload: Payload::bytes(vec![0; 60]), ..named("h") };
    let error = queue.enqueue_many(&[heavy.clone(), NewJob { id: None, ..heavy.clone() }]).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(queue.counts().await.unwrap().waiting, 0);
    let mut twice = some(3);
    twice.extend(some(4));
    let enqueued = queue.enqueue_many(&twice).await.unwrap();
    let known: Vec<bool> = enqueued.iter().map(|one| one.existing.is_some()).collect();
    assert_eq!(known, [false, false, false, true, true, true, false]);
    // What is there already needs no room, and what leaves makes some.
    assert!(queue.enqueue_many(&some(10)).await.is_ok());
    assert!(queue.enqueue_many(&some(10)).await.is_ok());
    assert!(matches!(queue.enqueue(&named("x")).await, Err(Error::Conflict(_))));
    let first = take(&queue).await;
    assert!(matches!(queue.enqueue(&named("x")).await, Err(Error::Conflict(_))), "what is worked on counts");
    queue.complete(&first.ticket, None).await.unwrap();
    queue.enqueue(&named("x")).await.unwrap();
}

pub(crate) async fn a_lost_lease_is_refused(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[named("a")]).await;
    let late = queue.lease(&briefly(1)).await.unwrap().remove(0);
    let next = take(&queue).await;
    assert!(next.ticket.token > late.ticket.token);
    assert_eq!((next.job.attempt(), next.job.lost, next.job.failures), (2, 1, 0));
    let outcomes = [done(), failed("x"), Outcome::GivenUp { error: String::new() }, Outcome::Released { delay: BRIEF }];
    for outcome in outcomes {
        let settled = queue.settle(&[(late.ticket.clone(), outcome)]).await.unwrap();
        assert_eq!(settled, [Settled::Lost]);
    }
    assert_eq!(
        queue.extend(&[late.ticket.clone(), next.ticket.clone()], None).await.unwrap(),
        [Heartbeat::Lost, Heartbeat::Extended]
    );
    assert!(matches!(queue.complete(&late.ticket, None).await, Err(Error::Conflict(_))));
    assert_eq!(state_of(&queue, "a").await, State::Active);
    queue.complete(&next.ticket, None).await.unwrap();
    let unknown = Ticket { id: "nobody".to_owned(), token: 1 };
    assert_eq!(queue.settle(&[(unknown, done())]).await.unwrap(), [Settled::Lost]);
}

pub(crate) async fn a_late_outcome_counts_while_nobody_took_the_job_back(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[named("a")]).await;
    let late = queue.lease(&briefly(1)).await.unwrap().remove(0);
    eventually("the lease ends", || async { queue.counts().await.unwrap().overdue == 1 }).await;
    queue.complete(&late.ticket, None).await.unwrap();
    assert_eq!(state_of(&queue, "a").await, State::Completed);
}

pub(crate) async fn a_completed_job_is_not_done_again(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[named("a")]).await;
    let leased = queue.lease(&briefly(1)).await.unwrap().remove(0);
    queue.complete(&leased.ticket, None).await.unwrap();
    // The same, sent again by who did not hear the answer, is no news; something else is refused.
    queue.complete(&leased.ticket, None).await.unwrap();
    assert!(queue.fail(&leased.ticket, "afterwards").await.is_err());
    assert!(queue.release(&leased.ticket).await.is_err());
    assert_eq!(queue.extend(std::slice::from_ref(&leased.ticket), None).await.unwrap(), [Heartbeat::Lost]);
    assert_eq!(queue.requeue(Which::Ids(&["a".to_owned()])).await, Ok(0));
    let until = queue.lease(&LeaseOptions { wait: BRIEF * 3, ..up_to(9) }).await.unwrap();
    assert_eq!(until, [], "nothing is taken back");
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.completed_total, counts.lost_total, counts.bytes), (1, 0, 0));
}

pub(crate) async fn an_exchange_settles_and_leases_in_one_step(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[named("a"), named("b"), named("c")]).await;
    let two = queue.lease(&up_to(2)).await.unwrap();
    let gone = Ticket { id: "a".to_owned(), token: 7 };
    let outcomes = [
        (two[0].ticket.clone(), done()),
        (gone, done()),
        (two[0].ticket.clone(), done()),
        (two[1].ticket.clone(), Outcome::Released { delay: Duration::ZERO }),
    ];
    let exchanged = queue.exchange(&outcomes, &up_to(5)).await.unwrap();
    let completed = Settled::Done(State::Completed);
    assert_eq!(exchanged.settled, [completed, Settled::Lost, completed, Settled::Done(State::Waiting)]);
    assert_eq!(exchanged.jobs.iter().map(|leased| leased.job.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.completed_total, counts.active, counts.waiting), (1, 2, 0));
}

pub(crate) async fn results_live_as_long_as_they_should(place: Place) {
    let settings = JobSettings { completed_max: 0, ..JobSettings::default() };
    let queue = queue_with(&place, settings).await;
    enqueue(&queue, &[named("a"), named("b")]).await;
    let leased = queue.lease(&up_to(2)).await.unwrap();
    let result = |ms: i64| Outcome::Completed { result: Some(Payload::bytes(*b"17")), ttl: Some(Ttl::ms(ms).unwrap()) };
    queue.settle(&[(leased[0].ticket.clone(), result(60_000)), (leased[1].ticket.clone(), result(50))]).await.unwrap();
    // The history is empty, the results are there.
    let found = queue.job("a").await.unwrap();
    assert_eq!((found.job, found.result), (None, Some(Payload::bytes(*b"17"))));
    eventually("the result ends", || async { queue.job("b").await.is_err() }).await;
    // A new job of the same id has no result yet.
    enqueue(&queue, &[named("a")]).await;
    assert_eq!(queue.job("a").await.unwrap().result, None);
    assert!(matches!(queue.job("nobody").await, Err(Error::NotFound(_))));
}

pub(crate) async fn nothing_of_a_result_is_left_to_another_run(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[named("a")]).await;
    queue.complete(&take(&queue).await.ticket, Some(Payload::bytes(*b"old"))).await.unwrap();
    enqueue(&queue, &[named("a")]).await;
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    let found = queue.job("a").await.unwrap();
    assert_eq!((found.job.unwrap().state, found.result), (State::Completed, None));
}

pub(crate) async fn queues_and_tenants_are_apart(place: Place) {
    let services = place.services().await;
    let (one, other) = (tenant(), tenant());
    let queues = [
        services.jobs(&one).queue("a").unwrap(),
        services.jobs(&one).queue("a:b").unwrap(),
        services.jobs(&other).queue("a").unwrap(),
    ];
    for (number, queue) in queues.iter().enumerate() {
        assert_eq!(queue.enqueue(&named("x")).await.unwrap().existing, None);
        assert_eq!(queue.counts().await.unwrap().waiting, 1, "{number}");
    }
    queues[0].clear(State::Waiting, Which::All).await.unwrap();
    assert_eq!(queues[1].counts().await.unwrap().waiting, 1);
    assert!(services.jobs(&one).queue("").is_err());
}

/// What an operation over HTTP does, on every backend.
pub(crate) async fn jobs_round_trip(place: Place) {
    let services = place.services().await;
    let run = on_mail(&services);
    let text = r#"{"to":1.10,"from":null,"wide":12345678901234567890123456789012345678901234567890}"#;
    let payload: Json = serde_json::from_str(text).unwrap();
    let job = json!({"id": "a", "name": "send", "payload": payload});
    assert_eq!(run("enqueue", job.clone()).await, Ok(json!({"id": "a", "existing": null})));
    assert_eq!(run("enqueue", job).await, Ok(json!({"id": "a", "existing": "waiting"})));
    let two = json!({"jobs": [{"id": "b", "payload_base64": "AP8="}, {"id": "c", "delay_ms": 60000}]});
    let enqueued = json!({"jobs": [{"id": "b", "existing": null}, {"id": "c", "existing": null}]});
    assert_eq!(run("enqueue_many", two).await, Ok(enqueued));
    assert_eq!(run("job", json!({"id": "b"})).await.unwrap()["ahead"], json!(1));
    let leased = run("lease", json!({"count": 5})).await.unwrap();
    assert_eq!(leased["jobs"][0]["payload"].to_string(), text);
    assert_eq!((&leased["jobs"][1]["payload_base64"], &leased["jobs"][1]["attempt"]), (&json!("AP8="), &json!(1)));
    let of = |index: usize| json!({"id": leased["jobs"][index]["id"], "token": leased["jobs"][index]["token"]});
    let beat = run("extend", json!({"jobs": [of(1)], "progress": {"done": 0.5}})).await;
    assert_eq!(beat, Ok(json!({"heartbeats": ["extended"]})));
    assert_eq!(run("job", json!({"id": "b"})).await.unwrap()["progress"], json!({"done": 0.5}));
    let outcome = |index: usize, more: Json| {
        let mut outcome = of(index);
        outcome.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        outcome
    };
    let completed = outcome(0, json!({"outcome": "completed", "result": {"sent": true}}));
    assert_eq!(run("settle", json!({"outcomes": [completed]})).await, Ok(json!({"settled": ["completed"]})));
    let given_up = outcome(1, json!({"outcome": "given_up", "error": "no such address"}));
    let stale = json!({"id": "c", "token": 1, "outcome": "released"});
    let exchanged = run("lease", json!({"outcomes": [given_up, stale]})).await;
    assert_eq!(exchanged, Ok(json!({"settled": ["dead", null], "jobs": []})));
    assert_eq!(run("job", json!({"id": "a"})).await.unwrap()["result"], json!({"sent": true}));
    let dead = run("list", json!({"state": "dead"})).await.unwrap();
    assert_eq!(dead["jobs"][0]["error"], json!("no such address"));
    assert_eq!(run("requeue", json!({"ids": ["b"], "payload": [2]})).await, Ok(json!({"count": 1})));
    assert_eq!(run("pause", json!({})).await, Ok(json!({"changed": true})));
    assert_eq!(run("lease", json!({})).await.unwrap()["jobs"], json!([]));
    assert_eq!(run("resume", json!({})).await, Ok(json!({"changed": true})));
    assert_eq!(run("cancel", json!({"ids": ["c", "x"]})).await, Ok(json!({"states": ["cancelled", null]})));
    let counts = run("counts", json!({})).await.unwrap();
    assert_eq!((&counts["waiting"], &counts["completed"], &counts["dead_total"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(run("sweep", json!({})).await, Ok(json!({"expired": 0, "taken_back": 0, "due": 0})));
    assert_eq!(run("clear", json!({"state": "waiting"})).await, Ok(json!({"count": 1})));
    for (name, bad) in [
        ("enqueue", json!({"payload": 1, "payload_base64": "AA=="})),
        ("enqueue", json!({"payloda": 1})),
        ("enqueue", json!({"priority": 128})),
        ("settle", json!({"outcomes": []})),
        ("clear", json!({"state": "active"})),
        ("requeue", json!({"payload": 1})),
    ] {
        assert_eq!(run(name, bad.clone()).await.unwrap_err().status(), 422, "{name} {bad}");
    }
}
