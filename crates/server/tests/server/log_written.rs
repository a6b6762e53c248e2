//! What is acknowledged is in the log's file by then, and on the disk under `appendfsync always`: a kill takes nothing from who was answered.

use std::path::Path;
use std::sync::Arc;

use crate::support::{Running, eventually};
use redpoll_store::Config;
use redpoll_store::faulty::FaultyDisk;

const LOG: &str = "/data/appendonlydir/appendonly.aof.1.incr.aof";
const CLIENTS: usize = 4;
const CHANGES: usize = 50;

/// Has clients change something at the same time and looks, after each reply, whether the change is among the bytes that `kept` finds.
fn every_reply_finds_its_change(policy: &str, kept: impl Fn(&FaultyDisk) -> Vec<u8> + Sync) {
    let disk = FaultyDisk::new(1);
    let config = Config::in_directory("/data").set("appendfsync", policy).expect("the setting exists");
    let running = Running::start_store(2, config.on_disk(Arc::new(disk.clone())));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (running, disk, kept) = (&running, &disk, &kept);
            scope.spawn(move || {
                let mut raw = running.connect();
                for change in 0..CHANGES {
                    let value = format!("value-{client}-{change}-");
                    raw.call(&format!("SET key:{client} {value}"), "+OK");
                    let bytes = kept(disk);
                    assert!(
                        bytes.windows(value.len()).any(|window| window == value.as_bytes()),
                        "{policy}: {value} was acknowledged and is not there"
                    );
                }
            });
        }
    });
}

#[test]
fn a_change_is_in_the_file_before_its_reply() {
    // Nothing is synced here, during which replies would not wait for the file.
    every_reply_finds_its_change("no", |disk| disk.seen(Path::new(LOG)));
}

#[test]
fn under_always_a_change_is_on_the_disk_before_its_reply() {
    every_reply_finds_its_change("always", |disk| disk.stored(Path::new(LOG)));
}

#[test]
fn who_ends_itself_behind_a_change_is_answered_first() {
    for policy in ["no", "everysec", "always"] {
        let disk = FaultyDisk::new(1);
        let config = Config::in_directory("/data").set("appendfsync", policy).expect("the setting exists");
        let running = Running::start_store(2, config.on_disk(Arc::new(disk.clone())));
        let mut raw = running.connect();
        raw.send("CLIENT ID\r\n");
        let id = raw.line().trim_start_matches(':').to_owned();
        raw.send(format!("SET key value\r\nCLIENT KILL ID {id} SKIPME no\r\n"));
        assert_eq!(raw.until_closed(), b"+OK\r\n:1\r\n", "{policy}");
    }
}

#[test]
fn who_wants_no_replies_has_its_changes_written_all_the_same() {
    let disk = FaultyDisk::new(1);
    let config = Config::in_directory("/data").set("appendfsync", "no").expect("the setting exists");
    let running = Running::start_store(2, config.on_disk(Arc::new(disk.clone())));
    let mut raw = running.connect();
    raw.send("CLIENT REPLY OFF\r\nSET key silent-value\r\n");
    eventually("the change is written", || {
        disk.seen(Path::new(LOG)).windows(12).any(|window| window == b"silent-value")
    });
}
