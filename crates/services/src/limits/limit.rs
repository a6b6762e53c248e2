//! One limit, checked: a rule of the rate limiter with what a policy adds to it.
//!
//! Amounts are numbers and windows are durations, so that they cannot change places.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::ratelimit::{Algorithm, MAX_CAPACITY, Rule};

/// What a request costs in this unit, unless it says otherwise, is 1; in any other unit it is nothing.
pub(super) const REQUESTS: &str = "requests";

/// Most steps of a ladder.
const MAX_LADDER: usize = 16;

/// Longest block of a ladder, and longest memory of one: 366 days.
const MAX_LADDER_MS: u64 = 366 * 86_400_000;

/// So many units in so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many units.
    pub amount: u64,
    /// In how long.
    pub window: Duration,
}

impl Quota {
    /// Makes a quota for any window.
    pub fn new(amount: u64, window: Duration) -> Self {
        Self { amount, window }
    }

    /// Makes a quota for each second.
    pub fn per_second(amount: u64) -> Self {
        Self::new(amount, Duration::from_secs(1))
    }

    /// Makes a quota for each minute.
    pub fn per_minute(amount: u64) -> Self {
        Self::new(amount, Duration::from_secs(60))
    }

    /// Makes a quota for each hour.
    pub fn per_hour(amount: u64) -> Self {
        Self::new(amount, Duration::from_secs(3600))
    }

    /// Makes a quota for each day of 24 hours.
    pub fn per_day(amount: u64) -> Self {
        Self::new(amount, Duration::from_secs(86_400))
    }
}

/// Whether a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It refuses what is too much.
    #[default]
    Enforce,
    /// It counts as if it were enforced, and says what it would have decided.
    Shadow,
}

/// What happens to a scope that is refused too often: it is blocked, for longer each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    pub(super) refusals: u64,
    pub(super) within_ms: u64,
    pub(super) blocks_ms: Vec<u64>,
    pub(super) forget_ms: u64,
}

impl Escalation {
    /// After `refusals` within `within` the scope is blocked for the first of `blocks`, the next time for the second,
    /// and so on; the last repeats. A scope that has stayed out of blocks for `forget` begins with the first again.
    pub fn new(refusals: u64, within: Duration, blocks: &[Duration], forget: Duration) -> Result<Self> {
        if refusals == 0 {
            return Err(Error::invalid("refusals", "must be at least 1"));
        }
        if blocks.is_empty() || blocks.len() > MAX_LADDER {
            return Err(Error::invalid("blocks", format_args!("must be 1 to {MAX_LADDER} lengths")));
        }
        let ms = |field: &'static str, duration: &Duration| match u64::try_from(duration.as_millis()) {
            Ok(ms) if (1..=MAX_LADDER_MS).contains(&ms) => Ok(ms),
            _ => Err(Error::invalid(field, format_args!("must be 1 to {MAX_LADDER_MS} ms"))),
        };
        Ok(Self {
            refusals,
            within_ms: ms("within", &within)?,
            blocks_ms: blocks.iter().map(|block| ms("blocks", block)).collect::<Result<_>>()?,
            forget_ms: ms("forget", &forget)?,
        })
    }
}

/// A limit, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub(super) rule: Rule,
    pub(super) unit: String,
    pub(super) debt: u64,
    pub(super) mode: Mode,
    pub(super) escalation: Option<Escalation>,
}

impl Limit {
    /// Makes a limit of requests. Within a scope its name tells it from others.
    pub fn new(name: impl Into<String>, algorithm: Algorithm, quota: Quota) -> Result<Self> {
        let window_ms = crate::ttl::ms(quota.window);
        let name = name.into();
        if name.chars().any(char::is_control) {
            return Err(Error::invalid("limit", "a name has no control characters"));
        }
        let rule = Rule::new(name, algorithm, quota.amount, window_ms)?;
        Ok(Self { rule, unit: REQUESTS.to_owned(), debt: 0, mode: Mode::Enforce, escalation: None })
    }

    /// Sets how much a token bucket holds; without this, its quota's amount.
    pub fn with_burst(mut self, burst: u64) -> Result<Self> {
        self.rule = self.rule.with_burst(burst)?;
        self.check_debt(self.debt)?;
        Ok(self)
    }

    /// Counts another unit than requests, such as `tokens`.
    pub fn with_unit(mut self, unit: impl Into<String>) -> Result<Self> {
        self.unit = unit.into();
        check_name("unit", &self.unit)?;
        Ok(self)
    }

    /// Sets how far a commit or a penalty may go beyond the limit. Debt weighs as what was used does, and for as long.
    pub fn with_debt(mut self, debt: u64) -> Result<Self> {
        self.check_debt(debt)?;
        self.debt = debt;
        Ok(self)
    }

    /// Lets the limit count and refuse nobody.
    #[must_use]
    pub fn in_shadow(mut self) -> Self {
        self.mode = Mode::Shadow;
        self
    }

    /// Blocks scopes that this limit refuses too often.
    #[must_use]
    pub fn with_escalation(mut self, escalation: Escalation) -> Self {
        self.escalation = Some(escalation);
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        self.rule.name()
    }

    /// Returns the rule of the rate limiter.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    fn check_debt(&self, debt: u64) -> Result<()> {
        let most = self.rule.capacity().max(self.rule.limit()).checked_add(debt);
        match most.and_then(|most| most.checked_mul(self.rule.window_ms())) {
            Some(capacity) if capacity <= MAX_CAPACITY => Ok(()),
            _ => Err(Error::invalid("debt", format_args!("with the limit, times the window, is above {MAX_CAPACITY}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked() {
        let limit = |quota| Limit::new("l", Algorithm::TokenBucket, quota);
        assert!(limit(Quota::per_minute(0)).is_err());
        assert!(limit(Quota::new(1, Duration::ZERO)).is_err());
        assert!(Limit::new("a\nb", Algorithm::FixedWindow, Quota::per_hour(1)).is_err());
        let limit = limit(Quota::per_day(10)).unwrap();
        assert!(limit.clone().with_debt(1 << 40).is_err());
        assert!(limit.clone().with_debt(10).unwrap().with_burst(1 << 40).is_err());
        assert_eq!(limit.with_burst(50).unwrap().rule().capacity(), 50);
    }

    #[test]
    fn ladders_are_checked() {
        let second = Duration::from_secs(1);
        assert!(Escalation::new(0, second, &[second], second).is_err());
        assert!(Escalation::new(1, second, &[], second).is_err());
        assert!(Escalation::new(1, second, &[Duration::ZERO], second).is_err());
        assert!(Escalation::new(1, second, &[second; MAX_LADDER + 1], second).is_err());
        assert_eq!(Escalation::new(1, second, &[second, second * 2], second).unwrap().blocks_ms, [1000, 2000]);
    }
}
