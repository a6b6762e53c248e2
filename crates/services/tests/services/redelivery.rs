//! Tests of the deliverer when things are not as they were: targets, deliverers, receivers, and what was dead.

use std::time::Duration;

use redpoll_services::Command;
use redpoll_services::events::{Definition, Event, EventsSettings, PARTITIONS, Target, Trigger, Which};
use tokio::net::TcpListener;

use crate::delivery::{Receiver, Running, SECRET, delivered, open, quick, to};
use crate::events::{by_events, some};
use crate::support::{Place, eventually};

pub(crate) async fn triggers_that_waited_to_be_leased_are_pushed_once_there_is_a_target(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let key = format!("jobs-{}", uuid::Uuid::new_v4());
    events.define("c", &by_events(10)).await.unwrap();
    let running = Running::start(&services);
    let triggers = events.record_many("c", &some(30)).await.unwrap().triggers;
    // One is at somebody's, who gives it back.
    let lease = events.lease("c", 1, 3_600_000).await.unwrap().remove(0);
    events.define("c", &to(Target::List { key: key.clone() })).await.unwrap();
    eventually("delivery", || async { events.status("c").await.unwrap().delivered_total == 2 }).await;
    assert_eq!(events.status("c").await.unwrap().waiting, 1);
    assert!(!events.fail("c", (&lease.trigger.id, &lease.token), "not mine any more", Some(0)).await.unwrap());
    delivered(&events, "c", 3).await;
    running.stop().await;
    let length = services.backend().call(Command::new("LLEN").key(&key)).await.unwrap();
    assert_eq!(length.as_i64(), Some(triggers.len() as i64));
}

pub(crate) async fn a_trigger_that_cannot_be_read_is_dead_and_holds_up_nothing(place: Place) {
    let (services, events) = open(&place, quick()).await;
    let key = format!("jobs-{}", uuid::Uuid::new_v4());
    events.define("c", &to(Target::List { key: key.clone() })).await.unwrap();
    let triggers = events.record_many("c", &some(30)).await.unwrap().triggers;
    // Its record in the consumer's queue, wherever that is.
    let keyring = &services.settings().keyring;
    let mut spoilt = 0;
    for number in 0..PARTITIONS {
        let head = format!("{}{{{}:events:{number:02}}}", keyring.kept_prefix(), events.tenant().name());
        let record = Command::new("HSET").key(format!("{head}:q:c:p")).arg(&triggers[1].id).arg("b7:triggerspoilt");
        let has = Command::new("EXISTS").key(format!("{head}:q:c:p"));
        if services.backend().call(has).await.unwrap().as_i64() == Some(1) {
            assert_eq!(services.backend().call(record).await.unwrap().as_i64(), Some(0));
            spoilt += 1;
        }
    }
    assert_eq!(spoilt, 1);
    let running = Running::start(&services);
    eventually("death", || async { events.status("c").await.unwrap().dead == 1 }).await;
    delivered(&events, "c", 2).await;
    running.stop().await;
    assert_eq!(events.purge("c", Some(&triggers[1].id)).await, Ok(1));
}

/// What a process leaves behind that died after leasing: its lease ends, and another delivers.
pub(crate) async fn a_dead_deliverers_lease_ends(place: Place) {
    let mut receiver = Receiver::start().await;
    receiver.kill().await;
    // In its place one that accepts and never answers.
    let silent = TcpListener::bind(receiver.address).await.unwrap();
    let (services, events) = open(&place, EventsSettings { lease: Duration::from_millis(50), ..quick() }).await;
    events.define("c", &to(receiver.target())).await.unwrap();
    events.record_many("c", &some(10)).await.unwrap();
    let running = Running::start(&services);
    eventually("a lease", || async { events.triggers("c", Which::Waiting, 0, 1).await.unwrap()[0].attempts > 0 }).await;
    running.task.abort();
    drop(silent);
    receiver.restart().await;
    let running = Running::start(&services);
    delivered(&events, "c", 1).await;
    running.stop().await;
    assert_eq!(receiver.accepted().values().sum::<usize>(), 1);
    assert_eq!(events.record("c", &Event::default()).await.unwrap().count, 1);
}

pub(crate) async fn silent_receivers_take_turns_with_others(place: Place) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?x=1", silent.local_addr().unwrap());
    let receiver = Receiver::start().await;
    let settings = EventsSettings {
        concurrency: 4,
        concurrency_per_consumer: 2,
        delivery_timeout: Duration::from_millis(100),
        ..quick()
    };
    let (services, events) = open(&place, settings).await;
    // More of them than there is room for, before and behind the other.
    for number in 0..6 {
        let name = format!("{}{number}", if number % 2 == 0 { "a" } else { "z" });
        let target = Target::Webhook { url: url.clone(), secret: Some(SECRET.into()) };
        events.define(&name, &to(target)).await.unwrap();
        events.record_many(&name, &some(1000)).await.unwrap();
    }
    let running = Running::start(&services);
    eventually("deliveries that hang", || async {
        events.triggers("a0", Which::Waiting, 0, 1).await.unwrap()[0].attempts > 0
    })
    .await;
    events.define("m", &to(receiver.target())).await.unwrap();
    events.record_many("m", &some(100)).await.unwrap();
    delivered(&events, "m", 10).await;
    running.task.abort();
}

pub(crate) async fn triggers_of_a_consumer_that_is_pulled_now_are_not_pushed(place: Place) {
    let (services, events) = open(&place, EventsSettings { poll: Duration::from_millis(1), ..quick() }).await;
    let key = format!("jobs-{}", uuid::Uuid::new_v4());
    let running = Running::start(&services);
    let mut pulled = Vec::new();
    // Often enough that a deliverer which asks first and leases then is caught at it.
    for _ in 0..500 {
        events.define("c", &to(Target::List { key: key.clone() })).await.unwrap();
        events.record_many("c", &some(10)).await.unwrap();
        events.define("c", &by_events(10)).await.unwrap();
        pulled.push(events.record_many("c", &some(10)).await.unwrap().triggers.remove(0).id);
        // Those that wait when it is pushed again would go there rightly.
        while events.status("c").await.unwrap().waiting > 0 {
            for lease in events.lease("c", 1000, 3_600_000).await.unwrap() {
                events.ack("c", &lease.trigger.id, &lease.token).await.unwrap();
            }
        }
    }
    running.stop().await;
    let reply = services.backend().call(Command::new("LRANGE").key(&key).arg("0").arg("-1")).await.unwrap();
    for item in reply.as_array().unwrap() {
        let pushed: Trigger = serde_json::from_slice(item.as_bytes().unwrap()).unwrap();
        assert!(!pulled.contains(&pushed.id), "{pushed:?}");
    }
}

pub(crate) async fn many_dead_are_requeued_as_far_as_there_is_room_and_delivered(place: Place) {
    let settings = EventsSettings { waiting_max: 1_150, attempts_max: 1, ..quick() };
    let (services, events) = open(&place, settings).await;
    events.define("c", &by_events(1)).await.unwrap();
    for dead in [600, 1_200] {
        events.record_many("c", &some(600)).await.unwrap();
        eventually("death", || async {
            events.lease("c", 1000, 10).await.unwrap();
            events.status("c").await.unwrap().dead == dead
        })
        .await;
    }
    let oldest = events.triggers("c", Which::Dead, 1_199, 1).await.unwrap().remove(0).trigger;
    let key = format!("jobs-{}", uuid::Uuid::new_v4());
    events.define("c", &Definition { target: Target::List { key }, ..by_events(1) }).await.unwrap();
    assert_eq!(events.requeue("c", None).await, Ok(1_150));
    let waiting = events.triggers("c", Which::Waiting, 0, 1).await.unwrap().remove(0);
    assert_eq!((&waiting.trigger, waiting.attempts, waiting.error), (&oldest, 0, None), "as if never tried");
    let running = Running::start(&services);
    delivered(&events, "c", 1_150).await;
    assert_eq!(events.requeue("c", None).await, Ok(50));
    delivered(&events, "c", 1_200).await;
    running.stop().await;
}
