//! What is sealed comes out again, and nothing else does: whatever is changed in a file is refused, or is an end that a crash could have torn.

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use redpoll_resp::Limits;
use redpoll_testkit::Scratch;

use super::*;
use crate::disk::SystemDisk;
use crate::faulty::{Fault, FaultyDisk};
use crate::snapshot::{Head as SnapshotHead, Into, SnapshotFile, read_snapshot};
use crate::tail::Tail;
use crate::{AppendLog, LogFiles, Manifest, Reading, Record, SyncPolicy, Torn, replay};

const SECRET: &[u8] = b"plaintext";

fn ring(keys: &[&str]) -> KeyRing {
    KeyRing::parse(&keys.iter().map(|key| key.repeat(32) + "\n").collect::<String>()).unwrap()
}

fn disk(keys: &[&str]) -> SealedDisk {
    SealedDisk::new(Arc::new(SystemDisk), ring(keys))
}

/// Bytes that do not repeat soon.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn read(disk: &SealedDisk, path: &Path) -> Result<(Vec<u8>, u64)> {
    let mut bytes = Vec::new();
    let mut file = disk.open(path)?;
    file.read_to_end(&mut bytes)?;
    Ok((bytes, file.torn()))
}

fn whole(disk: &SealedDisk, path: &Path, content: &[u8]) {
    let mut file = disk.create(path).unwrap();
    content.chunks(70_001).for_each(|part| file.write_all(part).unwrap());
    file.sync().unwrap();
    assert_eq!(file.length().unwrap(), content.len() as u64);
    assert!(file.write(b"more").is_err());
}

fn grow(disk: &SealedDisk, path: &Path, parts: &[&[u8]]) {
    let mut file = disk.append(path).unwrap();
    parts.iter().for_each(|part| file.write_all(part).unwrap());
    file.sync().unwrap();
}

/// Where the chunks of a sealed file begin, and its end.
fn chunks(file: &[u8]) -> Vec<usize> {
    let mut starts = vec![HEAD_LEN];
    while let Some(length) = file[*starts.last().unwrap()..].first_chunk() {
        starts.push(starts.last().unwrap() + CHUNK_MORE + u32::from_le_bytes(*length) as usize);
    }
    starts
}

#[test]
fn content_of_any_length_comes_out_again_and_any_part_of_it() {
    let (dir, disk) = (Scratch::new().unwrap(), disk(&["ab"]));
    let max = Kind::Whole.chunk_max();
    for len in [0, 1, max - 1, max, max + 1, 2 * max, 2 * max + 1, 5 * max / 2] {
        let (path, content) = (dir.path().join("whole"), content(len));
        whole(&disk, &path, &content);
        assert!(read(&disk, &path).unwrap() == (content.clone(), 0), "{len}");
        let mut file = disk.open(&path).unwrap();
        assert_eq!((file.length().unwrap(), file.is_sealed()), (len as u64, true));
        for from in [len, len / 2, 0, len.saturating_sub(1), max.min(len)] {
            assert_eq!(file.seek(SeekFrom::Start(from as u64)).unwrap(), from as u64);
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).unwrap();
            assert!(rest == content[from..], "{len} from {from}");
        }
    }
    let max = Kind::Growing.chunk_max();
    let path = dir.path().join("growing");
    let parts = [content(3), content(max + 5), content(1), content(max)];
    for parts in parts.chunks(2) {
        grow(&disk, &path, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    assert!(read(&disk, &path).unwrap() == (parts.concat(), 0));
    assert_eq!(chunks(&std::fs::read(&path).unwrap()).len(), 5 + 1);
}

/// A log with one command a chunk, one of which is a transaction, and the commands it holds.
fn log(dir: &Scratch, disk: &Arc<dyn Disk>) -> (LogFiles, PathBuf) {
    let files = LogFiles::on(Arc::clone(disk), dir.path(), "log");
    let log = AppendLog::open(&files, SyncPolicy::Always).unwrap();
    for value in ["plaintext1", "plaintext2", "plaintext3"] {
        let mut record = Vec::new();
        redpoll_resp::encode_command(&["SET", value], &mut record);
        let records = vec![(0, record.as_slice()); if value.ends_with('2') { 2 } else { 1 }];
        log.wait(log.append(None, records.into_iter())).unwrap();
    }
    drop(log);
    let path = files.path("log.1.incr.aof");
    (files, path)
}

fn values(files: &LogFiles, torn: Torn) -> std::result::Result<Vec<String>, crate::Error> {
    let limits = redpoll_keyspace::Limits::default();
    let reading =
        Reading { limits: Limits::default(), into: Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) }, torn };
    let mut values = Vec::new();
    let replayed = replay(files, &reading, &mut |record| {
        if let Record::Command([name, value]) = record
            && *name == b"SET"
        {
            values.push(String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    });
    replayed.map(|_| values)
}

const VALUES: [&str; 4] = ["plaintext1", "plaintext2", "plaintext2", "plaintext3"];

#[test]
fn a_log_holds_nothing_to_be_read_and_goes_on_where_it_ended() {
    let dir = Scratch::new().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk(&["ab"]));
    let (files, path) = log(&dir, &disk);
    assert_eq!(values(&files, Torn::Refuse).unwrap(), VALUES);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(MAGIC) && !bytes.windows(SECRET.len()).any(|part| part == SECRET));
    log(&dir, &disk);
    assert_eq!(values(&files, Torn::Refuse).unwrap(), [VALUES, VALUES].concat());
    assert!(std::fs::read(&path).unwrap().starts_with(&bytes));
    assert_eq!(Manifest::read(&files).unwrap().increments.len(), 1);
}

#[test]
fn no_flipped_bit_of_a_log_passes() {
    let dir = Scratch::new().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk(&["ab"]));
    let (files, path) = log(&dir, &disk);
    let bytes = std::fs::read(&path).unwrap();
    for (at, bit) in (0..bytes.len()).flat_map(|at| [0, 3, 7].map(|bit| (at, bit))) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        std::fs::write(&path, &damaged).unwrap();
        let error = values(&files, Torn::CutOff).map(|_| ()).expect_err(&format!("bit {bit} of byte {at}"));
        assert!(error.to_string().contains("log.1.incr.aof"), "{error}");
        assert!(!error.to_string().contains("plaintext"), "{error}");
        assert!(std::fs::read(&path).unwrap() == damaged, "what is damaged is left alone");
    }
}

#[test]
fn no_flipped_bit_and_no_cut_of_a_snapshot_passes() {
    let (dir, disk) = (Scratch::new().unwrap(), Arc::new(disk(&["ab"])));
    let place = dir.path().join("dump.rdb");
    let head = SnapshotHead { version: 10, ..SnapshotHead::default() };
    let shared: Arc<dyn Disk> = disk.clone();
    let mut file = SnapshotFile::create(&shared, dir.path().join("temp.rdb"), &head).unwrap();
    file.part(0, b"\x00\x01k\x09plaintext").unwrap();
    file.commit(&place).unwrap();
    let bytes = std::fs::read(&place).unwrap();
    assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET));
    let limits = redpoll_keyspace::Limits::default();
    let read =
        || read_snapshot(&*disk, &place, Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) }, &mut |_| Ok(()));
    assert_eq!(read().unwrap().version, 10);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&place, &damaged).unwrap();
        assert!(read().is_err(), "byte {at}");
        std::fs::write(&place, &bytes[..at]).unwrap();
        assert!(read().is_err(), "cut at {at}");
    }
    std::fs::write(&place, [bytes.as_slice(), b"x"].concat()).unwrap();
    assert!(read().is_err(), "nothing can stand behind the end");
}

#[test]
fn chunks_stay_where_they_were_sealed() {
    let (dir, disk) = (Scratch::new().unwrap(), disk(&["ab"]));
    let (path, other) = (dir.path().join("one"), dir.path().join("other"));
    let parts: [&[u8]; 3] = [b"11111", b"22222", b"33333"];
    let max = Kind::Whole.chunk_max();
    for kind in [Kind::Growing, Kind::Whole] {
        for path in [&path, &other] {
            std::fs::remove_file(path).ok();
            match kind {
                Kind::Growing => grow(&disk, path, &parts),
                Kind::Whole => whole(&disk, path, &content(3 * max)),
            }
        }
        let (bytes, foreign) = (std::fs::read(&path).unwrap(), std::fs::read(&other).unwrap());
        let starts = chunks(&bytes);
        assert_eq!((starts.len(), starts[3]), (4, bytes.len()));
        let chunk = |number: usize| &bytes[starts[number]..starts[number + 1]];
        let head = &bytes[..HEAD_LEN];
        let moved: [(&str, Vec<u8>); 7] = [
            ("swapped", [head, chunk(1), chunk(0), chunk(2)].concat()),
            ("repeated", [head, chunk(0), chunk(0), chunk(1), chunk(2)].concat()),
            ("first left out", [head, chunk(1), chunk(2)].concat()),
            ("middle left out", [head, chunk(0), chunk(2)].concat()),
            ("exchanged", [head, chunk(0), &foreign[starts[1]..starts[2]], chunk(2)].concat()),
            ("another head", [&foreign[..HEAD_LEN], chunk(0), chunk(1), chunk(2)].concat()),
            ("repeated at the end", [&bytes[..], chunk(2)].concat()),
        ];
        for (what, damaged) in moved {
            std::fs::write(&path, damaged).unwrap();
            let error = read(&disk, &path).expect_err(what);
            assert!(error.to_string().contains("not what was sealed"), "{what}: {error}");
        }
        // That is all somebody can do to a log unseen.
        std::fs::write(&path, &bytes[..starts[2]]).unwrap();
        match kind {
            Kind::Growing => assert_eq!(read(&disk, &path).unwrap(), (b"1111122222".to_vec(), 0)),
            Kind::Whole => assert!(read(&disk, &path).is_err()),
        }
    }
}

#[test]
fn an_end_torn_at_any_byte_is_cut_off_before_the_log_goes_on() {
    let dir = Scratch::new().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk(&["ab"]));
    let (files, path) = log(&dir, &disk);
    let bytes = std::fs::read(&path).unwrap();
    let starts = chunks(&bytes);
    for end in 0..bytes.len() {
        std::fs::write(&path, &bytes[..end]).unwrap();
        let there = starts.iter().filter(|start| **start <= end).count().saturating_sub(1);
        let expected = &VALUES[..[0, 1, 3, 4][there]];
        if end > 0 && !starts.contains(&end) {
            let refused = values(&files, Torn::Refuse).unwrap_err().to_string();
            assert!(refused.contains("is not whole") && !refused.contains("redis-check"), "{refused}");
            assert!(disk.append(&path).unwrap().write(b"more").is_err(), "nothing goes behind a torn end");
        }
        assert_eq!(values(&files, Torn::CutOff).unwrap(), expected, "cut at {end}");
        log(&dir, &disk);
        assert_eq!(values(&files, Torn::Refuse).unwrap(), [expected, &VALUES].concat(), "cut at {end}");
    }
}

#[test]
fn zeros_in_the_place_of_an_end_are_a_torn_end() {
    let (dir, disk) = (Scratch::new().unwrap(), disk(&["11"]));
    let path = dir.path().join("log");
    grow(&disk, &path, &[&content(500), &content(600)]);
    let sealed = std::fs::read(&path).unwrap();
    let [.., last, _] = chunks(&sealed)[..] else { panic!("there are two chunks") };
    for more in [1, 7, 8, 9, 100, 10_000] {
        std::fs::write(&path, [&sealed[..], &vec![0; more]].concat()).unwrap();
        assert!(read(&disk, &path).unwrap() == ([content(500), content(600)].concat(), more as u64), "{more}");
    }
    for (from, more) in [(last, 0), (last + 8, 0), (last + 100, 5000), (sealed.len() - 16, 0)] {
        let zeroed = [&sealed[..from], &vec![0; sealed.len() - from + more]].concat();
        std::fs::write(&path, &zeroed).unwrap();
        assert!(read(&disk, &path).unwrap() == (content(500), (zeroed.len() - last) as u64), "{from}");
    }
    for from in [sealed.len() - 15, sealed.len() - 1] {
        std::fs::write(&path, [&sealed[..from], &vec![0; sealed.len() - from]].concat()).unwrap();
        assert!(read(&disk, &path).is_err(), "{from}: less than what tells that it was not stored");
    }
    std::fs::write(&path, [&sealed[..last], &[0; 100], &sealed[last..]].concat()).unwrap();
    assert!(read(&disk, &path).is_err(), "something follows");
}

#[test]
fn a_cut_within_a_chunk_leaves_what_stands_before_it() {
    let (dir, disk) = (Scratch::new().unwrap(), disk(&["ab"]));
    let path = dir.path().join("log");
    for len in 0..=15 {
        std::fs::remove_file(&path).ok();
        grow(&disk, &path, &[b"01234", b"56789", b"abcde"]);
        disk.cut(&path, len).unwrap();
        assert_eq!(read(&disk, &path).unwrap().0, b"0123456789abcde"[..len as usize], "{len}");
        grow(&disk, &path, &[b"!"]);
        assert_eq!(read(&disk, &path).unwrap().0.len() as u64, len + 1);
    }
    assert_eq!(disk.list(dir.path()).unwrap(), ["log"]);
}

#[test]
fn keys_are_asked_for_by_name_and_the_first_one_writes() {
    let dir = Scratch::new().unwrap();
    let (old, both, new) = (disk(&["ab"]), disk(&["cd", "ab"]), disk(&["cd"]));
    let path = dir.path().join("file");
    whole(&old, &path, SECRET);
    let old_id = old.keys().ids().next().unwrap();
    assert_eq!(old.key_of(&path).unwrap(), Some(old_id));
    assert_eq!(read(&both, &path).unwrap().0, SECRET);
    assert!(!both.is_as_written(&path).unwrap() && old.is_as_written(&path).unwrap());
    for (disk, said) in [(&disk(&[]), "there is no key"), (&new, "not among those there are")] {
        let said_by = |error: std::io::Error| crate::Error::io(&path)(error).to_string();
        let error = said_by(read(disk, &path).unwrap_err());
        assert!(error.contains(said) && error.contains(&old_id.to_string()) && error.contains("file"), "{error}");
    }
    whole(&both, &path, SECRET);
    assert_eq!(read(&new, &path).unwrap().0, SECRET);
    old.set_keys(ring(&["cd"]));
    assert_eq!(read(&old, &path).unwrap().0, SECRET);
}

#[test]
fn a_log_goes_on_in_another_file_when_the_form_changes() {
    let dir = Scratch::new().unwrap();
    let last = |disk: SealedDisk| {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let (files, _) = log(&dir, &disk);
        let names = Manifest::read(&files).unwrap().increments;
        (values(&files, Torn::Refuse).unwrap().len(), names.len())
    };
    assert_eq!(last(disk(&[])), (4, 1));
    assert_eq!(last(disk(&["ab"])), (8, 2));
    assert_eq!(last(disk(&["cd", "ab"])), (12, 3));
    assert_eq!(last(disk(&["cd", "ab"])), (16, 3));
    let plain: Arc<dyn Disk> = Arc::new(SystemDisk);
    assert!(Manifest::read(&LogFiles::on(plain, dir.path(), "log")).is_ok(), "the manifest is written as it is");
}

impl ReadFile for Cursor<Vec<u8>> {
    fn length(&self) -> Result<u64> {
        Ok(self.get_ref().len() as u64)
    }
}

/// Opens what is on a disk in memory.
fn opened(bytes: &[u8], keys: &KeyRing) -> Vec<u8> {
    let Some(head) = bytes.first_chunk() else { return Vec::new() };
    let cipher = Cipher::of(keys.writing().unwrap(), Head::parse(*head).unwrap());
    let mut content = Vec::new();
    let mut file = Opened::new(Box::new(Cursor::new(bytes.to_vec())), cipher).unwrap();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(file.torn(), 0);
    content
}

/// Carries batches to a disk with faults, syncing after every second one; returns how many attempts failed.
fn carry(faults: &[Fault]) -> usize {
    let (disk, keys, path) = (FaultyDisk::new(1), ring(&["ab"]), Path::new("/log"));
    disk.make_dir(Path::new("/")).unwrap();
    disk.plan(faults.to_vec());
    let growing = Growing::begin(disk.append(path).unwrap(), keys.writing().unwrap());
    let mut tail = Tail::new(Box::new(growing), 0);
    let (mut taken, mut failed) = (Vec::new(), 0);
    for index in 0..5 {
        let mut bytes = format!("<batch {index}>").into_bytes();
        taken.extend_from_slice(&bytes);
        tail.take(&mut bytes);
        for attempt in 0.. {
            assert!(attempt < 10, "{faults:?}: no end of failures");
            let sync = index % 2 == 0 || tail.must_sync();
            let result = tail.write().and_then(|()| if sync { tail.sync() } else { Ok(()) });
            match result {
                Ok(()) => {
                    assert_eq!(opened(&disk.seen(path), &keys), taken, "{faults:?}");
                    assert!(!sync || disk.stored(path) == disk.seen(path), "{faults:?}");
                    break;
                }
                Err(_) => failed += 1,
            }
        }
    }
    failed
}

#[test]
fn whatever_the_disk_refuses_what_is_synced_is_what_was_written() {
    assert_eq!(carry(&[]), 0);
    let calls = |call| [Fault::ShortWrite(call), Fault::Write(call), Fault::Sync(call), Fault::Truncate(call)];
    let faults: Vec<Fault> = (0..6).flat_map(calls).collect();
    let mut failed = 0;
    for first in &faults {
        failed += carry(&[*first]);
        faults.iter().for_each(|second| failed += carry(&[*first, *second]));
    }
    assert!(failed > 100, "{failed}");
}

#[test]
fn nothing_goes_behind_a_part_that_was_refused_half_way() {
    let (disk, keys, path) = (FaultyDisk::new(1), ring(&["ab"]), Path::new("/log"));
    disk.make_dir(Path::new("/")).unwrap();
    disk.plan(vec![Fault::Write(1)]);
    let mut growing = Growing::begin(disk.append(path).unwrap(), keys.writing().unwrap());
    assert_eq!(growing.write(b"one").unwrap(), 3);
    for _ in 0..2 {
        assert!(growing.write(b"two").is_err());
    }
    assert!(growing.truncate(2).is_err(), "that is within a part");
    growing.truncate(3).unwrap();
    assert_eq!(growing.write(b"two").unwrap(), 3);
    assert_eq!((opened(&disk.seen(path), &keys), growing.length().unwrap()), (b"onetwo".to_vec(), 6));
}
