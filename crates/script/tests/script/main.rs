//! What scripts may do, and what they may not.

#![allow(clippy::unwrap_used)]

mod hostile;
mod hostile_chunks;
mod hostile_coroutines;
mod hostile_libraries;
mod lua;
mod support;
