//! The threads of a store end with its last handle or connection, not before, and the log is complete by then.
#![cfg(target_os = "linux")]

#[path = "store/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use redpoll_testkit::Scratch;

const PATIENCE: Duration = Duration::from_secs(20);

/// The names of this process's threads that belong to a store; the system cuts names to 15 bytes.
fn store_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a process can see its threads");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("redpoll-")).collect()
}

/// Waits until exactly these threads are there. A thread names itself, and the system forgets it, a moment after it was started or joined.
#[track_caller]
fn await_threads(expected: &[&str]) {
    let started = Instant::now();
    loop {
        let mut names = store_threads();
        names.sort();
        if names == expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{names:?} are there, not {expected:?}");
        std::thread::yield_now();
    }
}

/// The only test of this program, so that all threads seen are its own.
#[test]
fn threads_end_with_the_last_handle_or_connection() {
    let dir = Scratch::new().unwrap();
    assert_eq!(store_threads(), [""; 0]);
    let store = support::in_directory(&dir);
    await_threads(&["redpoll-dispose", "redpoll-houseke", "redpoll-log"]);

    let other = store.clone();
    let mut connection = store.connect();
    drop(store);
    await_threads(&["redpoll-dispose", "redpoll-houseke", "redpoll-log"]);
    assert_eq!(other.get("key").unwrap(), None);
    drop(other);
    // A connection is as good as a handle: keys nobody asks for still expire.
    support::succeed(&mut connection, "SET passing value PX 1");
    let started = Instant::now();
    while support::int(&mut connection, "DBSIZE") > 0 {
        assert!(started.elapsed() < PATIENCE, "nobody removes what has expired");
        std::thread::yield_now();
    }
    await_threads(&["redpoll-dispose", "redpoll-houseke", "redpoll-log"]);
    support::succeed(&mut connection, "SET key value");
    drop(connection);
    await_threads(&[]);

    let again = support::in_directory(&dir);
    assert_eq!(again.get("key").unwrap().as_deref(), Some(&b"value"[..]));
}
