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
//! The store is asked with INFO at the first use, and every [`LOOK_EVERY`] after that beside the work, all masters of a Cluster
//! together. When one does not answer, what is known is relied on for [`TRUSTED`]. What may be evicted is refused as [`Error::Unavailable`], like any other store that cannot be relied on.
//!
//! Not here: noticing that something was evicted in between. A policy changed at run time is seen at the next look, and
//! what went meanwhile is gone.

use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::{self, MemoryPolicy};
#[cfg(doc)]
use crate::keys::Keyring;
use crate::metrics::Counter;

/// How often the store is asked about its policy.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long its last answer is relied on while it does not answer: one node of several may be gone for a while.
pub const TRUSTED: Duration = Duration::from_secs(600);

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

/// What this process knows of whether the store evicts.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    looks: Mutex<Looks>,
}

#[derive(Debug, Default)]
struct Looks {
    /// When it was last seen not to.
    good: Option<Instant>,
    /// When it was last asked.
    asked: Option<Instant>,
}

/// How far what is known can be relied on.
#[derive(Debug, PartialEq, Eq)]
enum Trust {
    /// Entirely.
    Sure,
    /// It is, and is to be asked for again.
    Renew,
    /// Not before the store has been asked.
    Unknown,
}

impl Looks {
    fn trust(&mut self, now: Instant) -> Trust {
        let is_within = |moment: Option<Instant>, limit| moment.is_some_and(|moment| now - moment < limit);
        if !is_within(self.good, TRUSTED) {
            return Trust::Unknown;
        }
        if is_within(self.asked, LOOK_EVERY) {
            return Trust::Sure;
        }
        self.asked = Some(now);
        Trust::Renew
    }
}

impl Lookout {
    fn trust(&self) -> Trust {
        self.lock().trust(Instant::now())
    }

    fn saw(&self, is_good: bool) {
        let now = Instant::now();
        *self.lock() = Looks { good: is_good.then_some(now), asked: Some(now) };
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().expect("nothing panics while it is held")
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
        if self.settings().eviction == OnEviction::Tolerate {
            return Ok(());
        }
        match self.lookout().trust() {
            Trust::Sure => Ok(()),
            Trust::Renew => {
                // Nobody waits for that: a node that does not answer would hold up what lies on the others.
                let services = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = services.look().await {
                        tracing::debug!(%error, "whether the store evicts is not known anew");
                    }
                });
                Ok(())
            }
            Trust::Unknown => self.look().await,
        }
    }

    /// Asks whether the store may evict what must not be evicted.
    async fn look(&self) -> Result<()> {
        let nodes = MemoryPolicy::of_nodes(self.backend()).await?;
        if let Some(policy) = evicting_policy(&nodes)?
            && !self.is_protected().await?
        {
            self.lookout().saw(false);
            let prefix = self.settings().keyring.kept_prefix();
            return Err(Error::Unavailable(format!(
                "the store may evict what must not be evicted: maxmemory-policy is {policy}; use noeviction, or on Redpoll non-evictable-prefixes {prefix}"
            )));
        }
        self.lookout().saw(true);
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
    fn what_was_seen_is_relied_on_for_a_while() {
        let (lookout, start) = (Lookout::default(), Instant::now());
        let trust = |after: Duration| lookout.lock().trust(start + after);
        assert_eq!(trust(Duration::ZERO), Trust::Unknown);
        *lookout.lock() = Looks { good: Some(start), asked: Some(start) };
        assert_eq!(trust(LOOK_EVERY / 2), Trust::Sure);
        // One asks, and the others go on; so does everybody if there is no answer.
        assert_eq!(trust(LOOK_EVERY), Trust::Renew);
        assert_eq!(trust(LOOK_EVERY), Trust::Sure);
        assert_eq!(trust(LOOK_EVERY * 2), Trust::Renew);
        assert_eq!(trust(TRUSTED), Trust::Unknown);
        lookout.saw(true);
        assert_eq!(lookout.trust(), Trust::Sure);
        lookout.saw(false);
        assert_eq!(lookout.trust(), Trust::Unknown);
    }

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
