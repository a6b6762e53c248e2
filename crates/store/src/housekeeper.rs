//! The background thread: expiry nobody asked for, memory, the log, snapshots that are due.
//!
//! Ten times a second it goes round the shards whose soonest deadline has come. While many of the entries it sees have expired it takes up to half of one
//! processor, otherwise a few percent; every piece of work holds one shard's lock for well under a millisecond.
//!
//! Between its rounds it can be called: to go on evicting where commands have used up the time they may take for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redpoll_commands::dispatch::{sweep, whole};
use redpoll_commands::engine::Engine;
use redpoll_commands::evict::{self, Room};
use redpoll_commands::settings::Setting;
use redpoll_keyspace::{SHARDS, ShardIndex};

use crate::snapshots::{Keeper, SharedKeeper};
use crate::store::{Inner, upgrade};

/// Time between two rounds, unless there is much to do.
const PERIOD: Duration = Duration::from_millis(100);

/// Buckets visited under one lock.
const BUCKETS_PER_LOCK: usize = 64;

/// Share of a period that sweeping may take when little has expired, per step of `active-expire-effort`, microseconds.
const MICROS_IDLE: u64 = 2_500;

/// Share of a period that sweeping may take when much has expired, microseconds.
const MICROS_BUSY: u64 = 50_000;

/// Sweeping is worth the larger share when at least one key in this many visited buckets went.
const BUCKETS_PER_REMOVED: usize = 4;

/// Pause between two turns of making room.
const MAKING_ROOM_PAUSE: Duration = Duration::from_micros(250);

/// The thread; it ends when this is dropped.
pub(crate) struct Housekeeper {
    calls: Sender<Call>,
    thread: Option<JoinHandle<()>>,
    keeper: Option<Arc<Keeper>>,
}

/// What the thread is told between its rounds.
enum Call {
    /// There is something to evict.
    MakeRoom,
    /// The store is closed.
    Stop,
}

impl Housekeeper {
    pub(crate) fn start(inner: &Arc<Inner>, keeper: Option<Arc<Keeper>>) -> std::io::Result<Housekeeper> {
        let (calls, called) = channel();
        let (weak, caller, waiting) = (Arc::downgrade(inner), calls.clone(), Arc::new(AtomicBool::new(false)));
        let is_waiting = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("redpoll-housekeeper".into())
            .spawn(move || keep_house(&weak, &called, &is_waiting))?;
        let call: Box<dyn Fn() + Send + Sync> = Box::new(move || {
            // One call is enough until it is heard; a thread that has ended hears none.
            if !waiting.swap(true, Ordering::AcqRel) {
                caller.send(Call::MakeRoom).ok();
            }
        });
        inner.engine.background.set(call).ok().expect("a new engine has nobody in the background yet");
        Ok(Housekeeper { calls, thread: Some(thread), keeper })
    }
}

/// What the thread does: rounds, and in between what it is called for.
fn keep_house(inner: &Weak<Inner>, called: &Receiver<Call>, is_called: &AtomicBool) {
    let (mut next_shard, mut pause) = (0, PERIOD);
    let mut next_round = Instant::now() + pause;
    let mut is_making_room = false;
    loop {
        let left = next_round.saturating_duration_since(Instant::now());
        let call = called.recv_timeout(if is_making_room { left.min(MAKING_ROOM_PAUSE) } else { left });
        if matches!(call, Ok(Call::Stop) | Err(RecvTimeoutError::Disconnected)) {
            return;
        }
        let Some(inner) = upgrade(inner) else { return };
        let engine = &inner.engine;
        is_called.store(false, Ordering::Release);
        is_making_room = evict::in_background(engine) == Room::InTheMaking;
        if Instant::now() < next_round {
            continue;
        }
        pause = PERIOD;
        if !engine.debug.background_paused.load(Ordering::Relaxed) {
            (next_shard, pause) = go_round(engine, next_shard);
            note_failure(engine, inner.log.log().and_then(|log| log.failure()));
            if let Some(keeper) = &inner.keeper
                && !engine.load_state.is_on()
            {
                SharedKeeper(Arc::clone(keeper)).look(engine);
            }
        }
        next_round = Instant::now() + pause;
    }
}

/// Does what is done ten times a second; returns which shard is swept next and after what pause.
fn go_round(engine: &Engine, mut next_shard: ShardIndex) -> (ShardIndex, Duration) {
    let mut pause = PERIOD;
    let expires = !engine.debug.lazy_expire_only.load(Ordering::Relaxed);
    // What is half loaded may still be read, kept or renamed by what follows.
    if expires && !engine.pause.is_on(engine.clock.now()) && !engine.load_state.is_on() {
        let begun = engine.clock.ticks();
        (next_shard, pause) = sweep_round(engine, next_shard);
        let nanos = engine.clock.ticks() - begun;
        engine.stats.totals.expire_nanos.fetch_add(nanos, Ordering::Relaxed);
        engine.note_latency("expire-cycle", nanos / 1_000_000);
    }
    engine.clock.synchronise();
    engine.stats.look(engine.clock.ticks());
    engine.clients.cut_off_overdue(&engine.settings.output_limits, engine.clock.now());
    engine.bound_clients_anew();
    let used = whole(engine, engine.clock.now(), |view| view.totals().1) + engine.overhead_bytes();
    engine.memory_used.store(used as u64, Ordering::Relaxed);
    engine.memory_peak.fetch_max(used as u64, Ordering::Relaxed);
    (next_shard, pause)
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.calls.send(Call::Stop).ok();
        if let Some(keeper) = &self.keeper {
            keeper.end();
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            thread.join().ok();
        }
    }
}

/// Lets writes be refused while the log cannot be written, and says in the program's log when that begins and ends.
fn note_failure(engine: &Engine, failure: Option<String>) {
    let before = engine.log_health.note(failure.clone());
    match (before, failure) {
        (None, Some(reason)) => tracing::error!(%reason, "the log cannot be written: changes are refused"),
        (Some(_), None) => tracing::info!("the log can be written again"),
        _ => {}
    }
}

/// Goes round the shards once, or as far as its share of time reaches; returns where to go on and after what pause.
fn sweep_round(engine: &Engine, mut shard: ShardIndex) -> (ShardIndex, Duration) {
    let effort = engine.settings.int(Setting::ActiveExpireEffort) as u64;
    let started = engine.clock.ticks();
    let (mut visited_sum, mut removed_sum) = (0, 0);
    let mut shards_left = SHARDS;
    while shards_left > 0 {
        let (visited, removed) = sweep(engine, shard, BUCKETS_PER_LOCK, engine.clock.now());
        visited_sum += visited;
        removed_sum += removed;
        if visited < BUCKETS_PER_LOCK {
            shard = (shard + 1) % SHARDS as ShardIndex;
            shards_left -= 1;
        }
        if visited == 0 {
            continue;
        }
        let busy = removed_sum * BUCKETS_PER_REMOVED >= visited_sum;
        let share = if busy { MICROS_BUSY } else { MICROS_IDLE * effort };
        if (engine.clock.ticks() - started) / 1000 > share {
            engine.stats.totals.expire_cycles_cut.fetch_add(1, Ordering::Relaxed);
            return (shard, if busy { Duration::from_micros(MICROS_BUSY) } else { PERIOD });
        }
    }
    (shard, PERIOD)
}
