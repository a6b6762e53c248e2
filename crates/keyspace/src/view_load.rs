//! Keys of a snapshot on their way in.
//!
//! A file holds keys in no order that the tables know, so each of them waits for main memory. They come some at a time therefore, and their places are
//! asked for together before the first key is put into its own ([`View::ask_for`]). How many keys will come stands in the file: the tables are made for
//! them at once ([`View::reserve`]) and need not grow under them, which would read every record again.
//!
//! Loading is no command: what it does counts as no change and nobody is served by it. Only those who watch a key learn that it has come.

use redpoll_structures::table::BUCKET_LOAD;

use crate::rdb::StoredKey;
use crate::view::add;
use crate::{Cause, Keyspace, SHARDS, ShardIndex, Stamping, View, Waste};

/// Longest time between an access and now that a stamp can tell, seconds.
const IDLE_MAX: u64 = (1 << 24) - 1;

impl View<'_> {
    /// Makes room for so many keys more in the selected database. All shards must be held.
    pub fn reserve(&mut self, keys: usize) {
        let (db, keyspace, each) = (self.db, self.keyspace, keys / SHARDS);
        if each < BUCKET_LOAD {
            return;
        }
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                let table = &mut shard.databases[db].table;
                let before = table.heap_size();
                table.reserve(each, |entry| keyspace.hash(entry.key()));
                let after = table.heap_size();
                shard.account.change(before, after, keyspace.tally());
            });
        }
    }

    /// Puts a key of a snapshot in its place, whatever is there.
    pub fn load(&mut self, stored: StoredKey) {
        let hash = self.hash(stored.entry.key());
        let replaced = self.take(hash, stored.entry.key()).and_then(Waste::of);
        self.effects.waste.extend(replaced.map(|waste| (Cause::Overwritten, waste)));
        self.place(hash, stored);
    }

    /// Puts a key of a snapshot in its place, or returns it if it is there already.
    pub fn load_new(&mut self, stored: StoredKey) -> Result<(), StoredKey> {
        let (hash, db) = (self.hash(stored.entry.key()), self.db);
        self.expire_if_due(hash, stored.entry.key());
        if self.held.shard(stored.entry.key()).databases[db].find(hash, stored.entry.key()).is_some() {
            return Err(stored);
        }
        self.place(hash, stored);
        Ok(())
    }

    fn place(&mut self, hash: u64, StoredKey { entry, idle_seconds, frequency }: StoredKey) {
        let stamp = match self.stamping {
            Stamping::Lru { clock } => {
                idle_seconds.map(|idle| clock.wrapping_sub(idle.min(IDLE_MAX) as u32) & 0xff_ffff)
            }
            Stamping::Lfu { minutes, .. } => frequency.map(|frequency| u32::from(minutes) << 8 | u32::from(frequency)),
        };
        entry.set_stamp(stamp.unwrap_or(self.stamping.fresh()));
        let (db, keyspace): (usize, &Keyspace) = (self.db, self.keyspace);
        let shard = self.held.shard(entry.key());
        shard.databases[db].before_change(hash, keyspace);
        if !shard.watches.is_empty() {
            shard.watches.changed(db, entry.key());
        }
        add(shard, keyspace, db, hash, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effects, Entry, Held};

    fn stored(number: usize) -> StoredKey {
        let entry = Entry::new_bytes(format!("key:{number}").as_bytes(), b"value");
        StoredKey { entry, idle_seconds: None, frequency: None }
    }

    fn counted(held: &mut Held<'_>) -> [usize; 2] {
        let mut sums = [0, 0];
        for index in 0..SHARDS as ShardIndex {
            held.with_shard(index, |shard| {
                sums[0] += shard.account.used();
                sums[1] += shard.databases.iter().map(crate::shard::Database::bytes).sum::<usize>();
            });
        }
        sums
    }

    #[test]
    fn room_is_made_once_and_counted() {
        const KEYS: usize = SHARDS * 40;
        let bytes_of_tables = |reserved: &[usize], keys: usize| {
            let keyspace = Keyspace::new(2, 7);
            let mut gate = keyspace.enter_exclusive();
            let held = gate.lock(std::iter::empty());
            let mut view = View::new(&keyspace, held, 1, 0, Stamping::Lru { clock: 9 }, Effects::default());
            reserved.iter().for_each(|keys| view.reserve(*keys));
            let [empty, _] = counted(&mut view.held);
            (0..keys).for_each(|number| view.load_new(stored(number)).expect("the key is new"));
            let [used, bytes] = counted(&mut view.held);
            assert_eq!(used, bytes, "what is counted is what there is");
            assert!(view.load_new(stored(0)).is_err() == (keys > 0));
            drop(view.flush(1));
            assert_eq!(counted(&mut view.held), [0, 0], "room goes with what it was made for");
            (empty, used)
        };
        let (nothing, grown) = bytes_of_tables(&[], KEYS);
        let (reserved, filled) = bytes_of_tables(&[KEYS], KEYS);
        assert_eq!(nothing, 0);
        assert!(reserved > 0 && filled <= grown, "{reserved} {filled} {grown}");
        assert_eq!(bytes_of_tables(&[KEYS; 3], 0), (reserved, reserved), "the same room is not made twice");
        assert_eq!(bytes_of_tables(&[SHARDS], 0), (0, 0), "few keys need none");
    }
}
