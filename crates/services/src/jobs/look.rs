//! Looking at a queue: counts, single jobs, lists. Nothing here changes anything.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::job::{Job, State, check_id};
use super::payload::Payload;
use super::queue::{Queue, item};
use super::steps::{COUNTS, JOB, LIST};
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::keys::Key;

/// How many jobs there are, all of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Counts {
    /// Waiting.
    pub waiting: u64,
    /// Delayed, those included that are due and will wait as soon as somebody looks.
    pub delayed: u64,
    /// Leased, those included that are to be cancelled and those whose lease has ended and will be taken back.
    pub active: u64,
    /// Completed and still remembered.
    pub completed: u64,
    /// Cancelled and still remembered.
    pub cancelled: u64,
    /// Expired and still remembered.
    pub expired: u64,
    /// Dead.
    pub dead: u64,
    /// Waiting for their children.
    pub blocked: u64,
    /// Of the delayed, those that are due.
    pub due: u64,
    /// Of the active, those whose lease has ended.
    pub overdue: u64,
    /// Bytes of the payloads of those that are not ended.
    pub bytes: u64,
    /// Since when the queue is paused, in milliseconds since 1970.
    pub paused_ms: Option<u64>,
    /// Ever completed.
    pub completed_total: u64,
    /// Ever cancelled.
    pub cancelled_total: u64,
    /// Ever expired.
    pub expired_total: u64,
    /// Ever given up.
    pub dead_total: u64,
    /// Leases that ever ended without an outcome.
    pub lost_total: u64,
    /// Dead jobs that were dropped because there were too many, or too old.
    pub dropped_total: u64,
    /// For how long the job has waited that is next, in milliseconds; none if none waits.
    pub oldest_ms: Option<u64>,
}

/// A job looked at closely.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The job; none if only its result is remembered.
    pub job: Option<Job>,
    /// What its worker said last about how far it is.
    pub progress: Option<Payload>,
    /// What went wrong last.
    pub error: Option<String>,
    /// What came of it, if it has completed and its result is still kept.
    pub result: Option<Payload>,
    /// How many are worked on before it, if it is waiting.
    pub ahead: Option<u64>,
    /// When it is due if it is delayed, when its lease ends if it is active, when it ended otherwise; milliseconds since 1970.
    pub moment_ms: Option<u64>,
}

impl Queue {
    /// Returns how many jobs there are in each state.
    pub async fn counts(&self) -> Result<Counts> {
        let reply = self.run(Command::script::<Key, &str>(&COUNTS, self.keys(), &[])).await?;
        Counts::read(&reply).ok_or_else(|| Error::unexpected(COUNTS.name(), &reply))
    }

    /// Looks at one job; not found if nothing is remembered of it.
    pub async fn job(&self, id: &str) -> Result<Inspected> {
        check_id(id)?;
        let mut keys = self.keys().to_vec();
        keys.push(self.result_key(id));
        let reply = self.run(Command::script(&JOB, &keys, &[id])).await?;
        let found = Inspected::read(id, &reply).ok_or_else(|| Error::unexpected(JOB.name(), &reply))?;
        match &found {
            Inspected { job: None, result: None, .. } => Err(Error::NotFound(format!("job {id:?}"))),
            _ => Ok(found),
        }
    }

    /// Lists jobs of one state, at most [`MAX_BATCH`](super::MAX_BATCH) after passing over `skip`: of the waiting the next first, of the delayed and
    /// active the soonest, of the ended the latest. The active are listed with those that are to be cancelled.
    pub async fn list(&self, state: State, skip: usize, count: usize) -> Result<Vec<Inspected>> {
        let mut listed = self.list_places(&[state], skip, count).await?;
        if state == State::Waiting {
            for (found, place) in listed.iter_mut().zip(skip..) {
                found.ahead = Some(place as u64);
            }
        }
        Ok(listed)
    }

    /// Lists jobs of some states, all of one of them before those of the next, as [`Queue::list`] does those of one.
    pub(crate) async fn list_places(&self, states: &[State], skip: usize, count: usize) -> Result<Vec<Inspected>> {
        check_batch("count", count)?;
        let places: String = states.iter().map(|state| state.letter()).collect();
        let command = Command::script::<Key, &str>(&LIST, self.keys(), &[]);
        let reply = self.run(command.arg(places).arg(skip).arg(count)).await?;
        let parts = reply.as_array().unwrap_or_default();
        let listed = parts.chunks(6).map(Inspected::read_listed).collect::<Option<_>>();
        listed.ok_or_else(|| Error::unexpected(LIST.name(), &reply))
    }
}

impl Counts {
    fn read(reply: &Value) -> Option<Self> {
        let at = |index: usize| item(reply, index);
        let now = at(0)?;
        let some = |number: u64| (number > 0).then_some(number);
        Some(Self {
            waiting: at(1)?,
            delayed: at(2)?,
            active: at(3)?,
            completed: at(4)?,
            cancelled: at(5)?,
            expired: at(6)?,
            dead: at(7)?,
            blocked: at(8)?,
            due: at(9)?,
            overdue: at(10)?,
            bytes: at(11)?,
            paused_ms: some(at(12)?),
            completed_total: at(13)?,
            cancelled_total: at(14)?,
            expired_total: at(15)?,
            dead_total: at(16)?,
            lost_total: at(17)?,
            dropped_total: at(18)?,
            oldest_ms: some(at(19)?).map(|since| now.saturating_sub(since)),
        })
    }
}

impl Inspected {
    fn read(id: &str, reply: &Value) -> Option<Self> {
        let [state, record, progress, error, result, ahead, moment] = reply.as_array()? else { return None };
        let job = match state.is_nil() {
            true => None,
            false => Some(Job::read(&Value::Bulk(id.as_bytes().to_vec()), state, record)?),
        };
        let found = Self {
            progress: note(progress),
            error: text(error),
            result: None,
            ahead: ahead.as_u64(),
            moment_ms: number(moment),
            job,
        };
        Some(Self { result: found.result_of(result), ..found })
    }

    fn read_listed(parts: &[Value]) -> Option<Self> {
        let [id, state, record, progress, error, moment] = parts else { return None };
        let job = Job::read(id, state, record)?;
        Some(Self {
            progress: note(progress),
            error: text(error),
            result: None,
            ahead: None,
            // Those that wait stand in an order, not by a moment.
            moment_ms: number(moment).filter(|_| job.state != State::Waiting),
            job: Some(job),
        })
    }

    /// Reads a result (token 16, when 13, what) if it is this job's, and not an earlier one's of the same id.
    fn result_of(&self, stored: &Value) -> Option<Payload> {
        let (head, result) = stored.as_bytes()?.split_at_checked(29)?;
        let token: u64 = std::str::from_utf8(&head[..16]).ok()?.parse().ok()?;
        match &self.job {
            Some(job) if job.state != State::Completed || job.token != token => None,
            _ => Payload::read(result),
        }
    }
}

fn note(value: &Value) -> Option<Payload> {
    Payload::read(value.as_bytes()?)
}

fn text(value: &Value) -> Option<String> {
    value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Reads a moment, which is a score as text.
fn number(value: &Value) -> Option<u64> {
    value.as_f64().map(|number| number as u64)
}
