//! Deadlines of fields of hashes: setting, reading and removing them.
//!
//! They are newer than Redis 7.0: this is what 7.4 documents, with its replies for each field and its errors. A deadline is logged as a point in time
//! (HPEXPIREAT) with the fields that took it; one that has already come removes the field at once and is logged as the removal it is. What expires
//! later is logged when it is removed (HDEL). A field whose time has come is none: it takes no new deadline.

use redpoll_keyspace::{Change, Hash, Millis};
use redpoll_structures::decimal;

use crate::args::{Args, int};
use crate::command::{Command, DENYOOM, FAST, Family, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{
    Error, FIELD_COUNT, FIELD_COUNT_DIFFERS, FIELDS_MISSING, HEXPIRE_FIELD_COUNT, NEGATIVE_EXPIRE, invalid_expire,
};
use crate::expiry::{Conditions, ExpiryOption};
use crate::journal::Journal;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]", hexpire, WRITE | DENYOOM | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using relative time to expire (seconds)"),
    cmd("HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]", hexpireat, WRITE | DENYOOM | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using an absolute Unix timestamp (seconds)"),
    cmd("HEXPIRETIME key FIELDS numfields field [field ...]", hexpiretime, READONLY | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Returns the expiration time of a hash field as a Unix timestamp, in seconds."),
    cmd("HPERSIST key FIELDS numfields field [field ...]", hpersist, WRITE | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Removes the expiration time for each specified field"),
    cmd("HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]", hpexpire, WRITE | DENYOOM | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using relative time to expire (milliseconds)"),
    cmd("HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]", hpexpireat, WRITE | DENYOOM | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using an absolute Unix timestamp (milliseconds)"),
    cmd("HPEXPIRETIME key FIELDS numfields field [field ...]", hpexpiretime, READONLY | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Returns the expiration time of a hash field as a Unix timestamp, in msec."),
    cmd("HPTTL key FIELDS numfields field [field ...]", hpttl, READONLY | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Returns the TTL in milliseconds of a hash field."),
    cmd("HTTL key FIELDS numfields field [field ...]", httl, READONLY | FAST, "7.4.0", "O(N) where N is the number of specified fields", "Returns the TTL in seconds of a hash field."),
];

/// Deadlines of fields.
pub(crate) const FAMILY: Family = Family { group: "hash", commands: COMMANDS };

/// Latest deadline of a field, 46 bits of milliseconds: Redis keeps the two bits above for itself.
const DEADLINE_MAX: i64 = (1 << 46) - 1;

/// What is answered for a field: there is none.
const NO_FIELD: i64 = -2;
/// It has no deadline.
const NO_DEADLINE: i64 = -1;
/// The condition is not met.
const NOT_MET: i64 = 0;
/// It was changed.
const DONE: i64 = 1;
/// It was removed, because the deadline has come already.
const REMOVED: i64 = 2;

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hexpire(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadlines(cx, args, ExpiryOption::Ex, "hexpire")
}

/// HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hexpireat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadlines(cx, args, ExpiryOption::ExAt, "hexpireat")
}

/// HEXPIRETIME key FIELDS numfields field [field ...]
fn hexpiretime(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_deadlines(cx, args, |deadline, _| deadline.div_ceil(1000))
}

/// HPERSIST key FIELDS numfields field [field ...]
fn hpersist(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, now) = (args.at(1), cx.now());
    cx.db.find_as::<Hash>(key)?;
    let fields = fields(args, 2, FIELD_COUNT)?;
    cx.db.expire_fields(key, fields);
    let Cx { db, out, .. } = cx;
    out.array(fields.len());
    let found = db.update::<Hash, _>(key, |hash| {
        let mut changed = false;
        for field in fields {
            out.int(match hash.deadline(field, now) {
                None => NO_FIELD,
                Some(None) => NO_DEADLINE,
                Some(Some(_)) => {
                    hash.clear_deadline(field);
                    changed = true;
                    DONE
                }
            });
        }
        ((), Change::of("hpersist", u64::from(changed)))
    })?;
    if found.is_none() {
        fields.iter().for_each(|_| out.int(NO_FIELD));
    }
    Ok(())
}

/// HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hpexpire(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadlines(cx, args, ExpiryOption::Px, "hpexpire")
}

/// HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hpexpireat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadlines(cx, args, ExpiryOption::PxAt, "hpexpireat")
}

/// HPEXPIRETIME key FIELDS numfields field [field ...]
fn hpexpiretime(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_deadlines(cx, args, |deadline, _| deadline)
}

/// HPTTL key FIELDS numfields field [field ...]
fn hpttl(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_deadlines(cx, args, |deadline, now| deadline - now)
}

/// HTTL key FIELDS numfields field [field ...]
fn httl(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_deadlines(cx, args, |deadline, now| (deadline - now).div_ceil(1000))
}

/// HEXPIRE and its siblings: key, amount, condition, fields.
fn set_deadlines(cx: &mut Cx<'_, '_>, args: Args<'_>, option: ExpiryOption, command: &str) -> Result<(), Error> {
    let (key, now, seed) = (args.at(1), cx.now(), cx.db.hash_seed());
    cx.db.find_as::<Hash>(key)?;
    let deadline = deadline(option, args.at(2), now, command)?;
    // Unlike EXPIRE it takes one condition at the most.
    let mut condition = Conditions::default();
    let is_given = args.optional(3).is_some_and(|word| condition.take(word));
    let fields = fields(args, 3 + usize::from(is_given), HEXPIRE_FIELD_COUNT)?;
    cx.db.expire_fields(key, fields);
    let Cx { db, out, journal, .. } = cx;
    let (mut changed, has_come) = (Vec::new(), deadline <= now);
    out.array(fields.len());
    let found = db.update::<Hash, _>(key, |hash| {
        for field in fields {
            let allowed = hash.deadline(field, now).map(|current| condition.allow(current, deadline as i64));
            if allowed == Some(true) {
                expire(hash, field, deadline, now, seed);
                changed.push(*field);
            }
            out.int(match allowed {
                None => NO_FIELD,
                Some(false) => NOT_MET,
                Some(true) if has_come => REMOVED,
                Some(true) => DONE,
            });
        }
        ((), Change::of(event(deadline, now), changed.len() as u64))
    })?;
    if found.is_none() {
        fields.iter().for_each(|_| out.int(NO_FIELD));
    }
    journal_deadlines(journal, key, &changed, deadline, now);
    Ok(())
}

/// Replies with a view of each field's deadline.
fn reply_deadlines(cx: &mut Cx<'_, '_>, args: Args<'_>, shown: impl Fn(Millis, Millis) -> Millis) -> Result<(), Error> {
    let now = cx.now();
    let hash = cx.db.read_as::<Hash>(args.at(1))?;
    let fields = fields(args, 2, FIELD_COUNT)?;
    cx.out.array(fields.len());
    for field in fields {
        cx.out.int(match hash.and_then(|hash| hash.deadline(field, now)) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(deadline)) => shown(deadline, now) as i64,
        });
    }
    Ok(())
}

/// Reads the deadline that an amount means; it may have come already.
pub(crate) fn deadline(option: ExpiryOption, amount: &[u8], now: Millis, command: &str) -> Result<Millis, Error> {
    let amount = int(amount)?;
    if amount < 0 {
        return Err(NEGATIVE_EXPIRE);
    }
    let deadline = option.millis(amount, now).filter(|deadline| *deadline <= DEADLINE_MAX);
    deadline.map(|deadline| deadline as Millis).ok_or_else(|| invalid_expire(command))
}

/// Reads `FIELDS numfields field [field ...]`, which ends the arguments.
pub(crate) fn fields<'a>(args: Args<'a>, at: usize, bad_count: Error) -> Result<&'a [&'a [u8]], Error> {
    if !args.is(at, "FIELDS") {
        return Err(FIELDS_MISSING);
    }
    let (count, fields) = (args.size_from(at + 1, 1, bad_count)?, args.from(at + 2));
    if fields.len() == count { Ok(fields) } else { Err(FIELD_COUNT_DIFFERS) }
}

/// Gives a field a deadline, which removes it if it has come already.
pub(crate) fn expire(hash: &mut Hash, field: &[u8], deadline: Millis, now: Millis, seed: u64) {
    if deadline <= now {
        hash.remove(field);
    } else {
        hash.set_deadline(field, deadline, seed);
    }
}

/// Returns the event that setting a deadline raises.
pub(crate) fn event(deadline: Millis, now: Millis) -> &'static str {
    if deadline <= now { "hdel" } else { "hexpire" }
}

/// Logs that fields took a deadline, as an absolute time, or that it removed them.
pub(crate) fn journal_deadlines(journal: &mut Journal, key: &[u8], fields: &[&[u8]], deadline: Millis, now: Millis) {
    if deadline <= now {
        return journal.instead(&[&[b"HDEL", key], fields].concat());
    }
    let (mut time, mut count) = ([0; 20], [0; 20]);
    let time = decimal::format_u64(deadline, &mut time);
    let count = decimal::format_u64(fields.len() as u64, &mut count);
    journal.instead(&[&[b"HPEXPIREAT", key, time, b"FIELDS", count], fields].concat());
}
