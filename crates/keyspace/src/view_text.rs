//! Changing strings in place, and strings that are not held as numbers even where they look like one.
//!
//! A client that sets `10` gets an integer, for INCR's sake. The sum of INCRBYFLOAT is text also when it is whole, and what was made byte by byte (APPEND,
//! SETBIT, BITOP) is bytes, so that OBJECT ENCODING tells one from the other as Redis does.

use redpoll_structures::record::Record;

use crate::entry::{self, INLINE_MAX};
use crate::view::{changed, touch};
use crate::{Change, EventClass, Expiry, Object, Text, View, WrongType};

impl View<'_> {
    /// Finds a string on the way to changing it: no hit or miss is counted, and that it is missing is no event.
    #[inline]
    pub fn find_text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        match self.peek(key) {
            None => Ok(None),
            Some(entry) => entry::text(entry).map(Some).ok_or(WrongType),
        }
    }

    /// Changes the bytes of a string in place (APPEND, SETRANGE), creating it if absent; returns what the closure returns. Counts as one change.
    /// The caller raises the event; the key is not created if the closure leaves it empty.
    pub fn edit_text<R>(&mut self, key: &[u8], edit: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R, WrongType> {
        self.update_text(key, |bytes| (edit(bytes), Change::of("", 1)))
    }

    /// Changes the bytes of a string in place (SETBIT, PFADD), creating it if absent, and raises the change's event if it has one. The key is not
    /// created if nothing changed or the closure leaves it empty.
    pub fn update_text<R>(
        &mut self,
        key: &[u8],
        update: impl FnOnce(&mut Vec<u8>) -> (R, Change),
    ) -> Result<R, WrongType> {
        let hash = self.hash(key);
        self.expire_if_due(hash, key);
        let db = self.db;
        let shard = self.held.shard(key);
        shard.databases[db].before_change(hash, self.keyspace);
        let existing = shard.databases[db].find_mut(hash, key);
        let Some(entry) = existing else {
            let mut bytes = Vec::new();
            let (result, change) = update(&mut bytes);
            if change.count > 0 && !bytes.is_empty() {
                if bytes.len() <= INLINE_MAX {
                    self.set_raw_text(key, &bytes, Expiry::Clear);
                } else {
                    self.set_object(key, Object::Bytes(Box::new(bytes)), Expiry::Clear);
                }
                self.effects.dirty += change.count - 1;
                self.raise(key, change);
            }
            return Ok(result);
        };
        let before = entry::heap_size(entry);
        let (result, change) = if let Some(Object::Bytes(bytes)) = entry.object_mut() {
            update(bytes)
        } else {
            let mut buf = [0; 20];
            let text = entry::text(entry).ok_or(WrongType)?;
            let mut bytes = text.bytes(&mut buf).to_vec();
            let result = update(&mut bytes);
            if bytes.len() <= INLINE_MAX {
                entry::put_raw(entry, &bytes);
            } else {
                entry.set_object(Object::Bytes(Box::new(bytes)));
            }
            result
        };
        touch(entry, self.stamping);
        let after = entry::heap_size(entry);
        shard.account.change(before, after, self.keyspace.tally());
        if change.count > 0 {
            self.effects.dirty += change.count;
            changed(shard, db, hash, key, &mut self.effects);
            self.raise(key, change);
        }
        Ok(result)
    }

    fn raise(&mut self, key: &[u8], change: Change) {
        if !change.event.is_empty() {
            self.notify(EventClass::String, change.event, key);
        }
    }

    /// Sets a key to a string that stays bytes, whatever it held before; the caller raises the event.
    pub fn set_raw_text(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.set_unparsed(key, value, expiry, entry::put_raw);
    }

    /// Sets a key to a string that stays text, whatever it held before; the caller raises the event.
    pub fn set_plain_text(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.set_unparsed(key, value, expiry, entry::put_plain);
    }

    fn set_unparsed(&mut self, key: &[u8], value: &[u8], expiry: Expiry, put: fn(&mut crate::Entry, &[u8])) {
        self.put(key, expiry, |existing| match existing {
            Some(entry) => {
                put(entry, value);
                None
            }
            None => {
                let mut entry = Record::new_bytes(key, b"");
                put(&mut entry, value);
                Some(entry)
            }
        });
    }
}
