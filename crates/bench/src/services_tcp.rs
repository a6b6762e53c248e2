//! The services over TCP, each beside what one would use instead of it, in one run on one server.
//!
//! Limits stand beside the Lua steps of rate-limiter-flexible and @upstash/ratelimit, which are read from the packages as installed (`scripts`), mutexes beside
//! rslock, the cache beside the few lines that GET, load and SETEX. Both sides have one connection of redis-rs, the same subjects, and one thread for all
//! callers, whose processor time is the client's. The calls of a caller follow one another; callers never share a subject.
//!
//! A row is measured in turn on ours and on theirs, with one caller and with many. Beside one caller the server tells how often it read from its sockets,
//! which is how often a call travels, and how many commands it ran, those of scripts included.

mod caches;
mod limits;
mod locks;
mod scripts;

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redpoll_services::{Backend, BackendConfig, Services, Settings, Tenant};
use redpoll_testkit::{Client, Program, RedisServer};

use crate::process::{cpu_nanos, thread_cpu_nanos};
use crate::{info_number, median};

/// Different subjects, keys, names; a multiple of the number of callers, so that no two callers have one in common.
const SUBJECTS: usize = 1_000;

/// Callers at once, and calls per measurement; multiples of [`SUBJECTS`].
const LOADS: [(usize, usize); 2] = [(1, 10_000), (50, 50_000)];

pub(crate) fn run(repeat: usize, only: &str) -> Result<()> {
    let redis = RedisServer::start()?;
    let redpoll = Program::start(&["--appendonly", "no"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let servers = [("redis-server", redis.id(), redis.url()), ("redpoll", redpoll.id(), redpoll.url())];
    for ((name, process, url), control) in servers.into_iter().zip([redis.client()?, redpoll.client()?]) {
        println!(
            "\nservices on {name}, ours/theirs per call, and calls a second in units of theirs (median of {repeat})"
        );
        println!(
            "{:<40} {:>7} {:>11} {:>11} {:>15} {:>6} {:>15} {:>6} {:>6}",
            "call", "callers", "round trips", "commands", "server µs", "ratio", "client µs", "ratio", "rate"
        );
        runtime.block_on(async {
            let part = Part::connect(process, &url, control, repeat, only).await?;
            limits::run(&part).await?;
            locks::run(&part, &url).await?;
            caches::run(&part).await
        })?;
    }
    Ok(())
}

/// What the measurements on one server share.
struct Part<'a> {
    services: Services,
    tenant: Tenant,
    /// What the other side speaks through.
    connection: MultiplexedConnection,
    subjects: Vec<String>,
    process: u32,
    control: RefCell<Client>,
    repeat: usize,
    only: &'a str,
}

/// What the calls of one measurement took, each.
#[derive(Debug, Clone, Copy)]
struct Cost {
    round_trips: Option<f64>,
    commands: f64,
    server_micros: f64,
    client_micros: f64,
    micros: f64,
}

impl<'a> Part<'a> {
    async fn connect(process: u32, url: &str, control: Client, repeat: usize, only: &'a str) -> Result<Self> {
        let config = BackendConfig { connections: 1, ..BackendConfig::default() };
        let services = Services::new(Backend::connect_with(url, config).await?, Settings::default());
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let subjects = (0..SUBJECTS).map(|number| format!("subject:{number}")).collect();
        let (tenant, control) = (Tenant::default(), RefCell::new(control));
        Ok(Self { services, tenant, connection, subjects, process, control, repeat, only })
    }

    /// Returns the subject of a call.
    fn subject(&self, call: usize) -> &str {
        &self.subjects[call % SUBJECTS]
    }

    /// Measures our call and theirs in turn, each on an empty store, and prints what they took. Calls are told their number.
    async fn row(
        &self,
        name: &str,
        ours: impl AsyncFn(usize) -> Result<()>,
        theirs: impl AsyncFn(usize) -> Result<()>,
    ) -> Result<()> {
        if !name.contains(self.only) {
            return Ok(());
        }
        for (callers, calls) in LOADS {
            let (mut our_costs, mut their_costs) = (Vec::new(), Vec::new());
            for _ in 0..self.repeat {
                our_costs.push(self.measure(callers, calls, &ours).await?);
                their_costs.push(self.measure(callers, calls, &theirs).await?);
            }
            print_row(name, callers, middle(&our_costs), middle(&their_costs));
        }
        Ok(())
    }

    async fn measure(&self, callers: usize, calls: usize, call: &impl AsyncFn(usize) -> Result<()>) -> Result<Cost> {
        self.control.borrow_mut().run("FLUSHALL");
        // Every subject is known once before the clock starts, by numbers that are not used again.
        drive(callers, calls..calls + SUBJECTS, call).await?;
        let (reads, commands) = self.counted()?;
        let (server, client, begun) = (cpu_nanos(self.process)?, thread_cpu_nanos()?, Instant::now());
        drive(callers, 0..calls, call).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let (client, server) = (thread_cpu_nanos()? - client, cpu_nanos(self.process)? - server);
        let (reads_after, commands_after) = self.counted()?;
        let each = |sum: u64| sum as f64 / calls as f64;
        let round_trips = reads.zip(reads_after).filter(|_| callers == 1).map(|(before, after)| each(after - before));
        Ok(Cost {
            round_trips,
            commands: each(commands_after - commands),
            server_micros: each(server) / 1000.0,
            client_micros: each(client) / 1000.0,
            micros: seconds * 1e6 / calls as f64,
        })
    }

    /// Asks how often the server has read, if it counts that, and how many commands it has run.
    fn counted(&self) -> Result<(Option<u64>, u64)> {
        let mut control = self.control.borrow_mut();
        let reads = info_number(&mut control, "stats", "total_reads_processed").ok();
        Ok((reads, info_number(&mut control, "stats", "total_commands_processed")?))
    }
}

/// Makes the calls with these numbers, each caller every so many.
async fn drive(callers: usize, calls: std::ops::Range<usize>, call: &impl AsyncFn(usize) -> Result<()>) -> Result<()> {
    let caller = async |first: usize| {
        for number in calls.clone().skip(first).step_by(callers) {
            call(number).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..callers).map(caller)).await.context("a call failed").map(drop)
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> f64| median(costs.iter().map(part).collect());
    Cost {
        round_trips: costs[0].round_trips,
        commands: of(|cost| cost.commands),
        server_micros: of(|cost| cost.server_micros),
        client_micros: of(|cost| cost.client_micros),
        micros: of(|cost| cost.micros),
    }
}

fn print_row(name: &str, callers: usize, ours: Cost, theirs: Cost) {
    let trips = match (ours.round_trips, theirs.round_trips) {
        (Some(ours), Some(theirs)) => format!("{ours:.2}/{theirs:.2}"),
        _ => "–".to_owned(),
    };
    let commands = format!("{:.2}/{:.2}", ours.commands, theirs.commands);
    let server = format!("{:.2}/{:.2}", ours.server_micros, theirs.server_micros);
    let client = format!("{:.2}/{:.2}", ours.client_micros, theirs.client_micros);
    println!(
        "{name:<40} {callers:>7} {trips:>11} {commands:>11} {server:>15} {:>6.2} {client:>15} {:>6.2} {:>6.2}",
        ours.server_micros / theirs.server_micros,
        ours.client_micros / theirs.client_micros,
        theirs.micros / ours.micros,
    );
}
