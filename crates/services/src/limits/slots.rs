//! Concurrency limits: so many at once.
//!
//! A slot is held under a lease. Its holder renews it for as long as it works, and releases it; the slot of a holder
//! that has died comes back when the lease ends. A slot that was lost stays lost: renewing it says so, and whoever
//! holds it must stop. An outage is an error, since nobody could tell whether there is room.

use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::reservation::lease_ms;
use super::scope::Scope;
use super::{Limits, steps};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;

/// Most slots of a limit.
pub(super) const MAX_SLOTS: u64 = 100_000;

/// Longest lease of a slot.
const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// A concurrency limit of a scope.
#[derive(Debug, Clone)]
pub struct Slots {
    limits: Limits,
    key: Key,
    /// Where releases are told.
    channel: Key,
    most: u64,
    lease_ms: u64,
}

/// A slot that is held. Dropping it does not release it.
#[derive(Debug, Clone)]
pub struct Slot {
    slots: Slots,
    id: String,
}

/// What asking for a slot came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotAnswer {
    /// Whether a slot was taken.
    pub allowed: bool,
    /// Its id; null if none was taken.
    pub slot: Option<String>,
    /// The most there are.
    pub limit: u64,
    /// How many are free now.
    pub remaining: u64,
    /// How long until the first lease ends, in milliseconds; 0 if a slot was taken. One may be released earlier.
    pub retry_after_ms: u64,
}

impl Limits {
    /// Opens a scope's concurrency limit: at most `most` at once, each for `lease` unless renewed.
    pub fn slots(&self, scope: &Scope, name: &str, most: u64, lease: Duration) -> Result<Slots> {
        check_name("name", name)?;
        if most == 0 || most > MAX_SLOTS {
            return Err(Error::invalid("limit", format_args!("must be 1 to {MAX_SLOTS}")));
        }
        let lease_ms = lease_ms(lease, MAX_LEASE)?;
        let group = self.group(scope);
        let (key, channel) = (group.named("s", name), group.named("sw", name));
        Ok(Slots { limits: self.clone(), key, channel, most, lease_ms })
    }
}

impl Slots {
    /// Takes a slot if one is free.
    pub async fn acquire(&self) -> Result<(SlotAnswer, Option<Slot>)> {
        let id = Uuid::new_v4().to_string();
        let (done, held, wait_ms) = self.run("acquire", &id).await?;
        let counter = if done { Counter::RateAllowed } else { Counter::RateRefused };
        self.limits.services.metrics().add(counter, 1);
        let answer = SlotAnswer {
            allowed: done,
            slot: done.then(|| id.clone()),
            limit: self.most,
            remaining: self.most.saturating_sub(held),
            retry_after_ms: if done { 0 } else { wait_ms.max(1) },
        };
        Ok((answer, done.then(|| self.slot(id))))
    }

    /// Takes a slot, waiting for one for as long as `patience`: until one is released, or a lease ends.
    ///
    /// Who waits is woken by releases and asks again; it is not a queue, so whoever asks first is served.
    pub async fn acquire_within(&self, patience: Duration) -> Result<(SlotAnswer, Option<Slot>)> {
        let deadline = Instant::now() + patience;
        let mut waiter = self.limits.services.backend().signals().listen(&self.channel, "");
        loop {
            let (answer, slot) = self.acquire().await?;
            let left = deadline.saturating_duration_since(Instant::now());
            if slot.is_some() || left.is_zero() {
                return Ok((answer, slot));
            }
            waiter.wait(left.min(Duration::from_millis(answer.retry_after_ms))).await;
        }
    }

    /// Returns the handle of a slot that somebody took.
    pub fn slot(&self, id: impl Into<String>) -> Slot {
        Slot { slots: self.clone(), id: id.into() }
    }

    /// Counts the slots that are held.
    pub async fn held(&self) -> Result<u64> {
        self.run("count", "").await.map(|(_, held, _)| held)
    }

    async fn run(&self, what: &'static str, id: &str) -> Result<(bool, u64, u64)> {
        let script = if what == "release" { &steps::RELEASE } else { &steps::SLOTS };
        let command = Command::script(script, &[&self.key], &[] as &[&str]);
        let command = command.arg(what).arg(id).arg(self.most).arg(self.lease_ms).arg(&self.channel);
        let reply = self.limits.services.backend().call(command).await?;
        match reply.as_array() {
            Some([done, held, wait_ms, _]) => read(done, held, wait_ms),
            _ => None,
        }
        .ok_or_else(|| Error::unexpected(steps::SLOTS.name(), &reply))
    }
}

fn read(done: &Value, held: &Value, wait_ms: &Value) -> Option<(bool, u64, u64)> {
    Some((done.as_u64()? == 1, held.as_u64()?, wait_ms.as_u64()?))
}

impl Slot {
    /// Returns the id by which anybody can renew and release it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Holds the slot for another lease; false if it was lost.
    pub async fn renew(&self) -> Result<bool> {
        check_name("slot", &self.id)?;
        self.slots.run("renew", &self.id).await.map(|(done, _, _)| done)
    }

    /// Gives the slot back; false if it was lost before.
    pub async fn release(&self) -> Result<bool> {
        check_name("slot", &self.id)?;
        self.slots.run("release", &self.id).await.map(|(done, _, _)| done)
    }
}
