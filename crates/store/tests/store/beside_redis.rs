//! The log is that of Redis 7: redis-server opens ours and we open one it wrote, with the same keys. DEBUG DIGEST means the same on both sides.

use crate::support;
use crate::support::workload::Workload;
use crate::support::{Embedded, digest, let_soon_pass};
use redpoll_testkit::{Client, RedisServer, Reply, Scratch, Target, command};

/// A redis-server with its log in a directory. It is ended by a signal it cannot hear, so the log must be written before each answer: under
/// `everysec` redis-server puts writing off while the disk is busy.
fn redis_on(dir: &Scratch) -> RedisServer {
    let path = dir.path().display().to_string();
    let log = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no", "--dir", &path];
    RedisServer::start_with(&log).expect("redis-server opens the log")
}

fn digest_of(client: &mut Client) -> String {
    match client.run("DEBUG DIGEST") {
        Reply::Simple(digest) => String::from_utf8(digest).expect("hex digits"),
        other => panic!("DEBUG DIGEST was answered by {}", other.print()),
    }
}

/// What is known of the groups of streams, which digests leave out.
fn groups(target: &mut dyn Target, questions: &[&str]) -> Vec<String> {
    target.call(&command("HELLO 3"));
    target.call(&command("SELECT 0"));
    let lines =
        (0..8).flat_map(|number| questions.iter().map(move |line| line.replace('@', &format!("stream:{number}"))));
    lines.map(|line| target.call(&command(&line)).print()).collect()
}

/// Who has what, and how often it was delivered.
const PENDING: &str = "XPENDING @ group";
/// How far groups have read.
const PROGRESS: &str = "XINFO GROUPS @";

#[test]
fn redis_server_opens_our_log() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    let (mut connection, mut workload) = (store.connect(), Workload::new(21));
    (0..6_000).for_each(|_| drop(connection.call(&workload.next())));
    for line in ["EXEC", "SELECT 0", "DEL stream:0", "XADD stream:0 1-1 a b", "XGROUP CREATE stream:0 group 0"] {
        support::run(&mut connection, line);
    }
    support::succeed(&mut connection, "XREADGROUP GROUP group c1 COUNT 1 STREAMS stream:0 >");
    let_soon_pass(&store);
    let (ours, our_groups) = (digest(&store), groups(&mut Embedded::new(&store), &[PENDING, PROGRESS]));
    drop((connection, store));
    let server = redis_on(&dir);
    let mut client = server.client().unwrap();
    assert_eq!(digest_of(&mut client), ours);
    assert_eq!(groups(&mut client, &[PENDING, PROGRESS]), our_groups);
    assert!(our_groups.iter().any(|reply| reply.contains("\"c")), "something is pending");
    // What redis-server appends there we read.
    client.run("RPUSH from:redis a b c");
    let theirs = digest_of(&mut client);
    drop((client, server));
    let again = support::in_directory(&dir);
    assert_eq!(digest(&again), theirs);
    assert_ne!(theirs, ours);
}

#[test]
fn we_open_a_log_of_redis_server() {
    let dir = Scratch::new().unwrap();
    let server = redis_on(&dir);
    let (mut client, mut workload) = (server.client().unwrap(), Workload::new(22));
    for step in 0..6_000 {
        let args: Vec<Vec<u8>> = workload.next().into_iter().map(String::into_bytes).collect();
        client.call(&args);
        if step == 4_000 {
            // A base in the format of commands, and increments after it.
            client.run("EXEC");
            assert!(matches!(client.run("BGREWRITEAOF"), Reply::Simple(_)));
            while !client.run("INFO persistence").print().contains("aof_rewrite_in_progress:0\\r") {
                client.call(&command("DEBUG SLEEP 0.01"));
            }
        }
    }
    client.run("EXEC");
    client.run("DEBUG SLEEP 0.08");
    // Their digest counts what has expired but was not removed. SCAN removes it, KEYS only hides it.
    for db in 0..4 {
        client.run(&format!("SELECT {db}"));
        client.run("SCAN 0 COUNT 1000");
    }
    let theirs = digest_of(&mut client);
    // Redis 7.0 does not log how many entries a group has read, nor consumers that were given nothing.
    let their_groups = groups(&mut client, &[PENDING]);
    drop((client, server));
    let names: Vec<_> = std::fs::read_dir(dir.path().join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.ends_with(".base.aof")), "{names:?}");
    let store = support::in_directory(&dir);
    assert_eq!(digest(&store), theirs);
    assert_eq!(groups(&mut Embedded::new(&store), &[PENDING]), their_groups);
}

/// Waits until redis-server has rewritten the log once.
fn until_rewritten(client: &mut Client) {
    let began = std::time::Instant::now();
    loop {
        let info = client.run("INFO persistence");
        let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
        if text.contains("aof_rewrites:1\r\n") && text.contains("aof_rewrite_in_progress:0\r\n") {
            return;
        }
        assert!(began.elapsed().as_secs() < 60, "{text}");
        std::thread::yield_now();
    }
}

#[test]
fn a_rewritten_log_goes_to_redis_server_and_back() {
    for (seed, preamble) in [(31, "yes"), (32, "no")] {
        let dir = Scratch::new().unwrap();
        let store = support::in_directory(&dir);
        support::succeed(&mut store.connect(), &format!("CONFIG SET aof-use-rdb-preamble {preamble}"));
        let (mut connection, mut workload) = (store.connect(), Workload::new(seed));
        (0..4_000).for_each(|_| drop(connection.call(&workload.next())));
        support::run(&mut connection, "EXEC");
        support::succeed(&mut connection, "BGREWRITEAOF");
        support::until_written(&store);
        (0..500).for_each(|_| drop(connection.call(&workload.next())));
        support::run(&mut connection, "EXEC");
        let_soon_pass(&store);
        let ours = digest(&store);
        drop((connection, store));

        let path = dir.path().display().to_string();
        let log =
            ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble, "--dir", &path];
        let server = RedisServer::start_with(&log).expect("redis-server opens the log");
        let mut client = server.client().unwrap();
        assert_eq!(digest_of(&mut client), ours);
        client.run("RPUSH from:redis a b c");
        client.run("BGREWRITEAOF");
        until_rewritten(&mut client);
        client.run("SADD after:that d e f");
        let theirs = digest_of(&mut client);
        drop((client, server));
        assert_eq!(digest(&support::in_directory(&dir)), theirs);
    }
}
