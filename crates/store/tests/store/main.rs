//! What a store does as a whole, one program for all of it. A test that sets limits of its process, or counts what the process has, stands beside this folder.

#![allow(clippy::unwrap_used)]

mod beside_redis;
mod blocking;
mod evict;
mod evict_beside_redis;
mod function_log;
mod info_fields;
mod lazy_free;
mod linearizable;
mod loading;
mod log_damaged;
mod log_files;
mod log_of_long_strings;
mod log_reopened;
mod log_waitaof;
mod migrate;
mod nothing_half_done;
mod open;
mod power_cut;
mod scripts_beside;
mod sealed;
mod shared_handle;
mod snapshot;
mod snapshot_moment;
mod subscription;
mod support;
mod transcripts;
mod users;
mod watch_counter;
