//! What users do with schedules: put, look at, pause, remove, run.

use std::fmt::Display;

use redpoll_resp::Value;
use uuid::Uuid;

use super::schedule::{Schedule, check_id};
use super::state::{Entry, Fire, Found, Outcome, State};
use super::steps::{CHANGE, NOTE, REMOVE};
use super::timing::{Calendar, Timing, moment};
use super::{Schedules, plan};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::jobs::NewJob;

/// Most items of a page, and most ticks of a preview.
pub const MAX_PAGE: usize = 1_000;

/// How often a change is tried that others are quicker than.
const ATTEMPTS: usize = 32;

/// What became of a schedule that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Whether there was none of its id.
    pub created: bool,
    /// The next tick, none if it is paused or has ended; milliseconds since 1970.
    pub next_ms: Option<u64>,
}

/// Fields to be set, and when to look next.
#[derive(Debug, Default)]
pub(super) struct Changed {
    fields: Vec<(&'static str, Vec<u8>)>,
    pub(super) look_ms: Option<u64>,
    pub(super) entries: Vec<Fire>,
}

impl Changed {
    /// Leaves a claim to whoever carries it through, until a moment from which others may help.
    pub(super) fn claimed_until(until_ms: u64) -> Self {
        let mut changed = Self::default();
        changed.leave_until(until_ms);
        changed
    }

    pub(super) fn leave_until(&mut self, until_ms: u64) {
        self.look_ms = Some(until_ms);
        self.set("claim_until", until_ms);
    }

    pub(super) fn set(&mut self, field: &'static str, value: impl Display) {
        self.fields.push((field, value.to_string().into_bytes()));
    }

    pub(super) fn clear(&mut self, field: &'static str) {
        self.fields.push((field, Vec::new()));
    }

    /// Sets the next tick and when that is fired.
    pub(super) fn set_tick(&mut self, tick: Option<(u64, u64)>) {
        match tick {
            Some((tick, look)) => {
                self.set("tick", tick);
                self.set("look", look);
            }
            None => self.clear("tick"),
        }
    }
}

impl Schedules {
    /// Puts a schedule, new or in the place of one. If the timing is another, it begins anew: runs are counted from none, and the first tick is the
    /// first after now; if not, the next tick stays what it was. What is paused stays so.
    pub async fn put(&self, id: &str, schedule: &Schedule) -> Result<Put> {
        check_id(id)?;
        schedule.check()?;
        self.queue(&schedule.queue)?.check(&schedule.job)?;
        for _ in 0..ATTEMPTS {
            let state = self.state(id).await?;
            let now_ms = self.services.backend().now_ms().await?;
            let (changed, next) = self.placed(id, schedule, state.as_ref(), now_ms)?;
            let stamp = state.as_ref().map_or_else(|| " ".to_owned(), State::stamp);
            if self.change(id, &stamp, &changed).await? {
                let next_ms = next.filter(|_| state.as_ref().is_none_or(|state| !state.is_paused));
                self.hint(next_ms.map(|next| schedule.look_ms(id, next))).await?;
                return Ok(Put { created: state.is_none(), next_ms });
            }
        }
        Err(busy(id))
    }

    /// Returns how a schedule is written, and its next tick.
    fn placed(&self, id: &str, put: &Schedule, old: Option<&State>, now_ms: u64) -> Result<(Changed, Option<u64>)> {
        let mut changed = Changed::default();
        changed.fields.push(("def", put.stored()?));
        let kept = old.filter(|state| state.schedule.timing == put.timing);
        let (next, calendar) = match kept {
            Some(state) => {
                let calendar = put.calendar(state.anchor_ms)?;
                let goes_on = put.max_runs.is_none_or(|max| state.runs < max);
                let resumed = || plan::next(put, &calendar, state.runs, now_ms.max(state.passed));
                (state.tick.filter(|_| goes_on).or_else(resumed), calendar)
            }
            None => {
                let calendar = put.calendar(now_ms)?;
                let first = calendar.first(now_ms);
                if first.is_none() {
                    return Err(Error::invalid("timing", "has no tick to come"));
                }
                changed.set("anchor", calendar.anchor_ms);
                changed.set("runs", 0_u64);
                changed.clear("held");
                changed.clear("passed");
                (first, calendar)
            }
        };
        calendar.check_jitter(put.jitter_ms(), now_ms)?;
        changed.set_tick(next.map(|next| (next, put.look_ms(id, next))));
        if old.is_none() {
            changed.set("uid", Uuid::new_v4());
        }
        Ok((changed, next))
    }

    /// Looks at a schedule.
    pub async fn get(&self, id: &str) -> Result<Found> {
        check_id(id)?;
        Ok(self.existing(id).await?.found(id))
    }

    /// Lists schedules by id, at most [`MAX_PAGE`] behind `after`.
    pub async fn list(&self, after: Option<&str>, count: usize) -> Result<Vec<Found>> {
        check_count(count)?;
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let names = Command::new("ZRANGEBYLEX").key(self.names_key()).arg(from).arg("+").arg("LIMIT").arg("0");
        let reply = self.run(names.arg(count).repeatable()).await?;
        let ids = reply.as_array().and_then(|ids| ids.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let ids = ids.ok_or_else(|| Error::unexpected("ZRANGEBYLEX", &reply))?;
        let read = |id: &&str| Command::new("HGETALL").key(self.schedule_key(id)).repeatable();
        let replies = self.services.backend().pipeline(ids.iter().map(read).collect()).await?;
        let mut found = Vec::with_capacity(ids.len());
        for (id, reply) in ids.iter().zip(replies) {
            // One that was removed meanwhile is not there.
            found.extend(State::read(reply?)?.map(|state| state.found(id)));
        }
        Ok(found)
    }

    /// Removes a schedule and its history; what it has enqueued stays. A tick that is being fired may still come. Returns whether there was one.
    pub async fn delete(&self, id: &str) -> Result<bool> {
        check_id(id)?;
        let keys = [self.schedule_key(id), self.due_key(), self.names_key(), self.history_key(id)];
        Ok(self.run(Command::script(&REMOVE, &keys, &[id])).await?.as_i64() == Some(1))
    }

    /// Has no more ticks until [`Schedules::resume`]. Returns whether that was a change.
    pub async fn pause(&self, id: &str) -> Result<bool> {
        self.switch(id, true).await
    }

    /// Goes on with the first tick after now. What should have come once and has not comes now. Returns whether that was a change.
    pub async fn resume(&self, id: &str) -> Result<bool> {
        self.switch(id, false).await
    }

    async fn switch(&self, id: &str, pauses: bool) -> Result<bool> {
        check_id(id)?;
        for _ in 0..ATTEMPTS {
            let state = self.existing(id).await?;
            if state.is_paused == pauses {
                return Ok(false);
            }
            let mut changed = Changed::default();
            let mut look_ms = None;
            if pauses {
                changed.set("paused", 1_u64);
            } else {
                let now_ms = self.services.backend().now_ms().await?;
                let calendar = state.schedule.calendar(state.anchor_ms)?;
                let after = now_ms.max(state.passed);
                let tick = match calendar.is_once() {
                    true => state.tick,
                    false => plan::next(&state.schedule, &calendar, state.runs, after),
                };
                let tick = tick.map(|tick| (tick, state.schedule.look_ms(id, tick)));
                changed.clear("paused");
                changed.set_tick(tick);
                look_ms = tick.map(|(_, look)| look);
            }
            if self.change(id, &state.stamp(), &changed).await? {
                self.hint(look_ms).await?;
                return Ok(true);
            }
        }
        Err(busy(id))
    }

    /// Enqueues the schedule's job now, beside its ticks, whether it is paused or not, and returns the job's id. Until it has ended it counts as the
    /// previous job for [`Overlap`](super::Overlap).
    pub async fn run_now(&self, id: &str) -> Result<String> {
        check_id(id)?;
        let state = self.existing(id).await?;
        let job_id = format!("{id}:run-{}", &Uuid::new_v4().simple().to_string()[..16]);
        let job = NewJob { id: Some(job_id.clone()), ..state.schedule.job.clone() };
        let queue = &state.schedule.queue;
        self.queue(queue)?.enqueue(&job).await?;
        let mut fire = Fire::of(Outcome::Manual, None);
        (fire.queue, fire.job) = (Some(queue.clone()), Some(job_id.clone()));
        let keys = [self.schedule_key(id), self.history_key(id)];
        let note = Command::script::<_, &str>(&NOTE, &keys, &[&state.uid]).arg(self.history_max());
        self.run(note.arg(fire.written()).arg(queue).arg(&job_id)).await?;
        Ok(job_id)
    }

    /// Lists the latest fires, latest first: at most [`MAX_PAGE`] after passing over `skip`.
    pub async fn history(&self, id: &str, skip: usize, count: usize) -> Result<Vec<Entry>> {
        check_id(id)?;
        check_count(count)?;
        let last = skip.saturating_add(count - 1).min(i64::MAX as usize);
        let range = Command::new("LRANGE").key(self.history_key(id)).arg(skip.min(i64::MAX as usize)).arg(last);
        let reply = self.run(range.repeatable()).await?;
        if reply.as_array().is_none_or(<[Value]>::is_empty) {
            self.existing(id).await?;
        }
        let entries = reply.as_array().and_then(|entries| entries.iter().map(Entry::read).collect());
        entries.ok_or_else(|| Error::unexpected("LRANGE", &reply))
    }

    /// Returns the next ticks of a schedule, paused or not, at most [`MAX_PAGE`], each as milliseconds since 1970 and as its zone writes it.
    pub async fn next(&self, id: &str, count: usize) -> Result<Vec<(u64, String)>> {
        check_id(id)?;
        check_count(count)?;
        let state = self.existing(id).await?;
        let Some(first) = state.tick else { return Ok(Vec::new()) };
        let calendar = state.schedule.calendar(state.anchor_ms)?;
        let left = state.schedule.max_runs.map_or(u64::MAX, |max| max.saturating_sub(state.runs));
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        Ok(ticks(&calendar, first.checked_sub(1), count))
    }

    /// Returns the first ticks that a timing would have after a moment, now if none is given.
    pub async fn preview(&self, timing: &Timing, from_ms: Option<u64>, count: usize) -> Result<Vec<(u64, String)>> {
        check_count(count)?;
        let from_ms = match from_ms {
            Some(from_ms) => moment("from_ms", from_ms).map(|_| from_ms)?,
            None => self.services.backend().now_ms().await?,
        };
        Ok(ticks(&Calendar::of(timing, from_ms)?, Some(from_ms), count))
    }

    async fn existing(&self, id: &str) -> Result<State> {
        self.state(id).await?.ok_or_else(|| Error::NotFound(format!("schedule {id:?}")))
    }

    /// Changes a schedule that is still what was read; false if it is not.
    pub(super) async fn change(&self, id: &str, stamp: &str, changed: &Changed) -> Result<bool> {
        let keys = [self.schedule_key(id), self.due_key(), self.names_key(), self.history_key(id)];
        let look = changed.look_ms.map(|look| look.to_string()).unwrap_or_default();
        let mut command = Command::script::<_, &str>(&CHANGE, &keys, &[id, stamp]);
        command = command.arg(self.settings().schedules_max).arg(look);
        command = command.arg(self.history_max()).arg(changed.entries.len());
        for entry in &changed.entries {
            command = command.arg(entry.written());
        }
        for (field, value) in &changed.fields {
            command = command.arg(*field).arg(value);
        }
        let reply = self.run(command).await?;
        match reply.as_array().and_then(|parts| parts.first()?.as_str()) {
            Some("ok") => Ok(true),
            Some("stale") => Ok(false),
            Some("full") => Err(Error::Conflict("there are too many schedules".to_owned())),
            _ => Err(Error::unexpected(CHANGE.name(), &reply)),
        }
    }
}

fn ticks(calendar: &Calendar, after_ms: Option<u64>, count: usize) -> Vec<(u64, String)> {
    let mut tick = calendar.next(after_ms.unwrap_or(0));
    let mut found = Vec::new();
    while let Some(one) = tick.filter(|_| found.len() < count) {
        found.push((one, calendar.text(one)));
        tick = calendar.next(one);
    }
    found
}

fn busy(id: &str) -> Error {
    Error::Conflict(format!("schedule {id:?} is changed by others all the time"))
}

fn check_count(count: usize) -> Result<()> {
    match (1..=MAX_PAGE).contains(&count) {
        true => Ok(()),
        false => Err(Error::invalid("count", format_args!("must be 1 to {MAX_PAGE}"))),
    }
}
