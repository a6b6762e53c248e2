//! One server over TCP, with or without TLS.
//!
//! A few multiplexed connections, each reconnecting by itself, used in turn. The connection manager's own retries are
//! off: repetition is decided in one place, by the caller of this module.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use redpoll_resp::Value;

use super::command::Command;
use super::config::BackendConfig;
use super::nodes::Nodes;
use super::reply::{Failure, value_of, value_or_failure};
use super::tls;
use crate::error::{Error, Result};

/// Connections to one server.
pub(super) struct Remote {
    connections: Vec<ConnectionManager>,
    turn: AtomicUsize,
    nodes: Nodes,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Remote")
    }
}

impl Remote {
    /// Prepares connections that are made when first used.
    pub(super) fn open(url: &str, config: &BackendConfig) -> Result<Self> {
        let client = client(url, config, |settings| settings)?;
        let manager = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.command_timeout));
        let connections = (0..config.connections.max(1))
            .map(|_| ConnectionManager::new_lazy_with_config(client.clone(), manager.clone()))
            .collect::<redis::RedisResult<Vec<_>>>()
            .map_err(|error| Error::invalid("url", error))?;
        let nodes = Nodes::One { url: url.to_owned() };
        Ok(Self { connections, turn: AtomicUsize::new(0), nodes })
    }

    /// Returns the server, to be reached by connections apart from those that are shared.
    pub(super) fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, Failure> {
        value_or_failure(self.connection().send_packed_command(&command.to_redis()).await)
    }

    /// Sends many commands in one write.
    pub(super) async fn send_all(&self, commands: &[Command]) -> Result<Vec<Value>, Failure> {
        let pipeline = to_pipeline(commands.iter());
        match self.connection().send_packed_commands(&pipeline, 0, commands.len()).await {
            Ok(values) => Ok(values.into_iter().map(value_of).collect()),
            Err(error) => Err(super::reply::failure_of(&error)),
        }
    }

    fn connection(&self) -> ConnectionManager {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].clone()
    }
}

/// Makes a client of a server, without connecting; `adjust` has the last word on how it speaks.
fn client(url: &str, config: &BackendConfig, adjust: fn(RedisConnectionInfo) -> RedisConnectionInfo) -> Result<Client> {
    let info = url.into_connection_info().map_err(|error| Error::invalid("url", error))?;
    let settings = adjust(info.redis_settings().clone());
    let info = info.set_redis_settings(settings);
    let client = if url.starts_with("rediss://") {
        Client::build_with_tls(info, tls::certificates(&config.tls)?)
    } else {
        Client::open(info)
    };
    client.map_err(|error| Error::invalid("url", error))
}

/// Makes a client for listening to what is published or changes: in RESP3, messages come beside replies.
pub(super) fn listening_client(url: &str, config: &BackendConfig) -> Result<Client> {
    client(url, config, |settings| settings.set_protocol(ProtocolVersion::RESP3))
}

/// Returns the commands as a pipeline whose error replies stay in their places.
pub(super) fn to_pipeline<'a>(commands: impl Iterator<Item = &'a Command>) -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    for command in commands {
        pipeline.add_command(command.to_redis());
    }
    pipeline.ignore_errors();
    pipeline
}
