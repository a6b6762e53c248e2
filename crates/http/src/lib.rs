//! The services over HTTP: every operation a route, and what those who run a server need to look at it.
//!
//! ```text
//! connection ─► guard ─► route ─► input ─► Operation::run ─► answer
//!   server      who       table    path, query, body          status, body, envelope
//!               asks               in one object
//!
//! /v1/…            the operations, derived from redpoll_services::SERVICES    /openapi.json   their description
//! /redis/…         operations in an envelope, at the server's root            /metrics        Prometheus
//! /healthz         the process is alive                                       /readyz         the store works
//! ```
//!
//! An operation that is a feed goes on as server-sent events or over a WebSocket (`feed`).
//!
//! No service is known here by name: a row in a table of operations is a route, a path in the OpenAPI document and a
//! label in the metrics. Adding an operation changes nothing in this crate but the golden file of its tests.
//!
//! **Safe as it starts.** It listens on loopback and refuses any other address without a token. A page in a browser
//! cannot reach it: foreign origins, cross-site requests and names that a rebound DNS entry would use are refused.
//! Headers, bodies, connections and time are limited.
//!
//! Not here: what operations do, TLS (a proxy's business for now), sessions and users.

mod answer;
mod exposition;
mod feed;
mod guard;
mod health;
mod info;
mod input;
mod metrics;
mod openapi;
mod options;
mod routes;
mod server;
mod system;
mod traffic;

pub use openapi::document as openapi_document;
pub use options::Options;
pub use routes::{API_ROOT, router};
pub use server::{BoundServer, Error, HttpConfig, HttpServer};
