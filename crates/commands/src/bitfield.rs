//! BITFIELD: integers of any width laid over the bits of a string.
//!
//! All operations are read before the first is done, so a mistake in the last one changes nothing. The string is made long enough for all of them at once.
//! A value that does not fit its width wraps around, stays at the nearest that fits, or is refused with null, as the OVERFLOW before it says.

use redpoll_keyspace::Change;
use redpoll_structures::{bits, decimal};
use smallvec::SmallVec;

use crate::args::Args;
use crate::bitmap::{bit_offset, grow};
use crate::cx::Cx;
use crate::error::{BITFIELD_OVERFLOW, BITFIELD_READ_ONLY, BITFIELD_TYPE, Error, SYNTAX};
use crate::key_spec::{ACCESS, KeyFlags, RO, RW, UPDATE};

/// BITFIELD only reads if all its operations do and every one of them is well formed.
pub(crate) fn bitfield_uses(args: Args<'_>) -> KeyFlags {
    let mut at = 2;
    while at < args.len() {
        let operands = match args.len() - at - 1 {
            2.. if args.is(at, "GET") => 2,
            1.. if args.is(at, "OVERFLOW") => 1,
            _ => return RW | ACCESS | UPDATE,
        };
        at += 1 + operands;
    }
    RO | ACCESS
}

/// BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> …]
pub(crate) fn bitfield(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let operations = parse(cx, args)?;
    let ends = operations.iter().filter(|operation| operation.writes()).map(|operation| operation.field.last_bit());
    let Some(last_bit) = ends.max() else { return read_all(cx, args.at(1), &operations) };
    let replies = cx.db.update_text(args.at(1), |bytes| {
        let grown = grow(bytes, last_bit);
        let mut changes = 0;
        let mut replies: SmallVec<[Option<i64>; 8]> = SmallVec::with_capacity(operations.len());
        for operation in &operations {
            let (reply, changed) = operation.run(bytes);
            changes += u64::from(changed || (grown && operation.writes() && reply.is_some()));
            replies.push(reply);
        }
        // A string that only grew is a change as well, although every operation was refused.
        (replies, Change::of("setbit", changes.max(u64::from(grown))))
    })?;
    cx.out.array(replies.len());
    for reply in replies {
        match reply {
            Some(number) => cx.out.int(number),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]
pub(crate) fn bitfield_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let operations = parse(cx, args)?;
    if operations.iter().any(Operation::writes) {
        return Err(BITFIELD_READ_ONLY);
    }
    read_all(cx, args.at(1), &operations)
}

/// Replies with fields of a string that stays as it is; beyond its end all bits are zero.
fn read_all(cx: &mut Cx<'_, '_>, key: &[u8], operations: &[Operation]) -> Result<(), Error> {
    let mut buf = [0; 20];
    let text = cx.db.read_text(key)?;
    let bytes = text.map_or(&[][..], |text| text.bytes(&mut buf));
    cx.out.array(operations.len());
    for operation in operations {
        cx.out.int(operation.field.read(bytes) as i64);
    }
    Ok(())
}

/// Where an integer lies and what it can hold.
#[derive(Clone, Copy, Debug)]
struct Field {
    offset: u64,
    width: u32,
    signed: bool,
}

/// What becomes of a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    field: Field,
    action: Action,
}

fn parse(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<SmallVec<[Operation; 8]>, Error> {
    let mut operations = SmallVec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - at - 1;
        let make: fn(i64, Overflow) -> Action = match () {
            () if args.is(at, "GET") && left >= 2 => |_, _| Action::Get,
            () if args.is(at, "SET") && left >= 3 => Action::Set,
            () if args.is(at, "INCRBY") && left >= 3 => Action::Increment,
            () if args.is(at, "OVERFLOW") && left >= 1 => {
                overflow = Overflow::of(args.at(at + 1))?;
                at += 2;
                continue;
            }
            () => return Err(SYNTAX),
        };
        let reads = args.is(at, "GET");
        let field = Field::parse(cx, args.at(at + 1), args.at(at + 2))?;
        let value = if reads { 0 } else { args.int(at + 3)? };
        operations.push(Operation { field, action: make(value, overflow) });
        at += if reads { 3 } else { 4 };
    }
    Ok(operations)
}

impl Overflow {
    fn of(word: &[u8]) -> Result<Overflow, Error> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("WRAP") => Ok(Overflow::Wrap),
            () if is("SAT") => Ok(Overflow::Saturate),
            () if is("FAIL") => Ok(Overflow::Fail),
            () => Err(BITFIELD_OVERFLOW),
        }
    }
}

impl Field {
    /// Reads `i1` to `i64` or `u1` to `u63`, and the offset.
    fn parse(cx: &Cx<'_, '_>, encoding: &[u8], offset: &[u8]) -> Result<Field, Error> {
        let (letter, width) = encoding.split_first().ok_or(BITFIELD_TYPE)?;
        let signed = match letter {
            b'i' => true,
            b'u' => false,
            _ => return Err(BITFIELD_TYPE),
        };
        let max = if signed { bits::FIELD_BITS_MAX } else { bits::FIELD_BITS_MAX - 1 };
        let width = decimal::parse_i64(width).and_then(|width| u32::try_from(width).ok());
        let width = width.filter(|width| (1..=max).contains(width)).ok_or(BITFIELD_TYPE)?;
        Ok(Field { offset: bit_offset(cx, offset, Some(width))?, width, signed })
    }

    fn last_bit(self) -> u64 {
        self.offset + u64::from(self.width) - 1
    }

    /// Makes a number of the low bits.
    fn interpret(self, bits: u64) -> i128 {
        let unused = bits::FIELD_BITS_MAX - self.width;
        if self.signed { i128::from((bits << unused) as i64 >> unused) } else { i128::from(bits << unused >> unused) }
    }

    fn read(self, bytes: &[u8]) -> i128 {
        self.interpret(bits::field(bytes, self.offset, self.width))
    }

    fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1) } else { (0, (1 << self.width) - 1) }
    }

    /// Makes a value fit; none if it must not be written.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i128> {
        let (min, max) = self.range();
        match overflow {
            _ if (min..=max).contains(&value) => Some(value),
            Overflow::Wrap => Some(self.interpret(value as u64)),
            Overflow::Saturate => Some(value.clamp(min, max)),
            Overflow::Fail => None,
        }
    }
}

impl Operation {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// Works on a string that is long enough; returns the reply, and whether the field changed.
    fn run(&self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let field = self.field;
        let old = field.read(bytes);
        let (new, replies_new) = match self.action {
            Action::Get => return (Some(old as i64), false),
            // A value is taken for unsigned where the field is, so a negative one is too large for it.
            Action::Set(value, overflow) if field.signed => (field.fit(i128::from(value), overflow), false),
            Action::Set(value, overflow) => (field.fit(i128::from(value as u64), overflow), false),
            Action::Increment(by, overflow) => (field.fit(old + i128::from(by), overflow), true),
        };
        let Some(new) = new else { return (None, false) };
        bits::set_field(bytes, field.offset, field.width, new as u64);
        (Some(if replies_new { new } else { old } as i64), new != old)
    }
}
