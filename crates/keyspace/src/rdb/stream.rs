//! Streams as bytes.
//!
//! ```text
//! stream    nodes │ (base id 16, packed block) × nodes │ length │ last id │ first id │ greatest deleted id │ entries added │ groups …
//! group     name │ last id │ entries read │ pending │ (id 16, delivered at, deliveries) × pending │ consumers …
//! consumer  name │ seen at │ [active at] │ pending │ id 16 × pending
//! ```
//!
//! Counts and halves of ids are lengths; ids of 16 bytes are big endian, times 8 bytes little endian. Redis 5 wrote neither first and deleted ids nor counts of entries, Redis
//! 7.2 added when a consumer was active. Nodes are copied when written; when read, their entries are added one by one, so that nothing has to be believed
//! of a foreign node but what its elements say. Tombstones are left behind.

use redpoll_structures::packed::{Item, Packed};

use super::read::{Source, Target};
use super::write::{Output, bytes, length};
use crate::stream::{Pending, Stream, StreamId};

/// An entry of a node that was deleted, and one that has the names of its node.
const DELETED: i64 = 1;
const SAME_NAMES: i64 = 2;

/// What a group has read when nobody knows.
const UNKNOWN: u64 = u64::MAX;

/// Which servers write a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Redis5,
    Redis70,
    Redis72,
}

/// Appends a stream in the form of Redis 7.0.
pub(super) fn write(stream: &Stream, out: &mut Output<'_>) {
    let extent = stream.extent();
    length(stream.blocks().len() as u64, out);
    for (base, block) in stream.blocks() {
        bytes(&base.to_key(), out);
        bytes(block.as_listpack(), out);
    }
    length(extent.len as u64, out);
    for id in [extent.last_id, extent.first_id, extent.max_deleted_id] {
        length(id.ms, out);
        length(id.seq, out);
    }
    length(extent.entries_added, out);
    length(stream.groups_len() as u64, out);
    let all = StreamId::MIN..=StreamId::MAX;
    for (name, group) in stream.groups() {
        bytes(name, out);
        length(group.last_id.ms, out);
        length(group.last_id.seq, out);
        length(group.entries_read.unwrap_or(UNKNOWN), out);
        length(group.pending_len() as u64, out);
        for (id, pending) in group.pending(all.clone()) {
            out.extend(id.to_key());
            out.extend(pending.delivered_at.to_le_bytes());
            length(pending.deliveries, out);
        }
        length(group.consumers_len() as u64, out);
        for consumer in group.consumers() {
            bytes(consumer.name(), out);
            out.extend(consumer.seen_at.to_le_bytes());
            length(consumer.pending_len() as u64, out);
            consumer.pending(all.clone()).for_each(|id| out.extend(id.to_key()));
        }
    }
}

/// Reads a stream.
pub(super) fn read(source: &mut Source<'_>, form: Form, to: Target<'_>) -> Option<Stream> {
    let mut stream = Stream::new();
    for _ in 0..source.count(2)? {
        let base = StreamId::from_key(source.string()?.as_ref().try_into().ok()?);
        let block = source.string()?;
        add_entries(source, &mut stream, base, &Packed::from_listpack(&block).ok()?, to)?;
    }
    let (len, last_id) = (source.length()?, id(source)?);
    if len != stream.len() as u64 || last_id < stream.extent().last_id {
        return None;
    }
    let (mut max_deleted, mut entries_added) = (StreamId::MIN, len);
    if form >= Form::Redis70 {
        id(source)?;
        (max_deleted, entries_added) = (id(source)?, source.length()?);
    }
    // XSETID can set the last id behind what was deleted.
    if entries_added < len {
        return None;
    }
    stream.set_past(last_id, Some(entries_added), Some(max_deleted));
    for _ in 0..source.count(4)? {
        read_group(source, &mut stream, form)?;
    }
    Some(stream)
}

/// Adds the entries of a node; none if it is no node, or its entries do not follow those there are.
fn add_entries(
    source: &mut Source<'_>,
    stream: &mut Stream,
    base: StreamId,
    block: &Packed,
    to: Target<'_>,
) -> Option<()> {
    let mut items = block.iter();
    let mut next = || items.next();
    let number = |item: Option<Item<'_>>| item?.as_int();
    let (live, deleted) = (number(next())?, number(next())?);
    let shared = usize::try_from(number(next())?).ok().filter(|names| *names <= block.len())?;
    let names: Vec<Vec<u8>> = (0..shared).map(|_| next().map(Item::to_vec)).collect::<Option<_>>()?;
    if number(next())? != 0 {
        return None;
    }
    let names_len = names.iter().map(Vec::len).sum();
    let (mut found_live, mut found_deleted) = (0, 0);
    while let Some(flags) = next() {
        let (flags, ms, seq) = (flags.as_int()?, number(next())?, number(next())?);
        let id = StreamId::new(base.ms.wrapping_add(ms as u64), base.seq.wrapping_add(seq as u64));
        let same = flags & SAME_NAMES != 0;
        if same {
            // Entries whose names stood once there may each stand in a node of their own here.
            source.charge(names_len)?;
        }
        let count = if same { shared } else { usize::try_from(number(next())?).ok()? };
        if count > block.len() {
            return None;
        }
        let mut fields: Vec<Vec<u8>> = Vec::with_capacity(2 * count);
        let mut shared_names = names.iter();
        for _ in 0..count {
            fields.push(if same { shared_names.next()?.clone() } else { next()?.to_vec() });
            fields.push(next()?.to_vec());
        }
        let steps = if same { count + 3 } else { 2 * count + 4 };
        if number(next())? != steps as i64 || count == 0 || flags & !(DELETED | SAME_NAMES) != 0 {
            return None;
        }
        if flags & DELETED != 0 {
            found_deleted += 1;
            continue;
        }
        found_live += 1;
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        stream.add(id, &fields, to.limits).ok()?;
    }
    // Trimming can leave a node of which all entries are deleted.
    (found_live == live && found_deleted == deleted && live + deleted > 0).then_some(())
}

fn read_group(source: &mut Source<'_>, stream: &mut Stream, form: Form) -> Option<()> {
    let (name, last_id) = (source.string()?, id(source)?);
    let entries_read = match form {
        Form::Redis5 => stream.extent().entries_up_to(last_id),
        _ => Some(source.length()?).filter(|read| *read != UNKNOWN),
    };
    if !stream.create_group(&name, last_id, entries_read) {
        return None;
    }
    let mut waiting = std::collections::BTreeMap::new();
    for _ in 0..source.count(StreamId::KEY_BYTES + 9)? {
        let id = StreamId::from_key(source.array()?);
        let delivered_at = u64::from_le_bytes(source.array()?);
        if waiting.insert(id, (delivered_at, source.length()?)).is_some() {
            return None;
        }
    }
    let mut group = stream.open_group(&name)?;
    for _ in 0..source.count(10)? {
        let name = source.string()?;
        let seen_at = u64::from_le_bytes(source.array()?);
        let active_at = match form {
            Form::Redis72 => Some(u64::from_le_bytes(source.array()?)).filter(|at| *at != u64::MAX),
            _ => Some(seen_at),
        };
        let Some(consumer) = group.add_consumer(&name, seen_at) else {
            source.complain("Duplicate stream consumer detected.");
            return None;
        };
        group.consumer_mut(consumer).active_at = active_at;
        for _ in 0..source.count(StreamId::KEY_BYTES)? {
            let id = StreamId::from_key(source.array()?);
            let (delivered_at, deliveries) = waiting.remove(&id)?;
            group.assign(id, Pending { consumer, delivered_at, deliveries });
        }
    }
    // What is pending is pending with somebody.
    waiting.is_empty().then_some(())
}

fn id(source: &mut Source<'_>) -> Option<StreamId> {
    Some(StreamId::new(source.length()?, source.length()?))
}
