//! A log whose end a crash has torn off opens without the torn change; one that is damaged before its end is not opened at all.

use crate::support;
use std::path::PathBuf;

use redpoll_store::{Config, Error, Store};
use redpoll_testkit::Scratch;

/// The log of a closed store in which `one`, `two` and `three` were set one after the other, `three` with a brother in a transaction.
fn log(dir: &Scratch) -> (PathBuf, Vec<u8>) {
    let store = support::in_directory(dir);
    let mut connection = store.connect();
    for line in ["SET one 1", "SET two 2", "MULTI", "SET three 3", "SET brother 3", "EXEC"] {
        support::succeed(&mut connection, line);
    }
    drop((connection, store));
    let path = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let bytes = std::fs::read(&path).expect("the store wrote it");
    (path, bytes)
}

fn held(store: &Store) -> Vec<&'static str> {
    ["one", "two", "three", "brother"]
        .into_iter()
        .filter(|key| store.get(key).expect("strings only").is_some())
        .collect()
}

#[test]
fn a_torn_tail_is_cut_off() {
    let dir = Scratch::new().unwrap();
    let (path, whole) = log(&dir);
    let start = |needle: &str| String::from_utf8_lossy(&whole).find(needle).expect("it was logged");
    let (two, transaction) = (start("*3\r\n$3\r\nSET\r\n$3\r\ntwo"), start("*1\r\n$5\r\nMULTI"));
    for end in two..=whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let store = support::in_directory(&dir);
        let expected: &[&str] = match end {
            end if end < transaction => &["one"],
            end if end < whole.len() => &["one", "two"],
            _ => &["one", "two", "three", "brother"],
        };
        assert_eq!(held(&store), expected, "cut at {end} of {}", whole.len());
        // What is written afterwards follows a whole command.
        store.set("after", "x").unwrap();
        drop(store);
        let again = support::in_directory(&dir);
        assert_eq!((held(&again).as_slice(), again.get("after").unwrap().is_some()), (expected, true), "cut at {end}");
    }
}

#[test]
fn damage_before_the_end_is_refused_and_left_alone() {
    let dir = Scratch::new().unwrap();
    let (path, whole) = log(&dir);
    let at = String::from_utf8_lossy(&whole).find("*3\r\n$3\r\nSET\r\n$3\r\ntwo").expect("it was logged");
    for (offset, byte) in [(0, b'x'), (1, b'x'), (4, b'#'), (5, b'-'), (8, b'X'), (13, b'*')] {
        let mut damaged = whole.clone();
        damaged[at + offset] = byte;
        std::fs::write(&path, &damaged).unwrap();
        let opened = Store::open(Config::in_directory(dir.path().display().to_string()));
        let Err(Error::Log(error)) = opened else { panic!("{byte} at {offset} was not seen") };
        let text = error.to_string();
        assert!(text.contains("appendonly.aof.1.incr.aof") && text.contains("damaged at offset"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "the file is as it was");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(held(&support::in_directory(&dir)).len(), 4);
}

#[test]
fn a_command_that_cannot_be_applied_is_damage_too() {
    let dir = Scratch::new().unwrap();
    let (path, whole) = log(&dir);
    for foreign in
        ["*2\r\n$4\r\nINCR\r\n$7\r\nbrother\r\n*2\r\n$5\r\nLPUSH\r\n$1\r\nx\r\n", "*1\r\n$9\r\nNOCOMMAND\r\n"]
    {
        std::fs::write(&path, [&whole, foreign.as_bytes()].concat()).unwrap();
        let opened = Store::open(Config::in_directory(dir.path().display().to_string()));
        let Err(Error::Log(error)) = opened else { panic!("{foreign:?} was applied") };
        assert!(error.to_string().contains("damaged at offset"), "{error}");
    }
}
