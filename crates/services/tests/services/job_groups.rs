//! Tests of groups: who has little to do is not held up by who has much, no group has more active jobs than it may, and counts stay exact whatever
//! happens to jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_services::jobs::{
    Bounds, Commit, GroupBounds, GroupCounts, JobSettings, LeaseOptions, Leased, NewJob, Outcome, Payload, Queue,
    State, Ticket, Which,
};
use redpoll_services::{Backend, Command, Error, Services, Settings};
use redpoll_store::{Config, Store};
use redpoll_testkit::Random;
use serde_json::json;
use tokio::task::JoinSet;

use crate::jobs::{Site, briefly, done, failed, ids, named, on_mail, queue, site, state_of, take, up_to};
use crate::support::{Place, eventually, tenant};

pub(crate) fn of(group: &str, id: &str) -> NewJob {
    NewJob { group: Some(group.to_owned()), ..named(id) }
}

pub(crate) fn some(group: &str, count: usize) -> Vec<NewJob> {
    (0..count).map(|number| of(group, &format!("{group}{number}"))).collect()
}

/// So many of a group at once.
pub(crate) fn at_most(active_max: u32) -> GroupBounds {
    GroupBounds { active_max: Some(active_max), ..GroupBounds::default() }
}

pub(crate) fn each_group(active_max: u32) -> Bounds {
    Bounds { group: at_most(active_max), ..Bounds::default() }
}

async fn counts_of(queue: &Queue, group: &str) -> (u64, u64) {
    let GroupCounts { waiting, active, .. } = queue.group_counts(group).await.unwrap();
    (waiting, active)
}

/// Refuses whatever is left of groups in the store.
async fn nothing_is_left(site: &Site) {
    assert_eq!(site.queue.groups("", 9).await.unwrap(), []);
    for kind in ["g", "y", "h", "z"] {
        assert_eq!(site.size("EXISTS", kind).await, 0, "{kind}");
    }
    let key = format!("rp:kept:{{{}:jobs:mail}}:m", site.tenant.name());
    let fields = Command::new("HMGET").key(key).arg("grouped").arg("turn").arg("own_turn").arg("walk");
    let fields = site.services.backend().call(fields).await.unwrap();
    assert!(fields.as_array().unwrap().iter().all(redpoll_resp::Value::is_nil), "{fields:?}");
}

/// How many of the small tenants' jobs are among the first twenty, behind a thousand of a big one.
async fn small_ones_served(queue: &Queue, job: impl Fn(&str, &str) -> NewJob) -> usize {
    let big: Vec<NewJob> = (0..1_000).map(|number| job("big", &format!("big{number}"))).collect();
    queue.enqueue_many(&big).await.unwrap();
    for tenant in ["a", "b", "c"] {
        let few: Vec<NewJob> = (0..5).map(|number| job(tenant, &format!("small-{tenant}{number}"))).collect();
        queue.enqueue_many(&few).await.unwrap();
    }
    let mut served = 0;
    for _ in 0..20 {
        let leased = take(queue).await;
        served += usize::from(leased.job.id.starts_with("small"));
        queue.complete(&leased.ticket, None).await.unwrap();
    }
    served
}

pub(crate) async fn a_big_tenant_does_not_hold_up_small_ones(place: Place) {
    assert_eq!(small_ones_served(&queue(&place).await, |_, id| named(id)).await, 0, "one line for all is not fair");
    assert_eq!(small_ones_served(&queue(&place).await, of).await, 15);
    // The same in batches.
    let queue = queue(&place).await;
    for (group, count) in [("big", 1_000), ("a", 5), ("b", 5), ("c", 5)] {
        queue.enqueue_many(&some(group, count)).await.unwrap();
    }
    let first = ids(&queue, 20).await;
    assert_eq!(first.iter().filter(|id| !id.starts_with("big")).count(), 15, "{first:?}");
    assert_eq!(first[..5], ["big0", "a0", "b0", "c0", "big1"]);
}

pub(crate) async fn groups_take_turns_within_a_priority(place: Place) {
    let queue = queue(&place).await;
    let high = |job: NewJob| NewJob { priority: 5, ..job };
    let jobs = [
        named("x0"),
        of("a", "a0"),
        of("a", "a1"),
        named("x1"),
        of("b", "b0"),
        high(of("b", "b9")),
        high(named("x9")),
        of("a", "a2"),
        named("x2"),
    ];
    queue.enqueue_many(&jobs).await.unwrap();
    let listed = queue.list(State::Waiting, 1, 5).await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|found| found.job.as_ref().unwrap().id.as_str()).collect();
    assert_eq!(listed, ["x0", "x1", "x2", "a0", "a1"], "those without a group first, then group by group");
    assert_eq!(queue.job("a2").await.unwrap().ahead, Some(2), "of its group");
    // Those without a group are one. Who had a turn at a higher priority had a turn.
    assert_eq!(ids(&queue, 9).await, ["x9", "b9", "a0", "x0", "b0", "a1", "x1", "a2", "x2"]);
    // Who comes later is behind those who are there, once.
    queue.enqueue_many(&some("c", 3)).await.unwrap();
    assert_eq!(ids(&queue, 1).await, ["c0"]);
    queue.enqueue_many(&some("d", 2)).await.unwrap();
    assert_eq!(ids(&queue, 9).await, ["c1", "d0", "c2", "d1"]);
}

pub(crate) async fn what_comes_back_keeps_its_place_in_its_group(place: Place) {
    let queue = queue(&place).await;
    queue.enqueue_many(&[of("a", "a0"), of("a", "a1"), of("b", "b0")]).await.unwrap();
    let first = take(&queue).await;
    assert_eq!(first.job.group.as_deref(), Some("a"));
    queue.release(&first.ticket).await.unwrap();
    let jobs = queue.lease(&up_to(9)).await.unwrap();
    let leased: Vec<&str> = jobs.iter().map(|leased| leased.job.id.as_str()).collect();
    assert_eq!(leased, ["b0", "a0", "a1"], "a had its turn");
    let again = Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) };
    queue.settle_one(&jobs[2].ticket, again.clone()).await.unwrap();
    queue.settle_one(&jobs[1].ticket, again).await.unwrap();
    assert_eq!(ids(&queue, 9).await, ["a0", "a1"]);
}

pub(crate) async fn a_group_at_its_bound_stands_aside(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&each_group(2)).await.unwrap();
    queue.limit_group("b", &at_most(1)).await.unwrap();
    queue
        .enqueue_many(&[some("a", 9), some("b", 9), vec![named("x0"), named("x1"), named("x2")]].concat())
        .await
        .unwrap();
    let jobs = queue.lease(&up_to(20)).await.unwrap();
    let leased: Vec<&str> = jobs.iter().map(|leased| leased.job.id.as_str()).collect();
    assert_eq!(leased, ["x0", "a0", "b0", "x1", "a1", "x2"], "those without a group are not bounded");
    assert_eq!(ids(queue, 20).await, [""; 0]);
    let listed = queue.groups("", 9).await.unwrap();
    let expected = |group: &str, waiting, active, max| GroupCounts {
        group: group.to_owned(),
        waiting,
        active,
        active_max: Some(max),
        rest_ms: 0,
    };
    assert_eq!(listed, [expected("a", 7, 2, 2), expected("b", 8, 1, 1)]);
    assert_eq!(queue.groups("a", 9).await.unwrap(), listed[1..]);
    assert_eq!(queue.group_counts("c").await.unwrap(), expected("c", 0, 0, 2));
    // Every end of a lease makes room for one.
    let ticket = |id: &str| jobs.iter().find(|leased| leased.job.id == id).unwrap().ticket.clone();
    queue.complete(&ticket("a0"), None).await.unwrap();
    assert_eq!(ids(queue, 20).await, ["a2"]);
    queue.fail(&ticket("a1"), "no").await.unwrap();
    assert_eq!(ids(queue, 20).await, ["a3"]);
    queue.release(&ticket("b0")).await.unwrap();
    let again = queue.lease(&up_to(20)).await.unwrap();
    assert_eq!(again.len(), 1);
    queue.cancel(&["b0".to_owned()]).await.unwrap();
    assert_eq!(ids(queue, 20).await, [""; 0], "it is still being worked on");
    queue.fail(&again[0].ticket, "stopped").await.unwrap();
    assert_eq!(state_of(queue, "b0").await, State::Cancelled);
    let next = queue.lease(&up_to(20)).await.unwrap();
    assert_eq!(next[0].job.id, "b1");
    queue.commit(&next[0].ticket, &Commit { jobs: vec![of("c", "c0")], ..Commit::default() }).await.unwrap();
    assert_eq!(ids(queue, 20).await, ["c0", "b2"]);
    let _ = queue.settle_one(&ticket("x0"), Outcome::GivenUp { error: String::new() }).await.unwrap();
    assert_eq!(ids(queue, 20).await, [""; 0]);
}

pub(crate) async fn a_lost_lease_makes_room_in_its_group(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&each_group(1)).await.unwrap();
    queue.enqueue_many(&[of("a", "a0"), NewJob { lost_max: Some(1), ..of("b", "b0") }, of("b", "b1")]).await.unwrap();
    assert_eq!(queue.lease(&briefly(9)).await.unwrap().len(), 2);
    // Whoever waits gets what the dead held, and what stood aside because of them.
    let mut seen = vec![take(queue).await.job.id, take(queue).await.job.id];
    seen.sort();
    assert_eq!(seen, ["a0", "b1"]);
    assert_eq!((state_of(queue, "b0").await, counts_of(queue, "b").await), (State::Dead, (0, 1)));
    // One that ran for too long makes room too.
    let site = self::site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&each_group(1)).await.unwrap();
    let short = NewJob { timeout: Some(Duration::from_millis(20)), attempts_max: Some(1), ..of("a", "a0") };
    queue.enqueue_many(&[short, of("a", "a1")]).await.unwrap();
    let leased = [take(queue).await.job.id, take(queue).await.job.id];
    assert_eq!((leased, counts_of(queue, "a").await), (["a0".to_owned(), "a1".to_owned()], (0, 1)));
}

pub(crate) async fn who_waits_for_room_in_a_group_is_woken(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&each_group(1)).await.unwrap();
    queue.enqueue_many(&some("a", 4)).await.unwrap();
    let mut held = take(queue).await;
    let frees: [fn(Queue, Ticket) -> tokio::task::JoinHandle<()>; 3] = [
        |queue, ticket| tokio::spawn(async move { queue.complete(&ticket, None).await.unwrap() }),
        |queue, ticket| tokio::spawn(async move { queue.commit(&ticket, &Commit::default()).await.unwrap() }),
        |queue, _| tokio::spawn(async move { queue.limit_group("a", &at_most(2)).await.unwrap() }),
    ];
    for free in frees {
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { take(&queue).await }
        });
        eventually("it waits", || async { site.size("ZCARD", "l").await == 1 }).await;
        free(queue.clone(), held.ticket).await.unwrap();
        held = waiting.await.unwrap();
    }
    assert_eq!(counts_of(queue, "a").await, (0, 2));
}

/// Works on what there is, and looks how many jobs of a group are worked on at once.
async fn work(queue: Queue, mut random: Random, active: Arc<Mutex<HashMap<String, (u32, u32)>>>) -> usize {
    let mut completed = 0;
    loop {
        let options = LeaseOptions {
            count: 1 + random.below(4) as usize,
            wait: Duration::from_millis(100),
            ..LeaseOptions::default()
        };
        let leased = queue.lease(&options).await.unwrap();
        if leased.is_empty() && queue.counts().await.unwrap().waiting == 0 {
            return completed;
        }
        for Leased { job, .. } in &leased {
            let mut active = active.lock().unwrap();
            let (now, most) = active.entry(job.group.clone().unwrap()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        for Leased { ticket, job } in leased {
            tokio::task::yield_now().await;
            // Before the store is told, so that what is counted here is never more than what is active.
            active.lock().unwrap().get_mut(job.group.as_ref().unwrap()).unwrap().0 -= 1;
            let outcome = match random.below(6) {
                0 => Outcome::Released { delay: Duration::ZERO },
                1 => Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) },
                _ => done(),
            };
            let state = queue.settle_one(&ticket, outcome).await.unwrap();
            completed += usize::from(state == State::Completed);
        }
    }
}

pub(crate) async fn bounds_of_groups_hold_under_many_workers(place: Place) {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let site = site(&place, JobSettings::default()).await;
    site.queue.limit(&each_group(3)).await.unwrap();
    site.queue.limit_group("g1", &at_most(1)).await.unwrap();
    let active = Arc::new(Mutex::new(HashMap::new()));
    let mut tasks = JoinSet::new();
    for page in 0..6 {
        let jobs = (0..60).map(|number| NewJob {
            attempts_max: Some(9_999),
            ..of(&format!("g{}", number % 6), &format!("{page}-{number}"))
        });
        site.queue.enqueue_many(&jobs.collect::<Vec<_>>()).await.unwrap();
    }
    for task in 0..32 {
        tasks.spawn(work(site.queue.clone(), Random::new(seed ^ task), Arc::clone(&active)));
    }
    let mut completed = 0;
    while let Some(by_one) = tasks.join_next().await.transpose().unwrap() {
        completed += by_one;
    }
    assert_eq!(completed, 360);
    let active = std::mem::take(&mut *active.lock().unwrap());
    for (group, (now, most)) in active.iter() {
        assert_eq!(*now, 0, "{group}");
        assert!(*most <= if group == "g1" { 1 } else { 3 }, "{group} had {most}");
    }
    assert!(active.values().any(|(_, most)| *most > 1), "they worked at once: {active:?}");
    nothing_is_left(&site).await;
}

pub(crate) async fn counts_of_groups_are_exact_whatever_happens(place: Place) {
    let site = site(&place, JobSettings { lost_max: 1, ..JobSettings::default() }).await;
    let queue = &site.queue;
    let a = async || counts_of(queue, "a").await;
    // Cancelled, cleared by name, cleared all together with others.
    queue.enqueue_many(&[some("a", 6), some("b", 2), vec![named("x")]].concat()).await.unwrap();
    queue.cancel(&["a0".to_owned()]).await.unwrap();
    assert_eq!(
        queue.clear(State::Waiting, Which::Ids(&["a1".to_owned(), "a0".to_owned(), "a1".to_owned()])).await,
        Ok(1)
    );
    assert_eq!((a().await, queue.counts().await.unwrap().waiting), ((4, 0), 7));
    assert_eq!(queue.clear(State::Waiting, Which::All).await, Ok(7));
    nothing_is_left(&site).await;
    // Delayed, due, expired.
    let soon = NewJob { delay: Duration::from_millis(20), ..of("a", "soon") };
    let brief = NewJob { patience: Some(Duration::from_millis(10)), ..of("a", "brief") };
    let far = NewJob { delay: Duration::from_secs(60), ..of("a", "far") };
    queue.enqueue_many(&[soon, brief, far]).await.unwrap();
    assert_eq!(a().await, (1, 0));
    eventually("one is due, one expires", || async {
        queue.sweep().await.unwrap();
        let counts = queue.counts().await.unwrap();
        (counts.expired, counts.waiting, counts.delayed) == (1, 1, 1)
    })
    .await;
    assert_eq!(a().await, (1, 0));
    assert!(queue.counts().await.unwrap().oldest_ms.is_some());
    // Dead, requeued, edited, lost, cancelled while it is active.
    let soon = take(queue).await;
    assert_eq!(a().await, (0, 1));
    queue.settle_one(&soon.ticket, Outcome::GivenUp { error: "no".to_owned() }).await.unwrap();
    assert_eq!(a().await, (0, 0));
    queue.requeue_edited("soon", &Payload::bytes(*b"edited")).await.unwrap();
    assert_eq!(a().await, (1, 0));
    let brief = queue.lease(&briefly(1)).await.unwrap();
    assert_eq!((brief[0].job.group.as_deref(), a().await), (Some("a"), (0, 1)));
    eventually("it is lost", || async { queue.sweep().await.unwrap().taken_back == 1 }).await;
    assert_eq!((a().await, state_of(queue, "soon").await), ((0, 0), State::Dead));
    assert_eq!(queue.requeue(Which::All).await, Ok(1));
    queue.cancel(&["soon".to_owned(), "far".to_owned()]).await.unwrap();
    nothing_is_left(&site).await;
    // A parent and its children, an id that is used again, in another group.
    queue.enqueue_flow(&of("p", "parent"), &[of("a", "soon"), of("b", "child")]).await.unwrap();
    assert_eq!((a().await, counts_of(queue, "p").await), ((1, 0), (0, 0)));
    for leased in queue.lease(&up_to(9)).await.unwrap() {
        queue.complete(&leased.ticket, None).await.unwrap();
    }
    assert_eq!(counts_of(queue, "p").await, (1, 0));
    queue.complete(&take(queue).await.ticket, None).await.unwrap();
    queue.enqueue_flow(&of("p", "parent"), &[of("a", "soon")]).await.unwrap();
    queue.cancel(&["soon".to_owned()]).await.unwrap();
    assert_eq!(state_of(queue, "parent").await, State::Dead);
    nothing_is_left(&site).await;
    assert_eq!(queue.counts().await.unwrap().bytes, 0);
}

pub(crate) async fn bounds_of_very_many_groups_change(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    let jobs: Vec<NewJob> = (0..800).map(|number| of(&format!("g{:03}", number % 400), &format!("{number}"))).collect();
    queue.enqueue_many(&jobs).await.unwrap();
    queue.limit(&each_group(1)).await.unwrap();
    let mut first = queue.lease(&up_to(500)).await.unwrap();
    assert_eq!((first.len(), ids(queue, 500).await.len()), (400, 0));
    // Raised: all that stood aside come back, some at each step.
    queue.limit(&each_group(2)).await.unwrap();
    let mut second = Vec::new();
    while second.len() < 400 {
        second.extend(queue.lease(&LeaseOptions { wait: Duration::from_secs(10), ..up_to(500) }).await.unwrap());
    }
    assert_eq!((second.len(), queue.counts().await.unwrap().waiting), (400, 0));
    // Lowered: nobody gets more, although the ring is full of those who could.
    for leased in first.drain(..) {
        queue.release(&leased.ticket).await.unwrap();
    }
    queue.limit(&each_group(1)).await.unwrap();
    for _ in 0..10 {
        assert_eq!(ids(queue, 500).await.len(), 0);
    }
    queue.limit(&Bounds::default()).await.unwrap();
    eventually("all are leased", || async { ids(queue, 500).await.len() + second.len() >= 400 }).await;
}

pub(crate) async fn groups_round_trip(place: Place) {
    let services = place.services().await;
    let run = on_mail(&services);
    let job = json!({"id": "a0", "group": "tenant 7; é"});
    assert_eq!(run("enqueue", job.clone()).await, Ok(json!({"id": "a0", "existing": null})));
    run("enqueue", json!({"id": "b0", "group": "b"})).await.unwrap();
    assert_eq!(run("limit", json!({"group_active_max": 4})).await, Ok(json!({"changed": true})));
    let limit = json!({"group": "tenant 7; é", "active_max": 2});
    assert_eq!(run("limit_group", limit).await, Ok(json!({"changed": true})));
    let leased = run("lease", json!({})).await.unwrap();
    assert_eq!(leased["jobs"][0]["group"], json!("tenant 7; é"));
    let a = json!({"group": "tenant 7; é", "waiting": 0, "active": 1, "active_max": 2, "rest_ms": 0});
    let b = json!({"group": "b", "waiting": 1, "active": 0, "active_max": 4, "rest_ms": 0});
    assert_eq!(run("groups", json!({})).await, Ok(json!({"groups": [b, a]})));
    assert_eq!(run("groups", json!({"after": "b", "count": 1})).await, Ok(json!({"groups": [a]})));
    assert_eq!(run("group", json!({"group": "tenant 7; é"})).await, Ok(a));
    run("limit_group", json!({"group": "tenant 7; é"})).await.unwrap();
    run("limit", json!({})).await.unwrap();
    let none = json!({"group": "x", "waiting": 0, "active": 0, "active_max": null, "rest_ms": 0});
    assert_eq!(run("group", json!({"group": "x"})).await, Ok(none));
    for (name, bad) in [
        ("enqueue", json!({"group": ""})),
        ("enqueue", json!({"group": "a\u{1}b"})),
        ("limit", json!({"group_active_max": 0})),
        ("limit_group", json!({"group": "a", "active_max": 0})),
        ("limit", json!({"group_rate": 0})),
        ("limit", json!({"group_rate": 2, "group_burst": 3})),
        ("limit", json!({"burst": 1})),
        ("limit_group", json!({"group": "a", "period_ms": 5})),
        ("groups", json!({"count": 0})),
        ("group", json!({"group": "x".repeat(129)})),
    ] {
        assert_eq!(run(name, bad.clone()).await.unwrap_err().status(), 422, "{name} {bad}");
    }
    let queue = queue(&place).await;
    assert!(matches!(queue.limit_group("", &GroupBounds::default()).await, Err(Error::InvalidInput { .. })));
    assert!(matches!(queue.enqueue(&of("\n", "x")).await, Err(Error::InvalidInput { .. })));
}

/// How many commands the steps of a lease take, while so many groups stand aside.
async fn commands_of_a_lease(aside: usize) -> u64 {
    let services = Services::new(Backend::embedded(Store::open(Config::in_memory()).unwrap()), Settings::default());
    let queue = services.jobs(&tenant()).queue("mail").unwrap();
    queue.limit(&each_group(1)).await.unwrap();
    for page in 0..aside / 500 {
        let jobs = (0..500).flat_map(|number| {
            let group = format!("g{page}-{number}");
            [of(&group, &format!("{group}-0")), of(&group, &format!("{group}-1"))]
        });
        queue.enqueue_many(&jobs.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(ids(&queue, 500).await.len(), 500);
    }
    queue.enqueue_many(&[of("other", "other0"), of("third", "third0")]).await.unwrap();
    let calls = async || {
        let info = services.backend().call(Command::new("INFO").arg("commandstats")).await.unwrap();
        let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
        info.as_str().unwrap().lines().filter_map(calls).sum::<u64>()
    };
    let before = calls().await;
    assert_eq!(ids(&queue, 1).await, ["other0"]);
    calls().await - before
}

#[tokio::test]
async fn groups_that_stand_aside_cost_a_lease_nothing() {
    let (few, many) = (commands_of_a_lease(500).await, commands_of_a_lease(10_000).await);
    assert_eq!(few, many);
}

#[tokio::test]
async fn a_job_that_failed_keeps_its_group() {
    let queue = queue(&Place::embedded()).await;
    queue.enqueue(&NewJob { retry_base: Some(Duration::from_millis(1)), ..of("a", "a0") }).await.unwrap();
    let leased = take(&queue).await;
    queue.settle(&[(leased.ticket, failed("no"))]).await.unwrap();
    let leased = take(&queue).await;
    assert_eq!((leased.job.group.as_deref(), leased.job.attempt()), (Some("a"), 2));
}
