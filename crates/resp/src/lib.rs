//! The Redis wire format, RESP2 and RESP3: bytes to requests and replies, and back.
//!
//! Three independent halves, each without I/O, clock, threads or async; callers own the sockets and the buffers:
//!
//! ```text
//! server   bytes ─► RequestParser ─► argument slices        Writer ─► bytes
//! client   encode_command ─► bytes                          bytes ─► decode / Decoder ─► Value
//! ```
//!
//! * [`request`] reads what clients send: arrays of bulk strings and inline commands. It is incremental and copies nothing.
//! * [`preview`] looks ahead in a pipeline for keys that will be needed.
//! * [`reply`] writes replies in either protocol version, so a command handler never asks which one the client speaks.
//! * [`decode`](mod@decode) and [`value`] read replies into an owned tree, for clients, tests, scripts and log readers.
//! * [`error`] holds every error text of this layer; those that a client can see are Redis's own.
//!
//! Absent on purpose: commands (this crate does not know one), sockets, and panics on input. Whatever bytes arrive, the
//! answer is a value, a request for more bytes, or a [`ProtocolError`]. Every length and depth a peer can announce is
//! held against a named limit before anything is allocated for it.

pub mod decode;
mod display;
pub mod error;
pub mod inline;
mod number;
pub mod preview;
pub mod reply;
pub mod request;
pub mod value;

pub use decode::{DecodeLimits, Decoder, decode};
pub use error::ProtocolError;
pub use inline::{UnbalancedQuotes, split_args};
pub use preview::Preview;
pub use reply::{Mark, Protocol, Writer};
pub use request::{Access, ArgRange, ArgRanges, Limits, Parse, RequestParser};
pub use value::{Value, encode_command};
