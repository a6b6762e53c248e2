//! What can be chosen for events: how long they are kept, and how triggers are delivered.

use std::time::Duration;

use crate::jobs::{JobSettings, MAX_ATTEMPTS, MAX_DELAY, MAX_LEASE, MIN_LEASE};
use crate::random;

/// How many delivered triggers are remembered, so that who says twice that one is delivered gets the same answer: as many as can be leased at once.
const REMEMBERED: u64 = super::MAX_PAGE as u64;

/// Settings of events and triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsSettings {
    /// How long a window without a time threshold, and each event of a timeline, is kept; a consumer may say
    /// otherwise. Default 24 h.
    pub retention: Duration,
    /// Most events in a timeline. Default 10,000.
    pub timeline_max: u64,
    /// How long an event's id is remembered. Default 24 h.
    pub dedupe: Duration,
    /// Most ids remembered per consumer. Default 100,000.
    pub dedupe_max: u64,
    /// Most triggers of one consumer that wait or are being delivered; events that might fire more are refused rather than losing any.
    /// Default 1,000,000.
    pub waiting_max: u64,
    /// Most dead triggers of one consumer; beyond, the oldest are dropped and counted. Default 10,000.
    pub dead_max: u64,
    /// How long a trigger is leased to the deliverer; longer than `delivery_timeout`. Default 60 s.
    pub lease: Duration,
    /// Longest time a receiver may take to answer. Default 10 s.
    pub delivery_timeout: Duration,
    /// Failed attempts after which a trigger is dead, and leases that end without an outcome; counted apart, for triggers fired from now on. Default 18, which
    /// with the pauses below is about seven hours.
    pub attempts_max: u32,
    /// Pause after the first failed attempt; it doubles with each. Default 1 s.
    pub retry_base: Duration,
    /// Longest pause. Default 1 h.
    pub retry_cap: Duration,
    /// Deliveries at a time. Default 32.
    pub concurrency: usize,
    /// Deliveries at a time for one consumer, so that a slow receiver does not hold up the others. Default 8.
    pub concurrency_per_consumer: usize,
    /// How often the deliverer looks for what other processes have recorded. Default 100 ms.
    pub poll: Duration,
}

impl Default for EventsSettings {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(86_400),
            timeline_max: 10_000,
            dedupe: Duration::from_secs(86_400),
            dedupe_max: 100_000,
            waiting_max: 1_000_000,
            dead_max: 10_000,
            lease: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(10),
            attempts_max: 18,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(3600),
            concurrency: 32,
            concurrency_per_consumer: 8,
            poll: Duration::from_millis(100),
        }
    }
}

impl EventsSettings {
    /// Returns those of the queue in which a consumer's triggers are jobs.
    pub(super) fn of_queue(&self) -> JobSettings {
        let attempts_max = self.attempts_max.clamp(1, MAX_ATTEMPTS);
        JobSettings {
            lease: self.lease.clamp(MIN_LEASE, MAX_LEASE),
            length_max: self.waiting_max,
            attempts_max,
            lost_max: attempts_max,
            retry_base: self.retry_base.min(MAX_DELAY),
            retry_cap: self.retry_cap.min(MAX_DELAY),
            completed_max: REMEMBERED,
            dead_max: self.dead_max,
            // Somebody decides about them.
            dead_age: MAX_DELAY,
            ..JobSettings::default()
        }
    }

    /// Returns the pause after a failed attempt, the first being 1: between half and all of `base * 2^(attempt - 1)`.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        random::pause(self.retry_base, self.retry_cap, attempt.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let settings = EventsSettings { retry_cap: Duration::from_secs(10), ..EventsSettings::default() };
        for (attempt, whole) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (40, 10.0), (u32::MAX, 10.0)] {
            let pause = settings.pause(attempt).as_secs_f64();
            assert!(pause >= whole / 2.0 && pause <= whole, "{attempt}: {pause}");
        }
    }
}
