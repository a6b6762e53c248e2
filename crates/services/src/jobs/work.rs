//! Working on jobs: leasing them, saying what became of them, and both at once.
//!
//! ```text
//! lease ─► run (extend while it lasts) ─► exchange: outcomes of these, leases of the next, one round trip
//! ```
//!
//! Who waits for work is registered in the store under a name of its own. A step that brings work wakes as many as there is work
//! for, and who takes some and leaves some wakes the next; so a job wakes one worker, not all. Whoever gives up
//! waiting leaves, and passes on a hint that was meant for it. A call that is dropped while the store is at it hands back what it leased.

use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::job::{Job, State, check_id};
use super::payload::Payload;
#[cfg(doc)]
use super::queue::MAX_BATCH_BYTES;
use super::queue::{Queue, check_batch_bytes, item};
use super::settings::{MAX_DELAY, MAX_WAIT};
use super::steps::{EXTEND, STOP_WAITING, WORK};
use crate::Services;
use crate::backend::Command;
use crate::batch::{MAX_BATCH, check_batch};
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::leasing::{Lessor, REGISTERED, Waiting, hear};
use crate::metrics::Counter;
use crate::signal::RECHECK_MAX;
use crate::ttl::{Ttl, bounded_ms, ms};

/// Longest text of what went wrong that is kept, in bytes; the rest is cut off.
pub const MAX_ERROR_BYTES: usize = 4_096;

/// Largest progress, in bytes.
pub const MAX_PROGRESS_BYTES: usize = 4_096;

/// One lease of one job: what its worker shows to say anything about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// The job.
    pub id: String,
    /// The lease. A later lease of the same job has a larger one, so it is a fence too.
    pub token: u64,
}

/// A leased job.
#[derive(Debug, Clone, PartialEq)]
pub struct Leased {
    /// What to show.
    pub ticket: Ticket,
    /// The job.
    pub job: Job,
}

/// What became of a leased job.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is done.
    Completed {
        /// What came of it, if that is to be kept.
        result: Option<Payload>,
        /// How long; the settings' if absent.
        ttl: Option<Ttl>,
    },
    /// It failed, and is tried again unless that was the last time.
    Failed {
        /// What went wrong.
        error: String,
        /// When to try again; after the job's pause if absent.
        retry_after: Option<Duration>,
    },
    /// It failed and need not be tried again: it is dead.
    GivenUp {
        /// What went wrong.
        error: String,
    },
    /// It is handed back as if it had not been leased, to its place in the queue.
    Released {
        /// How long it is to be left alone.
        delay: Duration,
    },
}

/// What the store made of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It holds: here is where the job is.
    Done(State),
    /// It was refused, and changed nothing: the lease had been lost.
    Lost,
}

/// How jobs are leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Most jobs, up to [`MAX_BATCH`].
    pub count: usize,
    /// How long a worker may give no sign of life; the settings' if absent.
    pub lease: Option<Duration>,
    /// How long to wait for work if there is none, at most an hour.
    pub wait: Duration,
}

impl Default for LeaseOptions {
    /// One job, without waiting.
    fn default() -> Self {
        Self { count: 1, lease: None, wait: Duration::ZERO }
    }
}

/// What an exchange gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exchanged {
    /// What became of the outcomes, in their order.
    pub settled: Vec<Settled>,
    /// The next jobs.
    pub jobs: Vec<Leased>,
}

/// What a heartbeat was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Heartbeat {
    /// The lease has begun anew.
    Extended,
    /// So it has, and the job is to be cancelled: whatever its worker says next, except that it is done, ends it.
    Cancelling,
    /// The lease was lost: another may have the job.
    Lost,
}

/// A lease asked for; checked.
#[derive(Debug, Clone, Copy)]
struct Request {
    count: usize,
    lease_ms: u64,
}

/// What one step found.
struct Look {
    settled: Vec<Settled>,
    jobs: Vec<Leased>,
    /// When it is worth looking again.
    after: Duration,
}

impl Queue {
    /// Leases the next jobs, waiting for some if asked to. Fewer than asked for if there are not as many.
    pub async fn lease(&self, options: &LeaseOptions) -> Result<Vec<Leased>> {
        Ok(self.exchange(&[], options).await?.jobs)
    }

    /// Says what became of up to [`MAX_BATCH`] jobs, with results of up to [`MAX_BATCH_BYTES`] together, in one step. Saying the same again gives the same answer, so this is repeated
    /// when the store's answer was lost.
    pub async fn settle(&self, outcomes: &[(Ticket, Outcome)]) -> Result<Vec<Settled>> {
        check_batch("outcomes", outcomes.len())?;
        Ok(self.work(outcomes, Request { count: 0, lease_ms: 0 }, "").await?.settled)
    }

    /// Says what became of jobs, and leases the next ones in the same step.
    pub async fn exchange(&self, outcomes: &[(Ticket, Outcome)], options: &LeaseOptions) -> Result<Exchanged> {
        if outcomes.len() > MAX_BATCH {
            return Err(Error::invalid("outcomes", format_args!("more than {MAX_BATCH}")));
        }
        check_batch("count", options.count)?;
        bounded_ms("wait_ms", options.wait, MAX_WAIT)?;
        let request = Request { count: options.count, lease_ms: self.settings().lease_ms(options.lease)? };
        let deadline = Instant::now() + options.wait;
        let Look { settled, mut jobs, .. } = self.work(outcomes, request, "").await?;
        if jobs.is_empty() && !options.wait.is_zero() {
            let (_never, mut stop) = watch::channel(false);
            jobs = self.wait_for_work(request, deadline, &mut stop).await?;
        }
        self.count(Counter::JobsLeased, jobs.len());
        Ok(Exchanged { settled, jobs })
    }

    /// Leases the next jobs, waiting for some until the time is up or `stop` becomes true. Not to be dropped: what ends it is `stop`, and
    /// then it is over with the step that it is at.
    pub(crate) async fn lease_until(
        &self,
        options: &LeaseOptions,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Vec<Leased>> {
        let request = Request { count: options.count, lease_ms: self.settings().lease_ms(options.lease)? };
        let jobs = self.wait_for_work(request, Instant::now() + options.wait, stop).await?;
        self.count(Counter::JobsLeased, jobs.len());
        Ok(jobs)
    }

    async fn wait_for_work(
        &self,
        request: Request,
        deadline: Instant,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Vec<Leased>> {
        let mut waiting = Waiting::begin(self);
        loop {
            let look = self.work(&[], request, &waiting.name).await?;
            if !look.jobs.is_empty() {
                waiting.is_over = true;
                return Ok(look.jobs);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || *stop.borrow() {
                waiting.is_over = self.leave(&waiting.name).await.is_ok();
                return Ok(Vec::new());
            }
            tokio::select! {
                _ = waiting.waiter.wait(left.min(look.after)) => {}
                // Whoever could end the wait may be gone; then the time does.
                Ok(_) = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Says that a job is done. A conflict if its lease was lost: then another has it or has had it, and this changed nothing.
    pub async fn complete(&self, ticket: &Ticket, result: Option<Payload>) -> Result<()> {
        self.settle_one(ticket, Outcome::Completed { result, ttl: None }).await.map(drop)
    }

    /// Says that a job has failed, and returns where it is now: tried again later, or dead. A conflict if its lease was lost.
    pub async fn fail(&self, ticket: &Ticket, error: impl Into<String>) -> Result<State> {
        self.settle_one(ticket, Outcome::Failed { error: error.into(), retry_after: None }).await
    }

    /// Hands a job back that has not been worked on. A conflict if its lease was lost.
    pub async fn release(&self, ticket: &Ticket) -> Result<State> {
        self.settle_one(ticket, Outcome::Released { delay: Duration::ZERO }).await
    }

    /// Says what became of one job, and returns where it is now. A conflict if its lease was lost.
    pub async fn settle_one(&self, ticket: &Ticket, outcome: Outcome) -> Result<State> {
        match self.settle(&[(ticket.clone(), outcome)]).await?.as_slice() {
            [Settled::Done(state)] => Ok(*state),
            _ => Err(Error::Conflict(format!("the lease of job {:?} was lost", ticket.id))),
        }
    }

    /// Begins the leases of up to [`MAX_BATCH`] jobs anew. What is past its timeout is not extended.
    pub async fn extend(&self, tickets: &[Ticket], lease: Option<Duration>) -> Result<Vec<Heartbeat>> {
        let beats: Vec<(&Ticket, Vec<u8>)> = tickets.iter().map(|ticket| (ticket, Vec::new())).collect();
        self.beat(&beats, lease).await
    }

    /// Begins the lease of a job anew and says how far it is, in at most [`MAX_PROGRESS_BYTES`].
    pub async fn progress(&self, ticket: &Ticket, progress: &Payload, lease: Option<Duration>) -> Result<Heartbeat> {
        let size_bytes = progress.as_bytes().len();
        if size_bytes > MAX_PROGRESS_BYTES {
            return Err(Error::TooLarge { size_bytes, max_bytes: MAX_PROGRESS_BYTES });
        }
        Ok(self.beat(&[(ticket, progress.marked())], lease).await?.remove(0))
    }

    /// Begins leases anew of jobs whose runs have not begun: one that is limited in time begins now. For who leases more than it can work on at once.
    pub async fn extend_unbegun(&self, tickets: &[Ticket], lease: Option<Duration>) -> Result<Vec<Heartbeat>> {
        let beats: Vec<(&Ticket, Vec<u8>)> = tickets.iter().map(|ticket| (ticket, b"!".to_vec())).collect();
        self.beat(&beats, lease).await
    }

    async fn beat(&self, beats: &[(&Ticket, Vec<u8>)], lease: Option<Duration>) -> Result<Vec<Heartbeat>> {
        check_batch("tickets", beats.len())?;
        let mut command = self.command(&EXTEND, &[]).arg(self.settings().lease_ms(lease)?);
        for (ticket, progress) in beats {
            check_id(&ticket.id)?;
            command = command.arg(&ticket.id).arg(ticket.token).arg(progress);
        }
        let reply = self.run(command).await?;
        let letters = reply.as_bytes().unwrap_or_default();
        if letters.len() != beats.len() {
            return Err(Error::unexpected(EXTEND.name(), &reply));
        }
        Ok(letters
            .iter()
            .map(|letter| match letter {
                b'a' => Heartbeat::Extended,
                b'r' => Heartbeat::Cancelling,
                _ => Heartbeat::Lost,
            })
            .collect())
    }

    async fn work(&self, outcomes: &[(Ticket, Outcome)], request: Request, name: &str) -> Result<Look> {
        let results: Vec<_> = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Completed { result: Some(_), .. }))
            .map(|(ticket, _)| self.result_key(&ticket.id))
            .collect();
        let mut command = self.command(&WORK, &results).arg(request.count).arg(request.lease_ms);
        command = command.arg(name).arg(ms(REGISTERED));
        let mut size_bytes = 0;
        for (ticket, outcome) in outcomes {
            check_id(&ticket.id)?;
            let (verb, what, ms) = self.spelled(outcome)?;
            size_bytes += what.len();
            check_batch_bytes(outcomes.len(), size_bytes)?;
            command = command.arg(&ticket.id).arg(ticket.token).arg(verb).arg(what).arg(ms);
        }
        let reply = match request.count {
            0 => self.run(command.repeatable()).await?,
            _ => hear(self, command, name.to_owned()).await?,
        };
        let look = Look::read(outcomes, &reply).ok_or_else(|| Error::unexpected(WORK.name(), &reply))?;
        if look.settled.len() != outcomes.len() {
            return Err(Error::unexpected(WORK.name(), &reply));
        }
        self.tally(outcomes, &look.settled);
        Ok(look)
    }

    /// Returns a result as the steps take it: what, and ms that it is kept; both empty if there is none.
    pub(super) fn spelled_result(&self, result: Option<&Payload>, ttl: Option<Ttl>) -> Result<(Vec<u8>, String)> {
        let Some(result) = result else { return Ok((Vec::new(), String::new())) };
        let (size_bytes, max_bytes) = (result.as_bytes().len(), self.settings().result_max);
        match size_bytes <= max_bytes {
            true => Ok((result.marked(), self.settings().result_ms(ttl)?.to_string())),
            false => Err(Error::TooLarge { size_bytes, max_bytes }),
        }
    }

    /// Refuses an outcome that no step would take, whatever the store holds.
    pub(crate) fn check_outcome(&self, outcome: &Outcome) -> Result<()> {
        self.spelled(outcome).map(drop)
    }

    /// Returns an outcome as the step takes it: verb, what, ms.
    fn spelled(&self, outcome: &Outcome) -> Result<(&'static str, Vec<u8>, String)> {
        let cut = |error: &str| error.as_bytes()[..error.floor_char_boundary(MAX_ERROR_BYTES)].to_vec();
        Ok(match outcome {
            Outcome::Completed { result, ttl } => {
                let (result, ms) = self.spelled_result(result.as_ref(), *ttl)?;
                ("c", result, ms)
            }
            Outcome::Failed { error, retry_after } => {
                let after = retry_after.map(|after| bounded_ms("retry_after_ms", after, MAX_DELAY)).transpose()?;
                ("f", cut(error), after.map(|ms| ms.to_string()).unwrap_or_default())
            }
            Outcome::GivenUp { error } => ("g", cut(error), String::new()),
            Outcome::Released { delay } => ("r", Vec::new(), bounded_ms("delay_ms", *delay, MAX_DELAY)?.to_string()),
        })
    }

    fn tally(&self, outcomes: &[(Ticket, Outcome)], settled: &[Settled]) {
        let count = |counts: &dyn Fn(&Outcome, &Settled) -> bool| {
            outcomes.iter().zip(settled).filter(|((_, outcome), settled)| counts(outcome, settled)).count()
        };
        self.count(Counter::JobsLost, count(&|_, settled| *settled == Settled::Lost));
        self.count(Counter::JobsCompleted, count(&|_, settled| *settled == Settled::Done(State::Completed)));
        self.count(Counter::JobsDead, count(&|_, settled| *settled == Settled::Done(State::Dead)));
        self.count(
            Counter::JobsFailed,
            count(&|outcome, settled| {
                matches!(outcome, Outcome::Failed { .. } | Outcome::GivenUp { .. }) && *settled != Settled::Lost
            }),
        );
    }
}

impl Lessor for Queue {
    fn services(&self) -> &Services {
        Queue::services(self)
    }

    fn channel(&self) -> &Key {
        Queue::channel(self)
    }

    async fn run(&self, command: Command) -> Result<Value> {
        Queue::run(self, command).await
    }

    async fn hand_back(&self, name: &str, reply: &Value) -> Result<()> {
        let look = Look::read(&[], reply).ok_or_else(|| Error::unexpected(WORK.name(), reply))?;
        let outcome = Outcome::Released { delay: Duration::ZERO };
        let outcomes: Vec<_> = look.jobs.into_iter().map(|leased| (leased.ticket, outcome.clone())).collect();
        if !outcomes.is_empty() {
            self.settle(&outcomes).await?;
        }
        if !name.is_empty() {
            self.leave(name).await?;
        }
        Ok(())
    }

    async fn leave(&self, name: &str) -> Result<()> {
        self.run(self.command(&STOP_WAITING, &[]).arg(name)).await.map(drop)
    }
}

impl Look {
    fn read(outcomes: &[(Ticket, Outcome)], reply: &Value) -> Option<Self> {
        let [letters, _, _, found] = reply.as_array()? else { return None };
        let letters = letters.as_bytes()?;
        let settled = outcomes.iter().zip(letters).map(|((_, outcome), letter)| outcome.settled(*letter)).collect();
        let after = match item(reply, 1)? {
            0 => RECHECK_MAX,
            ms => Duration::from_millis(ms),
        };
        let read = |parts: &[Value]| {
            let [id, state, record] = parts else { return None };
            let job = Job::read(id, state, record)?;
            Some(Leased { ticket: Ticket { id: job.id.clone(), token: job.token }, job })
        };
        let jobs = found.as_array()?.chunks(3).map(read).collect::<Option<_>>()?;
        Some(Self { settled, jobs, after })
    }
}

impl Outcome {
    /// Reads what a step made of this outcome; one that was settled otherwise before is refused.
    fn settled(&self, letter: u8) -> Settled {
        let state = State::of_letter(letter);
        let fits = match self {
            Self::Completed { .. } => matches!(state, Some(State::Completed)),
            Self::Failed { .. } | Self::GivenUp { .. } => {
                matches!(state, Some(State::Waiting | State::Delayed | State::Dead | State::Cancelled))
            }
            Self::Released { .. } => matches!(state, Some(State::Waiting | State::Delayed | State::Cancelled)),
        };
        match state {
            Some(state) if fits => Settled::Done(state),
            _ => Settled::Lost,
        }
    }
}
