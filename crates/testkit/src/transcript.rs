//! Transcripts: commands and the replies a real server was seen to give, as text.
//!
//! ```text
//! ## APPEND                            a block: starts with FLUSHALL and one fresh RESP2 connection
//! # a comment
//! > SET key "value with \x00"          a command; quoting and escapes as in redis-cli
//! OK                                   its reply, printed as in `Reply`
//! > RPUSH list %(1..3: item{})         expands to item1 item2 item3
//! (integer) 3
//! > SET long %(65 * x)                 expands to 65 times x, also inside a longer argument
//! OK
//! ~ unordered                          markers for the next command, separated by commas
//! > SMEMBERS set
//! 1) "a"
//! 2) "b"
//! ```
//!
//! | marker | the expectation |
//! |---|---|
//! | `unordered`, `unordered pairs` | is sorted (as field-value pairs); the reply is sorted before it is compared |
//! | `scan`, `scan pairs` | the same for the second element of a SCAN reply |
//! | `approx N` | has numbers that may differ by N from those of the reply |
//! | `glob` | has lines in which `*` stands for anything |
//! | `digest` | is one line with the size and a hash of the reply, for replies too long to read |
//! | `redis X.Y: reason` | is what Redis X.Y says; an older redis-server is not held to it |
//! | `redpoll-only: reason` | is ours; redis-server is not held to it |
//!
//! | directive | does |
//! |---|---|
//! | `@resp3`, `@resp2` | replaces the current connection by a fresh one with that protocol |
//! | `@client NAME` | makes another connection current, opening it at first use |
//! | `@advance MS` | lets time pass; a target with a clock of its own moves it |
//! | `@redpoll-only REASON` | keeps the rest of the block from being run on redis-server |
//!
//! `>& COMMAND` sends and goes on once the command is held back or answered, a line `<` receives the next reply or
//! pushed message.
//!
//! A transcript without commands, or with a command without expectation, is an error: it could not fail. Recording
//! ([`Transcript::record`]) rewrites the expectations from what a target answers and leaves everything else alone;
//! what a marker exempts from that target keeps its expectation.

mod check;
mod markers;
mod parse;
mod words;

pub use check::{Report, Subject};
pub(crate) use markers::{sort_items, sort_pairs};

use crate::Target;
use anyhow::{Context, Result, ensure};
use markers::Markers;
use std::path::{Path, PathBuf};

/// A parsed transcript.
#[derive(Debug)]
pub struct Transcript {
    name: String,
    lines: Vec<Line>,
}

/// One line of the file, or a step with the lines of its expectation.
#[derive(Debug)]
enum Line {
    /// A comment or an empty line.
    Text(String),
    /// `## title`
    Block(String),
    /// `@…`
    Directive { text: String, action: Directive },
    /// `~ …`, `> …`, `>& …` or `<`, with what follows it.
    Step(Step),
}

#[derive(Debug)]
enum Directive {
    Protocol(crate::Protocol),
    Client(String),
    Advance(u64),
    RedpollOnly,
}

#[derive(Debug)]
struct Step {
    number: usize,
    /// The markers' line, if there is one.
    marker_text: Option<String>,
    markers: Markers,
    /// The line as written.
    text: String,
    action: Action,
    expectation: Vec<String>,
}

#[derive(Debug)]
enum Action {
    Call(Vec<Vec<u8>>),
    Send(Vec<Vec<u8>>),
    Receive,
}

impl Transcript {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// When it cannot be read or is no transcript; the message names file and line.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Parses text; `name` stands in messages.
    ///
    /// # Errors
    /// When it is no transcript or has no command.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        parse::parse(name, text)
    }

    /// Runs the transcript and compares. Differences are in the report, they are no errors.
    pub fn check(&self, target: &mut dyn Target, subject: Subject) -> Report {
        check::check(self, target, subject)
    }

    /// Runs the transcript and gives its text with the expectations replaced by the target's replies.
    ///
    /// # Errors
    /// When a reply is exempt from this target, or is to match a pattern, and the file has no fitting expectation.
    pub fn record(&self, target: &mut dyn Target, subject: Subject) -> Result<String> {
        check::record(self, target, subject)
    }
}

/// Runs one transcript against our implementation.
///
/// # Panics
/// With a diff when a reply differs, and when the file is no transcript.
#[track_caller]
pub fn run(path: impl AsRef<Path>, target: &mut dyn Target) {
    let transcript = Transcript::load(path.as_ref()).unwrap_or_else(|error| panic!("{error:#}"));
    let report = transcript.check(target, Subject::Redpoll);
    assert!(report.passed(), "{report}");
}

/// Runs every transcript of a folder against our implementation, each on a target of its own.
///
/// # Panics
/// With the diffs of all files when a reply differs, and when the folder has no transcript.
#[track_caller]
pub fn run_folder<T: Target>(dir: impl AsRef<Path>, mut make: impl FnMut() -> T) {
    let files = files(dir.as_ref()).unwrap_or_else(|error| panic!("{error:#}"));
    let failed: Vec<String> = files
        .iter()
        .map(|path| {
            let transcript = Transcript::load(path).unwrap_or_else(|error| panic!("{error:#}"));
            transcript.check(&mut make(), Subject::Redpoll)
        })
        .filter(|report| !report.passed())
        .map(|report| report.to_string())
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Lists the transcripts (`*.txt`) of a folder, sorted.
///
/// # Errors
/// When the folder cannot be read or has none.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    ensure!(!files.is_empty(), "no transcripts in {}", dir.display());
    files.sort();
    Ok(files)
}
