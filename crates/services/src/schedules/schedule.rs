//! A schedule as it is put: when it ticks, what a tick enqueues, and what happens to ticks that are late or come too early.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::{PolicyForm, TimingForm};
use super::timing::{Calendar, MAX_JITTER, Timing};
use crate::error::{Error, Result};
use crate::jobs::{JobForm, NewJob};
use crate::keys::check_name;

/// Longest id, in bytes. With the tick it makes the id of a job.
pub const MAX_ID_BYTES: usize = 200;

/// Most ticks that are caught up on.
pub const MAX_CATCH_UP: u32 = 1_000;

/// Longest grace.
pub const MAX_GRACE: Duration = Duration::from_secs(366 * 86_400);

/// What happens to ticks that nobody fired in time: no process was running, the store was down, or the schedule had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Misfire {
    /// Only the latest tick is fired, and only if it is not later than the grace.
    Skip,
    /// The latest tick is fired, however late.
    #[default]
    RunOnce,
    /// Up to so many of the latest ticks are fired, in their order, however late; 1 to [`MAX_CATCH_UP`].
    CatchUp(u32),
}

/// What happens at a tick if the job of the previous one has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is fired nevertheless.
    #[default]
    Allow,
    /// It is left out.
    Skip,
    /// It waits. What has waited is then late as [`Misfire`] says, but for [`Misfire::Skip`], which does as [`Misfire::RunOnce`].
    Queue,
    /// The previous job is cancelled, and the tick is fired.
    Cancel,
}

/// When to enqueue what.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// When.
    pub timing: Timing,
    /// Into which queue.
    pub queue: String,
    /// What; its id is made of the schedule's and the tick, so it has none itself, and no fixed time.
    pub job: NewJob,
    /// Each tick is put off by up to this, always by the same. Shorter than the time between two ticks.
    pub jitter: Duration,
    /// Ticks that are fired, at most; then the schedule has ended.
    pub max_runs: Option<u64>,
    /// What happens to late ticks.
    pub misfire: Misfire,
    /// How late a tick may be with [`Misfire::Skip`].
    pub grace: Duration,
    /// What happens if the previous job has not ended.
    pub overlap: Overlap,
}

impl Overlap {
    /// Tells whether it matters what became of the previous job.
    pub(super) fn matters(self) -> bool {
        self != Self::Allow
    }
}

impl Schedule {
    /// Makes a schedule that enqueues a job: late ticks come once, overlapping ones come, for ever.
    pub fn new(timing: Timing, queue: impl Into<String>, job: NewJob) -> Self {
        Self {
            timing,
            queue: queue.into(),
            job,
            jitter: Duration::ZERO,
            max_runs: None,
            misfire: Misfire::default(),
            grace: Duration::from_secs(60),
            overlap: Overlap::default(),
        }
    }

    pub(super) fn jitter_ms(&self) -> u64 {
        u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn grace_ms(&self) -> u64 {
        u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX)
    }

    /// Refuses what can never work, but for its timing.
    pub(super) fn check(&self) -> Result<()> {
        check_name("queue", &self.queue)?;
        if self.job.id.is_some() {
            return Err(Error::invalid("job", "must have no id: it is made of the schedule's and the tick"));
        }
        if self.job.at_ms > 0 {
            return Err(Error::invalid("job", "must have no at_ms: the tick is when it is due"));
        }
        if self.jitter > MAX_JITTER {
            return Err(Error::invalid("jitter_ms", format_args!("more than {}", MAX_JITTER.as_millis())));
        }
        if self.grace > MAX_GRACE {
            return Err(Error::invalid("grace_ms", format_args!("more than {}", MAX_GRACE.as_millis())));
        }
        if self.max_runs == Some(0) {
            return Err(Error::invalid("max_runs", "must be at least 1"));
        }
        if let Misfire::CatchUp(count) = self.misfire
            && !(1..=MAX_CATCH_UP).contains(&count)
        {
            return Err(Error::invalid("catch_up", format_args!("must be 1 to {MAX_CATCH_UP}")));
        }
        Ok(())
    }

    /// Returns the form that is kept in the store.
    pub(super) fn stored(&self) -> Result<Vec<u8>> {
        let stored = Stored {
            timing: TimingForm::of(&self.timing),
            queue: self.queue.clone(),
            job: JobForm::of(&self.job)?,
            policy: PolicyForm::of(self),
        };
        serde_json::to_vec(&stored).map_err(|error| Error::invalid("schedule", error))
    }

    /// Reads that form.
    pub(super) fn read(stored: &[u8]) -> Result<Self> {
        let unreadable = |error| Error::Backend(format!("a schedule is unreadable: {error}"));
        let stored: Stored = serde_json::from_slice(stored).map_err(unreadable)?;
        stored.policy.read(stored.timing, stored.queue, stored.job)
    }

    /// Returns when a tick is fired at the earliest: as many milliseconds after it as the id and the tick say.
    pub(super) fn look_ms(&self, id: &str, tick: u64) -> u64 {
        match self.jitter_ms() {
            0 => tick,
            jitter => tick + spread(id, tick) % (jitter + 1),
        }
    }

    pub(super) fn calendar(&self, anchor_ms: u64) -> Result<Calendar> {
        Calendar::of(&self.timing, anchor_ms)
    }
}

/// What is kept of a schedule.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    timing: TimingForm,
    queue: String,
    job: JobForm,
    policy: PolicyForm,
}

/// Refuses ids that are empty or too long.
pub(super) fn check_id(id: &str) -> Result<()> {
    match id.len() {
        1..=MAX_ID_BYTES => Ok(()),
        _ => Err(Error::invalid("id", format_args!("must have 1 to {MAX_ID_BYTES} bytes"))),
    }
}

/// A number that every process finds for the same tick: FNV-1a, whose last bits are mixed as SplitMix64 does.
fn spread(id: &str, tick: u64) -> u64 {
    let bytes = id.bytes().chain(tick.to_le_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
