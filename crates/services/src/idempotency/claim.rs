//! The right to do the work of a request, and what becomes of it.
//!
//! A claim is a lease with a token. It ends with [`Claim::complete`] or [`Claim::abandon`]. A claim that is dropped is
//! not given back: nobody knows how far the work has come, so the next caller has to wait until the lease has ended
//! and is told that it is not the first.

use std::time::Duration;

use super::{Answer, BeginOptions, Idempotency};
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::metrics::Counter;
use crate::script::{Flags, INTEGERS, Repeat, Script};

const WAKE: &str = include_str!("wake.lua");

/// An answer stored twice by one owner is stored once.
static COMPLETE: Script =
    Script::new("idempotency.complete", Flags::None, Repeat::Safe, &[INTEGERS, WAKE, include_str!("complete.lua")]);
static RENEW: Script =
    Script::new("idempotency.renew", Flags::AllowOom, Repeat::Safe, &[INTEGERS, include_str!("renew.lua")]);
/// A second run would find the key free, or another's.
static ABANDON: Script =
    Script::new("idempotency.abandon", Flags::AllowOom, Repeat::Never, &[WAKE, include_str!("abandon.lua")]);

/// The right to do the work of a request.
#[derive(Debug)]
pub struct Claim {
    idempotency: Idempotency,
    record: Key,
    token: String,
    attempt: u64,
    lease_ms: u64,
    ttl_ms: u64,
}

impl Claim {
    pub(super) fn new(
        idempotency: Idempotency,
        record: Key,
        token: String,
        attempt: u64,
        options: &BeginOptions,
    ) -> Result<Self> {
        let lease_ms = idempotency.settings().lease_ms(options.lease)?;
        let ttl_ms = idempotency.settings().ttl_ms(options.ttl)?;
        Ok(Self { idempotency, record, token, attempt, lease_ms, ttl_ms })
    }

    /// Returns what proves the claim.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns 1 for the first owner of the key, more if earlier ones gave no sign of life: they may have done the work.
    /// 0 if the claim was made from a token.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Returns the length of the lease in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    pub(super) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    pub(super) fn set_attempt(&mut self, attempt: u64) {
        self.attempt = attempt;
    }

    /// Stores the answer. Refused with [`Error::Conflict`] if another caller has taken over, or the key is gone, and with
    /// [`Error::TooLarge`] above the cap; neither changes anything.
    pub async fn complete(&self, answer: &Answer) -> Result<()> {
        let metadata = answer.metadata.to_string();
        let (size_bytes, max_bytes) = (metadata.len() + answer.body.len(), self.idempotency.settings().bytes_max);
        if size_bytes > max_bytes {
            return Err(Error::TooLarge { size_bytes, max_bytes });
        }
        let args: [&dyn crate::backend::ToArg; 4] = [&self.token, &self.ttl_ms, &metadata, &answer.body];
        let reply = self.idempotency.run(&COMPLETE, self.record.clone(), &args).await?;
        match reply.as_i64() {
            Some(1) => Ok(()),
            Some(0) => Err(self.lost()),
            _ => Err(Error::unexpected("idempotency.complete", &reply)),
        }
    }

    /// Frees the key without an answer, so that the next caller starts anew. Refused with [`Error::Conflict`] if another
    /// caller has taken over or there is an answer.
    pub async fn abandon(&self) -> Result<()> {
        let reply = self.idempotency.run(&ABANDON, self.record.clone(), &[&self.token]).await?;
        match reply.as_i64() {
            Some(1) => Ok(()),
            Some(0) => Err(self.lost()),
            _ => Err(Error::unexpected("idempotency.abandon", &reply)),
        }
    }

    /// Begins the lease anew. Refused with [`Error::Conflict`] if another caller has taken over or there is an answer.
    pub async fn renew(&self) -> Result<()> {
        let reply = self.idempotency.run(&RENEW, self.record.clone(), &[&self.token, &self.lease_ms]).await?;
        match reply.as_i64() {
            Some(1) => Ok(()),
            Some(0) => Err(self.lost()),
            _ => Err(Error::unexpected("idempotency.renew", &reply)),
        }
    }

    /// Awaits `work` and renews the lease meanwhile. A lost lease does not stop the work: its answer will be refused.
    pub async fn renewing<T>(&self, work: impl Future<Output = T>) -> T {
        let renewals = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(self.lease_ms) / 3);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                if let Err(error) = self.renew().await {
                    tracing::debug!(%error, "lease of an idempotency key not renewed");
                }
            }
        };
        tokio::select! {
            result = work => result,
            () = renewals => unreachable!("renews for ever"),
        }
    }

    fn lost(&self) -> Error {
        self.idempotency.count(Counter::IdempotencyLost);
        Error::Conflict("the idempotency key is not this caller's any more".to_owned())
    }
}
