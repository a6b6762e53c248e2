//! 64-bit floats: scores, expiry in seconds, coordinates.
//!
//! # Reading
//! As `strtod` reads the whole text (see the `spelling` module), with three refusals: NaN, a number too large (`1e309`;
//! infinity must be spelt), and a number so small that it would become zero although it is not (`1e-400`).
//!
//! # Writing
//! As Redis does since 7.2. NaN is `nan`, the infinities `inf` and `-inf`, zeros `0` and `-0`. An integer below 2^62 in
//! magnitude is printed as one. Everything else is printed with its shortest digits, those that just suffice to read
//! back the same number. Let `n` be their count and the number be their integer times 10^`k`; then with
//! `e = |k + n - 1|`, the size of the exponent in scientific notation, the layout is
//!
//! | when | layout | examples |
//! |---|---|---|
//! | `k >= 0` and `e < n + 7` (6 if negative) | integer, padded with zeros | `12345678901234568000000` |
//! | `k < 0` and (`k > -7` or `e < 4`) | plain decimal | `0.1`, `0.000001`, `1234.56789012345` |
//! | otherwise | scientific, signed exponent without padding | `1e+21`, `1.5e-9`, `1.23456789012345e+4` |
//!
//! Redis 7.0 and older write `%.17g` instead (`0.10000000000000001`): the number is the same, the text is not.

use std::fmt::Write as _;

use super::spelling::{Magnitude, Spelling, round, scan};
use super::{I64_TEXT_MAX, format_i64, parse_u64};

/// Length of a buffer that holds every text [`format_f64`] writes.
pub const F64_TEXT_MAX: usize = 32;

/// Integers up to here (exclusive) are printed by the integer printer; the cast cannot overflow.
const INTEGER_END: f64 = (1i64 << 62) as f64;

const MANTISSA_BITS: u32 = 53;
const LOWEST_EXPONENT: i64 = -1074;

/// Reads a float as `strtod` does, the whole text; refuses NaN, overflow and underflow to zero.
///
/// ```
/// use redpoll_structures::decimal::parse_f64;
/// assert_eq!(parse_f64(b"-.5e1"), Some(-5.0));
/// assert_eq!(parse_f64(b"+inf"), Some(f64::INFINITY));
/// assert_eq!(parse_f64(b"0x10"), Some(16.0));
/// assert_eq!(parse_f64(b" 1"), None);
/// assert_eq!(parse_f64(b"1e309"), None);
/// ```
#[must_use]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (sign, digits) = match text {
        b"+inf" | b"inf" => return Some(f64::INFINITY),
        b"-inf" => return Some(f64::NEG_INFINITY),
        [b'-', digits @ ..] => (-1.0, digits),
        digits => (1.0, digits),
    };
    if let Some(magnitude) = parse_digits(digits) {
        return Some(sign * magnitude as f64);
    }
    // The standard library reads the same decimal syntax; whatever it finds ordinary is right.
    let ordinary = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    if let Some(value) = ordinary
        && value.is_finite()
        && value != 0.0
    {
        return Some(value);
    }
    let Spelling { negative, magnitude } = scan(text)?;
    let value = match magnitude {
        Magnitude::Infinity => f64::INFINITY,
        Magnitude::Decimal(digits) if digits.is_zero() => 0.0,
        Magnitude::Decimal(_) => return None,
        Magnitude::Hexadecimal(digits) if digits.is_zero() => 0.0,
        Magnitude::Hexadecimal(digits) => {
            let (mantissa, exponent) = round(digits.hexadecimal(), MANTISSA_BITS, LOWEST_EXPONENT);
            assemble(mantissa, exponent).filter(|&value| value != 0.0)?
        }
    };
    Some(if negative { -value } else { value })
}

/// Reads an integer of digits alone; zeros may lead.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    parse_u64(&digits[zeros.min(digits.len().saturating_sub(1))..])
}

/// `mantissa * 2^exponent`, exactly; `None` beyond the largest number. The mantissa has at most 53 bits, and the
/// exponent is no less than the lowest.
fn assemble(mantissa: u64, exponent: i64) -> Option<f64> {
    let len = i64::from(64 - mantissa.leading_zeros());
    if mantissa == 0 {
        return Some(0.0);
    }
    if len + exponent > 1024 {
        return None;
    }
    let spare = (i64::from(MANTISSA_BITS) - len).min(exponent - LOWEST_EXPONENT);
    let (mantissa, exponent) = (mantissa << spare, exponent - spare);
    let hidden = 1u64 << (MANTISSA_BITS - 1);
    // A mantissa without the hidden bit is a subnormal: its exponent field is zero.
    let field = if mantissa & hidden == 0 { 0 } else { (exponent - LOWEST_EXPONENT + 1) as u64 };
    Some(f64::from_bits(field << (MANTISSA_BITS - 1) | mantissa & (hidden - 1)))
}

/// Writes `value` into `buf` and returns the text: the shortest that reads back the same.
///
/// ```
/// use redpoll_structures::decimal::{F64_TEXT_MAX, format_f64};
/// let mut buf = [0; F64_TEXT_MAX];
/// assert_eq!(format_f64(3.0, &mut buf), b"3");
/// assert_eq!(format_f64(0.1, &mut buf), b"0.1");
/// assert_eq!(format_f64(1e21, &mut buf), b"1e+21");
/// ```
pub fn format_f64(value: f64, buf: &mut [u8; F64_TEXT_MAX]) -> &[u8] {
    let mut text = Cursor { buf, len: 0 };
    if value.is_nan() {
        text.put(b"nan");
    } else if value.is_infinite() {
        text.put(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        text.put(if value.is_sign_positive() { b"0" } else { b"-0" });
    } else if value.abs() < INTEGER_END && value as i64 as f64 == value {
        text.put(format_i64(value as i64, &mut [0; I64_TEXT_MAX]));
    } else {
        write_shortest(value, &mut text);
    }
    let Cursor { buf, len } = text;
    &buf[..len]
}

/// Lays out the shortest digits by the table at the top.
fn write_shortest(value: f64, text: &mut Cursor<'_>) {
    let mut scratch = [0; F64_TEXT_MAX];
    let (digits, scientific) = shortest_digits(value.abs(), &mut scratch);
    let n = digits.len() as i32;
    let k = scientific - n + 1;
    let negative = value < 0.0;
    let padding_end = if negative { 6 } else { 7 };
    if negative {
        text.put(b"-");
    }
    if k >= 0 && scientific.abs() < n + padding_end {
        text.put(digits);
        text.zeros(k as usize);
    } else if k < 0 && (k > -7 || scientific.abs() < 4) {
        if scientific < 0 {
            text.put(b"0.");
            text.zeros((-scientific - 1) as usize);
            text.put(digits);
        } else {
            let (whole, fraction) = digits.split_at(scientific as usize + 1);
            text.put(whole);
            text.put(b".");
            text.put(fraction);
        }
    } else {
        let (first, rest) = digits.split_at(1);
        text.put(first);
        if !rest.is_empty() {
            text.put(b".");
            text.put(rest);
        }
        write!(text, "e{scientific:+}").expect("the buffer holds every layout");
    }
}

/// Returns the shortest digits of a positive number, without trailing zeros, and the exponent of the first one.
fn shortest_digits(value: f64, scratch: &mut [u8; F64_TEXT_MAX]) -> (&[u8], i32) {
    let mut text = Cursor { buf: scratch, len: 0 };
    write!(text, "{value:e}").expect("17 digits, a point and an exponent fit");
    let Cursor { buf, len } = text;
    let mark = buf[..len].iter().position(|&byte| byte == b'e').expect("scientific notation has an exponent");
    let (negative, magnitude) = match &buf[mark + 1..len] {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = magnitude.iter().fold(0, |sum, &digit| sum * 10 + i32::from(digit - b'0'));
    let exponent = if negative { -magnitude } else { magnitude };
    // `d.ddd` becomes `dddd`.
    if mark == 1 {
        return (&buf[..1], exponent);
    }
    buf[1] = buf[0];
    (&buf[1..mark], exponent)
}

/// Writes into a fixed buffer. Every layout is shorter than the buffer: at most a sign, seven zeros and a point around
/// 17 digits, or six bytes of exponent behind them.
struct Cursor<'a> {
    buf: &'a mut [u8; F64_TEXT_MAX],
    len: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.buf[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn zeros(&mut self, count: usize) {
        self.buf[self.len..self.len + count].fill(b'0');
        self.len += count;
    }
}

impl std::fmt::Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        String::from_utf8(format_f64(value, &mut [0; F64_TEXT_MAX]).to_vec()).unwrap()
    }

    /// What `ZADD key text member` accepted, and the score `ZSCORE` then showed, read by the standard library.
    #[test]
    fn read_as_seen() {
        for (text, expected) in READ {
            let expected = expected.map(|shown| shown.parse::<f64>().unwrap());
            assert_eq!(parse_f64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn negative_zero_is_read() {
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
        assert!(parse_f64(b"-0.0").unwrap().is_sign_negative());
        assert!(parse_f64(b"-0x0").unwrap().is_sign_negative());
        assert!(parse_f64(b"0").unwrap().is_sign_positive());
    }

    #[test]
    fn layouts() {
        for (value, expected) in WRITTEN {
            assert_eq!(text(*value), *expected);
        }
    }

    proptest! {
        #[test]
        fn floats_come_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let text = text(value);
            prop_assert!(text.len() <= 25, "{text}");
            if value.is_nan() {
                prop_assert_eq!(text, "nan");
            } else {
                prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits));
            }
        }

        #[test]
        fn short_decimals_come_back(digits in any::<u32>(), power in -12i32..25) {
            let value = format!("{digits}e{power}").parse::<f64>().unwrap();
            prop_assert_eq!(parse_f64(text(value).as_bytes()), Some(value));
            prop_assert_eq!(parse_f64(text(-value).as_bytes()), Some(-value));
        }

        #[test]
        fn hexadecimal_floats_are_exact(bits in any::<u64>()) {
            let value = f64::from_bits(bits & (u64::MAX >> 1));
            prop_assume!(value.is_finite());
            let mantissa = bits & ((1 << 52) - 1);
            let field = (bits >> 52 & 0x7ff) as i64;
            let written = if field == 0 {
                format!("0x{mantissa:x}p-1074")
            } else {
                format!("0x1.{mantissa:013x}p{}", field - 1023)
            };
            prop_assert_eq!(parse_f64(written.as_bytes()), Some(value), "{}", written);
        }

        #[test]
        fn any_text(text in proptest::collection::vec(any::<u8>(), 0..30), ascii in "[-+0-9a-fA-FxXpPinty.]{0,20}") {
            for text in [&text[..], ascii.as_bytes()] {
                if let Some(value) = parse_f64(text) {
                    prop_assert!(!value.is_nan());
                }
            }
        }
    }

    #[rustfmt::skip]
    const WRITTEN: &[(f64, &str)] = &[
        (0.0, "0"), (-0.0, "-0"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf"), (f64::NAN, "nan"),
        (3.0, "3"), (-3.0, "-3"), (1e8, "100000000"), (1e17, "100000000000000000"),
        (4611686018427387392.0, "4611686018427387392"),
        (4611686018427387904.0, "4611686018427388000"), (-4611686018427387904.0, "-4611686018427388000"),
        (1e19, "1e+19"), (1e21, "1e+21"), (-1e21, "-1e+21"), (1.5e300, "1.5e+300"),
        (12345678901234568e6, "12345678901234568000000"), (-1234567890123456e6, "-1234567890123456000000"),
        (1e23, "1e+23"),
        (987654321012e7, "9876543210120000000"), (-987654321012e7, "-9.87654321012e+18"), (12e18, "1.2e+19"),
        (0.1, "0.1"), (0.5, "0.5"), (-0.25, "-0.25"), (1.5, "1.5"), (-2.75, "-2.75"), (100.25, "100.25"),
        (0.000001, "0.000001"), (0.0000012, "1.2e-6"), (0.0000001, "1e-7"), (1.5e-9, "1.5e-9"),
        (0.001234567890123, "0.001234567890123"), (0.0001234567890123, "1.234567890123e-4"),
        (1234.56789012345, "1234.56789012345"), (12345.6789012345, "1.23456789012345e+4"),
        (12345.678901, "12345.678901"),
        (5e-324, "5e-324"), (f64::MAX, "1.7976931348623157e+308"), (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (-f64::MAX, "-1.7976931348623157e+308"), (0.30000000000000004, "0.30000000000000004"),
    ];

    #[rustfmt::skip]
    const READ: &[(&str, Option<&str>)] = &[
        ("", None),
        ("0", Some("0")),
        ("-0", Some("0")),
        ("+0", Some("0")),
        ("1", Some("1")),
        ("+1", Some("1")),
        ("++1", None),
        (" 1", None),
        ("1 ", None),
        ("\t1", None),
        ("1\n", None),
        (".", None),
        ("-", None),
        ("+", None),
        (".5", Some("0.5")),
        ("5.", Some("5")),
        ("-.5", Some("-0.5")),
        ("-5.", Some("-5")),
        ("1e5", Some("100000")),
        ("1E5", Some("100000")),
        ("1e+5", Some("100000")),
        ("1e-5", Some("1.0000000000000001e-05")),
        ("1e", None),
        ("1e+", None),
        ("e5", None),
        (".e5", None),
        ("1.5e3", Some("1500")),
        ("0x1p3", Some("8")),
        ("0X1P3", Some("8")),
        ("0x1p", None),
        ("0x10", Some("16")),
        ("0x.8", Some("0.5")),
        ("0x", None),
        ("0x.", None),
        ("-0x1p-3", Some("-0.125")),
        ("0x1p+3", Some("8")),
        ("0xAbC.dEfp1", Some("5497.74169921875")),
        ("0x1e5", Some("485")),
        ("inf", Some("inf")),
        ("+inf", Some("inf")),
        ("-inf", Some("-inf")),
        ("INF", Some("inf")),
        ("Infinity", Some("inf")),
        ("-infinity", Some("-inf")),
        ("infin", None),
        ("infx", None),
        ("nan", None),
        ("NaN", None),
        ("-nan", None),
        ("nan(1)", None),
        ("1e308", Some("1e+308")),
        ("1.7976931348623157e308", Some("1.7976931348623157e+308")),
        ("1.7976931348623159e308", None),
        ("1e309", None),
        ("-1e309", None),
        ("1e-308", Some("9.9999999999999991e-309")),
        ("5e-324", Some("4.9406564584124654e-324")),
        ("2e-324", None),
        ("3e-324", Some("4.9406564584124654e-324")),
        ("1e-400", None),
        ("0e-400", Some("0")),
        ("0e999999999999", Some("0")),
        ("1e99999999999999999999", None),
        ("1e-99999999999999999999", None),
        ("00012", Some("12")),
        ("1_000", None),
        ("1,5", None),
        ("0x1p1023", Some("8.9884656743115795e+307")),
        ("0x1p1024", None),
        ("0x1p-1074", Some("4.9406564584124654e-324")),
        ("0x1p-1075", None),
        ("0x1.8p-1075", Some("4.9406564584124654e-324")),
        ("0x1p-1080", None),
        ("0x0p99999", Some("0")),
        ("0x1.fffffffffffff7p1023", Some("1.7976931348623157e+308")),
        ("0x1.fffffffffffff8p1023", None),
        ("1\0", None),
        ("0b1", None),
        ("1d", None),
        ("1f", None),
        ("９", None),
        ("0.1e1e1", None),
        ("1e1.5", None),
        ("0x1p1.5", None),
        ("1e 5", None),
        ("- 1", None),
        ("9007199254740993", Some("9007199254740992")),
        ("9007199254740992.5", Some("9007199254740992")),
        ("0x20000000000001", Some("9007199254740992")),
        ("0x1.00000000000008p0", Some("1")),
        ("0x1.000000000000080001p0", Some("1.0000000000000002")),
        ("0x1.00000000000018p0", Some("1.0000000000000004")),
        ("123456789012345678901234567890", Some("1.2345678901234568e+29")),
    ];
}
