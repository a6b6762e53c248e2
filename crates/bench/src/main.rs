//! Measurements: the same workload on Redpoll and on redis-server in one run, as processor time per command.
//!
//! The machines this runs on are small and noisy, so nothing here is a bare throughput: a row is a pair of processor times taken from the kernel's
//! accounting of the server processes, alternating between the two servers and repeated, and their ratio. The load comes from redis-benchmark, and from
//! here where a reply decides what comes next.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod durable;
mod embedded;
mod handed;
mod jobs;
mod memory;
mod pair;
mod process;
mod served;
mod services;
mod services_tcp;
mod streams;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use redpoll_testkit::Client;

#[derive(Parser)]
#[command(about = "Workloads measured beside redis-server")]
struct Cli {
    /// Which measurements to take.
    #[arg(value_enum, default_values_t = [Part::Served, Part::Embedded, Part::Memory, Part::Durable, Part::Services])]
    parts: Vec<Part>,
    /// Commands per workload at pipeline 64; shallower ones take a part of it.
    #[arg(long, default_value_t = 2_000_000)]
    commands: u64,
    /// Times each workload is measured on each server; the median counts.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only workloads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Processor time per command over TCP, beside redis-server.
    Served,
    /// Time per call of the embedded store, and how two threads scale.
    Embedded,
    /// Bytes by kind of value, beside redis-server.
    Memory,
    /// What the log, snapshots and loading cost, beside redis-server.
    Durable,
    /// Time per call of the services on the embedded store.
    Services,
    /// Processor time per call of the services over TCP, beside other libraries; `cargo xtask bench` installs some of them.
    ServicesTcp,
    /// Job queues, beside BullMQ and on the embedded store; `cargo xtask bench` installs it.
    Jobs,
    /// Streams, beside plain streams of the same store.
    Streams,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    for part in &cli.parts {
        match part {
            Part::Served => {
                let pair = pair::Pair::start(cli.repeat)?;
                served::run(&pair, cli.commands, &cli.only)?;
                handed::run(&pair, cli.commands, &cli.only)?;
            }
            Part::Embedded => embedded::run(cli.repeat)?,
            Part::Memory => memory::run(&cli.only)?,
            Part::Durable => durable::run(cli.commands, cli.repeat, &cli.only)?,
            Part::Services => services::run(cli.repeat, &cli.only)?,
            Part::ServicesTcp => services_tcp::run(cli.repeat, &cli.only)?,
            Part::Jobs => jobs::run(cli.repeat, &cli.only)?,
            Part::Streams => streams::run(cli.repeat, &cli.only)?,
        }
    }
    Ok(())
}

/// Returns a number that INFO tells.
fn info_number(client: &mut Client, section: &str, field: &str) -> anyhow::Result<u64> {
    let reply = client.run(&format!("INFO {section}"));
    let info = String::from_utf8_lossy(reply.as_bytes().context("INFO is text")?).into_owned();
    let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.with_context(|| format!("INFO tells no {field}"))?.trim().parse().context("it is a number")
}

/// Returns the middle of some measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
