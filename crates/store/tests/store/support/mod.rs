//! What the scenarios of a store share: stores to try things on, and commands written as one line.

// Not every program of tests uses all of this.
#![allow(dead_code)]

pub(crate) mod workload;

use redpoll_store::{Config, Connection, Load, Store, Value};
use redpoll_testkit::{Protocol, Reply, Scratch, Target};

/// Opens a store without a log, DEBUG allowed.
pub(crate) fn in_memory() -> Store {
    open(Config::in_memory())
}

/// Opens a store with its log in a directory, DEBUG allowed.
pub(crate) fn in_directory(dir: &Scratch) -> Store {
    in_directory_with(dir, &[])
}

/// Opens a store with its log in a directory, DEBUG allowed, with some settings.
pub(crate) fn in_directory_with(dir: &Scratch, settings: &[(&str, &str)]) -> Store {
    let config = Config::in_directory(dir.path().display().to_string());
    let put = |config: Config, (name, value): &(&str, &str)| config.set(name, value).expect("the setting exists");
    open(settings.iter().fold(config, put))
}

/// Opens a store without a log that keeps snapshots in a directory, DEBUG allowed.
pub(crate) fn with_snapshots(dir: &Scratch) -> Store {
    open(Config::in_memory().set("dir", &dir.path().display().to_string()).expect("the setting exists"))
}

/// Returns a field of INFO.
#[track_caller]
pub(crate) fn info(store: &Store, name: &str) -> String {
    let Value::Verbatim { text, .. } = store.call(&["INFO", "everything"]) else { panic!("INFO is text") };
    let text = String::from_utf8(text).expect("INFO is UTF-8");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no field {name}")).to_owned()
}

/// Waits until nothing is written in the background any more.
#[track_caller]
pub(crate) fn until_written(store: &Store) {
    let began = std::time::Instant::now();
    while info(store, "rdb_bgsave_in_progress") != "0"
        || info(store, "aof_rewrite_in_progress") != "0"
        || info(store, "aof_rewrite_scheduled") != "0"
    {
        assert!(began.elapsed().as_secs() < 60, "nothing comes to its end");
        std::thread::yield_now();
    }
}

/// Begins a store with its log in a directory, each of whose commands takes long to load; DEBUG allowed.
pub(crate) fn begin_slowly(dir: &Scratch, settings: &[(&str, &str)]) -> (Store, Load) {
    let config = Config::in_directory(dir.path().display().to_string());
    let slow = [("key-load-delay", "50000"), ("enable-debug-command", "yes")];
    let put = |config: Config, (name, value): &(&str, &str)| config.set(name, value).expect("the setting exists");
    let config = slow.iter().chain(settings).fold(config, put);
    Store::begin(config).unwrap_or_else(|error| panic!("the store opens: {error}"))
}

fn open(config: Config) -> Store {
    let config = config.set("enable-debug-command", "yes").expect("the setting exists");
    Store::open(config).unwrap_or_else(|error| panic!("the store opens: {error}"))
}

/// Runs a command of words without blanks.
pub(crate) fn run(connection: &mut Connection, line: &str) -> Value {
    connection.call(&line.split_ascii_whitespace().collect::<Vec<_>>())
}

/// Runs a command whose reply is an integer.
#[track_caller]
pub(crate) fn int(connection: &mut Connection, line: &str) -> i64 {
    match run(connection, line) {
        Value::Int(number) => number,
        other => panic!("{line} was answered by {other:?}"),
    }
}

/// Runs a command whose reply is a list of numbers or nothing.
#[track_caller]
pub(crate) fn numbers(connection: &mut Connection, line: &str) -> Vec<Option<i64>> {
    match run(connection, line) {
        Value::Array(items) => items.iter().map(number).collect(),
        other => panic!("{line} was answered by {other:?}"),
    }
}

/// Reads a reply as a number, if it is one or the text of one.
pub(crate) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Bulk(text) => Some(std::str::from_utf8(text).ok()?.parse().expect("only numbers are stored")),
        _ => None,
    }
}

/// Runs a command whose success is all that matters.
#[track_caller]
pub(crate) fn succeed(connection: &mut Connection, line: &str) {
    if let Value::Error(text) = run(connection, line) {
        panic!("{line} was answered by {text}");
    }
}

/// The digest of everything in a store.
pub(crate) fn digest(store: &Store) -> String {
    match store.call(&["DEBUG", "DIGEST"]) {
        Value::Simple(digest) => digest,
        other => panic!("DEBUG DIGEST was answered by {other:?}"),
    }
}

/// A store as the comparisons of the testkit see it. It speaks RESP3 whatever it is asked for.
pub(crate) struct Embedded {
    store: Store,
    connection: Connection,
}

impl Embedded {
    pub(crate) fn new(store: &Store) -> Embedded {
        Embedded { store: store.clone(), connection: store.connect() }
    }
}

impl Target for Embedded {
    fn call(&mut self, args: &[Vec<u8>]) -> Reply {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        Reply::read(&mut self.connection.call_raw(&args)).expect("a reply is well formed")
    }

    fn set_protocol(&mut self, _: Protocol) {
        self.connection = self.store.connect();
    }
}

/// Lets all times of the workload that come soon pass, then removes what has expired from sight: the digest no longer depends on when it is taken.
pub(crate) fn let_soon_pass(store: &Store) {
    assert_eq!(store.call(&["DEBUG", "SLEEP", "0.08"]), Value::Simple("OK".into()));
}
