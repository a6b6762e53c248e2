//! Rules of users that nobody would write: no text panics, what is refused changes nothing, and what ACL LIST shows makes the same user again.

use crate::support;
use proptest::prelude::*;
use redpoll_testkit::{RedisServer, Reply, Target};

const PIECES: &[&str] = &[
    "+",
    "-",
    "@",
    "~",
    "%",
    "&",
    "(",
    ")",
    "|",
    "*",
    "#",
    "!",
    ">",
    "<",
    " ",
    "\0",
    "\n",
    "all",
    "read",
    "get",
    "config",
    "client|id",
    "select|0",
    "R",
    "W",
    "RW~",
    "on",
    "off",
    "nopass",
    "reset",
    "resetkeys",
    "allkeys",
    "allchannels",
    "resetchannels",
    "clearselectors",
    "x",
    "\u{e9}",
    "93915a0a4bf8f634cb1856494dd4304472ad46b9827f541f76b6761c49cc55b0",
];

fn rule() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        prop::collection::vec(prop::sample::select(PIECES), 0..6).prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![4 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..12)]
}

fn call(target: &mut dyn Target, args: &[&[u8]]) -> Reply {
    target.call(&args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>())
}

/// The line of ACL LIST about a user.
fn listed(target: &mut dyn Target, name: &str) -> Option<Vec<u8>> {
    let reply = call(target, &[b"ACL", b"LIST"]);
    let lines = reply.as_slice().expect("ACL LIST is a list");
    let start = format!("user {name} ");
    let lines = lines.iter().map(|line| line.as_bytes().expect("a line is a string").to_vec());
    lines.into_iter().find_map(|line| line.strip_prefix(start.as_bytes()).map(<[u8]>::to_vec))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_listed_makes_the_same_user(rules in prop::collection::vec(rule(), 1..8)) {
        let mut target = support::InProcess::new();
        for rule in &rules {
            let before = listed(&mut target, "u");
            let reply = call(&mut target, &[b"ACL", b"SETUSER", b"u", rule]);
            if reply.print().starts_with("(error)") {
                prop_assert_eq!(listed(&mut target, "u"), before, "{:?} was refused", rule);
            }
        }
        if let Some(line) = listed(&mut target, "u") {
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let again: Vec<&[u8]> = [&b"ACL"[..], b"SETUSER", b"v", b"reset"].into_iter().chain(words).collect();
            let reply = call(&mut target, &again);
            prop_assert_eq!(reply.print(), "OK", "{:?}", String::from_utf8_lossy(&line));
            let without = |line: Vec<u8>| String::from_utf8_lossy(&line).replace("skip-sanitize-payload ", "").replace("sanitize-payload ", "");
            prop_assert_eq!(without(listed(&mut target, "v").expect("it was made")), without(line));
        }
        // And whatever came of it can be asked what it may do.
        for command in [&[&b"GET"[..], b"x"][..], &[b"CONFIG", b"GET", b"x"], &[b"MSET", b"a", b"b", b"c", b"d"], &[b"SELECT", b"0"]] {
            let args: Vec<&[u8]> = [&b"ACL"[..], b"DRYRUN", b"u"].into_iter().chain(command.iter().copied()).collect();
            call(&mut target, &args);
        }
    }
}

#[test]
fn single_rules_are_taken_or_refused_as_redis_does() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    // Every pair of pieces; what depends on the commands there are is for the transcripts.
    for first in PIECES {
        for second in PIECES {
            let rule = [*first, *second].concat();
            if rule.contains('\0') {
                // Redis reads words of the language up to a zero byte; here such a word is no word.
                continue;
            }
            let args: [&[u8]; 5] = [b"ACL", b"SETUSER", b"u", b"reset", rule.as_bytes()];
            let (expected, found) = (call(&mut redis, &args).print(), call(&mut ours, &args).print());
            assert_eq!(found, expected, "{rule:?}");
        }
    }
}

#[test]
fn what_could_not_be_read_again_is_refused() {
    let mut target = support::InProcess::new();
    for rule in ["+select|1 ~*", "(~a) +get)", "(+get ~(a) &b)"] {
        let reply = call(&mut target, &[b"ACL", b"SETUSER", b"u", rule.as_bytes()]).print();
        assert_eq!(reply, format!("(error) ERR Error in ACL SETUSER modifier '{rule}': Syntax error"));
    }
}
