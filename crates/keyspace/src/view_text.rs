//! Strings that are not held as numbers even where they look like one.
//!
//! A client that sets `10` gets an integer, for INCR's sake. The sum of INCRBYFLOAT is text also when it is whole, so that OBJECT ENCODING tells one from
//! the other as Redis does.

use redpoll_structures::record::Record;

use crate::{Expiry, View, entry};

impl View<'_> {
    /// Sets a key to a string that stays text, whatever it held before; the caller raises the event.
    pub fn set_plain_text(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.put(key, expiry, |existing| match existing {
            Some(entry) => {
                entry::put_plain(entry, value);
                None
            }
            None => {
                let mut entry = Record::new_bytes(key, b"");
                entry::put_plain(&mut entry, value);
                Some(entry)
            }
        });
    }
}
