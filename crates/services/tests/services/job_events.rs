//! Tests of events: what happened is told, in order, once, and what did not happen is not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redpoll_services::Error;
use redpoll_services::jobs::{
    EventKind, EventPage, EventWish, JobSettings, LeaseOptions, NewJob, Outcome, Payload, Queue, State, Which,
};
use redpoll_services::operation::Feed;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::jobs::{briefly, done, failed, named, on_mail, queue, queue_with, site, take, up_to};
use crate::operations::open;
use crate::support::{Place, eventually};

fn many() -> EventWish {
    EventWish { count: 1_000, ..EventWish::default() }
}

fn patient() -> EventWish {
    EventWish { wait: Duration::from_secs(20), ..EventWish::default() }
}

/// Reads what is behind a number and moves it on.
async fn told(queue: &Queue, known: &mut u64) -> Vec<(EventKind, String, State)> {
    let EventPage { events, next, missed } = queue.events_since(*known, &many()).await.unwrap();
    assert_eq!((missed, next), (0, *known + events.len() as u64), "the numbers are dense");
    *known = next;
    events.into_iter().map(|event| (event.kind, event.id, event.state)).collect()
}

fn seen(kind: EventKind, id: &str, state: State) -> (EventKind, String, State) {
    (kind, id.to_owned(), state)
}

pub(crate) async fn what_becomes_of_jobs_is_told(place: Place) {
    use EventKind::*;
    let queue = queue_with(&place, JobSettings { lost_max: 2, ..JobSettings::default() }).await;
    queue.enqueue(&named("before")).await.unwrap();
    queue.keep_events(Some(1_000)).await.unwrap();
    let mut known = 0;
    let late = NewJob { delay: Duration::from_millis(20), attempts_max: Some(2), ..named("b") };
    queue.enqueue_many(&[named("a"), late, named("a")]).await.unwrap();
    let added = [seen(Added, "a", State::Waiting), seen(Added, "b", State::Delayed)];
    assert_eq!(told(&queue, &mut known).await, added, "only what was enqueued now");
    queue.cancel(&["before".to_owned(), "nobody".to_owned()]).await.unwrap();
    let a = take(&queue).await;
    queue.progress(&a.ticket, &Payload::json(&json!(0.5)).unwrap(), None).await.unwrap();
    queue.extend(std::slice::from_ref(&a.ticket), None).await.unwrap();
    queue.release(&a.ticket).await.unwrap();
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    queue.settle(&[(a.ticket, done())]).await.unwrap();
    let a = [
        seen(Cancelled, "before", State::Cancelled),
        seen(Active, "a", State::Active),
        seen(Progress, "a", State::Active),
        seen(Released, "a", State::Waiting),
        seen(Active, "a", State::Active),
        seen(Completed, "a", State::Completed),
    ];
    let since_a = known;
    let found: Vec<_> = told(&queue, &mut known).await.into_iter().filter(|(_, id, _)| id != "b").collect();
    assert_eq!(found, a);
    let page = queue.events_since(since_a, &many()).await.unwrap();
    let progress = page.events.iter().find(|event| event.kind == Progress).unwrap();
    assert_eq!(progress.progress.as_ref().unwrap().as_bytes(), b"0.5");
    // Failed, tried again, dead, requeued, cancelled while it is worked on.
    let now = Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) };
    queue.settle_one(&take(&queue).await.ticket, now).await.unwrap();
    queue.settle_one(&take(&queue).await.ticket, failed("never")).await.unwrap();
    queue.requeue(Which::All).await.unwrap();
    let b = take(&queue).await;
    queue.cancel(&["b".to_owned()]).await.unwrap();
    queue.fail(&b.ticket, "stopped").await.unwrap();
    let all = queue.events_since(0, &many()).await.unwrap().events;
    let b: Vec<_> = all.iter().filter(|event| event.id == "b").collect();
    let kinds: Vec<EventKind> = b.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Added, Due, Active, Failed, Active, Dead, Requeued, Active, Cancelling, Cancelled]);
    let attempts: Vec<u32> = b.iter().filter_map(|event| event.attempt).collect();
    let errors: Vec<&str> = b.iter().filter_map(|event| event.error.as_deref()).collect();
    assert_eq!((attempts, errors), (vec![1, 2, 1], vec!["no", "never"]));
    assert!(b.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms && pair[0].number < pair[1].number));
}

pub(crate) async fn what_nobody_did_is_told_too(place: Place) {
    use EventKind::*;
    let queue = queue_with(&place, JobSettings { lost_max: 2, ..JobSettings::default() }).await;
    queue.keep_events(Some(1_000)).await.unwrap();
    let brief = NewJob { patience: Some(Duration::from_millis(1)), ..named("brief") };
    let short = NewJob { timeout: Some(Duration::from_millis(10)), attempts_max: Some(1), ..named("short") };
    queue.enqueue_many(&[named("lost"), short]).await.unwrap();
    for _ in 0..2 {
        let count = queue.lease(&LeaseOptions { wait: Duration::from_secs(9), ..briefly(2) }).await.unwrap().len();
        assert!(count > 0);
    }
    queue.enqueue(&brief).await.unwrap();
    eventually("all is over", || async {
        queue.sweep().await.unwrap();
        let counts = queue.counts().await.unwrap();
        (counts.dead, counts.expired) == (2, 1)
    })
    .await;
    queue.enqueue_flow(&named("parent"), &[named("child")]).await.unwrap();
    queue.complete(&take(&queue).await.ticket, None).await.unwrap();
    queue.clear(State::Waiting, Which::All).await.unwrap();
    let all = queue.events_since(0, &many()).await.unwrap().events;
    let of = |id: &str| all.iter().filter(|event| event.id == id).map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(of("lost"), [Added, Active, Lost, Active, Lost, Dead]);
    assert_eq!(of("short"), [Added, Active, Dead]);
    assert_eq!(of("brief"), [Added, Expired]);
    assert_eq!(of("child"), [Added, Active, Completed]);
    assert_eq!(of("parent"), [Added, Unblocked, Removed]);
}

pub(crate) async fn events_are_bounded_and_what_was_missed_is_counted(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.enqueue(&named("unseen")).await.unwrap();
    assert_eq!(queue.events_since(0, &many()).await, Ok(EventPage::default()), "nothing is kept unasked");
    assert_eq!(site.size("EXISTS", "v").await, 0);
    queue.keep_events(Some(200)).await.unwrap();
    for page in 0..10 {
        let jobs: Vec<NewJob> = (0..100).map(|number| named(&format!("{page}-{number}"))).collect();
        queue.enqueue_many(&jobs).await.unwrap();
    }
    let kept = site.size("XLEN", "v").await as u64;
    assert!((200..400).contains(&kept), "{kept}");
    let page = queue.events_since(5, &EventWish { count: 10, ..EventWish::default() }).await.unwrap();
    assert_eq!((page.missed, page.events[0].number), (995 - kept, 1001 - kept));
    assert_eq!(page.next, page.events[9].number);
    let last = queue.events_since(page.next, &many()).await.unwrap();
    assert_eq!((last.next, last.missed, last.events.len() as u64), (1_000, 0, kept - 10));
    assert_eq!(queue.events_since(1_000, &many()).await.unwrap(), EventPage { next: 1_000, ..EventPage::default() });
    // A reader that knows more than there was has seen another life of the store.
    let page = queue.events_since(5_000, &many()).await.unwrap();
    assert_eq!((page.events.len() as u64, page.missed), (kept, 1_000 - kept));
    // Numbers go on when there are events again.
    queue.keep_events(None).await.unwrap();
    queue.enqueue(&named("x")).await.unwrap();
    assert_eq!(site.size("XLEN", "v").await, 0);
    let page = queue.events_since(990, &many()).await.unwrap();
    assert_eq!((page.events.len(), page.next, page.missed), (0, 1_000, 10));
    queue.keep_events(Some(10)).await.unwrap();
    queue.enqueue(&named("y")).await.unwrap();
    assert_eq!(queue.events_since(page.next, &many()).await.unwrap().events[0].number, 1_001);
    for bad in [0, 100_001] {
        assert!(matches!(queue.keep_events(Some(bad)).await, Err(Error::InvalidInput { .. })));
    }
}

pub(crate) async fn who_waits_for_events_is_woken(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let queue = &site.queue;
    queue.keep_events(Some(100)).await.unwrap();
    let (mut known, mut fastest) = (0, Duration::MAX);
    for number in 0..5 {
        let reading = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.events_since(known, &patient()).await.unwrap(), Instant::now()) }
        });
        eventually("it listens", || async { site.services.signals().channels() > 0 }).await;
        let begun = Instant::now();
        queue.enqueue(&named(&number.to_string())).await.unwrap();
        let (page, heard) = reading.await.unwrap();
        assert_eq!(page.events[0].id, number.to_string());
        fastest = fastest.min(heard.saturating_duration_since(begun));
        known = page.next;
    }
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
    let brief = EventWish { wait: Duration::from_millis(30), ..EventWish::default() };
    assert_eq!(queue.events_since(known, &brief).await.unwrap().events, []);
}

pub(crate) async fn events_of_many_workers_add_up(place: Place) {
    let queue = queue(&place).await;
    queue.keep_events(Some(100_000)).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let queue = queue.clone();
        tasks.spawn(async move {
            let jobs: Vec<NewJob> = (0..25).map(|number| named(&format!("{task}-{number}"))).collect();
            queue.enqueue_many(&jobs).await.unwrap();
            let (mut outcomes, mut leases) = (Vec::new(), 0);
            loop {
                let wait = Duration::from_millis(50);
                let options = LeaseOptions { wait, ..up_to(3) };
                let jobs = queue.exchange(&outcomes, &options).await.unwrap().jobs;
                if jobs.is_empty() && queue.counts().await.unwrap().waiting == 0 {
                    return leases;
                }
                leases += jobs.len();
                let outcome = |attempt| match attempt {
                    1 => Outcome::Failed { error: "no".to_owned(), retry_after: Some(Duration::ZERO) },
                    _ => done(),
                };
                outcomes = jobs.into_iter().map(|leased| (leased.ticket, outcome(leased.job.attempt()))).collect();
            }
        });
    }
    let mut leases = 0;
    while let Some(of_one) = tasks.join_next().await.transpose().unwrap() {
        leases += of_one;
    }
    let mut lives: HashMap<String, Vec<EventKind>> = HashMap::new();
    let mut known = 0;
    loop {
        let page = queue.events_since(known, &EventWish { count: 77, ..EventWish::default() }).await.unwrap();
        for event in page.events {
            assert_eq!(event.number, known + 1);
            known = event.number;
            lives.entry(event.id).or_default().push(event.kind);
        }
        if known == page.next && queue.events_since(known, &many()).await.unwrap().events.is_empty() {
            break;
        }
    }
    assert_eq!((lives.len(), leases), (200, 400));
    for (id, life) in lives {
        use EventKind::*;
        assert_eq!(life, [Added, Active, Failed, Active, Completed], "{id}");
    }
}

pub(crate) async fn events_round_trip(place: Place) {
    let services = place.services().await;
    let run = on_mail(&services);
    assert_eq!(run("events", json!({})).await, Ok(json!({"events": [], "next": 0, "missed": 0})));
    assert_eq!(run("keep_events", json!({"max": 50})).await, Ok(json!({"changed": true})));
    run("enqueue", json!({"id": "a"})).await.unwrap();
    let leased = run("lease", json!({})).await.unwrap();
    let ticket = json!({"id": "a", "token": leased["jobs"][0]["token"]});
    run("extend", json!({"jobs": [ticket], "progress": {"done": 1}})).await.unwrap();
    let page = run("events", json!({"wait_ms": 1000, "count": 2})).await.unwrap();
    assert_eq!((page["next"].as_u64(), page["missed"].as_u64()), (Some(2), Some(0)));
    let first = &page["events"][0];
    assert_eq!((&first["number"], &first["event"], &first["id"]), (&json!(1), &json!("added"), &json!("a")));
    assert_eq!((&first["state"], first["error"].is_null()), (&json!("waiting"), true));
    assert_eq!(page["events"][1]["attempt"], json!(1));
    let page = run("events", json!({"after": 2})).await.unwrap();
    assert_eq!(page["events"][0]["progress"], json!({"done": 1}));
    for (name, bad) in
        [("keep_events", json!({"max": 0})), ("events", json!({"count": 0})), ("events", json!({"after": -1}))]
    {
        assert_eq!(run(name, bad.clone()).await.unwrap_err().status(), 422, "{name} {bad}");
    }
}

pub(crate) async fn events_are_watched(place: Place) {
    let site = site(&place, JobSettings::default()).await;
    let tenant = site.tenant.name();
    site.queue.keep_events(Some(1_000)).await.unwrap();
    site.queue.enqueue(&named("before")).await.unwrap();
    let watch = async |more: Json| {
        let mut input = json!({"tenant": tenant, "queue": site.queue.name()});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        open(&site.services, "jobs", "watch", input).await
    };
    let next = async |feed: &dyn Feed| {
        let item = tokio::time::timeout(Duration::from_secs(30), feed.next()).await.expect("an item in time").unwrap();
        (item.kind, item.position.unwrap(), item.body)
    };
    let feed = watch(json!({})).await.unwrap();
    assert_eq!(next(&*feed).await, ("ready", "1".to_owned(), json!({"number": 1})));
    let job = named("a");
    let (waiting, enqueued) = tokio::join!(next(&*feed), site.queue.enqueue(&job));
    enqueued.unwrap();
    assert_eq!((waiting.0, waiting.1.as_str(), &waiting.2["event"]), ("event", "2", &json!("added")));
    // Whoever comes back is told all of it, whatever they had heard.
    let feed = watch(json!({"resume": "0"})).await.unwrap();
    assert_eq!(next(&*feed).await.0, "ready");
    for (number, id) in [(1, "before"), (2, "a")] {
        let (kind, position, body) = next(&*feed).await;
        assert_eq!((kind, position, &body["id"]), ("event", number.to_string(), &json!(id)));
    }
    site.queue.keep_events(None).await.unwrap();
    site.queue.enqueue(&named("unseen")).await.unwrap();
    assert!(feed.tell(json!({})).await.is_err());
    assert!(watch(json!({"resume": "x"})).await.is_err());
}
