//! Ranges of sorted sets: by index, by score, by member.
//!
//! ```text
//!   the command's words ► Request (bounds, direction, LIMIT, scores?) ► span of ranks ► Walk ► list, store, count or remove
//! ```
//!
//! Twelve commands, one way: whatever the bounds are, they become a span of ranks in ascending order, and direction and LIMIT choose from it.

use std::ops::{Bound, Range};

use redpoll_keyspace::{Change, Direction, SortedSet};
use redpoll_structures::decimal;

use crate::args::{Args, before_nul};
use crate::cx::Cx;
use crate::error::{Error, LIMIT_BY_INDEX, MEMBER_BOUND, SCORE_BOUND, SCORES_BY_LEX, SYNTAX};
use crate::reply::Elements;

/// ZCOUNT key min max
pub(crate) fn zcount(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    count(cx, args, By::Score)
}

/// ZLEXCOUNT key min max
pub(crate) fn zlexcount(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    count(cx, args, By::Member)
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(crate) fn zrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, None, None)
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(crate) fn zrangebylex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Some(By::Member), Some(Direction::Ascending))
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(crate) fn zrangebyscore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Some(By::Score), Some(Direction::Ascending))
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub(crate) fn zrangestore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut words = Words { by: None, direction: None, scores: Scores::Implied, offset: 0, limit: -1 };
    words.read(args, 5)?;
    let request = words.request(args, 3)?;
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let mut elements = Vec::new();
    if let Some(set) = cx.db.read_as::<SortedSet>(args.at(2))? {
        let Walk { start, count, direction } = request.walk(set);
        elements.extend(set.range(start, count, direction));
        if direction == Direction::Descending {
            elements.reverse();
        }
    }
    let result = SortedSet::from_sorted(&elements, &limits, seed);
    let count = result.len();
    cx.db.store(args.at(1), result, "zrangestore");
    cx.out.int(count as i64);
    Ok(())
}

/// ZREMRANGEBYLEX key min max
pub(crate) fn zremrangebylex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    remove(cx, args, By::Member, "zremrangebylex")
}

/// ZREMRANGEBYRANK key start stop
pub(crate) fn zremrangebyrank(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    remove(cx, args, By::Index, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE key min max
pub(crate) fn zremrangebyscore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    remove(cx, args, By::Score, "zremrangebyscore")
}

/// ZREVRANGE key start stop [WITHSCORES]
pub(crate) fn zrevrange(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Some(By::Index), Some(Direction::Descending))
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub(crate) fn zrevrangebylex(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Some(By::Member), Some(Direction::Descending))
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub(crate) fn zrevrangebyscore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    list(cx, args, Some(By::Score), Some(Direction::Descending))
}

/// What the bounds of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Index,
    Score,
    Member,
}

/// The bounds of a range, the lower one first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bounds<'a> {
    /// Both included, negative ones counted from the end. In a walk down, index 0 is the highest element.
    Indexes(i64, i64),
    Scores(Bound<f64>, Bound<f64>),
    Members(Edge<'a>, Edge<'a>),
}

/// A bound among members.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edge<'a> {
    /// `-`
    BelowAll,
    /// `+`
    AboveAll,
    /// `[member` or `(member`
    At(Bound<&'a [u8]>),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, low: &'a [u8], high: &'a [u8]) -> Result<Bounds<'a>, Error> {
        Ok(match by {
            By::Index => Bounds::Indexes(crate::args::int(low)?, crate::args::int(high)?),
            By::Score => Bounds::Scores(score_bound(low)?, score_bound(high)?),
            By::Member => Bounds::Members(edge(low)?, edge(high)?),
        })
    }

    /// Returns the ranks of the elements between the bounds, ascending.
    fn span(self, set: &SortedSet, direction: Direction) -> Range<usize> {
        let (start, end) = match self {
            Bounds::Indexes(first, last) => return index_span(first, last, set.len(), direction),
            Bounds::Scores(low, high) => (set.rank_of_score(low), set.rank_of_score(beyond(high))),
            Bounds::Members(low, high) => {
                let rank = |edge, bound: fn(Bound<&'a [u8]>) -> Bound<&'a [u8]>| match edge {
                    Edge::BelowAll => 0,
                    Edge::AboveAll => set.len(),
                    Edge::At(at) => set.rank_of_member(bound(at)),
                };
                (rank(low, |bound| bound), rank(high, beyond))
            }
        };
        start..end.max(start)
    }
}

/// Turns the bound up to which a range goes into the bound from which on it is over.
fn beyond<T>(high: Bound<T>) -> Bound<T> {
    match high {
        Bound::Included(value) => Bound::Excluded(value),
        Bound::Excluded(value) => Bound::Included(value),
        Bound::Unbounded => Bound::Unbounded,
    }
}

fn index_span(first: i64, last: i64, len: usize, direction: Direction) -> Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { (index + len).max(-1) } else { index };
    let (first, last) = (from_end(first).max(0), from_end(last).min(len - 1));
    if first > last {
        return 0..0;
    }
    match direction {
        Direction::Ascending => first as usize..last as usize + 1,
        Direction::Descending => (len - 1 - last) as usize..(len - first) as usize,
    }
}

/// Reads a bound of a range of scores as `strtod` would: blanks before the number are skipped, nothing at all is zero, what is too large is infinite.
fn score_bound(text: &[u8]) -> Result<Bound<f64>, Error> {
    // redis-server reads a bound, other than a score, as a C string.
    let text = before_nul(text);
    let (number, bound): (_, fn(f64) -> Bound<f64>) = match text {
        [b'(', number @ ..] => (number, Bound::Excluded),
        number => (number, Bound::Included),
    };
    if number.is_empty() {
        return Ok(bound(0.0));
    }
    let blanks = number.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let number = &number[blanks..];
    let extreme = || std::str::from_utf8(number).ok()?.parse::<f64>().ok().filter(|score| !score.is_nan());
    decimal::parse_f64(number).or_else(extreme).map(bound).ok_or(SCORE_BOUND)
}

fn edge(text: &[u8]) -> Result<Edge<'_>, Error> {
    match text {
        b"-" => Ok(Edge::BelowAll),
        b"+" => Ok(Edge::AboveAll),
        [b'[', member @ ..] => Ok(Edge::At(Bound::Included(member))),
        [b'(', member @ ..] => Ok(Edge::At(Bound::Excluded(member))),
        _ => Err(MEMBER_BOUND),
    }
}

/// Whether scores are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    /// They go along anyway, and WITHSCORES is not known.
    Implied,
    Unwanted,
    Wanted,
}

/// The words behind the bounds.
#[derive(Clone, Copy, Debug)]
struct Words {
    /// Given by the command, or by BYSCORE or BYLEX.
    by: Option<By>,
    /// Given by the command, or by REV.
    direction: Option<Direction>,
    scores: Scores,
    offset: i64,
    limit: i64,
}

impl Words {
    fn read(&mut self, args: Args<'_>, from: usize) -> Result<(), Error> {
        let mut at = from;
        while at < args.len() {
            if args.is(at, "WITHSCORES") && self.scores != Scores::Implied {
                self.scores = Scores::Wanted;
            } else if args.is(at, "LIMIT") && args.len() - at > 2 {
                (self.offset, self.limit) = (args.int(at + 1)?, args.int(at + 2)?);
                at += 2;
            } else if args.is(at, "REV") && self.direction.is_none() {
                self.direction = Some(Direction::Descending);
            } else if args.is(at, "BYLEX") && self.by.is_none() {
                self.by = Some(By::Member);
            } else if args.is(at, "BYSCORE") && self.by.is_none() {
                self.by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(())
    }

    /// Puts the words and the bounds at an argument together.
    fn request<'a>(self, args: Args<'a>, bounds_at: usize) -> Result<Request<'a>, Error> {
        let (by, direction) = (self.by.unwrap_or(By::Index), self.direction.unwrap_or(Direction::Ascending));
        if self.limit != -1 && by == By::Index {
            return Err(LIMIT_BY_INDEX);
        }
        if self.scores == Scores::Wanted && by == By::Member {
            return Err(SCORES_BY_LEX);
        }
        let (first, second) = (args.at(bounds_at), args.at(bounds_at + 1));
        let swapped = direction == Direction::Descending && by != By::Index;
        let (low, high) = if swapped { (second, first) } else { (first, second) };
        let bounds = Bounds::parse(by, low, high)?;
        let (offset, limit) = if by == By::Index { (0, -1) } else { (self.offset, self.limit) };
        Ok(Request { bounds, direction, offset, limit, scores: self.scores })
    }
}

/// What part of a sorted set is wanted.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    bounds: Bounds<'a>,
    direction: Direction,
    /// Elements to leave out first; all of them if negative.
    offset: i64,
    /// Elements at most; negative for no limit.
    limit: i64,
    scores: Scores,
}

/// A walk over ranks: where it starts, how many elements it visits, which way it goes.
struct Walk {
    start: usize,
    count: usize,
    direction: Direction,
}

impl Request<'_> {
    fn walk(&self, set: &SortedSet) -> Walk {
        let direction = self.direction;
        let span = self.bounds.span(set, direction);
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let count = span.len().saturating_sub(skipped).min(limit);
        let start = match direction {
            _ if count == 0 => 0,
            Direction::Ascending => span.start + skipped,
            Direction::Descending => span.end - 1 - skipped,
        };
        Walk { start, count, direction }
    }
}

/// Replies with the elements of a range.
fn list(cx: &mut Cx<'_, '_>, args: Args<'_>, by: Option<By>, direction: Option<Direction>) -> Result<(), Error> {
    let mut words = Words { by, direction, scores: Scores::Unwanted, offset: 0, limit: -1 };
    words.read(args, 4)?;
    let request = words.request(args, 2)?;
    let Some(set) = cx.db.read_as::<SortedSet>(args.at(1))? else {
        cx.out.array(0);
        return Ok(());
    };
    let Walk { start, count, direction } = request.walk(set);
    let elements = if request.scores == Scores::Wanted { Elements::with_scores(cx.out) } else { Elements::Members };
    elements.announce(cx.out, count);
    set.range(start, count, direction).for_each(|(member, score)| elements.write(cx.out, member, score));
    Ok(())
}

/// Replies with the number of elements between two bounds.
fn count(cx: &mut Cx<'_, '_>, args: Args<'_>, by: By) -> Result<(), Error> {
    let bounds = Bounds::parse(by, args.at(2), args.at(3))?;
    let set = cx.db.read_as::<SortedSet>(args.at(1))?;
    let count = set.map_or(0, |set| bounds.span(set, Direction::Ascending).len());
    cx.out.int(count as i64);
    Ok(())
}

/// Removes the elements between two bounds and replies with their number.
fn remove(cx: &mut Cx<'_, '_>, args: Args<'_>, by: By, event: &'static str) -> Result<(), Error> {
    let bounds = Bounds::parse(by, args.at(2), args.at(3))?;
    let removed = cx.db.update::<SortedSet, _>(args.at(1), |set| {
        let span = bounds.span(set, Direction::Ascending);
        let removed = set.remove_range(span.start, span.len(), |_, _| {});
        (removed, Change::of(event, removed as u64))
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}
