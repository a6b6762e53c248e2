//! A shard: the part of every database whose keys fall into the same hash slots, guarded by one lock.
//!
//! Shards are many (1,024) and therefore small: growing one table moves thousands of entries, never millions, so a single insert cannot stall.

use redpoll_structures::table::Table;

use crate::entry::{heap_size, is_expired};
use crate::image::Marks;
use crate::tally::Account;
use crate::wait::Waiters;
use crate::watch::{Standing, Watches};
use crate::{Entry, Millis};

/// Plain counts kept under the shard's lock and summed up when somebody asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Fields of hashes removed because their time had come.
    pub expired_fields: u64,
    /// Keys removed because memory was needed.
    pub evicted: u64,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    pub(crate) databases: Box<[Database]>,
    pub(crate) watches: Watches,
    pub(crate) waiters: Waiters,
    pub(crate) counters: Counters,
    /// Heap bytes of all entries and tables.
    pub(crate) account: Account,
}

/// One database's share of a shard.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) table: Table<Entry>,
    /// Number of entries with a deadline.
    pub(crate) volatile: usize,
    /// Number of hashes of which some field has a deadline.
    pub(crate) volatile_hashes: usize,
    /// No entry and no field of a hash expires before this; `Millis::MAX` if none has a deadline.
    pub(crate) soonest: Millis,
    /// Where the sweep for expired entries stands, and what it has seen so far as the soonest deadline.
    pub(crate) sweep_cursor: u64,
    pub(crate) sweep_soonest: Millis,
    /// What an image still needs as it is.
    pub(crate) marks: Option<Box<Marks>>,
}

impl Default for Database {
    fn default() -> Database {
        Database {
            table: Table::new(),
            volatile: 0,
            volatile_hashes: 0,
            soonest: Millis::MAX,
            sweep_cursor: 0,
            sweep_soonest: Millis::MAX,
            marks: None,
        }
    }
}

impl Shard {
    pub(crate) fn new(databases: usize) -> Shard {
        Shard {
            databases: (0..databases).map(|_| Database::default()).collect(),
            watches: Watches::default(),
            waiters: Waiters::default(),
            counters: Counters::default(),
            account: Account::default(),
        }
    }
}

impl Database {
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, |entry| entry.key() == key)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        self.table.find_mut(hash, |entry| entry.key() == key)
    }

    /// Notes that an entry with this deadline now exists.
    #[inline]
    pub(crate) fn note_deadline(&mut self, deadline: Millis) {
        self.volatile += 1;
        self.lower_soonest(deadline);
    }

    /// Notes that the deadline of an entry has changed, which had one or had none.
    pub(crate) fn change_deadline(&mut self, had: bool, deadline: Option<Millis>) {
        if had {
            self.volatile -= 1;
        }
        if let Some(deadline) = deadline {
            self.note_deadline(deadline);
        }
    }

    /// Notes how the soonest deadline of the fields of an entry has changed.
    #[inline]
    pub(crate) fn note_fields(&mut self, before: Option<Millis>, after: Option<Millis>) {
        if before.is_some() {
            self.volatile_hashes -= 1;
        }
        if let Some(soonest) = after {
            self.volatile_hashes += 1;
            self.lower_soonest(soonest);
        }
    }

    fn lower_soonest(&mut self, deadline: Millis) {
        self.soonest = self.soonest.min(deadline);
        self.sweep_soonest = self.sweep_soonest.min(deadline);
    }

    /// Tells whether anything has a deadline.
    #[inline]
    pub(crate) fn is_volatile(&self) -> bool {
        self.volatile + self.volatile_hashes > 0
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Database {
        std::mem::take(self)
    }

    /// Returns the heap bytes of the entries and the table; visits every entry.
    pub(crate) fn bytes(&self) -> usize {
        self.table.heap_size() + self.table.iter().map(heap_size).sum::<usize>()
    }

    /// Tells whether an entry or a field may be expired at all at this time.
    #[inline]
    pub(crate) fn may_expire(&self, now: Millis) -> bool {
        self.soonest <= now && self.is_volatile()
    }

    #[inline]
    pub(crate) fn holds_expired(&self, hash: u64, key: &[u8], now: Millis) -> bool {
        self.may_expire(now) && self.find(hash, key).is_some_and(|entry| is_expired(entry, now))
    }

    /// Tells whether a key is there, and whether its time has come.
    pub(crate) fn standing(&self, hash: u64, key: &[u8], now: Millis) -> Standing {
        match self.find(hash, key) {
            None => Standing::Missing,
            Some(entry) if is_expired(entry, now) => Standing::Expired,
            Some(_) => Standing::Live,
        }
    }
}
