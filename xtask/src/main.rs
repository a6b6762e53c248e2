//! Everything that is done to the project rather than by it: `cargo xtask <command>`.
//!
//! One file per command. `ci` runs what a change must pass, and every one of its steps can be run alone. Nothing here
//! is needed to build or use Redpoll, and nothing is configured elsewhere: what CI does is what this program does.

mod bench;
mod chaos;
mod ci;
mod clients;
mod codegen;
mod crash;
mod demo;
mod differential;
mod fuzz;
mod install;
mod oracle;
mod simulate;
mod tcl;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};

/// Automation of the Redpoll workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything a change must pass and prints how much passed.
    Ci(ci::Args),
    /// Checks the rules of docs/style.md that a machine can check.
    Tidy(tidy::Args),
    /// Writes the files that are generated from the program's tables.
    Codegen(codegen::Args),
    /// Runs transcripts against a real redis-server, or against our own.
    Oracle(oracle::Args),
    /// Sends the same random commands to our server and to redis-server.
    Differential(differential::Args),
    /// Runs a store on a disk in memory that fails and loses its power, by schedules that belong to seeds.
    Simulate(simulate::Args),
    /// Kills our server again and again while it is written to, and compares what comes back with what it had acknowledged.
    Crash(crash::Args),
    /// Kills workers of a queue again and again while they work, and looks whether every job was done, and once.
    Chaos(chaos::Args),
    /// Runs real clients and frameworks against our own server and redis-server.
    Clients(clients::Args),
    /// Runs Redis's own test suite against our own server.
    Tcl(tcl::Args),
    /// Measures workloads beside redis-server.
    Bench(bench::Args),
    /// Replays a year of flights as events and checks the triggers that come out.
    Demo(demo::Args),
    /// Runs the fuzz targets.
    Fuzz(fuzz::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ci(args) => ci::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Codegen(args) => codegen::run(&args),
        Command::Oracle(args) => oracle::run(&args),
        Command::Differential(args) => differential::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Crash(args) => crash::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Clients(args) => clients::run(&args),
        Command::Tcl(args) => tcl::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
    }
}
