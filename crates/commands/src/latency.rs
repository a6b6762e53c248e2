//! LATENCY: what took long, by kind of event, and how long commands take.
//!
//! Two things under one name. The monitor keeps, for each kind of event (`command`, `fast-command`, `expire-cycle`), the longest of each second
//! in which one reached `latency-monitor-threshold`, the last `SAMPLES_MAX` of them. The histograms count every command, as long as
//! `latency-tracking` is on; INFO latencystats shows their percentiles.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::args::Args;
use crate::command::{ADMIN, Command, Family, LOADING, NOSCRIPT, STALE, cmd, container};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::Error;
use crate::registry::Resolved;
use crate::settings::Setting;
use crate::{help, latency_report};

const ANY: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("LATENCY", container, 0, "2.8.13", "Depends on subcommand.", "A container for latency diagnostics commands.").subcommands(&[
        cmd("LATENCY DOCTOR", latency_report::doctor, ANY, "2.8.13", "O(1)", "Returns a human-readable latency analysis report."),
        cmd("LATENCY GRAPH event", latency_report::graph, ANY, "2.8.13", "O(1)", "Returns a latency graph for an event."),
        cmd("LATENCY HELP", help, LOADING | STALE, "2.8.13", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("LATENCY HISTOGRAM [command [command ...]]", histogram, ANY, "7.0.0", "O(N) where N is the number of commands with latency information being retrieved.", "Returns the cumulative distribution of latencies of a subset or all commands."),
        cmd("LATENCY HISTORY event", history, ANY, "2.8.13", "O(1)", "Returns timestamp-latency samples for an event."),
        cmd("LATENCY LATEST", latest, ANY, "2.8.13", "O(1)", "Returns the latest latency samples for all events."),
        cmd("LATENCY RESET [event [event ...]]", reset, ANY, "2.8.13", "O(1)", "Resets the latency data for one or more events."),
    ]),
];

/// Latency.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

/// Samples kept of a kind of event.
const SAMPLES_MAX: usize = 160;

/// The longest event of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Seconds since the epoch.
    pub(crate) time: u64,
    pub(crate) millis: u64,
}

/// What took long, of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Oldest first, never empty.
    pub(crate) samples: VecDeque<Sample>,
    /// The longest of all, also of those forgotten.
    pub(crate) millis_max: u64,
}

/// What took long, by kind.
#[derive(Debug, Default)]
pub struct LatencyMonitor(Mutex<BTreeMap<&'static str, Series>>);

impl LatencyMonitor {
    fn add(&self, event: &'static str, sample: Sample) {
        let mut events = self.0.lock();
        let series = events.entry(event).or_default();
        series.millis_max = series.millis_max.max(sample.millis);
        match series.samples.back_mut() {
            Some(last) if last.time == sample.time => last.millis = last.millis.max(sample.millis),
            _ => {
                if series.samples.len() == SAMPLES_MAX {
                    series.samples.pop_front();
                }
                series.samples.push_back(sample);
            }
        }
    }

    /// Returns everything by kind.
    pub(crate) fn all(&self) -> Vec<(&'static str, Series)> {
        self.0.lock().iter().map(|(event, series)| (*event, series.clone())).collect()
    }

    /// Returns what took long of one kind.
    pub(crate) fn find(&self, event: &[u8]) -> Option<(&'static str, Series)> {
        let event = std::str::from_utf8(event).ok()?;
        self.0.lock().get_key_value(event).map(|(name, series)| (*name, series.clone()))
    }

    fn reset(&self, event: &[u8]) -> bool {
        std::str::from_utf8(event).is_ok_and(|event| self.0.lock().remove(event).is_some())
    }
}

impl Engine {
    /// Remembers an event that took so many milliseconds, if that is long.
    pub fn note_latency(&self, event: &'static str, millis: u64) {
        let threshold = self.settings.int(Setting::LatencyMonitorThreshold);
        if threshold > 0 && millis >= threshold.unsigned_abs() {
            self.latency.add(event, Sample { time: self.clock.micros() / 1_000_000, millis });
        }
    }
}

/// LATENCY HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "LATENCY", HELP);
    Ok(())
}

/// LATENCY HISTOGRAM [command [command ...]]
fn histogram(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let registry = &cx.engine.registry;
    let asked: Vec<&Resolved> = match args.from(2) {
        [] => registry.all().iter().collect(),
        names => {
            let named = names.iter().filter_map(|name| registry.find(name));
            named.flat_map(|command| with_subcommands(cx.engine, command)).collect()
        }
    };
    let used = asked.into_iter().map(|command| (command, cx.engine.stats.distribution(command.id)));
    let used: Vec<_> = used.filter(|(_, distribution)| distribution.total() > 0).collect();
    cx.out.map(used.len());
    for (command, distribution) in used {
        cx.out.bulk(command.name.as_bytes());
        cx.out.map(2);
        cx.out.bulk(b"calls");
        cx.out.int(distribution.total() as i64);
        cx.out.bulk(b"histogram_usec");
        let counts = distribution.by_doubling();
        cx.out.map(counts.len());
        for (micros, count) in counts {
            cx.out.int(micros as i64);
            cx.out.int(count as i64);
        }
    }
    Ok(())
}

fn with_subcommands<'e>(engine: &'e Engine, command: &'e Resolved) -> Vec<&'e Resolved> {
    let subcommands = command.subcommands.iter().map(|id| &engine.registry.all()[*id]);
    std::iter::once(command).chain(subcommands).collect()
}

/// LATENCY HISTORY event
fn history(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let samples = cx.engine.latency.find(args.at(2)).map(|(_, series)| series.samples).unwrap_or_default();
    cx.out.array(samples.len());
    for Sample { time, millis } in samples {
        cx.out.array(2);
        cx.out.int(time as i64);
        cx.out.int(millis as i64);
    }
    Ok(())
}

/// LATENCY LATEST
fn latest(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let all = cx.engine.latency.all();
    cx.out.array(all.len());
    for (event, series) in all {
        let last = series.samples.back().expect("an event is known by its first sample");
        cx.out.array(4);
        cx.out.bulk(event.as_bytes());
        for number in [last.time, last.millis, series.millis_max] {
            cx.out.int(number as i64);
        }
    }
    Ok(())
}

/// LATENCY RESET [event [event ...]]
fn reset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let count = match args.from(2) {
        [] => std::mem::take(&mut *cx.engine.latency.0.lock()).len(),
        events => events.iter().filter(|event| cx.engine.latency.reset(event)).count(),
    };
    cx.out.int(count as i64);
    Ok(())
}
