//! Measurements: the same workload on Redpoll and on redis-server in one run, as processor time per command.
//!
//! The machines this runs on are small and noisy, so nothing here is a bare throughput: a row is a pair of processor times taken from the kernel's
//! accounting of the server processes, alternating between the two servers and repeated, and their ratio. The load comes from redis-benchmark, and from
//! here where a reply decides what comes next.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod embedded;
mod handed;
mod memory;
mod pair;
mod process;
mod served;

use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(about = "Workloads measured beside redis-server")]
struct Cli {
    /// Which measurements to take.
    #[arg(value_enum, default_values_t = [Part::Served, Part::Embedded, Part::Memory])]
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
    /// Bytes per key over key and value, beside redis-server.
    Memory,
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
            Part::Memory => memory::run()?,
        }
    }
    Ok(())
}

/// Returns the middle of some measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
