//! Data at rest that is sealed: nothing of it is to be read in any file, and it comes back with the key alone.

use crate::support;
use std::path::{Path, PathBuf};

use redpoll_store::check::Checker;
use redpoll_store::{Config, Error, Store, Value};
use redpoll_testkit::Scratch;

/// What stands in keys and values and must not stand in files.
const SECRET: &str = "plaintext";

/// A key as it stands in a file.
fn key(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Writes a file of keys, which are digits here, beside the data.
fn keys(dir: &Scratch, digits: &str) -> String {
    let path = dir.path().join("keys");
    let text: String = digits.chars().map(|digit| key(digit) + "\n").collect();
    std::fs::write(&path, format!("# keys of a test\n{text}")).unwrap();
    path.display().to_string()
}

fn data(dir: &Scratch) -> PathBuf {
    dir.path().join("data")
}

fn config(dir: &Scratch, appendonly: &str) -> Config {
    let config = Config::in_memory().set("dir", &data(dir).display().to_string()).unwrap();
    config.set("appendonly", appendonly).unwrap().set("enable-debug-command", "yes").unwrap()
}

fn open(config: Config) -> Store {
    Store::open(config).unwrap_or_else(|error| panic!("the store opens: {error}"))
}

/// Opens a store whose files are sealed; each change is a part of its own of the log.
fn sealed(dir: &Scratch, digits: &str) -> Store {
    let config = config(dir, "yes").set("appendfsync", "always").unwrap();
    open(config.set("encryption-key-file", &keys(dir, digits)).unwrap())
}

/// Returns the files below a directory that hold a text.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        // What is written at the moment may get another name meanwhile.
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

/// Asks again and again until something is so.
#[track_caller]
fn soon(is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed().as_secs() < 60, "it does not come to that");
        std::thread::yield_now();
    }
}

fn fill(store: &Store) {
    for number in 0..50 {
        store.set(format!("{SECRET}:{number}"), format!("{SECRET} {number}")).unwrap();
    }
    assert!(!matches!(store.call(&["RPUSH", "list", SECRET, SECRET]), Value::Error(_)));
}

#[track_caller]
fn refused(config: Config, parts: &[&str]) {
    let Err(error) = Store::open(config) else { panic!("it opened") };
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(!text.contains(&key('a')[..16]) && !text.contains(SECRET), "{text}");
}

#[test]
fn a_plain_directory_becomes_a_sealed_one() {
    let dir = Scratch::new().unwrap();
    let plain = open(config(&dir, "yes"));
    fill(&plain);
    assert_eq!(plain.call(&["SAVE"]), Value::Simple("OK".into()));
    let digest = support::digest(&plain);
    drop(plain);
    assert_eq!(files_with(&data(&dir), SECRET).len(), 2);

    let store = sealed(&dir, "a");
    assert_eq!(support::digest(&store), digest);
    support::until_written(&store);
    // The snapshot is due once the log is rewritten; the housekeeper begins it.
    soon(|| files_with(&data(&dir), SECRET).is_empty());
    store.set(format!("{SECRET}:more"), SECRET).unwrap();
    let digest = support::digest(&store);
    drop(store);
    assert_eq!(files_with(&data(&dir), SECRET), Vec::<PathBuf>::new());

    refused(config(&dir, "yes"), &["base.rdb", "sealed with the key", "there is no key"]);
    refused(config(&dir, "no"), &["dump.rdb", "sealed with the key", "there is no key"]);
    let wrong = config(&dir, "yes").encryption_keys(&key('b')).unwrap();
    refused(wrong, &["base.rdb", "not among those there are"]);
    let store = open(config(&dir, "yes").encryption_keys(&key('a')).unwrap());
    assert_eq!(support::digest(&store), digest);
    drop(store);
    let store = open(config(&dir, "no").encryption_keys(&key('a')).unwrap());
    assert_eq!(store.get(format!("{SECRET}:7")).unwrap(), Some(format!("{SECRET} 7").into_bytes()));
}

#[test]
fn a_key_is_changed_while_the_store_runs() {
    let dir = Scratch::new().unwrap();
    let store = sealed(&dir, "a");
    fill(&store);
    let digest = support::digest(&store);
    let set = |digits: &str| store.call(&["CONFIG", "SET", "encryption-key-file", &keys(&dir, digits)]);
    let Value::Error(text) = set("b") else { panic!("files would be left that no key opens") };
    assert!(text.contains("is not among the new ones"), "{text}");
    let Value::Error(text) = store.call(&["CONFIG", "SET", "encryption-key-file", ""]) else {
        panic!("nothing is sealed")
    };
    assert!(text.contains("without a key nothing can be sealed"), "{text}");
    let Value::Error(text) = store.call(&["CONFIG", "SET", "encryption-key-file", "/dev/null"]) else {
        panic!("no key")
    };
    assert!(text.contains("there is no key in it"), "{text}");

    assert_eq!(set("ba"), Value::Simple("OK".into()));
    store.set("after", SECRET).unwrap();
    soon(|| set("b") == Value::Simple("OK".into()));
    let digest_after = support::digest(&store);
    assert_ne!(digest, digest_after);
    drop(store);
    assert_eq!(support::digest(&sealed(&dir, "b")), digest_after);
}

#[test]
fn nothing_is_to_be_read_in_files_for_the_time_being() {
    let dir = Scratch::new().unwrap();
    let store = sealed(&dir, "a");
    fill(&store);
    for (command, form) in [("BGSAVE", "yes"), ("BGREWRITEAOF", "yes"), ("BGREWRITEAOF", "no")] {
        for (name, value) in [("rdb-key-save-delay", "2000"), ("aof-use-rdb-preamble", form)] {
            assert_eq!(store.call(&["CONFIG", "SET", name, value]), Value::Simple("OK".into()));
        }
        assert!(!matches!(store.call(&[command]), Value::Error(_)));
        let (mut looks, mut seen) = (0, false);
        while looks < 2
            || support::info(&store, "rdb_bgsave_in_progress") != "0"
            || support::info(&store, "aof_rewrite_in_progress") != "0"
        {
            assert_eq!(files_with(&data(&dir), SECRET), Vec::<PathBuf>::new(), "{command} {form}");
            let names = |dir: PathBuf| std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name());
            let mut names = names(data(&dir)).chain(names(data(&dir).join("appendonlydir")));
            seen |= names.any(|name| name.to_string_lossy().starts_with("temp-"));
            looks += 1;
        }
        assert!(seen, "{command} writes beside the file first");
        support::until_written(&store);
        assert_eq!(files_with(&data(&dir), SECRET), Vec::<PathBuf>::new(), "{command} {form}");
    }
    let digest = support::digest(&store);
    drop(store);
    assert_eq!(support::digest(&sealed(&dir, "a")), digest);
}

#[test]
fn keys_show_nowhere_and_what_is_none_is_refused() {
    let dir = Scratch::new().unwrap();
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, "").unwrap();
    let base = config(&dir, "yes").read(Some(&file), "").unwrap();
    let store = open(base.encryption_keys(&key('a')).unwrap());
    assert_eq!(store.call(&["CONFIG", "REWRITE"]), Value::Simple("OK".into()));
    let shown = format!("{:?}{:?}", store.call(&["CONFIG", "GET", "*"]), store.call(&["INFO", "everything"]));
    let rewritten = std::fs::read_to_string(&file).unwrap();
    assert!(rewritten.contains("appendonly yes") && !rewritten.contains(&key('a')) && !shown.contains(&key('a')));
    drop(store);
    for (keys, said) in [("abc", "line 1 is no key"), ("", "there is no key in it")] {
        let path = dir.path().join("bad");
        std::fs::write(&path, keys).unwrap();
        let path = path.display().to_string();
        refused(config(&dir, "yes").set("encryption-key-file", &path).unwrap(), &[&path, said]);
    }
    refused(config(&dir, "yes").set("encryption-key-file", "/no/such").unwrap(), &["/no/such", "No such file"]);
    let Err(Error::Setting { reason, .. }) = config(&dir, "yes").encryption_keys("secret") else { panic!("no key") };
    assert!(!reason.contains("secret"), "{reason}");
}

#[test]
fn what_could_not_be_sealed_anew_is_tried_again() {
    let dir = Scratch::new().unwrap();
    let store = sealed(&dir, "a");
    fill(&store);
    let set = |digits: &str| store.call(&["CONFIG", "SET", "encryption-key-file", &keys(&dir, digits)]);
    // Stands where the new base is written before it has its name.
    let temporary = format!("temp-rewriteaof-bg-{}.aof", std::process::id());
    let obstacle = data(&dir).join("appendonlydir").join(temporary);
    std::fs::create_dir(&obstacle).unwrap();
    assert_eq!(set("ba"), Value::Simple("OK".into()));
    soon(|| support::info(&store, "aof_last_bgrewrite_status") == "err");
    std::fs::remove_dir(&obstacle).unwrap();
    soon(|| set("b") == Value::Simple("OK".into()));
    soon(|| support::info(&store, "aof_last_bgrewrite_status") == "ok");
}

#[test]
fn sealed_files_are_looked_at_and_cut_where_a_change_ends() {
    let dir = Scratch::new().unwrap();
    let store = sealed(&dir, "a");
    fill(&store);
    drop(store);
    let checker = || Checker::new(config(&dir, "yes").encryption_keys(&key('a')).unwrap()).unwrap();
    let found = checker().look(&data(&dir)).unwrap();
    assert!(
        found
            .iter()
            .all(|found| found.fault.is_none() && found.is_sealed == (found.path.extension().unwrap() != "manifest"))
    );
    let log = found.last().unwrap();
    assert_eq!((log.commands, log.path.file_name().unwrap()), (52, "appendonly.aof.1.incr.aof".as_ref()));
    assert!(
        Checker::new(config(&dir, "yes")).unwrap().look(&data(&dir)).is_err(),
        "without the key nothing can be said"
    );

    // A part in the middle is damaged: all from there on goes.
    let mut bytes = std::fs::read(&log.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log.path, &bytes).unwrap();
    let found = checker().look(&data(&dir)).unwrap();
    let fault = found.last().unwrap().fault.clone().unwrap();
    assert!(fault.reason.contains("of the sealed file"), "{}", fault.reason);
    refused(config(&dir, "yes").encryption_keys(&key('a')).unwrap(), &["damaged at offset", "redpoll check --repair"]);
    let checker = checker();
    let held = checker.hold(&data(&dir)).unwrap();
    checker.repair(found.last().unwrap(), &held).unwrap();
    assert!(checker.look(&data(&dir)).unwrap().iter().all(|found| found.fault.is_none()));
    drop(held);
    let store = sealed(&dir, "a");
    let there = (0..50).take_while(|number| store.get(format!("{SECRET}:{number}")).unwrap().is_some()).count();
    assert!(there < 50 && there as u64 + 1 == found.last().unwrap().commands, "{there}");
}
