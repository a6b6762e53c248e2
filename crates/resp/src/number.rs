//! Numbers as the protocol spells them.
//!
//! Lengths and counts are decimal without plus sign, leading zeros, blanks or negative zero: one number, one spelling.
//! Redis refuses every other spelling, so does this. Doubles are written as the shortest digits that read back as the
//! same value, laid out as C's `%.17g` would lay them out.

use std::io::Write as _;

/// Most digits an `i64` has.
const MAX_DIGITS: usize = 19;

/// Reads a strict decimal integer; `None` if it is spelled any other way or does not fit.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= MAX_DIGITS => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits stay below 10^19, which an u64 holds.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Reads a RESP3 double: decimal, `inf`, `-inf` or `nan`; finite digits that overflow are refused.
pub(crate) fn parse_double(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" => return Some(f64::INFINITY),
        b"-inf" => return Some(f64::NEG_INFINITY),
        b"nan" | b"-nan" => return Some(f64::NAN),
        _ => {}
    }
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// Exponents from which `%.17g` switches to scientific notation: below the first, at or above the second.
const PLAIN_EXPONENTS: std::ops::Range<i32> = -4..17;

/// Appends the shortest text that reads back as `value`.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    // Rust spells it `-1.25e-7`: take the digits and the exponent from there and lay them out anew.
    let mut scratch = [0_u8; 32];
    let mut rest = &mut scratch[..];
    write!(rest, "{value:e}").expect("17 digits, sign, point and exponent fit 32 bytes");
    let unused = rest.len();
    let text = &scratch[..scratch.len() - unused];
    let split = memchr::memchr(b'e', text).expect("the format always has an exponent");
    let exponent = parse_integer(&text[split + 1..]).expect("the exponent is a small integer") as i32;
    let mut digits = [0_u8; 24];
    let mut count = 0;
    for byte in text[..split].iter().filter(|byte| byte.is_ascii_digit()) {
        digits[count] = *byte;
        count += 1;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if PLAIN_EXPONENTS.contains(&exponent) {
        write_plain(&digits[..count], exponent, out);
    } else {
        write_scientific(&digits[..count], exponent, out);
    }
}

fn write_plain(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        return out.extend_from_slice(digits);
    }
    let before_point = exponent as usize + 1;
    if digits.len() <= before_point {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', before_point - digits.len()));
    } else {
        out.extend_from_slice(&digits[..before_point]);
        out.push(b'.');
        out.extend_from_slice(&digits[before_point..]);
    }
}

fn write_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let magnitude = exponent.unsigned_abs();
    if magnitude < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        let good: &[(&str, i64)] = &[
            ("0", 0),
            ("7", 7),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("1000000000000000000", 1_000_000_000_000_000_000),
        ];
        for (text, value) in good {
            assert_eq!(parse_integer(text.as_bytes()), Some(*value), "{text}");
        }
        let bad = [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            " 1",
            "1 ",
            "1a",
            "a",
            "0x1",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "9999999999999999999",
            "10000000000000000000",
            "99999999999999999999999999",
        ];
        for text in bad {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_are_shortest_and_laid_out_like_printf() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (2.125, "2.125"),
            (100.0, "100"),
            (123456.789, "123456.789"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (2.5e-10, "2.5e-10"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, expect) in cases {
            let mut out = Vec::new();
            write_double(*value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), *expect);
            let back = parse_double(&out).expect("own output reads back");
            assert!(back.to_bits() == value.to_bits() || value.is_nan(), "{expect} read back as {back}");
        }
        for text in ["", "x", "1e999", "infinity", "1 ", "0x10", "1e", "-", "."] {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
    }
}
