//! A queue: what producers and operators do with it, and how its steps are called.

use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::groups::GroupBounds;
use super::job::{NewJob, State, check_id};
use super::settings::JobSettings;
use super::steps::{BOUNDS, CANCEL, ENQUEUE, PAUSE, SWEEP};
use crate::Services;
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant, check_name};
use crate::metrics::Counter;
use crate::random;
use crate::script::Script;

/// Most bytes of one call, payloads or results, if it is of more than one job: a call is one step and is sent as a whole.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// Kinds of a queue's keys, in the order in which the steps take them.
pub(super) const KINDS: [&str; 21] =
    ["m", "s", "p", "w", "d", "a", "n", "l", "e", "c", "x", "o", "k", "b", "f", "g", "y", "h", "v", "z", "q"];

/// A queue. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Services,
    tenant: Tenant,
    name: String,
    group: Group,
    keys: Vec<Key>,
    own: Option<Own>,
}

/// What a queue has that is a service's own.
#[derive(Debug)]
pub(crate) struct Own {
    /// Its settings.
    pub(crate) settings: JobSettings,
    /// Where it is counted that the store was down. Nothing else is: what becomes of its jobs, the service counts.
    pub(crate) outages: Counter,
}

/// What became of a job that was to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id.
    pub id: String,
    /// Where the job of that id is that was there already, and has not been changed; none if this one was enqueued.
    pub existing: Option<State>,
}

/// How many jobs of a queue may be worked on, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Most jobs that are active at once.
    pub active_max: Option<u32>,
    /// How fast jobs are leased.
    pub rate: Option<Rate>,
    /// What holds for each group without a bound of its own, see [`Queue::limit_group`].
    pub group: GroupBounds,
}

/// So many in a period, evenly spread, with some at once: in no period are more than both together leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Jobs in a period, 1 to a million.
    pub count: u32,
    /// The period, 1 ms to a day.
    pub period: Duration,
    /// How many may be leased at once after a rest, 1 to `count`.
    pub burst: u32,
}

impl Bounds {
    /// Returns the most active jobs, µs between two leases, how many may be leased at once, and the same of a group.
    fn checked(&self) -> Result<[Option<u64>; 6]> {
        if self.active_max == Some(0) {
            return Err(Error::invalid("active_max", "must be at least 1; pause the queue instead"));
        }
        let [interval_us, burst] = Rate::checked(self.rate)?;
        let [of_group, group_interval_us, group_burst] = self.group.checked("group_active_max")?;
        Ok([self.active_max.map(u64::from), interval_us, burst, of_group, group_interval_us, group_burst])
    }
}

impl Rate {
    /// Returns the µs between two leases and how many may be leased at once.
    pub(super) fn checked(rate: Option<Self>) -> Result<[Option<u64>; 2]> {
        let Some(Self { count, period, burst }) = rate else { return Ok([None, None]) };
        let day = Duration::from_secs(86_400);
        if !(1..=1_000_000).contains(&count) || !(Duration::from_millis(1)..=day).contains(&period) {
            return Err(Error::invalid("rate", "must be 1 to 1,000,000 jobs in 1 ms to a day"));
        }
        if !(1..=count).contains(&burst) {
            return Err(Error::invalid("burst", "must be 1 to the jobs of a period"));
        }
        let interval_us = u64::try_from(period.as_micros()).expect("a day has fewer").div_ceil(u64::from(count));
        Ok([Some(interval_us), Some(u64::from(burst))])
    }
}

/// Writes bounds as steps take them: empty if absent.
pub(super) fn spelled(numbers: &[Option<u64>]) -> Vec<String> {
    numbers.iter().map(|number| number.map(|number| number.to_string()).unwrap_or_default()).collect()
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
        Ok(Self::of_group(services, tenant, name, group, None))
    }

    /// Opens the queue of a service that has one among its own keys, so that its steps enqueue: in a group of its.
    pub(crate) fn among(services: Services, tenant: &Tenant, name: &str, group: Group, own: Own) -> Self {
        Self::of_group(services, tenant, name, group, Some(own))
    }

    fn of_group(services: Services, tenant: &Tenant, name: &str, group: Group, own: Option<Own>) -> Self {
        let keys = KINDS.iter().map(|kind| group.key(kind)).collect();
        Self { inner: Arc::new(Inner { services, tenant: tenant.clone(), name: name.to_owned(), group, keys, own }) }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns whose it is.
    pub fn tenant(&self) -> &Tenant {
        &self.inner.tenant
    }

    /// Enqueues a job.
    pub async fn enqueue(&self, job: &NewJob) -> Result<Enqueued> {
        let mut enqueued = self.enqueue_many(std::slice::from_ref(job)).await?;
        Ok(enqueued.remove(0))
    }

    /// Enqueues up to [`MAX_BATCH`](super::MAX_BATCH) jobs of up to [`MAX_BATCH_BYTES`] together in one step, all or none; ids that are alive stay as they are, and that is
    /// told. A queue that would get too long or too large is a conflict.
    pub async fn enqueue_many(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        check_batch("jobs", jobs.len())?;
        self.enqueue_step(jobs.iter(), "").await
    }

    /// Enqueues a job that is blocked until these others, at least one, have all completed. One step, all or none; an id that is
    /// alive is a conflict. A child that ends in any other way takes the parent to the dead, from where it can be requeued. Returns the parent's id,
    /// then the children's.
    pub async fn enqueue_flow(&self, parent: &NewJob, children: &[NewJob]) -> Result<Vec<String>> {
        check_batch("children", children.len())?;
        check_batch("children", children.len() + 1)?;
        if !parent.delay.is_zero() || parent.at_ms > 0 {
            return Err(Error::invalid("parent", "is due when its children have completed"));
        }
        let enqueued = self.enqueue_step(std::iter::once(parent).chain(children), "flow").await?;
        Ok(enqueued.into_iter().map(|one| one.id).collect())
    }

    async fn enqueue_step(&self, jobs: impl Iterator<Item = &NewJob>, form: &str) -> Result<Vec<Enqueued>> {
        let settings = self.settings();
        let command = self.command(&ENQUEUE, &[]).arg(settings.length_max).arg(settings.bytes_max).arg(form);
        let (command, ids) = self.with_jobs(command, jobs)?;
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

    /// Appends jobs to a step that enqueues, and returns their ids.
    pub(super) fn with_jobs<'a>(
        &self,
        mut command: Command,
        jobs: impl Iterator<Item = &'a NewJob>,
    ) -> Result<(Command, Vec<String>)> {
        let settings = self.settings();
        let (mut ids, mut size_bytes) = (Vec::new(), 0);
        for job in jobs {
            let (id, record) = (job.id()?, job.record(settings)?);
            ids.push(id);
            size_bytes += record.len();
            check_batch_bytes(ids.len(), size_bytes)?;
            command = command.arg(&ids[ids.len() - 1]).arg(job.options(settings)?).arg(record);
        }
        Ok((command, ids))
    }

    /// Cancels up to [`MAX_BATCH`](super::MAX_BATCH) jobs and returns where each is then: [`State::Cancelled`]; [`State::Cancelling`] if a worker
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

    /// Bounds how many jobs are active at once, of all and of each group, and how fast they are leased; what is absent is not
    /// bounded. Holds for all workers, from the next lease on.
    pub async fn limit(&self, bounds: &Bounds) -> Result<()> {
        self.run(self.command(&BOUNDS, &[]).args_of(&spelled(&bounds.checked()?))).await.map(drop)
    }

    /// Moves what is due: ends those that have waited for too long, takes back what was leased to the dead, has delayed jobs wait. A
    /// bounded number of each; worth repeating until there is nothing. Leasing does the same, so nobody has to call this.
    pub async fn sweep(&self) -> Result<Swept> {
        let reply = self.run(self.command(&SWEEP, &[])).await?;
        match reply.as_array().unwrap_or_default() {
            [expired, taken_back, due] => {
                let all = [expired, taken_back, due].map(Value::as_u64);
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
            (Some("taken"), Some(id)) => {
                Err(Error::Conflict(format!("job {:?} has not ended", String::from_utf8_lossy(id))))
            }
            _ => Err(Error::unexpected(step.name(), reply)),
        }
    }

    async fn change(&self, step: &'static Script, what: &str) -> Result<bool> {
        let reply = self.run(self.command(step, &[]).arg(what)).await?;
        Ok(reply.as_i64() == Some(1))
    }

    pub(crate) fn services(&self) -> &Services {
        &self.inner.services
    }

    pub(crate) fn settings(&self) -> &JobSettings {
        self.inner.own.as_ref().map_or(&self.inner.services.settings().jobs, |own| &own.settings)
    }

    pub(crate) fn count(&self, counter: Counter, count: usize) {
        if self.inner.own.is_some() {
            return;
        }
        self.inner.services.metrics().add(counter, count as u64);
    }

    /// Returns the keys that every step takes.
    pub(super) fn keys(&self) -> &[Key] {
        &self.inner.keys
    }

    /// Returns what all keys of the queue share.
    pub(super) fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Returns the channel of those who wait for work.
    pub(crate) fn channel(&self) -> &Key {
        &self.inner.keys[0]
    }

    /// Returns the stream of events, which is also the channel of those who wait for some.
    pub(super) fn events_key(&self) -> &Key {
        &self.inner.keys[18]
    }

    pub(super) fn result_key(&self, id: &str) -> Key {
        self.inner.group.named("r", id)
    }

    /// Begins the call of a step that moves jobs; `more` are keys behind those of every step.
    pub(crate) fn command<'a>(&'a self, step: &'static Script, more: impl IntoIterator<Item = &'a Key>) -> Command {
        let kept = self.settings().kept();
        let dice = (random::unit() * 999_999.0) as u64;
        let keys: Vec<&Key> = self.inner.keys.iter().chain(more).collect();
        Command::script(step, &keys, &[format!("{dice},{kept}")])
    }

    /// Talks to a store that does not evict, and counts when there is none.
    pub(crate) async fn run(&self, command: Command) -> Result<Value> {
        let services = &self.inner.services;
        let outages = self.inner.own.as_ref().map_or(Counter::JobsOutages, |own| own.outages);
        services.upon_kept(outages, services.backend().call(command)).await
    }
}

/// Reads a number of a reply that is a list.
pub(super) fn item(reply: &Value, index: usize) -> Option<u64> {
    reply.as_array()?.get(index)?.as_u64()
}

/// Refuses batches that are too much for one step.
pub(super) fn check_batch_bytes(len: usize, size_bytes: usize) -> Result<()> {
    match len <= 1 || size_bytes <= MAX_BATCH_BYTES {
        true => Ok(()),
        false => Err(Error::TooLarge { size_bytes, max_bytes: MAX_BATCH_BYTES }),
    }
}

/// Refuses ids that cannot be.
pub(super) fn check_ids(ids: &[String]) -> Result<()> {
    check_batch("ids", ids.len())?;
    ids.iter().try_for_each(|id| check_id(id))
}
