//! A store that evicts while many threads write: the limit holds within a bound, nothing is removed twice, and the log says what is left.

use crate::support;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::digest;
use redpoll_store::{Config, Store, Value};
use redpoll_testkit::{Random, Scratch};

const MEGABYTE: usize = 1 << 20;

/// Nobody waits longer than this even on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the numbers of INFO.
fn info(store: &Store) -> HashMap<String, usize> {
    let info = store.call(&["INFO"]);
    let text = info.as_str().expect("INFO is a text");
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// What a writer adds beyond the limit before it makes room again, what the answer takes of who asks, and what the tolerances of large limits come to.
fn bound(limit: usize, threads: usize, value_max: usize) -> usize {
    limit / 100 + (threads + 1) * (value_max + 4096)
}

#[test]
fn many_writers_stay_below_the_limit() {
    const THREADS: usize = 4;
    const VALUE_MAX: usize = 4000;
    for (limit, policy) in
        [(8 * MEGABYTE, "allkeys-lru"), (80 * MEGABYTE, "allkeys-random"), (8 * MEGABYTE, "volatile-ttl")]
    {
        let config = Config::in_memory().set("maxmemory", &limit.to_string()).unwrap();
        let store = Store::open(config.set("maxmemory-policy", policy).unwrap()).unwrap();
        let (done, peak) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let store = &store;
                    scope.spawn(move || {
                        let (mut connection, mut random) = (store.connect(), Random::new(thread as u64));
                        for _ in 0..limit * 3 / (VALUE_MAX / 2) / THREADS {
                            let (key, value) =
                                (random.below(1 << 20), "x".repeat(random.below(VALUE_MAX as u64) as usize));
                            let key = format!("key:{key}");
                            let reply = match random.below(4) {
                                0 => connection.call(&["HSET", &format!("h{key}"), &value[..value.len() / 2], "1"]),
                                _ => connection.call(&["SET", &key, &value, "EX", "1000"]),
                            };
                            // Hashes have no deadline here, so some of them may be all that is left.
                            assert!(
                                policy == "volatile-ttl" || !matches!(reply, Value::Error(_)),
                                "{policy}: {reply:?}"
                            );
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    peak.fetch_max(info(&store)["used_memory"], Ordering::Relaxed);
                }
            });
            for writer in writers {
                writer.join().expect("writers do not panic");
            }
            done.store(true, Ordering::Relaxed);
        });
        let info = info(&store);
        // On a busy machine nobody may have looked before.
        let peak = peak.into_inner().max(info["used_memory"]);
        assert!(peak <= limit + bound(limit, THREADS, VALUE_MAX), "{policy}: {peak} of {limit}");
        assert!(peak > limit * 9 / 10, "{policy}: {peak} of {limit}: there was no pressure");
        assert!(info["evicted_keys"] > 1000, "{policy}: {}", info["evicted_keys"]);
        assert_eq!(info["current_eviction_exceeded_time"], 0, "{policy}");
    }
}

/// Every key that came has gone exactly once, or is still there.
#[test]
fn what_is_removed_is_removed_once() {
    const THREADS: usize = 4;
    const KEYS: usize = 20_000;
    let config = Config::in_memory().set("maxmemory", "4mb").unwrap();
    let config = config.set("notify-keyspace-events", "Exe").unwrap();
    let store = Store::open(config.set("maxmemory-policy", "allkeys-lru").unwrap()).unwrap();
    let mut events = store.subscribe(&["__keyevent@0__:evicted", "__keyevent@0__:expired"]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let mut connection = store.connect();
                for number in 0..KEYS / THREADS {
                    // Some expire at once, some soon, most not.
                    let ttl = if number % 10 == 0 { "1" } else { "1000000" };
                    let key = format!("key:{thread}:{number}");
                    assert_eq!(
                        connection.call(&["SET", &key, &"x".repeat(300), "PX", ttl]),
                        Value::Simple("OK".into())
                    );
                }
            });
        }
    });
    let mut gone = HashMap::<Vec<u8>, usize>::new();
    let Value::Int(left) = store.call(&["DBSIZE"]) else { panic!("DBSIZE is a number") };
    // Those that expired are removed by the sweep in the end.
    while gone.len() < KEYS - left as usize {
        let message = events.receive(PATIENCE).unwrap().expect("what has gone is announced");
        *gone.entry(message.payload).or_default() += 1;
    }
    assert!(gone.values().all(|count| *count == 1), "none goes twice");
    let info = info(&store);
    assert!(info["evicted_keys"] + info["expired_keys"] >= KEYS - left as usize && info["evicted_keys"] > 1000);
    for key in gone.keys() {
        assert_eq!(store.call(&[&b"EXISTS"[..], key]), Value::Int(0));
    }
}

#[test]
fn the_log_of_a_store_that_evicted_makes_the_same_keys() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    store.call(&["CONFIG", "SET", "maxmemory", "3mb", "maxmemory-policy", "allkeys-lfu"]);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let store = &store;
            scope.spawn(move || {
                let (mut connection, mut random) = (store.connect(), Random::new(thread));
                for _ in 0..3000 {
                    let key = format!("key:{}", random.below(5000));
                    match random.below(3) {
                        0 => connection.call(&["RPUSH", &format!("l{key}"), &"x".repeat(200)]),
                        1 => connection.call(&[
                            "EVAL",
                            "redis.call('SET', KEYS[1], ARGV[1]) return 1",
                            "1",
                            &key,
                            &"y".repeat(500),
                        ]),
                        _ => connection.call(&["SET", &key, &"z".repeat(700)]),
                    };
                }
            });
        }
    });
    store.call(&["CONFIG", "SET", "maxmemory", "0"]);
    let evicted = info(&store)["evicted_keys"];
    assert!(evicted > 1000, "{evicted}");
    let (before, keys) = (digest(&store), store.call(&["DBSIZE"]));
    drop(store);
    let again = support::in_directory(&dir);
    assert_eq!((digest(&again), again.call(&["DBSIZE"])), (before, keys));
}

/// A limit that is lowered is held at once, though nobody sends another command.
#[test]
fn a_lower_limit_takes_effect_without_a_command() {
    let store = Store::open(Config::in_memory()).unwrap();
    store.call(&["CONFIG", "SET", "notify-keyspace-events", "Ee", "maxmemory-policy", "allkeys-random"]);
    let mut events = store.subscribe(&["__keyevent@0__:evicted"]).unwrap();
    for number in 0..1000 {
        store.set(format!("key:{number}"), "x").unwrap();
    }
    store.call(&["CONFIG", "SET", "maxmemory", "1"]);
    for number in 0..1000 {
        assert!(events.receive(PATIENCE).unwrap().is_some(), "{number} were evicted");
    }
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(0));
}
