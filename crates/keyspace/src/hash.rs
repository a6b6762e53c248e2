//! Hashes: one packed block of field, value, field, value, … while small, a table of field records beyond.
//!
//! A hash leaves its packed form when it has more than `hash-max-listpack-entries` fields, when a field or value is longer than
//! `hash-max-listpack-value`, or when one command brings more pairs than would fit, and never returns to it. Values come out as the text that went in,
//! whichever form holds them.
//!
//! ```text
//!   Packed ───► Table            no field has ever had a deadline
//!     │           │
//!     ▼           ▼
//!   VolatilePacked ► VolatileTable      some may have
//! ```
//!
//! A field that is given a deadline brings its hash into a volatile form, which the hash keeps; all others pay nothing for there being deadlines. A field whose
//! time has come is not found any more, but it is still there, and counted, until somebody takes it away: whoever asked for it by name, or a sweep
//! ([`Hash::reap`]). So it is in Redis, where also setting such a field does not make it a new one, and removing it counts.

#[cfg(test)]
mod deadline_tests;
mod forms;
#[cfg(test)]
mod tests;
mod triples;
mod volatile_table;

use redpoll_structures::packed::{Item, Packed};

pub use forms::HashIter;
pub use triples::Triples;
pub use volatile_table::VolatileTable;

use crate::member_table::{Member, MemberTable, Selection, below, value};
use crate::{Limits, Millis};

/// A hash.
#[derive(Clone, Debug)]
pub enum Hash {
    /// Few short fields: OBJECT ENCODING says `listpack`.
    Packed(Packed),
    /// Any fields: `hashtable`.
    Table(Box<MemberTable>),
    /// Few short fields with deadlines: `listpackex`.
    VolatilePacked(Triples),
    /// Any fields with deadlines: `hashtable`.
    VolatileTable(Box<VolatileTable>),
}

impl Hash {
    /// Makes an empty hash.
    pub fn new() -> Hash {
        Hash::Packed(Packed::new())
    }

    /// Returns the number of fields, those included whose time has come.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(packed) => packed.len() / 2,
            Hash::Table(table) => table.len(),
            Hash::VolatilePacked(triples) => triples.len(),
            Hash::VolatileTable(table) => table.table().len(),
        }
    }

    /// Returns the number of fields whose time has not come: a walk, if that of any has.
    #[inline]
    pub fn live_len(&self, now: Millis) -> usize {
        if self.is_due(now) { self.iter(now).count() } else { self.len() }
    }

    /// Tells whether there are no fields.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Hash::Packed(packed) => packed.is_empty(),
            _ => self.len() == 0,
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Hash::Packed(_) => "listpack",
            Hash::VolatilePacked(_) => "listpackex",
            Hash::Table(_) | Hash::VolatileTable(_) => "hashtable",
        }
    }

    #[inline]
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Hash::Packed(packed) => packed.heap_size(),
            Hash::Table(table) => size_of::<MemberTable>() + table.heap_size(),
            Hash::VolatilePacked(triples) => triples.packed().heap_size(),
            Hash::VolatileTable(table) => table.heap_size(),
        }
    }

    /// Returns the block of a hash in a packed form.
    pub fn as_packed(&self) -> Option<&Packed> {
        match self {
            Hash::Packed(packed) => Some(packed),
            Hash::VolatilePacked(triples) => Some(triples.packed()),
            Hash::Table(_) | Hash::VolatileTable(_) => None,
        }
    }

    /// Returns the table of a hash in the form of one.
    pub fn as_table(&self) -> Option<&MemberTable> {
        match self {
            Hash::Table(table) => Some(table),
            Hash::VolatileTable(table) => Some(table.table()),
            Hash::Packed(_) | Hash::VolatilePacked(_) => None,
        }
    }

    /// Returns the value of a field.
    #[inline]
    pub fn get(&self, field: &[u8], now: Millis) -> Option<Item<'_>> {
        match self {
            Hash::Packed(packed) => {
                let at = packed.find(field, 1)?;
                Some(packed.item(packed.next(at).expect("every field has a value")))
            }
            Hash::Table(table) => table.find(field).map(value),
            Hash::VolatilePacked(_) | Hash::VolatileTable(_) => self.find_volatile(field, now).map(|(value, _)| value),
        }
    }

    /// Tells whether a field exists.
    #[inline]
    pub fn contains(&self, field: &[u8], now: Millis) -> bool {
        match self {
            Hash::Packed(packed) => packed.find(field, 1).is_some(),
            Hash::Table(table) => table.find(field).is_some(),
            Hash::VolatilePacked(_) | Hash::VolatileTable(_) => self.find_volatile(field, now).is_some(),
        }
    }

    /// Sets a field, whose deadline goes away; tells whether it is new. `seed` must be secret, it goes into the hash function of a table.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits, seed: u64) -> bool {
        if let Hash::Packed(packed) = self
            && field.len().max(value.len()) <= limits.hash_max_listpack_value
            && packed.would_fit(field.len() + value.len() + 2 * Packed::MAX_OVERHEAD)
        {
            let (found, len) = (packed.find(field, 1), packed.len() / 2);
            if len + usize::from(found.is_none()) <= limits.hash_max_listpack_entries {
                match found {
                    None => packed.insert_pair(None, field, value),
                    Some(at) => packed.replace(packed.next(at).expect("every field has a value"), value),
                };
                return found.is_none();
            }
        }
        if let Hash::VolatilePacked(_) | Hash::VolatileTable(_) = self {
            let is_new = self.set_volatile(field, value, limits, seed);
            if !is_new {
                self.clear_deadline(field);
            }
            return is_new;
        }
        self.table(seed).set(field, value)
    }

    /// Sets a field, which keeps its deadline if it has one; tells whether it is new.
    pub fn set_keeping_deadline(&mut self, field: &[u8], value: &[u8], limits: &Limits, seed: u64) -> bool {
        match self {
            Hash::Packed(_) | Hash::Table(_) => self.set(field, value, limits, seed),
            Hash::VolatilePacked(_) | Hash::VolatileTable(_) => self.set_volatile(field, value, limits, seed),
        }
    }

    /// Prepares for so many fields that may all be new: a hash they would make too large for the packed form becomes a table at once.
    #[inline]
    pub fn reserve(&mut self, fields: usize, limits: &Limits, seed: u64) {
        if fields > limits.hash_max_listpack_entries && matches!(self, Hash::Packed(_)) {
            self.table(seed).reserve(fields);
        }
    }

    /// Removes a field; tells whether it was there.
    #[inline]
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Hash::Packed(packed) => packed.find(field, 1).map(|at| packed.remove_pair(at)).is_some(),
            Hash::Table(table) => table.remove(field).is_some(),
            Hash::VolatilePacked(triples) => triples.remove(field),
            Hash::VolatileTable(table) => table.remove(field),
        }
    }

    /// Visits some fields, about `count`, from a cursor on and returns the cursor to go on from; zero begins and zero ends. A packed hash is visited
    /// as a whole.
    pub fn scan(&self, cursor: u64, count: usize, now: Millis, mut visit: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        let mut member = |member: &Member| visit(Item::Str(member.key()), value(member));
        match self {
            Hash::Table(table) => table.scan(cursor, count, member),
            Hash::VolatileTable(table) => table.table().scan(cursor, count, |found| {
                if !is_due(found.deadline(), now) {
                    member(found);
                }
            }),
            Hash::Packed(_) | Hash::VolatilePacked(_) => {
                self.iter(now).for_each(|(field, value)| visit(field, value));
                0
            }
        }
    }

    /// Visits `count` fields chosen at random, each independently of the others; none of an empty hash. It is a walk if the time of any has come.
    pub fn choose(
        &self,
        count: usize,
        now: Millis,
        mut random: impl FnMut() -> u64,
        mut visit: impl FnMut(Item<'_>, Item<'_>),
    ) {
        match self {
            Hash::Packed(packed) if count == 1 => {
                let index = 2 * below(random(), self.len()) as i64;
                if let Some(at) = packed.seek(index) {
                    visit(packed.item(at), packed.item(packed.next(at).expect("every field has a value")));
                }
            }
            Hash::Table(_) | Hash::VolatileTable(_) if !self.is_due(now) => {
                let table = self.as_table().expect("it is one");
                for member in (0..count).filter_map(|_| table.random(random())) {
                    visit(Item::Str(member.key()), value(member));
                }
            }
            _ => {
                let pairs: Vec<_> = self.iter(now).collect();
                let count = if pairs.is_empty() { 0 } else { count };
                for _ in 0..count {
                    let (field, value) = pairs[below(random(), pairs.len())];
                    visit(field, value);
                }
            }
        }
    }

    /// Visits `count` different fields chosen at random, all of them if there are no more. It is a walk if the time of any has come.
    pub fn sample(
        &self,
        count: usize,
        now: Millis,
        mut random: impl FnMut() -> u64,
        mut visit: impl FnMut(Item<'_>, Item<'_>),
    ) {
        if let Some(table) = self.as_table().filter(|_| !self.is_due(now)) {
            return table.sample(count, random, |member| visit(Item::Str(member.key()), value(member)));
        }
        let mut selection = Selection::new(count, self.live_len(now));
        self.iter(now).filter(|_| selection.takes(&mut random)).for_each(|(field, value)| visit(field, value));
    }

    /// Returns the table, into which a packed hash is turned. The hash must not be volatile.
    #[inline]
    fn table(&mut self, seed: u64) -> &mut MemberTable {
        if let Hash::Packed(packed) = self {
            *self = Hash::Table(Box::new(forms::unpack(packed, seed)));
        }
        match self {
            Hash::Table(table) => table,
            _ => unreachable!("it was just turned into a table, or is volatile"),
        }
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

/// Tells whether a field of this deadline is gone: its time has come.
#[inline]
fn is_due(deadline: Option<Millis>, now: Millis) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}
