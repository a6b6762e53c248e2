//! Sorted sets whose members are waited for: BZPOPMIN, BZPOPMAX, BZMPOP.
//!
//! As with lists: the keys are tried in order, and only if all are missing does the client wait for the first that is filled.

use redpoll_keyspace::Kind;

use crate::args::Args;
use crate::blocking::{Served, Timeout};
use crate::cx::Cx;
use crate::error::{Error, WRONG_TYPE};
use crate::sorted_set_pop::{PopSome, ScoreEnd, pop_first};

/// BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]
pub(crate) fn bzmpop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (keys, pop) = PopSome::parse(args, 2)?;
    let timeout = Timeout::seconds(args.at(1), cx.now())?;
    cx.pop_or_wait(keys, Kind::SortedSet, timeout, move |cx, key| pop.run(cx, key))
}

/// BZPOPMAX key [key ...] timeout
pub(crate) fn bzpopmax(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    block_on_pop(cx, args, ScoreEnd::Max)
}

/// BZPOPMIN key [key ...] timeout
pub(crate) fn bzpopmin(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    block_on_pop(cx, args, ScoreEnd::Min)
}

/// BZPOPMIN and BZPOPMAX: keys, timeout.
fn block_on_pop(cx: &mut Cx<'_, '_>, args: Args<'_>, end: ScoreEnd) -> Result<(), Error> {
    let last = args.len() - 1;
    let (keys, timeout) = (&args.from(1)[..last - 1], Timeout::seconds(args.at(last), cx.now())?);
    cx.pop_or_wait(keys, Kind::SortedSet, timeout, move |cx, key| pop_one(cx, key, end))
}

/// Pops one member and replies with key, member and score.
fn pop_one(cx: &mut Cx<'_, '_>, key: &[u8], end: ScoreEnd) -> Result<Served, Error> {
    match cx.db.kind(key) {
        None => return Ok(Served::Nothing),
        Some(Kind::SortedSet) => {}
        Some(_) => return Err(WRONG_TYPE),
    }
    cx.out.array(3);
    cx.out.bulk(key);
    pop_first(cx, key, end)?;
    cx.journal.instead(&[end.pop_command(), key]);
    Ok(Served::Yes)
}
