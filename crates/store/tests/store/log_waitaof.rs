//! WAITAOF: what it says is on the disk comes back after a crash, under every policy, and only that.

use crate::support;
use std::path::Path;

use crate::support::{in_directory, int, run, succeed};
use redpoll_store::commands::blocking::blocked_clients;
use redpoll_store::{Connection, Store, Value};
use redpoll_testkit::Scratch;

fn answer(local: i64) -> Value {
    Value::Array(vec![Value::Int(local), Value::Int(0)])
}

/// Opens what a crash at this moment would leave behind: a copy of the files, which the store that is still open does not lock.
fn after_crash(dir: &Scratch) -> (Scratch, Store) {
    let copy = Scratch::new().expect("the temporary directory is writable");
    copy_files(dir.path(), copy.path());
    let store = in_directory(&copy);
    (copy, store)
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the directory is there") {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("it can be listed");
        if from.is_dir() {
            std::fs::create_dir(&to).expect("it is new");
            copy_files(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("the file is there");
        }
    }
}

fn set_policy(connection: &mut Connection, policy: &str) {
    succeed(connection, &format!("CONFIG SET appendfsync {policy}"));
}

#[test]
fn what_it_says_is_there_comes_back() {
    for policy in ["everysec", "no", "always"] {
        let dir = Scratch::new().unwrap();
        let store = in_directory(&dir);
        let mut connection = store.connect();
        set_policy(&mut connection, policy);
        for round in 1..=20 {
            assert_eq!(int(&mut connection, "INCR counter"), round);
            assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), answer(1), "{policy}");
            let (_files, crashed) = after_crash(&dir);
            assert_eq!(crashed.get("counter").unwrap(), Some(round.to_string().into_bytes()), "{policy}");
        }
        // Without a wait, all the same, it is told what is there.
        assert_eq!(run(&mut connection, "WAITAOF 0 0 0"), answer(1), "{policy}");
        assert_eq!(run(&mut connection, "WAITAOF 0 1 5"), answer(1), "{policy}: replicas there are none");
    }
}

#[test]
fn many_wait_at_once() {
    let dir = Scratch::new().unwrap();
    let store = in_directory(&dir);
    set_policy(&mut store.connect(), "no");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let mut connection = store.connect();
            scope.spawn(move || {
                for _ in 0..50 {
                    succeed(&mut connection, &format!("INCR counter:{thread}"));
                    assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), answer(1));
                }
            });
        }
    });
    assert_eq!(blocked_clients(store.engine()), 0);
    let (_files, crashed) = after_crash(&dir);
    for thread in 0..8 {
        assert_eq!(crashed.get(format!("counter:{thread}")).unwrap(), Some(b"50".to_vec()));
    }
}

#[test]
fn transactions_and_scripts_are_told_what_is_there() {
    let dir = Scratch::new().unwrap();
    let store = in_directory(&dir);
    let mut connection = store.connect();
    let script = |text: &str| vec!["EVAL".to_owned(), text.to_owned(), "1".to_owned(), "key".to_owned()];
    succeed(&mut connection, "SET key 1");
    assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), answer(1));
    assert_eq!(connection.call(&script("return redis.call('WAITAOF', 1, 0, 0)")), answer(1));
    // Its own change is in no file yet.
    let changing = script("redis.call('INCR', KEYS[1]) return redis.call('WAITAOF', 1, 0, 0)");
    assert_eq!(connection.call(&changing), answer(0));
    assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), answer(1));
    for line in ["MULTI", "WAITAOF 1 0 0", "INCR key", "WAITAOF 1 1 0"] {
        succeed(&mut connection, line);
    }
    assert_eq!(run(&mut connection, "EXEC"), Value::Array(vec![answer(1), Value::Int(3), answer(0)]));
}

/// A log that is switched on holds nothing before its first base is there.
#[test]
fn a_log_that_comes_and_goes() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    let mut connection = store.connect();
    let off = Value::Error("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.".into());
    for round in 1..=10 {
        assert_eq!(int(&mut connection, "INCR before"), round);
        assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), off);
        succeed(&mut connection, "CONFIG SET appendonly yes");
        assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), answer(1));
        let (_files, crashed) = after_crash(&dir);
        assert_eq!(crashed.get("before").unwrap(), Some(round.to_string().into_bytes()), "round {round}");
        drop(crashed);
        assert_eq!(int(&mut connection, "INCR after"), round);
        assert_eq!(run(&mut connection, "WAITAOF 1 0 0"), answer(1));
        let (_files, crashed) = after_crash(&dir);
        assert_eq!(crashed.get("after").unwrap(), Some(round.to_string().into_bytes()), "round {round}");
        succeed(&mut connection, "CONFIG SET appendonly no");
    }
}
