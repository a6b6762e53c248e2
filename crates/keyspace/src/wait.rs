//! Waiting: who is to be served when a key comes to hold something (BLPOP, BZPOPMIN, XREAD and their kin).
//!
//! ```text
//! Shard ─ Waiters ─ database ─ key ─ queue: ticket 7 of client 3 │ ticket 9 of client 5 │ …      first come, first served
//! ```
//!
//! A client that finds nothing leaves a [`Waiter`] at each of its keys, under the locks it looked with; so the order of a queue is the order in which the
//! clients looked. Whoever changes such a key holds the same lock and notes the key as ready in its effects ([`ReadyKeys`]); when its command has
//! finished as a unit, and before it lets go of the locks, the layer above serves the queues. A shard nobody waits in costs writers one comparison.
//!
//! Serving may move an element to another key (BLMOVE), whose shard must be locked too. Each shard therefore knows the shards its waiters move elements to,
//! and [`crate::Gate::lock`] takes them along.
//!
//! A queue holds numbers only. Whether a ticket is still good (its client may have been served at another key, timed out or gone) is known above;
//! stale tickets are harmless and removed by whoever meets them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::entry::kind;
use crate::{Effects, Keyspace, Kind, Shard, ShardIndex, View};

/// What a waiter wants to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The key holds a value of this kind.
    Value(Kind),
    /// The key holds a value of this kind, or no longer does (XREADGROUP).
    ValueOrLoss(Kind),
}

impl Wanted {
    /// Tells whether a waiter is to look at a key in this state.
    #[inline]
    pub fn includes(self, found: Option<Kind>) -> bool {
        match self {
            Wanted::Value(kind) => found == Some(kind),
            Wanted::ValueOrLoss(_) => true,
        }
    }
}

/// One place in the queue of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Number of the wait, drawn under the lock of the shard: ascending in every queue.
    pub ticket: u64,
    /// Id of the client.
    pub client: u64,
    /// What it wants.
    pub wanted: Wanted,
    /// The shard it moves elements to, if it does.
    pub destination: Option<ShardIndex>,
}

/// Those who wait for one key, in the order they came.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    /// How many of them want to know of a loss.
    minding_loss: usize,
}

impl Queue {
    /// Finds the first one from a position on that is to look at a key in this state.
    fn find(&self, from: usize, found: Option<Kind>) -> Option<(usize, Waiter)> {
        if found.is_none() && self.minding_loss == 0 {
            return None;
        }
        let mut rest = self.waiting.iter().enumerate().skip(from);
        rest.find(|(_, waiter)| waiter.wanted.includes(found)).map(|(at, waiter)| (at, *waiter))
    }
}

/// Those who wait in one shard.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// One map per database, as far as any was needed.
    databases: Vec<HashMap<Box<[u8]>, Queue>>,
    /// Number of places in all queues.
    count: usize,
    /// The shards that elements are moved to from here, with the number of waiters that do.
    destinations: BTreeMap<ShardIndex, usize>,
}

impl Waiters {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Tells whether serving somebody here needs other shards.
    #[inline]
    pub(crate) fn move_elements(&self) -> bool {
        !self.destinations.is_empty()
    }

    /// Returns the shards that serving somebody here may need.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = ShardIndex> {
        self.destinations.keys().copied()
    }

    fn queue(&self, db: usize, key: &[u8]) -> Option<&Queue> {
        self.databases.get(db)?.get(key)
    }

    fn add(&mut self, db: usize, key: &[u8], waiter: Waiter) {
        if self.databases.len() <= db {
            self.databases.resize_with(db + 1, HashMap::new);
        }
        let queue = self.databases[db].entry(key.into()).or_default();
        debug_assert!(queue.waiting.back().is_none_or(|last| last.ticket < waiter.ticket), "tickets ascend");
        queue.waiting.push_back(waiter);
        queue.minding_loss += usize::from(matches!(waiter.wanted, Wanted::ValueOrLoss(_)));
        self.count += 1;
        if let Some(destination) = waiter.destination {
            *self.destinations.entry(destination).or_default() += 1;
        }
    }

    fn remove(&mut self, db: usize, key: &[u8], ticket: u64) {
        let Some(queue) = self.databases.get_mut(db).and_then(|queues| queues.get_mut(key)) else { return };
        let Ok(at) = queue.waiting.binary_search_by_key(&ticket, |waiter| waiter.ticket) else { return };
        let waiter = queue.waiting.remove(at).expect("it was just found");
        queue.minding_loss -= usize::from(matches!(waiter.wanted, Wanted::ValueOrLoss(_)));
        if queue.waiting.is_empty() {
            self.databases[db].remove(key);
        }
        self.count -= 1;
        if let Some(destination) = waiter.destination {
            let count = self.destinations.get_mut(&destination).expect("it was counted when it came");
            *count -= 1;
            if *count == 0 {
                self.destinations.remove(&destination);
            }
        }
    }
}

/// Keys that changed while somebody waits for them, each once, in the order of the changes.
#[derive(Debug, Default)]
pub struct ReadyKeys {
    order: VecDeque<(usize, Box<[u8]>)>,
    known: BTreeSet<(usize, Box<[u8]>)>,
}

impl ReadyKeys {
    /// Tells whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Takes the first one out; it may become ready again.
    pub fn take_next(&mut self) -> Option<(usize, Box<[u8]>)> {
        let next = self.order.pop_front()?;
        self.known.remove(&next);
        Some(next)
    }

    pub(crate) fn add(&mut self, db: usize, key: &[u8]) {
        if self.known.insert((db, key.into())) {
            self.order.push_back((db, key.into()));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.known.clear();
    }
}

impl Shard {
    /// Notes a key as ready that has just changed, if somebody waits for what it holds now.
    #[cold]
    pub(crate) fn signal(&self, db: usize, hash: u64, key: &[u8], effects: &mut Effects) {
        let Some(queue) = self.waiters.queue(db, key) else { return };
        let found = self.databases[db].find(hash, key).map(kind);
        if queue.find(0, found).is_some() {
            effects.ready.add(db, key);
        }
    }

    /// Notes those keys of a database as ready that somebody waits for: its whole content has been replaced.
    pub(crate) fn signal_all(&self, db: usize, keyspace: &Keyspace, effects: &mut Effects) {
        for key in self.waiters.databases.get(db).into_iter().flat_map(HashMap::keys) {
            self.signal(db, keyspace.hash(key), key, effects);
        }
    }
}

impl View<'_> {
    /// Puts somebody into the queue of a key of the selected database.
    pub fn wait(&mut self, key: &[u8], waiter: Waiter) {
        let db = self.db;
        self.held.shard(key).waiters.add(db, key, waiter);
    }

    /// Takes a ticket out of the queue of a key, if it is still there.
    pub fn stop_waiting(&mut self, db: usize, key: &[u8], ticket: u64) {
        self.held.shard(key).waiters.remove(db, key, ticket);
    }

    /// Finds the first one in the queue of a key of the selected database, from a position on, who is to look at the key as it is now.
    pub fn next_waiter(&mut self, key: &[u8], from: usize) -> Option<(usize, Waiter)> {
        let (db, found) = (self.db, self.kind(key));
        self.held.shard(key).waiters.queue(db, key)?.find(from, found)
    }
}

#[cfg(test)]
mod tests;
