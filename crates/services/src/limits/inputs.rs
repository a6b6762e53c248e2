//! What the operations of limits take and give, as JSON objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adjusted, PolicyTable, PolicyVersion, Verdict};
use crate::operation::default_tenant;
use crate::ttl::TtlInput;

/// A request under a stored policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Policy.
    pub(super) policy: String,
    /// `POST /path`, or a path alone.
    pub(super) endpoint: String,
    /// The caller's tier; the policy's default if absent.
    pub(super) tier: Option<String>,
    /// The caller's roles.
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Who it is about, by kind: `{"user": "42"}`.
    #[serde(default)]
    pub(super) subject: BTreeMap<String, String>,
    /// What it costs by unit; `{"requests": 1}` unless said.
    #[serde(default)]
    pub(super) cost: BTreeMap<String, u64>,
}

/// A request that may wait for its turn.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Policy.
    pub(super) policy: String,
    /// `POST /path`, or a path alone.
    pub(super) endpoint: String,
    /// The caller's tier; the policy's default if absent.
    pub(super) tier: Option<String>,
    /// The caller's roles.
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Who it is about, by kind: `{"user": "42"}`.
    #[serde(default)]
    pub(super) subject: BTreeMap<String, String>,
    /// What it costs by unit; `{"requests": 1}` unless said.
    #[serde(default)]
    pub(super) cost: BTreeMap<String, u64>,
    /// How long it may wait to be admitted, in milliseconds; 0 if absent, 60000 at most.
    #[serde(default)]
    pub(super) wait_ms: u64,
}

/// A request whose cost is an estimate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReserveInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Policy.
    pub(super) policy: String,
    /// `POST /path`, or a path alone.
    pub(super) endpoint: String,
    /// The caller's tier; the policy's default if absent.
    pub(super) tier: Option<String>,
    /// The caller's roles.
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Who it is about, by kind: `{"user": "42"}`.
    #[serde(default)]
    pub(super) subject: BTreeMap<String, String>,
    /// What it may cost by unit; `{"requests": 1}` unless said.
    #[serde(default)]
    pub(super) cost: BTreeMap<String, u64>,
    /// How long the reservation holds unless settled, in milliseconds; a minute if absent, a day at most.
    #[serde(default = "minute")]
    pub(super) lease_ms: u64,
}

/// What reserving came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReserveOutput {
    /// Whether it is reserved.
    pub(super) allowed: bool,
    /// What to settle it by; null if refused.
    pub(super) reservation: Option<String>,
    /// How long until the same would be admitted if nobody else came; 0 if it was, null if waiting does not help.
    pub(super) retry_after_ms: Option<u64>,
    /// The limits' answer.
    pub(super) verdict: Verdict,
}

/// Names a reservation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReservationInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Reservation.
    pub(super) id: String,
}

/// Says what a reservation cost.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommitInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Reservation.
    pub(super) id: String,
    /// What was used by unit; a unit that is not named costs what was reserved.
    #[serde(default)]
    pub(super) used: BTreeMap<String, u64>,
}

/// What was charged or given back.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AdjustOutput {
    /// Every limit.
    pub(super) limits: Vec<Adjusted>,
}

/// Names a policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Policy.
    pub(super) policy: String,
}

/// A policy to store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DefineInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Policy.
    pub(super) policy: String,
    /// What it says.
    #[schemars(with = "PolicyTable")]
    pub(super) table: serde_json::Value,
    /// The version it takes the place of, 0 for none; any if absent.
    pub(super) version: Option<u64>,
}

/// Says which version was stored.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Defined {
    /// Counts the changes of this name, from 1.
    pub(super) version: u64,
}

/// Earlier versions of a policy.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Versions {
    /// The latest first.
    pub(super) versions: Vec<PolicyVersion>,
}

/// Names a scope.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScopeInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
}

/// Names a scope, and who changes something about it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// Who changes it, for the history.
    #[serde(default)]
    pub(super) by: String,
}

/// A block.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// How long, in milliseconds, or `"never"` ending.
    pub(super) ttl_ms: TtlInput,
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
    /// Who blocks it, for the history.
    #[serde(default)]
    pub(super) by: String,
}

/// Says until when a block holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BlockDone {
    /// Milliseconds since 1970 by the store's clock; null for good.
    pub(super) until_ms: Option<u64>,
}

/// A custom amount.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// Name of the limit.
    pub(super) limit: String,
    /// Units per window.
    pub(super) amount: u64,
    /// What a token bucket holds; the amount if absent.
    pub(super) burst: Option<u64>,
    /// How long it holds, in milliseconds, or `"never"` ending.
    pub(super) ttl_ms: TtlInput,
    /// Who changes it, for the history.
    #[serde(default)]
    pub(super) by: String,
}

/// Names a custom amount.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveCustomInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// Name of the limit.
    pub(super) limit: String,
    /// Who changes it, for the history.
    #[serde(default)]
    pub(super) by: String,
}

/// Asks for a slot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcquireInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// Name of the concurrency limit.
    pub(super) name: String,
    /// Most slots at once.
    pub(super) limit: u64,
    /// How long to wait for a slot, in milliseconds; 0 if absent, 60000 at most.
    #[serde(default)]
    pub(super) wait_ms: u64,
    /// How long it is held unless renewed, in milliseconds; a minute if absent, a day at most.
    #[serde(default = "minute")]
    pub(super) lease_ms: u64,
}

/// Names a slot, and its next lease.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// Name of the concurrency limit.
    pub(super) name: String,
    /// Slot.
    pub(super) slot: String,
    /// How long it is held unless renewed, in milliseconds; a minute if absent, a day at most.
    #[serde(default = "minute")]
    pub(super) lease_ms: u64,
}

/// Names a slot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotInput {
    /// Tenant; `default` if absent.
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// `kind:id`, or `global`.
    pub(super) scope: String,
    /// Name of the concurrency limit.
    pub(super) name: String,
    /// Slot.
    pub(super) slot: String,
}

/// Says whether a slot was held.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Held {
    /// Whether it was.
    pub(super) held: bool,
}

/// Says whether there was something.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Removed {
    /// Whether there was.
    pub(super) removed: bool,
}

/// Says that it is done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// Always true.
    pub(super) done: bool,
}

/// A number of limits.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Count {
    /// The number.
    pub(super) count: u64,
}

/// The lease of those who name none.
pub(super) fn minute() -> u64 {
    60_000
}
