//! The HTTP API as its callers see it, in process.

#![allow(clippy::unwrap_used)]

mod api;
mod feeds;
mod health;
mod openapi;
mod support;
