//! How long something lives.
//!
//! Zero and negative lifetimes are errors, never "the default" and never "for ever"; no expiry is the explicit
//! [`Ttl::Never`]. Absence of a lifetime in an input means the configured default, and nothing else does.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longest lifetime, in milliseconds: a hundred years. Keeps every sum with the clock exact in Lua's doubles.
pub const MAX_TTL_MS: u64 = 100 * 365 * 86_400_000;

/// A lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// Expires after so many milliseconds.
    Ms(NonZeroU64),
    /// Stays until deleted.
    Never,
}

impl Ttl {
    /// Takes milliseconds, 1 to [`MAX_TTL_MS`].
    pub fn ms(ms: i64) -> Result<Self> {
        match u64::try_from(ms).ok().and_then(NonZeroU64::new) {
            Some(ms) if ms.get() <= MAX_TTL_MS => Ok(Self::Ms(ms)),
            Some(_) => Err(Error::invalid("ttl_ms", format_args!("more than {MAX_TTL_MS} ms"))),
            None => Err(Error::invalid("ttl_ms", "must be greater than 0; say \"never\" for no expiry")),
        }
    }

    /// Takes seconds, with the bounds of [`Ttl::ms`].
    pub fn seconds(seconds: i64) -> Result<Self> {
        Self::ms(seconds.saturating_mul(1000))
    }

    /// Returns milliseconds, 0 for [`Ttl::Never`], as the scripts take them.
    pub(crate) fn script_ms(self) -> u64 {
        match self {
            Self::Ms(ms) => ms.get(),
            Self::Never => 0,
        }
    }
}

impl TryFrom<Duration> for Ttl {
    type Error = Error;

    fn try_from(duration: Duration) -> Result<Self> {
        Self::ms(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Returns whole milliseconds, the most there are for what does not fit.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a duration in milliseconds, at most `max`.
pub(crate) fn bounded_ms(field: &'static str, duration: Duration, max: Duration) -> Result<u64> {
    match duration <= max {
        true => Ok(ms(duration)),
        false => Err(Error::invalid(field, format_args!("more than {} ms", max.as_millis()))),
    }
}

/// Returns a lease in milliseconds, within its bounds.
pub(crate) fn lease_ms(lease: Duration, bounds: RangeInclusive<Duration>) -> Result<u64> {
    match bounds.contains(&lease) {
        true => Ok(ms(lease)),
        false => {
            let (least, most) = (bounds.start().as_millis(), bounds.end().as_millis());
            Err(Error::invalid("lease_ms", format_args!("must be {least} to {most}")))
        }
    }
}

/// A lifetime as operations take it: a number of milliseconds, or `"never"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TtlInput {
    /// Milliseconds, at least 1.
    Ms(i64),
    /// No expiry.
    Word(TtlWord),
}

/// The word for no expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TtlWord {
    /// Stays until deleted.
    Never,
}

impl TryFrom<TtlInput> for Ttl {
    type Error = Error;

    fn try_from(input: TtlInput) -> Result<Self> {
        match input {
            TtlInput::Ms(ms) => Self::ms(ms),
            TtlInput::Word(TtlWord::Never) => Ok(Self::Never),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_negative_are_errors() {
        assert!(Ttl::ms(0).is_err());
        assert!(Ttl::ms(-1).is_err());
        assert!(Ttl::seconds(0).is_err());
        assert!(Ttl::seconds(i64::MAX).is_err());
        assert_eq!(Ttl::seconds(2).unwrap(), Ttl::ms(2000).unwrap());
    }

    #[test]
    fn input_forms() {
        let input = |text: &str| {
            // As operations read it: from a value, not from text.
            let value: serde_json::Value = serde_json::from_str(text)?;
            serde_json::from_value::<TtlInput>(value).map(Ttl::try_from)
        };
        assert_eq!(input("\"never\"").unwrap(), Ok(Ttl::Never));
        assert_eq!(input("5").unwrap(), Ttl::ms(5));
        assert!(input("0").unwrap().is_err());
        assert!(input("\"soon\"").is_err());
    }
}
