//! What takes long to free is freed by a thread of the store where a command or a setting asks for that, and counted in INFO.

use std::time::{Duration, Instant};

use crate::support::{in_memory, int, run, succeed};
use redpoll_store::{Connection, Value};

/// How long the thread may take for what is queued here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A field of INFO.
fn info(connection: &mut Connection, name: &str) -> u64 {
    let reply = run(connection, "INFO memory");
    let text = reply.as_bytes().expect("INFO is a text");
    let text = std::str::from_utf8(text).expect("INFO is text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("the field exists").parse().expect("it is a number")
}

/// Waits until nothing is pending and returns how many values were freed in the background.
fn freed(connection: &mut Connection) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    while info(connection, "lazyfree_pending_objects") > 0 {
        assert!(Instant::now() < deadline, "the thread frees what it was given");
        std::thread::yield_now();
    }
    info(connection, "lazyfreed_objects")
}

/// Makes a set of so many members.
fn make_set(connection: &mut Connection, key: &str, members: usize) {
    let members: Vec<String> = (0..members).map(|member| format!("member{member}")).collect();
    assert_eq!(int(connection, &format!("SADD {key} {}", members.join(" "))), members.len() as i64);
}

/// Makes big sets, runs commands on them and returns how many of their values were freed in the background.
fn freed_by(settings: &[&str], commands: &[&str]) -> u64 {
    let store = in_memory();
    let mut connection = store.connect();
    settings.iter().for_each(|setting| succeed(&mut connection, &format!("CONFIG SET {setting} yes")));
    for key in ["one", "two", "three"] {
        make_set(&mut connection, key, 1000);
    }
    make_set(&mut connection, "small", 64);
    for command in commands {
        let reply = run(&mut connection, command);
        assert!(!matches!(reply, Value::Error(_)), "{command} was answered by {reply:?}");
    }
    freed(&mut connection)
}

#[test]
fn unlink_frees_what_is_big_in_the_background() {
    assert_eq!(freed_by(&[], &["UNLINK one two small missing"]), 2);
    assert_eq!(freed_by(&[], &["MULTI", "UNLINK one", "UNLINK two", "EXEC"]), 2);
    assert_eq!(freed_by(&[], &["DEL one two three small", "SET small x"]), 0);
}

#[test]
fn settings_say_what_else_is_freed_there() {
    assert_eq!(freed_by(&["lazyfree-lazy-user-del"], &["DEL one small"]), 1);
    assert_eq!(freed_by(&["lazyfree-lazy-expire"], &["PEXPIRE one 1", "DEBUG SLEEP 0.01", "EXISTS one"]), 1);
    assert_eq!(
        freed_by(&["lazyfree-lazy-server-del"], &["SET one x", "RENAME small two", "SUNIONSTORE three three"]),
        3
    );
    assert_eq!(freed_by(&[], &["SET one x", "RENAME small two", "PEXPIRE three 0"]), 0);
}

#[test]
fn flushing_in_the_background_counts_all_keys() {
    assert_eq!(freed_by(&[], &["FLUSHALL ASYNC"]), 4);
    assert_eq!(freed_by(&[], &["SELECT 1", "SET a 1", "FLUSHDB ASYNC"]), 1);
    assert_eq!(freed_by(&[], &["FLUSHALL"]), 0);
    assert_eq!(freed_by(&["lazyfree-lazy-user-flush"], &["FLUSHALL SYNC"]), 0);
    assert_eq!(freed_by(&["lazyfree-lazy-user-flush"], &["FLUSHALL"]), 4);
}

#[test]
fn what_is_counted_is_reset_and_what_is_flushed_takes_no_room() {
    let store = in_memory();
    let mut connection = store.connect();
    make_set(&mut connection, "one", 1000);
    run(&mut connection, "SELECT 1");
    make_set(&mut connection, "two", 1000);
    let both = info(&mut connection, "used_memory_dataset");
    run(&mut connection, "FLUSHDB ASYNC");
    let one = info(&mut connection, "used_memory_dataset");
    run(&mut connection, "FLUSHALL ASYNC");
    let none = info(&mut connection, "used_memory_dataset");
    assert!(none < one && one < both, "{none} {one} {both}");
    assert_eq!(none, 0);
    assert_eq!(freed(&mut connection), 2);
    succeed(&mut connection, "CONFIG RESETSTAT");
    assert_eq!(freed(&mut connection), 0);
}

#[test]
fn a_store_that_goes_frees_what_is_queued() {
    let store = in_memory();
    let mut connection = store.connect();
    for key in 0..100 {
        make_set(&mut connection, &key.to_string(), 1000);
    }
    let keys: Vec<String> = (0..100).map(|key| key.to_string()).collect();
    assert_eq!(int(&mut connection, &format!("UNLINK {}", keys.join(" "))), 100);
    drop((connection, store));
}
