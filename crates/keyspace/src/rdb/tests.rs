//! Values written and read again, blocks of old servers, and payloads that somebody broke.

use super::*;
use crate::{Hash, Limits, List, ListEnd, Set, SortedSet, entry};
use redpoll_structures::packed::Item;
use redpoll_structures::record::Record;

const SEED: u64 = 7;

fn limits() -> Limits {
    Limits::default()
}

/// Wraps a type and a value up as a payload.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut payload = [bytes, &VERSION.to_le_bytes()].concat();
    payload.extend(crc64(&payload).to_le_bytes());
    payload
}

fn read(bytes: &[u8]) -> Option<Value> {
    restore(&sealed(bytes), Checksum::Checked, &limits(), SEED).ok()
}

/// Lists what a value holds, as text; members in the order of their text.
fn shown(value: &Value) -> String {
    let text = |item: Item<'_>| String::from_utf8_lossy(&item.to_vec()).into_owned();
    let sorted = |mut items: Vec<String>| {
        items.sort();
        items.join(" ")
    };
    match value {
        Value::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Object(Object::List(list)) => list.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(Object::Set(set)) => sorted(set.iter().map(text).collect()),
        Value::Object(Object::Hash(hash)) => {
            sorted(hash.iter(0).map(|(field, value)| format!("{}={}", text(field), text(value))).collect())
        }
        Value::Object(Object::SortedSet(set)) => {
            set.iter().map(|(member, score)| format!("{}:{score}", text(member))).collect::<Vec<_>>().join(" ")
        }
        Value::Object(other) => panic!("{other:?} is not read"),
    }
}

/// Values of every kind in every form.
fn samples() -> Vec<Object> {
    let (limits, mut samples) = (limits(), Vec::new());
    for count in [1_usize, 5, 300, 3000] {
        let numbers: Vec<Vec<u8>> = (0..count).map(|number| (number * 37).to_string().into_bytes()).collect();
        let words: Vec<Vec<u8>> = (0..count).map(|number| format!("word-{}", number * 7919).into_bytes()).collect();
        for texts in [numbers, words] {
            let (mut list, mut set, mut hash, mut ranked) = (List::new(), Set::new(), Hash::new(), SortedSet::new());
            for (index, text) in texts.iter().enumerate() {
                list.push(ListEnd::Right, &[text], &limits);
                set.insert(Item::of(text), &limits, SEED);
                hash.set(text, format!("{}", index * index).as_bytes(), &limits, SEED);
                ranked.insert(text, index as f64 / 7.0 - 3.0, &limits, SEED);
            }
            samples.extend([Object::List(list), Object::Set(set), Object::Hash(hash), Object::SortedSet(ranked)]);
        }
    }
    let mut long = List::new();
    long.push(ListEnd::Right, &[&[b'x'; 100_000], b"short"], &limits);
    samples.push(Object::List(long));
    samples
}

#[test]
fn every_form_of_every_kind_is_read_as_it_was_written() {
    for sample in samples() {
        let entry = Record::new_object(b"key", sample.clone());
        let back = restore(&dump(&entry), Checksum::Checked, &limits(), SEED).unwrap();
        assert_eq!(shown(&back), shown(&Value::Object(sample.clone())));
        let Value::Object(back) = back else { panic!("a collection came back as text") };
        assert_eq!(back.encoding(), sample.encoding());
    }
    for text in ["", "1", "-1", "127", "128", "-32769", "2147483648", "007", "text", "9223372036854775807"] {
        let entry = entry::new_string(b"key", text.as_bytes());
        assert_eq!(shown(&restore(&dump(&entry), Checksum::Checked, &limits(), SEED).unwrap()), text);
    }
    for len in [63, 64, 16_383, 16_384, 70_000] {
        let entry = entry::new_string(b"key", &vec![b'y'; len]);
        assert_eq!(shown(&restore(&dump(&entry), Checksum::Checked, &limits(), SEED).unwrap()), "y".repeat(len));
    }
}

/// A ziplist of these encoded entries.
fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut before, mut last) = (Vec::new(), 0, 10);
    for entry in entries {
        last = 10 + body.len();
        body.push(before);
        body.extend_from_slice(entry);
        before = entry.len() as u8 + 1;
    }
    let mut bytes = (11 + body.len() as u32).to_le_bytes().to_vec();
    bytes.extend((last as u32).to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

fn with_string(kind: u8, string: &[u8]) -> Vec<u8> {
    [&[kind, string.len() as u8], string].concat()
}

#[test]
fn blocks_of_older_servers_are_read() {
    let list = ziplist(&[b"\x03abc", b"\xf1", b"\xfd", b"\xfe\xff", b"\xc0\x00\x80", b"\xf0\xff\xff\xff"]);
    assert_eq!(shown(&read(&with_string(kind::LIST_ZIPLIST, &list)).unwrap()), "abc 0 12 -1 -32768 -1");
    let nodes = [&[kind::LIST_ZIPLISTS, 2, list.len() as u8][..], &list, &[list.len() as u8], &list].concat();
    assert_eq!(shown(&read(&nodes).unwrap()), "abc 0 12 -1 -32768 -1 abc 0 12 -1 -32768 -1");
    let hash = ziplist(&[b"\x01f", b"\x01v", b"\x01g", b"\xf5"]);
    assert_eq!(shown(&read(&with_string(kind::HASH_ZIPLIST, &hash)).unwrap()), "f=v g=4");
    let ranked = ziplist(&[b"\x01a", b"\x031.5", b"\x01b", b"\xf8"]);
    assert_eq!(shown(&read(&with_string(kind::SORTED_SET_ZIPLIST, &ranked)).unwrap()), "a:1.5 b:7");
    let zipmap = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world!!\xff";
    assert_eq!(shown(&read(&with_string(kind::HASH_ZIPMAP, zipmap)).unwrap()), "foo=bar hello=world");
    assert_eq!(shown(&read(b"\x01\x02\x01a\xc0\x05").unwrap()), "a 5");
    assert_eq!(shown(&read(b"\x03\x02\x01a\x031.5\x01b\xfe").unwrap()), "a:1.5 b:inf");
    assert_eq!(shown(&read(b"\x00\xc3\x05\x0a\x00a\xe0\x00\x00").unwrap()), "aaaaaaaaaa");
}

#[test]
fn what_cannot_be_a_value_is_refused() {
    let refused: [&[u8]; 18] = [
        b"",
        b"\x00",
        b"\x00\x05abcd",
        b"\x00\x01ab",
        b"\x00\xc4\x00",
        b"\x01\x00",
        b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
        b"\x02\x02\x01a\x01a",
        b"\x02\x80\x7f\xff\xff\xff\x01a",
        b"\x03\x01\x01a\xfd",
        b"\x04\x02\x01f\x01v\x01f\x01w",
        b"\x04\x00",
        b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f",
        b"\x06\x00",
        b"\x0b\x08\x02\x00\x00\x00\x00\x00\x00\x00",
        b"\x10\x07\x07\x00\x00\x00\x00\x00\xff",
        b"\x12\x01\x03\x01a",
        b"\x00\xc3\x04\x80\x40\x00\x00\x00\x00\x61\xe0\x00",
    ];
    for bytes in refused {
        assert!(read(bytes).is_none(), "{bytes:?}");
    }
    let good = sealed(b"\x00\x01a");
    assert!(restore(&good, Checksum::Checked, &limits(), SEED).is_ok());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(restore(&bad, Checksum::Checked, &limits(), SEED).unwrap_err(), Refused::Footer);
    }
    let later = [b"\x00\x01a".as_slice(), &13_u16.to_le_bytes()].concat();
    let later = [later.as_slice(), &crc64(&later).to_le_bytes()].concat();
    assert_eq!(restore(&later, Checksum::Checked, &limits(), SEED).unwrap_err(), Refused::Footer);
    let unsealed = [b"\x00\x01a".as_slice(), &10_u16.to_le_bytes(), &[0; 8]].concat();
    assert_eq!(restore(&unsealed, Checksum::Checked, &limits(), SEED).unwrap_err(), Refused::Footer);
    assert!(restore(&unsealed, Checksum::Ignored, &limits(), SEED).is_ok());
}

/// A collection that says it has so many members, and has these.
fn members(kind: u8, count: u32, numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut bytes = [&[kind, 0x80][..], &count.to_be_bytes()].concat();
    for number in numbers {
        bytes.extend([b"\x0b", format!("member:{number:04}").as_bytes()].concat());
        match kind {
            kind::HASH => bytes.extend(b"\x01v"),
            kind::SORTED_SET => bytes.extend(f64::from(number / 2).to_le_bytes()),
            _ => {}
        }
    }
    bytes
}

#[test]
fn members_come_in_any_order_and_once_however_many_they_are() {
    for (kind, count) in [kind::SET, kind::HASH, kind::SORTED_SET].iter().flat_map(|kind| [(*kind, 100), (*kind, 1000)])
    {
        let value = read(&members(kind, count, 0..count)).unwrap();
        let orders: [Vec<u32>; 2] = [(0..count).rev().collect(), (0..count).map(|at| at * 7 % count).collect()];
        for order in orders {
            let other = read(&members(kind, count, order.into_iter())).unwrap();
            assert_eq!(shown(&other), shown(&value));
            let (Value::Object(other), Value::Object(value)) = (other, &value) else { panic!("a text") };
            assert_eq!((other.encoding(), other.kind()), (value.encoding(), value.kind()));
        }
        for at in [0, count / 2, count - 2] {
            let twice = (0..count).map(|number| if number == count - 1 { at } else { number });
            assert!(read(&members(kind, count, twice)).is_none(), "{kind} {count} {at}");
        }
        assert!(read(&members(kind, count + 1, 0..count)).is_none());
        assert!(read(&members(kind, u32::MAX, 0..count)).is_none());
    }
}

#[test]
fn a_damaged_value_is_refused_or_some_other_value() {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for sample in samples().into_iter().take(16) {
        let entry = Record::new_object(b"key", sample);
        let mut bytes = dump(&entry);
        bytes.truncate(bytes.len() - FOOTER);
        for _ in 0..400 {
            let mut damaged = bytes.clone();
            for _ in 0..=random() % 3 {
                let at = (random() % damaged.len() as u64) as usize;
                damaged[at] = random() as u8;
            }
            if random() % 4 == 0 {
                damaged.truncate((random() % damaged.len() as u64) as usize);
            }
            if let Some(Value::Object(object)) = read(&damaged) {
                let entry = Record::new_object(b"key", object.clone());
                let again = restore(&dump(&entry), Checksum::Checked, &limits(), SEED).unwrap();
                assert_eq!(shown(&again), shown(&Value::Object(object)));
            }
        }
    }
}
