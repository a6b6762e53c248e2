//! Dead letters of a group: entries that failed for the last time, were lost too often, are no events, or were gone when their time came.
//!
//! They are a native stream of their own, below the group: the entry's fields, and behind them `dlorigin` (its id), `dlreason`, `dlcause`,
//! `dlattempts` and `dllost`.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Entry;
use super::group::Group;
use super::id::EntryId;
use super::steps::REDRIVE;
use super::stream::item;
use crate::backend::Command;
use crate::batch::{MAX_BATCH, check_batch};
use crate::error::{Error, Result};
use crate::metrics::Counter;

/// Most steps of a call that is about all dead letters.
const STEPS_MAX: usize = 10_000;

/// Why an entry is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It failed for the last time.
    Failed,
    /// Its consumer gave it up.
    GivenUp,
    /// Too many of its leases ended without an outcome.
    Lost,
    /// It is no event, or its consumer could not understand it.
    Poison,
    /// It was no longer in the stream when its time came: nothing but its id is known.
    Gone,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Where it is; its time is when it became one.
    pub id: EntryId,
    /// The entry it was.
    pub origin: EntryId,
    /// Why it is one.
    pub reason: Reason,
    /// What went wrong.
    pub cause: String,
    /// How often handling it failed.
    pub failures: u32,
    /// How often its lease ended without an outcome.
    pub lost: u32,
    /// What was published.
    pub entry: Entry,
}

/// Which dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters<'a> {
    /// All there are.
    All,
    /// Those, at most [`MAX_BATCH`].
    Ids(&'a [EntryId]),
}

impl Group {
    /// Lists up to `count` dead letters behind one, oldest first.
    pub async fn dead(&self, behind: EntryId, count: usize) -> Result<Vec<DeadLetter>> {
        check_batch("count", count)?;
        let command = Command::new("XRANGE").key(self.dead_key()).arg(behind.after().to_string()).arg("+");
        let reply = self.stream().run(command.arg("COUNT").arg(count).repeatable()).await?;
        let read = || reply.as_array()?.iter().map(DeadLetter::read).collect::<Option<Vec<_>>>();
        read().ok_or_else(|| Error::unexpected("XRANGE", &reply))
    }

    /// Publishes dead letters again, for this group only, as new entries behind all others; their failures are forgotten. Letters whose entries were gone
    /// stay where they are. Returns how many were published. A full stream is a conflict (some may have been published by then), and so is a group that ends:
    /// replay them into another.
    pub async fn redrive(&self, which: Letters<'_>) -> Result<u64> {
        let Letters::Ids(ids) = which else { return self.redrive_all().await };
        check_batch("ids", ids.len())?;
        let ids: Vec<String> = ids.iter().map(EntryId::to_string).collect();
        self.redrive_step(b"0", &ids).await
    }

    /// Publishes a dead letter again with other data, for this group only. Not found if it is not there.
    pub async fn redrive_edited(&self, id: EntryId, data: &[u8]) -> Result<()> {
        let (size_bytes, max_bytes) = (data.len(), self.stream().settings().event_max);
        if size_bytes > max_bytes {
            return Err(Error::TooLarge { size_bytes, max_bytes });
        }
        match self.redrive_step(&[b"1", data].concat(), &[id.to_string()]).await? {
            0 => Err(Error::NotFound(format!("dead letter {id} with an event"))),
            _ => Ok(()),
        }
    }

    async fn redrive_all(&self) -> Result<u64> {
        let mut total = 0;
        // What dies meanwhile is not redriven, or a poisonous entry would go round for ever.
        let mut left = self.dead_length().await?;
        let mut behind = EntryId::ZERO;
        for _ in 0..STEPS_MAX {
            let count = MAX_BATCH.min(usize::try_from(left).unwrap_or(MAX_BATCH));
            if count == 0 {
                break;
            }
            let letters = self.dead(behind, count).await?;
            let Some(last) = letters.last() else { break };
            behind = last.id;
            let ids: Vec<String> = letters.iter().map(|letter| letter.id.to_string()).collect();
            total += self.redrive_step(b"0", &ids).await?;
            left -= letters.len() as u64;
        }
        Ok(total)
    }

    async fn redrive_step(&self, data: &[u8], ids: &[String]) -> Result<u64> {
        let command = self.command(&REDRIVE).arg(self.stream().settings().limits()).arg(data);
        let reply = self.stream().run(command.args_of(ids)).await?;
        match reply.as_array().and_then(|parts| parts.first()?.as_str()) {
            Some("ok") => {
                let moved = item(&reply, 1).ok_or_else(|| Error::unexpected(REDRIVE.name(), &reply))?;
                self.stream().count(Counter::StreamsRedriven, usize::try_from(moved).unwrap_or_default());
                Ok(moved)
            }
            Some("ends") => Err(Error::Conflict(format!("group {:?} ends before what is published now", self.name()))),
            _ => Err(self.stream().full(REDRIVE.name(), &reply)),
        }
    }

    /// Removes dead letters without a trace, and returns how many: all that are there when the call begins, or those that are named.
    pub async fn purge(&self, which: Letters<'_>) -> Result<u64> {
        if let Letters::Ids(ids) = which {
            check_batch("ids", ids.len())?;
            return self.purge_step(ids).await;
        }
        let (mut total, mut left) = (0, self.dead_length().await?);
        for _ in 0..STEPS_MAX {
            let count = MAX_BATCH.min(usize::try_from(left).unwrap_or(MAX_BATCH));
            if count == 0 {
                break;
            }
            let letters = self.dead(EntryId::ZERO, count).await?;
            let ids: Vec<EntryId> = letters.iter().map(|letter| letter.id).collect();
            if ids.is_empty() {
                break;
            }
            total += self.purge_step(&ids).await?;
            left -= ids.len() as u64;
        }
        Ok(total)
    }

    async fn purge_step(&self, ids: &[EntryId]) -> Result<u64> {
        let ids: Vec<String> = ids.iter().map(EntryId::to_string).collect();
        let reply = self.stream().run(Command::new("XDEL").key(self.dead_key()).args_of(&ids)).await?;
        reply.as_u64().ok_or_else(|| Error::unexpected("XDEL", &reply))
    }

    async fn dead_length(&self) -> Result<u64> {
        let reply = self.stream().run(Command::new("XLEN").key(self.dead_key()).repeatable()).await?;
        reply.as_u64().ok_or_else(|| Error::unexpected("XLEN", &reply))
    }
}

impl Reason {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "failed" => Self::Failed,
            "given_up" => Self::GivenUp,
            "lost" => Self::Lost,
            "poison" => Self::Poison,
            "gone" => Self::Gone,
            _ => return None,
        })
    }
}

impl DeadLetter {
    fn read(value: &Value) -> Option<Self> {
        let [id, values] = value.as_array()? else { return None };
        let values: Vec<&[u8]> = values.as_array()?.iter().map(Value::as_bytes).collect::<Option<_>>()?;
        // What the letter says of itself stands behind what was published, which may say anything.
        let text = |wanted: &str| {
            let found = values.chunks_exact(2).rev().find(|pair| pair[0] == wanted.as_bytes());
            Some(String::from_utf8_lossy(found?[1]).into_owned())
        };
        let origin: EntryId = text("dlorigin")?.parse().ok()?;
        Some(Self {
            id: id.as_str()?.parse().ok()?,
            origin,
            reason: Reason::parse(&text("dlreason")?)?,
            cause: text("dlcause")?,
            failures: text("dlattempts")?.parse().ok()?,
            lost: text("dllost")?.parse().ok()?,
            entry: Entry::read(origin, &values),
        })
    }
}
