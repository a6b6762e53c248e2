//! Tests of leases that workers hold: they last as long as a run or a place among the prefetched does, and a lost one is known to be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redpoll_services::jobs::{JobSettings, LeaseOptions, NewJob, Queue, State, Ticket};
use redpoll_services::workers::{Context, Failure, Stop, Worker};
use redpoll_services::{Command, Error, Services};
use tokio::sync::Notify;

use crate::support::{Place, eventually};
use crate::workers::{Gate, SHORT, becomes, enqueue, gated, job, queue, queue_with, state_of};

/// A lease that is over soon, and still is not lost when a busy machine stands still for two seconds between two renewals.
pub(crate) const LASTING: Duration = Duration::from_secs(4);

/// Waits for longer than leases last that nobody renews, watching that none is lost.
pub(crate) async fn leases_last(queue: &Queue, held: u64) {
    let begun = Instant::now();
    while begun.elapsed() < LASTING + SHORT {
        tokio::time::sleep(Duration::from_millis(10)).await;
        queue.sweep().await.unwrap();
        let counts = queue.counts().await.unwrap();
        assert_eq!((counts.active, counts.waiting, counts.lost_total), (held, 0, 0), "{counts:?}");
    }
}

pub(crate) async fn a_slow_handler_keeps_its_job(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[job("a", "slow")]).await;
    let gate = Gate::new();
    let running = gated(&queue, &gate).lease(LASTING).start().unwrap();
    gate.holds(1).await;
    leases_last(&queue, 1).await;
    gate.open(1);
    becomes(&queue, "a", State::Completed).await;
    assert_eq!(running.stop().await.completed, 1);
    // Without renewals the lease is over by then.
    enqueue(&queue, &[job("b", "slow")]).await;
    let naive = queue.lease(&LeaseOptions { lease: Some(SHORT), ..LeaseOptions::default() }).await.unwrap().remove(0);
    eventually("it is taken back", || async { queue.sweep().await.unwrap().taken_back == 1 }).await;
    assert!(matches!(queue.complete(&naive.ticket, None).await, Err(Error::Conflict(_))));
}

pub(crate) async fn prefetched_jobs_keep_their_leases_behind_a_slow_handler(place: Place) {
    let queue = queue(&place).await;
    // The last may run for less long than it has to wait here: its time begins with its run.
    let limited = NewJob { timeout: Some(LASTING), ..job("limited", "slow") };
    enqueue(&queue, &[job("a", "slow"), job("b", "slow"), job("c", "slow"), limited]).await;
    let gate = Gate::new();
    let running = gated(&queue, &gate).lease(LASTING).prefetch(5).start().unwrap();
    gate.holds(1).await;
    eventually("all are held", || async { running.prefetched() == 3 }).await;
    leases_last(&queue, 4).await;
    gate.open(4);
    for id in ["a", "b", "c", "limited"] {
        becomes(&queue, id, State::Completed).await;
        let job = queue.job(id).await.unwrap().job.unwrap();
        assert_eq!((job.failures, job.lost), (0, 0), "{id}");
    }
    assert_eq!(running.stop().await.completed, 4);
}

pub(crate) async fn prefetched_jobs_of_short_runs_are_held_as_long_as_others(place: Place) {
    let queue = queue(&place).await;
    let limited = NewJob { timeout: Some(LASTING), ..job("limited", "slow") };
    enqueue(&queue, &[job("a", "slow"), limited]).await;
    let gate = Gate::new();
    // By its leases alone the worker would be heard of long after the limited one is over.
    let running = gated(&queue, &gate).lease(LASTING * 60).prefetch(5).start().unwrap();
    gate.holds(1).await;
    eventually("both are held", || async { running.prefetched() == 1 }).await;
    leases_last(&queue, 2).await;
    gate.open(2);
    for id in ["a", "limited"] {
        becomes(&queue, id, State::Completed).await;
        let job = queue.job(id).await.unwrap().job.unwrap();
        assert_eq!((job.failures, job.lost), (0, 0), "{id}");
    }
    assert_eq!(running.stop().await.completed, 2);
}

pub(crate) async fn what_is_cancelled_or_lost_before_it_began_is_not_run(place: Place) {
    let (services, queue) = queue_with(&place, JobSettings::default()).await;
    enqueue(&queue, &[job("slow", "slow"), job("cancelled", "send"), job("lost", "send"), job("kept", "send")]).await;
    let (gate, ran) = (Gate::new(), Arc::new(Mutex::new(Vec::new())));
    let noted = ran.clone();
    let worker = gated(&queue, &gate).handle("send", move |cx: Context| {
        noted.lock().unwrap().push(cx.job().id.clone());
        async { Ok::<_, Failure>(()) }
    });
    let running = worker.prefetch(3).start().unwrap();
    gate.holds(1).await;
    eventually("all are held", || async { running.prefetched() == 3 }).await;
    let token = token_of(&services, &queue, "lost").await;
    queue.release(&Ticket { id: "lost".to_owned(), token }).await.unwrap();
    let next = queue.lease(&LeaseOptions::default()).await.unwrap().remove(0);
    queue.cancel(&["cancelled".to_owned()]).await.unwrap();
    becomes(&queue, "cancelled", State::Cancelled).await;
    eventually("both are gone", || async { running.prefetched() == 1 }).await;
    gate.open(1);
    becomes(&queue, "kept", State::Completed).await;
    assert_eq!(*ran.lock().unwrap(), ["kept"]);
    queue.complete(&next.ticket, None).await.unwrap();
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.lost, summary.handed_back), (2, 1, 1), "{summary:?}");
}

pub(crate) async fn a_lease_lost_in_the_middle_is_not_reported_as_done(place: Place) {
    let (services, queue) = queue_with(&place, JobSettings::default()).await;
    enqueue(&queue, &[job("a", "send"), job("late", "late")]).await;
    let (told, gate) = (Arc::new(Mutex::new(None)), Gate::new());
    let running = Worker::new(queue.clone())
        .handle("send", {
            let (told, gate) = (told.clone(), gate.clone());
            move |cx: Context| {
                let (told, gate) = (told.clone(), gate.clone());
                async move {
                    gate.pass().await;
                    *told.lock().unwrap() = Some(cx.stopped().await);
                    Ok::<_, Failure>(())
                }
            }
        })
        .handle("late", {
            let gate = gate.clone();
            move |_| {
                let gate = gate.clone();
                async move {
                    gate.pass().await;
                    Ok::<_, Failure>(())
                }
            }
        })
        .concurrency(2)
        .lease(Duration::from_secs(3))
        .start()
        .unwrap();
    gate.holds(2).await;
    // Somebody takes both jobs away from it: one handler is told, the other has ended before the next heartbeat.
    let mut tickets = Vec::new();
    for id in ["a", "late"] {
        let token = token_of(&services, &queue, id).await;
        queue.release(&Ticket { id: id.to_owned(), token }).await.unwrap();
    }
    let options = LeaseOptions { count: 2, ..LeaseOptions::default() };
    for leased in queue.lease(&options).await.unwrap() {
        tickets.push(leased.ticket);
    }
    assert_eq!(tickets.len(), 2);
    gate.open(2);
    eventually("both have ended", || async { running.summary().lost == 2 }).await;
    assert_eq!(*told.lock().unwrap(), Some(Stop::LeaseLost));
    for ticket in &tickets {
        assert_eq!(state_of(&queue, &ticket.id).await, Some(State::Active), "the next holder has it still");
        queue.complete(ticket, None).await.unwrap();
    }
    assert_eq!(running.stop().await.completed, 0);
}

/// Reads the token of a job's lease from its state, as nobody but its holder is told.
async fn token_of(services: &Services, queue: &Queue, id: &str) -> u64 {
    let key = queue.data_key("x").unwrap().as_str().replace(":u:x", ":s");
    let command = Command::new("HGET").key(key).arg(id);
    let state = services.backend().call(command).await.unwrap();
    state.as_str().unwrap()[25..41].parse().unwrap()
}

pub(crate) async fn a_running_job_is_cancelled_at_once(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[job("polite", "polite"), job("deaf", "deaf"), job("done", "done")]).await;
    let (told, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let running = Worker::new(queue.clone())
        .handle("polite", {
            let told = told.clone();
            move |cx: Context| {
                let told = told.clone();
                async move {
                    assert_eq!(cx.stopped().await, Stop::Cancelled);
                    told.notify_one();
                    Err::<(), _>(Failure::new("was told to stop"))
                }
            }
        })
        .handle("deaf", {
            let dropped = dropped.clone();
            move |_| {
                let dropped = Count(dropped.clone());
                async move {
                    std::future::pending::<()>().await;
                    drop(dropped);
                    Ok::<_, Failure>(())
                }
            }
        })
        .handle("done", |cx: Context| async move {
            cx.stopped().await;
            Ok::<_, Failure>(())
        })
        .concurrency(3)
        .grace(Duration::from_millis(100))
        .start()
        .unwrap();
    eventually("all run", || async { running.busy() == 3 }).await;
    let begun = Instant::now();
    queue.cancel(&["polite".to_owned(), "deaf".to_owned(), "done".to_owned()]).await.unwrap();
    becomes(&queue, "polite", State::Cancelled).await;
    told.notified().await;
    becomes(&queue, "deaf", State::Cancelled).await;
    // A third of the lease is ten seconds; the hint has been heard long before, or at least its board looked again.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    // Who says that it is done all the same is believed.
    becomes(&queue, "done", State::Completed).await;
    running.stop().await;
}

/// Counts when it is dropped.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) async fn a_run_that_takes_too_long_is_ended(place: Place) {
    let queue = queue(&place).await;
    enqueue(&queue, &[NewJob { timeout: Some(SHORT), attempts_max: Some(1), ..job("a", "slow") }]).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let running = Worker::new(queue.clone())
        .handle("slow", {
            let dropped = dropped.clone();
            move |_| {
                let dropped = Count(dropped.clone());
                async move {
                    std::future::pending::<()>().await;
                    drop(dropped);
                    Ok::<_, Failure>(())
                }
            }
        })
        .start()
        .unwrap();
    becomes(&queue, "a", State::Dead).await;
    assert!(queue.job("a").await.unwrap().error.unwrap().starts_with("timed out"));
    eventually("it is dropped", || async { dropped.load(Ordering::SeqCst) == 1 }).await;
    running.stop().await;
}

pub(crate) async fn a_run_that_never_rests_is_ended_all_the_same(place: Place) {
    let queue = queue(&place).await;
    let limited = |id: &str, name: &str| NewJob { timeout: Some(SHORT), attempts_max: Some(1), ..job(id, name) };
    enqueue(&queue, &[limited("a", "greedy"), limited("b", "busy")]).await;
    let told = Arc::new(AtomicUsize::new(0));
    let running = Worker::new(queue.clone())
        .concurrency(2)
        // Always ready, it uses up what a task may do at once each time it is polled.
        .handle("greedy", |_| async {
            loop {
                tokio::task::consume_budget().await;
            }
            #[expect(unreachable_code, reason = "it says what is answered")]
            Ok::<_, Failure>(())
        })
        // Nobody else runs on its thread; it asks by itself.
        .handle("busy", {
            let told = told.clone();
            move |cx: Context| {
                let told = told.clone();
                async move {
                    while cx.stop_reason().is_none() {
                        std::thread::yield_now();
                    }
                    told.fetch_add(usize::from(cx.stop_reason() == Some(Stop::TimedOut)), Ordering::SeqCst);
                    Err::<(), _>(Failure::new("timed out by its own account"))
                }
            }
        })
        .start()
        .unwrap();
    for id in ["a", "b"] {
        becomes(&queue, id, State::Dead).await;
        assert!(queue.job(id).await.unwrap().error.unwrap().starts_with("timed out"));
    }
    eventually("both have ended here too", || async { running.busy() == 0 }).await;
    assert_eq!(told.load(Ordering::SeqCst), 1);
    running.stop().await;
}
