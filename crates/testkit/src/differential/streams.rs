//! What is generated for streams. Ids come from a few milliseconds, so that commands find each other's entries.
//!
//! Left out is what reads the clock: ids made from the time, idle times (and with them XPENDING of a range), the times of consumers. Rows in which a number could become an idle time are
//! never damaged. Redis 7.2 makes a consumer also when there is nothing to give it, so replies that count consumers are one of the differences that
//! the caller of the test lists.

use super::compare::Rule::Exact;
use super::families::{Row, intact, row};

/// An id that an entry may have.
macro_rules! id {
    () => {
        "('5-0 | '5-1 | '5-2 | '5-3 | '5-4 | '5-5 | '5-8 | '5-12 | '5 | '6-0 | '6-1 | '7-3 | '0 | '9-9)"
    };
}

/// The id of a new entry.
macro_rules! new_id {
    () => {
        "('5-* | '5-* | '5-* | '5-* | '5-* | '5-* | '6-* | '7-3 | '5-30 | '0-* | '0-0 | '8-18446744073709551614)"
    };
}

/// A bound of a range.
macro_rules! bound {
    () => {
        "('- | '+ | '5 | '5-1 | '5-3 | '5-5 | '6 | '0 | '9 | '7-3)"
    };
}

/// A limit and how it is to be kept.
macro_rules! trim {
    () => {
        "(MAXLEN [= | ~] count | MAXLEN ~ count LIMIT count | MINID [= | ~] ('5-2 | '5-6 | '5-20 | '6 | '7) | MINID ~ '6 LIMIT count)"
    };
}

/// A group; the second rarely exists.
macro_rules! group {
    () => {
        "('g | 'g | 'g | 'h)"
    };
}

/// A consumer.
macro_rules! consumer {
    () => {
        "('alice | 'bob | 'carol)"
    };
}

#[rustfmt::skip]
pub(super) const STREAMS: &[Row] = &[
    row(concat!("XADD key ", new_id!(), " (field value)..."), Exact),
    row(concat!("XADD key ", new_id!(), " 'name value 'count integer"), Exact),
    row(concat!("XADD key ", new_id!(), " 'name value 'count integer"), Exact),
    row(concat!("XADD key [NOMKSTREAM] ", trim!(), " ", new_id!(), " 'name value 'count integer"), Exact),
    row("XLEN key", Exact),
    row(concat!("XRANGE key ", bound!(), " ", bound!(), " [COUNT count]"), Exact),
    row(concat!("XREVRANGE key ", bound!(), " ", bound!(), " [COUNT count]"), Exact),
    row(concat!("XDEL key ", id!(), "..."), Exact),
    row(concat!("XTRIM key ", trim!()), Exact),
    row(concat!("XSETID key ", id!(), " [ENTRIESADDED count] [MAXDELETEDID ", id!(), "]"), Exact),
    row(concat!("XREAD [COUNT count] STREAMS key ", id!()), Exact),
    row(concat!("XREAD [COUNT count] STREAMS key key (", id!(), " | '$) ", id!()), Exact),
    row(concat!("XGROUP CREATE key ", group!(), " (", id!(), " | '$) [MKSTREAM] [ENTRIESREAD count]"), Exact),
    row(concat!("XGROUP CREATE key ", group!(), " 0 MKSTREAM"), Exact),
    row(concat!("XGROUP SETID key ", group!(), " (", id!(), " | '$) [ENTRIESREAD count]"), Exact),
    row(concat!("XGROUP DESTROY key ", group!()), Exact),
    row(concat!("XGROUP DELCONSUMER key ", group!(), " ", consumer!()), Exact),
    row(concat!("XREADGROUP GROUP ", group!(), " ", consumer!(), " [COUNT count] [NOACK] STREAMS key (> | > | ", id!(), ")"), Exact),
    row(concat!("XREADGROUP GROUP ", group!(), " ", consumer!(), " [COUNT count] STREAMS key key > (> | ", id!(), ")"), Exact),
    row(concat!("XACK key ", group!(), " ", id!(), "..."), Exact),
    intact(concat!("XCLAIM key ", group!(), " ", consumer!(), " 0 ", id!(), "... [JUSTID] [FORCE] [RETRYCOUNT count] [LASTID ", id!(), "]"), Exact),
    intact(concat!("XAUTOCLAIM key ", group!(), " ", consumer!(), " 0 ", id!(), " [COUNT count] [JUSTID]"), Exact),
    row(concat!("XPENDING key ", group!()), Exact),
    intact("XINFO STREAM key", Exact),
    intact("XINFO GROUPS key", Exact),
    row("OBJECT ENCODING key", Exact),
];
