//! What there is to see of a lock: who holds it, since when, for how long, and who waits.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lock::{Kind, MAX_PERMITS, number};

/// A lock as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockInfo {
    /// The newest fence; 0 if the lock was never acquired, or not for long.
    pub fence: u64,
    /// Who holds it, the lease that ends first in front; up to a hundred.
    pub holders: Vec<Holder>,
    /// How many hold it.
    pub holders_total: u64,
    /// Who waits, in the order of their turns; of the first hundred, those that are alive.
    pub queue: Vec<Queued>,
    /// How many are in the queue; some may have died a moment ago.
    pub queue_total: u64,
}

/// Somebody who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Who it is, as it said when it acquired.
    pub owner: String,
    /// The fence of the acquisition.
    pub fence: u64,
    /// How many permits it holds. A reader has one, a writer all there are.
    pub permits: u64,
    /// Since when, milliseconds since 1970 by the store's clock.
    pub since_ms: u64,
    /// How long until its lease ends unless it is renewed, in milliseconds.
    pub lease_left_ms: u64,
    /// On a read/write lock: whether it reads or writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Sides of a read/write lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// With others that read.
    Read,
    /// Alone.
    Write,
}

/// Somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    /// Who it is.
    pub owner: String,
}

impl LockInfo {
    /// Reads the reply of the step; nothing if it has another shape.
    pub(super) fn read(kind: Kind, reply: &Value) -> Option<Self> {
        let [now, fence, holders, holders_total, waiting, notes @ ..] = reply.as_array()? else { return None };
        let now = number(now)?;
        let holders = match notes {
            [] => holders.as_array()?.iter().map(|holder| of_one(now, holder)).collect(),
            [notes] => of_several(now, kind, holders, notes.as_array()?),
            _ => None,
        }?;
        let [queue_total, queue] = waiting.as_array()? else { return None };
        let queue = queue.as_array()?.iter().filter_map(|note| queued(now, note)).collect();
        Some(Self {
            fence: number(fence)?,
            holders,
            holders_total: number(holders_total)?,
            queue,
            queue_total: number(queue_total)?,
        })
    }
}

fn of_one(now: u64, holder: &Value) -> Option<Holder> {
    let [ends, fence, since, permits, owner] = holder.as_array()? else { return None };
    Some(Holder {
        owner: text(owner.as_bytes()?),
        fence: number(fence)?,
        permits: number(permits)?,
        since_ms: number(since)?,
        lease_left_ms: number(ends)?.saturating_sub(now),
        mode: None,
    })
}

/// Tokens and ends by turns, as nested pairs where the protocol has numbers for scores; and the notes of these holders.
fn of_several(now: u64, kind: Kind, ends: &Value, notes: &[Value]) -> Option<Vec<Holder>> {
    let ends = ends.as_array()?.iter().skip(1).step_by(2);
    ends.zip(notes).map(|(ends, note)| of_note(now, kind, ends, note.as_bytes()?)).collect()
}

/// Reads `fence 16 ; held since 16 ; permits 16 ; owner`.
fn of_note(now: u64, kind: Kind, ends: &Value, note: &[u8]) -> Option<Holder> {
    let number_at = |from: usize| std::str::from_utf8(note.get(from..from + 16)?).ok()?.parse().ok();
    let permits = number_at(34)?;
    let mode = if permits == MAX_PERMITS { Mode::Write } else { Mode::Read };
    Some(Holder {
        owner: text(note.get(51..)?),
        fence: number_at(0)?,
        permits,
        since_ms: number_at(17)?,
        lease_left_ms: number(ends)?.saturating_sub(now),
        mode: (kind == Kind::Rw).then_some(mode),
    })
}

/// Reads `lease ends 16 ; owner`; nothing of the dead.
fn queued(now: u64, note: &Value) -> Option<Queued> {
    let note = note.as_bytes()?;
    let ends: u64 = std::str::from_utf8(note.get(..16)?).ok()?.parse().ok()?;
    (ends > now).then(|| Queued { owner: text(&note[17..]) })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
