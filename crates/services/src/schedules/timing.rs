//! When a schedule's ticks come.
//!
//! A tick is a moment in milliseconds since 1970 that follows from the timing alone: whoever computes it, on whatever machine and however
//! late, comes to the same. Every-n counts from an anchor and not from the last run, so it does not drift.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::cron::{self, Cron};
use crate::error::{Error, Result};

/// Shortest period.
pub const MIN_PERIOD: Duration = Duration::from_millis(100);

/// Longest period.
pub const MAX_PERIOD: Duration = Duration::from_secs(366 * 86_400);

/// Longest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);

/// Last moment there is: the year 2200.
pub const MAX_MOMENT_MS: u64 = 7_258_118_400_000;

/// Ticks between which the distance is looked at when a jitter is checked.
const DISTANCES: usize = 20;

/// What makes the ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Whenever an expression of five fields, or six with seconds first, matches the clock of a zone.
    Cron {
        /// The expression, such as `30 2 * * 1-5`, or `@daily`.
        expression: String,
        /// Name of the zone in the IANA database, such as `Europe/Berlin`.
        zone: String,
    },
    /// Every so often, counted from an anchor.
    Every {
        /// How often, [`MIN_PERIOD`] to [`MAX_PERIOD`].
        period: Duration,
        /// A moment that would be a tick, ms since 1970; the start if there is one, else when the schedule was put.
        anchor_ms: Option<u64>,
    },
    /// Once.
    At {
        /// When, ms since 1970.
        at_ms: u64,
    },
}

/// When ticks come, and between which moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// What makes the ticks.
    pub spec: Spec,
    /// No tick comes before this, ms since 1970.
    pub start_ms: Option<u64>,
    /// No tick comes after this.
    pub end_ms: Option<u64>,
}

impl Timing {
    /// Makes a timing without beginning and end.
    pub fn new(spec: Spec) -> Self {
        Self { spec, start_ms: None, end_ms: None }
    }

    /// Makes one of a cron expression in a zone.
    pub fn cron(expression: impl Into<String>, zone: impl Into<String>) -> Self {
        Self::new(Spec::Cron { expression: expression.into(), zone: zone.into() })
    }

    /// Makes one that comes every so often.
    pub fn every(period: Duration) -> Self {
        Self::new(Spec::Every { period, anchor_ms: None })
    }

    /// Makes one that comes once.
    pub fn at(at_ms: u64) -> Self {
        Self::new(Spec::At { at_ms })
    }
}

/// A timing whose expression has been read and whose anchor is known.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    rule: Rule,
    start: i64,
    end: i64,
    /// The anchor of an every-n, to be kept.
    pub(super) anchor_ms: u64,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<Cron>),
    Every { period: i64, anchor: i64 },
    At(i64),
}

impl Calendar {
    /// Reads a timing; `anchor_ms` is the anchor if the timing names none.
    pub(super) fn of(timing: &Timing, anchor_ms: u64) -> Result<Self> {
        let start = moment("start_ms", timing.start_ms.unwrap_or(0))?;
        let end = moment("end_ms", timing.end_ms.unwrap_or(MAX_MOMENT_MS))?;
        if end < start {
            return Err(Error::invalid("end_ms", "is before start_ms"));
        }
        let mut kept = anchor_ms;
        let rule = match &timing.spec {
            Spec::Cron { expression, zone } => Rule::Cron(Box::new(Cron::parse(expression, zone)?)),
            Spec::At { at_ms } => Rule::At(moment("at_ms", *at_ms)?),
            Spec::Every { period, anchor_ms: given } => {
                if !(MIN_PERIOD..=MAX_PERIOD).contains(period) {
                    let (min, max) = (MIN_PERIOD.as_millis(), MAX_PERIOD.as_millis());
                    return Err(Error::invalid("every_ms", format_args!("must be {min} to {max}")));
                }
                if period.subsec_nanos() % 1_000_000 != 0 {
                    return Err(Error::invalid("every_ms", "must be whole milliseconds"));
                }
                kept = given.or(timing.start_ms).unwrap_or(anchor_ms);
                let period = i64::try_from(period.as_millis()).expect("it is bounded");
                Rule::Every { period, anchor: moment("anchor_ms", kept)? }
            }
        };
        Ok(Self { rule, start, end, anchor_ms: kept })
    }

    /// Returns the first tick after a moment.
    pub(super) fn next(&self, after_ms: u64) -> Option<u64> {
        let after = signed(after_ms).max(self.start - 1);
        if after >= self.end {
            return None;
        }
        let tick = match &self.rule {
            Rule::Cron(cron) => cron.next(after)?,
            Rule::Every { period, anchor } => anchor + ((after - anchor).div_euclid(*period) + 1) * period,
            Rule::At(at) => Some(*at).filter(|at| *at > after)?,
        };
        (tick <= self.end).then(|| u64::try_from(tick).ok()).flatten()
    }

    /// Returns the last tick at or before a moment.
    pub(super) fn last(&self, until_ms: u64) -> Option<u64> {
        let until = signed(until_ms).min(self.end);
        let tick = match &self.rule {
            Rule::Cron(cron) => cron.last(until)?,
            Rule::Every { period, anchor } => anchor + (until - anchor).div_euclid(*period) * period,
            Rule::At(at) => Some(*at).filter(|at| *at <= until)?,
        };
        (tick >= self.start).then(|| u64::try_from(tick).ok()).flatten()
    }

    /// Returns the first tick of a schedule that is put now. One that is to come once comes even if it is late.
    pub(super) fn first(&self, now_ms: u64) -> Option<u64> {
        match self.rule {
            Rule::At(_) => self.next(0),
            _ => self.next(now_ms),
        }
    }

    /// Tells whether there is one tick only.
    pub(super) fn is_once(&self) -> bool {
        matches!(self.rule, Rule::At(_))
    }

    /// Refuses jitter that would put ticks out of their order.
    pub(super) fn check_jitter(&self, jitter_ms: u64, now_ms: u64) -> Result<()> {
        let mut tick = self.next(now_ms);
        for _ in 0..DISTANCES {
            let Some((before, after)) = tick.and_then(|tick| Some((tick, self.next(tick)?))) else { break };
            if after - before <= jitter_ms {
                return Err(Error::invalid("jitter_ms", format_args!("ticks are only {} ms apart", after - before)));
            }
            tick = Some(after);
        }
        Ok(())
    }

    /// Returns a moment as the schedule's zone writes it.
    pub(super) fn text(&self, ms: u64) -> String {
        let written = match &self.rule {
            Rule::Cron(cron) => cron.text(signed(ms)),
            _ => cron::text(signed(ms), &TimeZone::UTC),
        };
        written.unwrap_or_default()
    }
}

/// Refuses moments after the last there is.
pub(super) fn moment(field: &'static str, ms: u64) -> Result<i64> {
    match i64::try_from(ms) {
        Ok(signed) if ms <= MAX_MOMENT_MS => Ok(signed),
        _ => Err(Error::invalid(field, format_args!("more than {MAX_MOMENT_MS}"))),
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_tick_before_or_after_all_moments() {
        for timing in [
            Timing::every(MIN_PERIOD),
            Timing::every(MAX_PERIOD),
            Timing::cron("* * * * *", "Europe/Berlin"),
            Timing::at(MAX_MOMENT_MS),
        ] {
            let calendar = Calendar::of(&timing, 0).unwrap();
            for after in [MAX_MOMENT_MS, MAX_MOMENT_MS + 1, i64::MAX as u64 - 1, i64::MAX as u64, u64::MAX] {
                assert_eq!(calendar.next(after), None, "{timing:?} after {after}");
                assert!(calendar.last(after).is_some_and(|last| last <= MAX_MOMENT_MS), "{timing:?} until {after}");
            }
            assert!(calendar.next(0).is_some(), "{timing:?}");
        }
    }
}
