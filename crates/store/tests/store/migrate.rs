//! MIGRATE to a real redis-server: what arrives, what stays when something is wrong, and that it is gone after a restart.

use crate::support;
use std::net::TcpListener;

use crate::support::{Embedded, run, succeed};
use redpoll_store::{Connection, Value};
use redpoll_testkit::{RedisServer, Reply, Scratch, Target, command};

/// One of each type, small and large.
const KEYS: &[&str] = &["text", "number", "list", "long:list", "set", "numbers", "hash", "scores", "stream"];

fn fill(connection: &mut Connection) {
    for line in [
        "SET text value",
        "SET number 12345",
        "RPUSH list a b c",
        "SADD set a b c",
        "SADD numbers 1 2 3",
        "HSET hash field value other 17",
        "ZADD scores 1.5 a -inf b",
        "XADD stream 1-1 field value",
        "PEXPIRE hash 5000000",
    ] {
        succeed(connection, line);
    }
    for number in 0..1_000 {
        succeed(connection, &format!("RPUSH long:list element:{number}"));
    }
}

/// Runs MIGRATE, `@` standing for address and port.
fn migrate(connection: &mut Connection, target: &RedisServer, rest: &[&str]) -> Value {
    let port = target.address().port().to_string();
    connection.call(&[["MIGRATE", "127.0.0.1", &port].as_slice(), rest].concat())
}

fn digests(target: &mut dyn Target) -> Vec<String> {
    KEYS.iter().map(|key| target.call(&command(&format!("DEBUG DIGEST-VALUE {key}"))).print()).collect()
}

fn error(value: &Value) -> &str {
    match value {
        Value::Error(text) => text,
        other => panic!("{other:?} is no error"),
    }
}

#[test]
fn keys_of_every_type_arrive_and_are_gone_here_for_good() {
    let (target, dir) = (RedisServer::start().unwrap(), Scratch::new().unwrap());
    let mut there = target.client().unwrap();
    let store = support::in_directory(&dir);
    let mut here = store.connect();
    fill(&mut here);
    let before = digests(&mut Embedded::new(&store));

    let keys = ["", "0", "5000", "COPY", "KEYS", "none"];
    assert_eq!(migrate(&mut here, &target, &[&keys, KEYS].concat()), Value::Simple("OK".into()));
    assert_eq!(support::int(&mut here, "DBSIZE"), KEYS.len() as i64, "copies leave what they are made of");
    assert_eq!(digests(&mut there), before);
    assert!(there.run("PTTL hash").as_integer().is_some_and(|ttl| ttl > 4_000_000));
    assert_eq!(there.run("PTTL list").as_integer(), Some(-1));

    let busy = migrate(&mut here, &target, &["text", "0", "5000"]);
    assert_eq!(error(&busy), "ERR Target instance replied with error: BUSYKEY Target key name already exists.");
    assert_eq!(support::int(&mut here, "EXISTS text"), 1);

    let all = [&["", "3", "5000", "REPLACE", "KEYS"], KEYS].concat();
    assert_eq!(migrate(&mut here, &target, &all), Value::Simple("OK".into()));
    there.run("SELECT 3");
    assert_eq!(there.run("DBSIZE").as_integer(), Some(KEYS.len() as i64));
    assert_eq!(support::int(&mut here, "DBSIZE"), 0);
    drop((here, store));
    let again = support::in_directory(&dir);
    assert_eq!(support::int(&mut again.connect(), "DBSIZE"), 0, "the log says so too");
}

#[test]
fn what_the_target_refuses_stays() {
    let target = RedisServer::start().unwrap();
    target.client().unwrap().run("CONFIG SET requirepass secret");
    let store = support::in_memory();
    let mut here = store.connect();
    fill(&mut here);
    let refused = migrate(&mut here, &target, &["text", "0", "5000"]);
    assert_eq!(error(&refused), "ERR Target instance replied with error: NOAUTH Authentication required.");
    let refused = migrate(&mut here, &target, &["text", "0", "5000", "AUTH", "wrong"]);
    assert!(error(&refused).starts_with("ERR Target instance replied with error: WRONGPASS"));
    let refused = migrate(&mut here, &target, &["text", "99", "5000", "AUTH2", "default", "secret"]);
    assert_eq!(error(&refused), "ERR Target instance replied with error: ERR DB index is out of range");
    assert_eq!(support::int(&mut here, "EXISTS text"), 1);
    let taken = migrate(&mut here, &target, &["text", "0", "5000", "AUTH2", "default", "secret"]);
    assert_eq!(taken, Value::Simple("OK".into()));
    assert_eq!(support::int(&mut here, "EXISTS text"), 0);
}

#[test]
fn what_was_taken_before_an_error_is_gone_and_the_rest_stays() {
    let target = RedisServer::start().unwrap();
    let mut there = target.client().unwrap();
    there.run("SET list here");
    let store = support::in_memory();
    let mut here = store.connect();
    fill(&mut here);
    let moved = migrate(&mut here, &target, &["", "0", "5000", "KEYS", "text", "list", "number"]);
    assert_eq!(error(&moved), "ERR Target instance replied with error: BUSYKEY Target key name already exists.");
    assert_eq!(support::int(&mut here, "EXISTS text number"), 0);
    assert_eq!(support::int(&mut here, "LLEN list"), 3);
    assert!(matches!(there.run("GET text"), Reply::Bulk(value) if value == b"value"));
}

#[test]
fn a_target_that_never_answers_costs_the_timeout_and_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let store = support::in_memory();
    let mut here = store.connect();
    fill(&mut here);
    let lost = run(&mut here, &format!("MIGRATE 127.0.0.1 {port} text 0 50"));
    assert_eq!(error(&lost), "IOERR error or timeout reading from target instance");
    assert_eq!(support::int(&mut here, "EXISTS text"), 1);
    // A port of those that are not given out: nobody has come to listen there meanwhile.
    let lost = run(&mut here, "MIGRATE 127.0.0.1 1 text 0 50");
    assert_eq!(error(&lost), "IOERR error or timeout writing to target instance");
}
