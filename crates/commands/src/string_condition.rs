//! Writing strings under a condition: SET's options about what is there, DELEX, DIGEST and MSETEX, as Redis 8.4 documents them.
//!
//! A client that has read a value changes it only if nobody else has, without a transaction: `IFEQ` takes the whole value, `IFDEQ` its digest, the 64-bit XXH3 hash in
//! sixteen hex digits, which DIGEST returns. A missing key has no value: it is equal to nothing, so `IFEQ` leaves it missing, and SET with `IFNE` creates it.

use redpoll_keyspace::{EventClass, Expiry, Kind};
use redpoll_structures::decimal;
use xxhash_rust::xxh3::xxh3_64;

use crate::args::Args;
use crate::command::{Command, DENYOOM, FAST, Family, Keys, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{DELEX_CONDITION, DELEX_TYPE, DIGEST_TEXT, Error, NUMKEYS_INVALID, SYNTAX, wrong_arity};
use crate::expiry::ExpiryOption;
use crate::key_spec::{DELETE, KeySpec, OW, RW, UPDATE};
use crate::string::set_until;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("DELEX key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]", delex, WRITE | FAST, "8.4.0", "O(1) for IFEQ/IFNE, O(N) for IFDEQ/IFDNE where N is the length of the string value.", "Conditionally removes the specified key based on value or digest comparison.").uses(&[RW | DELETE]),
    cmd("DIGEST key", digest, READONLY | FAST, "8.4.0", "O(N) where N is the length of the string value.", "Returns the XXH3 hash of a string value."),
    cmd("MSETEX numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]", msetex, WRITE | DENYOOM, "8.4.0", "O(N) where N is the number of keys to set.", "Atomically sets multiple string keys with a shared expiration in a single operation.").keys(Keys::Custom(pair_keys)).arity(-4).specs(&[KeySpec::counted(1, 2, OW | UPDATE)]),
];

/// Strings under conditions.
pub(crate) const FAMILY: Family = Family { group: "string", commands: COMMANDS };

/// DELEX key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]
fn delex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(1);
    if args.len() != 2 && args.len() != 4 {
        return Err(wrong_arity("delex"));
    }
    let removes = match (args.len(), cx.db.kind(key)) {
        (_, None) => false,
        (2, Some(_)) => true,
        (_, Some(Kind::String)) => Condition::on_value(args, 2)?.ok_or(DELEX_CONDITION)?.holds(cx, key)?,
        (_, Some(_)) => return Err(DELEX_TYPE),
    };
    if removes {
        cx.db.remove(key);
        cx.journal.instead(&[b"DEL", key]);
        cx.db.notify(EventClass::Generic, "del", key);
    }
    cx.out.int(i64::from(removes));
    Ok(())
}

/// DIGEST key
fn digest(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match cx.db.read_text(args.at(1))? {
        Some(text) => cx.out.bulk(format!("{:016x}", xxh3_64(text.bytes(&mut [0; 20]))).as_bytes()),
        None => cx.out.null(),
    }
    Ok(())
}

/// MSETEX numkeys key value [key value ...] [NX | XX] [EX seconds | … | KEEPTTL]
fn msetex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let count = args.size_from(1, 1, NUMKEYS_INVALID)?;
    let after = count.checked_mul(2).and_then(|words| words.checked_add(2)).filter(|after| *after <= args.len());
    let after = after.ok_or_else(|| wrong_arity("msetex"))?;
    let (mut condition, mut expiry, mut keep) = (None, None, false);
    let mut at = after;
    while at < args.len() {
        match () {
            () if condition.is_none() && args.is(at, "NX") => condition = Some(Condition::Absent),
            () if condition.is_none() && args.is(at, "XX") => condition = Some(Condition::Present),
            () if expiry.is_none() && !keep && args.is(at, "KEEPTTL") => keep = true,
            () => {
                let option = ExpiryOption::of(args.at(at)).filter(|_| expiry.is_none() && !keep).ok_or(SYNTAX)?;
                at += 1;
                expiry = Some((option, args.optional(at).ok_or(SYNTAX)?));
            }
        }
        at += 1;
    }
    let deadline = expiry.map(|(option, amount)| option.deadline(amount, cx.now(), "msetex")).transpose()?;
    let pairs = &args.0[2..after];
    for pair in pairs.chunks_exact(2) {
        if let Some(condition) = condition
            && !condition.holds(cx, pair[0])?
        {
            cx.out.int(0);
            return Ok(());
        }
    }
    for pair in pairs.chunks_exact(2) {
        let (key, value) = (pair[0], pair[1]);
        if let Some(deadline) = deadline {
            set_until(cx, key, value, deadline);
            continue;
        }
        cx.db.set_text(key, value, if keep { Expiry::Keep } else { Expiry::Clear });
        match keep {
            true => cx.journal.instead(&[b"SET", key, value, b"KEEPTTL"]),
            false => cx.journal.instead(&[b"SET", key, value]),
        }
        cx.db.notify(EventClass::String, "set", key);
    }
    cx.out.int(1);
    Ok(())
}

/// Pushes the places of MSETEX's keys, every second argument behind their number.
fn pair_keys(args: Args<'_>, positions: &mut Vec<usize>) {
    let count = args.optional(1).and_then(decimal::parse_i64).and_then(|count| usize::try_from(count).ok());
    positions.extend((2..args.len()).step_by(2).take(count.unwrap_or(0)));
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition<'a> {
    /// There is no such key.
    Absent,
    /// There is one, of any type.
    Present,
    /// The value is this one.
    Equal(&'a [u8]),
    /// The value is another, or there is none.
    Unequal(&'a [u8]),
    /// The value has this digest.
    DigestEqual(u64),
    /// The value has another digest, or there is none.
    DigestUnequal(u64),
}

impl<'a> Condition<'a> {
    /// Reads a condition on the value and its argument; none if another word stands there.
    pub(crate) fn on_value(args: Args<'a>, at: usize) -> Result<Option<Condition<'a>>, Error> {
        let text = || args.optional(at + 1).ok_or(SYNTAX);
        match () {
            () if args.is(at, "IFEQ") => Ok(Some(Condition::Equal(text()?))),
            () if args.is(at, "IFNE") => Ok(Some(Condition::Unequal(text()?))),
            () if args.is(at, "IFDEQ") => Ok(Some(Condition::DigestEqual(parse_digest(text()?)?))),
            () if args.is(at, "IFDNE") => Ok(Some(Condition::DigestUnequal(parse_digest(text()?)?))),
            () => Ok(None),
        }
    }

    /// Tells whether it holds for a key; an error if it is about the value and the value is no string.
    pub(crate) fn holds(self, cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<bool, Error> {
        let mut buf = [0; 20];
        match self {
            Condition::Absent => return Ok(!cx.db.contains(key)),
            Condition::Present => return Ok(cx.db.contains(key)),
            _ => {}
        }
        let text = cx.db.read_text(key)?;
        let text = text.map(|text| text.bytes(&mut buf));
        Ok(match self {
            Condition::Equal(value) => text == Some(value),
            Condition::Unequal(value) => text != Some(value),
            Condition::DigestEqual(digest) => text.map(xxh3_64) == Some(digest),
            Condition::DigestUnequal(digest) => text.map(xxh3_64) != Some(digest),
            Condition::Absent | Condition::Present => unreachable!("both have returned"),
        })
    }
}

/// Reads sixteen hex digits in any case.
fn parse_digest(text: &[u8]) -> Result<u64, Error> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.len() == 16 && !text.starts_with('+'));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(DIGEST_TEXT)
}
