//! Who has come in: a socket on its way from the door to the worker that serves it, over TCP or over a Unix socket.
//!
//! Doors and workers have runtimes of their own, so between them a socket belongs to none.

use std::io::{Result, Write};
use std::net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::stream::Stream;

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A socket that is listened on.
pub(crate) enum Entrance {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Entrance {
    /// Brings the socket into the runtime of the caller.
    pub(crate) fn open(self) -> Result<OpenEntrance> {
        Ok(match self {
            Entrance::Tcp(listener) => OpenEntrance::Tcp(TcpListener::from_std(listener)?),
            Entrance::Unix(listener) => OpenEntrance::Unix(UnixListener::from_std(listener)?),
        })
    }
}

/// A socket that can be accepted from.
pub(crate) enum OpenEntrance {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl OpenEntrance {
    /// Waits for somebody to come.
    pub(crate) async fn accept(&self) -> Result<Guest> {
        match self {
            OpenEntrance::Tcp(listener) => listener.accept().await?.0.into_std().map(Guest::Tcp),
            OpenEntrance::Unix(listener) => listener.accept().await?.0.into_std().map(Guest::Unix),
        }
    }
}

/// A connection that no runtime knows yet.
pub(crate) enum Guest {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

impl Guest {
    /// Tells whether the client is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Guest::Tcp(socket) => socket.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Guest::Unix(_) => true,
        }
    }

    /// Tells a client why it is turned away. The socket is new, so there is room for a line; who has gone already need not be told.
    pub(crate) fn turn_away(mut self, text: &str) {
        match &mut self {
            Guest::Tcp(socket) => socket.write_all(text.as_bytes()).ok(),
            Guest::Unix(socket) => socket.write_all(text.as_bytes()).ok(),
        };
    }

    /// Brings the socket into the runtime of the caller and shakes hands, if that is the custom at the door it came through; none if that failed.
    pub(crate) async fn welcome(self, tls: Option<TlsAcceptor>) -> Result<Option<Stream>> {
        let socket = match self {
            Guest::Unix(socket) => return UnixStream::from_std(socket).map(|socket| Some(Stream::Unix(socket))),
            Guest::Tcp(socket) => TcpStream::from_std(socket)?,
        };
        let Some(tls) = tls else { return Ok(Some(Stream::Plain(socket))) };
        match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(socket)).await {
            Ok(Ok(stream)) => Ok(Some(Stream::Tls(Box::new(stream)))),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}
