//! `cargo xtask differential`: the same random commands to our server (left) and to redis-server (right).
//!
//! A difference is printed with its seed and round; `--seed S --round R` shows it again. `--on redis` compares
//! redis-server with itself, which must never differ: it is the test of the test.

use crate::oracle::Server;
use crate::workspace::{Profile, build_redpoll};
use anyhow::{Result, bail, ensure};
use redpoll_testkit::differential::{self, Divergence, Family, Plan, ROUND, Thresholds};
use redpoll_testkit::{Launch, RedisServer, Reply, Target};
use std::collections::BTreeSet;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Arguments of `cargo xtask differential`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many commands.
    #[arg(long, default_value_t = 1_000_000)]
    commands: usize,
    /// The seed; drawn from the clock when none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs this round of the stream only.
    #[arg(long)]
    round: Option<usize>,
    /// Families to draw from, such as `strings,hashes`; all when none is named.
    #[arg(long, value_delimiter = ',')]
    families: Vec<String>,
    /// Leaves out these commands, such as `LCS,OBJECT`.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Goes on after a difference and shows the first one of each command.
    #[arg(long, conflicts_with = "round")]
    survey: bool,
    /// Leaves the encoding thresholds alone.
    #[arg(long)]
    keep_thresholds: bool,
    /// The left server.
    #[arg(long, value_enum, default_value_t = Server::Redpoll)]
    on: Server,
}

/// Where our server means to differ from redis-server 7.0.
const DIVERGENCES: &[Divergence] = &[
    Divergence {
        command: "LPOS",
        reason: "7.2 refuses the least RANK, where 7.0 overflows",
        accepts: |_, left, _| left.print().contains("value is out of range"),
    },
    Divergence { command: "ZRANK", reason: WITHSCORE, accepts: only_withscore },
    Divergence { command: "ZREVRANK", reason: WITHSCORE, accepts: only_withscore },
    Divergence {
        command: "XINFO",
        reason: "7.2 makes a consumer also when there is nothing to give it",
        accepts: |_, left, right| without_consumers(left) == without_consumers(right),
    },
];

const WITHSCORE: &str = "7.2 has WITHSCORE, so a further argument is a matter of syntax instead of number";

/// What XINFO GROUPS says but for the numbers of consumers, which stand behind their name or in the next line.
fn without_consumers(reply: &Reply) -> Vec<String> {
    let printed = reply.print();
    let mut lines = printed.lines().map(str::to_owned);
    let mut kept = Vec::new();
    while let Some(line) = lines.next() {
        if line.ends_with("\"consumers\"") {
            lines.next();
        } else if !line.contains("\"consumers\"") {
            kept.push(line);
        }
    }
    kept
}

fn only_withscore(args: &[Vec<u8>], _: &Reply, right: &Reply) -> bool {
    args.len() == 4 && right.print().contains("wrong number of arguments")
}

/// Runs the comparison.
pub(crate) fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(clock_seed);
    let thresholds = if args.keep_thresholds { Thresholds::Keep } else { Thresholds::Vary };
    let without = args.without.iter().map(|name| name.to_ascii_uppercase()).collect();
    let families = families(&args.families)?;
    let divergences = DIVERGENCES.to_vec();
    let plan = Plan { families, without, thresholds, divergences, ..Plan::new(seed, args.commands) };
    let extent = match args.round {
        Some(round) => Extent::Round(round),
        None if args.survey => Extent::Survey,
        None => Extent::UntilDifference,
    };
    compare(&plan, extent, args.on)
}

/// Families whose commands are not there yet.
const MISSING_FAMILIES: &[Family] = &[];

/// Commands left out: LCS is not there yet; where 7.2's WITHSCORE makes ZRANK with a further argument acceptable to MULTI, 7.0 refuses the whole
/// transaction.
const LEFT_OUT: &[&str] = &["LCS", "ZRANK", "ZREVRANK"];

/// The stream of `ci` is the same every time, so that a change is judged by what it changes; `differential` draws new ones.
const SMOKE_SEED: u64 = 1;

/// Runs a short stream, for `ci`.
pub(crate) fn smoke() -> Result<()> {
    let families = Family::ALL.iter().copied().filter(|family| !MISSING_FAMILIES.contains(family)).collect();
    let without = LEFT_OUT.iter().map(|name| (*name).to_owned()).collect();
    let divergences = DIVERGENCES.to_vec();
    // With the default thresholds: 7.2 takes other forms for sets made by one command with more members than a lowered threshold.
    let thresholds = Thresholds::Keep;
    let plan = Plan { families, without, thresholds, divergences, ..Plan::new(SMOKE_SEED, 200_000) };
    compare(&plan, Extent::UntilDifference, Server::Redpoll)
}

/// How much of a plan is run.
#[derive(Clone, Copy, Debug)]
enum Extent {
    UntilDifference,
    Round(usize),
    Survey,
}

fn compare(plan: &Plan, extent: Extent, on: Server) -> Result<()> {
    println!("seed {}", plan.seed);
    let right = RedisServer::start()?;
    match on {
        Server::Redis => {
            let left = RedisServer::start()?;
            report(plan, extent, &mut left.client()?, &mut right.client()?)
        }
        Server::Redpoll => {
            let binary = Some(build_redpoll(Profile::Debug)?);
            let left = Launch { binary, ..Launch::default() }.start()?;
            report(plan, extent, &mut left.client()?, &mut right.client()?)
        }
    }
}

fn report(plan: &Plan, extent: Extent, left: &mut dyn Target, right: &mut dyn Target) -> Result<()> {
    let start = Instant::now();
    let result = match extent {
        Extent::Survey => return survey(plan, left, right),
        Extent::Round(round) => differential::rerun(plan, round, left, right),
        Extent::UntilDifference => differential::run(plan, left, right),
    };
    match result {
        Ok(summary) => {
            let (seconds, accepted) = (start.elapsed().as_secs(), summary.diverged);
            println!(
                "{} commands equal ({} errors among them, {accepted} accepted differences), {} keys equal, {seconds} s",
                summary.commands, summary.errors, summary.keys
            );
            Ok(())
        }
        Err(failure) => bail!("{failure}"),
    }
}

/// Runs every round and prints the first difference of each command.
fn survey(plan: &Plan, left: &mut dyn Target, right: &mut dyn Target) -> Result<()> {
    let mut seen = BTreeSet::new();
    let rounds = plan.commands.div_ceil(ROUND);
    for round in 0..rounds {
        let Err(failure) = differential::rerun(plan, round, left, right) else { continue };
        if seen.insert(failure.command_name()) {
            println!("{failure}");
        }
    }
    let names: Vec<String> = seen.into_iter().collect();
    ensure!(names.is_empty(), "{} commands differ in {rounds} rounds: {}", names.len(), names.join(", "));
    Ok(())
}

fn families(names: &[String]) -> Result<Vec<Family>> {
    let all = Family::ALL;
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| match all.into_iter().find(|family| family.name() == name) {
        Some(family) => Ok(family),
        None => bail!("no family {name}; there are {}", all.map(Family::name).join(", ")),
    };
    names.iter().map(find).collect()
}

fn clock_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
