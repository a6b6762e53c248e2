//! XINFO: what can be learned about streams, groups and consumers.
//!
//! The numbers about a radix tree are those of the tree in which Redis keeps the nodes of a stream; here they are worked out from its nodes.

use redpoll_keyspace::{Consumer, Direction, Group, Stream, StreamId};
use redpoll_resp::Writer;

use crate::args::Args;
use crate::cx::Cx;
use crate::error::{Error, NO_SUCH_KEY, no_group, subcommand_syntax};
use crate::help;
use crate::stream::{write_entries, write_entry};
use crate::stream_args::id_text;

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
];

/// Entries that XINFO STREAM FULL lists of a kind unless COUNT says otherwise.
const FULL_COUNT_DEFAULT: usize = 10;
const EVERYTHING: std::ops::RangeInclusive<StreamId> = StreamId::MIN..=StreamId::MAX;

/// XINFO CONSUMERS key group
pub(crate) fn xinfo_consumers(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let now = cx.now();
    let stream = cx.db.read_as::<Stream>(args.at(2))?.ok_or(NO_SUCH_KEY)?;
    let group = stream.group(args.at(3)).ok_or_else(|| no_group(args.at(3), args.at(2)))?;
    let out = &mut *cx.out;
    out.array(group.consumers_len());
    for consumer in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(consumer.name());
        field(out, "pending", consumer.pending_len() as i64);
        field(out, "idle", now.saturating_sub(consumer.seen_at) as i64);
        let inactive = consumer.active_at.map_or(-1, |active_at| now.saturating_sub(active_at) as i64);
        field(out, "inactive", inactive);
    }
    Ok(())
}

/// XINFO GROUPS key
pub(crate) fn xinfo_groups(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let stream = cx.db.read_as::<Stream>(args.at(2))?.ok_or(NO_SUCH_KEY)?;
    let out = &mut *cx.out;
    out.array(stream.groups_len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        field(out, "consumers", group.consumers_len() as i64);
        field(out, "pending", group.pending_len() as i64);
        progress(out, stream, group);
    }
    Ok(())
}

/// XINFO HELP
pub(crate) fn xinfo_help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "XINFO", HELP);
    Ok(())
}

/// XINFO STREAM key [FULL [COUNT count]]
pub(crate) fn xinfo_stream(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let stream = cx.db.read_as::<Stream>(args.at(2))?.ok_or(NO_SUCH_KEY)?;
    let out = &mut *cx.out;
    let full = match args.len() {
        3 => None,
        4 if args.is(3, "FULL") => Some(FULL_COUNT_DEFAULT),
        6 if args.is(3, "FULL") && args.is(4, "COUNT") => match args.int(5)? {
            0 => Some(usize::MAX),
            count => Some(usize::try_from(count).unwrap_or(FULL_COUNT_DEFAULT)),
        },
        _ => return Err(subcommand_syntax("XINFO", args.at(1))),
    };
    out.map(if full.is_some() { 9 } else { 10 });
    let (extent, (keys, nodes)) = (stream.extent(), stream.tree_size());
    field(out, "length", extent.len as i64);
    field(out, "radix-tree-keys", keys as i64);
    field(out, "radix-tree-nodes", nodes as i64);
    id_field(out, "last-generated-id", extent.last_id);
    id_field(out, "max-deleted-entry-id", extent.max_deleted_id);
    field(out, "entries-added", extent.entries_added as i64);
    id_field(out, "recorded-first-entry-id", extent.first_id);
    let Some(count) = full else {
        field(out, "groups", stream.groups_len() as i64);
        for (name, direction) in [("first-entry", Direction::Ascending), ("last-entry", Direction::Descending)] {
            out.bulk(name.as_bytes());
            match stream.range(EVERYTHING, direction).next() {
                Some(entry) => write_entry(out, &entry),
                None => out.null(),
            }
        }
        return Ok(());
    };
    out.bulk(b"entries");
    write_entries(out, stream.range(EVERYTHING, Direction::Ascending).take(count));
    out.bulk(b"groups");
    out.array(stream.groups_len());
    stream.groups().for_each(|(name, group)| full_group(out, stream, name, group, count));
    Ok(())
}

fn full_group(out: &mut Writer, stream: &Stream, name: &[u8], group: &Group, count: usize) {
    out.map(7);
    out.bulk(b"name");
    out.bulk(name);
    progress(out, stream, group);
    field(out, "pel-count", group.pending_len() as i64);
    out.bulk(b"pending");
    out.array(count.min(group.pending_len()));
    for (id, pending) in group.pending(EVERYTHING).take(count) {
        out.array(4);
        out.bulk(&id_text(id));
        out.bulk(group.consumer(pending.consumer).name());
        out.int(pending.delivered_at as i64);
        out.int(pending.deliveries as i64);
    }
    out.bulk(b"consumers");
    out.array(group.consumers_len());
    group.consumers().for_each(|consumer| full_consumer(out, group, consumer, count));
}

fn full_consumer(out: &mut Writer, group: &Group, consumer: &Consumer, count: usize) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(consumer.name());
    field(out, "seen-time", consumer.seen_at as i64);
    field(out, "active-time", consumer.active_at.map_or(-1, |active_at| active_at as i64));
    field(out, "pel-count", consumer.pending_len() as i64);
    out.bulk(b"pending");
    out.array(count.min(consumer.pending_len()));
    let pending = consumer.pending(EVERYTHING).filter_map(|id| Some((id, group.pending_of(id)?)));
    for (id, pending) in pending.take(count) {
        out.array(3);
        out.bulk(&id_text(id));
        out.int(pending.delivered_at as i64);
        out.int(pending.deliveries as i64);
    }
}

/// How far a group has read and how far it lags behind.
fn progress(out: &mut Writer, stream: &Stream, group: &Group) {
    id_field(out, "last-delivered-id", group.last_id);
    out.bulk(b"entries-read");
    match group.entries_read {
        Some(read) => out.int(read as i64),
        None => out.null(),
    }
    out.bulk(b"lag");
    match stream.extent().lag(group) {
        Some(lag) => out.int(lag),
        None => out.null(),
    }
}

fn field(out: &mut Writer, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn id_field(out: &mut Writer, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    out.bulk(&id_text(id));
}
