//! Tests of how jobs end, or do not: retries, lost leases, time-outs, cancelling, expiry, the dead, and what is remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use redpoll_services::Error;
use redpoll_services::jobs::{
    Heartbeat, JobSettings, LeaseOptions, NewJob, Outcome, Payload, Queue, Settled, State, Swept, Which,
};

use crate::jobs::{
    BRIEF, briefly, done, failed, ids, named, patiently, queue, queue_with, site, state_of, take, up_to,
};
use crate::support::{Place, eventually};

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

async fn overdue(queue: &Queue) {
    eventually("the lease ends", || async { queue.counts().await.unwrap().overdue > 0 }).await;
}

async fn dead_ids(queue: &Queue) -> Vec<String> {
    let dead = queue.list(State::Dead, 0, 1000).await.unwrap();
    dead.into_iter().map(|found| found.job.unwrap().id).collect()
}

pub(crate) async fn pauses_double_with_jitter_up_to_their_bound(place: Place) {
    let queue = queue(&place).await;
    let job = NewJob { retry_base: ms(1_000_000), retry_cap: ms(3_000_000), attempts_max: Some(9), ..named("") };
    let jobs: Vec<NewJob> = (0..30).map(|number| NewJob { id: Some(number.to_string()), ..job.clone() }).collect();
    let mut pauses: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for failures in 1..=3_u32 {
        queue.enqueue_many(&jobs).await.unwrap();
        for failure in 1..=failures {
            let leased = queue.lease(&up_to(30)).await.unwrap();
            let last = failure == failures;
            let outcome = |_: usize| match last {
                true => failed("no"),
                false => Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) },
            };
            let outcomes: Vec<_> =
                leased.iter().enumerate().map(|(index, leased)| (leased.ticket.clone(), outcome(index))).collect();
            let settled = queue.settle(&outcomes).await.unwrap();
            let place = if last { State::Delayed } else { State::Waiting };
            assert_eq!(settled, vec![Settled::Done(place); 30]);
        }
        for found in queue.list(State::Delayed, 0, 30).await.unwrap() {
            let job = found.job.unwrap();
            assert_eq!((job.failures, found.error.as_deref()), (failures, Some("no")));
            pauses.entry(failures).or_default().push(found.moment_ms.unwrap() - job.since_ms);
        }
        queue.clear(State::Delayed, Which::All).await.unwrap();
    }
    for (failures, whole) in [(1, 1_000_000), (2, 2_000_000), (3, 3_000_000)] {
        let pauses = &pauses[&failures];
        assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{failures}: {pauses:?}");
        // Spread, so that what failed together does not come back together.
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(most - least > whole / 4, "{failures}: {least} to {most}");
    }
}

pub(crate) async fn after_the_last_attempt_a_job_is_dead_with_its_cause(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue(&NewJob { attempts_max: Some(3), retry_base: ms(0), ..named("a") }).await.unwrap();
    for attempt in 1..=3 {
        let leased = take(&queue).await;
        assert_eq!(leased.job.attempt(), attempt);
        let state = queue.fail(&leased.ticket, format!("failure {attempt}")).await.unwrap();
        assert_eq!(state, if attempt < 3 { State::Waiting } else { State::Dead });
    }
    let found = queue.job("a").await.unwrap();
    let job = found.job.unwrap();
    assert_eq!(
        (found.error.as_deref(), job.failures, job.payload),
        (Some("failure 3"), 3, Some(Payload::bytes(*b"a")))
    );
    assert_eq!(ids(&queue, 9).await, [""; 0]);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.dead, counts.dead_total, counts.bytes), (1, 1, 0));
    // A cause of any length is kept, up to a bound.
    queue.enqueue(&named("b")).await.unwrap();
    let error = "é".repeat(5000);
    queue.settle_one(&take(&queue).await.ticket, Outcome::GivenUp { error: error.clone() }).await.unwrap();
    assert_eq!(queue.job("b").await.unwrap().error.as_deref(), Some(&error[..4096]));
}

pub(crate) async fn lost_leases_are_counted_apart_and_end_in_quarantine(place: Place) {
    let queue = queue(&place).await;
    let poison = NewJob { lost_max: Some(3), attempts_max: Some(2), retry_base: ms(0), ..named("poison") };
    queue.enqueue_many(&[poison, named("next")]).await.unwrap();
    for lost in 0..3 {
        let leased = queue.lease(&LeaseOptions { wait: Duration::from_secs(5), ..briefly(1) }).await.unwrap().remove(0);
        assert_eq!((leased.job.id.as_str(), leased.job.lost, leased.job.failures), ("poison", lost, 0));
        overdue(&queue).await;
    }
    // It does not hold up the others, and nobody gets it any more.
    assert_eq!(ids(&queue, 9).await, ["next"]);
    let found = queue.job("poison").await.unwrap();
    assert!(found.error.as_ref().unwrap().starts_with("quarantined"), "{found:?}");
    let job = found.job.unwrap();
    assert_eq!((job.state, job.lost, job.failures), (State::Dead, 3, 0));
    assert_eq!(queue.counts().await.unwrap().lost_total, 3);
}

/// Holds a job for several leases by heartbeats; false if this process was held up for longer than one.
async fn keeps(queue: &Queue, id: &str) -> bool {
    let lease = Duration::from_millis(200);
    queue.enqueue(&named(id)).await.unwrap();
    let options = LeaseOptions { lease: Some(lease), ..patiently() };
    let leased = queue.lease(&options).await.unwrap().remove(0);
    for step in 1..=12 {
        let progress = Payload::json(&step).unwrap();
        if queue.progress(&leased.ticket, &progress, Some(lease)).await.unwrap() == Heartbeat::Lost {
            return false;
        }
        assert_eq!(queue.job(&leased.job.id).await.unwrap().progress, Some(progress));
        let others = LeaseOptions { wait: lease / 4, ..up_to(1) };
        if let [other] = queue.lease(&others).await.unwrap().as_slice() {
            queue.complete(&other.ticket, None).await.unwrap();
            return false;
        }
    }
    queue.complete(&leased.ticket, None).await.unwrap();
    queue.job(&leased.job.id).await.unwrap().progress.is_none()
}

pub(crate) async fn heartbeats_keep_a_lease_and_tell_how_far_it_is(place: Place) {
    let queue = queue(&place).await;
    for round in 0..5 {
        if keeps(&queue, &round.to_string()).await {
            return;
        }
    }
    panic!("heartbeats do not keep a lease");
}

pub(crate) async fn a_run_ends_at_its_timeout_whatever_its_heartbeats_say(place: Place) {
    let queue = queue(&place).await;
    let job = NewJob { timeout: ms(200), retry_base: ms(0), attempts_max: Some(2), ..named("a") };
    queue.enqueue(&job).await.unwrap();
    let mut began = 0;
    for attempt in 1..=2 {
        let leased = take(&queue).await;
        assert_eq!(leased.job.attempt(), attempt);
        assert!(attempt == 1 || leased.job.since_ms >= began + 200);
        began = leased.job.since_ms;
        let ends = queue.job("a").await.unwrap().moment_ms.unwrap();
        assert_eq!(ends, began + 200, "the lease is longer, the run is not");
        queue.extend(std::slice::from_ref(&leased.ticket), None).await.unwrap();
        assert_eq!(queue.job("a").await.unwrap().moment_ms, Some(began + 200));
        overdue(&queue).await;
    }
    assert_eq!(queue.sweep().await.unwrap(), Swept { taken_back: 1, ..Swept::default() });
    let found = queue.job("a").await.unwrap();
    assert_eq!((found.job.unwrap().state, found.error.as_deref()), (State::Dead, Some("timed out")));
}

pub(crate) async fn what_waited_for_too_long_is_not_begun(place: Place) {
    let queue = queue(&place).await;
    let brief = |id: &str| NewJob { patience: ms(500), ..named(id) };
    queue
        .enqueue_many(&[brief("a"), NewJob { delay: Duration::from_secs(60), ..brief("b") }, named("c")])
        .await
        .unwrap();
    // What was begun in time goes on; handed back, it has to be begun again in time.
    let begun = take(&queue).await;
    assert_eq!(begun.job.id, "a");
    eventually("the delayed one expires", || async {
        queue.sweep().await.unwrap();
        queue.counts().await.unwrap().expired == 1
    })
    .await;
    assert_eq!(state_of(&queue, "a").await, State::Active);
    queue.release(&begun.ticket).await.unwrap();
    assert_eq!(ids(&queue, 9).await, ["c"]);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.expired, counts.expired_total, counts.waiting, counts.delayed, counts.dead), (2, 2, 0, 0, 0));
    assert_eq!(state_of(&queue, "a").await, State::Expired);
}

pub(crate) async fn many_expire_and_come_due_a_bounded_number_at_a_time(place: Place) {
    let queue = queue(&place).await;
    let some = |from: u32, delay: u64, patience: Option<Duration>| -> Vec<NewJob> {
        let delay = Duration::from_millis(delay);
        (from..from + 250).map(|number| NewJob { delay, patience, ..named(&number.to_string()) }).collect()
    };
    queue.enqueue_many(&some(0, 60_000, ms(1))).await.unwrap();
    queue.enqueue_many(&some(1000, 1, None)).await.unwrap();
    eventually("all are due", || async { queue.counts().await.unwrap().due == 250 }).await;
    let swept = queue.sweep().await.unwrap();
    assert_eq!(swept, Swept { expired: 100, taken_back: 0, due: 100 });
    // None is lost, and none is leased after its time, however many there are.
    let mut seen = Vec::new();
    while seen.len() < 250 {
        seen.extend(ids(&queue, 100).await);
    }
    assert!(seen.iter().all(|id| id.parse::<u32>().unwrap() >= 1000));
    assert_eq!(queue.counts().await.unwrap().expired_total, 250);
}

pub(crate) async fn cancelling_ends_what_waits_and_tells_who_works(place: Place) {
    let queue = queue(&place).await;
    let later = NewJob { delay: Duration::from_secs(60), ..named("later") };
    queue.enqueue_many(&[named("a"), named("b"), named("c"), named("d"), named("waits"), later]).await.unwrap();
    let held = queue.lease(&up_to(3)).await.unwrap();
    let brief = queue.lease(&briefly(1)).await.unwrap().remove(0);
    let all: Vec<String> = ["a", "b", "c", "d", "waits", "later", "waits", "nobody"].map(str::to_owned).to_vec();
    let (x, r) = (Some(State::Cancelled), Some(State::Cancelling));
    assert_eq!(queue.cancel(&all).await.unwrap(), [r, r, r, r, x, x, x, None]);
    assert_eq!(queue.cancel(&all).await.unwrap(), [r, r, r, r, x, x, x, None], "asking twice is asking once");
    let tickets: Vec<_> = held.iter().map(|leased| leased.ticket.clone()).collect();
    assert_eq!(queue.extend(&tickets, None).await.unwrap(), [Heartbeat::Cancelling; 3]);
    // Whoever is done all the same is done; whoever stops, in whatever way, ends the job.
    assert_eq!(queue.settle_one(&tickets[0], done()).await, Ok(State::Completed));
    assert_eq!(queue.fail(&tickets[1], "stopped").await, Ok(State::Cancelled));
    assert_eq!(queue.release(&tickets[2]).await, Ok(State::Cancelled));
    overdue(&queue).await;
    assert_eq!(ids(&queue, 9).await, [""; 0]);
    assert!(queue.complete(&brief.ticket, None).await.is_err());
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.cancelled, counts.completed, counts.active, counts.bytes), (5, 1, 0, 0));
    assert_eq!(queue.cancel(&["a".to_owned()]).await.unwrap(), [Some(State::Completed)]);
}

pub(crate) async fn a_paused_queue_leases_nothing(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue_many(&[named("a"), named("b")]).await.unwrap();
    let begun = take(&queue).await;
    assert_eq!((queue.pause().await, queue.pause().await), (Ok(true), Ok(false)));
    assert_eq!(ids(&queue, 9).await, [""; 0]);
    assert!(queue.counts().await.unwrap().paused_ms.is_some());
    queue.enqueue(&named("c")).await.unwrap();
    queue.complete(&begun.ticket, None).await.unwrap();
    assert_eq!((queue.resume().await, queue.resume().await), (Ok(true), Ok(false)));
    assert_eq!(ids(&queue, 9).await, ["b", "c"]);
}

pub(crate) async fn what_is_remembered_is_bounded(place: Place) {
    let settings = JobSettings { completed_max: 5, ended_max: 3, dead_max: 4, ..JobSettings::default() };
    let site = site(&place, settings).await;
    let queue = &site.queue;
    let names = |kind: &str| (0..20).map(|number| format!("{kind}{number:02}")).collect::<Vec<_>>();
    for kind in ["c", "x", "k"] {
        let jobs: Vec<NewJob> = names(kind).iter().map(|id| named(id)).collect();
        queue.enqueue_many(&jobs).await.unwrap();
    }
    queue.cancel(&names("x")).await.unwrap();
    for leased in queue.lease(&up_to(40)).await.unwrap() {
        let gone = Outcome::GivenUp { error: "no".to_owned() };
        let outcome = if leased.job.id.starts_with('c') { done() } else { gone };
        queue.settle_one(&leased.ticket, outcome).await.unwrap();
    }
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.completed, counts.cancelled, counts.dead), (5, 3, 4));
    assert_eq!((counts.completed_total, counts.cancelled_total, counts.dead_total), (20, 20, 20));
    assert_eq!((counts.dropped_total, counts.bytes), (16, 0));
    assert_eq!(dead_ids(queue).await, ["k19", "k18", "k17", "k16"]);
    // Nothing else is left of those that are not remembered.
    assert_eq!((site.size("HLEN", "s").await, site.size("HLEN", "p").await, site.size("HLEN", "n").await), (12, 4, 4));
}

pub(crate) async fn what_is_old_is_forgotten(place: Place) {
    let settings = JobSettings {
        ended_age: Duration::from_millis(30),
        dead_age: Duration::from_millis(30),
        ..JobSettings::default()
    };
    let queue = queue_with(&place, settings).await;
    queue.enqueue_many(&[named("a"), named("b"), named("c")]).await.unwrap();
    queue.cancel(&["c".to_owned()]).await.unwrap();
    let leased = queue.lease(&up_to(2)).await.unwrap();
    let outcomes =
        [(leased[0].ticket.clone(), done()), (leased[1].ticket.clone(), Outcome::GivenUp { error: String::new() })];
    queue.settle(&outcomes).await.unwrap();
    eventually("all is forgotten", || async {
        queue.sweep().await.unwrap();
        let counts = queue.counts().await.unwrap();
        counts.completed + counts.cancelled + counts.dead == 0
    })
    .await;
    assert_eq!(queue.counts().await.unwrap().dropped_total, 1);
}

pub(crate) async fn the_dead_are_listed_requeued_and_removed(place: Place) {
    let queue = queue(&place).await;
    let jobs: Vec<NewJob> = (0..6).map(|number| NewJob { priority: 3, ..named(&number.to_string()) }).collect();
    queue.enqueue_many(&jobs).await.unwrap();
    for leased in queue.lease(&up_to(6)).await.unwrap() {
        let error = format!("cause {}", leased.job.id);
        queue.settle_one(&leased.ticket, Outcome::GivenUp { error }).await.unwrap();
    }
    let dead = queue.list(State::Dead, 2, 2).await.unwrap();
    let shown: Vec<_> =
        dead.iter().map(|found| (found.job.as_ref().unwrap(), found.error.as_deref().unwrap())).collect();
    assert_eq!((shown[0].0.id.as_str(), shown[0].1, shown[1].0.id.as_str()), ("3", "cause 3", "2"));
    assert_eq!(shown[0].0.payload, Some(Payload::bytes(*b"3")));
    // One edited, some by name, the rest at once; one is removed.
    let edited = Payload::json(&"mended").unwrap();
    queue.requeue_edited("4", &edited).await.unwrap();
    let named_ones = ["0", "5", "5", "nobody"].map(str::to_owned);
    assert_eq!(queue.requeue(Which::Ids(&named_ones)).await, Ok(2));
    assert_eq!(queue.clear(State::Dead, Which::Ids(&["1".to_owned(), "4".to_owned()])).await, Ok(1));
    assert_eq!(queue.requeue(Which::All).await, Ok(2));
    assert!(matches!(queue.requeue_edited("1", &edited).await, Err(Error::NotFound(_))));
    let leased = queue.lease(&up_to(9)).await.unwrap();
    let order: Vec<&str> = leased.iter().map(|leased| leased.job.id.as_str()).collect();
    assert_eq!(order, ["4", "0", "5", "3", "2"]);
    let first = &leased[0].job;
    assert_eq!(
        (first.attempt(), first.priority, first.name.as_str(), first.payload.as_ref()),
        (1, 3, "send", Some(&edited))
    );
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.dead, counts.bytes), (0, 4 * "b4:send0".len() as u64 + "j4:send\"mended\"".len() as u64));
}

pub(crate) async fn requeueing_respects_the_limits_of_the_queue(place: Place) {
    let queue = queue_with(&place, JobSettings { length_max: 3, ..JobSettings::default() }).await;
    queue.enqueue_many(&[named("a"), named("b")]).await.unwrap();
    for leased in queue.lease(&up_to(2)).await.unwrap() {
        queue.settle_one(&leased.ticket, Outcome::GivenUp { error: String::new() }).await.unwrap();
    }
    queue.enqueue_many(&[named("c"), named("d")]).await.unwrap();
    assert!(matches!(queue.requeue(Which::All).await, Err(Error::Conflict(_))));
    assert_eq!(dead_ids(&queue).await, ["b", "a"], "all or none");
    assert_eq!(queue.requeue(Which::Ids(&["a".to_owned()])).await, Ok(1));
}

pub(crate) async fn clearing_is_exact_and_leaves_who_works(place: Place) {
    let queue = queue(&place).await;
    for page in 0..3 {
        let patience = (page == 1).then(|| Duration::from_secs(60));
        let jobs: Vec<NewJob> =
            (0..900).map(|number| NewJob { patience, ..named(&(page * 1000 + number).to_string()) }).collect();
        queue.enqueue_many(&jobs).await.unwrap();
    }
    queue.enqueue(&NewJob { delay: Duration::from_secs(60), ..named("later") }).await.unwrap();
    let held = take(&queue).await;
    assert_eq!(queue.clear(State::Waiting, Which::Ids(&["1".to_owned(), "1".to_owned(), "0".to_owned()])).await, Ok(1));
    assert_eq!(queue.clear(State::Waiting, Which::All).await, Ok(2698));
    assert_eq!(queue.clear(State::Waiting, Which::All).await, Ok(0));
    assert_eq!(queue.clear(State::Delayed, Which::All).await, Ok(1));
    queue.complete(&held.ticket, None).await.unwrap();
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.delayed, counts.active, counts.bytes), (0, 0, 0, 0));
    assert!(queue.job("5").await.is_err());
    assert_eq!(queue.lease(&LeaseOptions { wait: BRIEF, ..patiently() }).await.unwrap(), []);
}
