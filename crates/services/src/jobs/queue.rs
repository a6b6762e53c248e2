//! A queue: what producers and operators do with it, and how its steps are called.

use std::sync::Arc;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::job::{NewJob, State, check_id};
use super::settings::JobSettings;
use super::steps::{CANCEL, ENQUEUE, PAUSE, SWEEP};
use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant, check_name};
use crate::metrics::Counter;
use crate::random;
use crate::script::Script;

/// Most jobs of one call.
pub const MAX_BATCH: usize = 1_000;

/// Kinds of a queue's keys, in the order in which the steps take them.
const KINDS: [&str; 13] = ["m", "s", "p", "w", "d", "a", "n", "l", "e", "c", "x", "o", "k"];

/// A queue. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Services,
    name: String,
    group: Group,
    keys: Vec<Key>,
}

/// What became of a job that was to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id.
    pub id: String,
    /// Where the job of that id is that was there already, and has not been changed; none if this one was enqueued.
    pub existing: Option<State>,
}

/// What a sweep has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Swept {
    /// Jobs that expired.
    pub expired: u64,
    /// Jobs taken back from workers whose leases had ended.
    pub taken_back: u64,
    /// Delayed jobs that wait now.
    pub due: u64,
}

impl Queue {
    pub(super) fn open(services: Services, tenant: &Tenant, name: &str) -> Result<Self> {
        check_name("queue", name)?;
        let group = services.settings().keyring.kept_group(tenant, "jobs", &[name]);
        let keys = KINDS.iter().map(|kind| group.key(kind)).collect();
        Ok(Self { inner: Arc::new(Inner { services, name: name.to_owned(), group, keys }) })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Enqueues a job.
    pub async fn enqueue(&self, job: &NewJob) -> Result<Enqueued> {
        let mut enqueued = self.enqueue_many(std::slice::from_ref(job)).await?;
        Ok(enqueued.remove(0))
    }

    /// Enqueues up to [`MAX_BATCH`] jobs in one step, all or none; ids that are alive stay as they are, and that is told. A
    /// queue that would get too long or too large is a conflict.
    pub async fn enqueue_many(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        check_batch("jobs", jobs.len())?;
        let settings = self.settings();
        let mut command = self.command(&ENQUEUE, &[]).arg(settings.length_max).arg(settings.bytes_max);
        let mut ids = Vec::with_capacity(jobs.len());
        for job in jobs {
            let id = job.id()?;
            command = command.arg(&id).arg(job.options(settings)?).arg(job.record(settings)?);
            ids.push(id);
        }
        let letters = self.admitted(&ENQUEUE, &self.run(command).await?)?;
        let mut enqueued = Vec::with_capacity(ids.len());
        for (id, letter) in ids.into_iter().zip(letters) {
            enqueued.push(Enqueued { id, existing: State::of_letter(letter) });
        }
        let known = enqueued.iter().filter(|one| one.existing.is_some()).count();
        self.count(Counter::JobsDuplicate, known);
        self.count(Counter::JobsEnqueued, enqueued.len() - known);
        Ok(enqueued)
    }

    /// Cancels up to [`MAX_BATCH`] jobs and returns where each is then: [`State::Cancelled`]; [`State::Cancelling`] if a worker
    /// is at it, which is told at its next heartbeat and may be done before that; where it has ended already; none if it is not known.
    pub async fn cancel(&self, ids: &[String]) -> Result<Vec<Option<State>>> {
        check_ids(ids)?;
        let reply = self.run(self.command(&CANCEL, &[]).args_of(ids)).await?;
        let letters = reply.as_bytes().ok_or_else(|| Error::unexpected(CANCEL.name(), &reply))?;
        Ok(letters.iter().map(|letter| State::of_letter(*letter)).collect())
    }

    /// Has no more jobs leased until [`Queue::resume`]; those that are leased go on. Returns whether that was a change.
    pub async fn pause(&self) -> Result<bool> {
        self.change(&PAUSE, "pause").await
    }

    /// Has jobs leased again, and wakes who waits for them. Returns whether that was a change.
    pub async fn resume(&self) -> Result<bool> {
        self.change(&PAUSE, "resume").await
    }

    /// Moves what is due: ends those that have waited for too long, takes back what was leased to the dead, has delayed jobs wait. A
    /// bounded number of each; worth repeating until there is nothing. Leasing does the same, so nobody has to call this.
    pub async fn sweep(&self) -> Result<Swept> {
        let reply = self.run(self.command(&SWEEP, &[])).await?;
        match reply.as_array().unwrap_or_default() {
            [expired, taken_back, due] => {
                let number = |value: &Value| value.as_i64().and_then(|number| u64::try_from(number).ok());
                let all = [number(expired), number(taken_back), number(due)];
                let [Some(expired), Some(taken_back), Some(due)] = all else {
                    return Err(Error::unexpected(SWEEP.name(), &reply));
                };
                Ok(Swept { expired, taken_back, due })
            }
            _ => Err(Error::unexpected(SWEEP.name(), &reply)),
        }
    }

    /// Reads the answer of a step that may find the queue full.
    pub(super) fn admitted(&self, step: &'static Script, reply: &Value) -> Result<Vec<u8>> {
        let parts = reply.as_array().unwrap_or_default();
        match (parts.first().and_then(Value::as_str), parts.get(1).and_then(Value::as_bytes)) {
            (Some("ok"), Some(letters)) => Ok(letters.to_vec()),
            (Some("full"), _) => {
                self.count(Counter::JobsFull, 1);
                let (length, bytes) = (item(reply, 1).unwrap_or_default(), item(reply, 2).unwrap_or_default());
                let name = self.name();
                Err(Error::Conflict(format!("queue {name:?} is full: it holds {length} jobs with {bytes} bytes")))
            }
            _ => Err(Error::unexpected(step.name(), reply)),
        }
    }

    async fn change(&self, step: &'static Script, what: &str) -> Result<bool> {
        let reply = self.run(self.command(step, &[]).arg(what)).await?;
        Ok(reply.as_i64() == Some(1))
    }

    pub(super) fn services(&self) -> &Services {
        &self.inner.services
    }

    pub(super) fn settings(&self) -> &JobSettings {
        &self.inner.services.settings().jobs
    }

    pub(super) fn count(&self, counter: Counter, count: usize) {
        self.inner.services.metrics().add(counter, count as u64);
    }

    /// Returns the keys that every step takes.
    pub(super) fn keys(&self) -> &[Key] {
        &self.inner.keys
    }

    /// Returns the channel of those who wait for work.
    pub(super) fn channel(&self) -> &Key {
        &self.inner.keys[0]
    }

    pub(super) fn result_key(&self, id: &str) -> Key {
        self.inner.group.named("r", id)
    }

    /// Begins the call of a step that moves jobs; `more` are keys behind those of every step.
    pub(super) fn command(&self, step: &'static Script, more: &[Key]) -> Command {
        let kept = self.settings().kept();
        let dice = (random::unit() * 999_999.0) as u64;
        let first = format!("{dice},{kept}");
        match more.is_empty() {
            true => Command::script(step, &self.inner.keys, &[first]),
            false => Command::script(step, &[self.inner.keys.as_slice(), more].concat(), &[first]),
        }
    }

    /// Talks to a store that does not evict, and counts when there is none.
    pub(super) async fn run(&self, command: Command) -> Result<Value> {
        let result = match self.inner.services.ensure_kept().await {
            Ok(()) => self.inner.services.backend().call(command).await,
            Err(error) => Err(error),
        };
        if result.as_ref().is_err_and(Error::is_outage) {
            self.count(Counter::JobsOutages, 1);
        }
        result
    }
}

/// Reads a number of a reply that is a list.
pub(super) fn item(reply: &Value, index: usize) -> Option<u64> {
    reply.as_array()?.get(index)?.as_i64().and_then(|number| u64::try_from(number).ok())
}

/// Refuses batches that are empty or too large.
pub(super) fn check_batch(field: &'static str, len: usize) -> Result<()> {
    match (1..=MAX_BATCH).contains(&len) {
        true => Ok(()),
        false => Err(Error::invalid(field, format_args!("must be 1 to {MAX_BATCH}"))),
    }
}

/// Refuses ids that cannot be.
pub(super) fn check_ids(ids: &[String]) -> Result<()> {
    check_batch("ids", ids.len())?;
    ids.iter().try_for_each(|id| check_id(id))
}
