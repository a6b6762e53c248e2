//! Many processes at once, and processes that die: one fire for each tick, none missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_services::jobs::JobSettings;
use redpoll_services::schedules::{Misfire, Schedule, Ticker, Timing};
use redpoll_services::{Backend, Command};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::schedules::{Site, job, site, site_of};
use crate::support::{PATIENCE, Place, eventually};

const NODES: usize = 20;
const SCHEDULES: usize = 6;
const PERIOD_MS: u64 = 100;
/// Ticks of each schedule.
const TICKS: u64 = 8;

/// Every 100 ms, so often, none left out.
pub(crate) fn often(max_runs: u64) -> Schedule {
    let timing = Timing::every(Duration::from_millis(PERIOD_MS));
    Schedule { misfire: Misfire::CatchUp(1_000), max_runs: Some(max_runs), ..Schedule::new(timing, "q", job("x")) }
}

/// Forgets a job as soon as it is done, so that its id keeps nobody away.
pub(crate) fn forgetful() -> JobSettings {
    JobSettings { completed_max: 0, ..JobSettings::default() }
}

/// Works until all schedules have ended and the queue is empty, and returns how often each job was seen.
pub(crate) async fn seen_until_the_end(site: &Site, schedules: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = site.schedules.list(None, 1_000).await.unwrap();
        let is_over = found.len() == schedules && found.iter().all(|one| one.has_ended && one.firing_ms.is_none());
        for id in site.work().await {
            *seen.entry(id).or_insert(0) += 1;
        }
        if is_over {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "they do not end: {found:?}");
        tokio::task::yield_now().await;
    }
}

/// Checks that each tick came once, and no other.
pub(crate) fn check(seen: &BTreeMap<String, usize>, firsts: &[(String, u64)], ticks: u64) {
    let expected: BTreeMap<String, usize> = firsts
        .iter()
        .flat_map(|(id, first)| (0..ticks).map(move |number| (format!("{id}:{}", first + number * PERIOD_MS), 1)))
        .collect();
    assert_eq!(seen, &expected);
}

/// A schedule as it is often written: whoever finds that it is time enqueues, and notes that it did.
async fn naive_tick(backend: &Backend, key: &str, barrier: &Barrier) {
    let last = backend.call(Command::new("GET").key(key)).await.unwrap();
    barrier.wait().await;
    if last.is_nil() {
        backend.call(Command::new("SET").key(key).arg("1")).await.unwrap();
        backend.call(Command::new("RPUSH").key(format!("{key}:list")).arg("job")).await.unwrap();
    }
}

pub(crate) async fn twenty_nodes_fire_each_tick_once(place: Place) {
    let own = site(&place).await;
    let (naive, barrier) = (format!("{{{}}}:naive", own.tenant.name()), Arc::new(Barrier::new(NODES)));
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(site_of(&place, &own.tenant, forgetful()).await);
    }
    let mut tasks = JoinSet::new();
    for node in &nodes {
        let (backend, naive, barrier) = (node.services.backend().clone(), naive.clone(), Arc::clone(&barrier));
        tasks.spawn(async move { naive_tick(&backend, &naive, &barrier).await });
    }
    tasks.join_all().await;
    let fired = own.services.backend().call(Command::new("LLEN").key(format!("{naive}:list"))).await.unwrap();
    assert!(fired.as_i64() > Some(1), "the naive nodes fire {fired:?} times");

    let mut stops = Vec::new();
    let mut tickers = JoinSet::new();
    for node in &nodes {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        stops.push(stop);
        tickers.spawn(Ticker::new(node.services.clone()).run(async { stopped.await.unwrap_or_default() }));
    }
    let mut firsts = Vec::new();
    for (number, node) in nodes.iter().take(SCHEDULES).enumerate() {
        let id = format!("s{number}");
        let put = node.schedules.put(&id, &often(TICKS)).await.unwrap();
        firsts.push((id, put.next_ms.unwrap()));
    }
    let seen = seen_until_the_end(&nodes[0], SCHEDULES).await;
    check(&seen, &firsts, TICKS);
    for (id, _) in &firsts {
        assert_eq!(own.told(id).await.len(), TICKS as usize, "each is in the history once");
    }
    drop(stops);
    tickers.join_all().await;
}

pub(crate) async fn twenty_passes_at_the_same_moment_fire_once(place: Place) {
    let own = site(&place).await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(site_of(&place, &own.tenant, forgetful()).await);
    }
    for round in 0..5 {
        let at = own.now().await + 30;
        own.schedules.put("s", &Schedule::new(Timing::at(at), "q", job("x"))).await.unwrap();
        let barrier = Arc::new(Barrier::new(NODES));
        eventually("the tick is due", || async { own.now().await > at }).await;
        let mut tasks = JoinSet::new();
        for node in &nodes {
            let (schedules, barrier) = (node.schedules.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                schedules.fire_due().await.unwrap().fired
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 1, "round {round}");
        assert_eq!(own.work().await, [format!("s:{at}")]);
        assert_eq!(own.schedules.fire_due().await.unwrap().due, 0);
    }
}

pub(crate) async fn edits_and_fires_at_once(place: Place) {
    let own = site(&place).await;
    let node = site_of(&place, &own.tenant, forgetful()).await;
    let other = site_of(&place, &own.tenant, forgetful()).await;
    let first = own.schedules.put("s", &often(TICKS)).await.unwrap().next_ms.unwrap();
    let editing = tokio::spawn(async move {
        let mut edits = 0;
        while !other.schedules.get("s").await.unwrap().has_ended {
            let edited = Schedule { job: job(&format!("edit {edits}")), ..often(TICKS) };
            edits += 1;
            // Fires may be quicker each time; then nothing was changed.
            other.schedules.put("s", &edited).await.ok();
        }
        edits
    });
    let ticking = tokio::spawn({
        let schedules = node.schedules.clone();
        async move {
            while !schedules.get("s").await.unwrap().has_ended {
                schedules.fire_due().await.unwrap();
            }
        }
    });
    let seen = seen_until_the_end(&node, 1).await;
    check(&seen, &[("s".to_owned(), first)], TICKS);
    ticking.await.unwrap();
    assert!(editing.await.unwrap() > 0);
}
