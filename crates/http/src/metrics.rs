//! `/metrics`: the store, the services and the HTTP routes in the Prometheus text format.
//!
//! The store's families have the names that `redis_exporter` gives them, so existing dashboards and alerts work. They are
//! computed from one INFO reply, whatever the backend; what a server does not tell is left out. `redis_up` says whether
//! it answered. The masters of a Cluster are told apart by the label `node`. Families of our own begin with `redpoll_`.

use redpoll_services::backend::CircuitState;
use redpoll_services::operation::Operation;
use redpoll_services::{SERVICES, Services};

use crate::exposition::{Exposition, Kind, Samples};
use crate::info::{self, Info, Node};
use crate::routes::{App, operations};
use crate::traffic::{BUCKETS_MICROS, RowCounts};

/// A field of INFO that is a number and a family.
struct Field {
    info: &'static str,
    family: &'static str,
    kind: Kind,
    help: &'static str,
}

const fn gauge(info: &'static str, family: &'static str, help: &'static str) -> Field {
    Field { info, family, kind: Kind::Gauge, help }
}

const fn counter(info: &'static str, family: &'static str, help: &'static str) -> Field {
    Field { info, family, kind: Kind::Counter, help }
}

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    gauge("uptime_in_seconds", "redis_uptime_in_seconds", "Seconds since the store started."),
    gauge("connected_clients", "redis_connected_clients", "Clients connected."),
    gauge("blocked_clients", "redis_blocked_clients", "Clients waiting in a blocking command."),
    gauge("maxclients", "redis_max_clients", "Clients that may be connected."),
    gauge("used_memory", "redis_memory_used_bytes", "Bytes of memory in use."),
    gauge("used_memory_dataset", "redis_memory_used_dataset_bytes", "Bytes of memory the data set uses."),
    gauge("used_memory_rss", "redis_memory_used_rss_bytes", "Bytes of memory resident."),
    gauge("used_memory_peak", "redis_memory_used_peak_bytes", "Most bytes of memory that were in use."),
    gauge("used_memory_scripts", "redis_memory_used_scripts_bytes", "Bytes of memory that scripts use."),
    gauge("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", "Resident over used memory."),
    gauge("maxmemory", "redis_memory_max_bytes", "Bytes of memory that may be used; 0 for no limit."),
    gauge("number_of_cached_scripts", "redis_number_of_cached_scripts", "Scripts that are cached."),
    gauge("loading", "redis_loading_dump_file", "Whether the store is loading its data."),
    gauge("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", "Changes since the last snapshot."),
    gauge("rdb_last_save_time", "redis_rdb_last_save_timestamp_seconds", "When the last snapshot was taken."),
    gauge("rdb_bgsave_in_progress", "redis_rdb_bgsave_in_progress", "Whether a snapshot is being taken."),
    gauge("aof_enabled", "redis_aof_enabled", "Whether changes are logged."),
    gauge("aof_rewrite_in_progress", "redis_aof_rewrite_in_progress", "Whether the log is being rewritten."),
    counter("total_connections_received", "redis_connections_received_total", "Connections accepted."),
    counter("rejected_connections", "redis_rejected_connections_total", "Connections refused because there were too many."),
    counter("total_commands_processed", "redis_commands_processed_total", "Commands run."),
    counter("total_net_input_bytes", "redis_net_input_bytes_total", "Bytes received."),
    counter("total_net_output_bytes", "redis_net_output_bytes_total", "Bytes sent."),
    counter("keyspace_hits", "redis_keyspace_hits_total", "Lookups that found a key."),
    counter("keyspace_misses", "redis_keyspace_misses_total", "Lookups that found none."),
    counter("expired_keys", "redis_expired_keys_total", "Keys that expired."),
    counter("expired_time_cap_reached_count", "redis_expired_time_cap_reached_total", "Sweeps for expired keys that were cut short."),
    counter("evicted_keys", "redis_evicted_keys_total", "Keys evicted because memory was full."),
    counter("total_error_replies", "redis_total_error_replies", "Error replies."),
    gauge("pubsub_channels", "redis_pubsub_channels", "Channels with subscribers."),
    gauge("pubsub_patterns", "redis_pubsub_patterns", "Patterns with subscribers."),
    gauge("connected_slaves", "redis_connected_slaves", "Replicas connected."),
    gauge("master_repl_offset", "redis_master_repl_offset", "Offset of the replication stream."),
    gauge("cluster_enabled", "redis_cluster_enabled", "Whether the store is a node of a Cluster."),
    counter("used_cpu_sys", "redis_cpu_sys_seconds_total", "Processor time spent in the kernel."),
    counter("used_cpu_user", "redis_cpu_user_seconds_total", "Processor time spent outside the kernel."),
];

/// A field of INFO that says `ok` or otherwise.
#[rustfmt::skip]
const STATUSES: &[(&str, &str, &str)] = &[
    ("rdb_last_bgsave_status", "redis_rdb_last_bgsave_status", "Whether the last snapshot succeeded."),
    ("aof_last_bgrewrite_status", "redis_aof_last_bgrewrite_status", "Whether the last rewrite of the log succeeded."),
    ("aof_last_write_status", "redis_aof_last_write_status", "Whether the last write to the log succeeded."),
];

/// A family with a sample for each field of INFO that begins with a prefix.
struct Group {
    prefix: &'static str,
    pair: &'static str,
    label: &'static str,
    family: &'static str,
    kind: Kind,
    /// What the number is divided by.
    divisor: f64,
    help: &'static str,
}

const fn group(
    prefix: &'static str,
    pair: &'static str,
    label: &'static str,
    family: &'static str,
    help: &'static str,
) -> Group {
    Group { prefix, pair, label, family, kind: Kind::Counter, divisor: 1.0, help }
}

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    group("cmdstat_", "calls", "cmd", "redis_commands_total", "Times each command ran."),
    Group { divisor: 1e6, ..group("cmdstat_", "usec", "cmd", "redis_commands_duration_seconds_total", "Time each command took in all.") },
    group("cmdstat_", "rejected_calls", "cmd", "redis_commands_rejected_calls_total", "Times each command was refused before it ran."),
    group("cmdstat_", "failed_calls", "cmd", "redis_commands_failed_calls_total", "Times each command ran and failed."),
    group("errorstat_", "count", "err", "redis_errors_total", "Error replies by code."),
    Group { kind: Kind::Gauge, ..group("db", "keys", "db", "redis_db_keys", "Keys by database.") },
    Group { kind: Kind::Gauge, ..group("db", "expires", "db", "redis_db_keys_expiring", "Keys that expire, by database.") },
    Group { kind: Kind::Gauge, divisor: 1e3, ..group("db", "avg_ttl", "db", "redis_db_avg_ttl_seconds", "Average lifetime of the keys that expire, by database.") },
];

/// Fields of INFO that are labels of `redis_instance_info`.
const LABELS: &[&str] = &["redis_version", "redis_mode", "role", "os", "maxmemory_policy", "run_id", "tcp_port"];

/// Writes everything.
pub(crate) async fn collect(app: &App) -> String {
    let mut out = Exposition::default();
    let asked = info::ask(app.services.backend()).await;
    out.single("redis_up", Kind::Gauge, "Whether the store answers.", if asked.is_ok() { 1.0 } else { 0.0 });
    match asked {
        Ok(nodes) => store(&mut out, &nodes),
        Err(error) => tracing::debug!(%error, "the store does not tell its state"),
    }
    services(&mut out, &app.services);
    routes(&mut out, app);
    out.into_text()
}

/// Writes what the services have counted, and what they do without the store.
fn services(out: &mut Exposition, services: &Services) {
    for (name, help, value) in services.metrics().snapshot() {
        out.single(name, Kind::Counter, help, value as f64);
    }
    let now = services.backend().circuit();
    let help = "Whether calls reach the store (closed), one tries (half_open), or all fail at once (open).";
    out.family("redpoll_backend_circuit_state", Kind::Gauge, help, |samples| {
        for state in [CircuitState::Closed, CircuitState::HalfOpen, CircuitState::Open] {
            samples.add("", &[("state", state.name())], if state == now { 1.0 } else { 0.0 });
        }
    });
    let help = "What each service answers while the store does not; always 1.";
    out.family("redpoll_outage_policy", Kind::Gauge, help, |samples| {
        for service in SERVICES {
            let policy = services.settings().outage.of(service.name).name();
            samples.add("", &[("service", service.name), ("policy", policy)], 1.0);
        }
    });
}

/// Writes what the nodes say.
fn store(out: &mut Exposition, nodes: &[Node]) {
    out.family("redis_instance_info", Kind::Gauge, "What the store is; always 1.", |samples| {
        for node in nodes {
            let known = LABELS.iter().filter_map(|name| Some((*name, node.info.text(name)?)));
            samples.add("", &label(node).into_iter().chain(known).collect::<Vec<_>>(), 1.0);
        }
    });
    for field in FIELDS {
        each_node(out, nodes, (field.family, field.kind, field.help), |info| info.number(field.info));
    }
    for (field, family, help) in STATUSES {
        let value = |info: &Info| info.text(field).map(|status| if status == "ok" { 1.0 } else { 0.0 });
        each_node(out, nodes, (family, Kind::Gauge, help), value);
    }
    for group in GROUPS {
        out.family(group.family, group.kind, group.help, |samples| {
            nodes.iter().for_each(|node| grouped(samples, group, node));
        });
    }
}

/// Returns the label that tells a node from the others, if there are others.
fn label(node: &Node) -> Option<(&str, &str)> {
    node.name.as_deref().map(|name| ("node", name))
}

/// Writes a family with at most one sample for each node.
fn each_node(
    out: &mut Exposition,
    nodes: &[Node],
    (family, kind, help): (&str, Kind, &str),
    value: impl Fn(&Info) -> Option<f64>,
) {
    out.family(family, kind, help, |samples| {
        for node in nodes {
            if let Some(value) = value(&node.info) {
                samples.add("", label(node).as_slice(), value);
            }
        }
    });
}

fn grouped(samples: &mut Samples<'_>, group: &Group, node: &Node) {
    for (name, pairs) in node.info.grouped(group.prefix) {
        if let Some(value) = pairs.number(group.pair) {
            // Databases are known as `db0`, commands and errors without what INFO puts before them.
            let text = if group.label == "db" { format!("db{name}") } else { name.to_owned() };
            let labels: Vec<(&str, &str)> = label(node).into_iter().chain([(group.label, text.as_str())]).collect();
            samples.add("", &labels, value / group.divisor);
        }
    }
}

/// Writes how the operations were asked and how they answered.
fn routes(out: &mut Exposition, app: &App) {
    let rows: Vec<(&Operation, RowCounts)> =
        operations().enumerate().map(|(index, operation)| (operation, app.traffic.counts(index))).collect();
    let asked = || rows.iter().filter(|(_, counts)| counts.buckets.iter().any(|count| *count > 0));
    out.family("redpoll_http_requests_total", Kind::Counter, "Requests answered, by class of status.", |samples| {
        for (operation, counts) in asked() {
            for (class, count) in counts.classes.iter().enumerate().filter(|(_, count)| **count > 0) {
                let status = format!("{class}xx");
                let labels =
                    [("service", operation.service), ("operation", operation.name), ("status", status.as_str())];
                samples.add("", &labels, *count as f64);
            }
        }
    });
    out.family("redpoll_http_request_duration_seconds", Kind::Histogram, "Time until the answer.", |samples| {
        for (operation, counts) in asked() {
            durations(samples, operation, counts);
        }
    });
}

fn durations(samples: &mut Samples<'_>, operation: &Operation, counts: &RowCounts) {
    let labels = [("service", operation.service), ("operation", operation.name)];
    let mut sum = 0;
    for (index, count) in counts.buckets.iter().enumerate() {
        sum += count;
        let bound = BUCKETS_MICROS.get(index).map_or("+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
        samples.add("_bucket", &[labels[0], labels[1], ("le", &bound)], sum as f64);
    }
    samples.add("_sum", &labels, counts.micros as f64 / 1e6);
    samples.add("_count", &labels, sum as f64);
}
