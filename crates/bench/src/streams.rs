//! Streams: on the embedded store with its log and on redis-server, beside what the same entries take in a plain native stream.
//!
//! Beside XADD, XREADGROUP and XACK a stream numbers and counts its events, remembers their ids, and leases each to its consumer, in the order of its key if
//! asked to. The plain stream does none of that, so it is the floor and not a rival: the ratio tells what the guarantees cost. Both sides go through the
//! same backend, and publish in batches and take as many at once.
//!
//! On the embedded store the processor time is that of the whole process, log and client included; on redis-server it is the server's. Ids are remembered for
//! fewer events than are published, so that as many are forgotten as come, as in a stream that has run for long.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use redpoll_services::streams::{Event, Group, GroupOptions, Order, Outcome, Settled, Start, Stream, TakeOptions};
use redpoll_services::{Backend, BackendConfig, Command, Services, Settings, Tenant};
use redpoll_store::{Config, Store};
use redpoll_testkit::{RedisServer, Scratch};
use serde_json::json;

use crate::median;
use crate::process::cpu_nanos;

/// Events of one measurement.
const EVENTS: usize = 20_000;

/// Events published in one call.
const BATCH: usize = 1_000;

/// Entries taken, and settled, in one call.
const TAKE: usize = 100;

/// Keys of the events: fewer than are taken at once, so that some entries wait for another of their key.
const KEYS: usize = 64;

/// Ids of events that are remembered.
const IDS: u64 = 5_000;

/// What a stream is asked for: the name of its rows, whether events have ids, and the order of the group.
const WAYS: [(&str, bool, Order); 2] =
    [("no ids, any order", false, Order::None), ("ids, per key", true, Order::PerKey)];

pub(crate) fn run(repeat: usize, only: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if "embedded".contains(only) {
        println!(
            "\nstreams on the embedded store, log synced every second, µs of the process per event (median of {repeat})"
        );
        let folder = Scratch::new()?;
        let config = Config::in_directory(folder.path().display().to_string());
        let store = Store::open(config.set("appendonly", "yes")?.set("appendfsync", "everysec")?)?;
        runtime.block_on(rows(Backend::embedded(store), std::process::id(), repeat))?;
    }
    if "redis-server".contains(only) {
        println!("\nstreams on redis-server, µs of the server per event (median of {repeat})");
        let redis = RedisServer::start()?;
        runtime.block_on(async {
            let config = BackendConfig { connections: 1, ..BackendConfig::default() };
            rows(Backend::connect_with(&redis.url(), config).await?, redis.id(), repeat).await
        })?;
    }
    Ok(())
}

/// What the events of one measurement took, each.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_micros: f64,
    micros: f64,
}

async fn rows(backend: Backend, process: u32, repeat: usize) -> Result<()> {
    let mut settings = Settings::default();
    settings.streams.dedupe_max = IDS;
    let services = Services::new(backend.clone(), settings);
    println!("{:<36} {:>9} {:>9} {:>7} {:>12} {:>12}", "what", "redpoll", "plain", "ratio", "events/s", "plain/s");
    for (way, has_ids, order) in WAYS {
        let (mut published, mut worked) = (Vec::new(), Vec::new());
        for _ in 0..repeat {
            let stream = services.streams(&Tenant::default()).stream("bench")?;
            let group = stream.group("bench")?;
            clear(&backend).await?;
            group.create(&GroupOptions { start: Start::Beginning, order, ..GroupOptions::default() }).await?;
            let ours = measure(process, publish(&stream, has_ids)).await?;
            let our_work = measure(process, work(&group)).await?;
            clear(&backend).await?;
            backend.call(Command::new("XGROUP").arg("CREATE").key(PLAIN).arg("bench").arg("0").arg("MKSTREAM")).await?;
            let plain = measure(process, publish_plain(&backend)).await?;
            let plain_work = measure(process, work_plain(&backend)).await?;
            published.push((ours, plain));
            worked.push((our_work, plain_work));
        }
        print_row(&format!("published, {way}"), &published);
        print_row(&format!("taken and settled, {way}"), &worked);
    }
    Ok(())
}

async fn clear(backend: &Backend) -> Result<()> {
    backend.call(Command::new("FLUSHALL")).await?;
    Ok(())
}

async fn measure(process: u32, work: impl Future<Output = Result<()>>) -> Result<Cost> {
    let (before, begun) = (cpu_nanos(process)?, Instant::now());
    work.await?;
    let micros = begun.elapsed().as_secs_f64() * 1e6 / EVENTS as f64;
    Ok(Cost { cpu_micros: (cpu_nanos(process)? - before) as f64 / 1e3 / EVENTS as f64, micros })
}

fn print_row(name: &str, costs: &[(Cost, Cost)]) {
    let of = |part: fn(&(Cost, Cost)) -> f64| median(costs.iter().map(part).collect());
    let (ours, plain) = (of(|both| both.0.cpu_micros), of(|both| both.1.cpu_micros));
    let (rate, plain_rate) = (1e6 / of(|both| both.0.micros), 1e6 / of(|both| both.1.micros));
    println!("{name:<36} {ours:>9.1} {plain:>9.1} {:>7.1} {rate:>12.0} {plain_rate:>12.0}", ours / plain);
}

fn event(number: usize, has_ids: bool) -> Result<Event> {
    let mut event = Event::json("/bench", "bench.noted", &json!({"number": number}))?;
    event.id = has_ids.then(|| format!("event:{number}"));
    event.key = Some(format!("key:{}", number % KEYS));
    Ok(event)
}

async fn publish(stream: &Stream, has_ids: bool) -> Result<()> {
    for first in (0..EVENTS).step_by(BATCH) {
        let events = (first..first + BATCH).map(|number| event(number, has_ids)).collect::<Result<Vec<_>>>()?;
        stream.publish_many(&events).await?;
    }
    Ok(())
}

/// Takes and settles all events, which must be there.
async fn work(group: &Group) -> Result<()> {
    let options = TakeOptions { count: TAKE, ..TakeOptions::new("worker") };
    let mut done = 0;
    while done < EVENTS {
        let taken = group.take(&options).await?;
        ensure!(!taken.deliveries.is_empty(), "{done} events, then none");
        let outcomes: Vec<_> = taken.deliveries.iter().map(|delivery| (delivery.ticket, Outcome::Done)).collect();
        let settled = group.settle(&outcomes).await?;
        ensure!(settled.iter().all(|settled| *settled == Settled::Done), "a lease was lost");
        done += outcomes.len();
    }
    Ok(())
}

/// The plain stream.
const PLAIN: &str = "plain";

async fn publish_plain(backend: &Backend) -> Result<()> {
    for first in (0..EVENTS).step_by(BATCH) {
        let add = |number: usize| {
            let (id, key) = (format!("event:{number}"), format!("key:{}", number % KEYS));
            let command = Command::new("XADD").key(PLAIN).arg("*").args_of(&["specversion", "1.0", "id", &id]);
            let command = command.args_of(&["source", "/bench", "type", "bench.noted"]);
            let command = command.args_of(&["datacontenttype", "application/json", "partitionkey", &key]);
            command.args_of(&["data", &json!({"number": number}).to_string(), "sequence", &number.to_string()])
        };
        for added in backend.pipeline((first..first + BATCH).map(add).collect()).await? {
            added?;
        }
    }
    Ok(())
}

async fn work_plain(backend: &Backend) -> Result<()> {
    let mut done = 0;
    while done < EVENTS {
        let read = Command::new("XREADGROUP").args_of(&["GROUP", "bench", "worker", "COUNT"]).arg(TAKE);
        let reply = backend.call(read.arg("STREAMS").key(PLAIN).arg(">")).await?;
        // The key and its entries, in a list of streams if the connection knows no maps.
        let mut streams = reply.into_array().unwrap_or_default();
        if streams.len() == 1 {
            streams = streams.remove(0).into_array().unwrap_or_default();
        }
        let entries = streams.get(1).and_then(|entries| entries.as_array());
        let entries = entries.with_context(|| format!("{done} entries, then none"))?;
        let ids = entries.iter().map(|entry| entry.as_array()?.first()?.as_str());
        let ids = ids.collect::<Option<Vec<_>>>().context("an entry begins with its id")?;
        let acknowledged = backend.call(Command::new("XACK").key(PLAIN).arg("bench").args_of(&ids)).await?;
        ensure!(acknowledged.as_u64() == Some(ids.len() as u64), "an entry was not pending");
        done += ids.len();
    }
    Ok(())
}
