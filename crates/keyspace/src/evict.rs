//! Finding keys to evict, and evicting them.
//!
//! There is no index by age or deadline: that would cost memory for every key. Instead a few keys are drawn at random and the caller takes the one it can
//! best do without. For every key to have the same chance, shards and databases are drawn by the number of keys in them, which a [`Census`] knows; it may be
//! somewhat out of date, since all that depends on it is how even the chances are.
//!
//! ```text
//! census ─► pick a part (shard, database) ─► draw keys in it          one shard locked at a time
//!                                        └─► walk it from a cursor    where what is wanted is too rare to be drawn
//! ```
//!
//! Which of the keys goes, when and how many is the caller's decision. What must follow is done here, as everywhere in the view: watchers are told, who waits is
//! signalled, the removal is noted for the log and for subscribers.

use std::ops::ControlFlow;

use crate::shard::Database;
use crate::view::changed;
use crate::{Entry, EventClass, Expired, SHARDS, ShardIndex, View};

/// Where fewer than one key in so many is wanted, drawing gives way to walking.
const RARE: usize = 8;

/// Most keys looked at for one draw.
const LOOKED_AT_MAX: usize = 256;

/// Which keys may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// All.
    All,
    /// Those with a deadline.
    Volatile,
}

impl Candidates {
    fn count(self, database: &Database) -> usize {
        match self {
            Candidates::All => database.table.len(),
            Candidates::Volatile => database.volatile,
        }
    }

    fn include(self, entry: &Entry) -> bool {
        self == Candidates::All || entry.deadline().is_some()
    }
}

/// One database's share of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The shard.
    pub shard: ShardIndex,
    /// The database.
    pub db: usize,
}

/// How many candidates each part held when somebody counted.
#[derive(Debug, Default)]
pub struct Census {
    /// Parts that hold any, each with the number of candidates in it and all before it.
    parts: Vec<(usize, Portion)>,
}

impl Census {
    /// Returns the number of candidates.
    pub fn total(&self) -> usize {
        self.parts.last().map_or(0, |(end, _)| *end)
    }

    /// Returns the part of a candidate chosen by a random number, and how many candidates there are in it.
    pub fn pick(&self, random: u64) -> Option<(Portion, usize)> {
        let nth = ((u128::from(random) * self.total() as u128) >> 64) as usize;
        let at = self.parts.partition_point(|(end, _)| *end <= nth);
        let (end, part) = self.parts.get(at)?;
        let begin = if at == 0 { 0 } else { self.parts[at - 1].0 };
        Some((*part, end - begin))
    }

    /// Returns the parts that hold candidates.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = Portion> {
        self.parts.iter().map(|(_, part)| *part)
    }
}

impl View<'_> {
    /// Has all shards tell what they take, now and whenever it differs by more than this; or not any more.
    pub fn count_within(&mut self, tolerance: Option<usize>) {
        let tally = self.keyspace.tally();
        tally.set_tolerance(tolerance);
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| shard.account.tell_within(tolerance, tally));
        }
    }

    /// Counts the candidates of all databases.
    pub fn census(&mut self, candidates: Candidates) -> Census {
        let (mut parts, mut end) = (Vec::new(), 0);
        for shard in 0..SHARDS as ShardIndex {
            self.held.with_shard(shard, |held| {
                for (db, database) in held.databases.iter().enumerate() {
                    let count = candidates.count(database);
                    if count > 0 {
                        end += count;
                        parts.push((end, Portion { shard, db }));
                    }
                }
            });
        }
        Census { parts }
    }

    /// Draws about `count` candidates from the selected database in a shard locked by number. One may be drawn twice; where they are rare there may be fewer.
    pub fn draw(
        &mut self,
        shard: ShardIndex,
        candidates: Candidates,
        count: usize,
        mut random: impl FnMut() -> u64,
        mut visit: impl FnMut(&Entry),
    ) {
        let db = self.db;
        self.held.with_locked(shard, |shard| {
            let database = &shard.databases[db];
            let (wanted, keys) = (candidates.count(database), database.table.len());
            if wanted == 0 {
                return;
            }
            if wanted >= keys / RARE {
                let mut left = count;
                for _ in 0..count * if wanted == keys { 1 } else { RARE } {
                    if let Some(entry) = database.table.random(random()).filter(|entry| candidates.include(entry)) {
                        visit(entry);
                        left -= 1;
                        if left == 0 {
                            break;
                        }
                    }
                }
                return;
            }
            let mut left = count;
            walk(database, random(), LOOKED_AT_MAX, |entry| {
                if candidates.include(entry) {
                    visit(entry);
                    left -= 1;
                }
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        });
    }

    /// Looks at keys of the selected database in a shard locked by number, from a cursor on and about `count` of them, and hands over the candidates.
    /// Returns the cursor to go on from; zero begins and zero ends.
    pub fn walk(
        &mut self,
        shard: ShardIndex,
        candidates: Candidates,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> u64 {
        let db = self.db;
        self.held.with_locked(shard, |shard| {
            let database = &shard.databases[db];
            if candidates.count(database) == 0 {
                return 0;
            }
            walk(database, cursor, count, |entry| {
                if candidates.include(entry) { visit(entry) } else { ControlFlow::Continue(()) }
            })
        })
    }

    /// Removes a key because memory is needed, if `is_it` agrees that it is still the one that was chosen; returns it, so that the caller can free it
    /// when the lock is released. One whose time has come is removed for that reason, which makes room too.
    pub fn evict(&mut self, key: &[u8], is_it: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let (hash, db) = (self.hash(key), self.db);
        self.expire_if_due(hash, key);
        if !self.held.shard(key).databases[db].find(hash, key).is_some_and(is_it) {
            return None;
        }
        let entry = self.take(hash, key)?;
        let tally = self.keyspace.tally();
        let shard = self.held.shard(key);
        // What was freed must be seen, or more would go than needs to.
        shard.account.tell(tally);
        shard.counters.evicted += 1;
        changed(shard, db, hash, key, &mut self.effects);
        self.effects.expired.push(Expired::key(db, key));
        self.effects.notify(EventClass::Evicted, "evicted", db, key);
        Some(entry)
    }
}

/// Visits keys bucket by bucket from a cursor on, until about `count` were visited or the caller has enough; returns the cursor to go on from.
fn walk(database: &Database, mut cursor: u64, count: usize, mut visit: impl FnMut(&Entry) -> ControlFlow<()>) -> u64 {
    let (mut seen, mut enough) = (0, false);
    // An empty bucket costs a look too.
    for _ in 0..count {
        cursor = database.table.scan(cursor, |entry| {
            seen += 1;
            enough = enough || visit(entry).is_break();
        });
        if cursor == 0 || enough || seen >= count {
            break;
        }
    }
    cursor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effects, Expiry, Keyspace, Stamping};

    fn with_view<R>(keyspace: &Keyspace, work: impl FnOnce(&mut View<'_>) -> R) -> R {
        let mut gate = keyspace.enter_exclusive();
        let held = gate.lock(std::iter::empty());
        work(&mut View::new(keyspace, held, 0, 1000, Stamping::Lru { clock: 1 }, Effects::default()))
    }

    fn random() -> impl FnMut() -> u64 {
        let mut state = 7u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ state >> 29
        }
    }

    /// Every key of databases and shards filled unevenly comes up about equally often.
    #[test]
    fn chances_are_even() {
        const ROUNDS: usize = 60_000;
        let keyspace = Keyspace::new(2, 3);
        let mut next = random();
        let drawn = with_view(&keyspace, |view| {
            for number in 0..200 {
                // Half of them in one shard, and a few in another database.
                let key = if number % 2 == 0 { format!("{{tag}}{number}") } else { format!("key{number}") };
                view.select(usize::from(number % 10 == 1));
                view.set_text(key.as_bytes(), b"x", Expiry::Clear);
            }
            let census = view.census(Candidates::All);
            assert_eq!(census.total(), 200);
            let mut drawn = std::collections::HashMap::<Vec<u8>, usize>::new();
            for _ in 0..ROUNDS {
                let (part, _) = census.pick(next()).expect("there are keys");
                view.select(part.db);
                view.draw(part.shard, Candidates::All, 1, &mut next, |entry| {
                    *drawn.entry(entry.key().to_vec()).or_default() += 1;
                });
            }
            drawn
        });
        assert_eq!((drawn.len(), drawn.values().sum::<usize>()), (200, ROUNDS));
        let mean = ROUNDS / 200;
        assert!(drawn.values().all(|count| (mean / 2..mean * 2).contains(count)), "{drawn:?}");
    }

    #[test]
    fn the_rare_are_found() {
        let keyspace = Keyspace::new(1, 3);
        let mut next = random();
        with_view(&keyspace, |view| {
            for number in 0..2000 {
                let expiry = if number == 1234 { Expiry::At(5000) } else { Expiry::Clear };
                view.set_text(format!("{{tag}}{number}").as_bytes(), b"x", expiry);
            }
            let census = view.census(Candidates::Volatile);
            let parts: Vec<Portion> = census.parts().collect();
            assert_eq!((census.total(), parts.len()), (1, 1));
            let mut drawn = 0;
            for _ in 0..200 {
                view.draw(parts[0].shard, Candidates::Volatile, 5, &mut next, |entry| {
                    assert_eq!(entry.key(), b"{tag}1234");
                    drawn += 1;
                });
            }
            assert!((1..150).contains(&drawn), "a draw looks at an eighth of them: {drawn}");
            let (mut found, mut cursor, mut steps) = (0, 0, 0);
            while {
                cursor = view.walk(parts[0].shard, Candidates::Volatile, cursor, 100, |_| {
                    found += 1;
                    ControlFlow::Continue(())
                });
                steps += 1;
                cursor != 0
            } {}
            assert_eq!(found, 1);
            assert!((15..30).contains(&steps), "each step is bounded: {steps}");
        });
    }

    /// The sum follows every kind of change to the byte.
    #[test]
    fn the_tally_is_the_total() {
        let keyspace = Keyspace::new(2, 3);
        with_view(&keyspace, |view| {
            view.set_text(b"before", b"x", Expiry::Clear);
            view.count_within(Some(0));
            for number in 0..500 {
                view.set_text(format!("key{number}").as_bytes(), &vec![b'x'; number], Expiry::At(2000 + number as u64));
            }
            view.set_deadline(b"key1", None);
            view.update_or_create(b"set", |set: &mut crate::Set| {
                set.insert(redpoll_structures::packed::Item::Str(b"member"), &crate::Limits::default(), 1);
                ((), crate::Change::of("sadd", 1))
            })
            .expect("it is new");
            view.remove(b"key2").expect("it is there");
            assert!(view.evict(b"key3", |entry| entry.deadline().is_some()).is_some());
            assert!(view.evict(b"key4", |_| false).is_none());
            view.select(1);
            view.set_text(b"other", b"y", Expiry::Clear);
            view.set_now(2100);
            view.select(0);
            assert!(view.peek(b"key50").is_none(), "its time has come");
            assert_eq!((view.totals().1, view.totals().0.evicted), (keyspace.counted_bytes(), 1));
            view.flush(1);
            let aside = view.set_aside();
            assert_eq!((view.totals().1, keyspace.counted_bytes()), (0, 0));
            view.put_back(aside);
            assert_eq!(view.totals().1, keyspace.counted_bytes());
            view.flush(0);
            assert_eq!((view.totals().1, keyspace.counted_bytes()), (0, 0));
            view.count_within(None);
            view.set_text(b"after", b"x", Expiry::Clear);
            assert_eq!(keyspace.counted_bytes(), 0);
        });
    }
}
