//! A log is readable whatever `proto-max-bulk-len` says by now.

use crate::support::digest;
use redpoll_store::{Config, Store, Value};
use redpoll_testkit::Scratch;

fn open(dir: &Scratch, longest: &str) -> Store {
    let config = Config::in_directory(dir.path().display().to_string()).set("enable-debug-command", "yes");
    let config = config.and_then(|config| config.set("proto-max-bulk-len", longest)).expect("the settings exist");
    Store::open(config).unwrap_or_else(|error| panic!("the store opens with {longest}: {error}"))
}

#[test]
fn strings_made_under_a_larger_limit_come_back() {
    let dir = Scratch::new().unwrap();
    let store = open(&dir, "512mb");
    let half = "x".repeat(600_000);
    for args in [
        &["APPEND", "appended", &half][..],
        &["APPEND", "appended", &half],
        &["SETRANGE", "ranged", "1200000", "x"],
        &["SETBIT", "bits", "9600000", "1"],
    ] {
        assert!(matches!(store.call(args), Value::Int(_)), "{} is allowed", args[0]);
    }
    let before = digest(&store);
    drop(store);
    let store = open(&dir, "1mb");
    assert_eq!(digest(&store), before);
    assert_eq!(store.call(&["DEBUG", "LOADAOF"]), Value::Simple("OK".into()));
    assert_eq!(digest(&store), before);
    assert!(matches!(store.call(&["APPEND", "appended", "x"]), Value::Error(_)), "clients are held to the limit");
}

/// The header alone tells: an argument of more than the default limit is not damage. Its content is missing, so the change is torn and cut off.
#[test]
fn an_argument_longer_than_the_default_limit_is_no_damage() {
    let dir = Scratch::new().unwrap();
    let store = open(&dir, "512mb");
    store.set("before", "x").unwrap();
    drop(store);
    let path = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let whole = std::fs::read(&path).unwrap();
    let torn = [&whole, &b"*3\r\n$3\r\nSET\r\n$4\r\nlong\r\n$536870913\r\nx"[..]].concat();
    std::fs::write(&path, torn).unwrap();
    let store = open(&dir, "512mb");
    assert_eq!(store.get("before").unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}
