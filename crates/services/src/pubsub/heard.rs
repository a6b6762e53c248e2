//! What a subscription gives: messages, and word of those that did not come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::follow::Token;
use crate::streams::Event;

/// What happens to a message that finds the buffer full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The oldest go that wait, for who wants the latest.
    #[default]
    DropOldest,
    /// It goes itself, for who wants what began first.
    DropNewest,
    /// It goes, and the subscription ends behind what waits, for who would rather begin anew.
    Close,
}

/// What a subscription hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// Here something was missed.
    Gap(Gap),
}

/// Messages that did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// So many found the buffer full.
    Dropped {
        /// How many.
        count: u64,
    },
    /// The connection to the store was lost, and stands again: nobody knows what was published meanwhile to channels and patterns.
    Interrupted,
    /// Entries of a topic were dropped by its limits before they were read.
    Trimmed {
        /// Which topic.
        topic: String,
        /// How many; none if that cannot be known.
        count: Option<u64>,
    },
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The channel, or the topic, it was published to.
    pub channel: String,
    /// The pattern by which it came, as it was subscribed to.
    pub pattern: Option<String>,
    /// Where to go on behind it, if it came by a topic.
    pub token: Option<Token>,
    /// What was published.
    pub body: Body,
}

/// What was published.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// An event.
    Event(Box<Event>),
    /// Something else, by another client of the store.
    Raw(Vec<u8>),
}

impl Message {
    /// Returns the event, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match &self.body {
            Body::Event(event) => Some(event),
            Body::Raw(_) => None,
        }
    }
}
