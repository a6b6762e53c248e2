//! Channels inside the process: messages arrive in order, wake a thread that waits, and bound what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redpoll_store::{Config, Error, Message, Store};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn store() -> Store {
    Store::open(Config::in_memory()).expect("a store without a log opens")
}

fn message(pattern: Option<&str>, channel: &str, payload: &str) -> Message {
    Message { pattern: pattern.map(Into::into), channel: channel.into(), payload: payload.into() }
}

#[test]
fn channels_and_patterns() {
    let store = store();
    assert_eq!(store.publish("a", "nobody").expect("publishing is allowed"), 0);
    let mut listener = store.subscribe(&["a", "b"]).expect("subscribing is allowed");
    listener.subscribe_patterns(&["a*"]).expect("subscribing is allowed");
    assert_eq!(store.publish("a", "1").expect("publishing is allowed"), 2);
    assert_eq!(store.publish("ab", "2").expect("publishing is allowed"), 1);
    listener.unsubscribe(&["a"]).expect("unsubscribing is allowed");
    assert_eq!(store.publish("a", "3").expect("publishing is allowed"), 1);
    let mut received = Vec::new();
    while let Some(message) = listener.receive(Duration::ZERO).expect("little waits") {
        received.push(message);
    }
    let expected = [
        message(None, "a", "1"),
        message(Some("a*"), "a", "1"),
        message(Some("a*"), "ab", "2"),
        message(Some("a*"), "a", "3"),
    ];
    assert_eq!(received, expected);
    drop(listener);
    assert_eq!(store.publish("b", "nobody").expect("publishing is allowed"), 0);
}

#[test]
fn eight_publishers_and_eight_listeners() {
    const EACH: usize = 500;
    let store = store();
    let listeners: Vec<_> = (0..8)
        .map(|_| {
            let mut listener = store.subscribe(&["c"]).expect("subscribing is allowed");
            std::thread::spawn(move || {
                let received = (0..8 * EACH).map(|_| {
                    let message = listener.receive(PATIENCE).expect("not cut off").expect("a message comes");
                    String::from_utf8(message.payload).expect("digits")
                });
                received.collect::<Vec<_>>()
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for publisher in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..EACH {
                    let receivers = store.publish("c", format!("{publisher} {number}"));
                    assert_eq!(receivers.expect("publishing is allowed"), 8);
                }
            });
        }
    });
    let received: Vec<_> = listeners.into_iter().map(|listener| listener.join().expect("a listener ends")).collect();
    // All hear the same, and each publisher in its own order.
    assert!(received.windows(2).all(|pair| pair[0] == pair[1]));
    for publisher in 0..8 {
        let prefix = format!("{publisher} ");
        let own: Vec<&str> = received[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        let expected: Vec<String> = (0..EACH).map(|number| number.to_string()).collect();
        assert_eq!(own, expected);
    }
}

#[test]
fn whoever_does_not_wait_is_rung_for() {
    let store = store();
    let rings = Arc::new(AtomicUsize::new(0));
    let mut listener = store.subscribe(&["c"]).expect("subscribing is allowed");
    store.publish("c", "before").expect("publishing is allowed");
    let counter = Arc::clone(&rings);
    listener.on_arrival(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let rung = || rings.swap(0, Ordering::SeqCst) > 0;
    for payload in ["before", "after", "later"] {
        assert!(rung(), "{payload}");
        let heard = listener.receive(Duration::ZERO).expect("not cut off");
        assert_eq!(heard, Some(message(None, "c", payload)));
        assert_eq!(listener.receive(Duration::ZERO).expect("not cut off"), None);
        assert!(!rung(), "nothing came");
        let next = if payload == "before" { "after" } else { "later" };
        store.publish("c", next).expect("publishing is allowed");
    }
    // Waiting still works.
    assert_eq!(listener.receive(PATIENCE).expect("not cut off"), Some(message(None, "c", "later")));
}

#[test]
fn who_receives_nothing_is_cut_off() {
    let config = Config::in_memory().set("client-output-buffer-limit", "pubsub 1mb 0 0").expect("a valid limit");
    let store = Store::open(config).expect("a store without a log opens");
    let mut lazy = store.subscribe(&["c"]).expect("subscribing is allowed");
    let payload = vec![b'x'; 100_000];
    for _ in 0..20 {
        store.publish("c", &payload).expect("publishing is allowed");
    }
    assert!(matches!(lazy.receive(Duration::ZERO), Err(Error::CutOff)));
}

#[test]
fn changes_of_keys_are_heard() {
    let config = Config::in_memory().set("notify-keyspace-events", "Kg$").expect("valid letters");
    let store = Store::open(config).expect("a store without a log opens");
    let mut listener = store.subscribe(&["__keyspace@0__:key"]).expect("subscribing is allowed");
    store.set("key", "value").expect("there is memory");
    store.call(&["DEL", "key"]);
    for event in ["set", "del"] {
        let heard = listener.receive(PATIENCE).expect("not cut off");
        assert_eq!(heard, Some(message(None, "__keyspace@0__:key", event)));
    }
}
