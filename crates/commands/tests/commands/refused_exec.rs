//! EXEC is judged by what it has queued: a transaction that began while there was memory does not write when there is none any more.

use crate::support;
use redpoll_commands::settings::{SETTINGS, Setting, SettingValue};
use redpoll_testkit::{Target, command};

const OUT_OF_MEMORY: &str = "(error) OOM command not allowed when used memory > 'maxmemory'.";

/// Runs commands while memory is full or not (`full`, `free`) and compares the replies.
#[track_caller]
fn check(steps: &[(&str, &str)]) {
    let mut target = support::InProcess::new();
    for (line, expected) in steps {
        match *line {
            "full" | "free" => {
                let limit = SettingValue::Number(i64::from(*line == "full"));
                target.engine.settings.put(&SETTINGS[Setting::Maxmemory as usize], limit);
            }
            line => assert_eq!(target.call(&command(line)).print(), *expected, "{line}"),
        }
    }
}

#[test]
fn memory_runs_out_between_multi_and_exec() {
    check(&[
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("full", ""),
        (
            "EXEC",
            "(error) EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
        ),
        ("EXEC", "(error) ERR EXEC without MULTI"),
        ("EXISTS a", "(integer) 0"),
        ("SET a 1", OUT_OF_MEMORY),
        ("free", ""),
        ("SET a 1", "OK"),
    ]);
}

#[test]
fn memory_is_full_while_queueing() {
    check(&[
        ("MULTI", "OK"),
        ("full", ""),
        ("SET a 1", OUT_OF_MEMORY),
        ("free", ""),
        ("EXEC", "(error) EXECABORT Transaction discarded because of previous errors."),
        ("EXISTS a", "(integer) 0"),
    ]);
}

/// Queueing takes memory, whatever is queued.
#[test]
fn nothing_is_queued_while_memory_is_full() {
    check(&[
        ("SET a 1", "OK"),
        ("full", ""),
        ("GET a", "\"1\""),
        ("MULTI", "OK"),
        ("GET a", OUT_OF_MEMORY),
        ("WATCH a", OUT_OF_MEMORY),
        ("EXEC", "(error) EXECABORT Transaction discarded because of previous errors."),
        ("MULTI", "OK"),
        ("EXEC", "(empty array)"),
    ]);
}

#[test]
fn what_needs_no_memory_runs() {
    check(&[
        ("SET a 1", "OK"),
        ("MULTI", "OK"),
        ("GET a", "QUEUED"),
        ("DEL a", "QUEUED"),
        ("full", ""),
        ("EXEC", "1) \"1\"\n2) (integer) 1"),
        ("free", ""),
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("full", ""),
        ("DISCARD", "OK"),
        ("GET a", "(nil)"),
    ]);
}
