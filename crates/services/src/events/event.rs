//! An event as it is recorded: mostly that it happened, and what a pipeline may want to know of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{MAX_NAME_BYTES, check_name};

/// Latest source time, in milliseconds: the year 5138. Keeps times exact in Lua's doubles.
pub(super) const MAX_SOURCE_MS: u64 = 100_000_000_000_000;

/// What a change event did, as Debezium writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Op {
    /// A row was created.
    #[serde(rename = "c")]
    Create,
    /// A row was updated.
    #[serde(rename = "u")]
    Update,
    /// A row was deleted.
    #[serde(rename = "d")]
    Delete,
    /// A row was read by a snapshot.
    #[serde(rename = "r")]
    Read,
    /// A table was truncated.
    #[serde(rename = "t")]
    Truncate,
    /// A message was written to the log of the database.
    #[serde(rename = "m")]
    Message,
}

impl Op {
    /// Every operation, in the order the steps count them.
    pub const ALL: [Self; 6] = [Self::Create, Self::Update, Self::Delete, Self::Read, Self::Truncate, Self::Message];

    /// Returns the letter.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }

    /// Reads the letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.letter() == letter)
    }
}

/// One event. All of it is optional: that it happened is what counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Event {
    /// Identifies the event, so that a redelivery is not counted again: topic, partition and offset, for instance.
    pub id: Option<String>,
    /// What kind of change it was.
    pub op: Option<Op>,
    /// Which row or object changed.
    pub key: Option<String>,
    /// When it happened at its source, milliseconds since 1970. Windows go by the store's clock, not by this.
    pub source_ms: Option<u64>,
}

impl Event {
    /// Makes an event with an id.
    pub fn with_id(id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Some(id) = &self.id {
            check_name("id", id)?;
        }
        if self.key.as_ref().is_some_and(|key| key.len() > MAX_NAME_BYTES) {
            return Err(Error::invalid("key", format_args!("longer than {MAX_NAME_BYTES} bytes")));
        }
        if self.source_ms.is_some_and(|ms| ms > MAX_SOURCE_MS) {
            return Err(Error::invalid("source_ms", format_args!("more than {MAX_SOURCE_MS}")));
        }
        Ok(())
    }

    /// Appends what the step takes per event.
    pub(super) fn args_of(&self, command: Command) -> Command {
        let source = self.source_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let command = command.arg(self.id.as_deref().unwrap_or_default());
        let command = command.arg(self.op.map(Op::letter).unwrap_or_default()).arg(source);
        command.arg(self.key.as_deref().unwrap_or_default())
    }
}
