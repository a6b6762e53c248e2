//! A Redis or Valkey Cluster.
//!
//! The client library knows the slots and follows redirections. A pipeline is cut into one per slot, sent side by side,
//! and its results are put back in their places. Commands without a key go to any node.

use std::collections::HashMap;

use redis::aio::ConnectionLike;
use redis::cluster::{ClusterClientBuilder, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, SingleNodeRoutingInfo, Slot, SlotAddr};
use redpoll_resp::Value;
use tokio::task::JoinSet;

use super::command::Command;
use super::config::BackendConfig;
use super::nodes::Nodes;
use super::remote::{listening_client, to_pipeline};
use super::reply::{Failure, failure_of, value_of, value_or_failure};
use super::tls;
use crate::error::{Error, Result};

/// Connections to a Cluster.
pub(super) struct Cluster {
    connection: ClusterConnection,
    nodes: Nodes,
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
        let client = builder
            .retries(config.retry.attempts_max)
            .min_retry_wait(u64::try_from(config.retry.base.as_millis()).unwrap_or(u64::MAX))
            .max_retry_wait(u64::try_from(config.retry.cap.as_millis()).unwrap_or(u64::MAX))
            .build()
            .map_err(|error| Error::invalid("url", error))?;
        let timeouts = ClusterConfig::new()
            .set_connection_timeout(config.connect_timeout)
            .set_response_timeout(config.command_timeout);
        let connection = client.get_pending_async_connection_with_config(timeouts);
        let credentials = nodes.rsplit_once('@').map(|(credentials, _)| format!("{credentials}@")).unwrap_or_default();
        let nodes = Nodes::Masters { connection: connection.clone(), scheme, credentials };
        Ok(Self { connection, nodes })
    }

    /// Returns the masters, to be reached by connections apart from those that are shared.
    pub(super) fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// Sends one command to the node of its first key.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, Failure> {
        value_or_failure(self.connection.clone().req_packed_command(&command.to_redis()).await)
    }

    /// Sends many commands, one pipeline per slot, side by side.
    pub(super) async fn send_all(&self, commands: &[Command]) -> Result<Vec<Value>, Failure> {
        let mut by_slot: HashMap<Option<Slot>, Vec<usize>> = HashMap::new();
        for (index, command) in commands.iter().enumerate() {
            by_slot.entry(command.first_key().map(Slot::for_key)).or_default().push(index);
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
        let mut values = vec![Value::Nil; commands.len()];
        while let Some(done) = running.join_next().await {
            let (indices, replies) = done.expect("the task neither panics nor is aborted");
            let replies = replies.map_err(|error| failure_of(&error))?;
            for (index, reply) in indices.into_iter().zip(replies) {
                values[index] = value_of(reply);
            }
        }
        Ok(values)
    }
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
