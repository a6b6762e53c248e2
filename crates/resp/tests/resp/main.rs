//! Requests, replies and values of the protocol, as bytes and back.

#![allow(clippy::unwrap_used)]

mod reply;
mod request;
mod request_random;
mod value;
mod value_random;
