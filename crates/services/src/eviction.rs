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
use crate::error::{Error, Result};
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

/// Asks whether the store would give up keys that must stay, and says how as a sentence.
pub(crate) async fn risk(backend: &Backend, keyring: &Keyring) -> Result<Option<String>> {
    let info = backend.call(Command::new("INFO").arg("memory").repeatable()).await?;
    let Some(policy) = evicting_policy(&info)? else { return Ok(None) };
    let setting = backend.call(Command::new("CONFIG").arg("GET").arg(SETTING).repeatable()).await;
    let spared = setting.map(spared).unwrap_or_default();
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

/// Returns the policy of a node that has a limit of memory and evicts at it.
fn evicting_policy(info: &Value) -> Result<Option<String>> {
    let texts: Vec<&Value> = match info {
        // A Cluster answers for each node.
        Value::Map(nodes) => nodes.iter().map(|(_, text)| text).collect(),
        text => vec![text],
    };
    for text in texts {
        let bytes = text.as_bytes().ok_or_else(|| Error::unexpected("INFO", text))?;
        let text = String::from_utf8_lossy(bytes);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let unlimited = field("maxmemory").is_some_and(|limit| limit.trim() == "0");
        if let Some(policy) = field("maxmemory_policy").map(str::trim)
            && policy != "noeviction"
            && !unlimited
        {
            return Ok(Some(policy.to_owned()));
        }
    }
    Ok(None)
}

/// Returns what a store of ours says that it spares; others do not know the setting.
fn spared(reply: Value) -> Vec<String> {
    let pairs = reply.into_map().unwrap_or_default();
    let words = pairs.first().and_then(|(_, words)| words.as_str()).unwrap_or_default();
    words.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Option<String> {
        evicting_policy(&Value::Bulk(text.replace('\n', "\r\n").into_bytes())).unwrap()
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
    fn what_must_stay_and_what_need_not() {
        let ways = beginnings(&Keyring::new("rp").unwrap());
        assert!(ways.contains(&"rp:{*:rate:".to_owned()) && ways.contains(&"rp:{*:events}".to_owned()), "{ways:?}");
        assert!(!ways.iter().any(|way| way.contains(":cache")), "{ways:?}");
    }
}
