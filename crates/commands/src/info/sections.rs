//! The sections of INFO but memory.

use std::sync::atomic::Ordering;

use super::Lines;
use crate::REDIS_VERSION;
use crate::blocking::blocked_clients;
use crate::cx::Cx;
use crate::exchange::Scope;
use crate::settings::Setting;

pub(super) fn server(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let engine = cx.engine;
    let uptime = cx.wall_now().saturating_sub(engine.started) / 1000;
    lines.add("redis_version", REDIS_VERSION);
    lines.add("redis_git_sha1", "00000000");
    lines.add("redis_git_dirty", 0);
    lines.add("redis_build_id", 0);
    lines.add("redis_mode", "standalone");
    lines.add("arch_bits", usize::BITS);
    lines.add("redpoll_version", env!("CARGO_PKG_VERSION"));
    lines.add("process_supervised", "no");
    lines.add("run_id", &engine.run_id);
    lines.add("tcp_port", engine.settings.int(Setting::Port));
    lines.add("server_time_usec", engine.clock.micros());
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / 86_400);
    lines.add("hz", engine.settings.int(Setting::Hz));
    lines.add("configured_hz", engine.settings.int(Setting::Hz));
    lines.add("lru_clock", (cx.wall_now() / 1000) & 0xff_ffff);
    lines.add("config_file", engine.config_file.get().map_or("", String::as_str));
    lines.add("io_threads_active", 0);
}

pub(super) fn clients(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let engine = cx.engine;
    let all = engine.clients.all();
    let input = all.iter().map(|client| client.input_bytes()).max();
    let output = all.iter().map(|client| client.unsent_bytes()).max();
    lines.add("connected_clients", engine.clients.connected());
    lines.add("cluster_connections", 0);
    lines.add("maxclients", engine.settings.int(Setting::Maxclients));
    lines.add("client_recent_max_input_buffer", input.unwrap_or(0));
    lines.add("client_recent_max_output_buffer", output.unwrap_or(0));
    // Whom CLIENT PAUSE holds back is blocked too.
    lines.add("blocked_clients", blocked_clients(engine) + engine.pause.held_clients());
    lines.add("tracking_clients", engine.tracker.size().clients);
    lines.add("clients_in_timeout_table", 0);
}

pub(super) fn stats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let (counters, _) = cx.db.totals();
    let stats = &cx.engine.stats;
    let totals = &stats.totals;
    let rates = stats.rates();
    lines.add("total_connections_received", totals.connections.load(Ordering::Relaxed));
    lines.add("total_commands_processed", stats.commands());
    lines.add("instantaneous_ops_per_sec", rates.commands.round());
    lines.add("total_net_input_bytes", totals.input_bytes.load(Ordering::Relaxed));
    lines.add("total_net_output_bytes", totals.output_bytes.load(Ordering::Relaxed));
    lines.add("instantaneous_input_kbps", format!("{:.2}", rates.input_bytes / 1024.0));
    lines.add("instantaneous_output_kbps", format!("{:.2}", rates.output_bytes / 1024.0));
    lines.add("instantaneous_input_repl_kbps", "0.00");
    lines.add("instantaneous_output_repl_kbps", "0.00");
    lines.add("rejected_connections", totals.rejected_connections.load(Ordering::Relaxed));
    lines.add("expired_subkeys", counters.expired_fields);
    lines.add("expired_keys", counters.expired);
    lines.add("expired_stale_perc", "0.00");
    lines.add("expired_time_cap_reached_count", totals.expire_cycles_cut.load(Ordering::Relaxed));
    lines.add("expire_cycle_cpu_milliseconds", totals.expire_nanos.load(Ordering::Relaxed) / 1_000_000);
    lines.add("evicted_keys", counters.evicted);
    lines.add("evicted_clients", totals.evicted_clients.load(Ordering::Relaxed));
    lines.add("keyspace_hits", counters.hits);
    lines.add("keyspace_misses", counters.misses);
    let (exchange, tracked) = (&cx.engine.exchange, cx.engine.tracker.size());
    lines.add("pubsub_channels", exchange.channel_count(Scope::Channel));
    lines.add("pubsub_patterns", exchange.pattern_count());
    lines.add("pubsubshard_channels", exchange.channel_count(Scope::Shard));
    lines.add("tracking_total_keys", tracked.keys);
    lines.add("tracking_total_items", tracked.items);
    lines.add("tracking_total_prefixes", tracked.prefixes);
    let (total, current) = cx.engine.evictor.exceeded_ms(cx.engine.clock.ticks());
    lines.add("total_eviction_exceeded_time", total);
    lines.add("current_eviction_exceeded_time", current);
    lines.add("total_forks", cx.engine.persistence.known().moments);
    lines.add("total_error_replies", stats.errors().values().sum::<u64>());
    lines.zeros(&[
        "total_net_repl_input_bytes",
        "total_net_repl_output_bytes",
        "sync_full",
        "sync_partial_ok",
        "sync_partial_err",
        "latest_fork_usec",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "unexpected_error_replies",
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
        "reply_buffer_shrinks",
        "reply_buffer_expands",
    ]);
}

pub(super) fn replication(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    lines.add("role", "master");
    lines.add("connected_slaves", 0);
    if cx.engine.lacks_replicas() {
        lines.add("min_slaves_good_slaves", 0);
    }
    lines.add("master_failover_state", "no-failover");
    lines.add("master_replid", cx.engine.replication_id.read());
    lines.add("master_replid2", "0".repeat(40));
    lines.add("master_repl_offset", 0);
    lines.add("second_repl_offset", -1);
    lines.add("repl_backlog_active", 0);
    lines.add("repl_backlog_size", cx.engine.settings.int(Setting::ReplBacklogSize));
    lines.add("repl_backlog_first_byte_offset", 0);
    lines.add("repl_backlog_histlen", 0);
}

/// The layers above tell of processor time.
pub(super) fn cpu(_: &mut Cx<'_, '_>, _: &mut Lines) {}

/// There are none.
pub(super) fn modules(_: &mut Cx<'_, '_>, _: &mut Lines) {}

pub(super) fn commandstats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for command in cx.engine.registry.all() {
        let stats = cx.engine.stats.command(command.id);
        if stats.calls + stats.rejected > 0 {
            let per_call = if stats.calls == 0 { 0.0 } else { stats.micros as f64 / stats.calls as f64 };
            let value = format!(
                "calls={},usec={},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
                stats.calls, stats.micros, stats.rejected, stats.failed
            );
            lines.add(&format!("cmdstat_{}", command.name), value);
        }
    }
}

pub(super) fn errorstats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for (code, count) in cx.engine.stats.errors() {
        lines.add(&format!("errorstat_{code}"), format!("count={count}"));
    }
}

pub(super) fn latencystats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let settings = &cx.engine.settings;
    let percentiles = settings.text(Setting::LatencyTrackingInfoPercentiles);
    let percentiles: Vec<(&str, f64)> =
        percentiles.split(' ').filter_map(|word| Some((word, word.parse().ok()?))).collect();
    if !settings.is_on(Setting::LatencyTracking) || percentiles.is_empty() {
        return;
    }
    for command in cx.engine.registry.all() {
        let distribution = cx.engine.stats.distribution(command.id);
        if distribution.total() > 0 {
            let shown = percentiles.iter().map(|(word, percent)| {
                format!("p{word}={:.3}", distribution.percentile_nanos(*percent) as f64 / 1000.0)
            });
            lines.add(&format!("latency_percentiles_usec_{}", command.name), shown.collect::<Vec<_>>().join(","));
        }
    }
}

pub(super) fn cluster(_: &mut Cx<'_, '_>, lines: &mut Lines) {
    lines.add("cluster_enabled", 0);
}

pub(super) fn keyspace(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for db in 0..cx.db.databases() {
        let size = cx.db.size(db);
        if size.keys > 0 {
            let (keys, expires, subexpiry) = (size.keys, size.volatile, size.volatile_hashes);
            lines.add(&format!("db{db}"), format!("keys={keys},expires={expires},avg_ttl=0,subexpiry={subexpiry}"));
        }
    }
}
