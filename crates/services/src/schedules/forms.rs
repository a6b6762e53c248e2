//! Inputs of the operations. The forms of a timing and of the rest of a schedule are also what the store keeps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::{Misfire, Overlap, Schedule};
use super::timing::{Spec, Timing};
use crate::error::{Error, Result};
use crate::jobs::JobForm;
use crate::operation::inputs;

/// When ticks come: one of `cron`, `every_ms` and `at_ms`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct TimingForm {
    /// Five fields, or six with seconds first: `30 2 * * 1-5`; or `@daily` and its like.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    /// Time zone of the cron expression, such as `Europe/Berlin`; `UTC` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// Milliseconds between two ticks, at least 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    every_ms: Option<u64>,
    /// A moment that would be a tick of `every_ms`, milliseconds since 1970; `start_ms` if absent, or else when the schedule is put.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor_ms: Option<u64>,
    /// The only tick, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    /// No tick comes before this, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ms: Option<u64>,
    /// No tick comes after this, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_ms: Option<u64>,
}

/// What happens to late ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MisfireForm {
    /// Only the latest is fired, if it is within `grace_ms`.
    Skip,
    /// The latest is fired.
    #[default]
    RunOnce,
    /// The latest `catch_up` are fired, in their order.
    CatchUp,
}

/// How many ticks are fired, and what happens to those that are late or come too early.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct PolicyForm {
    /// Each tick is put off by up to this many milliseconds, always by the same; 0 if absent.
    #[serde(default)]
    jitter_ms: u64,
    /// Ticks that are fired, at most; no bound if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_runs: Option<u64>,
    /// What happens to late ticks; `run_once` if absent.
    #[serde(default)]
    misfire: MisfireForm,
    /// How many late ticks `catch_up` fires, 1 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up: Option<u32>,
    /// How late a tick may be with `skip`, in milliseconds; 60,000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_ms: Option<u64>,
    /// What happens if the previous job has not ended; `allow` if absent.
    #[serde(default)]
    overlap: Overlap,
}

inputs! {
    /// Names a schedule.
    IdInput {
        /// Its id, 1 to 200 bytes.
        id: String,
    }

    /// A schedule.
    PutInput {
        /// Its id, 1 to 200 bytes.
        id: String,
        /// When it ticks.
        #[serde(flatten)]
        timing: TimingForm,
        /// Name of the queue.
        queue: String,
        /// The job, without id and `at_ms`.
        job: JobForm,
        /// What happens to late ticks, and others.
        #[serde(flatten)]
        policy: PolicyForm,
    }

    /// A page of schedules.
    ListInput {
        /// Lists those behind this id; from the first if absent.
        after: Option<String>,
        /// How many, 1 to 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// A page of a history.
    HistoryInput {
        /// The schedule's id.
        id: String,
        /// How many to pass over; 0 if absent.
        #[serde(default)]
        skip: usize,
        /// How many, 1 to 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// Asks for the ticks to come.
    NextInput {
        /// The schedule's id.
        id: String,
        /// How many, 1 to 1,000; 10 if absent.
        count: Option<usize>,
    }

    /// Asks for the ticks of a timing that is not put.
    PreviewInput {
        /// The timing.
        #[serde(flatten)]
        timing: TimingForm,
        /// After which moment, milliseconds since 1970; now if absent.
        from_ms: Option<u64>,
        /// How many, 1 to 1,000; 10 if absent.
        count: Option<usize>,
    }
}

impl TimingForm {
    pub(super) fn of(timing: &Timing) -> Self {
        let form = Self { start_ms: timing.start_ms, end_ms: timing.end_ms, ..Self::default() };
        match timing.spec.clone() {
            Spec::Cron { expression, zone } => Self { cron: Some(expression), zone: Some(zone), ..form },
            Spec::At { at_ms } => Self { at_ms: Some(at_ms), ..form },
            Spec::Every { period, anchor_ms } => {
                let every_ms = u64::try_from(period.as_millis()).ok();
                Self { every_ms, anchor_ms, ..form }
            }
        }
    }

    pub(super) fn read(self) -> Result<Timing> {
        let spec = match (self.cron, self.every_ms, self.at_ms) {
            (Some(expression), None, None) => {
                Spec::Cron { expression, zone: self.zone.clone().unwrap_or_else(|| "UTC".to_owned()) }
            }
            (None, Some(ms), None) => Spec::Every { period: Duration::from_millis(ms), anchor_ms: self.anchor_ms },
            (None, None, Some(at_ms)) => Spec::At { at_ms },
            _ => return Err(Error::invalid("timing", "must be one of cron, every_ms and at_ms")),
        };
        if self.zone.is_some() && !matches!(spec, Spec::Cron { .. }) {
            return Err(Error::invalid("zone", "goes with cron only"));
        }
        if self.anchor_ms.is_some() && !matches!(spec, Spec::Every { .. }) {
            return Err(Error::invalid("anchor_ms", "goes with every_ms only"));
        }
        Ok(Timing { spec, start_ms: self.start_ms, end_ms: self.end_ms })
    }
}

impl PolicyForm {
    pub(super) fn of(schedule: &Schedule) -> Self {
        let (misfire, catch_up) = match schedule.misfire {
            Misfire::Skip => (MisfireForm::Skip, None),
            Misfire::RunOnce => (MisfireForm::RunOnce, None),
            Misfire::CatchUp(count) => (MisfireForm::CatchUp, Some(count)),
        };
        Self {
            jitter_ms: schedule.jitter_ms(),
            max_runs: schedule.max_runs,
            misfire,
            catch_up,
            grace_ms: Some(schedule.grace_ms()),
            overlap: schedule.overlap,
        }
    }

    /// Reads the whole schedule.
    pub(super) fn read(self, timing: TimingForm, queue: String, job: JobForm) -> Result<Schedule> {
        let misfire = match (self.misfire, self.catch_up) {
            (MisfireForm::CatchUp, Some(count)) => Misfire::CatchUp(count),
            (MisfireForm::CatchUp, None) => return Err(Error::invalid("catch_up", "must be 1 to 1000")),
            (_, Some(_)) => return Err(Error::invalid("catch_up", "goes with misfire catch_up only")),
            (MisfireForm::Skip, None) => Misfire::Skip,
            (MisfireForm::RunOnce, None) => Misfire::RunOnce,
        };
        Ok(Schedule {
            timing: timing.read()?,
            queue,
            job: job.read()?,
            jitter: Duration::from_millis(self.jitter_ms),
            max_runs: self.max_runs,
            misfire,
            grace: Duration::from_millis(self.grace_ms.unwrap_or(60_000)),
            overlap: self.overlap,
        })
    }
}
