//! What the loop of a worker keeps of one of its queues: what it is to be told, and how often it has not answered.
//!
//! Queues lie on different nodes, and their keys may be spoilt one by one. So each fails and rests for itself: while it does, it is tried alone, and the
//! others are told and asked without it.

use std::time::Duration;

use tokio::time::Instant;

use super::fetch::Outcomes;
use crate::random;

/// Half the pause after the first failure to reach a queue; it doubles with each, up to the other.
const PAUSE_BASE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Line {
    /// What is to be told.
    pub(super) outcomes: Outcomes,
    /// How many outcomes a try of this queue alone is telling, while there is one.
    pub(super) trying: Option<usize>,
    failures: u32,
    /// Nothing is asked of it before this.
    rest: Option<Instant>,
}

impl Line {
    /// Tells whether it has answered when it was last asked.
    pub(super) fn is_sound(&self) -> bool {
        self.failures == 0
    }

    /// Tells whether it is to be tried, to see whether it answers again.
    pub(super) fn wants_try(&self) -> bool {
        !self.is_sound() && self.trying.is_none() && self.rest.is_none()
    }

    pub(super) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// Ends its rest if that is over.
    pub(super) fn wake(&mut self, now: Instant) {
        self.rest = self.rest.filter(|rest| *rest > now);
    }

    pub(super) fn answered(&mut self) {
        (self.failures, self.rest) = (0, None);
    }

    /// Has it rest, and returns for how long.
    pub(super) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = random::pause(PAUSE_BASE, PAUSE_MAX, self.failures);
        self.rest = Some(Instant::now() + pause);
        pause
    }
}
