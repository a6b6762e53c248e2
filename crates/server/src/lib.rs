//! The server: listeners and connections around a store.
//!
//! ```text
//! door (TCP, TLS, Unix socket) ─► worker 0 … N (one thread, one single-threaded runtime each)
//!               └ connection task: read ► parse ► dispatch ► … ► one write per read
//! ```
//!
//! A connection lives on one worker, which leaves its runtime to run scripts (`apart.rs`). What it reads goes into a buffer the worker owns, so ten thousand idle clients cost no buffers; only the
//! rest of an incomplete command is kept by the connection. All commands of one read are run and answered with one write. A client that does not read its replies
//! is not read from either: the socket's own back-pressure bounds what waits for it.
//!
//! What commands mean is not known here.

mod apart;
mod connection;
mod copy;
mod doors;
mod guest;
mod listener;
mod settling;
mod stream;
mod tls;
mod unix;
mod worker;

pub use doors::hosts;
pub use listener::{Entrances, Error, Server, ServerConfig};
pub use tls::{ClientCertificates, TlsConfig};
pub use unix::UnixConfig;
