//! Claiming: a consumer takes over what was delivered to another that does not seem to get on with it.
//!
//! Whatever is taken is logged as a claim of its own with the time and count it came to, so that replaying needs no clock. So is what is dropped from the
//! pending entries because its entry is gone: claiming it again comes to the same.

use redpoll_keyspace::{Change, Claim, Claimed, EventClass, OpenGroup, Pending, Stream, StreamEntry, StreamId};
use redpoll_resp::Writer;

use crate::args::Args;
use crate::cx::Cx;
use crate::error::{
    AUTOCLAIM_COUNT, AUTOCLAIM_MIN_IDLE, CLAIM_IDLE, CLAIM_MIN_IDLE, CLAIM_RETRYCOUNT, CLAIM_TIME, Error, SYNTAX,
    no_key_or_group, unrecognized_claim_option,
};
use crate::stream::write_entry;
use crate::stream_args::{self, id_text};
use crate::stream_read::{Records, enter};

/// Entries XAUTOCLAIM looks at for each one it may claim.
const ATTEMPTS_PER_CLAIM: usize = 10;
/// Entries XAUTOCLAIM claims unless COUNT says otherwise.
const AUTOCLAIM_COUNT_DEFAULT: usize = 100;
/// Greatest COUNT of XAUTOCLAIM: as many ids as could be addressed.
const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;

/// The options of XCLAIM.
struct ClaimOptions {
    /// How many ids there are.
    ids: Vec<StreamId>,
    delivered_at: u64,
    deliveries: Option<u64>,
    force: bool,
    ids_only: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    /// Reads `id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]`.
    fn parse(args: Args<'_>, now: u64) -> Result<ClaimOptions, Error> {
        let ids: Vec<StreamId> = args.from(5).iter().map_while(|text| stream_args::id(text).ok()).collect();
        let mut at = 5 + ids.len();
        let (deliveries, force, ids_only, last_id) = (None, false, false, StreamId::MIN);
        let mut options = ClaimOptions { ids, delivered_at: now, deliveries, force, ids_only, last_id };
        let number = |at: usize, error: Error| args.int(at).map_err(|_| error);
        while at < args.len() {
            let more = at + 1 < args.len();
            if args.is(at, "FORCE") {
                options.force = true;
            } else if args.is(at, "JUSTID") {
                options.ids_only = true;
            } else if args.is(at, "IDLE") && more {
                at += 1;
                options.delivered_at = past((now as i64).wrapping_sub(number(at, CLAIM_IDLE)?), now);
            } else if args.is(at, "TIME") && more {
                at += 1;
                options.delivered_at = past(number(at, CLAIM_TIME)?, now);
            } else if args.is(at, "RETRYCOUNT") && more {
                at += 1;
                options.deliveries = u64::try_from(number(at, CLAIM_RETRYCOUNT)?).ok();
            } else if args.is(at, "LASTID") && more {
                at += 1;
                options.last_id = stream_args::id(args.at(at))?;
            } else {
                return Err(unrecognized_claim_option(args.at(at)));
            }
            at += 1;
        }
        Ok(options)
    }
}

/// Takes a time for now that lies in the future or before all time: whose clock is wrong is to be served all the same.
fn past(time: i64, now: u64) -> u64 {
    u64::try_from(time).ok().filter(|time| *time <= now).unwrap_or(now)
}

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]
pub(crate) fn xclaim(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    check_group(cx, args)?;
    let min_idle = u64::try_from(args.int(4).map_err(|_| CLAIM_MIN_IDLE)?).unwrap_or(0);
    let now = cx.wall_now();
    let options = ClaimOptions::parse(args, now)?;
    claim(cx, args, |claimer| {
        let last_id = claimer.group.last_id.max(options.last_id);
        let moved = last_id > claimer.group.last_id;
        claimer.group.last_id = last_id;
        claimer.claim = Claim {
            min_idle,
            delivered_at: options.delivered_at,
            deliveries: options.deliveries,
            uncounted: options.ids_only,
            force: options.force,
            ..claimer.claim
        };
        let (mark, mut taken) = (claimer.out.begin_array(), 0);
        for id in &options.ids {
            taken += usize::from(matches!(claimer.claim(*id), Claimed::Taken(_)));
        }
        claimer.out.end_array(mark, taken);
        if moved && claimer.records.claims == 0 {
            claimer.records.progress(&claimer.group);
            claimer.changes += 1;
        }
    })
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub(crate) fn xautoclaim(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let min_idle = u64::try_from(args.int(4).map_err(|_| AUTOCLAIM_MIN_IDLE)?).unwrap_or(0);
    let start = stream_args::start(args.at(5))?;
    let (mut count, mut ids_only, mut at) = (AUTOCLAIM_COUNT_DEFAULT, false, 6);
    while at < args.len() {
        if args.is(at, "COUNT") && at + 1 < args.len() {
            let given = args.int(at + 1).ok().filter(|count| (1..=AUTOCLAIM_COUNT_MAX).contains(count));
            count = given.and_then(|count| usize::try_from(count).ok()).ok_or(AUTOCLAIM_COUNT)?;
            at += 1;
        } else if args.is(at, "JUSTID") {
            ids_only = true;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    check_group(cx, args)?;
    claim(cx, args, |claimer| {
        claimer.claim = Claim { min_idle, uncounted: ids_only, ..claimer.claim };
        let (mut next, mut deleted, mut taken) = (Some(start), Vec::new(), 0);
        let mut found = Writer::new(claimer.out.protocol());
        std::mem::swap(claimer.out, &mut found);
        for _ in 0..count.saturating_mul(ATTEMPTS_PER_CLAIM) {
            let pending = next.and_then(|next| claimer.next_pending(next));
            let Some(id) = pending.filter(|_| taken + deleted.len() < count) else { break };
            next = id.next();
            match claimer.claim(id) {
                Claimed::Taken(_) => taken += 1,
                Claimed::Gone(_) => deleted.push(id),
                Claimed::Left => {}
            }
        }
        std::mem::swap(claimer.out, &mut found);
        let cursor = next.and_then(|next| claimer.next_pending(next)).unwrap_or(StreamId::MIN);
        let out = &mut *claimer.out;
        out.array(3);
        out.bulk(&id_text(cursor));
        out.array(taken);
        out.raw(found.as_slice());
        out.array(deleted.len());
        deleted.iter().for_each(|id| out.bulk(&id_text(*id)));
    })
}

fn check_group(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let stream = cx.db.read_as::<Stream>(args.at(1))?;
    match stream.and_then(|stream| stream.group(args.at(2))) {
        Some(_) => Ok(()),
        None => Err(no_key_or_group(args.at(1), args.at(2), "")),
    }
}

/// A consumer about to claim.
struct Claimer<'a> {
    group: OpenGroup<'a>,
    claim: Claim,
    now: u64,
    out: &'a mut Writer,
    records: Records<'a>,
    /// How many things have changed.
    changes: u64,
    /// Claims that name the consumer in the log.
    own_claims: usize,
}

impl Claimer<'_> {
    /// Claims an id: replies with it and logs it.
    fn claim(&mut self, id: StreamId) -> Claimed {
        let claimed = self.group.claim(id, &self.claim, self.now);
        if let Claimed::Taken(pending) | Claimed::Gone(pending) = &claimed {
            self.record(id, pending);
        }
        if matches!(claimed, Claimed::Taken(_)) {
            match self.group.entry(id) {
                Some(entry) if !self.claim.uncounted => self.write(&entry),
                _ => self.out.bulk(&id_text(id)),
            }
        }
        claimed
    }

    fn write(&mut self, entry: &StreamEntry<'_>) {
        write_entry(self.out, entry);
    }

    fn record(&mut self, id: StreamId, pending: &Pending) {
        let consumer = self.group.consumer(pending.consumer).name();
        self.records.claim(id, consumer, pending, self.group.last_id);
        self.changes += 1;
        self.own_claims += usize::from(pending.consumer == self.claim.consumer);
    }

    /// Returns the first pending id from one on.
    fn next_pending(&self, start: StreamId) -> Option<StreamId> {
        self.group.pending(start..=StreamId::MAX).next().map(|(id, _)| id)
    }
}

/// Lets the consumer that the arguments name claim something; key and group have been checked.
fn claim(cx: &mut Cx<'_, '_>, args: Args<'_>, work: impl FnOnce(&mut Claimer<'_>)) -> Result<(), Error> {
    let (key, group, name) = (args.at(1), args.at(2), args.at(3));
    let now = cx.wall_now();
    let Cx { db, out, journal, .. } = cx;
    let entered = db.update::<Stream, _>(key, |stream| {
        let mut open = stream.open_group(group).expect("the group has just been found");
        let entered = enter(&mut open, name, now);
        let claim = Claim {
            consumer: entered.number,
            min_idle: 0,
            delivered_at: now,
            deliveries: None,
            uncounted: false,
            force: false,
        };
        let records = Records { journal, key, group, claims: 0 };
        let mut claimer = Claimer { group: open, claim, now, out, records, changes: 0, own_claims: 0 };
        work(&mut claimer);
        if entered.is_new {
            claimer.changes += 1;
            if claimer.own_claims == 0 {
                claimer.records.consumer(name);
            }
        }
        (entered.is_new, Change::aside("", claimer.changes))
    })?;
    if entered == Some(true) {
        db.notify(EventClass::Stream, "xgroup-createconsumer", key);
    }
    Ok(())
}
