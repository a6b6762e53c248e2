//! What can be chosen for queues: how long leases last, how often a job is tried, how much is kept.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::ttl::{Ttl, lease_ms, ms};

/// Shortest lease.
pub const MIN_LEASE: Duration = Duration::from_millis(10);

/// Longest lease; who needs longer extends it.
pub const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// Longest wait for work.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Longest pause, delay and patience: a hundred days short of what the form of a state holds.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 86_400 * 10);

/// Longest run of a job: a hundred days.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(100 * 86_400);

/// Most attempts, and most leases that may be lost.
pub const MAX_ATTEMPTS: u32 = 9_999;

/// Settings of queues. What a job says of itself holds for that job whoever works on it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSettings {
    /// How long a worker may give no sign of life before its jobs are taken back. Default 30 s.
    pub lease: Duration,
    /// Largest payload, with the job's name, in bytes. Default 1 MiB.
    pub payload_max: usize,
    /// Largest result, in bytes. Default 1 MiB.
    pub result_max: usize,
    /// Most jobs of a queue that are not ended; beyond, enqueuing is refused. Default 10,000,000.
    pub length_max: u64,
    /// Most bytes of their payloads. Default 1 GiB.
    pub bytes_max: u64,
    /// Failures after which a job is dead. Default 10, which with the pauses below is about ten minutes.
    pub attempts_max: u32,
    /// Lost leases after which a job is dead: it may be what kills its workers. Default 5.
    pub lost_max: u32,
    /// Pause after the first failure; it doubles with each, and of each between none and a half is left out. Default 1 s.
    pub retry_base: Duration,
    /// Longest pause. Default 1 h.
    pub retry_cap: Duration,
    /// How long a result is kept. Default 24 h.
    pub result_ttl: Ttl,
    /// How many completed jobs are remembered; 0 for none. Default 1,000.
    pub completed_max: u64,
    /// How many cancelled ones are remembered, and how many expired ones. Default 1,000.
    pub ended_max: u64,
    /// How long these are remembered. Default 24 h.
    pub ended_age: Duration,
    /// Most dead jobs, which are kept whole; beyond, the oldest are dropped and counted. Default 10,000.
    pub dead_max: u64,
    /// How long dead jobs are kept. Default 30 days.
    pub dead_age: Duration,
    /// Most lines of a job's log; beyond, the oldest are dropped and counted. Default 1,000.
    pub log_lines_max: u64,
    /// Most bytes of them, with 18 for each line. Default 64 KiB.
    pub log_bytes_max: usize,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            payload_max: 1 << 20,
            result_max: 1 << 20,
            length_max: 10_000_000,
            bytes_max: 1 << 30,
            attempts_max: 10,
            lost_max: 5,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(3600),
            result_ttl: Ttl::seconds(86_400).expect("positive"),
            completed_max: 1_000,
            ended_max: 1_000,
            ended_age: Duration::from_secs(86_400),
            dead_max: 10_000,
            dead_age: Duration::from_secs(30 * 86_400),
            log_lines_max: 1_000,
            log_bytes_max: 64 << 10,
        }
    }
}

impl JobSettings {
    /// Returns a lease in milliseconds.
    pub(crate) fn lease_ms(&self, lease: Option<Duration>) -> Result<u64> {
        lease_ms(lease.unwrap_or(self.lease), MIN_LEASE..=MAX_LEASE)
    }

    /// Returns how long a result is kept, in milliseconds.
    pub(super) fn result_ms(&self, ttl: Option<Ttl>) -> Result<u64> {
        match ttl.unwrap_or(self.result_ttl) {
            Ttl::Ms(ms) => Ok(ms.get()),
            Ttl::Never => Err(Error::invalid("result_ttl_ms", "must have an end")),
        }
    }

    /// Returns what a step is told of what is kept.
    pub(super) fn kept(&self) -> String {
        let (ended_ms, dead_ms) = (ms(self.ended_age), ms(self.dead_age));
        format!("{},{},{},{ended_ms},{dead_ms}", self.completed_max, self.ended_max, self.dead_max)
    }
}
