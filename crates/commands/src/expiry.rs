//! Deadlines from arguments: `EX 10`, `PXAT 1700000000000` and what EXPIRE and friends say.

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

/// Logs a deadline as an absolute time, so that replaying it later means the same.
pub(crate) fn journal_deadline(cx: &mut Cx<'_, '_>, key: &[u8], deadline: Millis) {
    let mut buf = [0; 20];
    let text = decimal::format_i64(deadline as i64, &mut buf);
    cx.journal.instead(&[b"PEXPIREAT", key, text]);
}
