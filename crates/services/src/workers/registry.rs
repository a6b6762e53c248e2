//! Which workers there are: each announces itself, and the store's clock tells who is alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::running::Shared;
use super::stats::Summary;
use super::steps::{ANNOUNCE, LEAVE, LIST};
use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant};

/// How long the dead are listed.
pub const REMEMBERED: Duration = Duration::from_secs(3600);

/// Most workers of a tenant that are listed; beyond, those that were silent for longest are forgotten.
pub const MAX_WORKERS: usize = 10_000;

/// Most of one call.
const MAX_LISTED: usize = 1_000;

/// After how many announcements that did not come a worker is dead.
const SILENCES: u32 = 3;

/// Digits of a record before its JSON.
const STARTED: usize = 13;
const SILENCE: usize = 10;

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It leases and runs.
    Running,
    /// It finishes what it has.
    Draining,
    /// It has ended.
    Stopped,
}

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Record {
    name: String,
    queues: Vec<String>,
    concurrency: usize,
    process: u32,
    state: WorkerState,
    busy: usize,
    prefetched: usize,
    #[serde(flatten)]
    totals: Summary,
}

/// A worker that is or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Seen {
    /// Id of that one run.
    pub instance: String,
    /// Its name, which several may have.
    pub name: String,
    /// Its queues, in their order.
    pub queues: Vec<String>,
    /// How many jobs it runs at once.
    pub concurrency: usize,
    /// Number of its process where it runs.
    pub process: u32,
    /// Whether it was heard of as lately as it said it would be. What is false has died, or cannot reach the store.
    pub is_alive: bool,
    /// What it said it was at.
    pub state: WorkerState,
    /// When it started, milliseconds since 1970 by the store's clock.
    pub started_ms: u64,
    /// When it was last heard of.
    pub heard_ms: u64,
    /// How many jobs it was running.
    pub busy: usize,
    /// How many it held beside these.
    pub prefetched: usize,
    /// What it had done.
    #[serde(flatten)]
    pub totals: Summary,
}

/// A tenant's workers.
#[derive(Debug, Clone)]
pub struct Workers {
    services: Services,
    keys: [Key; 2],
}

impl Workers {
    pub(crate) fn new(services: Services, tenant: &Tenant) -> Self {
        let group: Group = services.settings().keyring.kept_group(tenant, "workers", &[]);
        let keys = [group.key("b"), group.key("r")];
        Self { services, keys }
    }

    /// Lists workers, those heard of last first, at most `count`, which is at most 1,000. The dead are listed for [`REMEMBERED`].
    pub async fn list(&self, count: usize) -> Result<Vec<Seen>> {
        if !(1..=MAX_LISTED).contains(&count) {
            return Err(Error::invalid("count", format_args!("must be 1 to {MAX_LISTED}")));
        }
        let reply = self.run(Command::script(&LIST, &self.keys, &[count])).await?;
        let unexpected = || Error::unexpected(LIST.name(), &reply);
        let (now, rest) = reply.as_array().and_then(<[Value]>::split_first).ok_or_else(unexpected)?;
        let now = now.as_i64().and_then(|now| u64::try_from(now).ok()).ok_or_else(unexpected)?;
        let seen = rest.chunks(3).map(|parts| Seen::read(now, parts)).collect::<Option<Vec<_>>>();
        let remembered = u64::try_from(REMEMBERED.as_millis()).expect("an hour");
        let is_remembered = |seen: &Seen| seen.heard_ms.saturating_add(remembered) > now;
        Ok(seen.ok_or_else(unexpected)?.into_iter().filter(is_remembered).collect())
    }

    async fn announce(&self, instance: &str, silence: Duration, record: &Record) -> Result<()> {
        let json = serde_json::to_string(record).expect("text and numbers have a JSON form");
        let command = Command::script(&ANNOUNCE, &self.keys, &[instance, &json]);
        let command = command.arg(silence.as_millis() as u64).arg(REMEMBERED.as_millis() as u64).arg(MAX_WORKERS);
        self.run(command).await.map(drop)
    }

    async fn leave(&self, instance: &str) -> Result<()> {
        self.run(Command::script(&LEAVE, &self.keys, &[instance])).await.map(drop)
    }

    async fn run(&self, command: Command) -> Result<Value> {
        self.services.ensure_kept().await?;
        self.services.backend().call(command).await
    }
}

impl Seen {
    fn read(now: u64, parts: &[Value]) -> Option<Self> {
        let [instance, heard, stored] = parts else { return None };
        let heard_ms = heard.as_str()?.parse().ok()?;
        let stored = stored.as_str()?;
        let silence: u64 = stored.get(STARTED..STARTED + SILENCE)?.parse().ok()?;
        // By way of a value: flattened numbers of any precision cannot be read from text.
        let value: serde_json::Value = serde_json::from_str(stored.get(STARTED + SILENCE..)?).ok()?;
        let Record { name, queues, concurrency, process, state, busy, prefetched, totals } =
            serde_json::from_value(value).ok()?;
        Some(Self {
            instance: instance.as_str()?.to_owned(),
            name,
            queues,
            concurrency,
            process,
            // Whoever was heard of in the future was heard of before the clock was set back, and may be dead since: it has to be heard of again.
            is_alive: heard_ms <= now && now - heard_ms <= silence,
            state,
            started_ms: stored.get(..STARTED)?.parse().ok()?,
            heard_ms,
            busy,
            prefetched,
            totals,
        })
    }
}

/// Announces a worker until it has ended; then it leaves.
pub(super) async fn announce(shared: Arc<Shared>, mut state: watch::Receiver<WorkerState>) {
    let queue = &shared.worker.queues[0];
    let workers = Workers::new(queue.services().clone(), queue.tenant());
    let every = shared.worker.announce_every;
    loop {
        let now = *state.borrow_and_update();
        if now == WorkerState::Stopped {
            break;
        }
        let begun = Instant::now();
        if let Err(error) = workers.announce(&shared.instance, every * SILENCES, &record(&shared, now)).await {
            tracing::debug!(%error, "a worker could not announce itself");
        }
        tokio::select! {
            () = tokio::time::sleep_until(begun + every) => {}
            changed = state.changed() => if changed.is_err() { break },
        }
    }
    if let Err(error) = workers.leave(&shared.instance).await {
        tracing::debug!(%error, "a worker could not say that it has ended");
    }
}

fn record(shared: &Shared, state: WorkerState) -> Record {
    let (worker, stats) = (&shared.worker, &shared.stats);
    Record {
        name: worker.name.clone(),
        queues: worker.queues.iter().map(|queue| queue.name().to_owned()).collect(),
        concurrency: worker.concurrency,
        process: std::process::id(),
        state,
        busy: stats.busy.load(Ordering::Relaxed),
        prefetched: stats.ready.load(Ordering::Relaxed),
        totals: stats.summary(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alive() {
        let json = r#"{"name":"n","queues":["q"],"concurrency":1,"process":7,"state":"running","busy":0,"prefetched":0,"completed":1,"failed":0,"lost":0,"handed_back":0,"untold":0}"#;
        let stored = format!("{:013}{:010}{json}", 500, 100);
        let seen = |now: u64, heard: u64| {
            let parts = ["i".to_owned(), heard.to_string(), stored.clone()];
            Seen::read(now, &parts.map(|part| Value::Bulk(part.into_bytes()))).unwrap()
        };
        assert!(seen(1000, 1000).is_alive);
        assert!(seen(1100, 1000).is_alive);
        assert!(!seen(1101, 1000).is_alive);
        assert!(!seen(999, 1000).is_alive, "the clock was set back");
        assert_eq!((seen(1000, 1000).started_ms, seen(1000, 1000).totals.completed), (500, 1));
    }
}
