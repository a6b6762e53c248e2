//! A group as Redis Sentinel watches it: a master, a replica of it, and one sentinel that makes the replica master when
//! the master has been gone for half a second.

use crate::client::{Client, Target, command};
use crate::redis::RedisServer;
use crate::scratch::{Guarded, Scratch, free_port, poll, tail};
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the sentinel calls the master.
pub const SERVICE: &str = "main";

/// How long starting, replicating and failing over may take. A sentinel that was starved of processor time trusts nothing for half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// The running group.
#[derive(Debug)]
pub struct RedisSentinel {
    // The order matters: the process ends before its directory goes.
    _process: Guarded,
    _scratch: Scratch,
    address: SocketAddr,
    nodes: Vec<RedisServer>,
}

impl RedisSentinel {
    /// Starts a group and waits until the sentinel knows master and replica.
    ///
    /// # Errors
    /// As [`RedisServer::start`], and when the group does not form.
    pub fn start() -> Result<Self> {
        let master = RedisServer::start()?;
        let port = master.address().port().to_string();
        let quick = ["--repl-ping-replica-period", "1", "--repl-diskless-sync-delay", "0"];
        let replica = RedisServer::start_with(&[&["--replicaof", "127.0.0.1", &port][..], &quick[..]].concat())?;
        let scratch = Scratch::new()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let config = scratch.path().join("sentinel.conf");
        let lines = [
            format!("port {}", address.port()),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", scratch.path().display()),
            format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 1"),
            format!("sentinel down-after-milliseconds {SERVICE} 500"),
            format!("sentinel failover-timeout {SERVICE} 3000"),
        ];
        std::fs::write(&config, lines.join("\n"))?;
        let log = scratch.path().join("log");
        let mut start = Command::new("redis-server");
        start.arg(&config).arg("--sentinel");
        start.stdout(std::fs::File::create(&log)?).stderr(Stdio::null());
        let process = Guarded::spawn(&mut start, &scratch).context("cannot start redis-server --sentinel")?;
        let group = Self { _process: process, _scratch: scratch, address, nodes: vec![master, replica] };
        let knows_both = || {
            let info = Client::connect(address).map(|mut client| client.run("INFO sentinel").print());
            info.is_ok_and(|info| info.contains("status=ok,address=") && info.contains("slaves=1,"))
        };
        ensure!(poll(PATIENCE, knows_both), "the sentinel did not find its group: {}", tail(&log));
        Ok(group)
    }

    /// Gives the address of the sentinel.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the address that the sentinel tells those who ask for the master.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn master(&self) -> Result<SocketAddr> {
        let mut client = Client::connect(self.address)?;
        let reply = client.call(&command(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {SERVICE}")));
        let parts = reply.as_slice().context("the sentinel knows no master")?;
        let part = |index: usize| parts.get(index).and_then(|part| part.as_bytes()).map(String::from_utf8_lossy);
        match (part(0), part(1)) {
            (Some(host), Some(port)) => Ok(format!("{host}:{port}").parse()?),
            _ => bail!("the sentinel answered {}", reply.print()),
        }
    }

    /// Kills the master, as a crash would, and waits until the sentinel has made the replica master.
    ///
    /// # Errors
    /// When there is no replica left, or it is not made master in time.
    pub fn fail_over(&mut self) -> Result<()> {
        let master = self.master()?;
        ensure!(self.nodes.len() > 1, "there is no replica left");
        self.nodes.retain(|node| node.address() != master);
        let moved = || self.master().is_ok_and(|now| now != master) && self.nodes[0].is_master();
        ensure!(poll(PATIENCE, moved), "the sentinel made no other master");
        Ok(())
    }
}
