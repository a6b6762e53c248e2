//! Strings.

use redpoll_keyspace::{EventClass, Expiry, Text, WrongType};
use redpoll_structures::decimal;

use crate::args::{Args, int};
use crate::command::{Command, DENYOOM, FAST, Family, READONLY, WRITE, cmd};
use crate::cx::{Cx, Origin};
use crate::error::{
    Error, NAN_OR_INFINITY, NOT_A_FLOAT, NOT_AN_INTEGER, OFFSET, OVERFLOW, STRING_TOO_LONG, SYNTAX, wrong_arity,
};
use crate::expiry::{ExpiryOption, journal_deadline};
use crate::key_spec::{ACCESS, DELETE, INSERT, KeyFlags, OW, RO, RW, UPDATE};
use crate::settings::Setting;
use crate::string_condition::Condition;

/// Longest string a log may make, bytes: beyond what any memory holds, so that a damaged offset cannot overflow.
const LOGGED_MAX: usize = 1 << 40;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("APPEND key value", append, WRITE | DENYOOM | FAST, "2.0.0", "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by Redis will double the free space available on every reallocation.", "Appends a string to the value of a key. Creates the key if it doesn't exist.").uses(&[RW | INSERT]),
    cmd("DECR key", decr, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("DECRBY key decrement", decrby, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("GET key", get, READONLY | FAST, "1.0.0", "O(1)", "Returns the string value of a key."),
    cmd("GETDEL key", getdel, WRITE | FAST, "6.2.0", "O(1)", "Returns the string value of a key after deleting the key.").uses(&[RW | ACCESS | DELETE]),
    cmd("GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]", getex, WRITE | FAST, "6.2.0", "O(1)", "Returns the string value of a key after setting its expiration time.").uses(&[RW | ACCESS | UPDATE]),
    cmd("GETRANGE key start end", getrange, READONLY, "2.4.0", "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.", "Returns a substring of the string stored at a key."),
    cmd("GETSET key value", getset, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Returns the previous string value of a key after setting it to a new value.").uses(&[RW | ACCESS | UPDATE]),
    cmd("INCR key", incr, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("INCRBY key increment", incrby, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("INCRBYFLOAT key increment", incrbyfloat, WRITE | DENYOOM | FAST, "2.6.0", "O(1)", "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
    cmd("MGET key [key ...]", mget, READONLY | FAST, "1.0.0", "O(N) where N is the number of keys to retrieve.", "Atomically returns the string values of one or more keys."),
    cmd("MSET key value [key value ...]", mset, WRITE | DENYOOM, "1.0.1", "O(N) where N is the number of keys to set.", "Atomically creates or modifies the string values of one or more keys.").uses(&[OW | UPDATE]),
    cmd("MSETNX key value [key value ...]", msetnx, WRITE | DENYOOM, "1.0.1", "O(N) where N is the number of keys to set.", "Atomically modifies the string values of one or more keys only when all keys don't exist.").uses(&[OW | INSERT]),
    cmd("PSETEX key milliseconds value", psetex, WRITE | DENYOOM, "2.6.0", "O(1)", "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist.").uses(&[OW | UPDATE]),
    cmd("SET key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]", set, WRITE | DENYOOM, "1.0.0", "O(1)", "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.").varies(RW | ACCESS | UPDATE, set_uses),
    cmd("SETEX key seconds value", setex, WRITE | DENYOOM, "2.0.0", "O(1)", "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.").uses(&[OW | UPDATE]),
    cmd("SETNX key value", setnx, WRITE | DENYOOM | FAST, "1.0.0", "O(1)", "Set the string value of a key only when the key doesn't exist.").uses(&[OW | INSERT]),
    cmd("SETRANGE key offset value", setrange, WRITE | DENYOOM, "2.2.0", "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.", "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist."),
    cmd("STRLEN key", strlen, READONLY | FAST, "2.2.0", "O(1)", "Returns the length of a string value.").uses(&[RO]),
    cmd("SUBSTR key start end", getrange, READONLY, "1.0.0", "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.", "Returns a substring from a string value."),
];

/// Strings.
pub(crate) const FAMILY: Family = Family { group: "string", commands: COMMANDS };

/// APPEND key value
fn append(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, value) = (args.at(1), args.at(2));
    let old = cx.db.find_text(key)?.map(Text::len);
    check_length(cx, old.unwrap_or(0), value.len())?;
    let len = match old {
        None => {
            cx.db.set_text(key, value, Expiry::Clear);
            value.len()
        }
        Some(_) => cx.db.edit_text(key, |bytes| {
            bytes.extend_from_slice(value);
            bytes.len()
        })?,
    };
    cx.db.notify(EventClass::String, "append", key);
    cx.out.int(len as i64);
    Ok(())
}

/// DECR key
fn decr(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    add(cx, args.at(1), -1)
}

/// DECRBY key decrement
fn decrby(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let decrement = args.int(2)?;
    let increment = decrement.checked_neg().ok_or(Error::Text("ERR decrement would overflow"))?;
    add(cx, args.at(1), increment)
}

/// GET key
fn get(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_text(cx, args.at(1))
}

/// GETDEL key
fn getdel(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(1);
    reply_text(cx, key)?;
    if cx.db.remove(key).is_some() {
        cx.journal.instead(&[b"DEL", key]);
        cx.db.notify(EventClass::Generic, "del", key);
    }
    Ok(())
}

/// GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]
fn getex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(1);
    let mut expiry = None;
    let mut persist = false;
    let mut at = 2;
    while at < args.len() {
        if args.is(at, "PERSIST") && expiry.is_none() {
            persist = true;
            at += 1;
        } else if let Some(option) = ExpiryOption::of(args.at(at)).filter(|new| !persist && may_follow(*new, expiry)) {
            expiry = Some((option, args.optional(at + 1).ok_or(SYNTAX)?));
            at += 2;
        } else {
            return Err(SYNTAX);
        }
    }
    reply_text(cx, key)?;
    if !cx.db.contains(key) {
        return Ok(());
    }
    let deadline = expiry.map(|(option, amount)| option.deadline(amount, cx.now(), "getex")).transpose()?;
    if let Some(deadline) = deadline {
        if deadline <= cx.now() {
            if cx.db.remove(key).is_some() {
                cx.journal.instead(&[b"DEL", key]);
                cx.db.notify(EventClass::Generic, "del", key);
            }
        } else if cx.db.set_deadline(key, Some(deadline)) {
            journal_deadline(cx, key, deadline);
            cx.db.notify(EventClass::Generic, "expire", key);
        }
    } else if persist && cx.db.peek(key).is_some_and(|entry| entry.deadline().is_some()) {
        cx.db.set_deadline(key, None);
        cx.journal.instead(&[b"PERSIST", key]);
        cx.db.notify(EventClass::Generic, "persist", key);
    }
    Ok(())
}

/// GETRANGE key start end
fn getrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (start, end) = (args.int(2)?, args.int(3)?);
    let mut buf = [0; 20];
    let bytes = match cx.db.read_text(args.at(1))? {
        None => &[][..],
        Some(text) => text.bytes(&mut buf),
    };
    let len = bytes.len() as i64;
    let from_end = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let out_of_order = start < 0 && end < 0 && start > end;
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    let empty = out_of_order || len == 0 || start > end;
    cx.out.bulk(if empty { &[] } else { &bytes[start as usize..=end as usize] });
    Ok(())
}

/// GETSET key value
fn getset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, value) = (args.at(1), args.at(2));
    reply_text(cx, key)?;
    cx.db.set_text(key, value, Expiry::Clear);
    cx.journal.instead(&[b"SET", key, value]);
    cx.db.notify(EventClass::String, "set", key);
    Ok(())
}

/// INCR key
fn incr(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    add(cx, args.at(1), 1)
}

/// INCRBY key increment
fn incrby(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let increment = args.int(2)?;
    add(cx, args.at(1), increment)
}

/// INCRBYFLOAT key increment
fn incrbyfloat(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, increment) = (args.at(1), args.at(2));
    let mut buf = [0; 20];
    let current = match cx.db.find_text(key)? {
        None => b"0".to_vec(),
        Some(text) => text.bytes(&mut buf).to_vec(),
    };
    let sum = decimal::add_long_double(&current, increment).map_err(|error| match error {
        decimal::FloatError::NotAFloat => NOT_A_FLOAT,
        decimal::FloatError::NotFinite => NAN_OR_INFINITY,
    })?;
    let sum = sum.as_slice();
    cx.db.set_plain_text(key, sum, Expiry::Keep);
    cx.journal.instead(&[b"SET", key, sum, b"KEEPTTL"]);
    cx.db.notify(EventClass::String, "incrbyfloat", key);
    cx.out.bulk(sum);
    Ok(())
}

/// MGET key [key ...]
fn mget(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.out.array(args.len() - 1);
    for key in args.from(1) {
        let mut buf = [0; 20];
        match cx.db.read_text(key) {
            Ok(Some(text)) => cx.out.bulk(text.bytes(&mut buf)),
            Ok(None) | Err(WrongType) => cx.out.null(),
        }
    }
    Ok(())
}

/// MSET key value [key value ...]
fn mset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_pairs(cx, args, "mset")?;
    cx.out.ok();
    Ok(())
}

/// MSETNX key value [key value ...]
fn msetnx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if args.len().is_multiple_of(2) {
        return Err(wrong_arity("msetnx"));
    }
    if args.from(1).iter().step_by(2).any(|key| cx.db.contains(key)) {
        cx.out.int(0);
        return Ok(());
    }
    set_pairs(cx, args, "msetnx")?;
    cx.out.int(1);
    Ok(())
}

/// PSETEX key milliseconds value
fn psetex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_with_expiry(cx, args, ExpiryOption::Px, "psetex")
}

/// SET overwrites whatever there was, unless it gives it back or compares it.
fn set_uses(args: Args<'_>) -> KeyFlags {
    let uses_old = ["GET", "IFEQ", "IFNE", "IFDEQ", "IFDNE"];
    let asks = (3..args.len()).any(|at| uses_old.iter().any(|word| args.is(at, word)));
    if asks { RW | ACCESS | UPDATE } else { OW | UPDATE }
}

/// SET key value [NX | XX | IFEQ … | IFNE … | IFDEQ … | IFDNE …] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]
fn set(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        cx.db.set_text(key, value, Expiry::Clear);
        cx.db.notify(EventClass::String, "set", key);
        cx.out.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args)?;
    let deadline = options.expiry.map(|(option, amount)| option.deadline(amount, cx.now(), "set")).transpose()?;
    if options.get {
        reply_text(cx, key)?;
    }
    if let Some(condition) = options.condition
        && !condition.holds(cx, key)?
    {
        if !options.get {
            cx.out.null();
        }
        return Ok(());
    }
    match deadline {
        Some(deadline) => set_until(cx, key, value, deadline),
        None => {
            let expiry = if options.keep_ttl { Expiry::Keep } else { Expiry::Clear };
            cx.db.set_text(key, value, expiry);
            if options.keep_ttl {
                cx.journal.instead(&[b"SET", key, value, b"KEEPTTL"]);
            } else {
                cx.journal.instead(&[b"SET", key, value]);
            }
            cx.db.notify(EventClass::String, "set", key);
        }
    }
    if !options.get {
        cx.out.ok();
    }
    Ok(())
}

/// SETEX key seconds value
fn setex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    set_with_expiry(cx, args, ExpiryOption::Ex, "setex")
}

/// SETNX key value
fn setnx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, value) = (args.at(1), args.at(2));
    let absent = !cx.db.contains(key);
    if absent {
        cx.db.set_text(key, value, Expiry::Clear);
        cx.db.notify(EventClass::String, "set", key);
    }
    cx.out.int(i64::from(absent));
    Ok(())
}

/// SETRANGE key offset value
fn setrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, offset, value) = (args.at(1), args.int(2)?, args.at(3));
    let offset = usize::try_from(offset).map_err(|_| OFFSET)?;
    let old = cx.db.find_text(key)?.map_or(0, Text::len);
    if value.is_empty() {
        cx.out.int(old as i64);
        return Ok(());
    }
    check_length(cx, offset, value.len())?;
    let len = cx.db.edit_text(key, |bytes| {
        let end = offset + value.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(value);
        bytes.len()
    })?;
    cx.db.notify(EventClass::String, "setrange", key);
    cx.out.int(len as i64);
    Ok(())
}

/// STRLEN key
fn strlen(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let len = cx.db.read_text(args.at(1))?.map_or(0, Text::len);
    cx.out.int(len as i64);
    Ok(())
}

/// What stands behind `SET key value`.
#[derive(Default)]
struct SetOptions<'a> {
    condition: Option<Condition<'a>>,
    get: bool,
    keep_ttl: bool,
    expiry: Option<(ExpiryOption, &'a [u8])>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: Args<'a>) -> Result<SetOptions<'a>, Error> {
        let mut options = SetOptions::default();
        let mut at = 3;
        while at < args.len() {
            let fits = |new: &ExpiryOption| !options.keep_ttl && may_follow(*new, options.expiry);
            let free = |condition| options.condition.is_none_or(|read| read == condition);
            if args.is(at, "NX") && free(Condition::Absent) {
                options.condition = Some(Condition::Absent);
            } else if args.is(at, "XX") && free(Condition::Present) {
                options.condition = Some(Condition::Present);
            } else if options.condition.is_none()
                && let Some(condition) = Condition::on_value(args, at)?
            {
                options.condition = Some(condition);
                at += 1;
            } else if args.is(at, "GET") {
                options.get = true;
            } else if args.is(at, "KEEPTTL") && options.expiry.is_none() {
                options.keep_ttl = true;
            } else if let Some(option) = ExpiryOption::of(args.at(at)).filter(fits) {
                at += 1;
                options.expiry = Some((option, args.optional(at).ok_or(SYNTAX)?));
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// Tells whether an option about time may stand behind what was read so far: one kind only, of which the last counts.
fn may_follow(new: ExpiryOption, read: Option<(ExpiryOption, &[u8])>) -> bool {
    read.is_none_or(|(option, _)| option == new)
}

/// Replies with the string at a key, or null.
fn reply_text(cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<(), Error> {
    let mut buf = [0; 20];
    match cx.db.read_text(key)? {
        Some(text) => cx.out.bulk(text.bytes(&mut buf)),
        None => cx.out.null(),
    }
    Ok(())
}

fn add(cx: &mut Cx<'_, '_>, key: &[u8], increment: i64) -> Result<(), Error> {
    let current = match cx.db.find_text(key)? {
        None => 0,
        Some(Text::Int(value)) => value,
        Some(Text::Bytes(bytes)) => int(bytes).map_err(|_| NOT_AN_INTEGER)?,
    };
    let sum = current.checked_add(increment).ok_or(OVERFLOW)?;
    cx.db.set_int(key, sum);
    cx.db.notify(EventClass::String, "incrby", key);
    cx.out.int(sum);
    Ok(())
}

/// SETEX and PSETEX: key, time, value.
fn set_with_expiry(
    cx: &mut Cx<'_, '_>,
    args: Args<'_>,
    option: ExpiryOption,
    command: &'static str,
) -> Result<(), Error> {
    let deadline = option.deadline(args.at(2), cx.now(), command)?;
    set_until(cx, args.at(1), args.at(3), deadline);
    cx.out.ok();
    Ok(())
}

/// Sets a string with a deadline, which may already have passed.
pub(crate) fn set_until(cx: &mut Cx<'_, '_>, key: &[u8], value: &[u8], deadline: u64) {
    let mut buf = [0; 20];
    let text = decimal::format_i64(deadline as i64, &mut buf);
    cx.db.set_text(key, value, Expiry::At(deadline));
    cx.journal.instead(&[b"SET", key, value, b"PXAT", text]);
    cx.db.notify(EventClass::String, "set", key);
    cx.db.notify(EventClass::Generic, "expire", key);
}

fn set_pairs(cx: &mut Cx<'_, '_>, args: Args<'_>, command: &str) -> Result<(), Error> {
    if args.len().is_multiple_of(2) {
        return Err(wrong_arity(command));
    }
    for pair in args.from(1).chunks_exact(2) {
        cx.db.set_text(pair[0], pair[1], Expiry::Clear);
        cx.db.notify(EventClass::String, "set", pair[0]);
    }
    Ok(())
}

/// The longest string that may be made. What the log says was allowed when it was written, whatever the settings say now.
pub(crate) fn longest(cx: &Cx<'_, '_>) -> usize {
    if cx.origin == Origin::Replay { LOGGED_MAX } else { cx.engine.settings.size(Setting::ProtoMaxBulkLen) }
}

fn check_length(cx: &Cx<'_, '_>, old: usize, added: usize) -> Result<(), Error> {
    if old.checked_add(added).is_none_or(|len| len > longest(cx)) { Err(STRING_TOO_LONG) } else { Ok(()) }
}
