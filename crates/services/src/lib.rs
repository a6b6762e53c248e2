//! The services: what backends build on an in-memory store, one folder each.
//!
//! ```text
//! Services ─► handles (cache, rate limit, …) ─► commands and Lua steps ─► Backend ─► embedded store, server, cluster
//!     └► SERVICES: every operation as a row; HTTP, command line, Python and their documentation derive from it
//! ```
//!
//! A service is a folder: its `mod` opens with an essay (guarantees, key layout, failure cases), followed by the public
//! type and the table of operations; `*.lua` beside it are its atomic steps. Adding one means a folder, a line in
//! [`SERVICES`] and a handle on [`Services`].
//!
//! The rules they share stand in the modules below and nowhere else: keys in [`keys`], lifetimes in [`ttl`], atomic
//! steps in [`script`], changes of data beside their own in [`effects`], errors in [`error`], what must not be evicted in [`kept`] and [`eviction`], counters in [`metrics`], rows in [`operation`],
//! hints to those who wait in [`signal`], what is leased to callers that may go away in `leasing`, the store in [`backend`] and what happens without it in [`outage`].
//!
//! What is not here: sockets, HTTP types, and any state of its own that outlives a call, but for what a near cache
//! keeps, which the store keeps right. Two processes with the same backend are one service.

pub mod atomic;
pub mod backend;
mod batch;
pub mod cache;
mod caught;
pub mod effects;
pub mod error;
pub mod events;
pub mod eviction;
mod hub;
pub mod idempotency;
pub mod jobs;
pub mod kept;
pub mod keys;
mod leasing;
pub mod limits;
pub mod locks;
pub mod metrics;
pub mod operation;
pub mod outage;
pub mod pubsub;
mod random;
pub mod ratelimit;
pub mod schedules;
pub mod script;
pub mod sessions;
pub mod settings;
pub mod signal;
pub mod streams;
pub mod tokens;
pub mod ttl;
mod twins;
pub mod workers;

use std::sync::Arc;

pub use backend::{Backend, BackendConfig, Command, TlsFiles};
pub use error::{Error, Result};
pub use keys::Tenant;
pub use metrics::Metrics;
pub use operation::{Operation, Service};
pub use outage::OutagePolicy;
pub use settings::Settings;
pub use ttl::Ttl;

/// Every service.
pub const SERVICES: &[Service] = &[
    cache::SERVICE,
    ratelimit::SERVICE,
    limits::SERVICE,
    events::SERVICE,
    events::SEED_SERVICE,
    tokens::SERVICE,
    idempotency::SERVICE,
    sessions::SERVICE,
    locks::SERVICE,
    atomic::SERVICE,
    jobs::SERVICE,
    streams::SERVICE,
    pubsub::SERVICE,
    schedules::SERVICE,
    workers::SERVICE,
];

/// A backend and the settings; handles for the services derive from it. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Services {
    backend: Backend,
    settings: Arc<Settings>,
    flights: Arc<cache::Flights>,
    nears: Arc<cache::Nears>,
    fired: Arc<tokio::sync::Notify>,
    scheduled: Arc<tokio::sync::Notify>,
    kept: Arc<kept::Lookout>,
}

impl Services {
    /// Puts the services upon a backend. A store in this process will never evict keys that must stay.
    pub fn new(backend: Backend, settings: Settings) -> Self {
        backend.spare(&eviction::beginnings(&settings.keyring));
        Self {
            backend,
            settings: Arc::new(settings),
            flights: Arc::default(),
            fired: Arc::default(),
            scheduled: Arc::default(),
            kept: Arc::default(),
            nears: Arc::default(),
        }
    }

    /// Returns a tenant's cache.
    pub fn cache(&self, tenant: &Tenant) -> cache::Cache {
        cache::Cache::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's rate limiter.
    pub fn rate_limit(&self, tenant: &Tenant) -> ratelimit::RateLimit {
        ratelimit::RateLimit::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's rate limit policies, blocks and reservations.
    pub fn limits(&self, tenant: &Tenant) -> limits::Limits {
        limits::Limits::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's atomic operations.
    pub fn atomic(&self, tenant: &Tenant) -> atomic::Atomic {
        atomic::Atomic::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's event consumers.
    pub fn events(&self, tenant: &Tenant) -> events::Events {
        events::Events::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's tokens.
    pub fn tokens(&self, tenant: &Tenant) -> tokens::Tokens {
        tokens::Tokens::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's idempotency keys within a scope, which is as a rule a user.
    pub fn idempotency(&self, tenant: &Tenant, scope: &str) -> Result<idempotency::Idempotency> {
        idempotency::Idempotency::open(self.clone(), tenant.clone(), scope)
    }

    /// Returns a tenant's sessions.
    pub fn sessions(&self, tenant: &Tenant) -> sessions::Sessions {
        sessions::Sessions::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's locks.
    pub fn locks(&self, tenant: &Tenant) -> locks::Locks {
        locks::Locks::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's job queues.
    pub fn jobs(&self, tenant: &Tenant) -> jobs::Jobs {
        jobs::Jobs::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's streams.
    pub fn streams(&self, tenant: &Tenant) -> streams::Streams {
        streams::Streams::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's pub/sub.
    pub fn pubsub(&self, tenant: &Tenant) -> pubsub::PubSub {
        pubsub::PubSub::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's schedules.
    pub fn schedules(&self, tenant: &Tenant) -> schedules::Schedules {
        schedules::Schedules::new(self.clone(), tenant.clone())
    }

    /// Returns a tenant's workers.
    pub fn workers(&self, tenant: &Tenant) -> workers::Workers {
        workers::Workers::new(self.clone(), tenant)
    }

    /// Asks whether the store would evict keys that must stay, and says how as a sentence; see [`eviction`].
    pub async fn eviction_risk(&self) -> Result<Option<String>> {
        eviction::risk(&self.backend, &self.settings.keyring).await
    }

    /// Returns the backend.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Returns what wakes those who wait for a change in the store.
    pub fn signals(&self) -> &signal::Signals {
        self.backend.signals()
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the loads under way in this process.
    pub(crate) fn flights(&self) -> &Arc<cache::Flights> {
        &self.flights
    }

    /// Returns what this process keeps of caches.
    pub(crate) fn nears(&self) -> &cache::Nears {
        &self.nears
    }

    /// Returns what wakes this process's deliverer when a trigger was fired here.
    pub(crate) fn fired(&self) -> &tokio::sync::Notify {
        &self.fired
    }

    /// Returns what wakes this process's tickers when a schedule was put here.
    pub(crate) fn scheduled(&self) -> &tokio::sync::Notify {
        &self.scheduled
    }

    /// Returns when the store was last seen not to evict.
    pub(crate) fn lookout(&self) -> &kept::Lookout {
        &self.kept
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Metrics {
        self.backend.metrics()
    }
}
