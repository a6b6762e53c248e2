//! A year of flights, replayed as events: what the event service does, on real data and with things going wrong.
//!
//! ```text
//! flights.csv ─► record ─► redpoll serve ─► webhook ─► receiver (a process of its own) ─► log ─► table
//!     └► counted independently ──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every departure is an event of two consumers: its carrier, which fires for so many events, and its airport, which
//! fires so long after the first event of a window. Part of the stream is delivered twice, as any real source would. In
//! the middle the receiver is killed (SIGKILL) and comes back later. At the end each crossing that follows from the file
//! must have been accepted exactly once; if not, the exit code is 1.
//!
//! The data is nycflights13 (CC0): all 336,776 flights that were to depart from New York City in 2013.
//!
//!     cargo build --release -p redpoll
//!     cargo run --release -p redpoll-services --example flights

mod data;
mod receiver;
mod replay;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use redpoll_services::events::{Deliverer, EventsSettings};
use redpoll_services::{Backend, Services, Settings, Tenant};
use redpoll_testkit::{Launch, Program};
use tokio::sync::oneshot;

/// Replays a year of flights as events and checks the triggers that come out.
#[derive(Debug, Parser)]
struct Args {
    /// Directory that keeps the data between runs.
    #[arg(long, default_value = "target/flights")]
    data: PathBuf,
    /// A store to use, such as redis://127.0.0.1:6379; without it `redpoll serve` is started.
    #[arg(long)]
    url: Option<String>,
    /// The redpoll binary; without it the one beside this program.
    #[arg(long)]
    redpoll: Option<PathBuf>,
    /// A carrier fires when so many of its flights have departed.
    #[arg(long, default_value_t = 500)]
    max_events: u64,
    /// An airport fires so many milliseconds after the first departure of a window.
    #[arg(long, default_value_t = 250)]
    max_time_ms: u64,
    /// Most events in one call.
    #[arg(long, default_value_t = 250)]
    batch: usize,
    /// Replays only so many flights, from January on.
    #[arg(long)]
    flights: Option<usize>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this process is, if not the whole.
#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Receives webhooks and logs what it accepts.
    #[command(hide = true)]
    Receive(receiver::Receive),
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match args.role {
        Some(Role::Receive(receive)) => runtime.block_on(receive.run()).map(|()| ExitCode::SUCCESS),
        None => runtime.block_on(run(args)),
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let path = data::fetch(&args.data)?;
    let flights = data::read(&path, args.flights)?;
    let place = Place::open(&args).await?;
    let tenant = Tenant::new(format!("flights-{}", uuid::Uuid::new_v4()))?;
    let outcome = replay::run(&args, &flights, &place.services.events(&tenant)).await;
    place.close().await?;
    report::print(&args, &path, &outcome?)
}

/// Where events are recorded, and who delivers.
struct Place {
    services: Services,
    server: Option<Program>,
    deliverer: Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

impl Place {
    async fn open(args: &Args) -> anyhow::Result<Self> {
        // The defaults suit receivers that are away for hours; this one is away for seconds.
        let events = EventsSettings { retry_cap: std::time::Duration::from_secs(2), ..EventsSettings::default() };
        let settings = Settings { events, ..Settings::default() };
        let Some(url) = &args.url else {
            let server = Launch { binary: args.redpoll.clone(), ..Launch::default() }.start()?;
            let services = Services::new(Backend::connect(&server.url()).await?, settings);
            eprintln!("redpoll serve listens on {} and delivers", server.address());
            return Ok(Self { services, server: Some(server), deliverer: None });
        };
        let backend = Backend::connect(url).await.with_context(|| format!("cannot use {url}"))?;
        let services = Services::new(backend, settings);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(Deliverer::new(services.clone()).run(async move {
            let _ = stopped.await;
        }));
        Ok(Self { services, server: None, deliverer: Some((stop, task)) })
    }

    async fn close(self) -> anyhow::Result<()> {
        if let Some((stop, task)) = self.deliverer {
            let _ = stop.send(());
            task.await?;
        }
        if let Some(server) = self.server {
            let status = server.terminate()?;
            anyhow::ensure!(status.success(), "redpoll serve ended with {status}");
        }
        Ok(())
    }
}
