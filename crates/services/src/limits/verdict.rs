//! A policy's answer to a request, put together from the answers of its steps.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::Mode;
use super::plan::Plan;
use super::steps::{self, Step};
use crate::error::{Error, Result};
use crate::outage::OutagePolicy;

/// A policy's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether the request may go ahead.
    pub allowed: bool,
    /// Who decided.
    pub source: VerdictSource,
    /// The limit that decides when to come again, or, if the request is admitted, the one that has least left. Null if
    /// no limit was asked, or a block decided.
    pub binding: Option<String>,
    /// The most that the binding limit admits at once.
    pub limit: Option<u64>,
    /// What it could still admit now.
    pub remaining: Option<u64>,
    /// When it would be whole again, milliseconds since 1970 by the store's clock.
    pub reset_at_ms: Option<u64>,
    /// How long until then, in milliseconds.
    pub reset_after_ms: Option<u64>,
    /// How long until the same request would be admitted if nobody else came, in milliseconds; 0 if it was, null if
    /// waiting does not help.
    pub retry_after_ms: Option<u64>,
    /// Blocks that hold for the request's scopes.
    pub blocks: Vec<Block>,
    /// Every limit that was asked.
    pub limits: Vec<LimitState>,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictSource {
    /// The store, by the limits.
    Store,
    /// A role that no limit holds for.
    Bypass,
    /// The policy, which has no limit for the request.
    Unlimited,
    /// The outage policy: the store did not answer.
    OutagePolicy,
}

/// A block that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Whom it is about.
    pub scope: String,
    /// When it ends, milliseconds since 1970 by the store's clock; null for never.
    pub until_ms: Option<u64>,
    /// Why.
    pub reason: String,
}

/// How a limit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitState {
    /// The limit.
    pub name: String,
    /// Whom it counts.
    pub scope: String,
    /// What it counts.
    pub unit: String,
    /// Whether it refuses.
    pub mode: Mode,
    /// Whether it admits the request, or would.
    pub allowed: bool,
    /// The most that it admits at once.
    pub limit: u64,
    /// How long it takes to give back as much, in milliseconds: the window, unless a burst differs from the limit.
    pub window_ms: u64,
    /// What it could still admit now.
    pub remaining: u64,
    /// When it would be whole again, milliseconds since 1970 by the store's clock.
    pub reset_at_ms: u64,
    /// How long until then, in milliseconds.
    pub reset_after_ms: u64,
    /// How long until it would admit the same request, in milliseconds; 0 if it does.
    pub retry_after_ms: u64,
}

/// What a step says.
#[derive(Debug)]
pub(super) struct StepAnswer {
    pub(super) admitted: bool,
    now_ms: u64,
    blocks: Vec<Block>,
    /// Blocks that the step began.
    pub(super) begun: u64,
    limits: Vec<(usize, LimitState)>,
}

impl StepAnswer {
    /// Reads the reply of `check.lua`.
    pub(super) fn read(plan: &Plan, step: &Step, reply: &Value) -> Result<Self> {
        let unexpected = || Error::unexpected(steps::CHECK.name(), reply);
        let parts = reply.as_array().ok_or_else(unexpected)?;
        let at = |place: usize| parts.get(place).and_then(Value::as_u64).ok_or_else(unexpected);
        match parts.first().and_then(Value::as_str) {
            Some("above") => {
                let place = step.parts.get((at(1)? as usize).wrapping_sub(1)).ok_or_else(unexpected)?;
                let (name, capacity) = (plan.parts[*place].limit.name(), at(2)?);
                return Err(Error::invalid(
                    "cost",
                    format_args!("limit {name:?} can never admit more than {capacity}"),
                ));
            }
            Some("crowded") => return Err(Error::Conflict("the scope has too many open reservations".to_owned())),
            Some("ok") => {}
            _ => return Err(unexpected()),
        }
        let (admitted, now_ms, begun) = (at(1)? == 1, at(2)?, at(4)?);
        let list = |place: usize| parts.get(place).and_then(Value::as_array).ok_or_else(unexpected);
        let mut blocks = Vec::new();
        for block in list(3)?.chunks_exact(3) {
            let (Some(scope), Some(until_ms), Some(reason)) = (block[0].as_u64(), block[1].as_u64(), block[2].as_str())
            else {
                return Err(unexpected());
            };
            let scope = step.scopes.get((scope as usize).wrapping_sub(1)).ok_or_else(unexpected)?;
            blocks.push(Block {
                scope: plan.scopes[*scope].to_string(),
                until_ms: (until_ms > 0).then_some(until_ms),
                reason: reason.to_owned(),
            });
        }
        let mut limits = Vec::with_capacity(step.parts.len());
        let numbers: Option<Vec<u64>> = list(5)?.iter().map(Value::as_u64).collect();
        for (place, numbers) in step.parts.iter().zip(numbers.ok_or_else(unexpected)?.chunks_exact(6)) {
            let [allowed, capacity, limit, remaining, reset_at_ms, retry_after_ms] = *numbers else {
                return Err(unexpected());
            };
            let part = &plan.parts[*place];
            let window_ms = u128::from(part.limit.rule.window_ms()) * u128::from(capacity);
            limits.push((
                *place,
                LimitState {
                    name: part.limit.name().to_owned(),
                    scope: plan.scopes[part.scope].to_string(),
                    unit: part.limit.unit.clone(),
                    mode: part.limit.mode,
                    allowed: allowed == 1,
                    limit: capacity,
                    window_ms: window_ms.div_ceil(u128::from(limit.max(1))).try_into().unwrap_or(u64::MAX),
                    remaining,
                    reset_at_ms,
                    reset_after_ms: reset_at_ms.saturating_sub(now_ms),
                    retry_after_ms,
                },
            ));
        }
        Ok(Self { admitted, now_ms, blocks, begun, limits })
    }
}

impl Verdict {
    /// Makes the verdict of those who were not asked about.
    pub(super) fn unasked(source: VerdictSource) -> Self {
        Self {
            allowed: true,
            source,
            binding: None,
            limit: None,
            remaining: None,
            reset_at_ms: None,
            reset_after_ms: None,
            retry_after_ms: Some(0),
            blocks: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Makes the verdict of the outage policy.
    pub(super) fn outage(policy: OutagePolicy, retry_ms: u64) -> Self {
        let allowed = policy == OutagePolicy::Open;
        Self {
            allowed,
            retry_after_ms: Some(if allowed { 0 } else { retry_ms }),
            ..Self::unasked(VerdictSource::OutagePolicy)
        }
    }

    /// Puts the answers of all steps together.
    pub(super) fn of(answers: Vec<StepAnswer>) -> Self {
        let mut verdict = Self::unasked(VerdictSource::Store);
        let mut limits = Vec::new();
        for answer in answers {
            verdict.allowed &= answer.admitted;
            for block in answer.blocks {
                let left_ms = block.until_ms.map(|until_ms| until_ms.saturating_sub(answer.now_ms).max(1));
                verdict.retry_after_ms = verdict.retry_after_ms.zip(left_ms).map(|(known, left)| known.max(left));
                verdict.blocks.push(block);
            }
            limits.extend(answer.limits);
        }
        limits.sort_by_key(|(place, _)| *place);
        verdict.limits = limits.into_iter().map(|(_, state)| state).collect();
        if verdict.allowed || verdict.blocks.is_empty() {
            verdict.bind();
        }
        let waits = verdict.limits.iter().filter(|state| state.refuses()).map(|state| state.retry_after_ms);
        let wait_ms = waits.max().unwrap_or(0);
        verdict.retry_after_ms = verdict.retry_after_ms.map(|known| known.max(wait_ms));
        verdict
    }

    fn bind(&mut self) {
        let enforced = || self.limits.iter().filter(|state| state.mode == Mode::Enforce);
        let binding = if self.allowed {
            // Least left of what there is; the first of several.
            enforced().min_by_key(|state| u128::from(state.remaining) * (1 << 64) / u128::from(state.limit.max(1)))
        } else {
            let longest = enforced().filter(|state| state.refuses()).map(|state| state.retry_after_ms).max();
            enforced().find(|state| state.refuses() && Some(state.retry_after_ms) == longest)
        };
        if let Some(state) = binding {
            self.binding = Some(state.name.clone());
            self.limit = Some(state.limit);
            self.remaining = Some(state.remaining);
            self.reset_at_ms = Some(state.reset_at_ms);
            self.reset_after_ms = Some(state.reset_after_ms);
        }
    }
}

impl LimitState {
    /// Tells whether the limit keeps the request out.
    pub fn refuses(&self) -> bool {
        !self.allowed && self.mode == Mode::Enforce
    }

    /// Tells whether the limit would keep the request out if it were enforced.
    pub fn would_refuse(&self) -> bool {
        !self.allowed && self.mode == Mode::Shadow
    }
}
