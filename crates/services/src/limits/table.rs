//! A policy as data: what stands in a JSON or TOML file, and what is stored.
//!
//! ```toml
//! tiers = ["free", "pro"]
//! default_tier = "free"
//! bypass_roles = ["admin"]
//!
//! [limits.minute]
//! per = ["user"]
//! limit = { free = 10, pro = 60 }
//! window_ms = 60_000
//!
//! [[endpoints]]
//! pattern = "POST /api/agents/**"
//! limits = ["minute"]
//! outage = "closed"
//!
//! [[endpoints]]
//! pattern = "**"
//! limits = []
//! ```
//!
//! Nothing is checked here but the shape; [`Policy`](super::Policy) does the rest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::Mode;
use crate::outage::OutagePolicy;
use crate::ratelimit::Algorithm;

/// A policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTable {
    /// Every tier there is; none if amounts are the same for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<String>,
    /// The tier of requests that name none. Needed if there are tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_tier: Option<String>,
    /// Roles that no limit and no block holds for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bypass_roles: Vec<String>,
    /// What to answer when the store does not, where a row does not say otherwise; open if absent.
    #[serde(default)]
    pub outage: OutagePolicy,
    /// Limits by name. Within a tenant the same name in the same scope is the same limit, whatever the policy.
    #[serde(default)]
    pub limits: BTreeMap<String, LimitRow>,
    /// Which limits hold where. The first row that fits is the one; the last must fit everything.
    pub endpoints: Vec<EndpointRow>,
}

/// A limit of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitRow {
    /// What is counted apart: names of what a request says about its subject, such as `user`, `org` or `ip`; `endpoint`
    /// is the pattern of the row. The first is the scope, whose limits are asked in one step. None is everybody together.
    #[serde(default)]
    pub per: Vec<String>,
    /// A request that does not say who it is about is not limited, instead of being an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// What is counted: `requests`, of which a request is one, or a unit whose amount the request says.
    #[serde(default = "requests")]
    pub unit: String,
    /// How it is counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How many units per window: a number, `"unlimited"`, or either for each tier.
    pub limit: PerTier,
    /// What a token bucket holds, in the same forms; its limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<PerTier>,
    /// Window in milliseconds.
    pub window_ms: u64,
    /// How many units a commit or a penalty may go beyond the limit.
    #[serde(default)]
    pub debt: u64,
    /// Whether it refuses.
    #[serde(default)]
    pub mode: Mode,
    /// What happens to those it refuses too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<EscalationRow>,
}

/// What happens to a scope that is refused too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationRow {
    /// So many refusals
    pub refusals: u64,
    /// within so many milliseconds
    pub within_ms: u64,
    /// block for so many milliseconds: the first time, the second, and so on; the last repeats.
    pub blocks_ms: Vec<u64>,
    /// Milliseconds without a block after which the ladder begins anew; a day if absent.
    #[serde(default = "day")]
    pub forget_ms: u64,
}

/// Which limits hold for some endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRow {
    /// `POST /a/*/b`, `/a/**`, `**`: a method or none, segments, `*` or `{name}` for one, `**` for the rest.
    pub pattern: String,
    /// Names of the limits, all of which must admit; narrow ones first.
    pub limits: Vec<String>,
    /// What to answer here when the store does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<OutagePolicy>,
}

/// An amount, the same for all or one for each tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a number, \"unlimited\", or an object with one of these for each tier")]
pub enum PerTier {
    /// The same for all.
    All(TierAmount),
    /// For each tier its own.
    Tiers(BTreeMap<String, TierAmount>),
}

/// An amount, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a number or \"unlimited\"")]
pub enum TierAmount {
    /// So many.
    Amount(u64),
    /// No limit.
    Unlimited(Unlimited),
}

/// The word for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unlimited {
    /// There is no limit.
    Unlimited,
}

fn requests() -> String {
    super::limit::REQUESTS.to_owned()
}

fn day() -> u64 {
    86_400_000
}
