//! Snapshots written, read again, and broken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use redpoll_keyspace::rdb::{
    Checksum, Compression, StoredKey, VERSION, Value, checksum_after, dump, read_stored_entry, restore, write_length,
    write_object, write_string,
};
use redpoll_keyspace::{Collector, Effects, Entry, Expiry, Image, Keyspace, Limits, Part, Stamping, View};
use redpoll_resp::{Limits as Requests, Parse, RequestParser};
use redpoll_testkit::Scratch;

use super::read::TOGETHER_MAX;
use super::*;
use crate::Error;
use crate::disk::{Disk, SystemDisk};
use crate::error::of_key;

const STAMPING: Stamping = Stamping::Lru { clock: 100 };

#[derive(Clone, Default)]
struct Parts(Arc<Mutex<Vec<Part>>>);

impl Collector for Parts {
    fn collect(&self, part: Part) {
        self.0.lock().push(part);
    }
}

/// Makes a list, set, hash or sorted set of so many elements.
fn collection(key: &str, kind: u8, elements: u64) -> Entry {
    let mut bytes = Vec::new();
    write_length(elements, &mut bytes);
    for element in 0..elements {
        write_string(format!("element {element}").as_bytes(), &mut bytes);
        match kind {
            4 => write_string(b"value", &mut bytes),
            5 => bytes.extend((element as f64).to_le_bytes()),
            _ => {}
        }
    }
    read_stored_entry(kind, key.as_bytes(), &bytes, &Limits::default(), 7).expect("the value is well-formed")
}

/// Makes parts of two databases with values of each kind, some of them long.
fn parts(compression: Compression, stamping: Option<Stamping>) -> Vec<Part> {
    parts_of(8, compression, stamping)
}

/// Makes parts of two databases with so many values of each kind, each longer than the one before.
fn parts_of(values: u64, compression: Compression, stamping: Option<Stamping>) -> Vec<Part> {
    let keyspace = Keyspace::new(3, 7);
    let mut gate = keyspace.enter_exclusive();
    let held = gate.lock(std::iter::empty());
    let mut view = View::new(&keyspace, held, 0, 0, STAMPING, Effects::default());
    for db in [0, 2] {
        view.select(db);
        for number in 0..values {
            let expiry = if number % 2 == 0 { Expiry::At(1000 + number) } else { Expiry::Clear };
            let text = format!("value {number} of {db} ").repeat(1 + number as usize * 40);
            view.set_text(format!("text:{number}").as_bytes(), text.as_bytes(), expiry);
            for kind in [1, 2, 4, 5] {
                let mut entry = collection(&format!("{kind}:{number}"), kind, 1 + number * 60);
                entry.set_deadline((number % 3 == 0).then_some(2000 + number));
                view.load(StoredKey { entry, idle_seconds: Some(number), frequency: None });
            }
        }
    }
    let parts = Parts::default();
    view.write_image(&Image::new(compression, stamping, Box::new(parts.clone())));
    std::mem::take(&mut *parts.0.lock())
}

/// Writes a snapshot of these parts.
fn written(parts: &[Part], checksum: bool) -> Vec<u8> {
    let head = Head {
        version: VERSION,
        checksum,
        aux: vec![("redis-ver", "7.4.0".into()), ("ctime", "1700000000".into())],
        libraries: vec![b"#!lua name=a\n".to_vec(), vec![b'x'; 20_000]],
        sizes: vec![(40, 20), (0, 0), (40, 20)],
    };
    let mut writer = SnapshotWriter::begin(Vec::new(), &head).unwrap();
    parts.iter().for_each(|part| writer.part(part.db, &part.bytes).unwrap());
    let (bytes, len) = writer.finish().unwrap();
    assert_eq!(bytes.len() as u64, len);
    bytes
}

/// Everything a snapshot holds, in lines.
type Contents = BTreeMap<String, String>;

/// Shows a key and its value.
fn shown(stored: &StoredKey) -> (String, String) {
    let StoredKey { entry, idle_seconds, .. } = stored;
    let mut bytes = Vec::new();
    match restore(&dump(entry), Checksum::Checked, &Limits::default(), 7).expect("what is dumped is restored") {
        Value::Text(text) => bytes.extend_from_slice(&text),
        Value::Object(object) => write_object(&object, &mut bytes),
    }
    let said = format!("{:?} {idle_seconds:?} {}", entry.deadline(), bytes.escape_ascii());
    (entry.key().escape_ascii().to_string(), said)
}

/// Reads a snapshot; a key that is there twice is refused.
fn read(bytes: &[u8]) -> Result<(Contents, super::Read), Error> {
    let (mut contents, mut db) = (Contents::new(), 0);
    let limits = Limits::default();
    let into = Into { limits: &limits, seed: 7, read: &AtomicU64::new(0) };
    let mut add = |key: String, value| match contents.insert(key.clone(), value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} is there twice")),
    };
    let read = read_snapshot_from(bytes, bytes.len() as u64, &PathBuf::from("a.rdb"), into, &mut |item| match item {
        Item::Aux(name, value) => add(format!("aux {}", name.escape_ascii()), value.escape_ascii().to_string()),
        Item::Library(text) => add(format!("library {}", text.len()), text.escape_ascii().to_string()),
        Item::Database(number) => {
            db = number;
            Ok(())
        }
        Item::Coming(_) => Ok(()),
        Item::Empty(key) => add(format!("{db} {}", key.escape_ascii()), "nothing".to_owned()),
        Item::Keys(keys) => {
            while let Some((key, said)) = keys.pop_front().as_ref().map(shown) {
                add(format!("{db} {key}"), said)?;
            }
            Ok(())
        }
    });
    read.map(|read| (contents, read))
}

fn reason(result: Result<(Contents, super::Read), Error>) -> (u64, String) {
    match result {
        Err(Error::Snapshot { offset, key, reason, .. }) => (offset, of_key(&key) + &reason),
        Err(other) => panic!("{other}"),
        Ok((contents, _)) => panic!("{} items are read", contents.len()),
    }
}

#[test]
fn what_is_written_is_read_again() {
    let plain = written(&parts(Compression::Off, None), true);
    let (contents, read_plain) = read(&plain).unwrap();
    assert_eq!(contents.len(), 4 + 2 * 40);
    assert_eq!(contents["aux redis-ver"], "7.4.0");
    assert_eq!(read_plain, super::Read { version: 10, len: plain.len() as u64, file_len: plain.len() as u64 });

    let packed = written(&parts(Compression::Lzf, None), true);
    assert!(packed.len() < plain.len() * 3 / 4, "{} of {}", packed.len(), plain.len());
    assert_eq!(read(&packed).unwrap().0, contents);

    let mut parts_reversed = parts(Compression::Lzf, None);
    parts_reversed.reverse();
    assert_eq!(read(&written(&parts_reversed, false)).unwrap().0, contents, "the order of parts does not matter");

    let (stamped, _) = read(&written(&parts(Compression::Off, Some(STAMPING)), true)).unwrap();
    assert!(stamped["0 4:5"].starts_with("None Some(5)"), "{}", &stamped["0 4:5"][..20]);
    assert!(stamped["2 5:3"].starts_with("Some(2003) Some(3)"));
}

#[test]
fn what_stands_behind_the_end_is_not_read() {
    let mut bytes = written(&parts(Compression::Off, None), true);
    let len = bytes.len() as u64;
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    let (_, read) = read(&bytes).unwrap();
    assert_eq!((read.len, read.file_len), (len, bytes.len() as u64));
}

#[test]
fn no_cut_and_no_flipped_bit_passes_the_checksum() {
    let bytes = written(&parts_of(2, Compression::Lzf, None), true);
    for end in 0..bytes.len() {
        let (offset, _) = reason(read(&bytes[..end]));
        assert!(offset <= end as u64);
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let (offset, reason) = reason(read(&damaged));
        assert!(offset <= bytes.len() as u64 && !reason.is_empty());
    }
    assert_eq!(reason(read(&bytes[..bytes.len() - 1])), (bytes.len() as u64 - 9, "the file ends too early".to_owned()));
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(reason(read(&damaged)).0, bytes.len() as u64 - 9);
}

#[test]
fn damaged_snapshots_without_a_checksum_are_refused_or_something_else() {
    let bytes = written(&parts(Compression::Lzf, Some(STAMPING)), false);
    let seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut state = seed;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut refused = 0;
    for round in 0..600 {
        let mut damaged = bytes.clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % damaged.len();
            match random() % 4 {
                0 => damaged[at] ^= 1 << (random() % 8),
                1 => damaged[at] = random() as u8,
                2 => drop(damaged.drain(at..(at + 1 + random() as usize % 64).min(bytes.len()).min(damaged.len()))),
                _ => damaged.insert(at, random() as u8),
            }
        }
        match read(&damaged) {
            Ok(_) => {}
            Err(Error::Snapshot { offset, .. }) => {
                assert!(offset <= damaged.len() as u64, "seed {seed:#x} round {round}");
                refused += 1;
            }
            Err(other) => panic!("seed {seed:#x} round {round}: {other}"),
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn keys_of_collections_without_members_are_passed_over() {
    for kind in [b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x12"] {
        let bytes = [b"REDIS0004", kind.as_slice(), b"\x01k\x00\x00\x01a\x01b\xff"].concat();
        let (contents, _) = read(&bytes).unwrap();
        let expected = [("0 a", "None None b"), ("0 k", "nothing")];
        assert_eq!(contents.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_offset() {
    let cases: [(&[u8], u64, &str); 12] = [
        (b"", 0, "the file ends too early"),
        (b"RUBBISH__\xff", 0, "this is no snapshot"),
        (b"REDIS0099\xff", 0, "version 99 of the format is not known"),
        (b"REDIS0000\xff", 0, "version 0 of the format is not known"),
        (b"REDIS0010", 9, "the file ends too early"),
        (b"REDIS0010\xff", 9, "the file ends too early"),
        (b"REDIS0004\x00\x01k\x05abc", 9, "key 'k': type 0: the file ends too early"),
        (b"REDIS0004\x00\x01k\xc4abcdefghi", 9, "key 'k': type 0: a length or a string of an unknown form"),
        (
            b"REDIS0004\xfc\x01\x00\x00\x00\x00\x00\x00\x00\x02\x01k\x02\x01a\x01a\xff",
            18,
            "key 'k': its value is damaged: Duplicate set members detected, or set integrity check failed.",
        ),
        (b"REDIS0004\x07\x01k\x05abcde\xff", 9, "key 'k': type 7: a length or a string of an unknown form"),
        (b"REDIS0010\xf7\x01\xff", 9, "it holds data of a module"),
        (b"REDIS0010\xf6\x01\xff", 9, "it holds functions as a release candidate wrote them"),
    ];
    for (bytes, offset, expected) in cases {
        assert_eq!(reason(read(bytes)), (offset, expected.to_owned()), "{}", bytes.escape_ascii());
    }
    // A string longer than the file is not looked for in memory.
    let (_, reason) = reason(read(b"REDIS0004\x00\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff"));
    assert_eq!(reason, "key 'k': type 0: the file ends too early");
}

/// A key with a short value as it stands in a file.
fn short(number: usize) -> Vec<u8> {
    [b"\x00\x08", format!("key:{number:04}").as_bytes(), b"\x01v"].concat()
}

/// A file of version 4 of these pieces.
fn file(pieces: &[Vec<u8>]) -> Vec<u8> {
    [b"REDIS0004", pieces.concat().as_slice(), b"\xff"].concat()
}

#[test]
fn a_key_that_is_refused_is_named_by_its_offset() {
    let keys: Vec<_> = (0..TOGETHER_MAX * 4).map(short).collect();
    let len = keys[0].len() as u64;
    assert_eq!(read(&file(&keys)).unwrap().0.len(), keys.len());
    for (first, second) in [(0, 1), (3, 9), (0, 63), (62, 63), (0, 64), (63, 64), (1, 130), (128, 250)] {
        let mut twice = keys.clone();
        twice[second] = short(first);
        let expected = (9 + len * second as u64, format!("0 key:{first:04} is there twice"));
        assert_eq!(reason(read(&file(&twice))), expected);
        // What comes first is what is told, also of keys that are handed on together.
        let mut damaged = twice.clone();
        damaged[second + 1] = b"\x07\x01kabc".to_vec();
        assert_eq!(reason(read(&file(&damaged))), expected);
        damaged[second - 1] = b"\x07\x01kabc".to_vec();
        let offset = damaged[..second - 1].iter().map(|piece| piece.len() as u64).sum::<u64>();
        let expected = "key 'k': type 7: a length or a string of an unknown form";
        assert_eq!(reason(read(&file(&damaged))), (9 + offset, expected.to_owned()));
    }
}

#[test]
fn keys_stay_in_their_databases_and_in_order() {
    let mut pieces = vec![b"\xfe\x00\xfb\x02\x00".to_vec()];
    for number in 0..150 {
        pieces.push([b"\xfe", &[number as u8 % 3][..], &short(number / 3), &short(1000 + number)].concat());
    }
    let (contents, _) = read(&file(&pieces)).unwrap();
    assert_eq!(contents.len(), 300);
    for number in 0..150 {
        for key in [number / 3, 1000 + number] {
            assert!(contents.contains_key(&format!("{} key:{key:04}", number % 3)), "{number}");
        }
    }
    let (contents, _) = read(&file(&[b"\xfe\x00\xfb\x00\x00".to_vec()])).unwrap();
    assert_eq!(contents.len(), 0, "a file without keys");
}

/// Returns the numbers of keys that are said to come and the numbers of those that come together.
fn numbers(bytes: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let (mut coming, mut together) = (Vec::new(), Vec::new());
    let limits = Limits::default();
    let into = Into { limits: &limits, seed: 7, read: &AtomicU64::new(0) };
    read_snapshot_from(bytes, bytes.len() as u64, &PathBuf::from("a.rdb"), into, &mut |item| {
        match item {
            Item::Coming(keys) => coming.push(keys),
            Item::Keys(keys) => together.push(keys.len()),
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    (coming, together)
}

#[test]
fn a_file_cannot_say_that_more_keys_will_come_than_fit_into_it() {
    let keys: Vec<_> = (0..200).map(short).collect();
    let told = |sizes: &[&[u8]]| numbers(&file(&[&[sizes.concat()], keys.as_slice()].concat()));
    assert_eq!(told(&[b"\xfb\x40\xc8\x00"]), (vec![200], vec![64, 64, 64, 8]), "what is true is believed");
    const LIE: &[u8] = b"\xfb\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00";
    let (coming, _) = told(&[b"\xfb\x0a\x00", LIE, LIE, b"\xfb\x0a\x00"]);
    let most = file(&keys).len() / 8;
    assert_eq!((coming[0], coming[2], coming[3]), (10, 0, 0));
    assert!((200..most + 10).contains(&coming[1]), "{coming:?}");
}

#[test]
fn few_long_values_come_together() {
    let long = |number: usize| {
        let key = format!("key:{number:04}");
        [b"\x00\x08", key.as_bytes(), b"\x80\x00\x01\x86\xa0", &vec![b'v'; 100_000]].concat()
    };
    let (_, together) = numbers(&file(&(0..10).map(long).collect::<Vec<_>>()));
    assert_eq!(together, [3, 3, 3, 1]);
}

#[test]
fn old_snapshots_are_read() {
    let (contents, read) =
        read(b"REDIS0001\xfe\x00\xfd\x01\x00\x00\x00\x00\x01k\x01v\xfd\xff\xff\xff\xff\x00\x01l\x01v\xff").unwrap();
    assert_eq!((contents["0 k"].as_str(), contents["0 l"].as_str()), ("Some(1000) None v", "Some(0) None v"));
    assert_eq!(read.version, 1);
}

#[test]
fn parts_become_commands_that_say_the_same() {
    let parts = parts(Compression::Lzf, None);
    let mut commands = Vec::new();
    parts.iter().for_each(|part| as_commands(&part.bytes, &mut commands));
    let (mut parser, mut rest, mut count) = (RequestParser::new(), commands.as_slice(), 0);
    while let Parse::Complete { consumed } = parser.parse(rest, &Requests::default()) {
        let args = parser.args(rest);
        assert_eq!((args.len(), args[0], args[4], args[5]), (6, &b"RESTORE"[..], &b"REPLACE"[..], &b"ABSTTL"[..]));
        let (payload, sum) = args[3].split_at(args[3].len() - 8);
        assert_eq!(checksum_after(0, payload).to_le_bytes(), sum);
        rest = &rest[consumed..];
        count += 1;
    }
    assert_eq!((rest.len(), count), (0, 80));
}

#[test]
fn a_file_takes_its_place_when_it_is_whole() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path();
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (temporary, place) = (dir.join("temp.rdb"), dir.join("dump.rdb"));
    std::fs::write(&place, b"old").unwrap();
    let file = SnapshotFile::create(&disk, temporary.clone(), &Head { version: VERSION, ..Head::default() }).unwrap();
    assert!(temporary.exists());
    assert!(SnapshotFile::create(&disk, temporary.clone(), &Head::default()).is_err(), "it is being written");
    drop(file);
    assert!(!temporary.exists());
    assert_eq!(std::fs::read(&place).unwrap(), b"old");

    let mut file =
        SnapshotFile::create(&disk, temporary.clone(), &Head { version: VERSION, ..Head::default() }).unwrap();
    file.part(1, b"\x00\x01k\x01v").unwrap();
    let len = file.commit(&place).unwrap();
    assert!(!temporary.exists());
    let content = std::fs::read(&place).unwrap();
    assert_eq!(
        (content.len() as u64, content.as_slice()),
        (len, &b"REDIS0010\xfe\x01\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0"[..])
    );

    let file = SnapshotFile::create(&disk, temporary.clone(), &Head { version: VERSION, ..Head::default() }).unwrap();
    let directory = dir.join("directory");
    std::fs::create_dir_all(directory.join("full")).unwrap();
    assert!(file.commit(&directory).is_err());
    assert!(!temporary.exists());
}
