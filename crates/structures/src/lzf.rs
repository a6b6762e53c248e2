//! LZF: the compression of long strings in Redis's dumps and snapshots.
//!
//! ```text
//! 000nnnnn  …                       n + 1 bytes follow as they are
//! nnnooooo oooooooo                 copy n + 2 bytes from o + 1 bytes back, n in 1..=6
//! 111ooooo nnnnnnnn oooooooo        copy n + 9 bytes from o + 1 bytes back
//! ```
//!
//! A copy may reach into the bytes it is writing, which repeats them. The compressor remembers where each sequence of three bytes was seen last and copies from
//! there as much as agrees: fast, not thorough. Its table outlives a string, so that short strings do not pay for clearing it: an entry counts
//! only if it was made for the string at hand.

/// Unpacks `packed` into exactly `len` bytes; `None` if it does not yield as many or refers to bytes before the beginning.
///
/// The caller bounds `len`.
///
/// ```
/// assert_eq!(redpoll_structures::lzf::decompress(b"\x00a\xe0\x00\x00", 10).as_deref(), Some(&b"aaaaaaaaaa"[..]));
/// ```
pub fn decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    /// Most bytes that one byte of input can stand for.
    const RATIO_MAX: usize = 264;
    if len > packed.len().saturating_mul(RATIO_MAX) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = packed;
    while let [control, after @ ..] = rest {
        let control = usize::from(*control);
        if control < 32 {
            let (literal, after) = after.split_at_checked(control + 1)?;
            out.extend_from_slice(literal);
            rest = after;
        } else {
            let (mut count, mut after) = (control >> 5, after);
            if count == 7 {
                let (more, tail) = after.split_first()?;
                (count, after) = (count + usize::from(*more), tail);
            }
            let (low, tail) = after.split_first()?;
            let distance = ((control & 31) << 8 | usize::from(*low)) + 1;
            let start = out.len().checked_sub(distance)?;
            for at in start..start + count + 2 {
                out.push(out[at]);
            }
            rest = tail;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Shortest and longest copy, bytes.
const COPY_MIN: usize = 3;
const COPY_MAX: usize = 264;

/// Farthest back a copy can come from.
const DISTANCE_MAX: usize = 1 << 13;

/// Most bytes that follow one control byte as they are.
const LITERALS_MAX: usize = 32;

/// Bits of the numbers of entries.
const TABLE_BITS: u32 = 13;

/// Compresses strings, one after the other.
#[derive(Clone, Debug)]
pub struct Compressor {
    /// Where a sequence was seen last, counted from the beginning of the first string.
    seen: Box<[u32]>,
    /// Where the next string begins in that count; never 0, which is an entry not made yet.
    begin: u32,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { seen: vec![0; 1 << TABLE_BITS].into_boxed_slice(), begin: 1 }
    }
}

impl Compressor {
    /// Packs `bytes` behind what `out` holds, if it takes no more than `most` bytes; false, and nothing, if it would.
    ///
    /// ```
    /// use redpoll_structures::lzf::{Compressor, decompress};
    ///
    /// let (text, mut packed) = (b"to be or not to be, to be or not to be", Vec::new());
    /// assert!(Compressor::default().compress(text, text.len() - 4, &mut packed));
    /// assert_eq!(decompress(&packed, text.len()).as_deref(), Some(&text[..]));
    /// ```
    pub fn compress(&mut self, bytes: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
        let Some(begin) = self.begin_of(bytes) else { return false };
        let (before, end) = (out.len(), out.len() + most);
        let (mut at, mut copied_to) = (0, 0);
        while at + COPY_MIN <= bytes.len() {
            match self.look_up(bytes, at, begin) {
                Some((from, len)) => {
                    literals(&bytes[copied_to..at], out);
                    copy(at - from, len, out);
                    at += len;
                    copied_to = at;
                }
                None => at += 1,
            }
            if out.len() > end {
                break;
            }
        }
        literals(&bytes[copied_to.min(bytes.len())..], out);
        let fits = out.len() <= end;
        if !fits {
            out.truncate(before);
        }
        fits
    }

    /// Begins a string; none if it is too long to count its bytes.
    fn begin_of(&mut self, bytes: &[u8]) -> Option<u32> {
        let len = u32::try_from(bytes.len()).ok().filter(|len| *len < u32::MAX)?;
        if self.begin.checked_add(len).is_none() {
            self.seen.fill(0);
            self.begin = 1;
        }
        let begin = self.begin;
        self.begin += len;
        Some(begin)
    }

    /// Notes the sequence at a place and returns where it was seen before within reach, and how many bytes agree.
    fn look_up(&mut self, bytes: &[u8], at: usize, begin: u32) -> Option<(usize, usize)> {
        let sequence = u32::from(bytes[at]) << 16 | u32::from(bytes[at + 1]) << 8 | u32::from(bytes[at + 2]);
        let entry = &mut self.seen[(sequence.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize];
        let seen = std::mem::replace(entry, begin + at as u32);
        let from = seen.checked_sub(begin)? as usize;
        if at - from > DISTANCE_MAX {
            return None;
        }
        let most = (bytes.len() - at).min(COPY_MAX);
        let len = (0..most).take_while(|ahead| bytes[from + ahead] == bytes[at + ahead]).count();
        (len >= COPY_MIN).then_some((from, len))
    }
}

fn literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn copy(distance: usize, len: usize, out: &mut Vec<u8>) {
    let (high, low) = (((distance - 1) >> 8) as u8, (distance - 1) as u8);
    match len - 2 {
        short @ ..7 => out.push((short as u8) << 5 | high),
        long => out.extend([7 << 5 | high, (long - 7) as u8]),
    }
    out.push(low);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_refused() {
        let cases: &[(&[u8], usize)] =
            &[(b"\x05abc", 6), (b"\x20\x00", 3), (b"\x00a\xe0", 10), (b"\x00a\x20", 4), (b"\x00a", 2), (b"\x01ab", 1)];
        for (packed, len) in cases {
            assert_eq!(decompress(packed, *len), None, "{packed:?}");
        }
        assert_eq!(decompress(b"", 0).as_deref(), Some(&b""[..]));
        assert_eq!(decompress(b"\x02abc\x20\x02", 6).as_deref(), Some(&b"abcabc"[..]));
    }

    #[test]
    fn what_is_packed_is_unpacked_again() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut compressor = Compressor::default();
        let mut packed_once = 0;
        for round in 0..2000 {
            let (letters, len) = (1 + random() % 40, random() as usize % (1 + round * 20));
            let text: Vec<u8> = (0..len).map(|_| (random() % letters) as u8).collect();
            if round == 1000 {
                compressor.begin = u32::MAX - 10;
            }
            let mut out = b"before".to_vec();
            if compressor.compress(&text, text.len().saturating_sub(4), &mut out) {
                assert!(out.len() - 6 <= text.len().saturating_sub(4));
                assert_eq!(decompress(&out[6..], text.len()).as_deref(), Some(text.as_slice()), "round {round}");
                packed_once += 1;
            } else {
                assert_eq!(out, b"before");
            }
        }
        assert!(packed_once > 500, "{packed_once}");
    }

    #[test]
    fn copies_of_every_length_and_distance_are_found() {
        let mut compressor = Compressor::default();
        for len in 3..600 {
            let text = vec![b'x'; len];
            let mut out = Vec::new();
            assert!(compressor.compress(&text, len + 1, &mut out));
            assert_eq!(decompress(&out, len), Some(text));
        }
        for distance in [1, 255, 256, 257, DISTANCE_MAX - 1, DISTANCE_MAX, DISTANCE_MAX + 1] {
            let mut text: Vec<u8> =
                (0..distance as u32 * 2).flat_map(|at| (at.wrapping_mul(0x9e37_79b1)).to_be_bytes()).collect();
            text.truncate(distance);
            text.extend_from_within(..distance.min(300));
            let mut out = Vec::new();
            assert!(compressor.compress(&text, text.len() * 2, &mut out));
            assert_eq!(decompress(&out, text.len()), Some(text));
        }
    }
}
