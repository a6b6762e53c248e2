//! The view: one command's window on the shards it holds. Every read and change of a key goes through here.
//!
//! The rules a handler cannot break, because the view keeps them:
//!
//! * an expired entry does not exist: a read or update removes it first and records that it expired (for fields of hashes see [`View::expire_fields`]);
//! * a change raises the flags of watchers, notes the key as ready if somebody waits for it, counts as dirty and raises its event;
//! * a collection left empty is removed, with a `del` event;
//! * the shard's byte count and its number of volatile entries follow every change.
//!
//! Updates of collections take a closure that returns what it did ([`Change`]), so forgetting to say so does not compile.

use redpoll_structures::record::Record;

use crate::entry;
use crate::object::Typed;
use crate::{
    Cause, Change, Effects, Entry, EventClass, Held, Keyspace, Kind, Millis, Object, Shard, Stamping, Text, Waste,
    WrongType,
};

/// What happens to a key's deadline when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The deadline goes away.
    Clear,
    /// The deadline stays as it is.
    Keep,
    /// The key expires at this time.
    At(Millis),
}

/// A window on the shards one command holds.
pub struct View<'g> {
    pub(crate) held: Held<'g>,
    pub(crate) keyspace: &'g Keyspace,
    pub(crate) db: usize,
    pub(crate) now: Millis,
    pub(crate) stamping: Stamping,
    pub(crate) touches: bool,
    pub(crate) keeps_expired: bool,
    /// What happened so far.
    pub effects: Effects,
}

impl<'g> View<'g> {
    /// Opens a view on database `db` at time `now`.
    #[inline]
    pub fn new(
        keyspace: &'g Keyspace,
        held: Held<'g>,
        db: usize,
        now: Millis,
        stamping: Stamping,
        effects: Effects,
    ) -> View<'g> {
        debug_assert!(db < keyspace.databases());
        View { held, keyspace, db, now, stamping, touches: true, keeps_expired: false, effects }
    }

    /// Tells whether every key may be used.
    pub fn holds_everything(&self) -> bool {
        matches!(self.held, Held::All(_))
    }

    /// Returns the selected database.
    pub fn db(&self) -> usize {
        self.db
    }

    /// Selects another database.
    pub fn select(&mut self, db: usize) {
        assert!(db < self.keyspace.databases(), "database numbers are checked by the caller");
        self.db = db;
    }

    /// Returns the number of databases.
    pub fn databases(&self) -> usize {
        self.keyspace.databases()
    }

    /// Returns the time of the command.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Moves the time of the command (the log is replayed at time zero) and returns what it was.
    pub fn set_now(&mut self, now: Millis) -> Millis {
        std::mem::replace(&mut self.now, now)
    }

    /// Returns how accesses are stamped.
    pub fn stamping(&self) -> Stamping {
        self.stamping
    }

    /// Returns the seed-dependent hash of a key or member.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.keyspace.hash(bytes)
    }

    /// Returns the secret from which hash tables inside values seed their hash functions.
    #[inline]
    pub fn hash_seed(&self) -> u64 {
        self.keyspace.member_seed()
    }

    /// Makes reads leave no access stamps (CLIENT NO-TOUCH, OBJECT, DEBUG).
    pub fn stop_touching(&mut self) {
        self.touches = false;
    }

    /// Makes reads pass over what has expired instead of removing it: nothing is to change now (CLIENT PAUSE). What writes all the same removes it.
    pub fn keep_expired(&mut self) {
        self.keeps_expired = true;
    }

    /// Collects an event if its class is wanted.
    #[inline]
    pub fn notify(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        self.effects.notify(class, name, self.db, key);
    }

    // Reading.

    /// Finds a key for reading: counts hit or miss and stamps the access.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let stamping = self.touches.then_some(self.stamping);
        self.read_stamped(key, stamping)
    }

    /// Finds a key for learning about it, not for its value (TTL, TYPE): counts hit or miss but stamps no access.
    #[inline]
    pub fn look(&mut self, key: &[u8]) -> Option<&Entry> {
        self.read_stamped(key, None)
    }

    #[inline]
    fn read_stamped(&mut self, key: &[u8], stamping: Option<Stamping>) -> Option<&Entry> {
        let hash = self.hash(key);
        if !self.keeps_expired {
            self.expire_if_due(hash, key);
        }
        self.read_found(hash, key, stamping)
    }

    /// Finds a key of which what has expired has been removed, or is passed over.
    #[inline]
    pub(crate) fn read_found(&mut self, hash: u64, key: &[u8], stamping: Option<Stamping>) -> Option<&Entry> {
        let (db, passes_over, now) = (self.db, self.keeps_expired, self.now);
        let shard = self.held.shard(key);
        let found = shard.databases[db].find(hash, key);
        let Some(entry) = found.filter(|entry| !(passes_over && entry::is_expired(entry, now))) else {
            shard.counters.misses += 1;
            self.effects.notify(EventClass::KeyMiss, "keymiss", db, key);
            return None;
        };
        shard.counters.hits += 1;
        if let Some(stamping) = stamping {
            touch(entry, stamping);
        }
        Some(entry)
    }

    /// Finds a key without leaving a trace: no stamp, no hit or miss.
    #[inline]
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let (hash, db) = (self.hash(key), self.db);
        if self.keeps_expired {
            return self.find_beside(key);
        }
        self.expire_if_due(hash, key);
        self.held.shard(key).databases[db].find(hash, key)
    }

    /// Tells whether a key exists.
    #[inline]
    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// Returns the kind of a key's value.
    pub fn kind(&mut self, key: &[u8]) -> Option<Kind> {
        self.peek(key).map(entry::kind)
    }

    /// Reads a string.
    #[inline]
    pub fn read_text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry::text(entry).map(Some).ok_or(WrongType),
        }
    }

    /// Reads a collection.
    #[inline]
    pub fn read_as<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.object().and_then(T::of).map(Some).ok_or(WrongType),
        }
    }

    /// Finds a collection on the way to changing it: no hit or miss is counted, and that it is missing is no event.
    #[inline]
    pub fn find_as<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        match self.peek(key) {
            None => Ok(None),
            Some(entry) => entry.object().and_then(T::of).map(Some).ok_or(WrongType),
        }
    }

    /// Reads a collection beside others (set algebra): leaves no trace and removes nothing, but does not see what has expired.
    pub fn read_beside<T: Typed>(&self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        match self.find_beside(key) {
            None => Ok(None),
            Some(entry) => entry.object().and_then(T::of).map(Some).ok_or(WrongType),
        }
    }

    /// Finds a key beside others: leaves no trace and removes nothing, but does not see what has expired.
    pub fn find_beside(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.held.shard_ref(key).databases[self.db].find(self.hash(key), key)?;
        (!entry::is_expired(entry, self.now)).then_some(entry)
    }

    // Changing.

    /// Sets a key to a string, whatever it held before; the caller raises the event.
    #[inline]
    pub fn set_text(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.put(key, expiry, |existing| match existing {
            Some(entry) => {
                entry::put_string(entry, value);
                None
            }
            None => Some(entry::new_string(key, value)),
        });
    }

    /// Sets a key to an integer, keeping its deadline; the caller raises the event.
    #[inline]
    pub fn set_int(&mut self, key: &[u8], value: i64) {
        self.put(key, Expiry::Keep, |existing| match existing {
            Some(entry) => {
                entry.set_int(value);
                None
            }
            None => Some(Record::new_int(key, value)),
        });
    }

    /// Sets a key to a collection, whatever it held before; the caller raises the event.
    pub fn set_object(&mut self, key: &[u8], object: Object, expiry: Expiry) {
        self.put(key, expiry, |existing| match existing {
            Some(entry) => {
                entry.set_object(object);
                None
            }
            None => Some(Record::new_object(key, object)),
        });
    }

    /// Changes an existing collection; `None` if the key does not exist.
    #[inline]
    pub fn update<T: Typed, R>(
        &mut self,
        key: &[u8],
        update: impl FnOnce(&mut T) -> (R, Change),
    ) -> Result<Option<R>, WrongType> {
        let hash = self.hash(key);
        self.expire_if_due(hash, key);
        self.update_found(hash, key, update)
    }

    /// Changes a collection, which is created if absent; one left empty is removed or never comes into being.
    #[inline]
    pub fn update_or_create<T: Typed, R>(
        &mut self,
        key: &[u8],
        update: impl FnOnce(&mut T) -> (R, Change),
    ) -> Result<R, WrongType> {
        let hash = self.hash(key);
        self.expire_if_due(hash, key);
        let db = self.db;
        if self.held.shard(key).databases[db].find(hash, key).is_some() {
            return self.update_found(hash, key, update).map(|result| result.expect("the key was just found"));
        }
        let mut value = T::empty();
        let (result, change) = update(&mut value);
        if change.count > 0 && !value.is_empty() {
            self.put(key, Expiry::Clear, |_| Some(Record::new_object(key, value.into_object())));
            self.effects.dirty += change.count - 1;
            self.notify(T::CLASS, change.event, key);
        }
        Ok(result)
    }

    fn update_found<T: Typed, R>(
        &mut self,
        hash: u64,
        key: &[u8],
        update: impl FnOnce(&mut T) -> (R, Change),
    ) -> Result<Option<R>, WrongType> {
        let db = self.db;
        let (keyspace, tally) = (self.keyspace, self.keyspace.tally());
        let shard = self.held.shard(key);
        shard.databases[db].before_change(hash, keyspace);
        let Some(entry) = shard.databases[db].find_mut(hash, key) else { return Ok(None) };
        touch(entry, self.stamping);
        let value = entry.object_mut().and_then(T::of_mut).ok_or(WrongType)?;
        let (before, had_soonest) = (value.heap_size(), value.soonest());
        let (result, change) = update(value);
        let (after, soonest, emptied) = (value.heap_size(), value.soonest(), value.is_empty());
        shard.account.change(before, after, tally);
        if had_soonest.is_some() || soonest.is_some() {
            shard.databases[db].note_fields(had_soonest, soonest);
        }
        if change.count > 0 {
            if change.watched {
                changed(shard, db, hash, key, &mut self.effects);
            } else if !shard.waiters.is_empty() {
                shard.signal(db, hash, key, &mut self.effects);
            }
            self.effects.dirty += change.count;
            self.effects.notify(T::CLASS, change.event, db, key);
        }
        if emptied {
            self.take(hash, key);
            self.notify(EventClass::Generic, "del", key);
        }
        Ok(Some(result))
    }

    /// Removes a key and returns its entry; counts as one change, the caller raises the event.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        self.expire_if_due(hash, key);
        let entry = self.take(hash, key)?;
        let db = self.db;
        changed(self.held.shard(key), db, hash, key, &mut self.effects);
        self.effects.dirty += 1;
        Some(entry)
    }

    /// Inserts an entry under `key`, replacing what is there (RENAME, COPY, MOVE, RESTORE); counts as one change, the caller raises the event.
    pub fn insert(&mut self, key: &[u8], entry: Entry) {
        let expiry = entry.deadline().map_or(Expiry::Clear, Expiry::At);
        let hash = self.hash(key);
        let replaced = self.take(hash, key).and_then(Waste::of);
        self.effects.waste.extend(replaced.map(|waste| (Cause::Overwritten, waste)));
        let entry = if entry.key() == key { entry } else { entry.with_key(key) };
        self.put(key, expiry, |_| Some(entry));
    }

    /// Gives an existing key a deadline or takes it away; false if the key does not exist. Counts as one change, the caller raises the event.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<Millis>) -> bool {
        let hash = self.hash(key);
        self.expire_if_due(hash, key);
        let db = self.db;
        let shard = self.held.shard(key);
        let database = &mut shard.databases[db];
        database.before_change(hash, self.keyspace);
        let Some(entry) = database.find_mut(hash, key) else { return false };
        let (before, had) = (entry.heap_size(), entry.deadline().is_some());
        entry.set_deadline(deadline);
        let after = entry.heap_size();
        database.change_deadline(had, deadline);
        shard.account.change(before, after, self.keyspace.tally());
        self.keyspace.note_evictable(shard);
        changed(shard, db, hash, key, &mut self.effects);
        self.effects.dirty += 1;
        true
    }

    // Inside.

    /// Replaces or inserts: `make` changes the existing entry or returns a new one. Counts as one change.
    #[inline]
    pub(crate) fn put(&mut self, key: &[u8], expiry: Expiry, make: impl FnOnce(Option<&mut Entry>) -> Option<Entry>) {
        let hash = self.hash(key);
        self.expire_if_due(hash, key);
        let (db, keyspace, stamping) = (self.db, self.keyspace, self.stamping);
        let shard = self.held.shard(key);
        let database = &mut shard.databases[db];
        database.before_change(hash, keyspace);
        if let Some(entry) = database.find_mut(hash, key) {
            let (before, had, had_soonest) = (entry::heap_size(entry), entry.deadline(), entry::soonest_field(entry));
            self.effects.waste.extend(Waste::replaced(entry).map(|waste| (Cause::Overwritten, waste)));
            make(Some(entry));
            let deadline = match expiry {
                Expiry::Keep => had,
                Expiry::Clear => None,
                Expiry::At(deadline) => Some(deadline),
            };
            if deadline != had {
                entry.set_deadline(deadline);
            }
            touch(entry, stamping);
            let soonest = entry::soonest_field(entry);
            let after = entry::heap_size(entry);
            if had_soonest.is_some() || soonest.is_some() {
                database.note_fields(had_soonest, soonest);
            }
            if deadline != had {
                database.change_deadline(had.is_some(), deadline);
            }
            shard.account.change(before, after, keyspace.tally());
            keyspace.note_evictable(shard);
        } else {
            let mut entry = make(None).expect("a missing key is made anew");
            entry.set_stamp(stamping.fresh());
            match expiry {
                Expiry::At(deadline) => entry.set_deadline(Some(deadline)),
                Expiry::Clear if entry.deadline().is_some() => entry.set_deadline(None),
                Expiry::Keep | Expiry::Clear => {}
            }
            add(shard, keyspace, db, hash, entry);
            self.effects.notify(EventClass::New, "new", db, key);
        }
        self.effects.dirty += 1;
        changed(shard, db, hash, key, &mut self.effects);
    }

    /// Takes an entry out of its table; no watcher, no event.
    pub(crate) fn take(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        let (db, keyspace) = (self.db, self.keyspace);
        let shard = self.held.shard(key);
        let database = &mut shard.databases[db];
        database.before_change(hash, keyspace);
        let table_before = database.table.heap_size();
        let entry = database.table.remove(hash, |entry| entry.key() == key, |entry| keyspace.hash(entry.key()))?;
        if entry.deadline().is_some() {
            database.volatile -= 1;
        }
        database.note_fields(entry::soonest_field(&entry), None);
        let before = table_before + entry::heap_size(&entry);
        shard.account.change(before, database.table.heap_size(), keyspace.tally());
        Some(entry)
    }

    #[inline]
    pub(crate) fn expire_if_due(&mut self, hash: u64, key: &[u8]) {
        let (db, now) = (self.db, self.now);
        if self.held.shard(key).databases[db].may_expire(now) {
            self.expire_if_found(hash, key);
        }
    }
}

/// Puts an entry into the table that has none of this key.
#[inline]
pub(crate) fn add(shard: &mut Shard, keyspace: &Keyspace, db: usize, hash: u64, entry: Entry) {
    let database = &mut shard.databases[db];
    if let Some(deadline) = entry.deadline() {
        database.note_deadline(deadline);
    }
    database.note_fields(None, entry::soonest_field(&entry));
    let (before, size) = (database.table.heap_size(), entry::heap_size(&entry));
    database.table.insert_unique(hash, entry, |entry| keyspace.hash(entry.key()));
    shard.account.change(before, database.table.heap_size() + size, keyspace.tally());
    keyspace.note_evictable(shard);
}

#[inline]
pub(crate) fn touch(entry: &Entry, stamping: Stamping) {
    let (stamp, accessed) = (entry.stamp(), stamping.accessed(entry.stamp()));
    if stamp != accessed {
        entry.set_stamp(accessed);
    }
}

#[inline]
pub(crate) fn changed(shard: &mut Shard, db: usize, hash: u64, key: &[u8], effects: &mut Effects) {
    effects.note_modified(key);
    if !shard.watches.is_empty() {
        shard.watches.changed(db, key);
    }
    if !shard.waiters.is_empty() {
        shard.signal(db, hash, key, effects);
    }
}
