//! `cargo xtask demo`: a year of flights through the event service, against a freshly built server.

use crate::workspace::{Profile, build_redpoll, cargo, execute};
use anyhow::Result;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for the demonstration; `-- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds the server and runs the example `flights` of the services on it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binary = build_redpoll(Profile::Release)?;
    let mut example =
        cargo(&["run", "--quiet", "--release", "--package", "redpoll-services", "--example", "flights", "--"]);
    execute(example.arg("--redpoll").arg(binary).args(&args.args))
}
