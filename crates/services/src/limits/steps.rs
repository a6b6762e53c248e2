//! The atomic steps of limits, each beside its Lua file, and how a part of a plan becomes their KEYS and ARGV.

use super::Limits;
use super::limit::Mode;
use super::plan::Plan;
use crate::backend::{Command, ToArg};
use crate::keys::Key;
use crate::ratelimit::ALGORITHMS;
use crate::script::{Flags, INTEGERS, Repeat, Script};

const STEP: &str = include_str!("step.lua");

pub(super) static CHECK: Script =
    Script::new("limits.check", Flags::None, Repeat::Never, &[INTEGERS, ALGORITHMS, STEP, include_str!("check.lua")]);
/// A peek changes nothing.
pub(super) static PEEK: Script =
    Script::new("limits.peek", Flags::AllowOom, Repeat::Safe, &[INTEGERS, ALGORITHMS, STEP, include_str!("check.lua")]);
/// A reservation remembers how it was settled.
pub(super) static SETTLE: Script = Script::new(
    "limits.settle",
    Flags::AllowOom,
    Repeat::Safe,
    &[INTEGERS, ALGORITHMS, STEP, include_str!("settle.lua")],
);
/// One that forgets does not know, the second time, that it was settled.
pub(super) static SETTLE_AND_FORGET: Script = Script::new(
    "limits.settle_and_forget",
    Flags::AllowOom,
    Repeat::Never,
    &[INTEGERS, ALGORITHMS, STEP, include_str!("settle.lua")],
);
pub(super) static ADJUST: Script =
    Script::new("limits.adjust", Flags::None, Repeat::Never, &[INTEGERS, ALGORITHMS, STEP, include_str!("adjust.lua")]);
/// A second run would report its own change as what stood there before.
pub(super) static EDIT: Script =
    Script::new("limits.edit", Flags::None, Repeat::Never, &[INTEGERS, include_str!("edit.lua")]);
pub(super) static STATUS: Script =
    Script::new("limits.status", Flags::NoWrites, Repeat::Safe, &[INTEGERS, include_str!("status.lua")]);
/// A slot is taken under an id of the caller's, so asking twice takes one.
pub(super) static SLOTS: Script =
    Script::new("limits.slots", Flags::AllowOom, Repeat::Safe, &[INTEGERS, include_str!("slots.lua")]);
/// A second run would answer that there is none.
pub(super) static RELEASE: Script =
    Script::new("limits.release", Flags::AllowOom, Repeat::Never, &[INTEGERS, include_str!("slots.lua")]);
pub(super) static DEFINE: Script =
    Script::new("limits.define", Flags::None, Repeat::Never, &[INTEGERS, include_str!("define.lua")]);

/// What of a plan is asked in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Places of its scopes in the plan.
    pub(super) scopes: Vec<usize>,
    /// Places of its limits in the plan.
    pub(super) parts: Vec<usize>,
}

impl Limits {
    /// Cuts a plan into steps: on a Cluster one for each scope, else one for all.
    pub(super) fn steps(&self, plan: &Plan) -> Vec<Step> {
        let all = Step { scopes: (0..plan.scopes.len()).collect(), parts: (0..plan.parts.len()).collect() };
        if plan.scopes.is_empty() {
            return Vec::new();
        }
        if !self.services.backend().is_cluster() {
            return vec![all];
        }
        let of_scope = |scope: usize| Step {
            scopes: vec![scope],
            parts: all.parts.iter().copied().filter(|part| plan.parts[*part].scope == scope).collect(),
        };
        all.scopes.iter().map(|scope| of_scope(*scope)).collect()
    }

    /// Makes the call of a step; `costs` says what each part of the plan costs, `own` is ARGV[2..5].
    pub(super) fn command(
        &self,
        script: &'static Script,
        plan: &Plan,
        step: &Step,
        own: [&dyn ToArg; 4],
        costs: &[u64],
    ) -> Command {
        let mut keys: Vec<Key> = Vec::with_capacity(4 * step.scopes.len() + 2 * step.parts.len());
        let groups: Vec<_> = step.scopes.iter().map(|scope| self.group(&plan.scopes[*scope])).collect();
        for group in &groups {
            keys.extend(["x", "o", "h", "u"].map(|kind| group.key(kind)));
        }
        let mut args: Vec<Vec<u8>> = vec![step.scopes.len().to_arg()];
        args.extend(own.iter().map(ToArg::to_arg));
        for place in &step.parts {
            let part = &plan.parts[*place];
            let (limit, rule, id) = (&part.limit, &part.limit.rule, part.id());
            let scope =
                step.scopes.iter().position(|scope| *scope == part.scope).expect("a step has its parts' scopes");
            keys.push(groups[scope].named(rule.algorithm().kind(), &id));
            keys.push(groups[scope].named("e", &id));
            let scope = scope + 1;
            let shadow = u64::from(limit.mode == Mode::Shadow);
            let kind = rule.algorithm().kind();
            let fixed: [&dyn ToArg; 10] = [
                &scope,
                &id,
                &rule.name(),
                &kind,
                &rule.limit(),
                &rule.window_ms(),
                &rule.burst(),
                &limit.debt,
                &costs[*place],
                &shadow,
            ];
            args.extend(fixed.iter().map(ToArg::to_arg));
            match &limit.escalation {
                Some(ladder) => {
                    let lengths: Vec<String> = ladder.blocks_ms.iter().map(u64::to_string).collect();
                    let ladder: [&dyn ToArg; 4] =
                        [&ladder.refusals, &ladder.within_ms, &ladder.forget_ms, &lengths.join(",")];
                    args.extend(ladder.iter().map(ToArg::to_arg));
                }
                None => args.extend(["0", "0", "0", ""].map(ToArg::to_arg)),
            }
        }
        Command::script(script, &keys, &args)
    }
}
