//! What can be chosen for sessions.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::ttl::{Ttl, ms};

/// The most sessions a user can have, whatever the settings say. Keeps the step that ends all of them short.
pub const MAX_SESSIONS_PER_USER: usize = 1000;

/// The most messages a session can keep.
pub const MAX_MESSAGES: usize = 1000;

/// The most fields a session can have.
pub const MAX_FIELDS: usize = 256;

/// Longest name of a field, in bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 128;

/// Longest user agent, in bytes.
pub const MAX_AGENT_BYTES: usize = 1024;

/// Longest time that an id is accepted after it was replaced.
pub const MAX_GRACE: Duration = Duration::from_secs(300);

/// Settings of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsSettings {
    /// How long a session lives after it was last touched. Default 24 h.
    pub idle: Ttl,
    /// How long a session lives at most, whatever happens; [`Ttl::Never`] sets no limit. Default 30 days.
    pub absolute: Ttl,
    /// How many sessions a user can have, at most [`MAX_SESSIONS_PER_USER`]; the oldest make room. Default 100.
    pub per_user_max: usize,
    /// How many messages a session keeps, at most [`MAX_MESSAGES`]. Default 20.
    pub messages_max: usize,
    /// How long an id is accepted after it was replaced, at most [`MAX_GRACE`]. Default 10 s.
    pub grace: Duration,
    /// How often a touch moves the end of a session at most. Default 60 s.
    pub touch_interval: Duration,
    /// Largest sum of names and values of all fields, and largest message, in bytes. Default 1 MiB.
    pub bytes_max: usize,
}

impl Default for SessionsSettings {
    fn default() -> Self {
        Self {
            idle: Ttl::ms(86_400_000).expect("positive"),
            absolute: Ttl::ms(30 * 86_400_000).expect("positive"),
            per_user_max: 100,
            messages_max: 20,
            grace: Duration::from_secs(10),
            touch_interval: Duration::from_secs(60),
            bytes_max: 1 << 20,
        }
    }
}

impl SessionsSettings {
    /// Returns how many sessions a user can have.
    pub(super) fn per_user(&self) -> Result<usize> {
        within("per_user_max", self.per_user_max, MAX_SESSIONS_PER_USER)
    }
}

/// Refuses 0 and what is above a maximum.
pub(super) fn within(field: &'static str, count: usize, max: usize) -> Result<usize> {
    if count == 0 || count > max {
        return Err(Error::invalid(field, format_args!("must be 1 to {max}")));
    }
    Ok(count)
}

/// Returns a grace period in milliseconds.
pub(super) fn grace_ms(grace: Duration) -> Result<u64> {
    if grace > MAX_GRACE {
        return Err(Error::invalid("grace_ms", format_args!("more than {} ms", MAX_GRACE.as_millis())));
    }
    Ok(ms(grace))
}
