//! `cargo xtask chaos`: workers of a queue are killed while they work, on each kind of store, and every job must be done, and what it does, once.
//!
//! It is a test of `redpoll-services`, which kills a few over some thousand jobs whenever tests run; here it is as many as wanted.

use crate::workspace::{cargo, execute};
use anyhow::Result;

/// Arguments of `cargo xtask chaos`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many jobs.
    #[arg(long, default_value_t = 100_000)]
    jobs: u64,
    /// How many workers are killed.
    #[arg(long, default_value_t = 500)]
    kills: u64,
}

/// Works the jobs off.
pub(crate) fn run(args: &Args) -> Result<()> {
    let name = "killed_workers_lose_no_job_and_do_none_twice";
    let mut test = cargo(&["test", "--package", "redpoll-services", "--test", "services", name, "--", "--nocapture"]);
    // One store after the other.
    test.arg("--test-threads=1");
    test.env("REDPOLL_CHAOS_JOBS", args.jobs.to_string()).env("REDPOLL_CHAOS_KILLS", args.kills.to_string());
    execute(&mut test)
}
