//! The log on a disk that fails: what is acknowledged is there after the power went, in order and once; who waits is told; memory has a bound.

use redpoll_resp::{Limits, encode_command};

use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::disk::Disk;
use crate::faulty::{Call, Fault, FaultyDisk};
use crate::snapshot::Into;
use crate::{Reading, Record, replay};

/// Time after which a log that has not recovered never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file that a disk is for.
const FILE: &str = "/log/appendonly.aof.1.incr.aof";

/// A disk with a log of one increment.
fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.make_dir(Path::new("/log")).unwrap();
    let files = files(&disk);
    let mut manifest = Manifest::default();
    manifest.add_increment(&files);
    file(&disk);
    manifest.write(&files).unwrap();
    disk
}

fn files(disk: &FaultyDisk) -> LogFiles {
    LogFiles::on(Arc::new(disk.clone()), "/log", "appendonly.aof")
}

fn file(disk: &FaultyDisk) -> Box<dyn WriteFile> {
    disk.append(Path::new(FILE)).unwrap()
}

/// Plans faults, counted from now on.
fn plan(disk: &FaultyDisk, faults: impl IntoIterator<Item = Fault>) {
    let [writes, syncs, truncates] = [Call::Write, Call::Sync, Call::Truncate].map(|call| disk.calls(call));
    let planned = faults.into_iter().map(|fault| match fault {
        Fault::ShortWrite(index) => Fault::ShortWrite(writes + index),
        Fault::Write(index) => Fault::Write(writes + index),
        Fault::Sync(index) => Fault::Sync(syncs + index),
        Fault::Truncate(index) => Fault::Truncate(truncates + index),
        other => other,
    });
    disk.plan(planned.collect());
}

/// How often the log was synced; the manifest was once.
fn syncs(disk: &FaultyDisk) -> usize {
    disk.calls(Call::Sync) - 1
}

fn stored_len(disk: &FaultyDisk) -> u64 {
    disk.stored(Path::new(FILE)).len() as u64
}

fn log(disk: &FaultyDisk, policy: SyncPolicy) -> AppendLog {
    AppendLog::start(Tail::new(file(disk), 0), "model".into(), policy, Duration::from_millis(1)).unwrap()
}

fn append(log: &AppendLog, text: &str) -> u64 {
    let mut record = Vec::new();
    encode_command(&[b"INCR".as_slice(), text.as_bytes()], &mut record);
    log.append(None, std::iter::once((0, record.as_slice())))
}

/// Waits until a condition holds that another thread brings about.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "it does not come about");
        std::thread::yield_now();
    }
}

/// Replays what is on the disk after the power went.
fn stored(disk: &FaultyDisk) -> Vec<String> {
    let left = FaultyDisk::new(1);
    left.make_dir(Path::new("/log")).unwrap();
    for path in disk.files() {
        left.append(&path).unwrap().write_all(&disk.stored(&path)).unwrap();
    }
    let files = files(&left);
    let mut seen = Vec::new();
    let limits = redpoll_keyspace::Limits::default();
    let reading = Reading {
        limits: Limits::default(),
        into: Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) },
        torn: crate::Torn::CutOff,
    };
    let replayed = replay(&files, &reading, &mut |record| {
        let Record::Command(args) = record else { panic!("there is no snapshot") };
        seen.push(args.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" "));
        Ok(())
    });
    replayed.unwrap();
    seen
}

#[test]
fn what_always_acknowledges_is_stored_once_and_in_order() {
    const CHANGES: usize = 6;
    let kinds = [Fault::ShortWrite, Fault::Write, Fault::Sync];
    for fault in kinds {
        for call in 0..CHANGES {
            let disk = disk();
            plan(&disk, [fault(call), fault(call + 1), Fault::Truncate(0)]);
            let log = log(&disk, SyncPolicy::Always);
            let mut expected = vec!["SELECT 0".to_owned()];
            for change in 0..CHANGES {
                expected.push(format!("INCR {change}"));
                let offset = append(&log, &change.to_string());
                until(|| log.wait(offset).is_ok());
                assert_eq!(stored(&disk), expected, "{:?}", fault(call));
            }
        }
    }
}

#[test]
fn who_waits_is_told_and_the_log_recovers() {
    let disk = disk();
    let log = log(&disk, SyncPolicy::Always);
    disk.refuse();
    let offset = append(&log, "x");
    assert_eq!(log.wait(offset), Err("the disk refuses".to_owned()));
    assert!(log.flush().is_err() && log.failure().is_some() && log.verdict(offset).is_some_and(|said| said.is_err()));
    disk.relent();
    until(|| log.failure().is_none());
    assert_eq!((log.wait(offset), log.offsets()), (Ok(()), (offset, offset)));
    assert_eq!(stored(&disk), ["SELECT 0", "INCR x"]);
}

#[test]
fn only_a_sync_makes_good_a_sync_that_failed() {
    let disk = disk();
    plan(&disk, (0..5).map(Fault::Sync));
    let log = log(&disk, SyncPolicy::No);
    append(&log, "x");
    assert!(log.flush().is_err());
    // Nobody asks for a sync now, and writing succeeds.
    until(|| log.failure().is_none());
    assert_eq!(syncs(&disk), 6);
}

#[test]
fn memory_is_bounded_while_the_disk_refuses() {
    for policy in [SyncPolicy::EverySecond, SyncPolicy::No] {
        let disk = disk();
        let log = log(&disk, policy);
        disk.refuse();
        let record = vec![b'x'; 1 << 20];
        let mut appended = 0;
        let mut offset = 0;
        while log.verdict(offset) == Some(Ok(())) {
            offset = log.append(None, std::iter::once((0, record.as_slice())));
            appended += record.len();
            // What was taken over counts all the same.
            log.settle();
            assert!(appended <= PENDING_MAX + record.len(), "{policy:?}: {appended} bytes wait");
        }
        assert!(log.wait(offset).is_err(), "{policy:?}: nobody is held back for ever");
        assert!(log.is_settled(0), "{policy:?}: who has changed nothing need not wait");
        disk.relent();
        until(|| log.wait(offset).is_ok());
        log.flush().unwrap();
        assert_eq!(stored_len(&disk), offset);
        assert_eq!(log.shared.state.lock().unsafe_len(), 0);
    }
}

#[test]
fn nothing_goes_into_the_next_file_before_the_one_before_is_stored() {
    for fault in [Fault::ShortWrite(0), Fault::Write(0), Fault::Sync(0)] {
        for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::No] {
            let (first, second) = (disk(), disk());
            plan(&first, [fault, Fault::Truncate(0)]);
            let log = log(&first, policy);
            let before = append(&log, "before");
            assert_eq!(log.switch_to(file(&second), "second".into()), Some(before));
            let after = append(&log, "after");
            until(|| {
                let stored = stored_len(&first);
                assert!(second.seen(Path::new(FILE)).is_empty() || stored == before, "{fault:?} {policy:?}");
                log.flush().is_ok()
            });
            assert_eq!(log.offsets(), (after, after));
            assert_eq!(stored(&first), ["SELECT 0", "INCR before"]);
            assert_eq!(stored(&second), ["SELECT 0", "INCR after"]);
            // A failure in the second file cuts that one back.
            plan(&second, (0..20).map(Fault::Sync));
            let last = append(&log, "last");
            until(|| {
                plan(&second, []);
                log.flush().is_ok()
            });
            assert_eq!(log.offsets(), (last, last));
            assert_eq!(stored(&second), ["SELECT 0", "INCR after", "INCR last"]);
        }
    }
}

#[test]
fn a_file_that_is_not_left_yet_is_not_left_again() {
    let (first, second) = (disk(), disk());
    let log = log(&first, SyncPolicy::Always);
    first.refuse();
    let before = append(&log, "before");
    assert_eq!(log.switch_to(file(&second), "second".into()), Some(before));
    assert_eq!(log.switch_to(file(&disk()), "third".into()), None);
    append(&log, "after");
    first.relent();
    until(|| log.flush().is_ok());
    drop(log);
    assert_eq!(stored(&first), ["SELECT 0", "INCR before"]);
    assert_eq!(stored(&second), ["SELECT 0", "INCR after"]);
}

#[test]
fn who_asks_for_a_sync_is_told_when_it_has_ended() {
    for policy in [SyncPolicy::EverySecond, SyncPolicy::No] {
        let disk = disk();
        let log = log(&disk, policy);
        disk.refuse();
        let (told, heard) = std::sync::mpsc::channel();
        log.on_turn(move || told.send(()).expect("the test listens to the end"));
        assert!(log.is_synced(0) && log.request_sync(0) == 0, "{policy:?}: there is nothing to sync");
        let offset = append(&log, "x");
        assert!(!log.is_synced(offset), "{policy:?}");
        assert_eq!(log.request_sync(u64::MAX), offset, "{policy:?}: what a log before this one held is in it");
        // It fails for as long as the disk refuses, however long it takes until this thread looks.
        heard.recv_timeout(PATIENCE).unwrap();
        assert!(!log.is_synced(offset), "{policy:?}");
        disk.relent();
        // Told at least once more, when it is there: who was told of the failure just before hears of that first.
        while !log.is_synced(offset) {
            log.request_sync(offset);
            heard.recv_timeout(PATIENCE).unwrap();
        }
        assert!(log.is_synced(u64::MAX), "{policy:?}");
        assert_eq!(stored(&disk), ["SELECT 0", "INCR x"]);
    }
}

#[test]
fn what_is_settled_is_in_the_file_and_synced_only_under_always() {
    for policy in [SyncPolicy::EverySecond, SyncPolicy::No] {
        let disk = disk();
        let log = log(&disk, policy);
        let offset = append(&log, "x");
        assert!(
            !log.is_settled(offset) && disk.seen(Path::new(FILE)).is_empty(),
            "{policy:?}: appending writes nothing"
        );
        assert_eq!(log.settle(), offset, "{policy:?}");
        assert!(log.is_settled(offset) && !log.is_synced(offset), "{policy:?}");
        assert_eq!(disk.seen(Path::new(FILE)).len() as u64, offset, "{policy:?}");
    }
    let disk = disk();
    let log = log(&disk, SyncPolicy::Always);
    let (told, heard) = std::sync::mpsc::channel();
    log.on_turn(move || told.send(()).expect("the test listens to the end"));
    let offset = append(&log, "x");
    while log.settle() < offset {
        heard.recv_timeout(PATIENCE).unwrap();
    }
    assert!(log.is_settled(offset) && stored_len(&disk) == offset);
}

#[test]
fn nobody_who_settles_waits_for_a_disk_that_refuses() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::No] {
        let disk = disk();
        let log = log(&disk, policy);
        disk.refuse();
        let offset = append(&log, "x");
        until(|| log.settle() == offset && log.failure().is_some());
        let told = if policy == SyncPolicy::Always { Err("the disk refuses".to_owned()) } else { Ok(()) };
        assert_eq!(log.verdict(offset), Some(told), "{policy:?}");
        assert!(!log.is_settled(offset), "{policy:?}: who looks later is told the same");
        disk.relent();
        until(|| log.is_settled(offset));
        log.flush().unwrap();
        assert_eq!(stored(&disk), ["SELECT 0", "INCR x"], "{policy:?}");
    }
}

#[test]
fn threads_that_settle_at_once_leave_everything_in_order() {
    const THREADS: usize = 4;
    const CHANGES: usize = 500;
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::No] {
        let disk = disk();
        plan(&disk, [Fault::ShortWrite(3), Fault::Write(9), Fault::Sync(1)]);
        let log = log(&disk, policy);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let log = &log;
                scope.spawn(move || {
                    for change in 0..CHANGES {
                        let offset = append(log, &format!("{thread}:{change}"));
                        until(|| log.settle() >= offset && log.verdict(offset) == Some(Ok(())));
                    }
                });
            }
        });
        // A change that waits until a second is over has been forgotten.
        assert!(begun.elapsed() < PATIENCE / 2, "{policy:?}: {:?}", begun.elapsed());
        until(|| log.flush().is_ok());
        let stored = stored(&disk);
        assert_eq!(stored.len(), THREADS * CHANGES + 1, "{policy:?}");
        for thread in 0..THREADS {
            let own = stored.iter().filter(|line| line.starts_with(&format!("INCR {thread}:")));
            let expected = (0..CHANGES).map(|change| format!("INCR {thread}:{change}"));
            assert!(own.eq(expected.collect::<Vec<_>>().iter()), "{policy:?}");
        }
    }
}

/// A file whose calls wait until the test lets them go.
#[derive(Debug)]
struct Gated {
    file: Box<dyn WriteFile>,
    calls: std::sync::mpsc::Sender<&'static str>,
    go: std::sync::mpsc::Receiver<()>,
}

impl Gated {
    fn hold(&self, call: &'static str) {
        self.calls.send(call).expect("the test listens");
        self.go.recv_timeout(PATIENCE).expect("the test lets it go");
    }
}

impl std::io::Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hold("write");
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for Gated {
    fn length(&self) -> std::io::Result<u64> {
        self.file.length()
    }

    fn truncate(&mut self, length: u64) -> std::io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.hold("sync");
        self.file.sync()
    }
}

#[test]
fn a_file_that_is_left_while_somebody_writes_is_synced_first() {
    let (first, second) = (disk(), disk());
    let (calls, called) = std::sync::mpsc::channel();
    let (let_go, go) = std::sync::mpsc::channel();
    let gated = Box::new(Gated { file: file(&first), calls, go });
    let log = AppendLog::start(Tail::new(gated, 0), "model".into(), SyncPolicy::No, SECOND).unwrap();
    std::thread::scope(|scope| {
        let before = append(&log, "before");
        let writing = scope.spawn(|| log.settle());
        assert_eq!(called.recv_timeout(PATIENCE), Ok("write"));
        // The thread decides now what its turn is for, and waits for that of the other.
        append(&log, "meanwhile");
        log.write_soon();
        until(|| !log.shared.state.lock().asked || log.shared.state.lock().turn_taken);
        assert!(log.switch_to(file(&second), "second".into()).is_some());
        append(&log, "after");
        let_go.send(()).unwrap();
        for call in ["write", "sync"] {
            assert_eq!(called.recv_timeout(PATIENCE), Ok(call), "nothing else is done to the first file");
            assert!(second.seen(Path::new(FILE)).is_empty());
            let_go.send(()).unwrap();
        }
        assert!(writing.join().unwrap() >= before);
    });
    log.flush().unwrap();
    assert_eq!(stored(&first), ["SELECT 0", "INCR before", "INCR meanwhile"]);
    assert_eq!(stored(&second), ["SELECT 0", "INCR after"]);
}

#[test]
fn nobody_who_settles_waits_for_a_sync() {
    let disk = disk();
    let (calls, called) = std::sync::mpsc::channel();
    let (let_go, go) = std::sync::mpsc::channel();
    let gated = Box::new(Gated { file: file(&disk), calls, go });
    let log = AppendLog::start(Tail::new(gated, 0), "model".into(), SyncPolicy::No, SECOND).unwrap();
    let offset = append(&log, "synced");
    log.request_sync(offset);
    for call in ["write", "sync"] {
        assert_eq!(called.recv_timeout(PATIENCE), Ok(call));
        // Whoever comes while the sync is under way is acknowledged, and what it changed is written behind it.
        if call == "sync" {
            let meanwhile = append(&log, "meanwhile");
            assert_eq!(log.settle(), meanwhile);
            assert_eq!(log.verdict(meanwhile), Some(Ok(())));
        }
        let_go.send(()).unwrap();
    }
    assert_eq!(called.recv_timeout(PATIENCE), Ok("write"));
    let_go.send(()).unwrap();
    until(|| stored_len(&disk) == offset && log.is_settled(log.offsets().0));
    drop(let_go);
}

#[test]
fn a_sync_waits_for_as_many_changes_as_the_last_one_answered() {
    let disk = disk();
    let log = log(&disk, SyncPolicy::Always);
    append(&log, "first");
    let both = append(&log, "second");
    log.flush().unwrap();
    let mut state = log.shared.state.lock();
    assert_eq!((state.synced, state.changes, state.expected), (both, 0, 2));
    // A sync that ends in the future is one after which no time has passed.
    (state.sync_time, state.last_sync) = (SECOND, Instant::now() + PATIENCE);
    let gathered = |state: &mut State, changes: usize| {
        state.changes = changes;
        state.has_gathered()
    };
    assert_eq!([0, 1, 2, 3].map(|changes| gathered(&mut state, changes)), [false, false, true, true]);
    state.last_sync = Instant::now() - state.gather_time();
    assert!(gathered(&mut state, 1), "who was answered would be back");
    (state.changes, state.expected) = (0, 99);
    drop(state);
    // However many are expected, nobody waits for ever.
    let offset = append(&log, "third");
    until(|| log.settle() >= offset && log.verdict(offset) == Some(Ok(())));
    assert_eq!(log.shared.state.lock().expected, 1);
}

#[test]
fn the_time_is_noted_when_its_second_changes_and_never_within_a_unit() {
    let disk = disk();
    let log = log(&disk, SyncPolicy::Always);
    let record: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    log.append(None, std::iter::once((0, record)));
    for (time, records) in [(7, 1), (7, 2), (8, 2), (6, 1)] {
        log.append(Some(time), std::iter::repeat_n((0, record), records));
    }
    log.flush().unwrap();
    let text = String::from_utf8(disk.stored(Path::new(FILE))).unwrap();
    let words: Vec<&str> = text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect();
    let expected = "SELECT 0 PING #TS:7 PING MULTI PING PING EXEC #TS:8 MULTI PING PING EXEC PING ";
    assert_eq!(words.join(" "), expected);
}
