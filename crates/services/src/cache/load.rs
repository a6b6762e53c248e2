//! Loading: one loader per key, wherever the callers are.
//!
//! ```text
//! lookup ─ fresh ──────────────────────────────► value
//!   │ └─ stale, or soon to be ─► value; one caller refreshes in the background
//!   └ miss, or kept for fail-safe ─► first in this process? ─ no ─► wait for the first one
//!                 │ yes
//!              lease ─ another process has it ─► wait for its signal, look again
//!                 │ taken
//!              loader (lease renewed meanwhile) ─► fill, refused if the key was deleted, written or invalidated
//!                 └ fails, or takes too long ─► the value kept for fail-safe, if there is one, else an error
//! ```
//!
//! Early refresh is probabilistic (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
//! Prevention", 2015): the closer the end and the longer loading takes, the likelier a caller refreshes ahead of time.
//!
//! A loader that fails reports to its own caller only; those who waited try with their own. A refused fill still gives
//! its value to its own caller, who asked before the deletion, and to nobody else.
//!
//! **Fail-safe.** Where [`SetOptions::fail_safe`] keeps a value past its lifetime, it is given when the loader fails or
//! reaches the hard timeout ([`CacheSettings::load_timeout`](super::CacheSettings::load_timeout)), and when it reaches
//! the soft timeout, after which it goes on in the background. [`Source::FailSafe`] says so. The store removes the value
//! at its limit; a caller that holds it when the limit passes does not give it either.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Body, Found, Phase};
use super::fill::{Claim, Fill, Fresh, NOTHING_SEEN};
use super::flight::{Flight, Seat, follow};
use super::lookup::Ask;
use super::namespace::Namespace;
use super::stored::{SetOptions, Stored};
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::metrics::Counter;
use crate::random;
use crate::signal::Waiter;
use crate::ttl::Ttl;

/// How a value is loaded and kept; absent parts are the namespace's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// How a loaded value is stored.
    pub set: SetOptions,
    /// Lifetime of a cached absence.
    pub absent_ttl: Option<Ttl>,
    /// How long a loader is waited for where there is a value kept for fail-safe.
    pub soft_timeout: Option<Duration>,
}

/// What `get_or_set` gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The value; `None` if the loader said that there is none.
    pub body: Option<Body>,
    /// Where it came from.
    pub source: Source,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The cache.
    Cache,
    /// The cache, past its lifetime; a refresh is under way.
    Stale,
    /// The cache, past its lifetime and its stale time: loading has failed, or takes longer than the soft timeout.
    FailSafe,
    /// Another caller's loader, waited for.
    Shared,
    /// This caller's loader; stored.
    Loader,
    /// This caller's loader; not stored, because the key was deleted, invalidated or written meanwhile, the value is above
    /// the cap, or the loader said so.
    Unstored,
    /// This caller's loader; the store is down.
    Outage,
}

/// Why `get_or_set` gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError<E> {
    /// The cache's side.
    Cache(Error),
    /// The loader's.
    Loader(E),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(error) => error.fmt(formatter),
            Self::Loader(error) => write!(formatter, "loader: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for LoadError<E> {}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

/// A value to fall back on, until its limit.
#[derive(Debug, Clone)]
pub(super) struct Fallback {
    body: Option<Body>,
    until: Instant,
}

impl Fallback {
    /// Takes what was found by a read that began at `at`.
    pub(super) fn new(found: &Found, at: Instant) -> Self {
        let remaining = Duration::from_millis(found.remaining_ms.unsigned_abs());
        Self { body: found.entry.body.clone(), until: at + remaining }
    }

    /// Returns the value, unless its limit has passed.
    pub(super) fn give(self, namespace: &Namespace) -> Option<Loaded> {
        if Instant::now() >= self.until {
            return None;
        }
        namespace.services.metrics().add(Counter::CacheFailSafe, 1);
        Some(Loaded { body: self.body, source: Source::FailSafe })
    }
}

impl Namespace {
    /// Returns the cached value, or loads and stores it.
    ///
    /// The loader gives `Some` value, or `None` for "there is none", which is cached too. It may run in the background
    /// after this call has returned a stale value; it is dropped after the load timeout.
    pub async fn get_or_set<E, L, F>(&self, key: &str, options: &LoadOptions, loader: L) -> Result<Loaded, LoadError<E>>
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Body>, E>> + Send + 'static,
    {
        self.get_or_load(key, options, |_| async move { loader().await.map(Fresh::from) }).await
    }

    /// As [`get_or_set`](Self::get_or_set), for loaders that know more: they are handed the value that is to be
    /// replaced, if there is one, and may say that it still holds; and they may say how long theirs lasts.
    pub async fn get_or_load<E, L, F>(
        &self,
        key: &str,
        options: &LoadOptions,
        loader: L,
    ) -> Result<Loaded, LoadError<E>>
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce(Option<Body>) -> F + Send + 'static,
        F: Future<Output = Result<Fresh, E>> + Send + 'static,
    {
        check_name("key", key)?;
        let at = Instant::now();
        let found = match self.find(key, Ask::Lifetimes).await {
            Ok(found) => found,
            Err(error) if self.goes_on_without(&error) => {
                self.services.metrics().add(Counter::CacheOutages, 1);
                return self.load_without_store(key, loader).await;
            }
            Err(error) => return Err(error.into()),
        };
        let age = found.as_ref().map(|found| self.age(found));
        if let (Some(found), Some(age)) = (&found, age)
            && age != Age::Over
        {
            return Ok(self.serve(key, options, loader, found, age).await?);
        }
        // What cannot be stored is refused before anything is loaded.
        Stored::new(self, key, None, &options.set)?;
        self.services.metrics().add(Counter::CacheMisses, 1);
        match found {
            Some(found) => self.load_or_fall_back(key, options, loader, Fallback::new(&found, at)).await,
            None => self.load_or_wait(key, options, loader, None).await,
        }
    }

    /// Gives what was found, and refreshes it if it is time.
    async fn serve<E, L, F>(
        &self,
        key: &str,
        options: &LoadOptions,
        loader: L,
        found: &Found,
        age: Age,
    ) -> Result<Loaded>
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce(Option<Body>) -> F + Send + 'static,
        F: Future<Output = Result<Fresh, E>> + Send + 'static,
    {
        let body = found.entry.body.clone();
        let counter = if body.is_some() { Counter::CacheHits } else { Counter::CacheAbsents };
        self.services.metrics().add(counter, 1);
        if found.must_slide() {
            self.slide(&[key]).await;
        }
        if age != Age::Fresh {
            Stored::new(self, key, None, &options.set)?;
            self.refresh(key, options, loader, found);
        }
        let stale = age == Age::Stale;
        self.services.metrics().add(Counter::CacheStaleServed, u64::from(stale));
        Ok(Loaded { body, source: if stale { Source::Stale } else { Source::Cache } })
    }

    /// Loads in the background and waits for it, but gives the fallback if that fails or takes longer than the soft
    /// timeout.
    async fn load_or_fall_back<E, L, F>(
        &self,
        key: &str,
        options: &LoadOptions,
        loader: L,
        fallback: Fallback,
    ) -> Result<Loaded, LoadError<E>>
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce(Option<Body>) -> F + Send + 'static,
        F: Future<Output = Result<Fresh, E>> + Send + 'static,
    {
        let previous = fallback.body.clone();
        let (namespace, owned_key, owned_options) = (self.clone(), key.to_owned(), options.clone());
        let mut task =
            tokio::spawn(async move { namespace.load_or_wait(&owned_key, &owned_options, loader, previous).await });
        let soft = options.soft_timeout.or(self.settings.soft_timeout).unwrap_or(Duration::MAX);
        let joined = match tokio::time::timeout(soft, &mut task).await {
            Ok(joined) => joined,
            Err(_) => match fallback.clone().give(self) {
                Some(loaded) => return Ok(loaded),
                None => task.await,
            },
        };
        match joined {
            Ok(Ok(loaded)) => Ok(loaded),
            Ok(Err(error)) => {
                tracing::warn!(key, %error, "loading failed");
                fallback.give(self).ok_or(error)
            }
            Err(failure) => match failure.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Unavailable("the runtime is shutting down".to_owned()).into()),
            },
        }
    }

    async fn load_or_wait<E, L, F>(
        &self,
        key: &str,
        options: &LoadOptions,
        loader: L,
        previous: Option<Body>,
    ) -> Result<Loaded, LoadError<E>>
    where
        E: fmt::Display,
        L: FnOnce(Option<Body>) -> F,
        F: Future<Output = Result<Fresh, E>>,
    {
        let deadline = Instant::now() + self.settings.wait_timeout;
        let entry_key = self.partition(key).entry(key);
        let seat = loop {
            match self.services.flights().join(&entry_key) {
                Flight::Lead(seat) => break seat,
                Flight::Follow(receiver) => {
                    self.services.metrics().add(Counter::CacheLoadWaits, 1);
                    let landed = tokio::time::timeout_at(deadline, follow(receiver)).await;
                    if let Some(body) = landed.map_err(|_| waited_too_long(key))? {
                        return Ok(Loaded { body, source: Source::Shared });
                    }
                }
            }
        };
        let mut waiter = None;
        loop {
            match self.acquire(key, NOTHING_SEEN).await {
                Ok(Claim::Found(body)) => {
                    seat.land(&body);
                    return Ok(Loaded { body, source: Source::Shared });
                }
                Ok(Claim::Lead(fill)) => return self.run(fill, options, loader, previous, seat).await,
                Ok(Claim::Busy(lease_ms)) => {
                    self.wait(key, &mut waiter, lease_ms, deadline).await?;
                }
                Err(error) if self.goes_on_without(&error) => {
                    let loaded = self.load_without_store(key, loader).await?;
                    seat.land(&loaded.body);
                    return Ok(loaded);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the end of another caller's lease, or what may be it: at the first time only begins to listen, so that
    /// the next look misses nothing.
    pub(super) async fn wait(
        &self,
        key: &str,
        waiter: &mut Option<Waiter>,
        lease_ms: u64,
        deadline: Instant,
    ) -> Result<()> {
        let Some(waiter) = waiter else {
            self.services.metrics().add(Counter::CacheLoadWaits, 1);
            *waiter = Some(self.services.signals().listen(&self.partition(key).lease(key), ""));
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(waited_too_long(key));
        }
        // Of a lease that is not renewed nobody says that it has ended.
        waiter.wait(left.min(Duration::from_millis(lease_ms.saturating_add(1)))).await;
        Ok(())
    }

    /// Refreshes in the background, unless somebody already does.
    fn refresh<E, L, F>(&self, key: &str, options: &LoadOptions, loader: L, found: &Found)
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce(Option<Body>) -> F + Send + 'static,
        F: Future<Output = Result<Fresh, E>> + Send + 'static,
    {
        let Flight::Lead(seat) = self.services.flights().join(&self.partition(key).entry(key)) else {
            return;
        };
        let (namespace, key, options) = (self.clone(), key.to_owned(), options.clone());
        let (seen_ms, previous) = (found.remaining_ms, found.entry.body.clone());
        tokio::spawn(async move {
            if let Ok(Claim::Lead(fill)) = namespace.acquire(&key, seen_ms).await
                && let Err(error) = namespace.run(fill, &options, loader, previous, seat).await
            {
                tracing::warn!(key, %error, "refresh failed; the old value stays");
            }
        });
    }

    /// Runs the loader under the lease and stores what it gives.
    async fn run<E, L, F>(
        &self,
        mut fill: Fill,
        options: &LoadOptions,
        loader: L,
        previous: Option<Body>,
        seat: Seat,
    ) -> Result<Loaded, LoadError<E>>
    where
        L: FnOnce(Option<Body>) -> F,
        F: Future<Output = Result<Fresh, E>>,
    {
        let load = self.timed(fill.key(), loader(previous.clone()));
        let loaded = self.renewing(std::slice::from_ref(&fill), load).await;
        let is_stored = loaded.as_ref().is_ok_and(Fresh::is_stored);
        let settled = loaded.and_then(|fresh| fresh.settle(previous).map_err(LoadError::Cache));
        let (body, set) = match settled {
            Ok(settled) if is_stored => settled,
            Ok((body, _)) => {
                fill.release().await;
                return Ok(Loaded { body, source: Source::Unstored });
            }
            Err(error) => {
                fill.release().await;
                return Err(error);
            }
        };
        let source = match fill.put(body.as_ref(), options, set).await {
            Ok(true) => Source::Loader,
            Ok(false) => Source::Unstored,
            Err(Error::TooLarge { size_bytes, max_bytes }) => {
                tracing::warn!(key = fill.key(), size_bytes, max_bytes, "loaded value is above the cap; not cached");
                fill.release().await;
                Source::Unstored
            }
            Err(error) if error.is_outage() => Source::Outage,
            Err(error) => return Err(error.into()),
        };
        if source != Source::Unstored {
            seat.land(&body);
        }
        Ok(Loaded { body, source })
    }

    async fn load_without_store<E, L, F>(&self, key: &str, loader: L) -> Result<Loaded, LoadError<E>>
    where
        L: FnOnce(Option<Body>) -> F,
        F: Future<Output = Result<Fresh, E>>,
    {
        let (body, _) = self.timed(key, loader(None)).await?.settle(None)?;
        Ok(Loaded { body, source: Source::Outage })
    }

    /// Awaits a loader up to the hard timeout, and counts.
    pub(super) async fn timed<T, E>(
        &self,
        key: &str,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LoadError<E>> {
        self.services.metrics().add(Counter::CacheLoads, 1);
        let loaded = match tokio::time::timeout(self.settings.load_timeout, load).await {
            Ok(loaded) => loaded.map_err(LoadError::Loader),
            Err(_) => Err(Error::Timeout(format!("the loader of {key:?}")).into()),
        };
        self.services.metrics().add(Counter::CacheLoadErrors, u64::from(loaded.is_err()));
        loaded
    }

    /// Judges what was found, and draws whether it is refreshed ahead of time.
    pub(super) fn age(&self, found: &Found) -> Age {
        let fresh_ms = match found.phase() {
            Phase::Fresh(None) => return Age::Fresh,
            Phase::Fresh(Some(fresh_ms)) => fresh_ms,
            Phase::Stale => return Age::Stale,
            Phase::FailSafe => return Age::Over,
        };
        if found.entry.load_ms == 0 {
            return Age::Fresh;
        }
        let ahead_ms = found.entry.load_ms as f64 * self.settings.early_refresh * -random::unit().ln();
        if ahead_ms >= fresh_ms as f64 { Age::Ending } else { Age::Fresh }
    }
}

/// What is to be done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Give it.
    Fresh,
    /// Give it and refresh it: it is fresh, but drawn to be refreshed ahead of time.
    Ending,
    /// Give it and refresh it.
    Stale,
    /// Load; give it if that fails.
    Over,
}

fn waited_too_long(key: &str) -> Error {
    Error::Timeout(format!("another caller's loader of {key:?}"))
}

/// Takes apart the errors of a loader that asks the cache itself.
pub(super) fn flatten<E>(error: LoadError<LoadError<E>>) -> LoadError<E> {
    match error {
        LoadError::Cache(error) => LoadError::Cache(error),
        LoadError::Loader(error) => error,
    }
}
