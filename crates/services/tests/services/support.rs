//! The stores the suite runs against: in this process, or servers started once per test program on free ports.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redpoll_services::{Backend, BackendConfig, Services, Settings, Tenant};
use redpoll_store::{Config, Connection, Store};
use redpoll_testkit::{Program, RedisCluster, RedisServer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest time that what a test waits for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A store to run a test against.
#[derive(Clone)]
pub(crate) struct Place {
    url: String,
    store: Option<Store>,
}

impl Place {
    /// A store in this process, the test's own.
    pub(crate) fn embedded() -> Self {
        Self { url: String::new(), store: Some(Store::open(Config::in_memory()).unwrap()) }
    }

    /// Our own server, with its log on.
    pub(crate) fn redpoll() -> Self {
        static PROGRAM: OnceLock<Program> = OnceLock::new();
        Self::at(PROGRAM.get_or_init(|| Program::start(&["--no-http"]).unwrap()).url())
    }

    /// One Redis server.
    pub(crate) fn redis() -> Self {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        Self::at(SERVER.get_or_init(|| RedisServer::start().unwrap()).url())
    }

    /// A Redis Cluster of three masters.
    pub(crate) fn cluster() -> Self {
        static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
        let nodes = CLUSTER.get_or_init(|| RedisCluster::start(3).unwrap()).addresses();
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        Self::at(format!("redis+cluster://{}", nodes.join(",")))
    }

    /// A port nobody listens on.
    pub(crate) fn down() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::at(format!("redis://{free}"))
    }

    /// The server at an address.
    pub(crate) fn at(url: String) -> Self {
        Self { url, store: None }
    }

    /// Returns the address other processes reach the store at; empty for one in this process.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Connects services of their own: connections and state of the process are not shared with any other.
    pub(crate) async fn services(&self) -> Services {
        self.services_with(Settings::default()).await
    }

    /// Connects services of their own with settings.
    pub(crate) async fn services_with(&self, settings: Settings) -> Services {
        if let Some(store) = &self.store {
            return Services::new(Backend::embedded(store.clone()), settings);
        }
        let config = BackendConfig { command_timeout: Duration::from_secs(20), ..BackendConfig::default() };
        Services::new(Backend::connect_with(&self.url, config).await.unwrap(), settings)
    }

    /// Prepares services without connecting.
    pub(crate) fn services_lazily(&self, settings: Settings) -> Services {
        Services::new(Backend::connect_lazily(&self.url, BackendConfig::default()).unwrap(), settings)
    }
}

/// Somebody who listens to a channel.
pub(crate) enum Listener {
    /// In this process.
    Embedded(Box<Connection>),
    /// Over TCP.
    Remote(BufReader<TcpStream>),
}

impl Place {
    /// Listens to a channel, from when this returns.
    pub(crate) async fn listen(&self, channel: &str) -> Listener {
        if let Some(store) = &self.store {
            let mut connection = store.connect();
            connection.call(&["SUBSCRIBE", channel]);
            return Listener::Embedded(Box::new(connection));
        }
        // Any node of a cluster will do: what is published to one is known to all.
        let address = self.url.rsplit('/').next().unwrap().split(',').next().unwrap();
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        let request = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut listener = Listener::Remote(stream);
        assert_eq!(listener.line_that(|line| line.starts_with(':')).await, ":1");
        listener
    }
}

impl Listener {
    /// Waits for a message and returns its payload, a JSON object.
    pub(crate) async fn payload(&mut self) -> String {
        if let Self::Embedded(connection) = self {
            let message = connection.receive(PATIENCE).unwrap().expect("a message in time");
            let payload = message.as_array().and_then(|parts| parts.last()).and_then(|payload| payload.as_str());
            return payload.unwrap().to_owned();
        }
        self.line_that(|line| line.starts_with('{')).await
    }

    async fn line_that(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let Self::Remote(stream) = self else { unreachable!("only what comes over TCP has lines") };
        let find = async {
            loop {
                let mut line = String::new();
                assert!(stream.read_line(&mut line).await.unwrap() > 0, "the connection was closed");
                if is_it(line.trim_end()) {
                    return line.trim_end().to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("a line in time")
    }
}

/// A tenant nobody else uses.
pub(crate) fn tenant() -> Tenant {
    Tenant::new(uuid::Uuid::new_v4().to_string()).unwrap()
}

/// Asks `probe` until it says yes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut probe: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !probe().await {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
