//! What is wrong is found at its place, and cut away without taking anything else along.

use std::sync::atomic::AtomicU64;

use redpoll_resp::Limits;
use redpoll_testkit::Scratch;

use super::*;
use crate::disk::SystemDisk;
use crate::replay::Torn;
use crate::snapshot::Into;

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$6\r\nsecret\r\n$1\r\nv\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const FOREIGN: &[u8] = b"*2\r\n$7\r\nFOREIGN\r\n$1\r\nx\r\n";

/// A log of increments with these contents.
fn log(increments: &[&[u8]]) -> (Scratch, LogFiles) {
    let dir = Scratch::new().unwrap();
    let files = LogFiles::new(dir.path(), "appendonly.aof");
    let mut manifest = Manifest::default();
    for content in increments {
        std::fs::write(files.path(manifest.add_increment(&files)), content).unwrap();
    }
    manifest.write(&files).unwrap();
    (dir, files)
}

fn look(files: &LogFiles) -> Vec<Finding> {
    let limits = redpoll_keyspace::Limits::default();
    let reading = Reading {
        limits: Limits::default(),
        into: Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) },
        torn: Torn::Refuse,
    };
    let known = |args: &[&[u8]]| if args[0] == b"FOREIGN" { Err("an unknown command") } else { Ok(()) };
    check_log(files, &reading, &known).unwrap()
}

/// Looks at a log of one increment and says what is wrong: where, what, and what a cut takes away.
fn check(name: &str, content: &[u8], expected: Option<(u64, &str, [u64; 3])>) {
    let (_dir, files) = log(&[content]);
    let before = std::fs::read(files.path("appendonly.aof.1.incr.aof")).unwrap();
    let found = look(&files).pop().unwrap();
    let fault = found.fault.as_ref().map(|fault| {
        let Remedy::Cut { from, bytes, commands } = fault.remedy else { panic!("{fault:?}") };
        (fault.offset.unwrap(), fault.reason.as_str(), [from, bytes, commands])
    });
    assert_eq!(fault, expected, "{name}");
    assert_eq!(std::fs::read(&found.path).unwrap(), before, "looking changes nothing");
    let Some((.., [from, ..])) = expected else { return };
    let copy = cut(&SystemDisk, &found.path, from).unwrap();
    assert_eq!(
        (std::fs::read(&copy).unwrap(), copy.file_name().unwrap()),
        (before, "appendonly.aof.1.incr.aof.before-repair".as_ref())
    );
    assert!(cut(&SystemDisk, &found.path, from).is_err(), "a copy is not written over");
    let after = look(&files).pop().unwrap();
    assert_eq!((after.fault, after.len, after.commands), (None, from, found.commands), "{name}");
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_a_cut_takes() {
    let (one, two) = (SET.len() as u64, 2 * SET.len() as u64);
    let join = |parts: &[&[u8]]| parts.concat();
    check("sound", &join(&[SET, MULTI, SET, EXEC, b"#TS:1\r\n"]), None);
    check("empty", b"", None);
    check("torn", &join(&[SET, &SET[..20]]), Some((one, TORN, [one, 20, 0])));
    check("open", &join(&[SET, MULTI, SET]), Some((one, TORN, [one, 15 + one, 2])));
    check("garbage", &join(&[SET, b"x\r\n", SET, SET, &SET[..9]]), Some((one, "expected '*'", [one, 3 + two + 9, 2])));
    // The damage is within a transaction, none of which counts then.
    let within = join(&[SET, MULTI, SET, b"*1\r\n!", SET, EXEC, SET]);
    let len = within.len() as u64;
    check("within", &within, Some((two + 15, "expected '$'", [one, len - one, 4])));
    let unknown = join(&[SET, FOREIGN, SET]);
    check(
        "unknown",
        &unknown,
        Some((one + FOREIGN.len() as u64, "an unknown command", [one, FOREIGN.len() as u64 + one, 2])),
    );
    // A length that is wrong swallows what follows, which is counted all the same.
    let swallowed = join(&[SET, b"*2\r\n$3\r\nSET\r\n$500\r\n", SET, SET]);
    let len = swallowed.len() as u64;
    check("swallowed", &swallowed, Some((one, TORN, [one, len - one, 2])));
}

#[test]
fn commands_are_counted_across_what_is_read_at_a_time() {
    let value = "v".repeat(100_000);
    let command = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    let commands = 2 * (COUNTED_MAX + READ_SIZE) / command.len();
    let content = [b"x\r\n", command.repeat(commands).as_bytes()].concat();
    check("many", &content, Some((0, "expected '*'", [0, content.len() as u64, commands as u64])));
}

#[test]
fn only_the_last_file_that_holds_anything_is_cut() {
    let reasons = |increments: &[&[u8]]| {
        let (_dir, files) = log(increments);
        let told = |found: Finding| found.fault.map(|fault| (fault.reason, matches!(fault.remedy, Remedy::Cut { .. })));
        look(&files).into_iter().map(told).collect::<Vec<_>>()
    };
    let torn = &SET[..5];
    assert_eq!(reasons(&[SET, torn, b""]), [None, None, Some((TORN.into(), true)), None]);
    assert_eq!(reasons(&[torn, SET]), [None, Some((TORN_IN_THE_MIDDLE.into(), false)), None]);
    assert_eq!(reasons(&[b"x", torn]), [None, Some(("expected '*'".into(), false)), Some((TORN.into(), true))]);
}

#[test]
fn a_missing_file_and_a_manifest_that_is_none_are_faults() {
    let (_dir, files) = log(&[SET]);
    std::fs::remove_file(files.path("appendonly.aof.1.incr.aof")).unwrap();
    let fault = look(&files).pop().unwrap().fault.unwrap();
    assert_eq!((fault.reason.as_str(), matches!(fault.remedy, Remedy::None(_))), ("the file is not there", true));
    std::fs::write(files.path("appendonly.aof.manifest"), "file a seq 1").unwrap();
    let fault = look(&files).pop().unwrap().fault.unwrap();
    assert_eq!(fault.reason, "line 1: Invalid AOF manifest file format");
}

#[test]
fn a_damaged_value_is_told_without_its_key() {
    let (_dir, files) = log(&[b"REDIS0010\x02\x06secret\x02\x01a\x01a\xff"]);
    let fault = look(&files).pop().unwrap().fault.unwrap();
    assert_eq!((fault.key.as_deref(), fault.reason.contains("secret")), (Some(&b"secret"[..]), false), "{fault:?}");
    assert!(matches!(fault.remedy, Remedy::None(_)));
}
