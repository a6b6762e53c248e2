//! The bytes of one listpack entry, and the check of a whole listpack.
//!
//! ```text
//!   entry    = head body back
//!   head     0xxxxxxx                     integer 0..=127
//!            110xxxxx x8                  integer of 13 bits, two's complement, high bits first
//!            F1 x16 | F2 x24 | F3 x32 | F4 x64   integers, little-endian
//!            10nnnnnn                     text of up to 63 bytes
//!            1110nnnn n8                  text of up to 4,095 bytes, high bits first
//!            F0 n32                       longer text, length little-endian
//!   body     the n bytes of a text, nothing for an integer
//!   back     length of head + body in groups of 7 bits, high group first; all bytes but the first have the top bit
//!            set, so it can be read from its end
//! ```
//!
//! The number of `back` bytes is a function of the length, and that function has a quirk every reader has to share: a
//! length of 16,383 takes three bytes and not two, 2,097,151 four, and 268,435,455 five.
//!
//! Each value has one canonical entry: the shortest. Reading functions here index a listpack that was checked or built
//! by us; with a wrong offset they return nonsense or panic, but never read outside the slice.

use super::Corrupt;
use super::block::MAX_BYTES;
use super::item::{Item, integer};

/// Bytes before the first entry: the total length and the number of entries.
pub(super) const HEADER: usize = 6;
/// The byte after the last entry.
pub(super) const END: u8 = 0xFF;
/// What the header says when there are more entries than it can count.
pub(super) const UNKNOWN: u16 = u16::MAX;

/// One entry about to be written: head, body and back length.
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    back: [u8; 5],
    back_len: u8,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// Encodes text: as an integer if it is the canonical form of one.
    #[inline]
    pub(super) fn of(text: &'a [u8]) -> Encoded<'a> {
        match integer(text) {
            Some(value) => Encoded::of_int(value),
            None => Encoded::of_str(text),
        }
    }

    #[inline]
    fn of_str(text: &'a [u8]) -> Encoded<'a> {
        let len = text.len();
        assert!(len < MAX_BYTES, "an element of {len} bytes is over the limit");
        let (mut head, head_len) = ([0; 9], str_head_len(len));
        match head_len {
            1 => head[0] = 0x80 | len as u8,
            2 => head[..2].copy_from_slice(&[0xE0 | (len >> 8) as u8, len as u8]),
            _ => {
                head[0] = 0xF0;
                head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            }
        }
        Encoded::with_back(head, head_len, text)
    }

    #[inline]
    pub(super) fn of_int(value: i64) -> Encoded<'a> {
        let mut head = [0; 9];
        let head_len = int_len(value);
        match head_len {
            1 => head[0] = value as u8,
            2 => head[..2].copy_from_slice(&[0xC0 | (value >> 8) as u8 & 0x1F, value as u8]),
            len => {
                head[0] = match len {
                    3 => 0xF1,
                    4 => 0xF2,
                    5 => 0xF3,
                    _ => 0xF4,
                };
                head[1..].copy_from_slice(&value.to_le_bytes());
            }
        }
        Encoded::with_back(head, head_len, &[])
    }

    #[inline]
    fn with_back(head: [u8; 9], head_len: usize, body: &'a [u8]) -> Encoded<'a> {
        let len = head_len + body.len();
        let mut back = [0; 5];
        let back_len = back_len(len);
        if back_len == 1 {
            back[0] = len as u8;
        } else {
            let mut rest = len;
            for byte in back[..back_len].iter_mut().rev() {
                *byte = (rest & 0x7F) as u8 | 0x80;
                rest >>= 7;
            }
            back[0] &= 0x7F;
        }
        Encoded { head, head_len: head_len as u8, back, back_len: back_len as u8, body }
    }

    /// Returns the bytes of the whole entry, to be written one after the other.
    #[inline]
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [self.head(), self.body, &self.back[..usize::from(self.back_len)]]
    }

    #[inline]
    fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// Returns the length of the whole entry in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.head_len) + self.body.len() + usize::from(self.back_len)
    }

    /// Returns the first entry at or after `start` that is this one, looking at every `skip + 1`-th.
    ///
    /// Entries are canonical, so equal values are equal bytes. Keys of one hash tend to share their length and their
    /// beginning; the last byte tells most of them apart before any call to compare memory.
    pub(super) fn find_in(&self, listpack: &[u8], start: usize, skip: usize) -> Option<usize> {
        let entries = &listpack[..listpack.len() - 1];
        let (head, body) = (self.head(), self.body);
        let (first, len) = (head[0], head.len() + body.len());
        let last = body.last().copied().unwrap_or(head[head.len() - 1]);
        let mut offset = start;
        while offset < entries.len() {
            let byte = entries[offset];
            if byte == first
                && entries.get(offset + len - 1) == Some(&last)
                && (head.len() == 1 || entries[offset..].starts_with(head))
                && entries[offset + head.len()..offset + len] == *body
            {
                return Some(offset);
            }
            offset += span(entries, offset);
            for _ in 0..skip {
                if offset >= entries.len() {
                    return None;
                }
                offset += span(entries, offset);
            }
        }
        None
    }
}

/// Returns how many bytes text would take as an entry.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let len = match integer(text) {
        Some(value) => int_len(value),
        None => str_head_len(text.len()) + text.len(),
    };
    len + back_len(len)
}

#[inline]
fn str_head_len(len: usize) -> usize {
    match len {
        0..64 => 1,
        64..4096 => 2,
        _ => 5,
    }
}

#[inline]
fn int_len(value: i64) -> usize {
    match value {
        0..=127 => 1,
        -4096..=4095 => 2,
        -0x8000..=0x7FFF => 3,
        -0x80_0000..=0x7F_FFFF => 4,
        -0x8000_0000..=0x7FFF_FFFF => 5,
        _ => 9,
    }
}

/// Returns how many bytes the back length of an entry of `len` bytes takes; see the quirk above.
#[inline]
fn back_len(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Returns the bytes from the entry at `offset` to the next one.
#[inline]
pub(super) fn span(listpack: &[u8], offset: usize) -> usize {
    let first = listpack[offset];
    if first < 0xC0 {
        // Small integers and short texts: one byte of head, one of back length.
        return 2 + if first < 0x80 { 0 } else { usize::from(first & 0x3F) };
    }
    let len = long_len(listpack, offset, first);
    len + back_len(len)
}

/// Returns the length of head and body for the encodings with more than one byte of head.
#[inline]
fn long_len(listpack: &[u8], offset: usize, first: u8) -> usize {
    match first {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 2 + (usize::from(first & 0x0F) << 8 | usize::from(listpack[offset + 1])),
        0xF0 => 5 + text_len_32(listpack, offset),
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        _ => panic!("no entry at offset {offset}"),
    }
}

#[inline]
fn text_len_32(listpack: &[u8], offset: usize) -> usize {
    u32::from_le_bytes(array(listpack, offset + 1)) as usize
}

#[inline]
fn array<const N: usize>(listpack: &[u8], offset: usize) -> [u8; N] {
    listpack[offset..offset + N].try_into().expect("a slice of N bytes")
}

/// Returns the offset of the entry that ends before `offset`, which must not be the first.
#[inline]
pub(super) fn before(listpack: &[u8], offset: usize) -> usize {
    let last = listpack[offset - 1];
    if last < 0x80 {
        return offset - 1 - usize::from(last);
    }
    let (mut len, mut shift, mut at) = (usize::from(last & 0x7F), 7, offset - 1);
    loop {
        at -= 1;
        let byte = listpack[at];
        len |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return at - len;
        }
        shift += 7;
        assert!(shift < 35, "no entry ends at offset {offset}");
    }
}

/// Reads the entry at `offset`.
#[inline]
pub(super) fn decode(listpack: &[u8], offset: usize) -> Item<'_> {
    let first = listpack[offset];
    let text = |head: usize, len: usize| Item::Str(&listpack[offset + head..offset + head + len]);
    match first {
        0x00..=0x7F => Item::Int(i64::from(first)),
        0x80..=0xBF => text(1, usize::from(first & 0x3F)),
        0xC0..=0xDF => {
            let raw = u16::from(first & 0x1F) << 8 | u16::from(listpack[offset + 1]);
            Item::Int(i64::from((raw << 3).cast_signed() >> 3))
        }
        0xE0..=0xEF => text(2, usize::from(first & 0x0F) << 8 | usize::from(listpack[offset + 1])),
        0xF0 => text(5, text_len_32(listpack, offset)),
        0xF1 => Item::Int(i64::from(i16::from_le_bytes(array(listpack, offset + 1)))),
        0xF2 => {
            let [low, middle, high] = array(listpack, offset + 1);
            Item::Int(i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8))
        }
        0xF3 => Item::Int(i64::from(i32::from_le_bytes(array(listpack, offset + 1)))),
        0xF4 => Item::Int(i64::from_le_bytes(array(listpack, offset + 1))),
        _ => panic!("no entry at offset {offset}"),
    }
}

/// Reads the entry at `offset` and returns the offset of the next one.
#[inline]
pub(super) fn decode_next(listpack: &[u8], offset: usize) -> (Item<'_>, usize) {
    let first = listpack[offset];
    if first < 0x80 {
        return (Item::Int(i64::from(first)), offset + 2);
    }
    if first < 0xC0 {
        let end = offset + 1 + usize::from(first & 0x3F);
        return (Item::Str(&listpack[offset + 1..end]), end + 1);
    }
    (decode(listpack, offset), offset + span(listpack, offset))
}

/// What a check of foreign bytes found.
pub(super) struct Survey {
    /// The number of entries.
    pub(super) count: usize,
    /// Whether every entry is the canonical one for its value.
    pub(super) canonical: bool,
}

/// Checks bytes that claim to be a listpack: every length, every back length, the count and the end.
pub(super) fn survey(listpack: &[u8]) -> Result<Survey, Corrupt> {
    if listpack.len() <= HEADER || listpack.len() > MAX_BYTES {
        return Err(Corrupt("listpack of an impossible size"));
    }
    let total: [u8; 4] = array(listpack, 0);
    if u32::from_le_bytes(total) as usize != listpack.len() {
        return Err(Corrupt("listpack with a wrong total length"));
    }
    let [entries @ .., END] = listpack else {
        return Err(Corrupt("listpack without an end"));
    };
    let (mut offset, mut survey) = (HEADER, Survey { count: 0, canonical: true });
    while offset < entries.len() {
        let len = checked_len(entries, offset)?;
        let back_len = checked_back_len(entries, offset, len)?;
        survey.canonical &= is_canonical(entries, offset);
        survey.count += 1;
        offset += len + back_len;
    }
    match u16::from_le_bytes(array(listpack, 4)) {
        UNKNOWN => Ok(survey),
        count if usize::from(count) == survey.count => Ok(survey),
        _ => Err(Corrupt("listpack with a wrong number of entries")),
    }
}

/// Reports whether a checked entry is the shortest for its value.
fn is_canonical(entries: &[u8], offset: usize) -> bool {
    let plain = match decode(entries, offset) {
        Item::Int(0..=127) => return entries[offset] < 0x80,
        Item::Str(text) if integer(text).is_some() => return false,
        Item::Str(_) if entries[offset] < 0xC0 => return true,
        Item::Str(text) => Encoded::of_str(text),
        Item::Int(value) => Encoded::of_int(value),
    };
    entries[offset..].starts_with(plain.head())
}

/// Returns the length of the back length of an entry whose head and body take `len` bytes, having checked it.
fn checked_back_len(entries: &[u8], offset: usize, len: usize) -> Result<usize, Corrupt> {
    if len < 0x80 && entries.get(offset + len) == Some(&(len as u8)) {
        return Ok(1);
    }
    let back = Encoded::with_back([0; 9], 0, &entries[offset..offset + len]);
    let [_, _, back] = back.parts();
    if entries[offset + len..].starts_with(back) {
        Ok(back.len())
    } else {
        Err(Corrupt("listpack entry with a wrong back length"))
    }
}

/// Returns the length of head and body of the entry at `offset`, having checked that they are there.
fn checked_len(entries: &[u8], offset: usize) -> Result<usize, Corrupt> {
    let first = entries[offset];
    let head = match first {
        0x00..=0xBF => 1,
        0xC0..=0xEF => 2,
        0xF0 | 0xF3 => 5,
        0xF1 => 3,
        0xF2 => 4,
        0xF4 => 9,
        _ => return Err(Corrupt("listpack entry of an unknown encoding")),
    };
    if entries.len() - offset < head {
        return Err(Corrupt("listpack entry cut short"));
    }
    let len = match first {
        0x00..=0x7F => 1,
        0x80..=0xBF => 1 + usize::from(first & 0x3F),
        _ => long_len(entries, offset, first),
    };
    if entries.len() - offset < len { Err(Corrupt("listpack entry cut short")) } else { Ok(len) }
}
