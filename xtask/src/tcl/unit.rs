//! One file of the suite, run against one server, and what its output says.
//!
//! The suite prints a line for each test: `[ok]: name (12 ms)`, `[err]: name in file` and what was expected. When an
//! error escapes a test, the rest of the file is not run, so counting failures would flatter; only names that passed
//! count. Names that hold drawn numbers would differ from run to run; the numbers are taken out.

use super::suite::Suite;
use super::{Encodings, Mode};
use crate::workspace::output;
use anyhow::{Context, Result};
use redpoll_testkit::{Launch, RedisServer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Longest run of a file, seconds; one that hangs is ended, and what it did not get to is lost.
const PATIENCE_SECONDS: &str = "150";
/// Digits from which a number in the name of a test is taken for a drawn one.
const DRAWN_DIGITS_MIN: usize = 6;
/// What lets redis-server run everything the suite asks for.
const PERMISSIONS: &[&str] = &["--enable-protected-configs", "yes", "--enable-module-command", "yes"];
/// What lets our server do so: DEBUG, and a log for LOADAOF. With one worker, what several clients send without waiting
/// for each other is run in the order in which it was sent, on which tests rely.
#[rustfmt::skip]
const OURS: &[&str] = &[
    "--enable-debug-command", "yes", "--appendonly", "yes", "--appendfsync", "no", "--no-http", "--threads", "1",
];

/// What is left out where the suite starts servers: what takes long, needs a replica, or TLS in the suite itself.
const SPAWNED_TAGS: &str = "-slow -needs:repl -tls";

/// The server that is tested.
pub(super) enum Subject {
    /// The installed redis-server.
    Redis,
    /// Our own.
    Redpoll(Ours),
}

/// What our server is and what is asked of it.
pub(super) struct Ours {
    /// The binary.
    pub(super) binary: PathBuf,
    /// Which names of encodings are taken.
    pub(super) encodings: Encodings,
    /// Tests that are not run.
    pub(super) skipped: Vec<String>,
}

/// What a run gave.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How often each name passed.
    pub(super) passed: BTreeMap<String, usize>,
    /// What went wrong beside the tests.
    pub(super) note: String,
    /// How long it took.
    pub(super) seconds: f64,
    /// What the suite printed.
    pub(super) log: String,
}

/// Runs a file.
pub(super) fn run(suite: &Suite, unit: &str, mode: Mode, subject: &Subject) -> Result<Outcome> {
    let begin = Instant::now();
    let mut runner = match mode {
        Mode::External => Command::new("timeout"),
        Mode::Spawn => alone(),
    };
    runner.args(["--kill-after=5", PATIENCE_SECONDS, "tclsh", "tests/test_helper.tcl"]);
    runner.args(["--durable", "--timeout", PATIENCE_SECONDS, "--single", unit]);
    runner.env("TERM", "dumb").env("LC_ALL", "C.UTF-8").current_dir(&suite.root).stdin(Stdio::null());
    if let Subject::Redpoll(ours) = subject {
        for name in &ours.skipped {
            runner.args(["--skiptest", name]);
        }
        if ours.encodings == Encodings::Newer {
            runner.env("ENCODINGS", "newer");
        }
    }
    let log = match (mode, subject) {
        (Mode::External, Subject::Redis) => {
            let server = RedisServer::start_with(PERMISSIONS)?;
            finish(against(&mut runner, server.address()))?
        }
        (Mode::External, Subject::Redpoll(Ours { binary, .. })) => {
            let args = OURS.iter().map(|&arg| arg.to_owned()).collect();
            let server = Launch { binary: Some(binary.clone()), args, ..Launch::default() }.start()?;
            finish(against(&mut runner, server.address()).envs([("REPLICATION", "log"), ("RECONNECT", "yes")]))?
        }
        (Mode::Spawn, _) => {
            suite.link_server(&match subject {
                Subject::Redis => PathBuf::from(output(Command::new("which").arg("redis-server"))?.trim()),
                Subject::Redpoll(Ours { binary, .. }) => binary.clone(),
            })?;
            runner.args(["--clients", "1", "--tags", SPAWNED_TAGS]);
            finish(runner.envs([("REPLICATION", "log"), ("RECONNECT", "yes")]))?
        }
    };
    Ok(Outcome { seconds: begin.elapsed().as_secs_f64(), ..Outcome::read(log) })
}

/// Prepares a program in a network of its own, where every port is free.
fn alone() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec timeout \"$@\"", "sh"]);
    command
}

/// Names the server to test, and ports for the suite's own use: away from those the system gives out and from other runs.
fn against(runner: &mut Command, server: SocketAddr) -> &mut Command {
    let ports = 10_000 + std::process::id() % 200 * 100;
    runner.args(["--host", &server.ip().to_string(), "--port", &server.port().to_string()]);
    runner.args(["--baseport", &ports.to_string(), "--portcount", "16"])
}

fn finish(runner: &mut Command) -> Result<String> {
    let done = runner.output().context("cannot run the suite")?;
    Ok(String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

impl Outcome {
    fn read(log: String) -> Self {
        let mut outcome = Self::default();
        for line in log.lines() {
            if let Some(test) = line.strip_prefix("[ok]: ") {
                let name = test.rsplit_once(" (").map_or(test, |(name, _)| name);
                *outcome.passed.entry(without_drawn_numbers(name)).or_default() += 1;
            } else if line.starts_with("[exception]") {
                outcome.note = "broken off by an error".to_owned();
            } else if line.starts_with("[TIMEOUT]") {
                outcome.note = "broken off after too long a time".to_owned();
            }
        }
        if !log.contains("The End") && outcome.note.is_empty() {
            outcome.note = "not run to its end".to_owned();
        }
        outcome.log = log;
        outcome
    }

    /// Reads what [`store`](Self::store) wrote.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut passed = BTreeMap::new();
        for line in text.lines() {
            let (count, name) = line.split_once('\t')?;
            passed.insert(name.to_owned(), count.parse().ok()?);
        }
        Some(Self { passed, ..Self::default() })
    }

    /// Writes what passed.
    pub(super) fn store(&self, path: &Path) -> Result<()> {
        let lines: Vec<String> = self.passed.iter().map(|(name, count)| format!("{count}\t{name}\n")).collect();
        write(path, &lines.concat())
    }

    /// Writes what the suite printed.
    pub(super) fn keep_log(&self, path: &Path) -> Result<()> {
        write(path, &self.log)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts `N` for numbers of many digits.
fn without_drawn_numbers(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find(|char: char| char.is_ascii_digit()) {
        let digits = rest[start..].find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len() - start);
        let number = &rest[start..start + digits];
        text.push_str(&rest[..start]);
        text.push_str(if digits >= DRAWN_DIGITS_MIN { "N" } else { number });
        rest = &rest[start + digits..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_lines_of_the_suite() {
        let log = "[ok]: SPOP (of 3) (12 ms)\n[ok]: twice (0 ms)\n[err]: bad in tests/unit/x.tcl\nExpected 1\n\
                   [ok]: twice (1 ms)\n[ok]: PRNG is seeded 12345678 (2 ms)\n\n   The End\n";
        let outcome = Outcome::read(log.to_owned());
        let names: Vec<(&str, usize)> = outcome.passed.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(names, [("PRNG is seeded N", 1), ("SPOP (of 3)", 1), ("twice", 2)]);
        assert_eq!(outcome.note, "");
        assert_ne!(Outcome::read("[ok]: a (1 ms)\n".to_owned()).note, "");
        assert_ne!(Outcome::read("[exception]: x\n The End".to_owned()).note, "");
    }

    #[test]
    fn short_numbers_stay_in_names() {
        assert_eq!(without_drawn_numbers("a 12345 b 123456 c 1234567"), "a 12345 b N c N");
    }
}
