//! Loading: one loader per key, wherever the callers are.
//!
//! ```text
//! lookup ─ fresh ──────────────────────────────► value
//!   │ └─ stale, or soon to be ─► value; one caller refreshes in the background
//!   └ miss ─► first in this process? ─ no ─► wait for the first one
//!                 │ yes
//!              lease ─ another process has it ─► wait, look again
//!                 │ taken
//!              loader (lease renewed meanwhile) ─► fill, refused if the key was deleted, written or invalidated
//! ```
//!
//! Early refresh is probabilistic (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
//! Prevention", 2015): the closer the end and the longer loading takes, the likelier a caller refreshes ahead of time.
//!
//! A loader that fails reports to its own caller only; those who waited try with their own. A refused fill still gives
//! its value to its own caller, who asked before the deletion, and to nobody else.

use std::fmt;
use std::time::Duration;

use redpoll_resp::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::entry::{Body, decode};
use super::flight::{Flight, Seat, follow};
use super::namespace::{Found, Namespace, SetOptions, Stored};
use super::steps;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::random;
use crate::ttl::Ttl;

/// First and longest pause between looks at a key that another process loads.
const POLL_MS: (u64, u64) = (4, 100);

/// How a value is loaded and kept; absent parts are the namespace's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// How a loaded value is stored.
    pub set: SetOptions,
    /// Lifetime of a cached absence.
    pub absent_ttl: Option<Ttl>,
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
    /// Another caller's loader, waited for.
    Shared,
    /// This caller's loader; stored.
    Loader,
    /// This caller's loader; not stored, because the key was deleted, invalidated or written meanwhile, or the value
    /// is above the cap.
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

/// Who loads a key.
#[derive(Debug)]
pub enum Claim {
    /// Nobody needs to: here it is (`None` is a cached absence).
    Found(Option<Body>),
    /// The caller. Storing through the fill is refused if the key changes meanwhile.
    Lead(Fill),
    /// Another caller, whose lease ends in so many milliseconds unless renewed.
    Busy(u64),
}

/// The right to store a loaded value. Dropping it lets another caller load.
#[derive(Debug)]
pub struct Fill {
    namespace: Namespace,
    key: String,
    lease: Key,
    token: String,
    started: Instant,
    settled: bool,
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
        check_name("key", key)?;
        // What cannot be stored is refused before anything is loaded.
        Stored::new(self, key, None, &options.set)?;
        match self.read(key).await {
            Ok(Some(found)) => {
                let freshness = self.freshness(&found);
                let counter = if found.entry.body.is_some() { Counter::CacheHits } else { Counter::CacheAbsents };
                self.services.metrics().add(counter, 1);
                if freshness != Freshness::Fresh {
                    self.refresh(key, options, loader, found.remaining_ms);
                }
                let stale = freshness == Freshness::Stale;
                self.services.metrics().add(Counter::CacheStaleServed, u64::from(stale));
                Ok(Loaded { body: found.entry.body, source: if stale { Source::Stale } else { Source::Cache } })
            }
            Ok(None) => {
                self.services.metrics().add(Counter::CacheMisses, 1);
                self.load_or_wait(key, options, loader).await
            }
            Err(error) if error.is_outage() => {
                self.services.metrics().add(Counter::CacheOutages, 1);
                self.load_without_store(key, loader).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the right to load a key, for callers that do not want to hand over a loader. The lease is not renewed, so
    /// the value must be stored within [`CacheSettings::lease`](super::CacheSettings::lease).
    pub async fn claim(&self, key: &str) -> Result<Claim> {
        check_name("key", key)?;
        self.acquire(key, -2).await
    }

    async fn load_or_wait<E, L, F>(&self, key: &str, options: &LoadOptions, loader: L) -> Result<Loaded, LoadError<E>>
    where
        E: fmt::Display,
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Body>, E>>,
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
                        return Ok(Loaded { body: (*body).clone(), source: Source::Shared });
                    }
                }
            }
        };
        let mut pause_ms = POLL_MS.0;
        loop {
            match self.acquire(key, -2).await {
                Ok(Claim::Found(body)) => {
                    seat.land(&body);
                    return Ok(Loaded { body, source: Source::Shared });
                }
                Ok(Claim::Lead(fill)) => return fill.run(options, loader, Some(seat)).await,
                Ok(Claim::Busy(_)) => {
                    if pause_ms == POLL_MS.0 {
                        self.services.metrics().add(Counter::CacheLoadWaits, 1);
                    }
                    let pause = Duration::from_millis(pause_ms).mul_f64(0.5 + random::unit() / 2.0);
                    if Instant::now() + pause > deadline {
                        return Err(waited_too_long(key).into());
                    }
                    tokio::time::sleep(pause).await;
                    pause_ms = (pause_ms * 2).min(POLL_MS.1);
                }
                Err(error) if error.is_outage() => {
                    let loaded = self.load_without_store(key, loader).await?;
                    seat.land(&loaded.body);
                    return Ok(loaded);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Refreshes in the background, unless somebody already does.
    fn refresh<E, L, F>(&self, key: &str, options: &LoadOptions, loader: L, seen_ms: i64)
    where
        E: fmt::Display + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Body>, E>> + Send + 'static,
    {
        let Flight::Lead(seat) = self.services.flights().join(&self.partition(key).entry(key)) else {
            return;
        };
        let (namespace, key, options) = (self.clone(), key.to_owned(), options.clone());
        tokio::spawn(async move {
            if let Ok(Claim::Lead(fill)) = namespace.acquire(&key, seen_ms).await
                && let Err(error) = fill.run(&options, loader, Some(seat)).await
            {
                tracing::warn!(key, %error, "refresh failed; the old value stays");
            }
        });
    }

    async fn load_without_store<E, L, F>(&self, key: &str, loader: L) -> Result<Loaded, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Body>, E>>,
    {
        self.services.metrics().add(Counter::CacheLoads, 1);
        match tokio::time::timeout(self.settings.load_timeout, loader()).await {
            Ok(Ok(body)) => Ok(Loaded { body, source: Source::Outage }),
            Ok(Err(error)) => {
                self.services.metrics().add(Counter::CacheLoadErrors, 1);
                Err(LoadError::Loader(error))
            }
            Err(_) => Err(loaded_too_long(key).into()),
        }
    }

    async fn acquire(&self, key: &str, seen_ms: i64) -> Result<Claim> {
        let partition = self.partition(key);
        let lease = partition.lease(key);
        let attempt = Uuid::new_v4().to_string();
        let lease_ms = self.lease_ms();
        let command =
            partition.step(&steps::ACQUIRE, &[partition.entry(key), lease.clone()], &[&attempt, &lease_ms, &seen_ms]);
        let reply = self.services.backend().call(command).await?;
        let parts = reply.as_array().unwrap_or_default();
        match (parts.first().and_then(Value::as_str), parts.get(1)) {
            (Some("hit"), Some(stored)) => {
                let stored = stored.as_bytes().unwrap_or_default();
                let epoch = stored.split(|byte| *byte == b';').nth(2).unwrap_or_default();
                match decode(stored, epoch) {
                    Some(entry) => Ok(Claim::Found(entry.body)),
                    None => Err(Error::unexpected("cache.acquire", &reply)),
                }
            }
            (Some("lead"), Some(token)) => Ok(Claim::Lead(Fill {
                namespace: self.clone(),
                key: key.to_owned(),
                lease,
                token: token.as_str().unwrap_or_default().to_owned(),
                started: Instant::now(),
                settled: false,
            })),
            (Some("wait"), Some(ms)) => Ok(Claim::Busy(ms.as_i64().and_then(|ms| ms.try_into().ok()).unwrap_or(0))),
            _ => Err(Error::unexpected("cache.acquire", &reply)),
        }
    }

    fn freshness(&self, found: &Found) -> Freshness {
        if found.remaining_ms == -1 {
            return Freshness::Fresh;
        }
        let fresh_ms = found.remaining_ms.saturating_sub_unsigned(found.entry.stale_ms);
        if fresh_ms <= 0 {
            return Freshness::Stale;
        }
        let ahead_ms = found.entry.load_ms as f64 * self.settings.early_refresh * -random::unit().ln();
        if ahead_ms >= fresh_ms as f64 { Freshness::Ending } else { Freshness::Fresh }
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// Fresh, but drawn to be refreshed ahead of time.
    Ending,
    Stale,
}

impl Fill {
    /// Stores the loaded value, `None` being "there is none"; tells whether it was stored.
    pub async fn store(mut self, body: Option<&Body>, options: &LoadOptions) -> Result<bool> {
        self.put(body, options).await
    }

    async fn put(&mut self, body: Option<&Body>, options: &LoadOptions) -> Result<bool> {
        let mut set = options.set.clone();
        if body.is_none() {
            set.ttl = Some(options.absent_ttl.unwrap_or(self.namespace.settings.absent_ttl));
        }
        let load_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stored = Stored::new(&self.namespace, &self.key, body, &set)?;
        let command = stored.command(&steps::FILL, load_ms, &self.token);
        let reply = self.namespace.services.backend().call(command).await?;
        self.settled = true;
        let accepted = reply.as_i64() == Some(1);
        if !accepted {
            self.namespace.services.metrics().add(Counter::CacheFillsRefused, 1);
        }
        Ok(accepted)
    }

    /// Runs the loader under the lease and stores what it gives.
    async fn run<E, L, F>(
        mut self,
        options: &LoadOptions,
        loader: L,
        seat: Option<Seat>,
    ) -> Result<Loaded, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Body>, E>>,
    {
        let services = self.namespace.services.clone();
        services.metrics().add(Counter::CacheLoads, 1);
        let load = tokio::time::timeout(self.namespace.settings.load_timeout, loader());
        let body = match self.renewing(load).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                services.metrics().add(Counter::CacheLoadErrors, 1);
                self.release().await;
                return Err(LoadError::Loader(error));
            }
            Err(_) => {
                services.metrics().add(Counter::CacheLoadErrors, 1);
                self.release().await;
                return Err(loaded_too_long(&self.key).into());
            }
        };
        let source = match self.put(body.as_ref(), options).await {
            Ok(true) => Source::Loader,
            Ok(false) => Source::Unstored,
            Err(Error::TooLarge { size_bytes, max_bytes }) => {
                tracing::warn!(key = self.key, size_bytes, max_bytes, "loaded value is above the cap; not cached");
                self.release().await;
                Source::Unstored
            }
            Err(error) if error.is_outage() => Source::Outage,
            Err(error) => return Err(error.into()),
        };
        if source != Source::Unstored
            && let Some(seat) = seat
        {
            seat.land(&body);
        }
        Ok(Loaded { body, source })
    }

    /// Awaits `work` and renews the lease meanwhile. A lost lease does not stop the work; its fill will be refused.
    async fn renewing<T>(&self, work: impl Future<Output = T>) -> T {
        let backend = self.namespace.services.backend();
        let mut ticks = tokio::time::interval(self.namespace.settings.lease / 3);
        ticks.tick().await;
        let lease_ms = self.namespace.lease_ms();
        let renewals = async {
            loop {
                ticks.tick().await;
                let command = Command::script(&steps::RENEW, &[&self.lease], &[&self.token, &lease_ms.to_string()]);
                if let Err(error) = backend.call(command).await {
                    tracing::debug!(key = self.key, %error, "lease not renewed");
                }
            }
        };
        tokio::select! {
            result = work => result,
            () = renewals => unreachable!("renews for ever"),
        }
    }

    async fn release(&mut self) {
        self.settled = true;
        let command = self.release_command();
        if let Err(error) = self.namespace.services.backend().call(command).await {
            tracing::debug!(key = self.key, %error, "lease not released; it will expire");
        }
    }

    fn release_command(&self) -> Command {
        Command::script(&steps::RELEASE, &[&self.lease], &[&self.token])
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // Outside a runtime nothing can be sent; the lease then ends by itself.
        if !self.settled
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (backend, command) = (self.namespace.services.backend().clone(), self.release_command());
            runtime.spawn(async move { backend.call(command).await });
        }
    }
}

fn waited_too_long(key: &str) -> Error {
    Error::Timeout(format!("another caller's loader of {key:?}"))
}

fn loaded_too_long(key: &str) -> Error {
    Error::Timeout(format!("the loader of {key:?}"))
}
