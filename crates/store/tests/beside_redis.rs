//! The log is that of Redis 7: redis-server opens ours and we open one it wrote, with the same keys. DEBUG DIGEST means the same on both sides.

mod support;

use redpoll_testkit::{Client, RedisServer, Reply, Scratch};
use support::workload::Workload;
use support::{digest, let_soon_pass};

/// Starts redis-server on the directory of a store.
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

#[test]
fn redis_server_opens_our_log() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    let (mut connection, mut workload) = (store.connect(), Workload::new(21));
    (0..6_000).for_each(|_| drop(connection.call(&workload.next())));
    support::run(&mut connection, "EXEC");
    let_soon_pass(&store);
    let ours = digest(&store);
    drop((connection, store));
    let server = redis_on(&dir);
    let mut client = server.client().unwrap();
    assert_eq!(digest_of(&mut client), ours);
    // What redis-server appends there we read.
    client.run("RPUSH from:redis a b c");
    let theirs = digest_of(&mut client);
    drop((client, server));
    let again = support::in_directory(&dir);
    assert_eq!(digest(&again), theirs);
    assert_ne!(theirs, ours);
}
