//! The cache: values with a lifetime, in namespaces, with tags, and one loader per key.
//!
//! # Guarantees
//!
//! * A value, a cached absence, a miss and an outage are four results ([`Lookup`]). `{}`, `0`, `false`, `""` and `null`
//!   are values. Bytes come back as they were given.
//! * Every entry has a lifetime; none is an explicit choice ([`Ttl::Never`]). Zero is an error.
//! * Deleting and invalidating return when the entries are gone, with their exact number, and never touch another
//!   namespace. Nothing scans the database.
//! * **One loader.** [`Namespace::get_or_set`] runs one loader per key across all processes; the others wait, woken at
//!   once within the process, or get a stale value where that is allowed.
//! * **No resurrection.** A loaded value is stored only if since the start of the load its key was neither deleted nor
//!   written and none of its tags was invalidated; the store decides, in the step that stores it.
//! * A failed loader leaves nothing behind. A crashed one holds others up for the rest of its lease.
//!
//! # Keys
//!
//! A namespace is cut into [`PARTITIONS`] parts by a hash of the key, so that a large one spreads over a Cluster. A
//! partition is one hash tag:
//!
//! ```text
//! rp:{tenant:cache:namespace:07}:v:<key>   entry (see entry.rs)
//!                               :l:<key>   lease of the caller that loads it
//!                               :e         epoch            :x  keys by expiry       :t  tags by key
//!                               :g         keys by tag      :i  invalidation stamps  :z  cleared, to be freed
//! ```
//!
//! The index (`e x t g`) lives as long as its longest entry and each write takes a few expired ones out of it, so it
//! stays in proportion to what is cached. A lookup is one MGET of epoch and entry: an entry of another epoch does not
//! exist. That makes clearing immediate, and it makes eviction honest: should the store evict a part of the index,
//! the next write or invalidation notices by its counts and begins a new epoch, rather than leave entries behind that
//! no tag reaches.
//!
//! # When the store is down
//!
//! A lookup answers [`Lookup::Outage`], to be treated as a miss, and is counted. `get_or_set` runs its loader and stores
//! nothing. Writing, deleting and invalidating are errors: pretending would break their promise.
//!
//! Not here: a copy in this process's memory, which could not be told of invalidations by others.

mod entry;
mod flight;
mod invalidate;
mod load;
mod namespace;
mod operations;
mod settings;
mod steps;

pub use entry::{Body, Lookup};
pub(crate) use flight::Flights;
pub use load::{Claim, Fill, LoadError, LoadOptions, Loaded, Source};
pub use namespace::{MAX_BATCH_KEYS, MAX_TAG_BYTES, MAX_TAGS, Namespace, PARTITIONS, Remaining, SetOptions};
pub use operations::SERVICE;
pub use settings::{CacheSettings, MAX_LOAD, NamespaceSettings};

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
