//! What an operator can choose, with the defaults of the documentation.
//!
//! Built in code, or from the environment under the names that existing deployments use.

use crate::atomic::AtomicSettings;
use crate::backend::config::{first, unreadable};
use crate::cache::CacheSettings;
use crate::error::Result;
use crate::events::EventsSettings;
use crate::idempotency::IdempotencySettings;
use crate::jobs::JobSettings;
use crate::kept::OnEviction;
use crate::keys::Keyring;
use crate::locks::LockSettings;
use crate::outage::OutagePolicies;
use crate::pubsub::PubSubSettings;
use crate::ratelimit::RateLimitSettings;
use crate::schedules::ScheduleSettings;
use crate::sessions::SessionsSettings;
use crate::streams::StreamSettings;
use crate::tokens::TokensSettings;
use crate::ttl::Ttl;

/// Settings of all services.
#[derive(Debug, Clone)]
pub struct Settings {
    /// First part of every key. Default `rp`.
    pub keyring: Keyring,
    /// What each service answers while the store does not.
    pub outage: OutagePolicies,
    /// Those of atomic operations.
    pub atomic: AtomicSettings,
    /// The cache's.
    pub cache: CacheSettings,
    /// The rate limiter's.
    pub rate_limit: RateLimitSettings,
    /// Those of events and triggers.
    pub events: EventsSettings,
    /// Those of tokens.
    pub tokens: TokensSettings,
    /// Those of idempotency keys.
    pub idempotency: IdempotencySettings,
    /// What services whose data must not be evicted do on a store that evicts. Default refuse.
    pub eviction: OnEviction,
    /// Those of sessions.
    pub sessions: SessionsSettings,
    /// Those of locks.
    pub locks: LockSettings,
    /// Those of job queues.
    pub jobs: JobSettings,
    /// Those of streams.
    pub streams: StreamSettings,
    /// Those of pub/sub.
    pub pubsub: PubSubSettings,
    /// Those of schedules.
    pub schedules: ScheduleSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keyring: Keyring::new("rp").expect("the default prefix is valid"),
            outage: OutagePolicies::default(),
            atomic: AtomicSettings::default(),
            cache: CacheSettings::default(),
            rate_limit: RateLimitSettings::default(),
            events: EventsSettings::default(),
            tokens: TokensSettings::default(),
            idempotency: IdempotencySettings::default(),
            eviction: OnEviction::default(),
            sessions: SessionsSettings::default(),
            locks: LockSettings::default(),
            jobs: JobSettings::default(),
            streams: StreamSettings::default(),
            pubsub: PubSubSettings::default(),
            schedules: ScheduleSettings::default(),
        }
    }
}

impl Settings {
    /// Reads `REDIS_KEY_PREFIX`, `REDPOLL_OUTAGE` (such as `rate=closed,cache=error`), `REDPOLL_EVICTION` (`refuse` or `tolerate`) and, in seconds, `CACHE_DEFAULT_TTL`, `REDIS_CACHE_TTL` or `REDIS_DEFAULT_TTL`, and
    /// `REDIS_SESSION_TTL` for how long an unused session lives.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        if let Some((_, prefix)) = first(lookup, &["REDIS_KEY_PREFIX"]) {
            settings.keyring = Keyring::new(&prefix)?;
        }
        if let Some((_, choices)) = first(lookup, &["REDPOLL_OUTAGE"]) {
            settings.outage = OutagePolicies::parse(&choices)?;
        }
        if let Some((_, choice)) = first(lookup, &["REDPOLL_EVICTION"]) {
            settings.eviction = choice.parse()?;
        }
        if let Some((name, text)) = first(lookup, &["CACHE_DEFAULT_TTL", "REDIS_CACHE_TTL", "REDIS_DEFAULT_TTL"]) {
            let seconds: i64 = text.parse().map_err(|_| unreadable(name, &text))?;
            settings.cache.ttl = Ttl::seconds(seconds)?;
        }
        if let Some((name, text)) = first(lookup, &["REDIS_SESSION_TTL"]) {
            let seconds: i64 = text.parse().map_err(|_| unreadable(name, &text))?;
            settings.sessions.idle = Ttl::seconds(seconds)?;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_evicts_is_refused_unless_the_operator_says_otherwise() {
        let read = |text: &'static str| {
            Settings::from_environment(&|name| (name == "REDPOLL_EVICTION").then(|| text.to_owned()))
        };
        assert_eq!(read("").unwrap().eviction, OnEviction::Refuse);
        assert_eq!(read("tolerate").unwrap().eviction, OnEviction::Tolerate);
        assert!(read("yes").is_err());
    }
}
