//! A million keys whose time has come go away by themselves, soon, and without holding anybody up.

#![cfg(target_os = "linux")]

mod support;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redpoll_store::Value;
use redpoll_testkit::Scratch;

const KEYS: usize = 1_000_000;

/// Processor time in which all are gone: expiry may take half a processor, so that is two seconds where one is free. The time on the wall depends on what else
/// the machine does and is only printed.
const PROCESSOR_TIME_MAX: Duration = Duration::from_secs(1);

/// Nobody waits longer than this even on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// No GET of another thread is held up longer, the time left out in which it or the housekeeper waited for a processor. What is measured on a machine with nothing
/// else to do is about a millisecond.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// A log of keys that all expire at one moment, which has passed. They are all there once it is loaded: nothing expires while a log is replayed.
fn write_log(dir: &Scratch) {
    let log_dir = dir.path().join("appendonlydir");
    std::fs::create_dir(&log_dir).expect("the directory is writable");
    let mut log = String::with_capacity(KEYS * 80);
    for number in 0..KEYS {
        let key = format!("key:{number:07}");
        write!(log, "*5\r\n$3\r\nSET\r\n$11\r\n{key}\r\n$5\r\nvalue\r\n$4\r\nPXAT\r\n$13\r\n1700000000000\r\n")
            .expect("the directory is writable");
    }
    log.push_str("*3\r\n$3\r\nSET\r\n$4\r\nstay\r\n$5\r\nvalue\r\n");
    std::fs::write(log_dir.join("appendonly.aof.1.incr.aof"), log).expect("the directory is writable");
    std::fs::write(log_dir.join("appendonly.aof.manifest"), "file appendonly.aof.1.incr.aof seq 1 type i\n")
        .expect("the directory is writable");
}

/// What the system's scheduler says of a thread.
#[derive(Clone, Copy)]
struct Schedule {
    /// Time on a processor.
    worked: Duration,
    /// Time it was ready and waited for one.
    queued: Duration,
}

fn schedule(thread: &str) -> Schedule {
    let text = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).expect("the thread lives");
    let mut nanos = text.split(' ').map(|word| Duration::from_nanos(word.trim().parse().expect("numbers")));
    let mut next = || nanos.next().expect("three numbers");
    Schedule { worked: next(), queued: next() }
}

/// Time for which this thread and the housekeeper were ready and waited for a processor.
fn queued(housekeeper: &str) -> Duration {
    schedule("thread-self").queued + schedule(housekeeper).queued
}

/// Finds the housekeeper, which names itself soon after the store is open.
fn housekeeper() -> String {
    let started = Instant::now();
    loop {
        match find_housekeeper() {
            Some(thread) => return thread,
            None => assert!(started.elapsed() < PATIENCE, "a store has a housekeeper"),
        }
        std::thread::yield_now();
    }
}

fn find_housekeeper() -> Option<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a process can see its threads");
    let names = tasks.map(|task| task.expect("a thread").file_name().into_string().expect("a number"));
    let is_it = |id: &String| {
        std::fs::read_to_string(format!("/proc/self/task/{id}/comm"))
            .is_ok_and(|name| name.starts_with("redpoll-houseke"))
    };
    names.into_iter().find(is_it).map(|id| format!("self/task/{id}"))
}

#[test]
fn a_million_keys_with_one_deadline() {
    let dir = Scratch::new().unwrap();
    write_log(&dir);
    let store = support::in_directory(&dir);
    let housekeeper = housekeeper();
    let (opened, done) = (Instant::now(), AtomicBool::new(false));
    let (first, gone_after, (reads, slowest)) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut connection = store.connect();
            let (mut reads, mut slowest) = (0_u64, Duration::ZERO);
            while !done.load(Ordering::Acquire) || reads < 1000 {
                let asked = Instant::now();
                let before = queued(&housekeeper);
                assert_eq!(connection.call(&["GET", "stay"]).as_bytes(), Some(&b"value"[..]));
                slowest = slowest.max(asked.elapsed().saturating_sub(queued(&housekeeper) - before));
                reads += 1;
            }
            (reads, slowest)
        });
        let mut connection = store.connect();
        let first = support::int(&mut connection, "DBSIZE");
        let mut left = first;
        while left > 1 && opened.elapsed() < PATIENCE {
            // DBSIZE counts what is there, expired or not, and touches nothing.
            std::thread::sleep(Duration::from_millis(20));
            left = support::int(&mut connection, "DBSIZE");
        }
        let gone_after = opened.elapsed();
        done.store(true, Ordering::Release);
        (first, gone_after, reader.join().expect("every read found its key"))
    });
    let worked = schedule(&housekeeper).worked;
    println!(
        "{first} keys, gone after {gone_after:?} and {worked:?} of work; {reads} reads meanwhile, the slowest held up {slowest:?}"
    );
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(1));
    assert!(first > KEYS as i64 / 2, "only {first} keys were left to watch");
    assert!(worked < PROCESSOR_TIME_MAX, "expiry worked for {worked:?}");
    assert!(slowest < DELAY_MAX, "a read was held up for {slowest:?}");

    // Every removal was logged.
    drop(store);
    assert_eq!(support::in_directory(&dir).call(&["DBSIZE"]), Value::Int(1));
}
