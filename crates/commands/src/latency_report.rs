//! LATENCY DOCTOR and GRAPH: what took long, for people to read.
//!
//! The graph is a row of columns, the newest on the right, each as high as what it stands for took, with its age below, written downwards. The report says
//! for each kind of event how often, how long and how regularly, and what usually helps.

use std::fmt::Write;

use crate::args::Args;
use crate::cx::Cx;
use crate::error::Error;
use crate::latency::{Sample, Series};
use crate::settings::Setting;

/// Columns of a graph.
const COLUMNS: usize = 80;

/// Lines of a graph above its labels.
const ROWS: u64 = 4;

/// What stands at the top of a column that ends in the lower, middle or upper third of a line.
const TOPS: [char; 3] = ['_', 'o', '#'];

/// LATENCY DOCTOR
pub(crate) fn doctor(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let settings = &cx.engine.settings;
    let (threshold, slower) =
        (settings.int(Setting::LatencyMonitorThreshold), settings.int(Setting::SlowlogLogSlowerThan));
    let all = cx.engine.latency.all();
    let mut text = String::new();
    if all.is_empty() && threshold == 0 {
        text +=
            "Latency is not being monitored. 'CONFIG SET latency-monitor-threshold <milliseconds>' switches it on.\n";
    } else if all.is_empty() {
        text += "Nothing took longer than latency-monitor-threshold since the start or the last LATENCY RESET.\n";
    } else {
        text += "Some events took long:\n\n";
        for (index, (event, series)) in all.iter().enumerate() {
            describe(&mut text, index + 1, event, series);
        }
        text += "\nWhat usually helps:\n\n";
        if slower < 0 || slower > threshold * 1000 {
            let micros = threshold * 1000;
            text += &format!(
                "- The slow log misses commands that took this long: 'CONFIG SET slowlog-log-slower-than {micros}' makes it keep them.\n"
            );
        }
        text += advice(&all);
    }
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn describe(text: &mut String, number: usize, event: &str, series: &Series) {
    let count = series.samples.len() as u64;
    let millis = || series.samples.iter().map(|sample| sample.millis);
    let average = millis().sum::<u64>() / count;
    let deviation = millis().map(|millis| millis.abs_diff(average)).sum::<u64>() / count;
    let (first, last) = (series.samples[0].time, series.samples[series.samples.len() - 1].time);
    let period = last.saturating_sub(first) as f64 / (count.max(2) - 1) as f64;
    writeln!(
        text,
        "{number}. {event}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, period {period:.2} sec). \
         Worst all time event {}ms.",
        series.millis_max
    )
    .expect("writing to a string cannot fail");
}

/// Says what usually helps against the kinds of events there were.
fn advice(all: &[(&'static str, Series)]) -> &'static str {
    if all.iter().any(|(event, _)| *event != "expire-cycle") {
        "- SLOWLOG GET shows which commands took long. Commands on whole collections or the whole keyspace (KEYS, SMEMBERS, SORT, scripts) are the usual ones.\n\
         - Deleting or overwriting a huge collection takes as long as freeing it: split it, or take it apart with the commands that remove a part.\n"
    } else {
        "- Many keys expire at the same moment, or huge ones do: spread their deadlines, or split them.\n"
    }
}

/// LATENCY GRAPH event
pub(crate) fn graph(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let Some((event, series)) = cx.engine.latency.find(args.at(2)) else {
        return Err(Error::of(&[b"ERR No samples available for event '", args.at(2), b"'"]));
    };
    let now = cx.engine.clock.micros() / 1_000_000;
    let skipped = series.samples.len().saturating_sub(COLUMNS);
    let samples: Vec<Sample> = series.samples.iter().skip(skipped).copied().collect();
    let millis = || samples.iter().map(|sample| sample.millis);
    let (high, low) = (millis().max().unwrap_or(0), millis().min().unwrap_or(0));
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.millis_max);
    text.extend(std::iter::repeat_n('-', COLUMNS));
    text.push('\n');
    let heights: Vec<u64> = millis().map(|millis| height(millis, low, high)).collect();
    for row in (0..ROWS).rev() {
        text.extend(heights.iter().map(|height| mark(*height, row)));
        text.push('\n');
    }
    text.extend(std::iter::repeat_n(' ', samples.len()));
    text.push('\n');
    let labels: Vec<String> = samples.iter().map(|sample| age(now.saturating_sub(sample.time))).collect();
    for at in 0..labels.iter().map(String::len).max().unwrap_or(0) {
        text.extend(labels.iter().map(|label| label.as_bytes().get(at).map_or(' ', |byte| char::from(*byte))));
        text.push('\n');
    }
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Returns the thirds of lines a column is high.
fn height(millis: u64, low: u64, high: u64) -> u64 {
    let steps = ROWS * TOPS.len() as u64 - 1;
    match high - low {
        0 => 0,
        range => (millis - low) * steps / range,
    }
}

/// Returns what a column shows in a line.
fn mark(height: u64, row: u64) -> char {
    let thirds = TOPS.len() as u64;
    match (height / thirds).cmp(&row) {
        std::cmp::Ordering::Less => ' ',
        std::cmp::Ordering::Equal => TOPS[(height % thirds) as usize],
        std::cmp::Ordering::Greater => '|',
    }
}

/// Writes an age in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
