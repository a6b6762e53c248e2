//! Consumer groups: how far a group has read, and what its members have been given but not acknowledged.
//!
//! ```text
//!   Group ── last id, entries read
//!     ├ pending    id ──► who has it, since when, how many times delivered
//!     └ consumers  name ──► number ──► Consumer ── seen, active, ids pending with it
//! ```
//!
//! Every pending id stands twice, in the group's list and in that of the one consumer who has it. A group does not look at entries: an id can be pending
//! whose entry was removed since. What needs both (delivering, claiming) is in `delivery.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::StreamId;
use crate::Millis;

/// What a pending id takes in both lists, bytes: two places in trees about two thirds full.
const PENDING_BYTES: usize = 88;
/// What a consumer takes beside its name, bytes.
const CONSUMER_BYTES: usize = 160;

/// The number of a consumer in its group. It is given to another consumer only after this one was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerNumber(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who has it.
    pub consumer: ConsumerNumber,
    /// When it was delivered last.
    pub delivered_at: Millis,
    /// How many times it was delivered.
    pub deliveries: u64,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it asked for something last.
    pub seen_at: Millis,
    /// When it was given something last.
    pub active_at: Option<Millis>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Returns the name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns how many ids are pending with it.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Iterates over the ids pending with it between two ids, in order.
    pub fn pending(&self, ids: RangeInclusive<StreamId>) -> impl Iterator<Item = StreamId> {
        (!ids.is_empty()).then(|| self.pending.range(ids)).into_iter().flatten().copied()
    }
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The greatest id that was delivered.
    pub last_id: StreamId,
    /// How many entries were delivered, counted from the first ever added; unknown after the group was set to an arbitrary id.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    names: BTreeMap<Box<[u8]>, u32>,
    consumers: Vec<Option<Consumer>>,
    name_bytes: usize,
}

impl Group {
    pub(super) fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        let (pending, names, consumers) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Group { last_id, entries_read, pending, names, consumers, name_bytes: 0 }
    }

    pub(super) fn heap_size(&self) -> usize {
        size_of::<Group>()
            + self.pending.len() * PENDING_BYTES
            + self.consumers.len() * CONSUMER_BYTES
            + self.name_bytes
    }

    /// Returns how many ids are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Iterates over what is pending between two ids, in order.
    pub fn pending(&self, ids: RangeInclusive<StreamId>) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        (!ids.is_empty()).then(|| self.pending.range(ids)).into_iter().flatten().map(|(id, pending)| (*id, pending))
    }

    /// Returns what is known of a pending id.
    pub fn pending_of(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// Returns the number of consumers.
    pub fn consumers_len(&self) -> usize {
        self.names.len()
    }

    /// Iterates over the consumers by name.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.values().filter_map(|number| self.consumers[*number as usize].as_ref())
    }

    /// Finds a consumer.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.names.get(name).copied().map(ConsumerNumber)
    }

    /// Returns a consumer of this group.
    pub fn consumer(&self, number: ConsumerNumber) -> &Consumer {
        self.consumers[number.0 as usize].as_ref().expect("numbers are of consumers that exist")
    }

    /// Returns a consumer of this group for changing its times.
    pub fn consumer_mut(&mut self, number: ConsumerNumber) -> &mut Consumer {
        self.consumers[number.0 as usize].as_mut().expect("numbers are of consumers that exist")
    }

    /// Adds a consumer; `None` if there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], now: Millis) -> Option<ConsumerNumber> {
        if self.names.contains_key(name) {
            return None;
        }
        let consumer = Consumer { name: name.into(), seen_at: now, active_at: None, pending: BTreeSet::new() };
        // Places are free only where a consumer was removed.
        let is_full = self.names.len() == self.consumers.len();
        let free = if is_full { None } else { self.consumers.iter().position(Option::is_none) };
        let free = free.unwrap_or(self.consumers.len());
        let number = u32::try_from(free).expect("consumers of 160 bytes each do not number billions");
        match self.consumers.get_mut(free) {
            Some(place) => *place = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        self.names.insert(name.into(), number);
        self.name_bytes += 2 * name.len();
        Some(ConsumerNumber(number))
    }

    /// Removes a consumer with everything that was pending with it; returns how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.names.remove(name)?;
        let consumer = self.consumers[number as usize].take()?;
        self.name_bytes -= 2 * name.len();
        consumer.pending.iter().for_each(|id| _ = self.pending.remove(id));
        Some(consumer.pending.len())
    }

    /// Takes an id off the pending; tells whether it was there.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.consumer_mut(pending.consumer).pending.remove(&id);
        true
    }

    /// Makes an id pending, or changes what is known of one that is.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending.insert(id, pending);
        if let Some(before) = before
            && before.consumer != pending.consumer
        {
            self.consumer_mut(before.consumer).pending.remove(&id);
        }
        self.consumer_mut(pending.consumer).pending.insert(id);
    }

    /// Tells whether the group has not been given an entry yet, or has not acknowledged it.
    pub(super) fn needs(&self, id: StreamId) -> bool {
        id > self.last_id || self.pending.contains_key(&id)
    }
}
