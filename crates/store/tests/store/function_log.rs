//! Libraries come back with the data: what the log says of them makes the same libraries again.

use crate::support;
use redpoll_store::{Store, Value};
use redpoll_testkit::Scratch;

const COUNTER: &str = "#!lua name=counter\nlocal n=0 redis.register_function('count', function() n=n+1 return n end)";
const SETTER: &str = "#!lua name=setter\nredis.register_function('set', function(keys, args) return redis.call('SET', keys[1], args[1]) end)";

fn ok(store: &Store, args: &[&[u8]]) -> Value {
    let reply = store.call(args);
    assert!(!matches!(reply, Value::Error(_)), "{args:?} was answered by {reply:?}");
    reply
}

fn listed(store: &Store) -> Value {
    ok(store, &[b"FUNCTION", b"DUMP"])
}

#[test]
fn every_change_of_libraries_is_logged() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    ok(&store, &[b"FUNCTION", b"LOAD", COUNTER.as_bytes()]);
    ok(&store, &[b"FUNCTION", b"LOAD", SETTER.as_bytes()]);
    let both = listed(&store);
    ok(&store, &[b"FUNCTION", b"FLUSH"]);
    ok(&store, &[b"FUNCTION", b"RESTORE", both.as_bytes().expect("a dump is a string")]);
    ok(&store, &[b"FUNCTION", b"DELETE", b"counter"]);
    ok(&store, &[b"FUNCTION", b"LOAD", b"REPLACE", SETTER.as_bytes()]);
    ok(&store, &[b"FCALL", b"set", b"1", b"key", b"value"]);
    assert!(matches!(store.call(&["FUNCTION", "LOAD", "#!lua name=bad\nerror('x')"]), Value::Error(_)));
    let before = listed(&store);
    drop(store);
    let again = support::in_directory(&dir);
    assert_eq!(listed(&again), before);
    assert_ne!(before, both);
    assert_eq!(again.get("key").expect("it is a string").as_deref(), Some(&b"value"[..]));
    ok(&again, &[b"FCALL", b"set", b"1", b"key", b"other"]);
    // And into the running store, whose libraries are in the log too.
    ok(&again, &[b"DEBUG", b"LOADAOF"]);
    assert_eq!(listed(&again), before);
    assert_eq!(again.get("key").expect("it is a string").as_deref(), Some(&b"other"[..]));
}

#[test]
fn redis_server_reads_the_log_and_the_dump() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    ok(&store, &[b"FUNCTION", b"LOAD", COUNTER.as_bytes()]);
    let long = format!("{COUNTER} -- {}", "x".repeat(70_000)).replace("counter", "long").replace("'count'", "'long'");
    ok(&store, &[b"FUNCTION", b"LOAD", long.as_bytes()]);
    let dump = listed(&store);
    let server = redpoll_testkit::RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let call = |redis: &mut redpoll_testkit::Client, args: &[&[u8]]| {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
        redpoll_testkit::Target::call(redis, &args)
    };
    let restored = call(&mut redis, &[b"FUNCTION", b"RESTORE", dump.as_bytes().expect("a dump is a string")]);
    assert_eq!(restored.print(), "OK");
    assert_eq!(call(&mut redis, &[b"FCALL", b"long", b"0"]).print(), "(integer) 1");
    // Theirs is compressed.
    let theirs = call(&mut redis, &[b"FUNCTION", b"DUMP"]);
    let theirs = theirs.as_bytes().expect("a dump is a string");
    assert!(theirs.len() < 10_000, "{} bytes", theirs.len());
    ok(&store, &[b"FUNCTION", b"RESTORE", theirs, b"FLUSH"]);
    assert_eq!(listed(&store), dump);
}
