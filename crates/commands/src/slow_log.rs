//! SLOWLOG: the commands that took long.
//!
//! An entry keeps what helps to find the culprit: when, how long, the beginning of the arguments, who. At most `slowlog-max-len` entries are kept, the
//! oldest go first. A command is logged when it has run, without the time it waited for others (`timing.rs`); EXEC is not, its commands are.

use std::collections::VecDeque;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::args::Args;
use crate::client::Client;
use crate::command::{ADMIN, Command, Family, LOADING, STALE, cmd, container};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::{Error, subcommand_syntax};
use crate::help;
use crate::registry::Resolved;
use crate::secrets::{self, REDACTED};
use crate::settings::Setting;

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
    /// Ascending; given when it is added.
    id: u64,
    /// Seconds since the epoch.
    time: u64,
    micros: u64,
    call: Call,
    address: String,
    name: String,
}

/// What is kept of a call: the beginnings of its arguments.
///
/// They stand in one text, since of a command that waits they are taken down although it will hardly ever turn out slow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    text: Vec<u8>,
    /// Where in the text each ends.
    ends: SmallVec<[usize; 8]>,
}

impl Call {
    /// Takes down what is kept of a call.
    pub(crate) fn new(resolved: &Resolved, args: Args<'_>) -> Call {
        let secrets = secrets::of(resolved, args);
        let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
        let mut call = Call::default();
        for at in 0..kept {
            call.add(if secrets.contains(&at) { REDACTED } else { args.at(at) });
        }
        if kept < args.len() {
            call.add(format!("... ({} more arguments)", args.len() - kept).as_bytes());
        }
        call
    }

    fn add(&mut self, arg: &[u8]) {
        let shown = &arg[..arg.len().min(ARG_LEN_MAX)];
        self.text.extend_from_slice(shown);
        if shown.len() < arg.len() {
            self.text.extend_from_slice(format!("... ({} more bytes)", arg.len() - shown.len()).as_bytes());
        }
        self.ends.push(self.text.len());
    }

    fn args(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.text[*start..*end])
    }
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
    fn add(&self, entry: Entry, len_max: usize) {
        let mut log = self.0.lock();
        let id = log.next;
        log.next += 1;
        log.entries.push_front(Entry { id, ..entry });
        log.entries.truncate(len_max);
    }
}

/// Logs a client's call that has just ended, if it was slow.
pub(crate) fn note(engine: &Engine, client: &Client, micros: u64, call: impl FnOnce() -> Call) {
    let slow = u64::try_from(engine.settings.int(Setting::SlowlogLogSlowerThan)).unwrap_or(u64::MAX);
    if micros >= slow {
        let (address, name) = (client.address.clone(), client.names.lock().name.clone());
        let entry = Entry { id: 0, time: engine.clock.micros() / 1_000_000, micros, call: call(), address, name };
        engine.slow_log.add(entry, engine.settings.size(Setting::SlowlogMaxLen));
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
        cx.out.array(entry.call.ends.len());
        entry.call.args().for_each(|arg| cx.out.bulk(arg));
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
