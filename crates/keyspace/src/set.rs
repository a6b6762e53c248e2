//! Sets: sorted integers or one packed block while small, a table of member records beyond.

use std::convert::Infallible;

use redpoll_structures::int_set::IntSet;
use redpoll_structures::packed::Packed;
use redpoll_structures::record::Record;
use redpoll_structures::table::Table;

/// A member of a large set: a record without a value.
type Member = Record<Infallible>;

/// A set.
#[derive(Clone, Debug)]
pub enum Set {
    /// Integers only: OBJECT ENCODING says `intset`.
    Ints(IntSet),
    /// Few short members: `listpack`.
    Packed(Packed),
    /// Any members: `hashtable`.
    Table(Box<Table<Member>>),
}

impl Set {
    /// Makes an empty set.
    pub fn new() -> Set {
        Set::Ints(IntSet::new())
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(packed) => packed.len(),
            Set::Table(table) => table.len(),
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Set::Ints(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.heap_size(),
            Set::Packed(packed) => packed.heap_size(),
            Set::Table(table) => {
                size_of::<Table<Member>>() + table.heap_size() + table.iter().map(Record::heap_size).sum::<usize>()
            }
        }
    }
}
