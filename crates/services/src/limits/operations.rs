//! The rows of limits.

use std::time::Duration;

use super::inputs::{
    AcquireInput, AdjustOutput, AskInput, BlockDone, BlockInput, CheckInput, CommitInput, Count, CustomInput,
    DefineInput, Defined, Done, EditInput, Held, PolicyInput, RemoveCustomInput, Removed, RenewInput, ReservationInput,
    ReserveInput, ReserveOutput, ScopeInput, SlotInput, Versions, minute,
};
use super::{Limits, Plan, Policy, PolicyVersion, Request, Scope, ScopeStatus, Settled, Slot, SlotAnswer, Verdict};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, operation};
use crate::outage::OutagePolicy;
use crate::ttl::Ttl;

const NAME: &str = "limits";

/// Longest time a call may wait for its turn.
const MAX_WAIT_MS: u64 = 60_000;

/// Rate limit policies, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Rate limit policies: which limits hold for whom, several at once all or nothing, reservations, blocks, custom amounts, concurrency.",
    eviction: Eviction::Never,
    // What is asked of a policy that could be read, its rows decide; everything else is an error.
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "check", Post "/limits/policies/{policy}/check", check: CheckInput => Verdict, [200, 429, 404, 422, 503, 504],
            "Asks all limits that a policy has for a request.",
            "All of them admit and are consumed, or none is. A refusal has the body of an admission, status 429 and `Retry-After`; `binding` names the limit that decides, `limits` tells of each. When the store is down while it is asked, the policy's row decides and `source` says so; the policy itself must be readable."),
        operation!(NAME, "peek", Post "/limits/policies/{policy}/peek", peek: AskInput => Verdict, [200, 404, 422, 503, 504],
            "Tells what checking would answer.", "Consumes nothing and counts towards no escalation."),
        operation!(NAME, "reset", Post "/limits/policies/{policy}/reset", reset: AskInput => Count, [200, 404, 422, 503, 504],
            "Forgets what the limits of a request have counted.", "Gives the number of limits that had counted anything."),
        operation!(NAME, "reserve", Post "/limits/policies/{policy}/reserve", reserve: ReserveInput => ReserveOutput, [200, 429, 404, 409, 422, 503, 504],
            "Sets aside what a request may cost, until what it did cost is known.",
            "Counts as used until it is settled or its lease ends; then it is as if it had never been. When the store is down it is an error, whatever the policy says."),
        operation!(NAME, "commit", Post "/limits/reservations/{id}/commit", commit: CommitInput => Settled, [200, 404, 409, 422, 503, 504],
            "Charges what a reservation really cost.",
            "Less than reserved gives the rest back; more is charged up to the limit and its debt, and `charged` says how much it was. Asking again with the same amounts gives the same answer; settled in another way it is a conflict; after its lease it is not found."),
        operation!(NAME, "refund", Post "/limits/reservations/{id}/refund", refund: ReservationInput => Settled, [200, 404, 409, 422, 503, 504],
            "Gives a reservation back.", "As committing nothing."),
        operation!(NAME, "penalise", Post "/limits/policies/{policy}/penalise", penalise: AskInput => AdjustOutput, [200, 404, 422, 503, 504],
            "Charges the cost of a request whether or not there is room.", "Up to each limit and its debt."),
        operation!(NAME, "reward", Post "/limits/policies/{policy}/reward", reward: AskInput => AdjustOutput, [200, 404, 422, 503, 504],
            "Gives the cost of a request back.", "Never more than was used. A sliding log cannot be rewarded."),
        operation!(NAME, "define", Put "/limits/policies/{policy}", define: DefineInput => Defined, [200, 409, 413, 422, 503, 504],
            "Stores a policy; it holds from the next request on.",
            "The version before is kept, 20 of them. With `version`, only if that is the one there (0 for none), else it is a conflict."),
        operation!(NAME, "policy", Get "/limits/policies/{policy}", policy: PolicyInput => PolicyVersion, [200, 404, 422, 503, 504],
            "Reads a policy.", "With its version and the time of its last change."),
        operation!(NAME, "policy_history", Get "/limits/policies/{policy}/history", policy_history: PolicyInput => Versions, [200, 422, 503, 504],
            "Lists the earlier versions of a policy.", "The latest first, at most 20."),
        operation!(NAME, "remove_policy", Delete "/limits/policies/{policy}", remove_policy: PolicyInput => Done, [200, 404, 422, 503, 504],
            "Removes a policy.", "Its versions are kept, and their numbers go on if the name is used again."),
        operation!(NAME, "status", Get "/limits/scopes/{scope}", status: ScopeInput => ScopeStatus, [200, 422, 503, 504],
            "Tells what stands about a scope.", "Block, custom amounts, the last 100 changes, open reservations."),
        operation!(NAME, "block", Put "/limits/scopes/{scope}/block", block: BlockInput => BlockDone, [200, 422, 503, 504],
            "Refuses every request about a scope for a time, or for good.",
            "`ttl_ms` is how long, `\"never\"` ending is for good. Takes the place of a block that holds."),
        operation!(NAME, "unblock", Delete "/limits/scopes/{scope}/block", unblock: EditInput => Removed, [200, 422, 503, 504],
            "Lifts a block.", "Tells whether there was one."),
        operation!(NAME, "set_custom", Put "/limits/scopes/{scope}/custom/{limit}", set_custom: CustomInput => Done, [200, 409, 422, 503, 504],
            "Gives a scope its own amount for a limit.", "Holds from the next request on, in place of the policy's, for as long as `ttl_ms` or `\"never\"` ending."),
        operation!(NAME, "remove_custom", Delete "/limits/scopes/{scope}/custom/{limit}", remove_custom: RemoveCustomInput => Removed, [200, 422, 503, 504],
            "Takes a scope's own amount away.", "Tells whether there was one."),
        operation!(NAME, "acquire", Post "/limits/scopes/{scope}/slots/{name}/acquire", acquire: AcquireInput => SlotAnswer, [200, 429, 422, 503, 504],
            "Takes a slot of a concurrency limit.",
            "Held until released, or until its lease ends unless renewed. Refused, `retry_after_ms` is when the first lease ends.").waiting(),
        operation!(NAME, "renew", Post "/limits/scopes/{scope}/slots/{name}/{slot}/renew", renew: RenewInput => Held, [200, 422, 503, 504],
            "Holds a slot for another lease.", "False if it was lost: stop what it was held for."),
        operation!(NAME, "release", Delete "/limits/scopes/{scope}/slots/{name}/{slot}", release: SlotInput => Held, [200, 422, 503, 504],
            "Gives a slot back.", "False if it was lost before."),
    ],
};

async fn check(services: Services, input: CheckInput) -> Result<Verdict> {
    let wait = wait(input.wait_ms)?;
    let CheckInput { tenant, policy, endpoint, tier, roles, subject, cost, wait_ms: _ } = input;
    let request = Request { endpoint, tier, roles, subject, cost };
    let (limits, plan) = planned(&services, tenant, &policy, &request).await?;
    limits.check_within(&plan, wait).await
}

async fn peek(services: Services, input: AskInput) -> Result<Verdict> {
    let (limits, plan) = input.planned(&services).await?;
    limits.peek(&plan).await
}

async fn reset(services: Services, input: AskInput) -> Result<Count> {
    let (limits, plan) = input.planned(&services).await?;
    Ok(Count { count: limits.reset(&plan).await? })
}

async fn reserve(services: Services, input: ReserveInput) -> Result<ReserveOutput> {
    let ReserveInput { tenant, policy, endpoint, tier, roles, subject, cost, lease_ms } = input;
    let request = Request { endpoint, tier, roles, subject, cost };
    let (limits, plan) = planned(&services, tenant, &policy, &request).await?;
    let reserved = limits.reserve(&plan, Duration::from_millis(lease_ms)).await?;
    Ok(ReserveOutput {
        allowed: reserved.verdict.allowed,
        reservation: reserved.reservation.map(|reservation| reservation.id().to_owned()),
        retry_after_ms: reserved.verdict.retry_after_ms,
        verdict: reserved.verdict,
    })
}

async fn commit(services: Services, input: CommitInput) -> Result<Settled> {
    open(&services, input.tenant)?.reservation(&input.id).await?.commit(&input.used).await
}

async fn refund(services: Services, input: ReservationInput) -> Result<Settled> {
    open(&services, input.tenant)?.reservation(&input.id).await?.refund().await
}

async fn penalise(services: Services, input: AskInput) -> Result<AdjustOutput> {
    let (limits, plan) = input.planned(&services).await?;
    Ok(AdjustOutput { limits: limits.penalise(&plan).await? })
}

async fn reward(services: Services, input: AskInput) -> Result<AdjustOutput> {
    let (limits, plan) = input.planned(&services).await?;
    Ok(AdjustOutput { limits: limits.reward(&plan).await? })
}

async fn define(services: Services, input: DefineInput) -> Result<Defined> {
    let policy = Policy::from_value(input.table)?;
    Ok(Defined { version: open(&services, input.tenant)?.define(&input.policy, &policy, input.version).await? })
}

async fn policy(services: Services, input: PolicyInput) -> Result<PolicyVersion> {
    let stored = open(&services, input.tenant)?.policy(&input.policy).await?;
    let table = stored.policy.table().clone();
    Ok(PolicyVersion { version: stored.version, changed_ms: stored.changed_ms, table })
}

async fn policy_history(services: Services, input: PolicyInput) -> Result<Versions> {
    Ok(Versions { versions: open(&services, input.tenant)?.policy_history(&input.policy).await? })
}

async fn remove_policy(services: Services, input: PolicyInput) -> Result<Done> {
    open(&services, input.tenant)?.remove_policy(&input.policy).await?;
    Ok(Done { done: true })
}

async fn status(services: Services, input: ScopeInput) -> Result<ScopeStatus> {
    open(&services, input.tenant)?.status(&input.scope.parse()?).await
}

async fn block(services: Services, input: BlockInput) -> Result<BlockDone> {
    let (scope, ttl) = (input.scope.parse()?, Ttl::try_from(input.ttl_ms)?);
    let until_ms = open(&services, input.tenant)?.block(&scope, ttl, &input.reason, &input.by).await?;
    Ok(BlockDone { until_ms })
}

async fn unblock(services: Services, input: EditInput) -> Result<Removed> {
    let removed = open(&services, input.tenant)?.unblock(&input.scope.parse()?, &input.by).await?;
    Ok(Removed { removed })
}

async fn set_custom(services: Services, input: CustomInput) -> Result<Done> {
    let (scope, ttl): (Scope, Ttl) = (input.scope.parse()?, Ttl::try_from(input.ttl_ms)?);
    let limits = open(&services, input.tenant)?;
    limits.set_custom(&scope, &input.limit, input.amount, input.burst, ttl, &input.by).await?;
    Ok(Done { done: true })
}

async fn remove_custom(services: Services, input: RemoveCustomInput) -> Result<Removed> {
    let limits = open(&services, input.tenant)?;
    let removed = limits.remove_custom(&input.scope.parse()?, &input.limit, &input.by).await?;
    Ok(Removed { removed })
}

async fn acquire(services: Services, input: AcquireInput) -> Result<SlotAnswer> {
    let (scope, lease) = (input.scope.parse()?, Duration::from_millis(input.lease_ms));
    let slots = open(&services, input.tenant)?.slots(&scope, &input.name, input.limit, lease)?;
    let taken = match wait(input.wait_ms)? {
        Duration::ZERO => slots.acquire().await?,
        patience => slots.acquire_within(patience).await?,
    };
    Ok(taken.0)
}

async fn renew(services: Services, input: RenewInput) -> Result<Held> {
    let lease = Duration::from_millis(input.lease_ms);
    let slot = slot(&services, input.tenant, &input.scope, &input.name, lease, input.slot)?;
    Ok(Held { held: slot.renew().await? })
}

async fn release(services: Services, input: SlotInput) -> Result<Held> {
    let lease = Duration::from_millis(minute());
    let slot = slot(&services, input.tenant, &input.scope, &input.name, lease, input.slot)?;
    Ok(Held { held: slot.release().await? })
}

/// Finds a slot that is held; how many there may be does not matter for that.
fn slot(services: &Services, tenant: String, scope: &str, name: &str, lease: Duration, id: String) -> Result<Slot> {
    Ok(open(services, tenant)?.slots(&scope.parse()?, name, 1, lease)?.slot(id))
}

fn wait(ms: u64) -> Result<Duration> {
    match ms {
        0..=MAX_WAIT_MS => Ok(Duration::from_millis(ms)),
        _ => Err(Error::invalid("wait_ms", format_args!("more than {MAX_WAIT_MS}"))),
    }
}

fn open(services: &Services, tenant: String) -> Result<Limits> {
    Ok(services.limits(&Tenant::new(tenant)?))
}

async fn planned(services: &Services, tenant: String, policy: &str, request: &Request) -> Result<(Limits, Plan)> {
    let limits = open(services, tenant)?;
    let plan = limits.policy(policy).await?.policy.plan(request)?;
    Ok((limits, plan))
}

impl AskInput {
    async fn planned(self, services: &Services) -> Result<(Limits, Plan)> {
        let Self { tenant, policy, endpoint, tier, roles, subject, cost } = self;
        planned(services, tenant, &policy, &Request { endpoint, tier, roles, subject, cost }).await
    }
}
