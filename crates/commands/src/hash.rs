//! Hashes, field by field; the deadlines of fields are in `hash_expire.rs` and `hash_ex.rs`.
//!
//! A field whose time has come is not seen by any command. Who asks for it by name removes it; HLEN, HSET and HDEL, which would have to look for it, count
//! it as long as it is there, as in Redis.

use redpoll_keyspace::{Change, Hash};
use redpoll_resp::{Protocol, Writer};
use redpoll_structures::decimal::{self, LongDouble};
use redpoll_structures::packed::Item;

use crate::args::Args;
use crate::command::{Command, DENYOOM, FAST, Family, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{
    Error, HASH_NOT_A_FLOAT, HASH_NOT_AN_INTEGER, INFINITE_INCREMENT, NAN_OR_INFINITY, NOT_A_FLOAT, OUT_OF_LONG_RANGE,
    OVERFLOW, SYNTAX, VALUE_OUT_OF_RANGE, wrong_arity,
};
use crate::key_spec::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use crate::reply;
use crate::scan::{self, ScanOptions, Scanned};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("HDEL key field [field ...]", hdel, WRITE | FAST, "2.0.0", "O(N) where N is the number of fields to be removed.", "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.").uses(&[RW | DELETE]),
    cmd("HEXISTS key field", hexists, READONLY | FAST, "2.0.0", "O(1)", "Determines whether a field exists in a hash.").uses(&[RO]),
    cmd("HGET key field", hget, READONLY | FAST, "2.0.0", "O(1)", "Returns the value of a field in a hash."),
    cmd("HGETALL key", hgetall, READONLY, "2.0.0", "O(N) where N is the size of the hash.", "Returns all fields and values in a hash."),
    cmd("HINCRBY key field increment", hincrby, WRITE | DENYOOM | FAST, "2.0.0", "O(1)", "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("HINCRBYFLOAT key field increment", hincrbyfloat, WRITE | DENYOOM | FAST, "2.6.0", "O(1)", "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("HKEYS key", hkeys, READONLY, "2.0.0", "O(N) where N is the size of the hash.", "Returns all fields in a hash."),
    cmd("HLEN key", hlen, READONLY | FAST, "2.0.0", "O(1)", "Returns the number of fields in a hash.").uses(&[RO]),
    cmd("HMGET key field [field ...]", hmget, READONLY | FAST, "2.0.0", "O(N) where N is the number of fields being requested.", "Returns the values of all fields in a hash."),
    cmd("HMSET key field value [field value ...]", hmset, WRITE | DENYOOM | FAST, "2.0.0", "O(N) where N is the number of fields being set.", "Sets the values of multiple fields."),
    cmd("HRANDFIELD key [count [WITHVALUES]]", hrandfield, READONLY, "6.2.0", "O(N) where N is the number of fields returned", "Returns one or more random fields from a hash."),
    cmd("HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]", hscan, READONLY, "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over fields and values of a hash."),
    cmd("HSET key field value [field value ...]", hset, WRITE | DENYOOM | FAST, "2.0.0", "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.", "Creates or modifies the value of a field in a hash."),
    cmd("HSETNX key field value", hsetnx, WRITE | DENYOOM | FAST, "2.0.0", "O(1)", "Sets the value of a field in a hash only when the field doesn't exist.").uses(&[RW | INSERT]),
    cmd("HSTRLEN key field", hstrlen, READONLY | FAST, "3.2.0", "O(1)", "Returns the length of the value of a field.").uses(&[RO]),
    cmd("HVALS key", hvals, READONLY, "2.0.0", "O(N) where N is the size of the hash.", "Returns all values in a hash."),
];

/// Hashes.
pub(crate) const FAMILY: Family = Family { group: "hash", commands: COMMANDS };

/// Most fields that HRANDFIELD chooses with repetition; a hash itself bounds how many it chooses without.
const CHOICES_MAX: usize = 1 << 24;

/// HDEL key field [field ...]
fn hdel(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let removed = cx.db.update::<Hash, _>(args.at(1), |hash| {
        let removed = args.from(2).iter().filter(|field| hash.remove(field)).count();
        (removed, Change::of("hdel", removed as u64))
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// HEXISTS key field
fn hexists(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let now = cx.now();
    let exists = cx.db.read_fields(args.at(1), &[args.at(2)])?.is_some_and(|hash| hash.contains(args.at(2), now));
    cx.out.int(i64::from(exists));
    Ok(())
}

/// HGET key field
fn hget(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (now, key, field) = (cx.now(), args.at(1), args.at(2));
    reply::item_or_null(cx.out, cx.db.read_fields(key, &[field])?.and_then(|hash| hash.get(field, now)));
    Ok(())
}

/// HGETALL key
fn hgetall(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let now = cx.now();
    let Some(hash) = cx.db.read_as::<Hash>(args.at(1))? else {
        cx.out.map(0);
        return Ok(());
    };
    cx.out.map(hash.live_len(now));
    hash.iter(now).for_each(|(field, value)| {
        reply::item(cx.out, field);
        reply::item(cx.out, value);
    });
    Ok(())
}

/// HINCRBY key field increment
fn hincrby(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (field, increment) = (args.at(2), args.int(3)?);
    let mut buf = [0; decimal::I64_TEXT_MAX];
    let mut sum = increment;
    calculate(cx, args.at(1), field, "hincrby", |current| {
        if let Some(current) = current {
            sum = current.as_int().ok_or(HASH_NOT_AN_INTEGER)?.checked_add(increment).ok_or(OVERFLOW)?;
        }
        Ok(decimal::format_i64(sum, &mut buf))
    })?;
    cx.out.int(sum);
    Ok(())
}

/// HINCRBYFLOAT key field increment
fn hincrbyfloat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, field) = (args.at(1), args.at(2));
    let increment = LongDouble::parse(args.at(3)).ok_or(NOT_A_FLOAT)?;
    if increment.is_infinite() {
        return Err(INFINITE_INCREMENT);
    }
    let mut sum = Vec::new();
    let has_deadline = calculate(cx, key, field, "hincrbyfloat", |current| {
        let mut buf = [0; decimal::I64_TEXT_MAX];
        let current = current.map_or(&b"0"[..], |current| current.text(&mut buf));
        let current = LongDouble::parse(current).ok_or(HASH_NOT_A_FLOAT)?;
        sum = current.add(increment).ok_or(NAN_OR_INFINITY)?.to_text();
        Ok(&sum)
    })?;
    if has_deadline {
        cx.journal.instead(&[b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, &sum]);
    } else {
        cx.journal.instead(&[b"HSET", key, field, &sum]);
    }
    cx.out.bulk(&sum);
    Ok(())
}

/// HKEYS key
fn hkeys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    each(cx, args.at(1), |(field, _)| field)
}

/// HLEN key
fn hlen(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let len = cx.db.read_as::<Hash>(args.at(1))?.map_or(0, Hash::len);
    cx.out.int(len as i64);
    Ok(())
}

/// HMGET key field [field ...]
fn hmget(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (now, fields) = (cx.now(), args.from(2));
    let hash = cx.db.read_fields(args.at(1), fields)?;
    cx.out.array(fields.len());
    for field in fields {
        reply::item_or_null(cx.out, hash.and_then(|hash| hash.get(field, now)));
    }
    Ok(())
}

/// HMSET key field value [field value ...]
fn hmset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_fields(cx, args, "hmset")?;
    cx.out.ok();
    Ok(())
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (engine, now) = (cx.engine, cx.now());
    let random = || engine.random();
    if args.len() == 2 {
        cx.db.expire_all_fields(args.at(1));
        match cx.db.read_as::<Hash>(args.at(1))?.filter(|hash| hash.live_len(now) > 0) {
            Some(hash) => hash.choose(1, now, random, |field, _| reply::item(cx.out, field)),
            None => cx.out.null(),
        }
        return Ok(());
    }
    let count = args.int_in(2, -i64::MAX..=i64::MAX, OUT_OF_LONG_RANGE)?;
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "WITHVALUES")) {
        return Err(SYNTAX);
    }
    let parts = if args.len() == 4 { Parts::Pairs } else { Parts::Fields };
    let wanted = usize::try_from(count.unsigned_abs()).map_err(|_| VALUE_OUT_OF_RANGE)?;
    if parts == Parts::Pairs && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(VALUE_OUT_OF_RANGE);
    }
    cx.db.expire_all_fields(args.at(1));
    let Some(hash) = cx.db.read_as::<Hash>(args.at(1))?.filter(|hash| hash.live_len(now) > 0) else {
        cx.out.array(0);
        return Ok(());
    };
    if count < 0 && wanted > CHOICES_MAX {
        return Err(VALUE_OUT_OF_RANGE);
    }
    let chosen = if count < 0 { wanted } else { wanted.min(hash.live_len(now)) };
    parts.announce(cx.out, chosen);
    if count < 0 {
        hash.choose(chosen, now, random, |field, value| parts.write(cx.out, field, value));
    } else {
        hash.sample(chosen, now, random, |field, value| parts.write(cx.out, field, value));
    }
    Ok(())
}

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
fn hscan(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (now, cursor) = (cx.now(), scan::cursor(args.at(2))?);
    let mut found = Writer::new(cx.out.protocol());
    let (mark, mut count, mut next) = (found.begin_array(), 0, 0);
    if let Some(hash) = cx.db.read_as::<Hash>(args.at(1))? {
        let options = ScanOptions::parse(args, 3, Scanned::Fields)?;
        let mut buf = [0; decimal::I64_TEXT_MAX];
        next = hash.scan(cursor, options.count, now, |field, value| {
            let name = field.text(&mut buf);
            if options.admits(name) {
                found.bulk(name);
                count += 1;
                if options.values {
                    reply::item(&mut found, value);
                    count += 1;
                }
            }
        });
    }
    found.end_array(mark, count);
    scan::reply(cx.out, next, &found);
    Ok(())
}

/// HSET key field value [field value ...]
fn hset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let added = set_fields(cx, args, "hset")?;
    cx.out.int(added as i64);
    Ok(())
}

/// HSETNX key field value
fn hsetnx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (limits, seed, now) = (cx.limits(), cx.db.hash_seed(), cx.now());
    cx.db.expire_fields(args.at(1), &[args.at(2)]);
    let added = cx.db.update_or_create::<Hash, _>(args.at(1), |hash| {
        let absent = !hash.contains(args.at(2), now);
        if absent {
            hash.set(args.at(2), args.at(3), &limits, seed);
        }
        (absent, Change::of("hset", u64::from(absent)))
    })?;
    cx.out.int(i64::from(added));
    Ok(())
}

/// HSTRLEN key field
fn hstrlen(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let now = cx.now();
    let hash = cx.db.read_fields(args.at(1), &[args.at(2)])?;
    let len = hash.and_then(|hash| hash.get(args.at(2), now)).map_or(0, Item::len);
    cx.out.int(len as i64);
    Ok(())
}

/// HVALS key
fn hvals(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    each(cx, args.at(1), |(_, value)| value)
}

/// What HRANDFIELD returns of each field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    Fields,
    Pairs,
}

impl Parts {
    /// Announces so many fields: RESP3 has an array for each pair, RESP2 one for all.
    fn announce(self, out: &mut Writer, count: usize) {
        let flat = self == Parts::Pairs && out.protocol() == Protocol::Resp2;
        out.array(if flat { 2 * count } else { count });
    }

    fn write(self, out: &mut Writer, field: Item<'_>, value: Item<'_>) {
        if self == Parts::Pairs && out.protocol() == Protocol::Resp3 {
            out.array(2);
        }
        reply::item(out, field);
        if self == Parts::Pairs {
            reply::item(out, value);
        }
    }
}

/// Replies with one part of every field.
fn each(cx: &mut Cx<'_, '_>, key: &[u8], part: impl for<'i> Fn((Item<'i>, Item<'i>)) -> Item<'i>) -> Result<(), Error> {
    let now = cx.now();
    let Some(hash) = cx.db.read_as::<Hash>(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    cx.out.array(hash.live_len(now));
    hash.iter(now).for_each(|pair| reply::item(cx.out, part(pair)));
    Ok(())
}

/// Sets the pairs that stand behind the key; returns how many fields are new.
fn set_fields(cx: &mut Cx<'_, '_>, args: Args<'_>, command: &str) -> Result<usize, Error> {
    let pairs = args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(wrong_arity(command));
    }
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let added = cx.db.update_or_create::<Hash, _>(args.at(1), |hash| {
        hash.reserve(pairs.len() / 2, &limits, seed);
        let added = pairs.chunks_exact(2).filter(|pair| hash.set(pair[0], pair[1], &limits, seed)).count();
        (added, Change::of("hset", pairs.len() as u64 / 2))
    })?;
    Ok(added)
}

/// Sets a field to what is calculated from its value, or changes nothing if that fails. The field keeps its deadline; tells whether it has one.
fn calculate<'t>(
    cx: &mut Cx<'_, '_>,
    key: &[u8],
    field: &[u8],
    event: &'static str,
    calculation: impl FnOnce(Option<Item<'_>>) -> Result<&'t [u8], Error>,
) -> Result<bool, Error> {
    let (limits, seed, now) = (cx.limits(), cx.db.hash_seed(), cx.now());
    cx.db.expire_fields(key, &[field]);
    cx.db.update_or_create::<Hash, _>(key, |hash| match calculation(hash.get(field, now)) {
        Ok(value) => {
            hash.set_keeping_deadline(field, value, &limits, seed);
            (Ok(hash.deadline(field, now).flatten().is_some()), Change::of(event, 1))
        }
        Err(error) => (Err(error), Change::NONE),
    })?
}
