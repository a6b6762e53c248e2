//! Tests of waiting for work: who is woken, when, and what becomes of those who give up.

use std::time::{Duration, Instant};

use redpoll_services::jobs::{JobSettings, LeaseOptions, Leased, NewJob, Queue};
use tokio::task::JoinHandle;

use crate::jobs::{BRIEF, Site, briefly, named, site, take};
use crate::support::{Place, eventually};

/// Shorter than the interval of two seconds at which those who wait look by themselves: who is faster was woken.
const WOKEN: Duration = Duration::from_millis(1500);

fn waiting(queue: &Queue) -> JoinHandle<Leased> {
    let queue = queue.clone();
    tokio::spawn(async move { take(&queue).await })
}

async fn all_wait(site: &Site, count: i64) {
    eventually("all wait", || async { site.size("ZCARD", "l").await == count }).await;
}

/// Runs something that is to wake who waits, until that happened once before the interval was over.
async fn wakes<F: Future<Output = ()>>(site: &Site, what: &str, mut news: impl FnMut(usize) -> F) {
    for round in 0..5 {
        let waiter = waiting(&site.queue);
        all_wait(site, 1).await;
        let begun = Instant::now();
        news(round).await;
        let leased = waiter.await.unwrap();
        let woken = begun.elapsed();
        site.queue.complete(&leased.ticket, None).await.unwrap();
        if woken < Duration::from_millis(300) {
            return;
        }
    }
    panic!("{what} woke nobody");
}

pub(crate) async fn whatever_brings_work_wakes_who_waits(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    wakes(&site, "enqueuing", |_| async { drop(queue.enqueue(&named("a")).await.unwrap()) }).await;
    let soon = NewJob { delay: Duration::from_millis(100), ..named("b") };
    wakes(&site, "a job that is due soon", |_| async { drop(queue.enqueue(&soon).await.unwrap()) }).await;
    queue.pause().await.unwrap();
    wakes(&site, "resuming", |_| async {
        queue.pause().await.unwrap();
        queue.enqueue(&named("c")).await.unwrap();
        queue.resume().await.unwrap();
    })
    .await;
    queue.enqueue(&named("d")).await.unwrap();
    let mut held = Some(take(queue).await);
    wakes(&site, "handing back", |round| {
        let held = held.take();
        async move {
            match held {
                Some(held) => drop(queue.release(&held.ticket).await.unwrap()),
                None => drop(queue.enqueue(&named(&round.to_string())).await.unwrap()),
            }
        }
    })
    .await;
}

pub(crate) async fn who_waits_gets_what_the_dead_held(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    site.queue.enqueue(&named("a")).await.unwrap();
    let dead = site.queue.lease(&briefly(1)).await.unwrap().remove(0);
    let begun = Instant::now();
    let next = take(&site.queue).await;
    assert!(next.ticket.token > dead.ticket.token && begun.elapsed() < WOKEN, "{:?}", begun.elapsed());
}

pub(crate) async fn each_job_wakes_one_and_all_are_served(place: Place) {
    const WORKERS: usize = 12;
    let site = site(&place, JobSettings::default()).await;
    let begun = Instant::now();
    let workers: Vec<_> = (0..WORKERS).map(|_| waiting(&site.queue)).collect();
    all_wait(&site, WORKERS as i64).await;
    let jobs: Vec<NewJob> = (0..WORKERS).map(|number| named(&number.to_string())).collect();
    // One at a time, and the rest together.
    for job in &jobs[..4] {
        site.queue.enqueue(job).await.unwrap();
    }
    site.queue.enqueue_many(&jobs[4..]).await.unwrap();
    let mut served = Vec::new();
    for worker in workers {
        served.push(worker.await.unwrap().job.id.parse::<usize>().unwrap());
    }
    served.sort_unstable();
    assert_eq!(served, (0..WORKERS).collect::<Vec<_>>());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    all_wait(&site, 0).await;
    eventually("nobody listens any more", || async { site.services.signals().channels() == 0 }).await;
}

pub(crate) async fn who_gives_up_leaves_nothing_behind(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let brief = LeaseOptions { wait: BRIEF, ..LeaseOptions::default() };
    assert_eq!(site.queue.lease(&brief).await.unwrap(), []);
    assert_eq!(site.size("ZCARD", "l").await, 0, "by time");
    let dropped = waiting(&site.queue);
    all_wait(&site, 1).await;
    dropped.abort();
    all_wait(&site, 0).await;
}

pub(crate) async fn who_gives_up_when_woken_passes_it_on(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    for round in 0..20_u64 {
        let (first, second) = (waiting(&site.queue), waiting(&site.queue));
        all_wait(&site, 2).await;
        let begun = Instant::now();
        site.queue.enqueue(&named("a")).await.unwrap();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        // One of them is woken; whichever it is, the job is not left lying.
        first.abort();
        let leased = match first.await {
            Ok(leased) => {
                second.abort();
                leased
            }
            Err(_) => second.await.unwrap(),
        };
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        site.queue.complete(&leased.ticket, None).await.unwrap();
        all_wait(&site, 0).await;
    }
}
