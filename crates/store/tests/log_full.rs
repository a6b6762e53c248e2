//! A disk that is full: changes are refused, scripts' too, nothing is lost or written twice, and when there is room again the store goes on.
//!
//! The disk is the real one, full because the process may not make files longer. The limit and the blocked signal belong to this whole program,
//! which is why it is one test.

#[path = "store/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use redpoll_store::commands::blocking::blocked_clients;
use redpoll_store::{Connection, Store, Value};
use redpoll_testkit::Scratch;
use support::{digest, in_directory, int, run};

/// Length a file may have, bytes; no multiple of a record's, so that one is torn.
const FILE_MAX: u64 = 10_007;

/// Time within which a store must have noticed what the disk does.
const PATIENCE: Duration = Duration::from_secs(60);

const SCRIPT: &str = "return redis.call('INCR', 'counter')";

/// Repeats a command until its reply is, or is no longer, an error; returns how often it was run.
fn repeat(connection: &mut Connection, args: &[&str], until: fn(&Value) -> bool) -> usize {
    let began = Instant::now();
    for calls in 1.. {
        let reply = connection.call(args);
        if until(&reply) {
            return calls;
        }
        assert!(began.elapsed() < PATIENCE, "{args:?} is still answered by {reply:?}");
    }
    unreachable!("the loop has no end")
}

fn is_misconf(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with("MISCONF Errors writing to the AOF file: "))
}

/// What is refused, and what is not, once the store has noticed.
fn check_refusals(store: &Store, dialogue: &mut Connection) {
    let before = digest(store);
    let mut connection = store.connect();
    repeat(&mut connection, &["PING"], is_misconf);
    for refused in [&["INCR", "counter"][..], &["EVAL", SCRIPT, "0"], &["EVAL", "#!lua\nreturn 1", "0"]] {
        let reply = connection.call(refused);
        assert!(is_misconf(&reply), "{refused:?} was answered by {reply:?}");
    }
    for allowed in
        [&["GET", "counter"][..], &["EVAL", "return 1", "0"], &["EVAL", "#!lua flags=no-writes\nreturn 1", "0"]]
    {
        let reply = connection.call(allowed);
        assert!(!matches!(reply, Value::Error(_)), "{allowed:?} was answered by {reply:?}");
    }
    let Value::Error(text) = run(dialogue, "EXEC") else { panic!("a transaction that writes was executed") };
    assert!(text.starts_with("EXECABORT Transaction discarded because of: MISCONF Errors"), "{text}");
    assert_eq!(digest(store), before, "what is refused changes nothing");
}

/// Who waits for the disk waits until there is room again.
fn check_waiting(store: &Store, connection: &mut Connection, make_room: impl FnOnce()) {
    let answer = |local| Value::Array(vec![Value::Int(local), Value::Int(0)]);
    assert_eq!(run(connection, "WAITAOF 1 0 20"), answer(0), "it is over after 20 ms");
    assert_eq!(run(&mut store.connect(), "WAITAOF 1 0 0"), answer(1), "who has written nothing need not wait");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(connection, "WAITAOF 1 0 0"));
        let began = Instant::now();
        while blocked_clients(store.engine()) == 0 {
            assert!(!waiting.is_finished() && began.elapsed() < PATIENCE, "it does not wait");
            std::thread::yield_now();
        }
        make_room();
        assert_eq!(waiting.join().expect("it does not panic"), answer(1));
    });
}

#[test]
fn a_full_disk() {
    // Else the first write beyond the limit ends the program; the log's thread inherits this.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let (unlimited, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let room = |bytes| setrlimit(Resource::RLIMIT_FSIZE, bytes, hard).unwrap();
    for policy in ["always", "everysec"] {
        let dir = Scratch::new().unwrap();
        let store = in_directory(&dir);
        let mut connection = store.connect();
        assert_eq!(connection.call(&["CONFIG", "SET", "appendfsync", policy]), Value::Simple("OK".into()));
        let mut dialogue = store.connect();
        run(&mut dialogue, "MULTI");
        run(&mut dialogue, "INCR counter");
        room(FILE_MAX);
        repeat(&mut connection, &["INCR", "counter"], is_misconf);
        check_refusals(&store, &mut dialogue);
        if policy == "everysec" {
            check_waiting(&store, &mut connection, || room(unlimited));
        }
        room(unlimited);
        repeat(&mut store.connect(), &["INCR", "counter"], |reply| matches!(reply, Value::Int(_)));
        let count = int(&mut store.connect(), "INCR counter");
        let before = digest(&store);
        drop((connection, dialogue, store));
        let again = in_directory(&dir);
        assert_eq!(digest(&again), before, "{policy}: nothing is lost and nothing is there twice");
        assert_eq!(int(&mut again.connect(), "INCR counter"), count + 1);
    }
}
