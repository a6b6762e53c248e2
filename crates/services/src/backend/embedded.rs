//! The store in this process.
//!
//! A call runs on the calling thread and is done when it returns, within microseconds unless the store's log is set to
//! reach the disk before each answer. There is nothing to connect, to lose or to repeat. Each call takes part in the
//! runtime's budget, so a task that does nothing but call does not starve its neighbours.

use redpoll_resp::Value;
use redpoll_store::{Config, Store};

use super::command::Command;
use super::reply::Failure;
use crate::error::{Error, Result};

/// A store without a wire.
pub(super) struct Embedded {
    store: Store,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Embedded")
    }
}

impl Embedded {
    /// Opens a store in memory, or in a directory if one is named.
    pub(super) fn open(dir: &str) -> Result<Self> {
        let config = if dir.is_empty() { Config::in_memory() } else { Config::in_directory(dir) };
        let store = Store::open(config).map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self::new(store))
    }

    /// Takes a store that is open already.
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Returns the store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Runs one command.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, Failure> {
        tokio::task::coop::consume_budget().await;
        Ok(self.store.call(command.args()))
    }

    /// Runs commands one after the other.
    pub(super) async fn send_all(&self, commands: &[Command]) -> Result<Vec<Value>, Failure> {
        let mut values = Vec::with_capacity(commands.len());
        for command in commands {
            tokio::task::coop::consume_budget().await;
            values.push(self.store.call(command.args()));
        }
        Ok(values)
    }
}
