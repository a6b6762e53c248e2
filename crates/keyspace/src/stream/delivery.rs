//! Handing entries to the members of a group: what needs the group and the entries at once.
//!
//! Delivering moves the group on and makes entries pending; claiming hands pending ones to another consumer. Both visit what they hand over, so that a
//! reply can be written without copying. A pending id whose entry was removed meanwhile is dropped when somebody tries to claim it.

use std::ops::RangeInclusive;

use super::entries::Entries;
use super::{ConsumerNumber, Extent, Group, Pending, Stream, StreamEntry, StreamId, StreamRange};
use crate::{Direction, Millis};

/// A group, opened for changes beside the entries of its stream.
pub struct OpenGroup<'a> {
    group: &'a mut Group,
    entries: &'a Entries,
    extent: Extent,
    group_bytes: &'a mut usize,
    bytes_before: usize,
}

/// Whether delivered entries become pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// They stay pending until they are acknowledged.
    Awaited,
    /// They count as acknowledged at once.
    Waived,
}

/// How a claim changes what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who takes it.
    pub consumer: ConsumerNumber,
    /// Only what was delivered this long ago, milliseconds.
    pub min_idle: Millis,
    /// What is to be known as the time of delivery.
    pub delivered_at: Millis,
    /// What is to be known as the number of deliveries; `None` counts one more.
    pub deliveries: Option<u64>,
    /// Counts no delivery where `deliveries` does not say otherwise.
    pub uncounted: bool,
    /// Takes also what is not pending at all.
    pub force: bool,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The entry has changed hands.
    Taken(Pending),
    /// The entry was gone, so it is no longer pending; this is what was known of it.
    Gone(Pending),
    /// Nothing happened: not pending, or not for long enough.
    Left,
}

impl<'a> OpenGroup<'a> {
    pub(super) fn new(stream: &'a mut Stream, name: &[u8]) -> Option<OpenGroup<'a>> {
        let Stream { extent, entries, groups, group_bytes } = stream;
        let group = groups.get_mut(name)?;
        let bytes_before = group.heap_size();
        Some(OpenGroup { group, entries, extent: *extent, group_bytes, bytes_before })
    }

    /// Returns an entry of the stream.
    pub fn entry(&self, id: StreamId) -> Option<StreamEntry<'a>> {
        self.entries.find(id)
    }

    /// Walks entries of the stream.
    pub fn entries(&self, ids: RangeInclusive<StreamId>) -> StreamRange<'a> {
        self.entries.range(ids, Direction::Ascending)
    }

    /// Delivers entries that come after what the group has read, at most `count`, and shows each with what is known of it if it is pending from now on.
    /// Returns how many there were.
    pub fn deliver(
        &mut self,
        consumer: ConsumerNumber,
        count: usize,
        acknowledgement: Acknowledgement,
        now: Millis,
        mut visit: impl FnMut(&StreamEntry<'_>, Option<Pending>),
    ) -> usize {
        let Some(start) = self.group.last_id.next() else { return 0 };
        let mut delivered = 0;
        for entry in self.entries.range(start..=StreamId::MAX, Direction::Ascending).take(count) {
            self.read_up_to(entry.id());
            let pending = (acknowledgement == Acknowledgement::Awaited).then(|| {
                let pending = Pending { consumer, delivered_at: now, deliveries: 1 };
                self.group.assign(entry.id(), pending);
                self.group.consumer_mut(consumer).active_at = Some(now);
                pending
            });
            visit(&entry, pending);
            delivered += 1;
        }
        delivered
    }

    /// Delivers once more what is pending with a consumer, between two ids, at most `count`. Of entries that are gone only the id is shown.
    pub fn redeliver(
        &mut self,
        consumer: ConsumerNumber,
        ids: RangeInclusive<StreamId>,
        count: usize,
        now: Millis,
        mut visit: impl FnMut(StreamId, Option<&StreamEntry<'_>>),
    ) -> usize {
        let ids: Vec<StreamId> = self.group.consumer(consumer).pending(ids).take(count).collect();
        for id in &ids {
            let entry = self.entries.find(*id);
            if let (Some(_), Some(pending)) = (&entry, self.group.pending_of(*id)) {
                let deliveries = pending.deliveries.saturating_add(1);
                self.group.assign(*id, Pending { consumer, delivered_at: now, deliveries });
            }
            visit(*id, entry.as_ref());
        }
        ids.len()
    }

    /// Claims one id at time `now`.
    pub fn claim(&mut self, id: StreamId, claim: &Claim, now: Millis) -> Claimed {
        let known = self.group.pending_of(id).copied();
        if !self.entries.contains(id) {
            return match known {
                Some(pending) => {
                    self.group.acknowledge(id);
                    Claimed::Gone(pending)
                }
                None => Claimed::Left,
            };
        }
        let before = match known {
            Some(pending) if now.saturating_sub(pending.delivered_at) < claim.min_idle => return Claimed::Left,
            Some(pending) => pending.deliveries,
            None if claim.force => 1,
            None => return Claimed::Left,
        };
        let counted = before.saturating_add(u64::from(!claim.uncounted));
        let deliveries = claim.deliveries.unwrap_or(counted);
        let pending = Pending { consumer: claim.consumer, delivered_at: claim.delivered_at, deliveries };
        self.group.assign(id, pending);
        self.group.consumer_mut(claim.consumer).active_at = Some(now);
        Claimed::Taken(pending)
    }

    /// Notes that an entry was delivered.
    fn read_up_to(&mut self, id: StreamId) {
        match self.group.entries_read {
            Some(read) if !self.extent.has_tombstones_from(id) => self.group.entries_read = Some(read + 1),
            _ => self.group.entries_read = self.extent.entries_up_to(id),
        }
        self.group.last_id = id;
    }
}

impl std::ops::Deref for OpenGroup<'_> {
    type Target = Group;

    fn deref(&self) -> &Group {
        self.group
    }
}

impl std::ops::DerefMut for OpenGroup<'_> {
    fn deref_mut(&mut self) -> &mut Group {
        self.group
    }
}

impl Drop for OpenGroup<'_> {
    /// The size of the stream follows.
    fn drop(&mut self) {
        *self.group_bytes = *self.group_bytes + self.group.heap_size() - self.bytes_before;
    }
}
