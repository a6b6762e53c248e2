//! The program: a command line over the crates.
//!
//! Beside the commands below, each service is one, with its operations (`call`).
//!
//! Errors are one line on standard error and exit code 1; a command line that cannot be understood is exit code 2. `check` has exit codes of its own.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod backend;
mod call;
mod check;
mod flags;
mod keys;
mod listen;
mod log;
mod openapi;
mod redis_server;
mod reference;
mod run;
mod serve;
mod worker;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// An in-memory store that speaks the Redis protocol, and the services backends build on it.
#[derive(Parser)]
#[command(name = "redpoll", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the store and the services over the network until a signal ends it.
    Serve(Box<serve::Serve>),
    /// Runs a command for each job of some queues.
    Worker(Box<worker::Work>),
    /// Looks at data files without loading them, and says what is wrong and where.
    Check(check::Check),
    /// Prints the OpenAPI document of the HTTP API.
    Openapi,
    /// Prints a reference page as Markdown.
    Reference {
        /// Which one.
        page: reference::Page,
    },
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    if args.next().is_some_and(|program| redis_server::is_meant(&program)) {
        return match redis_server::run(&args.collect::<Vec<_>>()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let matches = Cli::command().subcommands(call::commands()).get_matches();
    if let Some(code) = call::run(&matches) {
        return code;
    }
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Worker(worker) => worker.run(),
        Command::Check(check) => return check.run(),
        Command::Openapi => openapi::print(),
        Command::Reference { page } => reference::print(page),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redpoll: {error:#}");
            ExitCode::FAILURE
        }
    }
}
