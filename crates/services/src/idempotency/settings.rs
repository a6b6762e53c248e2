//! What can be chosen for idempotency keys.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::ttl::Ttl;

/// Shortest lease; one that is renewed must survive a slow call.
pub const MIN_LEASE: Duration = Duration::from_millis(10);

/// Longest lease: an hour.
pub const MAX_LEASE: Duration = Duration::from_secs(3600);

/// Longest wait for another caller's answer: five minutes.
pub const MAX_WAIT: Duration = Duration::from_secs(300);

/// Settings of idempotency keys.
#[derive(Debug, Clone, PartialEq)]
pub struct IdempotencySettings {
    /// How long an owner may give no sign of life before another caller takes over. Default 30 s.
    pub lease: Duration,
    /// How long an answer is kept. Default 86,400 s.
    pub ttl: Ttl,
    /// Largest answer in bytes, body and metadata together. Default 1 MiB.
    pub bytes_max: usize,
}

impl Default for IdempotencySettings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), ttl: Ttl::seconds(86_400).expect("positive"), bytes_max: 1 << 20 }
    }
}

impl IdempotencySettings {
    /// Returns a lease in milliseconds.
    pub(super) fn lease_ms(&self, lease: Option<Duration>) -> Result<u64> {
        let lease = lease.unwrap_or(self.lease);
        match (MIN_LEASE..=MAX_LEASE).contains(&lease) {
            true => Ok(u64::try_from(lease.as_millis()).expect("at most an hour")),
            false => Err(Error::invalid(
                "lease_ms",
                format_args!("must be {} to {}", MIN_LEASE.as_millis(), MAX_LEASE.as_millis()),
            )),
        }
    }

    /// Returns how long an answer is kept, in milliseconds.
    pub(super) fn ttl_ms(&self, ttl: Option<Ttl>) -> Result<u64> {
        match ttl.unwrap_or(self.ttl) {
            Ttl::Ms(ms) => Ok(ms.get()),
            Ttl::Never => Err(Error::invalid("ttl_ms", "must have an end")),
        }
    }
}
