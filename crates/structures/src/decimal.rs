//! Numbers as text, exactly as clients expect them.
//!
//! A value that looks like a number is stored as one and printed back when asked for, so reading must be strict enough
//! that printing gives back the very same bytes: [`parse_i64`] takes the canonical form alone. Floating point numbers
//! are read as `strtod` reads them and written in the shortest form that reads back the same ([`parse_f64`],
//! [`format_f64`]). The float increments of strings and hashes calculate in the 80-bit format of the x87 and print
//! plain decimals; [`LongDouble`] does the same arithmetic on integers, so results agree to the last digit on every
//! machine.
//!
//! No locale, no thousands separators, no allocation except for the texts of [`LongDouble`].

mod float;
mod long_double;
mod spelling;

pub use float::{F64_TEXT_MAX, format_f64, parse_f64};
pub use long_double::{FloatError, LONG_DOUBLE_TEXT_MAX, LongDouble, add_long_double};

/// Length of the longest integer text, `-9223372036854775808`.
pub const I64_TEXT_MAX: usize = 20;

/// Digits that always fit in a `u64`, whatever they are.
const SAFE_DIGITS: usize = 19;

/// `00` to `99`, so that two digits are written per division.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Reads a signed integer in canonical form: no leading zero, no `+`, no space, no `-0`.
///
/// ```
/// use redpoll_structures::decimal::parse_i64;
/// assert_eq!(parse_i64(b"-17"), Some(-17));
/// assert_eq!(parse_i64(b"017"), None);
/// ```
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => match parse_u64(digits)? {
            0 => None,
            magnitude => 0i64.checked_sub_unsigned(magnitude),
        },
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// Reads an unsigned integer in canonical form: no leading zero, no sign, no space.
#[must_use]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [] => return None,
        [b'0'] => return Some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    if text.len() > I64_TEXT_MAX {
        return None;
    }
    let (safe, rest) = text.split_at(text.len().min(SAFE_DIGITS));
    let mut value = 0u64;
    for &byte in safe {
        value = value * 10 + digit(byte)?;
    }
    for &byte in rest {
        value = value.checked_mul(10)?.checked_add(digit(byte)?)?;
    }
    Some(value)
}

fn digit(byte: u8) -> Option<u64> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(u64::from(value))
}

/// Writes `value` into `buf` and returns the text, which stands at the end of `buf`.
pub fn format_i64(value: i64, buf: &mut [u8; I64_TEXT_MAX]) -> &[u8] {
    let mut start = write_digits(value.unsigned_abs(), buf);
    if value < 0 {
        start -= 1;
        buf[start] = b'-';
    }
    &buf[start..]
}

/// Writes `value` into `buf` and returns the text, which stands at the end of `buf`.
pub fn format_u64(value: u64, buf: &mut [u8; I64_TEXT_MAX]) -> &[u8] {
    let start = write_digits(value, buf);
    &buf[start..]
}

/// Writes the digits against the end of `buf` and returns where they start. The largest `u64` fills `buf`; the largest
/// magnitude of an `i64` leaves room for its sign.
fn write_digits(mut value: u64, buf: &mut [u8; I64_TEXT_MAX]) -> usize {
    let mut start = I64_TEXT_MAX;
    while value >= 100 {
        start -= 2;
        buf[start..start + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value >= 10 {
        start -= 2;
        buf[start..start + 2].copy_from_slice(&PAIRS[value as usize]);
    } else {
        start -= 1;
        buf[start] = b'0' + value as u8;
    }
    start
}

/// Returns the length of the text of `value` without writing it.
#[must_use]
pub fn i64_text_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_integers_alone_are_read() {
        let cases: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("18446744073709551616", None),
            ("99999999999999999999", None),
            ("100000000000000000000", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            ("00", None),
            ("-01", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
            ("1e3", None),
            ("--1", None),
            ("1\0", None),
            ("0x10", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_i64(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers() {
        let cases: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("00", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_u64(text.as_bytes()), *expected, "{text:?}");
        }
    }

    fn check_integer(value: i64) {
        let mut buf = [0; I64_TEXT_MAX];
        let text = format_i64(value, &mut buf);
        assert_eq!(text, value.to_string().as_bytes());
        assert_eq!(i64_text_len(value), text.len());
        assert_eq!(parse_i64(text), Some(value));
        let mut buf = [0; I64_TEXT_MAX];
        let unsigned = value.cast_unsigned();
        assert_eq!(format_u64(unsigned, &mut buf), unsigned.to_string().as_bytes());
        assert_eq!(parse_u64(format_u64(unsigned, &mut buf)), Some(unsigned));
    }

    #[test]
    fn integers_at_every_power() {
        for power in 0..19 {
            for near in -2..=2 {
                check_integer(10i64.pow(power) + near);
                check_integer(-10i64.pow(power) + near);
            }
        }
        check_integer(i64::MIN);
        check_integer(i64::MAX);
    }

    proptest! {
        #[test]
        fn integers_come_back(value in any::<i64>(), shift in 0u32..64) {
            check_integer(value >> shift);
        }

        #[test]
        fn what_is_read_is_printed_back(text in "-?[0-9+ ]{0,21}") {
            if let Some(value) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text);
            }
        }
    }
}
