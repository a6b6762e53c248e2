//! The cache: values with a lifetime, in namespaces, with tags, and one loader per key.
//!
//! # Guarantees
//!
//! * A value, a cached absence, a miss and an outage are four results ([`Lookup`]). `{}`, `0`, `false`, `""` and `null`
//!   are values. Bytes come back as they were given.
//! * Every entry has a lifetime; none is an explicit choice ([`Ttl::Never`]). Zero is an error.
//! * Deleting and invalidating return when the entries are gone, with their exact number, and never touch another
//!   namespace. Nothing scans the database.
//! * **One loader.** [`Namespace::get_or_set`] runs one loader per key across all processes; the others wait, woken by a
//!   signal, or get a stale value where that is allowed. [`Namespace::get_or_set_many`] does so for many keys at once.
//! * **No resurrection.** A loaded value is stored only if since the start of the load its key was neither deleted nor
//!   written and none of its tags was invalidated; the store decides, in the step that stores it.
//! * A failed loader leaves nothing behind. A crashed one holds others up for the rest of its lease.
//!
//! # Keys
//!
//! A namespace is cut into [`PARTITIONS`] parts by a hash of the key (FNV-1a), so that a large one spreads over a
//! Cluster. A partition is one hash tag:
//!
//! ```text
//! rp:{tenant:cache:namespace:07}:v:<key>   entry (see entry.rs)
//!                               :l:<key>   lease of the caller that loads it; also the channel of those who wait
//!                               :e         epoch            :x  keys by expiry       :t  tags by key
//!                               :g         keys by tag      :i  invalidation stamps  :z  cleared, to be freed
//! ```
//!
//! The index (`e x t g`) lives as long as its longest entry and each write takes a few expired ones out of it, so it
//! stays in proportion to what is cached. A lookup is one MGET of epoch and entry: an entry of another epoch does not
//! exist, nor one with a tag that the epoch says is on its way out. That makes clearing and tags immediate, and it makes
//! eviction honest: should the store evict a part of the index, the next write or invalidation notices by its counts and
//! begins a new epoch, rather than leave entries behind that no tag reaches.
//!
//! # Lifetimes
//!
//! ```text
//! stored ── fresh: served ── stale: served, and refreshed ── fail-safe: served if loading fails ── gone
//!        └ ttl, less jitter ┘└ stale ──────────────────────┘
//!                            └ fail_safe ──────────────────────────────────────────────────────┘
//! ```
//!
//! A lookup does not see what is kept for fail-safe. Removing an entry removes it in each of the three.
//!
//! # Near cache
//!
//! Where [`NearSettings`] ask for it, entries are kept in this process as well, and the store tells of changes. Own writes
//! are seen at once, others' when the push is here; on a connection that has died without a word after 2,000 ms
//! ([`LAG_MAX`]), and if a proxy swallows pushes but answers, after [`NearSettings::age_max`]. `near.rs` says why. A server
//! that cannot tell of changes makes lookups in such a namespace an error.
//!
//! # When the store is down
//!
//! A lookup answers [`Lookup::Outage`], to be treated as a miss, and is counted; what is near is not served either, since
//! nobody says whether it still holds. `get_or_set` runs its loader and stores nothing. (With [`OutagePolicy::Error`](crate::OutagePolicy::Error)
//! both are errors.) Writing, deleting and invalidating are errors: pretending would break their promise.
//!
//! # Upon it
//!
//! Keys derived from questions ([`derived`]), embeddings ([`embedding`]), HTTP responses ([`http`]), users ([`users`]) and
//! tasks ([`tasks`]) are uses of it that add no state of their own. Operations have none of them: what they add is in the
//! calling program, its loaders and its types; over HTTP the table of the cache does the rest.
//!
//! Not here: values of several keys written as one, and a guarantee that somebody else's copy is gone when a write
//! returns.

pub mod derived;
pub mod embedding;
mod entry;
mod fill;
mod flight;
pub mod http;
mod invalidate;
mod load;
mod lookup;
mod many;
mod namespace;
mod near;
mod operations;
mod settings;
mod steps;
mod stored;
pub mod tasks;
pub mod users;

pub use entry::{Body, Lookup};
pub use fill::{Claim, Fill, Fresh};
pub(crate) use flight::Flights;
pub use load::{LoadError, LoadOptions, Loaded, Source};
pub use namespace::{MAX_BATCH_KEYS, MAX_TAG_BYTES, MAX_TAGS, Namespace, PARTITIONS, Remaining};
pub use near::LAG_MAX;
pub(crate) use near::Nears;
pub use operations::SERVICE;
pub use settings::{CacheSettings, MAX_LOAD, NamespaceSettings, NearSettings};
pub use stored::SetOptions;

use crate::error::Result;
use crate::keys::Tenant;
use crate::{Services, Ttl};

/// A tenant's cache.
#[derive(Debug, Clone)]
pub struct Cache {
    services: Services,
    tenant: Tenant,
}

impl Cache {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Opens a namespace: a workspace, a type of object, whatever is cleared together.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::open(self.services.clone(), &self.tenant, name)
    }

    /// Returns the lifetime of entries stored without one, where a namespace does not say otherwise.
    pub fn default_ttl(&self) -> Ttl {
        self.services.settings().cache.ttl
    }
}
