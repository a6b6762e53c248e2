//! How job queues fail elsewhere, each beside the naive way that fails so.

use std::sync::Arc;
use std::time::Duration;

use redpoll_services::jobs::{
    JobSettings, LeaseOptions, MAX_BATCH_BYTES, NewJob, Outcome, Payload, Settled, State, Ticket,
};
use redpoll_services::metrics::Counter;
use redpoll_services::{Backend, Command, Error, Settings};
use redpoll_store::{Config, Store};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::jobs::{briefly, ids, named, patiently, queue, site, state_of, take, up_to};
use crate::support::{Place, eventually, tenant};

/// A key of a test's own.
fn own(kind: &str) -> String {
    format!("{{{}}}:{kind}", tenant().name())
}

async fn number(backend: &Backend, command: Command) -> i64 {
    backend.call(command).await.unwrap().as_i64().unwrap()
}

pub(crate) async fn equal_priorities_come_in_order(place: Place) {
    let order = ["zeta", "10", "9", "alpha", "a b", "é"];
    // The naive way: the score is the priority, so equals come in the order of their names.
    let services = place.services().await;
    let key = own("naive");
    for id in order {
        services.backend().call(Command::new("ZADD").key(&key).arg("5").arg(id)).await.unwrap();
    }
    let popped = services.backend().call(Command::new("ZRANGE").key(&key).arg("0").arg("-1")).await.unwrap();
    let popped: Vec<&str> = popped.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_ne!(popped, order, "the naive queue keeps no order");
    let queue = queue(&place).await;
    for id in order {
        queue.enqueue(&NewJob { priority: 5, ..named(id) }).await.unwrap();
    }
    assert_eq!(ids(&queue, 9).await, order);
}

pub(crate) async fn a_due_job_does_not_vanish(place: Place) {
    // The naive way: remove it here, then add it there; who dies in between takes it along.
    let services = place.services().await;
    let (backend, delayed, list) = (services.backend(), own("delayed"), own("list"));
    backend.call(Command::new("ZADD").key(&delayed).arg("1").arg("a")).await.unwrap();
    assert_eq!(number(backend, Command::new("ZREM").key(&delayed).arg("a")).await, 1);
    let left = number(backend, Command::new("ZCARD").key(&delayed)).await
        + number(backend, Command::new("LLEN").key(&list)).await;
    assert_eq!(left, 0, "the naive mover died, and its job with it");
    // Here it is one step: at every look the job is in exactly one place.
    let queue = queue(&place).await;
    queue.enqueue(&NewJob { delay: Duration::from_millis(40), ..named("a") }).await.unwrap();
    loop {
        let counts = queue.counts().await.unwrap();
        assert_eq!(counts.waiting + counts.delayed + counts.active, 1, "{counts:?}");
        if counts.waiting == 1 {
            break;
        }
        queue.sweep().await.unwrap();
    }
}

pub(crate) async fn what_a_reaper_takes_back_is_not_done_yet(place: Place) {
    // The naive way: the reaper reads who is late, and then puts those back; one of them is done meanwhile.
    let services = place.services().await;
    let (backend, active, list) = (services.backend(), own("active"), own("list"));
    backend.call(Command::new("ZADD").key(&active).arg("1").arg("a")).await.unwrap();
    let late = backend.call(Command::new("ZRANGE").key(&active).arg("0").arg("-1")).await.unwrap();
    backend.call(Command::new("ZREM").key(&active).arg("a")).await.unwrap();
    for id in late.as_array().unwrap() {
        backend.call(Command::new("RPUSH").key(&list).arg(id.as_str().unwrap())).await.unwrap();
    }
    assert_eq!(
        number(backend, Command::new("LLEN").key(&list)).await,
        1,
        "the naive reaper has a completed job retried"
    );
    // Here many reapers and the worker's completion race, and the job is either done or taken back.
    for round in 0..30 {
        let queue = queue(&place).await;
        queue.enqueue(&named("a")).await.unwrap();
        let brief = LeaseOptions { lease: Some(Duration::from_millis(10)), ..up_to(1) };
        let leased = queue.lease(&brief).await.unwrap().remove(0);
        let barrier = Arc::new(Barrier::new(5));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (queue, barrier) = (queue.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                for _ in 0..10 {
                    queue.sweep().await.unwrap();
                }
            });
        }
        eventually("the lease ends", || async {
            queue.counts().await.unwrap().overdue + queue.counts().await.unwrap().waiting > 0
        })
        .await;
        barrier.wait().await;
        let completed = queue.complete(&leased.ticket, None).await.is_ok();
        while tasks.join_next().await.transpose().unwrap().is_some() {}
        let expected = if completed { State::Completed } else { State::Waiting };
        assert_eq!(state_of(&queue, "a").await, expected, "round {round}");
    }
}

pub(crate) async fn two_producers_of_one_id_make_one_job(place: Place) {
    // The naive way: look whether it is there, then add it.
    let services = place.services().await;
    let (backend, list) = (services.backend(), own("list"));
    let looks = [
        number(backend, Command::new("LLEN").key(&list)).await,
        number(backend, Command::new("LLEN").key(&list)).await,
    ];
    for _ in looks.iter().filter(|look| **look == 0) {
        backend.call(Command::new("RPUSH").key(&list).arg("a")).await.unwrap();
    }
    assert_eq!(number(backend, Command::new("LLEN").key(&list)).await, 2, "the naive producers both add it");
    let queue = queue(&place).await;
    let barrier = Arc::new(Barrier::new(32));
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let (queue, barrier) = (queue.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            queue.enqueue(&named("a")).await.unwrap().existing.is_none()
        });
    }
    let mut added = 0;
    while let Some(new) = tasks.join_next().await.transpose().unwrap() {
        added += u32::from(new);
    }
    assert_eq!((added, queue.counts().await.unwrap().waiting), (1, 1));
}

pub(crate) async fn a_worker_that_was_paused_is_refused(place: Place) {
    // It stood still for longer than its lease, the job was done by another, and now it wakes up with an old answer.
    let queue = queue(&place).await;
    queue.enqueue(&named("a")).await.unwrap();
    let paused = queue.lease(&briefly(1)).await.unwrap().remove(0);
    let next = take(&queue).await;
    queue.complete(&next.ticket, None).await.unwrap();
    queue.enqueue(&named("a")).await.unwrap();
    // Also when a new job of the same id waits or is worked on by now.
    assert!(matches!(queue.complete(&paused.ticket, None).await, Err(Error::Conflict(_))));
    let third = take(&queue).await;
    assert!(matches!(queue.fail(&paused.ticket, "late").await, Err(Error::Conflict(_))));
    queue.complete(&third.ticket, None).await.unwrap();
    assert_eq!(queue.counts().await.unwrap().completed_total, 2);
}

pub(crate) async fn attempts_are_counted_before_the_run(place: Place) {
    // A job whose every run kills its worker says nothing, and is counted all the same.
    let queue = queue(&place).await;
    queue.enqueue(&NewJob { lost_max: Some(2), ..named("a") }).await.unwrap();
    for attempt in 1..=2 {
        let leased = queue.lease(&LeaseOptions { wait: Duration::from_secs(5), ..briefly(1) }).await.unwrap().remove(0);
        assert_eq!(leased.job.attempt(), attempt);
    }
    let until = LeaseOptions { wait: Duration::from_millis(150), ..patiently() };
    assert_eq!(queue.lease(&until).await.unwrap(), []);
    assert_eq!(state_of(&queue, "a").await, State::Dead);
}

pub(crate) async fn a_step_does_its_share_of_very_many(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    for page in 0..20 {
        let jobs: Vec<NewJob> = (0..1000)
            .map(|number| NewJob { delay: Duration::from_millis(1), ..named(&format!("{page}-{number}")) })
            .collect();
        queue.enqueue_many(&jobs).await.unwrap();
    }
    let leased = queue.lease(&LeaseOptions { wait: Duration::from_secs(5), ..up_to(1000) }).await.unwrap();
    assert!((1..=100).contains(&leased.len()), "{}", leased.len());
    let counts = queue.counts().await.unwrap();
    assert_eq!(counts.waiting + counts.delayed + counts.active, 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_an_error_and_counted() {
    let services = Place::down().services_lazily(Settings::default());
    let queue = services.jobs(&tenant()).queue("mail").unwrap();
    assert!(queue.enqueue(&named("a")).await.unwrap_err().is_outage());
    assert!(queue.lease(&patiently()).await.unwrap_err().is_outage());
    assert!(queue.counts().await.unwrap_err().is_outage());
    assert_eq!(services.metrics().value(Counter::JobsOutages), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_jobs_and_loses_none() {
    let store = Store::open(Config::in_memory().set("maxmemory", "8mb").unwrap()).unwrap();
    let services = redpoll_services::Services::new(Backend::embedded(store), Settings::default());
    let queue = services.jobs(&tenant()).queue("mail").unwrap();
    let (mut enqueued, page) = (0, 20);
    let error = loop {
        let jobs: Vec<NewJob> = (0..page)
            .map(|number| NewJob {
                payload: redpoll_services::jobs::Payload::bytes(vec![0; 10_000]),
                ..named(&(enqueued + number).to_string())
            })
            .collect();
        match queue.enqueue_many(&jobs).await {
            Ok(_) => enqueued += page,
            Err(error) => break error,
        }
        assert!(enqueued < 10_000, "the store has a limit");
    };
    assert!(error.is_outage(), "{error}");
    assert_eq!(queue.counts().await.unwrap().waiting, enqueued);
    // Working the queue off needs no room and makes some.
    let mut done = 0;
    while done < enqueued {
        let leased = queue.lease(&up_to(50)).await.unwrap();
        for leased in leased {
            queue.complete(&leased.ticket, None).await.unwrap();
            done += 1;
        }
    }
    queue.enqueue(&named("again")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_evicts_is_refused() {
    let server = redpoll_testkit::RedisServer::start().unwrap();
    let services = Place::at(server.url()).services().await;
    for (name, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")] {
        services.backend().call(Command::new("CONFIG").arg("SET").arg(name).arg(value)).await.unwrap();
    }
    let queue = services.jobs(&tenant()).queue("mail").unwrap();
    let error = queue.enqueue(&named("a")).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("evict")), "{error}");
}

pub(crate) async fn a_call_carries_only_so_much(place: Place) {
    let queue = queue(&place).await;
    let large = |count: usize| vec![NewJob::new("large", Payload::bytes(vec![0; 1_000_000])); count];
    let error = queue.enqueue_many(&large(68)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { max_bytes: MAX_BATCH_BYTES, .. }), "{error:?}");
    assert_eq!(queue.counts().await.unwrap().waiting, 0, "all or none");
    let leased = {
        queue.enqueue_many(&vec![NewJob::default(); 68]).await.unwrap();
        queue.lease(&LeaseOptions { count: 68, ..LeaseOptions::default() }).await.unwrap()
    };
    let outcome = Outcome::Completed { result: Some(Payload::bytes(vec![0; 1_000_000])), ttl: None };
    let outcomes: Vec<_> = leased.into_iter().map(|leased| (leased.ticket, outcome.clone())).collect();
    let error = queue.settle(&outcomes).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { max_bytes: MAX_BATCH_BYTES, .. }), "{error:?}");
    queue.settle(&outcomes[..2]).await.unwrap();
    assert_eq!(queue.counts().await.unwrap().active, 66);
}

/// A job that was never leased has a token of zeros in its state, which is nobody's.
pub(crate) async fn a_job_that_was_not_leased_has_no_token(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue(&named("a")).await.unwrap();
    let ticket = Ticket { id: "a".to_owned(), token: 0 };
    for outcome in [
        Outcome::Completed { result: None, ttl: None },
        Outcome::Failed { error: "?".to_owned(), retry_after: None },
        Outcome::Released { delay: Duration::ZERO },
    ] {
        assert_eq!(queue.settle(&[(ticket.clone(), outcome)]).await, Ok(vec![Settled::Lost]));
    }
    assert_eq!(state_of(&queue, "a").await, State::Waiting);
}
