//! Strings of bytes as arrays of bits.
//!
//! Bit 0 is the highest bit of the first byte, so numbers that are laid over the bits read from left to right, the most significant bit first:
//!
//! ```text
//! byte        0                 1
//! bit     0 1 2 3 4 5 6 7   8 9 …
//!             └ a field of 8 bits at 2 ┘
//! ```
//!
//! Counting and searching go eight bytes at a time. Ranges of bits are half-open and must lie inside the bytes; only [`field`] reads beyond the end, where all
//! bits are zero.

use std::ops::Range;

/// Most bits a field can have.
pub const FIELD_BITS_MAX: u32 = 64;

/// Counts the bits that are set in a range of bits.
///
/// ```
/// use redpoll_structures::bits;
/// assert_eq!(bits::count(&[0xff, 0x0f], 0..16), 12);
/// assert_eq!(bits::count(&[0xff, 0x0f], 7..13), 2);
/// ```
#[must_use]
pub fn count(bytes: &[u8], range: Range<u64>) -> u64 {
    let Some(edges) = Edges::of(range) else { return 0 };
    let masked = |byte: usize, mask: u8| u64::from((bytes[byte] & mask).count_ones());
    if edges.first == edges.last {
        return masked(edges.first, edges.first_mask & edges.last_mask);
    }
    let between = &bytes[edges.first + 1..edges.last];
    let (words, rest) = between.as_chunks::<8>();
    let words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    let rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    masked(edges.first, edges.first_mask) + words + rest + masked(edges.last, edges.last_mask)
}

/// Finds the first bit in a range of bits that is set, or that is not.
///
/// ```
/// use redpoll_structures::bits;
/// assert_eq!(bits::position(&[0x00, 0x10], 0..16, true), Some(11));
/// assert_eq!(bits::position(&[0xff, 0xff], 3..16, false), None);
/// ```
#[must_use]
pub fn position(bytes: &[u8], range: Range<u64>, set: bool) -> Option<u64> {
    let edges = Edges::of(range)?;
    // Looking for a zero is looking for a one in the inverted bytes.
    let flip = if set { 0x00 } else { 0xff };
    let masked = |byte: usize, mask: u8| {
        let found = (bytes[byte] ^ flip) & mask;
        (found != 0).then(|| byte as u64 * 8 + u64::from(found.leading_zeros()))
    };
    if edges.first == edges.last {
        return masked(edges.first, edges.first_mask & edges.last_mask);
    }
    let dull = [flip; 8];
    let between = || {
        let start = edges.first + 1;
        let (words, _) = bytes[start..edges.last].as_chunks::<8>();
        let skipped = start + words.iter().take_while(|word| **word == dull).count() * 8;
        (skipped..edges.last).find_map(|byte| masked(byte, 0xff))
    };
    masked(edges.first, edges.first_mask).or_else(between).or_else(|| masked(edges.last, edges.last_mask))
}

/// The bytes a range of bits begins and ends in, with the bits that belong to it.
struct Edges {
    first: usize,
    first_mask: u8,
    last: usize,
    last_mask: u8,
}

impl Edges {
    fn of(range: Range<u64>) -> Option<Edges> {
        let last = range.end.checked_sub(1).filter(|last| *last >= range.start)?;
        Some(Edges {
            first: (range.start / 8) as usize,
            first_mask: 0xff >> (range.start % 8),
            last: (last / 8) as usize,
            last_mask: 0xff << (7 - last % 8),
        })
    }
}

/// Reads the number in `width` bits (at most 64) from bit `offset` on, as if zeros followed the bytes.
///
/// ```
/// use redpoll_structures::bits;
/// assert_eq!(bits::field(&[0b0000_0101, 0b1100_0000], 5, 5), 0b10111);
/// ```
#[must_use]
pub fn field(bytes: &[u8], offset: u64, width: u32) -> u64 {
    assert!((1..=FIELD_BITS_MAX).contains(&width), "a field has 1 to 64 bits");
    let first = usize::try_from(offset / 8).unwrap_or(usize::MAX);
    // 64 bits that do not begin at a byte reach over nine bytes.
    let mut window = [0; 16];
    if let Some(there) = bytes.get(first..) {
        let len = there.len().min(9);
        window[..len].copy_from_slice(&there[..len]);
    }
    let window = u128::from_be_bytes(window) << (offset % 8);
    (window >> (u128::BITS - width)) as u64
}

/// Writes the low `width` bits (at most 64) of a number from bit `offset` on.
///
/// # Panics
/// If the field does not lie inside the bytes.
pub fn set_field(bytes: &mut [u8], offset: u64, width: u32, value: u64) {
    assert!((1..=FIELD_BITS_MAX).contains(&width), "a field has 1 to 64 bits");
    let first = (offset / 8) as usize;
    let shift = u128::BITS - width - (offset % 8) as u32;
    let mask = (u128::MAX >> (u128::BITS - width)) << shift;
    let touched = ((offset % 8) as usize + width as usize).div_ceil(8);
    let there = &mut bytes[first..first + touched];
    let mut window = [0; 16];
    window[..touched].copy_from_slice(there);
    let window = u128::from_be_bytes(window) & !mask | (u128::from(value) << shift) & mask;
    there.copy_from_slice(&window.to_be_bytes()[..touched]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(bytes: &[u8], at: u64) -> bool {
        bytes[(at / 8) as usize] >> (7 - at % 8) & 1 == 1
    }

    /// Bytes in long runs of equal ones, so that searches go far.
    fn samples() -> Vec<Vec<u8>> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..60)
            .map(|len| (0..len).map(|_| [0x00, 0xff, 0x00, 0xff, next() as u8][(next() % 5) as usize]).collect())
            .collect()
    }

    #[test]
    fn counts_and_positions_are_those_found_bit_by_bit() {
        for bytes in samples() {
            let end = bytes.len() as u64 * 8;
            for start in (0..end).step_by(5) {
                for stop in (start..=end).step_by(7).chain([end]) {
                    let expected = (start..stop).filter(|at| bit(&bytes, *at)).count() as u64;
                    assert_eq!(count(&bytes, start..stop), expected, "{bytes:?} {start}..{stop}");
                    for set in [true, false] {
                        let expected = (start..stop).find(|at| bit(&bytes, *at) == set);
                        assert_eq!(position(&bytes, start..stop, set), expected, "{bytes:?} {start}..{stop} {set}");
                    }
                }
            }
        }
    }

    #[test]
    fn fields_are_written_and_read_without_touching_their_neighbours() {
        let before: Vec<u8> = (0..20_u8).map(|index| index.wrapping_mul(37) ^ 11).collect();
        for width in 1..=FIELD_BITS_MAX {
            for offset in 0..(160 - u64::from(width)) {
                let mut bytes = before.clone();
                let value = 0xdead_beef_0bad_f00d_u64.rotate_left(offset as u32) >> (FIELD_BITS_MAX - width);
                set_field(&mut bytes, offset, width, value);
                assert_eq!(field(&bytes, offset, width), value, "{width} at {offset}");
                let outside = |at: u64| at < offset || at >= offset + u64::from(width);
                assert!((0..160).filter(|at| outside(*at)).all(|at| bit(&bytes, at) == bit(&before, at)));
            }
        }
    }

    #[test]
    fn beyond_the_end_all_bits_are_zero() {
        assert_eq!(field(&[0xff], 4, 8), 0xf0);
        assert_eq!(field(&[0xff], 8, 64), 0);
        assert_eq!(field(&[], u64::MAX - 64, 64), 0);
    }
}
