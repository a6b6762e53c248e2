//! `redpoll serve`: the store and the services on the network.
//!
//! The order of the start is so that what can be wrong is found before anything is touched: ports first, then the store
//! with its log, then the servers, then the line that says that all is ready. The end goes backwards: servers finish the
//! requests they have, triggers in hand are delivered, the log is flushed.
//!
//! With `--backend` elsewhere there is no store here, so only HTTP is served.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, bail};
use redpoll_http::{BoundServer, HttpConfig, HttpServer, Options};
use redpoll_server::{ClientCertificates, Server, ServerConfig, TlsConfig};
use redpoll_services::events::Deliverer;
use redpoll_services::{Backend, Services, Settings};
use redpoll_store::commands::engine::Engine;
use redpoll_store::commands::settings::{Setting, SettingValue, find};
use redpoll_store::{Config, Store};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::backend::{self, BackendChoice, without_secret};
use crate::flags::SettingFlags;

/// Fewest threads that serve HTTP: a call may wait for the disk.
const HTTP_THREADS_MIN: usize = 4;

/// What `redpoll serve` is told.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Addresses of the Redis protocol.
    #[arg(long, default_value = "127.0.0.1", value_delimiter = ',', num_args = 1..)]
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
    /// Worker threads of the Redis protocol; 0 for one per processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where the services keep their data: `embedded`, `redis://…` or `redis+cluster://…`; elsewhere, only HTTP is served.
    #[arg(long, default_value = "embedded", env = "REDPOLL_BACKEND", hide_env_values = true, value_name = "WHERE")]
    backend: BackendChoice,
    /// Addresses of the HTTP API; any beyond loopback needs a token.
    #[arg(long, default_value = "127.0.0.1", value_delimiter = ',', num_args = 1..)]
    http_bind: Vec<String>,
    /// Port of the HTTP API; 0 for a free one.
    #[arg(long, default_value_t = 8379)]
    http_port: u16,
    /// Bearer token that HTTP requests must carry.
    #[arg(long, env = "REDPOLL_HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    http_token: Option<String>,
    /// Further names under which the HTTP API is asked; `*` for any.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    http_allow_host: Vec<String>,
    /// Largest body of an HTTP request, in bytes.
    #[arg(long, default_value_t = Options::default().body_max_bytes, value_name = "BYTES")]
    http_body_max: usize,
    /// Does not serve HTTP.
    #[arg(long)]
    no_http: bool,
    /// Prints the ready line as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// What runs, to be stopped.
struct Running {
    resp: Option<Server>,
    http: Option<HttpServer>,
    store: Option<Store>,
    deliverer: Deliveries,
    /// A client of the Redis protocol asks for the end.
    shutdown: Arc<Notify>,
}

impl Serve {
    /// Serves until a signal or a client's SHUTDOWN comes.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let runtime = runtime()?;
        let done = runtime.block_on(self.serve());
        // What a second signal cut off is not waited for.
        runtime.shutdown_background();
        done
    }

    async fn serve(self) -> anyhow::Result<()> {
        let mut signals = Signals::take()?;
        let bound = self.bind_http()?;
        let running = self.start(bound).await?;
        self.announce(&running)?;
        tokio::select! {
            () = signals.wait() => {}
            () = running.shutdown.notified() => tracing::info!("a client asks for the end (SHUTDOWN)"),
        }
        tracing::info!("stopping: finishing the requests received so far");
        tokio::select! {
            stopped = running.stop() => stopped,
            () = signals.wait() => bail!("stopped by a second signal before all requests were finished"),
        }
    }

    fn bind_http(&self) -> anyhow::Result<Option<BoundServer>> {
        if self.no_http {
            return Ok(None);
        }
        let options = Options {
            token: self.http_token.clone(),
            allowed_hosts: self.http_allow_host.clone(),
            body_max_bytes: self.http_body_max,
            ..Options::default()
        };
        let config = HttpConfig { bind: self.http_bind.clone(), port: self.http_port, options };
        match BoundServer::bind(&config) {
            Ok(bound) => Ok(Some(bound)),
            Err(error @ redpoll_http::Error::Open(_)) => bail!("{error} (--http-token, --http-bind)"),
            Err(error) => bail!("{error} (choose another with --http-port; 0 takes a free one)"),
        }
    }

    /// Starts everything there is to run.
    async fn start(&self, bound: Option<BoundServer>) -> anyhow::Result<Running> {
        let shutdown = Arc::new(Notify::new());
        let (backend, store, resp) = match &self.backend {
            BackendChoice::Embedded => {
                let (store, server) = self.start_store(Arc::clone(&shutdown))?;
                (Backend::embedded(store.clone()), Some(store), Some(server))
            }
            BackendChoice::Elsewhere(url) => {
                if let Some((name, _)) = self.settings.given().next() {
                    bail!(
                        "--{name} is a setting of the embedded store and does not go with --backend {}",
                        without_secret(url)
                    );
                }
                if bound.is_none() {
                    bail!("with --backend {} and --no-http there is nothing to serve", without_secret(url));
                }
                (backend::connect(url).await?, None, None)
            }
        };
        let settings = Settings::from_environment(&|name| std::env::var(name).ok())?;
        let services = Services::new(backend, settings);
        let deliverer = Deliveries::start(services.clone());
        let http = bound.map(|bound| bound.serve(services)).transpose()?;
        Ok(Running { resp, http, store, deliverer, shutdown })
    }

    /// Opens the store and serves the Redis protocol on it.
    fn start_store(&self, shutdown: Arc<Notify>) -> anyhow::Result<(Store, Server)> {
        for host in &self.bind {
            try_listening(host, self.port)?;
        }
        let mut config = Config::in_memory()
            .set("dir", &self.dir)?
            .set("appendonly", &self.appendonly)?
            .set("bind", &self.bind.join(" "))?
            .set("port", &self.port.to_string())?
            .on_shutdown(move || shutdown.notify_one());
        for (name, value) in self.settings.given() {
            config = config.set(name, value)?;
        }
        let store = Store::open(config)?;
        let tls = tls_of(store.engine());
        let plain = tls.is_none() || self.port != 0;
        let config = ServerConfig { bind: self.bind.clone(), port: self.port, workers: self.threads, tls, plain };
        let server = Server::start(store.clone(), &config).context(PORT_ADVICE)?;
        let port = server.addresses().first().map_or(self.port, SocketAddr::port);
        let row = find("port").expect("the table has this row");
        debug_assert_eq!(row.setting, Setting::Port);
        store.engine().settings.put(row, SettingValue::Number(port.into()));
        Ok((store, server))
    }

    /// Prints the line that says where to connect.
    fn announce(&self, running: &Running) -> anyhow::Result<()> {
        let resp = running.resp.as_ref().map(Server::addresses).unwrap_or_default();
        let http = running.http.as_ref().map(HttpServer::addresses).unwrap_or_default();
        let line = if self.json {
            let mut line = json!({"event": "ready"});
            for (name, addresses) in [("resp", resp), ("http", http)] {
                if let Some(address) = addresses.first() {
                    line[name] = json!(address);
                }
            }
            if let BackendChoice::Elsewhere(url) = &self.backend {
                line["backend"] = json!(without_secret(url));
            }
            line.to_string()
        } else {
            let mut parts = Vec::new();
            if !resp.is_empty() {
                parts.push(format!("redis protocol on {}", listed(resp, "")));
            }
            if !http.is_empty() {
                parts.push(format!("http on {}", listed(http, "http://")));
            }
            if let BackendChoice::Elsewhere(url) = &self.backend {
                parts.push(format!("data on {}, the redis protocol is not served", without_secret(url)));
            }
            format!("ready: {}", parts.join(", "))
        };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()?;
        Ok(())
    }
}

impl Running {
    /// Lets both servers finish, then everything that was in hand, then the log.
    async fn stop(self) -> anyhow::Result<()> {
        let resp = self.resp.map(|server| tokio::task::spawn_blocking(move || server.stop()));
        if let Some(http) = self.http {
            http.stop().await;
        }
        if let Some(resp) = resp {
            resp.await.context("the Redis protocol did not stop cleanly")?;
        }
        self.deliverer.stop().await;
        if let Some(store) = self.store {
            store.flush_log()?;
        }
        Ok(())
    }
}

/// The task that delivers triggers.
struct Deliveries {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Deliveries {
    fn start(services: Services) -> Deliveries {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // An error means that the program is ending, which is a way of stopping too.
            stopped.await.ok();
        };
        Deliveries { stop, task: tokio::spawn(Deliverer::new(services).run(shutdown)) }
    }

    async fn stop(self) {
        self.stop.send(()).ok();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "delivering triggers broke");
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; from now on they do not end the program.
    fn take() -> anyhow::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

const PORT_ADVICE: &str = "choose another with --port; 0 takes a free one";

/// Finds out whether a port is free before the store, with a log that another program may be writing, is opened.
fn try_listening(host: &str, port: u16) -> anyhow::Result<()> {
    let refuse = || format!("cannot listen on {host} port {port} for the Redis protocol ({PORT_ADVICE})");
    let address = (host, port).to_socket_addrs().with_context(refuse)?.next().with_context(refuse)?;
    TcpListener::bind(address).with_context(refuse)?;
    Ok(())
}

fn listed(addresses: &[SocketAddr], scheme: &str) -> String {
    addresses.iter().map(|address| format!("{scheme}{address}")).collect::<Vec<_>>().join(", ")
}

fn runtime() -> anyhow::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(HTTP_THREADS_MIN);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name("redpoll-http").enable_all().build().context("cannot start threads")
}

/// Reads what the settings say about TLS; nothing if there is no port for it.
fn tls_of(engine: &Engine) -> Option<TlsConfig> {
    let settings = &engine.settings;
    let port = u16::try_from(settings.int(Setting::TlsPort)).ok().filter(|port| *port != 0)?;
    let clients = match settings.text(Setting::TlsAuthClients).as_str() {
        "no" => ClientCertificates::No,
        "optional" => ClientCertificates::Optional,
        _ => ClientCertificates::Required,
    };
    Some(TlsConfig {
        port,
        cert_file: settings.text(Setting::TlsCertFile),
        key_file: settings.text(Setting::TlsKeyFile),
        ca_cert_file: settings.text(Setting::TlsCaCertFile),
        clients,
    })
}
