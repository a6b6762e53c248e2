//! Writing values. Packed blocks are copied as they are; tables and ranked maps are listed. Strings and blocks are compressed where the [`Output`] says so.

use redpoll_structures::decimal;
use redpoll_structures::lzf::Compressor;
use redpoll_structures::packed::{Item, Packed};

use super::{container, kind, stream};
use crate::{Entry, Hash, List, Millis, Object, Set, SortedSet, entry};

/// The longest text that may be held as an integer of 32 bits.
const INT_TEXT_MAX: usize = 11;

/// What stands before a compressed string.
const PACKED: u8 = 0xc3;

/// Strings up to this length are not worth compressing, and compression must save this many bytes.
const COMPRESSED_MIN: usize = 20;
const SAVED_MIN: usize = 4;

/// Bytes as they are written.
#[derive(Default)]
pub(super) struct Output<'a> {
    pub(super) bytes: Vec<u8>,
    /// Compresses strings, if they are to be.
    pub(super) compressor: Option<Compressor>,
    /// The key of the next value, which stands behind its type.
    pub(super) key: Option<&'a [u8]>,
}

impl Output<'_> {
    /// Goes on behind what there is.
    fn behind(out: &mut Vec<u8>) -> Output<'static> {
        Output { bytes: std::mem::take(out), ..Output::default() }
    }

    fn begin(&mut self, kind: u8) {
        self.bytes.push(kind);
        if let Some(key) = self.key.take() {
            string(key, self);
        }
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn extend(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.bytes.extend(bytes);
    }
}

/// Appends the type and the value of an object.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    let mut output = Output::behind(out);
    self::object(object, &mut output);
    *out = output.bytes;
}

/// Appends a string.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let mut output = Output::behind(out);
    string(text, &mut output);
    *out = output.bytes;
}

/// Appends a length.
pub fn write_length(len: u64, out: &mut Vec<u8>) {
    let mut output = Output::behind(out);
    length(len, &mut output);
    *out = output.bytes;
}

/// Appends the type and the value of an entry.
pub(super) fn entry(entry: &Entry, out: &mut Output<'_>) {
    if let Some(text) = entry::text(entry) {
        out.begin(kind::STRING);
        string(text.bytes(&mut [0; 20]), out);
    } else if let Some(object) = entry.object() {
        self::object(object, out);
    }
}

fn object(object: &Object, out: &mut Output<'_>) {
    match object {
        Object::List(value) => list(value, out),
        Object::Set(value) => set(value, out),
        Object::Hash(value) => hash(value, out),
        Object::SortedSet(value) => sorted_set(value, out),
        Object::Bytes(text) => {
            out.begin(kind::STRING);
            string(text, out);
        }
        Object::Stream(value) => {
            out.begin(kind::STREAM);
            stream::write(value, out);
        }
    }
}

fn list(list: &List, out: &mut Output<'_>) {
    let chunk = |chunk: &Packed, out: &mut Output<'_>| {
        length(container::PACKED, out);
        bytes(chunk.as_listpack(), out);
    };
    out.begin(kind::LIST_CHUNKS);
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

fn set(set: &Set, out: &mut Output<'_>) {
    if let Set::Ints(ints) = set {
        out.begin(kind::SET_INTS);
        return bytes(ints.as_intset_bytes(), out);
    }
    out.begin(kind::SET);
    length(set.len() as u64, out);
    set.iter().for_each(|member| item(member, out));
}

fn hash(hash: &Hash, out: &mut Output<'_>) {
    if let Some(soonest) = hash.soonest() {
        return hash_with_deadlines(hash, soonest, out);
    }
    if let Hash::Packed(packed) = hash {
        out.begin(kind::HASH_PACKED);
        return bytes(packed.as_listpack(), out);
    }
    out.begin(kind::HASH);
    length(hash.len() as u64, out);
    for (field, value, _) in hash.iter_with_deadlines() {
        item(field, out);
        item(value, out);
    }
}

/// Writes the soonest deadline first. In a listing those of the fields are relative to it, counted from 1.
fn hash_with_deadlines(hash: &Hash, soonest: Millis, out: &mut Output<'_>) {
    if let Hash::VolatilePacked(triples) = hash {
        out.begin(kind::HASH_TRIPLES);
        out.extend(soonest.to_le_bytes());
        return bytes(triples.packed().as_listpack(), out);
    }
    out.begin(kind::HASH_DEADLINES);
    out.extend(soonest.to_le_bytes());
    length(hash.len() as u64, out);
    for (field, value, deadline) in hash.iter_with_deadlines() {
        length(deadline.map_or(0, |deadline| deadline - soonest + 1), out);
        item(field, out);
        item(value, out);
    }
}

fn sorted_set(set: &SortedSet, out: &mut Output<'_>) {
    if let SortedSet::Packed(packed) = set {
        out.begin(kind::SORTED_SET_PACKED);
        return bytes(packed.as_listpack(), out);
    }
    out.begin(kind::SORTED_SET);
    length(set.len() as u64, out);
    for (member, score) in set.iter() {
        item(member, out);
        out.extend(score.to_le_bytes());
    }
}

fn item(item: Item<'_>, out: &mut Output<'_>) {
    string(item.text(&mut [0; 20]), out);
}

/// Writes a string, as an integer if it is a small one.
fn string(text: &[u8], out: &mut Output<'_>) {
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
pub(super) fn bytes(text: &[u8], out: &mut Output<'_>) {
    if text.len() > COMPRESSED_MIN && compressed(text, out) {
        return;
    }
    length(text.len() as u64, out);
    out.bytes.extend_from_slice(text);
}

/// Writes a string compressed, if that is wanted and saves anything.
fn compressed(text: &[u8], out: &mut Output<'_>) -> bool {
    let Some(compressor) = &mut out.compressor else { return false };
    let mut packed = Vec::new();
    if !compressor.compress(text, text.len() - SAVED_MIN, &mut packed) {
        return false;
    }
    out.push(PACKED);
    length(packed.len() as u64, out);
    length(text.len() as u64, out);
    out.bytes.extend_from_slice(&packed);
    true
}

pub(super) fn length(len: u64, out: &mut Output<'_>) {
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
