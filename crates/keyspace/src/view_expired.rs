//! Removing what has expired where nobody asks for the key itself: fields of hashes, and the sweep through a shard.
//!
//! A field whose time has come is no longer found, whatever is done here. Who asks for fields by name removes those of them that are due, so that they do not stay
//! until the next sweep; who needs to draw among all fields removes all that are due. Either is told as one event, logged as one removal, and changes the key.

use std::sync::Arc;

use crate::entry::heap_size;
use crate::object::Typed;
use crate::sweep::Swept;
use crate::view::changed;
use crate::{
    Cause, Effects, Entry, EventClass, Expired, Hash, Held, Millis, Object, ShardIndex, View, Waste, WatchFlag,
    WrongType,
};

/// Most fields that one record of the log removes.
const FIELDS_PER_RECORD: usize = 1024;

impl<'g> View<'g> {
    /// Reads a hash to look at these fields, of which those whose time has come are removed.
    #[inline]
    pub fn read_fields(&mut self, key: &[u8], fields: &[&[u8]]) -> Result<Option<&Hash>, WrongType> {
        let (hash, db) = (self.hash(key), self.db);
        if !self.keeps_expired && self.held.shard(key).databases[db].may_expire(self.now) {
            self.expire_if_found(hash, key);
            self.expire_fields(key, fields);
        }
        let stamping = self.touches.then_some(self.stamping);
        match self.read_found(hash, key, stamping) {
            None => Ok(None),
            Some(entry) => entry.object().and_then(Hash::of).map(Some).ok_or(WrongType),
        }
    }

    #[cold]
    pub(crate) fn expire_if_found(&mut self, hash: u64, key: &[u8]) {
        let (db, now) = (self.db, self.now);
        if !self.held.shard(key).databases[db].holds_expired(hash, key, now) {
            return;
        }
        let waste = self.take(hash, key).and_then(Waste::of);
        self.effects.waste.extend(waste.map(|waste| (Cause::Expired, waste)));
        let shard = self.held.shard(key);
        shard.counters.expired += 1;
        shard.watches.expired(db, key);
        shard.signal(db, hash, key, &mut self.effects);
        self.effects.note_modified(key);
        self.effects.expired.push(Expired::key(db, key));
        self.effects.notify(EventClass::Expired, "expired", db, key);
    }

    /// Finds a key as it lies there, be its time over or not, and leaves no trace (DEBUG).
    pub fn find_even_expired(&mut self, key: &[u8]) -> Option<&Entry> {
        let (hash, db) = (self.hash(key), self.db);
        self.held.shard(key).databases[db].find(hash, key)
    }

    /// Removes those of these fields whose time has come.
    #[inline]
    pub fn expire_fields(&mut self, key: &[u8], fields: &[&[u8]]) {
        let (db, now) = (self.db, self.now);
        if !self.keeps_expired && self.held.shard(key).databases[db].may_expire(now) {
            self.reap(key, |hash, now, gone| {
                let due = fields.iter().filter(|field| hash.remove_due(field, now));
                gone.extend(due.map(|field| Box::<[u8]>::from(*field)));
            });
        }
    }

    /// Removes all fields of a hash whose time has come.
    #[inline]
    pub fn expire_all_fields(&mut self, key: &[u8]) {
        let (db, now) = (self.db, self.now);
        if !self.keeps_expired && self.held.shard(key).databases[db].may_expire(now) {
            self.reap(key, |hash, now, gone| {
                hash.reap(now, usize::MAX, |field| gone.push(field.into()));
            });
        }
    }

    #[cold]
    fn reap(&mut self, key: &[u8], reap: impl FnOnce(&mut Hash, Millis, &mut Vec<Box<[u8]>>)) {
        let (hash, db, now) = (self.hash(key), self.db, self.now);
        self.expire_if_found(hash, key);
        let tally = self.keyspace.tally();
        let shard = self.held.shard(key);
        let database = &mut shard.databases[db];
        database.before_change(hash, self.keyspace);
        let found = database.find_mut(hash, key).and_then(Entry::object_mut);
        let Some(Object::Hash(value)) = found else { return };
        if !value.is_due(now) {
            return;
        }
        let (before, had_soonest, mut gone) = (value.heap_size(), value.soonest(), Vec::new());
        reap(value, now, &mut gone);
        let (after, soonest, emptied) = (value.heap_size(), value.soonest(), value.is_empty());
        if gone.is_empty() {
            return;
        }
        database.note_fields(had_soonest, soonest);
        shard.account.change(before, after, tally);
        shard.counters.expired_fields += gone.len() as u64;
        changed(shard, db, hash, key, &mut self.effects);
        self.note_fields_gone(db, key, gone);
        if emptied {
            self.take(hash, key);
            self.notify(EventClass::Generic, "del", key);
        }
    }

    fn note_fields_gone(&mut self, db: usize, key: &[u8], mut gone: Vec<Box<[u8]>>) {
        while !gone.is_empty() {
            let rest = gone.split_off(gone.len().min(FIELDS_PER_RECORD));
            self.effects.expired.push(Expired { db, key: key.into(), fields: std::mem::replace(&mut gone, rest) });
        }
        self.effects.notify(EventClass::Hash, "hexpired", db, key);
    }

    /// Tells whether a watched key, or a field of the hash there, has expired since the watch began, without having been removed yet.
    pub fn expired_since_watch(&mut self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) -> bool {
        let (hash, now) = (self.hash(key), self.now);
        let shard = self.held.shard(key);
        if !shard.databases[db].may_expire(now) {
            return false;
        }
        if shard.databases[db].holds_expired(hash, key, now) {
            return !shard.watches.is_stale(db, key, flag);
        }
        let Some(Object::Hash(fields)) = shard.databases[db].find(hash, key).and_then(Entry::object) else {
            return false;
        };
        shard.watches.began(db, key, flag).is_some_and(|began| fields.expires_between(began, now))
    }

    /// Removes keys that were met expired, or leaves that to who can lock their shards; nothing while expired keys are kept.
    pub(crate) fn remove_overdue(&mut self, keys: Vec<Box<[u8]>>) {
        if self.keeps_expired {
            return;
        }
        match self.held {
            Held::All(_) => keys.iter().for_each(|key| self.expire_if_due(self.hash(key), key)),
            _ => self.effects.overdue.extend(keys.into_iter().map(|key| (self.db, key))),
        }
    }

    /// Opens a view on nothing but the shard of a key, for who holds none and visits one after the other.
    ///
    /// # Panics
    /// If shards are held already.
    pub fn on_shard_of(&self, db: usize, key: &[u8], effects: Effects) -> View<'g> {
        let held = self.held.lock_alone(key);
        View { held, db, effects, keyspace: self.keyspace, now: self.now, stamping: self.stamping, ..*self }
    }

    /// Removes expired entries and fields of one shard locked by number, visiting at most `budget` buckets; returns how many it visited.
    ///
    /// A database is looked at only when its soonest deadline has come, so what lives long costs nothing.
    pub fn sweep(&mut self, index: ShardIndex, budget: usize) -> usize {
        let (now, keyspace) = (self.now, self.keyspace);
        let mut visited = 0;
        for db in 0..keyspace.databases() {
            let effects = &mut self.effects;
            let swept = self.held.with_locked(index, |shard| {
                if !shard.databases[db].may_expire(now) {
                    return Swept::default();
                }
                let table_before = shard.databases[db].table.heap_size();
                let swept = shard.databases[db].sweep(now, budget - visited, keyspace);
                let gone: usize = swept.expired.iter().chain(&swept.emptied).map(heap_size).sum();
                let table_after = shard.databases[db].table.heap_size();
                shard.account.change(table_before + swept.before + gone, table_after + swept.after, keyspace.tally());
                for entry in &swept.expired {
                    shard.counters.expired += 1;
                    shard.watches.expired(db, entry.key());
                    shard.signal(db, keyspace.hash(entry.key()), entry.key(), effects);
                    effects.note_modified(entry.key());
                }
                for hash in &swept.hashes {
                    shard.counters.expired_fields += hash.fields.len() as u64;
                    changed(shard, db, keyspace.hash(&hash.key), &hash.key, effects);
                }
                swept
            });
            visited += swept.visited;
            for entry in swept.expired {
                self.effects.notify(EventClass::Expired, "expired", db, entry.key());
                self.effects.expired.push(Expired::key(db, entry.key()));
                self.effects.waste.extend(Waste::of(entry).map(|waste| (Cause::Expired, waste)));
            }
            for hash in swept.hashes {
                self.note_fields_gone(db, &hash.key, hash.fields);
                if hash.is_empty {
                    self.effects.notify(EventClass::Generic, "del", db, &hash.key);
                }
            }
            if visited >= budget {
                break;
            }
        }
        visited
    }
}
