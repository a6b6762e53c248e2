//! Elections: one of several candidates leads, and another as soon as it does not.
//!
//! The lead is a mutex whose owner is the candidate and whose fence is the term. A candidate stands for as long as it takes, also through an outage of the
//! store; the leader stays until it resigns (releases) or its lease ends.

use std::time::Duration;

use super::acquire::{LockOptions, MAX_WAIT};
use super::guard::Guard;
use super::lock::Lock;
use crate::error::Result;

/// Pause of a candidate while the store is down.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Who of several leads.
#[derive(Debug, Clone)]
pub struct Election {
    lock: Lock,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Who it is.
    pub candidate: String,
    /// The number of its term, which is the fence of all it does.
    pub term: u64,
    /// Since when, milliseconds since 1970 by the store's clock.
    pub since_ms: u64,
}

impl Election {
    pub(super) fn new(lock: Lock) -> Self {
        Self { lock }
    }

    /// Stands until it leads. The guard's loss is the end of the term, at which the leader must stop; releasing it resigns.
    ///
    /// Of the options, how long to wait does not count. Fails only for input that can never work.
    pub async fn campaign(&self, candidate: &str, options: &LockOptions) -> Result<Guard> {
        let options = LockOptions { owner: Some(candidate.to_owned()), wait: Some(MAX_WAIT), ..options.clone() };
        loop {
            match self.lock.acquire(&options).await {
                Ok(Some(guard)) => return Ok(guard),
                Ok(None) => {}
                Err(error) if error.is_outage() => {
                    tracing::debug!(election = self.lock.name(), %error, "no election while the store is down");
                    tokio::time::sleep(OUTAGE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns who leads, if anybody does.
    pub async fn leader(&self) -> Result<Option<Leader>> {
        let holder = self.lock.info().await?.holders.into_iter().next();
        Ok(holder.map(|holder| Leader { candidate: holder.owner, term: holder.fence, since_ms: holder.since_ms }))
    }

    /// Returns the lock behind it.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}
