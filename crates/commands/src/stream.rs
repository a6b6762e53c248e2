//! Streams, entry by entry: adding, reading ranges, trimming and removing. Reading what is new is in `stream_read.rs`, groups are in `stream_group.rs`,
//! `stream_claim.rs` and `stream_info.rs`.
//!
//! What the server chose is logged as it chose it: the id it made from the clock, and for approximate trimming the length it came to.

use redpoll_keyspace::{
    AddError, Change, Direction, EventClass, Extent, Kind, References, Removal, Stream, StreamEntry, StreamId, Trim,
    TrimTo,
};
use redpoll_resp::Writer;
use redpoll_structures::decimal::{self, I64_TEXT_MAX};

use crate::args::Args;
use crate::command::{BLOCKING, Command, DENYOOM, FAST, Family, Keys, LOADING, READONLY, STALE, WRITE, cmd, container};
use crate::cx::Cx;
use crate::error::{
    ENTRIES_ADDED_NEGATIVE, ENTRIES_ADDED_TOO_SMALL, ENTRY_TOO_LARGE, Error, NO_SUCH_KEY, SETID_BELOW_MAXDELETEDID,
    SETID_BELOW_TOP, STREAM_EXHAUSTED, SYNTAX, WRONG_TYPE, XADD_ID_TOO_SMALL, XADD_ID_ZERO, wrong_arity,
};
use crate::key_spec::{ACCESS, DELETE, INSERT, KeySpec, RO, RW, UPDATE};
use crate::stream_args::{self, AddOptions, id_text};
use crate::stream_claim::{xautoclaim, xclaim};
use crate::stream_group::{
    xack, xackdel, xgroup_create, xgroup_createconsumer, xgroup_delconsumer, xgroup_destroy, xgroup_help, xgroup_setid,
    xpending,
};
use crate::stream_info::{xinfo_consumers, xinfo_groups, xinfo_help, xinfo_stream};
use crate::stream_read::{xread, xreadgroup};
use crate::{reply, stream_read};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("XACK key group id [id ...]", xack, WRITE | FAST, "5.0.0", "O(1) for each message ID processed.", "Returns the number of messages that were successfully acknowledged by the consumer group member of a stream."),
    cmd("XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]", xackdel, WRITE | FAST, "8.2.0", "O(1) for each entry ID processed.", "Acknowledges and conditionally deletes one or multiple entries for a stream consumer group.").uses(&[RW | UPDATE | DELETE]),
    cmd("XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]", xadd, WRITE | DENYOOM | FAST, "5.0.0", "O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.", "Appends a new message to a stream. Creates the key if it doesn't exist."),
    cmd("XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]", xautoclaim, WRITE | FAST, "6.2.0", "O(1) if COUNT is small.", "Changes, or acquires, ownership of messages in a consumer group, as if the messages were delivered to as consumer group member.").uses(&[RW | DELETE]),
    cmd("XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]", xclaim, WRITE | FAST, "5.0.0", "O(log N) with N being the number of messages in the PEL of the consumer group.", "Changes, or acquires, ownership of a message in a consumer group, as if the message was delivered a consumer group member."),
    cmd("XDEL key id [id ...]", xdel, WRITE | FAST, "5.0.0", "O(1) for each single item to delete in the stream, regardless of the stream size.", "Returns the number of messages after removing them from a stream.").uses(&[RW | DELETE]),
    cmd("XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]", xdelex, WRITE | FAST, "8.2.0", "O(1) for each single item to delete in the stream, regardless of the stream size.", "Deletes one or multiple entries from the stream.").uses(&[RW | DELETE]),
    cmd("XGROUP", container, 0, "5.0.0", "Depends on subcommand.", "A container for consumer groups commands.").subcommands(GROUP),
    cmd("XINFO", container, 0, "5.0.0", "Depends on subcommand.", "A container for stream introspection commands.").subcommands(INFO),
    cmd("XLEN key", xlen, READONLY | FAST, "5.0.0", "O(1)", "Return the number of messages in a stream.").uses(&[RO]),
    cmd("XPENDING key group [[IDLE min-idle-time] start end count [consumer]]", xpending, READONLY, "5.0.0", "O(N) with N being the number of elements returned, so asking for a small fixed number of entries per call is O(1). O(M), where M is the total number of entries scanned when used with the IDLE filter. When the command returns just the summary and the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.", "Returns the information and entries from a stream consumer group's pending entries list."),
    cmd("XRANGE key start end [COUNT count]", xrange, READONLY, "5.0.0", "O(N) with N being the number of elements being returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).", "Returns the messages from a stream within a range of IDs."),
    cmd("XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]", xread, READONLY | BLOCKING, "5.0.0", "For each stream mentioned: O(N) with N being the number of elements being returned, it means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK option is used, XADD will pay O(M) time in order to serve the M clients blocked on the stream getting new data.", "Returns messages from multiple streams with IDs greater than the ones requested. Blocks until a message is available otherwise.").keys(Keys::Custom(stream_read::keys)).specs(&[KeySpec::half_behind("STREAMS", 1, RO | ACCESS)]),
    cmd("XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]", xreadgroup, WRITE | BLOCKING, "5.0.0", "For each stream mentioned: O(M) with M being the number of elements returned. If M is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N clients blocked on the stream getting new data.", "Returns new or historical messages from a stream for a consumer in a group. Blocks until a message is available otherwise.").keys(Keys::Custom(stream_read::keys)).specs(&[KeySpec::half_behind("STREAMS", 4, RO | ACCESS)]),
    cmd("XREVRANGE key end start [COUNT count]", xrevrange, READONLY, "5.0.0", "O(N) with N being the number of elements returned. If N is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).", "Returns the messages from a stream within a range of IDs in reverse order."),
    cmd("XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]", xsetid, WRITE | DENYOOM | FAST, "5.0.0", "O(1)", "An internal command for replicating stream values."),
    cmd("XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]", xtrim, WRITE, "5.0.0", "O(N), with N being the number of evicted entries. Constant times are very small however, since entries are organized in macro nodes containing multiple entries that can be released with a single deallocation.", "Deletes messages from the beginning of a stream.").uses(&[RW | DELETE]),
];

#[rustfmt::skip]
const GROUP: &[Command] = &[
    cmd("XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]", xgroup_create, WRITE | DENYOOM, "5.0.0", "O(1)", "Creates a consumer group.").uses(&[RW | INSERT]),
    cmd("XGROUP CREATECONSUMER key group consumer", xgroup_createconsumer, WRITE | DENYOOM, "6.2.0", "O(1)", "Creates a consumer in a consumer group.").uses(&[RW | INSERT]),
    cmd("XGROUP DELCONSUMER key group consumer", xgroup_delconsumer, WRITE, "5.0.0", "O(1)", "Deletes a consumer from a consumer group.").uses(&[RW | DELETE]),
    cmd("XGROUP DESTROY key group", xgroup_destroy, WRITE, "5.0.0", "O(N) where N is the number of entries in the group's pending entries list (PEL).", "Destroys a consumer group.").uses(&[RW | DELETE]),
    cmd("XGROUP HELP", xgroup_help, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
    cmd("XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]", xgroup_setid, WRITE, "5.0.0", "O(1)", "Sets the last-delivered ID of a consumer group."),
];

#[rustfmt::skip]
const INFO: &[Command] = &[
    cmd("XINFO CONSUMERS key group", xinfo_consumers, READONLY, "5.0.0", "O(1)", "Returns a list of the consumers in a consumer group."),
    cmd("XINFO GROUPS key", xinfo_groups, READONLY, "5.0.0", "O(1)", "Returns a list of the consumer groups of a stream."),
    cmd("XINFO HELP", xinfo_help, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
    cmd("XINFO STREAM key [FULL [COUNT count]]", xinfo_stream, READONLY, "5.0.0", "O(1)", "Returns information about a stream."),
];

/// Streams.
pub(crate) const FAMILY: Family = Family { group: "stream", commands: COMMANDS };

/// Writes an entry: its id and its fields.
pub(crate) fn write_entry(out: &mut Writer, entry: &StreamEntry<'_>) {
    out.array(2);
    out.bulk(&id_text(entry.id()));
    out.array(2 * entry.len());
    entry.fields().for_each(|(name, value)| {
        reply::item(out, name);
        reply::item(out, value);
    });
}

/// Writes entries as an array.
pub(crate) fn write_entries<'a>(out: &mut Writer, entries: impl Iterator<Item = StreamEntry<'a>>) {
    let (mark, mut count) = (out.begin_array(), 0);
    entries.for_each(|entry| {
        write_entry(out, &entry);
        count += 1;
    });
    out.end_array(mark, count);
}

/// XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]
fn xadd(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = stream_args::add_options(cx, args)?;
    let (key, fields) = (args.at(1), args.from(options.end + 1));
    let Some(new_id) = options.id.filter(|_| fields.len() >= 2 && fields.len().is_multiple_of(2)) else {
        return Err(wrong_arity("xadd"));
    };
    if new_id == stream_args::NewId::Given(StreamId::MIN) {
        return Err(XADD_ID_ZERO);
    }
    let (limits, now) = (cx.limits(), cx.now());
    let add = |stream: &mut Stream| -> Result<(StreamId, usize, Extent), Error> {
        if stream.extent().last_id == StreamId::MAX {
            return Err(STREAM_EXHAUSTED);
        }
        // Where the sequence numbers of a millisecond are used up, redis-server was seen to say this.
        let id = new_id.after(stream.extent().last_id, now).ok_or(ENTRY_TOO_LARGE)?;
        stream.add(id, fields, &limits).map_err(|error| match error {
            AddError::IdTooSmall => XADD_ID_TOO_SMALL,
            AddError::TooLarge => ENTRY_TOO_LARGE,
        })?;
        let trimmed = options.trim.as_ref().map_or(0, |trim| stream.trim(trim));
        Ok((id, trimmed, *stream.extent()))
    };
    let update = |stream: &mut Stream| {
        let added = add(stream);
        let change = Change::of("xadd", u64::from(added.is_ok()));
        (added, change)
    };
    let added =
        if options.existing_only { cx.db.update(key, update)? } else { Some(cx.db.update_or_create(key, update)?) };
    let Some(added) = added else {
        cx.out.null();
        return Ok(());
    };
    let (id, trimmed, extent) = added?;
    if trimmed > 0 {
        cx.db.notify(EventClass::Stream, "xtrim", key);
    }
    journal_add(cx, args, &options, id, &extent);
    cx.out.bulk(&id_text(id));
    Ok(())
}

/// Logs an addition with the id it got and the trimming it came to, if that is not what the client wrote.
fn journal_add(cx: &mut Cx<'_, '_>, args: Args<'_>, options: &AddOptions, id: StreamId, extent: &Extent) {
    let approximate = options.trim.filter(|trim| trim.whole_nodes);
    if matches!(options.id, Some(stream_args::NewId::Given(_))) && approximate.is_none() {
        return;
    }
    let id = id_text(id);
    let mut record = vec![&b"XADD"[..], args.at(1)];
    let threshold;
    if let Some(trim) = options.trim {
        threshold = exact(&trim, extent);
        record.extend([threshold.0, b"=", threshold.1.as_slice()]);
        record.extend(references_word(trim.references));
    }
    record.push(&id);
    record.extend(args.from(options.end + 1));
    cx.journal.instead(&record);
}

/// Returns how trimming is logged so that it comes to the same whatever the nodes are: exactly, by the length it came to or by the first id that is left.
fn exact(trim: &Trim, extent: &Extent) -> (&'static [u8], stream_args::IdText) {
    let number = |number: u64| decimal::format_u64(number, &mut [0; I64_TEXT_MAX]).into();
    match trim.to {
        TrimTo::Len(len) if !trim.whole_nodes => (b"MAXLEN", number(len)),
        TrimTo::Id(id) if !trim.whole_nodes => (b"MINID", id_text(id)),
        TrimTo::Id(_) if extent.len > 0 && trim.references != References::Needed => {
            (b"MINID", id_text(extent.first_id))
        }
        // Where entries that are needed stay, what goes is still what stands first.
        TrimTo::Id(_) | TrimTo::Len(_) => (b"MAXLEN", number(extent.len as u64)),
    }
}

fn references_word(references: References) -> Option<&'static [u8]> {
    match references {
        References::Keep => None,
        References::Drop => Some(b"DELREF"),
        References::Needed => Some(b"ACKED"),
    }
}

/// XDEL key id [id ...]
fn xdel(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(1);
    match cx.db.kind(key) {
        None => {
            cx.out.int(0);
            return Ok(());
        }
        Some(Kind::Stream) => {}
        Some(_) => return Err(WRONG_TYPE),
    }
    let ids = stream_args::ids(args.from(2))?;
    let removed = cx.db.update::<Stream, _>(key, |stream| {
        let removed = ids.iter().filter(|id| stream.remove(**id, References::Keep) == Removal::Done).count();
        (removed, Change::of("xdel", removed as u64))
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]
fn xdelex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (references, ids) = stream_args::references_and_ids(args, 2)?;
    let removals = cx.db.update::<Stream, _>(args.at(1), |stream| {
        let pending = |stream: &Stream| stream.groups().map(|(_, group)| group.pending_len()).sum::<usize>();
        let before = pending(stream);
        let removals: Vec<Removal> = ids.iter().map(|id| stream.remove(*id, references)).collect();
        let removed = removals.iter().filter(|removal| **removal == Removal::Done).count();
        // References can go although the entry has gone long ago, for which there is no event.
        let change = match before - pending(stream) {
            dropped if removed == 0 => Change::aside("", dropped as u64),
            _ => Change::of("xdel", removed as u64),
        };
        (removals, change)
    })?;
    let removals = removals.unwrap_or_else(|| vec![Removal::Missing; ids.len()]);
    cx.out.array(removals.len());
    removals.into_iter().for_each(|removal| cx.out.int(removal_code(removal)));
    Ok(())
}

/// The number that XDELEX and XACKDEL have for what became of an entry.
pub(crate) fn removal_code(removal: Removal) -> i64 {
    match removal {
        Removal::Missing => -1,
        Removal::Done => 1,
        Removal::Needed => 2,
    }
}

/// XLEN key
fn xlen(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let len = cx.db.read_as::<Stream>(args.at(1))?.map_or(0, Stream::len);
    cx.out.int(len as i64);
    Ok(())
}

/// XRANGE key start end [COUNT count]
fn xrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    range(cx, args, Direction::Ascending)
}

/// XREVRANGE key end start [COUNT count]
fn xrevrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    range(cx, args, Direction::Descending)
}

fn range(cx: &mut Cx<'_, '_>, args: Args<'_>, direction: Direction) -> Result<(), Error> {
    let (start_at, end_at) = if direction == Direction::Ascending { (2, 3) } else { (3, 2) };
    let start = stream_args::start(args.at(start_at))?;
    let end = stream_args::end(args.at(end_at))?;
    let mut count = usize::MAX;
    for at in (4..args.len()).step_by(2) {
        if !args.is(at, "COUNT") || at + 1 == args.len() {
            return Err(SYNTAX);
        }
        count = usize::try_from(args.int(at + 1)?).unwrap_or(0);
    }
    match cx.db.read_as::<Stream>(args.at(1))? {
        None => cx.out.array(0),
        Some(_) if count == 0 => cx.out.null_array(),
        Some(stream) => write_entries(cx.out, stream.range(start..=end, direction).take(count)),
    }
    Ok(())
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
fn xsetid(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let id = stream_args::id(args.at(2))?;
    let (mut added, mut deleted) = (None, None);
    for at in (3..args.len()).step_by(2) {
        if at + 1 == args.len() {
            return Err(SYNTAX);
        } else if args.is(at, "ENTRIESADDED") {
            added = Some(u64::try_from(args.int(at + 1)?).map_err(|_| ENTRIES_ADDED_NEGATIVE)?);
        } else if args.is(at, "MAXDELETEDID") {
            deleted = Some(stream_args::id(args.at(at + 1))?);
            if deleted > Some(id) {
                return Err(SETID_BELOW_MAXDELETEDID);
            }
        } else {
            return Err(SYNTAX);
        }
    }
    let check = |stream: &Stream| {
        if stream.last_entry_id().is_some_and(|last| id < last) {
            return Err(SETID_BELOW_TOP);
        }
        let too_few = added.is_some_and(|added| (stream.len() as u64) > added);
        if too_few { Err(ENTRIES_ADDED_TOO_SMALL) } else { Ok(()) }
    };
    let set = cx.db.update::<Stream, _>(args.at(1), |stream| match check(stream) {
        Ok(()) => {
            stream.set_past(id, added, deleted.filter(|id| *id != StreamId::MIN));
            (Ok(()), Change::aside("xsetid", 1))
        }
        Err(error) => (Err(error), Change::NONE),
    })?;
    set.ok_or(NO_SUCH_KEY)??;
    cx.out.ok();
    Ok(())
}

/// XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]
fn xtrim(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let trim = stream_args::trim_options(cx, args)?;
    let key = args.at(1);
    let trimmed = cx.db.update::<Stream, _>(key, |stream| {
        let removed = stream.trim(&trim);
        ((removed, *stream.extent()), Change::of("xtrim", removed as u64))
    })?;
    if let Some((1.., extent)) = &trimmed
        && trim.whole_nodes
    {
        let (strategy, threshold) = exact(&trim, extent);
        let record = [&b"XTRIM"[..], key, strategy, b"=", &threshold];
        let record: Vec<&[u8]> = record.into_iter().chain(references_word(trim.references)).collect();
        cx.journal.instead(&record);
    }
    cx.out.int(trimmed.map_or(0, |(removed, _)| removed as i64));
    Ok(())
}
