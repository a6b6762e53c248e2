//! What a disk gives back is what it promises and no more.

use super::*;

const SEEDS: u64 = 400;

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.make_dir(Path::new("/d")).unwrap();
    disk
}

/// What is left of a file after crashes with many seeds.
fn after_crashes(disk: impl Fn() -> FaultyDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    let left = |seed| {
        let disk = disk().crash(seed);
        disk.length(Path::new(path)).ok().map(|_| disk.seen(Path::new(path)))
    };
    (0..SEEDS).map(left).collect()
}

#[test]
fn a_name_is_durable_when_its_directory_was_synced_and_content_when_the_file_was() {
    let written = |is_synced: bool, is_named: bool| {
        move || {
            let disk = disk();
            let mut file = disk.append(Path::new("/d/f")).unwrap();
            file.write_all(b"abc").unwrap();
            if is_synced {
                file.sync().unwrap();
            }
            if is_named {
                disk.sync_dir(Path::new("/d")).unwrap();
            }
            disk
        }
    };
    let whole = || Some(b"abc".to_vec());
    assert_eq!(after_crashes(written(true, true), "/d/f"), [whole()].into());
    assert_eq!(after_crashes(written(true, false), "/d/f"), [None, whole()].into());
    let torn = after_crashes(written(false, true), "/d/f");
    for expected in [&b""[..], b"a", b"ab", b"abc", b"\0", b"a\0\0"] {
        assert!(torn.contains(&Some(expected.to_vec())), "{torn:?} lacks {}", expected.escape_ascii());
    }
    assert!(!torn.contains(&None));
    assert_eq!(written(false, false)().kill().seen(Path::new("/d/f")), b"abc");
}

#[test]
fn a_rename_is_there_or_not() {
    let renamed = || {
        let disk = disk();
        for (name, content) in [("/d/old", b"1"), ("/d/new", b"2")] {
            let mut file = disk.create(Path::new(name)).unwrap();
            file.write_all(content).unwrap();
            file.sync().unwrap();
        }
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(Path::new("/d/new"), Path::new("/d/old")).unwrap();
        disk
    };
    assert_eq!(after_crashes(renamed, "/d/old"), [Some(b"1".to_vec()), Some(b"2".to_vec())].into());
    assert_eq!(after_crashes(renamed, "/d/new"), [Some(b"2".to_vec()), None].into());
}

#[test]
fn what_a_sync_that_fails_drops_is_not_stored_by_the_next() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = FaultyDisk::new(seed);
        disk.make_dir(Path::new("/d")).unwrap();
        disk.plan(vec![Fault::Sync(0)]);
        let mut file = disk.append(Path::new("/d/f")).unwrap();
        file.write_all(b"abc").unwrap();
        assert!(file.sync().is_err());
        file.write_all(b"d").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.seen(Path::new("/d/f")), b"abcd");
        seen.insert(disk.stored(Path::new("/d/f")));
    }
    assert_eq!(seen, [b"abcd".to_vec(), b"\0\0\0d".to_vec()].into());
}

#[test]
fn later_blocks_may_survive_alone_and_that_is_said() {
    let mut with_holes = 0;
    for seed in 0..SEEDS {
        let disk = disk();
        let mut file = disk.append(Path::new("/d/f")).unwrap();
        file.write_all(&[b'x'; 5000]).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        let left = disk.crash(seed);
        let content = left.seen(Path::new("/d/f"));
        let has_hole =
            content.windows(2).any(|pair| pair == b"\0x") || content.starts_with(b"\0") && content.ends_with(b"x");
        assert_eq!(has_hole, !left.holes().is_empty(), "seed {seed}");
        with_holes += usize::from(has_hole);
    }
    assert!(with_holes > 10, "{with_holes} holes");
}

#[test]
fn space_ends_and_comes_back() {
    let disk = disk();
    disk.limit(5);
    let mut file = disk.append(Path::new("/d/f")).unwrap();
    assert_eq!(file.write(b"abc").unwrap(), 3);
    assert_eq!(file.write(b"def").unwrap(), 2);
    assert_eq!(file.write(b"f").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.limit(6);
    assert_eq!(file.write(b"fg").unwrap(), 1);
    assert_eq!((disk.used(), disk.seen(Path::new("/d/f"))), (6, b"abcdef".to_vec()));
}

#[test]
fn who_is_left_of_a_program_that_ended_is_refused_and_its_locks_are_free() {
    let disk = disk();
    let mut file = disk.create(Path::new("/d/f")).unwrap();
    let _lock = disk.lock(Path::new("/d/lock")).unwrap();
    assert_eq!(disk.lock(Path::new("/d/lock")).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(disk.create(Path::new("/d/f")).unwrap_err().kind(), ErrorKind::WouldBlock);
    let next = disk.kill();
    assert!(file.write(b"late").is_err() && file.sync().is_err() && disk.create(Path::new("/d/g")).is_err());
    assert!(next.lock(Path::new("/d/lock")).is_ok() && next.create(Path::new("/d/f")).is_ok());
    assert_eq!(next.seen(Path::new("/d/f")), b"");
}

#[test]
fn a_bit_is_turned() {
    let disk = disk();
    disk.append(Path::new("/d/f")).unwrap().write_all(b"ab").unwrap();
    disk.flip(Path::new("/d/f"), 9);
    assert_eq!(disk.seen(Path::new("/d/f")), b"a`");
}
