//! Policies in the store: live for every process with the next request, and every version of the last twenty kept.
//!
//! A process that has its policy in a file needs none of this.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::table::PolicyTable;
use super::{Limits, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Group, check_name};

/// Most earlier versions of a policy that are kept.
pub(super) const MAX_VERSIONS: usize = 20;

/// How long they are kept after the last change: 366 days.
const VERSIONS_KEPT_MS: u64 = 366 * 86_400_000;

/// Largest table, in bytes of JSON.
pub(super) const MAX_TABLE_BYTES: usize = 1 << 20;

/// A policy of the store.
#[derive(Debug, Clone)]
pub struct StoredPolicy {
    /// Counts the changes of this name, from 1.
    pub version: u64,
    /// When it was changed last, milliseconds since 1970 by the store's clock.
    pub changed_ms: u64,
    /// The policy.
    pub policy: Policy,
}

/// An earlier version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyVersion {
    /// Its number.
    pub version: u64,
    /// When it began to hold, milliseconds since 1970 by the store's clock.
    pub changed_ms: u64,
    /// What it said.
    pub table: PolicyTable,
}

impl Limits {
    /// Stores a policy and returns its version. With `version`, only if that is the one there, 0 being none; else it is
    /// a conflict.
    pub async fn define(&self, name: &str, policy: &Policy, version: Option<u64>) -> Result<u64> {
        let text = serde_json::to_string(policy.table()).expect("a table has a JSON form");
        if text.len() > MAX_TABLE_BYTES {
            return Err(Error::TooLarge { size_bytes: text.len(), max_bytes: MAX_TABLE_BYTES });
        }
        self.change_policy(name, &text, version).await
    }

    /// Removes a policy; not found if there is none.
    pub async fn remove_policy(&self, name: &str) -> Result<()> {
        match self.change_policy(name, "", None).await? {
            0 => Err(no_policy(name)),
            _ => Ok(()),
        }
    }

    /// Reads a policy.
    pub async fn policy(&self, name: &str) -> Result<StoredPolicy> {
        let key = self.policy_group(name)?.key("p");
        let read = Command::new("HMGET").key(key).arg("version").arg("changed").arg("table").repeatable();
        let reply = self.services.backend().call(read).await?;
        let Some([version, changed, table]) = reply.as_array() else {
            return Err(Error::unexpected("HMGET", &reply));
        };
        let Some(text) = table.as_str() else {
            return Err(no_policy(name));
        };
        let (Some(version), Some(changed_ms)) = (version.as_u64(), changed.as_u64()) else {
            return Err(Error::unexpected("HMGET", &reply));
        };
        Ok(StoredPolicy { version, changed_ms, policy: Policy::from_json(text)? })
    }

    /// Lists the earlier versions of a policy, the latest first.
    pub async fn policy_history(&self, name: &str) -> Result<Vec<PolicyVersion>> {
        let key = self.policy_group(name)?.key("y");
        let read = Command::new("LRANGE").key(key).arg(0_u64).arg(-1_i64).repeatable();
        let reply = self.services.backend().call(read).await?;
        let versions = reply.as_array().map(|entries| entries.iter().map(read_version).collect::<Option<Vec<_>>>());
        versions.flatten().ok_or_else(|| Error::unexpected("LRANGE", &reply))
    }

    async fn change_policy(&self, name: &str, text: &str, version: Option<u64>) -> Result<u64> {
        let group = self.policy_group(name)?;
        let keys = [group.key("p"), group.key("y")];
        let expected = version.map(|version| version.to_string()).unwrap_or_default();
        let args: [&dyn ToArg; 4] = [&text, &expected, &MAX_VERSIONS, &VERSIONS_KEPT_MS];
        let reply = self.services.backend().script(&steps::DEFINE, &keys, &args).await?;
        match reply.as_array().and_then(|parts| Some((parts.first()?.as_i64()?, parts.get(1)?))) {
            Some((-1, there)) => {
                let there = there.as_u64().unwrap_or_default();
                Err(Error::Conflict(format!("policy {name:?} is at version {there}")))
            }
            Some((version, _)) => u64::try_from(version).map_err(|_| Error::unexpected(steps::DEFINE.name(), &reply)),
            None => Err(Error::unexpected(steps::DEFINE.name(), &reply)),
        }
    }

    fn policy_group(&self, name: &str) -> Result<Group> {
        check_name("policy", name)?;
        Ok(self.services.settings().keyring.group(&self.tenant, "limits-policies", &[name]))
    }
}

fn read_version(entry: &Value) -> Option<PolicyVersion> {
    let mut lines = entry.as_str()?.splitn(3, '\n');
    let (version, changed_ms, text) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?, lines.next()?);
    let table: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(PolicyVersion { version, changed_ms, table: serde_json::from_value(table).ok()? })
}

fn no_policy(name: &str) -> Error {
    Error::NotFound(format!("policy {name:?}"))
}
