//! What `simulation` has found, each as the shortest story of it: a crash at the wrong moment, and what a start finds then.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use redpoll_store::disk::Disk;
use redpoll_store::faulty::{Call, Fault, FaultyDisk};
use redpoll_store::{Config, Store, Value};

/// The first increment of the log.
const LOG: &str = "/data/appendonlydir/appendonly.aof.1.incr.aof";

/// Crashes of each story, which leave different things of what was not synced.
const CRASHES: u64 = 16;

fn open(disk: &FaultyDisk, policy: &str) -> Store {
    let config = Config::in_directory("/data").set("appendfsync", policy).expect("the setting exists");
    let opened = Store::open(config.on_disk(Arc::new(disk.clone())));
    opened.unwrap_or_else(|error| panic!("the store opens: {error}"))
}

fn succeed(store: &Store, line: &str) {
    let reply = store.call(&line.split(' ').collect::<Vec<_>>());
    assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
}

/// Waits until nothing is written in the background any more.
fn until_written(store: &Store) {
    loop {
        let Value::Verbatim { text, .. } = store.call(&["INFO", "persistence"]) else { panic!("INFO is text") };
        let text = String::from_utf8(text).expect("INFO is text");
        if text.contains("aof_rewrite_in_progress:0") && text.contains("aof_rewrite_scheduled:0") {
            return;
        }
        std::thread::yield_now();
    }
}

fn check(store: &Store, key: &str, expected: Option<&str>, seed: u64) {
    assert_eq!(
        store.get(key).expect("it is a string").as_deref(),
        expected.map(str::as_bytes),
        "{key} after crash {seed}"
    );
}

#[test]
fn a_policy_that_was_just_set_holds_for_the_next_change() {
    for seed in 0..CRASHES {
        let disk = FaultyDisk::new(seed);
        let store = open(&disk, "no");
        succeed(&store, "CONFIG SET appendfsync always");
        succeed(&store, "SET key value");
        check(&open(&disk.crash(seed), "no"), "key", Some("value"), seed);
    }
}

#[test]
fn what_a_program_that_was_killed_has_written_is_safe_once_the_next_has_opened_it() {
    for seed in 0..CRASHES {
        let disk = FaultyDisk::new(seed);
        let store = open(&disk, "no");
        succeed(&store, "SET key value");
        while !disk.seen(Path::new(LOG)).ends_with(b"value\r\n") {
            std::thread::yield_now();
        }
        let written = disk.kill();
        let again = open(&written, "no");
        check(&again, "key", Some("value"), seed);
        again.flush_log().unwrap();
        check(&open(&written.crash(seed), "no"), "key", Some("value"), seed);
    }
}

#[test]
fn a_manifest_that_survives_names_what_is_there() {
    for (seed, call) in (0..CRASHES).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let disk = FaultyDisk::new(seed);
        disk.plan(vec![Fault::SyncDir(call)]);
        let config = Config::in_directory("/data").on_disk(Arc::new(disk.clone()));
        assert!(Store::open(config).is_err(), "the directory cannot be synced");
        drop(open(&disk.crash(seed), "always"));
    }
}

#[test]
fn what_an_increment_held_that_was_given_up_does_not_come_back() {
    for seed in 0..CRASHES {
        let disk = FaultyDisk::new(seed);
        let store = open(&disk, "always");
        succeed(&store, "SET key value");
        // As a rewrite leaves it behind that did not come to its end.
        let left_behind = Path::new("/data/appendonlydir/appendonly.aof.2.incr.aof");
        let mut file = disk.append(left_behind).unwrap();
        file.write_all(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$3\r\nDEL\r\n$3\r\nkey\r\n").unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/data/appendonlydir")).unwrap();
        succeed(&store, "BGREWRITEAOF");
        until_written(&store);
        check(&open(&disk.crash(seed), "always"), "key", Some("value"), seed);
    }
}

#[test]
fn a_rewrite_whose_manifest_is_not_safe_leaves_what_either_manifest_names() {
    for (seed, call) in (0..CRASHES).flat_map(|seed| (0..5).map(move |call| (seed, call))) {
        let disk = FaultyDisk::new(seed);
        let store = open(&disk, "always");
        succeed(&store, "CONFIG SET aof-use-rdb-preamble no");
        succeed(&store, "SET key value");
        disk.plan(vec![Fault::SyncDir(disk.calls(Call::SyncDir) + call)]);
        succeed(&store, "BGREWRITEAOF");
        until_written(&store);
        check(&open(&disk.crash(seed), "always"), "key", Some("value"), seed);
    }
}

#[test]
fn zeros_at_the_end_are_a_torn_tail_and_never_a_value() {
    for seed in 0..CRASHES {
        let disk = FaultyDisk::new(seed);
        let store = open(&disk, "no");
        store.set("safe", "value").unwrap();
        store.flush_log().unwrap();
        store.set("torn", "value").unwrap();
        drop(store);
        let path = Path::new(LOG);
        let whole = disk.seen(path);
        let kept = whole.len() - 1 - seed as usize % 30;
        let mut file = disk.append(path).unwrap();
        file.truncate(kept as u64).unwrap();
        file.write_all(&vec![0; 1 + seed as usize * 100]).unwrap();
        let store = open(&disk, "no");
        check(&store, "safe", Some("value"), seed);
        check(&store, "torn", None, seed);
    }
}
