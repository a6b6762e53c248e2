//! Tests of the near cache without a store: what is told, what is refused, what is bounded.
//!
//! Beside the races stand their naive counterparts, which keep what is gone.

use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::cache::entry::{Body, Epoch, decode};

const PREFIX: &str = "rp:{acme:cache:users:";

fn near_with(settings: NearSettings) -> Near {
    Near::new(PREFIX, &settings, Arc::default())
}

/// A near cache whose feed is up.
fn near() -> Near {
    let near = near_with(NearSettings::default());
    near.began(Instant::now());
    near
}

fn found(value: u64) -> Found {
    let entry = decode(format!("1;j;e;0;0\n{value}").as_bytes(), &Epoch::of(b"e"), 1 << 20).unwrap();
    Found { entry, remaining_ms: -1 }
}

impl Near {
    fn begin(&self, key: &str) -> Token {
        let refused = "the feed is up";
        let stripe = self.stripe(key).read().unwrap();
        let generation = self.generation.load(Ordering::SeqCst);
        assert_eq!(generation % 2, 1, "{refused}");
        let partition = super::super::namespace::partition_of(key);
        let flushes = self.flushes[partition].load(Ordering::SeqCst);
        Token { generation, flushes, version: stripe.version, partition, taken_ns: self.ns(Instant::now()) }
    }

    fn keep(&self, key: &str, value: u64) -> bool {
        self.fill(self.begin(key), key, &found(value))
    }

    fn value(&self, key: &str) -> Option<u64> {
        match self.find(key)?.entry.body {
            Some(Body::Json(json)) => json.as_u64(),
            other => panic!("{other:?}"),
        }
    }

    fn told(&self, key: &str) {
        self.changed(format!("{PREFIX}{key}").as_bytes());
    }
}

/// What a hurried hand would write: a map that forgets what it is told of.
#[derive(Default)]
struct Naive(Mutex<HashMap<String, u64>>);

#[test]
fn set_after_invalidate_race() {
    // A read begins, the key changes and is told, the read ends.
    let naive = Naive::default();
    naive.0.lock().unwrap().remove("k");
    naive.0.lock().unwrap().insert("k".to_owned(), 1);
    assert_eq!(naive.0.lock().unwrap().get("k"), Some(&1), "the naive one keeps what is gone");

    let near = near();
    let token = near.begin("k");
    near.told("00}:v:k");
    assert!(!near.fill(token, "k", &found(1)));
    assert_eq!(near.value("k"), None);

    // The same by an own write, by the end of the epoch, and by a loss of the feed.
    let token = near.begin("k");
    drop(Forgetting::these(Some(&near), ["k"]));
    assert!(!near.fill(token, "k", &found(1)));
    let token = near.begin("k");
    near.told(&format!("{:02}}}:e", token.partition));
    assert!(!near.fill(token, "k", &found(1)));
    let token = near.begin("k");
    near.lost();
    assert!(!near.fill(token, "k", &found(1)));
    near.began(Instant::now());
    assert!(!near.fill(token, "k", &found(1)), "nor when the feed is back");
    assert!(near.keep("k", 2));
    assert_eq!(near.value("k"), Some(2));
}

#[test]
fn push_lost_while_disconnected_empties_it() {
    let naive = Naive::default();
    naive.0.lock().unwrap().insert("k".to_owned(), 1);
    // The connection is lost, the key changes, the connection is back: nobody has told the naive one.
    assert_eq!(naive.0.lock().unwrap().get("k"), Some(&1));

    let near = near();
    assert!(near.keep("k", 1));
    near.lost();
    assert_eq!(near.value("k"), None, "at once, not when the connection is back");
    near.lost();
    assert_eq!(near.metrics.value(Counter::CacheNearLost), 1);
    near.began(Instant::now());
    assert_eq!(near.value("k"), None);
    // A second beginning without a loss in between, as when a prefix is registered again, keeps nothing either.
    assert!(near.keep("k", 2));
    near.began(Instant::now());
    assert_eq!(near.value("k"), None);
}

#[test]
fn what_is_told_is_forgotten_and_nothing_else() {
    let near = near();
    let odd = "a:b{%}\n";
    for key in ["k", odd, "other"] {
        assert!(near.keep(key, 1));
    }
    for foreign in ["", "00}:x", "00}:t", "00}:l:k", "99}:e", "x}:e", "00}:v:%G", "00}:"] {
        near.told(foreign);
    }
    near.changed(b"\xff");
    assert_eq!((near.value("k"), near.value(odd)), (Some(1), Some(1)));
    near.told("00}:v:k");
    near.told(&format!("00}}:v:{}", crate::keys::escape(odd)));
    assert_eq!((near.value("k"), near.value(odd), near.value("other")), (None, None, Some(1)));
    near.all_changed();
    assert_eq!(near.value("other"), None);
}

#[test]
fn a_partition_is_flushed_alone() {
    let near = near();
    let keys: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
    assert!(keys.iter().all(|key| near.keep(key, 1)));
    let partition = near.begin("k0").partition;
    near.told(&format!("{partition:02}}}:e"));
    for key in &keys {
        assert_eq!(near.value(key).is_none(), near.begin(key).partition == partition, "{key}");
    }
}

#[test]
fn served_only_while_verified() {
    let mut near = near_with(NearSettings::default());
    let long_ago = Instant::now().checked_sub(LAG_MAX).expect("the machine is up for longer");
    near.base = long_ago;
    near.began(long_ago);
    assert!(near.keep("k", 1));
    assert_eq!(near.value("k"), None, "nobody has said lately that nothing was missed");
    near.verified(Instant::now());
    assert_eq!(near.value("k"), Some(1));
    near.verified(long_ago);
    assert_eq!(near.value("k"), Some(1), "an older verification takes nothing back");
}

#[test]
fn ends_with_its_age_and_its_lifetime() {
    let near = near_with(NearSettings { age_max: Duration::from_nanos(1), ..NearSettings::default() });
    near.began(Instant::now());
    assert!(near.keep("k", 1));
    assert_eq!(near.value("k"), None);
    let near = super::tests::near();
    assert!(near.fill(near.begin("k"), "k", &Found { remaining_ms: 0, ..found(1) }));
    assert_eq!(near.value("k"), None);
    assert!(near.fill(near.begin("k"), "k", &Found { remaining_ms: 60_000, ..found(1) }));
    assert!(matches!(near.find("k").unwrap().remaining_ms, 59_000..=60_000));
}

#[test]
fn bounded_in_entries_and_the_used_stay() {
    let near = near_with(NearSettings { entries_max: 1_000, ..NearSettings::default() });
    near.began(Instant::now());
    assert!(near.keep("hot", 7));
    for number in 0..20_000_u64 {
        assert!(near.keep(&format!("k{number}"), number));
        assert_eq!(near.value("hot"), Some(7), "after {number}");
    }
    let kept: usize = near.stripes.iter().map(|stripe| stripe.read().unwrap().places.len()).sum();
    assert!((500..=1_016).contains(&kept), "{kept}");
    let slots: usize = near.stripes.iter().map(|stripe| stripe.read().unwrap().slots.len()).sum();
    assert!(slots <= 1_016, "places are used again: {slots}");
}

#[test]
fn bounded_in_bytes() {
    let near = near_with(NearSettings { entries_max: 32, bytes_max: 10_000, ..NearSettings::default() });
    near.began(Instant::now());
    let large = |len: usize| {
        let text = format!("1;b;e;0;0\n{}", "x".repeat(len));
        Found { entry: decode(text.as_bytes(), &Epoch::of(b"e"), 1 << 20).unwrap(), remaining_ms: -1 }
    };
    assert!(!near.fill(near.begin("k"), "k", &large(10_000)), "larger than all there is");
    for number in 0..100 {
        let key = format!("k{number}");
        assert!(near.fill(near.begin(&key), &key, &large(3_000)));
        assert!(near.stripes[0].read().unwrap().bytes <= 10_000);
    }
    for number in 0..100 {
        near.forget(&format!("k{number}"));
    }
    assert_eq!(near.stripes[0].read().unwrap().bytes, 0);
}

#[test]
fn refusal_is_said() {
    let backend = crate::Backend::embedded(redpoll_store::Store::open(redpoll_store::Config::in_memory()).unwrap());
    let near = near_with(NearSettings::default());
    assert_eq!(near.token("k", 0, &backend), Ok(None), "not up yet");
    near.refused("unknown command");
    let error = near.token("k", 0, &backend).unwrap_err();
    assert!(error.to_string().contains("unknown command"), "{error}");
    near.began(Instant::now());
    assert!(near.token("k", 0, &backend).unwrap().is_some());
}

/// Readers that fill from a truth that moves, and a writer that forgets: nobody sees what was replaced before he asked.
#[test]
fn reads_and_changes_from_many_threads() {
    const ROUNDS: u64 = 20_000;
    let near = near();
    let (truth, done) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while done.load(Ordering::SeqCst) < ROUNDS {
                    let least = done.load(Ordering::SeqCst);
                    let seen = near.value("k").unwrap_or_else(|| {
                        let token = near.begin("k");
                        let read = truth.load(Ordering::SeqCst);
                        near.fill(token, "k", &found(read));
                        read
                    });
                    assert!(seen >= least, "saw {seen} after {least} was done");
                    near.verified(Instant::now());
                }
            });
        }
        for round in 1..=ROUNDS {
            truth.store(round, Ordering::SeqCst);
            near.forget("k");
            done.store(round, Ordering::SeqCst);
        }
    });
    assert_eq!(near.find("nothing").map(|found| found.entry.body), None);
    assert!(near.keep("k", ROUNDS) && near.value("k") == json!(ROUNDS).as_u64());
}
