//! Replies that several families write: elements as the collections hold them.

use redpoll_resp::{Protocol, Writer};
use redpoll_structures::decimal::{self, F64_TEXT_MAX};
use redpoll_structures::packed::Item;

/// Writes an element as a bulk string.
#[inline]
pub(crate) fn item(out: &mut Writer, item: Item<'_>) {
    match item {
        Item::Int(number) => out.bulk_int(number),
        Item::Str(text) => out.bulk(text),
    }
}

/// Writes an element, or null.
#[inline]
pub(crate) fn item_or_null(out: &mut Writer, found: Option<Item<'_>>) {
    match found {
        Some(found) => item(out, found),
        None => out.null(),
    }
}

/// Classifies an element by its text, so that elements of any two collections are equal exactly when their texts are.
#[inline]
pub(crate) fn canonical(item: Item<'_>) -> Item<'_> {
    match item {
        Item::Int(number) => Item::Int(number),
        Item::Str(text) => Item::of(text),
    }
}

/// Writes a score: the shortest digits, laid out as Redis does since 7.2.
#[inline]
pub(crate) fn score(out: &mut Writer, score: f64) {
    out.double_text(decimal::format_f64(score, &mut [0; F64_TEXT_MAX]));
}

/// How elements of a sorted set are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elements {
    /// Members alone.
    Members,
    /// Member, score, member, score, …
    Flat,
    /// An array for each member and its score.
    Nested,
    /// As [`Elements::Flat`], inside an array that is announced already.
    Bare,
}

impl Elements {
    /// Returns how members are listed with their scores: RESP3 has an array for each, RESP2 one for all.
    pub(crate) fn with_scores(out: &Writer) -> Elements {
        if out.protocol() == Protocol::Resp3 { Elements::Nested } else { Elements::Flat }
    }

    /// Announces so many members.
    pub(crate) fn announce(self, out: &mut Writer, count: usize) {
        match self {
            Elements::Members | Elements::Nested => out.array(count),
            Elements::Flat => out.array(2 * count),
            Elements::Bare => {}
        }
    }

    /// Writes one element.
    #[inline]
    pub(crate) fn write(self, out: &mut Writer, member: Item<'_>, value: f64) {
        if self == Elements::Nested {
            out.array(2);
        }
        item(out, member);
        if self != Elements::Members {
            score(out, value);
        }
    }
}
