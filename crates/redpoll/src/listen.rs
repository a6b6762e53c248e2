//! Which addresses are listened on.
//!
//! `bind` knows words beside names and addresses: `*` and `::*` are all of IPv4 and IPv6, and one with a `-` before it may be missing on this machine.

use std::net::{TcpListener, ToSocketAddrs};

use anyhow::Context;

pub(crate) const PORT_ADVICE: &str = "choose another with --port; 0 takes a free one";

/// Returns what the words of `bind` mean, without what may be missing and is.
pub(crate) fn hosts(bind: &str, port: u16) -> Vec<String> {
    let named = bind.split_ascii_whitespace().filter_map(|word| match word.strip_prefix('-') {
        None => Some(host(word)),
        Some(optional) => Some(host(optional)).filter(|host| is_here(host, port)),
    });
    named.map(str::to_owned).collect()
}

fn host(word: &str) -> &str {
    match word {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    }
}

/// Tells whether the machine has an address; one whose port is taken is there.
fn is_here(host: &str, port: u16) -> bool {
    let Some(address) = (host, port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) else {
        return false;
    };
    // Binding `::` without a port in use says whether there is IPv6 at all; both families at once are not wanted.
    match TcpListener::bind((address.ip(), 0)) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::AddrInUse,
    }
}

/// Finds out whether a port is free before the store, with a log that another program may be writing, is opened.
pub(crate) fn try_listening(host: &str, port: u16) -> anyhow::Result<()> {
    let refuse = || format!("Failed listening on port {port} (TCP) of {host} for the Redis protocol ({PORT_ADVICE})");
    let address = (host, port).to_socket_addrs().with_context(refuse)?.next().with_context(refuse)?;
    TcpListener::bind(address).with_context(refuse)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_bind_are_understood() {
        assert_eq!(hosts("127.0.0.1  localhost", 0), ["127.0.0.1", "localhost"]);
        assert_eq!(hosts("* -192.0.2.1", 0), ["0.0.0.0"]);
        assert_eq!(hosts("-127.0.0.1", 0), ["127.0.0.1"]);
        assert_eq!(hosts("::*", 0), ["::"]);
    }
}
