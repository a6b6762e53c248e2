//! What can be chosen for tokens.

use std::time::Duration;

use crate::ttl::{MAX_TTL_MS, Ttl, ms};

/// Settings of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TokensSettings {
    /// Longest life of any token; what is revoked for a user is remembered for as long. Default 366 days.
    pub token_ttl_max: Ttl,
    /// How far clocks that stamp or verify JWTs may be from the store's. Denied tokens are remembered for so much
    /// longer, and what a user's revocation covers reaches so much further. Default 0.
    pub leeway: Duration,
    /// Largest payload in bytes, as JSON. Default 16 KiB.
    pub payload_bytes_max: usize,
    /// Lifetime of one-time tokens. Default 15 minutes.
    pub once_ttl: Ttl,
    /// Lifetime of short codes. Default 10 minutes.
    pub code_ttl: Ttl,
    /// Digits of a short code, 4 to 12. Default 6.
    pub code_digits: u32,
    /// Attempts at a short code, at least 1. Default 5.
    pub code_attempts: u32,
    /// Time for a login at the OAuth provider. Default 10 minutes.
    pub oauth_ttl: Ttl,
    /// Lifetime of CSRF tokens. Default 1 hour.
    pub csrf_ttl: Ttl,
    /// CSRF tokens of one session, 1 to 1000; one more makes the session's oldest invalid. Default 64.
    pub csrf_tokens_max: u32,
    /// How long a refresh token stays good without being used. Default 30 days.
    pub refresh_ttl: Ttl,
    /// How long a family of refresh tokens lives at most. Default 90 days.
    pub refresh_family_ttl: Ttl,
    /// How long a rotation may be asked for again. Default 10 s; 0 makes every repetition a reuse.
    pub refresh_grace: Duration,
}

impl Default for TokensSettings {
    fn default() -> Self {
        let seconds = |seconds| Ttl::seconds(seconds).expect("positive");
        Self {
            token_ttl_max: seconds(366 * 86_400),
            leeway: Duration::ZERO,
            payload_bytes_max: 16 << 10,
            once_ttl: seconds(900),
            code_ttl: seconds(600),
            code_digits: 6,
            code_attempts: 5,
            oauth_ttl: seconds(600),
            csrf_ttl: seconds(3600),
            csrf_tokens_max: 64,
            refresh_ttl: seconds(30 * 86_400),
            refresh_family_ttl: seconds(90 * 86_400),
            refresh_grace: Duration::from_secs(10),
        }
    }
}

impl TokensSettings {
    pub(super) fn leeway_ms(&self) -> u64 {
        millis(self.leeway)
    }

    pub(super) fn grace_ms(&self) -> u64 {
        millis(self.refresh_grace)
    }
}

fn millis(duration: Duration) -> u64 {
    ms(duration).min(MAX_TTL_MS)
}
