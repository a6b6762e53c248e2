//! Rate limits: who may do something how often.
//!
//! # Guarantees
//!
//! * One decision is one atomic step in the store, by the store's clock in milliseconds. However many callers ask at
//!   once, from however many processes, exactly as many are admitted as the rule allows.
//! * A refusal consumes nothing. Peeking consumes nothing.
//! * Every state expires by itself, no later than when it stops mattering (twice the window at most, or the time a full
//!   bucket takes to drain).
//! * `retry_after_ms` is the earliest time at which the same request would be admitted if nobody else came; at least 1
//!   when refused, 0 when admitted. `reset_at_ms` is when the limit would be whole again if nobody else came.
//! * A cost above the limit (or burst) could never be admitted and is an input error, not a refusal.
//! * A changed limit or window takes effect with the next request; what was used before stays used as far as the new
//!   rule can express it.
//! * A clock that goes back (failover) stops for at most a window, rather than admit twice or lock out; if it goes back
//!   by more than a window, the state is void.
//!
//! # Algorithms
//!
//! | algorithm | state | what it admits |
//! |---|---|---|
//! | fixed window | two numbers | `limit` per window, the first request opening the window; twice that across a border |
//! | sliding log | an element per millisecond that admitted | exactly `limit` in any span of a window |
//! | sliding counter | four numbers | nearly the same, assuming the earlier window was even |
//! | token bucket (GCRA) | three numbers | `burst` at once, `limit` per window in the long run |
//!
//! # Keys
//!
//! Each subject of each rule is its own group, so subjects spread over a Cluster:
//! `rp:{tenant:rate:rule:subject}:f`, with `l`, `c` and `b` for the other algorithms. Algorithms do not share state:
//! changing a rule's algorithm begins anew.
//!
//! # When the store is down
//!
//! The policy decides: [`OutagePolicy::Open`], the default, admits, since a limit protects from abuse and an outage
//! should not become everybody's; [`OutagePolicy::Closed`] refuses; the decision says so in its `source` and is counted.
//! With [`OutagePolicy::Error`] the outage is an error. Resetting always is.
//!
//! # Work
//!
//! A step touches a few numbers. That of the sliding log searches among at most [`MAX_LOG_LIMIT`] elements, and takes
//! 16 at most out of the log (`PRUNE_STEP` in its file), whatever the cost.
//!
//! An algorithm stands in one file, whose text is a step of its own here and a function of the steps of
//! [`limits`](crate::limits), which has what is not here: which rules hold for whom, several rules at once, reserving,
//! blocking, and HTTP headers.

mod operations;
mod twins;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Services;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Key, Tenant, check_name};
use crate::metrics::Counter;
use crate::outage::OutagePolicy;
use crate::script::{Flags, INTEGERS, Repeat, Script};

pub use operations::SERVICE;
pub(crate) use twins::TWINS;

/// Longest window, in milliseconds: 366 days.
pub const MAX_WINDOW_MS: u64 = 366 * 86_400_000;

/// Largest limit of a sliding log, which keeps up to so many elements.
pub const MAX_LOG_LIMIT: u64 = 100_000;

/// Largest product of limit or burst and window: keeps the arithmetic of the steps exact.
pub(crate) const MAX_CAPACITY: u64 = 1 << 52;

const DECIDE: &str = include_str!("decide.lua");

static FIXED_WINDOW: Script = Script::new(
    "rate.fixed_window",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, DECIDE, include_str!("fixed_window.lua")],
);
static SLIDING_LOG: Script =
    Script::new("rate.sliding_log", Flags::None, Repeat::Never, &[INTEGERS, DECIDE, include_str!("sliding_log.lua")]);
static SLIDING_COUNTER: Script = Script::new(
    "rate.sliding_counter",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, DECIDE, include_str!("sliding_counter.lua")],
);
static TOKEN_BUCKET: Script = Script::new(
    "rate.token_bucket",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, DECIDE, include_str!("token_bucket.lua")],
);

/// The algorithms as functions of Lua, for steps that ask several limits at once; `several.lua` says what they return.
pub(crate) const ALGORITHMS: &str = concat!(
    include_str!("several.lua"),
    "local function fixed_window(STATE, LIMIT, WINDOW, COST, TAKE, BURST, DEBT, SLACK)\n",
    include_str!("fixed_window.lua"),
    "end\nlocal function sliding_log(STATE, LIMIT, WINDOW, COST, TAKE, BURST, DEBT, SLACK)\n",
    include_str!("sliding_log.lua"),
    "end\nlocal function sliding_counter(STATE, LIMIT, WINDOW, COST, TAKE, BURST, DEBT, SLACK)\n",
    include_str!("sliding_counter.lua"),
    "end\nlocal function token_bucket(STATE, LIMIT, WINDOW, COST, TAKE, BURST, DEBT, SLACK)\n",
    include_str!("token_bucket.lua"),
    "end\n",
);

/// How requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// So many per window, counted from the first request.
    FixedWindow,
    /// So many in any span of a window, exactly.
    SlidingLog,
    /// So many in any span of a window, nearly, in constant space.
    #[default]
    SlidingCounter,
    /// A burst at once, so many per window in the long run. Also known as GCRA or leaky bucket.
    TokenBucket,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::FixedWindow, Self::SlidingLog, Self::SlidingCounter, Self::TokenBucket];

    /// Returns the letter that names the algorithm in keys.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::FixedWindow => "f",
            Self::SlidingLog => "l",
            Self::SlidingCounter => "c",
            Self::TokenBucket => "b",
        }
    }

    /// Returns the step that decides; `decide.lua` says what KEYS and ARGV it takes.
    pub fn script(self) -> &'static Script {
        match self {
            Self::FixedWindow => &FIXED_WINDOW,
            Self::SlidingLog => &SLIDING_LOG,
            Self::SlidingCounter => &SLIDING_COUNTER,
            Self::TokenBucket => &TOKEN_BUCKET,
        }
    }
}

/// A limit, checked: the arithmetic on it is exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    name: String,
    algorithm: Algorithm,
    limit: u64,
    window_ms: u64,
    burst: u64,
}

impl Rule {
    /// Makes the rule `limit` per `window_ms`. The name separates the states of different rules for one subject.
    pub fn new(name: impl Into<String>, algorithm: Algorithm, limit: u64, window_ms: u64) -> Result<Self> {
        let name = name.into();
        check_name("rule", &name)?;
        if limit == 0 {
            return Err(Error::invalid("limit", "must be at least 1"));
        }
        if window_ms == 0 || window_ms > MAX_WINDOW_MS {
            return Err(Error::invalid("window_ms", format_args!("must be 1 to {MAX_WINDOW_MS}")));
        }
        if algorithm == Algorithm::SlidingLog && limit > MAX_LOG_LIMIT {
            return Err(Error::invalid("limit", format_args!("a sliding log keeps at most {MAX_LOG_LIMIT}")));
        }
        check_capacity("limit", limit, window_ms)?;
        Ok(Self { name, algorithm, limit, window_ms, burst: limit })
    }

    /// Sets how much a token bucket holds; without this, its limit.
    pub fn with_burst(mut self, burst: u64) -> Result<Self> {
        if self.algorithm != Algorithm::TokenBucket {
            return Err(Error::invalid("burst", "only a token bucket has one"));
        }
        if burst == 0 {
            return Err(Error::invalid("burst", "must be at least 1"));
        }
        check_capacity("burst", burst, self.window_ms)?;
        self.burst = burst;
        Ok(self)
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how requests are counted.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns how many units are admitted per window.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the window in milliseconds.
    pub fn window_ms(&self) -> u64 {
        self.window_ms
    }

    /// Returns what a token bucket holds; of the other algorithms, the limit.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Returns the most that can be admitted at once.
    pub fn capacity(&self) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket => self.burst,
            _ => self.limit,
        }
    }
}

fn check_capacity(field: &'static str, units: u64, window_ms: u64) -> Result<()> {
    match units.checked_mul(window_ms) {
        Some(capacity) if capacity <= MAX_CAPACITY => Ok(()),
        _ => Err(Error::invalid(field, format_args!("times window_ms must not be above {MAX_CAPACITY}"))),
    }
}

/// Settings of the rate limiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitSettings {
    /// What a refused caller is told to wait during an outage. Default 1000.
    pub outage_retry_ms: u64,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { outage_retry_ms: 1000 }
    }
}

/// A limiter's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// Whether the request may go ahead.
    pub allowed: bool,
    /// The most that can be admitted at once.
    pub limit: u64,
    /// What could still be admitted now.
    pub remaining: u64,
    /// When the limit would be whole again, milliseconds since 1970 by the store's clock; null during an outage.
    pub reset_at_ms: Option<u64>,
    /// How long until the limit would be whole again, in milliseconds.
    pub reset_after_ms: u64,
    /// How long until the same request would be admitted, in milliseconds; 0 if it was.
    pub retry_after_ms: u64,
    /// Who decided.
    pub source: DecisionSource,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionSource {
    /// The store, by the rule.
    Store,
    /// The outage policy: the store did not answer.
    OutagePolicy,
}

/// A tenant's rate limiter.
#[derive(Debug, Clone)]
pub struct RateLimit {
    services: Services,
    tenant: Tenant,
}

impl RateLimit {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Asks for one unit, and consumes it if admitted.
    pub async fn check(&self, rule: &Rule, subject: &str) -> Result<Decision> {
        self.take(rule, subject, 1).await
    }

    /// Asks for `cost` units, and consumes all of them or none.
    pub async fn take(&self, rule: &Rule, subject: &str, cost: u64) -> Result<Decision> {
        let decision = self.decide(rule, subject, cost, "take").await?;
        let counter = if decision.allowed { Counter::RateAllowed } else { Counter::RateRefused };
        self.services.metrics().add(counter, 1);
        Ok(decision)
    }

    /// Tells what [`RateLimit::take`] would answer, without consuming anything.
    pub async fn peek(&self, rule: &Rule, subject: &str, cost: u64) -> Result<Decision> {
        self.decide(rule, subject, cost, "peek").await
    }

    /// Forgets what a subject has used; tells whether there was anything.
    pub async fn reset(&self, rule: &Rule, subject: &str) -> Result<bool> {
        let command = Command::new("DEL").key(self.key(rule, subject)?);
        self.services.backend().call(command).await.map(|reply| reply.as_i64() == Some(1))
    }

    async fn decide(&self, rule: &Rule, subject: &str, cost: u64, mode: &'static str) -> Result<Decision> {
        if cost == 0 {
            return Err(Error::invalid("cost", "must be at least 1"));
        }
        if cost > rule.capacity() {
            return Err(Error::invalid("cost", format_args!("more than {} can never be admitted", rule.capacity())));
        }
        let key = self.key(rule, subject)?;
        let args: [&dyn ToArg; 5] = [&rule.limit, &rule.window_ms, &cost, &mode, &rule.burst];
        match self.services.backend().script(rule.algorithm.script(), &[key], &args).await {
            Ok(reply) => decision(rule, &reply),
            Err(error) if error.is_outage() => {
                self.services.metrics().add(Counter::RateOutages, 1);
                match self.services.settings().outage.of("rate") {
                    OutagePolicy::Error => Err(error),
                    policy => Ok(self.outage_decision(rule, policy)),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn outage_decision(&self, rule: &Rule, policy: OutagePolicy) -> Decision {
        let allowed = policy == OutagePolicy::Open;
        let wait_ms = if allowed { 0 } else { self.services.settings().rate_limit.outage_retry_ms };
        Decision {
            allowed,
            limit: rule.capacity(),
            remaining: 0,
            reset_at_ms: None,
            reset_after_ms: wait_ms,
            retry_after_ms: wait_ms,
            source: DecisionSource::OutagePolicy,
        }
    }

    fn key(&self, rule: &Rule, subject: &str) -> Result<Key> {
        check_name("subject", subject)?;
        let group = self.services.settings().keyring.group(&self.tenant, "rate", &[&rule.name, subject]);
        Ok(group.into_key(rule.algorithm.kind()))
    }
}

fn decision(rule: &Rule, reply: &Value) -> Result<Decision> {
    let unexpected = || Error::unexpected(rule.algorithm.script().name(), reply);
    let Some([allowed, remaining, reset_at, retry_after, now]) = reply.as_array() else { return Err(unexpected()) };
    let number = |part: &Value| part.as_u64().ok_or_else(unexpected);
    let reset_at_ms = number(reset_at)?;
    Ok(Decision {
        allowed: number(allowed)? == 1,
        limit: rule.capacity(),
        remaining: number(remaining)?,
        reset_at_ms: Some(reset_at_ms),
        reset_after_ms: reset_at_ms.saturating_sub(number(now)?),
        retry_after_ms: number(retry_after)?,
        source: DecisionSource::Store,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked() {
        let rule = |algorithm, limit, window_ms| Rule::new("r", algorithm, limit, window_ms);
        assert!(rule(Algorithm::FixedWindow, 0, 1000).is_err());
        assert!(rule(Algorithm::FixedWindow, 1, 0).is_err());
        assert!(rule(Algorithm::FixedWindow, 1, MAX_WINDOW_MS + 1).is_err());
        assert!(rule(Algorithm::SlidingLog, MAX_LOG_LIMIT + 1, 1000).is_err());
        assert!(rule(Algorithm::SlidingCounter, 1 << 40, 86_400_000).is_err());
        assert!(rule(Algorithm::SlidingCounter, 10, 1000).unwrap().with_burst(5).is_err());
        assert_eq!(rule(Algorithm::TokenBucket, 10, 1000).unwrap().with_burst(50).unwrap().capacity(), 50);
        assert!(Rule::new("", Algorithm::FixedWindow, 1, 1).is_err());
    }
}
