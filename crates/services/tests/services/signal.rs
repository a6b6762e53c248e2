//! Tests of signals: they wake whom they are for, everything else costs time only, and nothing stays behind.

use std::time::{Duration, Instant};

use redpoll_resp::Value;
use redpoll_services::keys::{Key, Keyring};
use redpoll_services::metrics::Counter;
use redpoll_services::signal::{RECHECK_MAX, Waiter, Woken};
use redpoll_services::{Backend, Command, Services, Settings};
use redpoll_store::{Config, Store};
use redpoll_testkit::{Program, RedisServer, Scratch};

use crate::support::{Place, eventually, tenant};

/// Longer than any wait lasts.
const LONG: Duration = Duration::from_secs(60);
/// Time enough for a message that does not come.
const SHORT: Duration = Duration::from_millis(150);

fn channel() -> Key {
    Keyring::new("rp").unwrap().group(&tenant(), "test", &[]).key("s")
}

async fn publish(services: &Services, channel: &Key, topic: &str) {
    let publish = Command::new("PUBLISH").arg(channel).arg(topic);
    services.backend().call(publish).await.unwrap();
}

/// Waits until the subscription has begun, which is a signal.
async fn begun(waiter: &mut Waiter) {
    let start = Instant::now();
    while waiter.wait(LONG).await != Woken::Signal {
        assert!(start.elapsed() < LONG, "the subscription does not begin");
    }
}

pub(crate) async fn a_message_wakes_those_it_is_for(place: Place) {
    let (here, there) = (place.services().await, place.services().await);
    let channel = channel();
    let mut one = here.signals().listen(&channel, "one");
    begun(&mut one).await;
    let mut same = here.signals().listen(&channel, "one");
    let mut two = here.signals().listen(&channel, "two");
    let mut every = here.signals().listen(&channel, "");
    let mut elsewhere = there.signals().listen(&channel, "one");
    begun(&mut elsewhere).await;
    for _ in 0..20 {
        publish(&there, &channel, "one").await;
        for woken in [&mut one, &mut same, &mut every, &mut elsewhere] {
            assert_eq!(woken.wait(LONG).await, Woken::Signal);
        }
        assert_eq!(two.wait(Duration::from_millis(2)).await, Woken::Time);
    }
    publish(&here, &channel, "").await;
    for woken in [&mut one, &mut same, &mut two, &mut every, &mut elsewhere] {
        assert_eq!(woken.wait(LONG).await, Woken::Signal);
    }
}

pub(crate) async fn a_signal_before_the_wait_is_not_lost(place: Place) {
    let (services, channel) = (place.services().await, channel());
    let mut waiter = services.signals().listen(&channel, "t");
    begun(&mut waiter).await;
    publish(&services, &channel, "t").await;
    publish(&services, &channel, "t").await;
    // They have come, in all likelihood, when one behind them has.
    let mut behind = services.signals().listen(&channel, "u");
    publish(&services, &channel, "u").await;
    assert_eq!(behind.wait(LONG).await, Woken::Signal);
    assert_eq!(waiter.wait(LONG).await, Woken::Signal);
}

pub(crate) async fn a_lost_message_costs_an_interval(place: Place) {
    let services = place.services().await;
    let mut waiter = services.signals().listen(&channel(), "t");
    begun(&mut waiter).await;
    let start = Instant::now();
    assert_eq!(waiter.wait(LONG).await, Woken::Time);
    assert!(start.elapsed() >= RECHECK_MAX && start.elapsed() < RECHECK_MAX * 3, "{:?}", start.elapsed());
}

pub(crate) async fn subscriptions_end_with_those_who_wait(place: Place) {
    let services = place.services().await;
    let channels: Vec<Key> = (0..40).map(|_| channel()).collect();
    let mut waiters: Vec<Waiter> =
        channels.iter().map(|channel| services.signals().listen(channel, "a topic")).collect();
    for waiter in &mut waiters {
        begun(waiter).await;
    }
    assert_eq!(services.signals().channels(), channels.len());
    drop(waiters);
    assert_eq!(services.signals().channels(), 0);
    for channel in &channels {
        eventually("unsubscribing", || async {
            let count = Command::new("PUBSUB").arg("NUMSUB").arg(channel);
            match services.backend().call(count).await.unwrap() {
                // The sums over the nodes of a cluster.
                Value::Map(counts) => counts.iter().all(|(_, count)| count.as_i64() == Some(0)),
                counts => counts.as_array().unwrap()[1].as_i64() == Some(0),
            }
        })
        .await;
    }
}

async fn lose_the_connection<F: Future<Output = ()>>(place: Place, lose: impl Fn(Backend, Key) -> F) {
    let (services, channel) = (place.services().await, channel());
    let mut waiter = services.signals().listen(&channel, "t");
    begun(&mut waiter).await;
    for round in 1..=3 {
        lose(services.backend().clone(), channel.clone()).await;
        assert_eq!(waiter.wait(LONG).await, Woken::Signal, "the loss is a signal");
        eventually("the loss is counted", || async { services.metrics().value(Counter::SignalLosses) == round }).await;
        // The subscription is there again: what is published is heard, not only that it has begun.
        eventually("hearing again", || async {
            let mut behind = services.signals().listen(&channel, "u");
            publish(&services, &channel, "u").await;
            behind.wait(SHORT).await == Woken::Signal
        })
        .await;
        while waiter.wait(SHORT).await == Woken::Signal {}
    }
}

/// Has the server close the listening connection.
async fn kill(backend: Backend, _: Key) {
    let killed = backend.call(Command::new("CLIENT").arg("KILL").arg("TYPE").arg("pubsub")).await;
    assert_eq!(killed.unwrap().as_i64(), Some(1));
}

/// Has the store cut off a listener that lets too much wait, by a message that is too much.
async fn cut_off(backend: Backend, channel: Key) {
    let limit = Command::new("CONFIG").arg("SET").arg("client-output-buffer-limit").arg("pubsub 1kb 0 0");
    backend.call(limit).await.unwrap();
    backend.call(Command::new("PUBLISH").arg(channel).arg("x".repeat(4096))).await.unwrap();
}

#[tokio::test]
async fn a_lost_subscription_wakes_everyone_and_is_made_again() {
    lose_the_connection(Place::embedded(), cut_off).await;
}

#[tokio::test]
async fn a_lost_connection_to_redis_wakes_everyone_and_is_made_again() {
    let server = RedisServer::start().unwrap();
    lose_the_connection(Place::at(server.url()), kill).await;
}

#[tokio::test]
async fn a_lost_connection_to_redpoll_wakes_everyone_and_is_made_again() {
    let program = Program::start(&["--no-http"]).unwrap();
    lose_the_connection(Place::at(program.url()), kill).await;
}

#[tokio::test]
async fn without_a_store_there_is_the_interval() {
    let services = Place::down().services_lazily(Settings::default());
    let mut waiter = services.signals().listen(&channel(), "t");
    assert_eq!(waiter.wait(SHORT).await, Woken::Time);
    assert_eq!(waiter.wait(LONG).await, Woken::Time);
}

#[test]
fn the_next_runtime_listens_anew() {
    let services = Services::new(Backend::embedded(Store::open(Config::in_memory()).unwrap()), Settings::default());
    let channel = channel();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut waiter = services.signals().listen(&channel, "t");
            begun(&mut waiter).await;
            publish(&services, &channel, "t").await;
            assert_eq!(waiter.wait(LONG).await, Woken::Signal);
        });
    }
    // Outside of any there is nobody to listen, and nothing breaks.
    drop(services.signals().listen(&channel, "t"));
}

#[tokio::test]
async fn a_store_closes_with_its_backend() {
    let scratch = Scratch::new().unwrap();
    for _ in 0..3 {
        let store =
            Store::open(Config::in_directory(scratch.path().to_str().unwrap())).expect("the directory is free again");
        let services = Services::new(Backend::embedded(store), Settings::default());
        let mut waiter = services.signals().listen(&channel(), "t");
        begun(&mut waiter).await;
        drop(services);
    }
}
