//! What can be chosen for a cache: for all namespaces, and per namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ttl::Ttl;

/// Longest time a loader may take; invalidations are remembered for as long.
pub const MAX_LOAD: Duration = Duration::from_millis(600_000);

/// Settings of the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheSettings {
    /// Lifetime of entries stored without one. Default 3600 s.
    pub ttl: Ttl,
    /// Lifetime of a cached absence. Default 60 s.
    pub absent_ttl: Ttl,
    /// How long after its lifetime a value may still be served while it is refreshed. Default 0.
    pub stale: Duration,
    /// Largest payload in bytes. Default 1 MiB.
    pub bytes_max: usize,
    /// Eagerness of early refresh: 0 never, 1 as a rule, more earlier. Default 1.
    pub early_refresh: f64,
    /// How long a loader that stopped giving signs of life keeps others waiting. Default 5 s.
    pub lease: Duration,
    /// Longest time a loader may take, at most [`MAX_LOAD`]. Default 30 s.
    pub load_timeout: Duration,
    /// Longest time a caller waits for another's loader. Default 30 s.
    pub wait_timeout: Duration,
    /// What differs for single namespaces.
    pub namespaces: BTreeMap<String, NamespaceSettings>,
}

/// What differs for one namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamespaceSettings {
    /// Lifetime of entries stored without one.
    pub ttl: Option<Ttl>,
    /// Lifetime of a cached absence.
    pub absent_ttl: Option<Ttl>,
    /// How long after its lifetime a value may still be served while it is refreshed.
    pub stale: Option<Duration>,
    /// Largest payload in bytes.
    pub bytes_max: Option<usize>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl: Ttl::ms(3_600_000).expect("positive"),
            absent_ttl: Ttl::ms(60_000).expect("positive"),
            stale: Duration::ZERO,
            bytes_max: 1 << 20,
            early_refresh: 1.0,
            lease: Duration::from_secs(5),
            load_timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(30),
            namespaces: BTreeMap::new(),
        }
    }
}

impl CacheSettings {
    /// Returns the settings as they hold in a namespace.
    pub(super) fn of_namespace(&self, namespace: &str) -> Result<Self> {
        let mut settings = self.clone();
        settings.namespaces = BTreeMap::new();
        if let Some(own) = self.namespaces.get(namespace) {
            settings.ttl = own.ttl.unwrap_or(settings.ttl);
            settings.absent_ttl = own.absent_ttl.unwrap_or(settings.absent_ttl);
            settings.stale = own.stale.unwrap_or(settings.stale);
            settings.bytes_max = own.bytes_max.unwrap_or(settings.bytes_max);
        }
        if settings.load_timeout > MAX_LOAD {
            return Err(Error::invalid("load_timeout", format_args!("more than {} s", MAX_LOAD.as_secs())));
        }
        if settings.lease < Duration::from_millis(10) {
            return Err(Error::invalid("lease", "less than 10 ms"));
        }
        if !(settings.early_refresh >= 0.0 && settings.early_refresh.is_finite()) {
            return Err(Error::invalid("early_refresh", "must be 0 or more"));
        }
        Ok(settings)
    }
}
