//! What a request says about itself, and what follows from it: the limits to ask, each with its scope and cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MAX_PLAN_LIMITS;
use super::limit::{Limit, REQUESTS};
use super::scope::Scope;
use crate::error::{Error, Result};
use crate::keys::{check_name, escape};
use crate::outage::OutagePolicy;

/// What a request says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `POST /path`, or a path alone.
    pub endpoint: String,
    /// The caller's tier; the policy's default if absent.
    pub tier: Option<String>,
    /// The caller's roles.
    pub roles: Vec<String>,
    /// Who it is about, by kind: `user`, `org`, `ip`, whatever the policy's limits are per.
    pub subject: BTreeMap<String, String>,
    /// What it costs by unit; 1 of `requests` and nothing else unless said.
    pub cost: BTreeMap<String, u64>,
}

impl Request {
    /// Names the endpoint: `POST /path`, or a path alone.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }

    /// Says who it is about: a kind such as `user`, and who.
    #[must_use]
    pub fn about(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.subject.insert(kind.into(), id.into());
        self
    }

    /// Says the caller's tier.
    #[must_use]
    pub fn in_tier(mut self, tier: impl Into<String>) -> Self {
        self.tier = Some(tier.into());
        self
    }

    /// Adds a role of the caller.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Says what it costs in a unit.
    #[must_use]
    pub fn costing(mut self, unit: impl Into<String>, units: u64) -> Self {
        self.cost.insert(unit.into(), units);
        self
    }

    pub(super) fn cost_in(&self, unit: &str) -> u64 {
        self.cost.get(unit).copied().unwrap_or(u64::from(unit == REQUESTS))
    }
}

/// The limits to ask about one request, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    outage: OutagePolicy,
    bypass: bool,
    pub(super) scopes: Vec<Scope>,
    pub(super) parts: Vec<Part>,
}

/// A limit to ask.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its scope's place in the plan.
    pub(super) scope: usize,
    pub(super) limit: Arc<Limit>,
    /// What is counted apart within the scope.
    pub(super) detail: Vec<String>,
    pub(super) cost: u64,
}

impl Part {
    /// Names the limit's state within the scope. Has no control characters.
    pub(super) fn id(&self) -> String {
        let mut id = escape(self.limit.name());
        for value in &self.detail {
            id.push(':');
            id.push_str(&escape(value));
        }
        id
    }
}

impl Plan {
    /// Begins a plan without limits.
    pub fn new(outage: OutagePolicy) -> Self {
        Self { outage, bypass: false, scopes: Vec::new(), parts: Vec::new() }
    }

    /// Makes the plan of those whom nothing holds for.
    pub(super) fn bypass() -> Self {
        Self { bypass: true, ..Self::new(OutagePolicy::Open) }
    }

    /// Adds a limit to ask. What costs nothing is not asked, but blocks of its scope hold.
    pub fn with(mut self, scope: &Scope, limit: &Limit, cost: u64) -> Result<Self> {
        self.add(scope.clone(), Arc::new(limit.clone()), Vec::new(), cost)?;
        Ok(self)
    }

    /// Adds a scope whose blocks hold.
    #[must_use]
    pub fn watching(mut self, scope: Scope) -> Self {
        self.place(scope);
        self
    }

    /// Returns what is answered when the store does not.
    pub fn outage(&self) -> OutagePolicy {
        self.outage
    }

    /// Tells whether nothing holds for the request because of a role.
    pub fn is_bypass(&self) -> bool {
        self.bypass
    }

    /// Returns each limit to ask in words: scope, name, what is counted apart, cost.
    pub fn describe(&self) -> Vec<String> {
        let describe = |part: &Part| {
            let detail: String = part.detail.iter().map(|value| format!("/{value}")).collect();
            format!("{} {}{detail} {}", self.scopes[part.scope], part.limit.name(), part.cost)
        };
        self.parts.iter().map(describe).collect()
    }

    /// Returns what each part costs.
    pub(super) fn costs(&self) -> Vec<u64> {
        self.parts.iter().map(|part| part.cost).collect()
    }

    pub(super) fn add(&mut self, scope: Scope, limit: Arc<Limit>, detail: Vec<String>, cost: u64) -> Result<()> {
        detail.iter().try_for_each(|value| check_name("subject", value))?;
        let scope = self.place(scope);
        if cost == 0 {
            return Ok(());
        }
        let part = Part { scope, limit, detail, cost };
        if self.parts.iter().any(|other| other.scope == scope && other.id() == part.id()) {
            return Err(Error::invalid("limit", format_args!("{:?} is there twice", part.limit.name())));
        }
        if self.parts.len() >= MAX_PLAN_LIMITS {
            return Err(Error::invalid("limit", format_args!("more than {MAX_PLAN_LIMITS} for one request")));
        }
        self.parts.push(part);
        Ok(())
    }

    fn place(&mut self, scope: Scope) -> usize {
        match self.scopes.iter().position(|known| *known == scope) {
            Some(place) => place,
            None => {
                self.scopes.push(scope);
                self.scopes.len() - 1
            }
        }
    }
}
