//! A disk that refuses under `appendfsync always`: who is told that a change may not be safe is cut off, since replies of a batch cannot be told apart any
//! more; others read on, and when the disk is well again changes are taken without a restart.

use std::sync::Arc;

use crate::support::{Running, eventually};
use redpoll_store::faulty::FaultyDisk;
use redpoll_store::{Config, Store};

fn config(disk: &FaultyDisk) -> Config {
    let config = Config::in_directory("/data").set("appendfsync", "always").expect("the setting exists");
    config.on_disk(Arc::new(disk.clone()))
}

#[test]
fn who_is_refused_is_cut_off_and_others_read_on() {
    let disk = FaultyDisk::new(1);
    let running = Running::start_store(2, config(&disk));
    let (mut refused, mut other) = (running.connect(), running.connect());
    refused.call("SET key safe", "+OK");
    disk.refuse();
    refused.send("SET key doubtful\r\n");
    let told = String::from_utf8(refused.until_closed()).expect("an error is text");
    assert_eq!(told, "-MISCONF Errors writing to the AOF file: the disk refuses\r\n");
    other.call("EXISTS key", ":1");
    eventually("changes are refused", || {
        other.send("PING\r\n");
        other.line().starts_with("-MISCONF Errors writing to the AOF file")
    });
    other.call("STRLEN key", ":8");
    disk.relent();
    eventually("changes are taken again", || {
        other.send("SET key last\r\n");
        other.line() == "+OK"
    });
    let again = Store::open(config(&disk.crash(1))).expect("the store opens");
    assert_eq!(again.get("key").expect("it is a string").as_deref(), Some(&b"last"[..]));
}
