//! INFO: the state of the store in sections of `name:value` lines, with the names monitoring tools read.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::REDIS_VERSION;
use crate::args::Args;
use crate::blocking::blocked_clients;
use crate::command::{Command, Family, LOADING, STALE, WHOLE, cmd};
use crate::cx::Cx;
use crate::error::Error;
use crate::exchange::Scope;
use crate::settings::Setting;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("INFO [section [section ...]]", info, LOADING | STALE | WHOLE, "1.0.0", "O(1)", "Returns information and statistics about the server.").categories(&["dangerous"]),
];

/// The state of the store.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// Writes the lines of a section.
type SectionWriter = fn(&mut Cx<'_, '_>, &mut Lines);

/// A section and whether it is shown when none is asked for.
struct Section {
    name: &'static str,
    title: &'static str,
    by_default: bool,
    write: SectionWriter,
}

#[rustfmt::skip]
const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", by_default: true, write: server },
    Section { name: "clients", title: "Clients", by_default: true, write: clients },
    Section { name: "memory", title: "Memory", by_default: true, write: memory },
    Section { name: "persistence", title: "Persistence", by_default: true, write: persistence },
    Section { name: "stats", title: "Stats", by_default: true, write: stats },
    Section { name: "replication", title: "Replication", by_default: true, write: replication },
    Section { name: "cpu", title: "CPU", by_default: true, write: nothing },
    Section { name: "modules", title: "Modules", by_default: true, write: nothing },
    Section { name: "commandstats", title: "Commandstats", by_default: false, write: commandstats },
    Section { name: "errorstats", title: "Errorstats", by_default: true, write: errorstats },
    Section { name: "cluster", title: "Cluster", by_default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", by_default: true, write: keyspace },
];

/// INFO [section [section ...]]
fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let asked = args.from(1);
    let is_asked = |word: &str| asked.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let all = is_asked("all") || is_asked("everything");
    let default = asked.is_empty() || is_asked("default");
    let mut lines = Lines(String::new());
    for section in SECTIONS {
        if all || (default && section.by_default) || is_asked(section.name) {
            lines.title(section.title);
            (section.write)(cx, &mut lines);
            for (name, value) in cx.engine.host.get().map(|host| host.info(section.name)).unwrap_or_default() {
                lines.add(&name, value);
            }
        }
    }
    cx.out.verbatim("txt", lines.0.as_bytes());
    Ok(())
}

/// The text as it grows.
struct Lines(String);

impl Lines {
    fn title(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        write!(self.0, "{gap}# {title}\r\n").expect("writing to a string cannot fail");
    }

    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.0, "{name}:{value}\r\n").expect("writing to a string cannot fail");
    }
}

fn server(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let engine = cx.engine;
    let uptime = cx.now().saturating_sub(engine.started) / 1000;
    lines.add("redis_version", REDIS_VERSION);
    lines.add("redis_git_sha1", "00000000");
    lines.add("redis_git_dirty", 0);
    lines.add("redis_build_id", 0);
    lines.add("redis_mode", "standalone");
    lines.add("arch_bits", usize::BITS);
    lines.add("redpoll_version", env!("CARGO_PKG_VERSION"));
    lines.add("run_id", &engine.run_id);
    lines.add("tcp_port", engine.settings.int(Setting::Port));
    lines.add("server_time_usec", engine.clock.micros());
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / 86_400);
    lines.add("hz", 10);
    lines.add("configured_hz", 10);
    lines.add("lru_clock", (cx.now() / 1000) & 0xff_ffff);
    lines.add("config_file", engine.config_file.get().map_or("", String::as_str));
}

fn clients(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let engine = cx.engine;
    lines.add("connected_clients", engine.clients.connected());
    lines.add("maxclients", engine.settings.int(Setting::Maxclients));
    lines.add("blocked_clients", blocked_clients(engine));
    lines.add("tracking_clients", engine.tracker.size().clients);
    lines.add("clients_in_timeout_table", 0);
}

fn memory(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let (_, used) = cx.db.totals();
    let (scripts, script_bytes) = cx.engine.scripting.get().map_or((0, 0), |scripting| scripting.size());
    let settings = &cx.engine.settings;
    let limit = settings.int(Setting::Maxmemory);
    lines.add("used_memory", used);
    lines.add("used_memory_human", human(used as u64));
    lines.add("used_memory_dataset", used);
    if let Some(resident) = cx.engine.host.get().and_then(|host| host.resident_bytes()) {
        lines.add("used_memory_rss", resident);
        lines.add("used_memory_rss_human", human(resident));
        lines.add("mem_fragmentation_ratio", format!("{:.2}", resident as f64 / used.max(1) as f64));
        lines.add("mem_fragmentation_bytes", resident as i64 - used as i64);
    }
    lines.add("maxmemory", limit);
    lines.add("maxmemory_human", human(limit.unsigned_abs()));
    lines.add("maxmemory_policy", settings.text(Setting::MaxmemoryPolicy));
    lines.add("number_of_cached_scripts", scripts);
    lines.add("used_memory_scripts", script_bytes);
}

fn persistence(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    lines.add("loading", 0);
    lines.add("async_loading", 0);
    lines.add("rdb_bgsave_in_progress", 0);
    lines.add("aof_enabled", u8::from(cx.engine.log.get().is_some()));
    lines.add("aof_rewrite_in_progress", 0);
    let failing = cx.engine.log_health.is_failing();
    lines.add("aof_last_write_status", if failing { "err" } else { "ok" });
}

fn stats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let (counters, _) = cx.db.totals();
    let stats = &cx.engine.stats;
    let totals = &stats.totals;
    lines.add("total_connections_received", totals.connections.load(Ordering::Relaxed));
    lines.add("total_commands_processed", stats.commands());
    lines.add("total_net_input_bytes", totals.input_bytes.load(Ordering::Relaxed));
    lines.add("total_net_output_bytes", totals.output_bytes.load(Ordering::Relaxed));
    lines.add("rejected_connections", totals.rejected_connections.load(Ordering::Relaxed));
    lines.add("expired_keys", counters.expired);
    lines.add("expired_time_cap_reached_count", totals.expire_cycles_cut.load(Ordering::Relaxed));
    lines.add("evicted_keys", 0);
    lines.add("keyspace_hits", counters.hits);
    lines.add("keyspace_misses", counters.misses);
    let (exchange, tracked) = (&cx.engine.exchange, cx.engine.tracker.size());
    lines.add("pubsub_channels", exchange.channel_count(Scope::Channel));
    lines.add("pubsub_patterns", exchange.pattern_count());
    lines.add("pubsubshard_channels", exchange.channel_count(Scope::Shard));
    lines.add("tracking_total_keys", tracked.keys);
    lines.add("tracking_total_items", tracked.items);
    lines.add("tracking_total_prefixes", tracked.prefixes);
    lines.add("total_error_replies", stats.errors().values().sum::<u64>());
}

fn replication(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    lines.add("role", "master");
    lines.add("connected_slaves", 0);
    lines.add("master_replid", cx.engine.replication_id.read());
    lines.add("master_repl_offset", 0);
}

fn nothing(_: &mut Cx<'_, '_>, _: &mut Lines) {}

fn commandstats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
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

fn errorstats(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for (code, count) in cx.engine.stats.errors() {
        lines.add(&format!("errorstat_{code}"), format!("count={count}"));
    }
}

fn cluster(_: &mut Cx<'_, '_>, lines: &mut Lines) {
    lines.add("cluster_enabled", 0);
}

fn keyspace(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for db in 0..cx.db.databases() {
        let size = cx.db.size(db);
        if size.keys > 0 {
            lines.add(&format!("db{db}"), format!("keys={},expires={},avg_ttl=0", size.keys, size.volatile));
        }
    }
}

/// Prints bytes as INFO does: `1.50M`.
pub fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}
