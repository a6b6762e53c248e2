//! Tests of triggers: exactly one per crossing, leases, retries and the dead.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::events::{Definition, Event, Events, EventsSettings, Target, Which};
use redpoll_services::kept::OnEviction;
use redpoll_services::metrics::Counter;
use redpoll_services::{Command, Error, Settings, jobs};
use redpoll_testkit::RedisServer;
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::events::{by_events, settings, some};
use crate::support::{Place, eventually, tenant};

/// Long enough that no lease ends during a test.
const LONG_MS: u64 = 3_600_000;

/// The shortest lease.
const SHORT_MS: u64 = jobs::MIN_LEASE.as_millis() as u64;

async fn open(place: &Place, events: EventsSettings) -> Events {
    place.services_with(settings(events)).await.events(&tenant())
}

/// Returns all waiting triggers' ids, making sure that their numbers have no gap.
pub(crate) async fn waiting(events: &Events, consumer: &str) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = events.triggers(consumer, Which::Waiting, ids.len(), 1000).await.unwrap();
        if page.is_empty() {
            break;
        }
        ids.extend(page.into_iter().map(|held| held.trigger.id));
    }
    for (index, id) in ids.iter().enumerate() {
        assert!(id.ends_with(&format!("-{:010}", index + 1)), "{id} at {index}");
    }
    ids
}

pub(crate) async fn one_trigger_per_crossing_of_32_recorders(place: Place) {
    const THREADS: u64 = 32;
    const ROUNDS: u64 = 30;
    let settings = settings(EventsSettings::default());
    let (tenant, processes) =
        (tenant(), [place.services_with(settings.clone()).await, place.services_with(settings).await]);
    processes[0].events(&tenant).define("c", &by_events(10)).await.unwrap();
    let barrier = Arc::new(Barrier::new(THREADS as usize));
    let mut threads = JoinSet::new();
    for thread in 0..THREADS {
        let events = processes[thread as usize % 2].events(&tenant);
        let barrier = barrier.clone();
        let record = async move {
            barrier.wait().await;
            let (mut triggers, mut recorded) = (Vec::new(), 0);
            for round in 0..ROUNDS {
                // Batches of different sizes, so that crossings fall inside of them.
                let size = 1 + (thread + round) % 4 * 7;
                triggers.extend(events.record_many("c", &some(size as usize)).await.unwrap().triggers);
                recorded += size;
            }
            (triggers, recorded)
        };
        threads.spawn_blocking(|| Handle::current().block_on(record));
    }
    let (mut triggers, mut recorded) = (Vec::new(), 0);
    for (own, count) in threads.join_all().await {
        triggers.extend(own);
        recorded += count;
    }
    let events = processes[0].events(&tenant);
    let status = events.status("c").await.unwrap();
    assert_eq!(status.events_total, recorded);
    assert_eq!((triggers.len() as u64, status.count), (recorded / 10, recorded % 10));
    assert!(triggers.iter().all(|trigger| trigger.count == 10));
    assert_eq!(triggers.iter().map(|trigger| trigger.count).sum::<u64>() + status.count, recorded);
    let told: HashSet<_> = triggers.into_iter().map(|trigger| trigger.id).collect();
    assert_eq!(told, waiting(&events, "c").await.into_iter().collect());
}

pub(crate) async fn ack_of_a_lost_lease_is_refused(place: Place) {
    let events = open(&place, EventsSettings::default()).await;
    events.define("c", &by_events(1)).await.unwrap();
    let id = events.record("c", &Event::default()).await.unwrap().triggers.remove(0).id;
    for forged in ["forged", "0", "-1", "17"] {
        assert!(matches!(events.fail("c", (&id, forged), "?", None).await, Err(Error::Conflict(_))), "{forged}");
        assert!(matches!(events.ack("c", &id, forged).await, Err(Error::Conflict(_))), "{forged}");
    }
    let first = events.lease("c", 1, SHORT_MS).await.unwrap().remove(0);
    assert_eq!(first.attempt, 1);
    let mut second = Vec::new();
    while second.is_empty() {
        second = events.lease("c", 1, LONG_MS).await.unwrap();
    }
    let second = second.remove(0);
    assert_eq!((second.attempt, &second.trigger), (2, &first.trigger));
    let id = first.trigger.id.as_str();
    assert!(matches!(events.ack("c", id, &first.token).await, Err(Error::Conflict(_))));
    assert!(matches!(events.fail("c", (id, &first.token), "late", None).await, Err(Error::Conflict(_))));
    assert!(matches!(events.ack("c", id, "forged").await, Err(Error::Conflict(_))));
    // The refused ones changed nothing: the lease is still the second holder's.
    assert!(events.lease("c", 1, SHORT_MS).await.unwrap().is_empty());
    // Twice, as who did not hear the answer would.
    events.ack("c", id, &second.token).await.unwrap();
    events.ack("c", id, &second.token).await.unwrap();
    assert!(matches!(events.fail("c", (id, &second.token), "late", None).await, Err(Error::Conflict(_))));
    assert!(matches!(events.ack("c", "unknown", &second.token).await, Err(Error::NotFound(_))));
    let status = events.status("c").await.unwrap();
    assert_eq!((status.waiting, status.delivered_total), (0, 1));
}

pub(crate) async fn ended_lease_nobody_took_can_still_be_settled(place: Place) {
    let events = open(&place, EventsSettings::default()).await;
    events.define("c", &by_events(1)).await.unwrap();
    events.record("c", &Event::default()).await.unwrap();
    let lease = events.lease("c", 1, SHORT_MS).await.unwrap().remove(0);
    eventually("the end of the lease", || async {
        let held = events.triggers("c", Which::Waiting, 0, 1).await.unwrap().remove(0);
        let again = events.record("c", &Event::default()).await.unwrap();
        again.triggers[0].created_at_ms > held.at_ms
    })
    .await;
    events.ack("c", &lease.trigger.id, &lease.token).await.unwrap();
}

pub(crate) async fn leases_are_exclusive(place: Place) {
    const TRIGGERS: usize = 200;
    let events = open(&place, EventsSettings::default()).await;
    events.define("c", &by_events(1)).await.unwrap();
    events.record_many("c", &some(TRIGGERS)).await.unwrap();
    let mut holders = JoinSet::new();
    for _ in 0..8 {
        let events = events.clone();
        holders.spawn(async move {
            let mut ids = Vec::new();
            loop {
                let leases = events.lease("c", 3, LONG_MS).await.unwrap();
                if leases.is_empty() {
                    return ids;
                }
                for lease in leases {
                    events.ack("c", &lease.trigger.id, &lease.token).await.unwrap();
                    ids.push(lease.trigger.id);
                }
            }
        });
    }
    let ids: Vec<String> = holders.join_all().await.into_iter().flatten().collect();
    assert_eq!(ids.len(), TRIGGERS);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), TRIGGERS);
    assert_eq!(events.status("c").await.unwrap().waiting, 0);
}

pub(crate) async fn failed_attempts_end_among_the_dead(place: Place) {
    let events = open(&place, EventsSettings { attempts_max: 3, ..EventsSettings::default() }).await;
    events.define("c", &by_events(2)).await.unwrap();
    events.record_many("c", &some(4)).await.unwrap();
    for attempt in 1..=3 {
        let leases = events.lease("c", 10, LONG_MS).await.unwrap();
        assert_eq!(leases.iter().map(|lease| lease.attempt).collect::<Vec<_>>(), [attempt; 2]);
        for lease in leases {
            let dead = events.fail("c", (&lease.trigger.id, &lease.token), "no luck", Some(0)).await.unwrap();
            assert_eq!(dead, attempt == 3);
        }
    }
    assert!(events.lease("c", 10, SHORT_MS).await.unwrap().is_empty());
    let dead = events.triggers("c", Which::Dead, 0, 10).await.unwrap();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|held| held.attempts == 3 && held.error.as_deref() == Some("no luck") && !held.leased));
    assert_eq!((events.status("c").await.unwrap().waiting, events.status("c").await.unwrap().dead), (0, 2));

    assert_eq!(events.requeue("c", Some(&dead[0].trigger.id)).await.unwrap(), 1);
    assert_eq!(events.requeue("c", Some(&dead[0].trigger.id)).await.unwrap(), 0);
    let again = events.lease("c", 10, LONG_MS).await.unwrap().remove(0);
    assert_eq!((again.attempt, &again.trigger), (1, &dead[0].trigger));
    events.ack("c", &again.trigger.id, &again.token).await.unwrap();
    assert_eq!(events.purge("c", None).await.unwrap(), 1);
    assert!(events.triggers("c", Which::Dead, 0, 10).await.unwrap().is_empty());
    let status = events.status("c").await.unwrap();
    assert_eq!((status.waiting, status.dead, status.delivered_total), (0, 0, 1));
}

pub(crate) async fn holders_that_vanish_do_not_keep_a_trigger_for_ever(place: Place) {
    let events = open(&place, EventsSettings { attempts_max: 2, ..EventsSettings::default() }).await;
    events.define("c", &by_events(1)).await.unwrap();
    events.record("c", &Event::default()).await.unwrap();
    eventually("death", || async {
        events.lease("c", 1, SHORT_MS).await.unwrap();
        events.status("c").await.unwrap().dead == 1
    })
    .await;
    let dead = events.triggers("c", Which::Dead, 0, 1).await.unwrap().remove(0);
    assert_eq!(dead.attempts, 2);
    assert!(dead.error.unwrap().contains("without an outcome"));
}

pub(crate) async fn pauses_grow_with_attempts(place: Place) {
    let slow = EventsSettings { retry_base: Duration::from_secs(100), ..EventsSettings::default() };
    let events = open(&place, slow).await;
    events.define("c", &by_events(1)).await.unwrap();
    events.record("c", &Event::default()).await.unwrap();
    let lease = events.lease("c", 1, LONG_MS).await.unwrap().remove(0);
    let created = lease.trigger.created_at_ms;
    events.fail("c", (&lease.trigger.id, &lease.token), "x", None).await.unwrap();
    let held = events.triggers("c", Which::Waiting, 0, 1).await.unwrap().remove(0);
    let pause = held.at_ms - created;
    assert!((50_000..130_000).contains(&pause), "{pause}");
    assert!(!held.leased);
    assert!(events.lease("c", 1, SHORT_MS).await.unwrap().is_empty());
}

pub(crate) async fn pushed_triggers_cannot_be_leased(place: Place) {
    let events = open(&place, EventsSettings::default()).await;
    let list = Target::List { key: "jobs".into() };
    let mut definition = by_events(1);
    definition.target = list;
    events.define("c", &definition).await.unwrap();
    events.record("c", &Event::default()).await.unwrap();
    assert!(matches!(events.lease("c", 1, SHORT_MS).await, Err(Error::Conflict(_))));
    // Redefined, those that wait can be.
    events.define("c", &by_events(1)).await.unwrap();
    assert_eq!(events.lease("c", 1, LONG_MS).await.unwrap().len(), 1);
}

pub(crate) async fn a_full_queue_refuses_events_and_loses_none(place: Place) {
    let events = open(&place, EventsSettings { waiting_max: 3, ..EventsSettings::default() }).await;
    events.define("c", &Definition { max_time_ms: Some(1), ..by_events(2) }).await.unwrap();
    events.record_many("c", &some(4)).await.unwrap();
    events.record("c", &Event::default()).await.unwrap();
    // A third trigger fits, a fourth does not: nothing of the batch is counted.
    let before = events.status("c").await.unwrap();
    let error = events.record_many("c", &some(4)).await.unwrap_err();
    assert_eq!(error.status(), 409);
    assert_eq!(events.status("c").await.unwrap().events_total, before.events_total);
    eventually("the timer", || async {
        events.tick().await.unwrap();
        events.status("c").await.unwrap().waiting == 3
    })
    .await;
    assert!(matches!(events.record("c", &Event::default()).await, Err(Error::Conflict(_))));
    // Room again, and all goes on.
    let lease = events.lease("c", 1, LONG_MS).await.unwrap().remove(0);
    events.ack("c", &lease.trigger.id, &lease.token).await.unwrap();
    assert_eq!(events.record("c", &Event::default()).await.unwrap().count, 1);
    let status = events.status("c").await.unwrap();
    assert_eq!((status.events_total, status.triggered_events_total), (6, 5));
}

pub(crate) async fn the_dead_are_bounded_and_dropping_is_counted(place: Place) {
    let few = EventsSettings { attempts_max: 1, dead_max: 2, ..EventsSettings::default() };
    let events = open(&place, few).await;
    events.define("c", &by_events(1)).await.unwrap();
    events.record_many("c", &some(3)).await.unwrap();
    for lease in events.lease("c", 10, LONG_MS).await.unwrap() {
        assert!(events.fail("c", (&lease.trigger.id, &lease.token), "x", None).await.unwrap());
    }
    let dead = events.triggers("c", Which::Dead, 0, 10).await.unwrap();
    let numbers: Vec<_> = dead.iter().map(|held| held.trigger.id.rsplit('-').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, ["0000000003", "0000000002"]);
    let status = events.status("c").await.unwrap();
    assert_eq!((status.dead, status.dead_dropped_total, status.waiting), (2, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_may_evict_events_records_none() {
    let server = RedisServer::start().unwrap();
    let place = Place::at(server.url());
    let services = place.services_with(settings(EventsSettings::default())).await;
    let events = services.events(&tenant());
    for (setting, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "volatile-lru")] {
        let command = Command::new("CONFIG").arg("SET").arg(setting).arg(value);
        services.backend().call(command).await.unwrap();
    }
    for refused in
        [events.define("c", &by_events(1)).await.map(drop), events.record("c", &Event::default()).await.map(drop)]
    {
        assert!(matches!(&refused, Err(Error::Unavailable(reason)) if reason.contains("volatile-lru")), "{refused:?}");
    }
    assert_eq!(services.metrics().value(Counter::EventsOutages), 2);
    assert!(events.list(None, 10).await.is_err() && events.tick().await.is_err());
    let tolerant = Settings { eviction: OnEviction::Tolerate, ..settings(EventsSettings::default()) };
    let events = place.services_with(tolerant).await.events(&tenant());
    events.define("c", &by_events(1)).await.unwrap();
    assert_eq!(events.record("c", &Event::default()).await.unwrap().triggers.len(), 1);
}
