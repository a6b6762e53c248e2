//! The 80-bit arithmetic behind INCRBYFLOAT and HINCRBYFLOAT, on integers.
//!
//! The reference calculates in the `long double` of x86: a sign, 64 bits of mantissa, exponents from -16445 (lowest
//! bit) to 16383 (highest bit). It reads both texts with correct rounding, adds with one rounding to nearest even, and
//! prints with 17 digits after the point, trailing zeros removed, never an exponent. To give the same digits on every
//! machine this is done here with plain integers: `u128` where the numbers are ordinary, big integers where they are
//! not.
//!
//! Only what the two commands need is here: read, add, print. No negation, no comparison, no NaN (no spelling yields
//! it, and the sum of opposite infinities is refused with every other infinite result).

use std::fmt::Write as _;

use num_bigint::BigUint;

use super::spelling::{Binary, Digits, Magnitude, Spelling, round, scan};

/// Texts of this length or longer are not numbers.
pub const LONG_DOUBLE_TEXT_MAX: usize = 5 * 1024;

const MANTISSA_BITS: u32 = 64;
const LOWEST_EXPONENT: i64 = -16_445;
/// A number is below two to this power.
const HIGHEST_EXPONENT: i64 = 16_384;
/// Decimal numbers at or above ten to this power overflow, whatever their digits.
const HIGHEST_DECIMAL: i64 = 4_940;
/// Decimal numbers below ten to this power are zero after rounding, whatever their digits.
const LOWEST_DECIMAL: i64 = -4_970;

/// Digits printed after the point.
const FRACTION_DIGITS: usize = 17;
const FRACTION_END: u128 = 10u128.pow(FRACTION_DIGITS as u32);

/// Why a float could not be incremented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatError {
    /// One of the texts is not a number, or is out of range.
    NotAFloat,
    /// The result, or one of the operands, is infinite.
    NotFinite,
}

impl std::fmt::Display for FloatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAFloat => "not a valid float",
            Self::NotFinite => "not a finite number",
        })
    }
}

impl std::error::Error for FloatError {}

/// Adds two numbers given as text and returns the sum as text; what INCRBYFLOAT stores.
///
/// ```
/// use redpoll_structures::decimal::{FloatError, add_long_double};
/// assert_eq!(add_long_double(b"3.0e3", b"200").unwrap(), b"3200");
/// assert_eq!(add_long_double(b"0.1", b"0.2").unwrap(), b"0.3");
/// assert_eq!(add_long_double(b"one", b"1"), Err(FloatError::NotAFloat));
/// assert_eq!(add_long_double(b"1", b"inf"), Err(FloatError::NotFinite));
/// ```
///
/// # Errors
/// [`FloatError::NotAFloat`] if a text is not a number, [`FloatError::NotFinite`] if the sum is infinite or undefined.
pub fn add_long_double(current: &[u8], increment: &[u8]) -> Result<Vec<u8>, FloatError> {
    let current = LongDouble::parse(current).ok_or(FloatError::NotAFloat)?;
    let increment = LongDouble::parse(increment).ok_or(FloatError::NotAFloat)?;
    Ok(current.add(increment).ok_or(FloatError::NotFinite)?.to_text())
}

/// A number of the 80-bit format, possibly infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Size,
}

/// Zero is a mantissa of zero. The highest bit of the mantissa need not be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
}

impl LongDouble {
    /// Reads a number as `strtold` does, the whole text; refuses NaN, overflow and underflow to zero.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= LONG_DOUBLE_TEXT_MAX {
            return None;
        }
        let Spelling { negative, magnitude } = scan(text)?;
        let magnitude = match magnitude {
            Magnitude::Infinity => Size::Infinite,
            Magnitude::Decimal(digits) | Magnitude::Hexadecimal(digits) if digits.is_zero() => Size::ZERO,
            Magnitude::Decimal(digits) => Size::from_number(decimal(digits)?).filter(Size::is_positive)?,
            Magnitude::Hexadecimal(digits) => Size::from_number(digits.hexadecimal()).filter(Size::is_positive)?,
        };
        Some(Self { negative, magnitude })
    }

    /// Tells whether the number is one of the infinities.
    #[must_use]
    pub fn is_infinite(self) -> bool {
        self.magnitude == Size::Infinite
    }

    /// Adds, rounding once to nearest even. `None` if an operand or the sum is infinite.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "the sum may not exist")]
    pub fn add(self, other: Self) -> Option<Self> {
        let (Size::Finite { mantissa: a, exponent: a_exponent }, Size::Finite { mantissa: b, exponent: b_exponent }) =
            (self.magnitude, other.magnitude)
        else {
            return None;
        };
        if b == 0 {
            return Some(self);
        }
        if a == 0 {
            return Some(other);
        }
        // With the highest bits set, the larger exponent is the larger number.
        let a = (a_exponent - i64::from(a.leading_zeros()), a << a.leading_zeros());
        let b = (b_exponent - i64::from(b.leading_zeros()), b << b.leading_zeros());
        let ((large, large_negative), (small, small_negative)) =
            if a >= b { ((a, self.negative), (b, other.negative)) } else { ((b, other.negative), (a, self.negative)) };
        // The large number goes below one free bit for the carry; what the small one loses to the right is sticky.
        const SPARE: u32 = 63;
        let distance = large.0 - small.0;
        let large_bits = u128::from(large.1) << SPARE;
        let small_bits = u128::from(small.1) << SPARE;
        let (shifted, sticky) = match u32::try_from(distance) {
            Ok(distance @ 0..128) => (small_bits >> distance, small_bits & ((1u128 << distance) - 1) != 0),
            _ => (0, true),
        };
        let mantissa = if large_negative == small_negative {
            large_bits + shifted
        } else {
            // A lost remainder is subtracted too: one less, and something is left of that one.
            large_bits - shifted - u128::from(sticky)
        };
        let number = Binary { mantissa, sticky, exponent: large.0 - i64::from(SPARE) };
        Some(Self { negative: large_negative, magnitude: Size::from_number(number)? })
    }

    /// Prints the number in plain decimals: at most 17 digits after the point, no trailing zeros, no exponent; `inf`
    /// and `-inf` if infinite. Negative numbers that print as zero have no sign.
    #[must_use]
    pub fn to_text(self) -> Vec<u8> {
        let sign = if self.negative { "-" } else { "" };
        let Size::Finite { mantissa, exponent } = self.magnitude else {
            return format!("{sign}inf").into_bytes();
        };
        let mut text = String::from(sign);
        let fraction = if exponent > 64 {
            text.push_str(&(BigUint::from(mantissa) << exponent as u64).to_string());
            0
        } else {
            let (whole, fraction) = split(mantissa, exponent);
            write!(text, "{whole}").expect("writing to a string cannot fail");
            fraction
        };
        if fraction != 0 {
            write!(text, ".{fraction:0FRACTION_DIGITS$}").expect("writing to a string cannot fail");
            text.truncate(text.trim_end_matches('0').len());
        }
        if text == "-0" {
            text.remove(0);
        }
        text.into_bytes()
    }
}

impl From<f64> for LongDouble {
    /// Converts exactly. A NaN, which has no place here, becomes an infinity.
    fn from(value: f64) -> Self {
        let bits = value.to_bits();
        let (field, mantissa) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        let magnitude = match field {
            0x7ff => Size::Infinite,
            0 => Size::Finite { mantissa, exponent: -1074 },
            _ => Size::Finite { mantissa: mantissa | 1 << 52, exponent: field - 1075 },
        };
        Self { negative: value.is_sign_negative(), magnitude }
    }
}

impl Size {
    const ZERO: Self = Self::Finite { mantissa: 0, exponent: 0 };

    /// Rounds to the format; `None` if too large.
    fn from_number(number: Binary) -> Option<Self> {
        if number.mantissa == 0 {
            return Some(Self::ZERO);
        }
        let (mantissa, exponent) = round(number, MANTISSA_BITS, LOWEST_EXPONENT);
        let len = i64::from(64 - mantissa.leading_zeros());
        (len + exponent <= HIGHEST_EXPONENT).then_some(Self::Finite { mantissa, exponent })
    }

    fn is_positive(&self) -> bool {
        !matches!(self, Self::Finite { mantissa: 0, .. })
    }
}

/// Splits a number below 2^128 into its whole part and its fraction in units of the last printed digit, rounded to
/// even.
fn split(mantissa: u64, exponent: i64) -> (u128, u64) {
    if exponent >= 0 {
        return (u128::from(mantissa) << exponent, 0);
    }
    let shift = exponent.unsigned_abs();
    if shift >= 128 {
        // Below 2^-64, less than half a unit.
        return (0, 0);
    }
    let mantissa = u128::from(mantissa);
    let whole = mantissa >> shift;
    // The fraction has at most 64 bits, the factor 57.
    let scaled = (mantissa & ((1 << shift) - 1)) * FRACTION_END;
    let (units, rest) = (scaled >> shift, scaled & ((1 << shift) - 1));
    let half = 1u128 << (shift - 1);
    let units = units + u128::from(rest > half || (rest == half && units & 1 == 1));
    if units == FRACTION_END { (whole + 1, 0) } else { (whole, units as u64) }
}

/// Converts decimal digits, not all zero, into a binary number with enough bits to be rounded; `None` if the number is
/// out of range by far.
fn decimal(digits: Digits<'_>) -> Option<Binary> {
    let mut significant = [digits.whole, digits.fraction].concat();
    let mut power = digits.exponent - digits.fraction.len() as i64;
    while significant.last() == Some(&b'0') {
        significant.pop();
        power += 1;
    }
    let zeros = significant.iter().take_while(|&&digit| digit == b'0').count();
    let significant = &significant[zeros..];
    let magnitude = power + significant.len() as i64;
    if !(LOWEST_DECIMAL..=HIGHEST_DECIMAL).contains(&magnitude) {
        return None;
    }
    if significant.len() <= 19 && (-18..=19).contains(&power) {
        let integer = significant.iter().fold(0, |sum, &digit| sum * 10 + u64::from(digit - b'0'));
        return Some(ordinary_decimal(integer, power as i32));
    }
    Some(extraordinary_decimal(significant, power))
}

/// `integer * 10^power` for powers from -18 to 19, where 128 bits suffice: the divisor has 60 bits, so that a dividend
/// with all 128 bits in use leaves at least 68 bits of quotient.
fn ordinary_decimal(integer: u64, power: i32) -> Binary {
    let factor = 10u128.pow(power.unsigned_abs());
    if power >= 0 {
        return Binary { mantissa: u128::from(integer) * factor, sticky: false, exponent: 0 };
    }
    let shift = u128::from(integer).leading_zeros();
    let dividend = u128::from(integer) << shift;
    Binary { mantissa: dividend / factor, sticky: !dividend.is_multiple_of(factor), exponent: -i64::from(shift) }
}

fn extraordinary_decimal(digits: &[u8], power: i64) -> Binary {
    let integer = BigUint::parse_bytes(digits, 10).expect("the scanner lets digits through only");
    let factor = BigUint::from(10u8).pow(power.unsigned_abs() as u32);
    if power >= 0 {
        return top_bits(&(integer * factor), false, 0);
    }
    // Shifted so that the quotient has more than 64 bits.
    let shift = (factor.bits() + 70).saturating_sub(integer.bits());
    let dividend = integer << shift;
    let quotient = &dividend / &factor;
    let exact = &quotient * &factor == dividend;
    top_bits(&quotient, !exact, -(shift as i64))
}

/// Keeps the highest 128 bits.
fn top_bits(number: &BigUint, sticky: bool, exponent: i64) -> Binary {
    let excess = number.bits().saturating_sub(128);
    let lost = number.trailing_zeros().is_some_and(|zeros| zeros < excess);
    let kept = number >> excess;
    let mantissa = kept.iter_u64_digits().rev().fold(0u128, |sum, part| sum << 64 | u128::from(part));
    Binary { mantissa, sticky: sticky || lost, exponent: exponent + excess as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `INCRBYFLOAT key increment` answered when the key held `current`.
    #[test]
    fn sums_as_seen() {
        for (current, increment, expected) in SUMS {
            let sum = add_long_double(current.as_bytes(), increment.as_bytes())
                .map(|text| String::from_utf8(text).unwrap())
                .unwrap_or_else(|error| format!("{error:?}"));
            assert_eq!(sum, *expected, "{current} + {increment}");
        }
    }

    /// Large and small numbers whose texts are too long for the table: length, first and last digits as seen.
    #[test]
    fn extremes() {
        let digits = |text: &str| add_long_double(text.as_bytes(), b"0").unwrap();
        let highest = digits("1.18973149535723176502e+4932");
        assert_eq!(highest.len(), 4933);
        assert!(highest.starts_with(b"1189731495357231765021263853030970205169"));
        assert_eq!(add_long_double(b"1.18973149535723176506e+4932", b"0"), Err(FloatError::NotAFloat));
        assert_eq!(
            add_long_double(b"1.18973149535723176502e+4932", b"1.18973149535723176502e+4932"),
            Err(FloatError::NotFinite)
        );
        assert_eq!(digits("3.7e-4951"), b"0");
        assert_eq!(add_long_double(b"1e-4951", b"0"), Err(FloatError::NotAFloat));
    }

    #[test]
    fn long_texts_are_refused() {
        let mut text = vec![b'1'; LONG_DOUBLE_TEXT_MAX - 1];
        text[1] = b'.';
        assert!(LongDouble::parse(&text).is_some());
        text.push(b'1');
        assert!(LongDouble::parse(&text).is_none());
    }

    #[test]
    fn floats_print_in_plain_decimals() {
        let cases = [
            (0.1, "0.10000000000000001"),
            (-1.5, "-1.5"),
            (1e22, "10000000000000000000000"),
            (1e-30, "0"),
            (-1e-30, "0"),
            (13.361389338970184, "13.36138933897018433"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(LongDouble::from(value).to_text(), expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn both_ways_of_reading_agree(integer in 1u64..10_000_000_000_000_000_000, power in -18i32..=19) {
            let digits = integer.to_string();
            prop_assert_eq!(
                Size::from_number(ordinary_decimal(integer, power)),
                Size::from_number(extraordinary_decimal(digits.as_bytes(), i64::from(power)))
            );
        }

        #[test]
        fn sums_of_integers_are_exact(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (a / 2, b / 2);
            let sum = add_long_double(a.to_string().as_bytes(), b.to_string().as_bytes()).unwrap();
            prop_assert_eq!(String::from_utf8(sum).unwrap(), (a + b).to_string());
        }

        #[test]
        fn addition_commutes(
            a in "-?[0-9]{1,25}(\\.[0-9]{0,25})?(e-?[0-9]{1,3})?",
            b in "-?[0-9]{1,25}(\\.[0-9]{0,25})?(e-?[0-9]{1,3})?",
        ) {
            prop_assert_eq!(add_long_double(a.as_bytes(), b.as_bytes()), add_long_double(b.as_bytes(), a.as_bytes()));
        }

        #[test]
        fn doubles_read_as_their_text(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite() && value != 0.0);
            // The exact decimal expansion of a double reads back as the same number.
            let read = LongDouble::parse(format!("{value:.1100}").as_bytes()).unwrap();
            prop_assert_eq!(read.add(LongDouble::from(-value)).unwrap().to_text(), b"0");
            prop_assert_eq!(read.to_text(), LongDouble::from(value).to_text());
        }

        #[test]
        fn any_text(text in proptest::collection::vec(any::<u8>(), 0..30), ascii in "[-+0-9a-fA-FxXpPinty.]{0,20}") {
            for text in [&text[..], ascii.as_bytes()] {
                if let Some(number) = LongDouble::parse(text) {
                    prop_assert!(!number.to_text().is_empty());
                }
            }
        }
    }

    #[rustfmt::skip]
    const SUMS: &[(&str, &str, &str)] = &[
        ("9223372036854775809", "-0x0.8000000000000001", "9223372036854775808"),
        ("9223372036854775811", "-0x0.8000000000000001p0", "9223372036854775810"),
        ("9223372036854775811", "-0.5", "9223372036854775810"),
        ("9223372036854775811", "-0x0.7fffffffffffffff8", "9223372036854775811"),
        ("9223372036854775811", "0x0.8000000000000001", "9223372036854775812"),
        ("9223372036854775808", "-0x0.4000000000000001", "9223372036854775807.5"),
        ("-9223372036854775809", "0x0.8000000000000001", "-9223372036854775808"),
        ("0", "1", "1"),
        ("0.1", "0.2", "0.3"),
        ("10.50", "0.1", "10.6"),
        ("10.6", "-5", "5.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("1", "-1", "0"),
        ("-0", "0", "0"),
        ("0.5", "-0.5", "0"),
        ("-1e-18", "0", "0"),
        ("1e-17", "0", "0.00000000000000001"),
        ("5e-18", "0", "0"),
        ("1.5e-17", "0", "0.00000000000000002"),
        ("0x1p-60", "0", "0"),
        ("-4e-18", "0", "0"),
        ("0.99999999999999999", "0.000000000000000005", "1"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551616", "1", "18446744073709551616"),
        ("18446744073709551616", "3", "18446744073709551620"),
        ("18446744073709551615.5", "0", "18446744073709551616"),
        ("1e30", "-1", "1000000000000000000024696061952"),
        ("1e20", "0.5", "100000000000000000000"),
        ("inf", "1", "NotFinite"),
        ("1", "-inf", "NotFinite"),
        ("inf", "-inf", "NotFinite"),
        ("nan", "1", "NotAFloat"),
        ("1", "nan", "NotAFloat"),
        (" 1", "1", "NotAFloat"),
        ("1 ", "1", "NotAFloat"),
        ("", "1", "NotAFloat"),
        ("1", "abc", "NotAFloat"),
        ("0x10", "0x.8", "16.5"),
        ("1e4932", "1e4932", "NotFinite"),
        ("1e5000", "0", "NotAFloat"),
        ("1e-4950", "1", "1"),
        ("1e-5000", "1", "NotAFloat"),
        ("3", "1.1e-5", "3.000011"),
        ("3.0e-4", "12345678.9", "12345678.90029999999933352"),
        ("-3.5", "3.5", "0"),
        ("123456789.123456789123456789", "987654321.987654321", "1111111111.11111111007630825"),
        ("0x1.0000000000000001p63", "0", "9223372036854775808"),
        ("0x1.00000000000000018p0", "0x1p-64", "1"),
        ("1.0000000000000000000542101086242752217003726400434970855712890625", "0", "1"),
        ("0x8000000000000000.8", "0", "9223372036854775808"),
        ("0x8000000000000001.8", "0", "9223372036854775810"),
        ("0x8000000000000000.80000000000000000000000000000001", "0", "9223372036854775809"),
        ("0xc5c7a6a3a450.c0p-14", "-629072", "13272154430.5674285888671875"),
        ("1171979.1486", "0.0006537042493440762", "1171979.14925370424930406"),
        ("-0.000000000000000076414", "-914761360679426580", "-914761360679426580"),
        ("0.000000000000017455", "148e14", "14800000000000000"),
        ("9.3465608723044488519e-7", "-72.9", "-72.89999906534391277"),
        ("0.000000000000056045", "0x5c97403e430ec66a787.3ec7a2ea20p-50", "24272128.97284287811817194"),
        ("2.706296298105961e12", "-7809768138.729070", "2698486529967.23193001747131348"),
        ("-30598948.862309873", "0xf177e62aa0a1df9fd78.932a473p-44", "4020567813.76516012102365494"),
        ("0.0000000065078", "53907779.298327495", "53907779.29832750150671927"),
        ("8.758487694e-4", "-0xec4af52ddf5d.2a7cfp-38", "-945.17033870137177953"),
        ("3.7e23", "4.2e-4", "370000000000000000000000"),
        ("-0x80f3fe39c0519088f5.bd628881ad1b72dbp-2", "0.00020204233535945403", "-594691198732072133184"),
        ("-17839195549082338491401724068106", "-70335", "-17839195549082338491190374039552"),
        ("109525498.6164", "-4.402018727951e0", "109525494.21438127204601187"),
        ("849e-23", "-0.000000019215", "-0.000000019215"),
        ("-3707952786", "-376e20", "-37600000000003707953152"),
        ("-0.000000000000065889", "-0xc7d45c1.66934036p34", "-3599808789983592664"),
        ("0.00000000000064589", "-0x0.878e4b98dp-36", "-0.00000000000705957"),
        ("0.056875", "0x66c147691b06f.28ap-39", "3288.21674344172431792"),
        ("2.8584263993515074313e21", "-9.2808669598404242e5", "2858426399351506503424"),
        ("0.636599033793523800413253e17", "3.469656e-14", "63659903379352380.04296875"),
        ("0.00000000000031527", "0x10d58dcdb46b446806.b5p54", "5594120820197745607744997103843147776"),
        ("-71566191797754990971599056634296855575", "638115", "-71566191797754990973364469574511099904"),
        ("-3.4537", "80953735970409772", "80953735970409768.546875"),
        ("689644297218627", "-0.000059289", "689644297218626.99993896484375"),
        ("-692644543161275102688224235.5", "1.5559586563763e-26", "-692644543161275102714134528"),
        ("0.27877", "919e21", "919000000000000000000000"),
        ("2.840689251706981e-24", "6.744096578676784", "6.744096578676784"),
        ("-6.48871786055471975e-4", "0.00000012084", "-0.00064875094605547"),
        ("0xead8dd63cb9.128415b401ba85p-11", "-0xe10755c97.d696af8p-50", "7880161991.59031369630247355"),
        ("41e-2", "840e8", "84000000000.40999999642372131"),
        ("731977808.3520379", "-955295669728450758545557094083", "-955295669728450758515108085760"),
        ("650e-692", "-1091.15948", "-1091.15947999999999996"),
        ("-0.38443390000251343", "0.0092631", "-0.37517080000251343"),
        ("5.16e-30", "-56458.56", "-56458.55999999999999872"),
        ("-8488313.42824818192", "-0.0000005929", "-8488313.42824877481962176"),
        ("507127452.0562796", "0.00000000000000648", "507127452.05627959998673759"),
        ("18.9844882", "4", "22.9844882"),
        ("-8.296619189471238684e22", "0.5486", "-82966191894712386838528"),
    ];
}
