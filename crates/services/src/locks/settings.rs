//! What can be chosen for locks.

use std::time::Duration;

use crate::error::{Error, Result};

/// Longest lease: a day.
pub const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// Shortest lease. What is shorter ends while it is being given.
pub const MIN_LEASE: Duration = Duration::from_millis(10);

/// Longest lease of a waiter.
pub const MAX_WAITER_LEASE: Duration = Duration::from_secs(60);

/// Settings of locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSettings {
    /// Lease where none is given: how long a holder that died keeps others out. Default 30 s.
    pub lease: Duration,
    /// How long a caller waits where it does not say. Default 10 s.
    pub wait: Duration,
    /// How long waiters that died keep those behind them waiting, all of them together. At most [`MAX_WAITER_LEASE`]. Default 5 s.
    pub waiter_lease: Duration,
    /// How long the fence of a lock is kept after its last lease: how far a clock may go back, while a lock is not used, without fences going back.
    /// At least [`MAX_LEASE`]. Default a day.
    pub fence_kept: Duration,
}

impl Default for LockSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            wait: Duration::from_secs(10),
            waiter_lease: Duration::from_secs(5),
            fence_kept: Duration::from_secs(86_400),
        }
    }
}

impl LockSettings {
    pub(super) fn check(&self) -> Result<()> {
        check_lease("lease", self.lease)?;
        if !(MIN_LEASE..=MAX_WAITER_LEASE).contains(&self.waiter_lease) {
            return Err(Error::invalid("waiter_lease", "must be 10 ms to 60 s"));
        }
        if !(MAX_LEASE..=MAX_LEASE * 3660).contains(&self.fence_kept) {
            return Err(Error::invalid("fence_kept", "must be a day to ten years"));
        }
        Ok(())
    }
}

/// Refuses leases that are too short or too long.
pub(super) fn check_lease(field: &'static str, lease: Duration) -> Result<()> {
    if !(MIN_LEASE..=MAX_LEASE).contains(&lease) {
        return Err(Error::invalid(field, "must be 10 ms to a day"));
    }
    Ok(())
}
