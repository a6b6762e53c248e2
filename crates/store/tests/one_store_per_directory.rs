//! A data directory belongs to one store at a time, in this process or another.

#[path = "store/support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use redpoll_store::{Config, Error, Store};
use redpoll_testkit::Scratch;

#[test]
fn a_second_store_is_refused() {
    let dir = Scratch::new().unwrap();
    let path = dir.path().display().to_string();
    let first = support::in_directory(&dir);
    first.set("key", "value").unwrap();
    let Err(error) = Store::open(Config::in_directory(&path)) else { panic!("two stores share {path}") };
    assert!(matches!(error, Error::Directory { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&path) && text.contains("another store is using it"), "{text}");
    // The refused one left no trace in the first one's log.
    first.set("key", "other").unwrap();
    drop(first);
    assert_eq!(support::in_directory(&dir).get("key").unwrap().as_deref(), Some(&b"other"[..]));
}

#[test]
fn stores_without_a_log_need_no_directory() {
    let dir = Scratch::new().unwrap();
    let config = || Config::in_memory().set("dir", &dir.path().display().to_string()).unwrap();
    let (one, other) = (Store::open(config()).unwrap(), Store::open(config()).unwrap());
    one.set("key", "value").unwrap();
    assert_eq!(other.get("key").unwrap(), None);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A process that is being started has, for a moment, a copy of every open file, the lock among them.
#[test]
fn a_directory_is_free_at_once_whatever_processes_are_started() {
    let dir = Scratch::new().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
        }
        let reopened = std::panic::catch_unwind(|| (0..400).for_each(|_| drop(support::in_directory(&dir))));
        done.store(true, Ordering::Relaxed);
        reopened.unwrap();
    });
}
