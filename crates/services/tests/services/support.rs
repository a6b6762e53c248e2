//! The stores the suite runs against, started once per test program on free ports of the loopback interface.
//!
//! A server ends with the test program, however that ends: it is the child of a shell that waits for the end of its
//! standard input and then kills it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redpoll_services::{Backend, BackendConfig, Services, Settings, Tenant};
use redpoll_store::{Config, Store};

/// Longest time a server may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(30);

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

    /// One Redis server.
    pub(crate) fn remote() -> Self {
        static PORT: OnceLock<u16> = OnceLock::new();
        let port = PORT.get_or_init(|| start(&[]));
        Self::at(format!("redis://127.0.0.1:{port}"))
    }

    /// One Redis server that no other test uses.
    pub(crate) fn alone() -> Self {
        Self::at(format!("redis://127.0.0.1:{}", start(&[])))
    }

    /// A Redis Cluster of three nodes.
    pub(crate) fn cluster() -> Self {
        static NODES: OnceLock<String> = OnceLock::new();
        let nodes = NODES.get_or_init(start_cluster);
        Self::at(format!("redis+cluster://{nodes}"))
    }

    /// A port nobody listens on.
    pub(crate) fn down() -> Self {
        Self::at(format!("redis://127.0.0.1:{}", free_port()))
    }

    /// Returns the address other processes reach the store at; empty for one in this process.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn at(url: String) -> Self {
        Self { url, store: None }
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

/// A tenant nobody else uses.
pub(crate) fn tenant() -> Tenant {
    Tenant::new(uuid::Uuid::new_v4().to_string()).unwrap()
}

/// Asks `probe` until it says yes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut probe: impl FnMut() -> F) {
    let deadline = Instant::now() + START_DEADLINE;
    while !probe().await {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn start_cluster() -> String {
    let flags = ["--cluster-enabled", "yes", "--cluster-node-timeout", "15000"];
    let nodes: Vec<String> = (0..3)
        .map(|_| {
            let bus = free_port().to_string();
            let port = start(&[flags.as_slice(), &["--cluster-port", bus.as_str()]].concat());
            format!("127.0.0.1:{port}")
        })
        .collect();
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&nodes)
        .arg("--cluster-yes")
        .output()
        .expect("redis-cli is installed");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    for node in &nodes {
        let port = node.rsplit(':').next().unwrap();
        wait_for(port, &["CLUSTER", "INFO"], "cluster_state:ok");
    }
    nodes.join(",")
}

fn start(flags: &[&str]) -> u16 {
    let port = free_port();
    let dir = std::env::temp_dir().join(format!("redpoll-services-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let child = Command::new("sh")
        .args(["-c", "redis-server \"$@\" >/dev/null & server=$!; cat >/dev/null; kill $server; rm -rf \"$PWD\"", "sh"])
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(flags)
        .current_dir(&dir)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell is installed");
    keep(child, dir);
    wait_for(&port.to_string(), &["PING"], "PONG");
    port
}

/// Holds the server's shell, and with it the pipe, until the program ends.
fn keep(child: Child, dir: PathBuf) {
    static SERVERS: std::sync::Mutex<Vec<(Child, PathBuf)>> = std::sync::Mutex::new(Vec::new());
    SERVERS.lock().unwrap().push((child, dir));
}

fn wait_for(port: &str, command: &[&str], answer: &str) {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let output = Command::new("redis-cli").args(["-p", port]).args(command).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).contains(answer) {
            return;
        }
        assert!(Instant::now() < deadline, "the server on port {port} did not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
