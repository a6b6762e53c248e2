//! A policy, checked: every name it uses is defined, every amount can be counted, every request fits a row.
//!
//! What is wrong with a table is said with the place where it stands, `limits.minute.limit: …`. After the check nothing
//! about a policy can fail; what can be wrong is the request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::MAX_PLAN_LIMITS;
use super::limit::{Escalation, Limit, Mode, Quota};
use super::pattern::Pattern;
use super::plan::{Plan, Request};
use super::scope::{Scope, check_kind};
use super::table::{LimitRow, PerTier, PolicyTable, TierAmount};
use crate::error::{Error, Result};
use crate::outage::OutagePolicy;

/// Most rows, limits, tiers and roles of a policy, each.
const MAX_ROWS: usize = 1000;

/// The name in `per` that stands for the row's pattern.
const ENDPOINT: &str = "endpoint";

/// A policy, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    table: PolicyTable,
    limits: BTreeMap<String, Compiled>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Compiled {
    per: Vec<String>,
    optional: bool,
    /// One for each tier in the table's order, or one for all; `None` is unlimited.
    by_tier: Vec<Option<Arc<Limit>>>,
}

#[derive(Debug, Clone)]
struct Row {
    pattern: Pattern,
    outage: OutagePolicy,
}

impl Policy {
    /// Checks a table.
    pub fn new(table: PolicyTable) -> Result<Self> {
        let counts = [table.tiers.len(), table.bypass_roles.len(), table.limits.len(), table.endpoints.len()];
        if counts.into_iter().any(|count| count > MAX_ROWS) {
            return Err(Error::invalid("policy", format_args!("more than {MAX_ROWS} tiers, roles, limits or rows")));
        }
        check_tiers(&table)?;
        let mut limits = BTreeMap::new();
        for (name, row) in &table.limits {
            limits.insert(name.clone(), compile(name, row, &table.tiers)?);
        }
        let rows = compile_rows(&table)?;
        Ok(Self { table, limits, rows })
    }

    /// Reads and checks a table in JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        // By way of a value: read from text directly, numbers would not be understood in every place.
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| Error::invalid("policy", error))?;
        Self::from_value(value)
    }

    /// Reads and checks a table that is a JSON value.
    pub fn from_value(value: serde_json::Value) -> Result<Self> {
        Self::new(read(value)?)
    }

    /// Reads and checks a table in TOML.
    pub fn from_toml(text: &str) -> Result<Self> {
        let value = toml::Deserializer::parse(text).map_err(|error| Error::invalid("policy", error))?;
        Self::new(read(value)?)
    }

    /// Returns the table.
    pub fn table(&self) -> &PolicyTable {
        &self.table
    }

    /// Finds what holds for a request.
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        let fits = |row: &Row| row.pattern.fits(&request.endpoint);
        let index = self.rows.iter().position(fits).expect("the last row fits everything");
        let (row, endpoint) = (&self.rows[index], &self.table.endpoints[index]);
        let tier = self.tier(request)?;
        if request.roles.iter().any(|role| self.table.bypass_roles.contains(role)) {
            return Ok(Plan::bypass());
        }
        let mut plan = Plan::new(row.outage);
        for name in &endpoint.limits {
            let compiled = &self.limits[name];
            let Some((scope, detail)) = subject(name, compiled, request, &endpoint.pattern)? else {
                continue;
            };
            match &compiled.by_tier[tier] {
                Some(limit) => plan.add(scope, Arc::clone(limit), detail, request.cost_in(&limit.unit))?,
                None => plan = plan.watching(scope),
            }
        }
        Ok(plan)
    }

    fn tier(&self, request: &Request) -> Result<usize> {
        let Some(tier) = request.tier.as_ref().or(self.table.default_tier.as_ref()) else {
            return Ok(0);
        };
        if self.table.tiers.is_empty() {
            return Ok(0);
        }
        let place = self.table.tiers.iter().position(|known| known == tier);
        place.ok_or_else(|| Error::invalid("tier", format_args!("{tier:?} is not among {:?}", self.table.tiers)))
    }
}

fn read<'de, T: DeserializeOwned>(from: impl serde::Deserializer<'de, Error: std::fmt::Display>) -> Result<T> {
    serde_path_to_error::deserialize(from).map_err(|error| match error.path().to_string().as_str() {
        "." => Error::invalid("policy", error.inner()),
        path => Error::invalid("policy", format_args!("{path}: {}", error.inner())),
    })
}

fn wrong(place: impl std::fmt::Display, reason: impl std::fmt::Display) -> Error {
    Error::invalid("policy", format_args!("{place}: {reason}"))
}

fn check_tiers(table: &PolicyTable) -> Result<()> {
    let mut seen = BTreeSet::new();
    for tier in &table.tiers {
        if tier.is_empty() || !seen.insert(tier) {
            return Err(wrong("tiers", format_args!("{tier:?} is empty or there twice")));
        }
    }
    match &table.default_tier {
        None if !table.tiers.is_empty() => Err(wrong("default_tier", "is needed where there are tiers")),
        Some(tier) if !table.tiers.contains(tier) => Err(wrong("default_tier", format_args!("{tier:?} is no tier"))),
        _ => Ok(()),
    }
}

fn compile(name: &str, row: &LimitRow, tiers: &[String]) -> Result<Compiled> {
    let place = format!("limits.{name}");
    for (index, part) in row.per.iter().enumerate() {
        if index == 0 && part == ENDPOINT {
            return Err(wrong(format_args!("{place}.per"), "endpoint is no scope; begin with a subject"));
        }
        check_kind(part).map_err(|error| wrong(format_args!("{place}.per"), error))?;
        if row.per[..index].contains(part) {
            return Err(wrong(format_args!("{place}.per"), format_args!("{part:?} is there twice")));
        }
    }
    let mut by_tier = Vec::new();
    for index in 0..tiers.len().max(1) {
        let tier = tiers.get(index);
        let amount = amount(&format!("{place}.limit"), &row.limit, tier, tiers)?;
        let burst = match &row.burst {
            Some(burst) => amount_of_burst(&place, burst, tier, tiers)?,
            None => None,
        };
        by_tier.push(match amount {
            Some(amount) => Some(Arc::new(limit(name, row, amount, burst).map_err(|error| match tier {
                Some(tier) => wrong(&place, format_args!("tier {tier:?}: {error}")),
                None => wrong(&place, error),
            })?)),
            None => None,
        });
    }
    Ok(Compiled { per: row.per.clone(), optional: row.optional, by_tier })
}

/// Returns a tier's amount, `None` for unlimited.
fn amount(place: &str, amounts: &PerTier, tier: Option<&String>, tiers: &[String]) -> Result<Option<u64>> {
    let amount = match (amounts, tier) {
        (PerTier::All(amount), _) => amount,
        (PerTier::Tiers(_), None) => return Err(wrong(place, "names tiers, but the policy has none")),
        (PerTier::Tiers(amounts), Some(tier)) => {
            if let Some(unknown) = amounts.keys().find(|name| !tiers.contains(name)) {
                return Err(wrong(place, format_args!("{unknown:?} is no tier of this policy")));
            }
            amounts.get(tier).ok_or_else(|| wrong(place, format_args!("lacks the tier {tier:?}")))?
        }
    };
    Ok(match amount {
        TierAmount::Amount(amount) => Some(*amount),
        TierAmount::Unlimited(_) => None,
    })
}

fn amount_of_burst(place: &str, burst: &PerTier, tier: Option<&String>, tiers: &[String]) -> Result<Option<u64>> {
    let place = format!("{place}.burst");
    match amount(&place, burst, tier, tiers)? {
        Some(burst) => Ok(Some(burst)),
        None => Err(wrong(place, "cannot be unlimited")),
    }
}

fn limit(name: &str, row: &LimitRow, amount: u64, burst: Option<u64>) -> Result<Limit> {
    let quota = Quota::new(amount, Duration::from_millis(row.window_ms));
    let mut limit = Limit::new(name, row.algorithm, quota)?.with_unit(&row.unit)?.with_debt(row.debt)?;
    if let Some(burst) = burst {
        limit = limit.with_burst(burst)?;
    }
    if row.mode == Mode::Shadow {
        limit = limit.in_shadow();
    }
    if let Some(row) = &row.escalation {
        let blocks: Vec<Duration> = row.blocks_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let (within, forget) = (Duration::from_millis(row.within_ms), Duration::from_millis(row.forget_ms));
        limit = limit.with_escalation(Escalation::new(row.refusals, within, &blocks, forget)?);
    }
    Ok(limit)
}

fn compile_rows(table: &PolicyTable) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, row) in table.endpoints.iter().enumerate() {
        let place = format!("endpoints[{index}]");
        let pattern = Pattern::new(&row.pattern).map_err(|error| wrong(&place, error))?;
        if rows.last().is_some_and(|earlier| earlier.pattern.fits_all()) {
            return Err(wrong(&place, "is never reached: the row before it fits everything"));
        }
        if row.limits.len() > MAX_PLAN_LIMITS {
            return Err(wrong(&place, format_args!("more than {MAX_PLAN_LIMITS} limits")));
        }
        for (nth, name) in row.limits.iter().enumerate() {
            if !table.limits.contains_key(name) {
                return Err(wrong(format_args!("{place}.limits"), format_args!("there is no limit {name:?}")));
            }
            if row.limits[..nth].contains(name) {
                return Err(wrong(format_args!("{place}.limits"), format_args!("{name:?} is there twice")));
            }
        }
        rows.push(Row { pattern, outage: row.outage.unwrap_or(table.outage) });
    }
    match rows.last() {
        Some(last) if last.pattern.fits_all() => Ok(rows),
        _ => Err(wrong("endpoints", "the last row must fit everything: pattern = \"**\"")),
    }
}

/// Finds a limit's scope in a request, and what is counted apart within it; `None` if the limit does not hold for it.
fn subject(name: &str, limit: &Compiled, request: &Request, pattern: &str) -> Result<Option<(Scope, Vec<String>)>> {
    let mut values = Vec::with_capacity(limit.per.len());
    for part in &limit.per {
        match request.subject.get(part) {
            _ if part == ENDPOINT => values.push(pattern.to_owned()),
            Some(value) => values.push(value.clone()),
            None if limit.optional => return Ok(None),
            None => {
                return Err(Error::invalid("subject", format_args!("says no {part:?}, which limit {name:?} is per")));
            }
        }
    }
    if values.is_empty() {
        return Ok(Some((Scope::global(), values)));
    }
    let detail = values.split_off(1);
    Ok(Some((Scope::new(&limit.per[0], values.remove(0))?, detail)))
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
