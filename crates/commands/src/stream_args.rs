//! The arguments of stream commands: ids in all their abbreviations, bounds of ranges, trimming, what happens to references.
//!
//! An id is written `ms-seq`. Where only `ms` is given the place decides which sequence number is meant: the first at the start of a range, the last at its
//! end. The numbers are read as C's `strtoull` reads them, so that whatever Redis takes for an id is one here too.

use redpoll_keyspace::{References, StreamId, Trim, TrimTo};
use redpoll_structures::decimal::{self, I64_TEXT_MAX};
use smallvec::SmallVec;

use crate::args::{Args, before_nul};
use crate::cx::Cx;
use crate::error::{
    Error, INTERVAL_END, INTERVAL_START, INVALID_STREAM_ID, LIMIT_WITHOUT_APPROXIMATION, LIMIT_WITHOUT_TRIMMING,
    MAXLEN_AND_MINID, NUMIDS, NUMIDS_MISMATCH, SYNTAX, TRIM_LIMIT_NEGATIVE, TRIM_MAXLEN_NEGATIVE,
};
use crate::settings::Setting;

/// Longest text that can be an id, bytes.
const ID_TEXT_MAX: usize = 127;
/// Nodes that approximate trimming removes at most, unless LIMIT says otherwise.
const TRIMMED_NODES_MAX: i64 = 100;
/// Entries it removes at most where nodes have no limit of entries.
const TRIMMED_ENTRIES_DEFAULT: u64 = 10_000;
/// Entries it removes at most however large nodes are.
const TRIMMED_ENTRIES_MAX: u64 = 1_000_000;

/// The text of an id.
pub(crate) type IdText = SmallVec<[u8; 64]>;

/// Writes an id as clients know it.
pub(crate) fn id_text(id: StreamId) -> IdText {
    let mut text = IdText::from_slice(decimal::format_u64(id.ms, &mut [0; I64_TEXT_MAX]));
    text.push(b'-');
    text.extend_from_slice(decimal::format_u64(id.seq, &mut [0; I64_TEXT_MAX]));
    text
}

/// Reads a number as `strtoull` does in base ten: space and a sign may come first, a negative number counts down from 2^64.
fn number(text: &[u8]) -> Option<u64> {
    if decimal::parse_i64(text).is_some_and(i64::is_negative) {
        return None;
    }
    let space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|byte| space(byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// An id as it was written.
enum Written {
    /// Both halves.
    Whole(StreamId),
    /// Only the milliseconds.
    Ms(u64),
    /// The milliseconds and `*` for the rest.
    MsAny(u64),
}

fn written(text: &[u8]) -> Option<Written> {
    if text.len() > ID_TEXT_MAX {
        return None;
    }
    let text = before_nul(text);
    let Some(dash) = text.iter().position(|byte| *byte == b'-') else { return number(text).map(Written::Ms) };
    let (ms, seq) = (number(&text[..dash])?, &text[dash + 1..]);
    if seq == b"*" {
        return Some(Written::MsAny(ms));
    }
    number(seq).map(|seq| Written::Whole(StreamId { ms, seq }))
}

/// Reads an id; `seq` is what is meant where it is left out.
fn id_or(text: &[u8], seq: u64) -> Option<StreamId> {
    match written(text)? {
        Written::Whole(id) => Some(id),
        Written::Ms(ms) => Some(StreamId { ms, seq }),
        Written::MsAny(_) => None,
    }
}

/// Reads an id that names an entry.
pub(crate) fn id(text: &[u8]) -> Result<StreamId, Error> {
    id_or(text, 0).ok_or(INVALID_STREAM_ID)
}

/// Reads ids that name entries: all of them or none.
pub(crate) fn ids(texts: &[&[u8]]) -> Result<Vec<StreamId>, Error> {
    texts.iter().map(|text| id(text)).collect()
}

/// Reads an id that may be `-` for the least or `+` for the greatest.
pub(crate) fn id_or_extreme(text: &[u8], seq: u64) -> Result<StreamId, Error> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => id_or(text, seq).ok_or(INVALID_STREAM_ID),
    }
}

/// Reads the start of a range, `(` before it leaves the id itself out.
pub(crate) fn start(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', text @ ..] if !text.is_empty() => id(text)?.next().ok_or(INTERVAL_START),
        text => id_or_extreme(text, 0),
    }
}

/// Reads the end of a range, `(` before it leaves the id itself out.
pub(crate) fn end(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', text @ ..] if !text.is_empty() => {
            id_or(text, u64::MAX).ok_or(INVALID_STREAM_ID)?.previous().ok_or(INTERVAL_END)
        }
        text => id_or_extreme(text, u64::MAX),
    }
}

/// The id of a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewId {
    /// Made from the clock.
    Auto,
    /// The next one of this millisecond.
    AutoSeq(u64),
    /// This one.
    Given(StreamId),
}

impl NewId {
    fn parse(text: &[u8]) -> Result<NewId, Error> {
        match written(text) {
            _ if text == b"*" => Ok(NewId::Auto),
            Some(Written::Whole(id)) => Ok(NewId::Given(id)),
            Some(Written::Ms(ms)) => Ok(NewId::Given(StreamId { ms, seq: 0 })),
            Some(Written::MsAny(ms)) => Ok(NewId::AutoSeq(ms)),
            None => Err(INVALID_STREAM_ID),
        }
    }

    /// Returns the id after `last` at a time, if there is one.
    pub(crate) fn after(self, last: StreamId, now_ms: u64) -> Option<StreamId> {
        match self {
            NewId::Given(id) => Some(id),
            NewId::Auto if now_ms > last.ms => Some(StreamId { ms: now_ms, seq: 0 }),
            NewId::Auto => last.next(),
            NewId::AutoSeq(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId { ms, seq }),
            NewId::AutoSeq(ms) => Some(StreamId { ms, seq: 0 }),
        }
    }
}

/// The options of XADD and XTRIM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddOptions {
    /// What to trim, if anything.
    pub(crate) trim: Option<Trim>,
    /// A stream that does not exist is not created.
    pub(crate) existing_only: bool,
    /// Where the options end: the place of the id in XADD.
    pub(crate) end: usize,
    /// The id of the new entry; XTRIM has none.
    pub(crate) id: Option<NewId>,
}

/// Reads the options of XADD up to the id.
pub(crate) fn add_options(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<AddOptions, Error> {
    let mut trimming = Trimming::default();
    let mut options = AddOptions { trim: None, existing_only: false, end: 2, id: None };
    while options.end < args.len() && options.id.is_none() {
        let at = options.end;
        if let Some(next) = trimming.take(args, at)? {
            options.end = next;
        } else if args.is(at, "NOMKSTREAM") {
            options.existing_only = true;
            options.end += 1;
        } else {
            options.id = Some(NewId::parse(args.at(at))?);
        }
    }
    options.trim = trimming.finish(cx)?;
    Ok(options)
}

/// Reads the options of XTRIM.
pub(crate) fn trim_options(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<Trim, Error> {
    let (mut trimming, mut at) = (Trimming::default(), 2);
    while at < args.len() {
        at = trimming.take(args, at)?.ok_or(SYNTAX)?;
    }
    trimming.finish(cx)?.ok_or(SYNTAX)
}

/// Options of trimming as they come.
#[derive(Default)]
struct Trimming {
    to: Option<TrimTo>,
    approximate: bool,
    limit: Option<u64>,
    references: Option<References>,
}

impl Trimming {
    /// Reads an option at an argument and returns where the next one stands; `None` if it has nothing to do with trimming.
    fn take(&mut self, args: Args<'_>, at: usize) -> Result<Option<usize>, Error> {
        if args.at(at) == b"*" {
            return Ok(None);
        }
        if let Some(references) = references(args.at(at)) {
            let twice = self.references.replace(references).is_some();
            return if twice { Err(SYNTAX) } else { Ok(Some(at + 1)) };
        }
        let (maxlen, minid) = (args.is(at, "MAXLEN"), args.is(at, "MINID"));
        if at + 1 == args.len() || !(maxlen || minid || args.is(at, "LIMIT")) {
            return Ok(None);
        }
        if !maxlen && !minid {
            self.limit = Some(u64::try_from(args.int(at + 1)?).map_err(|_| TRIM_LIMIT_NEGATIVE)?);
            return Ok(Some(at + 2));
        }
        if self.to.is_some() {
            return Err(MAXLEN_AND_MINID);
        }
        let modified = at + 2 < args.len() && matches!(args.at(at + 1), b"~" | b"=");
        self.approximate = modified && args.at(at + 1) == b"~";
        let threshold = at + 1 + usize::from(modified);
        self.to = Some(if maxlen {
            TrimTo::Len(u64::try_from(args.int(threshold)?).map_err(|_| TRIM_MAXLEN_NEGATIVE)?)
        } else {
            TrimTo::Id(id(args.at(threshold))?)
        });
        Ok(Some(threshold + 1))
    }

    /// Checks that the options fit together.
    fn finish(self, cx: &Cx<'_, '_>) -> Result<Option<Trim>, Error> {
        let Some(to) = self.to else {
            return match self.limit {
                None => Ok(None),
                Some(0) => Err(LIMIT_WITHOUT_APPROXIMATION),
                Some(_) => Err(LIMIT_WITHOUT_TRIMMING),
            };
        };
        // A log that redis-server wrote says what it came to, and still names the limit.
        let limit = match self.limit {
            _ if cx.is_replay() => None,
            Some(_) if !self.approximate => return Err(LIMIT_WITHOUT_APPROXIMATION),
            Some(limit) => Some(limit),
            None if self.approximate => Some(default_limit(cx)),
            None => None,
        };
        let limit = limit.filter(|limit| *limit > 0);
        let references = self.references.unwrap_or_default();
        Ok(Some(Trim { to, whole_nodes: self.approximate, limit, references }))
    }
}

fn default_limit(cx: &Cx<'_, '_>) -> u64 {
    let entries = cx.engine.settings.int(Setting::StreamNodeMaxEntries).saturating_mul(TRIMMED_NODES_MAX);
    match u64::try_from(entries) {
        Ok(1..) => entries.unsigned_abs().min(TRIMMED_ENTRIES_MAX),
        _ => TRIMMED_ENTRIES_DEFAULT,
    }
}

/// Reads KEEPREF, DELREF or ACKED.
fn references(word: &[u8]) -> Option<References> {
    const WORDS: [(&str, References); 3] =
        [("KEEPREF", References::Keep), ("DELREF", References::Drop), ("ACKED", References::Needed)];
    WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, references)| *references)
}

/// Reads `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]`, in any order, from an argument on.
pub(crate) fn references_and_ids(args: Args<'_>, from: usize) -> Result<(References, Vec<StreamId>), Error> {
    let (mut found, mut listed, mut at) = (None, None, from);
    while at < args.len() {
        if let Some(references) = references(args.at(at)).filter(|_| found.is_none()) {
            found = Some(references);
            at += 1;
        } else if args.is(at, "IDS") && listed.is_none() {
            let count = args.size_from(at + 1, 1, NUMIDS)?;
            let texts = args.from(at + 2).get(..count).ok_or(NUMIDS_MISMATCH)?;
            listed = Some(ids(texts)?);
            at += 2 + count;
        } else {
            return Err(if listed.is_some() { NUMIDS_MISMATCH } else { SYNTAX });
        }
    }
    Ok((found.unwrap_or_default(), listed.ok_or(SYNTAX)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_redis_takes_for_ids() {
        let cases = [
            (&b"5-3"[..], Some((5, 3))),
            (b"5", Some((5, 0))),
            (b"18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            (b"01-+2", Some((1, 2))),
            (b" 1- 2", Some((1, 2))),
            (b"1--01", Some((1, u64::MAX))),
            (b"1-2\0x", Some((1, 2))),
            (b"1--1", None),
            (b"1-", None),
            (b"-1", None),
            (b"", None),
            (b"+", None),
            (b"1-*", None),
            (b"1-1 ", None),
            (b"18446744073709551616", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(ms, seq)| StreamId { ms, seq });
            assert_eq!(id(text).ok(), expected, "{}", text.escape_ascii());
        }
        assert!(id(&[b'1'; 20]).is_ok() && id(&[b'0'; 127]).is_ok() && id(&[b'0'; 128]).is_err());
    }

    #[test]
    fn bounds_leave_out_and_fill_in() {
        assert_eq!(start(b"(5-3"), Ok(StreamId { ms: 5, seq: 4 }));
        assert_eq!(end(b"(5-0"), Ok(StreamId { ms: 4, seq: u64::MAX }));
        assert_eq!((start(b"7"), end(b"7")), (Ok(StreamId::new(7, 0)), Ok(StreamId::new(7, u64::MAX))));
        assert_eq!((start(b"+"), end(b"-")), (Ok(StreamId::MAX), Ok(StreamId::MIN)));
        assert_eq!((start(b"(+"), start(b"(")), (Err(INVALID_STREAM_ID), Err(INVALID_STREAM_ID)));
        assert_eq!(start(id_text(StreamId::MAX).as_slice()), Ok(StreamId::MAX));
        assert_eq!(start(&[b"(", id_text(StreamId::MAX).as_slice()].concat()), Err(INTERVAL_START));
    }
}
