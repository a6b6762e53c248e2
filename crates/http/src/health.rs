//! Whether the store works, found out by using it.
//!
//! A probe writes a key of its own, reads it back and deletes it; a key that outlives the probe expires. What the store
//! says of itself (INFO) is judged by a table of checks on top. The worst finding is the status:
//!
//! ```text
//! healthy    nothing to say
//! unknown    the probe worked, the store does not tell its state
//! warning    it works, somebody should look
//! critical   it does not work: not ready
//! ```
//!
//! On a Cluster the probe's key lies on some node, and what each master says is judged.

use std::time::{Duration, Instant};

use redpoll_services::backend::CircuitState;
use redpoll_services::{Backend, Command, Error, Services, Tenant};
use serde::Serialize;

use crate::info::{self, Info, Node};

/// What is left of a probe's key that could not be deleted goes away after this time.
const PROBE_TTL_MS: u64 = 10_000;

/// A probe that takes longer is worth a warning.
const LATENCY_WARNING: Duration = Duration::from_millis(100);

/// Share of a limit from which there is a warning.
const NEAR_LIMIT: f64 = 0.9;

/// A judgement, better to worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Nothing to say.
    Healthy,
    /// Nothing is known.
    Unknown,
    /// Somebody should look.
    Warning,
    /// It does not work.
    Critical,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// The check that found it.
    pub(crate) check: &'static str,
    /// What it found, as a sentence.
    pub(crate) reason: String,
}

/// The whole judgement.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    /// The worst of the findings.
    pub(crate) status: Level,
    /// Everything that is not healthy.
    pub(crate) reasons: Vec<Finding>,
    /// How long the probe took, in milliseconds; null if it failed.
    pub(crate) latency_ms: Option<f64>,
}

/// Probes the store and judges what it says of itself.
pub(crate) async fn examine(services: &Services) -> Health {
    let started = Instant::now();
    let probed = probe(services).await;
    let took = started.elapsed();
    let mut reasons = Vec::new();
    match &probed {
        Err(error) => reasons.push(Finding { level: Level::Critical, check: "probe", reason: error.to_string() }),
        Ok(()) if took > LATENCY_WARNING => {
            let reason = format!("writing, reading and deleting a key took {} ms", took.as_millis());
            reasons.push(Finding { level: Level::Warning, check: "latency", reason });
        }
        Ok(()) => {}
    }
    match info::ask(services.backend()).await {
        Ok(nodes) => reasons.extend(nodes.iter().flat_map(judge)),
        Err(error) => reasons.push(Finding { level: Level::Unknown, check: "info", reason: error.to_string() }),
    }
    // One that does not tell what it evicts has been found not to tell anything above.
    if probed.is_ok()
        && let Ok(Some(reason)) = services.eviction_risk().await
    {
        reasons.push(Finding { level: Level::Warning, check: "eviction", reason });
    }
    let circuit = services.backend().circuit();
    if circuit != CircuitState::Closed {
        let reason = format!("the store did not answer: the circuit is {}", circuit.name());
        reasons.push(Finding { level: Level::Critical, check: "circuit", reason });
    }
    let status = reasons.iter().map(|finding| finding.level).max().unwrap_or(Level::Healthy);
    let latency_ms = probed.is_ok().then_some(took.as_secs_f64() * 1000.0);
    Health { status, reasons, latency_ms }
}

async fn probe(services: &Services) -> Result<(), Error> {
    let backend: &Backend = services.backend();
    let id = uuid::Uuid::new_v4().to_string();
    let group = services.settings().keyring.group(&Tenant::default(), "health", &[&id]);
    let key = group.key("probe");
    backend.call(Command::new("SET").key(&key).arg(&id).arg("PX").arg(PROBE_TTL_MS).repeatable()).await?;
    let read = backend.call(Command::new("GET").key(&key).repeatable()).await?;
    if read.as_bytes() != Some(id.as_bytes()) {
        return Err(Error::Backend(format!("a key just written reads {read:?}")));
    }
    backend.call(Command::new("DEL").key(&key).repeatable()).await?;
    Ok(())
}

/// A check of what the store says of itself: a finding, or nothing to say.
type Check = fn(&Info) -> Option<(Level, String)>;

#[rustfmt::skip]
const CHECKS: &[(&str, Check)] = &[
    ("loading", loading),
    ("memory", memory),
    ("clients", clients),
    ("append_only_log", append_only_log),
    ("snapshot", snapshot),
];

fn judge(node: &Node) -> impl Iterator<Item = Finding> {
    CHECKS.iter().filter_map(|(check, judge)| {
        let (level, reason) = judge(&node.info)?;
        let reason = node.name.as_ref().map_or(reason.clone(), |name| format!("{name}: {reason}"));
        Some(Finding { level, check, reason })
    })
}

fn loading(info: &Info) -> Option<(Level, String)> {
    (info.number("loading")? != 0.0).then(|| (Level::Critical, "the store is still loading its data".to_owned()))
}

/// A store that evicts is full by design; one that does not refuses writes when it is.
fn memory(info: &Info) -> Option<(Level, String)> {
    let (used, limit) = (info.number("used_memory")?, info.number("maxmemory")?);
    let policy = info.text("maxmemory_policy").unwrap_or("noeviction");
    if limit == 0.0 || used < limit * NEAR_LIMIT {
        return None;
    }
    let reason = format!("{used} of {limit} bytes are used, policy {policy}");
    match policy {
        "noeviction" if used >= limit => Some((Level::Critical, reason)),
        policy if policy.starts_with("allkeys-") && used < limit => None,
        _ => Some((Level::Warning, reason)),
    }
}

fn clients(info: &Info) -> Option<(Level, String)> {
    let (connected, limit) = (info.number("connected_clients")?, info.number("maxclients")?);
    let near = limit > 0.0 && connected >= limit * NEAR_LIMIT;
    near.then(|| (Level::Warning, format!("{connected} of {limit} clients are connected")))
}

fn append_only_log(info: &Info) -> Option<(Level, String)> {
    if info.text("aof_last_write_status").is_some_and(|status| status != "ok") {
        return Some((Level::Critical, "the last write to the append-only log failed".to_owned()));
    }
    let rewrite = info.text("aof_last_bgrewrite_status").is_some_and(|status| status != "ok");
    rewrite.then(|| (Level::Warning, "the last rewrite of the append-only log failed".to_owned()))
}

fn snapshot(info: &Info) -> Option<(Level, String)> {
    let failed = info.text("rdb_last_bgsave_status").is_some_and(|status| status != "ok");
    failed.then(|| (Level::Warning, "the last snapshot failed".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(info: &str) -> Vec<(&'static str, Level)> {
        let node = Node { name: None, info: Info::parse(info) };
        judge(&node).map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn judgements() {
        let fine = "loading:0\nused_memory:50\nmaxmemory:100\nconnected_clients:1\nmaxclients:10\n\
                    aof_last_write_status:ok\naof_last_bgrewrite_status:ok\nrdb_last_bgsave_status:ok\n";
        for (info, expected) in [
            (fine, vec![]),
            ("", vec![]),
            ("loading:1", vec![("loading", Level::Critical)]),
            ("used_memory:90\nmaxmemory:0", vec![]),
            ("used_memory:90\nmaxmemory:100", vec![("memory", Level::Warning)]),
            ("used_memory:100\nmaxmemory:100\nmaxmemory_policy:noeviction", vec![("memory", Level::Critical)]),
            ("used_memory:99\nmaxmemory:100\nmaxmemory_policy:allkeys-lru", vec![]),
            ("used_memory:100\nmaxmemory:100\nmaxmemory_policy:volatile-ttl", vec![("memory", Level::Warning)]),
            ("connected_clients:9\nmaxclients:10", vec![("clients", Level::Warning)]),
            ("aof_last_write_status:err", vec![("append_only_log", Level::Critical)]),
            ("aof_last_bgrewrite_status:err", vec![("append_only_log", Level::Warning)]),
            ("rdb_last_bgsave_status:err", vec![("snapshot", Level::Warning)]),
        ] {
            assert_eq!(levels(info), expected, "{info}");
        }
    }

    #[test]
    fn a_finding_names_its_node() {
        let node = Node { name: Some("10.0.0.1:7000".to_owned()), info: Info::parse("loading:1") };
        let reasons: Vec<String> = judge(&node).map(|finding| finding.reason).collect();
        assert_eq!(reasons, ["10.0.0.1:7000: the store is still loading its data"]);
    }

    #[test]
    fn levels_are_ordered_from_better_to_worse() {
        assert!(Level::Healthy < Level::Unknown && Level::Unknown < Level::Warning && Level::Warning < Level::Critical);
    }
}
