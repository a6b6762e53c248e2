//! `cargo xtask clients`: real clients and frameworks, unmodified, against a freshly started server.
//!
//! A server that speaks the Redis protocol is what its clients take it for, and every library has handshakes, shortcuts
//! and habits of its own that no transcript shows. So each gets a server of its own and is used the way its users use
//! it: workers run jobs, applications keep sessions, servers exchange messages. The same is done with redis-server as
//! partner: what fails on both is the script's fault, what fails on ours alone is ours. [`table`] lists the clients.
//!
//! The scripts of other languages lie in `xtask/clients`; they know a host and a port and nothing of us, but for the browser's, which is there for our HTTP. Libraries are
//! installed below the build directory. Which commands each sends, the servers tell (`INFO commandstats`); [`page`] makes
//! `docs/frameworks.md` of a run of all.

mod page;
mod redis_cli;
mod table;

use crate::install::{self, CHROMIUM, REDIS_CLI};
use crate::oracle::{self, Server, Started};
use crate::workspace::{Profile, build_folder, build_redpoll, cargo, execute, program, root};
use anyhow::{Context, Result, ensure};
use redpoll_testkit::Scratch;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use table::{CLIENTS, Client, Effort, Kind};

/// Requests of each of redis-benchmark's tests: enough for every client of it to get some.
const BENCHMARK_REQUESTS: &str = "20000";

/// Arguments of `cargo xtask clients`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs these clients; without any, those that take a few seconds.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(CLIENTS.iter().map(|client| client.name)))]
    names: Vec<String>,
    /// Runs all of them, which takes a quarter of an hour.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Runs against this server only.
    #[arg(long, value_enum)]
    on: Option<Server>,
    /// Writes docs/frameworks.md.
    #[arg(long, requires = "all", conflicts_with = "on")]
    write: bool,
}

/// How a client fared on a server.
struct Outcome {
    /// Nothing where there is nothing to run.
    result: Option<Result<()>>,
    seconds: u64,
    /// What its script said it checked.
    checks: usize,
    /// The commands that the server ran, subcommands as `client|setinfo`.
    commands: BTreeSet<String>,
}

/// A client with its outcomes, one a server.
struct Row {
    client: &'static Client,
    outcomes: Vec<Outcome>,
}

/// Runs clients, all even when one fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let chosen = |client: &&'static Client| {
        args.all
            || args.names.iter().any(|name| name == client.name)
            || (args.names.is_empty() && client.effort == Effort::Smoke)
    };
    let servers = args.on.map_or_else(|| vec![Server::Redpoll, Server::Redis], |one| vec![one]);
    let rows = rows(CLIENTS.iter().filter(chosen), &servers)?;
    print!("{}", page::table(&rows, &servers));
    if args.write {
        page::write(&rows)?;
    }
    conclude(&rows)
}

/// Runs the quick ones against our own server and gives how many there were, for `ci`.
pub(crate) fn smoke() -> Result<usize> {
    let quick = CLIENTS.iter().filter(|client| client.effort == Effort::Smoke);
    let rows = rows(quick, &[Server::Redpoll])?;
    conclude(&rows).map(|()| rows.len())
}

fn rows(clients: impl Iterator<Item = &'static Client>, servers: &[Server]) -> Result<Vec<Row>> {
    let binary = servers.contains(&Server::Redpoll).then(|| build_redpoll(Profile::Debug)).transpose()?;
    let outcome = |client, on: Server| {
        let binary = binary.clone().filter(|_| on == Server::Redpoll);
        let outcome = measure(client, binary);
        match &outcome.result {
            None => (),
            Some(Ok(())) => println!("{} on {}: ok, {} s", client.name, on.name(), outcome.seconds),
            Some(Err(error)) => {
                println!("{} on {}: FAILED, {} s: {error:#}", client.name, on.name(), outcome.seconds);
            }
        }
        outcome
    };
    let row = |client| Row { client, outcomes: servers.iter().map(|&on| outcome(client, on)).collect() };
    Ok(clients.map(row).collect())
}

fn conclude(rows: &[Row]) -> Result<()> {
    let bad = |row: &&Row| row.outcomes.iter().any(|outcome| matches!(outcome.result, Some(Err(_))));
    let failed: Vec<&str> = rows.iter().filter(bad).map(|row| row.client.name).collect();
    ensure!(failed.is_empty(), "{} of {} clients failed: {}", failed.len(), rows.len(), failed.join(", "));
    Ok(())
}

/// Runs one client on a server of its own: ours when its binary is given, redis-server otherwise.
fn measure(client: &Client, binary: Option<PathBuf>) -> Outcome {
    let begin = Instant::now();
    let (mut checks, mut commands) = (0, BTreeSet::new());
    let result = match client.kind {
        Kind::Inside(run) => binary.map(|_| run()),
        // Another server has no HTTP.
        Kind::Browser(..) if binary.is_none() => None,
        Kind::PythonWithServer(..) | Kind::NodeWithServer(..) | Kind::Browser(..) => {
            Some(with_own_server(client, binary, &mut checks))
        }
        _ => Some(oracle::start(binary).and_then(|server| {
            server.client()?.run("CONFIG RESETSTAT");
            run_on(client, server.address(), &[], &mut checks)?;
            // The server has to live afterwards, whatever the client thinks of it.
            commands = commands_of(&server).context("the server is gone")?;
            Ok(())
        })),
    };
    Outcome { result, seconds: begin.elapsed().as_secs(), checks, commands }
}

/// Gives the names in `INFO commandstats`, but for the reset that began the counting.
fn commands_of(server: &Started) -> Result<BTreeSet<String>> {
    let info = server.client()?.run("INFO commandstats");
    let text = String::from_utf8_lossy(info.as_bytes().context("INFO gave no text")?).into_owned();
    let names = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    Ok(names.map(|(name, _)| name.to_owned()).filter(|name| name != "config|resetstat").collect())
}

/// Runs a script that starts its server itself, from a command line that keeps every change on disk.
fn with_own_server(client: &Client, binary: Option<PathBuf>, checks: &mut usize) -> Result<()> {
    let scratch = Scratch::new()?;
    let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let program = binary.as_ref().map_or("redis-server".to_owned(), |path| path.display().to_string());
    let own: &[&str] = if binary.is_some() { &["serve", "--http-port", "0"] } else { &["--save", ""] };
    let port = address.port().to_string();
    let dir = scratch.path().display().to_string();
    let durable = ["--port", &port, "--dir", &dir, "--appendonly", "yes", "--appendfsync", "always"];
    run_on(client, address, &[&[program.as_str()], own, &durable].concat(), checks)
}

fn run_on(client: &Client, server: SocketAddr, more: &[&str], checks: &mut usize) -> Result<()> {
    let folder = folder(client.name);
    let mut run = match client.kind {
        Kind::Own(run) => return run(server),
        Kind::Inside(run) => return run(),
        Kind::Python(name, packages) | Kind::PythonWithServer(name, packages) => {
            let mut run = program(&install::python_with(&folder, packages)?.display().to_string());
            // What a library calls deprecated is no failure, but a reader would wonder.
            run.args(["-W", "ignore"]).arg(script(name)).env("PYTHONDONTWRITEBYTECODE", "1");
            run
        }
        Kind::Node(name, packages) | Kind::NodeWithServer(name, packages) | Kind::Browser(name, packages) => {
            if matches!(client.kind, Kind::Browser(..)) {
                CHROMIUM.ensure()?;
            }
            install::node_modules_with(&folder, packages)?;
            let mut run = program("node");
            run.arg("--no-warnings").arg(script(name)).arg(folder);
            run
        }
    };
    *checks += counted(run.args([server.ip().to_string(), server.port().to_string()]).args(more))?;
    Ok(())
}

/// Runs a script, shows what it prints, and gives how many checks it says it made.
fn counted(run: &mut Command) -> Result<usize> {
    let mut child = run.stdout(Stdio::piped()).spawn().context("cannot run a script")?;
    let mut checks = 0;
    for line in BufReader::new(child.stdout.take().expect("standard output was piped")).lines() {
        let line = line?;
        println!("{line}");
        checks += checks_of_line(&line).unwrap_or(0);
    }
    let status = child.wait()?;
    ensure!(status.success(), "its script failed: {status}");
    ensure!(checks > 0, "its script checked nothing");
    Ok(checks)
}

/// Reads `… 12 checks …`.
fn checks_of_line(line: &str) -> Option<usize> {
    line.split_once(" checks ")?.0.split_whitespace().last()?.parse().ok()
}

/// Where the libraries of a client are installed.
fn folder(name: &str) -> PathBuf {
    build_folder("clients").join(name)
}

fn script(name: &str) -> PathBuf {
    root().join("xtask/clients").join(name)
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
fn redis_rs() -> Result<()> {
    execute(&mut cargo(&["test", "--package", "redpoll-server", "--test", "server", "redis_rs"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_from_a_script_s_lines() {
        assert_eq!(checks_of_line("celery 5.7.0  canvas                  9 checks   1344 ms  ok"), Some(9));
        assert_eq!(checks_of_line("no checks here"), None);
        assert_eq!(checks_of_line("nothing"), None);
    }

    #[test]
    fn names_are_unique_and_scripts_are_there() {
        let names: BTreeSet<&str> = CLIENTS.iter().map(|client| client.name).collect();
        assert_eq!(names.len(), CLIENTS.len());
        for client in CLIENTS {
            let (name, packages) = match client.kind {
                Kind::Own(_) | Kind::Inside(_) => continue,
                Kind::Python(name, packages) | Kind::PythonWithServer(name, packages) => (name, packages),
                Kind::Node(name, packages) | Kind::NodeWithServer(name, packages) | Kind::Browser(name, packages) => {
                    (name, packages)
                }
            };
            assert!(script(name).is_file(), "{name}");
            assert!(packages.iter().all(|package| package.rsplit(['=', '@']).next().is_some_and(is_version)), "{name}");
        }
    }

    fn is_version(text: &str) -> bool {
        text.starts_with(|first: char| first.is_ascii_digit())
    }
}
