//! Hashes: one packed block of field, value, field, value, … while small, a table of field records beyond.

use std::convert::Infallible;

use redpoll_structures::packed::Packed;
use redpoll_structures::record::Record;
use redpoll_structures::table::Table;

/// A field with its value in one record; its deadline will be the field's TTL.
type Field = Record<Infallible>;

/// A hash.
#[derive(Clone, Debug)]
pub enum Hash {
    /// Few short fields: OBJECT ENCODING says `listpack`.
    Packed(Packed),
    /// Any fields: `hashtable`.
    Table(Box<Table<Field>>),
}

impl Hash {
    /// Makes an empty hash.
    pub fn new() -> Hash {
        Hash::Packed(Packed::new())
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(packed) => packed.len() / 2,
            Hash::Table(table) => table.len(),
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Hash::Packed(_) => "listpack",
            Hash::Table(_) => "hashtable",
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Hash::Packed(packed) => packed.heap_size(),
            Hash::Table(table) => {
                size_of::<Table<Field>>() + table.heap_size() + table.iter().map(Record::heap_size).sum::<usize>()
            }
        }
    }
}
