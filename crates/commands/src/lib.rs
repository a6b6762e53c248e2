//! The command table, the dispatcher and every handler.
//!
//! One file a family: the rows of its commands stand in a table at the top, the handlers below in table order. [`families`] lists the
//! tables; the [`registry::Registry`] derives everything else from them. [`dispatch::dispatch`] takes a command from arguments to reply.
//!
//! Nothing in here does I/O, starts a thread, reads a clock or keeps a global: all of that comes in through the [`engine::Engine`].

pub mod acl;
pub mod args;
pub mod arguments;
pub mod blocking;
pub mod client;
pub mod command;
pub mod config_file;
pub mod cx;
pub mod dispatch;
pub mod disposal;
pub mod engine;
pub mod error;
pub mod evict;
pub mod exchange;
mod expiry;
pub mod gauge;
mod histogram;
pub mod info;
pub mod journal;
pub mod key_spec;
pub mod latency;
mod latency_report;
pub mod load_state;
pub mod log_health;
pub mod monitor;
mod names;
mod notifications;
pub mod outbox;
pub mod output_limit;
pub mod pause;
pub mod persistence;
mod rates;
pub mod registry;
pub mod reload;
mod secrets;
pub mod session;
pub mod settings;
pub mod slow_log;
pub mod stats;
pub mod sync_wait;
mod syntax;
mod timing;
pub mod tracking;
pub mod transaction;
pub mod turn;

mod bitfield;
mod bitmap;
mod client_admin;
mod client_limit;
mod client_tracking;
mod cluster;
mod command_admin;
mod command_docs;
mod command_history;
mod config;
mod connection;
mod debug;
mod digest;
mod dump;
mod expire;
mod function;
mod function_payload;
mod generic;
mod geo;
mod geo_search;
mod hash;
mod hash_ex;
mod hash_expire;
mod help;
mod hyper_log_log;
mod keyspace_admin;
mod lcs;
mod list;
mod list_blocking;
mod lolwut;
mod migrate;
mod module;
mod object;
mod pubsub;
mod replication;
mod reply;
mod scan;
mod scripting;
mod set;
mod set_algebra;
mod shutdown;
mod sort;
mod sorted_set;
mod sorted_set_algebra;
mod sorted_set_blocking;
mod sorted_set_pop;
mod sorted_set_range;
mod stream;
mod stream_args;
mod stream_claim;
mod stream_group;
mod stream_info;
mod stream_read;
mod string;
mod string_condition;
mod string_counter;
mod throttle;

/// The Redis version whose commands and behaviour clients can rely on here; reported by HELLO and INFO.
pub const REDIS_VERSION: &str = "7.4.0";

/// Returns the families of commands in the order of the reference pages.
pub fn families() -> Vec<command::Family> {
    vec![
        generic::FAMILY,
        expire::FAMILY,
        object::FAMILY,
        sort::FAMILY,
        dump::FAMILY,
        migrate::FAMILY,
        scripting::FAMILY,
        function::FAMILY,
        string::FAMILY,
        throttle::FAMILY,
        string_condition::FAMILY,
        string_counter::FAMILY,
        lcs::FAMILY,
        bitmap::FAMILY,
        hyper_log_log::FAMILY,
        hash::FAMILY,
        hash_expire::FAMILY,
        hash_ex::FAMILY,
        list::FAMILY,
        set::FAMILY,
        sorted_set::FAMILY,
        geo::FAMILY,
        stream::FAMILY,
        pubsub::FAMILY,
        transaction::FAMILY,
        connection::FAMILY,
        acl::admin::FAMILY,
        command_admin::FAMILY,
        config::FAMILY,
        info::FAMILY,
        shutdown::FAMILY,
        persistence::FAMILY,
        replication::FAMILY,
        cluster::FAMILY,
        module::FAMILY,
        keyspace_admin::FAMILY,
        monitor::FAMILY,
        slow_log::FAMILY,
        latency::FAMILY,
        lolwut::FAMILY,
        debug::FAMILY,
    ]
}
