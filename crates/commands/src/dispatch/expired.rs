//! What goes outside a command of its own: it expired and was found by the sweep, or met by a command that looks through all keys and holds no lock for long; or it
//! was evicted.
//!
//! Its removal is logged, announced and told to those who wait for the key under the lock of its shard, like any change; no transaction frames it.

use std::sync::Arc;

use redpoll_keyspace::{Effects, Expired, Millis, ShardIndex, View};

use crate::client::Client;
use crate::engine::Engine;
use crate::{blocking, disposal, notifications, tracking};

/// Removes expired keys and fields of one shard, visiting at most `budget` buckets, and logs their removal; returns how many buckets were visited and how
/// many keys and fields went.
pub fn sweep(engine: &Engine, shard: ShardIndex, budget: usize, now: Millis) -> (usize, usize) {
    let (served, visited, removed);
    {
        let mut gate = engine.keyspace.enter();
        let held = gate.lock_shard(shard);
        let mut view = View::new(&engine.keyspace, held, 0, now, engine.stamping(now), engine.effects());
        visited = view.sweep(shard, budget);
        removed = view.effects.expired.iter().map(Expired::count).sum();
        served = settle_removed(engine, &mut view);
    }
    blocking::wake(&served);
    (visited, removed)
}

/// Removes what a command without locks has met expired, each key under its own lock, and logs it by itself.
#[cold]
pub(super) fn remove_overdue(engine: &Engine, view: &mut View<'_>) -> Vec<Arc<Client>> {
    let mut served = Vec::new();
    for (db, key) in std::mem::take(&mut view.effects.overdue) {
        let mut alone = view.on_shard_of(db, &key, engine.effects());
        // To look for it is what removes it, if nobody has renewed it meanwhile.
        alone.peek(&key);
        served.append(&mut settle_removed(engine, &mut alone));
    }
    served
}

/// Tells everybody about what was removed outside a command of its own. The locks are still held.
pub(crate) fn settle_removed(engine: &Engine, view: &mut View<'_>) -> Vec<Arc<Client>> {
    blocking::log_expired(engine, &mut view.effects);
    announce(engine, &mut view.effects);
    let served = if view.effects.ready.is_empty() { Vec::new() } else { blocking::serve(engine, view) };
    announce(engine, &mut view.effects);
    disposal::dispose(engine, &mut view.effects);
    served
}

/// Tells subscribers and tracking clients what happened to keys outside any command. Called under the locks of the keys.
pub fn announce(engine: &Engine, effects: &mut Effects) {
    if !effects.events.is_empty() {
        notifications::publish(engine, &mut effects.events);
    }
    if !effects.modified.is_empty() {
        tracking::tell(engine, &std::mem::take(&mut effects.modified));
        effects.told = 0;
    }
}
