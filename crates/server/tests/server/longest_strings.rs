//! Strings and keys of exactly the longest length, 512 MB, and one byte more. redis-server is held to the same table.

use std::net::SocketAddr;

use crate::support::{Raw, Running};
use redpoll_testkit::RedisServer;

/// Bytes of the longest string.
const LONGEST: usize = 512 << 20;
const TOO_LONG: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// Sends a command whose argument `at` is as long as can be, in pieces, so that it need not be held here.
fn send_with_longest(client: &mut Raw, words: &[&str], at: usize) {
    client.send(format!("*{}\r\n", words.len()));
    for (index, word) in words.iter().enumerate() {
        if index == at {
            let piece = vec![b'x'; 1 << 20];
            client.send(format!("${LONGEST}\r\n"));
            (0..LONGEST / piece.len()).for_each(|_| client.send(&piece));
            client.send("\r\n");
        } else {
            client.send(format!("${}\r\n{word}\r\n", word.len()));
        }
    }
}

fn check(address: SocketAddr) {
    let mut client = Raw::connect(address);
    send_with_longest(&mut client, &["SET", "long", ""], 2);
    client.expect("+OK\r\n");
    client.call("STRLEN long", ":536870912");
    client.call("APPEND long y", TOO_LONG);
    client.call("SETRANGE long 536870912 y", TOO_LONG);
    client.call("SETRANGE long 536870911 yy", TOO_LONG);
    client.call("SETRANGE long 536870911 y", ":536870912");
    client.call("GETRANGE long -2 -1", "$2\r\nxy");
    client.call("STRLEN long", ":536870912");
    client.call("DEL long", ":1");

    client.call("SETRANGE padded 536870911 y", ":536870912");
    client.call("APPEND padded y", TOO_LONG);
    client.call("APPEND padded ''", ":536870912");
    client.call("DEL padded", ":1");

    send_with_longest(&mut client, &["SET", "", "value"], 1);
    client.expect("+OK\r\n");
    client.call("DBSIZE", ":1");
    client.call("FLUSHALL", "+OK");
}

#[test]
fn the_longest_strings_are_kept_and_longer_ones_refused() {
    check(Running::start(&[]).address());
}

#[test]
fn redis_server_does_the_same() {
    let redis = RedisServer::start().expect("redis-server starts");
    check(redis.address());
}

#[test]
fn nobody_can_ask_for_longer_ones() {
    let running = Running::start(&[]);
    let mut client = running.connect();
    let refused = "-ERR CONFIG SET failed (possibly related to argument 'proto-max-bulk-len') - \
                   argument must be between 1048576 and 536870912 inclusive";
    client.call("CONFIG SET proto-max-bulk-len 1gb", refused);
    client.call("CONFIG SET proto-max-bulk-len 1kb", refused);
    client.call("CONFIG SET proto-max-bulk-len 1mb", "+OK");
    client.call("SETRANGE key 1048576 x", TOO_LONG);
}
