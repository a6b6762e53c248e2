//! Hashes whose fields have deadlines, written and read again, and payloads that nobody would write.

use std::collections::BTreeMap;

use redpoll_structures::packed::Packed;
use redpoll_structures::record::Record;

use super::*;
use crate::{Hash, Limits, Millis};

const SEED: u64 = 7;
const SOON: Millis = 1_704_067_200_000;

/// Fields with values and deadlines.
type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<Millis>)>;

fn fields(hash: &Hash) -> Fields {
    hash.iter_with_deadlines().map(|(field, value, at)| (field.to_vec(), (value.to_vec(), at))).collect()
}

fn of(count: u64) -> Hash {
    let mut hash = Hash::new();
    for number in 0..count {
        let field = format!("field-{number}");
        hash.set(field.as_bytes(), number.to_string().as_bytes(), &Limits::default(), SEED);
        if number % 3 != 1 {
            hash.set_deadline(field.as_bytes(), SOON + number * 7919 % 1000, SEED);
        }
    }
    hash
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut payload = [bytes, &VERSION_MAX.to_le_bytes()].concat();
    payload.extend(crc64(&payload).to_le_bytes());
    payload
}

/// Reads a type and what stands behind it.
fn read(kind: u8, parts: &[&[u8]]) -> Option<Hash> {
    match restore(&sealed(&[&[kind], parts.concat().as_slice()].concat()), Checksum::Checked, &Limits::default(), SEED)
        .ok()?
    {
        Value::Object(Object::Hash(hash)) => Some(hash),
        other => panic!("a hash came back as {other:?}"),
    }
}

#[test]
fn deadlines_are_read_as_they_were_written() {
    for (count, kind) in [(1, kind::HASH_TRIPLES), (300, kind::HASH_TRIPLES), (3000, kind::HASH_DEADLINES)] {
        let hash = of(count);
        let payload = dump(&Record::new_object(b"key", Object::Hash(hash.clone())));
        assert_eq!(payload[0], kind);
        assert_eq!(payload[1..9], SOON.to_le_bytes(), "the soonest deadline comes first");
        assert_eq!(payload[payload.len() - 10], 12, "servers before 7.4 must not read it");
        let Ok(Value::Object(Object::Hash(back))) = restore(&payload, Checksum::Checked, &Limits::default(), SEED)
        else {
            panic!("a hash came back as something else")
        };
        assert_eq!((back.encoding(), fields(&back)), (hash.encoding(), fields(&hash)));
        let small = Limits { hash_max_listpack_entries: 2, ..Limits::default() };
        let Ok(Value::Object(Object::Hash(back))) = restore(&payload, Checksum::Checked, &small, SEED) else {
            panic!("a hash came back as something else")
        };
        assert_eq!(fields(&back), fields(&hash), "the form does not matter");
    }
}

#[test]
fn without_deadlines_any_server_can_read_it() {
    for count in [5, 3000] {
        let mut hash = of(count);
        (0..count).for_each(|number| hash.clear_deadline(format!("field-{number}").as_bytes()));
        let payload = dump(&Record::new_object(b"key", Object::Hash(hash.clone())));
        assert_eq!((payload[0], payload[payload.len() - 10]), (kind::HASH, 10));
        let Ok(Value::Object(Object::Hash(back))) = restore(&payload, Checksum::Checked, &Limits::default(), SEED)
        else {
            panic!("a hash came back as something else")
        };
        assert_eq!(fields(&back), fields(&hash));
    }
}

#[test]
fn what_redis_writes_is_read() {
    let expected: Fields = [
        (b"a".to_vec(), (b"1".to_vec(), Some(SOON + 5))),
        (b"b".to_vec(), (b"2".to_vec(), None)),
        (b"c".to_vec(), (b"3".to_vec(), Some(SOON))),
    ]
    .into();
    let soon = SOON.to_le_bytes();
    let listing =
        |first: &[u8], third: &[u8]| [b"\x03", first, b"\x01a\xc0\x01\x00\x01b\x012", third, b"\x01c\x013"].concat();
    let hash = read(24, &[&soon, &listing(b"\x06", b"\x01")]).expect("relative to the soonest");
    assert_eq!(fields(&hash), expected);
    let long = |deadline: Millis| [&[0x81][..], &deadline.to_be_bytes()].concat();
    let hash = read(22, &[&listing(&long(SOON + 5), &long(SOON))]).expect("absolute, in release candidates");
    assert_eq!(fields(&hash), expected);
    let mut packed = Packed::new();
    for text in ["c", "3", "1704067200000", "a", "1", "1704067200005", "b", "2", "0"] {
        packed.push_back(text.as_bytes());
    }
    let block = [&[packed.byte_len() as u8][..], packed.as_listpack()].concat();
    assert_eq!(fields(&read(25, &[&soon, &block]).expect("a block of triples")), expected);
    assert_eq!(fields(&read(25, &[&[0; 8], &block]).expect("the soonest is not believed")), expected);
    assert_eq!(fields(&read(23, &[&block]).expect("of release candidates")), expected);
}

#[test]
fn what_is_no_hash_with_deadlines_is_refused() {
    let soon = SOON.to_le_bytes();
    assert!(read(24, &[&soon, b"\x01\x00\x01a\x011"]).is_some(), "the cases below differ from what is right");
    for (what, kind, parts) in [
        ("no fields", 24, [&soon[..], b"\x00"]),
        ("fewer fields than said", 24, [&soon, b"\x02\x00\x01a\x011"]),
        ("a field twice", 24, [&soon, b"\x02\x00\x01a\x011\x01\x01a\x012"]),
        ("a deadline out of range", 24, [&soon, b"\x01\x81\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x011"]),
        ("a deadline that overflows", 24, [&soon, b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x011"]),
        ("a soonest deadline out of range", 24, [&[0xff; 8], b"\x01\x00\x01a\x011"]),
        ("half a soonest deadline", 24, [&soon[..4], b""]),
        ("no block", 25, [&soon, b"\x01x"]),
    ] {
        assert!(read(kind, &parts).is_none(), "{what} was read");
    }
    for (what, texts) in [
        ("nothing", &[][..]),
        ("no deadline", &["a", "1"]),
        ("a deadline that is no number", &["a", "1", "x"]),
        ("a deadline before the epoch", &["a", "1", "-1"]),
        ("a deadline out of range", &["a", "1", "281474976710655"]),
        ("a field twice", &["a", "1", "5", "a", "1", "0"]),
        ("a field without a value", &["a", "1", "5", "b"]),
    ] {
        let mut packed = Packed::new();
        texts.iter().for_each(|text| packed.push_back(text.as_bytes()));
        let block = [&[packed.byte_len() as u8][..], packed.as_listpack()].concat();
        assert!(read(25, &[&soon, &block]).is_none(), "{what} was read");
    }
}
