//! DEBUG is refused unless the settings allow it, and what it switches is in effect.

use crate::support;
use std::sync::atomic::Ordering;

use redpoll_commands::args::Args;
use redpoll_commands::client::{Arrival, Transport};
use redpoll_commands::dispatch::{Outcome, dispatch};
use redpoll_commands::settings::{SETTINGS, Setting, parse};
use redpoll_resp::{Protocol, Writer};
use redpoll_testkit::{Target, command};

const REFUSED: &str = "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.\r\n";

fn allow(target: &support::InProcess, word: &str) {
    let row = &SETTINGS[Setting::EnableDebugCommand as usize];
    target.engine.settings.put(row, parse(row, word.as_bytes()).expect("a word of the setting"));
}

/// Runs DEBUG SLEEP 0 as a client with this address; an empty one is a thread of the process.
#[track_caller]
fn check(word: &str, address: &str, expected: &str) {
    let target = support::InProcess::new();
    allow(&target, word);
    let transport = if address.is_empty() { Transport::Embedded } else { Transport::Tcp };
    let arrival = Arrival { address: address.into(), transport, ..Arrival::embedded() };
    let (mut session, mut out) = (target.engine.session(arrival), Writer::new(Protocol::Resp2));
    let args: [&[u8]; 3] = [b"DEBUG", b"SLEEP", b"0"];
    let outcome = dispatch(&target.engine, &mut session, Args(&args), &mut out, &mut target.engine.clock.moment());
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(String::from_utf8_lossy(out.as_slice()), expected, "{word} {address}");
}

#[test]
fn the_setting_says_who_may() {
    for address in ["", "127.0.0.1:4000", "[::1]:4000", "192.0.2.1:4000", "garbage"] {
        check("yes", address, "+OK\r\n");
        check("no", address, REFUSED);
    }
    for address in ["", "127.0.0.1:4000", "127.9.9.9:4000", "[::1]:4000"] {
        check("local", address, "+OK\r\n");
    }
    for address in ["192.0.2.1:4000", "[2001:db8::1]:4000", "garbage"] {
        check("local", address, REFUSED);
    }
}

#[test]
fn a_refused_debug_spoils_the_transaction() {
    let mut target = support::InProcess::new();
    allow(&target, "no");
    assert_eq!(target.call(&command("MULTI")).print(), "OK");
    assert!(target.call(&command("DEBUG SLEEP 0")).print().contains("not allowed"));
    assert_eq!(
        target.call(&command("EXEC")).print(),
        "(error) EXECABORT Transaction discarded because of previous errors."
    );
}

#[test]
fn sleeping_lets_time_pass() {
    let mut target = support::InProcess::new();
    target.call(&command("SET key value PX 1000"));
    target.call(&command("DEBUG SLEEP 0.9"));
    assert_eq!(target.call(&command("EXISTS key")).print(), "(integer) 1");
    target.call(&command("DEBUG SLEEP 0.2"));
    assert_eq!(target.call(&command("EXISTS key")).print(), "(integer) 0");
    assert_eq!(target.call(&command("DEBUG SLEEP nan")).print(), "(error) ERR value is not a valid float");
}

#[test]
fn switches_are_kept() {
    let mut target = support::InProcess::new();
    let before = target.engine.replication_id.read().clone();
    target.call(&command("DEBUG CHANGE-REPL-ID"));
    let after = target.engine.replication_id.read().clone();
    assert_ne!(before, after);
    assert!(target.call(&command("INFO replication")).print().contains(&after));
    for (line, on) in [("SET-ACTIVE-EXPIRE 0", true), ("SET-ACTIVE-EXPIRE 1", false)] {
        target.call(&command(&format!("DEBUG {line}")));
        assert_eq!(target.engine.debug.lazy_expire_only.load(Ordering::Relaxed), on, "{line}");
    }
    for (line, on) in [("PAUSE-CRON 1", true), ("PAUSE-CRON 0", false)] {
        target.call(&command(&format!("DEBUG {line}")));
        assert_eq!(target.engine.debug.background_paused.load(Ordering::Relaxed), on, "{line}");
    }
}
