//! Recording events, closing windows, and reading what was counted.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::consumer::check_limit;
use super::event::{Event, Op};
use super::partition::{self, Place};
use super::trigger::Trigger;
use super::{Events, MAX_PAGE, no_consumer, steps};
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::jobs::NewJob;
use crate::keys::Key;
use crate::metrics::Counter;
use crate::script::Script;

/// Longest span a question about windows may cover, in milliseconds: 366 days.
pub(super) const MAX_SPAN_MS: u64 = 366 * 86_400_000;

/// What recording did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Recorded {
    /// Whether each event was counted, in their order; one that was not had a known id.
    pub counted: Vec<bool>,
    /// Events in the open window afterwards.
    pub count: u64,
    /// When the open window's first event arrived, milliseconds since 1970; null if no window is open.
    pub first_event_ms: Option<u64>,
    /// When its last event arrived.
    pub last_event_ms: Option<u64>,
    /// Thresholds crossed in this step. They wait for delivery; nothing is left to do about them.
    pub triggers: Vec<Trigger>,
}

/// How windows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// The latest ends now: `(now - width, now]`, and so on back.
    #[default]
    Sliding,
    /// Aligned to multiples of the width since 1970: `[n × width, (n + 1) × width)`. The latest has not ended yet.
    Tumbling,
}

/// Events that arrived in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WindowCounts {
    /// Start of the window, milliseconds since 1970; excluded in a sliding window.
    pub start_ms: u64,
    /// End of the window; excluded in a tumbling window.
    pub end_ms: u64,
    /// Events in it.
    pub count: u64,
    /// Whether the timeline still reaches back to its start; if not, there may have been more.
    pub complete: bool,
}

/// An event of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineEntry {
    /// Counts the consumer's events, from 1.
    pub sequence: u64,
    /// When it arrived, milliseconds since 1970.
    pub at_ms: u64,
    /// What kind of change it was.
    pub op: Option<Op>,
    /// When it happened at its source.
    pub source_ms: Option<u64>,
    /// Which row or object changed.
    pub key: Option<String>,
}

impl Events {
    /// Records one event.
    ///
    /// A stopped consumer is a conflict. So is one with [`EventsSettings::waiting_max`](super::EventsSettings::waiting_max) triggers waiting: nothing is recorded that could
    /// not fire.
    pub async fn record(&self, consumer: &str, event: &Event) -> Result<Recorded> {
        self.record_many(consumer, std::slice::from_ref(event)).await
    }

    /// Records events in their order, all in one step, firing once for each crossing.
    ///
    /// At most [`MAX_BATCH_EVENTS`](super::MAX_BATCH_EVENTS). Errors as [`Events::record`]; then none of them was recorded. An outage leaves that
    /// open: a batch in which every event has an id can simply be recorded again, and has been, so its answer may call
    /// events known that this very call has counted.
    pub async fn record_many(&self, consumer: &str, events: &[Event]) -> Result<Recorded> {
        check_batch("events", events.len())?;
        let place = self.place(consumer)?;
        let mut command = self.firing(&steps::RECORD, &place, [&place.timeline, &place.seen])?;
        for event in events {
            event.check()?;
            command = event.args_of(command);
        }
        if events.iter().all(|event| event.id.is_some()) {
            command = command.repeatable();
        }
        let recorded = self.recorded(consumer, &self.run(command).await?)?;
        let counted = recorded.counted.iter().filter(|counted| **counted).count();
        self.services.metrics().add(Counter::EventsRecorded, counted as u64);
        self.services.metrics().add(Counter::EventsDuplicate, (events.len() - counted) as u64);
        self.note_fired(recorded.triggers.len());
        Ok(recorded)
    }

    fn recorded(&self, consumer: &str, reply: &Value) -> Result<Recorded> {
        let broken = || Error::unexpected(steps::RECORD.name(), reply);
        let parts = reply.as_array().ok_or_else(broken)?;
        match parts.first().and_then(Value::as_str) {
            Some("ok") => {}
            Some("absent") => return Err(no_consumer(consumer)),
            Some("stopped") => return Err(Error::Conflict(format!("consumer {consumer:?} is stopped"))),
            Some("full") => {
                return Err(Error::Conflict(format!("too many triggers of consumer {consumer:?} wait for delivery")));
            }
            _ => return Err(broken()),
        }
        let [_, _, flags, count, first, last, fired] = parts else {
            return Err(broken());
        };
        let count = count.as_u64().ok_or_else(broken)?;
        let time = |value: &Value| value.as_u64().filter(|_| count > 0);
        Ok(Recorded {
            counted: flags.as_bytes().ok_or_else(broken)?.iter().map(|flag| *flag == b'1').collect(),
            count,
            first_event_ms: time(first),
            last_event_ms: time(last),
            triggers: self.fired(consumer, fired)?,
        })
    }

    /// Reads ids and records in turn.
    fn fired(&self, consumer: &str, fired: &Value) -> Result<Vec<Trigger>> {
        let broken = || Error::unexpected("a step that fires", fired);
        let parts = fired.as_array().ok_or_else(broken)?;
        parts
            .chunks(2)
            .map(|pair| match pair {
                [id, record] => {
                    let (id, record) = id.as_str().zip(record.as_str()).ok_or_else(broken)?;
                    Trigger::parse(self.tenant.name(), consumer, id, record)
                }
                _ => Err(broken()),
            })
            .collect()
    }

    /// Begins the call of a step that may fire.
    fn firing<'a>(
        &self,
        step: &'static Script,
        place: &'a Place,
        more: impl IntoIterator<Item = &'a Key>,
    ) -> Result<Command> {
        let job = NewJob::default().options(place.queue.settings())?;
        Ok(place.command(step, more).arg(self.settings().waiting_max).arg(job))
    }

    fn note_fired(&self, count: usize) {
        if count > 0 {
            self.services.metrics().add(Counter::TriggersFired, count as u64);
            self.services.fired().notify_one();
        }
    }

    /// Returns what recording nothing would.
    pub(super) async fn unchanged(&self, consumer: &str) -> Result<Recorded> {
        let status = self.status(consumer).await?;
        if status.info.state == super::State::Stopped {
            return Err(Error::Conflict(format!("consumer {consumer:?} is stopped")));
        }
        Ok(Recorded {
            counted: Vec::new(),
            count: status.count,
            first_event_ms: status.first_event_ms,
            last_event_ms: status.last_event_ms,
            triggers: Vec::new(),
        })
    }

    /// Closes the windows of this tenant whose time has come, and returns the triggers that this call fired.
    ///
    /// Any number of processes may call it at once: each window is closed by one of them. The deliverer calls it all the
    /// time. One call closes at most [`MAX_PAGE`] windows per partition.
    pub async fn tick(&self) -> Result<Vec<Trigger>> {
        let scans = self.partitions().map(|partition| partition.scan(MAX_PAGE)).collect();
        let mut due = Vec::new();
        for reply in self.run_all(scans).await? {
            due.extend(partition::read_scan(&reply?)?.0);
        }
        self.fire(&due).await
    }

    /// Closes the windows of these consumers if their time has come. What is wrong with one does not hold up the others; an error is the last of those.
    pub(super) async fn fire(&self, consumers: &[String]) -> Result<Vec<Trigger>> {
        let command = |name: &String| self.firing(&steps::FIRE, &self.place_of(name), []);
        let (mut triggers, mut failed) = (Vec::new(), None);
        let replies = self.run_all(consumers.iter().map(command).collect::<Result<_>>()?).await?;
        for (name, reply) in consumers.iter().zip(replies) {
            match reply.and_then(|reply| self.fired(name, &reply)) {
                Ok(fired) => triggers.extend(fired),
                Err(error) => failed = Some(error),
            }
        }
        self.note_fired(triggers.len());
        failed.map_or(Ok(triggers), Err)
    }

    /// Discards the events of the open window and returns how many there were. Timeline, known ids and triggers stay.
    pub async fn reset(&self, consumer: &str) -> Result<u64> {
        let reply = self.run(self.place(consumer)?.command(&steps::RESET, [])).await?;
        if reply.is_nil() {
            return Err(no_consumer(consumer));
        }
        reply.as_u64().ok_or_else(|| Error::unexpected(steps::RESET.name(), &reply))
    }

    /// Counts arrivals in the latest `windows` windows of `width_ms`, the latest first.
    ///
    /// At most [`MAX_PAGE`] windows over at most `MAX_SPAN_MS`.
    pub async fn windows(
        &self,
        consumer: &str,
        kind: WindowKind,
        width_ms: u64,
        windows: usize,
    ) -> Result<Vec<WindowCounts>> {
        check_limit(windows).map_err(|_| Error::invalid("windows", format_args!("must be 1 to {MAX_PAGE}")))?;
        if width_ms == 0 || width_ms.saturating_mul(windows as u64) > MAX_SPAN_MS {
            return Err(Error::invalid(
                "width_ms",
                format_args!("must be at least 1, and all windows within {MAX_SPAN_MS}"),
            ));
        }
        let place = self.place(consumer)?;
        let word = if kind == WindowKind::Sliding { "sliding" } else { "tumbling" };
        let command = place.command(&steps::WINDOWS, [&place.timeline]).arg(word).arg(width_ms).arg(windows);
        let reply = self.run(command).await?;
        let numbers: Option<Vec<u64>> = reply.as_array().and_then(|parts| parts.iter().map(Value::as_u64).collect());
        let numbers = numbers.ok_or_else(|| Error::unexpected(steps::WINDOWS.name(), &reply))?;
        let [now, complete_from, counts @ ..] = numbers.as_slice() else {
            return Err(no_consumer(consumer));
        };
        let latest_end = if kind == WindowKind::Sliding { *now } else { now - now % width_ms + width_ms };
        let window = |(back, count): (usize, &u64)| {
            let end_ms = latest_end.saturating_sub(back as u64 * width_ms);
            let start_ms = end_ms.saturating_sub(width_ms);
            let earliest = start_ms + u64::from(kind == WindowKind::Sliding);
            WindowCounts { start_ms, end_ms, count: *count, complete: earliest >= *complete_from }
        };
        Ok(counts.iter().enumerate().map(window).collect())
    }

    /// Returns the latest events, newest first, at most `limit`, which is at most [`MAX_PAGE`].
    pub async fn timeline(&self, consumer: &str, limit: usize) -> Result<Vec<TimelineEntry>> {
        check_limit(limit)?;
        let place = self.place(consumer)?;
        self.info(consumer).await?;
        let range =
            Command::new("ZREVRANGE").key(&place.timeline).arg("0").arg(limit - 1).arg("WITHSCORES").repeatable();
        let reply = self.run(range).await?;
        let broken = || Error::unexpected("ZREVRANGE", &reply);
        let mut flat = Vec::new();
        for item in reply.as_array().ok_or_else(broken)? {
            // RESP3 sends pairs, RESP2 members and scores in turn.
            flat.extend_from_slice(item.as_array().unwrap_or(std::slice::from_ref(item)));
        }
        flat.chunks(2).map(|pair| timeline_entry(pair).ok_or_else(broken)).collect()
    }
}

/// Reads a member of the timeline and its score.
fn timeline_entry(pair: &[Value]) -> Option<TimelineEntry> {
    let [member, score] = pair else {
        return None;
    };
    let mut fields = member.as_str()?.splitn(4, ';');
    Some(TimelineEntry {
        sequence: fields.next()?.parse().ok()?,
        at_ms: score.as_f64()? as u64,
        op: Op::from_letter(fields.next()?),
        source_ms: fields.next()?.parse().ok(),
        key: fields.next().filter(|key| !key.is_empty()).map(str::to_owned),
    })
}
