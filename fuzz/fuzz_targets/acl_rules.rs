//! Rules of users: whatever they are, applying them ends, and how a user is written out makes the same user again.
//!
//! The input is the rules, one a line.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use redpoll_store::{Config, Connection, Store, Value};

thread_local! {
    static STORE: RefCell<Connection> = RefCell::new(Store::open(Config::in_memory()).expect("memory is there").connect());
}

fn call(args: &[&[u8]]) -> Value {
    STORE.with_borrow_mut(|store| store.call(args))
}

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Bulk(bytes) => bytes,
        other => panic!("{other}"),
    }
}

/// Writes out what a user is allowed.
fn written(name: &[u8]) -> Vec<u8> {
    let Value::Array(lines) = call(&[b"ACL", b"LIST"]) else { panic!("ACL LIST gives an array") };
    let start = [b"user ", name, b" "].concat();
    lines.iter().find_map(|line| bytes(line).strip_prefix(start.as_slice())).expect("the user is there").to_vec()
}

fn set(name: &[u8], rules: &[&[u8]]) -> bool {
    let set: &[&[u8]] = &[b"ACL", b"SETUSER", name, b"reset"];
    matches!(call(&[set, rules].concat()), Value::Simple(_))
}

fuzz_target!(|input: &[u8]| {
    let rules: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    call(&[b"ACL", b"DELUSER", b"a", b"b"]);
    if !set(b"a", &rules) {
        let Value::Int(deleted) = call(&[b"ACL", b"DELUSER", b"a"]) else { panic!("DELUSER counts") };
        assert_eq!(deleted, 0, "what is refused changes nothing");
        return;
    }
    let first = written(b"a");
    let words: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    assert!(set(b"b", &words), "{:?} cannot be read", String::from_utf8_lossy(&first));
    assert_eq!(String::from_utf8_lossy(&written(b"b")), String::from_utf8_lossy(&first));
    for command in [&[b"GET".as_slice(), b"key"], &[b"PUBLISH".as_slice(), b"c"]] {
        let run = |name: &[u8]| {
            call(&[&[b"ACL".as_slice(), b"DRYRUN", name], command.as_slice(), &[b"x"]].concat()).to_string()
        };
        assert_eq!(run(b"a"), run(b"b"));
    }
});
