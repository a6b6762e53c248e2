//! A client's byte stream: over TCP, plain or inside TLS, or over a Unix socket.

use std::io::Result;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use redpoll_store::commands::client::{Arrival, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// What a connection reads from and writes to.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Returns what is known of the client.
    pub(crate) fn arrival(&self) -> Arrival {
        let text = |address: Result<SocketAddr>| address.map_or_else(|_| "?:0".into(), |address| address.to_string());
        match self.tcp() {
            Ok(socket) => Arrival {
                address: text(socket.peer_addr()),
                local_address: text(socket.local_addr()),
                transport: Transport::Tcp,
                descriptor: socket.as_raw_fd(),
            },
            Err(socket) => {
                // The client's end has no name, so it goes by that of the server's.
                let path =
                    socket.local_addr().ok().and_then(|address| Some(address.as_pathname()?.display().to_string()));
                let address = format!("{}:0", path.unwrap_or_default());
                let local_address = address.clone();
                Arrival { address, local_address, transport: Transport::Unix, descriptor: socket.as_raw_fd() }
            }
        }
    }

    /// Sends without delay and finds out about clients that have gone silently, where that needs saying.
    pub(crate) fn prepare(&self, keep_alive_seconds: i64) {
        let Ok(socket) = self.tcp() else { return };
        socket.set_nodelay(true).ok();
        if let Ok(seconds @ 1..) = u64::try_from(keep_alive_seconds) {
            let keep_alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(seconds));
            socket2::SockRef::from(socket).set_tcp_keepalive(&keep_alive).ok();
        }
    }

    fn tcp(&self) -> std::result::Result<&TcpStream, &UnixStream> {
        match self {
            Stream::Plain(socket) => Ok(socket),
            Stream::Tls(stream) => Ok(stream.get_ref().0),
            Stream::Unix(socket) => Err(socket),
        }
    }

    /// Tells whether what was written is on its way as soon as the socket has taken it, with nothing to flush.
    pub(crate) fn is_unbuffered(&self) -> bool {
        !matches!(self, Stream::Tls(_))
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(task, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(task, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(task, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(task, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(task, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(task, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(task),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(task),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(task),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}
