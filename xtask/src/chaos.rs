//! `cargo xtask chaos`: workers of a queue are killed while they work, on each kind of store, the store is killed, its clock jumps; and every job must be done, and
//! what it does, once.
//!
//! They are tests of `redpoll-services`, which kill a few over some thousand jobs whenever tests run; here it is as many as wanted.

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

/// The tests.
const TESTS: [&str; 4] = [
    "killed_workers_lose_no_job_and_do_none_twice",
    "redpoll_that_is_killed_under_load_loses_no_job",
    "redis_with_its_log_that_is_killed_under_load_loses_no_job",
    "a_clock_that_jumps_loses_no_job_and_does_none_twice",
];

/// Works the jobs off.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut test = cargo(&["test", "--package", "redpoll-services", "--test", "services", "--", "--nocapture"]);
    // One store after the other.
    test.arg("--test-threads=1").args(TESTS);
    test.env("REDPOLL_CHAOS_JOBS", args.jobs.to_string()).env("REDPOLL_CHAOS_KILLS", args.kills.to_string());
    execute(&mut test)
}
