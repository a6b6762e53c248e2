//! Operations on whole databases: counting, scanning, emptying, swapping.
//!
//! Each visits the shards one after the other. Called with no shard held they lock one at a time and see no single moment; FLUSHALL and SWAPDB, which
//! must, are called with the gate exclusive.

use redpoll_structures::table::Table;

use crate::entry::is_expired;
use crate::shard::Database;
use crate::watch::Standing;
use crate::{Counters, Entry, SHARDS, ShardIndex, View, Waste};

/// Bits of a scan cursor that name the shard.
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// How many buckets one step of a scan visits at most per wanted element, so that a sparse table cannot hold a caller up.
const SCAN_BUCKETS_PER_ELEMENT: usize = 10;

/// Most expired keys that one look at many keys removes by the way; the sweep finds the others.
const OVERDUE_MAX: usize = 1024;

/// How many shards RANDOMKEY tries before it walks them all.
const RANDOM_TRIES: usize = 64;

/// Sizes of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSize {
    /// Keys.
    pub keys: usize,
    /// Keys with a deadline.
    pub volatile: usize,
    /// Hashes of which some field has a deadline.
    pub volatile_hashes: usize,
}

/// What all databases held, shard by shard, with its size in bytes.
#[derive(Debug)]
pub struct Contents(Vec<(Box<[Database]>, usize)>);

impl View<'_> {
    /// Returns the number of keys in a database, those included that have expired but were not removed yet.
    pub fn size(&mut self, db: usize) -> DatabaseSize {
        let mut size = DatabaseSize::default();
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                size.keys += shard.databases[db].table.len();
                size.volatile += shard.databases[db].volatile;
                size.volatile_hashes += shard.databases[db].volatile_hashes;
            });
        }
        size
    }

    /// Returns the counters summed over all shards, and the heap bytes of all entries and tables.
    pub fn totals(&mut self) -> (Counters, usize) {
        let (mut sum, mut bytes) = (Counters::default(), 0);
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                sum.hits += shard.counters.hits;
                sum.misses += shard.counters.misses;
                sum.expired += shard.counters.expired;
                sum.expired_fields += shard.counters.expired_fields;
                sum.evicted += shard.counters.evicted;
                bytes += shard.account.used();
            });
        }
        (sum, bytes)
    }

    /// Returns the heap bytes of a database's tables, without the entries.
    pub fn table_bytes(&mut self, db: usize) -> usize {
        let mut bytes = 0;
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| bytes += shard.databases[db].table.heap_size());
        }
        bytes
    }

    /// Sets the counters of all shards to zero.
    pub fn reset_counters(&mut self) {
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| shard.counters = Counters::default());
        }
    }

    /// Visits every live entry of the selected database.
    pub fn for_each(&mut self, mut visit: impl FnMut(&Entry)) {
        let (db, now) = (self.db, self.now);
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                shard.databases[db].table.iter().filter(|entry| !is_expired(entry, now)).for_each(&mut visit);
            });
        }
    }

    /// Visits some live entries from a cursor on, about `count`, and returns the cursor to go on from; zero begins and zero ends.
    ///
    /// An entry that exists from the first call to the last is visited at least once, whatever is added or removed meanwhile.
    /// Shards without entries count for nothing, so a database with fewer entries than `count` is scanned in one call. Expired entries on the way are
    /// removed.
    pub fn scan(&mut self, cursor: u64, count: usize, mut visit: impl FnMut(&Entry)) -> u64 {
        let (db, now) = (self.db, self.now);
        let (mut index, mut bucket) = ((cursor & (SHARDS as u64 - 1)) as ShardIndex, cursor >> SHARD_BITS);
        let mut overdue = Vec::new();
        let (mut seen, mut buckets) = (0, count.saturating_mul(SCAN_BUCKETS_PER_ELEMENT).max(1));
        loop {
            self.held.with_shard(index, |shard| {
                let table = &shard.databases[db].table;
                if table.is_empty() {
                    bucket = 0;
                    return;
                }
                while seen < count && buckets > 0 {
                    buckets -= 1;
                    bucket = table.scan(bucket, |entry| {
                        seen += 1;
                        if !is_expired(entry, now) {
                            visit(entry);
                        } else if overdue.len() < OVERDUE_MAX {
                            overdue.push(entry.key().into());
                        }
                    });
                    if bucket == 0 {
                        break;
                    }
                }
            });
            if bucket == 0 {
                index += 1;
            }
            let next = match index as usize {
                SHARDS => 0,
                _ if seen >= count || buckets == 0 => bucket << SHARD_BITS | u64::from(index),
                _ => continue,
            };
            self.remove_overdue(overdue);
            return next;
        }
    }

    /// Returns the key of a random live entry of the selected database. Expired entries on the way are removed.
    pub fn random_key(&mut self, random: u64) -> Option<Vec<u8>> {
        let mut overdue = Vec::new();
        let found = self.draw_key(random, &mut overdue);
        self.remove_overdue(overdue);
        found
    }

    fn draw_key(&mut self, mut random: u64, overdue: &mut Vec<Box<[u8]>>) -> Option<Vec<u8>> {
        let (db, now) = (self.db, self.now);
        let mut is_live = |entry: &&Entry| {
            let expired = is_expired(entry, now);
            if expired && overdue.len() < OVERDUE_MAX {
                overdue.push(entry.key().into());
            }
            !expired
        };
        let mut pick =
            |table: &Table<Entry>, random| table.random(random).filter(&mut is_live).map(|entry| entry.key().to_vec());
        for _ in 0..RANDOM_TRIES {
            random = mix(random);
            let index = (random >> 48) as ShardIndex & (SHARDS as ShardIndex - 1);
            let found = self.held.with_shard(index, |shard| pick(&shard.databases[db].table, mix(random)));
            if found.is_some() {
                return found;
            }
        }
        let start = random as usize % SHARDS;
        (0..SHARDS).map(|step| ((start + step) % SHARDS) as ShardIndex).find_map(|index| {
            self.held.with_shard(index, |shard| {
                shard.databases[db].table.iter().find(&mut is_live).map(|entry| entry.key().to_vec())
            })
        })
    }

    /// Removes all entries of a database and returns them to be freed; watchers of existing keys are told.
    pub fn flush(&mut self, db: usize) -> Waste {
        let (keyspace, now, effects) = (self.keyspace, self.now, &mut self.effects);
        let (mut tables, mut removed) = (Vec::new(), 0);
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                let database = &shard.databases[db];
                shard.watches.replaced(db, |key| (database.standing(keyspace.hash(key), key, now), Standing::Missing));
                let gone = shard.databases[db].take();
                shard.signal_all(db, keyspace, effects);
                // Room that was made for keys which did not come is counted too.
                if gone.table.heap_size() > 0 {
                    // Counting what is gone visits every entry, which is only needed if something is left.
                    let nothing_left = shard.databases.iter().all(|database| database.table.heap_size() == 0);
                    let bytes = if nothing_left { shard.account.used() } else { gone.bytes() };
                    shard.account.change(bytes, 0, keyspace.tally());
                    removed += gone.table.len();
                    tables.extend(gone.let_go());
                }
            });
        }
        let waste = Waste::databases(tables);
        effects.dirty += removed as u64;
        effects.flushed = true;
        waste
    }

    /// Exchanges the contents of two databases; watchers of keys that exist in either are told.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.effects.dirty += 1;
        if one == other {
            return;
        }
        let (keyspace, now, effects) = (self.keyspace, self.now, &mut self.effects);
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                for (watched, replacement) in [(one, other), (other, one)] {
                    let (before, after) = (&shard.databases[watched], &shard.databases[replacement]);
                    shard.watches.replaced(watched, |key| {
                        let hash = keyspace.hash(key);
                        (before.standing(hash, key, now), after.standing(hash, key, now))
                    });
                }
                shard.databases.swap(one, other);
                shard.signal_all(one, keyspace, effects);
                shard.signal_all(other, keyspace, effects);
            });
        }
    }

    /// Takes everything out of all databases, so that something else can be loaded; watchers of existing keys are told. All shards must be held.
    pub fn set_aside(&mut self) -> Contents {
        let (keyspace, now) = (self.keyspace, self.now);
        let mut contents = Vec::with_capacity(SHARDS);
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                shard.write_marked(keyspace);
                for (db, database) in shard.databases.iter().enumerate() {
                    shard
                        .watches
                        .replaced(db, |key| (database.standing(keyspace.hash(key), key, now), Standing::Missing));
                }
                let (databases, used) =
                    (shard.databases.iter_mut().map(Database::take).collect(), shard.account.used());
                shard.account.change(used, 0, keyspace.tally());
                contents.push((databases, used));
            });
        }
        Contents(contents)
    }

    /// Puts everything back in the place of what is there now.
    pub fn put_back(&mut self, contents: Contents) {
        let tally = self.keyspace.tally();
        for (index, (databases, used)) in contents.0.into_iter().enumerate() {
            self.held.with_shard(index as ShardIndex, |shard| {
                shard.account.change(shard.account.used(), used, tally);
                shard.databases = databases;
            });
        }
    }
}

/// Scrambles a number: one step of SplitMix64.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
