//! What is on the disk when the program ends, in whatever way.

use redpoll_testkit::{Client, Scratch};

use super::line;
use crate::support::as_redis_server::AsRedisServer;

/// Keys there are before the log is rewritten, each of which takes a while.
const KEYS: u64 = 300;

fn start(scratch: &Scratch, args: &[&str]) -> AsRedisServer {
    AsRedisServer::start(None, scratch.path(), args)
}

#[test]
fn a_snapshot_is_made_at_the_end_if_there_are_rules() {
    let scratch = Scratch::new().unwrap();
    let server = start(&scratch, &["--save", "3600 1"]);
    line(&mut server.client(), "SET a 1");
    let said = server.end();
    assert!(
        said.contains("Saving the final RDB snapshot before exiting.") && said.contains("DB saved on disk"),
        "{said}"
    );

    let server = start(&scratch, &["--save", ""]);
    assert_eq!(line(&mut server.client(), "GET a"), "\"1\"");
    line(&mut server.client(), "SET a 2");
    server.end();
    let server = start(&scratch, &["--save", "", "--shutdown-on-sigterm", "save"]);
    assert_eq!(line(&mut server.client(), "GET a"), "\"1\"", "without rules nothing is saved");
    line(&mut server.client(), "SET a 3");
    server.end();
    let server = start(&scratch, &["--save", "3600 1", "--shutdown-on-sigterm", "nosave"]);
    assert_eq!(line(&mut server.client(), "GET a"), "\"3\"");
    line(&mut server.client(), "SET a 4");
    server.end();
    let server = start(&scratch, &[]);
    assert_eq!(line(&mut server.client(), "GET a"), "\"3\"");
}

#[test]
fn nothing_ends_while_what_is_to_be_saved_cannot_be() {
    let scratch = Scratch::new().unwrap();
    let server = start(&scratch, &["--save", "3600 1"]);
    let mut client = server.client();
    line(&mut client, "SET a 1");
    let place = scratch.path().join("dump.rdb");
    std::fs::create_dir_all(place.join("in the way")).unwrap();
    assert_eq!(line(&mut client, "SHUTDOWN"), "(error) ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(line(&mut client, "GET a"), "\"1\"");
    std::fs::remove_dir_all(&place).unwrap();
    let said = server.end();
    assert!(said.contains("Error trying to save the DB, can't exit") && said.contains("bye bye"), "{said}");
    assert!(place.is_file());
}

/// Adds numbers to a list, each of which is on the disk when it is acknowledged.
fn push(client: &mut Client, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let reply = line(client, &format!("RPUSH list {number}"));
        assert_eq!(reply, format!("(integer) {}", number + 1));
    }
}

/// Kills servers in one directory again and again while the log is rewritten.
fn kill_again_and_again(scratch: &Scratch, more: &[&str]) {
    let args = [&["--appendonly", "yes", "--appendfsync", "always", "--rdb-key-save-delay", "1000"], more].concat();
    let mut pushed = 0;
    for round in 0..8_u64 {
        let server = start(scratch, &args);
        let mut client = server.client();
        assert_eq!(line(&mut client, "LLEN list"), format!("(integer) {pushed}"), "round {round}");
        for number in 0..KEYS {
            line(&mut client, &format!("SET key:{number} {round}"));
        }
        let started = line(&mut client, "BGREWRITEAOF");
        assert!(started.contains("rewriting started"), "{started}");
        // The later the kill comes, the farther the rewrite has got; in the last rounds it is finished.
        push(&mut client, pushed..pushed + 1 + round * 40);
        pushed += 1 + round * 40;
        // Dropping kills.
        drop((client, server));
    }
    let server = start(scratch, &args);
    let mut client = server.client();
    assert_eq!(line(&mut client, "LLEN list"), format!("(integer) {pushed}"));
    assert_eq!(line(&mut client, "LINDEX list -1"), format!("\"{}\"", pushed - 1));
    assert_eq!(line(&mut client, "DBSIZE"), format!("(integer) {}", KEYS + 1));
    assert_eq!(line(&mut client, "GET key:17"), "\"7\"");
}

#[test]
fn killed_while_the_log_is_rewritten_it_loses_nothing() {
    kill_again_and_again(&Scratch::new().unwrap(), &[]);
}

#[test]
fn killed_with_a_sealed_log_it_loses_nothing_and_shows_nothing() {
    let (scratch, keys) = (Scratch::new().unwrap(), Scratch::new().unwrap());
    let file = keys.path().join("keys");
    std::fs::write(&file, "5e".repeat(32)).unwrap();
    kill_again_and_again(&scratch, &["--encryption-key-file", file.to_str().unwrap()]);
    let log = scratch.path().join("appendonlydir");
    for entry in
        std::fs::read_dir(log).unwrap().flatten().filter(|entry| !entry.path().ends_with("appendonly.aof.manifest"))
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(4).any(|part| part == b"key:" || part == b"list"), "{:?}", entry.file_name());
    }
}
