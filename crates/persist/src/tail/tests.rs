//! Every point of failure, alone and in pairs: what is on the disk after a successful sync is what was taken over, in order, once.

use std::path::Path;

use super::*;
use crate::disk::Disk;
use crate::faulty::{Fault, FaultyDisk};

/// Batches a run carries, so that each call of a kind comes at least so often.
const BATCHES: usize = 5;

/// Attempts after which a disk with two faults must have taken everything.
const ATTEMPTS_MAX: usize = 8;

const FILE: &str = "/log";

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.make_dir(Path::new("/")).unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> Tail {
    Tail::new(disk.append(Path::new(FILE)).unwrap(), 0)
}

fn seen(disk: &FaultyDisk) -> Vec<u8> {
    disk.seen(Path::new(FILE))
}

fn batch(index: usize) -> Vec<u8> {
    format!("<batch {index}>").into_bytes()
}

/// Carries batches to a disk with faults, syncing after every second one; returns how many attempts failed.
fn run(faults: &[Fault]) -> usize {
    let disk = disk();
    disk.plan(faults.to_vec());
    let mut tail = open(&disk);
    let (mut taken, mut failed) = (Vec::new(), 0);
    for index in 0..BATCHES {
        let mut bytes = batch(index);
        taken.extend_from_slice(&bytes);
        tail.take(&mut bytes);
        assert!(bytes.is_empty());
        let wants_sync = index % 2 == 0;
        for attempt in 0.. {
            assert!(attempt < ATTEMPTS_MAX, "{faults:?}: no end of failures");
            let sync = wants_sync || tail.must_sync();
            let result = tail.write().and_then(|()| if sync { tail.sync() } else { Ok(()) });
            match result {
                Ok(()) => {
                    assert_eq!(seen(&disk).escape_ascii().to_string(), taken.escape_ascii().to_string(), "{faults:?}");
                    assert_eq!(tail.written(), taken.len() as u64, "{faults:?}");
                    if sync {
                        let stored = disk.stored(Path::new(FILE));
                        assert!(stored == taken, "{faults:?}: stored {}", stored.escape_ascii());
                        assert_eq!(tail.len(), 0, "{faults:?}: what is safe is not kept");
                    }
                    break;
                }
                Err(_) => failed += 1,
            }
        }
    }
    failed
}

fn points() -> impl Iterator<Item = Fault> + Clone {
    (0..2 * BATCHES)
        .flat_map(|call| [Fault::ShortWrite(call), Fault::Write(call), Fault::Sync(call), Fault::Truncate(call)])
}

#[test]
fn without_faults_nothing_fails() {
    assert_eq!(run(&[]), 0);
}

#[test]
fn each_point_of_failure() {
    let failed: usize = points().map(|fault| run(&[fault])).sum();
    assert!(failed >= BATCHES, "only {failed} attempts failed: the faults do not strike");
}

#[test]
fn each_pair_and_a_cut_that_fails_too() {
    for first in points() {
        for second in points() {
            run(&[first, second, Fault::Truncate(0)]);
        }
    }
}

#[test]
fn released_bytes_are_not_written_again() {
    let disk = disk();
    let mut tail = open(&disk);
    tail.take(&mut batch(0));
    tail.write().unwrap();
    tail.release();
    disk.plan(vec![Fault::Sync(0)]);
    tail.take(&mut batch(1));
    tail.write().unwrap();
    assert!(tail.sync().is_err() && tail.must_sync());
    tail.write().unwrap();
    tail.sync().unwrap();
    assert_eq!(seen(&disk), [batch(0), batch(1)].concat());
    assert!(!tail.must_sync());
}
