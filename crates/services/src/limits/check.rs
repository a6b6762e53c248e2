//! Asking: one step where the store can, else reservations that are committed or given back.
//!
//! ```text
//! one step       take ─► verdict
//! several slots  hold ─► hold ─► take ─ admitted ─► commit each hold
//!                  └───────┴──────┴─── refused ──► give back what is held, look at the rest
//! ```

use std::time::Duration;

use redpoll_resp::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::plan::Plan;
use super::steps::{self, Step};
use super::verdict::{StepAnswer, Verdict, VerdictSource};
use super::{Limits, MAX_RESERVATIONS, TWO_PHASE_LEASE};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::metrics::Counter;
use crate::outage::OutagePolicy;
use crate::random;

/// Longest time that waiting adds to what a limit says, so that those who wait do not come all at once.
const SPREAD: Duration = Duration::from_millis(50);

/// What is done with a plan.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Consumes if all admit.
    Take,
    /// Reserves under this id, for so many milliseconds, if all admit.
    Hold(&'a str, u64),
}

impl Limits {
    /// Asks all limits of a plan, and consumes from all of them or from none.
    pub async fn check(&self, plan: &Plan) -> Result<Verdict> {
        if let Some(verdict) = self.unasked(plan) {
            return Ok(verdict);
        }
        match self.ask(plan, Ask::Take).await {
            Ok(verdict) => {
                self.count(&verdict);
                Ok(verdict)
            }
            Err(error) => self.or_outage(plan, error),
        }
    }

    /// Tells what [`Limits::check`] would answer. Consumes nothing and counts towards no escalation.
    pub async fn peek(&self, plan: &Plan) -> Result<Verdict> {
        if let Some(verdict) = self.unasked(plan) {
            return Ok(verdict);
        }
        let steps = self.steps(plan);
        let commands = steps.iter().map(|step| self.peek_command(plan, step)).collect();
        let answers = async {
            let replies = self.services.backend().pipeline(commands).await?;
            let replies = steps.iter().zip(replies);
            replies.map(|(step, reply)| StepAnswer::read(plan, step, &reply?)).collect::<Result<Vec<_>>>()
        };
        match answers.await {
            Ok(answers) => Ok(Verdict::of(answers)),
            Err(error) => self.or_outage(plan, error),
        }
    }

    /// Asks like [`Limits::check`], and again when the limits say so, until admitted or `patience` would be over.
    ///
    /// Refused is who cannot be admitted in time by what the limits say, at once. Each refusal costs one question; in
    /// between nobody is asked.
    pub async fn check_within(&self, plan: &Plan, patience: Duration) -> Result<Verdict> {
        let deadline = Instant::now() + patience;
        loop {
            let verdict = self.check(plan).await?;
            let Some(wait_ms) = verdict.retry_after_ms.filter(|_| !verdict.allowed) else {
                return Ok(verdict);
            };
            let wait = Duration::from_millis(wait_ms);
            if Instant::now() + wait > deadline {
                return Ok(verdict);
            }
            tokio::time::sleep(wait + SPREAD.min(wait / 8).mul_f64(random::unit())).await;
        }
    }

    /// Forgets what the limits of a plan have counted; tells how many of them had counted anything.
    pub async fn reset(&self, plan: &Plan) -> Result<u64> {
        let state = |part: &super::plan::Part| {
            let group = self.group(&plan.scopes[part.scope]);
            Command::new("DEL").key(group.named(part.limit.rule.algorithm().kind(), &part.id()))
        };
        let replies = self.services.backend().pipeline(plan.parts.iter().map(state).collect()).await?;
        replies.into_iter().map(|reply| Ok(u64::from(reply?.as_i64() == Some(1)))).sum()
    }

    /// Asks in as many steps as it takes.
    pub(super) async fn ask(&self, plan: &Plan, ask: Ask<'_>) -> Result<Verdict> {
        let steps = self.steps(plan);
        let own = Uuid::new_v4().to_string();
        let (id, lease_ms) = match ask {
            Ask::Hold(id, lease_ms) => (id, lease_ms),
            Ask::Take => (own.as_str(), TWO_PHASE_LEASE.as_millis() as u64),
        };
        let mut answers = Vec::with_capacity(steps.len());
        for (place, step) in steps.iter().enumerate() {
            let takes = matches!(ask, Ask::Take) && place + 1 == steps.len();
            let mode = if takes { "take" } else { "hold" };
            let command =
                self.command(&steps::CHECK, plan, step, [&mode, &id, &lease_ms, &MAX_RESERVATIONS], &plan.costs());
            let reply = self.services.backend().call(command).await;
            let answer = reply.and_then(|reply| StepAnswer::read(plan, step, &reply));
            let admitted = answer.as_ref().is_ok_and(|answer| answer.admitted);
            answers.push(answer);
            if !admitted {
                return self.refuse(plan, &steps, id, answers).await;
            }
        }
        if matches!(ask, Ask::Take) && steps.len() > 1 {
            self.commit_held(plan, &steps[..steps.len() - 1], id).await?;
        }
        Ok(Verdict::of(answers.into_iter().collect::<Result<_>>()?))
    }

    /// Gives back what is held, and looks at what was not asked, or is given back.
    async fn refuse(
        &self,
        plan: &Plan,
        steps: &[Step],
        id: &str,
        mut answers: Vec<Result<StepAnswer>>,
    ) -> Result<Verdict> {
        let refusal = answers.pop().expect("somebody has refused");
        let (held, others) = steps.split_at(answers.len());
        let mut commands: Vec<Command> =
            held.iter().map(|step| self.settle_command(plan, step, id, "refund", &vec![0; plan.parts.len()])).collect();
        let looked: Vec<&Step> = held.iter().chain(others.iter().skip(1)).collect();
        commands.extend(looked.iter().map(|step| self.peek_command(plan, step)));
        let replies = self.services.backend().pipeline(commands).await;
        // Whatever went wrong first is what is told; what could not be given back ends with its lease.
        let refusal = refusal?;
        let replies = replies?;
        self.services.metrics().add(Counter::LimitsEscalated, refusal.begun);
        let mut answers = vec![refusal];
        for (step, reply) in looked.into_iter().zip(replies.into_iter().skip(held.len())) {
            answers.push(StepAnswer::read(plan, step, &reply?)?);
        }
        Ok(Verdict::of(answers))
    }

    async fn commit_held(&self, plan: &Plan, held: &[Step], id: &str) -> Result<()> {
        let commands = held.iter().map(|step| self.settle_command(plan, step, id, "commit", &plan.costs())).collect();
        for reply in self.services.backend().pipeline(commands).await? {
            let reply = reply?;
            match reply.as_array().and_then(|parts| parts.first()).and_then(Value::as_str) {
                Some("ok") => {}
                Some("absent") => return Err(Error::Timeout("admission took longer than its reservations".to_owned())),
                _ => return Err(Error::unexpected(steps::SETTLE_AND_FORGET.name(), &reply)),
            }
        }
        Ok(())
    }

    fn settle_command(&self, plan: &Plan, step: &Step, id: &str, how: &'static str, costs: &[u64]) -> Command {
        self.command(&steps::SETTLE_AND_FORGET, plan, step, [&"", &id, &how, &"forget"], costs)
    }

    fn peek_command(&self, plan: &Plan, step: &Step) -> Command {
        self.command(&steps::PEEK, plan, step, [&"peek", &"", &0_u64, &0_u64], &plan.costs())
    }

    /// Answers for plans that need no store.
    pub(super) fn unasked(&self, plan: &Plan) -> Option<Verdict> {
        if plan.is_bypass() {
            self.services.metrics().add(Counter::LimitsBypassed, 1);
            return Some(Verdict::unasked(VerdictSource::Bypass));
        }
        plan.scopes.is_empty().then(|| Verdict::unasked(VerdictSource::Unlimited))
    }

    fn or_outage(&self, plan: &Plan, error: Error) -> Result<Verdict> {
        if !error.is_outage() || plan.outage() == OutagePolicy::Error {
            return Err(error);
        }
        self.services.metrics().add(Counter::RateOutages, 1);
        Ok(Verdict::outage(plan.outage(), self.services.settings().rate_limit.outage_retry_ms))
    }

    pub(super) fn count(&self, verdict: &Verdict) {
        let metrics = self.services.metrics();
        metrics.add(if verdict.allowed { Counter::RateAllowed } else { Counter::RateRefused }, 1);
        metrics.add(Counter::LimitsBlocked, u64::from(!verdict.blocks.is_empty()));
        let shadows = verdict.limits.iter().filter(|state| state.would_refuse()).count();
        metrics.add(Counter::LimitsShadowRefused, shadows as u64);
    }
}
