//! Events: what became of jobs, in the order in which it became so.
//!
//! A queue that is told to keep events writes each into a stream, `:v`, in the step that it tells of: nothing is told that did not happen, and nothing that
//! happened is left out. Events have the numbers 1, 2, 3 and so on, whatever has been dropped since, and about as many are kept as was said. Who reads goes on behind the
//! last number it knows; what was dropped in between is counted. Readers share nothing and leave nothing behind.
//!
//! Who waits for events is woken by a hint that the step publishes, and looks by itself now and then.

use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::job::State;
use super::payload::Payload;
use super::queue::{Queue, item};
use super::settings::MAX_WAIT;
use super::steps::{EVENTS, KEEP_EVENTS};
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::ttl::bounded_ms;

/// Most events that a queue keeps.
pub const MAX_EVENTS: u32 = 100_000;

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was enqueued.
    Added,
    /// It was due, and waits.
    Due,
    /// Its children have completed, and it waits.
    Unblocked,
    /// It was leased.
    Active,
    /// Its worker said how far it is.
    Progress,
    /// It was handed back.
    Released,
    /// It failed, and is tried again.
    Failed,
    /// Its lease ended without an outcome; it waits again, unless that was once too often, which the next event tells.
    Lost,
    /// It is to be cancelled, and its worker is told.
    Cancelling,
    /// It is done.
    Completed,
    /// It was cancelled.
    Cancelled,
    /// Nobody had begun with it in time.
    Expired,
    /// It was given up.
    Dead,
    /// It was dead, and waits again.
    Requeued,
    /// It was removed without a trace.
    Removed,
}

/// Something that became of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    /// Its number: the next event has the next.
    pub number: u64,
    /// What became of the job.
    pub kind: EventKind,
    /// The job.
    pub id: String,
    /// Where it was then; where it had been, if it was removed.
    pub state: State,
    /// When, in milliseconds since 1970 by the store's clock.
    pub at_ms: u64,
    /// What went wrong, if it failed or is dead.
    pub error: Option<String>,
    /// How far it is, if its worker said so.
    pub progress: Option<Payload>,
    /// Number of its run, from 1, if it was leased.
    pub attempt: Option<u32>,
}

/// Some events.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<JobEvent>,
    /// The last number that is known now: behind it the next call goes on.
    pub next: u64,
    /// How many there were between the last that was known and the first of these that are not kept any more.
    pub missed: u64,
}

/// Which events are wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventWish {
    /// Most events, up to [`MAX_BATCH`](super::MAX_BATCH).
    pub count: usize,
    /// How long to wait for one if there is none, at most an hour.
    pub wait: Duration,
}

impl Default for EventWish {
    /// A hundred, without waiting.
    fn default() -> Self {
        Self { count: 100, wait: Duration::ZERO }
    }
}

impl Queue {
    /// Has the queue keep about so many events, at most [`MAX_EVENTS`]; none if absent, and then what was kept is dropped.
    pub async fn keep_events(&self, max: Option<u32>) -> Result<()> {
        if max.is_some_and(|max| !(1..=MAX_EVENTS).contains(&max)) {
            return Err(Error::invalid("max", format_args!("must be 1 to {MAX_EVENTS}")));
        }
        let max = max.map(|max| max.to_string()).unwrap_or_default();
        self.run(Command::script::<Key, &str>(&KEEP_EVENTS, self.keys(), &[]).arg(max)).await.map(drop)
    }

    /// Reads the events behind the number `known`, 0 for all there are, and waits for one if asked to. A number that the store does not know,
    /// because it has lost its data since, is taken for 0.
    pub async fn events_since(&self, known: u64, wish: &EventWish) -> Result<EventPage> {
        check_batch("count", wish.count)?;
        bounded_ms("wait_ms", wish.wait, MAX_WAIT)?;
        let deadline = Instant::now() + wish.wait;
        // Listens before it looks, so that it misses nothing.
        let mut waiter = (!wish.wait.is_zero()).then(|| self.services().signals().listen(self.events_key(), ""));
        loop {
            let page = self.events_now(known, wish.count).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            match &mut waiter {
                Some(waiter) if page.events.is_empty() && !left.is_zero() => drop(waiter.wait(left).await),
                _ => return Ok(page),
            }
        }
    }

    /// Returns the number of the last event there was, 0 if there was none.
    pub(super) async fn last_event(&self) -> Result<u64> {
        let command = Command::script::<Key, &str>(&EVENTS, self.keys(), &[]);
        let reply = self.run(command.arg(0_u64).arg(1_u64)).await?;
        item(&reply, 0).ok_or_else(|| Error::unexpected(EVENTS.name(), &reply))
    }

    async fn events_now(&self, known: u64, count: usize) -> Result<EventPage> {
        let command = Command::script::<Key, &str>(&EVENTS, self.keys(), &[]);
        let reply = self.run(command.arg(known).arg(count)).await?;
        EventPage::read(known, &reply).ok_or_else(|| Error::unexpected(EVENTS.name(), &reply))
    }
}

impl EventPage {
    fn read(known: u64, reply: &Value) -> Option<Self> {
        let last = item(reply, 0)?;
        let known = if known <= last { known } else { 0 };
        let events: Vec<JobEvent> = reply.as_array()?[1..].chunks(2).map(JobEvent::read).collect::<Option<_>>()?;
        let next = events.last().map_or(last, |event| event.number);
        let missed = events.first().map_or(last, |event| event.number - 1).saturating_sub(known);
        Some(Self { events, next, missed })
    }
}

impl JobEvent {
    fn read(parts: &[Value]) -> Option<Self> {
        let [number, fields] = parts else { return None };
        let [_, kind, _, id, _, state, _, at, _, what] = fields.as_array()? else { return None };
        let kind: EventKind = serde_json::from_value(kind.as_str()?.into()).ok()?;
        let what = what.as_bytes()?;
        let is = |kinds: &[EventKind]| kinds.contains(&kind);
        let text = || String::from_utf8_lossy(what).into_owned();
        Some(Self {
            number: number.as_u64()?,
            kind,
            id: id.as_str()?.to_owned(),
            state: State::of_letter(*state.as_bytes()?.first()?)?,
            at_ms: at.as_str()?.parse().ok()?,
            error: is(&[EventKind::Failed, EventKind::Dead]).then(text),
            progress: if is(&[EventKind::Progress]) { Some(Payload::read(what)?) } else { None },
            attempt: if is(&[EventKind::Active]) { text().parse().ok() } else { None },
        })
    }
}
