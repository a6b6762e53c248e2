//! Clients that wait for the disk, seen from outside: they get their replies in order, and nobody else waits with them.

use crate::support::{Raw, Running, eventually};
use redpoll_store::commands::blocking::blocked_clients;
use redpoll_testkit::Scratch;

const THERE: &str = "*2\r\n:1\r\n:0\r\n";

fn start(dir: &Scratch) -> Running {
    let dir = dir.path().display().to_string();
    Running::start(&[("dir", &dir), ("appendonly", "yes"), ("appendfsync", "no")])
}

fn id(client: &mut Raw) -> String {
    client.send("CLIENT ID\r\n");
    client.line().trim_start_matches(':').to_owned()
}

#[track_caller]
fn until_blocked(running: &Running, count: usize) {
    eventually("they wait", || blocked_clients(running.store.engine()) == count);
}

#[test]
fn a_pipeline_waits_for_the_disk_again_and_again() {
    let dir = Scratch::new().unwrap();
    let running = start(&dir);
    let mut client = running.connect();
    client.send("INCR n\r\nWAITAOF 1 0 0\r\n".repeat(100));
    for round in 1..=100 {
        client.expect(format!(":{round}\r\n{THERE}"));
    }
    client.call("PING", "+PONG");
    assert_eq!(blocked_clients(running.store.engine()), 0);
}

#[test]
fn nobody_waits_with_those_who_wait() {
    let dir = Scratch::new().unwrap();
    let running = start(&dir);
    // There are two workers: others share them with those who wait.
    let mut waiting: Vec<Raw> = (0..8).map(|_| running.connect()).collect();
    let ids: Vec<String> = waiting.iter_mut().map(id).collect();
    for client in &mut waiting {
        client.send("INCR n\r\nWAITAOF 1 1 0\r\nINCR behind\r\n");
    }
    until_blocked(&running, 8);
    let mut others: Vec<Raw> = (0..4).map(|_| running.connect()).collect();
    for client in &mut others {
        client.send("INCR n\r\nWAITAOF 1 0 0\r\nGET behind\r\n");
        assert!(client.line().starts_with(':'));
        client.expect(format!("{THERE}$-1\r\n"));
    }
    assert_eq!(blocked_clients(running.store.engine()), 8);
    for (place, (client, id)) in waiting.iter_mut().zip(&ids).enumerate() {
        assert!(client.line().starts_with(':'), "what stands in front is answered at once");
        if place % 2 == 0 {
            others[0].call(&format!("CLIENT UNBLOCK {id}"), ":1");
            client.expect(THERE);
        } else {
            others[0].call(&format!("CLIENT UNBLOCK {id} ERROR"), ":1");
            client.expect("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
        }
        client.expect(format!(":{}\r\n", place + 1));
    }
    others[0].call("WAITAOF 0 1 20", THERE.trim_end());
}

#[test]
fn who_waits_for_a_log_that_is_switched_off_is_told() {
    let dir = Scratch::new().unwrap();
    let running = start(&dir);
    let (mut local, mut remote, mut operator) = (running.connect(), running.connect(), running.connect());
    local.send("WAITAOF 1 1 0\r\n");
    remote.send("WAITAOF 0 1 0\r\n");
    let mut gone = running.connect();
    gone.send("WAITAOF 1 1 0\r\n");
    until_blocked(&running, 3);
    drop(gone);
    until_blocked(&running, 2);
    operator.call("CONFIG SET appendonly no", "+OK");
    local.expect("-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n");
    assert_eq!(blocked_clients(running.store.engine()), 1);
    operator.call("CONFIG SET appendonly yes", "+OK");
    operator.call("SET key value", "+OK");
    operator.call("WAITAOF 1 0 0", THERE.trim_end());
    assert_eq!(blocked_clients(running.store.engine()), 1, "no replica has come");
    drop(remote);
    until_blocked(&running, 0);
}
