//! Storing what a command has calculated: the end of SINTERSTORE, ZUNIONSTORE, ZRANGESTORE, SORT and their kin.

use crate::object::Typed;
use crate::{EventClass, Expiry, View};

impl View<'_> {
    /// Sets a key to a collection, whatever it held before, and raises `event`; an empty collection removes the key instead, which raises `del`.
    pub fn store<T: Typed>(&mut self, key: &[u8], value: T, event: &'static str) {
        if !value.is_empty() {
            self.set_object(key, value.into_object(), Expiry::Clear);
            self.notify(T::CLASS, event, key);
        } else if self.remove(key).is_some() {
            self.notify(EventClass::Generic, "del", key);
        }
    }
}
