//! What a worker has done, counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::jobs::{Outcome, Settled};

/// What a worker has done, as far as the store has confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Jobs completed.
    pub completed: u64,
    /// Runs that failed, those included that were given up.
    pub failed: u64,
    /// Runs whose lease was lost: what came of them was not reported, or refused.
    pub lost: u64,
    /// Jobs handed back, or cancelled.
    pub handed_back: u64,
    /// Outcomes that the store could not be told before the worker ended. Their leases end by themselves.
    pub untold: u64,
}

/// The numbers while it runs.
#[derive(Debug, Default)]
pub(super) struct Stats {
    completed: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    handed_back: AtomicU64,
    untold: AtomicU64,
    /// Runs under way.
    pub(super) busy: AtomicUsize,
    /// Jobs that are leased and have not begun.
    pub(super) ready: AtomicUsize,
}

impl Stats {
    pub(super) fn settled(&self, outcome: &Outcome, settled: Settled) {
        let counter = match (settled, outcome) {
            (Settled::Lost, _) => &self.lost,
            (_, Outcome::Completed { .. }) => &self.completed,
            (_, Outcome::Failed { .. } | Outcome::GivenUp { .. }) => &self.failed,
            (_, Outcome::Released { .. }) => &self.handed_back,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn committed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn untold(&self, count: usize) {
        self.untold.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn summary(&self) -> Summary {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            completed: value(&self.completed),
            failed: value(&self.failed),
            lost: value(&self.lost),
            handed_back: value(&self.handed_back),
            untold: value(&self.untold),
        }
    }
}
