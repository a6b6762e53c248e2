//! INFO: the state of the store in sections of `name:value` lines, with the names monitoring tools read.
//!
//! The names are those of redis-server 7.0, in its sections; what counts something that cannot happen here (forks, replicas, defragmentation) is 0 or
//! off. A field is left out where any value would be made up; the test that compares the names lists those with the reason. What the engine
//! does not know (processor time, resident memory) the layers above add.

pub(crate) mod memory;
mod persistence;
mod sections;

use std::fmt::Write;

use crate::args::Args;
use crate::command::{Command, Family, LOADING, STALE, WHOLE, cmd};
use crate::cx::Cx;
use crate::error::Error;
use sections::{
    clients, cluster, commandstats, cpu, errorstats, keyspace, latencystats, modules, replication, server, stats,
};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("INFO [section [section ...]]", info, LOADING | STALE | WHOLE, "1.0.0", "O(1)", "Returns information and statistics about the server.").categories(&["dangerous"]),
];

/// The state of the store.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// Writes the lines of a section.
type SectionWriter = fn(&mut Cx<'_, '_>, &mut Lines);

/// A section and whether it is shown when none is asked for.
struct Section {
    name: &'static str,
    title: &'static str,
    by_default: bool,
    write: SectionWriter,
}

#[rustfmt::skip]
const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", by_default: true, write: server },
    Section { name: "clients", title: "Clients", by_default: true, write: clients },
    Section { name: "memory", title: "Memory", by_default: true, write: memory::write },
    Section { name: "persistence", title: "Persistence", by_default: true, write: persistence::persistence },
    Section { name: "stats", title: "Stats", by_default: true, write: stats },
    Section { name: "replication", title: "Replication", by_default: true, write: replication },
    Section { name: "cpu", title: "CPU", by_default: true, write: cpu },
    Section { name: "modules", title: "Modules", by_default: true, write: modules },
    Section { name: "commandstats", title: "Commandstats", by_default: false, write: commandstats },
    Section { name: "errorstats", title: "Errorstats", by_default: true, write: errorstats },
    Section { name: "latencystats", title: "Latencystats", by_default: false, write: latencystats },
    Section { name: "cluster", title: "Cluster", by_default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", by_default: true, write: keyspace },
];

/// INFO [section [section ...]]
fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let asked = args.from(1);
    let is_asked = |word: &str| asked.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let all = is_asked("all") || is_asked("everything");
    let default = asked.is_empty() || is_asked("default");
    let mut lines = Lines(String::new());
    for section in SECTIONS {
        if all || (default && section.by_default) || is_asked(section.name) {
            lines.title(section.title);
            (section.write)(cx, &mut lines);
            for (name, value) in cx.engine.host.get().map(|host| host.info(section.name)).unwrap_or_default() {
                lines.add(&name, value);
            }
        }
    }
    cx.out.verbatim("txt", lines.0.as_bytes());
    Ok(())
}

/// The text as it grows.
pub(crate) struct Lines(String);

impl Lines {
    fn title(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        write!(self.0, "{gap}# {title}\r\n").expect("writing to a string cannot fail");
    }

    pub(crate) fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.0, "{name}:{value}\r\n").expect("writing to a string cannot fail");
    }

    /// Adds fields that are 0 here, since what they count cannot happen.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.add(name, 0));
    }
}

/// Prints bytes as INFO does: `1.50M`.
pub fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}
