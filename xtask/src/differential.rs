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
    Divergence { command: "EVAL", reason: COMPILER_MESSAGES, accepts: words_it_otherwise },
    Divergence { command: "EVAL_RO", reason: COMPILER_MESSAGES, accepts: words_it_otherwise },
    Divergence { command: "SCRIPT", reason: COMPILER_MESSAGES, accepts: words_it_otherwise },
    Divergence {
        command: "OBJECT",
        reason: "integers below 10,000 are one shared object each there, idle since any key with that number was used",
        accepts: |args, left, right| {
            let idle = args.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"IDLETIME"));
            idle && matches!((left, right), (Reply::Integer(0..=5), Reply::Integer(6..)))
        },
    },
    Divergence {
        command: "LPOS",
        reason: "7.2 refuses the least RANK, where 7.0 overflows",
        accepts: |_, left, _| left.print().contains("value is out of range"),
    },
    Divergence {
        command: "XINFO",
        reason: "7.2 makes a consumer also when there is nothing to give it",
        accepts: |_, left, right| without_consumers(left) == without_consumers(right),
    },
    Divergence {
        command: "CONFIG",
        reason: "7.2 has set-max-listpack-entries and set-max-listpack-value",
        accepts: |args, _, right| {
            let asks = |arg: &Vec<u8>| arg.to_ascii_lowercase().starts_with(b"set-max-listpack");
            args.iter().any(asks) && right.print().contains("Unknown option")
        },
    },
];

const COMPILER_MESSAGES: &str = "bytes that are no UTF-8 are replaced in messages of the Lua compiler, and what begins like a binary chunk is called one";

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

fn words_it_otherwise(_: &[Vec<u8>], left: &Reply, right: &Reply) -> bool {
    const START: &str = "ERR Error compiling script";
    let (left, right) = (left.print(), right.print());
    let otherwise = left.contains(r"\xef\xbf\xbd") || left.contains("attempt to load a binary chunk");
    left.contains(START) && right.contains(START) && otherwise
}

/// Commands that are not drawn, each with its reason.
const LEFT_OUT: &[(&str, &str)] = &[(
    "SORT",
    "there it turns a packed sorted set into a skiplist although it only reads, and shows sets in the order of its tables; here it does neither",
)];

fn left_out() -> impl Iterator<Item = String> {
    LEFT_OUT.iter().map(|(name, _)| (*name).to_owned())
}

/// Runs the comparison.
pub(crate) fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(clock_seed);
    let thresholds = if args.keep_thresholds { Thresholds::Keep } else { Thresholds::Vary };
    let without = args.without.iter().map(|name| name.to_ascii_uppercase()).chain(left_out()).collect();
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

/// The stream of `ci` is the same every time, so that a change is judged by what it changes; `differential` draws new ones.
const SMOKE_SEED: u64 = 1;

/// Runs a short stream, for `ci`.
pub(crate) fn smoke() -> Result<()> {
    let plan =
        Plan { divergences: DIVERGENCES.to_vec(), without: left_out().collect(), ..Plan::new(SMOKE_SEED, 200_000) };
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
    let right = RedisServer::start()?;
    println!("seed {}", plan.seed);
    match on {
        Server::Redis => {
            let left = RedisServer::start()?;
            report(plan, extent, &mut left.client()?, &mut right.client()?)
        }
        Server::Redpoll => {
            let binary = Some(build_redpoll(Profile::Debug)?);
            let args = ["--enable-debug-command", "yes"].map(str::to_owned).to_vec();
            let left = Launch { binary, args, ..Launch::default() }.start()?;
            let plan = without_missing(plan, &mut left.client()?, &mut right.client()?)?;
            report(&plan, extent, &mut left.client()?, &mut right.client()?)
        }
    }
}

/// Leaves out, and says so, what only redis-server has.
fn without_missing(plan: &Plan, left: &mut dyn Target, right: &mut dyn Target) -> Result<Plan> {
    let mut plan = plan.clone();
    let lacks = |target: &mut dyn Target, name: &str| {
        let reply = target.call(&["COMMAND", "INFO", name].map(|word| word.as_bytes().to_vec()));
        reply.as_slice().is_some_and(|rows| rows[0].as_slice().is_none_or(<[Reply]>::is_empty))
    };
    let names: BTreeSet<&str> = plan.families.iter().flat_map(|family| family.commands()).collect();
    let missing: Vec<&str> = names.into_iter().filter(|name| lacks(left, name) && !lacks(right, name)).collect();
    if !missing.is_empty() {
        println!("not there yet and left out: {}", missing.join(", "));
    }
    plan.without.extend(missing.into_iter().map(str::to_owned));
    let without = &plan.without;
    plan.families.retain(|family| family.commands().any(|name| !without.iter().any(|missing| missing == name)));
    ensure!(!plan.families.is_empty(), "no command is left to draw");
    Ok(plan)
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
