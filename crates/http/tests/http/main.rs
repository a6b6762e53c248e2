//! The HTTP API as its callers see it, in process.

#![allow(clippy::unwrap_used)]

mod api;
mod health;
mod openapi;
mod support;
