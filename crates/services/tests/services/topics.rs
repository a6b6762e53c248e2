//! Tests of topics: who follows one hears everything that is kept, over pauses, losses and restarts, and is told what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redpoll_services::pubsub::{Body, Gap, Heard, Since, Subscription, Token};
use redpoll_services::streams::{EntryId, Event, GroupOptions, Letters, Limits, Outcome, Start, Stream, TakeOptions};
use redpoll_services::{Command, Tenant};
use redpoll_testkit::{Launch, RedisServer, Scratch};
use serde_json::{Value as Json, json};

use crate::operations::{open, run};
use crate::pubsub::{Site, event, message, next, said, site};
use crate::support::{PATIENCE, Place, eventually};

fn topic(site: &Site) -> Stream {
    site.services.streams(&site.tenant).stream("orders").unwrap()
}

async fn publish(stream: &Stream, names: impl IntoIterator<Item = impl ToString>) -> Vec<EntryId> {
    let events: Vec<_> = names.into_iter().map(event).collect();
    stream.publish_many(&events).await.unwrap().into_iter().map(|published| published.entry).collect()
}

async fn follow(site: &Site, since: Since) -> Subscription {
    let subscription = site.there.subscription();
    subscription.follow("orders", since).await.unwrap();
    subscription
}

/// Reads messages that say these numbers, and returns the token of the last.
async fn hears(subscription: &Subscription, numbers: impl IntoIterator<Item = u32>) -> Token {
    let mut token = None;
    for number in numbers {
        let message = message(subscription).await;
        assert_eq!(said(&message), number.to_string());
        assert_eq!((message.channel.as_str(), &message.pattern), ("orders", &None));
        token = message.token;
    }
    token.expect("a topic's messages have tokens")
}

pub(crate) async fn a_topic_is_read_on_behind_a_token(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    publish(&stream, 0..250).await;
    let first = follow(&site, Since::Beginning).await;
    let token = hears(&first, 0..120).await;
    drop(first);
    publish(&stream, 250..300).await;
    // Whoever comes back, from wherever, goes on where they were; what was read and not handled comes again.
    let token: Token = token.to_string().parse().unwrap();
    let second = follow(&site, Since::After(token)).await;
    hears(&second, 120..300).await;
    publish(&stream, 300..310).await;
    let token = hears(&second, 300..310).await;
    assert_eq!(token.sequence, Some(310));
    // An id, as publishing returns it, is a token too.
    let ids = publish(&stream, 310..320).await;
    let third = follow(&site, Since::After(ids[4].to_string().parse().unwrap())).await;
    hears(&third, 315..320).await;
}

pub(crate) async fn where_following_begins(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    // Of a topic that is not there yet.
    let early = follow(&site, Since::Now).await;
    let ids = publish(&stream, 0..5).await;
    hears(&early, 0..5).await;
    let now = follow(&site, Since::Now).await;
    let (last, latest) = (follow(&site, Since::Latest(1)).await, follow(&site, Since::Latest(3)).await);
    let (more, time) = (follow(&site, Since::Latest(100)).await, follow(&site, Since::Time(ids[0].ms)).await);
    publish(&stream, 5..8).await;
    hears(&now, 5..8).await;
    hears(&last, 4..8).await;
    hears(&latest, 2..8).await;
    hears(&more, 0..8).await;
    hears(&time, 0..8).await;
    hears(&early, 5..8).await;
}

pub(crate) async fn a_message_comes_at_once(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let subscription = follow(&site, Since::Now).await;
    // A look every two seconds would take more than three minutes.
    let begun = std::time::Instant::now();
    for number in 0..100 {
        publish(&stream, [number]).await;
        hears(&subscription, [number]).await;
    }
    assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
}

pub(crate) async fn a_slow_reader_of_a_topic_loses_nothing(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let subscription = follow(&site, Since::Now).await;
    for page in 0..20 {
        publish(&stream, page * 100..page * 100 + 100).await;
    }
    hears(&subscription, 0..2000).await;
    assert_eq!(subscription.dropped(), 0);
}

pub(crate) async fn what_was_trimmed_is_told(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    stream.configure(&Limits { length_max: Some(10), ..Limits::default() }).await.unwrap();
    let ids = publish(&stream, 0..5).await;
    let first = follow(&site, Since::Beginning).await;
    let token = hears(&first, 0..3).await;
    drop(first);
    publish(&stream, 5..50).await;
    stream.trim().await.unwrap();
    // 3 to 39 are gone, and nobody says otherwise.
    let back = follow(&site, Since::After(token)).await;
    let trimmed = |count| Heard::Gap(Gap::Trimmed { topic: "orders".to_owned(), count });
    assert_eq!(next(&back).await, trimmed(Some(37)));
    hears(&back, 40..50).await;
    // Without its number nobody knows how many.
    let back = follow(&site, Since::After(Token { entry: ids[2], sequence: None })).await;
    assert_eq!(next(&back).await, trimmed(None));
    hears(&back, 40..50).await;
    // Whoever is at the last that is gone has missed nothing.
    let token = Token { entry: ids[4], sequence: Some(40) };
    hears(&follow(&site, Since::After(token)).await, 40..50).await;
}

/// A time that has not come, entries of others, and messages that are large: none of it shifts where following begins.
pub(crate) async fn following_begins_where_it_was_told(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let add = |at: &'static str| {
        let add = Command::new("XADD").key(stream.key()).arg(at).arg("temperature").arg("21");
        let backend = site.services.backend().clone();
        async move { backend.call(add).await.unwrap() }
    };
    add("5-1").await;
    // What others added before is no news.
    let now = follow(&site, Since::Now).await;
    let latest = follow(&site, Since::Latest(0)).await;
    let hour = 3_600_000;
    let now_ms = site.services.backend().now_ms().await.unwrap();
    let later = follow(&site, Since::Time(now_ms + hour)).await;
    publish(&stream, 0..3).await;
    hears(&now, 0..3).await;
    hears(&latest, 0..3).await;
    // It comes to that time, and there is no gap.
    add(format!("{}-0", now_ms + hour).leak()).await;
    assert_eq!(message(&later).await.body, Body::Raw(br#"{"temperature":"21"}"#.to_vec()));
}

pub(crate) async fn numbers_of_others_are_not_believed(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let subscription = follow(&site, Since::Now).await;
    publish(&stream, [0]).await;
    hears(&subscription, [0]).await;
    for number in ["18446744073709551615", "900", "x"] {
        let add = Command::new("XADD").key(stream.key()).arg("*").arg("sequence").arg(number);
        site.services.backend().call(add).await.unwrap();
        assert!(matches!(message(&subscription).await.body, Body::Raw(_)));
    }
    publish(&stream, [1]).await;
    hears(&subscription, [1]).await;
    let wild = Token { entry: EntryId::ZERO, sequence: Some(u64::MAX) };
    let back = follow(&site, Since::After(wild)).await;
    assert_eq!(next(&back).await, Heard::Gap(Gap::Trimmed { topic: "orders".to_owned(), count: None }));
    hears(&back, [0]).await;
}

pub(crate) async fn large_messages_come_a_few_at_a_time(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let data = vec![b'x'; 300_000];
    for _ in 0..12 {
        let large = Event { data: Some(data.clone()), ..Event::new("s", "t") };
        stream.publish_many(&vec![large; 3]).await.unwrap();
    }
    let latest = follow(&site, Since::Latest(36)).await;
    for _ in 0..36 {
        assert_eq!(message(&latest).await.event().unwrap().data.as_ref().map(Vec::len), Some(300_000));
    }
}

pub(crate) async fn what_is_all_gone_is_told_at_once(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    publish(&stream, 0..5).await;
    let token = hears(&follow(&site, Since::Beginning).await, 0..2).await;
    let trim = Command::new("XTRIM").key(stream.key()).arg("MAXLEN").arg("0");
    site.services.backend().call(trim).await.unwrap();
    let back = follow(&site, Since::After(token)).await;
    assert_eq!(next(&back).await, Heard::Gap(Gap::Trimmed { topic: "orders".to_owned(), count: Some(3) }));
    publish(&stream, [5]).await;
    hears(&back, [5]).await;
}

pub(crate) async fn following_that_is_given_up_can_begin_again(place: Place) {
    let site = site(&place).await;
    let subscription = site.there.subscription();
    for _ in 0..20 {
        let follow = subscription.follow("orders", Since::Now);
        tokio::select! {
            biased;
            followed = follow => drop(followed.unwrap()),
            () = std::future::ready(()) => {}
        }
        subscription.unfollow("orders");
    }
    subscription.follow("orders", Since::Now).await.unwrap();
    publish(&topic(&site), [1]).await;
    hears(&subscription, [1]).await;
}

pub(crate) async fn a_store_older_than_a_token_is_told(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    publish(&stream, 0..3).await;
    let future = Token { entry: EntryId { ms: u64::MAX - 5, number: 0 }, sequence: Some(1000) };
    let back = follow(&site, Since::After(future)).await;
    assert_eq!(next(&back).await, Heard::Gap(Gap::Trimmed { topic: "orders".to_owned(), count: None }));
    publish(&stream, 3..5).await;
    hears(&back, 3..5).await;
}

pub(crate) async fn topics_and_channels_in_one_subscription(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let subscription = follow(&site, Since::Now).await;
    subscription.subscribe("orders").await.unwrap();
    assert!(subscription.follow("orders", Since::Now).await.is_err(), "it is followed already");
    publish(&stream, [1]).await;
    hears(&subscription, [1]).await;
    site.here.publish("orders", &event(2)).await.unwrap();
    let heard = message(&subscription).await;
    assert_eq!((said(&heard).as_str(), heard.token), ("2", None), "a channel of the same name is another thing");
    publish(&stream, [3]).await;
    assert!(subscription.unfollow("orders") && !subscription.unfollow("orders"));
    publish(&stream, [4]).await;
    site.here.publish("orders", &event(5)).await.unwrap();
    assert_eq!(said(&message(&subscription).await), "5");
    subscription.follow("orders", Since::Latest(1)).await.unwrap();
    hears(&subscription, [4]).await;
}

pub(crate) async fn entries_of_others_and_for_others(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let group = stream.group("g").unwrap();
    group
        .create(&GroupOptions { start: Start::Beginning, attempts_max: Some(1), ..GroupOptions::default() })
        .await
        .unwrap();
    let subscription = follow(&site, Since::Now).await;
    publish(&stream, [1]).await;
    hears(&subscription, [1]).await;
    // One that its group gives up and redrives is the group's business.
    let options = TakeOptions { wait: Duration::from_secs(5), ..TakeOptions::new("c") };
    let taken = group.take(&options).await.unwrap().deliveries.remove(0);
    group.settle_one(&taken.ticket, Outcome::GivenUp { cause: "no".to_owned() }).await.unwrap();
    assert_eq!(group.redrive(Letters::All).await, Ok(1));
    let add = Command::new("XADD").key(stream.key()).arg("*").arg("temperature").arg("21");
    site.services.backend().call(add).await.unwrap();
    let heard = message(&subscription).await;
    assert_eq!(heard.body, Body::Raw(br#"{"temperature":"21"}"#.to_vec()));
    publish(&stream, [2]).await;
    assert_eq!(said(&message(&subscription).await), "2");
}

pub(crate) async fn nothing_is_left_of_who_followed(place: Place) {
    let site = site(&place).await;
    let stream = topic(&site);
    let subscription = follow(&site, Since::Now).await;
    publish(&stream, [1]).await;
    hears(&subscription, [1]).await;
    let waiters = stream.key().as_str().replace("}:s", "}:w");
    let exists = async || {
        let command = Command::new("EXISTS").key(waiters.as_str());
        site.services.backend().call(command).await.unwrap().as_i64() == Some(1)
    };
    eventually("it waits", || async { exists().await }).await;
    drop(subscription);
    eventually("it is forgotten", || async { !exists().await }).await;
}

/// Publishes numbers one by one, each until it is answered.
async fn publish_through(stream: Stream, count: u32) {
    for number in 0..count {
        let told = Event { id: Some(number.to_string()), ..event(number) };
        eventually("it is published", || async { stream.publish(&told).await.is_ok() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_lose_nothing_of_a_topic() {
    let server = RedisServer::start().unwrap();
    let place = Place::at(server.url());
    let site = site(&place).await;
    let subscription = follow(&site, Since::Now).await;
    let publisher = tokio::spawn(publish_through(topic(&site), 300));
    for round in 0..30_u32 {
        hears(&subscription, round * 10..round * 10 + 10).await;
        let kind = if round % 2 == 0 { "pubsub" } else { "normal" };
        // It may be the one that asks.
        _ = site.services.backend().call(Command::new("CLIENT").arg("KILL").arg("TYPE").arg(kind)).await;
    }
    publisher.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_of_a_topic() {
    let scratch = Scratch::new().unwrap();
    let launch = Launch {
        dir: Some(scratch.path().to_owned()),
        args: ["--no-http", "--appendfsync", "always"].map(str::to_owned).to_vec(),
        ..Launch::default()
    };
    let (mut since, mut heard, acknowledged) = (Since::Beginning, 0, Arc::new(AtomicU32::new(0)));
    for _ in 0..4 {
        let program = launch.start().unwrap();
        let place = Place::at(program.url());
        let pubsub = place.services().await.pubsub(&Tenant::default());
        let subscription = pubsub.subscription();
        subscription.follow("orders", since).await.unwrap();
        let stream = place.services().await.streams(&Tenant::default()).stream("orders").unwrap();
        let done = acknowledged.clone();
        let publisher = tokio::spawn(async move {
            // One whose answer was lost is published again under its id, after the next start.
            for number in done.load(Ordering::SeqCst).. {
                match stream.publish(&Event { id: Some(number.to_string()), ..event(number) }).await {
                    Ok(_) => done.store(number + 1, Ordering::SeqCst),
                    Err(error) => return assert!(error.is_outage(), "{error}"),
                }
            }
        });
        since = Since::After(hears(&subscription, heard..heard + 40).await);
        heard += 40;
        program.kill().unwrap();
        publisher.await.unwrap();
    }
}

// ---- From outside ----

pub(crate) async fn a_feed_is_read_on_behind_its_position(place: Place) {
    let site = site(&place).await;
    let tenant = site.tenant.name();
    let feed = open(
        &site.services,
        "pubsub",
        "listen",
        json!({"tenant": tenant, "channels": ["c"], "patterns": ["p*"], "topics": ["orders"]}),
    )
    .await
    .unwrap();
    let item = async |feed: &dyn redpoll_services::operation::Feed| {
        tokio::time::timeout(PATIENCE, feed.next()).await.expect("an item in time").unwrap()
    };
    // Whoever is cut off before the first message can come back too.
    let ready = item(&*feed).await;
    assert_eq!((ready.kind, &ready.body["positions"]["orders"]), ("ready", &json!("0-0/0")));
    assert_eq!(ready.position.as_deref(), Some("{\"orders\":\"0-0/0\"}"));
    let publish = json!({"tenant": tenant, "channel": "p1", "data": {"a": 1}, "id": "x"});
    assert_eq!(run(&site.services, "pubsub", "publish", publish).await.unwrap()["id"], json!("x"));
    let heard = item(&*feed).await;
    assert_eq!((heard.kind, heard.position), ("message", None));
    let told = json!({"channel": "p1", "pattern": "p*", "event": {"specversion": "1.0", "id": "x", "source": "redpoll", "type": "message",
        "datacontenttype": "application/json", "data": {"a": 1}}});
    assert_eq!(heard.body, told);
    let events = json!([{"source": "s", "type": "t", "data": 1}, {"source": "s", "type": "t", "data": 2}]);
    let many = json!({"tenant": tenant, "stream": "orders", "events": events});
    run(&site.services, "streams", "publish_many", many).await.unwrap();
    let first = item(&*feed).await;
    assert_eq!((&first.body["channel"], &first.body["event"]["data"]), (&json!("orders"), &json!(1)));
    let position = first.position.unwrap();
    drop(feed);
    // The next begins behind it.
    let input = json!({"tenant": tenant, "topics": ["orders"], "resume": position});
    let feed = open(&site.services, "pubsub", "listen", input).await.unwrap();
    assert_eq!(item(&*feed).await.kind, "ready");
    assert_eq!(item(&*feed).await.body["event"]["data"], json!(2));
    // What it listens to is changed while it is read.
    feed.tell(json!({"subscribe": {"channels": ["d"]}, "unsubscribe": {"topics": ["orders"]}})).await.unwrap();
    let count = json!({"tenant": tenant, "channel": "d"});
    assert_eq!(run(&site.services, "pubsub", "subscribers", count).await, Ok(json!({"count": 1})));
    let many = json!({"tenant": tenant, "channel": "d", "events": events});
    run(&site.services, "pubsub", "publish_many", many).await.unwrap();
    assert_eq!(item(&*feed).await.body["channel"], json!("d"));
    for odd in [
        json!({"subscribe": {"channels": [""]}}),
        json!({"subscribe": {"names": []}}),
        json!(5),
        json!({"unsubscribe": {"channels": (0..2000).map(|n| n.to_string()).collect::<Vec<_>>()}}),
        json!({"subscribe": {"channels": (0..100).map(|n| n.to_string()).collect::<Vec<_>>()}}),
        json!({"subscribe": {"topics": (0..9).map(|n| "x".repeat(1000) + &n.to_string()).collect::<Vec<_>>()}}),
    ] {
        assert!(feed.tell(odd).await.is_err());
    }
    assert_eq!(item(&*feed).await.body["event"]["data"], json!(2), "what is wrong changes nothing");
    for odd in [
        json!({"resume": "x"}),
        json!({"resume": "{\"a\":\"b\"}"}),
        json!({"latest": 1, "beginning": true}),
        json!({"buffer": 0}),
        json!({"overflow": "wait"}),
        json!({"topics": ["t"], "latest": 5000}),
        Json::Null,
    ] {
        assert!(open(&site.services, "pubsub", "listen", odd).await.is_err());
    }
}
