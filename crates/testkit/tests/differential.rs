//! The differential test, held against redis-server compared with itself, and against one that lies.

use redpoll_testkit::differential::{Plan, run};
use redpoll_testkit::{Client, Protocol, RedisServer, Reply, Target};

#[test]
fn redis_server_does_not_differ_from_itself() {
    let (left, right) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    // SORT shows sets in the order of their tables, which each server seeds for itself.
    let plan = Plan { without: vec!["SORT".into()], ..Plan::new(11, 40_000) };
    let summary = run(&plan, &mut left.client().unwrap(), &mut right.client().unwrap());
    let summary = summary.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(summary.commands, 40_000);
    assert!(summary.errors * 2 < summary.commands, "mostly errors: {summary:?}");
    assert!(summary.keys > 20 * 10, "few keys: {summary:?}");
}

/// A server whose LLEN counts one too many for lists longer than two.
struct Liar(Client);

impl Target for Liar {
    fn call(&mut self, args: &[Vec<u8>]) -> Reply {
        match self.0.call(args) {
            Reply::Integer(len) if args[0].eq_ignore_ascii_case(b"llen") && len > 2 => Reply::Integer(len + 1),
            reply => reply,
        }
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        self.0.set_protocol(protocol);
    }
}

#[test]
fn a_difference_is_found_and_shrunk_to_its_causes() {
    let (left, right) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let plan = Plan::new(11, 40_000);
    let failure = run(&plan, &mut Liar(left.client().unwrap()), &mut right.client().unwrap()).unwrap_err();
    let text = failure.to_string();
    assert!(text.starts_with("seed 11, round") && text.to_uppercase().contains("LLEN"), "{text}");
    // One command that asks, and at most three that push.
    assert!(failure.commands.len() <= 4, "{text}");
}
