//! Clients over a Unix socket: raw ones, the `redis` crate, and what others are told of them.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::support::PATIENCE;
use redpoll_server::{Server, ServerConfig, UnixConfig};
use redpoll_store::{Config, Store};
use redpoll_testkit::Scratch;

fn config(scratch: &Scratch, permissions: u32) -> ServerConfig {
    let unix = UnixConfig { path: scratch.path().join("redpoll.sock"), permissions };
    ServerConfig { plain: false, workers: 1, unix: Some(unix), ..ServerConfig::default() }
}

fn start(config: &ServerConfig) -> Server {
    let store = Store::open(Config::in_memory()).expect("a store without a log opens");
    Server::start(store, config).expect("the socket can be made")
}

fn path(config: &ServerConfig) -> String {
    config.unix.as_ref().expect("there is one").path.display().to_string()
}

/// Sends a command and receives a bulk string or a line.
fn call(stream: &mut UnixStream, line: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("the server takes bytes");
    let mut reply = read_line(stream);
    if let Some(len) = reply.strip_prefix('$') {
        let mut text = vec![0; len.parse::<usize>().expect("a length") + 2];
        stream.read_exact(&mut text).expect("the server sends what it announced");
        reply = String::from_utf8(text).expect("texts").trim_end().to_owned();
    }
    reply
}

fn read_line(stream: &mut UnixStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).expect("a line comes");
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("texts").trim_end().to_owned()
}

#[test]
fn clients_come_in_and_are_told_apart() {
    let scratch = Scratch::new().expect("a directory");
    let config = config(&scratch, 0o700);
    let server = start(&config);
    let path = path(&config);
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut client = UnixStream::connect(&path).expect("the server listens");
    assert_eq!(call(&mut client, "SET key value"), "+OK");
    let listed = call(&mut client, "CLIENT LIST");
    assert!(listed.contains(&format!("addr={path}:0 laddr={path}:0 ")) && listed.contains(" flags=U "), "{listed}");
    assert_eq!(call(&mut client, "MONITOR"), "+OK");
    let mut other = UnixStream::connect(&path).expect("the server listens");
    assert_eq!(call(&mut other, "GET key"), "value");
    let shown = read_line(&mut client);
    assert!(shown.ends_with(&format!("[0 unix:{path}] \"GET\" \"key\"")), "{shown}");
    drop((client, other));
    server.stop();
    assert!(!std::path::Path::new(&path).exists(), "the socket goes with the server");
}

#[test]
fn the_redis_crate_does_its_work() {
    let scratch = Scratch::new().expect("a directory");
    let config = config(&scratch, 0);
    let _server = start(&config);
    let client = redis::Client::open(format!("redis+unix://{}", path(&config))).expect("a URL of a Unix socket");
    let mut connection = client.get_connection_with_timeout(PATIENCE).expect("the server listens");
    let (first, second): (i64, i64) =
        redis::pipe().atomic().incr("n", 5).incr("n", 1).query(&mut connection).expect("the transaction runs");
    assert_eq!((first, second), (5, 6));
}

#[test]
fn too_many_clients_are_turned_away_there_too() {
    let scratch = Scratch::new().expect("a directory");
    let config = config(&scratch, 0);
    let store = Store::open(Config::in_memory().set("maxclients", "1").expect("the setting exists")).expect("it opens");
    let _server = Server::start(store, &config).expect("the socket can be made");
    let mut client = UnixStream::connect(path(&config)).expect("the server listens");
    assert_eq!(call(&mut client, "PING"), "+PONG");
    let mut second = UnixStream::connect(path(&config)).expect("the server listens");
    second.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    assert_eq!(read_line(&mut second), "-ERR max number of clients reached");
}

#[test]
fn a_socket_left_over_is_replaced_and_nothing_else() {
    let scratch = Scratch::new().expect("a directory");
    let config = config(&scratch, 0);
    drop(std::os::unix::net::UnixListener::bind(path(&config)).expect("the path is free"));
    drop(start(&config));
    std::fs::write(path(&config), "precious").expect("the path is free");
    let store = Store::open(Config::in_memory()).expect("a store without a log opens");
    let refused = Server::start(store, &config).err().expect("a file is there");
    assert!(refused.to_string().starts_with("Failed opening Unix socket "), "{refused}");
    assert_eq!(std::fs::read_to_string(path(&config)).expect("it is still there"), "precious");
}
