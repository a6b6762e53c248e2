//! The one error type of this crate.
//!
//! Every service answers with the same few kinds, so that a caller (HTTP, Python, the command line) decides by kind and
//! never by text. Two things are deliberately *not* errors: a miss, and a refusal such as "limit reached"; both are
//! ordinary results with a type of their own. An outage is an error ([`Error::Unavailable`] or [`Error::Timeout`])
//! unless the service states a policy for it, in which case the result says that the policy spoke.

use std::fmt;

/// Says why an operation did not give its result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that can never work: the named field does not hold.
    #[error("{field}: {reason}")]
    InvalidInput {
        /// The field as the operation's input names it.
        field: &'static str,
        /// What is wrong with it, as a sentence.
        reason: String,
    },
    /// The thing the operation is about does not exist.
    #[error("{0} not found")]
    NotFound(String),
    /// The store cannot be reached or refuses service for now. Whether the step took place is unknown.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The store, or a loader, did not answer in time. Whether the step took place is unknown.
    #[error("timed out: {0}")]
    Timeout(String),
    /// Another caller was faster, or the thing is in a state that forbids the step.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The payload is above the configured cap.
    #[error("{size_bytes} bytes are more than the {max_bytes} allowed")]
    TooLarge {
        /// What was offered.
        size_bytes: usize,
        /// What would have been accepted.
        max_bytes: usize,
    },
    /// The store answered with an error of its own, or with something that is not an answer.
    #[error("store: {0}")]
    Backend(String),
}

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an [`Error::InvalidInput`].
    pub fn invalid(field: &'static str, reason: impl fmt::Display) -> Self {
        Self::InvalidInput { field, reason: reason.to_string() }
    }

    /// Makes the error for a reply of a shape that the command or script never gives.
    pub fn unexpected(what: &str, reply: &redpoll_resp::Value) -> Self {
        Self::Backend(format!("unexpected reply to {what}: {reply:?}"))
    }

    /// Tells whether the store is the cause and trying later may help.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_))
    }

    /// Returns the stable name of the kind, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput { .. } => "invalid_input",
            Self::NotFound(_) => "not_found",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout(_) => "timeout",
            Self::Conflict(_) => "conflict",
            Self::TooLarge { .. } => "too_large",
            Self::Backend(_) => "backend",
        }
    }

    /// Returns the HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidInput { .. } => 422,
            Self::NotFound(_) => 404,
            Self::Unavailable(_) => 503,
            Self::Timeout(_) => 504,
            Self::Conflict(_) => 409,
            Self::TooLarge { .. } => 413,
            Self::Backend(_) => 502,
        }
    }
}
