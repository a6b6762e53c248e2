//! The differential test: one seeded stream of random commands, two targets, equal replies and equal contents.
//!
//! ```text
//!   seed ─► round seed ─► generate ─┬─► left  ─► replies ─┐
//!                 (rows of `families`)                      ├─► compare by the row's rule ─► shrink on a difference
//!                                   └─► right ─► replies ─┘   and the final contents
//! ```
//!
//! The stream is cut into rounds of [`ROUND`] commands. Each round has a seed of its own, starts from empty databases
//! and fresh connections and ends with a comparison of all keys by type, encoding, expiry and value, so a difference
//! needs one round to be seen again and a shorter stream to be explained. Rounds alternate between RESP2 and RESP3 and
//! between the default and very small encoding thresholds, which also change in mid-stream, so that values change their
//! encoding all the time. At the end the contents are compared key by key, and as a whole by DEBUG DIGEST where both
//! targets allow it.
//!
//! Few keys are drawn, so commands meet values of the wrong type; arguments come from edge cases as often as from the
//! middle; a few per cent of the commands are damaged on purpose. What cannot be equal is kept out by construction:
//! expiry times are long past or far away, random members are drawn for the whole set or compared by shape only.
//! It does not test time, blocking, several connections or persistence.

mod compare;
mod families;
mod generate;
mod grammar;
mod places;
mod scripts;
mod shrink;
mod streams;

pub use compare::Divergence;
pub use families::Family;

use crate::client::{Protocol, Target, command, display};
use crate::{Random, Reply};
use compare::{Comparer, contents, digest};
use generate::{Additions, Generator};
use std::fmt;

/// Commands of one round.
pub const ROUND: usize = 2_000;
/// Commands sent before replies are read.
const BATCH: usize = 200;

/// One command: its name and arguments.
pub type Command = Vec<Vec<u8>>;

/// The commands that a comparison would send, for tests that compare something else. They belong to their seed.
#[derive(Debug)]
pub struct Commands(Generator);

impl Commands {
    /// Draws from all families.
    pub fn new(seed: u64) -> Self {
        Self(Generator::new(Random::new(seed), &Family::ALL, &[], Additions::Any))
    }
}

impl Iterator for Commands {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        Some(self.0.next())
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of the whole stream.
    pub seed: u64,
    /// How many commands, rounded up to whole rounds.
    pub commands: usize,
    /// Families to draw from.
    pub families: Vec<Family>,
    /// Upper-case names of commands that are not drawn, for a target that lacks them.
    pub without: Vec<String>,
    /// Which encoding thresholds to use.
    pub thresholds: Thresholds,
    /// Differences that are meant to be, each with its reason.
    pub divergences: Vec<Divergence>,
}

impl Plan {
    /// A plan over all families.
    pub fn new(seed: u64, commands: usize) -> Self {
        let families = Family::ALL.to_vec();
        Self { seed, commands, families, without: Vec::new(), thresholds: Thresholds::Vary, divergences: Vec::new() }
    }
}

/// Whether the rounds change the encoding thresholds by CONFIG SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thresholds {
    /// Of three pairs of rounds, one keeps the default thresholds, one begins with them and changes them as it goes, and
    /// one begins with thresholds so small that values change encoding often, and changes them too.
    Vary,
    /// The targets keep theirs; for targets without CONFIG.
    Keep,
}

/// What a clean run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Commands whose replies were compared.
    pub commands: usize,
    /// Of those, how many were answered by an error; a stream of errors tests little.
    pub errors: usize,
    /// Replies that differed as a [`Divergence`] says they may.
    pub diverged: usize,
    /// Keys compared at the ends of rounds.
    pub keys: usize,
}

/// A difference, with the shortest stream found that shows it. Its text tells how to run it again.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the plan.
    pub seed: u64,
    /// The round in which it came up.
    pub round: usize,
    /// The protocol of that round.
    pub protocol: Protocol,
    /// The commands that show it, after FLUSHALL and [`setup`](Self::setup).
    pub commands: Vec<Command>,
    /// The settings of the round.
    pub setup: Vec<Command>,
    /// What differed.
    pub mismatch: Mismatch,
}

impl Failure {
    /// Gives the name of the command whose replies differed; `CONTENTS` when the final contents did.
    pub fn command_name(&self) -> String {
        let name = self.commands.get(self.mismatch.at).and_then(|args| args.first());
        name.map_or("CONTENTS".to_owned(), |name| String::from_utf8_lossy(name).to_ascii_uppercase())
    }
}

/// Two answers that should be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where: the index of a command, or the number of commands for the final contents.
    pub at: usize,
    /// The command, or what of the contents was looked at.
    pub what: String,
    /// The left target's answer, printed.
    pub left: String,
    /// The right target's answer, printed.
    pub right: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "seed {}, round {}, {:?}: {}", self.seed, self.round, self.protocol, self.mismatch.what)?;
        writeln!(to, "left:\n{}\nright:\n{}\nafter:", self.mismatch.left, self.mismatch.right)?;
        let commands = self.setup.iter().chain(&self.commands);
        commands
            .clone()
            .take(self.setup.len() + self.mismatch.at + 1)
            .try_for_each(|args| writeln!(to, "> {}", display(args)))
    }
}

/// Runs a plan.
///
/// # Errors
/// The first difference, shrunk.
///
/// # Panics
/// When a target does not empty its databases or refuses the thresholds.
pub fn run(plan: &Plan, left: &mut dyn Target, right: &mut dyn Target) -> Result<Summary, Box<Failure>> {
    let mut pair = Pair { left, right, divergences: &plan.divergences };
    let mut summary = Summary::default();
    for round in 0..plan.commands.div_ceil(ROUND) {
        run_round(plan, round, &mut pair, &mut summary)?;
    }
    Ok(summary)
}

/// Runs one round of a plan again.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`].
pub fn rerun(
    plan: &Plan,
    round: usize,
    left: &mut dyn Target,
    right: &mut dyn Target,
) -> Result<Summary, Box<Failure>> {
    let mut pair = Pair { left, right, divergences: &plan.divergences };
    let mut summary = Summary::default();
    run_round(plan, round, &mut pair, &mut summary)?;
    Ok(summary)
}

fn run_round(plan: &Plan, round: usize, pair: &mut Pair<'_>, summary: &mut Summary) -> Result<(), Box<Failure>> {
    let settings = Settings::of(plan, round);
    let changing = settings.thresholds != RoundThresholds::Kept;
    let drawn = |family: &&Family| changing || **family != Family::Thresholds;
    let families: Vec<Family> = plan.families.iter().filter(drawn).copied().collect();
    let additions = if changing { Additions::Few } else { Additions::Any };
    let random = Random::new(plan.seed).fork(round as u64);
    let mut generator = Generator::new(random, &families, &plan.without, additions);
    let commands: Vec<Command> = (0..ROUND).map(|_| generator.next()).collect();
    let Err(mismatch) = pair.replay(&settings, &commands, summary) else { return Ok(()) };
    let (commands, mismatch) =
        shrink::shrink(commands, mismatch, |commands| pair.replay(&settings, commands, &mut Summary::default()).err());
    let Settings { protocol, setup, .. } = settings;
    Err(Box::new(Failure { seed: plan.seed, round, protocol, commands, setup, mismatch }))
}

/// What a round does before its first command.
#[derive(Clone, Debug)]
struct Settings {
    protocol: Protocol,
    thresholds: RoundThresholds,
    setup: Vec<Command>,
}

/// The thresholds of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundThresholds {
    /// Those there are, throughout.
    Kept,
    /// The defaults at first.
    Default,
    /// Small ones at first.
    Small,
}

impl Settings {
    fn of(plan: &Plan, round: usize) -> Self {
        const DEFAULT: &[&str] = &[
            "CONFIG SET hash-max-listpack-entries 128 hash-max-listpack-value 64",
            "CONFIG SET zset-max-listpack-entries 128 zset-max-listpack-value 64",
            "CONFIG SET set-max-intset-entries 512",
            "CONFIG SET list-max-listpack-size -2",
            "CONFIG SET set-max-listpack-entries 128 set-max-listpack-value 64",
        ];
        const SMALL: &[&str] = &[
            "CONFIG SET hash-max-listpack-entries 4 hash-max-listpack-value 16",
            "CONFIG SET zset-max-listpack-entries 4 zset-max-listpack-value 16",
            "CONFIG SET set-max-intset-entries 3",
            "CONFIG SET list-max-listpack-size 3",
            "CONFIG SET set-max-listpack-entries 4 set-max-listpack-value 16",
        ];
        let protocol = if round.is_multiple_of(2) { Protocol::Resp2 } else { Protocol::Resp3 };
        let thresholds = match (plan.thresholds, (round / 2) % 3) {
            (Thresholds::Keep, _) | (_, 0) => RoundThresholds::Kept,
            (_, 1) => RoundThresholds::Default,
            _ => RoundThresholds::Small,
        };
        let lines = match (plan.thresholds, thresholds) {
            (Thresholds::Keep, _) => &[],
            (_, RoundThresholds::Small) => SMALL,
            _ => DEFAULT,
        };
        Self { protocol, thresholds, setup: lines.iter().map(|line| command(line)).collect() }
    }
}

/// The two targets.
struct Pair<'a> {
    left: &'a mut dyn Target,
    right: &'a mut dyn Target,
    divergences: &'a [Divergence],
}

impl Pair<'_> {
    /// Runs commands from empty databases; the first difference ends it.
    fn replay(&mut self, settings: &Settings, commands: &[Command], summary: &mut Summary) -> Result<(), Mismatch> {
        prepare(self.left, settings);
        prepare(self.right, settings);
        let mut comparer = Comparer::new(self.divergences);
        for (start, batch) in commands.chunks(BATCH).enumerate().map(|(index, batch)| (index * BATCH, batch)) {
            let (left, right) = (self.left.pipeline(batch), self.right.pipeline(batch));
            for (index, (left, right)) in left.into_iter().zip(right).enumerate() {
                summary.commands += 1;
                summary.errors += usize::from(matches!(right, Reply::Error(_)));
                if !comparer.agree(&batch[index], &left, &right) {
                    let what = display(&batch[index]);
                    return Err(Mismatch { at: start + index, what, left: left.print(), right: right.print() });
                }
            }
        }
        summary.diverged += comparer.diverged();
        self.compare_contents(commands.len(), summary)
    }

    fn compare_contents(&mut self, at: usize, summary: &mut Summary) -> Result<(), Mismatch> {
        let (left, right) = (contents(self.left), contents(self.right));
        summary.keys += right.len();
        let keys = left.keys().chain(right.keys());
        for key in keys {
            let (left, right) = (left.get(key), right.get(key));
            if let (Some(left), Some(right)) = (left, right)
                && left.agrees(right)
            {
                continue;
            }
            let show = |entry: Option<&compare::Entry>| entry.map_or("no such key".to_owned(), ToString::to_string);
            let what = format!("the final contents of {key}");
            return Err(Mismatch { at, what, left: show(left), right: show(right) });
        }
        if let (Some(left), Some(right)) = (digest(self.left), digest(self.right))
            && left != right
        {
            return Err(Mismatch { at, what: "DEBUG DIGEST".into(), left, right });
        }
        Ok(())
    }
}

fn prepare(target: &mut dyn Target, settings: &Settings) {
    target.set_protocol(settings.protocol);
    for args in [command("FLUSHALL"), command("SCRIPT FLUSH")].iter().chain(&settings.setup) {
        let reply = target.call(args);
        // A threshold that only newer servers know may be refused by an older one.
        let unknown = reply.print().contains("Unknown option") && args[2].starts_with(b"set-max-listpack");
        assert!(reply.is_simple("OK") || unknown, "{} was answered by {}", display(args), reply.print());
    }
}
