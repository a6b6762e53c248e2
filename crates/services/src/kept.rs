//! What must not be evicted: revoked tokens, one-time tokens, idempotency keys, sessions, locks.
//!
//! A cache that loses an entry is slower. A deny list that loses one is open, and a lost idempotency key lets a payment
//! happen twice. So services of this kind name their keys below [`Keyring::kept_prefix`], and refuse to work on a store
//! that may evict them. One of these must hold:
//!
//! * there is no `maxmemory`, or the policy is `noeviction`: a full store refuses writes, which is an error here;
//! * the store is Redpoll and `non-evictable-prefixes` covers the prefix (`rp:kept:`), whatever the policy;
//! * the operator vouches for it: [`OnEviction::Tolerate`], or `REDPOLL_EVICTION=tolerate` in the environment.
//!
//! The store is asked with INFO at the first use and every [`LOOK_EVERY`] after that, all masters of a Cluster
//! together. What may be evicted is refused as [`Error::Unavailable`], like any other store that cannot be relied on.
//!
//! Not here: noticing that something was evicted in between. A policy changed at run time is seen at the next look, and
//! what went meanwhile is gone.

use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::{self, MemoryPolicy};
#[cfg(doc)]
use crate::keys::Keyring;
use crate::metrics::Counter;

/// How long an answer of the store about its policy is trusted.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What to do on a store that may evict what must not be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnEviction {
    /// Refuse to work.
    #[default]
    Refuse,
    /// Work. For stores that cannot be asked and of which the operator knows that they do not evict.
    Tolerate,
}

impl FromStr for OnEviction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "tolerate" => Ok(Self::Tolerate),
            _ => Err(Error::invalid("eviction", format_args!("{text:?} is neither refuse nor tolerate"))),
        }
    }
}

/// When this process last saw that the store does not evict.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    seen: Mutex<Option<Instant>>,
}

impl Lookout {
    fn is_fresh(&self) -> bool {
        let seen = *self.seen.lock().expect("nothing panics while it is held");
        seen.is_some_and(|seen| seen.elapsed() < LOOK_EVERY)
    }

    fn saw(&self) {
        *self.seen.lock().expect("nothing panics while it is held") = Some(Instant::now());
    }
}

impl Services {
    /// Does work upon a store that does not evict what must not be evicted, and counts when there is none.
    pub(crate) async fn upon_kept<T>(&self, outages: Counter, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = match self.ensure_kept().await {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        if result.as_ref().is_err_and(Error::is_outage) {
            self.metrics().add(outages, 1);
        }
        result
    }

    /// Makes sure that the store does not evict what must not be evicted.
    pub(crate) async fn ensure_kept(&self) -> Result<()> {
        if self.settings().eviction == OnEviction::Tolerate || self.lookout().is_fresh() {
            return Ok(());
        }
        let nodes = MemoryPolicy::of_nodes(self.backend()).await?;
        if let Some(policy) = evicting_policy(&nodes)?
            && !self.is_protected().await?
        {
            let prefix = self.settings().keyring.kept_prefix();
            return Err(Error::Unavailable(format!(
                "the store may evict what must not be evicted: maxmemory-policy is {policy}; use noeviction, or on Redpoll non-evictable-prefixes {prefix}"
            )));
        }
        self.lookout().saw();
        Ok(())
    }

    /// Tells whether the store is one that keeps our keys whatever its policy.
    async fn is_protected(&self) -> Result<bool> {
        let spared = match eviction::spared(self.backend()).await {
            Ok(spared) => spared,
            Err(error) if error.is_outage() => return Err(error),
            // Who may not ask is told nothing, as by a store that knows no such setting.
            Err(_) => return Ok(false),
        };
        let ours = self.settings().keyring.kept_prefix();
        Ok(spared.iter().any(|prefix| ours.starts_with(prefix)))
    }
}

/// Returns the policy of a node that has a limit and evicts, `None` if there is no such node. A store that tells neither is not trusted.
fn evicting_policy(nodes: &[MemoryPolicy]) -> Result<Option<&str>> {
    let mut told = nodes.iter().filter(|node| node.is_limited.is_some() && node.policy.is_some()).peekable();
    if told.peek().is_none() {
        return Err(Error::Backend("INFO does not tell whether the store evicts".to_owned()));
    }
    Ok(told.filter(|node| node.is_limited == Some(true)).find_map(MemoryPolicy::evicting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let node = |is_limited: Option<bool>, policy: Option<&str>| MemoryPolicy {
            is_limited,
            policy: policy.map(str::to_owned),
        };
        let of = |nodes: &[MemoryPolicy]| evicting_policy(nodes).map(|policy| policy.map(str::to_owned));
        let steady = node(Some(false), Some("allkeys-lru"));
        assert_eq!(of(std::slice::from_ref(&steady)), Ok(None));
        assert_eq!(of(&[node(Some(true), Some("noeviction"))]), Ok(None));
        assert_eq!(of(&[node(Some(true), Some("volatile-ttl"))]), Ok(Some("volatile-ttl".to_owned())));
        assert!(of(&[node(None, None)]).is_err());
        assert!(of(&[]).is_err());
        assert_eq!(of(&[steady, node(Some(true), Some("allkeys-lfu"))]), Ok(Some("allkeys-lfu".to_owned())));
    }
}
