//! Sorted sets: one packed block of member, score, member, score, … in order while small, a ranked map beyond.
//!
//! The order is by score, then by the bytes of the member. A set leaves its packed form when it has more than `zset-max-listpack-entries` members or a
//! member is longer than `zset-max-listpack-value`, and never returns to it. Ranges are always named by rank: [`SortedSet::rank_of_score`] and
//! [`SortedSet::rank_of_member`] turn the other kinds of bounds into ranks, so there is one way to walk a range and one way to remove it.
//!
//! Scores are never NaN. Zero keeps its sign in a ranked map alone, as in Redis.

mod packed_pairs;
mod range;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Bound;

use redpoll_structures::packed::{Item, Packed};
pub use redpoll_structures::ranked_map::Direction;
use redpoll_structures::ranked_map::RankedMap;
use smallvec::SmallVec;

use crate::Limits;
use crate::member_table::{Selection, all_differ, below};

/// Up to which share of the members a sample is drawn one by one: one in so many.
const SPARSE_SAMPLE: usize = 3;

/// Members up to this length are copied without allocating while a set changes its form, bytes.
const SHORT_MEMBER: usize = 64;

/// A sorted set.
#[derive(Clone, Debug)]
pub enum SortedSet {
    /// Few short members: OBJECT ENCODING says `listpack`. Every second element is a score; foreign bytes come in through
    /// [`SortedSet::from_packed`].
    Packed(Packed),
    /// Any members: `skiplist`, as clients know it.
    Ranked(Box<RankedMap>),
}

impl SortedSet {
    /// Makes an empty sorted set.
    pub fn new() -> SortedSet {
        SortedSet::Packed(Packed::new())
    }

    /// Makes a sorted set of different members that are in order. `seed` must be secret, it goes into a hash function.
    pub fn from_sorted(elements: &[(Item<'_>, f64)], limits: &Limits, seed: u64) -> SortedSet {
        let short = |member: &Item<'_>| member.len() <= limits.zset_max_listpack_value;
        if elements.len() > limits.zset_max_listpack_entries || !elements.iter().all(|(member, _)| short(member)) {
            return SortedSet::ranked(elements.iter().copied(), seed);
        }
        let mut set = Packed::new();
        for &(member, score) in elements {
            if !packed_pairs::fits(&set, member.len()) {
                return SortedSet::ranked(elements.iter().copied(), seed);
            }
            packed_pairs::push(&mut set, member, score);
        }
        SortedSet::Packed(set)
    }

    /// Makes a sorted set of members and scores from foreign bytes; `None` if they are not pairs or a score is no number. What is not in order, or
    /// above the limits, becomes a ranked map; of members that appear twice the last score counts.
    pub fn from_packed(packed: Packed, limits: &Limits, seed: u64) -> Option<SortedSet> {
        if !packed.len().is_multiple_of(2) {
            return None;
        }
        let fits = packed_pairs::is_in_order(&packed)?
            && packed.len() / 2 <= limits.zset_max_listpack_entries
            && packed.pairs().all(|(member, _)| member.len() <= limits.zset_max_listpack_value)
            && all_differ(packed.pairs().map(|(member, _)| member), packed.len() / 2, seed);
        if fits {
            return Some(SortedSet::Packed(packed));
        }
        Some(SortedSet::ranked(packed.pairs().map(packed_pairs::element), seed))
    }

    /// Makes a sorted set of more members than fit into a packed one, fastest if they come in order (either way); of members that appear twice the last
    /// score counts.
    pub(crate) fn of_many<M: AsRef<[u8]>>(elements: impl IntoIterator<Item = (M, f64)>, seed: u64) -> SortedSet {
        SortedSet::Ranked(Box::new(RankedMap::from_sorted(seed, elements)))
    }

    /// Returns the number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            SortedSet::Packed(packed) => packed.len() / 2,
            SortedSet::Ranked(map) => map.len(),
        }
    }

    /// Tells whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            SortedSet::Packed(_) => "listpack",
            SortedSet::Ranked(_) => "skiplist",
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        match self {
            SortedSet::Packed(packed) => packed.heap_size(),
            SortedSet::Ranked(map) => size_of::<RankedMap>() + map.heap_size(),
        }
    }

    /// Returns the score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Packed(packed) => packed_pairs::find(packed, member).map(|(_, score)| score),
            SortedSet::Ranked(map) => map.score(member),
        }
    }

    /// Returns how many members stand before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match self {
            SortedSet::Packed(packed) => packed_pairs::find(packed, member).map(|(at, _)| packed.index_of(at) / 2),
            SortedSet::Ranked(map) => map.rank(member),
        }
    }

    /// Returns the rank of the first member whose score is at or above (`Included`) or above (`Excluded`) a score: the number of members below it.
    /// Zero for `Unbounded`. The ends, which most ranges have on one side, are not looked for.
    pub fn rank_of_score(&self, bound: Bound<f64>) -> usize {
        match bound {
            Bound::Included(f64::NEG_INFINITY) => return 0,
            Bound::Excluded(f64::INFINITY) => return self.len(),
            _ => {}
        }
        match self {
            SortedSet::Packed(packed) => packed_pairs::rank_of_score(packed, bound),
            SortedSet::Ranked(map) => map.rank_of_score(bound),
        }
    }

    /// Returns the rank of the first member that is at or above (`Included`) or above (`Excluded`) a text, in a set whose scores are all equal. Zero for
    /// `Unbounded`. With unequal scores the answer means nothing.
    pub fn rank_of_member(&self, bound: Bound<&[u8]>) -> usize {
        match self {
            SortedSet::Packed(packed) => packed_pairs::rank_of_member(packed, bound),
            SortedSet::Ranked(map) => map.rank_of_member(bound),
        }
    }

    /// Prepares for so many members, `first` and others, that may all be new: a set they would make too large for the packed form becomes a ranked map at
    /// once. `seed` must be secret, it goes into a hash function.
    #[inline]
    pub fn reserve(&mut self, first: &[u8], members: usize, limits: &Limits, seed: u64) {
        if let SortedSet::Packed(packed) = self
            && (members > limits.zset_max_listpack_entries
                || (packed.is_empty() && first.len() > limits.zset_max_listpack_value))
        {
            self.map(seed);
        }
    }

    /// Sets the score of a member, which is added if absent; returns the score it had. `seed` must be secret, it goes into a hash function.
    ///
    /// # Panics
    /// If the score is NaN.
    #[inline]
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits, seed: u64) -> Option<f64> {
        match self {
            SortedSet::Ranked(map) => map.insert(member, score),
            SortedSet::Packed(packed) => {
                assert!(!score.is_nan(), "a score is a number");
                if let Some((at, old)) = packed_pairs::find(packed, member) {
                    if old != score {
                        packed_pairs::move_to(packed, at, member, score);
                    }
                    return Some(old);
                }
                if packed.len() / 2 < limits.zset_max_listpack_entries
                    && member.len() <= limits.zset_max_listpack_value
                    && packed_pairs::fits(packed, member.len())
                {
                    packed_pairs::insert(packed, member, score);
                    return None;
                }
                self.map(seed).insert(member, score)
            }
        }
    }

    /// Removes a member and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Packed(packed) => {
                let (at, score) = packed_pairs::find(packed, member)?;
                packed.remove_pair(at);
                Some(score)
            }
            SortedSet::Ranked(map) => map.remove(member),
        }
    }

    /// Removes the members with the ranks from `start` on, at most `count`, showing each in order; returns how many there were.
    pub fn remove_range(&mut self, start: usize, count: usize, mut removed: impl FnMut(Item<'_>, f64)) -> usize {
        let count = count.min(self.len().saturating_sub(start));
        if count == 0 {
            return 0;
        }
        match self {
            SortedSet::Packed(packed) => {
                let pairs = packed.pairs().skip(start).take(count);
                pairs.map(packed_pairs::element).for_each(|(member, score)| removed(member, score));
                packed.remove_range(2 * start, 2 * count);
                count
            }
            SortedSet::Ranked(map) => map.remove_range(start, count, |member, score| removed(Item::Str(member), score)),
        }
    }

    /// Visits some members, about `count`, from a cursor on and returns the cursor to go on from; zero begins and zero ends. A packed set is visited as
    /// a whole.
    pub fn scan(&self, mut cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>, f64)) -> u64 {
        /// Buckets visited per wanted member, so that a sparse table cannot hold a caller up.
        const BUCKETS_PER_MEMBER: usize = 10;
        let SortedSet::Ranked(map) = self else {
            self.iter().for_each(|(member, score)| visit(member, score));
            return 0;
        };
        let mut seen = 0;
        for _ in 0..count.saturating_mul(BUCKETS_PER_MEMBER).max(1) {
            cursor = map.scan(cursor, |member, score| {
                seen += 1;
                visit(Item::Str(member), score);
            });
            if cursor == 0 || seen >= count {
                break;
            }
        }
        cursor
    }

    /// Visits `count` members chosen at random, each independently of the others; none of an empty set.
    pub fn choose(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(Item<'_>, f64)) {
        match self {
            _ if self.is_empty() => {}
            SortedSet::Packed(packed) => {
                let elements: Vec<_> = packed.pairs().map(packed_pairs::element).collect();
                for _ in 0..count {
                    let (member, score) = elements[below(random(), elements.len())];
                    visit(member, score);
                }
            }
            SortedSet::Ranked(map) => {
                let chosen = (0..count).map_while(|_| map.random(random()));
                chosen.for_each(|(member, score)| visit(Item::Str(member), score));
            }
        }
    }

    /// Visits `count` different members chosen at random, all of them if there are no more.
    pub fn sample(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(Item<'_>, f64)) {
        match self {
            SortedSet::Ranked(map) if count < self.len() / SPARSE_SAMPLE => {
                // Floyd's algorithm: exactly `count` draws, every choice of ranks equally likely.
                let mut chosen = HashSet::with_capacity(count);
                for last in map.len() - count..map.len() {
                    let drawn = below(random(), last + 1);
                    let rank = if chosen.insert(drawn) { drawn } else { last };
                    chosen.insert(rank);
                    let (member, score) = map.at(rank).expect("ranks below the length exist");
                    visit(Item::Str(member), score);
                }
            }
            _ => {
                let mut selection = Selection::new(count, self.len());
                let chosen = self.iter().filter(|_| selection.takes(&mut random));
                chosen.for_each(|(member, score)| visit(member, score));
            }
        }
    }

    /// Returns the ranked map, into which a packed set is turned.
    fn map(&mut self, seed: u64) -> &mut RankedMap {
        if let SortedSet::Packed(packed) = self {
            *self = SortedSet::ranked(packed.pairs().map(packed_pairs::element), seed);
        }
        match self {
            SortedSet::Ranked(map) => map,
            SortedSet::Packed(_) => unreachable!("it was just turned into a ranked map"),
        }
    }

    fn ranked<'a>(elements: impl Iterator<Item = (Item<'a>, f64)>, seed: u64) -> SortedSet {
        let text = |member: Item<'_>| SmallVec::<[u8; SHORT_MEMBER]>::from_slice(member.text(&mut [0; 20]));
        SortedSet::of_many(elements.map(|(member, score)| (text(member), score)), seed)
    }
}

impl Default for SortedSet {
    fn default() -> SortedSet {
        SortedSet::new()
    }
}
