//! Blocks that Redis wrote before 7.0: ziplists and, before 2.6, zipmaps.
//!
//! ```text
//! ziplist   total u32 │ offset of last u32 │ count u16 │ entry … │ 0xff                        little endian
//! entry     length of the entry before: 1 byte, or 0xfe and u32 │ encoding │ content
//! encoding  00llllll │ 01llllll llllllll │ 10…… u32 (big endian)                              a string
//!           0xc0 i16 │ 0xd0 i32 │ 0xe0 i64 │ 0xf0 i24 │ 0xfe i8 │ 0xf1 … 0xfd: 0 … 12         an integer
//!
//! zipmap    count u8 │ length, field │ length, unused u8, value, unused bytes │ … │ 0xff
//! length    1 byte below 254 │ 0xfe and u32 little endian
//! ```
//!
//! Both are read once from end to end; every length that is stored twice must agree.

use redpoll_structures::packed::{MAX_BYTES, Packed};

/// Bytes before the first entry of a ziplist.
const HEADER: usize = 10;
/// The count of a ziplist with more entries than that says nothing.
const COUNT_UNKNOWN: u16 = u16::MAX;
const END: u8 = 0xff;
/// What stands before a length of four bytes.
const LONG: u8 = 0xfe;

/// Reads a ziplist into a packed block.
pub(super) fn ziplist(bytes: &[u8]) -> Option<Packed> {
    let (header, mut rest) = bytes.split_first_chunk::<HEADER>()?;
    let [t0, t1, t2, t3, l0, l1, l2, l3, c0, c1] = *header;
    let total = u32::from_le_bytes([t0, t1, t2, t3]) as usize;
    let last = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let count = u16::from_le_bytes([c0, c1]);
    // An entry may take more room in the new block than it did in the old one.
    if total != bytes.len() || total > MAX_BYTES / 4 {
        return None;
    }
    let mut packed = Packed::with_capacity(total);
    let (mut found, mut before, mut start) = (0_usize, 0, HEADER);
    while *rest.first()? != END {
        start = bytes.len() - rest.len();
        let after = entry(rest, before, &mut packed)?;
        before = rest.len() - after.len();
        rest = after;
        found += 1;
    }
    let counted = count == COUNT_UNKNOWN || usize::from(count) == found;
    (rest.len() == 1 && last == start && counted).then_some(packed)
}

/// Reads one entry of a ziplist; `before` is how long the one before was. Returns what follows.
fn entry<'a>(bytes: &'a [u8], before: usize, packed: &mut Packed) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_first()?;
    let (told, rest) = match *first {
        LONG => rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest))?,
        len => (usize::from(len), rest),
    };
    if told != before {
        return None;
    }
    let (encoding, rest) = rest.split_first()?;
    let string = |len: usize, rest: &'a [u8], packed: &mut Packed| {
        let (text, rest) = rest.split_at_checked(len)?;
        packed.push_back(text);
        Some(rest)
    };
    let (number, rest) = match *encoding {
        0..0x40 => return string(usize::from(*encoding), rest, packed),
        0x40..0x80 => {
            let (low, rest) = rest.split_first()?;
            return string(usize::from(encoding & 0x3f) << 8 | usize::from(*low), rest, packed);
        }
        0x80..0xc0 => {
            let (len, rest) = rest.split_first_chunk()?;
            return string(u32::from_be_bytes(*len) as usize, rest, packed);
        }
        0xc0 => rest.split_first_chunk().map(|(number, rest)| (i64::from(i16::from_le_bytes(*number)), rest))?,
        0xd0 => rest.split_first_chunk().map(|(number, rest)| (i64::from(i32::from_le_bytes(*number)), rest))?,
        0xe0 => rest.split_first_chunk().map(|(number, rest)| (i64::from_le_bytes(*number), rest))?,
        0xf0 => {
            let ([low, middle, high], rest) = rest.split_first_chunk()?;
            (i64::from(i32::from_le_bytes([0, *low, *middle, *high]) >> 8), rest)
        }
        0xfe => rest.split_first_chunk().map(|([number], rest)| (i64::from(*number as i8), rest))?,
        0xf1..=0xfd => (i64::from(encoding - 0xf1), rest),
        _ => return None,
    };
    packed.push_back_int(number);
    Some(rest)
}

/// Reads the fields and values of a zipmap.
pub(super) fn zipmap(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (count, mut rest) = bytes.split_first()?;
    let mut pairs = Vec::new();
    while *rest.first()? != END {
        let (len, after) = zipmap_length(rest)?;
        let (field, after) = after.split_at_checked(len)?;
        let (len, after) = zipmap_length(after)?;
        let (unused, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(len)?;
        rest = after.split_at_checked(usize::from(*unused))?.1;
        pairs.push((field, value));
    }
    let counted = *count >= LONG || usize::from(*count) == pairs.len();
    (rest.len() == 1 && counted).then_some(pairs)
}

fn zipmap_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match *first {
        END => None,
        LONG => rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest)),
        len => Some((usize::from(len), rest)),
    }
}
