//! What can be chosen for streams: how much they keep, how long leases last, how often an entry is tried.

use std::time::Duration;

use crate::error::Result;
use crate::ttl::{lease_ms, ms};

/// Shortest lease.
pub const MIN_LEASE: Duration = Duration::from_millis(10);

/// Longest lease; who needs longer renews it.
pub const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// Longest wait for entries.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Longest pause after a failure.
pub const MAX_PAUSE: Duration = Duration::from_secs(366 * 86_400);

/// Most attempts, and most leases that may be lost.
pub const MAX_ATTEMPTS: u32 = 9_999;

/// Most entries that a group may have pending.
pub const MAX_PENDING: u64 = 20_000;

/// Settings of streams. Limits of a single stream are set by [`Stream::configure`](super::Stream::configure), how a group works by
/// [`GroupOptions`](super::GroupOptions).
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSettings {
    /// Largest event, all its attributes and data, in bytes. Default 1 MiB.
    pub event_max: usize,
    /// Most entries of a stream that no group needs any more. Default 1,000,000.
    pub length_max: u64,
    /// Most bytes of a stream that no group needs any more. Default 256 MiB.
    pub bytes_max: u64,
    /// How old an entry may be that no group needs any more. Default for ever.
    pub age_max: Option<Duration>,
    /// What happens when what would have to go is still needed. Default [`Full::Trim`].
    pub full: Full,
    /// How long a group may be silent before it holds nothing back. Default 7 days.
    pub group_idle: Duration,
    /// Most entries of a stream, whatever its own limits: beyond, publishing is refused. Default 10,000,000.
    pub length_cap: u64,
    /// Most bytes of a stream, whatever its own limits. Default 1 GiB.
    pub bytes_cap: u64,
    /// How long the ids of events are remembered, so that one is not published twice. Default 10 minutes.
    pub dedupe: Duration,
    /// How many ids are remembered. Default 100,000.
    pub dedupe_max: u64,
    /// How long a consumer may give no sign of life before its entries are taken back. Default 30 s.
    pub lease: Duration,
    /// Failures after which an entry is dead. Default 10.
    pub attempts_max: u32,
    /// Lost leases after which an entry is dead: it may be what kills its consumers. Default 5.
    pub lost_max: u32,
    /// Pause after the first failure; it doubles with each, and of each between none and a half is left out. Default 1 s.
    pub retry_base: Duration,
    /// Longest pause. Default 1 h.
    pub retry_cap: Duration,
    /// Most entries that a group has pending; it reads no new ones then. Default 10,000.
    pub pending_max: u64,
    /// Most dead letters of a group; beyond, the oldest are dropped and counted. Default 10,000.
    pub dead_max: u64,
}

/// What happens to a stream above its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// The oldest entries go that no group needs. While groups need more than the limit, the stream grows, up to the cap of all streams.
    #[default]
    Trim,
    /// The oldest entries go that no group needs. While groups need as much as the limit, publishing is refused.
    Refuse,
}

impl Full {
    pub(super) fn letter(self) -> &'static str {
        match self {
            Self::Trim => "t",
            Self::Refuse => "r",
        }
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            event_max: 1 << 20,
            length_max: 1_000_000,
            bytes_max: 256 << 20,
            age_max: None,
            full: Full::Trim,
            group_idle: Duration::from_secs(7 * 86_400),
            length_cap: 10_000_000,
            bytes_cap: 1 << 30,
            dedupe: Duration::from_secs(600),
            dedupe_max: 100_000,
            lease: Duration::from_secs(30),
            attempts_max: 10,
            lost_max: 5,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(3600),
            pending_max: 10_000,
            dead_max: 10_000,
        }
    }
}

impl StreamSettings {
    /// Returns a lease in milliseconds.
    pub(super) fn lease_ms(&self, lease: Option<Duration>) -> Result<u64> {
        lease_ms(lease.unwrap_or(self.lease), MIN_LEASE..=MAX_LEASE)
    }

    /// Returns what steps are told of what a stream keeps.
    pub(super) fn limits(&self) -> String {
        let (age_ms, idle_ms) = (self.age_max.map_or(0, ms), ms(self.group_idle));
        let (length_max, bytes_max) = (self.length_max.min(self.length_cap), self.bytes_max.min(self.bytes_cap));
        let letter = self.full.letter();
        format!("{length_max},{bytes_max},{age_ms},{letter},{idle_ms},{},{}", self.length_cap, self.bytes_cap)
    }
}
