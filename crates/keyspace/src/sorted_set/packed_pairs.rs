//! A sorted set as one packed block: member, score, member, score, … in order.
//!
//! Every operation is a walk. The scores stand there as text, or as integers where they are whole, in the one spelling of
//! [`decimal::format_f64`], as Redis stores them: a zero has no sign here. Whoever appends in order (scores that are times) finds the place at once.

use std::cmp::Ordering;
use std::ops::Bound;

use redpoll_structures::decimal::{self, F64_TEXT_MAX};
use redpoll_structures::packed::{At, Item, Packed};

/// Reads a score this module wrote.
#[inline]
pub(super) fn score(item: Item<'_>) -> f64 {
    match item {
        Item::Int(number) => number as f64,
        Item::Str(text) => decimal::parse_f64(text).expect("what stands at the place of a score was checked to be one"),
    }
}

/// Reads a score from foreign bytes.
fn checked_score(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(number) => Some(number as f64),
        Item::Str(text) => decimal::parse_f64(text),
    }
}

/// Turns a pair into an element.
#[inline]
pub(super) fn element<'a>((member, found): (Item<'a>, Item<'a>)) -> (Item<'a>, f64) {
    (member, score(found))
}

/// Tells whether one more member of this length stays within the bounds of a packed block.
pub(super) fn fits(packed: &Packed, member_len: usize) -> bool {
    packed.would_fit(member_len + F64_TEXT_MAX + 2 * Packed::MAX_OVERHEAD)
}

/// Tells of foreign bytes whether each element stands behind the one before it; none if a score is no number.
pub(super) fn is_in_order(packed: &Packed) -> Option<bool> {
    let (mut ordered, mut before) = (true, None);
    for (member, score) in packed.pairs() {
        let score = checked_score(score)?;
        ordered = ordered && before.is_none_or(|before| order(before, score, member.text(&mut [0; 20])).is_lt());
        before = Some((member, score));
    }
    Some(ordered)
}

/// Finds a member: where it stands and its score.
#[inline]
pub(super) fn find(packed: &Packed, member: &[u8]) -> Option<(At, f64)> {
    let at = packed.find(member, 1)?;
    Some((at, score_behind(packed, at)))
}

/// Adds an element that stands behind all others.
pub(super) fn push(packed: &mut Packed, member: Item<'_>, score: f64) {
    let mut digits = [0; 20];
    packed.insert_pair(None, member.text(&mut digits), text(score, &mut [0; F64_TEXT_MAX]));
}

/// Adds a member that is absent.
pub(super) fn insert(packed: &mut Packed, member: &[u8], score: f64) {
    let place = place(packed, member, score);
    packed.insert_pair(place, member, text(score, &mut [0; F64_TEXT_MAX]));
}

/// Gives the member at a place another score.
pub(super) fn move_to(packed: &mut Packed, at: At, member: &[u8], score: f64) {
    packed.remove_pair(at);
    insert(packed, member, score);
}

/// Returns the rank of the first element at or above, or above, a score.
pub(super) fn rank_of_score(packed: &Packed, bound: Bound<f64>) -> usize {
    let count = |below: &dyn Fn(f64) -> bool| packed.pairs().take_while(|(_, found)| below(score(*found))).count();
    match bound {
        Bound::Included(bound) => count(&|score| score < bound),
        Bound::Excluded(bound) => count(&|score| score <= bound),
        Bound::Unbounded => 0,
    }
}

/// Returns the rank of the first member at or above, or above, a text.
pub(super) fn rank_of_member(packed: &Packed, bound: Bound<&[u8]>) -> usize {
    let count = |below: &dyn Fn(&[u8]) -> bool| {
        packed.pairs().take_while(|(member, _)| below(member.text(&mut [0; 20]))).count()
    };
    match bound {
        Bound::Included(bound) => count(&|member| member < bound),
        Bound::Excluded(bound) => count(&|member| member <= bound),
        Bound::Unbounded => 0,
    }
}

/// Returns where an element is to be inserted: before this one, or at the end.
fn place(packed: &Packed, member: &[u8], score: f64) -> Option<At> {
    let is_before = |at: At| order((packed.item(at), score_behind(packed, at)), score, member).is_lt();
    let last = packed.last().and_then(|at| packed.prev(at))?;
    if is_before(last) {
        return None;
    }
    let mut at = packed.first()?;
    while is_before(at) {
        at = packed.next(at).and_then(|score| packed.next(score))?;
    }
    Some(at)
}

fn text(score: f64, buf: &mut [u8; F64_TEXT_MAX]) -> &[u8] {
    decimal::format_f64(if score == 0.0 { 0.0 } else { score }, buf)
}

fn score_behind(packed: &Packed, member: At) -> f64 {
    score(packed.item(packed.next(member).expect("every member has a score")))
}

fn order((member, score): (Item<'_>, f64), other_score: f64, other_member: &[u8]) -> Ordering {
    match score.partial_cmp(&other_score).expect("no score is NaN") {
        Ordering::Equal => member.text(&mut [0; 20]).cmp(other_member),
        unequal => unequal,
    }
}
