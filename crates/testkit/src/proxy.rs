//! A bad network between a client and a server: a TCP proxy on loopback that delays, goes silent, cuts and refuses.
//!
//! It passes bytes on in both directions until it is told otherwise, at any time, for all its connections:
//!
//! - [`Mode::Delay`] holds every chunk up for a while;
//! - [`Mode::Silent`] keeps connections open and passes nothing on, until the mode changes;
//! - [`Mode::Deaf`] passes requests on and closes the connection instead of passing the answer back, so that what was asked
//!   is done and nobody is told;
//! - [`Mode::Refuse`] closes what comes in;
//! - [`Proxy::cut`] closes all there is, once;
//! - [`Proxy::point`] has new connections lead to another server, as when one is started again elsewhere.
//!
//! Threads block on sockets and on one condition variable; nothing polls. All ends when the proxy is dropped.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// Bytes passed on at a time.
const CHUNK: usize = 64 << 10;
/// Most connections at a time; further ones are closed.
const CONNECTIONS_MAX: usize = 1024;

/// What the proxy does with what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes everything on, each chunk so much later.
    Delay(Duration),
    /// Passes nothing on, and keeps it.
    Silent,
    /// Passes requests on, and closes the connection when the answer comes.
    Deaf,
    /// Closes new connections; those there are go on.
    Refuse,
}

/// The proxy, gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    mode: Mode,
    over: bool,
    /// Both ends of each connection, by its number.
    open: Vec<(u64, [TcpStream; 2])>,
    connections: u64,
}

impl Proxy {
    /// Starts a proxy for a server, on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot bind a port for the proxy")?;
        let address = listener.local_addr()?;
        let state = State { target, mode: Mode::Pass, over: false, open: Vec::new(), connections: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared })
    }

    /// Gives the address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the URL that Redis clients take.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes what is done from now on, on all connections.
    pub fn set(&self, mode: Mode) {
        self.shared.lock().mode = mode;
        self.shared.changed.notify_all();
    }

    /// Has new connections lead to another server.
    pub fn point(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// Closes all connections there are; new ones are welcome.
    pub fn cut(&self) {
        self.shared.lock().cut();
    }

    /// Gives the number of connections there have been.
    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.over = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts; if that fails, it is gone already.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&mut self) {
        for (_, ends) in self.open.drain(..) {
            for end in ends {
                // One that the other side has closed is closed.
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let mut state = self.lock();
            if state.over {
                return;
            }
            state.connections += 1;
            let Ok(client) = client else { continue };
            if state.mode == Mode::Refuse || state.open.len() >= CONNECTIONS_MAX {
                continue;
            }
            let number = state.connections;
            // A server that is gone is a connection that is closed at once.
            let Ok(server) = TcpStream::connect(state.target) else { continue };
            let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { continue };
            let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { continue };
            state.open.push((number, [client_end, server_end]));
            drop(state);
            for (from, to, answers) in [(client, server, false), (server_too, client_too, true)] {
                let shared = Arc::clone(self);
                std::thread::spawn(move || {
                    shared.pass(from, to, answers);
                    shared.close(number);
                });
            }
        }
    }

    /// Passes on what comes from one end to the other until either is closed.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, answers: bool) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match from.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            if !self.may_pass(answers) || to.write_all(&chunk[..count]).is_err() {
                return;
            }
        }
    }

    /// Holds a chunk up as the mode wants it; false if the connection is to be closed instead.
    fn may_pass(&self, answers: bool) -> bool {
        let mut state = self.lock();
        if let Mode::Delay(delay) = state.mode {
            let unchanged = |state: &mut State| state.mode == Mode::Delay(delay) && !state.over;
            let waited = self.changed.wait_timeout_while(state, delay, unchanged);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let silent = |state: &mut State| state.mode == Mode::Silent && !state.over;
        state = self.changed.wait_while(state, silent).unwrap_or_else(PoisonError::into_inner);
        !(state.over || answers && state.mode == Mode::Deaf)
    }

    fn close(&self, number: u64) {
        let mut state = self.lock();
        if let Some(at) = state.open.iter().position(|(open, _)| *open == number) {
            let (_, ends) = state.open.swap_remove(at);
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, RedisServer};
    use std::time::Instant;

    #[test]
    fn each_mode_does_what_it_says() {
        let server = RedisServer::start().unwrap();
        let proxy = Proxy::start(server.address()).unwrap();
        let ping = |client: &mut Client| client.run("PING").is_simple("PONG");
        let mut client = Client::connect(proxy.address()).unwrap();
        assert!(ping(&mut client));

        proxy.set(Mode::Delay(Duration::from_millis(50)));
        let started = Instant::now();
        assert!(ping(&mut client));
        assert!(started.elapsed() >= Duration::from_millis(100), "once there and once back");

        proxy.set(Mode::Silent);
        let asking = std::thread::spawn(move || (ping(&mut client), client));
        while server.client().unwrap().run("DBSIZE").print().is_empty() {}
        assert!(!asking.is_finished());
        proxy.set(Mode::Pass);
        let (answered, client) = asking.join().unwrap();
        assert!(answered, "nothing was lost");
        drop(client);

        proxy.set(Mode::Deaf);
        let deaf = std::net::TcpStream::connect(proxy.address()).unwrap();
        (&deaf).write_all(b"SET k v\r\n").unwrap();
        let mut answer = Vec::new();
        // An answer is not given, neither by bytes nor by an error of which much could be said.
        let _ = (&deaf).read_to_end(&mut answer);
        assert_eq!(answer, b"");
        assert_eq!(server.client().unwrap().run("GET k").print(), "\"v\"", "it was done");

        proxy.set(Mode::Pass);
        let mut client = Client::connect(proxy.address()).unwrap();
        assert!(ping(&mut client));
        proxy.cut();
        let mut stream = std::net::TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"+PONG\r\n");
        assert_eq!(proxy.connections(), 4);
    }
}
