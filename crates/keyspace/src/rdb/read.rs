//! Reading values: a cursor over foreign bytes, and what each type is made into.

use redpoll_structures::chunked_list::{ChunkLimit, ChunkedList};
use redpoll_structures::int_set::IntSet;
use redpoll_structures::packed::{Item, Packed};
use redpoll_structures::{decimal, lzf};
use std::borrow::Cow;

use super::stream::Form;
use super::{Refused, Value, container, kind, older};
use crate::member_table::all_differ;
use crate::{Entry, Hash, Limits, List, Millis, Object, Set, SortedSet, entry};

/// Most bytes that decompression and repetition may yield for one value: a string of the greatest length that can be sent, twice.
const UNPACKED_MAX: usize = 1 << 30;

/// Most members that room is made for before they are seen.
const ROOM_MAX: u64 = 1 << 16;

/// Latest deadline of a field that Redis can hold.
const DEADLINE_MAX: Millis = (1 << 48) - 2;

/// What members go into: the thresholds of forms, and the seed of hash functions.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) limits: &'a Limits,
    seed: u64,
}

/// Reads a type and a value; returns what follows it.
pub fn read_value<'a>(bytes: &'a [u8], limits: &Limits, seed: u64) -> Result<(Value, &'a [u8]), Refused> {
    let mut source = Source::new(bytes, UNPACKED_MAX);
    let kind = source.byte().ok_or(Refused::Value("There is no value."))?;
    let value = value(kind, &mut source, Target { limits, seed });
    value.map(|value| (value, source.rest)).ok_or(source.refused(kind))
}

/// Reads a value of a file, whose type and key stand elsewhere and which ends where the bytes end. It may be as large as it was when it was written.
pub fn read_stored_entry(kind: u8, key: &[u8], bytes: &[u8], limits: &Limits, seed: u64) -> Result<Entry, Refused> {
    let mut source = Source::new(bytes, usize::MAX);
    let entry = if kind == kind::STRING {
        source.string().map(|text| entry::new_string(key, &text))
    } else {
        object(kind, &mut source, Target { limits, seed }).map(|object| Entry::new_object(key, object))
    };
    entry.filter(|_| source.rest.is_empty()).ok_or(source.refused(kind))
}

/// Tells whether a value that cannot be read is a collection without members: old servers have left such keys in files.
pub fn is_empty_value(kind: u8, bytes: &[u8]) -> bool {
    let mut source = Source::new(bytes, UNPACKED_MAX);
    let is_empty = match kind {
        kind::LIST | kind::SET | kind::HASH | kind::SORTED_SET | kind::SORTED_SET_TEXT => {
            source.length().map(|count| count == 0)
        }
        kind::LIST_ZIPLIST | kind::HASH_ZIPLIST | kind::SORTED_SET_ZIPLIST => source.empty_block(older::ziplist),
        kind::HASH_PACKED | kind::SORTED_SET_PACKED | kind::SET_PACKED => source.empty_block(packed),
        kind::LIST_ZIPLISTS => source
            .length()
            .and_then(|count| (0..count).try_fold(true, |empty, _| Some(source.empty_block(older::ziplist)? && empty))),
        kind::LIST_CHUNKS => source.length().map(|count| count == 0),
        _ => None,
    };
    is_empty == Some(true) && source.rest.is_empty()
}

fn packed(bytes: &[u8]) -> Option<Packed> {
    Packed::from_listpack(bytes).ok()
}

/// Reads a string; returns what follows it.
pub fn read_string(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut source = Source::new(bytes, UNPACKED_MAX);
    let text = source.string()?;
    Some((text, source.rest))
}

/// Reads a length; returns what follows it.
pub fn read_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut source = Source::new(bytes, UNPACKED_MAX);
    let len = source.length()?;
    Some((len, source.rest))
}

fn value(kind: u8, source: &mut Source<'_>, to: Target<'_>) -> Option<Value> {
    match kind {
        kind::STRING => source.string().map(|text| Value::Text(text.into_owned())),
        kind => object(kind, source, to).map(Value::Object),
    }
}

fn object(kind: u8, source: &mut Source<'_>, to: Target<'_>) -> Option<Object> {
    Some(match kind {
        kind::LIST => Object::List(list(source, to)?),
        kind::LIST_ZIPLIST => Object::List(list_of_ziplists(source, 1, to)?),
        kind::LIST_ZIPLISTS => {
            let count = source.length()?;
            Object::List(list_of_ziplists(source, count, to)?)
        }
        kind::LIST_CHUNKS => Object::List(list_of_chunks(source, to)?),
        kind::SET => Object::Set(set(source, to)?),
        kind::SET_INTS => Object::Set(set_of_ints(&source.string()?, to)?),
        kind::SET_PACKED => Object::Set(set_of_packed(&source.string()?, to)?),
        kind::HASH => Object::Hash(hash(source, to)?),
        kind::HASH_PACKED => {
            let bytes = source.string()?;
            let hash = hash_of_packed(&bytes, to);
            if hash.is_none() && fields_repeat(&bytes, to) {
                source.complain("Hash listpack with dup elements");
            }
            Object::Hash(hash?)
        }
        kind::HASH_DEADLINES => {
            let soonest = source.deadline()?;
            Object::Hash(hash_of_fields(source, soonest, to)?)
        }
        kind::HASH_DEADLINES_RC => Object::Hash(hash_of_fields(source, 1, to)?),
        kind::HASH_TRIPLES => {
            source.deadline()?;
            Object::Hash(hash_of_triples(&source.string()?, to)?)
        }
        kind::HASH_TRIPLES_RC => Object::Hash(hash_of_triples(&source.string()?, to)?),
        kind::HASH_ZIPLIST => Object::Hash(hash_of_pairs(older::ziplist(&source.string()?)?.pairs(), to)?),
        kind::HASH_ZIPMAP => Object::Hash(hash_of_zipmap(&source.string()?, to)?),
        kind::SORTED_SET => Object::SortedSet(sorted_set(source, to, Source::score)?),
        kind::SORTED_SET_TEXT => Object::SortedSet(sorted_set(source, to, Source::score_text)?),
        kind::SORTED_SET_PACKED => {
            Object::SortedSet(sorted_set_of_packed(Packed::from_listpack(&source.string()?).ok()?, to)?)
        }
        kind::SORTED_SET_ZIPLIST => Object::SortedSet(sorted_set_of_packed(older::ziplist(&source.string()?)?, to)?),
        kind::STREAM_5 => stream(source, Form::Redis5, to)?,
        kind::STREAM => stream(source, Form::Redis70, to)?,
        kind::STREAM_7_2 => stream(source, Form::Redis72, to)?,
        _ => return None,
    })
}

fn stream(source: &mut Source<'_>, form: Form, to: Target<'_>) -> Option<Object> {
    super::stream::read(source, form, to).map(|stream| Object::Stream(Box::new(stream)))
}

fn list(source: &mut Source<'_>, to: Target<'_>) -> Option<List> {
    let mut chunks = ChunkedList::new(chunk_limit(to));
    for _ in 0..source.count(1)? {
        chunks.push_back(&source.string()?);
    }
    finished(chunks, to)
}

fn list_of_ziplists(source: &mut Source<'_>, count: u64, to: Target<'_>) -> Option<List> {
    let mut chunks = ChunkedList::new(chunk_limit(to));
    for _ in 0..count {
        chunks.push_chunk(older::ziplist(&source.string()?)?);
    }
    finished(chunks, to)
}

fn list_of_chunks(source: &mut Source<'_>, to: Target<'_>) -> Option<List> {
    let mut chunks = ChunkedList::new(chunk_limit(to));
    for _ in 0..source.count(2)? {
        match source.length()? {
            // An element without bytes is never written that way.
            container::PLAIN => chunks.push_back(source.string().filter(|element| !element.is_empty())?.as_ref()),
            container::PACKED => chunks.push_chunk(Packed::from_listpack(&source.string()?).ok()?),
            _ => return None,
        }
    }
    finished(chunks, to)
}

fn chunk_limit(to: Target<'_>) -> ChunkLimit {
    ChunkLimit::from_setting(to.limits.list_max_listpack_size)
}

/// Makes one block of a list that fits into one.
fn finished(chunks: ChunkedList, to: Target<'_>) -> Option<List> {
    if chunks.is_empty() {
        return None;
    }
    let limit = chunk_limit(to);
    Some(match chunks.into_packed() {
        Ok(only) if limit.admits(only.byte_len(), only.len()) => List::Packed(only),
        Ok(only) => List::Chunked(Box::new(ChunkedList::from_packed(only, limit))),
        Err(chunks) => List::Chunked(Box::new(chunks)),
    })
}

fn set(source: &mut Source<'_>, to: Target<'_>) -> Option<Set> {
    let (count, mut set) = (source.count(1)?, Set::new());
    for index in 0..count {
        let member = source.string()?;
        if index == 0 {
            set.reserve(&member, count.min(ROOM_MAX) as usize, to.limits, to.seed);
        }
        if !set.insert(Item::of(&member), to.limits, to.seed) {
            return None;
        }
    }
    (!set.is_empty()).then_some(set)
}

fn set_of_ints(bytes: &[u8], to: Target<'_>) -> Option<Set> {
    let ints = IntSet::from_intset_bytes(bytes).ok().filter(|ints| !ints.is_empty())?;
    if ints.len() <= to.limits.set_max_intset_entries {
        return Some(Set::Ints(ints));
    }
    Some(Set::collect(ints.iter().map(Item::Int), to.limits, to.seed))
}

fn set_of_packed(bytes: &[u8], to: Target<'_>) -> Option<Set> {
    let packed = Packed::from_listpack(bytes).ok().filter(|packed| !packed.is_empty())?;
    if !all_differ(packed.iter(), packed.len(), to.seed) {
        return None;
    }
    let short = |member: Item<'_>| member.len() <= to.limits.set_max_listpack_value;
    if packed.len() <= to.limits.set_max_listpack_entries && packed.iter().all(short) {
        return Some(Set::Packed(packed));
    }
    Some(Set::collect(packed.iter(), to.limits, to.seed))
}

fn hash(source: &mut Source<'_>, to: Target<'_>) -> Option<Hash> {
    let (count, mut hash) = (source.count(2)?, Hash::new());
    hash.reserve(count.min(ROOM_MAX) as usize, to.limits, to.seed);
    for _ in 0..count {
        let (field, value) = (source.string()?, source.string()?);
        if !hash.set(&field, &value, to.limits, to.seed) {
            return None;
        }
    }
    (!hash.is_empty()).then_some(hash)
}

fn fields_repeat(bytes: &[u8], to: Target<'_>) -> bool {
    let Some(packed) = packed(bytes).filter(|packed| packed.len().is_multiple_of(2)) else { return false };
    !all_differ(packed.pairs().map(|(field, _)| field), packed.len() / 2, to.seed)
}

fn hash_of_packed(bytes: &[u8], to: Target<'_>) -> Option<Hash> {
    let packed = Packed::from_listpack(bytes).ok()?;
    let short = |item: Item<'_>| item.len() <= to.limits.hash_max_listpack_value;
    let fits = packed.len() / 2 <= to.limits.hash_max_listpack_entries && packed.iter().all(short);
    if !fits || !packed.len().is_multiple_of(2) {
        return if packed.len().is_multiple_of(2) { hash_of_pairs(packed.pairs(), to) } else { None };
    }
    let unique = all_differ(packed.pairs().map(|(field, _)| field), packed.len() / 2, to.seed);
    (unique && !packed.is_empty()).then_some(Hash::Packed(packed))
}

/// Reads fields with deadlines relative to `soonest`, counted from 1; 0 for none.
fn hash_of_fields(source: &mut Source<'_>, soonest: Millis, to: Target<'_>) -> Option<Hash> {
    let (count, mut hash) = (source.count(3)?, Hash::new());
    for _ in 0..count {
        let deadline = match source.length()? {
            0 => None,
            relative => Some(soonest.checked_add(relative - 1)?),
        };
        let (field, value) = (source.string()?, source.string()?);
        add_field(&mut hash, &field, &value, deadline, to)?;
    }
    (!hash.is_empty()).then_some(hash)
}

fn hash_of_triples(bytes: &[u8], to: Target<'_>) -> Option<Hash> {
    let packed = Packed::from_listpack(bytes).ok()?;
    let (mut items, mut hash) = (packed.iter(), Hash::new());
    while let Some(field) = items.next() {
        let (value, deadline) = (items.next()?, u64::try_from(items.next()?.as_int()?).ok()?);
        let (field, value) = (field.to_vec(), value.to_vec());
        add_field(&mut hash, &field, &value, (deadline > 0).then_some(deadline), to)?;
    }
    (!hash.is_empty()).then_some(hash)
}

/// Adds a field; none if it was there or its deadline is none that a field can have.
fn add_field(hash: &mut Hash, field: &[u8], value: &[u8], deadline: Option<Millis>, to: Target<'_>) -> Option<()> {
    if !hash.set(field, value, to.limits, to.seed) || deadline.is_some_and(|deadline| deadline > DEADLINE_MAX) {
        return None;
    }
    if let Some(deadline) = deadline {
        hash.set_deadline(field, deadline, to.seed);
    }
    Some(())
}

fn hash_of_pairs<'a>(pairs: impl Iterator<Item = (Item<'a>, Item<'a>)>, to: Target<'_>) -> Option<Hash> {
    let mut hash = Hash::new();
    for (field, value) in pairs {
        if !hash.set(field.text(&mut [0; 20]), value.text(&mut [0; 20]), to.limits, to.seed) {
            return None;
        }
    }
    (!hash.is_empty()).then_some(hash)
}

fn hash_of_zipmap(bytes: &[u8], to: Target<'_>) -> Option<Hash> {
    let mut hash = Hash::new();
    for (field, value) in older::zipmap(bytes)? {
        if !hash.set(field, value, to.limits, to.seed) {
            return None;
        }
    }
    (!hash.is_empty()).then_some(hash)
}

fn sorted_set<'a>(
    source: &mut Source<'a>,
    to: Target<'_>,
    score: fn(&mut Source<'a>) -> Option<f64>,
) -> Option<SortedSet> {
    let (count, mut set) = (source.count(2)?, SortedSet::new());
    let mut element = || Some((source.string()?, score(source).filter(|score| !score.is_nan())?));
    if count > to.limits.zset_max_listpack_entries as u64 {
        // Redis writes the highest first.
        let elements = (0..count).map(|_| element()).collect::<Option<Vec<_>>>()?;
        let set = SortedSet::of_many(elements.into_iter().rev(), to.seed);
        // Of a member that occurred twice one is left.
        return (set.len() as u64 == count).then_some(set);
    }
    for _ in 0..count {
        let (member, score) = element()?;
        if set.insert(&member, score, to.limits, to.seed).is_some() {
            return None;
        }
    }
    (!set.is_empty()).then_some(set)
}

fn sorted_set_of_packed(packed: Packed, to: Target<'_>) -> Option<SortedSet> {
    let members = packed.len() / 2;
    let set = SortedSet::from_packed(packed, to.limits, to.seed)?;
    // Of a member that occurred twice one is left.
    (members > 0 && set.len() == members).then_some(set)
}

/// Foreign bytes.
pub(super) struct Source<'a> {
    rest: &'a [u8],
    /// Bytes that decompression has yielded so far.
    unpacked: usize,
    /// The most it may yield.
    unpacked_max: usize,
    /// What is wrong, if more is known than the kind of value.
    complaint: Option<&'static str>,
}

impl<'a> Source<'a> {
    fn new(bytes: &'a [u8], unpacked_max: usize) -> Source<'a> {
        Source { rest: bytes, unpacked: 0, unpacked_max, complaint: None }
    }

    /// Notes what is wrong before reading is given up.
    pub(super) fn complain(&mut self, complaint: &'static str) {
        self.complaint = Some(complaint);
    }

    fn refused(&self, kind: u8) -> Refused {
        Refused::Value(self.complaint.unwrap_or(kind::complaint(kind)))
    }

    fn empty_block(&mut self, read: fn(&[u8]) -> Option<Packed>) -> Option<bool> {
        read(&self.string()?).map(|block| block.is_empty())
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn slice(&mut self, len: u64) -> Option<&'a [u8]> {
        let (slice, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(slice)
    }

    pub(super) fn length(&mut self) -> Option<u64> {
        let first = self.byte()?;
        self.length_after(first)
    }

    fn length_after(&mut self, first: u8) -> Option<u64> {
        match first {
            0..0x40 => Some(u64::from(first)),
            0x40..0x80 => Some(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            0x80 => self.array().map(|bytes| u64::from(u32::from_be_bytes(bytes))),
            0x81 => self.array().map(u64::from_be_bytes),
            _ => None,
        }
    }

    /// Reads a number of things of which each takes at least so many bytes.
    pub(super) fn count(&mut self, least: usize) -> Option<u64> {
        let count = self.length()?;
        (count <= (self.rest.len() / least) as u64).then_some(count)
    }

    pub(super) fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let number = match self.byte()? {
            0xc0 => i64::from(i8::from_le_bytes(self.array()?)),
            0xc1 => i64::from(i16::from_le_bytes(self.array()?)),
            0xc2 => i64::from(i32::from_le_bytes(self.array()?)),
            0xc3 => {
                let (packed_len, len) = (self.length()?, usize::try_from(self.length()?).ok()?);
                let packed = self.slice(packed_len)?;
                self.charge(len)?;
                return lzf::decompress(packed, len).map(Cow::Owned);
            }
            first => {
                let len = self.length_after(first)?;
                return self.slice(len).map(Cow::Borrowed);
            }
        };
        Some(Cow::Owned(decimal::format_i64(number, &mut [0; 20]).to_vec()))
    }

    /// Accounts for bytes that a value is to hold beyond those it takes here; none if they are too many by now.
    pub(super) fn charge(&mut self, len: usize) -> Option<()> {
        self.unpacked = self.unpacked.checked_add(len).filter(|sum| *sum <= self.unpacked_max)?;
        Some(())
    }

    /// Reads a deadline of a field as eight bytes; 0 for none.
    fn deadline(&mut self) -> Option<Millis> {
        self.array().map(Millis::from_le_bytes).filter(|deadline| *deadline <= DEADLINE_MAX)
    }

    /// Reads a score as eight bytes.
    fn score(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes)
    }

    /// Reads a score as text with its length before it.
    fn score_text(&mut self) -> Option<f64> {
        match self.byte()? {
            255 => Some(f64::NEG_INFINITY),
            254 => Some(f64::INFINITY),
            253 => None,
            len => decimal::parse_f64(self.slice(u64::from(len))?),
        }
    }
}
