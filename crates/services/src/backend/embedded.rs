//! The store in this process.
//!
//! A call runs on the calling thread and is done when it returns, within microseconds unless the store's log is set to
//! reach the disk before each answer. There is nothing to connect, to lose or to repeat. Each call takes part in the
//! runtime's budget, so a task that does nothing but call does not starve its neighbours.

use std::sync::{Mutex, PoisonError};

use redpoll_resp::Value;
use redpoll_store::commands::settings::{SettingValue, find};
use redpoll_store::{Config, Store};

use super::command::Command;
use crate::error::{Error, Result};
use crate::eviction::SETTING;
use crate::twins;

/// Held while the setting is read and written again, so that two services on one store both find their words in it.
static SPARING: Mutex<()> = Mutex::new(());

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
    pub(super) fn open(dir: &str, settings: &[(&str, String)]) -> Result<Self> {
        let mut config = if dir.is_empty() { Config::in_memory() } else { Config::in_directory(dir) };
        for (name, value) in settings {
            config = config.set(name, value).map_err(|error| Error::invalid("store", error))?;
        }
        let store = Store::open(config).map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self::new(store))
    }

    /// Takes a store that is open already, and tells it which steps are here in Rust as well.
    pub(super) fn new(store: Store) -> Self {
        twins::add_to(&store);
        Self { store }
    }

    /// Returns the store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Adds beginnings of keys to those that the store never evicts.
    pub(super) fn spare(&self, beginnings: &[String]) {
        let _one_at_a_time = SPARING.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = &self.store.engine().settings;
        let row = find(SETTING).expect("the table has this row");
        let SettingValue::Text(mut words) = settings.value(row) else { unreachable!("the row is one of words") };
        let before = words.len();
        for word in beginnings {
            if !words.split_ascii_whitespace().any(|known| known == word) {
                words.push_str(if words.is_empty() { "" } else { " " });
                words.push_str(word);
            }
        }
        if words.len() > before {
            settings.put(row, SettingValue::Text(words));
        }
    }

    /// Runs one command.
    pub(super) async fn send(&self, command: &Command) -> Value {
        tokio::task::coop::consume_budget().await;
        self.store.call(&command.args())
    }
}
