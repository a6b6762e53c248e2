//! `cargo xtask bench`: the workloads of the package redpoll-bench, in release, on a freshly built server.

use crate::workspace::{Profile, build_redpoll, cargo, execute};
use anyhow::Result;

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
    execute(bench.args(&args.args).env("REDPOLL_BIN", binary))
}
