//! Firing what is due: claim, enqueue, confirm.
//!
//! Any number of processes may do this at once; see the [essay](super) for why a tick is fired once nevertheless.

use redpoll_resp::Value;
use tokio::task::JoinSet;

use super::agenda::LOOK_EVERY;
use super::plan::{self, Plan};
use super::schedule::Schedule;
use super::state::{Claim, Fire, Outcome, State};
use super::steps::{CONFIRM, DUE};
use super::timing::Calendar;
use super::{Changed, Schedules};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::jobs::{NUMBER_AGE, NewJob};
use crate::metrics::Counter;

/// Most schedules of one pass.
pub const MAX_PASS: usize = 256;

/// Schedules of a pass that are looked after at once.
const AT_ONCE: usize = 16;

/// How long before the queue forgets a claim nobody relies on it any more.
const MARGIN_MS: u64 = 86_400_000;

/// What a pass has found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Schedules that were due.
    pub due: usize,
    /// Ticks that this pass has fired.
    pub fired: usize,
    /// When the next schedule is due that was not, milliseconds since 1970 by the store's clock.
    pub next_ms: Option<u64>,
}

/// What is due: now, when the next is, and names with versions.
pub(super) struct Due {
    pub(super) now_ms: u64,
    pub(super) next_ms: Option<u64>,
    pub(super) names: Vec<(String, String)>,
}

impl Due {
    pub(super) fn read(reply: &Value) -> Result<Self> {
        let unexpected = || Error::unexpected(DUE.name(), reply);
        let texts: Option<Vec<&str>> = reply.as_array().and_then(|parts| parts.iter().map(Value::as_str).collect());
        let texts = texts.ok_or_else(unexpected)?;
        let [now, next, names @ ..] = texts.as_slice() else { return Err(unexpected()) };
        Ok(Self {
            now_ms: now.parse().map_err(|_| unexpected())?,
            next_ms: next.parse::<f64>().ok().map(|next| next as u64),
            names: names.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect(),
        })
    }
}

impl Schedules {
    /// Fires what is due, up to [`MAX_PASS`] schedules, a tick of each. What a [`Ticker`](super::Ticker) does for all tenants; a program that has none can call
    /// it as often as it likes, from as many places as it likes.
    pub async fn fire_due(&self) -> Result<Passed> {
        let key = self.due_key();
        let due = Due::read(&self.run(Command::script(&DUE, &[&key, &key], &[MAX_PASS])).await?)?;
        let mut passed = Passed { due: due.names.len(), fired: 0, next_ms: due.next_ms };
        let mut ids = due.names.into_iter().map(|(id, _)| id);
        let mut tasks = JoinSet::new();
        let mut failed = None;
        loop {
            while tasks.len() < AT_ONCE
                && let Some(id) = ids.next()
            {
                let (schedules, now_ms) = (self.clone(), due.now_ms);
                tasks.spawn(async move { schedules.attend_or_postpone(&id, now_ms).await });
            }
            match tasks.join_next().await {
                None => break,
                Some(done) => match done.expect("it neither panics nor is aborted") {
                    Ok(has_fired) => passed.fired += usize::from(has_fired),
                    Err(error) => failed = Some(error),
                },
            }
        }
        failed.map_or(Ok(passed), Err)
    }

    /// Looks after one schedule. What is wrong with it alone must not hold up the others.
    async fn attend_or_postpone(&self, id: &str, now_ms: u64) -> Result<bool> {
        match self.attend(id, now_ms).await {
            Err(error) if !error.is_outage() => {
                tracing::warn!(tenant = self.tenant.name(), id, %error, "a schedule could not be fired");
                self.postpone(id, now_ms).await
            }
            done => done,
        }
    }

    /// Has a schedule that cannot be looked after looked at again a good while later, if it is still there.
    async fn postpone(&self, id: &str, now_ms: u64) -> Result<bool> {
        let later = now_ms + u64::try_from(LOOK_EVERY.as_millis()).expect("it is short");
        self.run(Command::new("ZADD").key(self.due_key()).arg("XX").arg(later).arg(id)).await.map(|_| false)
    }

    /// Looks after one schedule; true if a tick of it was fired here.
    async fn attend(&self, id: &str, now_ms: u64) -> Result<bool> {
        let Some(state) = self.state(id).await? else { return self.postpone(id, now_ms).await };
        if let (Some(claim), Some(schedule)) = (state.claim.clone(), state.claimed.clone()) {
            // Whoever claimed it is at it.
            if now_ms < claim.until_ms {
                return Ok(false);
            }
            let again = Changed::claimed_until(now_ms + self.claim_ms());
            if !self.change(id, &state.stamp(), &again).await? {
                return Ok(false);
            }
            self.count(Counter::SchedulesHelped);
            return self.carry_through(id, &state, &claim, &schedule, now_ms).await;
        }
        let calendar = state.schedule.calendar(state.anchor_ms)?;
        let is_due = state.tick.is_some() && state.look <= now_ms && !state.is_paused;
        let is_busy = is_due && self.is_busy(&state).await?;
        let plan = plan::decide(id, &state, &calendar, now_ms, is_busy);
        if plan == Plan::Later {
            return Ok(false);
        }
        let changed = self.changed(id, &state, &calendar, now_ms, &plan);
        if !self.change(id, &state.stamp(), &changed).await? {
            return Ok(false);
        }
        if !changed.entries.is_empty() {
            let is_overlap = matches!(plan, Plan::Pass { outcome: Outcome::Overlapped, .. });
            self.count(if is_overlap { Counter::SchedulesOverlapped } else { Counter::SchedulesMissed });
        }
        let Plan::Fire { tick, cancels, .. } = plan else { return Ok(false) };
        let claim = Claim { number: state.seq + 1, tick, since_ms: now_ms, until_ms: now_ms, cancels };
        self.carry_through(id, &state, &claim, &state.schedule, now_ms).await
    }

    /// Spells a plan out.
    fn changed(&self, id: &str, state: &State, calendar: &Calendar, now_ms: u64, plan: &Plan) -> Changed {
        let mut changed = Changed::default();
        let moved = |changed: &mut Changed, runs: u64, last: u64| {
            let next = plan::next(&state.schedule, calendar, runs, last);
            changed.set("passed", last);
            changed.set_tick(next.map(|next| (next, state.schedule.look_ms(id, next))));
            changed.clear("held");
        };
        let left_out = |outcome, first, last| Fire { until_ms: Some(last), ..Fire::of(outcome, Some(first)) };
        match plan {
            Plan::Later => {}
            Plan::Hold => {
                changed.look_ms = Some(now_ms + self.recheck_ms());
                changed.set("held", 1_u64);
            }
            Plan::Pass { outcome, first, last } => {
                moved(&mut changed, state.runs, *last);
                changed.entries.push(left_out(*outcome, *first, *last));
            }
            Plan::Fire { tick, missed, cancels } => {
                moved(&mut changed, state.runs + 1, *tick);
                changed.leave_until(now_ms + self.claim_ms());
                changed.entries.extend(missed.map(|(first, last)| left_out(Outcome::Missed, first, last)));
                changed.set("runs", state.runs + 1);
                changed.set("seq", state.seq + 1);
                changed.set("claim", state.seq + 1);
                changed.set("claim_tick", *tick);
                changed.set("claim_ms", now_ms);
                if *cancels {
                    changed.set("claim_cancels", 1_u64);
                }
            }
        }
        changed
    }

    /// Tells whether the previous job has not ended, if that matters.
    async fn is_busy(&self, state: &State) -> Result<bool> {
        let Some((queue, job)) = state.last.as_ref().filter(|_| state.schedule.overlap.matters()) else {
            return Ok(false);
        };
        match self.queue(queue)?.job(job).await {
            Ok(found) => Ok(found.job.is_some_and(|job| !job.state.is_ended())),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Enqueues what a claim is about, unless that was done, and confirms it.
    async fn carry_through(
        &self,
        id: &str,
        state: &State,
        claim: &Claim,
        schedule: &Schedule,
        now_ms: u64,
    ) -> Result<bool> {
        let mut fire = Fire::of(Outcome::Fired, Some(claim.tick));
        let age_max = u64::try_from(NUMBER_AGE.as_millis()).expect("it is short") - MARGIN_MS;
        if now_ms.saturating_sub(claim.since_ms) > age_max {
            fire.outcome = Outcome::Unsure;
            return self.confirm(id, state, claim, &fire).await;
        }
        if let Some((queue, job)) = state.last.as_ref().filter(|_| claim.cancels) {
            self.queue(queue)?.cancel(std::slice::from_ref(job)).await?;
        }
        let job = NewJob { id: Some(job_id(id, claim.tick)), ..schedule.job.clone() };
        match self.queue(&schedule.queue)?.enqueue_counted(&state.uid, claim.number, &job).await {
            Ok(enqueued) => {
                if enqueued.is_some_and(|enqueued| enqueued.existing.is_some()) {
                    fire.outcome = Outcome::Existing;
                }
                (fire.queue, fire.job) = (Some(schedule.queue.clone()), job.id);
            }
            Err(error @ (Error::InvalidInput { .. } | Error::TooLarge { .. })) => {
                fire.outcome = Outcome::Failed;
                fire.error = Some(error.to_string());
            }
            Err(error) if error.is_outage() => return Err(error),
            Err(error) => return self.defer(id, state, now_ms, &error).await,
        }
        self.confirm(id, state, claim, &fire).await
    }

    /// Notes why a claim could not be carried through. It is tried again when it is due for help.
    async fn defer(&self, id: &str, state: &State, now_ms: u64, error: &Error) -> Result<bool> {
        self.count(Counter::SchedulesDeferred);
        let mut changed = Changed::claimed_until(now_ms + self.claim_ms());
        changed.set("error", error);
        // The claim was the next revision.
        let stamp = format!("{} {}", state.uid, state.rev + 1);
        self.change(id, &stamp, &changed).await.map(|_| false)
    }

    async fn confirm(&self, id: &str, state: &State, claim: &Claim, fire: &Fire) -> Result<bool> {
        let keys = [self.schedule_key(id), self.due_key(), self.history_key(id)];
        let command = Command::script::<_, &str>(&CONFIRM, &keys, &[id, &state.uid]).arg(claim.number);
        let command = command.arg(self.history_max()).arg(fire.written());
        let command = command.arg(fire.queue.as_deref().unwrap_or_default());
        let command = command.arg(fire.job.as_deref().unwrap_or_default()).arg(claim.tick);
        if self.run(command).await?.as_i64() != Some(1) {
            return Ok(false);
        }
        let has_fired = fire.outcome == Outcome::Fired;
        self.count(if has_fired { Counter::SchedulesFired } else { Counter::SchedulesFailed });
        Ok(has_fired)
    }
}

/// Returns the id of a tick's job.
pub(super) fn job_id(id: &str, tick: u64) -> String {
    format!("{id}:{tick}")
}
