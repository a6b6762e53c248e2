//! C's `%.<precision>g`, which Lua, lua-cjson and `redis.call` use to turn numbers into text.
//!
//! Rust's own shortest-round-trip formatting would give other digits, and digits end up in stored values: a script that sets a
//! key to 0.1 stores `0.10000000000000001` on Redis and must do so here.

use std::io::Write as _;

/// Digits `redis.call` uses for numbers that are not integers, enough to read the same double back.
pub(crate) const ROUND_TRIP_PRECISION: usize = 17;

/// Appends `value` as C's `%.<precision>g` writes it. `precision` is at least 1.
pub(crate) fn write_general(out: &mut Vec<u8>, value: f64, precision: usize) {
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
        return;
    }
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() < exact_integer_bound(precision) && !negative_zero {
        write_integer(out, value as i64);
        return;
    }
    let scientific = format!("{:.*e}", precision - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').expect("the e format always writes an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small decimal integer");
    if exponent < -4 || exponent >= precision as i32 {
        write_scientific(out, mantissa, exponent);
    } else {
        write_fixed(out, mantissa, exponent);
    }
}

/// Appends a decimal integer.
pub(crate) fn write_integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Integers below this bound have at most `precision` digits and need no rounding.
fn exact_integer_bound(precision: usize) -> f64 {
    10f64.powi(precision.min(15) as i32)
}

fn write_scientific(out: &mut Vec<u8>, mantissa: &str, exponent: i32) {
    out.extend_from_slice(without_trailing_zeros(mantissa).as_bytes());
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(out, "e{sign}{:02}", exponent.abs()).expect("writing to memory cannot fail");
}

fn write_fixed(out: &mut Vec<u8>, mantissa: &str, exponent: i32) {
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|&c| c != '.').collect();
    let text = if exponent < 0 {
        format!("0.{}{digits}", "0".repeat((-exponent - 1) as usize))
    } else {
        let (whole, fraction) = digits.split_at((exponent as usize + 1).min(digits.len()));
        format!("{whole}.{fraction}")
    };
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(without_trailing_zeros(&text).as_bytes());
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn general(value: f64, precision: usize) -> String {
        let mut out = Vec::new();
        write_general(&mut out, value, precision);
        String::from_utf8(out).expect("numbers are ASCII")
    }

    #[test]
    fn matches_printf() {
        let cases: &[(f64, usize, &str)] = &[
            (0.1, 17, "0.10000000000000001"),
            (0.1, 14, "0.1"),
            (1.5, 17, "1.5"),
            (-0.0, 17, "-0"),
            (0.0, 14, "0"),
            (1e15, 17, "1000000000000000"),
            (9007199254740992.0, 17, "9007199254740992"),
            (9007199254740992.0, 14, "9.007199254741e+15"),
            (4611686018427387904.0, 17, "4.6116860184273879e+18"),
            (1e20, 17, "1e+20"),
            (1e-7, 17, "9.9999999999999995e-08"),
            (0.0001, 14, "0.0001"),
            (0.00001, 14, "1e-05"),
            (1e14, 14, "1e+14"),
            (99999999999999.0, 14, "99999999999999"),
            (1.0 / 3.0, 3, "0.333"),
            (-1.0 / 3.0, 14, "-0.33333333333333"),
            (1e100, 14, "1e+100"),
            (999.96, 4, "1000"),
            (123.0, 2, "1.2e+02"),
            (f64::INFINITY, 14, "inf"),
            (f64::NEG_INFINITY, 14, "-inf"),
        ];
        for &(value, precision, expected) in cases {
            assert_eq!(general(value, precision), expected, "%.{precision}g of {value:?}");
        }
    }
}
