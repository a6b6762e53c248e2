//! Which files the log has and what stands in them, where settings say so: the first base, what a rewrite has replaced, notes of the time. redis-check-aof
//! reads them all.

use crate::support;
use std::process::Command;

use redpoll_testkit::Scratch;

/// Returns the lines of the manifest without what each begins with.
fn manifest(dir: &Scratch) -> Vec<String> {
    let text =
        std::fs::read_to_string(dir.path().join("appendonlydir/appendonly.aof.manifest")).expect("there is a log");
    text.lines().map(|line| line.trim_start_matches("file appendonly.aof.").to_owned()).collect()
}

/// Returns the names of all files but the manifest, without what each begins with, in order.
fn names(dir: &Scratch) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path().join("appendonlydir")).expect("there is a log");
    let names = entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let names = names.map(|name| name.trim_start_matches("appendonly.aof.").to_owned());
    let mut names: Vec<String> = names.filter(|name| name != "manifest").collect();
    names.sort();
    names
}

fn content(dir: &Scratch, name: &str) -> Vec<u8> {
    std::fs::read(dir.path().join("appendonlydir").join(format!("appendonly.aof.{name}"))).expect("the file is there")
}

/// Has redis-check-aof read the log and returns what it says.
fn checked(dir: &Scratch) -> String {
    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    let output = Command::new("redis-check-aof").arg(manifest).output().expect("redis-check-aof is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("All AOF files and manifest are valid"), "{text}");
    text
}

#[test]
fn a_log_begins_with_an_empty_base_and_no_file_is_written_over() {
    for (preamble, base) in [("yes", "1.base.rdb"), ("no", "1.base.aof")] {
        let dir = Scratch::new().unwrap();
        let store = support::in_directory_with(&dir, &[("aof-use-rdb-preamble", preamble)]);
        support::succeed(&mut store.connect(), "SET a 1");
        drop(store);
        let begun = [format!("{base} seq 1 type b"), "1.incr.aof seq 1 type i".to_owned()];
        assert_eq!(manifest(&dir), begun);
        checked(&dir);
        let again = support::in_directory_with(&dir, &[("aof-use-rdb-preamble", preamble)]);
        assert_eq!(again.get("a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(manifest(&dir), begun, "a log that is there has its base or needs none");
        drop(again);
        // Whoever has lost the manifest still has the files.
        let before = content(&dir, base);
        std::fs::remove_file(dir.path().join("appendonlydir/appendonly.aof.manifest")).unwrap();
        drop(support::in_directory_with(&dir, &[("aof-use-rdb-preamble", preamble)]));
        assert_eq!(manifest(&dir)[0], format!("{} seq 2 type b", base.replace('1', "2")));
        assert_eq!(content(&dir, base), before);
    }
}

#[test]
fn replaced_files_are_kept_until_the_setting_or_a_start_says_otherwise() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory(&dir);
    let mut connection = store.connect();
    let mut rewrite = || {
        support::succeed(&mut connection, "INCR n");
        support::succeed(&mut connection, "BGREWRITEAOF");
        support::until_written(&store);
    };
    support::succeed(&mut store.connect(), "CONFIG SET aof-disable-auto-gc yes");
    rewrite();
    rewrite();
    let expected = [
        "3.base.rdb seq 3 type b",
        "2.incr.aof seq 2 type h",
        "2.base.rdb seq 2 type h",
        "1.incr.aof seq 1 type h",
        "1.base.rdb seq 1 type h",
        "3.incr.aof seq 3 type i",
    ];
    assert_eq!(manifest(&dir), expected);
    assert_eq!(names(&dir).len(), 6);
    checked(&dir);
    support::succeed(&mut store.connect(), "CONFIG SET aof-disable-auto-gc no");
    assert_eq!(manifest(&dir), [expected[0], expected[5]]);
    assert_eq!(names(&dir), ["3.base.rdb", "3.incr.aof"]);
    support::succeed(&mut store.connect(), "CONFIG SET aof-disable-auto-gc yes");
    rewrite();
    drop((connection, store));
    assert_eq!(names(&dir).len(), 4);
    let store = support::in_directory_with(&dir, &[("aof-disable-auto-gc", "yes")]);
    assert_eq!((names(&dir).len(), store.get("n").unwrap()), (4, Some(b"3".to_vec())));
    drop(store);
    let store = support::in_directory(&dir);
    assert_eq!((names(&dir).len(), store.get("n").unwrap()), (2, Some(b"3".to_vec())));
}

#[test]
fn times_are_noted_before_changes_and_never_within_a_transaction() {
    let dir = Scratch::new().unwrap();
    let store = support::in_directory_with(&dir, &[("aof-use-rdb-preamble", "no")]);
    let mut connection = store.connect();
    support::succeed(&mut connection, "SET before 1");
    support::succeed(&mut connection, "CONFIG SET aof-timestamp-enabled yes");
    support::succeed(&mut connection, "SET a 1");
    for line in ["MULTI", "SET b 1", "SET c 1", "EXEC"] {
        support::run(&mut connection, line);
    }
    store.flush_log().unwrap();
    let text = String::from_utf8(content(&dir, "1.incr.aof")).unwrap();
    let noted = text.lines().filter(|line| line.starts_with("#TS:")).count();
    assert!(noted >= 1 && text.contains("before\r\n$1\r\n1\r\n#TS:1"), "{text}");
    let transaction = text.split("MULTI").nth(1).and_then(|rest| rest.split("EXEC").next()).unwrap();
    assert!(!transaction.contains('#'), "{text}");
    support::succeed(&mut connection, "BGREWRITEAOF");
    support::until_written(&store);
    assert!(content(&dir, "2.base.aof").starts_with(b"#TS:1"));
    support::succeed(&mut connection, "SET d 1");
    drop((connection, store));
    checked(&dir);
    let again = support::in_directory(&dir);
    assert_eq!(again.call(&["EXISTS", "before", "a", "b", "c", "d"]), redpoll_store::Value::Int(5));
}

#[test]
fn a_log_that_a_transaction_switches_on_begins_behind_it() {
    let dir = Scratch::new().unwrap();
    let store = support::with_snapshots(&dir);
    let mut connection = store.connect();
    let lines = ["MULTI", "SET a 1", "CONFIG SET appendonly yes", "SET b 2", "EXEC"];
    lines.iter().for_each(|line| support::succeed(&mut connection, line));
    let began = std::time::Instant::now();
    while support::info(&store, "aof_rewrites") != "1" {
        assert!(began.elapsed().as_secs() < 60, "the log does not begin");
        std::thread::yield_now();
    }
    support::succeed(&mut connection, "SET c 3");
    let switched =
        ["MULTI", "CONFIG SET appendonly no", "CONFIG SET appendonly yes", "CONFIG SET appendonly no", "EXEC"];
    switched.iter().for_each(|line| support::succeed(&mut connection, line));
    assert_eq!(support::info(&store, "aof_rewrite_scheduled"), "0", "nothing begins that is not wanted any more");
    drop((connection, store));
    let again = support::in_directory(&dir);
    assert_eq!(again.call(&["MGET", "a", "b", "c"]), again.call(&["EVAL", "return {'1', '2', '3'}", "0"]));
}
