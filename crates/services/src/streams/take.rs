//! Taking entries: leasing them to a consumer, and waiting for some.
//!
//! Who waits for entries is registered in the store under a name of its own, and woken through [`signal`](crate::signal). A step that adds entries
//! wakes as many of each group as there are new entries, among the 256 who wait longest, and who takes some and leaves some wakes the next; so an entry wakes one consumer of a group,
//! not all. A blocking XREADGROUP would keep one connection for each consumer (and none can block on the store of its own process), could not see
//! what comes due again or is freed by the entry before it, and cannot be one step with it. What strangers add with XADD wakes nobody: it is
//! found at the next look, after [`RECHECK_MAX`] at most.

use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::event::{Entry, Event};
use super::group::{Group, GroupOptions};
use super::id::EntryId;
use super::settings::MAX_WAIT;
use super::settle::{Outcome, Settled};
use super::steps::{LEAVE, TAKE};
use super::stream::{item, read_entry};
use crate::Services;
use crate::backend::Command;
use crate::batch::check_batch;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::leasing::{Lessor, REGISTERED, Waiting, hear};
use crate::metrics::Counter;
use crate::signal::RECHECK_MAX;
use crate::ttl::{bounded_ms, ms};

/// Looks one behind the other that pass over entries which are for nobody here, before the caller is answered.
const LOOKS_MAX: usize = 1_000;

/// One lease of one entry: what its consumer shows to say anything about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// The entry.
    pub entry: EntryId,
    /// The lease. A later lease of the same entry has a larger one, so it is a fence too.
    pub token: u64,
}

/// A leased entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What to show.
    pub ticket: Ticket,
    /// The event, with its id.
    pub event: Event,
    /// Its number in the stream; see [`Entry::sequence`].
    pub sequence: Option<u64>,
    /// How often handling it has failed.
    pub failures: u32,
    /// How often its lease ended without an outcome.
    pub lost: u32,
}

/// How entries are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOptions {
    /// Who takes them: a name among the consumers of the group, for those who look at it.
    pub consumer: String,
    /// Most entries, up to [`MAX_BATCH`](super::MAX_BATCH).
    pub count: usize,
    /// How long a consumer may give no sign of life; the settings' if absent.
    pub lease: Option<Duration>,
    /// How long to wait for entries if there are none, at most an hour.
    pub wait: Duration,
    /// How to make the group if it is not there, unless it was deleted; not found if absent.
    pub create: Option<GroupOptions>,
}

impl TakeOptions {
    /// One entry, without waiting.
    pub fn new(consumer: impl Into<String>) -> Self {
        Self { consumer: consumer.into(), count: 1, lease: None, wait: Duration::ZERO, create: None }
    }
}

/// What taking gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Taken {
    /// The entries.
    pub deliveries: Vec<Delivery>,
    /// Whether the group was made, because it was not there.
    pub created: bool,
    /// Whether the group was made again where it was, with what it had pending: somebody destroyed it with XGROUP or DEL.
    pub restored: bool,
    /// Entries found to have been dropped from the stream before the group read them.
    pub missed: u64,
    /// Entries found that became dead letters: lost too often, gone from the stream, or no events.
    pub died: u64,
}

/// A request; checked.
#[derive(Debug, Clone)]
struct Request {
    consumer: String,
    count: usize,
    lease_ms: u64,
}

/// What one step found.
struct Look {
    taken: Taken,
    /// Entries that are no events, and why.
    poison: Vec<(Ticket, String)>,
    /// When it is worth looking again.
    after: Duration,
    is_more: bool,
}

impl Delivery {
    /// Number of this run, from 1.
    pub fn attempt(&self) -> u32 {
        self.failures + self.lost + 1
    }
}

impl Group {
    /// Takes the next entries, waiting for some if asked to: first those whose time has come again, because their consumer died, their pause is over
    /// or the one before them is done, then new ones. Fewer than asked for if there are not as many.
    pub async fn take(&self, options: &TakeOptions) -> Result<Taken> {
        check_name("consumer", &options.consumer)?;
        check_batch("count", options.count)?;
        bounded_ms("wait_ms", options.wait, MAX_WAIT)?;
        let lease_ms = self.stream().settings().lease_ms(options.lease)?;
        let request = Request { consumer: options.consumer.clone(), count: options.count, lease_ms };
        let deadline = Instant::now() + options.wait;
        let mut told = Taken::default();
        let mut waiting: Option<Waiting<'_, Self>> = None;
        for looks in 1.. {
            let name = waiting.as_ref().map_or("", |waiting| waiting.name.as_str());
            let look = match self.look(&request, name).await {
                Err(Error::NotFound(_)) if options.create.is_some() && !told.created => {
                    let create = options.create.clone().unwrap_or_default();
                    self.make(&create).await?;
                    told.created = true;
                    continue;
                }
                look => look?,
            };
            told.add(look.taken);
            let left = deadline.saturating_duration_since(Instant::now());
            if !told.deliveries.is_empty() || (left.is_zero() && (!look.is_more || looks >= LOOKS_MAX)) {
                break;
            }
            match &mut waiting {
                _ if look.is_more => {}
                Some(waiting) => {
                    waiting.waiter.wait(left.min(look.after)).await;
                }
                none => *none = Some(Waiting::begin(self)),
            }
        }
        if let Some(mut waiting) = waiting {
            // Who found something was taken out by the step that found it.
            waiting.is_over = !told.deliveries.is_empty() || self.leave(&waiting.name).await.is_ok();
        }
        self.stream().count(Counter::StreamsDelivered, told.deliveries.len());
        Ok(told)
    }

    /// Makes the group unless it was deleted.
    async fn make(&self, options: &GroupOptions) -> Result<()> {
        match self.is_deleted().await? {
            true => Err(self.not_found()),
            false => self.create(options).await.map(drop),
        }
    }

    async fn is_deleted(&self) -> Result<bool> {
        let command = Command::new("HEXISTS").key(self.hash_key()).arg("deleted").repeatable();
        Ok(self.stream().run(command).await?.as_i64() == Some(1))
    }

    /// Looks once. Entries that are no events become dead letters.
    async fn look(&self, request: &Request, name: &str) -> Result<Look> {
        let command = self.command(&TAKE).arg(&request.consumer).arg(request.count).arg(request.lease_ms);
        let command = command.arg(name).arg(ms(REGISTERED));
        let reply = hear(self, command, name.to_owned()).await?;
        let mut look = self.read_look(&reply)?;
        self.stream().count(Counter::StreamsDead, usize::try_from(look.taken.died).unwrap_or_default());
        if !look.poison.is_empty() {
            let outcomes = |(ticket, cause): &(Ticket, String)| (*ticket, Outcome::Poison { cause: cause.clone() });
            let outcomes: Vec<_> = look.poison.iter().map(outcomes).collect();
            let settled = self.settle(&outcomes).await?;
            look.taken.died += settled.iter().filter(|one| **one == Settled::Dead).count() as u64;
            look.is_more = true;
        }
        Ok(look)
    }

    fn read_look(&self, reply: &Value) -> Result<Look> {
        let parts = reply.as_array().unwrap_or_default();
        match parts.first().and_then(Value::as_str) {
            Some("ok") => Look::read(reply).ok_or_else(|| Error::unexpected(TAKE.name(), reply)),
            Some("none") => Err(self.not_found()),
            Some("crowded") => Err(Error::Conflict(format!("group {:?} has too many consumers", self.name()))),
            _ => Err(Error::unexpected(TAKE.name(), reply)),
        }
    }
}

impl Taken {
    fn add(&mut self, other: Self) {
        self.deliveries.extend(other.deliveries);
        self.restored |= other.restored;
        self.missed += other.missed;
        self.died += other.died;
    }
}

impl Look {
    fn read(reply: &Value) -> Option<Self> {
        let [_, found, ..] = reply.as_array()? else { return None };
        let after = match item(reply, 2)? {
            0 => RECHECK_MAX,
            ms => Duration::from_millis(ms),
        };
        let taken = Taken {
            restored: item(reply, 4)? == 1,
            missed: item(reply, 5)?,
            died: item(reply, 6)?,
            ..Taken::default()
        };
        let mut look = Self { taken, poison: Vec::new(), after, is_more: item(reply, 3)? == 1 };
        for parts in found.as_array()?.chunks(5) {
            let [id, token, failures, lost, values] = parts else { return None };
            let number = |value: &Value| value.as_u64();
            let Entry { id, sequence, event, .. } = read_entry(id, values)?;
            let ticket = Ticket { entry: id, token: number(token)? };
            match event {
                Ok(event) => look.taken.deliveries.push(Delivery {
                    ticket,
                    event,
                    sequence,
                    failures: number(failures)?.try_into().ok()?,
                    lost: number(lost)?.try_into().ok()?,
                }),
                Err(cause) => look.poison.push((ticket, cause)),
            }
        }
        Some(look)
    }
}

impl Lessor for Group {
    fn services(&self) -> &Services {
        self.stream().services()
    }

    fn channel(&self) -> &Key {
        self.stream().channel()
    }

    async fn run(&self, command: Command) -> Result<Value> {
        self.stream().run(command).await
    }

    async fn hand_back(&self, name: &str, reply: &Value) -> Result<()> {
        let look = self.read_look(reply)?;
        let tickets = look.taken.deliveries.iter().map(|delivery| delivery.ticket);
        let tickets = tickets.chain(look.poison.iter().map(|(ticket, _)| *ticket));
        let outcomes: Vec<_> = tickets.map(|ticket| (ticket, Outcome::Released { delay: Duration::ZERO })).collect();
        if !outcomes.is_empty() {
            self.settle(&outcomes).await?;
        }
        match name.is_empty() {
            true => Ok(()),
            false => self.leave(name).await,
        }
    }

    async fn leave(&self, name: &str) -> Result<()> {
        let command = Command::script(&LEAVE, self.stream().keys(), &[self.name(), name]);
        self.stream().run(command).await.map(drop)
    }
}
