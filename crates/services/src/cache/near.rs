//! The near cache: entries of a namespace in this process's memory, kept right by the store.
//!
//! ```text
//! lookup ─► near: found and trusted? ─ yes ─► value, shared and not copied
//!             │ no
//!          token ─► read the store ─► fill with the token, refused if anything was told in between
//! ```
//!
//! # How old a value can be
//!
//! * **Own writes** are seen at once: when a call that writes or removes has returned, nobody gets the old value from
//!   here any more, whether it succeeded or not.
//! * **Others' writes** are told by the store and seen when the message is here: the time of a push, in a network below
//!   a millisecond as a rule.
//! * At worst, on a connection that is dead and says nothing, [`LAG_MAX`] (2,000 ms) after the write: nothing is served
//!   from here unless the feed was verified that lately ([`invalidations`]). That holds too if this process was stopped.
//! * Should a proxy swallow messages and answer heartbeats all the same, [`NearSettings::age_max`] bounds it.
//!
//! # What makes it right
//!
//! A read takes a [`Token`] first: the generation of the feed, the flushes of the partition, the version of the stripe
//! that the key is in. Whoever removes a key raises the stripe's version under the lock that fills are checked under, so
//! a value read before a change cannot come in after it. A lost feed raises the generation: everything here is void at
//! that moment, whatever comes of the connection, and nothing comes in while it is down. A change of the partition's
//! epoch (clearing, a tag) voids the partition.
//!
//! Entries are kept by second chance (CLOCK), within a number of entries and an estimate of bytes. A miss is not kept.
//!
//! [`invalidations`]: crate::backend::invalidations

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, Instant};

use super::entry::{Entry, Found};
use super::namespace::PARTITIONS;
use super::settings::NearSettings;
use crate::backend::Backend;
use crate::backend::invalidations::{HEARTBEAT, PATIENCE, Watcher};
use crate::error::{Error, Result};
use crate::keys::{Tenant, unescape};
use crate::metrics::{Counter, Metrics};

/// How long after the last verification entries are served. A heartbeat and its answer, and as much again for the task.
pub const LAG_MAX: Duration = HEARTBEAT.saturating_add(PATIENCE).saturating_add(Duration::from_millis(500));

/// Most stripes; each has its lock and its share of the bounds.
const STRIPES_MAX: usize = 16;

/// Fewest entries for which another stripe is worth it.
const STRIPE_ENTRIES_MIN: usize = 64;

/// What an entry takes besides key and value, in bytes, estimated.
const OVERHEAD_BYTES: usize = 200;

/// The near caches of this process, by tenant and namespace.
#[derive(Debug, Default)]
pub(crate) struct Nears {
    by_name: Mutex<HashMap<(Tenant, String), Arc<Near>>>,
}

impl Nears {
    /// Returns the near cache of a namespace, whose keys begin with `prefix`; makes it at the first time.
    pub(super) fn open(
        &self,
        tenant: &Tenant,
        name: &str,
        prefix: &str,
        settings: &NearSettings,
        backend: &Backend,
    ) -> Result<Arc<Near>> {
        let mut by_name = self.by_name.lock().expect("nothing panics while holding the lock");
        let name = (tenant.clone(), name.to_owned());
        if let Some(near) = by_name.get(&name) {
            return Ok(Arc::clone(near));
        }
        let near = Arc::new(Near::new(prefix, settings, Arc::clone(backend.metrics())));
        let watcher: Arc<dyn Watcher> = near.clone();
        backend.invalidations(prefix, Arc::downgrade(&watcher) as Weak<dyn Watcher>)?;
        by_name.insert(name, Arc::clone(&near));
        Ok(near)
    }
}

/// Entries of one namespace.
#[derive(Debug)]
pub(super) struct Near {
    prefix_len: usize,
    age_max_ns: u64,
    entries_max: usize,
    bytes_max: usize,
    metrics: Arc<Metrics>,
    hasher: foldhash::fast::RandomState,
    base: Instant,
    /// Odd while the feed is up; each loss and each beginning makes it another.
    generation: AtomicU64,
    /// Until when entries are served, in nanoseconds since `base`.
    trusted_until: AtomicU64,
    /// How often each partition was flushed.
    flushes: [AtomicU64; PARTITIONS],
    stripes: Vec<RwLock<Stripe>>,
    refusal: Mutex<Option<String>>,
}

/// What must not have changed between reading the store and keeping what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    generation: u64,
    flushes: u64,
    version: u64,
    partition: usize,
    taken_ns: u64,
}

#[derive(Debug, Default)]
struct Stripe {
    /// Raised with every key that was removed because it changed.
    version: u64,
    places: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: Box<str>,
    entry: Entry,
    bytes: usize,
    token: Token,
    /// When it is too old, or its lifetime is over.
    until_ns: u64,
    /// When its lifetime is over; none for never.
    dies_ns: Option<u64>,
    used: AtomicBool,
}

impl Near {
    fn new(prefix: &str, settings: &NearSettings, metrics: Arc<Metrics>) -> Self {
        let count = (settings.entries_max / STRIPE_ENTRIES_MIN).clamp(1, STRIPES_MAX);
        Self {
            prefix_len: prefix.len(),
            age_max_ns: nanoseconds(settings.age_max),
            entries_max: settings.entries_max.div_ceil(count),
            bytes_max: settings.bytes_max / count,
            metrics,
            hasher: foldhash::fast::RandomState::default(),
            base: Instant::now(),
            generation: AtomicU64::new(0),
            trusted_until: AtomicU64::new(0),
            flushes: std::array::from_fn(|_| AtomicU64::new(0)),
            stripes: (0..count).map(|_| RwLock::default()).collect(),
            refusal: Mutex::default(),
        }
    }

    /// Finds an entry that may be served.
    pub(super) fn find(&self, key: &str) -> Option<Found> {
        let now_ns = self.ns(Instant::now());
        if now_ns >= self.trusted_until.load(Ordering::Acquire) {
            return None;
        }
        let stripe = self.stripe(key).read().expect("nothing panics while holding the lock");
        let slot = stripe.slots[*stripe.places.get(key)?].as_ref()?;
        if now_ns >= slot.until_ns || !self.holds(&slot.token) {
            return None;
        }
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        let remaining_ms = slot.dies_ns.map_or(-1, |dies_ns| ((dies_ns - now_ns) / 1_000_000) as i64);
        self.metrics.add(Counter::CacheNearHits, 1);
        Some(Found { entry: slot.entry.clone(), remaining_ms })
    }

    /// Begins a read of the store; none if what it gives could not be kept.
    ///
    /// # Errors
    /// If the server refuses to tell of changes: a near cache that is asked for and cannot work is not passed over.
    pub(super) fn token(&self, key: &str, partition: usize, backend: &Backend) -> Result<Option<Token>> {
        backend.read_invalidations();
        let generation = self.generation.load(Ordering::Acquire);
        if generation.is_multiple_of(2) {
            let refusal = self.refusal.lock().expect("nothing panics while holding the lock");
            return match &*refusal {
                Some(reason) => Err(Error::Backend(format!("no near cache, changes are not told: {reason}"))),
                None => Ok(None),
            };
        }
        Ok(Some(Token {
            generation,
            flushes: self.flushes[partition].load(Ordering::Acquire),
            version: self.stripe(key).read().expect("nothing panics while holding the lock").version,
            partition,
            taken_ns: self.ns(Instant::now()),
        }))
    }

    /// Keeps what was read since the token was taken, unless anything was told meanwhile; tells whether it did.
    pub(super) fn fill(&self, token: Token, key: &str, found: &Found) -> bool {
        // The lifetime is counted from before the read, so it ends here no later than in the store.
        let after = |ns: u64| token.taken_ns.saturating_add(ns);
        let dies_ns = u64::try_from(found.remaining_ms).ok().map(|ms| after(ms.saturating_mul(1_000_000)));
        let until_ns = after(self.age_max_ns).min(dies_ns.unwrap_or(u64::MAX));
        let bytes = OVERHEAD_BYTES + 2 * key.len() + found.entry.memory_bytes();
        let slot = Slot {
            key: key.into(),
            entry: found.entry.clone(),
            bytes,
            token,
            until_ns,
            dies_ns,
            used: AtomicBool::new(false),
        };
        let mut stripe = self.stripe(key).write().expect("nothing panics while holding the lock");
        if stripe.version != token.version || !self.holds(&token) || bytes > self.bytes_max {
            return false;
        }
        stripe.remove(key);
        stripe.make_room(self.entries_max, self.bytes_max - bytes);
        stripe.insert(slot);
        true
    }

    /// Forgets a key that has changed, and refuses what was read before.
    pub(super) fn forget(&self, key: &str) {
        let mut stripe = self.stripe(key).write().expect("nothing panics while holding the lock");
        stripe.version += 1;
        stripe.remove(key);
    }

    /// Forgets everything, and refuses what was read before.
    pub(super) fn forget_all(&self) {
        for flushes in &self.flushes {
            flushes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether what a token was taken for is what holds now; the version of the stripe apart.
    fn holds(&self, token: &Token) -> bool {
        token.generation == self.generation.load(Ordering::Acquire)
            && token.flushes == self.flushes[token.partition].load(Ordering::Acquire)
    }

    fn stripe(&self, key: &str) -> &RwLock<Stripe> {
        use std::hash::BuildHasher;
        &self.stripes[self.hasher.hash_one(key) as usize % self.stripes.len()]
    }

    fn ns(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.base))
    }

    fn trust(&self, at: Instant) {
        self.trusted_until.fetch_max(self.ns(at) + nanoseconds(LAG_MAX), Ordering::AcqRel);
    }
}

impl Watcher for Near {
    fn began(&self, at: Instant) {
        *self.refusal.lock().expect("nothing panics while holding the lock") = None;
        // The next odd number.
        self.generation.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now + 1 + now % 2)).ok();
        self.trust(at);
    }

    fn changed(&self, key: &[u8]) {
        // `07}:v:<key>` or `07}:e`, after the prefix; other keys of a partition say nothing about what is kept here.
        let rest = key.get(self.prefix_len..).and_then(|rest| std::str::from_utf8(rest).ok()).unwrap_or_default();
        let Some((number, kind)) = rest.split_once("}:") else { return };
        let Some(partition) = number.parse().ok().filter(|number: &usize| *number < PARTITIONS) else { return };
        if kind == "e" {
            self.flushes[partition].fetch_add(1, Ordering::AcqRel);
        } else if let Some(key) = kind.strip_prefix("v:").and_then(unescape) {
            self.forget(&key);
        }
    }

    fn all_changed(&self) {
        self.forget_all();
    }

    fn verified(&self, at: Instant) {
        self.trust(at);
    }

    fn lost(&self) {
        let down = |now: u64| (now % 2 == 1).then_some(now + 1);
        if self.generation.fetch_update(Ordering::AcqRel, Ordering::Acquire, down).is_ok() {
            self.metrics.add(Counter::CacheNearLost, 1);
        }
    }

    fn refused(&self, reason: &str) {
        *self.refusal.lock().expect("nothing panics while holding the lock") = Some(reason.to_owned());
    }
}

impl Stripe {
    fn insert(&mut self, slot: Slot) {
        self.bytes += slot.bytes;
        let key = slot.key.clone();
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = Some(slot);
                place
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() - 1
            }
        };
        self.places.insert(key, place);
    }

    fn remove(&mut self, key: &str) {
        if let Some(place) = self.places.remove(key) {
            self.vacate(place);
        }
    }

    fn vacate(&mut self, place: usize) {
        if let Some(slot) = self.slots[place].take() {
            self.bytes -= slot.bytes;
            self.free.push(place);
        }
    }

    /// Removes entries until one more fits. Whoever was used since the hand last came by gets a second chance.
    fn make_room(&mut self, entries_max: usize, bytes_max: usize) {
        while !self.places.is_empty() && (self.places.len() >= entries_max || self.bytes > bytes_max) {
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(slot) = &self.slots[self.hand] else { continue };
            if slot.used.swap(false, Ordering::Relaxed) {
                continue;
            }
            self.places.remove(&slot.key);
            self.vacate(self.hand);
        }
    }
}

/// Forgets a key, or everything, when it goes: however the call that changes it ends.
#[derive(Debug)]
pub(super) struct Forgetting<'a> {
    near: Option<&'a Near>,
    keys: Keys<'a>,
}

#[derive(Debug)]
enum Keys<'a> {
    All,
    These(Vec<&'a str>),
}

impl<'a> Forgetting<'a> {
    /// Forgets these keys in the end.
    pub(super) fn these(near: Option<&'a Near>, keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = if near.is_some() { keys.into_iter().collect() } else { Vec::new() };
        Self { near, keys: Keys::These(keys) }
    }

    /// Forgets everything in the end.
    pub(super) fn all(near: Option<&'a Near>) -> Self {
        Self { near, keys: Keys::All }
    }
}

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        let Some(near) = self.near else { return };
        match &self.keys {
            Keys::All => near.forget_all(),
            Keys::These(keys) => keys.iter().for_each(|key| near.forget(key)),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
