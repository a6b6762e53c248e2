//! Bitmaps: strings as arrays of bits; the fields of BITFIELD are in `bitfield.rs`.
//!
//! Bit 0 is the highest bit of the first byte. A string grows with zeros to the last bit written, up to proto-max-bulk-len. Nothing is counted or logged as a
//! change where all bits stay as they were.

use std::ops::Range;

use redpoll_keyspace::{Change, EventClass, Expiry};
use redpoll_structures::{bits, decimal};

use crate::args::{Args, int};
use crate::bitfield::{bitfield, bitfield_ro, bitfield_uses};
use crate::command::{Command, DENYOOM, FAST, Family, Keys, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{BIT_ARGUMENT, BIT_OFFSET, BIT_VALUE, BITOP_NOT_SINGLE, Error, SYNTAX, bitop_needs_two};
use crate::key_spec::{ACCESS, OW, RO, RW, UPDATE};

/// The operation stands before the keys.
const AFTER_OPERATION: Keys = Keys::Range { first: 2, last: -1, step: 1 };

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("BITCOUNT key [start end [BYTE | BIT]]", bitcount, READONLY, "2.6.0", "O(N)", "Counts the number of set bits (population counting) in a string."),
    cmd("BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> ...]]", bitfield, WRITE | DENYOOM, "3.2.0", "O(1) for each subcommand specified", "Performs arbitrary bitfield integer operations on strings.").varies(RW | ACCESS | UPDATE, bitfield_uses),
    cmd("BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]", bitfield_ro, READONLY | FAST, "6.0.0", "O(1) for each subcommand specified", "Performs arbitrary read-only bitfield integer operations on strings."),
    cmd("BITOP <AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]", bitop, WRITE | DENYOOM, "2.6.0", "O(N)", "Performs bitwise operations on multiple strings, and stores the result.").keys(AFTER_OPERATION).uses(&[OW | UPDATE, RO | ACCESS]),
    cmd("BITPOS key bit [start [end [BYTE | BIT]]]", bitpos, READONLY, "2.8.7", "O(N)", "Finds the first set (1) or clear (0) bit in a string."),
    cmd("GETBIT key offset", getbit, READONLY | FAST, "2.2.0", "O(1)", "Returns a bit value by offset."),
    cmd("SETBIT key offset value", setbit, WRITE | DENYOOM, "2.2.0", "O(1)", "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.").uses(&[RW | ACCESS | UPDATE]),
];

/// Bitmaps.
pub(crate) const FAMILY: Family = Family { group: "bitmap", commands: COMMANDS };

/// BITCOUNT key [start end [BYTE | BIT]]
fn bitcount(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut buf = [0; 20];
    let Some(text) = cx.db.read_text(args.at(1))? else {
        cx.out.int(0);
        return Ok(());
    };
    let bytes = text.bytes(&mut buf);
    let range = match args.len() {
        2 => Some(0..bytes.len() as u64 * 8),
        4 | 5 => {
            let (start, end) = (args.int(2)?, args.int(3)?);
            // Two places before the beginning of a short string are clamped to the same; in the wrong order they still name nothing.
            let backwards = start < 0 && end < 0 && start > end;
            if backwards { None } else { Unit::of(args, 4)?.range(start, end, bytes.len()) }
        }
        _ => return Err(SYNTAX),
    };
    cx.out.int(range.map_or(0, |range| bits::count(bytes, range)) as i64);
    Ok(())
}

/// BITOP <AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]
fn bitop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let operation = Operation::of(args.at(1))?;
    let (destination, sources) = (args.at(2), args.from(3));
    operation.check(sources.len())?;
    let mut texts: Vec<Vec<u8>> = Vec::with_capacity(sources.len());
    for source in sources {
        let found = cx.db.read_text(source)?;
        texts.push(found.map_or_else(Vec::new, |text| text.bytes(&mut [0; 20]).to_vec()));
    }
    let result = operation.apply(texts);
    if !result.is_empty() {
        cx.db.set_raw_text(destination, &result, Expiry::Clear);
        cx.db.notify(EventClass::String, "set", destination);
    } else if cx.db.remove(destination).is_some() {
        cx.db.notify(EventClass::Generic, "del", destination);
    }
    cx.out.int(result.len() as i64);
    Ok(())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
fn bitpos(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let set = match args.int(2)? {
        0 => false,
        1 => true,
        _ => return Err(BIT_ARGUMENT),
    };
    let mut buf = [0; 20];
    let Some(text) = cx.db.read_text(args.at(1))? else {
        cx.out.int(if set { -1 } else { 0 });
        return Ok(());
    };
    let bytes = text.bytes(&mut buf);
    if args.len() > 6 {
        return Err(SYNTAX);
    }
    let start = args.optional(3).map_or(Ok(0), int)?;
    let unit = Unit::of(args, 5)?;
    let end = args.optional(4).map(int).transpose()?;
    let range = unit.range(start, end.unwrap_or(-1), bytes.len());
    let found = range.and_then(|range| {
        // Without an end the string goes on with zeros for ever.
        let beyond = (!set && end.is_none()).then_some(range.end);
        bits::position(bytes, range, set).or(beyond)
    });
    cx.out.int(found.map_or(-1, |position| position as i64));
    Ok(())
}

/// GETBIT key offset
fn getbit(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let offset = bit_offset(cx, args.at(2), None)?;
    let mut buf = [0; 20];
    let text = cx.db.read_text(args.at(1))?;
    let bit = text.map_or(0, |text| bits::field(text.bytes(&mut buf), offset, 1));
    cx.out.int(bit as i64);
    Ok(())
}

/// SETBIT key offset value
fn setbit(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let offset = bit_offset(cx, args.at(2), None)?;
    let bit = decimal::parse_i64(args.at(3)).filter(|bit| matches!(bit, 0 | 1)).ok_or(BIT_VALUE)?;
    let before = cx.db.update_text(args.at(1), |bytes| {
        let grown = grow(bytes, offset);
        let before = bits::field(bytes, offset, 1);
        bits::set_field(bytes, offset, 1, bit as u64);
        (before, Change::of("setbit", u64::from(grown || before != bit as u64)))
    })?;
    cx.out.int(before as i64);
    Ok(())
}

/// Reads the offset of a bit. With a width it may be `#n`, the n-th field of so many bits.
pub(crate) fn bit_offset(cx: &Cx<'_, '_>, arg: &[u8], width: Option<u32>) -> Result<u64, Error> {
    let max_bytes = crate::string::longest(cx) as u64;
    let offset = match (width, arg.strip_prefix(b"#")) {
        (Some(width), Some(index)) => decimal::parse_i64(index).and_then(|index| index.checked_mul(i64::from(width))),
        _ => decimal::parse_i64(arg),
    };
    offset.and_then(|offset| u64::try_from(offset).ok()).filter(|offset| offset / 8 < max_bytes).ok_or(BIT_OFFSET)
}

/// Makes a string long enough for a bit; tells whether it was not.
pub(crate) fn grow(bytes: &mut Vec<u8>, offset: u64) -> bool {
    let len = (offset / 8) as usize + 1;
    let grows = bytes.len() < len;
    if grows {
        bytes.resize(len, 0);
    }
    grows
}

/// What the ends of a range count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    /// Reads the unit at an argument; bytes if there is none.
    fn of(args: Args<'_>, at: usize) -> Result<Unit, Error> {
        match at {
            _ if at >= args.len() || args.is(at, "BYTE") => Ok(Unit::Byte),
            _ if args.is(at, "BIT") => Ok(Unit::Bit),
            _ => Err(SYNTAX),
        }
    }

    /// Returns the bits from `start` to `end` inclusive, negative ones counted from the end, of a string of so many bytes; none if there are none.
    fn range(self, start: i64, end: i64, len: usize) -> Option<Range<u64>> {
        let bits = if self == Unit::Bit { 1 } else { 8 };
        let len = len as i64 * 8 / bits;
        let from_start = |place: i64| if place < 0 { len.saturating_add(place).max(0) } else { place };
        let (start, end) = (from_start(start), from_start(end).min(len - 1));
        (start <= end).then(|| (start * bits) as u64..((end + 1) * bits) as u64)
    }
}

/// What BITOP calculates from the first string, X, and the others, Y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    /// In X and in no Y.
    Diff,
    /// In a Y and not in X.
    Diff1,
    /// In X and in a Y.
    AndOr,
    /// In exactly one of all.
    One,
}

impl Operation {
    fn of(word: &[u8]) -> Result<Operation, Error> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("AND") => Ok(Operation::And),
            () if is("OR") => Ok(Operation::Or),
            () if is("XOR") => Ok(Operation::Xor),
            () if is("NOT") => Ok(Operation::Not),
            () if is("DIFF") => Ok(Operation::Diff),
            () if is("DIFF1") => Ok(Operation::Diff1),
            () if is("ANDOR") => Ok(Operation::AndOr),
            () if is("ONE") => Ok(Operation::One),
            () => Err(SYNTAX),
        }
    }

    /// Refuses a number of sources that makes no sense.
    fn check(self, sources: usize) -> Result<(), Error> {
        match self {
            Operation::Not if sources != 1 => Err(BITOP_NOT_SINGLE),
            Operation::Diff if sources < 2 => Err(bitop_needs_two("DIFF")),
            Operation::Diff1 if sources < 2 => Err(bitop_needs_two("DIFF1")),
            Operation::AndOr if sources < 2 => Err(bitop_needs_two("ANDOR")),
            _ => Ok(()),
        }
    }

    /// Combines strings, the shorter ones filled up with zeros.
    fn apply(self, mut texts: Vec<Vec<u8>>) -> Vec<u8> {
        let len = texts.iter().map(Vec::len).max().unwrap_or(0);
        let mut texts = texts.drain(..);
        let mut first = texts.next().unwrap_or_default();
        first.resize(len, 0);
        match self {
            Operation::And => texts.for_each(|text| combine(&mut first, &text, |a, b| a & b)),
            Operation::Or => texts.for_each(|text| combine(&mut first, &text, |a, b| a | b)),
            Operation::Xor => texts.for_each(|text| combine(&mut first, &text, |a, b| a ^ b)),
            Operation::Not => first.iter_mut().for_each(|byte| *byte = !*byte),
            Operation::Diff => texts.for_each(|text| combine(&mut first, &text, |a, b| a & !b)),
            Operation::Diff1 | Operation::AndOr => {
                let mut others = vec![0; len];
                texts.for_each(|text| combine(&mut others, &text, |a, b| a | b));
                let keep: fn(u8, u8) -> u8 = if self == Operation::Diff1 { |x, y| !x & y } else { |x, y| x & y };
                combine(&mut first, &others, keep);
            }
            Operation::One => {
                let mut repeated = vec![0; len];
                for text in texts {
                    for (index, byte) in text.iter().enumerate() {
                        repeated[index] |= first[index] & byte;
                        first[index] |= byte;
                    }
                }
                combine(&mut first, &repeated, |once, repeated| once & !repeated);
            }
        }
        first
    }
}

/// Combines every byte with that of another string, or with zero where that one has ended.
fn combine(bytes: &mut [u8], other: &[u8], with: impl Fn(u8, u8) -> u8) {
    let (shared, beyond) = bytes.split_at_mut(other.len());
    shared.iter_mut().zip(other).for_each(|(byte, other)| *byte = with(*byte, *other));
    beyond.iter_mut().for_each(|byte| *byte = with(*byte, 0));
}
