//! Deadlines of keys: setting, reading and removing them.
//!
//! A deadline is a point in time in milliseconds, however it was said. It is logged as such (PEXPIREAT), so replaying the log later means the same; one
//! that has already come removes the key at once and is logged as the removal it is.

use redpoll_keyspace::{Entry, EventClass, Millis};

use crate::args::Args;
use crate::command::{Command, FAST, Family, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{EXPIRE_GT_AND_LT, EXPIRE_NX_AND_OTHERS, Error, invalid_expire, unsupported_option};
use crate::expiry::{Conditions, ExpiryOption, journal_deadline};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("EXPIRE key seconds [NX | XX | GT | LT]", expire, WRITE | FAST, "1.0.0", "O(1)", "Sets the expiration time of a key in seconds."),
    cmd("EXPIREAT key unix-time-seconds [NX | XX | GT | LT]", expireat, WRITE | FAST, "1.2.0", "O(1)", "Sets the expiration time of a key to a Unix timestamp."),
    cmd("EXPIRETIME key", expiretime, READONLY | FAST, "7.0.0", "O(1)", "Returns the expiration time of a key as a Unix timestamp."),
    cmd("PERSIST key", persist, WRITE | FAST, "2.2.0", "O(1)", "Removes the expiration time of a key."),
    cmd("PEXPIRE key milliseconds [NX | XX | GT | LT]", pexpire, WRITE | FAST, "2.6.0", "O(1)", "Sets the expiration time of a key in milliseconds."),
    cmd("PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]", pexpireat, WRITE | FAST, "2.6.0", "O(1)", "Sets the expiration time of a key to a Unix milliseconds timestamp."),
    cmd("PEXPIRETIME key", pexpiretime, READONLY | FAST, "7.0.0", "O(1)", "Returns the expiration time of a key as a Unix milliseconds timestamp."),
    cmd("PTTL key", pttl, READONLY | FAST, "2.6.0", "O(1)", "Returns the expiration time in milliseconds of a key."),
    cmd("TTL key", ttl, READONLY | FAST, "1.0.0", "O(1)", "Returns the expiration time in seconds of a key."),
];

/// Deadlines of keys.
pub(crate) const FAMILY: Family = Family { group: "generic", commands: COMMANDS };

/// EXPIRE key seconds [NX | XX | GT | LT]
fn expire(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadline(cx, args, ExpiryOption::Ex, "expire")
}

/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
fn expireat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadline(cx, args, ExpiryOption::ExAt, "expireat")
}

/// EXPIRETIME key
fn expiretime(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_deadline(cx, args, to_seconds)
}

/// PERSIST key
fn persist(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(1);
    let volatile = cx.db.peek(key).is_some_and(|entry| entry.deadline().is_some());
    if volatile {
        cx.db.set_deadline(key, None);
        cx.db.notify(EventClass::Generic, "persist", key);
    }
    cx.out.int(i64::from(volatile));
    Ok(())
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
fn pexpire(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadline(cx, args, ExpiryOption::Px, "pexpire")
}

/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
fn pexpireat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_deadline(cx, args, ExpiryOption::PxAt, "pexpireat")
}

/// PEXPIRETIME key
fn pexpiretime(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_deadline(cx, args, |deadline| deadline)
}

/// PTTL key
fn pttl(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let now = cx.now();
    reply_deadline(cx, args, |deadline| deadline.saturating_sub(now))
}

/// TTL key
fn ttl(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let now = cx.now();
    reply_deadline(cx, args, |deadline| to_seconds(deadline.saturating_sub(now)))
}

/// Reads the conditions, of which those can be combined that may hold at once.
fn conditions(args: Args<'_>) -> Result<Conditions, Error> {
    let mut conditions = Conditions::default();
    for word in args.from(3) {
        if !conditions.take(word) {
            return Err(unsupported_option(word));
        }
    }
    if conditions.absent && (conditions.present || conditions.later || conditions.sooner) {
        return Err(EXPIRE_NX_AND_OTHERS);
    }
    if conditions.later && conditions.sooner {
        return Err(EXPIRE_GT_AND_LT);
    }
    Ok(conditions)
}

/// EXPIRE and its siblings: key, amount, conditions.
fn set_deadline(cx: &mut Cx<'_, '_>, args: Args<'_>, option: ExpiryOption, command: &'static str) -> Result<(), Error> {
    let (key, now) = (args.at(1), cx.now());
    let conditions = conditions(args)?;
    let deadline = option.millis(args.int(2)?, now).ok_or_else(|| invalid_expire(command))?;
    let allowed = cx.db.peek(key).is_some_and(|entry| conditions.allow(entry.deadline(), deadline));
    if allowed {
        match Millis::try_from(deadline).ok().filter(|deadline| *deadline > now) {
            Some(deadline) => {
                cx.db.set_deadline(key, Some(deadline));
                journal_deadline(cx, key, deadline);
                cx.db.notify(EventClass::Generic, "expire", key);
            }
            None => {
                cx.db.remove(key);
                cx.journal.instead(&[b"DEL", key]);
                cx.db.notify(EventClass::Generic, "del", key);
            }
        }
    }
    cx.out.int(i64::from(allowed));
    Ok(())
}

/// Replies with a view of a key's deadline; -1 if it has none, -2 if there is no such key.
fn reply_deadline(cx: &mut Cx<'_, '_>, args: Args<'_>, shown: impl FnOnce(Millis) -> Millis) -> Result<(), Error> {
    let reply = match cx.db.look(args.at(1)).map(Entry::deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => i64::try_from(shown(deadline)).unwrap_or(i64::MAX),
    };
    cx.out.int(reply);
    Ok(())
}

/// Rounds to the nearest second.
fn to_seconds(millis: Millis) -> Millis {
    millis.saturating_add(500) / 1000
}
