//! Tests of workers: what handlers answer becomes what the job is, what is held keeps its lease, and nothing is dropped at the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_services::jobs::{Commit, Effect, Headers, JobSettings, NewJob, Payload, Queue, State};
use redpoll_services::workers::{Context, Done, Failure, Order, Unhandled, Worker};
use redpoll_services::{Error, Services, Settings};
use tokio::sync::Semaphore;

use crate::support::{Place, eventually, tenant};

/// A lease that is over soon if nobody renews it.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

pub(crate) async fn queue(place: &Place) -> Queue {
    queue_with(place, JobSettings::default()).await.1
}

pub(crate) async fn queue_with(place: &Place, jobs: JobSettings) -> (Services, Queue) {
    let services = place.services_with(Settings { jobs, ..Settings::default() }).await;
    let queue = services.jobs(&tenant()).queue("mail").unwrap();
    (services, queue)
}

pub(crate) fn job(id: &str, name: &str) -> NewJob {
    NewJob { id: Some(id.to_owned()), ..NewJob::new(name, Payload::bytes(id)) }
}

pub(crate) async fn state_of(queue: &Queue, id: &str) -> Option<State> {
    queue.job(id).await.ok()?.job.map(|job| job.state)
}

pub(crate) async fn becomes(queue: &Queue, id: &str, state: State) {
    eventually(&format!("{id} {state:?}"), || async { state_of(queue, id).await == Some(state) }).await;
}

pub(crate) async fn enqueue(queue: &Queue, jobs: &[NewJob]) {
    let enqueued = queue.enqueue_many(jobs).await.unwrap();
    assert!(enqueued.iter().all(|one| one.existing.is_none()), "{enqueued:?}");
}

/// A worker that notes which jobs it has done, in their order.
fn noting(queue: &Queue) -> (Worker, Arc<Mutex<Vec<String>>>) {
    let done = Arc::new(Mutex::new(Vec::new()));
    let noted = done.clone();
    let worker = Worker::new(queue.clone()).fallback(move |cx: Context| {
        noted.lock().unwrap().push(cx.job().id.clone());
        async { Ok::<_, Failure>(()) }
    });
    (worker, done)
}

async fn all_noted(done: &Mutex<Vec<String>>, count: usize) -> Vec<String> {
    eventually("all are done", || async { done.lock().unwrap().len() >= count }).await;
    done.lock().unwrap().clone()
}

/// A place where handlers wait until the test lets them go on.
#[derive(Clone)]
pub(crate) struct Gate {
    inside: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { inside: Arc::default(), permits: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) async fn pass(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self, count: usize) {
        self.permits.add_permits(count);
    }

    pub(crate) async fn holds(&self, count: usize) {
        eventually("handlers run", || async { self.inside() == count }).await;
    }
}

pub(crate) async fn what_handlers_answer_becomes_of_jobs(place: Place) {
    let (_, queue) = queue_with(&place, JobSettings { result_max: 100, ..JobSettings::default() }).await;
    let names = ["done", "result", "fail", "give_up", "release", "panic", "late_panic", "large", "error", "stranger"];
    let jobs: Vec<NewJob> = names.iter().map(|name| NewJob { attempts_max: Some(1), ..job(name, name) }).collect();
    enqueue(&queue, &jobs).await;
    let hour = Duration::from_secs(3600);
    let running = Worker::new(queue.clone())
        .handle("done", |_| async { Ok::<_, Failure>(()) })
        .handle("result", |cx: Context| async move { Ok::<_, Failure>(cx.payload().clone()) })
        .handle("fail", |_| async { Err::<(), _>(Failure::new("no such host")) })
        .handle("give_up", |_| async { Err::<(), _>(Failure::give_up("no such user")) })
        .handle("release", move |_| async move { Err::<(), _>(Failure::release(hour)) })
        .handle("panic", |_| -> std::future::Ready<Result<(), Failure>> { panic!("while {} is made", "the future") })
        .handle("late_panic", |_| async {
            tokio::task::yield_now().await;
            if true {
                panic!("out of bounds");
            }
            Ok::<_, Failure>(())
        })
        .handle("large", |_| async { Ok::<_, Failure>(Done::from(Payload::bytes(vec![0; 101]))) })
        .handle("error", |_| async { Ok::<_, Failure>(_ = "x".parse::<u32>()?) })
        .concurrency(3)
        .start()
        .unwrap();
    for (id, state, error) in [
        ("done", State::Completed, None),
        ("result", State::Completed, None),
        ("fail", State::Dead, Some("no such host")),
        ("give_up", State::Dead, Some("no such user")),
        ("release", State::Delayed, None),
        ("panic", State::Dead, Some("panicked: while the future is made")),
        ("late_panic", State::Dead, Some("panicked: out of bounds")),
        ("large", State::Dead, Some("what the handler answered cannot be kept")),
        ("error", State::Dead, Some("invalid digit found in string")),
        ("stranger", State::Dead, Some("no handler for jobs named \"stranger\"")),
    ] {
        becomes(&queue, id, state).await;
        let found = queue.job(id).await.unwrap();
        match (found.error, error) {
            (None, None) => {}
            (Some(told), Some(error)) => assert!(told.contains(error), "{id}: {told}"),
            (told, error) => panic!("{id}: {told:?}, not {error:?}"),
        }
    }
    assert_eq!(queue.job("result").await.unwrap().result, Some(Payload::bytes(*b"result")));
    // Panics have not ended the worker.
    enqueue(&queue, &[job("again", "done")]).await;
    becomes(&queue, "again", State::Completed).await;
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.failed, summary.handed_back, summary.lost), (3, 7, 1, 0), "{summary:?}");
}

pub(crate) async fn jobs_that_nothing_handles(place: Place) {
    for (policy, state) in [
        (Unhandled::Fail, State::Delayed),
        (Unhandled::GiveUp, State::Dead),
        (Unhandled::Release(Duration::from_secs(60)), State::Delayed),
    ] {
        let queue = queue(&place).await;
        enqueue(&queue, &[job("a", "stranger")]).await;
        let worker = Worker::new(queue.clone()).handle("known", |_| async { Ok::<_, Failure>(()) });
        let running = worker.unhandled(policy).start().unwrap();
        becomes(&queue, "a", state).await;
        running.stop().await;
        let failures = queue.job("a").await.unwrap().job.unwrap().failures;
        assert_eq!(failures, u32::from(!matches!(policy, Unhandled::Release(_))), "{policy:?}");
    }
}

pub(crate) async fn queues_are_worked_off_in_their_order(place: Place) {
    let services = place.services().await;
    let jobs = services.jobs(&tenant());
    let (high, low) = (jobs.queue("high").unwrap(), jobs.queue("low").unwrap());
    for (queue, name) in [(&low, "low"), (&high, "high")] {
        let all: Vec<NewJob> = (0..20).map(|number| job(&format!("{name}{number}"), "send")).collect();
        enqueue(queue, &all).await;
    }
    let (worker, done) = noting(&high);
    let running = worker.and(low.clone()).start().unwrap();
    let order = all_noted(&done, 40).await;
    assert!(order[..20].iter().all(|id| id.starts_with("high")), "{order:?}");
    // What comes later to either is found, and the wait for both leaves nothing leased behind.
    for queue in [&low, &high, &low] {
        let count = done.lock().unwrap().len();
        enqueue(queue, &[job(&format!("late{count}"), "send")]).await;
        all_noted(&done, count + 1).await;
    }
    assert_eq!(running.stop().await.completed, 43);
    for queue in [&high, &low] {
        let counts = queue.counts().await.unwrap();
        assert_eq!((counts.waiting, counts.active, counts.lost_total), (0, 0, 0), "{counts:?}");
    }
}

pub(crate) async fn one_at_a_time_they_begin_in_order(place: Place) {
    let queue = queue(&place).await;
    let jobs: Vec<NewJob> = (0..300).map(|number| job(&number.to_string(), "send")).collect();
    enqueue(&queue, &jobs).await;
    let (worker, done) = noting(&queue);
    let running = worker.prefetch(20).start().unwrap();
    let order = all_noted(&done, 300).await;
    assert_eq!(order, (0..300).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    assert_eq!(running.stop().await.completed, 300);
}

pub(crate) async fn weighted_queues_share(place: Place) {
    let services = place.services().await;
    let jobs = services.jobs(&tenant());
    let (one, other) = (jobs.queue("one").unwrap(), jobs.queue("other").unwrap());
    for (queue, name) in [(&one, "one"), (&other, "other")] {
        let all: Vec<NewJob> = (0..100).map(|number| job(&format!("{name}{number}"), "send")).collect();
        enqueue(queue, &all).await;
    }
    let (worker, done) = noting(&one);
    let running = worker.and(other).order(Order::Weighted(vec![3, 1])).start().unwrap();
    let order = all_noted(&done, 200).await;
    running.stop().await;
    let ones = order[..80].iter().filter(|id| id.starts_with("one")).count();
    // 60 are expected; the chance of fewer than 42 or more than 75 is below one in ten thousand.
    assert!((42..=75).contains(&ones), "{ones} of the first 80");
}

pub(crate) async fn bounds_of_runs_hold(place: Place) {
    let queue = queue(&place).await;
    let jobs: Vec<NewJob> =
        (0..60).map(|number| job(&number.to_string(), if number < 40 { "heavy" } else { "light" })).collect();
    enqueue(&queue, &jobs).await;
    let (most, most_heavy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gate, heavy_gate) = (Gate::new(), Gate::new());
    let handler = |own: &Gate, heavy: &'static str| {
        let (own, gates) = (own.clone(), [gate.clone(), heavy_gate.clone()]);
        let (most, most_heavy) = (most.clone(), most_heavy.clone());
        move |_| {
            let [all, heavies] = [&gates[..], &gates[1..]].map(|gates| gates.iter().map(Gate::inside).sum::<usize>());
            most.fetch_max(all + 1, Ordering::SeqCst);
            most_heavy.fetch_max(heavies + heavy.len(), Ordering::SeqCst);
            let own = own.clone();
            async move {
                own.pass().await;
                Ok::<_, Failure>(())
            }
        }
    };
    let running = Worker::new(queue.clone())
        .handle("heavy", handler(&heavy_gate, "1"))
        .handle("light", handler(&gate, ""))
        .concurrency(8)
        .limit("heavy", 2)
        .prefetch(4)
        .start()
        .unwrap();
    // Forty heavy jobs are first, and still the light ones get the places that the heavy may not take.
    heavy_gate.holds(2).await;
    gate.holds(6).await;
    assert_eq!(running.busy(), 8);
    heavy_gate.open(40);
    gate.open(20);
    eventually("all are done", || async { queue.counts().await.unwrap().completed_total == 60 }).await;
    let seen = (most.load(Ordering::SeqCst), most_heavy.load(Ordering::SeqCst));
    assert!(seen.0 <= 8 && seen.1 <= 2, "{seen:?}");
    assert_eq!(running.stop().await.failed, 0);
    assert_eq!(queue.counts().await.unwrap().lost_total, 0);
}

/// A worker whose handlers wait at a gate.
pub(crate) fn gated(queue: &Queue, gate: &Gate) -> Worker {
    let gate = gate.clone();
    Worker::new(queue.clone()).fallback(move |_| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok::<_, Failure>(())
        }
    })
}

pub(crate) async fn progress_commit_and_headers_of_a_run(place: Place) {
    let (services, queue) = queue_with(&place, JobSettings::default()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = Headers::new().with("traceparent", trace).with("tracestate", "a=b");
    enqueue(&queue, &[NewJob { headers: headers.clone(), ..job("a", "pay") }]).await;
    let gate = Gate::new();
    let running = Worker::new(queue.clone())
        .handle("pay", {
            let gate = gate.clone();
            move |cx: Context| {
                let gate = gate.clone();
                async move {
                    assert_eq!(cx.trace().unwrap().tracestate, Some("a=b"));
                    assert_eq!(cx.progress(&Payload::json(&0.5)?).await?, None);
                    gate.pass().await;
                    let follow = NewJob { headers: cx.job().headers.clone(), ..job("receipt", "receipt") };
                    let effects = vec![("paid".to_owned(), Effect::Add { by: 5 })];
                    let commit = Commit { effects, jobs: vec![follow], ..Commit::default() };
                    cx.commit(&commit).await?;
                    assert!(matches!(cx.commit(&commit).await, Err(Error::Conflict(_))), "it is done once");
                    // What comes after that changes nothing.
                    Err::<(), _>(Failure::new("too late to fail"))
                }
            }
        })
        .handle("receipt", move |cx: Context| {
            assert_eq!(cx.trace().unwrap().traceparent, trace);
            async { Ok::<_, Failure>(()) }
        })
        .start()
        .unwrap();
    gate.holds(1).await;
    assert_eq!(queue.job("a").await.unwrap().progress, Some(Payload::json(&0.5).unwrap()));
    assert_eq!(queue.job("a").await.unwrap().job.unwrap().headers, headers);
    gate.open(1);
    becomes(&queue, "receipt", State::Completed).await;
    assert_eq!(state_of(&queue, "a").await, Some(State::Completed));
    let command = redpoll_services::Command::new("GET").key(queue.data_key("paid").unwrap().as_str());
    assert_eq!(services.backend().call(command).await.unwrap().as_str(), Some("5"));
    assert_eq!(running.stop().await.completed, 2);
}
