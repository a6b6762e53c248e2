//! `cargo xtask simulate`: a store on a disk in memory that fails, fills up and loses its power, by schedules that belong to seeds.
//!
//! The schedules and what is held against them are a test of `redpoll-store`, which runs a few of them whenever tests run; here it runs as many as wanted.
//! A schedule that fails says its seed, with which it is seen again: `--seeds 1 --seed S`.

use crate::workspace::{cargo, execute};
use anyhow::Result;

/// Arguments of `cargo xtask simulate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many schedules.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The seed of the first; the others follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the schedules.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut test = cargo(&["test", "--package", "redpoll-store", "--test", "simulation", "--", "--nocapture"]);
    test.env("REDPOLL_SIMULATE_SEEDS", args.seeds.to_string()).env("REDPOLL_SIMULATE_SEED", args.seed.to_string());
    execute(&mut test)
}
