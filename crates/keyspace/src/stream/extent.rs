//! What a stream remembers of entries that are gone, and what follows from it: how far behind a group is.
//!
//! Streams count every entry ever added. Together with the greatest id that was deleted from among others (a *tombstone*; trimming from the front makes
//! none) that often tells how many entries lie before an id without counting them. Where it does not, the answer is that nobody knows.

use super::{Group, StreamId};

/// How far a stream reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Entries there are.
    pub len: usize,
    /// The first of them; the least id if there are none.
    pub first_id: StreamId,
    /// The greatest id that was ever added or set.
    pub last_id: StreamId,
    /// The greatest id that was deleted.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
}

impl Extent {
    /// Tells whether an entry at or after an id may have been deleted from among others.
    pub fn has_tombstones_from(&self, id: StreamId) -> bool {
        // What was deleted before the first entry is as good as trimmed.
        self.len > 0 && self.first_id <= self.max_deleted_id && id <= self.max_deleted_id
    }

    /// Returns how many entries were added up to an id, if that can be told.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if (self.len == 0 && id <= self.last_id) || id == self.last_id {
            return Some(self.entries_added);
        }
        let unbroken = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        if id > self.last_id || !unbroken {
            return None;
        }
        let before_first = self.entries_added.saturating_sub(self.len as u64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => Some(before_first + 1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Returns how many entries a group has not been given, if that can be told. A group that was told to have read more than there is lags negatively.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let lag = |read: u64| self.entries_added.wrapping_sub(read) as i64;
        if self.entries_added == 0 {
            return Some(0);
        }
        match group.entries_read {
            Some(read) if !self.has_tombstones_from(group.last_id) => Some(lag(read)),
            _ => self.entries_up_to(group.last_id).map(lag),
        }
    }
}
