//! Loading many keys at once.
//!
//! One exchange looks all of them up, one takes the leases of those that are missing, and the loader is called once
//! with the keys whose leases were given. Keys that another caller is loading are waited for; only if that caller gives
//! up is the loader called again, with what it has left. Nobody waits while holding a lease that he is not loading
//! under, so callers with overlapping keys cannot wait for one another in a circle.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::entry::{Body, Found};
use super::fill::{Claim, Fill, NOTHING_SEEN};
use super::load::{Age, Fallback, LoadError, LoadOptions, Loaded, Source};
use super::lookup::Ask;
use super::namespace::Namespace;
use super::stored::Stored;
use crate::error::{Error, Result};
use crate::metrics::Counter;

/// What is known of the keys of one call.
#[derive(Default)]
struct Known<'a> {
    loaded: HashMap<&'a str, Loaded>,
    fallbacks: HashMap<&'a str, Fallback>,
    missing: Vec<&'a str>,
    /// Served, and to be refreshed, with the lifetime seen.
    aging: Vec<(&'a str, i64)>,
    sliding: Vec<&'a str>,
}

impl Namespace {
    /// Returns the cached values, and loads and stores those that are missing; results are in the order of the keys.
    ///
    /// The loader gets the missing keys and gives the values it has; a key without one is known to be absent, which is
    /// cached too. It is called once as a rule: again only for keys whose other loader has given up, and in the
    /// background for values that were served stale. If it fails the call fails, unless each key that it was called for
    /// has a value kept for fail-safe.
    pub async fn get_or_set_many<E, L, F>(
        &self,
        keys: &[&str],
        options: &LoadOptions,
        loader: L,
    ) -> Result<Vec<Loaded>, LoadError<E>>
    where
        E: fmt::Display + Send + 'static,
        L: Fn(Vec<String>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<String, Body>, E>> + Send + 'static,
    {
        let mut seen = HashSet::new();
        let distinct: Vec<&str> = keys.iter().copied().filter(|key| seen.insert(*key)).collect();
        if let Some(key) = distinct.first() {
            Stored::new(self, key, None, &options.set)?;
        }
        let loader = Arc::new(loader);
        let mut known = self.know(&distinct, &*loader).await?;
        self.slide(&known.sliding).await;
        self.refresh_many(std::mem::take(&mut known.aging), options, &loader);
        let deadline = Instant::now() + self.settings.wait_timeout;
        while let Some(first) = known.missing.first().copied() {
            // All are needed, so whichever is waited for, the call is not over before it is.
            let mut waiter = None;
            loop {
                let wanted: Vec<(&str, i64)> = known.missing.iter().map(|key| (*key, NOTHING_SEEN)).collect();
                let claims = match self.acquire_many(&wanted).await {
                    Ok(claims) => claims,
                    Err(error) if self.goes_on_without(&error) => {
                        let missing = std::mem::take(&mut known.missing);
                        self.load_many_without_store(missing, &*loader, &mut known).await?;
                        break;
                    }
                    Err(error) => return Err(error.into()),
                };
                let (fills, lease_ms) = known.take(claims);
                if !fills.is_empty() {
                    self.load_led(fills, options, &*loader, &mut known).await?;
                }
                if !known.missing.contains(&first) {
                    break;
                }
                self.wait(first, &mut waiter, lease_ms, deadline).await?;
            }
        }
        Ok(keys.iter().map(|key| known.loaded[key].clone()).collect())
    }

    /// Looks all keys up; those that the store did not answer for are loaded without it.
    async fn know<'a, E, L, F>(&self, keys: &[&'a str], loader: &L) -> Result<Known<'a>, LoadError<E>>
    where
        L: Fn(Vec<String>) -> F,
        F: Future<Output = Result<HashMap<String, Body>, E>>,
    {
        let at = Instant::now();
        let mut known = Known::default();
        let mut unanswered = Vec::new();
        for (key, found) in keys.iter().zip(self.find_many(keys, Ask::Lifetimes).await?) {
            match found {
                Ok(Some(found)) => self.note(key, &found, at, &mut known),
                Ok(None) => known.missing.push(key),
                Err(error) if self.goes_on_without(&error) => unanswered.push(*key),
                Err(error) => return Err(error.into()),
            }
        }
        self.services.metrics().add(Counter::CacheMisses, known.missing.len() as u64);
        self.services.metrics().add(Counter::CacheOutages, unanswered.len() as u64);
        if !unanswered.is_empty() {
            self.load_many_without_store(unanswered, loader, &mut known).await?;
        }
        Ok(known)
    }

    fn note<'a>(&self, key: &'a str, found: &Found, at: Instant, known: &mut Known<'a>) {
        let age = self.age(found);
        if age == Age::Over {
            known.fallbacks.insert(key, Fallback::new(found, at));
            known.missing.push(key);
            return;
        }
        let body = found.entry.body.clone();
        let counter = if body.is_some() { Counter::CacheHits } else { Counter::CacheAbsents };
        self.services.metrics().add(counter, 1);
        self.services.metrics().add(Counter::CacheStaleServed, u64::from(age == Age::Stale));
        let source = if age == Age::Stale { Source::Stale } else { Source::Cache };
        known.loaded.insert(key, Loaded { body, source });
        if age != Age::Fresh {
            known.aging.push((key, found.remaining_ms));
        }
        if found.must_slide() {
            known.sliding.push(key);
        }
    }

    /// Runs the loader for the keys led, and stores what it gives.
    async fn load_led<'a, E, L, F>(
        &self,
        fills: Vec<(&'a str, Fill)>,
        options: &LoadOptions,
        loader: &L,
        known: &mut Known<'a>,
    ) -> Result<(), LoadError<E>>
    where
        E: fmt::Display,
        L: Fn(Vec<String>) -> F,
        F: Future<Output = Result<HashMap<String, Body>, E>>,
    {
        let (keys, fills): (Vec<&str>, Vec<Fill>) = fills.into_iter().unzip();
        let load = self.timed("many", loader(keys.iter().map(|key| (*key).to_owned()).collect()));
        let mut values = match self.renewing(&fills, load).await {
            Ok(values) => values,
            Err(error) => {
                for mut fill in fills {
                    fill.release().await;
                }
                return self.fall_back(&keys, error, known);
            }
        };
        let bodies: Vec<Option<Body>> = keys.iter().map(|key| values.remove(*key)).collect();
        let stored = match self.put_many(fills.into_iter().zip(bodies.clone()).collect(), options).await {
            Ok(stored) => stored,
            Err(error) if error.is_outage() => vec![Err(error); keys.len()],
            Err(error) => return Err(error.into()),
        };
        for ((key, body), stored) in keys.into_iter().zip(bodies).zip(stored) {
            let source = match stored {
                Ok(true) => Source::Loader,
                Ok(false) => Source::Unstored,
                Err(Error::TooLarge { size_bytes, max_bytes }) => {
                    tracing::warn!(key, size_bytes, max_bytes, "loaded value is above the cap; not cached");
                    Source::Unstored
                }
                Err(error) if error.is_outage() => Source::Outage,
                Err(error) => return Err(error.into()),
            };
            known.loaded.insert(key, Loaded { body, source });
        }
        Ok(())
    }

    /// Gives what is kept for fail-safe, if that is there for each of the keys, else the error.
    fn fall_back<'a, E: fmt::Display>(
        &self,
        keys: &[&'a str],
        error: LoadError<E>,
        known: &mut Known<'a>,
    ) -> Result<(), LoadError<E>> {
        for key in keys {
            match known.fallbacks.remove(key).and_then(|fallback| fallback.give(self)) {
                Some(loaded) => known.loaded.insert(key, loaded),
                None => return Err(error),
            };
        }
        tracing::warn!(%error, "loading failed");
        Ok(())
    }

    async fn load_many_without_store<'a, E, L, F>(
        &self,
        keys: Vec<&'a str>,
        loader: &L,
        known: &mut Known<'a>,
    ) -> Result<(), LoadError<E>>
    where
        L: Fn(Vec<String>) -> F,
        F: Future<Output = Result<HashMap<String, Body>, E>>,
    {
        let load = loader(keys.iter().map(|key| (*key).to_owned()).collect());
        let mut values = self.timed("many", load).await?;
        for key in keys {
            known.loaded.insert(key, Loaded { body: values.remove(key), source: Source::Outage });
        }
        Ok(())
    }

    /// Refreshes in the background what nobody else does.
    fn refresh_many<E, L, F>(&self, aging: Vec<(&str, i64)>, options: &LoadOptions, loader: &Arc<L>)
    where
        E: fmt::Display + Send + 'static,
        L: Fn(Vec<String>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<String, Body>, E>> + Send + 'static,
    {
        if aging.is_empty() {
            return;
        }
        let aging: Vec<(String, i64)> = aging.into_iter().map(|(key, seen_ms)| (key.to_owned(), seen_ms)).collect();
        let (namespace, options, loader) = (self.clone(), options.clone(), Arc::clone(loader));
        tokio::spawn(async move {
            let wanted: Vec<(&str, i64)> = aging.iter().map(|(key, seen_ms)| (key.as_str(), *seen_ms)).collect();
            let Ok(claims) = namespace.acquire_many(&wanted).await else { return };
            let led = wanted.iter().zip(claims).filter_map(|((key, _), claim)| match claim {
                Claim::Lead(fill) => Some((*key, fill)),
                _ => None,
            });
            let led: Vec<(&str, Fill)> = led.collect();
            if !led.is_empty()
                && let Err(error) = namespace.load_led(led, &options, &*loader, &mut Known::default()).await
            {
                tracing::warn!(%error, "refresh failed; the old values stay");
            }
        });
    }
}

impl<'a> Known<'a> {
    /// Takes the claims on the missing keys: notes what was found, keeps as missing what others load, and returns what
    /// is led, and when the first of the others' leases ends unless it is renewed.
    fn take(&mut self, claims: Vec<Claim>) -> (Vec<(&'a str, Fill)>, u64) {
        let mut fills = Vec::new();
        let mut lease_ms = u64::MAX;
        for (key, claim) in std::mem::take(&mut self.missing).into_iter().zip(claims) {
            match claim {
                Claim::Found(body) => {
                    self.loaded.insert(key, Loaded { body, source: Source::Shared });
                }
                Claim::Lead(fill) => fills.push((key, fill)),
                Claim::Busy(ms) => {
                    lease_ms = lease_ms.min(ms);
                    self.missing.push(key);
                }
            }
        }
        (fills, lease_ms)
    }
}
