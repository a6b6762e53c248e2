//! The spellings of floating point numbers that C's `strtod` accepts: one scanner for both widths.
//!
//! An optional sign, then `inf` or `infinity`, or decimal digits with an optional point and an optional `e` exponent,
//! or `0x`, hexadecimal digits with an optional point and an optional `p` exponent (a power of two). Letters in either
//! case. At least one digit, before or after the point. The whole text must be the number: no space before or after.
//! `nan` is a spelling too, but nobody who asks here wants it, so it is refused.
//!
//! The module also rounds: [`round`] is the one place where a number becomes a mantissa of limited width.

/// Exponents saturate here; anything near it is far out of every range.
const EXPONENT_MAX: i64 = 1 << 40;

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelling<'a> {
    pub(super) negative: bool,
    pub(super) magnitude: Magnitude<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Magnitude<'a> {
    Infinity,
    /// The digits times a power of ten.
    Decimal(Digits<'a>),
    /// The digits times a power of two.
    Hexadecimal(Digits<'a>),
}

/// The digits before and after the point, and the written exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits<'a> {
    pub(super) whole: &'a [u8],
    pub(super) fraction: &'a [u8],
    pub(super) exponent: i64,
}

impl Digits<'_> {
    /// Tells whether every digit is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.whole.iter().chain(self.fraction).all(|&digit| digit == b'0')
    }

    /// Reads hexadecimal digits into an integer times a power of two; `sticky` tells that nonzero digits were left out.
    pub(super) fn hexadecimal(&self) -> Binary {
        let mut mantissa = 0u128;
        let mut sticky = false;
        let mut exponent = self.exponent - 4 * self.fraction.len() as i64;
        for &byte in self.whole.iter().chain(self.fraction) {
            let digit = (byte as char).to_digit(16).expect("the scanner lets hexadecimal digits through only");
            if mantissa >> 124 == 0 {
                mantissa = mantissa << 4 | u128::from(digit);
            } else {
                sticky |= digit != 0;
                exponent += 4;
            }
        }
        Binary { mantissa, sticky, exponent }
    }
}

/// `mantissa` times two to the `exponent`, and a little more if `sticky`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) mantissa: u128,
    pub(super) sticky: bool,
    pub(super) exponent: i64,
}

/// Scans `text`, all of it.
pub(super) fn scan(text: &[u8]) -> Option<Spelling<'_>> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
        return Some(Spelling { negative, magnitude: Magnitude::Infinity });
    }
    let magnitude = match text {
        [b'0', b'x' | b'X', rest @ ..] => Magnitude::Hexadecimal(digits(rest, u8::is_ascii_hexdigit, b'p')?),
        _ => Magnitude::Decimal(digits(text, u8::is_ascii_digit, b'e')?),
    };
    Some(Spelling { negative, magnitude })
}

fn digits(text: &[u8], is_digit: fn(&u8) -> bool, exponent_mark: u8) -> Option<Digits<'_>> {
    let run = |text: &[u8]| text.iter().take_while(|byte| is_digit(byte)).count();
    let (whole, rest) = text.split_at(run(text));
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at(run(rest)),
        _ => (&[][..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [mark, written @ ..] if mark.to_ascii_lowercase() == exponent_mark => exponent(written)?,
        _ => return None,
    };
    Some(Digits { whole, fraction, exponent })
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(byte - b'0')).min(EXPONENT_MAX);
    }
    Some(if negative { -value } else { value })
}

/// Rounds to the nearest mantissa of at most `bits` bits, ties to even; the result is the mantissa and the power of two
/// it is to be multiplied with, which is at least `lowest` (below it lies what the format cannot express).
///
/// `bits` is at most 64, and a sticky number must have more bits than that.
pub(super) fn round(number: Binary, bits: u32, lowest: i64) -> (u64, i64) {
    let Binary { mantissa, sticky, exponent } = number;
    let len = i64::from(128 - mantissa.leading_zeros());
    let excess = (len - i64::from(bits)).max(lowest - exponent);
    if excess <= 0 {
        debug_assert!(!sticky);
        return (mantissa as u64, exponent);
    }
    if excess > 128 {
        return (0, lowest);
    }
    // The half is the highest bit dropped; it alone decides unless everything below it is zero.
    let kept = mantissa.checked_shr(excess as u32).unwrap_or(0);
    let half = mantissa >> (excess - 1) & 1 == 1;
    let below = sticky || mantissa & ((1u128 << (excess - 1)) - 1) != 0;
    let up = half && (below || kept & 1 == 1);
    let kept = kept + u128::from(up);
    let exponent = exponent + excess;
    if kept >> bits == 0 { (kept as u64, exponent) } else { ((kept >> 1) as u64, exponent + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_even() {
        let round = |mantissa, sticky| round(Binary { mantissa, sticky, exponent: 0 }, 3, -10);
        assert_eq!(round(0b111, false), (0b111, 0));
        assert_eq!(round(0b1001, false), (0b100, 1));
        assert_eq!(round(0b1001, true), (0b101, 1));
        assert_eq!(round(0b1011, false), (0b110, 1));
        assert_eq!(round(0b1111, false), (0b100, 2));
        assert_eq!(round(u128::MAX, true), (0b100, 126));
    }

    #[test]
    fn rounds_at_the_lowest_exponent() {
        let round = |mantissa, sticky, exponent| round(Binary { mantissa, sticky, exponent }, 64, -10);
        assert_eq!(round(1, false, -11), (0, -10));
        assert_eq!(round(3, false, -11), (2, -10));
        assert_eq!(round(1 << 127, false, -10 - 128), (0, -10));
        assert_eq!(round(1 << 127, true, -10 - 128), (1, -10));
        assert_eq!(round(u128::MAX, false, -10 - 129), (0, -10));
    }

    #[test]
    fn exponents_saturate() {
        let Some(Spelling { magnitude: Magnitude::Decimal(digits), .. }) = scan(b"1e-99999999999999999999999999")
        else {
            panic!("a number");
        };
        assert_eq!(digits.exponent, -EXPONENT_MAX);
    }
}
