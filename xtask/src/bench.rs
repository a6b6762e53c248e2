//! `cargo xtask bench`: the workloads of the package redpoll-bench, in release, on a freshly built server.

use crate::install::node_modules_with;
use crate::workspace::{Profile, build_folder, build_redpoll, cargo, execute};
use anyhow::Result;

/// The parts that measure our services beside those of others, and the others that are not written in Rust.
const BESIDE_OTHERS: &[(&str, &[&str])] = &[
    ("services-tcp", &["rate-limiter-flexible@11.4.0", "@upstash/ratelimit@2.2.0"]),
    ("jobs", &["bullmq@6.7.0", "ioredis@6.0.0"]),
];

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for the bench program; `-- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds the server and runs the bench program, which finds it through `REDPOLL_BIN`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binary = build_redpoll(Profile::Release)?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "redpoll-bench", "--"]);
    let measured = |(part, _): &&(&str, &[&str])| args.args.iter().any(|arg| arg == part);
    let others: Vec<&str> =
        BESIDE_OTHERS.iter().filter(measured).flat_map(|(_, packages)| *packages).copied().collect();
    if !others.is_empty() {
        let folder = build_folder("bench");
        node_modules_with(&folder, &others)?;
        bench.env("REDPOLL_BENCH_PACKAGES", folder.join("node_modules"));
    }
    execute(bench.args(&args.args).env("REDPOLL_BIN", binary))
}
