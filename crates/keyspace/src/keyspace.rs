//! The gate and the locks: how a caller comes to hold the shards it needs.
//!
//! An ordinary command passes the gate shared and locks the shards of its keys in ascending order, so commands on different shards run in parallel
//! and no two can wait for each other in a circle. A command that needs everything at one moment (FLUSHALL, a script that declares no keys) passes
//! the gate exclusively and then owns all shards without locking any. [`Held`] is what either way yields; [`crate::View`] works on it.

use std::hash::{BuildHasher, Hasher};
use std::sync::TryLockError;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use foldhash::fast::FixedState;
use parking_lot::{Mutex, MutexGuard};
use redpoll_structures::crc::hash_slot;
use smallvec::SmallVec;

use crate::Shard;
use crate::shard::Database;
use crate::tally::Tally;

/// Number of shards; a power of two, so that keys of one hash slot share a shard.
pub const SHARDS: usize = 1024;

/// Number of databases unless the settings say otherwise.
pub const DATABASES_DEFAULT: usize = 16;

/// Which shard.
pub type ShardIndex = u16;

pub(crate) type Shards = Box<[CachePadded<Mutex<Shard>>]>;

/// Whether there is anything that could be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exhaustion {
    /// There may be.
    Unknown,
    /// Nothing was found so far.
    Suspected,
    /// There is nothing unless something comes.
    Concluded,
}

/// All shards behind one gate.
#[derive(Debug)]
pub struct Keyspace {
    gate: ShardedLock<Shards>,
    hasher: FixedState,
    databases: usize,
    tally: Tally,
    /// Whether there is anything that could be evicted: an [`Exhaustion`].
    exhaustion: AtomicU8,
}

impl Keyspace {
    /// Makes an empty keyspace of `databases` databases whose tables are seeded with `seed` (random per process, so that nobody outside can
    /// choose keys that collide).
    pub fn new(databases: usize, seed: u64) -> Keyspace {
        let shards = (0..SHARDS).map(|_| CachePadded::new(Mutex::new(Shard::new(databases)))).collect();
        Keyspace {
            gate: ShardedLock::new(shards),
            hasher: FixedState::with_seed(seed),
            databases,
            tally: Tally::default(),
            exhaustion: AtomicU8::new(Exhaustion::Unknown as u8),
        }
    }

    /// Returns the number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Returns the bytes that the shards take without holding anything.
    pub fn fixed_bytes(&self) -> usize {
        SHARDS * (size_of::<CachePadded<Mutex<Shard>>>() + self.databases * size_of::<Database>())
    }

    /// Returns the heap bytes of all entries and tables, as far as the shards have told: see [`View::count_within`](crate::View::count_within).
    #[inline]
    pub fn counted_bytes(&self) -> usize {
        self.tally.sum()
    }

    /// Returns within how many bytes each shard tells what it takes; none if none does.
    #[inline]
    pub fn counted_within(&self) -> Option<usize> {
        self.tally.tolerance()
    }

    /// Tells whether nothing was found that could be evicted, and nothing has come since.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.exhaustion.load(Ordering::Relaxed) == Exhaustion::Concluded as u8
    }

    /// Notes what is known of it: [`Exhaustion::Suspected`] before everything is looked at, [`Exhaustion::Unknown`] when what may be evicted has changed. A
    /// key that comes or gets a deadline notes the latter.
    pub fn set_exhausted(&self, exhaustion: Exhaustion) {
        self.exhaustion.store(exhaustion as u8, Ordering::Release);
    }

    /// Concludes, after everything was looked at, that there is nothing; false if something has come meanwhile.
    pub fn conclude_exhausted(&self) -> bool {
        let (from, to) = (Exhaustion::Suspected as u8, Exhaustion::Concluded as u8);
        self.exhaustion.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Notes that a key of this shard is new or has another deadline.
    #[inline]
    pub(crate) fn note_evictable(&self, shard: &Shard) {
        if shard.account.is_asked_for() && self.exhaustion.load(Ordering::Relaxed) != Exhaustion::Unknown as u8 {
            self.set_exhausted(Exhaustion::Unknown);
        }
    }

    /// Returns the shard a key belongs to.
    #[inline]
    pub fn shard_of(key: &[u8]) -> ShardIndex {
        hash_slot(key) & (SHARDS as u16 - 1)
    }

    /// Returns the hash of a key or member under this keyspace's seed.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// Returns the secret from which hash tables inside values seed their hash functions.
    #[inline]
    pub fn member_seed(&self) -> u64 {
        self.hash(b"members")
    }

    /// Passes the gate shared: shards can be locked one by one.
    #[inline]
    pub fn enter(&self) -> Gate<'_> {
        Gate::Shared(self.gate.read().expect("no exclusive holder has panicked while changing shards"))
    }

    /// Passes the gate shared, unless somebody holds it exclusively or waits to.
    ///
    /// # Panics
    /// If an exclusive holder has panicked while changing shards.
    #[inline]
    pub fn try_enter(&self) -> Option<Gate<'_>> {
        match self.gate.try_read() {
            Ok(gate) => Some(Gate::Shared(gate)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("an exclusive holder has panicked while changing shards"),
        }
    }

    /// Passes the gate exclusively: waits until nobody else is inside and keeps everybody out.
    pub fn enter_exclusive(&self) -> Gate<'_> {
        Gate::Exclusive(self.gate.write().expect("no exclusive holder has panicked while changing shards"))
    }
}

/// Leave to lock shards; holding it keeps exclusive callers (or, if exclusive, all callers) out.
pub enum Gate<'k> {
    /// Shards must be locked one by one.
    Shared(ShardedLockReadGuard<'k, Shards>),
    /// All shards are ours.
    Exclusive(ShardedLockWriteGuard<'k, Shards>),
}

impl Gate<'_> {
    /// Locks the shards of these keys in ascending order, or hands out all shards if the gate is exclusive.
    ///
    /// If somebody waits in one of them for elements to move elsewhere, the shards they go to are locked too: whoever fills a key serves those who wait for it.
    #[inline]
    pub fn lock<'g, 'a>(&'g mut self, mut keys: impl Iterator<Item = &'a [u8]>) -> Held<'g> {
        let shards = match self {
            Gate::Exclusive(shards) => return Held::All(shards.iter_mut().map(|shard| shard.get_mut()).collect()),
            Gate::Shared(shards) => &**shards,
        };
        let Some(first) = keys.next() else { return Held::None(shards) };
        let first = Keyspace::shard_of(first);
        let mut more: SmallVec<[ShardIndex; 16]> =
            keys.map(Keyspace::shard_of).filter(|index| *index != first).collect();
        if more.is_empty() {
            let shard = shards[first as usize].lock();
            if !shard.waiters.move_elements() {
                return Held::One(shard);
            }
        }
        more.push(first);
        lock_with_destinations(shards, more)
    }
}

/// Locks these shards and those that elements may move to when somebody who waits in one of them is served.
fn lock_with_destinations<'g>(
    shards: &'g [CachePadded<Mutex<Shard>>],
    mut wanted: SmallVec<[ShardIndex; 16]>,
) -> Held<'g> {
    // Where elements go is only known with the lock held, and locks are taken in ascending order: so the wider set is locked anew, until it does not grow.
    loop {
        wanted.sort_unstable();
        wanted.dedup();
        let held: Vec<_> = wanted.iter().map(|index| (*index, shards[*index as usize].lock())).collect();
        let before = wanted.len();
        for (_, shard) in &held {
            for destination in shard.waiters.destinations() {
                if held.binary_search_by_key(&destination, |(index, _)| *index).is_err() {
                    wanted.push(destination);
                }
            }
        }
        if wanted.len() == before {
            return Held::Some(held);
        }
    }
}

impl<'k> Gate<'k> {
    /// Locks one shard by number, for callers that work through all shards piece by piece.
    pub fn lock_shard(&mut self, index: ShardIndex) -> Held<'_> {
        match self {
            Gate::Exclusive(shards) => Held::All(shards.iter_mut().map(|shard| shard.get_mut()).collect()),
            Gate::Shared(shards) => Held::One(shards[index as usize].lock()),
        }
    }
}

/// The shards a caller holds.
pub enum Held<'g> {
    /// Nothing, not even the gate: the caller touches no key and must not wait for those who do.
    Nothing,
    /// None: a whole-keyspace operation visits the shards one after the other.
    None(&'g [CachePadded<Mutex<Shard>>]),
    /// The one shard that all keys of the caller belong to.
    One(MutexGuard<'g, Shard>),
    /// Several, in ascending order.
    Some(Vec<(ShardIndex, MutexGuard<'g, Shard>)>),
    /// All of them.
    All(Vec<&'g mut Shard>),
}

impl<'g> Held<'g> {
    /// Locks the shard of a key for who holds none.
    ///
    /// # Panics
    /// If shards are held already, or not even the gate.
    pub(crate) fn lock_alone(&self, key: &[u8]) -> Held<'g> {
        match self {
            Held::None(shards) => Held::One(shards[Keyspace::shard_of(key) as usize].lock()),
            _ => panic!("a shard is locked alone by who holds others"),
        }
    }

    /// Returns the shard of a key.
    ///
    /// # Panics
    /// If the shard is not held: the caller locked other keys than it uses.
    #[inline(always)]
    pub(crate) fn shard(&mut self, key: &[u8]) -> &mut Shard {
        match self {
            Held::One(shard) => shard,
            several => several.shard_of_several(key),
        }
    }

    #[inline(never)]
    fn shard_of_several(&mut self, key: &[u8]) -> &mut Shard {
        match self {
            Held::One(shard) => shard,
            Held::Some(shards) => {
                let index = Keyspace::shard_of(key);
                let at = shards.binary_search_by_key(&index, |(index, _)| *index).expect("the key's shard is locked");
                &mut shards[at].1
            }
            Held::All(shards) => shards[Keyspace::shard_of(key) as usize],
            Held::None(_) | Held::Nothing => panic!("a key is used although no shard is locked"),
        }
    }

    /// Returns the shard of a key for reading, so that several values can be looked at side by side.
    ///
    /// # Panics
    /// If the shard is not held.
    pub(crate) fn shard_ref(&self, key: &[u8]) -> &Shard {
        match self {
            Held::One(shard) => shard,
            Held::Some(shards) => {
                let index = Keyspace::shard_of(key);
                let at = shards.binary_search_by_key(&index, |(index, _)| *index).expect("the key's shard is locked");
                &shards[at].1
            }
            Held::All(shards) => shards[Keyspace::shard_of(key) as usize],
            Held::None(_) | Held::Nothing => panic!("a key is used although no shard is locked"),
        }
    }

    /// Visits one shard, locking it for the visit if none are held.
    #[inline]
    pub(crate) fn with_shard<R>(&mut self, index: ShardIndex, visit: impl FnOnce(&mut Shard) -> R) -> R {
        match self {
            Held::None(shards) => visit(&mut shards[index as usize].lock()),
            Held::All(shards) => visit(shards[index as usize]),
            Held::One(_) | Held::Some(_) | Held::Nothing => panic!("a whole-keyspace operation runs under other locks"),
        }
    }

    /// Visits a shard that the caller locked by number.
    pub(crate) fn with_locked<R>(&mut self, index: ShardIndex, visit: impl FnOnce(&mut Shard) -> R) -> R {
        match self {
            Held::One(shard) => visit(shard),
            Held::All(shards) => visit(shards[index as usize]),
            Held::None(_) | Held::Some(_) | Held::Nothing => panic!("the shard is not locked by number"),
        }
    }
}
