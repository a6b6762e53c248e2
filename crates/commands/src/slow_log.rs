//! SLOWLOG: the commands that took long.
//!
//! An entry keeps what helps to find the culprit: when, how long, the beginning of the arguments, who. At most `slowlog-max-len` entries are kept, the
//! oldest go first. A command is logged when it has run, without the time it waited for others (`timing.rs`); EXEC is not, its commands are.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::args::Args;
use crate::command::{ADMIN, Command, Family, LOADING, STALE, cmd, container};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::{Error, subcommand_syntax};
use crate::help;
use crate::registry::Resolved;
use crate::secrets::{self, REDACTED};

const ANY: u32 = ADMIN | LOADING | STALE;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("SLOWLOG", container, 0, "2.2.12", "Depends on subcommand.", "A container for slow log commands.").subcommands(&[
        cmd("SLOWLOG GET [count]", get, ANY, "2.2.12", "O(N) where N is the number of entries returned", "Returns the slow log's entries."),
        cmd("SLOWLOG HELP", help, LOADING | STALE, "6.2.0", "O(1)", "Show helpful text about the different subcommands"),
        cmd("SLOWLOG LEN", len, ANY, "2.2.12", "O(1)", "Returns the number of entries in the slow log."),
        cmd("SLOWLOG RESET", reset, ANY, "2.2.12", "O(N) where N is the number of entries in the slowlog", "Clears all entries from the slow log."),
    ]),
];

/// The slow log.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

/// Arguments kept of a command.
const ARGS_MAX: usize = 32;

/// Bytes kept of an argument.
const ARG_LEN_MAX: usize = 128;

/// Entries shown if nobody says how many.
const SHOWN: usize = 10;

/// A command that took long.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Ascending; given by [`SlowLog::add`].
    id: u64,
    /// Seconds since the epoch.
    time: u64,
    micros: u64,
    args: Vec<Vec<u8>>,
    address: String,
    name: String,
}

/// The entries, newest first.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    next: u64,
    entries: VecDeque<Entry>,
}

impl SlowLog {
    /// Adds an entry and forgets the oldest beyond `len_max`.
    pub(crate) fn add(&self, entry: Entry, len_max: usize) {
        let mut log = self.0.lock();
        let id = log.next;
        log.next += 1;
        log.entries.push_front(Entry { id, ..entry });
        log.entries.truncate(len_max);
    }
}

impl Entry {
    /// Makes the entry of a command that waited, from the one made when it began to.
    pub(crate) fn ended(self, engine: &Engine, micros: u64) -> Entry {
        Entry { time: engine.clock.micros() / 1_000_000, micros, ..self }
    }
}

/// Makes the entry of a command.
pub(crate) fn entry(cx: &Cx<'_, '_>, resolved: &Resolved, args: Args<'_>, micros: u64) -> Entry {
    let secrets = secrets::of(resolved, args);
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let shown = (0..kept).map(|at| if secrets.contains(&at) { REDACTED.to_vec() } else { shortened(args.at(at)) });
    let mut shown: Vec<Vec<u8>> = shown.collect();
    if kept < args.len() {
        shown.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    let client = &cx.session.client;
    Entry {
        id: 0,
        time: cx.engine.clock.micros() / 1_000_000,
        micros,
        args: shown,
        address: client.address.clone(),
        name: client.names.lock().name.clone(),
    }
}

fn shortened(arg: &[u8]) -> Vec<u8> {
    match arg.get(ARG_LEN_MAX..) {
        None | Some([]) => arg.to_vec(),
        Some(rest) => [&arg[..ARG_LEN_MAX], format!("... ({} more bytes)", rest.len()).as_bytes()].concat(),
    }
}

/// SLOWLOG GET [count]
fn get(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let count = match args.len() {
        2 => SHOWN,
        3 => match args.int(2) {
            Ok(-1) => usize::MAX,
            Ok(count) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err(Error::Text("ERR count should be greater than or equal to -1")),
        },
        _ => return Err(subcommand_syntax("SLOWLOG", args.at(1))),
    };
    let entries: Vec<Entry> = cx.engine.slow_log.0.lock().entries.iter().take(count).cloned().collect();
    cx.out.array(entries.len());
    for entry in entries {
        cx.out.array(6);
        for number in [entry.id, entry.time, entry.micros] {
            cx.out.int(number as i64);
        }
        cx.out.array(entry.args.len());
        entry.args.iter().for_each(|arg| cx.out.bulk(arg));
        cx.out.bulk(entry.address.as_bytes());
        cx.out.bulk(entry.name.as_bytes());
    }
    Ok(())
}

/// SLOWLOG HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "SLOWLOG", HELP);
    Ok(())
}

/// SLOWLOG LEN
fn len(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let len = cx.engine.slow_log.0.lock().entries.len();
    cx.out.int(len as i64);
    Ok(())
}

/// SLOWLOG RESET
fn reset(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.engine.slow_log.0.lock().entries.clear();
    cx.out.ok();
    Ok(())
}
