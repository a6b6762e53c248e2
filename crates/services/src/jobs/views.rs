//! Outputs of the operations. What is bytes stands in Base64 in a field of its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Enqueued, EventKind, EventPage, Exchanged, GroupCounts, Headers, Heartbeat, Inspected, Job, JobEvent, Leased,
    Payload, Settled, State,
};

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

/// A flow that was enqueued.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FlowDone {
    /// Id of the parent, then those of the children.
    pub(super) ids: Vec<String>,
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
    /// Short texts beside the payload.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
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
    /// Its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
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

/// Something that became of a job.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EventView {
    /// Its number: the next event has the next.
    number: u64,
    /// What became of the job.
    event: EventKind,
    /// The job.
    id: String,
    /// Where it was then; where it had been, if it was removed.
    state: State,
    /// When, milliseconds since 1970.
    at_ms: u64,
    /// What went wrong, if it failed or is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How far it is, if its worker said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Json>,
    /// Number of its run, from 1, if it was leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

/// What a feed of events gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Watched {
    /// An event.
    Event(EventView),
    /// Events that are not kept any more.
    Gap {
        /// How many.
        count: u64,
    },
    /// Where it begins.
    Ready {
        /// The number of the last event there was.
        number: u64,
    },
}

/// Some events.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EventsDone {
    /// The events.
    events: Vec<EventView>,
    /// The last number that is known now: behind it the next request goes on.
    next: u64,
    /// How many were between the last that was known and the first of these that are not kept any more.
    missed: u64,
}

/// Groups of a queue.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GroupsDone {
    /// The groups.
    pub(super) groups: Vec<GroupCounts>,
}

/// How many.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Number {
    /// How many jobs, or lines.
    pub(super) count: u64,
}

/// Whether something changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Switched {
    /// False if it was so before.
    pub(super) changed: bool,
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
            headers: job.headers,
            state: job.state,
            priority: job.priority,
            attempt,
            failures: job.failures,
            lost: job.lost,
            created_ms: job.created_ms,
            since_ms: job.since_ms,
            expires_ms: job.expires_ms,
            timeout_ms: job.timeout_ms,
            group: job.group,
        }
    }
}

impl From<JobEvent> for EventView {
    fn from(event: JobEvent) -> Self {
        let (progress, _) = json_or_bytes(event.progress);
        let JobEvent { number, kind, id, state, at_ms, error, attempt, .. } = event;
        Self { number, event: kind, id, state, at_ms, error, progress, attempt }
    }
}

impl From<EventPage> for EventsDone {
    fn from(page: EventPage) -> Self {
        let EventPage { events, next, missed } = page;
        Self { events: events.into_iter().map(EventView::from).collect(), next, missed }
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
