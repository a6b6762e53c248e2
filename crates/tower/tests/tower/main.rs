//! Layers on a real axum app.

#![allow(clippy::unwrap_used)]

mod idempotency;
mod rate_limit;
mod sessions;
