//! What a server does for its clients, one program for all of it: a link less costs less than a test less. A test that sets limits of its process, or counts
//! what the process has, stands beside this folder.

#![allow(clippy::unwrap_used)]

mod blocking;
mod blocking_exactly_once;
mod busy_script;
mod client_control;
mod client_memory;
mod copy;
mod doors;
mod log_refused;
mod log_written;
mod longest_strings;
mod malformed_requests;
mod pubsub;
mod redis_rs;
mod support;
mod tls;
mod unix_socket;
mod waitaof;
