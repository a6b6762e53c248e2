//! What the operations of limits take and give, as JSON objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Adjusted, PolicyTable, PolicyVersion, Verdict};
use crate::operation::inputs;
use crate::ttl::TtlInput;

inputs! {
    /// A request under a stored policy.
    AskInput {
        /// Policy.
        policy: String,
        /// `POST /path`, or a path alone.
        endpoint: String,
        /// The caller's tier; the policy's default if absent.
        tier: Option<String>,
        /// The caller's roles.
        #[serde(default)]
        roles: Vec<String>,
        /// Who it is about, by kind: `{"user": "42"}`.
        #[serde(default)]
        subject: BTreeMap<String, String>,
        /// What it costs by unit; `{"requests": 1}` unless said.
        #[serde(default)]
        cost: BTreeMap<String, u64>,
    }

    /// A request that may wait for its turn.
    CheckInput {
        /// Policy.
        policy: String,
        /// `POST /path`, or a path alone.
        endpoint: String,
        /// The caller's tier; the policy's default if absent.
        tier: Option<String>,
        /// The caller's roles.
        #[serde(default)]
        roles: Vec<String>,
        /// Who it is about, by kind: `{"user": "42"}`.
        #[serde(default)]
        subject: BTreeMap<String, String>,
        /// What it costs by unit; `{"requests": 1}` unless said.
        #[serde(default)]
        cost: BTreeMap<String, u64>,
        /// How long it may wait to be admitted, in milliseconds; 0 if absent, 60000 at most.
        #[serde(default)]
        wait_ms: u64,
    }

    /// A request whose cost is an estimate.
    ReserveInput {
        /// Policy.
        policy: String,
        /// `POST /path`, or a path alone.
        endpoint: String,
        /// The caller's tier; the policy's default if absent.
        tier: Option<String>,
        /// The caller's roles.
        #[serde(default)]
        roles: Vec<String>,
        /// Who it is about, by kind: `{"user": "42"}`.
        #[serde(default)]
        subject: BTreeMap<String, String>,
        /// What it may cost by unit; `{"requests": 1}` unless said.
        #[serde(default)]
        cost: BTreeMap<String, u64>,
        /// How long the reservation holds unless settled, in milliseconds; a minute if absent, a day at most.
        #[serde(default = "minute")]
        lease_ms: u64,
    }

    /// Names a reservation.
    ReservationInput {
        /// Reservation.
        id: String,
    }

    /// Says what a reservation cost.
    CommitInput {
        /// Reservation.
        id: String,
        /// What was used by unit; a unit that is not named costs what was reserved.
        #[serde(default)]
        used: BTreeMap<String, u64>,
    }

    /// Names a policy.
    PolicyInput {
        /// Policy.
        policy: String,
    }

    /// A policy to store.
    DefineInput {
        /// Policy.
        policy: String,
        /// What it says.
        #[schemars(with = "PolicyTable")]
        table: serde_json::Value,
        /// The version it takes the place of, 0 for none; any if absent.
        version: Option<u64>,
    }

    /// Names a scope.
    ScopeInput {
        /// `kind:id`, or `global`.
        scope: String,
    }

    /// Names a scope, and who changes something about it.
    EditInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// Who changes it, for the history.
        #[serde(default)]
        by: String,
    }

    /// A block.
    BlockInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// How long, in milliseconds, or `"never"` ending.
        ttl_ms: TtlInput,
        /// Why.
        #[serde(default)]
        reason: String,
        /// Who blocks it, for the history.
        #[serde(default)]
        by: String,
    }

    /// A custom amount.
    CustomInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// Name of the limit.
        limit: String,
        /// Units per window.
        amount: u64,
        /// What a token bucket holds; the amount if absent.
        burst: Option<u64>,
        /// How long it holds, in milliseconds, or `"never"` ending.
        ttl_ms: TtlInput,
        /// Who changes it, for the history.
        #[serde(default)]
        by: String,
    }

    /// Names a custom amount.
    RemoveCustomInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// Name of the limit.
        limit: String,
        /// Who changes it, for the history.
        #[serde(default)]
        by: String,
    }

    /// Asks for a slot.
    AcquireInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// Name of the concurrency limit.
        name: String,
        /// Most slots at once.
        limit: u64,
        /// How long to wait for a slot, in milliseconds; 0 if absent, 60000 at most.
        #[serde(default)]
        wait_ms: u64,
        /// How long it is held unless renewed, in milliseconds; a minute if absent, a day at most.
        #[serde(default = "minute")]
        lease_ms: u64,
    }

    /// Names a slot, and its next lease.
    RenewInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// Name of the concurrency limit.
        name: String,
        /// Slot.
        slot: String,
        /// How long it is held unless renewed, in milliseconds; a minute if absent, a day at most.
        #[serde(default = "minute")]
        lease_ms: u64,
    }

    /// Names a slot.
    SlotInput {
        /// `kind:id`, or `global`.
        scope: String,
        /// Name of the concurrency limit.
        name: String,
        /// Slot.
        slot: String,
    }
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

/// What was charged or given back.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AdjustOutput {
    /// Every limit.
    pub(super) limits: Vec<Adjusted>,
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

/// Says until when a block holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BlockDone {
    /// Milliseconds since 1970 by the store's clock; null for good.
    pub(super) until_ms: Option<u64>,
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
