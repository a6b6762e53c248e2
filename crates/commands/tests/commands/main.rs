//! What commands do on an engine without a store around it.

#![allow(clippy::unwrap_used)]

mod acl_keys;
mod acl_rules;
mod command_docs;
mod debug_allowed;
mod dump;
mod evict_models;
mod geo;
mod hash_expire_model;
mod journal;
mod refused_exec;
mod scan;
mod support;
mod table;
mod transcripts;
