//! The HTTP API as its callers see it, in process.

mod api;
mod health;
mod openapi;
mod support;
