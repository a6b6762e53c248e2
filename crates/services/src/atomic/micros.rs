//! Amounts with six decimals, as integers.
//!
//! A millionth is the unit in which prices of tokens and fractions of cents are whole, and 64 bits of it reach nine
//! trillion. Text is read and written digit by digit; no float ever holds an amount.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Millionths in a whole.
const WHOLE: u64 = 1_000_000;

/// An amount in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl FromStr for Micros {
    type Err = Error;

    /// Reads `12`, `-0.5` or `3.141592`: digits, and up to six behind a point. More digits are refused, not rounded.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason: &str| Error::invalid("amount", format_args!("{text:?} {reason}"));
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(wrong("is no decimal number"));
        }
        if fraction.len() > 6 {
            return Err(wrong("has more than six decimals"));
        }
        let too_large = || wrong("is too large");
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let fraction: u64 = format!("{fraction:0<6}").parse().map_err(|_| too_large())?;
        let micros = whole.checked_mul(WHOLE).and_then(|micros| micros.checked_add(fraction)).ok_or_else(too_large)?;
        let signed = if negative { 0_i64.checked_sub_unsigned(micros) } else { 0_i64.checked_add_unsigned(micros) };
        signed.map(Self).ok_or_else(too_large)
    }
}

impl fmt::Display for Micros {
    /// Writes without needless zeros.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, micros) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (whole, fraction) = (micros / WHOLE, micros % WHOLE);
        if fraction == 0 {
            return write!(formatter, "{sign}{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(formatter, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (text, micros, canonical) in [
            ("0", 0, "0"),
            ("-0", 0, "0"),
            ("12", 12_000_000, "12"),
            ("0.1", 100_000, "0.1"),
            ("-0.000001", -1, "-0.000001"),
            ("1.50", 1_500_000, "1.5"),
            ("9223372036854.775807", i64::MAX, "9223372036854.775807"),
            ("-9223372036854.775808", i64::MIN, "-9223372036854.775808"),
        ] {
            let amount: Micros = text.parse().unwrap();
            assert_eq!((amount.0, amount.to_string().as_str()), (micros, canonical), "{text}");
        }
        for bad in
            ["", "-", ".", "1.", ".5", "+1", "1e3", "0.0000001", "1,5", "9223372036854.775808", "--1", "1.-5", " 1"]
        {
            assert!(bad.parse::<Micros>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tenths_add_up() {
        let tenth: Micros = "0.1".parse().unwrap();
        let exact = Micros((0..10).map(|_| tenth.0).sum());
        assert_eq!(exact.to_string(), "1");
        // What floats make of it.
        let drifted: f64 = std::iter::repeat_n(0.1, 10).sum();
        assert_ne!(drifted.to_string(), "1");
    }
}
