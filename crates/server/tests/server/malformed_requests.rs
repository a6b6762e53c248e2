//! Bytes that are no request, or too much of one: the answer, and whether the connection lives on. redis-server is held to the same table.

use crate::support;
use std::net::SocketAddr;

use crate::support::{Raw, Running};
use redpoll_testkit::RedisServer;

/// What the server does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Closes,
    Serves,
}
use After::{Closes, Serves};

struct Case {
    sent: Vec<u8>,
    answer: &'static str,
    after: After,
}

fn case(sent: impl AsRef<[u8]>, answer: &'static str, after: After) -> Case {
    Case { sent: sent.as_ref().to_vec(), answer, after }
}

fn cases() -> Vec<Case> {
    let invalid_count = "-ERR Protocol error: invalid multibulk length\r\n";
    let invalid_length = "-ERR Protocol error: invalid bulk length\r\n";
    vec![
        // Nothing, in several ways.
        case("", "", Serves),
        case("\r\n\r\n\n", "", Serves),
        case("*0\r\n", "", Serves),
        case("*-1\r\n", "", Serves),
        case("*-9223372036854775808\r\n", "", Serves),
        // Numbers of arguments.
        case("*1048577\r\n", "", Serves),
        case("*2147483648\r\n", invalid_count, Closes),
        case("*9223372036854775807\r\n", invalid_count, Closes),
        case("*99999999999999999999\r\n", invalid_count, Closes),
        case("*abc\r\n", invalid_count, Closes),
        case("*1x\r\n$4\r\nPING\r\n", invalid_count, Closes),
        case("* 1\r\n$4\r\nPING\r\n", invalid_count, Closes),
        case("*\r\n", invalid_count, Closes),
        // Lengths of arguments.
        case("*1\r\n$-1\r\n", invalid_length, Closes),
        case("*2\r\n$3\r\nGET\r\n$-5\r\n", invalid_length, Closes),
        case("*1\r\n$536870913\r\n", invalid_length, Closes),
        case("*1\r\n$9223372036854775807\r\n", invalid_length, Closes),
        case("*1\r\n$99999999999999999999\r\n", invalid_length, Closes),
        case("*1\r\n$abc\r\n", invalid_length, Closes),
        case("*1\r\n$\r\n", invalid_length, Closes),
        // Something else where an argument should begin; nesting is such a thing.
        case("*1\r\n*1\r\n$4\r\nPING\r\n", "-ERR Protocol error: expected '$', got '*'\r\n", Closes),
        case("*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'\r\n", Closes),
        case(b"*1\r\n\xff\r\n", "-ERR Protocol error: expected '$', got '\u{fffd}'\r\n", Closes),
        case("*2\r\n$4\r\nPING\r\n:5\r\n", "-ERR Protocol error: expected '$', got ':'\r\n", Closes),
        // Inline commands.
        case("PING \"open\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n", Closes),
        case("PING 'open\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n", Closes),
        case("PING \"a\"b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n", Closes),
        case("$5\r\n", "-ERR unknown command '$5', with args beginning with: \r\n", Serves),
        case(vec![b'x'; 70_000], "-ERR Protocol error: too big inline request\r\n", Closes),
        case(
            [b"*".to_vec(), vec![b'1'; 70_000]].concat(),
            "-ERR Protocol error: too big mbulk count string\r\n",
            Closes,
        ),
        case(
            [b"*1\r\n$".to_vec(), vec![b'1'; 70_000]].concat(),
            "-ERR Protocol error: too big bulk count string\r\n",
            Closes,
        ),
        // Binary, and other protocols.
        case(b"\x01\x02\r\n", "-ERR unknown command '\x01\x02', with args beginning with: \r\n", Serves),
        case(b"*1\r\n$3\r\n\x00\xff\x0a\r\n", "-ERR unknown command '', with args beginning with: \r\n", Serves),
        case("*1\r\n$0\r\n\r\n", "-ERR unknown command '', with args beginning with: \r\n", Serves),
        case("*2\r\n$4\r\nPING\r\n$2\r\n\r\n\r\n", "$2\r\n\r\n\r\n", Serves),
        case("GET / HTTP/1.1\r\n", "-ERR wrong number of arguments for 'get' command\r\n", Serves),
        // Good and bad in one go: the good is answered first.
        case(
            "PING\r\n*1\r\n$4\r\nPING\r\n*x\r\n",
            "+PONG\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n",
            Closes,
        ),
    ]
}

fn check(address: SocketAddr, name: &str) {
    for Case { sent, answer, after } in cases() {
        let shown: String = String::from_utf8_lossy(&sent).chars().take(60).collect();
        println!("{name}: {shown:?}");
        let mut client = Raw::connect(address);
        client.send(&sent);
        if after == Closes {
            let received = client.until_closed();
            assert_eq!(String::from_utf8_lossy(&received), answer, "{name} to {shown:?}");
        } else if sent == b"*1048577\r\n" {
            // More arguments than anyone sends, but not too many: the server waits for them.
            assert!(client.is_silent_for(std::time::Duration::from_millis(50)), "{name} to {shown:?}");
        } else {
            client.expect(answer);
            client.call("PING", "+PONG");
        }
    }
}

#[test]
fn the_answers_are_those_of_redis_server() {
    check(Running::start(&[]).address(), "redpoll");
    check(RedisServer::start().expect("redis-server is installed").address(), "redis-server");
}

#[test]
fn requests_may_come_in_pieces() {
    let running = Running::start(&[]);
    let request = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$7\r\nv\r\nalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING\r\n";
    for size in [1, 2, 3, 7] {
        let mut client = running.connect();
        for piece in request.chunks(size) {
            client.send(piece);
            // The server has seen this piece by itself once another client was served after it.
            running.connect().call("PING", "+PONG");
        }
        client.expect("+OK\r\n$7\r\nv\r\nalue\r\n+PONG\r\n");
    }
}

#[test]
fn who_leaves_in_the_middle_harms_nobody() {
    let running = Running::start(&[]);
    let mut other = running.connect();
    for part in [
        "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100\r\nhalf",
        "*1000000\r\n",
        "*1\r\n$536870912\r\nx",
        "MULTI\r\nSET k v\r\n",
    ] {
        let mut client = running.connect();
        client.send(part);
        drop(client);
        other.call("EXISTS key k", ":0");
    }
    support::eventually("all others have left", || running.store.engine().clients.connected() == 1);
}

#[test]
fn before_the_password_only_little_is_taken() {
    let settings: &[(&str, &str)] = &[("requirepass", "secret")];
    let running = Running::start(settings);
    let server = RedisServer::start().expect("redis-server is installed");
    Raw::connect(server.address()).call("CONFIG SET requirepass secret", "+OK");
    for (name, address) in [("redpoll", running.address()), ("redis-server", server.address())] {
        println!("{name}");
        let refused: &[(&str, &str)] = &[
            ("*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
            ("*2\r\n$3\r\nGET\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
        ];
        for (sent, answer) in refused {
            let mut client = Raw::connect(address);
            client.send(sent);
            assert_eq!(String::from_utf8_lossy(&client.until_closed()), *answer);
        }
        let mut client = Raw::connect(address);
        client.call("GET key", "-NOAUTH Authentication required.");
        client.call("PING", "-NOAUTH Authentication required.");
        client.call("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.");
        client.call("AUTH secret", "+OK");
        let long = "x".repeat(20_000);
        client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$20000\r\n{long}\r\n"));
        client.expect("+OK\r\n");
        client.send(format!("*12\r\n$3\r\nDEL\r\n{}", "$3\r\nkey\r\n".repeat(11)));
        client.expect(":1\r\n");
        // A pipeline that logs in on the way is taken from there on.
        let mut client = Raw::connect(address);
        client.send(format!("AUTH secret\r\n*12\r\n$3\r\nDEL\r\n{}", "$3\r\nkey\r\n".repeat(11)));
        client.expect("+OK\r\n:0\r\n");
    }
}
