//! Listening, connections, and the end.
//!
//! Binding is a step of its own, so that a program can find out that its port is taken before it opens a store. Each
//! connection is a task on the runtime that serves; HTTP/1.1 only, since whoever wants more puts a proxy in front.
//! Stopping lets every request finish that has begun.

use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use redpoll_services::Services;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::feed::Feeds;
use crate::options::Options;
use crate::routes::router_with;

/// Most connections at a time; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: u32 = 1024;

/// Longest time for the headers of a request, and for a connection to stay idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of headers.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// Longest time that nothing of an answer is taken.
#[cfg(target_os = "linux")]
const TAKE_MAX: Duration = Duration::from_secs(60);

/// How long requests may take to finish when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long a full table of file descriptors holds accepting up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where to listen, and what is allowed there.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// Host names or addresses; loopback if empty.
    pub bind: Vec<String>,
    /// TCP port; 0 for a free one.
    pub port: u16,
    /// Who may ask, how much and how long.
    pub options: Options,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken, not ours, or its name means none.
    #[error("cannot listen on {host} port {port} for HTTP: {source}")]
    Listen {
        /// The host as configured.
        host: String,
        /// The port.
        port: u16,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Others than this machine could ask, and nothing would tell them from those who may.
    #[error("HTTP on {0} would be open to everyone: set a token, or listen on loopback")]
    Open(SocketAddr),
}

/// A server that has its addresses and does not serve yet.
#[derive(Debug)]
pub struct BoundServer {
    listeners: Vec<StdListener>,
    addresses: Vec<SocketAddr>,
    options: Options,
}

impl BoundServer {
    /// Takes the addresses.
    ///
    /// # Errors
    /// [`Error::Listen`] naming the address, [`Error::Open`] for one beyond loopback without a token.
    pub fn bind(config: &HttpConfig) -> Result<BoundServer, Error> {
        let loopback = ["127.0.0.1".to_owned()];
        let hosts = if config.bind.is_empty() { &loopback[..] } else { &config.bind };
        let mut port = config.port;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for host in hosts {
            let refuse = |source| Error::Listen { host: host.clone(), port, source };
            let (listener, address) = listen(host, port).map_err(refuse)?;
            if config.options.wanted_token().is_none() && !address.ip().is_loopback() {
                return Err(Error::Open(address));
            }
            // Further addresses share the port that was free on the first.
            port = address.port();
            listeners.push(listener);
            addresses.push(address);
        }
        Ok(BoundServer { listeners, addresses, options: config.options.clone() })
    }

    /// Returns the addresses with the actual port.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves from now on, on the runtime this is called in.
    ///
    /// # Errors
    /// [`Error::Listen`] if the runtime cannot take a listener.
    pub fn serve(self, services: Services) -> Result<HttpServer, Error> {
        let (stop, stopped) = watch::channel(false);
        let feeds = Feeds::new(self.options.feeds_max, stopped.clone());
        let router = router_with(services, self.options, feeds.clone());
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
        for (listener, address) in self.listeners.into_iter().zip(&self.addresses) {
            let refuse = |source| Error::Listen { host: address.ip().to_string(), port: address.port(), source };
            let listener = TcpListener::from_std(listener).map_err(refuse)?;
            tokio::spawn(accept(listener, router.clone(), Arc::clone(&connections), stopped.clone()));
        }
        Ok(HttpServer { addresses: self.addresses, stop, connections, feeds })
    }
}

/// A running server; dropping it stops it without waiting.
#[derive(Debug)]
pub struct HttpServer {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// All permits back means that all connections have ended.
    connections: Arc<Semaphore>,
    /// A WebSocket is no connection of these any more.
    feeds: Feeds,
}

impl HttpServer {
    /// Binds and serves, on the runtime this is called in.
    ///
    /// # Errors
    /// Those of [`BoundServer::bind`].
    pub fn start(services: Services, config: &HttpConfig) -> Result<HttpServer, Error> {
        BoundServer::bind(config)?.serve(services)
    }

    /// Returns the addresses that are listened on, with the actual port.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, lets requests finish that have begun, and waits for them.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let all_ended = async { tokio::join!(self.connections.acquire_many(CONNECTIONS_MAX), self.feeds.ended()) };
        if tokio::time::timeout(DRAIN_MAX, all_ended).await.is_err() {
            tracing::warn!("requests were cut off: they took longer than {} s to finish", DRAIN_MAX.as_secs());
        }
    }
}

fn listen(host: &str, port: u16) -> std::io::Result<(StdListener, SocketAddr)> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| std::io::Error::other("the name means no address"))?;
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            () = stopping(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, router.clone(), stopped.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    stream.set_nodelay(true).ok();
    // Whoever takes nothing of an answer for so long is gone.
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_user_timeout(Some(TAKE_MAX)).ok();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
    drop(permit);
}

/// Waits until the server stops; one that is gone has stopped.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    stopped.wait_for(|stop| *stop).await.ok();
}
