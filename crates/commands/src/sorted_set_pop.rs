//! Popping from sorted sets: ZPOPMIN, ZPOPMAX, ZMPOP, and what their relatives that wait (`sorted_set_blocking.rs`) share with them.

use redpoll_keyspace::{Change, Direction, SortedSet};
use redpoll_resp::{Protocol, Writer};
use redpoll_structures::decimal::{self, I64_TEXT_MAX};

use crate::args::Args;
use crate::blocking::Served;
use crate::cx::Cx;
use crate::error::{COUNT_NOT_POSITIVE, Error, NOT_POSITIVE, NUMKEYS, SYNTAX};
use crate::reply::Elements;

/// ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]
pub(crate) fn zmpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (keys, pop) = PopSome::parse(args, 1)?;
    for key in keys {
        if pop.run(cx, key)? == Served::Yes {
            return Ok(());
        }
    }
    cx.out.null_array();
    Ok(())
}

/// ZPOPMAX key [count]
pub(crate) fn zpopmax(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    pop_from_one(cx, args, ScoreEnd::Max)
}

/// ZPOPMIN key [count]
pub(crate) fn zpopmin(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    pop_from_one(cx, args, ScoreEnd::Min)
}

/// An end of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScoreEnd {
    /// The lowest scores.
    Min,
    /// The highest scores.
    Max,
}

impl ScoreEnd {
    /// Reads MIN or MAX.
    fn parse(args: Args<'_>, at: usize) -> Result<ScoreEnd, Error> {
        match () {
            () if args.is(at, "MIN") => Ok(ScoreEnd::Min),
            () if args.is(at, "MAX") => Ok(ScoreEnd::Max),
            () => Err(SYNTAX),
        }
    }

    /// Returns the command that pops from this end.
    pub(crate) fn pop_command(self) -> &'static [u8] {
        match self {
            ScoreEnd::Min => b"ZPOPMIN",
            ScoreEnd::Max => b"ZPOPMAX",
        }
    }
}

/// What ZMPOP pops from the first of its sorted sets that exists.
#[derive(Clone, Copy)]
pub(crate) struct PopSome {
    end: ScoreEnd,
    count: usize,
}

impl PopSome {
    /// Reads `numkeys key [key ...] <MIN | MAX> [COUNT count]`, the number standing at an argument; also returns the keys.
    pub(crate) fn parse<'a>(args: Args<'a>, numkeys_at: usize) -> Result<(&'a [&'a [u8]], PopSome), Error> {
        let keys = args.size_from(numkeys_at, 1, NUMKEYS)?;
        let after_keys = keys.checked_add(numkeys_at + 1).filter(|at| *at < args.len()).ok_or(SYNTAX)?;
        let end = ScoreEnd::parse(args, after_keys)?;
        let mut count = None;
        for at in (after_keys + 1..args.len()).step_by(2) {
            if !args.is(at, "COUNT") || count.is_some() {
                return Err(SYNTAX);
            }
            count = Some(args.size_from(at + 1, 1, COUNT_NOT_POSITIVE)?);
        }
        Ok((&args.from(numkeys_at + 1)[..keys], PopSome { end, count: count.unwrap_or(1) }))
    }

    /// Pops from a sorted set and replies with its key and the elements, unless there is no such key.
    pub(crate) fn run(self, cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<Served, Error> {
        let Some(set) = cx.db.find_as::<SortedSet>(key)? else { return Ok(Served::Nothing) };
        let count = self.count.min(set.len());
        cx.out.array(2);
        cx.out.bulk(key);
        pop(cx, key, self.end, count, Elements::Nested)?;
        let count = decimal::format_u64(count as u64, &mut [0; I64_TEXT_MAX]).to_vec();
        cx.journal.instead(&[self.end.pop_command(), key, &count]);
        Ok(Served::Yes)
    }
}

/// Pops the outermost member of a sorted set that exists and replies with it and its score, without an array around them.
pub(crate) fn pop_first(cx: &mut Cx<'_, '_>, key: &[u8], end: ScoreEnd) -> Result<(), Error> {
    pop(cx, key, end, 1, Elements::Bare).map(drop)
}

/// Pops at most `count` elements from an end of a sorted set and replies with them, from the end inwards; false, and no reply, if there is no such key.
fn pop(cx: &mut Cx<'_, '_>, key: &[u8], end: ScoreEnd, count: usize, elements: Elements) -> Result<bool, Error> {
    let out: &mut Writer = cx.out;
    let popped = cx.db.update::<SortedSet, _>(key, |set| {
        let count = count.min(set.len());
        let (start, direction, lowest, event) = match end {
            ScoreEnd::Min => (0, Direction::Ascending, 0, "zpopmin"),
            ScoreEnd::Max => (set.len() - 1, Direction::Descending, set.len() - count, "zpopmax"),
        };
        elements.announce(out, count);
        set.range(start, count, direction).for_each(|(member, score)| elements.write(out, member, score));
        set.remove_range(lowest, count, |_, _| {});
        ((), Change::of(event, count as u64))
    })?;
    Ok(popped.is_some())
}

/// ZPOPMIN and ZPOPMAX: key, maybe a count.
fn pop_from_one(cx: &mut Cx<'_, '_>, args: Args<'_>, end: ScoreEnd) -> Result<(), Error> {
    if args.len() > 3 {
        return Err(SYNTAX);
    }
    let count = if args.len() == 3 { args.size_from(2, 0, NOT_POSITIVE)? } else { 1 };
    let nested = args.len() == 3 && cx.out.protocol() == Protocol::Resp3;
    if !pop(cx, args.at(1), end, count, if nested { Elements::Nested } else { Elements::Flat })? {
        cx.out.array(0);
    }
    Ok(())
}
