//! What is logged of keys whose time has come, by whoever meets them. The clock of a case begins at 1704067200000 ms.

use redpoll_testkit::{Reply, Target, command};

use super::{Records, check};
use crate::support;

/// What DUMP made of the string "bar".
const BAR: &[u8] = b"\x00\x03bar\n\x00\xe6\xbeI`\xeef\xfd\x17";

/// Runs commands in which `BAR` stands for the payload, and gives what was logged in the same way.
fn logged(commands: &[&str]) -> Vec<String> {
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    for line in commands {
        if let Some(ms) = line.strip_prefix('+') {
            target.advance(ms.parse().expect("milliseconds"));
            continue;
        }
        let args: Vec<_> =
            command(line).into_iter().map(|arg| if arg == b"BAR" { BAR.to_vec() } else { arg }).collect();
        let reply = target.call(&args);
        assert!(!matches!(reply, Reply::Error(_)), "{line} was answered by {}", reply.print());
    }
    let payload = String::from_utf8_lossy(BAR);
    records.print().iter().map(|line| line.replace(&*payload, "BAR")).collect()
}

#[test]
fn restore_is_logged_as_it_came_but_for_the_deadline() {
    assert_eq!(logged(&["RESTORE a 0 BAR"]), ["RESTORE a 0 BAR"]);
    assert_eq!(logged(&["RESTORE a 1000 BAR"]), ["RESTORE a 1704067201000 BAR ABSTTL"]);
    assert_eq!(
        logged(&["RESTORE a 1704067201000 BAR absttl", "RESTORE a 0 BAR replace"]),
        ["RESTORE a 1704067201000 BAR absttl", "RESTORE a 0 BAR replace"],
    );
    assert_eq!(
        logged(&["RESTORE a 5 BAR IDLETIME 10 REPLACE"]),
        ["RESTORE a 1704067200005 BAR IDLETIME 10 REPLACE ABSTTL"],
    );
}

#[test]
fn restore_logs_first_that_what_stood_there_has_expired() {
    let expired = ["SET a 1 PXAT 1704067200010", "DEL a", "RESTORE a 0 BAR"];
    assert_eq!(logged(&["SET a 1 PX 10", "+20", "RESTORE a 0 BAR"]), expired);
    assert_eq!(logged(&["SET a 1 PX 10", "+20", "RESTORE a 0 BAR REPLACE"])[..2], expired[..2]);
    assert_eq!(
        logged(&["SET a 1 PX 10", "CLIENT PAUSE 1000 WRITE", "+20", "GET a", "CLIENT UNPAUSE", "RESTORE a 0 BAR"]),
        expired,
    );
    assert_eq!(logged(&["SET a 1", "RESTORE a 1 BAR REPLACE ABSTTL"]), ["SET a 1", "DEL a"]);
}

#[test]
fn who_looks_through_all_keys_removes_the_expired_ones_one_by_one() {
    for look in ["SCAN 0", "SCAN 0 COUNT 100 MATCH x", "RANDOMKEY"] {
        check(&["SET a 1 PX 10", "---", look, "+20", look, look, "GET a"], &["DEL a"]);
        check(&["SELECT 1", "SET a 1 PX 10", "SET b 2", "+20", "---", look], &["1: DEL a"]);
    }
    check(&["SET a 1 PX 10", "---", "+20", "KEYS *", "DBSIZE"], &[]);
    let (mut target, records) = (support::InProcess::new(), Records::default());
    assert!(target.engine.log.set(Box::new(records.clone())).is_ok());
    for key in 0..2000 {
        target.call(&command(&format!("SET {key} 1 PX 10")));
    }
    target.advance(20);
    target.call(&command("RANDOMKEY"));
    let left = target.call(&command("DBSIZE")).as_integer().expect("a number");
    assert!((900..1100).contains(&left), "what one look removes has a limit: {left}");
    // One key may have been drawn several times.
    target.call(&command("RANDOMKEY"));
    target.call(&command("RANDOMKEY"));
    assert_eq!(target.call(&command("DBSIZE")).as_integer(), Some(0));
    assert_eq!(records.all().len(), 4000);
    assert_eq!(records.units(), 4000, "each is a unit of its own");
}

#[test]
fn a_transaction_and_a_script_log_what_they_met_with_what_they_did() {
    check(&["SET a 1 PX 10", "---", "MULTI", "SCAN 0", "SET b 2", "+20", "EXEC"], &["DEL a", "SET b 2"]);
    check(&["SET a 1 PX 10", "---", "MULTI", "RANDOMKEY", "SET b 2", "+20", "EXEC"], &["DEL a", "SET b 2"]);
}

#[test]
fn nothing_is_removed_while_writes_are_paused() {
    check(&["SET a 1 PX 10", "---", "CLIENT PAUSE 1000 WRITE", "+20", "SCAN 0", "RANDOMKEY"], &[]);
}

#[test]
fn who_waits_for_an_expired_key_hears_of_it_from_a_scan() {
    check(
        &[
            "XGROUP CREATE s g $ MKSTREAM",
            "PEXPIRE s 10",
            "@one",
            "&XREADGROUP GROUP g alice BLOCK 0 STREAMS s >",
            "@main",
            "---",
            "+20",
            "SCAN 0",
            "CLIENT UNBLOCK 2",
        ],
        &["DEL s"],
    );
}

#[test]
fn flushing_is_logged_whether_or_not_there_was_anything() {
    check(&["FLUSHALL", "FLUSHDB ASYNC", "SELECT 1", "flushdb"], &["FLUSHALL", "FLUSHDB ASYNC", "1: flushdb"]);
    check(&["MULTI", "FLUSHALL", "GET a", "EXEC"], &["FLUSHALL"]);
    check(&["!FLUSHALL NOW", "!FLUSHDB ASYNC SYNC"], &[]);
}
