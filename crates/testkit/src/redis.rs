//! The oracle: redis-server itself, alone or as a cluster of masters.
//!
//! Each server runs on a free port of 127.0.0.1 in a directory of its own, saves nothing, allows DEBUG and is gone
//! when its value is dropped. A port that was free may be taken before the server binds it, so starting is tried a
//! few times.

use crate::client::{Client, Target, command};
use crate::scratch::{Guarded, Scratch, free_port, poll, tail};
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a server may take to answer its first PING, and a cluster to agree on its slots.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How many ports are tried before starting is given up.
const ATTEMPTS: u32 = 5;
/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// A running redis-server.
#[derive(Debug)]
pub struct RedisServer {
    // The order matters: the process ends before its directory goes.
    process: Guarded,
    scratch: Scratch,
    address: SocketAddr,
    args: Vec<String>,
}

impl RedisServer {
    /// Starts a server with nothing saved and DEBUG allowed.
    ///
    /// # Errors
    /// When redis-server is not installed (the message says how to install it) or does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with further arguments, such as `["--maxmemory", "1mb"]`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(args: &[&str]) -> Result<Self> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::attempt(args) {
                Ok(Some(server)) => return Ok(server),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            failure = Some("no free port could be kept until redis-server bound it");
        }
        bail!(failure.unwrap_or("redis-server was never started"))
    }

    /// One try; nothing when the port was taken in the meantime.
    fn attempt(args: &[&str]) -> Result<Option<Self>> {
        let scratch = Scratch::new()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let args = args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
        let process = Self::launch(&scratch, address, &args)?;
        Ok(process.map(|process| Self { process, scratch, address, args }))
    }

    /// Starts the process and waits until it answers; nothing when the port is taken.
    fn launch(scratch: &Scratch, address: SocketAddr, args: &[String]) -> Result<Option<Guarded>> {
        let log = scratch.path().join("log");
        let mut start = Command::new("redis-server");
        start.args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]);
        start.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        start.arg("--dir").arg(scratch.path()).args(args);
        start.stdout(std::fs::File::create(&log)?).stderr(Stdio::null());
        let mut process = match Guarded::spawn(&mut start, scratch) {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("redis-server is not installed: run `apt-get install redis-server redis-tools`")
            }
            Err(error) => return Err(error).context("cannot start redis-server"),
        };
        let mut exited = false;
        let up = poll(START_PATIENCE, || {
            exited = process.child().try_wait().is_ok_and(|status| status.is_some());
            exited || Client::connect(address).is_ok_and(|mut client| client.run("PING").is_simple("PONG"))
        });
        if exited && tail(&log).contains("Address already in use") {
            return Ok(None);
        }
        ensure!(up && !exited, "redis-server did not start: {}", tail(&log));
        Ok(Some(process))
    }

    /// Kills the process as a crash would (SIGKILL); nothing listens on its port from then on.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal("KILL")?;
        self.process.wait(START_PATIENCE).map(drop)
    }

    /// Starts a process on the same port again, in the same directory and with the same arguments.
    ///
    /// # Errors
    /// When it does not come up, also because somebody else has taken the port.
    pub fn restart(&mut self) -> Result<()> {
        let process = Self::launch(&self.scratch, self.address, &self.args)?;
        self.process = process.with_context(|| format!("{} was taken by somebody else", self.address))?;
        Ok(())
    }

    /// Tells whether it answers as a master.
    pub fn is_master(&self) -> bool {
        self.client().is_ok_and(|mut client| client.run("ROLE").print().contains("\"master\""))
    }

    /// Gives the number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the URL that Redis clients take.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Opens a client.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.address).with_context(|| format!("cannot connect to redis-server at {}", self.address))
    }

    /// Gives major and minor version, such as `(7, 0)`.
    ///
    /// # Errors
    /// When INFO does not tell.
    pub fn version(&self) -> Result<(u32, u32)> {
        let info = self.client()?.run("INFO server");
        let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("redis_version:")).context("no redis_version")?;
        let mut parts = version.split('.').map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
            _ => bail!("redis_version {version} is not understood"),
        }
    }
}

/// A running cluster of masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts `masters` servers that share the slots evenly and waits until each sees the cluster as complete.
    ///
    /// # Errors
    /// As [`RedisServer::start`], and when the nodes do not come to agree.
    pub fn start(masters: usize) -> Result<Self> {
        ensure!((1..=16).contains(&masters), "a test cluster has 1 to 16 masters, not {masters}");
        let nodes = (0..masters).map(|_| Self::start_node()).collect::<Result<Vec<_>>>()?;
        let cluster = Self { nodes };
        let first = cluster.nodes[0].client()?.run("CLUSTER MYID");
        ensure!(first.as_bytes().is_some(), "CLUSTER MYID was answered by {}", first.print());
        for (index, node) in cluster.nodes.iter().enumerate() {
            cluster.assign(index, node)?;
        }
        // Only now: a node that has been met takes no epoch any more.
        cluster.nodes.iter().try_for_each(|node| cluster.introduce(node))?;
        for node in &cluster.nodes {
            let mut client = node.client()?;
            let ready = poll(START_PATIENCE, || knows_all(&mut client, masters));
            ensure!(ready, "the cluster did not form within {} s", START_PATIENCE.as_secs());
        }
        Ok(cluster)
    }

    /// The bus port of a node must be free too; by default it is the port plus 10,000, which may not exist.
    fn start_node() -> Result<RedisServer> {
        let bus = free_port()?.to_string();
        RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "5000"])
    }

    fn assign(&self, index: usize, node: &RedisServer) -> Result<()> {
        let count = self.nodes.len();
        let (from, to) = (index * SLOTS / count, (index + 1) * SLOTS / count - 1);
        let mut client = node.client()?;
        expect_ok(&mut client, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1))?;
        expect_ok(&mut client, &format!("CLUSTER ADDSLOTSRANGE {from} {to}"))
    }

    fn introduce(&self, node: &RedisServer) -> Result<()> {
        let mut client = node.client()?;
        for other in &self.nodes {
            let bus = other.client()?.run("CONFIG GET cluster-port");
            let bus = bus.as_slice().and_then(|pair| pair.get(1)).and_then(|value| value.as_bytes());
            let bus = String::from_utf8_lossy(bus.context("CONFIG GET cluster-port gave nothing")?).into_owned();
            expect_ok(&mut client, &format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.address().port()))?;
        }
        Ok(())
    }

    /// Gives the addresses of the masters, in slot order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// Gives the URLs of the masters, in slot order.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }
}

fn knows_all(client: &mut Client, masters: usize) -> bool {
    let info = client.run("CLUSTER INFO");
    let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    text.contains("cluster_state:ok") && text.contains(&format!("cluster_size:{masters}\r"))
}

fn expect_ok(client: &mut Client, line: &str) -> Result<()> {
    let reply = client.call(&command(line));
    ensure!(reply.is_simple("OK"), "{line} was answered by {}", reply.print());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    #[test]
    fn a_server_answers_in_both_protocols_and_goes_away() {
        let server = RedisServer::start().unwrap();
        let mut client = server.client().unwrap();
        assert_eq!(client.run("HSET h f v").print(), "(integer) 1");
        assert_eq!(client.run("HGETALL h").print(), "1) \"f\"\n2) \"v\"");
        client.set_protocol(Protocol::Resp3);
        assert_eq!(client.run("HGETALL h").print(), "1# \"f\" => \"v\"");
        assert!(server.version().unwrap() >= (6, 0));
        let address = server.address();
        drop(server);
        assert!(Client::connect(address).is_err());
    }

    #[test]
    fn a_cluster_redirects() {
        let cluster = RedisCluster::start(3).unwrap();
        // The slot of "foo" is 12182, which the last of three masters owns.
        let mut client = Client::connect(cluster.addresses()[0]).unwrap();
        let moved = client.run("GET foo").print();
        assert_eq!(moved, format!("(error) MOVED 12182 {}", cluster.addresses()[2]));
    }
}
