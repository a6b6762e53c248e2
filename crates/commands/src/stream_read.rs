//! Reading what is new in streams: XREAD for oneself, XREADGROUP as a member of a group.
//!
//! A call is read into a [`Reading`] that needs its arguments no more, with `$` and `+` resolved to the ids they stand for at that moment. [`Reading::serve`] then looks
//! for entries; it can be called again later, for one stream, by whoever adds to it. Without entries to give the call waits, or is answered
//! null as after a timeout.
//!
//! Deliveries are logged as the claims they come to, and the group's progress after them. What a consumer reads once more from its own pending entries is
//! not logged, as in Redis: after a restart the count and the time of its last delivery are those from before.

use redpoll_keyspace::{
    Acknowledgement, Change, ConsumerNumber, Direction, EventClass, Group, Kind, OpenGroup, Pending, Stream,
    StreamEntry, StreamId, Wanted,
};
use redpoll_resp::{Mark, Protocol, Writer};
use redpoll_structures::decimal::{self, I64_TEXT_MAX};

use crate::args::Args;
use crate::blocking::{Empty, Request, Served, Timeout};
use crate::cx::{Cx, Origin};
use crate::error::{
    Error, GROUP_IN_XREAD, LAST_ID_IN_XREADGROUP, MISSING_GROUP, NEW_ID_IN_XREAD, NOACK_IN_XREAD, SYNTAX,
    TOP_ID_IN_XREADGROUP, UNBALANCED_STREAMS, block_from_script, no_key_or_group,
};
use crate::journal::Journal;
use crate::stream::{write_entries, write_entry};
use crate::stream_args::{self, id_text};

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
pub(crate) fn xread(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    read(cx, args, Caller::Anyone)
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]
pub(crate) fn xreadgroup(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    read(cx, args, Caller::Member)
}

/// Finds the keys of XREAD and XREADGROUP: the first half of what follows STREAMS. It is found where the command finds it, so that all keys are locked it
/// may use; calls that the command refuses have keys too, for those who only ask.
pub(crate) fn keys(args: Args<'_>, positions: &mut Vec<usize>) {
    let mut at = 1;
    while at < args.len() && !args.is(at, "STREAMS") {
        at += match () {
            () if args.is(at, "BLOCK") || args.is(at, "COUNT") => 2,
            () if args.is(at, "GROUP") => 3,
            () => 1,
        };
    }
    positions.extend(at + 1..at + 1 + args.from(at + 1).len() / 2);
}

/// Which of the two commands it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// XREAD.
    Anyone,
    /// XREADGROUP.
    Member,
}

fn read(cx: &mut Cx<'_, '_>, args: Args<'_>, caller: Caller) -> Result<(), Error> {
    let call = Call::parse(cx, args, caller)?;
    let (keys, timeout) = (call.keys, call.timeout);
    let reading = call.resolve(cx)?;
    if reading.serve(cx, None)? {
        return Ok(());
    }
    let Some(timeout) = timeout.filter(|_| cx.may_block()) else {
        cx.out.null_array();
        return Ok(());
    };
    let wanted = match caller {
        Caller::Anyone => Wanted::Value(Kind::Stream),
        Caller::Member => Wanted::ValueOrLoss(Kind::Stream),
    };
    let serve = Box::new(move |cx: &mut Cx<'_, '_>, key: &[u8]| {
        Ok(if reading.serve(cx, Some(key))? { Served::Yes } else { Served::Nothing })
    });
    cx.block(Request { keys, wanted, destination: None, timeout, empty: Empty::NullArray, serve });
    Ok(())
}

/// The arguments in their places.
struct Call<'a> {
    caller: Caller,
    timeout: Option<Timeout>,
    member: Option<Member>,
    count: usize,
    acknowledgement: Acknowledgement,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

impl<'a> Call<'a> {
    fn parse(cx: &Cx<'_, '_>, args: Args<'a>, caller: Caller) -> Result<Call<'a>, Error> {
        let (keys, ids): (&[&[u8]], &[&[u8]]) = (&[], &[]);
        let acknowledgement = Acknowledgement::Awaited;
        let mut call = Call { caller, timeout: None, member: None, count: usize::MAX, acknowledgement, keys, ids };
        let mut at = 1;
        loop {
            let more = args.from(at + 1).len();
            if args.is(at, "BLOCK") && more > 0 {
                if cx.origin == Origin::Script {
                    return Err(block_from_script(args.at(0)));
                }
                call.timeout = Some(Timeout::millis(args.at(at + 1), cx.now())?);
                at += 2;
            } else if args.is(at, "COUNT") && more > 0 {
                let count = usize::try_from(args.int(at + 1)?).unwrap_or(0);
                call.count = if count == 0 { usize::MAX } else { count };
                at += 2;
            } else if args.is(at, "STREAMS") && more > 0 {
                (call.keys, call.ids) = args.from(at + 1).split_at(more / 2);
                break;
            } else if args.is(at, "GROUP") && more > 1 {
                call.only_member(GROUP_IN_XREAD)?;
                call.member = Some(Member { group: args.at(at + 1).into(), consumer: args.at(at + 2).into() });
                at += 3;
            } else if args.is(at, "NOACK") {
                call.only_member(NOACK_IN_XREAD)?;
                call.acknowledgement = Acknowledgement::Waived;
                at += 1;
            } else {
                return Err(SYNTAX);
            }
        }
        if call.keys.len() != call.ids.len() {
            return Err(UNBALANCED_STREAMS);
        }
        if caller == Caller::Member && call.member.is_none() {
            return Err(MISSING_GROUP);
        }
        Ok(call)
    }

    fn only_member(&self, error: Error) -> Result<(), Error> {
        if self.caller == Caller::Member { Ok(()) } else { Err(error) }
    }

    /// Looks up what the ids mean now.
    fn resolve(self, cx: &mut Cx<'_, '_>) -> Result<Reading, Error> {
        let mut streams = Vec::with_capacity(self.keys.len());
        for (key, id) in self.keys.iter().zip(self.ids) {
            let stream = cx.db.read_as::<Stream>(key)?;
            if let Some(member) = &self.member
                && stream.is_none_or(|stream| stream.group(&member.group).is_none())
            {
                return Err(no_key_or_group(key, &member.group, IN_XREADGROUP));
            }
            let from = match (*id, self.caller) {
                (b"$", Caller::Member) => return Err(TOP_ID_IN_XREADGROUP),
                (b"+", Caller::Member) => return Err(LAST_ID_IN_XREADGROUP),
                (b">", Caller::Anyone) => return Err(NEW_ID_IN_XREAD),
                (b"$", Caller::Anyone) => From::After(stream.map_or(StreamId::MIN, |stream| stream.extent().last_id)),
                (b"+", Caller::Anyone) => From::After(before_last(stream)),
                (b">", Caller::Member) => From::New,
                (id, caller) => match stream_args::id(id)? {
                    StreamId::MAX if caller == Caller::Member => From::New,
                    id => From::After(id),
                },
            };
            streams.push((Box::from(*key), from));
        }
        let Call { member, count, acknowledgement, .. } = self;
        Ok(Reading { streams, member, count, acknowledgement })
    }
}

/// Gives the id after which there is the last entry alone; without one, any that comes is the last.
fn before_last(stream: Option<&Stream>) -> StreamId {
    stream.and_then(Stream::last_entry_id).and_then(StreamId::previous).unwrap_or(StreamId::MIN)
}

/// How Redis ends the sentence that a group is missing, here.
const IN_XREADGROUP: &str = " in XREADGROUP with GROUP option";

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// After this id; for a member of a group in its own pending entries.
    After(StreamId),
    /// After what the group has read.
    New,
}

/// As whom to read.
struct Member {
    group: Box<[u8]>,
    consumer: Box<[u8]>,
}

/// What to read, independent of the call that asked for it.
pub(crate) struct Reading {
    streams: Vec<(Box<[u8]>, From)>,
    member: Option<Member>,
    count: usize,
    acknowledgement: Acknowledgement,
}

impl Reading {
    /// Reads what there is, of one of the streams or of all, and replies with it; false if there is nothing, and nothing was written.
    pub(crate) fn serve(&self, cx: &mut Cx<'_, '_>, only: Option<&[u8]>) -> Result<bool, Error> {
        let start = cx.out.len();
        let mark = begin(cx.out);
        let mut served = 0;
        for (key, from) in self.streams.iter().filter(|(key, _)| only.is_none_or(|only| *only == **key)) {
            let found = match &self.member {
                None => self.serve_anyone(cx, key, *from)?,
                Some(member) => self.serve_member(cx, key, *from, member)?,
            };
            served += usize::from(found);
        }
        match cx.out.protocol() {
            _ if served == 0 => cx.out.truncate(start),
            Protocol::Resp2 => cx.out.end_array(mark, served),
            Protocol::Resp3 => cx.out.end_map(mark, served),
        }
        Ok(served > 0)
    }

    fn serve_anyone(&self, cx: &mut Cx<'_, '_>, key: &[u8], from: From) -> Result<bool, Error> {
        let From::After(id) = from else { return Ok(false) };
        let Some(stream) = cx.db.read_as::<Stream>(key)? else { return Ok(false) };
        let Some(start) = id.next().filter(|_| stream.last_entry_id() > Some(id)) else { return Ok(false) };
        begin_stream(cx.out, key);
        write_entries(cx.out, stream.range(start..=StreamId::MAX, Direction::Ascending).take(self.count));
        Ok(true)
    }

    fn serve_member(&self, cx: &mut Cx<'_, '_>, key: &[u8], from: From, member: &Member) -> Result<bool, Error> {
        let now = cx.wall_now();
        let Cx { db, out, journal, .. } = cx;
        let outcome = db.update::<Stream, _>(key, |stream| {
            let last = stream.last_entry_id();
            let Some(mut group) = stream.open_group(&member.group) else { return (None, Change::NONE) };
            let entered = enter(&mut group, &member.consumer, now);
            let mut records = Records { journal, key, group: &member.group, claims: 0 };
            let delivered = match from {
                From::After(id) => {
                    begin_stream(out, key);
                    self.serve_history(out, &mut group, entered.number, id, now);
                    0
                }
                From::New if last > Some(group.last_id) => {
                    begin_stream(out, key);
                    let delivered =
                        self.serve_new(out, &mut group, entered.number, now, &mut records, &member.consumer);
                    records.progress(&group);
                    delivered
                }
                From::New => 0,
            };
            if entered.is_new && records.claims == 0 {
                records.consumer(&member.consumer);
            }
            let served = delivered > 0 || matches!(from, From::After(_));
            let changes = delivered + usize::from(entered.is_new);
            (Some((served, entered.is_new)), Change::aside("", changes as u64))
        })?;
        let Some((served, is_new)) = outcome.flatten() else {
            return Err(no_key_or_group(key, &member.group, IN_XREADGROUP));
        };
        if is_new {
            db.notify(EventClass::Stream, "xgroup-createconsumer", key);
        }
        Ok(served)
    }

    fn serve_new(
        &self,
        out: &mut Writer,
        group: &mut OpenGroup<'_>,
        consumer: ConsumerNumber,
        now: u64,
        records: &mut Records<'_>,
        name: &[u8],
    ) -> usize {
        let mark = out.begin_array();
        let delivered = group.deliver(consumer, self.count, self.acknowledgement, now, |entry, pending| {
            write_entry(out, entry);
            if let Some(pending) = pending {
                records.claim(entry.id(), name, &pending, entry.id());
            }
        });
        out.end_array(mark, delivered);
        delivered
    }

    fn serve_history(
        &self,
        out: &mut Writer,
        group: &mut OpenGroup<'_>,
        consumer: ConsumerNumber,
        after: StreamId,
        now: u64,
    ) {
        let ids = after.next().unwrap_or(StreamId::MAX)..=StreamId::MAX;
        let mark = out.begin_array();
        let count =
            group.redeliver(consumer, ids, self.count, now, |id, entry: Option<&StreamEntry<'_>>| match entry {
                Some(entry) => write_entry(out, entry),
                None => {
                    out.array(2);
                    out.bulk(&id_text(id));
                    out.null_array();
                }
            });
        out.end_array(mark, count);
    }
}

fn begin(out: &mut Writer) -> Mark {
    match out.protocol() {
        Protocol::Resp2 => out.begin_array(),
        Protocol::Resp3 => out.begin_map(),
    }
}

/// Begins the part of the reply that is about one stream.
fn begin_stream(out: &mut Writer, key: &[u8]) {
    if out.protocol() == Protocol::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

/// A consumer that asks for something.
pub(crate) struct Entered {
    pub(crate) number: ConsumerNumber,
    /// It did not exist before.
    pub(crate) is_new: bool,
}

/// Finds a consumer, or adds it, and notes that it was seen.
pub(crate) fn enter(group: &mut Group, name: &[u8], now: u64) -> Entered {
    if let Some(number) = group.find_consumer(name) {
        group.consumer_mut(number).seen_at = now;
        return Entered { number, is_new: false };
    }
    let number = group.add_consumer(name, now).expect("there was none of this name");
    Entered { number, is_new: true }
}

/// What becomes of a group, as commands for the log.
pub(crate) struct Records<'a> {
    pub(crate) journal: &'a mut Journal,
    pub(crate) key: &'a [u8],
    pub(crate) group: &'a [u8],
    /// How many claims were recorded.
    pub(crate) claims: usize,
}

impl Records<'_> {
    /// An entry is pending with a consumer, or is dropped from the pending ones if it is gone.
    pub(crate) fn claim(&mut self, id: StreamId, consumer: &[u8], pending: &Pending, last_id: StreamId) {
        let (mut time, mut count) = ([0; I64_TEXT_MAX], [0; I64_TEXT_MAX]);
        let time = decimal::format_u64(pending.delivered_at, &mut time);
        let count = decimal::format_u64(pending.deliveries, &mut count);
        let (id, last_id) = (id_text(id), id_text(last_id));
        let what: [&[u8]; 6] = [b"XCLAIM", self.key, self.group, consumer, b"0", &id];
        let how: [&[u8]; 8] = [b"TIME", time, b"RETRYCOUNT", count, b"FORCE", b"JUSTID", b"LASTID", &last_id];
        self.journal.instead(&[what.as_slice(), &how].concat());
        self.claims += 1;
    }

    /// The group has read up to somewhere.
    pub(crate) fn progress(&mut self, group: &Group) {
        let read = group.entries_read.map_or(-1, |read| read as i64);
        let mut buf = [0; I64_TEXT_MAX];
        let (id, read) = (id_text(group.last_id), decimal::format_i64(read, &mut buf));
        self.journal.instead(&[b"XGROUP", b"SETID", self.key, self.group, &id, b"ENTRIESREAD", read]);
    }

    /// There is a consumer that nothing else tells of.
    pub(crate) fn consumer(&mut self, name: &[u8]) {
        self.journal.instead(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, name]);
    }
}
