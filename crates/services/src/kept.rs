//! What must not be evicted: revoked tokens, one-time tokens, idempotency keys, sessions, locks.
//!
//! A cache that loses an entry is slower. A deny list that loses one is open, and a lost idempotency key lets a payment
//! happen twice. So services of this kind name their keys below [`Keyring::kept_prefix`], and refuse to work on a store
//! that may evict them. One of these must hold:
//!
//! * there is no `maxmemory`, or the policy is `noeviction`: a full store refuses writes, which is an error here;
//! * the store is Redpoll and `non-evictable-prefixes` covers the prefix (`rp:kept:`), whatever the policy;
//! * the operator vouches for it: [`Eviction::Tolerate`], or `REDPOLL_EVICTION=tolerate` in the environment.
//!
//! The store is asked with INFO at the first use and every [`LOOK_EVERY`] after that, all masters of a Cluster
//! together. What may be evicted is refused as [`Error::Unavailable`], like any other store that cannot be relied on.
//!
//! Not here: noticing that something was evicted in between. A policy changed at run time is seen at the next look, and
//! what went meanwhile is gone.

use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use redpoll_resp::Value;

use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::keys::Keyring;

/// How long an answer of the store about its policy is trusted.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What to do on a store that may evict what must not be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// Refuse to work.
    #[default]
    Refuse,
    /// Work. For stores that cannot be asked and of which the operator knows that they do not evict.
    Tolerate,
}

impl FromStr for Eviction {
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
    /// Makes sure that the store does not evict what must not be evicted.
    pub(crate) async fn ensure_kept(&self) -> Result<()> {
        if self.settings().eviction == Eviction::Tolerate || self.lookout().is_fresh() {
            return Ok(());
        }
        let info = self.backend().call(Command::new("INFO").arg("memory").repeatable()).await?;
        if let Some(policy) = evicting_policy(&info)?
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
        let question = Command::new("CONFIG").arg("GET").arg("non-evictable-prefixes").repeatable();
        let answer = match self.backend().call(question).await {
            Ok(answer) => answer,
            Err(error) if error.is_outage() => return Err(error),
            // Who may not ask is told nothing, as by a store that knows no such setting.
            Err(_) => return Ok(false),
        };
        let mut prefixes = Vec::new();
        texts(&answer, &mut prefixes);
        let ours = self.settings().keyring.kept_prefix();
        Ok(prefixes.iter().flat_map(|words| words.split_whitespace()).any(|prefix| ours.starts_with(prefix)))
    }
}

/// Returns the policy of a node that has a limit and evicts, `None` if there is no such node.
fn evicting_policy(info: &Value) -> Result<Option<String>> {
    let mut nodes = Vec::new();
    texts(info, &mut nodes);
    let mut answers = 0;
    for text in nodes {
        let field = |name: &str| text.lines().find_map(|line| line.trim_end().strip_prefix(name));
        let (Some(limit), Some(policy)) = (field("maxmemory:"), field("maxmemory_policy:")) else { continue };
        answers += 1;
        if limit != "0" && policy != "noeviction" {
            return Ok(Some(policy.to_owned()));
        }
    }
    match answers {
        0 => Err(Error::Backend("INFO does not tell whether the store evicts".to_owned())),
        _ => Ok(None),
    }
}

/// Collects the texts of a reply, of all nodes if it is a Cluster's.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Map(pairs) => pairs.iter().for_each(|(_, value)| texts(value, found)),
        other => found.extend(other.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let node = |limit: &str, policy: &str| {
            Value::Bulk(format!("# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n").into_bytes())
        };
        assert_eq!(evicting_policy(&node("0", "allkeys-lru")), Ok(None));
        assert_eq!(evicting_policy(&node("100", "noeviction")), Ok(None));
        assert_eq!(evicting_policy(&node("100", "volatile-ttl")), Ok(Some("volatile-ttl".to_owned())));
        assert!(evicting_policy(&Value::Bulk(b"nothing".to_vec())).is_err());
        let name = |name: &str| Value::Bulk(name.as_bytes().to_vec());
        let cluster = Value::Map(vec![(name("a:1"), node("0", "noeviction")), (name("b:1"), node("9", "allkeys-lfu"))]);
        assert_eq!(evicting_policy(&cluster), Ok(Some("allkeys-lfu".to_owned())));
    }
}
