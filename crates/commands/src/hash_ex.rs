//! Fields of hashes read or set together with their deadlines, or read and removed.
//!
//! They are newer than Redis 7.0: this is what 8.0 documents. All of them are logged as what they did: HGETEX as the deadlines it set or took away, HGETDEL as
//! the removal, HSETEX with its deadline as a point in time.

use redpoll_keyspace::{Change, EventClass, Hash, Millis};
use redpoll_structures::decimal;

use crate::args::Args;
use crate::command::{Command, DENYOOM, FAST, Family, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{
    Error, FIELD_COUNT, HSETEX_FIELD_COUNT, NO_EXPIRE_TIME, ONE_FIELD_CONDITION, ONE_FIELD_EXPIRY, SYNTAX,
    unknown_argument, wrong_arity,
};
use crate::expiry::ExpiryOption;
use crate::hash_expire::{deadline, event, expire, fields, journal_deadlines};
use crate::key_spec::{ACCESS, DELETE, RW, UPDATE};
use crate::reply;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("HGETDEL key FIELDS numfields field [field ...]", hgetdel, WRITE | FAST, "8.0.0", "O(N) where N is the number of specified fields", "Returns the value of a field and deletes it from the hash.").uses(&[RW | ACCESS | DELETE]),
    cmd("HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]", hgetex, WRITE | FAST, "8.0.0", "O(N) where N is the number of specified fields", "Get the value of one or more fields of a given hash key, and optionally set their expiration.").uses(&[RW | ACCESS | UPDATE]),
    cmd("HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]", hsetex, WRITE | DENYOOM | FAST, "8.0.0", "O(N) where N is the number of fields being set.", "Set the value of one or more fields of a given hash key, and optionally set their expiration."),
];

/// Fields together with their deadlines.
pub(crate) const FAMILY: Family = Family { group: "hash", commands: COMMANDS };

/// HGETDEL key FIELDS numfields field [field ...]
fn hgetdel(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, now) = (args.at(1), cx.now());
    cx.db.find_as::<Hash>(key)?;
    let fields = fields(args, 2, FIELD_COUNT)?;
    cx.db.expire_fields(key, fields);
    let Cx { db, out, journal, .. } = cx;
    out.array(fields.len());
    let mut removed = Vec::new();
    let found = db.update::<Hash, _>(key, |hash| {
        for field in fields {
            reply::item_or_null(out, hash.get(field, now));
            if hash.remove(field) {
                removed.push(*field);
            }
        }
        ((), Change::of("hdel", removed.len() as u64))
    })?;
    if found.is_none() {
        fields.iter().for_each(|_| out.null());
    }
    journal.instead(&[&[b"HDEL", key], removed.as_slice()].concat());
    Ok(())
}

/// What becomes of the deadlines of fields that are read.
#[derive(Clone, Copy)]
enum Reading {
    /// They stay.
    Only,
    /// PERSIST: they go away.
    Persist,
    /// The fields expire at this time.
    Expire(Millis),
}

/// HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]
fn hgetex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, now, seed) = (args.at(1), cx.now(), cx.db.hash_seed());
    cx.db.find_as::<Hash>(key)?;
    let (reading, at) = match ExpiryOption::of(args.at(2)) {
        Some(option) => (Reading::Expire(deadline(option, args.at(3), now, "hgetex")?), 4),
        None if args.is(2, "PERSIST") => (Reading::Persist, 3),
        None => (Reading::Only, 2),
    };
    let fields = fields(args, at, FIELD_COUNT)?;
    cx.db.expire_fields(key, fields);
    let Cx { db, out, journal, .. } = cx;
    out.array(fields.len());
    let mut changed = Vec::new();
    let found = db.update::<Hash, _>(key, |hash| {
        for field in fields {
            let value = hash.get(field, now);
            reply::item_or_null(out, value);
            match reading {
                Reading::Expire(deadline) if value.is_some() => expire(hash, field, deadline, now, seed),
                Reading::Persist if hash.deadline(field, now).flatten().is_some() => hash.clear_deadline(field),
                _ => continue,
            }
            changed.push(*field);
        }
        let name = match reading {
            Reading::Expire(deadline) => event(deadline, now),
            Reading::Persist | Reading::Only => "hpersist",
        };
        ((), Change::of(name, changed.len() as u64))
    })?;
    if found.is_none() {
        fields.iter().for_each(|_| out.null());
    }
    match reading {
        Reading::Expire(deadline) => journal_deadlines(journal, key, &changed, deadline, now),
        Reading::Persist | Reading::Only => {
            let mut buf = [0; 20];
            let count = decimal::format_u64(changed.len() as u64, &mut buf);
            journal.instead(&[&[b"HPERSIST", key, b"FIELDS", count], changed.as_slice()].concat());
        }
    }
    Ok(())
}

/// HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]
fn hsetex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, now) = (args.at(1), cx.now());
    let wanted = FieldsToSet::parse(args, now)?;
    let names: Vec<&[u8]> = wanted.pairs.iter().step_by(2).copied().collect();
    if wanted.condition.is_some() || wanted.expiry == Some(FieldExpiry::Keep) {
        cx.db.expire_fields(key, &names);
    }
    let hash = cx.db.find_as::<Hash>(key)?;
    let mut exist = names.iter().map(|name| hash.is_some_and(|hash| hash.contains(name, now)));
    let met = match wanted.condition {
        None => true,
        Some(FieldCondition::NoneExists) => !exist.any(|exists| exists),
        Some(FieldCondition::AllExist) => exist.all(|exists| exists),
    };
    if met {
        set(cx, key, &names, &wanted)?;
    }
    cx.out.int(i64::from(met));
    Ok(())
}

/// Under which condition fields are set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldCondition {
    /// FNX
    NoneExists,
    /// FXX
    AllExist,
}

impl FieldCondition {
    /// Recognises the condition at an argument.
    fn of(args: Args<'_>, at: usize) -> Option<FieldCondition> {
        match () {
            () if args.is(at, "FNX") => Some(FieldCondition::NoneExists),
            () if args.is(at, "FXX") => Some(FieldCondition::AllExist),
            () => None,
        }
    }
}

/// What becomes of the deadlines of fields that are set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldExpiry {
    /// KEEPTTL
    Keep,
    At(Millis),
}

impl FieldExpiry {
    fn has_come(self, now: Millis) -> bool {
        matches!(self, FieldExpiry::At(deadline) if deadline <= now)
    }
}

/// The arguments of HSETEX.
struct FieldsToSet<'a> {
    condition: Option<FieldCondition>,
    expiry: Option<FieldExpiry>,
    /// Fields and values in turn.
    pairs: &'a [&'a [u8]],
}

impl<'a> FieldsToSet<'a> {
    fn parse(args: Args<'a>, now: Millis) -> Result<FieldsToSet<'a>, Error> {
        let (mut condition, mut expiry) = (None, None);
        let mut at = 2;
        while at < args.len() && !args.is(at, "FIELDS") {
            if let Some(word) = FieldCondition::of(args, at) {
                if condition.replace(word).is_some() {
                    return Err(ONE_FIELD_CONDITION);
                }
            } else if args.is(at, "KEEPTTL") {
                if expiry.replace(FieldExpiry::Keep).is_some() {
                    return Err(ONE_FIELD_EXPIRY);
                }
            } else if let Some(option) = ExpiryOption::of(args.at(at)) {
                if expiry.is_some() {
                    return Err(ONE_FIELD_EXPIRY);
                }
                at += 1;
                let amount = args.optional(at).ok_or(NO_EXPIRE_TIME)?;
                expiry = Some(FieldExpiry::At(deadline(option, amount, now, "hsetex")?));
            } else {
                return Err(unknown_argument(args.at(at)));
            }
            at += 1;
        }
        Ok(FieldsToSet { condition, expiry, pairs: pairs(args, at)? })
    }
}

/// Reads `FIELDS numfields field value [field value ...]`, which ends the arguments.
fn pairs<'a>(args: Args<'a>, at: usize) -> Result<&'a [&'a [u8]], Error> {
    if at == args.len() {
        return Err(SYNTAX);
    }
    let pairs = args.from(at + 2);
    if pairs.len() < 2 {
        return Err(wrong_arity("hsetex"));
    }
    let count = args.size_from(at + 1, 1, HSETEX_FIELD_COUNT)?;
    if Some(pairs.len()) == count.checked_mul(2) { Ok(pairs) } else { Err(wrong_arity("hsetex")) }
}

/// Sets fields; those whose deadline has come already are removed again, which is what others see of it.
fn set(cx: &mut Cx<'_, '_>, key: &[u8], names: &[&[u8]], wanted: &FieldsToSet<'_>) -> Result<(), Error> {
    let (limits, seed, now, pairs) = (cx.limits(), cx.db.hash_seed(), cx.now(), wanted.pairs);
    cx.db.update_or_create::<Hash, _>(key, |hash| {
        hash.reserve(names.len(), &limits, seed);
        for pair in pairs.chunks_exact(2) {
            match wanted.expiry {
                None => hash.set(pair[0], pair[1], &limits, seed),
                Some(_) => hash.set_keeping_deadline(pair[0], pair[1], &limits, seed),
            };
            if let Some(FieldExpiry::At(deadline)) = wanted.expiry.filter(|expiry| !expiry.has_come(now)) {
                hash.set_deadline(pair[0], deadline, seed);
            }
        }
        ((), Change::of("hset", names.len() as u64))
    })?;
    let mut count = [0; 20];
    let count = decimal::format_u64(names.len() as u64, &mut count);
    let mut log = |words: &[&[u8]], rest: &[&[u8]]| cx.journal.instead(&[words, rest].concat());
    match wanted.expiry {
        None => log(&[b"HSET", key], pairs),
        Some(FieldExpiry::Keep) => log(&[b"HSETEX", key, b"KEEPTTL", b"FIELDS", count], pairs),
        Some(expiry @ FieldExpiry::At(_)) if expiry.has_come(now) => {
            log(&[b"HDEL", key], names);
            cx.db.update::<Hash, _>(key, |hash| {
                let removed = names.iter().filter(|name| hash.remove(name)).count();
                ((), Change::of("hdel", removed as u64))
            })?;
        }
        Some(FieldExpiry::At(deadline)) => {
            let mut time = [0; 20];
            log(&[b"HSETEX", key, b"PXAT", decimal::format_u64(deadline, &mut time), b"FIELDS", count], pairs);
            cx.db.notify(EventClass::Hash, "hexpire", key);
        }
    }
    Ok(())
}
