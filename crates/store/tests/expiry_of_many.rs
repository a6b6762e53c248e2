//! A million keys whose time has come go away by themselves, soon, and without holding anybody up; so do a hundred thousand fields, in one hash or in as many.

#![cfg(target_os = "linux")]

#[path = "store/support/mod.rs"]
mod support;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redpoll_store::Value;
use redpoll_testkit::Scratch;

const KEYS: usize = 1_000_000;

const FIELDS: usize = 100_000;

/// When all of it expires, milliseconds.
const PASSED: &str = "1700000000000";

/// Processor time in which all are gone: expiry may take half a processor, so that is two seconds where one is free. The time on the wall depends on what else
/// the machine does and is only printed.
const PROCESSOR_TIME_MAX: Duration = Duration::from_secs(1);

/// Nobody waits longer than this even on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// No GET of another thread is held up longer, the time left out in which it or the housekeeper waited for a processor. What is measured on a machine with nothing
/// else to do is about a millisecond.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// Much that expires at one moment, which has passed.
struct Scenario {
    name: &'static str,
    /// Commands of the log that make it.
    log: fn(&mut String),
    /// A command that counts what is there, expired or not, and touches nothing.
    count: &'static str,
    things: usize,
    /// What is left of it in the end.
    left: i64,
    /// A key that stays, in the same shard if all of it is in one.
    bystander: &'static str,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "keys", log: keys, count: "DBSIZE", things: KEYS, left: 1, bystander: "stay" },
    Scenario {
        name: "fields of one hash",
        log: fields,
        count: "HLEN {h}",
        things: FIELDS,
        left: 0,
        bystander: "{h}stay",
    },
    Scenario { name: "hashes of one field", log: hashes, count: "DBSIZE", things: FIELDS, left: 1, bystander: "stay" },
];

fn keys(log: &mut String) {
    for number in 0..KEYS {
        record(log, &["SET", &format!("key:{number:07}"), "value", "PXAT", PASSED]);
    }
}

fn fields(log: &mut String) {
    for number in 0..FIELDS {
        record(log, &["HSETEX", "{h}", "PXAT", PASSED, "FIELDS", "1", &format!("field:{number:07}"), "value"]);
    }
}

fn hashes(log: &mut String) {
    for number in 0..FIELDS {
        record(log, &["HSETEX", &format!("key:{number:07}"), "PXAT", PASSED, "FIELDS", "1", "field", "value"]);
    }
}

fn record(log: &mut String, args: &[&str]) {
    write!(log, "*{}\r\n", args.len()).expect("a string takes everything");
    args.iter().for_each(|arg| write!(log, "${}\r\n{arg}\r\n", arg.len()).expect("a string takes everything"));
}

/// Makes the log of a scenario. All of it is there once it is loaded: nothing expires while a log is replayed.
fn write_log(dir: &Scratch, scenario: &Scenario) {
    let log_dir = dir.path().join("appendonlydir");
    std::fs::create_dir(&log_dir).expect("the directory is writable");
    let mut log = String::with_capacity(KEYS * 80);
    (scenario.log)(&mut log);
    record(&mut log, &["SET", scenario.bystander, "value"]);
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

/// One after the other: all of them need the processor.
#[test]
fn what_expires_at_one_moment_goes_soon_and_holds_nobody_up() {
    SCENARIOS.iter().for_each(expire);
}

fn expire(scenario: &Scenario) {
    let dir = Scratch::new().expect("the system has a directory for temporary files");
    write_log(&dir, scenario);
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
                assert_eq!(connection.call(&["GET", scenario.bystander]).as_bytes(), Some(&b"value"[..]));
                slowest = slowest.max(asked.elapsed().saturating_sub(queued(&housekeeper) - before));
                reads += 1;
            }
            (reads, slowest)
        });
        let mut connection = store.connect();
        let first = support::int(&mut connection, scenario.count);
        let mut left = first;
        while left > scenario.left && opened.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
            left = support::int(&mut connection, scenario.count);
        }
        let gone_after = opened.elapsed();
        done.store(true, Ordering::Release);
        (first, gone_after, reader.join().expect("every read found its key"))
    });
    let worked = schedule(&housekeeper).worked;
    println!(
        "{first} {}, gone after {gone_after:?} and {worked:?} of work; {reads} reads meanwhile, the slowest held up {slowest:?}",
        scenario.name
    );
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(1));
    assert!(first as usize > scenario.things / 2, "only {first} {} were left to watch", scenario.name);
    assert!(worked < PROCESSOR_TIME_MAX, "expiry worked for {worked:?}");
    assert!(slowest < DELAY_MAX, "a read was held up for {slowest:?}");

    // Every removal was logged.
    drop(store);
    let reopened = support::in_directory(&dir);
    assert_eq!(support::int(&mut reopened.connect(), scenario.count), scenario.left);
}
