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
    /// How long after its lifetime a value may be served if loading fails, at most. Default 0: not at all.
    pub fail_safe: Duration,
    /// How much of a lifetime is left to chance, 0 to 1: the lifetime is drawn between that much less and all of it, so
    /// that what is stored together does not end together. Default 0.
    pub jitter: f64,
    /// Largest payload in bytes. Default 1 MiB.
    pub bytes_max: usize,
    /// From how many bytes on a payload is compressed; none for never. Default 16 KiB.
    pub compress_min: Option<usize>,
    /// Eagerness of early refresh: 0 never, 1 as a rule, more earlier. Default 1.
    pub early_refresh: f64,
    /// How long a loader that stopped giving signs of life keeps others waiting. Default 5 s.
    pub lease: Duration,
    /// Longest time a loader may take, at most [`MAX_LOAD`]; it is an error then. Default 30 s.
    pub load_timeout: Duration,
    /// How long a loader is waited for where there is a value kept for fail-safe, which is given then while the loader
    /// goes on in the background; none to wait for it. Default none.
    pub soft_timeout: Option<Duration>,
    /// Longest time a caller waits for another's loader. Default 30 s.
    pub wait_timeout: Duration,
    /// What is kept in this process's memory; none for nothing. Default none.
    pub near: Option<NearSettings>,
    /// What differs for single namespaces.
    pub namespaces: BTreeMap<String, NamespaceSettings>,
}

/// What differs for one namespace.
///
/// `None` is what holds for all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamespaceSettings {
    /// Lifetime of entries stored without one.
    pub ttl: Option<Ttl>,
    /// Lifetime of a cached absence.
    pub absent_ttl: Option<Ttl>,
    /// How long after its lifetime a value may still be served while it is refreshed.
    pub stale: Option<Duration>,
    /// How long after its lifetime a value may be served if loading fails, at most.
    pub fail_safe: Option<Duration>,
    /// How much of a lifetime is left to chance, 0 to 1.
    pub jitter: Option<f64>,
    /// How long a loader is waited for where there is a value kept for fail-safe.
    pub soft_timeout: Option<Duration>,
    /// Largest payload in bytes.
    pub bytes_max: Option<usize>,
    /// What is kept in this process's memory.
    pub near: Option<NearSettings>,
}

/// Bounds of a near cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearSettings {
    /// Most entries. Default 10,000.
    pub entries_max: usize,
    /// Most bytes, estimated. Default 64 MiB. An entry may take a sixteenth.
    pub bytes_max: usize,
    /// How old a copy gets, at most, whatever the store says or does not say. Default 30 s.
    pub age_max: Duration,
}

impl Default for NearSettings {
    fn default() -> Self {
        Self { entries_max: 10_000, bytes_max: 64 << 20, age_max: Duration::from_secs(30) }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl: Ttl::ms(3_600_000).expect("positive"),
            absent_ttl: Ttl::ms(60_000).expect("positive"),
            stale: Duration::ZERO,
            fail_safe: Duration::ZERO,
            jitter: 0.0,
            bytes_max: 1 << 20,
            compress_min: Some(16 << 10),
            early_refresh: 1.0,
            lease: Duration::from_secs(5),
            load_timeout: Duration::from_secs(30),
            soft_timeout: None,
            wait_timeout: Duration::from_secs(30),
            near: None,
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
            settings.fail_safe = own.fail_safe.unwrap_or(settings.fail_safe);
            settings.jitter = own.jitter.unwrap_or(settings.jitter);
            settings.soft_timeout = own.soft_timeout.or(settings.soft_timeout);
            settings.bytes_max = own.bytes_max.unwrap_or(settings.bytes_max);
            settings.near = own.near.or(settings.near);
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
        if !(0.0..=1.0).contains(&settings.jitter) {
            return Err(Error::invalid("jitter", "must be 0 to 1"));
        }
        if settings.near.is_some_and(|near| near.entries_max == 0 || near.bytes_max == 0 || near.age_max.is_zero()) {
            return Err(Error::invalid("near", "each bound must be above 0"));
        }
        Ok(settings)
    }
}
