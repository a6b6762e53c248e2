//! Values in the format of RDB files: whatever the bytes, reading them ends, takes no more memory than they call for, and what is read is written and read again
//! as the same value.
//!
//! The first byte chooses the thresholds, the rest is type and value; the footer is made here, because no fuzzer guesses a checksum.

#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll_keyspace::rdb::{Checksum, Value, read_value, restore, write_object};
use redpoll_keyspace::{Direction, Limits, Object, StreamId};
use redpoll_structures::packed::Item;

const SEED: u64 = 1;

/// Everything a value holds, members in the order of their text.
fn contents(object: &Object) -> Vec<Vec<u8>> {
    let pair = |field: Item<'_>, value: Item<'_>| [field.to_vec(), b"=".to_vec(), value.to_vec()].concat();
    let mut parts: Vec<Vec<u8>> = match object {
        Object::List(list) => return list.iter().map(Item::to_vec).collect(),
        Object::Set(set) => set.iter().map(Item::to_vec).collect(),
        Object::Hash(hash) => {
            let timed = |(field, value, deadline)| [pair(field, value), format!(" {deadline:?}").into_bytes()].concat();
            hash.iter_with_deadlines().map(timed).collect()
        }
        Object::SortedSet(set) => {
            // A packed zero has no sign, so none is told here.
            set.iter().map(|(member, score)| pair(member, Item::Str(format!("{:?}", score + 0.0).as_bytes()))).collect()
        }
        Object::Stream(stream) => {
            let all = StreamId::MIN..=StreamId::MAX;
            let mut parts = vec![format!("{:?}", stream.extent()).into_bytes()];
            for entry in stream.range(all.clone(), Direction::Ascending) {
                parts.push(entry.id().to_string().into_bytes());
                parts.extend(entry.fields().map(|(field, value)| pair(field, value)));
            }
            for (name, group) in stream.groups() {
                parts.push(name.to_vec());
                parts.push(format!("{:?} {:?}", group.last_id, group.entries_read).into_bytes());
                for (id, pending) in group.pending(all.clone()) {
                    let name = group.consumer(pending.consumer).name();
                    parts.push(format!("{id} {name:?} {} {}", pending.delivered_at, pending.deliveries).into_bytes());
                }
            }
            return parts;
        }
        Object::Bytes(bytes) => vec![bytes.to_vec()],
    };
    parts.sort();
    parts
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let small = |bit: u8, threshold: usize| if choice & bit == 0 { threshold } else { 2 };
    let limits = Limits {
        hash_max_listpack_entries: small(1, 512),
        set_max_intset_entries: small(2, 512),
        set_max_listpack_entries: small(4, 128),
        zset_max_listpack_entries: small(8, 128),
        list_max_listpack_size: if choice & 16 == 0 { -2 } else { 2 },
        ..Limits::default()
    };
    assert!(restore(bytes, Checksum::Checked, &limits, SEED).is_err() || bytes.len() > 10);
    let Ok((Value::Object(object), _)) = read_value(bytes, &limits, SEED) else { return };
    let mut written = Vec::new();
    write_object(&object, &mut written);
    let Ok((Value::Object(again), [])) = read_value(&written, &limits, SEED) else {
        panic!("what was written is read")
    };
    assert_eq!(contents(&again), contents(&object));
});
