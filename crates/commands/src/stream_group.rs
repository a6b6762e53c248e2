//! Consumer groups: making and removing them and their members, acknowledging what they were given, and seeing what they have not acknowledged.

use redpoll_keyspace::{Change, Kind, Pending, Removal, Stream, StreamId};
use redpoll_structures::decimal::{self, I64_TEXT_MAX};

use crate::args::Args;
use crate::cx::Cx;
use crate::error::{
    ENTRIES_READ, Error, GROUP_EXISTS, GROUP_NEEDS_KEY, SYNTAX, WRONG_TYPE, no_group, no_key_or_group,
    subcommand_syntax,
};
use crate::help;
use crate::stream::removal_code;
use crate::stream_args::{self, id_text};

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
];

/// XACK key group id [id ...]
pub(crate) fn xack(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let known = cx.db.read_as::<Stream>(args.at(1))?.is_some_and(|stream| stream.group(args.at(2)).is_some());
    let mut acknowledged = None;
    if known {
        let ids = stream_args::ids(args.from(3))?;
        acknowledged = cx.db.update::<Stream, _>(args.at(1), |stream| {
            let mut group = stream.open_group(args.at(2)).expect("the group was just found");
            let acknowledged = ids.iter().filter(|id| group.acknowledge(**id)).count();
            (acknowledged, Change::aside("", acknowledged as u64))
        })?;
    }
    cx.out.int(acknowledged.unwrap_or(0) as i64);
    Ok(())
}

/// XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]
pub(crate) fn xackdel(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (references, ids) = stream_args::references_and_ids(args, 3)?;
    let mut removed = 0;
    let codes = cx.db.update::<Stream, _>(args.at(1), |stream| {
        let (mut codes, mut acknowledged) = (Vec::with_capacity(ids.len()), 0);
        for id in &ids {
            if !stream.open_group(args.at(2)).is_some_and(|mut group| group.acknowledge(*id)) {
                codes.push(removal_code(Removal::Missing));
                continue;
            }
            acknowledged += 1;
            let removal = stream.remove(*id, references);
            removed += u64::from(removal == Removal::Done);
            // An entry that was gone before is gone.
            codes.push(removal_code(if removal == Removal::Missing { Removal::Done } else { removal }));
        }
        let change = if removed > 0 { Change::of("xdel", acknowledged) } else { Change::aside("", acknowledged) };
        (codes, change)
    })?;
    let codes = codes.unwrap_or_else(|| vec![removal_code(Removal::Missing); ids.len()]);
    cx.out.array(codes.len());
    codes.into_iter().for_each(|code| cx.out.int(code));
    Ok(())
}

/// Options of XGROUP CREATE and SETID.
#[derive(Default)]
struct GroupOptions {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl GroupOptions {
    fn parse(args: Args<'_>, creates: Creates) -> Result<GroupOptions, Error> {
        let (mut options, mut at) = (GroupOptions::default(), 5);
        while at < args.len() {
            if args.is(at, "MKSTREAM") && creates == Creates::Group {
                options.make_stream = true;
                at += 1;
            } else if args.is(at, "ENTRIESREAD") && at + 1 < args.len() {
                options.entries_read = match args.int(at + 1)? {
                    -1 => None,
                    read => Some(u64::try_from(read).map_err(|_| ENTRIES_READ)?),
                };
                at += 2;
            } else {
                return Err(subcommand_syntax("XGROUP", args.at(1)));
            }
        }
        Ok(options)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Creates {
    Group,
    Nothing,
}

/// Checks that the key holds a stream, and where it must, that it has the group.
fn check_group(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    check_stream(cx, args)?;
    let found = cx.db.read_as::<Stream>(args.at(2))?.is_some_and(|stream| stream.group(args.at(3)).is_some());
    if found { Ok(()) } else { Err(no_group(args.at(3), args.at(2))) }
}

fn check_stream(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match cx.db.kind(args.at(2)) {
        None => Err(GROUP_NEEDS_KEY),
        Some(Kind::Stream) => Ok(()),
        Some(_) => Err(WRONG_TYPE),
    }
}

/// XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]
pub(crate) fn xgroup_create(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    /// Most arguments that make sense.
    const ARGS_MAX: usize = 8;
    let options = GroupOptions::parse(args, Creates::Group)?;
    match check_stream(cx, args) {
        Err(error) if error == WRONG_TYPE || !options.make_stream => return Err(error),
        _ => {}
    }
    if args.len() > ARGS_MAX {
        return Err(subcommand_syntax("XGROUP", args.at(1)));
    }
    let id = if args.at(4) == b"$" { None } else { Some(stream_args::id(args.at(4))?) };
    let created = cx.db.update_or_create::<Stream, _>(args.at(2), |stream| {
        let id = id.unwrap_or(stream.extent().last_id);
        let created = stream.create_group(args.at(3), id, options.entries_read);
        (created, Change::aside("xgroup-create", u64::from(created)))
    })?;
    if !created {
        return Err(GROUP_EXISTS);
    }
    cx.out.ok();
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer
pub(crate) fn xgroup_createconsumer(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    check_group(cx, args)?;
    let now = cx.wall_now();
    let created = cx.db.update::<Stream, _>(args.at(2), |stream| {
        let group = stream.open_group(args.at(3));
        let created = group.is_some_and(|mut group| group.add_consumer(args.at(4), now).is_some());
        (created, Change::aside("xgroup-createconsumer", u64::from(created)))
    })?;
    cx.out.int(i64::from(created == Some(true)));
    Ok(())
}

/// XGROUP DELCONSUMER key group consumer
pub(crate) fn xgroup_delconsumer(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    check_group(cx, args)?;
    let removed = cx.db.update::<Stream, _>(args.at(2), |stream| {
        let removed = stream.open_group(args.at(3)).and_then(|mut group| group.remove_consumer(args.at(4)));
        (removed, Change::aside("xgroup-delconsumer", u64::from(removed.is_some())))
    })?;
    cx.out.int(removed.flatten().unwrap_or(0) as i64);
    Ok(())
}

/// XGROUP DESTROY key group
pub(crate) fn xgroup_destroy(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    check_stream(cx, args)?;
    let destroyed = cx.db.update::<Stream, _>(args.at(2), |stream| {
        let destroyed = stream.destroy_group(args.at(3));
        (destroyed, Change::aside("xgroup-destroy", u64::from(destroyed)))
    })?;
    cx.out.int(i64::from(destroyed == Some(true)));
    Ok(())
}

/// XGROUP HELP
pub(crate) fn xgroup_help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "XGROUP", HELP);
    Ok(())
}

/// XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]
pub(crate) fn xgroup_setid(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = GroupOptions::parse(args, Creates::Nothing)?;
    check_group(cx, args)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(subcommand_syntax("XGROUP", args.at(1)));
    }
    let id = if args.at(4) == b"$" { None } else { Some(stream_args::id_or_extreme(args.at(4), 0)?) };
    cx.db.update::<Stream, _>(args.at(2), |stream| {
        let last_id = id.unwrap_or(stream.extent().last_id);
        let mut group = stream.open_group(args.at(3)).expect("the group was just found");
        (group.last_id, group.entries_read) = (last_id, options.entries_read);
        ((), Change::aside("xgroup-setid", 1))
    })?;
    cx.out.ok();
    Ok(())
}

/// Which pending entries to list.
struct PendingRange<'a> {
    start: StreamId,
    end: StreamId,
    count: usize,
    min_idle: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> PendingRange<'a> {
    fn parse(args: Args<'a>) -> Result<PendingRange<'a>, Error> {
        let (mut at, mut min_idle) = (3, 0);
        if args.is(3, "IDLE") {
            min_idle = u64::try_from(args.int(4)?).unwrap_or(0);
            if args.len() < 8 {
                return Err(SYNTAX);
            }
            at = 5;
        }
        let count = usize::try_from(args.int(at + 2)?).unwrap_or(0);
        let (start, end) = (stream_args::start(args.at(at))?, stream_args::end(args.at(at + 1))?);
        Ok(PendingRange { start, end, count, min_idle, consumer: args.optional(at + 3) })
    }
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
pub(crate) fn xpending(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let range = match args.len() {
        3 => None,
        6..=9 => Some(PendingRange::parse(args)?),
        _ => return Err(SYNTAX),
    };
    let now = cx.now();
    let stream = cx.db.read_as::<Stream>(args.at(1))?;
    let Some(group) = stream.and_then(|stream| stream.group(args.at(2))) else {
        return Err(no_key_or_group(args.at(1), args.at(2), ""));
    };
    let out = &mut *cx.out;
    let Some(range) = range else {
        summary(out, group);
        return Ok(());
    };
    let (mark, mut listed) = (out.begin_array(), 0);
    let mut list = |id: StreamId, pending: &Pending| {
        out.array(4);
        out.bulk(&id_text(id));
        out.bulk(group.consumer(pending.consumer).name());
        out.int(now.saturating_sub(pending.delivered_at) as i64);
        out.int(pending.deliveries as i64);
        listed += 1;
    };
    let long_enough = |pending: &Pending| now.saturating_sub(pending.delivered_at) >= range.min_idle;
    let ids = range.start..=range.end;
    match range.consumer.map(|name| group.find_consumer(name)) {
        None => {
            let pending = group.pending(ids).filter(|(_, pending)| long_enough(pending));
            pending.take(range.count).for_each(|(id, pending)| list(id, pending));
        }
        Some(Some(number)) => {
            let pending = group.consumer(number).pending(ids).filter_map(|id| Some((id, group.pending_of(id)?)));
            let pending = pending.filter(|(_, pending)| long_enough(pending));
            pending.take(range.count).for_each(|(id, pending)| list(id, pending));
        }
        Some(None) => {}
    }
    out.end_array(mark, listed);
    Ok(())
}

/// How much is pending, from where to where, and with whom.
fn summary(out: &mut redpoll_resp::Writer, group: &redpoll_keyspace::Group) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let mut pending = group.pending(StreamId::MIN..=StreamId::MAX).map(|(id, _)| id);
    let Some(first) = pending.next() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    out.bulk(&id_text(first));
    out.bulk(&id_text(pending.next_back().unwrap_or(first)));
    let (mark, mut count) = (out.begin_array(), 0);
    for consumer in group.consumers().filter(|consumer| consumer.pending_len() > 0) {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk(decimal::format_u64(consumer.pending_len() as u64, &mut [0; I64_TEXT_MAX]));
        count += 1;
    }
    out.end_array(mark, count);
}
