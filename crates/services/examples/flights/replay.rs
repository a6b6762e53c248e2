//! The replay: recording, the receiver's death and return, and waiting until all is delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};
use redpoll_services::events::{Definition, Event, Events, MAX_BATCH_EVENTS, Op, Status, Target};
use tokio::task::JoinSet;

use crate::Args;
use crate::data::Flight;
use crate::receiver::{Line, Receiver, SECRET, read_log};

/// Flights recorded before the next are looked at.
const SLICE: usize = 4000;

/// Every so many slices, one is delivered twice.
const TWICE_EVERY: usize = 5;

/// Longest time until everything is delivered after the last flight.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came out.
pub(crate) struct Outcome {
    /// Every consumer's status at the end.
    pub(crate) statuses: Vec<Status>,
    /// What the receiver accepted.
    pub(crate) log: Vec<Line>,
    /// Events sent a second time.
    pub(crate) redelivered: u64,
    /// How long recording took.
    pub(crate) elapsed: Duration,
}

/// Names the consumers a flight is an event of.
fn consumers_of(flight: &Flight) -> [String; 2] {
    [carrier(&flight.carrier), origin(&flight.origin)]
}

/// Names the consumer of a carrier.
pub(crate) fn carrier(code: &str) -> String {
    format!("carrier:{code}")
}

/// Names the consumer of an airport.
pub(crate) fn origin(code: &str) -> String {
    format!("origin:{code}")
}

/// Replays the flights and waits for the last trigger.
pub(crate) async fn run(args: &Args, flights: &[Flight], events: &Events) -> anyhow::Result<Outcome> {
    let mut receiver = Receiver::start(args.data.join(format!("accepted-{}.log", std::process::id())))?;
    let target = Target::Webhook { url: receiver.url(), secret: Some(SECRET.to_owned()) };
    let by_events = Definition { max_events: Some(args.max_events), target: target.clone(), ..Definition::default() };
    let by_time = Definition { max_time_ms: Some(args.max_time_ms), target, ..Definition::default() };
    let carriers: BTreeSet<String> = flights.iter().map(|flight| carrier(&flight.carrier)).collect();
    let origins: BTreeSet<String> = flights.iter().map(|flight| origin(&flight.origin)).collect();
    for name in &carriers {
        events.define(name, &by_events).await?;
    }
    for name in &origins {
        events.define(name, &by_time).await?;
    }

    let bar = bar(flights.len());
    let (start, mut redelivered, mut receiver_is_up) = (Instant::now(), 0, true);
    let slices = flights.len().div_ceil(SLICE);
    for (index, slice) in flights.chunks(SLICE).enumerate() {
        if index == slices / 2 {
            receiver.kill()?;
            receiver_is_up = false;
            bar.set_message("the receiver is dead");
        } else if index == slices * 3 / 4 {
            receiver.restart()?;
            receiver_is_up = true;
            bar.set_message("the receiver is back");
        }
        record(args, events, slice).await?;
        if index % TWICE_EVERY == 0 {
            redelivered += 2 * slice.len() as u64;
            record(args, events, slice).await?;
        }
        bar.inc(slice.len() as u64);
    }
    if !receiver_is_up {
        receiver.restart()?;
    }
    let elapsed = start.elapsed();
    bar.set_message("waiting for the last triggers");
    // The year is over: what is left of a window is wanted too.
    for name in &carriers {
        events.define(name, &Definition { max_time_ms: Some(args.max_time_ms), ..by_events.clone() }).await?;
    }
    let statuses = settle(events, carriers.iter().chain(&origins)).await?;
    bar.finish_with_message("done");
    receiver.kill()?;
    let log = read_log(receiver.log())?;
    std::fs::remove_file(receiver.log())?;
    for name in carriers.iter().chain(&origins) {
        events.stop(name).await?;
        events.remove(name).await?;
    }
    Ok(Outcome { statuses, log, redelivered, elapsed })
}

fn bar(flights: usize) -> ProgressBar {
    let style = "{bar:40} {human_pos}/{human_len} flights  {per_sec}  {elapsed}  {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is valid");
    ProgressBar::new(flights as u64).with_style(style)
}

/// Records a slice of the stream, the consumers side by side, each in batches.
async fn record(args: &Args, events: &Events, slice: &[Flight]) -> anyhow::Result<()> {
    let mut by_consumer: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for flight in slice {
        let event = Event {
            id: Some(flight.line.to_string()),
            op: Some(Op::Create),
            key: Some(flight.number.clone()),
            source_ms: Some(flight.departs_ms),
        };
        for name in consumers_of(flight) {
            by_consumer.entry(name).or_default().push(event.clone());
        }
    }
    let batch = args.batch.clamp(1, MAX_BATCH_EVENTS);
    let mut tasks: JoinSet<redpoll_services::Result<()>> = JoinSet::new();
    for (name, own) in by_consumer {
        let events = events.clone();
        tasks.spawn(async move {
            for batch in own.chunks(batch) {
                events.record_many(&name, batch).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until no window is open and no trigger waits.
async fn settle(events: &Events, names: impl Iterator<Item = &String> + Clone) -> anyhow::Result<Vec<Status>> {
    let start = Instant::now();
    loop {
        let mut statuses = Vec::new();
        for name in names.clone() {
            statuses.push(events.status(name).await?);
        }
        let open = statuses.iter().filter(|status| status.count > 0 || status.waiting > 0).count();
        if open == 0 {
            return Ok(statuses);
        }
        ensure!(start.elapsed() < PATIENCE, "{open} consumers still wait for delivery after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
