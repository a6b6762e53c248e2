//! Writing values. Packed blocks are copied as they are; tables and ranked maps are listed.

use redpoll_structures::decimal;
use redpoll_structures::packed::{Item, Packed};

use super::{container, kind, stream};
use crate::{Entry, Hash, List, Millis, Object, Set, SortedSet, entry};

/// The longest text that may be held as an integer of 32 bits.
const INT_TEXT_MAX: usize = 11;

/// Appends the type and the value of an entry.
pub fn write_value(entry: &Entry, out: &mut Vec<u8>) {
    if let Some(text) = entry::text(entry) {
        out.push(kind::STRING);
        string(text.bytes(&mut [0; 20]), out);
    } else if let Some(object) = entry.object() {
        write_object(object, out);
    }
}

/// Appends the type and the value of an object.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    match object {
        Object::List(value) => list(value, out),
        Object::Set(value) => set(value, out),
        Object::Hash(value) => hash(value, out),
        Object::SortedSet(value) => sorted_set(value, out),
        Object::Bytes(text) => {
            out.push(kind::STRING);
            string(text, out);
        }
        Object::Stream(value) => {
            out.push(kind::STREAM);
            stream::write(value, out);
        }
    }
}

fn list(list: &List, out: &mut Vec<u8>) {
    let chunk = |chunk: &Packed, out: &mut Vec<u8>| {
        length(container::PACKED, out);
        bytes(chunk.as_listpack(), out);
    };
    out.push(kind::LIST_CHUNKS);
    match list {
        List::Packed(packed) => {
            length(1, out);
            chunk(packed, out);
        }
        List::Chunked(list) => {
            length(list.chunks().len() as u64, out);
            list.chunks().for_each(|packed| chunk(packed, out));
        }
    }
}

fn set(set: &Set, out: &mut Vec<u8>) {
    if let Set::Ints(ints) = set {
        out.push(kind::SET_INTS);
        return bytes(ints.as_intset_bytes(), out);
    }
    out.push(kind::SET);
    length(set.len() as u64, out);
    set.iter().for_each(|member| item(member, out));
}

fn hash(hash: &Hash, out: &mut Vec<u8>) {
    if let Some(soonest) = hash.soonest() {
        return hash_with_deadlines(hash, soonest, out);
    }
    if let Hash::Packed(packed) = hash {
        out.push(kind::HASH_PACKED);
        return bytes(packed.as_listpack(), out);
    }
    out.push(kind::HASH);
    length(hash.len() as u64, out);
    for (field, value, _) in hash.iter_with_deadlines() {
        item(field, out);
        item(value, out);
    }
}

/// Writes the soonest deadline first. In a listing those of the fields are relative to it, counted from 1.
fn hash_with_deadlines(hash: &Hash, soonest: Millis, out: &mut Vec<u8>) {
    if let Hash::VolatilePacked(triples) = hash {
        out.push(kind::HASH_TRIPLES);
        out.extend(soonest.to_le_bytes());
        return bytes(triples.packed().as_listpack(), out);
    }
    out.push(kind::HASH_DEADLINES);
    out.extend(soonest.to_le_bytes());
    length(hash.len() as u64, out);
    for (field, value, deadline) in hash.iter_with_deadlines() {
        length(deadline.map_or(0, |deadline| deadline - soonest + 1), out);
        item(field, out);
        item(value, out);
    }
}

fn sorted_set(set: &SortedSet, out: &mut Vec<u8>) {
    if let SortedSet::Packed(packed) = set {
        out.push(kind::SORTED_SET_PACKED);
        return bytes(packed.as_listpack(), out);
    }
    out.push(kind::SORTED_SET);
    length(set.len() as u64, out);
    for (member, score) in set.iter() {
        item(member, out);
        out.extend(score.to_le_bytes());
    }
}

fn item(item: Item<'_>, out: &mut Vec<u8>) {
    string(item.text(&mut [0; 20]), out);
}

/// Writes a string, as an integer if it is a small one.
fn string(text: &[u8], out: &mut Vec<u8>) {
    let number = if text.len() <= INT_TEXT_MAX { decimal::parse_i64(text) } else { None };
    match number.map(i32::try_from) {
        Some(Ok(number)) => {
            if let Ok(number) = i8::try_from(number) {
                out.extend([0xc0, number as u8]);
            } else if let Ok(number) = i16::try_from(number) {
                out.push(0xc1);
                out.extend(number.to_le_bytes());
            } else {
                out.push(0xc2);
                out.extend(number.to_le_bytes());
            }
        }
        _ => bytes(text, out),
    }
}

/// Writes a string as it is.
pub(super) fn bytes(text: &[u8], out: &mut Vec<u8>) {
    length(text.len() as u64, out);
    out.extend_from_slice(text);
}

pub(super) fn length(len: u64, out: &mut Vec<u8>) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend((0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend((len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend(len.to_be_bytes());
        }
    }
}
