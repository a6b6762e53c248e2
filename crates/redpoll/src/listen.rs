//! Whether ports are free, found out before anything else is touched.

use std::net::{TcpListener, ToSocketAddrs};

use anyhow::Context;

pub(crate) const PORT_ADVICE: &str = "choose another with --port; 0 takes a free one";

/// Finds out whether a port is free before the store, with a log that another program may be writing, is opened.
pub(crate) fn try_listening(host: &str, port: u16) -> anyhow::Result<()> {
    let refuse = || format!("Failed listening on port {port} (TCP) of {host} for the Redis protocol ({PORT_ADVICE})");
    let address = (host, port).to_socket_addrs().with_context(refuse)?.next().with_context(refuse)?;
    TcpListener::bind(address).with_context(refuse)?;
    Ok(())
}
