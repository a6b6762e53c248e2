//! `redpoll check`: what it says of directories and files, what it cuts away, what it copies. Its verdicts are held against redis-check-aof and redis-check-rdb.

use std::path::{Path, PathBuf};
use std::process::Command;

use redpoll_testkit::{Client, RedisServer, Scratch};

use crate::support::{Ended, Served, run};

/// What stands in the data and must not stand in what is printed.
const SECRET: &str = "secret";

/// A server on a directory, and a client of it.
fn serve(dir: &Path, args: &[&str]) -> (Served, Client) {
    let mut served = Served::start_in(dir, args);
    let client = Client::connect(served.ready_line()["resp"].as_str().unwrap().parse().unwrap()).unwrap();
    (served, client)
}

fn end(mut served: Served) {
    served.signal();
    let (code, said) = served.wait();
    assert_eq!(code, Some(0), "{said}");
}

/// A directory with a base, an increment with a transaction, and a snapshot.
fn data() -> Scratch {
    let scratch = Scratch::new().unwrap();
    let (served, mut client) = serve(scratch.path(), &["--appendfsync", "always"]);
    client.run(&format!("SET {SECRET}:1 {SECRET}"));
    client.run("BGREWRITEAOF");
    while !scratch.path().join("appendonlydir/appendonly.aof.2.base.rdb").exists() {
        client.run("PING");
    }
    for line in ["SET after:1 x", "MULTI", "SET after:2 x", "RPUSH list a b c", "EXEC", "SAVE"] {
        assert!(!client.run(line).print().contains("error"), "{line}");
    }
    end(served);
    scratch
}

fn increment(scratch: &Scratch) -> PathBuf {
    scratch.path().join("appendonlydir/appendonly.aof.2.incr.aof")
}

#[track_caller]
fn check(path: &Path, args: &[&str]) -> Ended {
    let ended = run(&[&["check", path.to_str().unwrap()], args].concat());
    let shown = args.contains(&"--show-keys");
    assert!(shown || !format!("{}{}", ended.stdout, ended.stderr).contains(SECRET), "{}", ended.stdout);
    ended
}

/// What a tool of Redis says of a file: whether it is sound.
fn tool(name: &str, path: &Path) -> bool {
    Command::new(name).arg(path).output().unwrap().status.success()
}

#[test]
fn what_is_sound_is_said_to_be() {
    let scratch = data();
    let ended = check(scratch.path(), &[]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (0, 4), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.lines().all(|line| line.ends_with(": sound")), "{}", ended.stdout);
    for part in
        ["base, ", "snapshot of version 10, 1 keys, 0 commands", "increment, ", " 4 commands", "10, 4 keys: sound"]
    {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    let log = scratch.path().join("appendonlydir");
    for path in [log.clone(), log.join("appendonly.aof.manifest")] {
        assert_eq!(check(&path, &[]).stdout.lines().count(), 3, "{}", path.display());
    }
    for path in [log.join("appendonly.aof.2.base.rdb"), increment(&scratch), scratch.path().join("dump.rdb")] {
        assert_eq!(check(&path, &[]).stdout.lines().count(), 1, "{}", path.display());
    }
    assert!(tool("redis-check-aof", &log.join("appendonly.aof.manifest")));
    let empty = Scratch::new().unwrap();
    let ended = check(empty.path(), &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("neither a log nor a snapshot"), "{}", ended.stderr);
}

#[test]
fn a_damaged_end_is_cut_off_after_it_was_said_what_goes() {
    let scratch = data();
    let (path, manifest) = (increment(&scratch), scratch.path().join("appendonlydir/appendonly.aof.manifest"));
    let whole = std::fs::read(&path).unwrap();
    let at = String::from_utf8_lossy(&whole).find("*1\r\n$5\r\nMULTI").unwrap();
    let mut damaged = whole.clone();
    damaged[at + 15] = b'!';
    std::fs::write(&path, &damaged).unwrap();
    assert!(!tool("redis-check-aof", &manifest));
    let ended = check(scratch.path(), &[]);
    let (rest, expected) = (whole.len() - at, format!(": wrong at offset {}: expected '*'", at + 15));
    assert!(ended.code == 1 && ended.stdout.contains(&expected), "{}", ended.stdout);
    let expected = format!("  a cut at offset {at} takes {rest} bytes away, with 3 whole commands among them");
    assert!(ended.stdout.contains(&expected), "{expected}: {}", ended.stdout);

    let ended = check(scratch.path(), &["--repair"]);
    assert!(ended.code == 2 && ended.stderr.contains("--yes"), "{}", ended.stderr);
    let ended = check(&path, &["--repair", "--yes"]);
    assert!(ended.code == 2 && ended.stderr.contains("one file of a log"), "{}", ended.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing is cut unasked");
    let refused = run(&["serve", "--port", "0", "--no-http", "--dir", scratch.path().to_str().unwrap()]);
    assert!(
        refused.stderr.contains("redis-check-aof --fix on the manifest or redpoll check --repair"),
        "{}",
        refused.stderr
    );

    let ended = check(scratch.path(), &["--repair", "--yes"]);
    assert!(ended.code == 0 && ended.stdout.contains("before-repair"), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), whole[..at]);
    assert_eq!(std::fs::read(path.with_extension("aof.before-repair")).unwrap(), damaged);
    assert!(tool("redis-check-aof", &manifest));
    let (served, mut client) = serve(scratch.path(), &[]);
    assert_eq!(client.run("EXISTS secret:1 after:1 after:2 list").print(), "(integer) 2");
    // However it is named: by the directory above, its own, a way round, or one of its files.
    for way in ["", "appendonlydir", "appendonlydir/..", "appendonlydir/appendonly.aof.2.incr.aof"] {
        let ended = check(&scratch.path().join(way), &["--repair", "--yes"]);
        assert!(ended.code == 2 && ended.stderr.contains("another store is using it"), "{way}: {}", ended.stderr);
    }
    assert_eq!(check(scratch.path(), &[]).code, 0, "looking goes on beside a server");
    end(served);
}

#[test]
fn a_damaged_snapshot_is_told_and_left_alone() {
    let scratch = data();
    let path = scratch.path().join("dump.rdb");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(!tool("redis-check-rdb", &path));
    let ended = check(scratch.path(), &["--repair", "--yes"]);
    assert!(ended.code == 1 && ended.stdout.contains("CRC error"), "{}", ended.stdout);
    assert!(ended.stdout.contains("it cannot be repaired here"), "{}", ended.stdout);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    std::fs::write(&path, b"REDIS0010\x02\x06secret\x02\x01a\x01a\xff").unwrap();
    let ended = check(&path, &[]);
    assert!(ended.code == 1 && ended.stdout.contains("wrong at offset 9: "), "{}", ended.stdout);
    assert!(check(&path, &["--show-keys"]).stdout.contains("key 'secret': "));
}

#[test]
fn a_copy_is_opened_by_redis_server() {
    let scratch = data();
    let copy = Scratch::new().unwrap();
    let to = copy.path().join("copy");
    let ended = check(scratch.path(), &["--export", to.to_str().unwrap()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    assert!(tool("redis-check-aof", &to.join("appendonlydir/appendonly.aof.manifest")));
    assert!(tool("redis-check-rdb", &to.join("dump.rdb")));
    let server = RedisServer::start_with(&["--dir", to.to_str().unwrap(), "--appendonly", "yes"]).unwrap();
    let theirs = server.client().unwrap().run("DEBUG DIGEST").print();
    let (served, mut client) = serve(scratch.path(), &["--enable-debug-command", "yes"]);
    assert_eq!(client.run("DEBUG DIGEST").print(), theirs);
    end(served);
    let ended = check(scratch.path(), &["--export", to.to_str().unwrap()]);
    assert!(ended.code == 2 && ended.stderr.contains("it is not empty"), "{}", ended.stderr);
    std::fs::write(increment(&scratch), "x").unwrap();
    let ended = check(scratch.path(), &["--export", copy.path().join("other").to_str().unwrap()]);
    assert!(ended.code == 2 && ended.stderr.contains("what is not sound is not copied"), "{}", ended.stderr);
}

#[test]
fn what_is_sealed_is_looked_at_and_copied_with_the_key_alone() {
    let scratch = data();
    let keys = Scratch::new().unwrap();
    let file = keys.path().join("keys");
    std::fs::write(&file, "5e".repeat(32)).unwrap();
    let with_key = ["--encryption-key-file", file.to_str().unwrap()];
    let (mut served, mut client) = serve(scratch.path(), &[&with_key[..], &["--enable-debug-command", "yes"]].concat());
    served.wait_for_stderr("is open to others");
    let is_sealed = || check(scratch.path(), &with_key).stdout.matches(", sealed").count() == 3;
    while !is_sealed() {
        client.run("INCR looks");
    }
    client.run("SET last x");
    let digest = client.run("DEBUG DIGEST").print();
    end(served);
    let ended = check(scratch.path(), &[]);
    assert!(ended.code == 2 && ended.stderr.contains("sealed with the key"), "{}", ended.stderr);
    let ended = check(scratch.path(), &with_key);
    assert!(ended.code == 0 && ended.stdout.lines().all(|line| line.ends_with(": sound")), "{}", ended.stdout);

    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll"));
    command.arg("check").arg(scratch.path()).env("REDPOLL_ENCRYPTION_KEY", "5e".repeat(32));
    assert_eq!(String::from_utf8(command.output().unwrap().stdout).unwrap(), ended.stdout);

    let to = keys.path().join("copy");
    let ended = check(scratch.path(), &[&with_key[..], &["--export", to.to_str().unwrap()]].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let server = RedisServer::start_with(&["--dir", to.to_str().unwrap(), "--appendonly", "yes"]).unwrap();
    assert_eq!(server.client().unwrap().run("DEBUG DIGEST").print(), digest);
    assert!(tool("redis-check-rdb", &to.join("dump.rdb")));
}
