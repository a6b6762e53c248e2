//! `cargo xtask clients`: real clients, unmodified, against a freshly started server.
//!
//! A server that speaks the Redis protocol is what its clients take it for, and every library has handshakes, shortcuts
//! and habits of its own that no transcript shows. So each client gets a server of its own and is used the way its users
//! use it, and what comes back is held against what was seen on redis-server; `--on redis` repeats that. One line is
//! printed an area.
//!
//! The scripts of other languages lie in `xtask/clients`; they know a host and a port and nothing of us. Client libraries
//! are installed below the build directory.

mod redis_cli;

use crate::install::{self, REDIS_CLI};
use crate::oracle::{self, Server, Started};
use crate::workspace::{Profile, build_redpoll, cargo, execute, program, root};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

/// The version of redis-py that is installed.
const REDIS_PY: &str = "redis==8.1.0";
/// The version of ioredis that is installed.
const IOREDIS: &str = "ioredis@6.0.0";
/// Requests of each of redis-benchmark's tests: enough for every client of it to get some.
const BENCHMARK_REQUESTS: &str = "20000";

/// Arguments of `cargo xtask clients`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs only these clients.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(CLIENTS.iter().map(|client| client.name)))]
    names: Vec<String>,
    /// Runs only what takes a few seconds and is not among the tests of a crate, as `ci` does.
    #[arg(long)]
    smoke: bool,
    /// The server to run against.
    #[arg(long, value_enum, default_value_t = Server::Redpoll)]
    on: Server,
}

struct Client {
    name: &'static str,
    effort: Effort,
    run: fn(SocketAddr) -> Result<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    Smoke,
    Full,
}

#[rustfmt::skip]
const CLIENTS: &[Client] = &[
    Client { name: "redis-cli",       effort: Effort::Smoke, run: redis_cli::run },
    Client { name: "redis-py",        effort: Effort::Smoke, run: redis_py },
    Client { name: "ioredis",         effort: Effort::Smoke, run: ioredis },
    Client { name: "redis-benchmark", effort: Effort::Full,  run: redis_benchmark },
    Client { name: "redis-rs",        effort: Effort::Full,  run: redis_rs },
];

/// Runs clients, all even when one fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let chosen = |client: &&Client| {
        let named = args.names.is_empty() || args.names.iter().any(|name| name == client.name);
        named && (client.effort == Effort::Smoke || !args.smoke)
    };
    check(&CLIENTS.iter().filter(chosen).collect::<Vec<_>>(), args.on)
}

/// Runs the quick ones against our own server and gives how many there were, for `ci`.
pub(crate) fn smoke() -> Result<usize> {
    let quick: Vec<&Client> = CLIENTS.iter().filter(|client| client.effort == Effort::Smoke).collect();
    check(&quick, Server::Redpoll).map(|()| quick.len())
}

fn check(clients: &[&Client], on: Server) -> Result<()> {
    let binary = (on == Server::Redpoll).then(|| build_redpoll(Profile::Debug)).transpose()?;
    let mut failed = Vec::new();
    for client in clients {
        let begin = Instant::now();
        let result = oracle::start(binary.clone()).and_then(|server| run_on(client, &server));
        let seconds = begin.elapsed().as_secs();
        match result {
            Ok(()) => println!("{}: ok, {seconds} s", client.name),
            Err(error) => {
                println!("{}: FAILED, {seconds} s: {error:#}", client.name);
                failed.push(client.name);
            }
        }
    }
    ensure!(failed.is_empty(), "{} of {} clients failed: {}", failed.len(), clients.len(), failed.join(", "));
    Ok(())
}

/// Runs one client; the server has to live afterwards, whatever the client thinks of it.
fn run_on(client: &Client, server: &Started) -> Result<()> {
    (client.run)(server.address())?;
    server.client().context("the server is gone").map(drop)
}

/// Where client libraries are installed.
fn folder(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target).join("clients").join(name)
}

fn script(name: &str) -> PathBuf {
    root().join("xtask/clients").join(name)
}

fn redis_py(server: SocketAddr) -> Result<()> {
    let python = install::python_with(&folder("redis-py"), REDIS_PY)?;
    let mut run = program(&python.display().to_string());
    // What a library calls deprecated is no failure, but a reader would wonder.
    run.args(["-W", "ignore::DeprecationWarning"]).arg(script("redis_py.py"));
    execute(run.args([server.ip().to_string(), server.port().to_string()]))
}

fn ioredis(server: SocketAddr) -> Result<()> {
    let modules = folder("ioredis");
    install::node_modules_with(&modules, IOREDIS)?;
    let mut run = program("node");
    run.arg(script("ioredis.mjs")).arg(modules);
    execute(run.args([server.ip().to_string(), server.port().to_string()]))
}

/// Runs redis-benchmark's default tests: each has to end, with a result and without an error.
fn redis_benchmark(server: SocketAddr) -> Result<()> {
    REDIS_CLI.ensure()?;
    for pipeline in ["1", "16"] {
        let mut benchmark = program("redis-benchmark");
        benchmark.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]);
        benchmark.args(["-q", "-n", BENCHMARK_REQUESTS, "-r", "1000", "-P", pipeline]);
        let done = benchmark.output().context("cannot run redis-benchmark")?;
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).replace('\r', "\n");
        let results: Vec<&str> = text.lines().filter(|line| line.contains("requests per second, p50=")).collect();
        results.iter().for_each(|line| println!("redis-benchmark -P {pipeline}  {}", line.trim()));
        let errors: Vec<&str> = text.lines().filter(|line| line.contains("rror")).collect();
        ensure!(done.status.success() && errors.is_empty(), "{}: {}", done.status, errors.join("; "));
        ensure!(results.len() == BENCHMARK_TESTS, "{} results instead of {BENCHMARK_TESTS}:\n{text}", results.len());
    }
    Ok(())
}

/// PING inline and as array, SET, GET, INCR, LPUSH, RPUSH, LPOP, RPOP, SADD, HSET, SPOP, ZADD, ZPOPMIN, LPUSH again to
/// have something for LRANGE of 100, 300, 500 and 600, MSET.
const BENCHMARK_TESTS: usize = 20;

/// Runs the tests with redis-rs, which start servers of their own inside their process.
fn redis_rs(_: SocketAddr) -> Result<()> {
    execute(&mut cargo(&["test", "--package", "redpoll-server", "--test", "redis_rs"]))
}
