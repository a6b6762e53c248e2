//! Replays what redis-server was seen to answer.
//!
//! Each file under `observed` lists scripts, each followed by `=> ` and the escaped reply redis-server 7.0.15 gave to EVAL. A
//! script that mentions KEYS or ARGV was sent with the keys k1, k2 and the arguments a1, a2. Where we differ on purpose, `DIFFERENT`
//! says what we answer instead.

use crate::support::{TestHost, engine, eval, printable};
use redpoll_script::{Invocation, Protocol};

/// Scripts whose reply differs by design: the script, our reply (its beginning), the reason.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("return {pcall(pcall)}", r"*2\r\n$-1\r\n", "theirs calls its own result placeholder"),
    ("return {unpack({}, 1, 2^31)}", "-ERR user_script:1: too many results to unpack", "no index wraps around"),
    ("return unpack()", "-ERR bad argument #1 to 'unpack'", "checked in Lua, where a tail call loses the line"),
    ("return unpack(nil)", "-ERR bad argument #1 to 'unpack'", "checked in Lua, where a tail call loses the line"),
    ("return unpack('x')", "-ERR bad argument #1 to 'unpack'", "checked in Lua, where a tail call loses the line"),
];

fn replay(file: &str, cases: &str, protocol: Protocol) {
    let mut engine = engine();
    let mut failures = Vec::new();
    let mut count = 0;
    let body = cases.split_once("\n----\n").expect("a heading precedes the cases").1;
    for case in body.split_terminator("\n----\n") {
        let (script, expected) = case.rsplit_once("\n=> ").expect("every case has a reply");
        let uses_arguments = script.contains("KEYS") || script.contains("ARGV");
        let (keys, args): (&[&[u8]], &[&[u8]]) =
            if uses_arguments { (&[b"k1", b"k2"], &[b"a1", b"a2"]) } else { (&[], &[]) };
        let invocation = Invocation { keys, args, protocol };
        let reply = printable(&eval(&mut engine, &mut TestHost::default(), script.as_bytes(), &invocation));
        count += 1;
        let same = match DIFFERENT.iter().find(|(different, ..)| *different == script) {
            Some((_, ours, _)) => reply.starts_with(ours),
            None => reply == expected,
        };
        if !same {
            failures.push(format!("{script}\n  expected {expected}\n  answered {reply}"));
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases of {file} differ:\n{}", failures.len(), failures.join("\n"));
}

macro_rules! replays {
    ($($name:ident $protocol:ident,)*) => {
        $(#[test]
        fn $name() {
            let file = stringify!($name);
            replay(file, include_str!(concat!("observed/", stringify!($name), ".txt")), Protocol::$protocol);
        })*
    };
}

replays! {
    core Resp2,
    string Resp2,
    cjson Resp2,
    cmsgpack Resp2,
    struct_library Resp2,
    bit Resp2,
    resp3 Resp3,
}
