//! What can be chosen for schedules: how often is looked, how much is kept.

use std::time::Duration;

/// Settings of schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSettings {
    /// How long a [`Ticker`](super::Ticker) sleeps at most, so how late it may notice what another process has put. Default 1 s.
    pub poll: Duration,
    /// How long a process has to enqueue what it has claimed before another helps. Default 5 s.
    pub claim: Duration,
    /// How often a tick that waits for the previous run to end looks for that. Default 1 s.
    pub recheck: Duration,
    /// Most schedules of a tenant. Default 100,000.
    pub schedules_max: u64,
    /// How many of its latest fires a schedule remembers. Default 100, most 10,000.
    pub history_max: u64,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            claim: Duration::from_secs(5),
            recheck: Duration::from_secs(1),
            schedules_max: 100_000,
            history_max: 100,
        }
    }
}
