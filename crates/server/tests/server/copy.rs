//! `redis-cli --rdb` takes a copy of the data along, while others go on.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::Running;
use redpoll_store::{Config, Store, Value};
use redpoll_testkit::Scratch;

/// Takes a copy and opens a store on it.
fn copy(running: &Running, option: &str) -> (Store, Scratch) {
    let dir = Scratch::new().expect("there is room for a directory");
    let place = dir.path().join("dump.rdb");
    let output = Command::new("redis-cli")
        .args(["-p", &running.address().port().to_string(), option])
        .arg(&place)
        .output()
        .expect("redis-cli runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("Transfer finished with success"), "{said}");
    let checked = Command::new("redis-check-rdb").arg(&place).output().expect("redis-check-rdb runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let config = Config::in_memory().set("dir", &dir.path().display().to_string()).expect("the setting exists");
    (Store::open(config).expect("the copy is loaded"), dir)
}

/// Tells the others to end, also if something is found wrong.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_copy_holds_one_moment_of_everything_or_the_functions() {
    let dir = Scratch::new().unwrap();
    let running = Running::start(&[("dir", &dir.path().display().to_string())]);
    let store = &running.store;
    let library = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)";
    assert!(matches!(store.call(&["FUNCTION", "LOAD", library]), Value::Bulk(_)));
    for number in 0..20_000 {
        store.call(&["SET", &format!("key:{number}"), "a value that repeats itself, a value that repeats itself"]);
    }
    store.call(&["MSET", "left", "0", "right", "0"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        scope.spawn(|| {
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                let text = round.to_string();
                store.call(&["MSET", "left", &text, "right", &text]);
            }
        });
        for _ in 0..3 {
            let (copied, _dir) = copy(&running, "--rdb");
            assert_eq!(copied.call(&["DBSIZE"]), Value::Int(20_002));
            let sides = copied.call(&["MGET", "left", "right"]);
            assert!(matches!(&sides, Value::Array(sides) if sides[0] == sides[1]), "{sides:?}");
            assert_eq!(copied.call(&["FCALL", "answer", "0"]), Value::Int(42));
        }
        let (copied, _dir) = copy(&running, "--functions-rdb");
        assert_eq!(copied.call(&["DBSIZE"]), Value::Int(0));
        assert_eq!(copied.call(&["FCALL", "answer", "0"]), Value::Int(42));
    });
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "copies leave nothing behind");
}

#[test]
fn replicas_are_refused_and_nobody_is_copied_to_by_accident() {
    let running = Running::start(&[]);
    let mut client = running.connect();
    client.send("REPLCONF listening-port 1\r\nSYNC\r\nREPLCONF rdb-only 1\r\nSYNC\r\n");
    let no = "-ERR there is no replication here: this server neither follows another one nor is followed\r\n";
    let expected = format!("{no}{no}+OK\r\n-ERR the data cannot be copied: ERR there is no data directory\r\n");
    assert_eq!(String::from_utf8_lossy(&client.until_closed()), expected);
}
