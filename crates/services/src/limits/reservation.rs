//! Costs that are known later: an estimate is reserved, then what was used is committed, or everything is given back.
//!
//! A reservation is known by its id, to whoever has it: what it is about is kept beside it for as long as it lives, so
//! another process may settle it. Penalties and rewards, which charge without any request, are here too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Limits;
use super::check::Ask;
use super::limit::{Limit, Quota};
use super::plan::{Part, Plan};
use super::steps;
use super::verdict::{Verdict, VerdictSource};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::outage::OutagePolicy;
use crate::ratelimit::Algorithm;

/// Longest lease of a reservation.
const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// What reserving came to.
#[derive(Debug)]
pub struct Reserved {
    /// The limits' answer.
    pub verdict: Verdict,
    /// What to settle, if admitted.
    pub reservation: Option<Reservation>,
}

/// Units that are set aside. Not settled, it ends with its lease and charges nothing.
#[derive(Debug, Clone)]
pub struct Reservation {
    limits: Limits,
    id: String,
    plan: Plan,
}

/// How a reservation was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    /// Every limit it was about.
    pub limits: Vec<SettledLimit>,
}

/// What a settled reservation charged to a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettledLimit {
    /// The limit.
    pub name: String,
    /// Whom it counts.
    pub scope: String,
    /// What it counts.
    pub unit: String,
    /// Units reserved.
    pub reserved: u64,
    /// Units used, as the commit says; 0 for a refund.
    pub used: u64,
    /// Units charged: those used, unless that went beyond the limit and its debt.
    pub charged: u64,
}

/// What a penalty or a reward did to a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adjusted {
    /// The limit.
    pub name: String,
    /// Whom it counts.
    pub scope: String,
    /// Units charged or given back: never beyond the limit and its debt, never more than were used.
    pub units: u64,
    /// What it could still admit now.
    pub remaining: u64,
    /// When it would be whole again, milliseconds since 1970 by the store's clock.
    pub reset_at_ms: u64,
}

/// A part of a plan as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct KeptPart {
    scope: String,
    name: String,
    detail: Vec<String>,
    unit: String,
    algorithm: Algorithm,
    limit: u64,
    window_ms: u64,
    burst: u64,
    debt: u64,
    cost: u64,
}

impl Limits {
    /// Reserves what a plan costs, from all of its limits or from none, for as long as `lease`.
    ///
    /// An outage is an error, whatever the policy says: a reservation that nobody keeps would be none.
    pub async fn reserve(&self, plan: &Plan, lease: Duration) -> Result<Reserved> {
        let lease_ms = lease_ms(lease, MAX_LEASE)?;
        let id = Uuid::new_v4().to_string();
        let verdict = match self.unasked(plan) {
            Some(verdict) => verdict,
            None => {
                let verdict = self.ask(plan, Ask::Hold(&id, lease_ms)).await?;
                self.count(&verdict);
                verdict
            }
        };
        if !verdict.allowed {
            return Ok(Reserved { verdict, reservation: None });
        }
        let plan = if verdict.source == VerdictSource::Store { plan.clone() } else { Plan::new(plan.outage()) };
        let reservation = Reservation { limits: self.clone(), id, plan };
        let kept = serde_json::to_string(&reservation.kept()).expect("text and numbers have a JSON form");
        let keep = Command::new("SET").key(self.reservation_key(&reservation.id)).arg(kept).arg("PX").arg(lease_ms);
        // If it cannot be kept, what is reserved ends with the lease.
        self.services.backend().call(keep).await?;
        Ok(Reserved { verdict, reservation: Some(reservation) })
    }

    /// Finds a reservation that has not ended.
    pub async fn reservation(&self, id: &str) -> Result<Reservation> {
        check_name("reservation", id)?;
        let key = self.reservation_key(id);
        let reply = self.services.backend().call(Command::new("GET").key(key).repeatable()).await?;
        let text = reply.as_str().ok_or_else(|| no_reservation(id))?;
        let kept: Vec<KeptPart> =
            serde_json::from_str(text).map_err(|error| Error::Backend(format!("reservation {id:?}: {error}")))?;
        Ok(Reservation { limits: self.clone(), id: id.to_owned(), plan: plan_of(kept)? })
    }

    /// Charges what a plan costs to each of its limits, whether or not there is room: up to the limit and its debt.
    ///
    /// One step for each scope on a Cluster, one for all elsewhere; an error may leave some of them charged.
    pub async fn penalise(&self, plan: &Plan) -> Result<Vec<Adjusted>> {
        self.adjust(plan, "penalty").await
    }

    /// Gives what a plan costs back to each of its limits, as far as it was used. A sliding log cannot be rewarded: its
    /// elements say who came when.
    pub async fn reward(&self, plan: &Plan) -> Result<Vec<Adjusted>> {
        if let Some(part) = plan.parts.iter().find(|part| part.limit.rule.algorithm() == Algorithm::SlidingLog) {
            let name = part.limit.name();
            return Err(Error::invalid("limit", format_args!("{name:?} is a sliding log, which cannot be rewarded")));
        }
        self.adjust(plan, "reward").await
    }

    async fn adjust(&self, plan: &Plan, how: &'static str) -> Result<Vec<Adjusted>> {
        let steps = self.steps(plan);
        let command = |step| self.command(&steps::ADJUST, plan, step, [&how, &"", &"", &""], &plan.costs());
        let replies = self.services.backend().pipeline(steps.iter().map(command).collect()).await?;
        let mut adjusted: Vec<(usize, Adjusted)> = Vec::new();
        for (step, reply) in steps.iter().zip(replies) {
            let reply = reply?;
            let unexpected = || Error::unexpected(steps::ADJUST.name(), &reply);
            let numbers = reply.as_array().and_then(|parts| parts.get(1)).and_then(Value::as_array);
            let numbers: Option<Vec<u64>> = numbers.ok_or_else(unexpected)?.iter().map(Value::as_u64).collect();
            for (place, numbers) in step.parts.iter().zip(numbers.ok_or_else(unexpected)?.chunks_exact(3)) {
                let part = &plan.parts[*place];
                adjusted.push((
                    *place,
                    Adjusted {
                        name: part.limit.name().to_owned(),
                        scope: plan.scopes[part.scope].to_string(),
                        units: numbers[0],
                        remaining: numbers[1],
                        reset_at_ms: numbers[2],
                    },
                ));
            }
        }
        adjusted.sort_by_key(|(place, _)| *place);
        Ok(adjusted.into_iter().map(|(_, adjusted)| adjusted).collect())
    }

    fn reservation_key(&self, id: &str) -> Key {
        self.services.settings().keyring.group(&self.tenant, "limits-reservations", &[id]).key("r")
    }
}

impl Reservation {
    /// Returns the id by which anybody can settle it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Charges what was really used, by unit; a unit that is not named costs what was reserved, and one that no limit
    /// counts costs nothing.
    ///
    /// Asking again with the same amounts gives the same answer, as long as the lease would last; with others it is a
    /// conflict. After that, and after the lease, there is no such reservation.
    pub async fn commit(&self, used: &BTreeMap<String, u64>) -> Result<Settled> {
        let cost = |part: &Part| used.get(&part.limit.unit).copied().unwrap_or(part.cost);
        let costs: Vec<u64> = self.plan.parts.iter().map(cost).collect();
        if used.values().any(|units| *units > MAX_USED) {
            return Err(Error::invalid("used", format_args!("more than {MAX_USED}")));
        }
        self.settle("commit", &costs).await
    }

    /// Gives everything back.
    pub async fn refund(&self) -> Result<Settled> {
        self.settle("refund", &vec![0; self.plan.parts.len()]).await
    }

    async fn settle(&self, how: &'static str, costs: &[u64]) -> Result<Settled> {
        let (limits, plan) = (&self.limits, &self.plan);
        let steps = limits.steps(plan);
        let command = |step| limits.command(&steps::SETTLE, plan, step, [&"", &self.id, &how, &"remember"], costs);
        let commands: Vec<Command> = steps.iter().map(command).collect();
        let replies = limits.services.backend().pipeline(commands).await?;
        let mut settled: Vec<(usize, SettledLimit)> = Vec::new();
        let mut absent = 0;
        for (step, reply) in steps.iter().zip(replies) {
            let reply = reply?;
            let unexpected = || Error::unexpected(steps::SETTLE.name(), &reply);
            let parts = reply.as_array().ok_or_else(unexpected)?;
            match parts.first().and_then(Value::as_str) {
                Some("absent") => absent += 1,
                Some("other") => {
                    return Err(Error::Conflict(format!("reservation {:?} was settled in another way", self.id)));
                }
                Some("ok") => {}
                _ => return Err(unexpected()),
            }
            for (index, place) in step.parts.iter().enumerate() {
                let part = &plan.parts[*place];
                let charged = parts.get(index + 1).and_then(Value::as_u64).unwrap_or(0);
                settled.push((
                    *place,
                    SettledLimit {
                        name: part.limit.name().to_owned(),
                        scope: plan.scopes[part.scope].to_string(),
                        unit: part.limit.unit.clone(),
                        reserved: part.cost,
                        used: costs[*place],
                        charged,
                    },
                ));
            }
        }
        if absent > 0 && absent == steps.len() {
            return Err(no_reservation(&self.id));
        }
        settled.sort_by_key(|(place, _)| *place);
        let settled = Settled { limits: settled.into_iter().map(|(_, limit)| limit).collect() };
        let uncharged: u64 = settled.limits.iter().map(|limit| limit.used - limit.charged).sum();
        limits.services.metrics().add(Counter::LimitsUncharged, uncharged);
        Ok(settled)
    }

    fn kept(&self) -> Vec<KeptPart> {
        let keep = |part: &Part| KeptPart {
            scope: self.plan.scopes[part.scope].to_string(),
            name: part.limit.name().to_owned(),
            detail: part.detail.clone(),
            unit: part.limit.unit.clone(),
            algorithm: part.limit.rule.algorithm(),
            limit: part.limit.rule.limit(),
            window_ms: part.limit.rule.window_ms(),
            burst: part.limit.rule.burst(),
            debt: part.limit.debt,
            cost: part.cost,
        };
        self.plan.parts.iter().map(keep).collect()
    }
}

/// Most units that a commit may name; keeps the arithmetic of the step exact.
const MAX_USED: u64 = 1 << 52;

fn plan_of(kept: Vec<KeptPart>) -> Result<Plan> {
    let mut plan = Plan::new(OutagePolicy::Closed);
    for part in kept {
        let quota = Quota::new(part.limit, Duration::from_millis(part.window_ms));
        let mut limit = Limit::new(part.name, part.algorithm, quota)?.with_unit(part.unit)?.with_debt(part.debt)?;
        if part.algorithm == Algorithm::TokenBucket {
            limit = limit.with_burst(part.burst)?;
        }
        plan.add(part.scope.parse()?, Arc::new(limit), part.detail, part.cost)?;
    }
    Ok(plan)
}

/// Returns a lease in milliseconds, 1 to `most`.
pub(super) fn lease_ms(lease: Duration, most: Duration) -> Result<u64> {
    match u64::try_from(lease.as_millis()) {
        Ok(ms) if ms > 0 && lease <= most => Ok(ms),
        _ => Err(Error::invalid("lease_ms", format_args!("must be 1 to {}", most.as_millis()))),
    }
}

fn no_reservation(id: &str) -> Error {
    Error::NotFound(format!("reservation {id:?}"))
}
