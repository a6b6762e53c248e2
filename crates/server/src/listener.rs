//! Accepting connections and ending cleanly.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use redpoll_store::Store;
use redpoll_store::commands::settings::{Setting, Settings};
use tokio::sync::watch;

use crate::doors::{Doors, Opened, listen_all};
use crate::tls::{self, TlsConfig};
use crate::unix::{UnixConfig, UnixDoor};
use crate::worker::Worker;

/// Where to listen and with how many threads.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host names or addresses.
    pub bind: Vec<String>,
    /// TCP port; 0 for a free one.
    pub port: u16,
    /// Worker threads; 0 for one per processor.
    pub workers: usize,
    /// Listens with TLS too.
    pub tls: Option<TlsConfig>,
    /// Listens without TLS.
    pub plain: bool,
    /// Listens on a Unix socket too.
    pub unix: Option<UnixConfig>,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig { bind: vec!["127.0.0.1".into()], port: 6379, workers: 0, tls: None, plain: true, unix: None }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name means no address.
    #[error("cannot listen on '{host}': {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The address is taken or not ours.
    #[error("Failed listening on port {port} (tcp), address {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Its port.
        port: u16,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("Failed opening Unix socket {}: {source}", path.display())]
    Unix {
        /// Where it was to be.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file of TLS is missing or wrong.
    #[error("cannot use TLS: {0}")]
    Tls(String),
    /// A thread or runtime could not be made.
    #[error("cannot start a worker: {0}")]
    Worker(std::io::Error),
}

/// TCP ports that are listened on before there is a store: who comes meanwhile waits to be let in.
pub struct Entrances {
    plain: Vec<Opened>,
    with_tls: Vec<Opened>,
}

impl Entrances {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// [`Error`] with the address that could not be listened on, or the file that could not be used.
    pub fn open(config: &ServerConfig, settings: &Settings) -> Result<Entrances, Error> {
        let backlog = backlog(settings);
        let plain = if config.plain { listen_all(&config.bind, config.port, backlog, None)? } else { Vec::new() };
        let Some(tls) = &config.tls else { return Ok(Entrances { plain, with_tls: Vec::new() }) };
        let acceptor = tls::acceptor(tls).map_err(Error::Tls)?;
        let with_tls = listen_all(&config.bind, tls.port, backlog, Some(&acceptor))?;
        Ok(Entrances { plain, with_tls })
    }
}

fn backlog(settings: &Settings) -> i32 {
    i32::try_from(settings.int(Setting::TcpBacklog)).unwrap_or(i32::MAX)
}

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    /// The engine reaches them as long as the server is there.
    _doors: Arc<Doors>,
}

impl Server {
    /// Binds the listeners and starts the workers; connections are accepted from now on.
    ///
    /// # Errors
    /// [`Error`] with the address that could not be listened on, or the file that could not be used.
    pub fn start(store: Store, config: &ServerConfig) -> Result<Server, Error> {
        let entrances = Entrances::open(config, &store.engine().settings)?;
        Server::start_at(entrances, store, config)
    }

    /// Starts the workers; who has come to the entrances is let in, and whoever comes from now on.
    ///
    /// # Errors
    /// [`Error`], as [`Server::start`].
    pub fn start_at(entrances: Entrances, store: Store, config: &ServerConfig) -> Result<Server, Error> {
        let backlog = backlog(&store.engine().settings);
        let Entrances { plain: mut opened, with_tls } = entrances;
        let addresses = opened.iter().map(|door| door.address).collect();
        let tls_addresses = with_tls.iter().map(|door| door.address).collect();
        opened.extend(with_tls);
        let unix = config.unix.as_ref().map(|unix| UnixDoor::open(unix, backlog)).transpose()?;
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let (stop, stopped) = watch::channel(false);
        let (mut threads, mut workers) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (worker, thread) = Worker::start(index, store.clone(), stopped.clone()).map_err(Error::Worker)?;
            workers.push(worker);
            threads.push(thread);
        }
        let (spare, thread) = Worker::start(count, store.clone(), stopped).map_err(Error::Worker)?;
        threads.push(thread);
        let doors = Doors::new(Balance { workers, spare, next: AtomicUsize::new(0) }, backlog, opened, unix)?;
        *store.engine().listener.write() = Some(doors.listener());
        Ok(Server { addresses, tls_addresses, stop, threads, _doors: doors })
    }

    /// Returns the addresses that are listened on since the start, with the actual port; CONFIG SET may have moved on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the addresses that are listened on with TLS since the start, with the actual port.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Stops accepting, lets every connection finish the commands it has received, closes them and waits for the workers.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Deals connections out to the workers in turn.
pub(crate) struct Balance {
    workers: Vec<Worker>,
    /// Accepts connections and serves none.
    spare: Worker,
    next: AtomicUsize,
}

impl Balance {
    /// Returns the worker that accepts.
    pub(crate) fn spare(&self) -> &Worker {
        &self.spare
    }

    /// Returns how many connections there are, those included that no worker has looked at yet.
    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(Worker::connections).sum()
    }

    pub(crate) fn next(&self) -> &Worker {
        &self.workers[self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len()]
    }
}
