//! tower and axum layers over the services: what a server adds with one line.
//!
//! ```text
//! request ─► layer ─► service of `redpoll-services` ─► store
//!              └► the server's own handlers
//! ```
//!
//! A layer here translates: it reads from a request what the service needs, and says in headers and statuses what the
//! service answered. It decides nothing that the service could decide. A layer that has to read bodies takes services of
//! requests with [`axum_core::body::Body`], which every axum router is; the others take any.
//!
//! A store, as [`sessions`] has one, does the same for a framework that has a layer of its own.
//!
//! What is not here: state, keys of the store, routes.

pub mod idempotency;
pub mod rate_limit;
pub mod sessions;

pub use idempotency::IdempotencyLayer;
pub use rate_limit::RateLimitLayer;

/// The guides, so that their Rust is compiled with the tests of the documentation.
#[cfg(doctest)]
mod guides {
    macro_rules! guides {
        ($($name:ident $path:literal)*) => {
            $(#[doc = include_str!($path)] mod $name {})*
        };
    }

    guides! {
        atomic "../../../docs/guide/atomic.md"
        cache "../../../docs/guide/cache.md"
        connection "../../../docs/guide/connection.md"
        events "../../../docs/guide/events.md"
        idempotency "../../../docs/guide/idempotency.md"
        jobs "../../../docs/guide/jobs.md"
        limits "../../../docs/guide/rate-limits.md"
        locks "../../../docs/guide/locks.md"
        schedules "../../../docs/guide/schedules.md"
        sessions "../../../docs/guide/sessions.md"
        streams "../../../docs/guide/streams.md"
        pubsub "../../../docs/guide/pubsub.md"
        tokens "../../../docs/guide/tokens.md"
        workers "../../../docs/guide/workers.md"
    }
}
