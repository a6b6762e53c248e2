//! Unions, intersections and differences of sorted sets. Sets are taken for sorted sets in which every score is 1.
//!
//! The sources are looked at side by side and their members passed on by reference; a result is put in order at the end, and only what is stored is
//! copied. Scores are weighted first and aggregated then. What would be no number (infinity times zero, or less infinity) is zero.

use std::cmp::Ordering;
use std::collections::HashMap;

use redpoll_keyspace::{Kind, Object, SeededState, Set, SortedSet, View, kind};
use redpoll_structures::decimal;
use redpoll_structures::packed::Item;

use crate::args::Args;
use crate::cx::Cx;
use crate::error::{Error, NOT_AN_INTEGER, SYNTAX, WEIGHT_NOT_A_FLOAT, WRONG_TYPE, no_input_keys};
use crate::reply::{Elements, canonical};
use crate::set_algebra::cardinality_limit;

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub(crate) fn zdiff(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    answer(cx, args, Operation::Difference, "zdiff")
}

/// ZDIFFSTORE destination numkeys key [key ...]
pub(crate) fn zdiffstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    store(cx, args, Operation::Difference, "zdiffstore")
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]
pub(crate) fn zinter(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    answer(cx, args, Operation::Intersection, "zinter")
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub(crate) fn zintercard(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (keys, at) = input_keys(cx.db, args, 1, "zintercard")?;
    let limit = cardinality_limit(args, at)?;
    let weights = vec![1.0; keys.len()];
    let count = intersection(sources(cx.db, keys, &weights), Aggregate::Sum).take(limit).count();
    cx.out.int(count as i64);
    Ok(())
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
pub(crate) fn zinterstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    store(cx, args, Operation::Intersection, "zinterstore")
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]
pub(crate) fn zunion(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    answer(cx, args, Operation::Union, "zunion")
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
pub(crate) fn zunionstore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    store(cx, args, Operation::Union, "zunionstore")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Difference,
    Intersection,
    Union,
}

/// What becomes of the scores a member has in several sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(args: Args<'_>, at: usize) -> Result<Aggregate, Error> {
        match () {
            () if args.is(at, "SUM") => Ok(Aggregate::Sum),
            () if args.is(at, "MIN") => Ok(Aggregate::Min),
            () if args.is(at, "MAX") => Ok(Aggregate::Max),
            () => Err(SYNTAX),
        }
    }

    fn combine(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Where a result goes, which decides what words there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Reply,
    Key,
}

/// The words behind the keys.
struct Words {
    weights: Vec<f64>,
    aggregate: Aggregate,
    scores: bool,
}

impl Words {
    fn parse(args: Args<'_>, from: usize, keys: usize, operation: Operation, to: Target) -> Result<Words, Error> {
        let mut words = Words { weights: vec![1.0; keys], aggregate: Aggregate::default(), scores: false };
        let weighs = operation != Operation::Difference;
        let mut at = from;
        while at < args.len() {
            if weighs && args.is(at, "WEIGHTS") && args.len() - at > keys {
                for (weight, arg) in words.weights.iter_mut().zip(args.from(at + 1)) {
                    *weight = decimal::parse_f64(arg).ok_or(WEIGHT_NOT_A_FLOAT)?;
                }
                at += 1 + keys;
            } else if weighs && args.is(at, "AGGREGATE") {
                words.aggregate = Aggregate::parse(args, at + 1)?;
                at += 2;
            } else if to == Target::Reply && args.is(at, "WITHSCORES") {
                words.scores = true;
                at += 1;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(words)
    }
}

fn answer(cx: &mut Cx<'_, '_>, args: Args<'_>, operation: Operation, command: &str) -> Result<(), Error> {
    let (keys, at) = input_keys(cx.db, args, 1, command)?;
    let words = Words::parse(args, at, keys.len(), operation, Target::Reply)?;
    let result = calculate(cx.db, keys, operation, &words);
    let elements = if words.scores { Elements::with_scores(cx.out) } else { Elements::Members };
    elements.announce(cx.out, result.len());
    for (member, score) in result {
        elements.write(cx.out, member, score);
    }
    Ok(())
}

/// The event has the name of the command.
fn store(cx: &mut Cx<'_, '_>, args: Args<'_>, operation: Operation, command: &'static str) -> Result<(), Error> {
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let (keys, at) = input_keys(cx.db, args, 2, command)?;
    let words = Words::parse(args, at, keys.len(), operation, Target::Key)?;
    let result = SortedSet::from_sorted(&calculate(cx.db, keys, operation, &words), &limits, seed);
    let count = result.len();
    cx.db.store(args.at(1), result, command);
    cx.out.int(count as i64);
    Ok(())
}

/// Reads `numkeys key [key ...]` and looks whether each key holds a set of either kind, or nothing; returns the keys and where the words behind them stand.
fn input_keys<'a>(
    db: &mut View<'_>,
    args: Args<'a>,
    count_at: usize,
    command: &str,
) -> Result<(&'a [&'a [u8]], usize), Error> {
    let count = args.int(count_at).map_err(|_| NOT_AN_INTEGER)?;
    if count < 1 {
        return Err(no_input_keys(command));
    }
    let after = args.from(count_at + 1);
    let keys = usize::try_from(count).ok().and_then(|count| after.get(..count)).ok_or(SYNTAX)?;
    for key in keys {
        if db.read(key).is_some_and(|entry| !matches!(kind(entry), Kind::Set | Kind::SortedSet)) {
            return Err(WRONG_TYPE);
        }
    }
    Ok((keys, count_at + 1 + keys.len()))
}

/// A set or sorted set to combine with others.
#[derive(Clone, Copy)]
struct Source<'v> {
    members: Members<'v>,
    weight: f64,
}

#[derive(Clone, Copy)]
enum Members<'v> {
    None,
    Set(&'v Set),
    Sorted(&'v SortedSet),
}

/// Elements in no particular order; no member comes twice.
type Found<'v> = Box<dyn Iterator<Item = (Item<'v>, f64)> + 'v>;

impl<'v> Source<'v> {
    fn len(&self) -> usize {
        match self.members {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::Sorted(set) => set.len(),
        }
    }

    /// Returns the members with their scores, weighted.
    fn elements(self) -> Found<'v> {
        let weighted = move |(member, score): (Item<'v>, f64)| (member, number_or_zero(score * self.weight));
        match self.members {
            Members::None => Box::new(std::iter::empty()),
            Members::Set(set) => Box::new(set.iter().map(|member| (member, 1.0)).map(weighted)),
            Members::Sorted(set) => Box::new(set.iter().map(weighted)),
        }
    }

    /// Returns the score of a member, weighted: no number if that is infinity times zero.
    fn score(&self, member: Item<'_>) -> Option<f64> {
        let score = match self.members {
            Members::None => None,
            Members::Set(set) => set.contains(member).then_some(1.0),
            Members::Sorted(set) => set.score(member.text(&mut [0; 20])),
        };
        score.map(|score| score * self.weight)
    }

    fn contains(&self, member: Item<'_>) -> bool {
        self.score(member).is_some()
    }
}

/// Opens the sources side by side; their types have been checked.
fn sources<'v>(db: &'v View<'_>, keys: &[&[u8]], weights: &[f64]) -> Vec<Source<'v>> {
    let open = |(key, weight): (&&[u8], &f64)| {
        let members = match db.find_beside(key).and_then(|entry| entry.object()) {
            Some(Object::Set(set)) => Members::Set(set),
            Some(Object::SortedSet(set)) => Members::Sorted(set),
            _ => Members::None,
        };
        Source { members, weight: *weight }
    };
    keys.iter().zip(weights).map(open).collect()
}

/// Returns the result in the order of scores and members.
fn calculate<'v>(db: &'v View<'_>, keys: &[&[u8]], operation: Operation, words: &Words) -> Vec<(Item<'v>, f64)> {
    let sources = sources(db, keys, &words.weights);
    let found = match operation {
        Operation::Difference => difference(sources, db.hash_seed()),
        Operation::Intersection => intersection(sources, words.aggregate),
        Operation::Union => union(sources, words.aggregate, db.hash_seed()),
    };
    let mut result: Vec<_> = found.collect();
    result.sort_unstable_by(order);
    result
}

fn intersection(mut sources: Vec<Source<'_>>, aggregate: Aggregate) -> Found<'_> {
    sources.sort_by_key(Source::len);
    let others = sources.split_off(1);
    let in_all = move |(member, score): (Item<'_>, f64)| {
        others.iter().try_fold(score, |score, other| Some(aggregate.combine(score, other.score(member)?)))
    };
    Box::new(sources[0].elements().filter_map(move |(member, score)| Some((member, in_all((member, score))?))))
}

fn difference(mut sources: Vec<Source<'_>>, seed: u64) -> Found<'_> {
    let mut others = sources.split_off(1);
    let first = sources[0];
    let (questions, members) = (first.len().saturating_mul(others.len()), others.iter().map(Source::len).sum());
    // Striking off costs about two questions a member.
    if questions / 2 <= members {
        // The larger a set, the likelier it has the member.
        others.sort_by_key(|source| std::cmp::Reverse(source.len()));
        let missing = move |member| !others.iter().any(|other| other.contains(member));
        return Box::new(first.elements().filter(move |(member, _)| missing(*member)));
    }
    let mut left = HashMap::with_capacity_and_hasher(first.len(), SeededState::with_seed(seed));
    left.extend(first.elements().map(|(member, score)| (canonical(member), score)));
    for (member, _) in others.into_iter().flat_map(Source::elements) {
        left.remove(&canonical(member));
    }
    Box::new(left.into_iter())
}

fn union(mut sources: Vec<Source<'_>>, aggregate: Aggregate, seed: u64) -> Found<'_> {
    sources.sort_by_key(Source::len);
    let largest = sources.last().map_or(0, Source::len);
    let mut scores = HashMap::with_capacity_and_hasher(largest, SeededState::with_seed(seed));
    for (member, score) in sources.into_iter().flat_map(Source::elements) {
        let aggregated = |known: &mut f64| *known = aggregate.combine(*known, score);
        scores.entry(canonical(member)).and_modify(aggregated).or_insert(score);
    }
    Box::new(scores.into_iter())
}

/// Compares elements as sorted sets order them.
fn order(left: &(Item<'_>, f64), right: &(Item<'_>, f64)) -> Ordering {
    let by_score = left.1.partial_cmp(&right.1).expect("no score is NaN");
    by_score.then_with(|| left.0.text(&mut [0; 20]).cmp(right.0.text(&mut [0; 20])))
}
