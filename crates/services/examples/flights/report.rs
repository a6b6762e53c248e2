//! The comparison: what follows from the file, beside what the receiver accepted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use redpoll_services::events::{Reason, Status, Trigger};

use crate::Args;
use crate::receiver::Line;
use crate::replay::{Outcome, carrier, origin};

/// Prints the tables; fails if anything differs.
pub(crate) fn print(args: &Args, path: &Path, outcome: &Outcome) -> anyhow::Result<ExitCode> {
    let accepted = by_consumer(&outcome.log);
    let none = Vec::new();
    let lines = |consumer: &str| accepted.get(consumer).unwrap_or(&none).as_slice();
    let status = |consumer: &str| outcome.statuses.iter().find(|status| status.info.consumer == consumer);
    let mut differences = 0;

    println!("\n{:<8} {:>9} {:>9} {:>10} {:>10}", "carrier", "events", "counted", "expected", "delivered");
    for (code, events) in count(path, "carrier", args.flights)? {
        let own = lines(&carrier(&code));
        let counted = status(&carrier(&code)).map_or(0, |status| status.events_total);
        let expected = events.div_ceil(args.max_events);
        let equal =
            counted == events && own.len() as u64 == expected && by_events_is_right(own, events, args.max_events);
        differences += u32::from(!equal);
        println!("{code:<8} {events:>9} {counted:>9} {expected:>10} {:>10} {}", own.len(), verdict(equal));
    }

    println!(
        "\n{:<8} {:>9} {:>9} {:>10} {:>10} {:>12}",
        "airport", "events", "counted", "fired", "delivered", "in windows"
    );
    for (code, events) in count(path, "origin", args.flights)? {
        let own = lines(&origin(&code));
        let (counted, fired) =
            status(&origin(&code)).map_or((0, 0), |status: &Status| (status.events_total, status.triggers_total));
        let in_windows: u64 = own.iter().map(|line| line.trigger.count).sum();
        let equal = counted == events
            && in_windows == events
            && own.len() as u64 == fired
            && by_time_is_right(own, args.max_time_ms);
        differences += u32::from(!equal);
        println!(
            "{code:<8} {events:>9} {counted:>9} {fired:>10} {:>10} {in_windows:>12} {}",
            own.len(),
            verdict(equal)
        );
    }

    summary(outcome);
    if differences > 0 {
        println!("{differences} rows differ");
        return Ok(ExitCode::FAILURE);
    }
    println!("every crossing was delivered, once each");
    Ok(ExitCode::SUCCESS)
}

fn summary(outcome: &Outcome) {
    let sum = |field: fn(&Status) -> u64| outcome.statuses.iter().map(field).sum::<u64>();
    let lines = |test: fn(&&Line) -> bool| outcome.log.iter().filter(test).count();
    let (events, seconds) = (sum(|status| status.events_total), outcome.elapsed.as_secs_f64());
    println!("\n{events} events recorded in {seconds:.1} s ({:.0} a second)", events as f64 / seconds);
    println!(
        "{} events delivered twice by their source, {} not counted again",
        outcome.redelivered,
        sum(|status| status.duplicates_total)
    );
    println!(
        "{} triggers delivered at a later attempt, {} repetitions recognised by the receiver, {} dead",
        lines(|line| line.attempt > 1 && !line.repetition),
        lines(|line| line.repetition),
        sum(|status| status.dead),
    );
}

fn verdict(equal: bool) -> &'static str {
    if equal { "ok" } else { "DIFFERS" }
}

/// Counts a column of the file, by nothing but its commas.
fn count(path: &Path, column: &str, limit: Option<usize>) -> anyhow::Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(path)?;
    let (header, rows) = text.split_once('\n').context("the file has no rows")?;
    let place = header.split(',').position(|name| name == column).with_context(|| format!("no column {column}"))?;
    let mut counts = BTreeMap::new();
    for row in rows.lines().take(limit.unwrap_or(usize::MAX)) {
        let code = row.split(',').nth(place).context("a row is short")?;
        *counts.entry(code.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Sorts what was accepted by consumer, each by the number its id ends in. Repetitions were not accepted again.
fn by_consumer(log: &[Line]) -> HashMap<String, Vec<&Line>> {
    let mut sorted: HashMap<String, Vec<&Line>> = HashMap::new();
    for line in log.iter().filter(|line| !line.repetition) {
        sorted.entry(line.trigger.consumer.clone()).or_default().push(line);
    }
    for lines in sorted.values_mut() {
        lines.sort_by(|left, right| left.trigger.id.cmp(&right.trigger.id));
    }
    sorted
}

/// Tells whether the ids number the triggers from 1 without gap or repetition: each once, none missing.
fn is_once_each(lines: &[&Line]) -> bool {
    let number = |trigger: &Trigger| trigger.id.rsplit('-').next().and_then(|text| text.parse::<usize>().ok());
    lines.iter().enumerate().all(|(index, line)| number(&line.trigger) == Some(index + 1))
}

/// Full windows by count, and what was left in one more by time.
fn by_events_is_right(lines: &[&Line], events: u64, max_events: u64) -> bool {
    let (full, rest) = (events / max_events, events % max_events);
    let is_right = |index: usize, trigger: &Trigger| {
        if (index as u64) < full {
            (trigger.reason, trigger.count) == (Reason::EventThreshold, max_events)
        } else {
            (trigger.reason, trigger.count) == (Reason::TimeThreshold, rest)
        }
    };
    is_once_each(lines) && lines.iter().enumerate().all(|(index, line)| is_right(index, &line.trigger))
}

/// Windows of exactly the given length, none beginning before the one before has ended.
fn by_time_is_right(lines: &[&Line], max_time_ms: u64) -> bool {
    let exact = |trigger: &Trigger| {
        trigger.reason == Reason::TimeThreshold && trigger.window_end_ms - trigger.window_start_ms == max_time_ms
    };
    is_once_each(lines)
        && lines.iter().all(|line| exact(&line.trigger))
        && lines.windows(2).all(|pair| pair[0].trigger.window_end_ms <= pair[1].trigger.window_start_ms)
}
