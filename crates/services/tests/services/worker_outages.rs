//! Workers whose store goes away or hears little: what has ended is told when it is back, and nothing is begun that may be another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redpoll_services::jobs::{NewJob, Payload, State};
use redpoll_services::workers::{Context, Failure, Worker};
use redpoll_testkit::{Mode, Proxy, RedisServer};

use crate::support::{Place, eventually};
use crate::worker_chaos::{LEASE, behind, mail, numbered, settings, unique};
use crate::workers::{Gate, becomes, enqueue, gated, job, state_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_while_the_store_was_away_is_told_when_it_is_back() {
    let server = RedisServer::start().unwrap();
    let (proxy, prefix) = (Proxy::start(server.address()).unwrap(), unique());
    let services = Place::at(server.url()).services_with(settings(&prefix)).await;
    let queue = mail(&services);
    let gate = Gate::new();
    let running = gated(&mail(&behind(&proxy, &prefix)), &gate).concurrency(2).lease(LEASE).start().unwrap();
    for mode in [Mode::Silent, Mode::Refuse] {
        let ids = [format!("{mode:?}-kept"), format!("{mode:?}-lost")];
        enqueue(&queue, &[job(&ids[0], "send"), job(&ids[1], "send")]).await;
        gate.holds(2).await;
        proxy.set(mode);
        proxy.cut();
        // Nobody renews any more. One of the two is another's by the time the store is back.
        eventually("the leases end", || async { queue.counts().await.unwrap().overdue == 2 }).await;
        eventually("they are taken back", || async { queue.sweep().await.unwrap().taken_back > 0 }).await;
        let mut taken =
            queue.lease(&redpoll_services::jobs::LeaseOptions { count: 2, ..Default::default() }).await.unwrap();
        let lost_before = running.summary().lost;
        gate.open(2);
        gate.holds(0).await;
        queue.complete(&taken.pop().unwrap().ticket, None).await.unwrap();
        let held = taken.pop().unwrap();
        proxy.set(Mode::Pass);
        eventually("its outcomes are refused", || async { running.summary().lost == lost_before + 2 }).await;
        assert_eq!(state_of(&queue, &held.ticket.id).await, Some(State::Active));
        queue.complete(&held.ticket, None).await.unwrap();
    }
    // What nobody has taken back is its own still, however late.
    enqueue(&queue, &[job("late", "send")]).await;
    gate.holds(1).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    eventually("the lease ends", || async { queue.counts().await.unwrap().overdue == 1 }).await;
    gate.open(1);
    gate.holds(0).await;
    proxy.set(Mode::Pass);
    becomes(&queue, "late", State::Completed).await;
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.untold), (1, 0), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_lease_is_not_known_to_hold_is_not_begun() {
    let server = RedisServer::start().unwrap();
    let (proxy, prefix) = (Proxy::start(server.address()).unwrap(), unique());
    let services = Place::at(server.url()).services_with(settings(&prefix)).await;
    let queue = mail(&services);
    // The time of the last begins with its run, which only the store can say.
    let limited = NewJob { timeout: Some(Duration::from_secs(3_600)), ..job("limited", "send") };
    enqueue(&queue, &[job("slow", "slow"), job("plain", "send"), limited]).await;
    let (gate, ran) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let counted = ran.clone();
    let worker = gated(&mail(&behind(&proxy, &prefix)), &gate).handle("send", move |_: Context| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Failure>(()) }
    });
    let running = worker.prefetch(2).lease(LEASE).start().unwrap();
    gate.holds(1).await;
    eventually("the others are prefetched", || async { running.prefetched() == 2 }).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    eventually("the leases end", || async { queue.counts().await.unwrap().overdue == 3 }).await;
    gate.open(1);
    eventually("nothing is left here", || async { running.prefetched() + running.busy() == 0 }).await;
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    // They are handed back when the store is there again, and begun as anybody's.
    proxy.set(Mode::Pass);
    for id in ["slow", "plain", "limited"] {
        becomes(&queue, id, State::Completed).await;
    }
    let summary = running.stop().await;
    assert!(summary.completed == 3 && summary.handed_back >= 2, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_results_are_told_a_few_at_a_time() {
    // A client whose command is larger than this is disconnected while it is read.
    let server = RedisServer::start_with(&["--maxmemory-clients", "14mb"]).unwrap();
    let services = Place::at(server.url()).services_with(settings(&unique())).await;
    let queue = mail(&services);
    enqueue(&queue, &numbered(40)).await;
    let gate = Gate::new();
    let worker = Worker::new(queue.clone()).fallback({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok::<_, Failure>(Payload::bytes(vec![b'x'; 1_000_000]))
            }
        }
    });
    let running = worker.concurrency(40).start().unwrap();
    gate.holds(40).await;
    gate.open(40);
    eventually("all are done", || async { queue.counts().await.unwrap().completed_total == 40 }).await;
    let summary = running.stop().await;
    assert_eq!((summary.completed, summary.untold), (40, 0), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_a_store_stops_and_says_what_it_could_not_tell() {
    let server = RedisServer::start().unwrap();
    let (proxy, prefix) = (Proxy::start(server.address()).unwrap(), unique());
    let services = Place::at(server.url()).services_with(settings(&prefix)).await;
    enqueue(&mail(&services), &[job("a", "send"), job("b", "send")]).await;
    let gate = Gate::new();
    let worker = gated(&mail(&behind(&proxy, &prefix)), &gate).prefetch(1).lease(LEASE);
    let running = worker.drain(Duration::from_millis(100)).grace(Duration::from_millis(100)).start().unwrap();
    gate.holds(1).await;
    eventually("one is prefetched", || async { running.prefetched() == 1 }).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    gate.open(1);
    let summary = running.stop().await;
    assert_eq!((summary.untold, summary.completed), (2, 0), "{summary:?}");
    // Nothing is lost by that: the leases end.
    eventually("both are back", || async {
        mail(&services).sweep().await.unwrap();
        mail(&services).counts().await.unwrap().waiting == 2
    })
    .await;
}
