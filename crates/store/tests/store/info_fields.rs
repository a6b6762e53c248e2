//! INFO has the fields that redis-server 7.0 has, section by section; where not, the reason stands here. The list is exact.

use std::collections::BTreeSet;

use crate::support::Embedded;
use redpoll_store::{Config, Store};
use redpoll_testkit::{RedisServer, Reply, Target, command};

/// Fields of redis-server that are left out, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("allocator_", "fields about the allocator: it is not asked"),
    ("atomicvar_api", "about the C compiler"),
    ("dump_payload_sanitizations", "payloads are always checked, and not counted"),
    ("gcc_version", "about the C compiler"),
    ("mem_allocator", "the program around the store chooses it"),
    ("monotonic_clock", "about the C library"),
    ("rss_overhead", "fields about the allocator: it is not asked"),
    ("total_reads_processed", "reads of a socket are not counted"),
    ("total_writes_processed", "writes to a socket are not counted"),
    ("used_cpu_sys_main_thread", "there is no main thread that does the work"),
    ("used_cpu_user_main_thread", "there is no main thread that does the work"),
    ("used_memory_functions", "texts of functions count as texts of scripts"),
    ("used_memory_lua", "what an interpreter holds is only known while it runs"),
    ("used_memory_scripts_eval", "texts of scripts are counted together"),
    ("used_memory_vm", "what an interpreter holds is only known while it runs"),
];

/// Fields that a redis-server of 7.0 does not have: our own, and that of 7.4 about fields of hashes.
const OURS: &[&str] = &["redpoll_version", "expired_subkeys"];

/// Sections whose fields depend on what happened.
const SAME_SHAPE: &[&str] = &["Commandstats", "Errorstats", "Latencystats", "Keyspace"];

/// Returns a section of INFO.
fn info(target: &mut dyn Target, section: &str) -> String {
    match target.call(&command(&format!("INFO {section}"))) {
        Reply::Bulk(text) | Reply::Verbatim(_, text) => String::from_utf8(text).expect("INFO is text"),
        other => panic!("INFO was answered by {}", other.print()),
    }
}

/// Returns the names of all fields with their sections, `Server/redis_version`.
fn fields(target: &mut dyn Target) -> BTreeSet<String> {
    let text = info(target, "everything");
    let mut section = String::new();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut section);
            names.insert(format!("{section}/"));
        } else if let Some((name, _)) = line.split_once(':') {
            names.insert(format!("{section}/{name}"));
        }
    }
    names
}

fn name(field: &str) -> &str {
    field.split_once('/').expect("fields are named with their section").1
}

#[test]
fn fields_are_those_of_redis() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = Embedded::new(&Store::open(Config::in_memory()).unwrap());
    for line in ["SET key value", "GET key", "NO-SUCH", "LPUSH key 1", "EXPIRE key 100"] {
        redis.run(line);
        ours.call(&command(line));
    }
    let (expected, found) = (fields(&mut redis), fields(&mut ours));
    let is_left_out = |field: &String| LEFT_OUT.iter().any(|(left_out, _)| name(field).starts_with(left_out));
    let differs = |field: &&String| !SAME_SHAPE.iter().any(|section| field.starts_with(&format!("{section}/")));
    let missing: Vec<_> = expected.difference(&found).filter(differs).filter(|field| !is_left_out(field)).collect();
    let unknown: Vec<_> =
        found.difference(&expected).filter(differs).filter(|field| !OURS.contains(&name(field))).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
    for (left_out, reason) in LEFT_OUT {
        let lacks = |field: &&String| name(field).starts_with(left_out);
        assert!(expected.difference(&found).any(|field| lacks(&field)), "{left_out} is listed ({reason}), but there");
    }
    for wanted in [
        "Commandstats/cmdstat_set",
        "Errorstats/errorstat_WRONGTYPE",
        "Latencystats/latency_percentiles_usec_get",
        "Keyspace/db0",
    ] {
        assert!(found.contains(wanted) && expected.contains(wanted), "{wanted}");
    }
}

#[test]
fn values_of_statistics_have_the_shape_of_those_of_redis() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = Embedded::new(&Store::open(Config::in_memory()).unwrap());
    let shapes = |target: &mut dyn Target| -> Vec<String> {
        for line in [
            "SET key value",
            "SET key value",
            "GET",
            "LPUSH key 1",
            "CONFIG SET latency-tracking-info-percentiles 99.9",
        ] {
            target.call(&command(line));
        }
        let mut lines = Vec::new();
        for section in ["commandstats", "errorstats", "latencystats", "keyspace"] {
            let text = info(target, section);
            let wanted = ["cmdstat_set:", "cmdstat_get:", "errorstat_ERR", "errorstat_WRONGTYPE", "usec_set:", "db0:"];
            let kept = text.lines().filter(|line| wanted.iter().any(|name| line.contains(name)));
            lines.extend(kept.map(without_times));
        }
        // The order is that of a table here, of a hash there.
        lines.sort();
        lines
    };
    assert_eq!(shapes(&mut ours), shapes(&mut redis));
}

/// Puts `#` in the place of what depends on the clock, and leaves out what 7.4 brought.
fn without_times(line: &str) -> String {
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if name.contains("usec") || name.ends_with("p99.9") => format!("{name}=#"),
        _ => part.to_owned(),
    };
    line.split(',').filter(|part| !part.starts_with("subexpiry=")).map(part).collect::<Vec<_>>().join(",")
}
