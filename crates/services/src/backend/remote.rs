//! One server over TCP, with or without TLS.
//!
//! A few multiplexed connections, each reconnecting by itself, used in turn. The connection manager's own retries are
//! off: repetition is decided in one place, by the caller of this module.
//!
//! A connection that is closed is noticed at once. One that has gone silent (a host that vanished, a path that was cut) is
//! noticed by its timeout only, and is then replaced: what comes next does not wait for it once more. Commands that are still on
//! their way in the old one keep it until they are answered or time out themselves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use redpoll_resp::Value;

use super::command::Command;
use super::config::BackendConfig;
use super::nodes::Nodes;
use super::reply::{Failure, failure_of, value_of, value_or_failure};
use super::tls;
use crate::error::{Error, Result};

/// Connections to one server.
pub(super) struct Remote {
    client: Client,
    manager: ConnectionManagerConfig,
    seats: Vec<Mutex<Seat>>,
    turn: AtomicUsize,
    url: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Remote")
    }
}

/// Place of a connection, and how many were there before it.
#[derive(Debug)]
struct Seat {
    connection: ConnectionManager,
    number: u64,
}

impl Remote {
    /// Prepares connections that are made when first used.
    pub(super) fn open(url: &str, config: &BackendConfig) -> Result<Self> {
        Self::over(client(url, config, |settings| settings)?, url.to_owned(), config)
    }

    /// Prepares connections of a client, which is of this URL.
    pub(super) fn over(client: Client, url: String, config: &BackendConfig) -> Result<Self> {
        // Shorter than a call may take, so that a silent connection is noticed before the call is given up.
        let manager = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.command_timeout * 3 / 4));
        let seats = (0..config.connections.max(1)).map(|_| {
            let connection = ConnectionManager::new_lazy_with_config(client.clone(), manager.clone())?;
            Ok(Mutex::new(Seat { connection, number: 0 }))
        });
        let seats = seats.collect::<redis::RedisResult<Vec<_>>>().map_err(|error| Error::invalid("url", error))?;
        Ok(Self { client, manager, seats, turn: AtomicUsize::new(0), url })
    }

    /// Returns the server, to be reached by connections apart from those that are shared.
    pub(super) fn nodes(&self) -> Nodes {
        Nodes::One { url: self.url.clone() }
    }

    /// Returns the client that its connections are of.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, Failure> {
        let (mut connection, seat, number) = self.connection();
        let result = connection.send_packed_command(&command.to_redis()).await;
        if let Err(error) = &result {
            self.replace_if_silent(seat, number, error);
        }
        value_or_failure(result)
    }

    /// Sends many commands in one write.
    pub(super) async fn send_all(&self, commands: &[&Command]) -> Result<Vec<Value>, Failure> {
        let (mut connection, seat, number) = self.connection();
        let pipeline = to_pipeline(commands.iter().copied());
        match connection.send_packed_commands(&pipeline, 0, commands.len()).await {
            Ok(values) => Ok(values.into_iter().map(value_of).collect()),
            Err(error) => {
                self.replace_if_silent(seat, number, &error);
                Err(failure_of(&error))
            }
        }
    }

    /// Returns the next connection in turn, with its place.
    fn connection(&self) -> (ConnectionManager, usize, u64) {
        let index = self.turn.fetch_add(1, Ordering::Relaxed) % self.seats.len();
        let seat = self.seat(index);
        (seat.connection.clone(), index, seat.number)
    }

    fn replace_if_silent(&self, index: usize, number: u64, error: &redis::RedisError) {
        if !error.is_timeout() {
            return;
        }
        let mut seat = self.seat(index);
        // Others may have timed out before on the same connection.
        if seat.number == number
            && let Ok(connection) = ConnectionManager::new_lazy_with_config(self.client.clone(), self.manager.clone())
        {
            *seat = Seat { connection, number: number + 1 };
        }
    }

    fn seat(&self, index: usize) -> MutexGuard<'_, Seat> {
        self.seats[index].lock().unwrap_or_else(PoisonError::into_inner)
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

/// Makes a client for commands to one node of a Cluster.
pub(super) fn node_client(url: &str, config: &BackendConfig) -> Result<Client> {
    client(url, config, |settings| settings)
}

/// Makes a client for listening to the server of another client.
pub(super) fn listening_like(client: &Client) -> redis::RedisResult<Client> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings))
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
