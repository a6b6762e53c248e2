//! What SCAN, HSCAN, SSCAN and ZSCAN have in common: the cursor and the options behind it.
//!
//! A cursor is whatever number the server gave last; zero begins. Clients send it back as text, and what Redis takes for a number there is more than
//! digits (a sign, an empty text), so it is read here in one place. The options come in any order and the last of a kind counts.

use redpoll_resp::Writer;
use redpoll_structures::{decimal, glob};

use crate::args::Args;
use crate::error::{Error, INVALID_CURSOR, SYNTAX};

/// Elements a scan visits unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;

/// What is scanned, which decides what options there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// The keys of a database: TYPE can filter them.
    Keys,
    /// The members of a value.
    Members,
    /// The fields of a hash: NOVALUES leaves out their values.
    Fields,
}

/// The options of a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanOptions<'a> {
    /// MATCH, unless it is the pattern that matches everything.
    pattern: Option<&'a [u8]>,
    /// COUNT.
    pub(crate) count: usize,
    /// TYPE, in any case.
    pub(crate) type_name: Option<&'a [u8]>,
    /// NOVALUES was not given.
    pub(crate) values: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads `[MATCH pattern] [COUNT count] [TYPE type] [NOVALUES]` from an argument on.
    pub(crate) fn parse(args: Args<'a>, from: usize, scanned: Scanned) -> Result<ScanOptions<'a>, Error> {
        let mut options = ScanOptions { pattern: None, count: COUNT_DEFAULT, type_name: None, values: true };
        let mut at = from;
        while at < args.len() {
            if args.is(at, "NOVALUES") && scanned == Scanned::Fields {
                options.values = false;
                at += 1;
                continue;
            }
            let value = args.optional(at + 1).ok_or(SYNTAX)?;
            if args.is(at, "MATCH") {
                options.pattern = (value != b"*").then_some(value);
            } else if args.is(at, "COUNT") {
                options.count = usize::try_from(args.int(at + 1)?).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
            } else if args.is(at, "TYPE") && scanned == Scanned::Keys {
                options.type_name = Some(value);
            } else {
                return Err(SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }

    /// Tells whether an element passes MATCH.
    #[inline]
    pub(crate) fn admits(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element))
    }
}

/// Reads a cursor as `strtoul` would: digits with an optional sign, a negative number counting down from 2^64, nothing at all being zero.
pub(crate) fn cursor(arg: &[u8]) -> Result<u64, Error> {
    let (negative, digits) = match arg {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() && !arg.is_empty() {
        return Err(INVALID_CURSOR);
    }
    let mut value = 0_u64;
    for byte in digits {
        let digit = char::from(*byte).to_digit(10).ok_or(INVALID_CURSOR)?;
        value = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit))).ok_or(INVALID_CURSOR)?;
    }
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// Replies with the cursor to go on from and with what was found: an array that is written already, because only then the cursor is known.
pub(crate) fn reply(out: &mut Writer, next: u64, found: &Writer) {
    out.array(2);
    out.bulk(decimal::format_u64(next, &mut [0; decimal::I64_TEXT_MAX]));
    out.raw(found.as_slice());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_what_strtoul_takes() {
        for (text, value) in [("0", 0), ("", 0), ("17", 17), ("+5", 5), ("-1", u64::MAX), ("007", 7)] {
            assert_eq!(cursor(text.as_bytes()), Ok(value), "{text:?}");
        }
        assert_eq!(cursor(b"18446744073709551615"), Ok(u64::MAX));
        for text in ["x", " 1", "1 ", "-", "+", "0x10", "18446744073709551616", "--1"] {
            assert_eq!(cursor(text.as_bytes()), Err(INVALID_CURSOR), "{text:?}");
        }
    }

    #[test]
    fn the_last_option_of_a_kind_counts() {
        let words: Vec<&[u8]> = "SCAN 0 COUNT 5 match a* COUNT 7 match b*".split(' ').map(str::as_bytes).collect();
        let options = ScanOptions::parse(Args(&words), 2, Scanned::Members).expect("the options are right");
        assert_eq!(options.count, 7);
        assert!(options.admits(b"bc") && !options.admits(b"ac"));
    }

    #[test]
    fn only_hashes_can_leave_out_values() {
        let words: [&[u8]; 5] = [b"HSCAN", b"0", b"NOVALUES", b"COUNT", b"3"];
        let options = ScanOptions::parse(Args(&words), 2, Scanned::Fields).expect("the options are right");
        assert_eq!((options.values, options.count), (false, 3));
        assert!(ScanOptions::parse(Args(&words[..2]), 2, Scanned::Fields).expect("none are right, too").values);
        assert_eq!(ScanOptions::parse(Args(&words), 2, Scanned::Members).expect_err("sets have no values"), SYNTAX);
    }

    #[test]
    fn the_star_admits_the_empty_element_too() {
        let words: [&[u8]; 4] = [b"SCAN", b"0", b"MATCH", b"*"];
        assert!(ScanOptions::parse(Args(&words), 2, Scanned::Keys).expect("the options are right").admits(b""));
    }
}
