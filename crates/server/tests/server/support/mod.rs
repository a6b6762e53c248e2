//! A server in this process, and clients that see raw bytes: what a well-behaved client would never send.

// Not every program of tests uses all of this.
#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use redpoll_server::{Server, ServerConfig};
use redpoll_store::{Config, Store};

/// Longer than anything here takes on a busy machine; what waits longer has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server with its store.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) server: Server,
}

impl Running {
    /// Starts a server with two workers on a free port with these settings.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Running {
        Running::start_with(2, settings)
    }

    /// Starts a server with so many workers.
    pub(crate) fn start_with(workers: usize, settings: &[(&str, &str)]) -> Running {
        let config = settings
            .iter()
            .fold(Config::in_memory(), |config, (name, value)| config.set(name, value).expect("the setting exists"));
        Running::start_store(workers, config)
    }

    /// Starts a server with so many workers on a store of this configuration.
    pub(crate) fn start_store(workers: usize, config: Config) -> Running {
        let store = Store::open(config).expect("the store opens");
        let config = ServerConfig { port: 0, workers, ..ServerConfig::default() };
        let server = Server::start(store.clone(), &config).expect("a free port can be listened on");
        Running { store, server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.address())
    }
}

/// A connection that sends and receives bytes as they are.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("delays can be switched off");
        Raw(stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the server takes bytes");
    }

    /// Receives exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut received = vec![0; expected.len()];
        let result = self.0.read_exact(&mut received);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(result.is_ok(), "{result:?} instead of {:?}", shown(expected));
        assert_eq!(shown(&received), shown(expected));
    }

    /// Sends a command of words and receives exactly this reply.
    #[track_caller]
    pub(crate) fn call(&mut self, line: &str, expected: &str) {
        self.send(format!("{line}\r\n"));
        self.expect(format!("{expected}\r\n"));
    }

    /// Receives a line of its own: a status, an error or a number.
    pub(crate) fn line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).expect("a line comes");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    /// Receives until the server closes the connection.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        match self.0.read_to_end(&mut received) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server does not close the connection: {error}"),
        }
        received
    }

    /// Tells whether nothing arrives for a while.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).expect("a timeout can be set");
        let result = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        result.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

/// Asks again until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Memory of this process that is in use, bytes.
pub(crate) fn resident_bytes() -> usize {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a process can see its memory");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("the second number");
    pages * PAGE
}

/// What a subscriber of a channel reads when something is published there.
pub(crate) fn message(channel: &str, payload: &str) -> String {
    format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n", channel.len(), payload.len())
}

/// Subscribes a client to a channel.
pub(crate) fn subscribe(client: &mut Raw, channel: &str) {
    client.send(format!("SUBSCRIBE {channel}\r\n"));
    client.expect(format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()));
}
