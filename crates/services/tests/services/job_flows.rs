//! Tests of flows, bounds and commits: what goes beyond a single job.

use std::time::{Duration, Instant};

use redpoll_services::jobs::{
    Bounds, Commit, Effect, JobSettings, LeaseOptions, NewJob, Outcome, Payload, Queue, Rate, State, Ticket, Which,
};
use redpoll_services::{Command, Error, Ttl};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::jobs::{Site, briefly, done, ids, named, queue, queue_with, site, state_of, take, up_to};
use crate::support::{Place, eventually};

const DAY: Duration = Duration::from_secs(86_400);

async fn flow(queue: &Queue, parent: &str, children: &[&str]) {
    let children: Vec<NewJob> = children.iter().map(|id| named(id)).collect();
    queue.enqueue_flow(&NewJob { priority: 9, ..named(parent) }, &children).await.unwrap();
}

pub(crate) async fn a_parent_waits_for_its_children(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    flow(queue, "parent", &["a", "b", "c"]).await;
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.blocked, counts.waiting), (1, 3));
    let children = queue.lease(&up_to(9)).await.unwrap();
    assert_eq!(children.len(), 3, "the parent is not among them, whatever its priority");
    // One fails and is tried again, the others complete; the last to complete frees the parent, in the same step.
    let again = Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) };
    let tickets: Vec<Ticket> = children.into_iter().map(|leased| leased.ticket).collect();
    let outcomes = [(tickets[0].clone(), done()), (tickets[1].clone(), again), (tickets[2].clone(), done())];
    let exchanged = queue.exchange(&outcomes, &up_to(9)).await.unwrap();
    assert_eq!(exchanged.jobs.iter().map(|leased| leased.job.id.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(state_of(queue, "parent").await, State::Blocked);
    let exchanged = queue.exchange(&[(exchanged.jobs[0].ticket.clone(), done())], &up_to(9)).await.unwrap();
    assert_eq!(exchanged.jobs[0].job.id, "parent");
    // Said twice, it counts once.
    queue.settle(&[(tickets[0].clone(), done())]).await.unwrap();
    queue.complete(&exchanged.jobs[0].ticket, None).await.unwrap();
    assert_eq!(site.size("HLEN", "f").await, 0, "nothing is left of the flow");
}

pub(crate) async fn a_child_that_does_not_complete_takes_its_parent_along(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    for way in ["dead", "cancelled", "expired", "cleared", "lost"] {
        let child = NewJob { lost_max: Some(1), ..named("child") };
        let patience = (way == "expired").then(|| Duration::from_millis(1));
        let children = [NewJob { patience, ..child }, NewJob { delay: Duration::from_secs(60), ..named("other") }];
        queue.enqueue_flow(&named("parent"), &children).await.unwrap();
        match way {
            "dead" => {
                let gone = Outcome::GivenUp { error: "no".to_owned() };
                queue.settle_one(&take(queue).await.ticket, gone).await.map(drop).unwrap();
            }
            "cancelled" => drop(queue.cancel(&["child".to_owned()]).await.unwrap()),
            "cleared" => drop(queue.clear(State::Waiting, Which::All).await.unwrap()),
            "lost" => drop(queue.lease(&briefly(1)).await.unwrap()),
            _ => {}
        }
        eventually(way, || async {
            queue.sweep().await.unwrap();
            state_of(queue, "parent").await == State::Dead
        })
        .await;
        let error = queue.job("parent").await.unwrap().error;
        assert_eq!(error.as_deref(), Some("its child child has not been completed"), "{way}");
        // Whoever requeues it has looked: it does not wait for anybody any more.
        assert_eq!(queue.requeue(Which::Ids(&["parent".to_owned()])).await, Ok(1));
        queue.complete(&take(queue).await.ticket, None).await.unwrap();
        assert_eq!(state_of(queue, "parent").await, State::Completed, "{way}");
        queue.cancel(&["other".to_owned()]).await.unwrap();
        assert_eq!(site.size("HLEN", "f").await, 0, "{way}");
    }
}

pub(crate) async fn a_flow_is_enqueued_whole_or_not_at_all(place: Place) {
    let queue = queue_with(&place, JobSettings { length_max: 4, ..JobSettings::default() }).await;
    queue.enqueue(&named("b")).await.unwrap();
    for (parent, children) in
        [("b", vec!["c"]), ("p", vec!["a", "b"]), ("p", vec!["a", "a"]), ("p", vec!["p"]), ("p", vec!["c", "d", "e"])]
    {
        let children: Vec<NewJob> = children.into_iter().map(named).collect();
        let refused = queue.enqueue_flow(&named(parent), &children).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    }
    assert!(matches!(queue.enqueue_flow(&named("p"), &[]).await, Err(Error::InvalidInput { .. })));
    let late = NewJob { delay: Duration::from_secs(1), ..named("p") };
    assert!(matches!(queue.enqueue_flow(&late, &[named("c")]).await, Err(Error::InvalidInput { .. })));
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.blocked), (1, 0));
    // A parent that is cancelled leaves its children alone, and a new one of its id is not theirs.
    flow(&queue, "p", &["c"]).await;
    queue.cancel(&["p".to_owned()]).await.unwrap();
    flow(&queue, "p", &["d"]).await;
    assert_eq!(ids(&queue, 2).await, ["b", "c"]);
    let c = queue.list(State::Active, 0, 9).await.unwrap().len();
    assert_eq!((c, state_of(&queue, "p").await), (2, State::Blocked));
}

pub(crate) async fn so_many_are_active_and_no_more(place: Place) {
    let queue = queue(&place).await;
    queue.limit(&Bounds { active_max: Some(3), ..Bounds::default() }).await.unwrap();
    let jobs: Vec<NewJob> = (0..20).map(|number| named(&number.to_string())).collect();
    queue.enqueue_many(&jobs).await.unwrap();
    let first = queue.lease(&up_to(9)).await.unwrap();
    assert_eq!((first.len(), ids(&queue, 9).await.len()), (3, 0));
    for leased in first {
        queue.release(&leased.ticket).await.unwrap();
    }
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let queue = queue.clone();
        tasks.spawn(async move {
            let options = LeaseOptions { count: 2, wait: Duration::from_millis(300), ..LeaseOptions::default() };
            let (mut worked, mut most) = (0, 0);
            loop {
                let leased = queue.lease(&options).await.unwrap();
                if leased.is_empty() && queue.counts().await.unwrap().waiting == 0 {
                    return (worked, most);
                }
                most = most.max(queue.counts().await.unwrap().active);
                for leased in leased {
                    queue.complete(&leased.ticket, None).await.unwrap();
                    worked += 1;
                }
            }
        });
    }
    let (mut worked, mut most) = (0, 0);
    while let Some((by_one, seen)) = tasks.join_next().await.transpose().unwrap() {
        (worked, most) = (worked + by_one, most.max(seen));
    }
    assert!(worked == 20 && most <= 3, "{worked} done, {most} at once");
}

pub(crate) async fn who_waits_for_a_place_is_woken(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.limit(&Bounds { active_max: Some(1), ..Bounds::default() }).await.unwrap();
    queue.enqueue_many(&[named("a"), named("b")]).await.unwrap();
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let held = take(queue).await;
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { take(&queue).await }
        });
        eventually("it waits", || async { site.size("ZCARD", "l").await == 1 }).await;
        let begun = Instant::now();
        queue.complete(&held.ticket, None).await.unwrap();
        let next = waiting.await.unwrap();
        fastest = fastest.min(begun.elapsed());
        queue.complete(&next.ticket, None).await.unwrap();
        queue.enqueue_many(&[named("a"), named("b")]).await.unwrap();
    }
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
}

pub(crate) async fn jobs_are_leased_no_faster_than_allowed(place: Place) {
    let queue = queue(&place).await;
    let rate = Rate { count: 50, period: Duration::from_secs(1), burst: 4 };
    queue.limit(&Bounds { rate: Some(rate), ..Bounds::default() }).await.unwrap();
    let jobs: Vec<NewJob> = (0..30).map(|number| named(&number.to_string())).collect();
    queue.enqueue_many(&jobs).await.unwrap();
    let mut moments = Vec::new();
    while moments.len() < 20 {
        let options = LeaseOptions { count: 9, wait: Duration::from_secs(5), ..LeaseOptions::default() };
        moments.extend(queue.lease(&options).await.unwrap().into_iter().map(|leased| leased.job.since_ms));
    }
    // However they are spread, in no stretch of time are more than the burst and what the rate allows.
    for (first, from) in moments.iter().enumerate() {
        for (last, to) in moments.iter().enumerate().skip(first) {
            let allowed = 4.0 + (to - from + 1) as f64 / 20.0;
            assert!((last - first + 1) as f64 <= allowed, "{first} to {last}: {moments:?}");
        }
    }
    let ahead = moments[19] - moments[0];
    assert!((300..15_000).contains(&ahead), "{ahead} ms for 20 jobs, 16 intervals of 20 ms");
    // A new rate is not held up by what the old one has let through.
    queue.limit(&Bounds { rate: Some(Rate { count: 1, period: DAY, burst: 1 }), ..Bounds::default() }).await.unwrap();
    let slow = queue.lease(&LeaseOptions { wait: Duration::from_secs(5), ..up_to(1) }).await.unwrap().len();
    queue.limit(&Bounds { rate: Some(rate), ..Bounds::default() }).await.unwrap();
    let quick = queue.lease(&LeaseOptions { wait: Duration::from_secs(5), ..up_to(1) }).await.unwrap().len();
    assert_eq!((slow, quick), (1, 1));
    queue.limit(&Bounds::default()).await.unwrap();
    assert_eq!(queue.lease(&up_to(99)).await.unwrap().len(), 28 - moments.len());
    for bad in [
        Bounds { active_max: Some(0), ..Bounds::default() },
        Bounds { rate: Some(Rate { count: 0, ..rate }), ..Bounds::default() },
        Bounds { rate: Some(Rate { burst: 51, ..rate }), ..Bounds::default() },
        Bounds { rate: Some(Rate { period: Duration::ZERO, ..rate }), ..Bounds::default() },
    ] {
        assert!(matches!(queue.limit(&bad).await, Err(Error::InvalidInput { .. })), "{bad:?}");
    }
}

/// Asks for what a commit wrote.
async fn data(site: &Site, command: &'static str, name: &str) -> Option<String> {
    let command = Command::new(command).key(site.queue.data_key(name).unwrap());
    let command = if name == "list" { command.arg("0").arg("-1") } else { command };
    let reply = site.services.backend().call(command).await.unwrap();
    match reply.as_array() {
        Some(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(|all| all.join(",")),
        None => reply.as_str().map(str::to_owned),
    }
}

fn effects(by: i64) -> Vec<(String, Effect)> {
    let owned = |name: &str, effect: Effect| (name.to_owned(), effect);
    vec![
        owned("total", Effect::Add { by }),
        owned("last", Effect::Set { value: b"\0x".to_vec(), ttl: Ttl::ms(60_000).unwrap() }),
        owned("gone", Effect::Delete),
        owned("hash", Effect::Field { name: "f".to_owned(), value: b"v".to_vec() }),
        owned("list", Effect::Push { value: b"e".to_vec() }),
    ]
}

pub(crate) async fn a_commit_does_all_of_it(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.enqueue_many(&[named("a"), named("alive")]).await.unwrap();
    let leased = take(queue).await;
    let result = Some(Payload::json(&json!([17])).unwrap());
    let commit =
        Commit { effects: effects(5), jobs: vec![named("next"), named("alive")], result: result.clone(), ttl: None };
    queue.commit(&leased.ticket, &commit).await.unwrap();
    // Sent again by who did not hear the answer, it changes nothing more.
    queue.commit(&leased.ticket, &commit).await.unwrap();
    assert_eq!(data(&site, "GET", "total").await.as_deref(), Some("5"));
    assert_eq!(data(&site, "GET", "last").await.as_deref(), Some("\0x"));
    assert_eq!(data(&site, "LRANGE", "list").await.as_deref(), Some("e"));
    let found = queue.job("a").await.unwrap();
    assert_eq!((found.job.unwrap().state, found.result), (State::Completed, result));
    assert_eq!(ids(queue, 9).await, ["alive", "next"]);
}

pub(crate) async fn a_commit_of_a_lost_lease_does_nothing_of_it(place: Place) {
    let site = site(&place, JobSettings { length_max: 3, ..JobSettings::default() }).await;
    let queue = &site.queue;
    queue.enqueue(&named("a")).await.unwrap();
    let late = queue.lease(&briefly(1)).await.unwrap().remove(0);
    let next = take(queue).await;
    let commit = |jobs: &[&str], effects: Vec<(String, Effect)>| Commit {
        effects,
        jobs: jobs.iter().map(|id| named(id)).collect(),
        ..Commit::default()
    };
    let refused = async |ticket: &Ticket, commit: &Commit, why: &str| {
        let error = queue.commit(ticket, commit).await.unwrap_err();
        assert!(matches!(&error, Error::Conflict(text) if text.contains(why)), "{error}");
        assert_eq!(data(&site, "GET", "total").await, None);
        let counts = queue.counts().await.unwrap();
        assert_eq!((counts.waiting, counts.active, counts.completed_total), (0, 1, 0));
    };
    refused(&late.ticket, &commit(&["x"], effects(5)), "lost").await;
    refused(&next.ticket, &commit(&["x", "y", "z"], effects(5)), "full").await;
    // Whatever does not fit is found before anything is written, the last effect as well as the first.
    let key = queue.data_key("list").unwrap();
    site.services.backend().call(Command::new("SET").key(&key).arg("no list")).await.unwrap();
    refused(&next.ticket, &commit(&["x"], effects(5)), "list").await;
    site.services.backend().call(Command::new("DEL").key(&key)).await.unwrap();
    queue.commit(&next.ticket, &commit(&["x"], effects(5))).await.unwrap();
    let text = take(queue).await;
    let twice = [effects(1), effects(1)].concat();
    assert!(matches!(queue.commit(&text.ticket, &commit(&[], twice)).await, Err(Error::InvalidInput { .. })));
    let large = vec![("total".to_owned(), Effect::Add { by: 1 << 53 })];
    assert!(queue.commit(&text.ticket, &commit(&[], large)).await.is_err(), "a sum that Lua does not hold");
    assert_eq!(data(&site, "GET", "total").await.as_deref(), Some("5"));
}

/// Workers that die between their effect and their outcome, and others that are paused past their leases.
pub(crate) async fn effects_are_applied_once_where_the_naive_way_applies_them_twice(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.enqueue(&named("a")).await.unwrap();
    let add = async || {
        let key = queue.data_key("naive").unwrap();
        site.services.backend().call(Command::new("INCRBY").key(key).arg("5")).await.unwrap();
    };
    // The naive way: write, then complete. The first worker dies in between.
    drop(queue.lease(&briefly(1)).await.unwrap());
    add().await;
    let second = take(queue).await;
    add().await;
    queue.complete(&second.ticket, None).await.unwrap();
    assert_eq!(data(&site, "GET", "naive").await.as_deref(), Some("10"), "the naive worker has paid twice");
    // Here many workers try the same job, each for a moment, and all commit.
    let jobs: Vec<NewJob> =
        (0..40).map(|number| NewJob { lost_max: Some(9_999), ..named(&number.to_string()) }).collect();
    queue.enqueue_many(&jobs).await.unwrap();
    let mut tasks = JoinSet::new();
    for worker in 0..16_u64 {
        let queue = queue.clone();
        tasks.spawn(async move {
            let commit = Commit { effects: vec![("total".to_owned(), Effect::Add { by: 5 })], ..Commit::default() };
            let mut refused = 0;
            while queue.counts().await.unwrap().completed_total < 41 {
                let lease = Some(Duration::from_millis(10 + worker));
                for leased in queue.lease(&LeaseOptions { count: 3, lease, ..LeaseOptions::default() }).await.unwrap() {
                    tokio::task::yield_now().await;
                    refused += u32::from(queue.commit(&leased.ticket, &commit).await.is_err());
                }
            }
            refused
        });
    }
    let mut refused = 0;
    while let Some(by_one) = tasks.join_next().await.transpose().unwrap() {
        refused += by_one;
    }
    println!("{refused} commits of lost leases");
    assert_eq!(data(&site, "GET", "total").await.as_deref(), Some("200"));
}

pub(crate) async fn flows_round_trip(place: Place) {
    let services = place.services().await;
    let run = crate::jobs::on_mail(&services);
    let flow = json!({"parent": {"id": "p"}, "children": [{"id": "c", "payload": 1}]});
    assert_eq!(run("enqueue_flow", flow.clone()).await, Ok(json!({"ids": ["p", "c"]})));
    assert_eq!(run("enqueue_flow", flow).await.unwrap_err().status(), 409);
    assert_eq!(run("limit", json!({"active_max": 1, "rate": 100})).await, Ok(json!({"changed": true})));
    let leased = run("lease", json!({"count": 9})).await.unwrap();
    let effects = json!([
        {"effect": "add", "name": "paid", "by": 5},
        {"effect": "set", "name": "last", "value": "c", "ttl_ms": 60000},
        {"effect": "field", "name": "by", "field": "c", "value": "5"},
        {"effect": "push", "name": "log", "value": "c"},
        {"effect": "delete", "name": "gone"},
    ]);
    let commit =
        |token: &Json| json!({"id": "c", "token": token, "effects": effects, "jobs": [{"id": "d"}], "result": 7});
    assert_eq!(run("commit", commit(&json!(1))).await.unwrap_err().status(), 409);
    assert_eq!(run("commit", commit(&leased["jobs"][0]["token"])).await, Ok(json!({"changed": true})));
    assert_eq!(run("job", json!({"id": "c"})).await.unwrap()["result"], json!(7));
    assert_eq!(run("counts", json!({})).await.unwrap()["waiting"], json!(2));
    let bad = json!({"id": "c", "token": 1, "effects": [{"effect": "multiply", "name": "paid"}]});
    assert_eq!(run("commit", bad).await.unwrap_err().status(), 422);
    assert_eq!(run("limit", json!({"rate": 0})).await.unwrap_err().status(), 422);
}
