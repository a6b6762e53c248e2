//! cjson: whatever the text, decoding it ends; what could be decoded and encoded is decoded again, and encoded to as much.

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

/// Decodes and encodes.
fn round(text: &[u8]) -> Option<Vec<u8>> {
    match call(&[b"EVAL", b"return cjson.encode(cjson.decode(ARGV[1]))", b"0", text]) {
        Value::Bulk(text) => Some(text.to_vec()),
        Value::Error(_) => None,
        other => panic!("{other}"),
    }
}

/// Fields of objects come in any order.
fn letters(mut text: Vec<u8>) -> Vec<u8> {
    text.sort_unstable();
    text
}

fuzz_target!(|input: &[u8]| {
    let Some(first) = round(input) else { return };
    let second = round(&first).expect("what was encoded is decoded");
    let third = round(&second).expect("what was encoded is decoded");
    assert_eq!(letters(third), letters(second));
});
