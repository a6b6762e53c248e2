//! Clients that take more than their share: the server's memory stays bounded and others are served.
#![cfg(target_os = "linux")]

#[path = "server/support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{Running, eventually, message, resident_bytes, subscribe};

const MB: usize = 1 << 20;

/// The memory of the process is looked at, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for far more than the server may hold for one client, and reads none of it.
#[test]
fn a_client_that_never_reads_costs_little() {
    const REQUESTS: usize = 3_000;
    let _alone = alone();
    let running = Running::start(&[]);
    running.store.set("big", vec![b'x'; MB]).expect("there is memory");
    let mut other = running.connect();
    other.call("PING", "+PONG");
    let before = resident_bytes();
    let mut greedy = running.connect();
    greedy.send("GET big\r\n".repeat(REQUESTS));
    // Once something waits for it, its connection is stuck; the others go on.
    let clients = || running.store.engine().clients.all();
    let waiting = || clients().iter().map(|client| client.output_buffer.bytes()).max();
    eventually("the client's socket is full", || waiting() > Some(0));
    for _ in 0..2_000 {
        other.call("INCRBY counter 0", ":0");
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("{} MB asked for, {grown} bytes held", REQUESTS);
    assert!(grown < 64 * MB, "{grown} bytes are held for a client that does not read");

    // It can be killed although it is stuck.
    let id = clients().iter().map(|client| client.id).max().expect("two clients");
    other.call(&format!("CLIENT KILL ID {id}"), ":1");
    eventually("the killed client is gone", || running.store.engine().clients.connected() == 1);
    let received = greedy.until_closed().len();
    assert!(received < REQUESTS * MB, "it had received everything");
}

#[test]
fn replies_beyond_the_limit_are_not_sent() {
    let _alone = alone();
    let running = Running::start(&[("client-output-buffer-limit", "normal 100000 0 0")]);
    running.store.set("big", vec![b'x'; 60_000]).expect("there is memory");
    let (mut modest, mut greedy, mut transaction) = (running.connect(), running.connect(), running.connect());
    greedy.call("PING", "+PONG");
    greedy.send("MGET big big\r\nSET behind 1\r\n");
    assert_eq!(greedy.until_closed(), b"");
    transaction.call("MULTI", "+OK");
    for queued in ["GET big", "GET big", "SET done 1"] {
        transaction.call(queued, "+QUEUED");
    }
    transaction.send("EXEC\r\n");
    assert_eq!(transaction.until_closed(), b"");
    modest.call("EXISTS done", ":1");
    modest.call("STRLEN big", ":60000");
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    const REQUESTS: usize = 60;
    let _alone = alone();
    let running = Running::start(&[]);
    running.store.set("big", vec![b'x'; MB]).expect("there is memory");
    let mut late = running.connect();
    late.send("GET big\r\n".repeat(REQUESTS));
    running.connect().call("PING", "+PONG");
    let reply = [b"$1048576\r\n".to_vec(), vec![b'x'; MB], b"\r\n".to_vec()].concat();
    for _ in 0..REQUESTS {
        late.expect(&reply);
    }
    late.call("PING", "+PONG");
}

#[test]
fn a_thousand_idle_connections_cost_little_and_slow_nobody() {
    const CONNECTIONS: usize = 1_000;
    let _alone = alone();
    let running = Running::start(&[]);
    let mut busy = running.connect();
    busy.call("PING", "+PONG");
    let before = resident_bytes();
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| running.connect()).collect();
    idle.iter_mut().for_each(|client| client.call("PING", "+PONG"));
    let each = resident_bytes().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes a connection");
    assert!(each < 64 * 1024, "an idle connection costs {each} bytes");
    let started = Instant::now();
    for _ in 0..1_000 {
        busy.call("PING", "+PONG");
    }
    println!("1,000 PINGs beside them in {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(idle);
    eventually("all have left", || running.store.engine().clients.connected() == 1);
}

#[test]
fn an_argument_that_never_comes_is_not_paid_for_in_advance() {
    let _alone = alone();
    let running = Running::start(&[]);
    let before = resident_bytes();
    let mut clients: Vec<_> = (0..20).map(|_| running.connect()).collect();
    for client in &mut clients {
        client.send("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$536870912\r\nbeginning");
    }
    let mut other = running.connect();
    for _ in 0..100 {
        other.call("PING", "+PONG");
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("20 × 512 MB announced, {grown} bytes held");
    assert!(grown < 64 * MB, "{grown} bytes");
}

#[test]
fn the_query_buffer_has_a_limit() {
    let _alone = alone();
    let running = Running::start(&[("client-query-buffer-limit", "1mb")]);
    let mut client = running.connect();
    client.send("*2\r\n$4\r\nECHO\r\n$10000000\r\n");
    // The server stops taking at some point, and then closes.
    let piece = vec![b'x'; 64 * 1024];
    let refused = (0..200).any(|_| std::io::Write::write_all(&mut client.0, &piece).is_err());
    assert!(refused || client.until_closed().is_empty());
    running.connect().call("PING", "+PONG");
    eventually("the client is gone", || running.store.engine().clients.connected() <= 1);
}

#[test]
fn a_subscriber_that_never_reads_is_cut_off() {
    let _alone = alone();
    let running = Running::start(&[("client-output-buffer-limit", "pubsub 8mb 0 0")]);
    let (mut publisher, mut deaf, mut other) = (running.connect(), running.connect(), running.connect());
    subscribe(&mut deaf, "c");
    subscribe(&mut other, "c");
    let payload = "x".repeat(64 * 1024);
    let before = resident_bytes();
    let mut receivers = 2;
    for _ in 0..1000 {
        publisher.send(format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len()));
        receivers = publisher.line().trim_start_matches(':').parse().expect("a number");
        other.expect(message("c", &payload));
        if receivers == 1 {
            break;
        }
    }
    assert_eq!(receivers, 1, "it was not cut off");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 * MB, "{grown} bytes are held");
    assert!(deaf.until_closed().len() < 100 * MB);
}
