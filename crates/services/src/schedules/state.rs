//! A schedule as the store holds it, and what its fires leave behind.
//!
//! A hash: `uid`, another for each time the id is put anew, and `rev`, counted up by every change; `def`, and `pin` if that was changed while a claim
//! was carried through; `anchor`; `tick`, the next there is, and `look`, when that is fired; `passed`, the last tick that was fired or left out;
//! `seq`, how many ticks have been claimed, and `runs`, how many of these count; `claim`, `claim_tick`, `claim_ms`, `claim_until` and `claim_cancels` of the one
//! that is being carried through; `last_queue`, `last_job`, `last_tick` and `last_ms` of the latest fire; `paused`, `held`, `error`, `created`, `changed`.

use std::collections::HashMap;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::error::{Error, Result};

/// A schedule at one moment. Times are milliseconds since 1970 by the store's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// What was put.
    pub schedule: Schedule,
    /// The next tick; none if it is paused or has ended.
    pub next_ms: Option<u64>,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Whether there are no more ticks.
    pub has_ended: bool,
    /// Ticks fired since the timing was put.
    pub runs: u64,
    /// The tick that is being fired at this moment, or waits for its queue to take the job.
    pub firing_ms: Option<u64>,
    /// The tick that was fired last.
    pub last_tick_ms: Option<u64>,
    /// When that was.
    pub last_fired_ms: Option<u64>,
    /// The job that was enqueued last.
    pub last_job: Option<String>,
    /// Why the tick that is being fired has not been enqueued yet.
    pub error: Option<String>,
    /// When it was put first.
    pub created_ms: u64,
    /// When it was put last.
    pub changed_ms: u64,
}

/// What became of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A job was enqueued.
    Fired,
    /// A job of the tick's id was in the queue already, and has not been changed.
    Existing,
    /// These ticks were late and left out.
    Missed,
    /// These ticks were left out because the previous job had not ended.
    Overlapped,
    /// The queue will never take the job.
    Failed,
    /// Somebody claimed the tick so long ago that nobody can tell any more whether its job was enqueued. It was not enqueued again.
    Unsure,
    /// A job was enqueued because somebody asked for it.
    Manual,
}

/// An entry of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Entry {
    /// When it was written, milliseconds since 1970 by the store's clock.
    pub at_ms: u64,
    /// What became of it.
    #[serde(flatten)]
    pub fire: Fire,
}

/// What became of a tick, or of several in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fire {
    /// What became of it.
    pub outcome: Outcome,
    /// The tick, or the first of those that were left out; none if somebody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_ms: Option<u64>,
    /// The last of those that were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// The queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Fire {
    pub(super) fn of(outcome: Outcome, tick_ms: Option<u64>) -> Self {
        Self { outcome, tick_ms, until_ms: None, queue: None, job: None, error: None }
    }

    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).expect("it has a JSON form")
    }
}

impl Entry {
    /// Reads what a step wrote: when, a blank, and the fire.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let (at, fire) = value.as_str()?.split_once(' ')?;
        Some(Self { at_ms: at.parse().ok()?, fire: serde_json::from_str(fire).ok()? })
    }
}

/// A claim that is being carried through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) number: u64,
    pub(super) tick: u64,
    pub(super) since_ms: u64,
    /// When others may help.
    pub(super) until_ms: u64,
    pub(super) cancels: bool,
}

/// The whole hash.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) uid: String,
    pub(super) rev: u64,
    pub(super) schedule: Schedule,
    /// What the claim is about.
    pub(super) claimed: Option<Schedule>,
    pub(super) anchor_ms: u64,
    pub(super) tick: Option<u64>,
    pub(super) look: u64,
    pub(super) passed: u64,
    pub(super) seq: u64,
    pub(super) runs: u64,
    pub(super) claim: Option<Claim>,
    /// Queue and id of the latest job.
    pub(super) last: Option<(String, String)>,
    pub(super) is_paused: bool,
    pub(super) is_held: bool,
    last_tick: Option<u64>,
    last_ms: Option<u64>,
    error: Option<String>,
    created_ms: u64,
    changed_ms: u64,
}

impl State {
    /// Reads the answer to HGETALL; nothing if there is no such schedule.
    pub(super) fn read(reply: Value) -> Result<Option<Self>> {
        let pairs = reply.into_map().map_err(|reply| Error::unexpected("HGETALL", &reply))?;
        if pairs.is_empty() {
            return Ok(None);
        }
        let named = |(name, value): &(Value, Value)| Some((name.as_str()?.to_owned(), value.as_bytes()?.to_vec()));
        let fields: Option<HashMap<_, _>> = pairs.iter().map(named).collect();
        let fields = Fields(fields.ok_or_else(|| Error::Backend("a schedule is unreadable".to_owned()))?);
        let claim = match (fields.number("claim"), fields.number("claim_tick"), fields.number("claim_ms")) {
            (Some(number), Some(tick), Some(since_ms)) => Some(Claim {
                number,
                tick,
                since_ms,
                until_ms: fields.number("claim_until").unwrap_or(0),
                cancels: fields.has("claim_cancels"),
            }),
            _ => None,
        };
        let schedule = Schedule::read(fields.bytes("def"))?;
        let claimed = match (&claim, fields.has("pin")) {
            (Some(_), true) => Some(Schedule::read(fields.bytes("pin"))?),
            (Some(_), false) => Some(schedule.clone()),
            (None, _) => None,
        };
        let or_zero = |name| fields.number(name).unwrap_or(0);
        Ok(Some(Self {
            uid: fields.text("uid").unwrap_or_default(),
            rev: or_zero("rev"),
            anchor_ms: or_zero("anchor"),
            tick: fields.number("tick"),
            look: or_zero("look"),
            passed: or_zero("passed"),
            seq: or_zero("seq"),
            runs: or_zero("runs"),
            last: fields.text("last_queue").zip(fields.text("last_job")),
            is_paused: fields.has("paused"),
            is_held: fields.has("held"),
            last_tick: fields.number("last_tick"),
            last_ms: fields.number("last_ms"),
            error: fields.text("error"),
            created_ms: or_zero("created"),
            changed_ms: or_zero("changed"),
            schedule,
            claimed,
            claim,
        }))
    }

    /// Returns what a step compares with.
    pub(super) fn stamp(&self) -> String {
        format!("{} {}", self.uid, self.rev)
    }

    pub(super) fn found(self, id: &str) -> Found {
        Found {
            id: id.to_owned(),
            next_ms: self.tick.filter(|_| !self.is_paused),
            is_paused: self.is_paused,
            has_ended: self.tick.is_none(),
            runs: self.runs,
            firing_ms: self.claim.map(|claim| claim.tick),
            last_tick_ms: self.last_tick,
            last_fired_ms: self.last_ms,
            last_job: self.last.map(|(_, job)| job),
            error: self.error,
            created_ms: self.created_ms,
            changed_ms: self.changed_ms,
            schedule: self.schedule,
        }
    }
}

struct Fields(HashMap<String, Vec<u8>>);

impl Fields {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(b"", Vec::as_slice)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.0.get(name)?).ok()?.parse().ok()
    }
}
