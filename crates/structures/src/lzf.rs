//! LZF: the compression of long strings in Redis's dumps. Reading only.
//!
//! ```text
//! 000nnnnn  …                       n + 1 bytes follow as they are
//! nnnooooo oooooooo                 copy n + 2 bytes from o + 1 bytes back, n in 1..=6
//! 111ooooo nnnnnnnn oooooooo        copy n + 9 bytes from o + 1 bytes back
//! ```
//!
//! A copy may reach into the bytes it is writing, which repeats them. Who writes dumps may leave strings uncompressed, so there is no compressor.

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

#[cfg(test)]
mod tests {
    use super::decompress;

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
}
