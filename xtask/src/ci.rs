//! `cargo xtask ci`: what a change must pass, as one table of steps.
//!
//! All steps run even when one fails, so that one run tells everything. The last line is `N passed, N failed`: tests
//! that cargo ran, transcripts, and the other steps as one each. Programs the tests need are installed when that is
//! possible without asking.

use crate::install::REDIS_SERVER;
use crate::oracle::{self, Server};
use crate::workspace::{cargo, execute};
use crate::{clients, codegen, crash, differential, tcl, tidy};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs only these steps.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
}

struct Step {
    name: &'static str,
    run: fn() -> Result<Count>,
}

/// What a step adds to the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Tells cargo whether to keep what makes the next build of a changed crate shorter. A whole run mostly builds from nothing, and would write as much
/// again as it needs: it goes without, unless told otherwise.
const INCREMENTAL: &str = "CARGO_INCREMENTAL";

const ONE: Count = Count { passed: 1, failed: 0 };

#[rustfmt::skip]
const STEPS: &[Step] = &[
    Step { name: "format",       run: || execute(&mut cargo(&["fmt", "--all", "--check"])).map(|()| ONE) },
    Step { name: "tidy",         run: || tidy::check().map(|()| ONE) },
    Step { name: "clippy",       run: || execute(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])).map(|()| ONE) },
    Step { name: "docs",         run: || execute(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")).map(|()| ONE) },
    Step { name: "codegen",      run: || codegen::check().map(|()| ONE) },
    Step { name: "tests",        run: tests },
    Step { name: "oracle",       run: || transcripts(Server::Redis) },
    Step { name: "wire",         run: || transcripts(Server::Redpoll) },
    Step { name: "clients",      run: || clients::smoke().map(|passed| Count { passed, failed: 0 }) },
    Step { name: "tcl",          run: || tcl::smoke().map(|passed| Count { passed, failed: 0 }) },
    Step { name: "crash",        run: || crash::smoke().map(|()| ONE) },
    Step { name: "differential", run: || differential::smoke().map(|()| ONE) },
];

/// Runs the steps and sums up.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.steps.is_empty() && std::env::var_os(INCREMENTAL).is_none() {
        let mut again = Command::new(std::env::current_exe().context("cannot tell which program this is")?);
        let status = again.args(std::env::args_os().skip(1)).env(INCREMENTAL, "0").status()?;
        std::process::exit(status.code().unwrap_or(1));
    }
    let start = Instant::now();
    let mut total = Count::default();
    let mut times = Vec::new();
    REDIS_SERVER.ensure()?;
    for step in STEPS.iter().filter(|step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name)) {
        println!("── {}", step.name);
        let begin = Instant::now();
        let count = (step.run)().unwrap_or_else(|error| {
            println!("{error:#}");
            Count { passed: 0, failed: 1 }
        });
        total = total.plus(count);
        times.push(format!(
            "{:<14}{:>6} s  {} passed, {} failed",
            step.name,
            begin.elapsed().as_secs(),
            count.passed,
            count.failed
        ));
    }
    println!("── {} s in all\n{}", start.elapsed().as_secs(), times.join("\n"));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    /// Reads `test result: ok. 5 passed; 1 failed; …`; nothing for other lines.
    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result:")?.split_once(". ")?;
        let number = |name: &str| {
            let part = counts.split(';').find_map(|part| part.trim().strip_suffix(name))?;
            part.trim().parse().ok()
        };
        Some(Self { passed: number("passed")?, failed: number("failed")? })
    }
}

/// Runs the tests of the workspace and of its documentation. Our binary is built first: tests start it.
fn tests() -> Result<Count> {
    execute(&mut cargo(&["build", "--workspace", "--bins"]))?;
    let mut test = cargo(&["test", "--workspace", "--no-fail-fast"]);
    let mut child = test.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().expect("standard output was piped");
    let mut count = Count::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        count = count.plus(Count::of_line(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    ensure!(count.passed + count.failed > 0, "no test ran: {status}");
    if !status.success() && count.failed == 0 {
        // A test that did not compile or crashed has no line of its own.
        count.failed = 1;
    }
    Ok(count)
}

fn transcripts(on: Server) -> Result<Count> {
    let tally = oracle::check(&oracle::all_files()?, on)?;
    Ok(Count { passed: tally.passed, failed: tally.failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_cargo_s_lines() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(Count::of_line(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(Count::of_line("test result of mine ... ok"), None);
        assert_eq!(Count::of_line("running 3 tests"), None);
    }
}
