//! Ids of streams: whatever they are, a stream keeps its order, its length and its bounds, and its copy is the same stream.
//!
//! The input is arguments, one a line; the first byte of each chooses the command.

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

fn range(command: &[u8], key: &[u8], from: &[u8], to: &[u8]) -> Vec<Value> {
    match call(&[command, key, from, to]) {
        Value::Array(entries) => entries,
        other => panic!("{other}"),
    }
}

fn run(choice: u8, arg: &[u8]) -> Value {
    match choice % 12 {
        0..=3 => call(&[b"XADD", b"s", arg, b"f", arg]),
        4 => call(&[b"XDEL", b"s", arg]),
        5 => call(&[b"XTRIM", b"s", b"MINID", arg]),
        6 => call(&[b"XRANGE", b"s", arg, b"+", b"COUNT", b"2"]),
        7 => call(&[b"XREVRANGE", b"s", arg, b"-"]),
        8 => call(&[b"XSETID", b"s", arg]),
        9 => call(&[b"XREAD", b"STREAMS", b"s", arg]),
        10 => call(&[b"XGROUP", b"CREATE", b"s", b"g", arg]),
        _ => call(&[b"XPENDING", b"s", b"g", arg, b"+", b"10"]),
    }
}

fuzz_target!(|input: &[u8]| {
    call(&[b"DEL", b"s", b"copy"]);
    for line in input.split(|byte| *byte == b'\n') {
        let Some((choice, arg)) = line.split_first() else { continue };
        let reply = run(*choice, arg);
        if *choice % 12 < 4
            && let Value::Bulk(id) = &reply
        {
            // The id it was given is the last one, and no other.
            assert_eq!(range(b"XRANGE", b"s", id, b"+").len(), 1);
            assert!(matches!(call(&[b"XADD", b"s", id, b"f", b"v"]), Value::Error(_)));
        }
    }
    let mut all = range(b"XRANGE", b"s", b"-", b"+");
    let Value::Int(len) = call(&[b"XLEN", b"s"]) else { panic!("XLEN counts") };
    assert_eq!(all.len() as i64, len);
    call(&[b"COPY", b"s", b"copy"]);
    assert_eq!(range(b"XRANGE", b"copy", b"-", b"+"), all);
    if let Value::Bulk(payload) = call(&[b"DUMP", b"s"]) {
        let restored = call(&[b"RESTORE", b"copy", b"0", &payload, b"REPLACE"]);
        assert!(matches!(restored, Value::Simple(_)), "{restored}");
        assert_eq!(range(b"XRANGE", b"copy", b"-", b"+"), all);
    }
    all.reverse();
    assert_eq!(range(b"XREVRANGE", b"s", b"+", b"-"), all);
});
