//! Unions, intersections and differences of sets.
//!
//! The sources are looked at side by side and their members passed on by reference; only what is stored is copied. Three ways of going about it:
//!
//! * an intersection walks the smallest set and asks the others;
//! * a difference does the same with the first set, unless the others together have fewer members than questions would be asked: then they are struck
//!   off a copy of the first set, which stays encoded as a copy of it is, whatever is left;
//! * a union keeps a table of the members it has seen.

use std::collections::HashSet;

use redpoll_keyspace::{SeededState, Set, View};
use redpoll_structures::packed::Item;

use crate::args::Args;
use crate::cx::Cx;
use crate::error::{Error, LIMIT_NEGATIVE, NUMKEYS, SYNTAX, TOO_MANY_KEYS};
use crate::reply;

/// SDIFF key [key ...]
pub(crate) fn sdiff(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    answer(cx, args.from(1), difference)
}

/// SDIFFSTORE destination key [key ...]
pub(crate) fn sdiffstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let sets = sources(cx.db, args.from(2))?;
    let others = others(&sets);
    let result = match sets[0] {
        Some(first) if strikes_off(first, &others) => {
            let mut left = Set::collect(first.iter(), &limits, seed);
            others.iter().flat_map(|other| other.iter()).for_each(|member| {
                left.remove(member);
            });
            left
        }
        _ => Set::collect(difference(&sets, seed), &limits, seed),
    };
    store(cx, args, "sdiffstore", result)
}

/// SINTER key [key ...]
pub(crate) fn sinter(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    answer(cx, args.from(1), intersection)
}

/// Reads `[LIMIT limit]` of SINTERCARD and ZINTERCARD: how many members are worth counting.
pub(crate) fn cardinality_limit(args: Args<'_>, mut at: usize) -> Result<usize, Error> {
    let mut limit = 0;
    while at < args.len() {
        if !args.is(at, "LIMIT") {
            return Err(SYNTAX);
        }
        limit = args.size_from(at + 1, 0, LIMIT_NEGATIVE)?;
        at += 2;
    }
    Ok(if limit == 0 { usize::MAX } else { limit })
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
pub(crate) fn sintercard(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let keys = args.size_from(1, 1, NUMKEYS)?;
    if keys > args.len() - 2 {
        return Err(TOO_MANY_KEYS);
    }
    let limit = cardinality_limit(args, 2 + keys)?;
    let sets = sources(cx.db, &args.from(2)[..keys])?;
    let count = intersection(&sets, 0).take(limit).count();
    cx.out.int(count as i64);
    Ok(())
}

/// SINTERSTORE destination key [key ...]
pub(crate) fn sinterstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    collect(cx, args, "sinterstore", intersection)
}

/// SUNION key [key ...]
pub(crate) fn sunion(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    answer(cx, args.from(1), union)
}

/// SUNIONSTORE destination key [key ...]
pub(crate) fn sunionstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    collect(cx, args, "sunionstore", union)
}

/// Sets side by side; a key that does not exist is an empty set.
type Sources<'v> = Vec<Option<&'v Set>>;

/// Members of sets; none comes twice.
type Members<'v> = Box<dyn Iterator<Item = Item<'v>> + 'v>;

/// Combines sets. The number seeds what is hashed on the way.
type Operation = for<'v> fn(&[Option<&'v Set>], u64) -> Members<'v>;

fn answer(cx: &mut Cx<'_, '_>, keys: &[&[u8]], operation: Operation) -> Result<(), Error> {
    let seed = cx.db.hash_seed();
    let sets = sources(cx.db, keys)?;
    let (mark, mut count) = (cx.out.begin_set(), 0);
    operation(&sets, seed).for_each(|member| {
        reply::item(cx.out, member);
        count += 1;
    });
    cx.out.end_set(mark, count);
    Ok(())
}

fn collect(cx: &mut Cx<'_, '_>, args: Args<'_>, event: &'static str, operation: Operation) -> Result<(), Error> {
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let sets = sources(cx.db, args.from(2))?;
    let result = Set::collect(operation(&sets, seed), &limits, seed);
    store(cx, args, event, result)
}

fn store(cx: &mut Cx<'_, '_>, args: Args<'_>, event: &'static str, result: Set) -> Result<(), Error> {
    let count = result.len();
    cx.db.store(args.at(1), result, event);
    cx.out.int(count as i64);
    Ok(())
}

/// Opens sets side by side.
fn sources<'v>(db: &'v mut View<'_>, keys: &[&[u8]]) -> Result<Sources<'v>, Error> {
    for key in keys {
        db.read_as::<Set>(key)?;
    }
    let db: &'v View<'_> = db;
    keys.iter().map(|key| db.read_beside::<Set>(key).map_err(Error::from)).collect()
}

fn intersection<'v>(sets: &[Option<&'v Set>], _: u64) -> Members<'v> {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return Box::new(std::iter::empty()) };
    sets.sort_by_key(|set| set.len());
    let others = sets.split_off(1);
    Box::new(sets[0].iter().filter(move |member| others.iter().all(|other| other.contains(*member))))
}

/// The sets behind the first that exist.
fn others<'v>(sets: &[Option<&'v Set>]) -> Vec<&'v Set> {
    sets[1..].iter().copied().flatten().collect()
}

/// Whether a difference is found by striking the others' members off the first set; Redis decides alike.
fn strikes_off(first: &Set, others: &[&Set]) -> bool {
    let members = others.iter().map(|set| set.len()).sum::<usize>();
    first.len().saturating_mul(others.len() + 1) / 2 > first.len().saturating_add(members)
}

fn difference<'v>(sets: &[Option<&'v Set>], seed: u64) -> Members<'v> {
    let Some(first) = sets[0] else { return Box::new(std::iter::empty()) };
    let mut others = others(sets);
    if !strikes_off(first, &others) {
        // The larger a set, the likelier it has the member.
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        return Box::new(first.iter().filter(move |member| !others.iter().any(|other| other.contains(*member))));
    }
    let mut left = HashSet::with_capacity_and_hasher(first.len(), SeededState::with_seed(seed));
    left.extend(first.iter().map(reply::canonical));
    for member in others.iter().flat_map(|other| other.iter()) {
        left.remove(&reply::canonical(member));
    }
    Box::new(left.into_iter())
}

fn union<'v>(sets: &[Option<&'v Set>], seed: u64) -> Members<'v> {
    let sets: Vec<_> = sets.iter().copied().flatten().collect();
    if let [only] = sets[..] {
        return Box::new(only.iter());
    }
    let largest = sets.iter().map(|set| set.len()).max().unwrap_or(0);
    let mut seen = HashSet::with_capacity_and_hasher(largest, SeededState::with_seed(seed));
    let all = sets.into_iter().flat_map(Set::iter).map(reply::canonical);
    Box::new(all.filter(move |member| seen.insert(*member)))
}
