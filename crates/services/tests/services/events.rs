//! Tests of counting events: windows, thresholds, ids, timelines, and the registry.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use redpoll_services::events::{
    Definition, Event, Events, EventsSettings, Message, Op, Reason, State, Target, TimelineEntry, WindowKind,
};
use redpoll_services::keys::Keyring;
use redpoll_services::{Command, Error, Services, Settings};
use serde_json::json;

use crate::support::{Place, eventually, tenant};

/// Longest time something in the store may take to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings under a prefix nobody else uses, so that no other test's deliverer finds the triggers.
pub(crate) fn settings(events: EventsSettings) -> Settings {
    let keyring = Keyring::new(&format!("t{}", uuid::Uuid::new_v4().simple())).unwrap();
    Settings { keyring, events, ..Settings::default() }
}

pub(crate) fn by_events(max_events: u64) -> Definition {
    Definition { max_events: Some(max_events), ..Definition::default() }
}

fn by_time(max_time_ms: u64) -> Definition {
    Definition { max_time_ms: Some(max_time_ms), ..Definition::default() }
}

pub(crate) fn some(count: usize) -> Vec<Event> {
    vec![Event::default(); count]
}

pub(crate) fn with_ids(ids: std::ops::Range<u64>) -> Vec<Event> {
    ids.map(|id| Event::with_id(id.to_string())).collect()
}

async fn open(place: &Place) -> (Services, Events) {
    open_with(place, EventsSettings::default()).await
}

async fn open_with(place: &Place, events: EventsSettings) -> (Services, Events) {
    let services = place.services_with(settings(events)).await;
    let events = services.events(&tenant());
    (services, events)
}

pub(crate) async fn counts_with_first_and_last_time(place: Place) {
    let (services, events) = open(&place).await;
    events.define("c", &by_events(100)).await.unwrap();
    let before = services.backend().now_ms().await.unwrap();
    let first = events.record("c", &Event::default()).await.unwrap();
    assert_eq!((first.count, first.counted, first.triggers), (1, vec![true], vec![]));
    let second = events.record_many("c", &some(4)).await.unwrap();
    let after = services.backend().now_ms().await.unwrap();
    assert_eq!(second.count, 5);
    assert_eq!(second.first_event_ms, first.first_event_ms);
    assert!(first.first_event_ms.unwrap() >= before && second.last_event_ms.unwrap() <= after);
    let status = events.status("c").await.unwrap();
    assert_eq!((status.count, status.events_total, status.events_left), (5, 5, Some(95)));
    assert_eq!((status.first_event_ms, status.last_event_ms), (first.first_event_ms, second.last_event_ms));
    assert_eq!(status.time_left_ms, None);
}

pub(crate) async fn batch_fires_once_per_crossing_and_keeps_the_surplus(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &by_events(10)).await.unwrap();
    let nine = events.record_many("c", &some(9)).await.unwrap();
    assert!(nine.triggers.is_empty());
    let many = events.record_many("c", &some(25)).await.unwrap();
    assert_eq!((many.triggers.len(), many.count), (3, 4));
    for trigger in &many.triggers {
        assert_eq!((trigger.reason, trigger.count, trigger.consumer.as_str()), (Reason::EventThreshold, 10, "c"));
        assert!(trigger.window_start_ms <= trigger.window_end_ms && trigger.window_end_ms <= trigger.created_at_ms);
    }
    assert_eq!(many.triggers[0].window_start_ms, nine.first_event_ms.unwrap());
    let numbers: Vec<&str> = many.triggers.iter().map(|trigger| trigger.id.rsplit('-').next().unwrap()).collect();
    assert_eq!(numbers, ["0000000001", "0000000002", "0000000003"]);
    let held = events.triggers("c", Default::default(), 0, 100).await.unwrap();
    assert_eq!(held.into_iter().map(|held| held.trigger).collect::<Vec<_>>(), many.triggers);
    assert_eq!(events.status("c").await.unwrap().last_trigger.as_ref(), many.triggers.last());
    let last = events.record_many("c", &some(6)).await.unwrap();
    assert_eq!((last.triggers.len(), last.count, last.first_event_ms), (1, 0, None));
}

pub(crate) async fn redelivered_event_counts_once(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &by_events(3)).await.unwrap();
    let id = |id: &str| Event::with_id(id);
    assert!(events.record("c", &id("a")).await.unwrap().counted[0]);
    let again = events.record("c", &id("a")).await.unwrap();
    assert_eq!((again.count, again.counted), (1, vec![false]));
    let batch = events.record_many("c", &[id("a"), id("b"), Event::default(), id("b")]).await.unwrap();
    assert_eq!(batch.counted, [false, true, true, false]);
    assert_eq!((batch.triggers.len(), batch.count), (1, 0));
    // The crossing does not make ids unknown, nor does a reset.
    assert_eq!(events.record_many("c", &[id("a"), id("b")]).await.unwrap().count, 0);
    events.record("c", &id("d")).await.unwrap();
    events.reset("c").await.unwrap();
    assert_eq!(events.record("c", &id("d")).await.unwrap().count, 0);
    let status = events.status("c").await.unwrap();
    assert_eq!((status.events_total, status.duplicates_total, status.triggers_total), (4, 6, 1));
    // Ids are a consumer's own.
    events.define("other", &by_events(3)).await.unwrap();
    assert_eq!(events.record("other", &id("a")).await.unwrap().count, 1);
}

pub(crate) async fn known_ids_are_bounded_and_forgotten(place: Place) {
    let few = EventsSettings { dedupe_max: 3, ..EventsSettings::default() };
    let (_, events) = open_with(&place, few).await;
    events.define("c", &by_events(1000)).await.unwrap();
    for id in 0..5 {
        events.record_many("c", &with_ids(id..id + 1)).await.unwrap();
        // Ids of one millisecond are forgotten in the order of their text, so 0 to 4 are.
    }
    assert_eq!(events.record_many("c", &with_ids(2..5)).await.unwrap().counted, [false; 3]);
    assert_eq!(events.record_many("c", &with_ids(0..1)).await.unwrap().counted, [true]);

    let short = EventsSettings { dedupe: Duration::from_millis(30), ..EventsSettings::default() };
    let (_, events) = open_with(&place, short).await;
    events.define("c", &by_events(1000)).await.unwrap();
    events.record("c", &Event::with_id("x")).await.unwrap();
    // Redeliveries do not prolong the memory.
    eventually("forgetting", || async { events.record("c", &Event::with_id("x")).await.unwrap().counted[0] }).await;
    assert_eq!(events.status("c").await.unwrap().count, 2);
}

/// Returns when the consumer's window expires, in milliseconds since 1970.
async fn window_expiry(services: &Services, events: &Events, consumer: &str) -> i64 {
    let tenant = events.list(None, 1).await.unwrap();
    assert_eq!(tenant.len(), 1);
    let prefix = &services.settings().keyring;
    for number in 0..redpoll_services::events::PARTITIONS {
        let key = prefix.kept_group(events.tenant(), "events", &[&format!("{number:02}")]).named("w", consumer);
        let reply = services.backend().call(Command::new("PEXPIRETIME").key(key)).await.unwrap().as_i64().unwrap();
        if reply != -2 {
            return reply;
        }
    }
    -2
}

pub(crate) async fn expiry_is_set_once_and_never_extended(place: Place) {
    let (services, events) = open(&place).await;
    events.define("c", &by_events(100_000)).await.unwrap();
    let first = events.record("c", &Event::default()).await.unwrap().first_event_ms.unwrap();
    let day_later = i64::try_from(first).unwrap() + 86_400_000;
    assert_eq!(window_expiry(&services, &events, "c").await, day_later);
    let start = Instant::now();
    // Later events, in later milliseconds.
    while events.record("c", &Event::default()).await.unwrap().last_event_ms.unwrap() < first + 5 {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(window_expiry(&services, &events, "c").await, day_later);
    // Nor does defining anew.
    events.define("c", &by_events(200_000)).await.unwrap();
    assert_eq!(window_expiry(&services, &events, "c").await, day_later);
}

pub(crate) async fn steady_events_do_not_keep_a_window_alive(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &Definition { retention_ms: Some(40), ..by_events(1_000_000) }).await.unwrap();
    let first = events.record("c", &Event::default()).await.unwrap().first_event_ms.unwrap();
    let start = Instant::now();
    let next = loop {
        let recorded = events.record("c", &Event::default()).await.unwrap();
        if recorded.first_event_ms.unwrap() != first {
            break recorded;
        }
        assert!(start.elapsed() < PATIENCE, "the window never expired");
    };
    assert_eq!(next.count, 1);
    assert!(next.first_event_ms.unwrap() >= first + 40);
    let status = events.status("c").await.unwrap();
    assert_eq!(status.expired_total, status.events_total - status.count);
}

pub(crate) async fn elapsed_is_measured_from_the_first_event(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &by_time(60)).await.unwrap();
    let first = events.record("c", &Event::default()).await.unwrap().first_event_ms.unwrap();
    let (mut counted, start) = (1, Instant::now());
    // An event every moment: measured from the last one, the time would never be over.
    let recorded = loop {
        let recorded = events.record("c", &Event::default()).await.unwrap();
        if !recorded.triggers.is_empty() {
            break recorded;
        }
        counted += 1;
        assert!(start.elapsed() < PATIENCE, "the window was never closed");
    };
    let [trigger] = recorded.triggers.as_slice() else { panic!("{recorded:?}") };
    assert_eq!((trigger.reason, trigger.count), (Reason::TimeThreshold, counted));
    assert_eq!((trigger.window_start_ms, trigger.window_end_ms), (first, first + 60));
    // The event that came too late for the window is the first of the next.
    assert_eq!(recorded.count, 1);
    assert!(recorded.first_event_ms.unwrap() >= first + 60);
}

pub(crate) async fn timer_fires_for_an_idle_consumer(place: Place) {
    let (services, events) = open(&place).await;
    let other = Services::new(services.backend().clone(), services.settings().clone()).events(events.tenant());
    events.define("idle", &by_time(30)).await.unwrap();
    events.define("patient", &by_time(3_600_000)).await.unwrap();
    let first = events.record_many("idle", &some(3)).await.unwrap().first_event_ms.unwrap();
    events.record("patient", &Event::default()).await.unwrap();
    let (mut fired, start) = (Vec::new(), Instant::now());
    while fired.is_empty() {
        let (left, right) = tokio::join!(events.tick(), other.tick());
        fired.extend(left.unwrap());
        fired.extend(right.unwrap());
        assert!(start.elapsed() < PATIENCE, "the timer did not fire");
    }
    let [trigger] = fired.as_slice() else { panic!("{fired:?}") };
    assert_eq!((trigger.consumer.as_str(), trigger.reason, trigger.count), ("idle", Reason::TimeThreshold, 3));
    assert_eq!((trigger.window_start_ms, trigger.window_end_ms), (first, first + 30));
    assert!(trigger.created_at_ms >= first + 30);
    let status = events.status("idle").await.unwrap();
    assert_eq!((status.count, status.waiting, status.triggers_total), (0, 1, 1));
    assert_eq!(events.status("patient").await.unwrap().count, 1);
    assert!(events.tick().await.unwrap().is_empty());
}

pub(crate) async fn concurrent_tickers_fire_each_window_once(place: Place) {
    const CONSUMERS: usize = 40;
    let (_, events) = open(&place).await;
    for number in 0..CONSUMERS {
        let name = format!("c{number}");
        events.define(&name, &by_time(1)).await.unwrap();
        events.record_many(&name, &some(2)).await.unwrap();
    }
    let (mut fired, start) = (Vec::new(), Instant::now());
    while fired.len() < CONSUMERS {
        let ticks: Vec<_> = (0..8)
            .map(|_| {
                tokio::spawn({
                    let events = events.clone();
                    async move { events.tick().await }
                })
            })
            .collect();
        for tick in ticks {
            fired.extend(tick.await.unwrap().unwrap());
        }
        assert!(start.elapsed() < PATIENCE);
    }
    let consumers: HashSet<_> = fired.iter().map(|trigger| trigger.consumer.clone()).collect();
    assert_eq!((fired.len(), consumers.len()), (CONSUMERS, CONSUMERS));
    assert!(fired.iter().all(|trigger| trigger.count == 2));
}

pub(crate) async fn whichever_threshold_comes_first(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &Definition { max_time_ms: Some(40), ..by_events(5) }).await.unwrap();
    let by_count = events.record_many("c", &some(6)).await.unwrap();
    assert_eq!(by_count.triggers[0].reason, Reason::EventThreshold);
    // The surplus opened a window whose time is its own.
    let first = by_count.first_event_ms.unwrap();
    let (mut fired, start) = (Vec::new(), Instant::now());
    while fired.is_empty() {
        fired = events.tick().await.unwrap();
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!((fired[0].reason, fired[0].count, fired[0].window_end_ms), (Reason::TimeThreshold, 1, first + 40));
}

pub(crate) async fn a_window_with_a_timer_does_not_expire_unnoticed(place: Place) {
    let (services, events) = open(&place).await;
    events.define("c", &Definition { retention_ms: Some(1), ..by_time(20) }).await.unwrap();
    events.record("c", &Event::default()).await.unwrap();
    assert_eq!(window_expiry(&services, &events, "c").await, -1);
    let (mut fired, start) = (Vec::new(), Instant::now());
    while fired.is_empty() {
        fired = events.tick().await.unwrap();
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(fired[0].count, 1);
}

pub(crate) async fn lowered_threshold_fires_without_another_event(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &by_events(100)).await.unwrap();
    events.record_many("c", &some(57)).await.unwrap();
    events.define("c", &by_events(10)).await.unwrap();
    let fired = events.tick().await.unwrap();
    assert_eq!(fired.iter().map(|trigger| trigger.count).collect::<Vec<_>>(), [57]);
    assert_eq!(events.status("c").await.unwrap().count, 0);
    events.record_many("c", &some(5)).await.unwrap();
    events.define("c", &by_events(3)).await.unwrap();
    let recorded = events.record("c", &Event::default()).await.unwrap();
    assert_eq!((recorded.triggers[0].count, recorded.count), (6, 0));
    assert!(events.tick().await.unwrap().is_empty());
}

pub(crate) async fn timeline_is_bounded_and_windows_say_so(place: Place) {
    let (_, events) = open_with(&place, EventsSettings { timeline_max: 5, ..EventsSettings::default() }).await;
    events.define("c", &by_events(1000)).await.unwrap();
    let event = Event { op: Some(Op::Update), key: Some("a;b".into()), source_ms: Some(7), ..Event::default() };
    events.record_many("c", &some(4)).await.unwrap();
    let whole = events.windows("c", WindowKind::Sliding, 60_000, 1).await.unwrap();
    assert_eq!((whole[0].count, whole[0].complete), (4, true));
    for _ in 0..8 {
        events.record("c", &event).await.unwrap();
    }
    let entries = events.timeline("c", 100).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [12, 11, 10, 9, 8]);
    let TimelineEntry { op, source_ms, key, .. } = &entries[0];
    assert_eq!((*op, *source_ms, key.as_deref()), (Some(Op::Update), Some(7), Some("a;b")));
    let cut = events.windows("c", WindowKind::Sliding, 60_000, 1).await.unwrap();
    assert_eq!((cut[0].count, cut[0].complete), (5, false));
    assert_eq!(events.status("c").await.unwrap().count, 12);
}

pub(crate) async fn sliding_and_tumbling_windows(place: Place) {
    const HOUR: u64 = 3_600_000;
    let (_, events) = open(&place).await;
    events.define("c", &by_events(1000)).await.unwrap();
    let first = events.record_many("c", &some(3)).await.unwrap().last_event_ms.unwrap();
    let start = Instant::now();
    let last = loop {
        let last = events.record("c", &Event::default()).await.unwrap().last_event_ms.unwrap();
        if last > first + 3 {
            break last;
        }
        assert!(start.elapsed() < PATIENCE);
    };
    let total = events.status("c").await.unwrap().count;
    let sliding = events.windows("c", WindowKind::Sliding, HOUR, 2).await.unwrap();
    assert_eq!((sliding[0].count, sliding[1].count), (total, 0));
    assert!(sliding[0].end_ms >= last && sliding[0].start_ms + HOUR == sliding[0].end_ms);
    assert_eq!(sliding[1].end_ms, sliding[0].start_ms);
    let tumbling = events.windows("c", WindowKind::Tumbling, HOUR, 2).await.unwrap();
    assert!(tumbling.iter().all(|window| window.start_ms % HOUR == 0 && window.start_ms + HOUR == window.end_ms));
    assert_eq!(tumbling[0].count + tumbling[1].count, total);
    // Windows of one millisecond tile the time: each event is in exactly one, by its own millisecond.
    for kind in [WindowKind::Sliding, WindowKind::Tumbling] {
        let windows = events.windows("c", kind, 1, 1000).await.unwrap();
        let span = windows.first().unwrap().end_ms - windows.last().unwrap().start_ms;
        assert_eq!(span, 1000);
        let reached = windows.last().unwrap().start_ms < first;
        assert!(!reached || windows.iter().map(|window| window.count).sum::<u64>() == total, "{kind:?}");
    }
    // And the events leave a window that slides on.
    eventually("sliding past", || async {
        events.windows("c", WindowKind::Sliding, 5, 1).await.unwrap()[0].count == 0
    })
    .await;
    assert!(events.windows("c", WindowKind::Sliding, 0, 1).await.is_err());
    assert!(events.windows("c", WindowKind::Sliding, 1, 0).await.is_err());
    assert!(events.windows("c", WindowKind::Sliding, u64::MAX, 2).await.is_err());
}

pub(crate) async fn poison_message_stops_nothing(place: Place) {
    let (services, events) = open(&place).await;
    events.define("c", &by_events(4)).await.unwrap();
    let message = |id: &str, value: serde_json::Value| Message { id: Some(id.into()), key: None, value: Some(value) };
    let row = |op: &str, ts: u64| json!({"op": op, "before": null, "after": {"id": 1}, "ts_ms": ts});
    let messages = [
        message("0", row("c", 20)),
        message("1", json!("{broken")),
        message("2", json!({"op": "zap"})),
        message("3", json!({"op": "d", "before": {"id": 1}, "after": null, "ts_ms": 30})),
        message("4", json!(null)),
        message("5", row("u", 10)),
        message("0", row("c", 20)),
    ];
    let ingested = events.ingest("c", &messages).await.unwrap();
    assert_eq!(ingested.poison.iter().map(|poison| poison.index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ingested.tombstones, 1);
    assert_eq!((ingested.recorded.count, ingested.recorded.counted), (3, vec![true, true, true, false]));
    // What comes after is counted as ever.
    let next = events.ingest("c", &[message("6", row("r", 40))]).await.unwrap();
    let trigger = &next.recorded.triggers[0];
    assert_eq!((trigger.count, trigger.source_first_ms, trigger.source_last_ms), (4, Some(10), Some(40)));
    assert_eq!((trigger.operations.c, trigger.operations.u, trigger.operations.d, trigger.operations.r), (1, 1, 1, 1));
    let status = events.status("c").await.unwrap();
    assert_eq!((status.poison_total, status.events_total), (2, 4));
    let kept = events.poison("c").await.unwrap();
    assert!(kept[0].contains("none of c, u, d, r, t, m") && kept[0].contains("zap"), "{kept:?}");
    assert!(kept[1].contains("not JSON"));
    let snapshot: Vec<_> = services.metrics().snapshot().collect();
    assert!(snapshot.iter().any(|(name, _, value)| *name == "redpoll_events_poison_total" && *value == 2));
    // Nothing but poison is reported, not an error.
    let only = events.ingest("c", &[message("7", json!(7))]).await.unwrap();
    assert_eq!((only.poison.len(), only.recorded.count), (1, 0));
    assert!(matches!(events.ingest("nobody", &[message("7", json!(7))]).await, Err(Error::NotFound(_))));
}

pub(crate) async fn reset_discards_the_open_window_only(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &Definition { max_time_ms: Some(1), ..by_events(10) }).await.unwrap();
    events.record_many("c", &some(10)).await.unwrap();
    events.define("c", &by_events(10)).await.unwrap();
    events.record_many("c", &some(4)).await.unwrap();
    assert_eq!(events.reset("c").await.unwrap(), 4);
    assert_eq!(events.reset("c").await.unwrap(), 0);
    let status = events.status("c").await.unwrap();
    assert_eq!((status.count, status.waiting, status.discarded_total, status.first_event_ms), (0, 1, 4, None));
    assert_eq!(status.events_total, status.triggered_events_total + status.discarded_total);
    assert!(events.tick().await.unwrap().is_empty());
    assert!(matches!(events.reset("nobody").await, Err(Error::NotFound(_))));
}

pub(crate) async fn stopped_consumer_refuses_events(place: Place) {
    let (_, events) = open(&place).await;
    events.define("c", &by_time(30)).await.unwrap();
    events.record_many("c", &some(2)).await.unwrap();
    assert_eq!(events.stop("c").await.unwrap().state, State::Stopped);
    let error = events.record("c", &Event::default()).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (409, "conflict"));
    assert_eq!(events.status("c").await.unwrap().events_total, 2);
    // Events accepted before are not lost.
    let (mut fired, start) = (Vec::new(), Instant::now());
    while fired.is_empty() {
        fired = events.tick().await.unwrap();
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(fired[0].count, 2);
    assert_eq!(events.start("c").await.unwrap().state, State::Running);
    assert_eq!(events.record("c", &Event::default()).await.unwrap().count, 1);
}

pub(crate) async fn registry_of_consumers(place: Place) {
    let (_, events) = open(&place).await;
    let names: Vec<String> = (0..25).map(|number| format!("c{number:02}")).collect();
    let secret = "sixteen bytes or more".to_owned();
    let target = Target::Webhook { url: "http://127.0.0.1:1/hook".into(), secret: Some(secret) };
    for name in &names {
        let definition = Definition { max_time_ms: Some(5000), target: target.clone(), ..by_events(7) };
        let info = events.define(name, &definition).await.unwrap();
        assert_eq!((info.max_events, info.max_time_ms, info.retention_ms), (Some(7), Some(5000), 86_400_000));
    }
    let info = events.info("c03").await.unwrap();
    assert_eq!(info.target, Target::Webhook { url: "http://127.0.0.1:1/hook".into(), secret: None });
    assert!(info.created_at_ms > 0 && info.changed_at_ms >= info.created_at_ms);
    let first = events.list(None, 10).await.unwrap();
    let rest = events.list(Some(&first[9].consumer), 100).await.unwrap();
    let listed: Vec<_> = first.iter().chain(&rest).map(|info| info.consumer.clone()).collect();
    assert_eq!(listed, names);

    events.record_many("c03", &some(8)).await.unwrap();
    assert!(matches!(events.remove("c03").await, Err(Error::Conflict(_))));
    events.stop("c03").await.unwrap();
    assert_eq!(events.remove("c03").await.unwrap(), 1);
    assert_eq!(events.list(None, 100).await.unwrap().len(), 24);
    for error in [
        events.info("c03").await.map(drop),
        events.status("c03").await.map(drop),
        events.start("c03").await.map(drop),
        events.stop("c03").await.map(drop),
        events.remove("c03").await.map(drop),
        events.record("c03", &Event::default()).await.map(drop),
        events.windows("c03", WindowKind::Sliding, 1, 1).await.map(drop),
        events.timeline("c03", 1).await.map(drop),
        events.triggers("c03", Default::default(), 0, 1).await.map(drop),
        events.lease("c03", 1, 1).await.map(drop),
        events.requeue("c03", None).await.map(drop),
    ] {
        assert!(matches!(error, Err(Error::NotFound(_))), "{error:?}");
    }
    // One of the same name later has nothing of the old one.
    events.define("c03", &by_events(7)).await.unwrap();
    let status = events.status("c03").await.unwrap();
    assert_eq!((status.count, status.events_total, status.waiting), (0, 0, 0));
    assert!(events.timeline("c03", 10).await.unwrap().is_empty());
    // Another tenant has none of them.
    let (_, other) = open(&place).await;
    assert!(other.list(None, 10).await.unwrap().is_empty());
}

pub(crate) async fn definitions_and_events_are_checked(place: Place) {
    let (services, events) = open(&place).await;
    let with = |target: Target| Definition { target, ..by_events(1) };
    let webhook = |url: &str, secret: &str| with(Target::Webhook { url: url.into(), secret: Some(secret.into()) });
    let own = services.settings().keyring.group_of_all("events").key("tenants").to_string();
    for definition in [
        Definition::default(),
        by_events(0),
        by_time(0),
        by_time(u64::MAX),
        Definition { retention_ms: Some(0), ..by_events(1) },
        webhook("https://127.0.0.1/", "sixteen bytes or more"),
        webhook("http://127.0.0.1/", "short"),
        with(Target::Webhook { url: "http://127.0.0.1/".into(), secret: None }),
        with(Target::List { key: String::new() }),
        with(Target::List { key: own }),
        with(Target::Stream { key: "s".into(), max_entries: Some(0) }),
        with(Target::Channel { channel: String::new() }),
    ] {
        let error = events.define("c", &definition).await.unwrap_err();
        assert_eq!(error.status(), 422, "{definition:?}");
    }
    assert!(matches!(events.info("c").await, Err(Error::NotFound(_))));
    events.define("c", &by_events(10)).await.unwrap();
    let long = "x".repeat(1025);
    for bad in [
        vec![],
        some(1001),
        vec![Event::with_id("")],
        vec![Event::with_id(long.clone())],
        vec![Event { key: Some(long), ..Event::default() }],
        vec![Event::default(), Event { source_ms: Some(u64::MAX), ..Event::default() }],
    ] {
        assert_eq!(events.record_many("c", &bad).await.unwrap_err().status(), 422);
    }
    assert_eq!(events.status("c").await.unwrap().events_total, 0);
    assert_eq!(events.record_many("c", &some(1000)).await.unwrap().triggers.len(), 100);
    assert!(events.define("", &by_events(1)).await.is_err());
}
