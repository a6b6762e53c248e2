//! Tests of channels and patterns: who listens hears everything, and is told where that is not so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::pubsub::{Body, Gap, Heard, Message, Overflow, PubSub, Subscription, SubscriptionOptions};
use redpoll_services::streams::Event;
use redpoll_services::{Backend, Command, Error, Services, Settings, Tenant};
use redpoll_store::{Config, Store};
use redpoll_testkit::{Program, RedisServer};
use serde_json::json;

use crate::support::{PATIENCE, Place, eventually, tenant};

/// Pub/sub of a tenant of the test's own, seen from two processes.
pub(crate) struct Site {
    pub(crate) tenant: Tenant,
    pub(crate) services: Services,
    pub(crate) here: PubSub,
    pub(crate) there: PubSub,
}

pub(crate) async fn site(place: &Place) -> Site {
    let (services, elsewhere, tenant) = (place.services().await, place.services().await, tenant());
    let (here, there) = (services.pubsub(&tenant), elsewhere.pubsub(&tenant));
    Site { tenant, services, here, there }
}

pub(crate) fn event(name: impl ToString) -> Event {
    Event::json("/test", "t", &json!(name.to_string())).unwrap()
}

/// Waits for what is next.
pub(crate) async fn next(subscription: &Subscription) -> Heard {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something in time");
    next.expect("the subscription goes on")
}

pub(crate) async fn message(subscription: &Subscription) -> Message {
    match next(subscription).await {
        Heard::Message(message) => message,
        Heard::Gap(gap) => panic!("missed: {gap:?}"),
    }
}

/// Returns what a message of [`event`] says.
pub(crate) fn said(message: &Message) -> String {
    message.event().expect("an event").parse().unwrap()
}

async fn publish(pubsub: &PubSub, channel: &str, name: impl ToString) {
    pubsub.publish(channel, &event(name)).await.unwrap();
}

/// Nothing is on its way: what is published now is the next that is heard.
async fn hears_next(subscription: &Subscription, pubsub: &PubSub, channel: &str) {
    publish(pubsub, channel, "mark").await;
    assert_eq!(said(&message(subscription).await), "mark");
}

pub(crate) async fn what_is_published_is_heard(place: Place) {
    let site = site(&place).await;
    let subscription = site.here.subscription();
    subscription.subscribe("orders").await.unwrap();
    let full = Event {
        id: Some("17".to_owned()),
        subject: Some("ünïcode".to_owned()),
        extensions: [("region".to_owned(), "eu".to_owned())].into(),
        ..Event::json("/shop", "order.paid", &json!({"total": 5})).unwrap()
    };
    let sent = site.there.publish("orders", &full).await.unwrap();
    assert_eq!(sent.id, "17");
    let heard = message(&subscription).await;
    assert_eq!((heard.channel.as_str(), &heard.pattern, heard.token), ("orders", &None, None));
    assert_eq!(heard.event(), Some(&full));
    // Without an id of its own it gets one.
    let bytes = Event { content_type: None, data: Some(b"\0\xff".to_vec()), ..Event::new("/s", "t") };
    let sent = site.here.publish("orders", &bytes).await.unwrap();
    assert_eq!(message(&subscription).await.event(), Some(&Event { id: Some(sent.id), ..bytes }));
    // Many keep their order, and what nobody listens to is gone.
    publish(&site.there, "other", "unheard").await;
    let many: Vec<Event> = (0..500).map(event).collect();
    let sent = site.there.publish_many("orders", &many).await.unwrap();
    assert_eq!(sent.len(), 500);
    for number in 0..500 {
        assert_eq!(said(&message(&subscription).await), number.to_string());
    }
    assert_eq!(subscription.dropped(), 0);
}

/// What a connection of its own hears first that has subscribed to a name, of what is published to these channels in turn.
async fn first_heard(place: &Place, name: &str, channels: [&str; 2]) -> String {
    let (services, own) = (place.services().await, tenant());
    let named = |name: &str| format!("{}:{name}", own.name());
    let mut listener = place.listen(&named(name)).await;
    for channel in channels {
        let payload = format!("{{\"to\":\"{channel}\"}}");
        services.backend().call(Command::new("PUBLISH").arg(named(channel)).arg(payload)).await.unwrap();
    }
    let heard: serde_json::Value = serde_json::from_str(&listener.payload().await).unwrap();
    heard["to"].as_str().unwrap().to_owned()
}

pub(crate) async fn a_star_is_a_star_and_a_pattern_is_a_pattern(place: Place) {
    // The naive way hands whatever name it is given to SUBSCRIBE.
    let heard = first_heard(&place, "orders.*", ["orders.new", "orders.*"]).await;
    assert_eq!(heard, "orders.*", "the naive helper hears nothing but a channel of that name");

    let site = site(&place).await;
    let (by_name, by_pattern) = (site.here.subscription(), site.here.subscription());
    by_name.subscribe("orders.*").await.unwrap();
    by_pattern.subscribe_pattern("orders.*").await.unwrap();
    by_pattern.subscribe_pattern(r"odd\*[ab]?:{x}%").await.unwrap();
    for channel in ["orders.new", "orders.*", "order", "odd*ac:{x}%", "oddxac:{x}%", "odd*ac:{y}%"] {
        publish(&site.there, channel, channel).await;
    }
    let heard = message(&by_name).await;
    assert_eq!((heard.channel.as_str(), heard.pattern), ("orders.*", None));
    hears_next(&by_name, &site.there, "orders.*").await;
    for (channel, pattern) in
        [("orders.new", "orders.*"), ("orders.*", "orders.*"), ("odd*ac:{x}%", r"odd\*[ab]?:{x}%")]
    {
        let heard = message(&by_pattern).await;
        assert_eq!((heard.channel.as_str(), heard.pattern.as_deref()), (channel, Some(pattern)));
        assert_eq!(said(&heard), channel);
    }
}

pub(crate) async fn tenants_hear_nothing_of_each_other(place: Place) {
    let services = place.services().await;
    let all = Tenant::new(format!("{}*", tenant().name())).unwrap();
    let one = Tenant::new(format!("{}x", all.name().trim_end_matches('*'))).unwrap();
    let subscription = services.pubsub(&all).subscription();
    subscription.subscribe_pattern("*").await.unwrap();
    publish(&services.pubsub(&one), "c", "of another").await;
    hears_next(&subscription, &services.pubsub(&all), "c").await;
}

pub(crate) async fn channels_come_and_go_while_somebody_waits(place: Place) {
    // The naive way subscribes to what is known when it starts.
    assert_eq!(
        first_heard(&place, "early", ["late", "early"]).await,
        "early",
        "the naive helper is deaf to what came later"
    );

    let site = site(&place).await;
    let subscription = Arc::new(site.here.subscription());
    let waiting = {
        let subscription = subscription.clone();
        tokio::spawn(async move { said(&message(&subscription).await) })
    };
    for channel in ["early", "late"] {
        subscription.subscribe(channel).await.unwrap();
    }
    publish(&site.there, "late", "late").await;
    assert_eq!(waiting.await.unwrap(), "late");
    // What was heard and not read goes with its channel, and nothing comes afterwards.
    publish(&site.there, "late", "1").await;
    publish(&site.there, "early", "2").await;
    eventually("both are there", || async { site.services.metrics().value(RECEIVED) == 3 }).await;
    assert_eq!(subscription.unsubscribe("late"), Ok(true));
    assert_eq!(subscription.unsubscribe("late"), Ok(false));
    publish(&site.there, "late", "3").await;
    assert_eq!(said(&message(&subscription).await), "2");
    hears_next(&subscription, &site.there, "early").await;
    // And back again.
    subscription.subscribe("late").await.unwrap();
    hears_next(&subscription, &site.there, "late").await;
}

const RECEIVED: redpoll_services::metrics::Counter = redpoll_services::metrics::Counter::PubsubReceived;

pub(crate) async fn nothing_is_missed_from_when_subscribing_returns(place: Place) {
    let site = site(&place).await;
    let subscription = site.here.subscription();
    for round in 0..100 {
        let channel = format!("c{}", round % 7);
        match round % 2 {
            0 => subscription.subscribe(&channel).await.unwrap(),
            _ => subscription.subscribe_pattern(&format!("[c]{}", round % 7)).await.unwrap(),
        }
        publish(&site.there, &channel, round).await;
        assert_eq!(said(&message(&subscription).await), round.to_string());
        subscription.unsubscribe(&channel).unwrap();
        subscription.unsubscribe_pattern(&format!("[c]{}", round % 7)).unwrap();
    }
}

pub(crate) async fn a_slow_reader_holds_up_nobody_and_is_told(place: Place) {
    // The naive way calls its handlers one after the other.
    let mut has_fast_heard = false;
    let one_by_one = async {
        let slow = std::future::pending::<()>();
        slow.await;
        has_fast_heard = true;
    };
    assert!(tokio::time::timeout(Duration::from_millis(20), one_by_one).await.is_err());
    assert!(!has_fast_heard, "the slow handler of the naive helper holds up the fast one");

    let site = site(&place).await;
    let options = |overflow| SubscriptionOptions { buffer: 10, buffer_bytes: 1 << 20, overflow };
    let slow = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Close]
        .map(|overflow| site.here.subscription_with(&options(overflow)));
    let fast = site.here.subscription();
    for subscription in slow.iter().chain([&fast]) {
        subscription.subscribe("c").await.unwrap();
    }
    for round in 0..100 {
        publish(&site.there, "c", round).await;
        assert_eq!(said(&message(&fast).await), round.to_string(), "the others read nothing all the while");
    }
    let [oldest, newest, closed] = &slow;
    // The last may have come to one before it comes to another.
    let dropped = || [oldest, newest, closed, &fast].map(Subscription::dropped);
    eventually("all have come", || async { dropped() == [90, 90, 1, 0] }).await;
    assert_eq!(next(oldest).await, Heard::Gap(Gap::Dropped { count: 90 }));
    for number in 90..100 {
        assert_eq!(said(&message(oldest).await), number.to_string());
    }
    for subscription in [newest, closed] {
        for number in 0..10 {
            assert_eq!(said(&message(subscription).await), number.to_string());
        }
    }
    assert_eq!(next(newest).await, Heard::Gap(Gap::Dropped { count: 90 }));
    hears_next(newest, &site.there, "c").await;
    assert_eq!(next(closed).await, Heard::Gap(Gap::Dropped { count: 1 }));
    assert_eq!(closed.next().await, None);
    assert!(matches!(closed.subscribe("d").await, Err(Error::Conflict(_))));
}

pub(crate) async fn publishers_at_once_keep_each_their_order(place: Place) {
    let site = site(&place).await;
    let subscription =
        site.here.subscription_with(&SubscriptionOptions { buffer: 10_000, ..SubscriptionOptions::default() });
    subscription.subscribe_pattern("c*").await.unwrap();
    let publishers = (0..4_u32).map(|publisher| {
        let place = place.clone();
        let tenant = site.tenant.clone();
        tokio::spawn(async move {
            let pubsub = place.services().await.pubsub(&tenant);
            for number in 0..250_u32 {
                let told = Event::json("/test", "t", &(publisher, number)).unwrap();
                pubsub.publish(&format!("c{publisher}"), &told).await.unwrap();
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let mut seen = HashMap::new();
    for _ in 0..1000 {
        let (publisher, number): (u32, u32) = message(&subscription).await.event().unwrap().parse().unwrap();
        let before: &mut u32 = seen.entry(publisher).or_default();
        assert_eq!(number, *before);
        *before += 1;
    }
}

pub(crate) async fn messages_of_others_come_as_they_are(place: Place) {
    let site = site(&place).await;
    let subscription = site.here.subscription();
    subscription.subscribe("c").await.unwrap();
    let key = site.here.channel_key("c").unwrap();
    for raw in [&b"hello"[..], b"\0\xff", b"", b"{\"specversion\":\"1.0\"}"] {
        site.services.backend().call(Command::new("PUBLISH").arg(&key).arg(raw)).await.unwrap();
        assert_eq!(message(&subscription).await.body, Body::Raw(raw.to_vec()));
    }
    // And others read ours: a CloudEvent in JSON.
    let mut listener = place.listen(key.as_str()).await;
    site.here.publish("c", &Event { id: Some("1".to_owned()), ..event("x") }).await.unwrap();
    let told =
        r#"{"specversion":"1.0","id":"1","source":"/test","type":"t","datacontenttype":"application/json","data":"x"}"#;
    assert_eq!(listener.payload().await, told);
}

pub(crate) async fn who_listens_is_counted(place: Place) {
    let site = site(&place).await;
    let count = async || site.there.subscribers("c").await.unwrap();
    assert_eq!(count().await, 0);
    let subscriptions = [site.here.subscription(), site.here.subscription(), site.there.subscription()];
    for subscription in &subscriptions {
        subscription.subscribe("c").await.unwrap();
    }
    // Two processes, however many of each.
    assert_eq!(count().await, 2);
    drop(subscriptions);
    eventually("nobody listens", || async { count().await == 0 }).await;
}

pub(crate) async fn what_cannot_be_is_refused(place: Place) {
    let site = site(&place).await;
    let subscription = site.here.subscription();
    let long = "x".repeat(2000);
    for odd in ["", long.as_str()] {
        assert!(matches!(subscription.subscribe(odd).await, Err(Error::InvalidInput { .. })));
        assert!(matches!(subscription.subscribe_pattern(odd).await, Err(Error::InvalidInput { .. })));
        assert!(matches!(subscription.follow(odd, Default::default()).await, Err(Error::InvalidInput { .. })));
        assert!(matches!(site.here.publish(odd, &event("x")).await, Err(Error::InvalidInput { .. })));
    }
    assert!(matches!(site.here.publish("c", &Event::new("", "t")).await, Err(Error::InvalidInput { .. })));
    assert!(matches!(site.here.publish_many("c", &[]).await, Err(Error::InvalidInput { .. })));
    let large = Event { data: Some(vec![0; 2 << 20]), ..event("x") };
    assert!(matches!(site.here.publish("c", &large).await, Err(Error::TooLarge { .. })));
}

/// Waits until what was interrupted is heard again, and returns what was told.
async fn heard_again(subscription: &Subscription, pubsub: &PubSub, channels: &[&str]) {
    assert_eq!(next(subscription).await, Heard::Gap(Gap::Interrupted));
    eventually("it is live", || async { subscription.is_live() }).await;
    for channel in channels {
        publish(pubsub, channel, channel).await;
        // Several names may have come back one after the other.
        let heard = loop {
            match next(subscription).await {
                Heard::Gap(Gap::Interrupted) => {}
                Heard::Gap(gap) => panic!("{gap:?}"),
                Heard::Message(message) => break message,
            }
        };
        assert_eq!(said(&heard), *channel);
    }
}

async fn interrupt<F: Future<Output = ()>>(place: Place, cut: impl Fn(Backend, String) -> F) {
    let site = site(&place).await;
    let subscription = site.here.subscription();
    subscription.subscribe("a").await.unwrap();
    subscription.subscribe("b").await.unwrap();
    subscription.subscribe_pattern("p*").await.unwrap();
    let key = site.here.channel_key("a").unwrap().as_str().to_owned();
    for round in 1..=3 {
        cut(site.services.backend().clone(), key.clone()).await;
        heard_again(&subscription, &site.there, &["a", "b", "p1"]).await;
        assert_eq!(site.services.metrics().value(redpoll_services::metrics::Counter::PubsubLosses), round);
    }
}

async fn kill(backend: Backend, _: String) {
    backend.call(Command::new("CLIENT").arg("KILL").arg("TYPE").arg("pubsub")).await.unwrap();
}

#[tokio::test]
async fn an_interruption_is_told_and_everything_is_subscribed_to_again() {
    interrupt(Place::embedded(), async |backend: Backend, channel: String| {
        let limit = Command::new("CONFIG").arg("SET").arg("client-output-buffer-limit").arg("pubsub 1kb 0 0");
        backend.call(limit).await.unwrap();
        backend.call(Command::new("PUBLISH").arg(channel).arg("x".repeat(4096))).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_interruption_by_redis_is_told_and_everything_is_subscribed_to_again() {
    let server = RedisServer::start().unwrap();
    interrupt(Place::at(server.url()), kill).await;
}

#[tokio::test]
async fn an_interruption_by_redpoll_is_told_and_everything_is_subscribed_to_again() {
    let program = Program::start(&["--no-http"]).unwrap();
    interrupt(Place::at(program.url()), kill).await;
}

#[tokio::test]
async fn a_refused_channel_is_an_error_and_disturbs_no_other() {
    let server = RedisServer::start().unwrap();
    let admin = Place::at(server.url()).services().await;
    let tenant = Tenant::default();
    let allowed = admin.pubsub(&tenant).channel_key("allowed").unwrap();
    let user = Command::new("ACL").arg("SETUSER").arg("u").arg("on").arg(">p").arg("~*").arg("+@all");
    let user = user.arg("resetchannels").arg(format!("&{allowed}"));
    admin.backend().call(user).await.unwrap();
    let place = Place::at(server.url().replace("redis://", "redis://u:p@"));
    let pubsub = place.services().await.pubsub(&tenant);
    let subscription = pubsub.subscription();
    subscription.subscribe("allowed").await.unwrap();
    for _ in 0..3 {
        let error = subscription.subscribe("forbidden").await.unwrap_err();
        assert!(error.to_string().contains("permission"), "{error}");
        assert!(subscription.subscribe_pattern("*").await.is_err());
        hears_next(&subscription, &pubsub, "allowed").await;
    }
}

#[test]
fn listening_goes_on_when_the_runtime_of_who_joined_first_is_gone() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let services = Services::new(Backend::embedded(Store::open(Config::in_memory()).unwrap()), Settings::default());
    let pubsub = services.pubsub(&tenant());
    let early = first.block_on(async {
        let early = pubsub.subscription();
        early.subscribe("c").await.unwrap();
        early
    });
    let late = second.block_on(async {
        let late = pubsub.subscription();
        late.subscribe("c").await.unwrap();
        late
    });
    let waiting = second.spawn(async move {
        assert_eq!(next(&late).await, Heard::Gap(Gap::Interrupted));
        said(&message(&late).await)
    });
    first.shutdown_background();
    drop(early);
    second.block_on(async {
        eventually("it is heard again", || async {
            publish(&pubsub, "c", "again").await;
            waiting.is_finished()
        })
        .await;
        assert_eq!(waiting.await.unwrap(), "again");
    });
}

#[tokio::test]
async fn what_is_refused_after_an_interruption_is_told() {
    let server = RedisServer::start().unwrap();
    let admin = Place::at(server.url()).services().await;
    let rights = async |channels: &str| {
        let user = Command::new("ACL").arg("SETUSER").arg("u").arg("on").arg(">p").arg("~*").arg("+@all");
        admin.backend().call(user.arg("resetchannels").arg(channels)).await.unwrap();
    };
    rights("&*").await;
    let place = Place::at(server.url().replace("redis://", "redis://u:p@"));
    let subscription = place.services().await.pubsub(&tenant()).subscription();
    subscription.subscribe("c").await.unwrap();
    // That also ends the connections of a user who may no longer listen to what it does.
    rights("&other").await;
    assert_eq!(next(&subscription).await, Heard::Gap(Gap::Interrupted));
    assert!(!subscription.is_live());
}

#[tokio::test]
async fn without_a_store_it_is_an_error_and_later_it_is_not() {
    let pubsub = Place::down().services_lazily(Settings::default()).pubsub(&tenant());
    let subscription = pubsub.subscription();
    let event = event("x");
    let (published, subscribed) = tokio::join!(pubsub.publish("c", &event), subscription.subscribe("c"));
    assert!(published.unwrap_err().is_outage() && subscribed.unwrap_err().is_outage());
    assert!(subscription.follow("t", Default::default()).await.unwrap_err().is_outage());
    assert_eq!(subscription.unsubscribe("c"), Ok(false));
}
