//! Deadlines from arguments: `EX 10`, `PXAT 1700000000000` what EXPIRE and friends say, and on which conditions (`NX`, `GT`).

use redpoll_keyspace::Millis;
use redpoll_structures::decimal;

use crate::args::int;
use crate::cx::Cx;
use crate::error::{Error, invalid_expire};

/// How an amount of time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpiryOption {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since the epoch.
    ExAt,
    /// Milliseconds since the epoch.
    PxAt,
}

impl ExpiryOption {
    /// Recognises the option word in any case.
    pub(crate) fn of(word: &[u8]) -> Option<ExpiryOption> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("EX") => Some(ExpiryOption::Ex),
            () if is("PX") => Some(ExpiryOption::Px),
            () if is("EXAT") => Some(ExpiryOption::ExAt),
            () if is("PXAT") => Some(ExpiryOption::PxAt),
            () => None,
        }
    }

    /// Returns the deadline for an amount that must be positive; it may lie in the past for absolute times.
    pub(crate) fn deadline(self, amount: &[u8], now: Millis, command: &'static str) -> Result<Millis, Error> {
        let amount = int(amount)?;
        if amount <= 0 {
            return Err(invalid_expire(command));
        }
        self.millis(amount, now).map(|deadline| deadline as Millis).ok_or_else(|| invalid_expire(command))
    }

    /// Returns the point in time an amount means, which may be before the epoch; none if it does not fit.
    pub(crate) fn millis(self, amount: i64, now: Millis) -> Option<i64> {
        let millis = match self {
            ExpiryOption::Ex | ExpiryOption::ExAt => amount.checked_mul(1000)?,
            ExpiryOption::Px | ExpiryOption::PxAt => amount,
        };
        match self {
            ExpiryOption::Ex | ExpiryOption::Px => millis.checked_add(i64::try_from(now).ok()?),
            ExpiryOption::ExAt | ExpiryOption::PxAt => Some(millis),
        }
    }
}

/// Under which conditions a deadline is set; none is always.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    /// NX: there is none.
    pub(crate) absent: bool,
    /// XX: there is one.
    pub(crate) present: bool,
    /// GT: the new one is later; none counts as infinitely late.
    pub(crate) later: bool,
    /// LT: the new one is sooner.
    pub(crate) sooner: bool,
}

impl Conditions {
    /// Adds the condition that a word names in any case; false if it names none.
    pub(crate) fn take(&mut self, word: &[u8]) -> bool {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let condition = match () {
            () if is("NX") => &mut self.absent,
            () if is("XX") => &mut self.present,
            () if is("GT") => &mut self.later,
            () if is("LT") => &mut self.sooner,
            () => return false,
        };
        *condition = true;
        true
    }

    /// Tells whether they allow a deadline, which may lie before the epoch, to replace the current one.
    pub(crate) fn allow(&self, current: Option<Millis>, new: i64) -> bool {
        let current = current.map(|deadline| i64::try_from(deadline).unwrap_or(i64::MAX));
        !(self.absent && current.is_some()
            || self.present && current.is_none()
            || self.later && current.is_none_or(|current| new <= current)
            || self.sooner && current.is_some_and(|current| new >= current))
    }
}

/// Logs a deadline as an absolute time, so that replaying it later means the same.
pub(crate) fn journal_deadline(cx: &mut Cx<'_, '_>, key: &[u8], deadline: Millis) {
    let mut buf = [0; 20];
    let text = decimal::format_i64(deadline as i64, &mut buf);
    cx.journal.instead(&[b"PEXPIREAT", key, text]);
}
