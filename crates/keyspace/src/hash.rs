//! Hashes: one packed block of field, value, field, value, … while small, a table of field records beyond.
//!
//! A hash leaves its packed form when it has more than `hash-max-listpack-entries` fields, when a field or value is longer than
//! `hash-max-listpack-value`, or when one command brings more pairs than would fit, and never returns to it. Values come out as the text that went in,
//! whichever form holds them.

use redpoll_structures::packed::{Item, Packed, Pairs};
use redpoll_structures::table;

use crate::Limits;
use crate::member_table::{Member, MemberTable, Selection, below, value};

/// A hash.
#[derive(Clone, Debug)]
pub enum Hash {
    /// Few short fields: OBJECT ENCODING says `listpack`.
    Packed(Packed),
    /// Any fields: `hashtable`. The deadline of a record is reserved for the field's TTL.
    Table(Box<MemberTable>),
}

impl Hash {
    /// Makes an empty hash.
    pub fn new() -> Hash {
        Hash::Packed(Packed::new())
    }

    /// Returns the number of fields.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(packed) => packed.len() / 2,
            Hash::Table(table) => table.len(),
        }
    }

    /// Tells whether there are no fields.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Hash::Packed(packed) => packed.is_empty(),
            Hash::Table(table) => table.is_empty(),
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Hash::Packed(_) => "listpack",
            Hash::Table(_) => "hashtable",
        }
    }

    #[inline]
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Hash::Packed(packed) => packed.heap_size(),
            Hash::Table(table) => size_of::<MemberTable>() + table.heap_size(),
        }
    }

    /// Returns the value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match self {
            Hash::Packed(packed) => {
                let at = packed.find(field, 1)?;
                Some(packed.item(packed.next(at).expect("every field has a value")))
            }
            Hash::Table(table) => table.find(field).map(value),
        }
    }

    /// Tells whether a field exists.
    #[inline]
    pub fn contains(&self, field: &[u8]) -> bool {
        match self {
            Hash::Packed(packed) => packed.find(field, 1).is_some(),
            Hash::Table(table) => table.find(field).is_some(),
        }
    }

    /// Iterates over fields and values: in order of insertion while packed, in no particular order beyond.
    pub fn iter(&self) -> HashIter<'_> {
        HashIter(match self {
            Hash::Packed(packed) => Inner::Packed(packed.pairs()),
            Hash::Table(table) => Inner::Table(table.iter()),
        })
    }

    /// Sets a field; tells whether it is new. `seed` must be secret, it goes into the hash function of a table.
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
        self.table(seed).set(field, value)
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
        }
    }

    /// Visits some fields, about `count`, from a cursor on and returns the cursor to go on from; zero begins and zero ends. A packed hash is visited
    /// as a whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>, Item<'_>)) -> u64 {
        match self {
            Hash::Packed(packed) => {
                packed.pairs().for_each(|(field, value)| visit(field, value));
                0
            }
            Hash::Table(table) => table.scan(cursor, count, |member| visit(Item::Str(member.key()), value(member))),
        }
    }

    /// Visits `count` fields chosen at random, each independently of the others; none of an empty hash.
    pub fn choose(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(Item<'_>, Item<'_>)) {
        match self {
            Hash::Packed(packed) if count == 1 => {
                let index = 2 * below(random(), self.len()) as i64;
                if let Some(at) = packed.seek(index) {
                    visit(packed.item(at), packed.item(packed.next(at).expect("every field has a value")));
                }
            }
            Hash::Packed(packed) if !packed.is_empty() => {
                let pairs: Vec<_> = packed.pairs().collect();
                for _ in 0..count {
                    let (field, value) = pairs[below(random(), pairs.len())];
                    visit(field, value);
                }
            }
            Hash::Packed(_) => {}
            Hash::Table(table) => {
                for member in (0..count).filter_map(|_| table.random(random())) {
                    visit(Item::Str(member.key()), value(member));
                }
            }
        }
    }

    /// Visits `count` different fields chosen at random, all of them if there are no more.
    pub fn sample(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(Item<'_>, Item<'_>)) {
        match self {
            Hash::Packed(packed) => {
                let mut selection = Selection::new(count, self.len());
                let chosen = packed.pairs().filter(|_| selection.takes(&mut random));
                chosen.for_each(|(field, value)| visit(field, value));
            }
            Hash::Table(table) => table.sample(count, random, |member| visit(Item::Str(member.key()), value(member))),
        }
    }

    /// Returns the table, into which a packed hash is turned.
    #[inline]
    fn table(&mut self, seed: u64) -> &mut MemberTable {
        if let Hash::Packed(packed) = self {
            *self = Hash::Table(Box::new(unpack(packed, seed)));
        }
        match self {
            Hash::Table(table) => table,
            Hash::Packed(_) => unreachable!("it was just turned into a table"),
        }
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

#[cold]
fn unpack(packed: &Packed, seed: u64) -> MemberTable {
    let mut table = MemberTable::new(seed);
    table.reserve(packed.len() / 2 + 1);
    let (mut name, mut text) = ([0; 20], [0; 20]);
    for (field, value) in packed.pairs() {
        table.set(field.text(&mut name), value.text(&mut text));
    }
    table
}

/// The fields of a hash with their values.
pub struct HashIter<'a>(Inner<'a>);

enum Inner<'a> {
    Packed(Pairs<'a>),
    Table(table::Iter<'a, Member>),
}

impl<'a> Iterator for HashIter<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Packed(pairs) => pairs.next(),
            Inner::Table(members) => members.next().map(pair),
        }
    }

    /// The form is looked at once, not at every field.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, fold: F) -> B {
        match self.0 {
            Inner::Packed(pairs) => pairs.fold(init, fold),
            Inner::Table(members) => members.map(pair).fold(init, fold),
        }
    }
}

#[inline]
fn pair(member: &Member) -> (Item<'_>, Item<'_>) {
    (Item::Str(member.key()), value(member))
}

#[cfg(test)]
mod tests;
