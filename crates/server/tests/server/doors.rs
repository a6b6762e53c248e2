//! CONFIG SET moves the sockets that are listened on: what cannot be listened on changes nothing, and connections live on.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use crate::support::{PATIENCE, Raw, Running, eventually};
use redpoll_store::Value;

/// Starts a server whose settings say where it listens.
fn start() -> Running {
    let running = Running::start(&[]);
    let port = running.address().port().to_string();
    assert_eq!(
        call(&running, &["CONFIG", "SET", "port", &port]),
        Value::Simple("OK".into()),
        "its own port is no other"
    );
    running
}

fn call(running: &Running, args: &[&str]) -> Value {
    running.store.call(args)
}

fn setting(running: &Running, name: &str) -> String {
    let reply = call(running, &["CONFIG", "GET", name]);
    let text = match &reply {
        Value::Array(items) => items[1].as_str().map(str::to_owned),
        Value::Map(pairs) => pairs[0].1.as_str().map(str::to_owned),
        _ => None,
    };
    text.unwrap_or_else(|| panic!("CONFIG GET {name} was answered by {reply:?}"))
}

/// Finds a port that is free for now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("there is one").port()
}

#[track_caller]
fn answers(address: SocketAddr) {
    let mut client = Raw::connect(address);
    client.send("PING\r\n");
    client.expect("+PONG\r\n");
}

/// Tells whether a client is served there; one that comes through a door which is just being closed is not.
fn is_served(address: SocketAddr) -> bool {
    let mut reply = [0; 7];
    let asked = TcpStream::connect_timeout(&address, PATIENCE).and_then(|mut stream| {
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut reply)
    });
    asked.is_ok() && reply == *b"+PONG\r\n"
}

/// Waits until nobody listens at an address any more: a door is closed by the thread that accepted from it.
#[track_caller]
fn await_closed(address: SocketAddr) {
    let started = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            _ => assert!(started.elapsed() < PATIENCE, "{address} is still listened on"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_port_is_moved_and_connections_live_on() {
    let running = start();
    let mut client = running.connect();
    client.send("PING\r\n");
    client.expect("+PONG\r\n");
    let moved = SocketAddr::from(([127, 0, 0, 1], free_port()));
    client.send(format!("CONFIG SET port {}\r\n", moved.port()));
    client.expect("+OK\r\n");
    answers(moved);
    await_closed(running.address());
    client.send("PING\r\n");
    client.expect("+PONG\r\n");
    assert_eq!(setting(&running, "port"), moved.port().to_string());
    client.send("CONFIG SET port 0\r\n");
    client.expect("+OK\r\n");
    await_closed(moved);
    client.send("PING\r\n");
    client.expect("+PONG\r\n");
}

#[test]
fn a_port_that_is_taken_changes_nothing() {
    let running = start();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let before = (setting(&running, "port"), setting(&running, "maxmemory"));
    let refused = call(&running, &["CONFIG", "SET", "maxmemory", "10000001", "port", &port]);
    let text = "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.";
    assert_eq!(refused.as_error(), Some(text));
    assert_eq!((setting(&running, "port"), setting(&running, "maxmemory")), before);
    answers(running.address());
    let refused = call(&running, &["CONFIG", "SET", "bind", "999.999.999.999"]);
    let text = "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.";
    assert_eq!(refused.as_error(), Some(text));
    assert_eq!(setting(&running, "bind"), "127.0.0.1");
    answers(running.address());
}

#[test]
fn tls_without_a_certificate_is_refused() {
    let running = start();
    let refused = call(&running, &["CONFIG", "SET", "tls-port", &free_port().to_string()]);
    let text = "ERR CONFIG SET failed (possibly related to argument 'tls-port') - Unable to listen on this port. Check server logs.";
    assert_eq!(refused.as_error(), Some(text));
    assert_eq!(setting(&running, "tls-port"), "0");
    answers(running.address());
}

#[test]
fn addresses_come_and_go_and_what_stays_is_not_interrupted() {
    let running = start();
    let (one, two) = (running.address(), SocketAddr::from(([127, 0, 0, 2], running.address().port())));
    let ok = Value::Simple("OK".into());
    for (bind, open, closed) in [
        ("127.0.0.1 127.0.0.2", vec![one, two], vec![]),
        ("127.0.0.1", vec![one], vec![two]),
        ("*", vec![one, two], vec![]),
        ("127.0.0.2", vec![two], vec![one]),
    ] {
        assert_eq!(call(&running, &["CONFIG", "SET", "bind", bind]), ok, "{bind}");
        closed.into_iter().for_each(await_closed);
        open.into_iter().for_each(|address| eventually("a client is served", || is_served(address)));
    }
}

#[test]
fn a_store_without_a_server_has_nothing_to_move() {
    let store = redpoll_store::Store::open(redpoll_store::Config::in_memory()).expect("it opens");
    assert!(store.call(&["CONFIG", "SET", "port", "1"]).as_error().is_some());
    assert!(store.call(&["CONFIG", "SET", "port", "6379"]).as_error().is_none(), "which is no change");
    let running = start();
    let Running { store, server } = running;
    server.stop();
    assert!(store.call(&["CONFIG", "SET", "port", "1"]).as_error().is_some());
}
