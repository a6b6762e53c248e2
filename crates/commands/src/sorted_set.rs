//! Sorted sets, member by member; ranges are in `sorted_set_range.rs`, what combines several in `sorted_set_algebra.rs`, popping in `sorted_set_pop.rs` and
//! waiting for members in `sorted_set_blocking.rs`.
//!
//! Sums of scores are sums of 64-bit floats, the same on every machine, so increments are logged as they came.

use redpoll_keyspace::{Change, Direction, Limits, SortedSet};
use redpoll_resp::Writer;
use redpoll_structures::decimal::{self, F64_TEXT_MAX, I64_TEXT_MAX};
use smallvec::SmallVec;

use crate::args::Args;
use crate::command::{BLOCKING, Command, DENYOOM, FAST, Family, Keys, NOSCRIPT, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{
    Error, OUT_OF_LONG_RANGE, SCORE_NOT_A_NUMBER, SYNTAX, VALUE_OUT_OF_RANGE, ZADD_GT_LT_NX, ZADD_INCR_SINGLE,
    ZADD_NX_AND_XX, wrong_arity,
};
use crate::key_spec::{ACCESS, DELETE, OW, RO, RW, UPDATE};
use crate::reply::{self, Elements};
use crate::scan::{self, ScanOptions, Scanned};
use crate::sorted_set_algebra::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use crate::sorted_set_blocking::{bzmpop, bzpopmax, bzpopmin};
use crate::sorted_set_pop::{zmpop, zpopmax, zpopmin};
use crate::sorted_set_range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]", bzmpop, WRITE | BLOCKING, "7.0.0", "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.", "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("BZPOPMAX key [key ...] timeout", bzpopmax, WRITE | NOSCRIPT | BLOCKING | FAST, "5.0.0", "O(log(N)) with N being the number of elements in the sorted set.", "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("BZPOPMIN key [key ...] timeout", bzpopmin, WRITE | NOSCRIPT | BLOCKING | FAST, "5.0.0", "O(log(N)) with N being the number of elements in the sorted set.", "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]", zadd, WRITE | DENYOOM | FAST, "1.2.0", "O(log(N)) for each item added, where N is the number of elements in the sorted set.", "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist."),
    cmd("ZCARD key", zcard, READONLY | FAST, "1.2.0", "O(1)", "Returns the number of members in a sorted set.").uses(&[RO]),
    cmd("ZCOUNT key min max", zcount, READONLY | FAST, "2.0.0", "O(log(N)) with N being the number of elements in the sorted set.", "Returns the count of members in a sorted set that have scores within a range."),
    cmd("ZDIFF numkeys key [key ...] [WITHSCORES]", zdiff, READONLY, "6.2.0", "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.", "Returns the difference between multiple sorted sets."),
    cmd("ZDIFFSTORE destination numkeys key [key ...]", zdiffstore, WRITE | DENYOOM, "6.2.0", "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.", "Stores the difference of multiple sorted sets in a key.").uses(&[OW | UPDATE, RO | ACCESS]),
    cmd("ZINCRBY key increment member", zincrby, WRITE | DENYOOM | FAST, "1.2.0", "O(log(N)) where N is the number of elements in the sorted set.", "Increments the score of a member in a sorted set.").uses(&[RW | ACCESS | UPDATE]),
    cmd("ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", zinter, READONLY, "6.2.0", "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.", "Returns the intersect of multiple sorted sets."),
    cmd("ZINTERCARD numkeys key [key ...] [LIMIT limit]", zintercard, READONLY, "7.0.0", "O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.", "Returns the number of members of the intersect of multiple sorted sets."),
    cmd("ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]", zinterstore, WRITE | DENYOOM, "2.0.0", "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.", "Stores the intersect of multiple sorted sets in a key.").uses(&[OW | UPDATE, RO | ACCESS]),
    cmd("ZLEXCOUNT key min max", zlexcount, READONLY | FAST, "2.8.9", "O(log(N)) with N being the number of elements in the sorted set.", "Returns the number of members in a sorted set within a lexicographical range."),
    cmd("ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]", zmpop, WRITE, "7.0.0", "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.", "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last member was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("ZMSCORE key member [member ...]", zmscore, READONLY | FAST, "6.2.0", "O(N) where N is the number of members being requested.", "Returns the score of one or more members in a sorted set."),
    cmd("ZPOPMAX key [count]", zpopmax, WRITE | FAST, "5.0.0", "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.", "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("ZPOPMIN key [count]", zpopmin, WRITE | FAST, "5.0.0", "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.", "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("ZRANDMEMBER key [count [WITHSCORES]]", zrandmember, READONLY, "6.2.0", "O(N) where N is the number of members returned", "Returns one or more random members from a sorted set."),
    cmd("ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]", zrange, READONLY, "1.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.", "Returns members in a sorted set within a range of indexes."),
    cmd("ZRANGEBYLEX key min max [LIMIT offset count]", zrangebylex, READONLY, "2.8.9", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Returns members in a sorted set within a lexicographical range."),
    cmd("ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]", zrangebyscore, READONLY, "1.0.5", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Returns members in a sorted set within a range of scores."),
    cmd("ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]", zrangestore, WRITE | DENYOOM, "6.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.", "Stores a range of members from sorted set in a key.").keys(Keys::Range { first: 1, last: 2, step: 1 }).uses(&[OW | UPDATE, RO | ACCESS]),
    cmd("ZRANK key member [WITHSCORE]", zrank, READONLY | FAST, "2.0.0", "O(log(N))", "Returns the index of a member in a sorted set ordered by ascending scores."),
    cmd("ZREM key member [member ...]", zrem, WRITE | FAST, "1.2.0", "O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.", "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.").uses(&[RW | DELETE]),
    cmd("ZREMRANGEBYLEX key min max", zremrangebylex, WRITE, "2.8.9", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.", "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.").uses(&[RW | DELETE]),
    cmd("ZREMRANGEBYRANK key start stop", zremrangebyrank, WRITE, "2.0.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.", "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.").uses(&[RW | DELETE]),
    cmd("ZREMRANGEBYSCORE key min max", zremrangebyscore, WRITE, "1.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.", "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.").uses(&[RW | DELETE]),
    cmd("ZREVRANGE key start stop [WITHSCORES]", zrevrange, READONLY, "1.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.", "Returns members in a sorted set within a range of indexes in reverse order."),
    cmd("ZREVRANGEBYLEX key max min [LIMIT offset count]", zrevrangebylex, READONLY, "2.8.9", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Returns members in a sorted set within a lexicographical range in reverse order."),
    cmd("ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]", zrevrangebyscore, READONLY, "2.2.0", "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).", "Returns members in a sorted set within a range of scores in reverse order."),
    cmd("ZREVRANK key member [WITHSCORE]", zrevrank, READONLY | FAST, "2.0.0", "O(log(N))", "Returns the index of a member in a sorted set ordered by descending scores."),
    cmd("ZSCAN key cursor [MATCH pattern] [COUNT count]", zscan, READONLY, "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over members and scores of a sorted set."),
    cmd("ZSCORE key member", zscore, READONLY | FAST, "1.2.0", "O(1)", "Returns the score of a member in a sorted set."),
    cmd("ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", zunion, READONLY, "6.2.0", "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.", "Returns the union of multiple sorted sets."),
    cmd("ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]", zunionstore, WRITE | DENYOOM, "2.0.0", "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.", "Stores the union of multiple sorted sets in a key.").uses(&[OW | UPDATE, RO | ACCESS]),
];

/// Sorted sets.
pub(crate) const FAMILY: Family = Family { group: "sorted-set", commands: COMMANDS };

/// Most members that ZRANDMEMBER chooses with repetition; a sorted set itself bounds how many it chooses without.
const CHOICES_MAX: usize = 1 << 24;

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
fn zadd(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (options, first) = AddOptions::parse(args)?;
    let mut elements = SmallVec::<[(&[u8], f64); 8]>::new();
    for at in (first..args.len()).step_by(2) {
        elements.push((args.at(at + 1), args.float(at)?));
    }
    add(cx, args.at(1), options, &elements)
}

/// ZCARD key
fn zcard(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let len = cx.db.read_as::<SortedSet>(args.at(1))?.map_or(0, SortedSet::len);
    cx.out.int(len as i64);
    Ok(())
}

/// ZINCRBY key increment member
fn zincrby(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = AddOptions { incr: true, ..AddOptions::default() };
    add(cx, args.at(1), options, &[(args.at(3), args.float(2)?)])
}

/// ZMSCORE key member [member ...]
fn zmscore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (set, members) = (cx.db.read_as::<SortedSet>(args.at(1))?, args.from(2));
    cx.out.array(members.len());
    for member in members {
        score_or_null(cx.out, set.and_then(|set| set.score(member)));
    }
    Ok(())
}

/// ZRANDMEMBER key [count [WITHSCORES]]
fn zrandmember(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let engine = cx.engine;
    let random = || engine.random();
    if args.len() == 2 {
        match cx.db.read_as::<SortedSet>(args.at(1))? {
            Some(set) => set.choose(1, random, |member, _| reply::item(cx.out, member)),
            None => cx.out.null(),
        }
        return Ok(());
    }
    let count = args.int_in(2, -i64::MAX..=i64::MAX, OUT_OF_LONG_RANGE)?;
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "WITHSCORES")) {
        return Err(SYNTAX);
    }
    let elements = if args.len() == 4 { Elements::with_scores(cx.out) } else { Elements::Members };
    let wanted = usize::try_from(count.unsigned_abs()).map_err(|_| VALUE_OUT_OF_RANGE)?;
    if args.len() == 4 && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(VALUE_OUT_OF_RANGE);
    }
    let Some(set) = cx.db.read_as::<SortedSet>(args.at(1))? else {
        cx.out.array(0);
        return Ok(());
    };
    if count < 0 && wanted > CHOICES_MAX {
        return Err(VALUE_OUT_OF_RANGE);
    }
    let chosen = if count < 0 { wanted } else { wanted.min(set.len()) };
    elements.announce(cx.out, chosen);
    if count < 0 {
        set.choose(chosen, random, |member, score| elements.write(cx.out, member, score));
    } else {
        set.sample(chosen, random, |member, score| elements.write(cx.out, member, score));
    }
    Ok(())
}

/// ZRANK key member [WITHSCORE]
fn zrank(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_rank(cx, args, Direction::Ascending, "zrank")
}

/// ZREM key member [member ...]
fn zrem(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let removed = cx.db.update::<SortedSet, _>(args.at(1), |set| {
        let removed = args.from(2).iter().filter(|member| set.remove(member).is_some()).count();
        (removed, Change::of("zrem", removed as u64))
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// ZREVRANK key member [WITHSCORE]
fn zrevrank(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    reply_rank(cx, args, Direction::Descending, "zrevrank")
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
fn zscan(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args.at(2))?;
    let mut found = Writer::new(cx.out.protocol());
    let (mark, mut count, mut next) = (found.begin_array(), 0, 0);
    if let Some(set) = cx.db.read_as::<SortedSet>(args.at(1))? {
        let options = ScanOptions::parse(args, 3, Scanned::Members)?;
        let mut buf = [0; I64_TEXT_MAX];
        next = set.scan(cursor, options.count, |member, score| {
            let text = member.text(&mut buf);
            if options.admits(text) {
                found.bulk(text);
                // A string in either protocol, unlike every other score.
                found.bulk(decimal::format_f64(score, &mut [0; F64_TEXT_MAX]));
                count += 2;
            }
        });
    }
    found.end_array(mark, count);
    scan::reply(cx.out, next, &found);
    Ok(())
}

/// ZSCORE key member
fn zscore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let score = cx.db.read_as::<SortedSet>(args.at(1))?.and_then(|set| set.score(args.at(2)));
    score_or_null(cx.out, score);
    Ok(())
}

/// What stands between the key and the scores of ZADD.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AddOptions {
    pub(crate) nx: bool,
    pub(crate) xx: bool,
    gt: bool,
    lt: bool,
    pub(crate) ch: bool,
    incr: bool,
}

impl AddOptions {
    /// Reads the options; also returns where the first score stands.
    fn parse(args: Args<'_>) -> Result<(AddOptions, usize), Error> {
        let mut options = AddOptions::default();
        let mut at = 2;
        loop {
            let option = match () {
                () if args.is(at, "NX") => &mut options.nx,
                () if args.is(at, "XX") => &mut options.xx,
                () if args.is(at, "GT") => &mut options.gt,
                () if args.is(at, "LT") => &mut options.lt,
                () if args.is(at, "CH") => &mut options.ch,
                () if args.is(at, "INCR") => &mut options.incr,
                () => break,
            };
            *option = true;
            at += 1;
        }
        let left = args.len() - at;
        if left == 0 || !left.is_multiple_of(2) {
            return Err(SYNTAX);
        }
        if options.nx && options.xx {
            return Err(ZADD_NX_AND_XX);
        }
        if (options.nx && (options.gt || options.lt)) || (options.gt && options.lt) {
            return Err(ZADD_GT_LT_NX);
        }
        if options.incr && left > 2 {
            return Err(ZADD_INCR_SINGLE);
        }
        Ok((options, at))
    }

    /// Tells whether every score is to be set as it is.
    fn set_all(self) -> bool {
        self == AddOptions { ch: self.ch, ..AddOptions::default() }
    }
}

/// What became of one member.
enum Added {
    New,
    Changed,
    Same,
    Refused,
}

/// Adds members or changes their scores, and replies.
pub(crate) fn add(
    cx: &mut Cx<'_, '_>,
    key: &[u8],
    options: AddOptions,
    elements: &[(&[u8], f64)],
) -> Result<(), Error> {
    let (limits, seed) = (cx.limits(), cx.db.hash_seed());
    let event = if options.incr { "zincr" } else { "zadd" };
    let (mut new, mut changed, mut sum) = (0, 0, None);
    cx.db.update_or_create::<SortedSet, _>(key, |set| {
        set.reserve(elements[0].0, elements.len(), &limits, seed);
        for &(member, score) in elements {
            match put(set, member, score, options, (&limits, seed)) {
                // Only an increment fails, and it stands alone: nothing has changed yet.
                Err(error) => return (Err(error), Change::NONE),
                Ok((Added::Refused, _)) => {}
                Ok((added, score)) => {
                    sum = Some(score);
                    new += u64::from(matches!(added, Added::New));
                    changed += u64::from(matches!(added, Added::Changed));
                }
            }
        }
        (Ok(()), Change::of(event, new + changed))
    })??;
    match sum {
        _ if !options.incr => cx.out.int(if options.ch { new + changed } else { new } as i64),
        sum => score_or_null(cx.out, sum),
    }
    Ok(())
}

/// Adds one member or changes its score; returns the score it has then.
fn put(
    set: &mut SortedSet,
    member: &[u8],
    score: f64,
    options: AddOptions,
    (limits, seed): (&Limits, u64),
) -> Result<(Added, f64), Error> {
    if options.set_all() {
        return Ok(match set.insert(member, score, limits, seed) {
            None => (Added::New, score),
            Some(old) if old == score => (Added::Same, old),
            Some(_) => (Added::Changed, score),
        });
    }
    let Some(old) = set.score(member) else {
        if options.xx {
            return Ok((Added::Refused, score));
        }
        set.insert(member, score, limits, seed);
        return Ok((Added::New, score));
    };
    if options.nx {
        return Ok((Added::Refused, old));
    }
    let score = if options.incr { old + score } else { score };
    if score.is_nan() {
        return Err(SCORE_NOT_A_NUMBER);
    }
    if (options.gt && score <= old) || (options.lt && score >= old) {
        return Ok((Added::Refused, old));
    }
    if score == old {
        return Ok((Added::Same, score));
    }
    set.insert(member, score, limits, seed);
    Ok((Added::Changed, score))
}

/// ZRANK and ZREVRANK: key, member, maybe WITHSCORE.
fn reply_rank(cx: &mut Cx<'_, '_>, args: Args<'_>, direction: Direction, command: &str) -> Result<(), Error> {
    if args.len() > 4 {
        return Err(wrong_arity(command));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "WITHSCORE") {
        return Err(SYNTAX);
    }
    let (set, member) = (cx.db.read_as::<SortedSet>(args.at(1))?, args.at(2));
    let found = set.and_then(|set| {
        let rank = set.rank(member)?;
        let rank = if direction == Direction::Ascending { rank } else { set.len() - 1 - rank };
        Some((rank, if with_score { set.score(member) } else { None }))
    });
    match found {
        None if with_score => cx.out.null_array(),
        None => cx.out.null(),
        Some((rank, None)) => cx.out.int(rank as i64),
        Some((rank, Some(score))) => {
            cx.out.array(2);
            cx.out.int(rank as i64);
            reply::score(cx.out, score);
        }
    }
    Ok(())
}

fn score_or_null(out: &mut Writer, score: Option<f64>) {
    match score {
        Some(score) => reply::score(out, score),
        None => out.null(),
    }
}
