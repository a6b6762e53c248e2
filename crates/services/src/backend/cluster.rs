//! A Redis or Valkey Cluster.
//!
//! The client library knows the slots and the nodes. A pipeline is cut into one per slot, sent side by side, and its
//! results are put back in their places. Commands without a key go to any node.
//!
//! The library's own repetition is off: it sends again whatever had no answer, increments as well. So repetition is decided
//! in one place, by the caller of this module, and what comes with the library's repetition is done here: a command that is
//! sent to another node for a while (`ASK`, as its slot moves) follows. Of a pipeline that is sent elsewhere nobody knows
//! how far it came; only one whose commands are all repeatable follows, one by one.

use std::collections::HashMap;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, SingleNodeRoutingInfo, Slot, SlotAddr};
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};
use redpoll_resp::Value;
use tokio::task::JoinSet;

use super::command::Command;
use super::config::BackendConfig;
use super::nodes::Nodes;
use super::remote::{listening_client, node_client, to_pipeline};
use super::reply::{Exchange, Failure, Sent, failure_of, value_of, value_or_failure};
use super::tls;
use crate::error::{Error, Result};

/// Connections to a Cluster.
pub(super) struct Cluster {
    connection: ClusterConnection,
    nodes: Nodes,
    config: BackendConfig,
    scheme: &'static str,
    /// `user:password@`, or nothing.
    credentials: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cluster")
    }
}

impl Cluster {
    /// Prepares connections from `[user:password@]host:port,host:port`, by `redis` or `rediss`.
    pub(super) fn open(scheme: &'static str, nodes: &str, config: &BackendConfig) -> Result<Self> {
        let mut builder = ClusterClientBuilder::new(urls(scheme, nodes));
        if scheme == "rediss" {
            builder = builder.certs(tls::certificates(&config.tls)?);
        }
        let client = builder.retries(0).build().map_err(|error| Error::invalid("url", error))?;
        let timeouts = ClusterConfig::new()
            .set_connection_timeout(config.connect_timeout)
            .set_response_timeout(config.command_timeout);
        let connection = client.get_pending_async_connection_with_config(timeouts);
        let credentials = nodes.rsplit_once('@').map(|(credentials, _)| format!("{credentials}@")).unwrap_or_default();
        let nodes = Nodes::Masters { connection: connection.clone(), scheme, credentials: credentials.clone() };
        Ok(Self { connection, nodes, config: config.clone(), scheme, credentials })
    }

    /// Returns the masters, to be reached by connections apart from those that are shared.
    pub(super) fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// Sends one command to the node of its first key, and on to where that one sends it.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, Failure> {
        let result = self.connection.clone().req_packed_command(&command.to_redis()).await;
        match result.as_ref().err().and_then(asked_elsewhere) {
            Some(place) => self.send_asking(command, place).await,
            None => value_or_failure(result),
        }
    }

    /// Sends commands in as many pipelines as they have slots, side by side.
    pub(super) async fn send_all(&self, commands: &[Command], indices: &[usize]) -> Vec<Exchange> {
        let mut by_slot: HashMap<Option<Slot>, Vec<usize>> = HashMap::new();
        for index in indices {
            by_slot.entry(commands[*index].first_key().map(Slot::for_key)).or_default().push(*index);
        }
        let mut running = JoinSet::new();
        for (slot, indices) in by_slot {
            let pipeline = to_pipeline(indices.iter().map(|index| &commands[*index]));
            let route = match slot {
                Some(slot) => SingleNodeRoutingInfo::SpecificNode(Route::with_slot(slot, SlotAddr::Master)),
                None => SingleNodeRoutingInfo::RandomPrimary,
            };
            let mut connection = self.connection.clone();
            running.spawn(async move {
                let count = indices.len();
                (indices, connection.route_pipeline(pipeline, 0, count, route).await)
            });
        }
        let mut exchanges = Vec::with_capacity(running.len());
        while let Some(done) = running.join_next().await {
            let (indices, replies) = done.expect("the task neither panics nor is aborted");
            let outcome = match replies {
                Ok(replies) => Ok(replies.into_iter().map(value_of).collect()),
                Err(error) => self.follow(commands, &indices, &error).await,
            };
            exchanges.push(Exchange { indices, outcome });
        }
        exchanges
    }

    /// Deals with a pipeline that failed as a whole: an error reply that asks for something to be done takes the place of
    /// all replies.
    async fn follow(&self, commands: &[Command], indices: &[usize], error: &RedisError) -> Result<Vec<Value>, Failure> {
        let failure = failure_of(error);
        let is_alone = indices.len() == 1;
        if asked_elsewhere(error).is_some()
            && (is_alone || indices.iter().all(|index| commands[*index].is_repeatable()))
        {
            let mut values = Vec::with_capacity(indices.len());
            for index in indices {
                values.push(self.send(&commands[*index]).await?);
            }
            return Ok(values);
        }
        // The others may have been done.
        let sent = if failure.answered && !is_alone { Sent::Maybe } else { failure.sent };
        Err(Failure { sent, ..failure })
    }

    /// Sends a command to a node that is about to take over its slot.
    async fn send_asking(&self, command: &Command, (host, port): (String, u16)) -> Result<Value, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.to_redis()).ignore_errors();
        let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port };
        let asked = self.connection.clone().route_pipeline(pipeline.clone(), 0, 2, node).await;
        let replies = match asked {
            // A node without slots of its own is not among those that the library knows.
            Err(error) if error.kind() == ErrorKind::ClusterConnectionNotFound => {
                let mut connection = self.connect(&host, port).await?;
                connection.send_packed_commands(&pipeline, 0, 2).await
            }
            asked => asked,
        };
        let mut replies = replies.map_err(|error| failure_of(&error))?;
        match replies.pop() {
            Some(reply) if replies.len() == 1 => Ok(value_of(reply)),
            _ => Err(failure_of(&(ErrorKind::UnexpectedReturnType, "ASKING and a command without two replies").into())),
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<MultiplexedConnection, Failure> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("{}://{}{host}:{port}", self.scheme, self.credentials);
        let client = node_client(&url, &self.config).map_err(|error| Failure::silence(error, Sent::No))?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(Some(self.config.command_timeout));
        let connection = client.get_multiplexed_async_connection_with_config(&settings).await;
        // Nothing has been sent over it.
        connection.map_err(|error| Failure { sent: Sent::No, ..failure_of(&error) })
    }
}

/// Returns where a node sends one command, if it does.
fn asked_elsewhere(error: &RedisError) -> Option<(String, u16)> {
    if error.kind() != ErrorKind::Server(ServerErrorKind::Ask) {
        return None;
    }
    let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Makes clients for listening to what is published: one for each node that is named.
pub(super) fn listening_clients(scheme: &str, nodes: &str, config: &BackendConfig) -> Result<Vec<redis::Client>> {
    urls(scheme, nodes).map(|url| listening_client(&url, config)).collect()
}

/// Returns the address of each node.
fn urls(scheme: &str, nodes: &str) -> impl Iterator<Item = String> {
    let (credentials, hosts) = match nodes.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), nodes),
    };
    let hosts = hosts.split(',').filter(|host| !host.is_empty());
    hosts.map(move |host| format!("{scheme}://{credentials}{}", host.trim_end_matches('/')))
}
