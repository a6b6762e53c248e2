//! The rate limiter's rows, and their inputs.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Algorithm, Decision, Rule};
use crate::Services;
use crate::error::Result;
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation};
use crate::outage::OutagePolicy;

const NAME: &str = "rate";

/// The rate limiter, as the outside sees it.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Who may do something how often: fixed window, sliding log, sliding counter, token bucket. One decision is one atomic step.",
    eviction: Eviction::Never,
    outage: &[OutagePolicy::Open, OutagePolicy::Closed, OutagePolicy::Error],
    operations: &[
        operation!(NAME, "take", Post "/rate/{rule}/{subject}/take", take: TakeInput => Decision, [200, 429, 422],
            "Asks for units and consumes them if admitted.",
            "A refusal is a result, not an error: `allowed` is false and `retry_after_ms` says when to come again; over HTTP it has the same body as an admission, status 429 and `Retry-After` in seconds. All units are consumed or none. A cost above the limit is an error. When the store is down the outage policy decides and `source` says so."),
        operation!(NAME, "peek", Get "/rate/{rule}/{subject}", peek: TakeInput => Decision, [200, 422],
            "Tells what asking would answer.", "Consumes nothing."),
        operation!(NAME, "reset", Delete "/rate/{rule}/{subject}", reset: ResetInput => ResetDone, [200, 422, 503, 504],
            "Forgets what a subject has used.", "Tells whether there was anything to forget."),
    ],
};

inputs! {
    /// A request for units under a rule.
    TakeInput {
        /// Name of the rule; separates the states of different rules for one subject.
        rule: String,
        /// Who asks: a user, an address, a key.
        subject: String,
        /// How requests are counted.
        #[serde(default)]
        algorithm: Algorithm,
        /// How many units per window.
        limit: u64,
        /// Window in milliseconds.
        window_ms: u64,
        /// What a token bucket holds; its limit if absent.
        burst: Option<u64>,
        /// Units asked for; 1 if absent.
        #[serde(default = "one")]
        cost: u64,
    }

    /// Names a subject's state under a rule.
    ResetInput {
        /// Name of the rule.
        rule: String,
        /// Whose state.
        subject: String,
        /// How requests are counted.
        #[serde(default)]
        algorithm: Algorithm,
    }
}

/// Says what resetting did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ResetDone {
    /// Whether there was anything to forget.
    reset: bool,
}

async fn take(services: Services, input: TakeInput) -> Result<Decision> {
    let rule = input.rule()?;
    services.rate_limit(&Tenant::new(input.tenant)?).take(&rule, &input.subject, input.cost).await
}

async fn peek(services: Services, input: TakeInput) -> Result<Decision> {
    let rule = input.rule()?;
    services.rate_limit(&Tenant::new(input.tenant)?).peek(&rule, &input.subject, input.cost).await
}

async fn reset(services: Services, input: ResetInput) -> Result<ResetDone> {
    // The key depends on name and algorithm only; limit and window are any valid ones.
    let rule = Rule::new(input.rule, input.algorithm, 1, 1)?;
    let reset = services.rate_limit(&Tenant::new(input.tenant)?).reset(&rule, &input.subject).await?;
    Ok(ResetDone { reset })
}

fn one() -> u64 {
    1
}

impl TakeInput {
    fn rule(&self) -> Result<Rule> {
        let rule = Rule::new(self.rule.clone(), self.algorithm, self.limit, self.window_ms)?;
        match self.burst {
            Some(burst) => rule.with_burst(burst),
            None => Ok(rule),
        }
    }
}
