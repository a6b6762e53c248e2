//! Inputs of the operations: jobs, outcomes and effects as JSON. What is bytes stands in Base64 in a field of its own.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use super::{Headers, NewJob, Outcome, Payload, State, Ticket};
use crate::effects::EffectForm;
use crate::error::{Error, Result};
use crate::operation::{inputs, present, split};
use crate::ttl::{Ttl, ms};

/// A job to enqueue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobForm {
    /// Its id, 1 to 255 bytes; while a job of that id has not ended, another is not enqueued. A random one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What sort of job it is; empty if absent.
    #[serde(default)]
    name: String,
    /// What it is about: any JSON.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    payload: Option<Json>,
    /// What it is about: bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Short texts beside the payload, such as `traceparent`: at most 32, of 4,096 bytes together.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
    /// From -128 to 127, larger ones first, equal ones in the order they were enqueued; 0 if absent.
    #[serde(default)]
    priority: i8,
    /// How long it waits at least, in milliseconds; 0 if absent.
    #[serde(default)]
    delay_ms: u64,
    /// When it is due at the earliest, milliseconds since 1970; 0 if absent.
    #[serde(default)]
    at_ms: u64,
    /// How long it may wait until somebody begins with it, in milliseconds; then it expires. For ever if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    patience_ms: Option<u64>,
    /// How long one run may take, in milliseconds, whatever heartbeats say; then it has failed. No limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    /// Failures after which it is dead; 10 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<u32>,
    /// Lost leases after which it is dead; 5 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_max: Option<u32>,
    /// Pause after the first failure, in milliseconds, which doubles with each; 1,000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_base_ms: Option<u64>,
    /// Longest pause, in milliseconds; 3,600,000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_cap_ms: Option<u64>,
    /// Whose it is, such as a tenant, 1 to 128 bytes: groups take turns. Those without one are a group together.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

/// What became of a leased job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeForm {
    /// The job.
    id: String,
    /// What leasing gave.
    token: u64,
    /// What became of it.
    outcome: Verb,
    /// Of a completed job: what came of it, any JSON; nothing is kept if absent.
    #[serde(default, deserialize_with = "present")]
    result: Option<Json>,
    /// Of a completed job: what came of it, bytes.
    result_base64: Option<String>,
    /// How long the result is kept, in milliseconds; 86,400,000 if absent.
    result_ttl_ms: Option<i64>,
    /// Of a failed job: what went wrong.
    error: Option<String>,
    /// Of a failed or released job: when it may be leased again, in milliseconds from now. A failed one after its pause, a released one at once if absent.
    retry_after_ms: Option<u64>,
}

/// What became of a leased job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verb {
    /// It is done.
    Completed,
    /// It failed, and is tried again unless that was the last time.
    Failed,
    /// It failed and need not be tried again.
    GivenUp,
    /// It is handed back as if it had not been leased.
    Released,
}

/// A job to enqueue.
#[derive(Debug, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueueInput {
    /// Tenant; `default` if absent.
    #[serde(default = "crate::operation::default_tenant")]
    pub(super) tenant: String,
    /// Name of the queue.
    pub(super) queue: String,
    /// The job.
    #[serde(flatten)]
    pub(super) job: JobForm,
}

impl<'de> Deserialize<'de> for EnqueueInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (QueueInput { tenant, queue }, job) = split(deserializer, &["tenant", "queue"])?;
        Ok(Self { tenant, queue, job })
    }
}

inputs! {
    each {
        /// Name of the queue.
        queue: String,
    }

    /// Names a queue.
    QueueInput {}

    /// Jobs to enqueue.
    BatchInput {
        /// The jobs, at most 1,000.
        jobs: Vec<JobForm>,
    }

    /// A job and those that come first.
    FlowInput {
        /// The job that is blocked until the others have completed; without a delay.
        parent: JobForm,
        /// The others, at most 999.
        children: Vec<JobForm>,
    }

    /// What a job did.
    CommitInput {
        /// The job.
        id: String,
        /// What leasing gave.
        token: u64,
        /// Changes of data, at most 100.
        #[serde(default)]
        effects: Vec<EffectForm>,
        /// Jobs that follow, at most 1,000.
        #[serde(default)]
        jobs: Vec<JobForm>,
        /// What came of it, any JSON; nothing is kept if absent.
        #[serde(default, deserialize_with = "present")]
        result: Option<Json>,
        /// What came of it, bytes.
        result_base64: Option<String>,
        /// How long that is kept, in milliseconds; 86,400,000 if absent.
        result_ttl_ms: Option<i64>,
    }

    /// Bounds of a queue.
    LimitInput {
        /// Most jobs that are active at once; no bound if absent.
        active_max: Option<u32>,
        /// Most jobs that are leased in a period, evenly spread; no bound if absent.
        rate: Option<u32>,
        /// The period in milliseconds; 1,000 if absent.
        period_ms: Option<u64>,
        /// How many may be leased at once after a rest; 1 if absent.
        burst: Option<u32>,
        /// Most jobs that are active at once of each group without a bound of its own; no bound if absent.
        group_active_max: Option<u32>,
        /// Most jobs that are leased in a period of each group without a rate of its own, evenly spread; no bound if absent.
        group_rate: Option<u32>,
        /// That period in milliseconds; 1,000 if absent.
        group_period_ms: Option<u64>,
        /// How many of a group may be leased at once after a rest; 1 if absent.
        group_burst: Option<u32>,
    }

    /// Which groups.
    GroupsInput {
        /// Only those behind this name; all if absent.
        #[serde(default)]
        after: String,
        /// How many to list, at most 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// Names a group.
    GroupInput {
        /// Its name.
        group: String,
    }

    /// Lines for a job's log.
    LogInput {
        /// The job.
        id: String,
        /// What leasing gave.
        token: u64,
        /// The lines, at most 1,000, each of up to 4,096 bytes.
        lines: Vec<String>,
    }

    /// Which lines of a job's log.
    LogsInput {
        /// The job.
        id: String,
        /// Number of the first line; 0 if absent.
        #[serde(default)]
        from: u64,
        /// How many lines, at most 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// How many events are kept.
    KeepEventsInput {
        /// About so many, 1 to 100,000; none if absent.
        max: Option<u32>,
    }

    /// Which events.
    EventsInput {
        /// The last number that is known; all that are kept if 0 or absent.
        #[serde(default)]
        after: u64,
        /// How many, at most 1,000; 100 if absent.
        count: Option<usize>,
        /// How long to wait for one if there is none, in milliseconds, at most an hour; 0 if absent.
        #[serde(default)]
        wait_ms: u64,
    }

    /// Which events to watch.
    WatchInput {
        /// The position of an earlier item: events are read on behind it; what happens from now on if absent.
        resume: Option<String>,
    }

    /// Bound of a group.
    LimitGroupInput {
        /// Its name.
        group: String,
        /// Most jobs that are active at once; what holds for the others if absent.
        active_max: Option<u32>,
        /// Most jobs that are leased in a period, evenly spread; what holds for the others if absent.
        rate: Option<u32>,
        /// The period in milliseconds; 1,000 if absent.
        period_ms: Option<u64>,
        /// How many may be leased at once after a rest; 1 if absent.
        burst: Option<u32>,
    }

    /// A wish for jobs.
    ExchangeInput {
        /// What became of jobs leased earlier; nothing if absent.
        #[serde(default)]
        outcomes: Vec<OutcomeForm>,
        /// Most jobs to lease, 1 to 1,000; 1 if absent.
        count: Option<usize>,
        /// How long a worker may give no sign of life, in milliseconds; 30,000 if absent.
        lease_ms: Option<u64>,
        /// How long to wait for work if there is none, in milliseconds, at most an hour; 0 if absent.
        #[serde(default)]
        wait_ms: u64,
    }

    /// What became of jobs.
    SettleInput {
        /// What became of them, at most 1,000.
        outcomes: Vec<OutcomeForm>,
    }

    /// A sign of life.
    ExtendInput {
        /// The leases.
        jobs: Vec<Ticket>,
        /// How long they last from now, in milliseconds; 30,000 if absent.
        lease_ms: Option<u64>,
        /// How far the job is, any JSON up to 4,096 bytes, if there is one only.
        #[serde(default, deserialize_with = "present")]
        progress: Option<Json>,
    }

    /// Jobs to cancel.
    CancelInput {
        /// Their ids, at most 1,000.
        ids: Vec<String>,
    }

    /// Names a job.
    JobInput {
        /// Its id.
        id: String,
    }

    /// Names a state.
    ListInput {
        /// The state.
        state: State,
        /// How many to pass over; 0 if absent.
        #[serde(default)]
        skip: usize,
        /// How many to list, at most 1,000; 100 if absent.
        count: Option<usize>,
    }

    /// What to remove.
    ClearInput {
        /// The state.
        state: State,
        /// Only these, at most 1,000; all if absent.
        #[serde(default)]
        ids: Vec<String>,
    }

    /// What to try again.
    RequeueInput {
        /// Only these, at most 1,000; all if absent.
        #[serde(default)]
        ids: Vec<String>,
        /// Another payload, any JSON, for a single job.
        #[serde(default, deserialize_with = "present")]
        payload: Option<Json>,
        /// Another payload, bytes, for a single job.
        payload_base64: Option<String>,
    }
}

fn millis(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}

/// Takes what was given in one of two forms; nothing if in none.
pub(super) fn bytes_or_json(json: Option<Json>, base64: Option<String>) -> Result<Option<Payload>> {
    match (json, base64) {
        (None, None) => Ok(None),
        (Some(json), None) => Payload::json(&json).map(Some),
        (None, Some(text)) => match BASE64.decode(&text) {
            Ok(bytes) => Ok(Some(Payload::bytes(bytes))),
            Err(error) => Err(Error::invalid("base64", error)),
        },
        (Some(_), Some(_)) => Err(Error::invalid("base64", "give JSON or bytes, not both")),
    }
}

impl JobForm {
    /// Writes a job as a form.
    pub(crate) fn of(job: &NewJob) -> Result<Self> {
        let (payload, payload_base64) = match job.payload.is_json() {
            true => (Some(job.payload.parse()?), None),
            false => (None, Some(BASE64.encode(job.payload.as_bytes()))),
        };
        Ok(Self {
            id: job.id.clone(),
            name: job.name.clone(),
            headers: job.headers.clone(),
            payload,
            payload_base64,
            priority: job.priority,
            delay_ms: ms(job.delay),
            at_ms: job.at_ms,
            patience_ms: job.patience.map(ms),
            timeout_ms: job.timeout.map(ms),
            attempts_max: job.attempts_max,
            lost_max: job.lost_max,
            retry_base_ms: job.retry_base.map(ms),
            retry_cap_ms: job.retry_cap.map(ms),
            group: job.group.clone(),
        })
    }

    /// Reads the job.
    pub(crate) fn read(self) -> Result<NewJob> {
        let payload = bytes_or_json(self.payload, self.payload_base64)?.unwrap_or_default();
        Ok(NewJob {
            id: self.id,
            name: self.name,
            payload,
            headers: self.headers,
            priority: self.priority,
            delay: Duration::from_millis(self.delay_ms),
            at_ms: self.at_ms,
            patience: millis(self.patience_ms),
            timeout: millis(self.timeout_ms),
            attempts_max: self.attempts_max,
            lost_max: self.lost_max,
            retry_base: millis(self.retry_base_ms),
            retry_cap: millis(self.retry_cap_ms),
            group: self.group,
        })
    }
}

impl OutcomeForm {
    pub(super) fn read(self) -> Result<(Ticket, Outcome)> {
        let result = bytes_or_json(self.result, self.result_base64)?;
        let error = self.error.unwrap_or_default();
        let outcome = match self.outcome {
            Verb::Completed => Outcome::Completed { result, ttl: self.result_ttl_ms.map(Ttl::ms).transpose()? },
            Verb::Failed => Outcome::Failed { error, retry_after: millis(self.retry_after_ms) },
            Verb::GivenUp => Outcome::GivenUp { error },
            Verb::Released => Outcome::Released { delay: millis(self.retry_after_ms).unwrap_or_default() },
        };
        Ok((Ticket { id: self.id, token: self.token }, outcome))
    }
}
