//! What waits for delivery: leasing, settling, and the dead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::consumer::{Target, check_limit};
use super::trigger::Trigger;
use super::{Events, MAX_PAGE, no_consumer, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::metrics::Counter;
use crate::ttl::ms;

/// Longest lease, in milliseconds: a day.
pub(super) const MAX_LEASE_MS: u64 = 86_400_000;

/// Longest error text kept with a trigger, in bytes.
pub(super) const MAX_ERROR_BYTES: usize = 1024;

/// Most triggers a page can skip.
pub(super) const MAX_OFFSET: usize = 1 << 31;

/// Longest pause before another attempt, in milliseconds: a week.
pub(super) const MAX_PAUSE_MS: u64 = 7 * 86_400_000;

/// A trigger that its holder is to deal with before the lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lease {
    /// The trigger.
    pub trigger: Trigger,
    /// Proves that the lease is still the holder's.
    pub token: String,
    /// How often the trigger was leased, this time included.
    pub attempt: u32,
}

/// Which triggers to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those to be delivered, or being delivered.
    #[default]
    Waiting,
    /// Those given up.
    Dead,
}

/// A trigger that is kept, and how its delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    /// The trigger.
    pub trigger: Trigger,
    /// When it may be leased next; of a dead one, when it was given up. Milliseconds since 1970.
    pub at_ms: u64,
    /// How often it was leased.
    pub attempts: u32,
    /// Whether its last lease has not been settled.
    pub leased: bool,
    /// What went wrong last.
    pub error: Option<String>,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    Waits,
    Dead,
}

/// How a lease went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Retry { pause_ms: u64, error: String },
    GiveUp { error: String },
    HandBack,
}

impl Events {
    /// Leases up to `limit` triggers of a consumer whose target is [`Target::Pull`], for `lease_ms`.
    ///
    /// Each is the caller's until the lease ends; it then belongs to whoever leases it next. A consumer whose triggers
    /// are pushed is a conflict.
    pub async fn lease(&self, consumer: &str, limit: usize, lease_ms: u64) -> Result<Vec<Lease>> {
        match self.lease_as("pull", consumer, limit, lease_ms).await? {
            Some((_, leases)) => Ok(leases),
            None => Err(Error::Conflict(format!("triggers of consumer {consumer:?} are pushed to its target"))),
        }
    }

    /// Leases triggers that are to be brought to a target; nothing if the consumer is gone or its triggers are pulled.
    pub(super) async fn lease_to_push(&self, consumer: &str, limit: usize) -> Result<Option<(Target, Vec<Lease>)>> {
        match self.lease_as("push", consumer, limit, ms(self.settings().lease)).await {
            Err(Error::NotFound(_)) => Ok(None),
            other => other,
        }
    }

    async fn lease_as(
        &self,
        way: &'static str,
        consumer: &str,
        limit: usize,
        lease_ms: u64,
    ) -> Result<Option<(Target, Vec<Lease>)>> {
        check_limit(limit)?;
        if lease_ms == 0 || lease_ms > MAX_LEASE_MS {
            return Err(Error::invalid("lease_ms", format_args!("must be 1 to {MAX_LEASE_MS}")));
        }
        let keys = self.keys(consumer)?;
        let attempts_max = self.settings().attempts_max.max(1);
        let args: [&dyn ToArg; 6] = [&consumer, &way, &limit, &lease_ms, &attempts_max, &self.settings().dead_max];
        let reply = self.run(&steps::LEASE, &keys.with([&keys.dead]), &args).await?;
        let broken = || Error::unexpected(steps::LEASE.name(), &reply);
        let (target, buried, leased) = match reply.as_array().ok_or_else(broken)? {
            [_, target, buried, leased] => (target, buried, leased.as_array().ok_or_else(broken)?),
            [word] if word.as_str() == Some("other") => return Ok(None),
            _ => return Err(no_consumer(consumer)),
        };
        self.services.metrics().add(Counter::TriggersDead, buried.as_u64().unwrap_or(0));
        let target = target.as_str().and_then(Target::parse).ok_or_else(broken)?;
        let mut leases = Vec::with_capacity(leased.len() / 4);
        for parts in leased.chunks(4) {
            let [id, token, attempt, record] = parts else {
                return Err(broken());
            };
            let (id, record) = id.as_str().zip(record.as_str()).ok_or_else(broken)?;
            leases.push(Lease {
                trigger: Trigger::parse(self.tenant.name(), consumer, id, record)?,
                token: token.as_str().ok_or_else(broken)?.to_owned(),
                attempt: attempt.as_u64().and_then(|attempt| attempt.try_into().ok()).ok_or_else(broken)?,
            });
        }
        Ok(Some((target, leases)))
    }

    /// Says that a leased trigger has been dealt with; it is gone then.
    ///
    /// A conflict if another has leased it since, not found if it was settled already.
    pub async fn ack(&self, consumer: &str, trigger: &str, token: &str) -> Result<()> {
        let settled = self.settle(consumer, trigger, token, &Outcome::Done).await?;
        debug_assert_eq!(settled, Settled::Done);
        Ok(())
    }

    /// Says that a leased trigger could not be dealt with. It can be leased again after `pause_ms`, by default a pause
    /// that doubles with each attempt; after the last attempt it is dead. Returns whether it is.
    pub async fn fail(&self, consumer: &str, lease: (&str, &str), error: &str, pause_ms: Option<u64>) -> Result<bool> {
        let (trigger, token) = lease;
        if pause_ms.is_some_and(|pause| pause > MAX_PAUSE_MS) {
            return Err(Error::invalid("pause_ms", format_args!("must be at most {MAX_PAUSE_MS}")));
        }
        let pause_ms = match pause_ms {
            Some(pause) => pause,
            None => ms(self.settings().pause(self.attempts(consumer, trigger).await?)),
        };
        let outcome = Outcome::Retry { pause_ms, error: error.to_owned() };
        Ok(self.settle(consumer, trigger, token, &outcome).await? == Settled::Dead)
    }

    async fn attempts(&self, consumer: &str, trigger: &str) -> Result<u32> {
        let keys = self.keys(consumer)?;
        check_name("trigger", trigger)?;
        let field = format!("{trigger}:n");
        let reply =
            self.services.backend().call(Command::new("HGET").key(&keys.base[3]).arg(field).repeatable()).await?;
        Ok(reply.as_i64().and_then(|attempts| attempts.try_into().ok()).unwrap_or(1))
    }

    /// Settles a lease.
    pub(super) async fn settle(
        &self,
        consumer: &str,
        trigger: &str,
        token: &str,
        outcome: &Outcome,
    ) -> Result<Settled> {
        check_name("trigger", trigger)?;
        let keys = self.keys(consumer)?;
        let (word, pause_ms, error) = match outcome {
            Outcome::Done => ("done", 0, ""),
            Outcome::Retry { pause_ms, error } => ("retry", *pause_ms, error.as_str()),
            Outcome::GiveUp { error } => ("give_up", 0, error.as_str()),
            Outcome::HandBack => ("hand_back", 0, ""),
        };
        let error = &error[..error.floor_char_boundary(MAX_ERROR_BYTES)];
        let attempts_max = self.settings().attempts_max.max(1);
        let args: [&dyn ToArg; 8] =
            [&consumer, &trigger, &token, &word, &pause_ms, &error, &attempts_max, &self.settings().dead_max];
        let reply = self.run(&steps::SETTLE, &keys.with([&keys.dead]), &args).await?;
        match reply.as_str() {
            Some("done") => {
                self.services.metrics().add(Counter::TriggersDelivered, 1);
                Ok(Settled::Done)
            }
            Some("waits") => {
                self.services.metrics().add(Counter::TriggersRetried, u64::from(*outcome != Outcome::HandBack));
                Ok(Settled::Waits)
            }
            Some("dead") => {
                self.services.metrics().add(Counter::TriggersDead, 1);
                Ok(Settled::Dead)
            }
            Some("lost") => {
                Err(Error::Conflict(format!("trigger {trigger:?} is not leased under this token any more")))
            }
            Some("absent") => Err(Error::NotFound(format!("trigger {trigger:?} of consumer {consumer:?}"))),
            _ => Err(Error::unexpected(steps::SETTLE.name(), &reply)),
        }
    }

    /// Lists triggers that wait or are dead, oldest first, skipping `offset`, at most `limit`, which is at most
    /// [`MAX_PAGE`].
    pub async fn triggers(&self, consumer: &str, which: Which, offset: usize, limit: usize) -> Result<Vec<Held>> {
        check_limit(limit)?;
        if offset > MAX_OFFSET {
            return Err(Error::invalid("offset", format_args!("must be at most {MAX_OFFSET}")));
        }
        let keys = self.keys(consumer)?;
        let word = if which == Which::Dead { "dead" } else { "waiting" };
        let args: [&dyn ToArg; 4] = [&consumer, &word, &offset, &limit];
        let reply = self.run(&steps::INSPECT, &keys.with([&keys.dead]), &args).await?;
        if reply.is_nil() {
            return Err(no_consumer(consumer));
        }
        let broken = || Error::unexpected(steps::INSPECT.name(), &reply);
        let mut held = Vec::new();
        for parts in reply.as_array().ok_or_else(broken)?.chunks(6) {
            let [id, at, record, attempts, token, error] = parts else {
                return Err(broken());
            };
            let (id, record) = id.as_str().zip(record.as_str()).ok_or_else(broken)?;
            held.push(Held {
                trigger: Trigger::parse(self.tenant.name(), consumer, id, record)?,
                at_ms: at.as_f64().ok_or_else(broken)? as u64,
                attempts: attempts.as_u64().and_then(|attempts| attempts.try_into().ok()).unwrap_or(0),
                leased: token.as_bytes().is_some_and(|token| !token.is_empty()),
                error: error.as_str().filter(|error| !error.is_empty()).map(str::to_owned),
            });
        }
        Ok(held)
    }

    /// Puts a dead trigger, or all of them, back into the outbox as if never tried; returns how many.
    pub async fn requeue(&self, consumer: &str, trigger: Option<&str>) -> Result<u64> {
        let count = self.revive("requeue", consumer, trigger).await?;
        if count > 0 {
            self.services.fired().notify_one();
        }
        Ok(count)
    }

    /// Forgets a dead trigger, or all of them; returns how many.
    pub async fn purge(&self, consumer: &str, trigger: Option<&str>) -> Result<u64> {
        self.revive("purge", consumer, trigger).await
    }

    async fn revive(&self, how: &'static str, consumer: &str, trigger: Option<&str>) -> Result<u64> {
        let keys = self.keys(consumer)?;
        let mut args: Vec<&dyn ToArg> = vec![&consumer, &how, &MAX_PAGE, &self.settings().outbox_max];
        if let Some(trigger) = &trigger {
            check_name("trigger", trigger)?;
            args.push(trigger);
        }
        let mut total = 0;
        // One step handles a page; there are so many dead at most, and new ones need not be waited for.
        for _ in 0..=self.settings().dead_max / MAX_PAGE as u64 {
            let reply = self.run(&steps::REVIVE, &keys.with([&keys.dead]), &args).await?;
            if reply.is_nil() {
                return Err(no_consumer(consumer));
            }
            let count = reply.as_u64().ok_or_else(|| Error::unexpected(steps::REVIVE.name(), &reply))?;
            total += count;
            if count < MAX_PAGE as u64 {
                break;
            }
        }
        Ok(total)
    }
}
