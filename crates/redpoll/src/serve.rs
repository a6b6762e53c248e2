//! `redpoll serve`: the store on the network.

use std::io::Write;

use anyhow::Context;
use redpoll_server::{Server, ServerConfig};
use redpoll_store::{Config, Store};
use tracing_subscriber::EnvFilter;

/// What `redpoll serve` is told.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Addresses to listen on.
    #[arg(long, default_value = "127.0.0.1", value_delimiter = ',')]
    bind: Vec<String>,
    /// Port of the Redis protocol; 0 for a free one.
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// Directory of the data files; made if need be.
    #[arg(long, default_value = "./data")]
    dir: String,
    /// Whether changes are written to the append-only log in the data directory.
    #[arg(long, default_value = "yes", value_parser = ["yes", "no"])]
    appendonly: String,
    /// Worker threads; 0 for one per processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Any further setting under its redis.conf name, such as `--set maxmemory=2gb`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Prints the ready line as JSON.
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let mut config = Config::in_memory().set("dir", &self.dir)?.set("appendonly", &self.appendonly)?;
        for assignment in &self.set {
            let (name, value) = assignment.split_once('=').context("--set takes NAME=VALUE")?;
            config = config.set(name, value)?;
        }
        let store = Store::open(config)?;
        let server_config = ServerConfig { bind: self.bind, port: self.port, workers: self.threads };
        let server = Server::start(store.clone(), &server_config)?;
        announce(&server, self.json)?;
        wait_for_signal()?;
        tracing::info!("stopping: finishing the commands received so far");
        server.stop();
        store.flush_log()?;
        Ok(())
    }
}

/// Prints the line that says where the server listens.
fn announce(server: &Server, json: bool) -> anyhow::Result<()> {
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    let line = if json {
        format!("{{\"event\":\"ready\",\"resp\":\"{}\"}}", addresses[0])
    } else {
        format!("ready: redis protocol on {}", addresses.join(", "))
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

fn wait_for_signal() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = tokio::signal::ctrl_c() => result,
        }
    })?;
    Ok(())
}
