//! Outputs of the operations.

use schemars::JsonSchema;
use serde::Serialize;

use super::forms::{PolicyForm, TimingForm};
use super::state::{Entry, Found};
use crate::error::Result;
use crate::jobs::JobForm;

/// A schedule at one moment. Times are milliseconds since 1970.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ScheduleDone {
    /// Its id.
    id: String,
    /// When it ticks.
    #[serde(flatten)]
    timing: TimingForm,
    /// Name of the queue.
    queue: String,
    /// The job.
    job: JobForm,
    /// What happens to late ticks, and others.
    #[serde(flatten)]
    policy: PolicyForm,
    /// The next tick; null if it is paused or has ended.
    next_ms: Option<u64>,
    /// Whether it is paused.
    paused: bool,
    /// Whether there are no more ticks.
    ended: bool,
    /// Ticks fired since the timing was put.
    runs: u64,
    /// The tick that is being fired, or waits for its queue to take the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    firing_ms: Option<u64>,
    /// The tick that was fired last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_tick_ms: Option<u64>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fired_ms: Option<u64>,
    /// The job that was enqueued last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_job: Option<String>,
    /// Why the tick that is being fired has not been enqueued yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When it was put first.
    created_ms: u64,
    /// When it was put last.
    changed_ms: u64,
}

/// What became of a schedule that was put.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PutDone {
    /// Whether there was none of its id.
    pub(super) created: bool,
    /// The next tick, milliseconds since 1970; null if it is paused or has ended.
    pub(super) next_ms: Option<u64>,
}

/// A page of schedules.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListDone {
    /// By id.
    pub(super) schedules: Vec<ScheduleDone>,
}

/// Whether something changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Switched {
    /// False if it was so before.
    pub(super) changed: bool,
}

/// A job that was enqueued.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunDone {
    /// Its id.
    pub(super) job: String,
}

/// A tick to come.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TickView {
    /// Milliseconds since 1970.
    ms: u64,
    /// As the schedule's zone writes it, such as `2026-03-29T03:00:00+02:00[Europe/Berlin]`.
    text: String,
}

/// Ticks to come.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TicksDone {
    /// The soonest first; fewer than asked for if there are no more.
    ticks: Vec<TickView>,
}

/// The latest fires.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HistoryDone {
    /// The latest first.
    pub(super) entries: Vec<Entry>,
}

impl ScheduleDone {
    pub(super) fn of(found: Found) -> Result<Self> {
        Ok(Self {
            timing: TimingForm::of(&found.schedule.timing),
            job: JobForm::of(&found.schedule.job)?,
            policy: PolicyForm::of(&found.schedule),
            queue: found.schedule.queue,
            id: found.id,
            next_ms: found.next_ms,
            paused: found.is_paused,
            ended: found.has_ended,
            runs: found.runs,
            firing_ms: found.firing_ms,
            last_tick_ms: found.last_tick_ms,
            last_fired_ms: found.last_fired_ms,
            last_job: found.last_job,
            error: found.error,
            created_ms: found.created_ms,
            changed_ms: found.changed_ms,
        })
    }
}

impl TicksDone {
    pub(super) fn of(ticks: Vec<(u64, String)>) -> Self {
        Self { ticks: ticks.into_iter().map(|(ms, text)| TickView { ms, text }).collect() }
    }
}
