//! Streams: entries of fields in the order of their ids, appended at the end, with groups of consumers that read them.
//!
//! ```text
//!   Stream ── extent: length, first and last id, greatest deleted id, entries ever added
//!     ├ entries   base id ──► node: a packed block of up to 100 entries that share the names of their fields   `entries.rs`, `node.rs`
//!     └ groups    name ──► last id, what is pending, consumers                                                 `group.rs`
//! ```
//!
//! A node stores the names of its entries once and ids as small differences, so an entry of three short fields takes little more than its values. An entry
//! that is removed leaves a tombstone until its node is empty. A stream without entries is still a stream: its ids go on where they ended.
//!
//! Nothing here reads a clock or makes ids: both come in. Who waits for new entries is not known here.

mod delivery;
mod entries;
mod entry;
mod extent;
mod group;
mod id;
mod node;
#[cfg(test)]
mod tests;
mod tree_size;
mod trim;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub use delivery::{Acknowledgement, Claim, Claimed, OpenGroup};
use entries::Entries;
pub use entries::StreamRange;
pub use entry::StreamEntry;
pub use extent::Extent;
pub use group::{Consumer, ConsumerNumber, Group, Pending};
pub use id::StreamId;
pub use trim::{Trim, TrimTo};

use redpoll_structures::packed::Packed;

use crate::object::Typed;
use crate::{Direction, EventClass, Limits, Object};

/// What a group takes beside itself and its name: its place among the groups, bytes.
const GROUP_PLACE_BYTES: usize = 48;

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    extent: Extent,
    entries: Entries,
    groups: BTreeMap<Box<[u8]>, Box<Group>>,
    group_bytes: usize,
}

/// An entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// Its id is not greater than the last.
    IdTooSmall,
    /// It fits into no node.
    TooLarge,
}

/// What happens to an entry that groups have pending, or have yet to read, when it is to be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// The entry goes, it stays pending.
    #[default]
    Keep,
    /// The entry goes and is no longer pending.
    Drop,
    /// The entry stays.
    Needed,
}

/// What became of an entry that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// There is no such entry.
    Missing,
    /// It was removed.
    Done,
    /// A group still needs it.
    Needed,
}

impl Stream {
    /// Makes an empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.extent.len
    }

    /// Tells whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.extent.len == 0
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    pub(crate) fn heap_size(&self) -> usize {
        size_of::<Stream>() + self.entries.heap_size() + self.group_bytes
    }

    /// Returns how far the stream reaches.
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Returns the id of the last entry there is.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range(StreamId::MIN..=StreamId::MAX, Direction::Descending).next().map(|entry| entry.id())
    }

    /// Returns an entry.
    pub fn entry(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.entries.find(id)
    }

    /// Walks the entries between two ids, both included.
    pub fn range(&self, ids: RangeInclusive<StreamId>, direction: Direction) -> StreamRange<'_> {
        self.entries.range(ids, direction)
    }

    /// Returns the size of a radix tree with the bases of all nodes as keys, as XINFO tells it: keys and nodes.
    pub fn tree_size(&self) -> (usize, usize) {
        let keys: Vec<_> = self.entries.bases().map(StreamId::to_key).collect();
        (keys.len(), tree_size::nodes(&keys))
    }

    /// Iterates over the nodes as dumps hold them: base id and packed block.
    pub(crate) fn blocks(&self) -> impl ExactSizeIterator<Item = (StreamId, &Packed)> {
        self.entries.blocks()
    }

    /// Adds an entry. Names and values alternate in `fields`.
    pub fn add(&mut self, id: StreamId, fields: &[&[u8]], limits: &Limits) -> Result<(), AddError> {
        if id <= self.extent.last_id {
            return Err(AddError::IdTooSmall);
        }
        if Entries::is_too_large(fields) {
            return Err(AddError::TooLarge);
        }
        self.entries.push(id, fields, limits);
        self.extent.entries_added += 1;
        self.extent.last_id = id;
        self.extent.len += 1;
        if self.extent.len == 1 {
            self.extent.first_id = id;
        }
        Ok(())
    }

    /// Removes an entry, unless a group needs it and `references` says that counts.
    pub fn remove(&mut self, id: StreamId, references: References) -> Removal {
        let needed = references == References::Needed && self.is_needed(id);
        if needed && self.entries.contains(id) {
            return Removal::Needed;
        }
        if references == References::Drop {
            self.drop_references(id);
        }
        if !self.entries.remove(id) {
            return Removal::Missing;
        }
        self.extent.max_deleted_id = self.extent.max_deleted_id.max(id);
        if id == self.extent.first_id {
            self.find_first();
        } else {
            self.extent.len = self.entries.len();
        }
        Removal::Done
    }

    /// Sets what the stream remembers of the past; the caller has checked that it fits the entries there are.
    pub fn set_past(&mut self, last_id: StreamId, entries_added: Option<u64>, max_deleted_id: Option<StreamId>) {
        self.extent.last_id = last_id;
        self.extent.entries_added = entries_added.unwrap_or(self.extent.entries_added);
        self.extent.max_deleted_id = max_deleted_id.unwrap_or(self.extent.max_deleted_id);
    }

    /// Brings length and first id up to date after a removal.
    fn find_first(&mut self) {
        self.extent.len = self.entries.len();
        let first = self.range(StreamId::MIN..=StreamId::MAX, Direction::Ascending).next();
        self.extent.first_id = first.map_or(StreamId::MIN, |entry| entry.id());
    }
}

/// Groups.
impl Stream {
    /// Returns the number of groups.
    pub fn groups_len(&self) -> usize {
        self.groups.len()
    }

    /// Iterates over the groups by name.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    /// Returns a group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// Opens a group for changes.
    pub fn open_group(&mut self, name: &[u8]) -> Option<OpenGroup<'_>> {
        OpenGroup::new(self, name)
    }

    /// Adds a group that has read up to an id; false if there is one of this name.
    pub fn create_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        let group = Group::new(last_id, entries_read);
        self.group_bytes += group.heap_size() + name.len() + GROUP_PLACE_BYTES;
        self.groups.insert(name.into(), Box::new(group));
        true
    }

    /// Removes a group; tells whether it was there.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.groups.remove(name) else { return false };
        self.group_bytes -= group.heap_size() + name.len() + GROUP_PLACE_BYTES;
        true
    }

    /// Tells whether a group has yet to read an entry, or to acknowledge it.
    pub fn is_needed(&self, id: StreamId) -> bool {
        self.groups.values().any(|group| group.needs(id))
    }

    /// Takes an id off the pending of all groups.
    fn drop_references(&mut self, id: StreamId) {
        for group in self.groups.values_mut() {
            let before = group.heap_size();
            group.acknowledge(id);
            self.group_bytes = self.group_bytes + group.heap_size() - before;
        }
    }
}

impl Typed for Stream {
    const CLASS: EventClass = EventClass::Stream;

    #[inline]
    fn of(object: &Object) -> Option<&Stream> {
        match object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    #[inline]
    fn of_mut(object: &mut Object) -> Option<&mut Stream> {
        match object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn empty() -> Stream {
        Stream::new()
    }

    fn into_object(self) -> Object {
        Object::Stream(Box::new(self))
    }

    /// A stream stays when its last entry goes: its ids go on, and it may have groups.
    #[inline]
    fn is_empty(&self) -> bool {
        false
    }

    #[inline]
    fn heap_size(&self) -> usize {
        Stream::heap_size(self)
    }
}
