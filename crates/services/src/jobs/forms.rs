//! Inputs and outputs of the operations: jobs and outcomes as JSON.
//!
//! What is bytes stands in Base64 in a field of its own, and exactly one of the two forms is given.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use super::{Enqueued, Exchanged, Heartbeat, Inspected, Job, Leased, NewJob, Outcome, Payload, Settled, State, Ticket};
use crate::error::{Error, Result};
use crate::operation::default_tenant;
use crate::ttl::Ttl;

/// Declares inputs that begin with tenant and queue.
macro_rules! inputs {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            /// Tenant; `default` if absent.
            #[serde(default = "default_tenant")]
            pub(super) tenant: String,
            /// Name of the queue.
            pub(super) queue: String,
            $($(#[$field_doc])* pub(super) $field: $type,)*
        }
    )*};
}

/// A job to enqueue.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct JobForm {
    /// Its id, 1 to 255 bytes; while a job of that id has not ended, another is not enqueued. A random one if absent.
    id: Option<String>,
    /// What sort of job it is; empty if absent.
    #[serde(default)]
    name: String,
    /// What it is about: any JSON.
    #[serde(default, deserialize_with = "present")]
    payload: Option<Json>,
    /// What it is about: bytes.
    payload_base64: Option<String>,
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
    patience_ms: Option<u64>,
    /// How long one run may take, in milliseconds, whatever heartbeats say; then it has failed. No limit if absent.
    timeout_ms: Option<u64>,
    /// Failures after which it is dead; 10 if absent.
    attempts_max: Option<u32>,
    /// Lost leases after which it is dead; 5 if absent.
    lost_max: Option<u32>,
    /// Pause after the first failure, in milliseconds, which doubles with each; 1,000 if absent.
    retry_base_ms: Option<u64>,
    /// Longest pause, in milliseconds; 3,600,000 if absent.
    retry_cap_ms: Option<u64>,
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

inputs! {
    /// Names a queue.
    QueueInput {}

    /// A job to enqueue.
    EnqueueInput {
        /// The job.
        #[serde(flatten)]
        job: JobForm,
    }

    /// Jobs to enqueue.
    BatchInput {
        /// The jobs, at most 1,000.
        jobs: Vec<JobForm>,
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

/// What became of a job that was to be enqueued.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EnqueueDone {
    /// Its id.
    id: String,
    /// Where the job of that id is that was there already and has not been changed; null if this one was enqueued.
    existing: Option<State>,
}

/// What became of jobs that were to be enqueued.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BatchDone {
    /// In the order given.
    pub(super) jobs: Vec<EnqueueDone>,
}

/// A job as it was at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JobView {
    /// Its id.
    id: String,
    /// What sort of job it is.
    name: String,
    /// What it is about, if that is JSON and still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Json>,
    /// What it is about, if that is bytes and still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Where it is.
    state: State,
    /// Its priority.
    priority: i8,
    /// Number of its present or next run, from 1.
    attempt: u32,
    /// How often it has failed.
    failures: u32,
    /// How often its lease ended without an outcome.
    lost: u32,
    /// When it was enqueued, milliseconds since 1970.
    created_ms: u64,
    /// Since when it is in this state.
    since_ms: u64,
    /// When it expires if nobody has begun with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    /// How long one run may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

/// A leased job.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LeasedView {
    /// Proves the lease, and is larger than that of any lease of this job before.
    token: u64,
    /// The job.
    #[serde(flatten)]
    job: JobView,
}

/// Leased jobs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExchangeDone {
    /// For each outcome the job's state now, or null if the lease had been lost.
    settled: Vec<Option<State>>,
    /// The jobs.
    jobs: Vec<LeasedView>,
}

/// What became of outcomes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettleDone {
    /// For each outcome the job's state now, or null if the lease had been lost.
    settled: Vec<Option<State>>,
}

/// Answers to signs of life.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExtendDone {
    /// For each lease whether it goes on.
    pub(super) heartbeats: Vec<Heartbeat>,
}

/// What became of jobs that were to be cancelled.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CancelDone {
    /// Where each is now; null if there is none.
    pub(super) states: Vec<Option<State>>,
}

/// A job looked at closely.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JobDone {
    /// The job; null if only its result is remembered.
    job: Option<JobView>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Json>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What came of it, if that is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    /// What came of it, if that is bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    /// How many are worked on before it, if it is waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
    /// When it is due if it is delayed, when its lease ends if it is active, when it ended otherwise; milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    moment_ms: Option<u64>,
}

/// Jobs of one state.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListDone {
    /// The jobs.
    pub(super) jobs: Vec<JobDone>,
}

/// How many.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Number {
    /// How many jobs.
    pub(super) count: u64,
}

/// Whether something changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Switched {
    /// False if it was so before.
    pub(super) changed: bool,
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

fn json_or_bytes(payload: Option<Payload>) -> (Option<Json>, Option<String>) {
    match payload {
        None => (None, None),
        Some(payload) => match payload.is_json().then(|| payload.parse()) {
            Some(Ok(json)) => (Some(json), None),
            _ => (None, Some(BASE64.encode(payload.as_bytes()))),
        },
    }
}

impl JobForm {
    pub(super) fn read(self) -> Result<NewJob> {
        let payload = bytes_or_json(self.payload, self.payload_base64)?.unwrap_or_default();
        Ok(NewJob {
            id: self.id,
            name: self.name,
            payload,
            priority: self.priority,
            delay: Duration::from_millis(self.delay_ms),
            at_ms: self.at_ms,
            patience: millis(self.patience_ms),
            timeout: millis(self.timeout_ms),
            attempts_max: self.attempts_max,
            lost_max: self.lost_max,
            retry_base: millis(self.retry_base_ms),
            retry_cap: millis(self.retry_cap_ms),
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

impl From<Enqueued> for EnqueueDone {
    fn from(enqueued: Enqueued) -> Self {
        Self { id: enqueued.id, existing: enqueued.existing }
    }
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let attempt = job.attempt();
        let (payload, payload_base64) = json_or_bytes(job.payload);
        Self {
            id: job.id,
            name: job.name,
            payload,
            payload_base64,
            state: job.state,
            priority: job.priority,
            attempt,
            failures: job.failures,
            lost: job.lost,
            created_ms: job.created_ms,
            since_ms: job.since_ms,
            expires_ms: job.expires_ms,
            timeout_ms: job.timeout_ms,
        }
    }
}

impl From<Leased> for LeasedView {
    fn from(leased: Leased) -> Self {
        Self { token: leased.ticket.token, job: leased.job.into() }
    }
}

impl SettleDone {
    pub(super) fn of(settled: &[Settled]) -> Self {
        let state = |settled: &Settled| match settled {
            Settled::Done(state) => Some(*state),
            Settled::Lost => None,
        };
        Self { settled: settled.iter().map(state).collect() }
    }
}

impl From<Exchanged> for ExchangeDone {
    fn from(exchanged: Exchanged) -> Self {
        let SettleDone { settled } = SettleDone::of(&exchanged.settled);
        Self { settled, jobs: exchanged.jobs.into_iter().map(LeasedView::from).collect() }
    }
}

impl From<Inspected> for JobDone {
    fn from(found: Inspected) -> Self {
        let (result, result_base64) = json_or_bytes(found.result);
        let (progress, _) = json_or_bytes(found.progress);
        let (error, ahead, moment_ms) = (found.error, found.ahead, found.moment_ms);
        Self { job: found.job.map(JobView::from), progress, error, result, result_base64, ahead, moment_ms }
    }
}

/// Keeps `null` apart from a field that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}
