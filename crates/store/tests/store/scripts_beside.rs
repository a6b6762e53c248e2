//! Scripts that keep to the keys they are given run beside other commands; all others run alone.

use crate::support;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::{number, run, succeed};
use redpoll_store::{Connection, Store, Value};
use redpoll_testkit::Random;

/// Long enough for any script here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to see that somebody waits.
const A_WHILE: Duration = Duration::from_millis(300);

const KEEPS: &str = "local key = KEYS[1] return redis.call('INCRBY', key, ARGV[1])";
const REACHES: &str = "return redis.call('INCRBY', ARGV[1], 1)";

fn load(connection: &mut Connection, body: &str) -> String {
    let reply = connection.call(&["SCRIPT", "LOAD", body]);
    String::from_utf8_lossy(reply.as_bytes().expect("the script compiles")).into_owned()
}

fn value(connection: &mut Connection, line: &str) -> i64 {
    number(&run(connection, line)).expect("there is a number")
}

/// Runs a command on a thread of its own while this one is inside the gate, and tells whether it was answered meanwhile.
fn is_answered_beside(store: &Store, command: &[&str]) -> bool {
    let gate = store.engine().keyspace.enter();
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reply = store.connect().call(command);
            assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
            sender.send(()).expect("somebody listens");
        });
        let answered = receiver.recv_timeout(A_WHILE).is_ok();
        drop(gate);
        if !answered {
            receiver.recv_timeout(PATIENCE).expect("it is answered when the gate is open");
        }
        answered
    })
}

#[test]
fn who_keeps_to_declared_keys_does_not_wait_for_everybody() {
    let store = support::in_memory();
    let mut connection = store.connect();
    let (keeps, reaches) = (load(&mut connection, KEEPS), load(&mut connection, REACHES));
    for _ in 0..2 {
        succeed(&mut connection, &format!("EVALSHA {keeps} 1 counter 1"));
        succeed(&mut connection, &format!("EVALSHA {reaches} 0 other"));
    }
    assert!(is_answered_beside(&store, &["EVALSHA", &keeps, "1", "counter", "1"]));
    assert!(is_answered_beside(&store, &["EVAL", KEEPS, "1", "counter", "1"]));
    assert!(!is_answered_beside(&store, &["EVALSHA", &reaches, "0", "other"]));
    assert_eq!(value(&mut connection, "GET counter"), 4);
    assert_eq!(value(&mut connection, "GET other"), 3);
    // Within a transaction it runs with what the transaction holds.
    succeed(&mut connection, "MULTI");
    succeed(&mut connection, &format!("EVALSHA {keeps} 1 counter 1"));
    succeed(&mut connection, &format!("EVALSHA {reaches} 0 counter"));
    assert_eq!(run(&mut connection, "EXEC"), Value::Array(vec![Value::Int(5), Value::Int(6)]));
}

#[test]
fn what_was_flushed_is_known_nowhere() {
    let store = support::in_memory();
    let mut connection = store.connect();
    let sha = load(&mut connection, KEEPS);
    (0..3).for_each(|_| succeed(&mut connection, &format!("EVALSHA {sha} 1 counter 1")));
    succeed(&mut connection, "SCRIPT FLUSH");
    let reply = run(&mut connection, &format!("EVALSHA {sha} 1 counter 1"));
    assert!(matches!(&reply, Value::Error(text) if text.starts_with("NOSCRIPT")), "{reply:?}");
    assert_eq!(value(&mut connection, "GET counter"), 3);
}

#[test]
fn errors_read_the_same_beside_others() {
    let store = support::in_memory();
    let mut connection = store.connect();
    succeed(&mut connection, "LPUSH list x");
    for body in [
        "return redis.call('INCRBY', KEYS[1], 1)",
        "redis.call('DEL', KEYS[2]) return redis.call('GET')",
        "return redis.call('GET', KEYS[2], tonumber('x').y)",
        "local t = {} t[1] = redis.pcall('GET', KEYS[1]) return t",
        "error('on purpose')",
    ] {
        let mut ask = || connection.call(&["EVAL", body, "2", "list", "other"]);
        let (alone, beside) = (ask(), ask());
        assert_eq!(alone, beside, "{body}");
    }
}

/// Eight threads, each as often, by scripts and commands in turn; scripts are forgotten and loaded again meanwhile, and others need everything for themselves.
#[test]
fn nothing_is_counted_twice_or_lost() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 2_000;
    const KEYS: u64 = 5;
    let (store, done) = (support::in_memory(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = store.connect();
            while !done.load(Ordering::Acquire) {
                succeed(&mut connection, "SCRIPT FLUSH");
                let reply = connection.call(&["EVAL", "for i = 1, 3 do redis.call('INCR', 'alone') end", "0"]);
                assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
            }
        });
        let counting: Vec<_> = (0..THREADS)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let (mut connection, mut random) = (store.connect(), Random::new(11).fork(thread));
                    for round in 0..ROUNDS {
                        let key = format!("counter:{}", random.below(KEYS));
                        let reply = match round % 3 {
                            0 => run(&mut connection, &format!("INCR {key}")),
                            _ => connection.call(&["EVAL", KEEPS, "1", &key, "1"]),
                        };
                        assert!(matches!(reply, Value::Int(_)), "{reply:?}");
                    }
                })
            })
            .collect();
        let failed = counting.into_iter().map(std::thread::ScopedJoinHandle::join).filter(Result::is_err).count();
        done.store(true, Ordering::Release);
        assert_eq!(failed, 0, "a thread panicked");
    });
    let mut connection = store.connect();
    let sum: i64 = (0..KEYS).map(|key| value(&mut connection, &format!("GET counter:{key}"))).sum();
    assert_eq!(sum, (THREADS * ROUNDS) as i64);
    assert_eq!(value(&mut connection, "GET alone") % 3, 0);
}

/// Without a loop, but with a table that shares its parts sixty times over: who waits for its keys is not kept for ever.
#[test]
fn who_makes_its_work_endless_is_ended() {
    let store = support::in_memory();
    let mut connection = store.connect();
    let body = format!("local t = {{1}} {} return #KEYS > 1 and cjson.encode(t) or 1", "t = {t, t} ".repeat(60));
    let ask = |connection: &mut Connection, keys: &[&str]| {
        let count = keys.len().to_string();
        connection.call(&[&["EVAL", &body, &count], keys].concat())
    };
    assert_eq!(ask(&mut connection, &["a"]), Value::Int(1));
    assert_eq!(ask(&mut connection, &["a"]), Value::Int(1));
    let reply = ask(&mut connection, &["a", "b"]);
    assert!(matches!(&reply, Value::Error(text) if text.contains("stopped") || text.contains("memory")), "{reply:?}");
    assert_eq!(run(&mut connection, "EXISTS a"), Value::Int(0));
}

#[test]
fn nothing_that_a_script_leaves_behind_is_seen_by_the_next() {
    let store = support::in_memory();
    let mut connection = store.connect();
    for text in [
        "x = ARGV[1] local x return 1",
        "do local x end x = {} return redis.call('GET', KEYS[1])",
        "local function f(x) return x end x = ARGV[1] return 1",
        "f = ('').gsub local f return 1",
        "key = 'other' local key return 1",
    ] {
        for _ in 0..2 {
            let reply = connection.call(&["EVAL", text, "1", "key", "argument"]);
            assert!(matches!(&reply, Value::Error(_)), "{text}: {reply:?}");
        }
    }
    for text in ["local x = x return x", "do local function f() end end return f(ARGV[1])"] {
        for _ in 0..2 {
            let reply = connection.call(&["EVAL", text, "1", "key", "argument"]);
            let Value::Error(error) = &reply else { panic!("{text}: {reply:?}") };
            assert!(error.contains("nonexistent global variable"), "{text}: {reply:?}");
        }
    }
}
