//! Any number of fields of which some have deadlines: a table of records that carry them, and an index in the order of time.
//!
//! A table is too large to be walked whenever something in it is due, so the deadlines stand in order beside it, each with the hash of the field it belongs to:
//! what expires next is the first, and removing what has expired costs as much as there is of it. Several fields may share deadline and hash; they share
//! an element of the index, which goes with the last of them.

use std::collections::BTreeSet;

use super::is_due;
use crate::Millis;
use crate::member_table::{Member, MemberTable};

/// What an element of the index takes on the heap, about: two words in nodes that are a little more than half full.
const INDEX_BYTES: usize = 32;

/// Fields with values and deadlines.
#[derive(Clone, Debug)]
pub struct VolatileTable {
    table: MemberTable,
    /// Deadlines, each with the hash of its field.
    deadlines: BTreeSet<(Millis, u64)>,
}

impl VolatileTable {
    /// Takes over a table of which no member has a deadline.
    pub(crate) fn new(table: MemberTable) -> VolatileTable {
        VolatileTable { table, deadlines: BTreeSet::new() }
    }

    /// Returns the fields.
    pub fn table(&self) -> &MemberTable {
        &self.table
    }

    pub(crate) fn heap_size(&self) -> usize {
        size_of::<VolatileTable>() + self.table.heap_size() + self.deadlines.len() * INDEX_BYTES
    }

    /// Returns a field that is there and whose time has not come.
    #[inline]
    pub(crate) fn find(&self, field: &[u8], now: Millis) -> Option<&Member> {
        self.table.find(field).filter(|member| !is_due(member.deadline(), now))
    }

    /// Sets a field, which keeps its deadline if it has one; tells whether it is new.
    #[inline]
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.table.set(field, value)
    }

    /// Removes a field; tells whether it was there.
    pub(crate) fn remove(&mut self, field: &[u8]) -> bool {
        let Some(member) = self.table.remove(field) else { return false };
        if let Some(deadline) = member.deadline() {
            self.forget(deadline, self.table.hash(field));
        }
        true
    }

    /// Gives a field a deadline or takes it away; nothing if there is no such field.
    pub(crate) fn set_deadline(&mut self, field: &[u8], deadline: Option<Millis>) {
        let Some(before) = self.table.set_deadline(field, deadline) else { return };
        if before == deadline {
            return;
        }
        let hash = self.table.hash(field);
        if let Some(before) = before {
            self.forget(before, hash);
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, hash));
        }
    }

    /// Takes a deadline out of the index, unless another field shares it.
    fn forget(&mut self, deadline: Millis, hash: u64) {
        if !self.table.has_deadline(hash, deadline) {
            self.deadlines.remove(&(deadline, hash));
        }
    }

    /// Returns the soonest deadline.
    #[inline]
    pub(crate) fn soonest(&self) -> Option<Millis> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Tells whether a field has a deadline after one time and not after another.
    pub(crate) fn expires_between(&self, after: Millis, until: Millis) -> bool {
        let begin = (after.saturating_add(1), 0);
        after < until && self.deadlines.range(begin..=(until, u64::MAX)).next().is_some()
    }

    /// Removes fields whose time has come, at most `max`, and shows each; returns how many.
    pub(crate) fn reap(&mut self, now: Millis, max: usize, gone: &mut impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < max
            && let Some((deadline, hash)) = self.deadlines.first().copied()
            && deadline <= now
        {
            match self.table.remove_by_deadline(hash, deadline) {
                Some(member) => {
                    gone(member.key());
                    count += 1;
                    self.forget(deadline, hash);
                }
                None => drop(self.deadlines.pop_first()),
            }
        }
        count
    }
}
