//! `cargo xtask tcl`: Redis's own test suite against our server.
//!
//! A suite nobody of us wrote finds what we did not think of. Its tests come from Debian's source package of redis
//! (see [`suite`]); what they are worth here is measured on the installed redis-server, which runs them once into a
//! cache below the build directory. A test that passes there and not here is lost. What is lost for a reason stands in
//! `xtask/tcl/expected.toml`; any other loss fails the command. `--record` writes what was measured into
//! `docs/compat.md`.
//!
//! Without `--spawn` every file gets a fresh server on a free port of loopback. With it the suite itself starts, stops
//! and kills our binary as it would redis-server, in a network of its own, so that fixed ports trouble nobody.

mod expected;
mod page;
mod suite;
mod unit;

use crate::install::{REDIS_CLI, REDIS_SERVER};
use crate::workspace::{Profile, build_folder, build_redpoll};
use anyhow::{Result, ensure};
use expected::Expected;
use std::collections::BTreeMap;
use std::path::PathBuf;
use suite::Suite;
use unit::{Ours, Outcome, Subject};

/// Arguments of `cargo xtask tcl`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs only these files of the suite, such as `unit/type/list`.
    units: Vec<String>,
    /// Lets the suite start and stop the server itself.
    #[arg(long)]
    spawn: bool,
    /// Holds encodings against the names of 7.0, whose small lists and sets are no listpacks yet.
    #[arg(long)]
    strict_encodings: bool,
    /// Measures redis-server anew.
    #[arg(long)]
    baseline: bool,
    /// Writes the table of docs/compat.md.
    #[arg(long, conflicts_with_all = ["units", "strict_encodings"])]
    record: bool,
}

/// Who starts the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    External,
    Spawn,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Spawn => "spawn",
        }
    }

    fn units(self) -> &'static [&'static str] {
        match self {
            Self::External => EXTERNAL,
            Self::Spawn => SPAWNED,
        }
    }
}

/// The files that have something to say about a server they did not start.
#[rustfmt::skip]
const EXTERNAL: &[&str] = &[
    "unit/type/string", "unit/type/incr", "unit/type/list", "unit/type/list-2", "unit/type/list-3", "unit/type/set",
    "unit/type/zset", "unit/type/hash", "unit/type/stream", "unit/type/stream-cgroups", "unit/sort", "unit/bitops",
    "unit/bitfield", "unit/hyperloglog", "unit/geo", "unit/dump", "unit/keyspace", "unit/scan", "unit/expire",
    "unit/multi", "unit/pubsub", "unit/scripting", "unit/functions", "unit/tracking", "unit/protocol", "unit/quit",
    "unit/querybuf", "unit/replybufsize", "unit/pause", "unit/info-command", "unit/introspection",
    "unit/introspection-2", "unit/latency-monitor", "unit/slowlog", "unit/lazyfree", "unit/other", "unit/violations",
    "integration/redis-cli",
];

/// The files that start servers of their own.
#[rustfmt::skip]
const SPAWNED: &[&str] = &[
    "unit/acl", "unit/acl-v2", "unit/auth", "unit/aofrw", "unit/info", "unit/limits", "unit/maxmemory",
    "unit/memefficiency", "unit/obuf-limits", "unit/pubsubshard", "unit/querybuf", "unit/pendingquerybuf",
    "unit/shutdown", "unit/networking", "unit/client-eviction", "unit/dump", "unit/introspection", "unit/multi",
    "unit/other", "unit/expire", "unit/type/list-2", "unit/type/stream-cgroups", "unit/violations", "unit/tls",
    "integration/aof", "integration/aof-multi-part", "integration/rdb", "integration/corrupt-dump",
    "integration/corrupt-dump-fuzzer", "integration/convert-zipmap-hash-on-load",
    "integration/convert-ziplist-hash-on-load", "integration/convert-ziplist-zset-on-load", "integration/logging",
    "integration/shutdown", "integration/redis-cli", "integration/redis-benchmark", "integration/dismiss-mem",
];

/// What takes a few seconds, for `ci`.
const SMOKE: &[&str] = &["unit/type/incr", "unit/protocol"];

/// Runs files of the suite.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mode = if args.spawn { Mode::Spawn } else { Mode::External };
    let units: Vec<&str> = match &args.units {
        none if none.is_empty() => mode.units().to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    let encodings = if args.strict_encodings { Encodings::Exact } else { Encodings::Newer };
    let results = measure(&units, mode, encodings, args.baseline)?;
    if args.record {
        page::record(mode, &results, &Expected::load()?)?;
    }
    judge(&results)
}

/// Runs the quick files and gives how many tests passed, for `ci`.
pub(crate) fn smoke() -> Result<usize> {
    let results = measure(SMOKE, Mode::External, Encodings::Newer, false)?;
    judge(&results)?;
    Ok(results.iter().map(|result| result.passed).sum())
}

/// Which names of encodings the suite takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encodings {
    /// Those of its own version.
    Exact,
    /// Also listpack for lists and sets, as since 7.2.
    Newer,
}

/// What a file of the suite gave.
struct UnitResult {
    unit: String,
    /// Tests that passed here.
    passed: usize,
    /// Tests that pass on redis-server.
    baseline: usize,
    /// Lost tests that stand in the list.
    listed: Vec<String>,
    /// Lost tests that do not.
    unlisted: Vec<String>,
    /// Listed tests that pass.
    regained: Vec<String>,
    /// What went wrong beside the tests.
    note: String,
}

impl UnitResult {
    fn lost(&self) -> usize {
        self.listed.len() + self.unlisted.len()
    }
}

/// Runs files against our server, and against redis-server where that was not done yet.
fn measure(units: &[&str], mode: Mode, encodings: Encodings, anew: bool) -> Result<Vec<UnitResult>> {
    REDIS_SERVER.ensure()?;
    REDIS_CLI.ensure()?;
    let folder = build_folder("tcl");
    let suite = Suite::prepare(&folder)?;
    let expected = Expected::load()?;
    let binary = match std::env::var_os("REDPOLL_BIN") {
        Some(binary) => PathBuf::from(binary),
        None => build_redpoll(Profile::Debug)?,
    };
    println!("{:<38}{:>7}{:>7}{:>6}{:>9}  seconds", "file", "passed", "of", "lost", "unlisted");
    let mut results = Vec::new();
    for unit in units {
        let file = |kind: &str| folder.join(kind).join(mode.name()).join(format!("{}.txt", unit.replace('/', "_")));
        let cache = file("baseline");
        let baseline = match Outcome::load(&cache) {
            Some(known) if !anew => known,
            _ => {
                let outcome = unit::run(&suite, unit, mode, &Subject::Redis)?;
                outcome.store(&cache)?;
                outcome
            }
        };
        let skipped = expected.skipped(unit).map(str::to_owned).collect();
        let ours = Subject::Redpoll(Ours { binary: binary.clone(), encodings, skipped });
        let outcome = unit::run(&suite, unit, mode, &ours)?;
        outcome.keep_log(&file("log"))?;
        let result = compare(unit, &outcome, &baseline, &expected);
        let UnitResult { passed, baseline, unlisted, note, .. } = &result;
        let (lost, seconds) = (result.lost(), outcome.seconds);
        println!("{unit:<38}{passed:>7}{baseline:>7}{lost:>6}{:>9}  {seconds:.1} {note}", unlisted.len());
        results.push(result);
    }
    let sum = |count: fn(&UnitResult) -> usize| results.iter().map(count).sum::<usize>();
    let (passed, baseline) = (sum(|result| result.passed), sum(|result| result.baseline));
    let (lost, unlisted) = (sum(UnitResult::lost), sum(|result| result.unlisted.len()));
    println!("{:<38}{passed:>7}{baseline:>7}{lost:>6}{unlisted:>9}", "total");
    println!("What the tests said stands in {}.", folder.join("log").join(mode.name()).display());
    Ok(results)
}

/// Holds what passed here against what passes on redis-server.
fn compare(unit: &str, outcome: &Outcome, baseline: &Outcome, expected: &Expected) -> UnitResult {
    let (mut listed, mut unlisted, mut regained) = (Vec::new(), Vec::new(), Vec::new());
    for (name, count) in &baseline.passed {
        // A name that stands for several tests is lost as often as it is missing.
        let missing = count.saturating_sub(outcome.passed.get(name).copied().unwrap_or(0));
        let listed_here = expected.lists(unit, name);
        match missing {
            0 if listed_here && !expected.varies(unit, name) => regained.push(name.clone()),
            0 => {}
            _ if listed_here => listed.extend(std::iter::repeat_n(name.clone(), missing)),
            _ => unlisted.extend(std::iter::repeat_n(name.clone(), missing)),
        }
    }
    let count = |passed: &BTreeMap<String, usize>| passed.values().sum();
    UnitResult {
        unit: unit.to_owned(),
        passed: count(&outcome.passed),
        baseline: count(&baseline.passed),
        listed,
        unlisted,
        regained,
        note: outcome.note.clone(),
    }
}

/// Says what is not as the list says, and fails on what is lost beyond it.
fn judge(results: &[UnitResult]) -> Result<()> {
    for UnitResult { unit, regained, unlisted, .. } in results {
        regained.iter().for_each(|name| println!("passes now, though listed: {unit}: {name}"));
        unlisted.iter().for_each(|name| println!("lost, and not listed: {unit}: {name}"));
    }
    let unlisted: usize = results.iter().map(|result| result.unlisted.len()).sum();
    ensure!(unlisted == 0, "{unlisted} tests that redis-server passes are lost without a reason in {}", expected::FILE);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(passed: &[(&str, usize)]) -> Outcome {
        let passed = passed.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Outcome { passed, ..Outcome::default() }
    }

    #[test]
    fn what_is_lost_is_told_apart_by_the_list() {
        let expected = Expected::parse(
            "[[reason]]\nwhy = 'no such thing here'\ntests = ['unit/a: listed', 'unit/a: back']\n\
             [[reason]]\nwhy = 'depends on the weather'\nvaries = true\ntests = ['unit/a: weather']\n",
        )
        .unwrap();
        let baseline = outcome(&[("listed", 1), ("back", 1), ("weather", 1), ("twice", 2), ("fine", 1)]);
        let ours = outcome(&[("back", 1), ("weather", 1), ("twice", 1), ("fine", 1), ("only here", 1)]);
        let result = compare("unit/a", &ours, &baseline, &expected);
        assert_eq!((result.passed, result.baseline, result.lost()), (5, 6, 2));
        assert_eq!((result.listed, result.unlisted), (vec!["listed".to_owned()], vec!["twice".to_owned()]));
        assert_eq!(result.regained, ["back"]);
        assert_eq!(compare("unit/b", &ours, &baseline, &expected).unlisted, ["listed", "twice"]);
    }
}
