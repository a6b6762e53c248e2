//! Tests of how workers end, and of who knows that they do: drain, hand-back, the registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redpoll_services::jobs::{Headers, JobSettings, LeaseOptions, NewJob, Payload, State, Which};
use redpoll_services::workers::{Context, Failure, MAX_HELD, Order, Seen, Stop, Unhandled, Worker, WorkerState};
use redpoll_services::{Command, Error, Services};
use serde_json::json;
use tokio::sync::Notify;

use crate::operations;
use crate::support::{Place, eventually, tenant};
use crate::workers::{Gate, SHORT, becomes, enqueue, gated, job, queue, queue_with, state_of};

/// How often a worker announces itself in these tests; three times as long it may be silent.
const OFTEN: Duration = Duration::from_millis(400);

pub(crate) async fn draining_lets_runs_end_and_hands_the_rest_back(place: Place) {
    // The naive way pops what it is going to work on, and is stopped.
    let (services, list) = (place.services().await, tenant().name().to_owned());
    let call = |command: Command| async { services.backend().call(command).await.unwrap().as_i64() };
    assert_eq!(call(Command::new("RPUSH").key(&list).arg("1").arg("2")).await, Some(2));
    drop(services.backend().call(Command::new("LPOP").key(&list).arg("2")).await.unwrap());
    assert_eq!(call(Command::new("LLEN").key(&list)).await, Some(0), "the naive worker takes its work along");

    let queue = queue(&place).await;
    let jobs: Vec<NewJob> = (0..6).map(|number| job(&number.to_string(), "slow")).collect();
    enqueue(&queue, &jobs).await;
    let gate = Gate::new();
    let running = gated(&queue, &gate).concurrency(2).prefetch(2).start().unwrap();
    gate.holds(2).await;
    eventually("some are prefetched", || async { running.prefetched() == 2 }).await;
    running.begin_stop();
    // What has not begun is handed back at once, while the others go on.
    eventually("the rest is back", || async { queue.counts().await.unwrap().waiting == 4 }).await;
    assert_eq!(queue.counts().await.unwrap().active, 2);
    gate.open(2);
    let summary = running.ended().await;
    assert_eq!((summary.completed, summary.handed_back, summary.untold), (2, 2, 0), "{summary:?}");
    // In their old places, and nobody counts it against them.
    let options = LeaseOptions { count: 9, ..LeaseOptions::default() };
    let left = queue.lease(&options).await.unwrap();
    let ids: Vec<(&str, u32)> = left.iter().map(|leased| (leased.job.id.as_str(), leased.job.attempt())).collect();
    assert_eq!(ids, [("2", 1), ("3", 1), ("4", 1), ("5", 1)]);
}

pub(crate) async fn what_does_not_end_in_time_is_cancelled_and_handed_back(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[job("polite", "polite"), job("deaf", "deaf")]).await;
    let saved = Arc::new(AtomicUsize::new(0));
    let running = Worker::new(queue.clone())
        .handle("polite", {
            let saved = saved.clone();
            move |cx: Context| {
                let saved = saved.clone();
                async move {
                    assert_eq!(cx.stopped().await, Stop::Draining);
                    saved.fetch_add(1, Ordering::SeqCst);
                    Err::<(), _>(Failure::release(Duration::ZERO))
                }
            }
        })
        .handle("deaf", |_| async {
            std::future::pending::<()>().await;
            Ok::<_, Failure>(())
        })
        .concurrency(2)
        .drain(Duration::from_millis(50))
        .grace(Duration::from_millis(50))
        .start()
        .unwrap();
    eventually("both run", || async { running.busy() == 2 }).await;
    let summary = running.stop().await;
    assert_eq!((summary.handed_back, summary.completed, summary.untold), (2, 0, 0), "{summary:?}");
    assert_eq!(saved.load(Ordering::SeqCst), 1);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.active, counts.lost_total), (2, 0, 0), "{counts:?}");
}

pub(crate) async fn a_blocking_handler_is_left_behind(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[job("quick", "quick"), job("stuck", "stuck")]).await;
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let running = Worker::new(queue.clone())
        .handle_blocking("quick", |cx: Context| Ok(cx.payload().clone()))
        .handle_blocking("stuck", move |_| {
            // Until the test lets it go.
            let _ = wait.lock().unwrap().recv();
            Ok(())
        })
        .concurrency(2)
        .drain(Duration::from_millis(50))
        .grace(Duration::from_millis(50))
        .start()
        .unwrap();
    becomes(&queue, "quick", State::Completed).await;
    eventually("it runs", || async { running.busy() == 1 }).await;
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.handed_back), (1, 1), "{summary:?}");
    assert_eq!(state_of(&queue, "stuck").await, Some(State::Waiting));
    drop(release);
}

pub(crate) async fn dropping_a_worker_drains_it(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[job("a", "slow"), job("b", "slow")]).await;
    let gate = Gate::new();
    let running = gated(&queue, &gate).prefetch(1).start().unwrap();
    gate.holds(1).await;
    eventually("one is prefetched", || async { running.prefetched() == 1 }).await;
    drop(running);
    becomes(&queue, "b", State::Waiting).await;
    gate.open(9);
    becomes(&queue, "a", State::Completed).await;
    assert_eq!(state_of(&queue, "b").await, Some(State::Waiting));
}

async fn listed(services: &Services, name: &str) -> Vec<Seen> {
    let tenant = redpoll_services::Tenant::new(name).unwrap();
    services.workers(&tenant).list(100).await.unwrap()
}

pub(crate) async fn a_dead_worker_is_never_shown_alive(place: Place) {
    let (services, tenant) = (place.services().await, tenant());
    let queue = services.jobs(&tenant).queue("mail").unwrap();
    // A worker in a runtime that ends without a word, as a process does that is killed.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (its_place, its_tenant, ready) = (place.clone(), tenant.clone(), Arc::new(Notify::new()));
    let has_started = ready.clone();
    runtime.spawn(async move {
        let services = its_place.services().await;
        let queue = services.jobs(&its_tenant).queue("mail").unwrap();
        let worker = gated(&queue, &Gate::new()).announce_every(OFTEN).name("victim");
        let running = worker.start().unwrap();
        has_started.notify_one();
        running.ended().await
    });
    // The naive way is a field that says so, until somebody says otherwise.
    let (naive, field) = (format!("naive:{}", tenant.name()), "victim");
    services.backend().call(Command::new("HSET").key(&naive).arg(field).arg("alive")).await.unwrap();
    ready.notified().await;
    let is_alive = || async {
        let seen = listed(&services, tenant.name()).await;
        seen.iter().any(|one| one.name == "victim" && one.is_alive)
    };
    eventually("it is alive", is_alive).await;
    // It stays so while it says so.
    let words = std::sync::Mutex::new(std::collections::HashSet::new());
    eventually("it is heard of again and again", || async {
        let seen = listed(&services, tenant.name()).await.remove(0);
        assert!(seen.is_alive && seen.state == WorkerState::Running, "{seen:?}");
        words.lock().unwrap().insert(seen.heard_ms);
        words.lock().unwrap().len() >= 5
    })
    .await;
    runtime.shutdown_background();
    eventually("it is dead", || async { !is_alive().await }).await;
    let naive = services.backend().call(Command::new("HGET").key(&naive).arg(field)).await.unwrap();
    assert_eq!(naive.as_str(), Some("alive"), "the naive list shows the dead alive");
    let dead = listed(&services, tenant.name()).await.remove(0);
    assert!(!dead.is_alive && dead.name == "victim");
    // Others that announce themselves do not bring it back, nor does one of its name.
    let running = gated(&queue, &Gate::new()).announce_every(OFTEN).name("victim").start().unwrap();
    let instance = running.instance().to_owned();
    eventually("the next is alive", is_alive).await;
    let seen = listed(&services, tenant.name()).await;
    assert_eq!(seen.len(), 2);
    for one in seen {
        assert_eq!(one.is_alive, one.instance == instance, "{one:?}");
    }
    running.stop().await;
    // Who stops leaves; the dead stays for a while.
    let seen = listed(&services, tenant.name()).await;
    assert_eq!(seen, [dead]);
}

pub(crate) async fn a_restarted_worker_is_another(place: Place) {
    let (services, tenant) = (place.services().await, tenant());
    let queue = services.jobs(&tenant).queue("mail").unwrap();
    enqueue(&queue, &[job("a", "slow")]).await;
    let first = Gate::new();
    let before = gated(&queue, &first).announce_every(OFTEN).name("w").start().unwrap();
    first.holds(1).await;
    let second = Gate::new();
    let after = gated(&queue, &second).announce_every(OFTEN).name("w").start().unwrap();
    assert_ne!(before.instance(), after.instance());
    eventually("both are listed", || async { listed(&services, tenant.name()).await.len() == 2 }).await;
    // The later one neither has the earlier one's job nor its numbers, and its end does not end the other.
    eventually("the first is busy", || async {
        let seen = listed(&services, tenant.name()).await;
        seen.iter().any(|one| one.instance == before.instance() && one.busy == 1)
    })
    .await;
    assert_eq!(after.busy(), 0);
    after.stop().await;
    assert_eq!(state_of(&queue, "a").await, Some(State::Active));
    first.open(1);
    becomes(&queue, "a", State::Completed).await;
    eventually("its numbers are its own", || async {
        let seen = listed(&services, tenant.name()).await;
        seen.len() == 1 && seen[0].totals.completed == 1 && seen[0].instance == before.instance()
    })
    .await;
    before.stop().await;
}

pub(crate) async fn workers_are_listed(place: Place) {
    let (services, tenant) = (place.services().await, tenant());
    let input = |count: u64| json!({"tenant": tenant.name(), "count": count});
    let run = |count: u64| operations::run(&services, "workers", "list", input(count));
    assert_eq!(run(10).await.unwrap(), json!({"workers": []}));
    let jobs = services.jobs(&tenant);
    let (mail, pay) = (jobs.queue("mail").unwrap(), jobs.queue("pay").unwrap());
    let gate = Gate::new();
    let running = gated(&mail, &gate).and(pay).concurrency(7).announce_every(OFTEN).name("w").start().unwrap();
    enqueue(&mail, &[job("a", "slow")]).await;
    eventually("it is busy", || async { run(10).await.unwrap()["workers"][0]["busy"] == json!(1) }).await;
    running.begin_stop();
    eventually("it drains", || async { run(10).await.unwrap()["workers"][0]["state"] == json!("draining") }).await;
    let told = run(1).await.unwrap()["workers"][0].clone();
    assert_eq!(
        (&told["name"], &told["queues"], &told["is_alive"]),
        (&json!("w"), &json!(["mail", "pay"]), &json!(true))
    );
    assert_eq!((&told["concurrency"], &told["process"]), (&json!(7), &json!(std::process::id())));
    gate.open(1);
    running.ended().await;
    assert_eq!(run(10).await.unwrap(), json!({"workers": []}));
    for bad in [0, 1001] {
        assert!(matches!(run(bad).await, Err(Error::InvalidInput { .. })), "{bad}");
    }
}

pub(crate) async fn what_a_worker_cannot_be(place: Place) {
    let services = place.services().await;
    let jobs = services.jobs(&tenant());
    let (one, other) = (jobs.queue("one").unwrap(), jobs.queue("other").unwrap());
    let worker = || gated(&one, &Gate::new());
    let strangers = services.jobs(&tenant()).queue("one").unwrap();
    for bad in [
        Worker::new(one.clone()),
        worker().concurrency(0),
        worker().concurrency(MAX_HELD).prefetch(1),
        worker().prefetch(usize::MAX),
        worker().limit("x", 0),
        worker().lease(Duration::from_millis(1)),
        worker().lease(Duration::MAX),
        worker().drain(Duration::MAX),
        worker().grace(Duration::MAX),
        worker().announce_every(Duration::ZERO),
        worker().name(""),
        worker().name("x".repeat(2000)),
        worker().and(one.clone()),
        worker().and(strangers),
        worker().and(other.clone()).order(Order::Weighted(vec![1])),
        worker().order(Order::Weighted(vec![0])),
        worker().unhandled(Unhandled::Release(Duration::ZERO)),
        worker().handle("x".repeat(256), |_| async { Ok::<_, Failure>(()) }),
    ] {
        let text = format!("{bad:?}");
        assert!(matches!(bad.start(), Err(Error::InvalidInput { .. })), "{text}");
    }
    worker().and(other).order(Order::Weighted(vec![1, 1000])).start().unwrap().stop().await;
}

pub(crate) async fn an_event_is_enqueued_once(place: Place) {
    let queue = queue(&place).await;
    let hour = Duration::from_secs(3600);
    assert!(queue.enqueue_once(&job("a", "send"), hour).await.unwrap());
    assert!(!queue.enqueue_once(&job("a", "send"), hour).await.unwrap());
    let leased = queue.lease(&LeaseOptions::default()).await.unwrap().remove(0);
    queue.complete(&leased.ticket, None).await.unwrap();
    // An ordinary enqueue would have it done again, as would one whose memory of ended jobs is over.
    assert!(!queue.enqueue_once(&job("a", "send"), hour).await.unwrap());
    queue.clear(State::Completed, Which::All).await.unwrap();
    assert!(!queue.enqueue_once(&job("a", "send"), hour).await.unwrap());
    assert_eq!(queue.counts().await.unwrap().waiting, 0);
    assert!(queue.enqueue(&job("a", "send")).await.unwrap().existing.is_none());
    // It is remembered for as long as was said.
    assert!(queue.enqueue_once(&job("b", "send"), Duration::from_millis(1)).await.unwrap());
    let leased = queue.lease(&LeaseOptions { count: 2, ..LeaseOptions::default() }).await.unwrap();
    queue.complete(&leased[1].ticket, None).await.unwrap();
    eventually("it is forgotten", || async {
        queue.enqueue_once(&job("b", "send"), Duration::from_millis(1)).await.unwrap()
    })
    .await;
    for (bad, remember) in [(NewJob::new("send", Payload::default()), hour), (job("c", "send"), Duration::ZERO)] {
        assert!(matches!(queue.enqueue_once(&bad, remember).await, Err(Error::InvalidInput { .. })));
    }
}

pub(crate) async fn headers_survive_requeueing(place: Place) {
    let queue = queue(&place).await;
    let headers = Headers::new().with("traceparent", "00-1:2-3").with("x", "é{}:17:");
    for (id, payload) in [("json", Payload::json(&json!({"a": 1})).unwrap()), ("bytes", Payload::bytes(*b"\0:9:\xff"))]
    {
        let job =
            NewJob { id: Some(id.to_owned()), headers: headers.clone(), ..NewJob::new("9:send", payload.clone()) };
        queue.enqueue(&job).await.unwrap();
        let leased = queue.lease(&LeaseOptions::default()).await.unwrap().remove(0);
        assert_eq!(
            (leased.job.name.as_str(), &leased.job.headers, leased.job.payload),
            ("9:send", &headers, Some(payload))
        );
        let given_up = redpoll_services::jobs::Outcome::GivenUp { error: "no".to_owned() };
        queue.settle_one(&leased.ticket, given_up).await.unwrap();
        let edited = Payload::bytes(*b"J3:abc");
        queue.requeue_edited(id, &edited).await.unwrap();
        let leased = queue.lease(&LeaseOptions::default()).await.unwrap().remove(0);
        assert_eq!(
            (leased.job.name.as_str(), &leased.job.headers, leased.job.payload),
            ("9:send", &headers, Some(edited))
        );
        queue.complete(&leased.ticket, None).await.unwrap();
    }
    assert_eq!(queue.counts().await.unwrap().bytes, 0);
    let bad = NewJob { headers: Headers::new().with("Bad Name", "x"), ..job("bad", "send") };
    assert!(matches!(queue.enqueue(&bad).await, Err(Error::InvalidInput { .. })));
}

pub(crate) async fn a_crash_between_leasing_and_running_loses_nothing(place: Place) {
    let (_, queue) = queue_with(&place, JobSettings { lease: SHORT, ..JobSettings::default() }).await;
    let patient = |number: usize| NewJob { lost_max: Some(9_999), ..job(&number.to_string(), "send") };
    let jobs: Vec<NewJob> = (0..20).map(patient).collect();
    enqueue(&queue, &jobs).await;
    // Workers that die at once, wherever they are: before, while and after they lease.
    for death in 0..10 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let its_queue = queue_with_same(&place, &queue).await;
        let (start, started) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let worker = gated(&its_queue, &Gate::new()).concurrency(2).prefetch(2).lease(SHORT);
            let running = worker.start().unwrap();
            let _ = start.send(());
            running.ended().await
        });
        started.await.unwrap();
        for _ in 0..death * 3 {
            tokio::task::yield_now().await;
        }
        runtime.shutdown_background();
    }
    let done = Worker::new(queue.clone()).fallback(|_| async { Ok::<_, Failure>(()) }).concurrency(4);
    let running = done.lease(SHORT).start().unwrap();
    eventually("all are done", || async { queue.counts().await.unwrap().completed_total == 20 }).await;
    running.stop().await;
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.active, counts.dead_total), (0, 0, 0), "{counts:?}");
}

/// Opens the queue over connections of its own, which end with its runtime.
async fn queue_with_same(place: &Place, queue: &redpoll_services::jobs::Queue) -> redpoll_services::jobs::Queue {
    let settings = redpoll_services::Settings {
        jobs: JobSettings { lease: SHORT, ..JobSettings::default() },
        ..redpoll_services::Settings::default()
    };
    place.services_with(settings).await.jobs(queue.tenant()).queue(queue.name()).unwrap()
}

#[test]
fn a_runtime_that_ends_takes_its_workers_along_quietly() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Of workers themselves: tests beside this one have handlers that panic.
        let is_ours = panic.location().is_some_and(|place| place.file().contains("src/workers"));
        PANICS.fetch_add(usize::from(is_ours), Ordering::SeqCst);
        before(panic);
    }));
    for _ in 0..20 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let services = Place::embedded().services().await;
            let jobs = services.jobs(&tenant());
            let (one, other) = (jobs.queue("one").unwrap(), jobs.queue("other").unwrap());
            enqueue(&one, &[job("a", "slow")]).await;
            let gate = Gate::new();
            let running = gated(&one, &gate).and(other).concurrency(2).start().unwrap();
            gate.holds(1).await;
            tokio::spawn(running.ended());
        });
        drop(runtime);
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
