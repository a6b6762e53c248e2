//! The program.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod serve;

use clap::{Parser, Subcommand};

/// An in-memory store that speaks the Redis protocol, and the services backends build on it.
#[derive(Parser)]
#[command(name = "redpoll", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the store over the network until a signal ends it.
    Serve(serve::Serve),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
    }
}
