//! Which keys a full store may give up.
//!
//! A cache may lose anything; a token's revocation, a lock or a queued job that vanishes because memory ran out would
//! break its promise, silently. So each service says in its row which of the two its keys are, and the keys of those
//! that must stay begin in a way that is known (`Keyring::beginnings`).
//!
//! * Where the store is ours to set (the one in this process), these beginnings are put into its `non-evictable-prefixes`
//!   when services are put upon it, behind what stands there, so any `maxmemory-policy` is safe.
//! * Elsewhere only the operator can act: [`Services::eviction_risk`](crate::Services::eviction_risk) says so, at the
//!   start of a program and in its health.
//!
//! `volatile-…` policies take those keys as well as `allkeys-…`, because they expire.

use redpoll_resp::Value;

use crate::SERVICES;
use crate::backend::{Backend, Command};
use crate::error::Result;
use crate::keys::Keyring;
use crate::operation::Service;

/// Whether a full store may give up a service's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Losing a key costs time.
    Allowed,
    /// Losing a key breaks a promise.
    Never,
    /// Losing a key opens a door: the service refuses a store that may evict them, see [`kept`](crate::kept). They lie below
    /// [`Keyring::kept_prefix`].
    Kept,
}

/// The setting of our own store that names keys which stay.
pub(crate) const SETTING: &str = "non-evictable-prefixes";

/// Returns how the keys begin that must stay.
pub(crate) fn beginnings(keyring: &Keyring) -> Vec<String> {
    let mut all: Vec<String> = SERVICES.iter().flat_map(|service| beginnings_of(service, keyring)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn beginnings_of(service: &Service, keyring: &Keyring) -> Vec<String> {
    match service.eviction {
        Eviction::Allowed => Vec::new(),
        Eviction::Never => keyring.beginnings(service.name).to_vec(),
        Eviction::Kept => vec![keyring.kept_prefix().replace(' ', "*")],
    }
}

/// What a node says about its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    /// Whether it has a limit, if it says so.
    pub(crate) is_limited: Option<bool>,
    /// What it does at its limit, if it says so.
    pub(crate) policy: Option<String>,
}

impl MemoryPolicy {
    /// Asks all nodes of the store.
    pub(crate) async fn of_nodes(backend: &Backend) -> Result<Vec<Self>> {
        let info = backend.call(Command::new("INFO").arg("memory").repeatable()).await?;
        Ok(texts(&info).into_iter().map(Self::read).collect())
    }

    fn read(info: &str) -> Self {
        let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        Self {
            is_limited: field("maxmemory").map(|limit| limit != "0"),
            policy: field("maxmemory_policy").map(str::to_owned),
        }
    }

    /// Returns the policy if it is one that evicts.
    pub(crate) fn evicting(&self) -> Option<&str> {
        self.policy.as_deref().filter(|policy| *policy != "noeviction")
    }
}

/// Asks a store of ours which beginnings of keys it spares; others do not know the setting.
pub(crate) async fn spared(backend: &Backend) -> Result<Vec<String>> {
    let answer = backend.call(Command::new("CONFIG").arg("GET").arg(SETTING).repeatable()).await?;
    Ok(texts(&answer).into_iter().flat_map(str::split_ascii_whitespace).map(str::to_owned).collect())
}

/// Returns the texts of a reply, those of all nodes if it is a Cluster's.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| texts(value)).collect(),
        other => other.as_str().into_iter().collect(),
    }
}

/// Asks whether the store would give up keys that must stay, and says how as a sentence.
pub(crate) async fn risk(backend: &Backend, keyring: &Keyring) -> Result<Option<String>> {
    let nodes = MemoryPolicy::of_nodes(backend).await?;
    let Some(policy) = evicting_policy(&nodes) else { return Ok(None) };
    let spared = spared(backend).await.unwrap_or_default();
    let is_spared = |way: &String| spared.iter().any(|word| way.starts_with(word.as_str()));
    let exposed = |service: &&Service| !beginnings_of(service, keyring).iter().all(is_spared);
    let services: Vec<&str> = SERVICES.iter().filter(exposed).map(|service| service.name).collect();
    Ok((!services.is_empty()).then(|| {
        format!(
            "maxmemory-policy {policy} can evict keys that must stay, those of {}: use noeviction",
            services.join(", ")
        )
    }))
}

/// Returns the policy of a node that evicts at its limit. One that does not tell its limit may have one.
fn evicting_policy(nodes: &[MemoryPolicy]) -> Option<&str> {
    nodes.iter().filter(|node| node.is_limited != Some(false)).find_map(MemoryPolicy::evicting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Option<String> {
        evicting_policy(&[MemoryPolicy::read(&text.replace('\n', "\r\n"))]).map(str::to_owned)
    }

    #[test]
    fn only_a_store_with_a_limit_evicts() {
        assert_eq!(policy("# Memory\nmaxmemory:0\nmaxmemory_policy:allkeys-lru\n"), None);
        assert_eq!(policy("maxmemory:100\nmaxmemory_policy:noeviction\n"), None);
        assert_eq!(policy("maxmemory:100\nmaxmemory_policy:allkeys-lru\n").as_deref(), Some("allkeys-lru"));
        assert_eq!(policy("maxmemory:100\nmaxmemory_policy:volatile-ttl\n").as_deref(), Some("volatile-ttl"));
        assert_eq!(
            policy("maxmemory_policy:allkeys-lfu\n").as_deref(),
            Some("allkeys-lfu"),
            "a limit that is not told"
        );
        assert_eq!(policy(""), None);
    }

    #[test]
    fn a_cluster_tells_of_each_node() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let cluster = Value::Map(vec![(text("a:1"), text("one")), (text("b:1"), Value::Array(vec![text("two")]))]);
        assert_eq!(texts(&cluster), ["one", "two"]);
        assert_eq!(texts(&text("alone")), ["alone"]);
    }

    #[test]
    fn what_must_stay_and_what_need_not() {
        let ways = beginnings(&Keyring::new("rp").unwrap());
        assert!(ways.contains(&"rp:{*:rate:".to_owned()) && ways.contains(&"rp:{*:limits}".to_owned()), "{ways:?}");
        assert!(ways.contains(&"rp:kept:".to_owned()), "{ways:?}");
        assert!(!ways.iter().any(|way| way.contains(":cache")), "{ways:?}");
    }
}
