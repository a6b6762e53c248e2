//! Hashes, sets, sorted sets, lists, bits and HyperLogLogs: the commands of the store with types.
//!
//! A method is one command, named as what it does, whose result is a Rust type. Bytes go in as they are; what is not there
//! comes back as `None`, never as empty bytes. What could return everything there is returns a page.

use redpoll_resp::Value as Reply;

use super::call::{Call, read};
use super::{Object, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};

/// Most elements that one call takes or returns.
pub const MAX_PAGE: usize = 10_000;

/// Largest score in a sorted set, either way: the store keeps scores as doubles, which tell all integers apart up to here.
pub const MAX_SCORE: i64 = (1 << 53) - 1;

macro_rules! handles {
    ($($(#[$doc:meta])* $type:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $type(Object);

        impl $type {
            pub(super) fn new(object: Object) -> Self {
                Self(object)
            }

            /// Returns what all kinds of objects have: key, lifetime, removal.
            pub fn object(&self) -> &Object {
                &self.0
            }

            fn command(&self, name: &'static str) -> Command {
                Command::new(name).key(&self.0.key)
            }
        }
    )*};
}

handles! {
    /// Fields with values.
    Hash;
    /// Values without order, each once.
    Set;
    /// Values by score, each once. Scores are integers.
    SortedSet;
    /// Values in order.
    List;
    /// Bits by their number.
    Bits;
    /// A count of distinct values that keeps none of them, exact to within about a percent.
    HyperLogLog;
}

/// Appends arguments; too many, or none, is an error.
fn with<V: ToArg>(command: Command, values: &[V]) -> Result<Command> {
    match values.len() {
        1..=MAX_PAGE => Ok(values.iter().fold(command, Command::arg)),
        _ => Err(Error::invalid("values", format_args!("must be 1 to {MAX_PAGE}"))),
    }
}

fn page_size(count: usize) -> Result<usize> {
    match count {
        1..=MAX_PAGE => Ok(count),
        _ => Err(Error::invalid("count", format_args!("must be 1 to {MAX_PAGE}"))),
    }
}

impl Hash {
    /// Reads a field.
    pub fn get(&self, field: &str) -> Call<Option<Vec<u8>>> {
        self.0.call(self.command("HGET").arg(field).repeatable(), read::maybe_bytes)
    }

    /// Reads fields, in their order.
    pub fn get_many(&self, fields: &[&str]) -> Call<Vec<Option<Vec<u8>>>> {
        let command = with(self.command("HMGET"), fields).map(Command::repeatable);
        Call::new(&self.0.services, command, read::all_maybe_bytes)
    }

    /// Sets a field, or removes it for `None`.
    pub fn put(&self, field: &str, value: Option<&[u8]>) -> Call<()> {
        let command = match value {
            Some(value) => self.command("HSET").arg(field).arg(value),
            None => self.command("HDEL").arg(field),
        };
        self.0.call(command.repeatable(), read::done)
    }

    /// Sets a field that is not there; tells whether it did.
    pub fn put_if_absent(&self, field: &str, value: &[u8]) -> Call<bool> {
        self.0.call(self.command("HSETNX").arg(field).arg(value), read::flag)
    }

    /// Adds to a field that is an integer, absent being 0, and returns the sum. Beyond 64 bits it is
    /// [`Error::Conflict`] and nothing changed.
    pub fn increment(&self, field: &str, amount: i64) -> Call<i64> {
        self.0.call(self.command("HINCRBY").arg(field).arg(amount), read::integer)
    }

    /// Removes fields; returns how many there were.
    pub fn remove(&self, fields: &[&str]) -> Call<u64> {
        Call::new(&self.0.services, with(self.command("HDEL"), fields), read::count)
    }

    /// Tells whether there is a field.
    pub fn contains(&self, field: &str) -> Call<bool> {
        self.0.call(self.command("HEXISTS").arg(field).repeatable(), read::flag)
    }

    /// Returns the number of fields.
    pub fn len(&self) -> Call<u64> {
        self.0.call(self.command("HLEN").repeatable(), read::count)
    }

    /// Reads some fields with their values, from cursor 0, about `count` of them; returns the next cursor, 0 at the end.
    #[allow(clippy::type_complexity)]
    pub fn page(&self, cursor: u64, count: usize) -> Call<(u64, Vec<(Vec<u8>, Vec<u8>)>)> {
        let command =
            page_size(count).map(|count| self.command("HSCAN").arg(cursor).arg("COUNT").arg(count).repeatable());
        Call::new(&self.0.services, command, |reply| {
            let (next, flat) = read::page(reply)?;
            let mut flat = flat.into_iter();
            let pairs = std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect();
            Ok((next, pairs))
        })
    }
}

impl Set {
    /// Adds values; returns how many are new.
    pub fn add<V: ToArg>(&self, values: &[V]) -> Call<u64> {
        Call::new(&self.0.services, with(self.command("SADD"), values), read::count)
    }

    /// Removes values; returns how many there were.
    pub fn remove<V: ToArg>(&self, values: &[V]) -> Call<u64> {
        Call::new(&self.0.services, with(self.command("SREM"), values), read::count)
    }

    /// Tells whether there is a value.
    pub fn contains(&self, value: impl ToArg) -> Call<bool> {
        self.0.call(self.command("SISMEMBER").arg(value).repeatable(), read::flag)
    }

    /// Takes a value out, whichever.
    pub fn pop(&self) -> Call<Option<Vec<u8>>> {
        self.0.call(self.command("SPOP"), read::maybe_bytes)
    }

    /// Returns the number of values.
    pub fn len(&self) -> Call<u64> {
        self.0.call(self.command("SCARD").repeatable(), read::count)
    }

    /// Reads some values, from cursor 0, about `count` of them; returns the next cursor, 0 at the end.
    pub fn page(&self, cursor: u64, count: usize) -> Call<(u64, Vec<Vec<u8>>)> {
        let command =
            page_size(count).map(|count| self.command("SSCAN").arg(cursor).arg("COUNT").arg(count).repeatable());
        Call::new(&self.0.services, command, read::page)
    }
}

impl SortedSet {
    /// Sets a member's score, within [`MAX_SCORE`] either way; tells whether the member is new.
    pub fn put(&self, member: impl ToArg, score: i64) -> Call<bool> {
        let command = exact(score).map(|score| self.command("ZADD").arg(score).arg(member));
        Call::new(&self.0.services, command, read::flag)
    }

    /// Adds to a member's score, absent being 0, and returns the sum. Beyond [`MAX_SCORE`] it is [`Error::Conflict`] and
    /// nothing changed.
    pub fn increment(&self, member: impl ToArg, amount: i64) -> Call<i64> {
        let args: [&dyn ToArg; 3] = [&member, &amount, &MAX_SCORE];
        let command = exact(amount).map(|_| Command::script(&steps::SCORE, &[&self.0.key], &args));
        Call::new(&self.0.services, command, |reply| match reply.as_array() {
            Some([applied, score]) if applied.as_i64() == Some(1) => {
                read::number(score).ok_or_else(|| Error::unexpected("atomic.score", &reply))
            }
            Some(_) => Err(Error::Conflict("the score would no longer be exact; nothing was changed".to_owned())),
            None => Err(Error::unexpected("atomic.score", &reply)),
        })
    }

    /// Returns a member's score.
    pub fn score(&self, member: impl ToArg) -> Call<Option<i64>> {
        self.0.call(self.command("ZSCORE").arg(member).repeatable(), |reply| match reply {
            Reply::Nil => Ok(None),
            reply => read::score(&reply).map(Some),
        })
    }

    /// Returns how many members have a higher score, or the same and come later; `None` if it is no member.
    pub fn rank_from_top(&self, member: impl ToArg) -> Call<Option<u64>> {
        self.0.call(self.command("ZREVRANK").arg(member).repeatable(), |reply| match reply {
            Reply::Nil => Ok(None),
            reply => read::count(reply).map(Some),
        })
    }

    /// Returns the members of the highest scores, highest first.
    pub fn top(&self, count: usize) -> Call<Vec<(Vec<u8>, i64)>> {
        let command = page_size(count)
            .map(|count| self.command("ZREVRANGE").arg(0_u64).arg(count - 1).arg("WITHSCORES").repeatable());
        Call::new(&self.0.services, command, scored)
    }

    /// Removes members; returns how many there were.
    pub fn remove<V: ToArg>(&self, members: &[V]) -> Call<u64> {
        Call::new(&self.0.services, with(self.command("ZREM"), members), read::count)
    }

    /// Returns the number of members.
    pub fn len(&self) -> Call<u64> {
        self.0.call(self.command("ZCARD").repeatable(), read::count)
    }
}

fn exact(score: i64) -> Result<i64> {
    match score.unsigned_abs() <= MAX_SCORE.unsigned_abs() {
        true => Ok(score),
        false => Err(Error::invalid("score", format_args!("is beyond {MAX_SCORE}, up to which scores are exact"))),
    }
}

/// Members with their scores, flat as RESP2 has them or in pairs as RESP3 has.
fn scored(reply: Reply) -> Result<Vec<(Vec<u8>, i64)>> {
    let wrong = || Error::unexpected("ZREVRANGE", &reply);
    let items = reply.as_array().ok_or_else(wrong)?;
    let mut flat = items.iter().flat_map(|item| item.as_array().unwrap_or(std::slice::from_ref(item)));
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let Some(member) = flat.next() {
        let score = read::score(flat.next().ok_or_else(wrong)?)?;
        pairs.push((member.as_bytes().ok_or_else(wrong)?.to_vec(), score));
    }
    Ok(pairs)
}

impl List {
    /// Puts values at the front, one before the other; returns the length.
    pub fn push_front<V: ToArg>(&self, values: &[V]) -> Call<u64> {
        Call::new(&self.0.services, with(self.command("LPUSH"), values), read::count)
    }

    /// Puts values at the back, one behind the other; returns the length.
    pub fn push_back<V: ToArg>(&self, values: &[V]) -> Call<u64> {
        Call::new(&self.0.services, with(self.command("RPUSH"), values), read::count)
    }

    /// Takes the first value.
    pub fn pop_front(&self) -> Call<Option<Vec<u8>>> {
        self.0.call(self.command("LPOP"), read::maybe_bytes)
    }

    /// Takes the last value.
    pub fn pop_back(&self) -> Call<Option<Vec<u8>>> {
        self.0.call(self.command("RPOP"), read::maybe_bytes)
    }

    /// Reads `count` values from the one at `start`, the first being 0.
    pub fn page(&self, start: u64, count: usize) -> Call<Vec<Vec<u8>>> {
        let command = page_size(count)
            .map(|count| self.command("LRANGE").arg(start).arg(start.saturating_add(count as u64 - 1)).repeatable());
        Call::new(&self.0.services, command, read::all_bytes)
    }

    /// Keeps the first `count` values and drops the others.
    pub fn keep_first(&self, count: u64) -> Call<()> {
        let command = match count {
            0 => self.command("LTRIM").arg(1_u64).arg(0_u64),
            count => self.command("LTRIM").arg(0_u64).arg(count - 1),
        };
        self.0.call(command.repeatable(), read::done)
    }

    /// Returns the number of values.
    pub fn len(&self) -> Call<u64> {
        self.0.call(self.command("LLEN").repeatable(), read::count)
    }
}

impl Bits {
    /// Sets a bit; tells whether it was set.
    pub fn set(&self, number: u32) -> Call<bool> {
        self.0.call(self.command("SETBIT").arg(number).arg(1_u64), read::flag)
    }

    /// Clears a bit; tells whether it was set.
    pub fn clear(&self, number: u32) -> Call<bool> {
        self.0.call(self.command("SETBIT").arg(number).arg(0_u64), read::flag)
    }

    /// Tells whether a bit is set.
    pub fn is_set(&self, number: u32) -> Call<bool> {
        self.0.call(self.command("GETBIT").arg(number).repeatable(), read::flag)
    }

    /// Returns how many bits are set.
    pub fn count(&self) -> Call<u64> {
        self.0.call(self.command("BITCOUNT").repeatable(), read::count)
    }
}

impl HyperLogLog {
    /// Adds values; tells whether the count may have changed.
    pub fn add<V: ToArg>(&self, values: &[V]) -> Call<bool> {
        Call::new(&self.0.services, with(self.command("PFADD"), values), read::flag)
    }

    /// Returns about how many distinct values were added.
    pub fn count(&self) -> Call<u64> {
        self.0.call(self.command("PFCOUNT"), read::count)
    }

    /// Returns about how many distinct values were added to this and others of the same group.
    pub fn count_with(&self, others: &[&HyperLogLog]) -> Call<u64> {
        let same = others.iter().all(|other| other.0.group == self.0.group);
        let all = |command: Command, other: &&HyperLogLog| command.key(&other.0.key);
        let command = match (same, others.len()) {
            (true, ..=MAX_PAGE) => Ok(others.iter().fold(self.command("PFCOUNT"), all)),
            (true, _) => Err(Error::invalid("others", format_args!("more than {MAX_PAGE}"))),
            (false, _) => Err(Error::invalid("others", "are of another group, with which no slot is shared")),
        };
        Call::new(&self.0.services, command, read::count)
    }
}
