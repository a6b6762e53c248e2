//! Keys of a snapshot on their way in.

use crate::rdb::{StoredKey, Value};
use crate::view::touch;
use crate::{Expiry, Stamping, View};

/// Longest time between an access and now that a stamp can tell, seconds.
const IDLE_MAX: u64 = (1 << 24) - 1;

impl View<'_> {
    /// Puts a key of a snapshot in its place, whatever is there. The caller raises no event: nothing has happened to the key.
    pub fn load(&mut self, stored: StoredKey<'_>) {
        let StoredKey { key, value, deadline, idle_seconds, frequency } = stored;
        let expiry = deadline.map_or(Expiry::Clear, Expiry::At);
        match value {
            Value::Text(text) => self.set_text(key, &text, expiry),
            Value::Object(object) => self.set_object(key, object, expiry),
        }
        let stamp = match self.stamping {
            Stamping::Lru { clock } => {
                idle_seconds.map(|idle| clock.wrapping_sub(idle.min(IDLE_MAX) as u32) & 0xff_ffff)
            }
            Stamping::Lfu { minutes, .. } => frequency.map(|frequency| u32::from(minutes) << 8 | u32::from(frequency)),
        };
        let (hash, db) = (self.hash(key), self.db);
        let entry = self.held.shard(key).databases[db].find(hash, key).expect("the key was just set");
        match stamp {
            Some(stamp) => entry.set_stamp(stamp),
            None => touch(entry, self.stamping),
        }
    }
}
