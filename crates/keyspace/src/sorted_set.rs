//! Sorted sets: one packed block of member, score, member, score, … in order while small, a ranked map beyond.

use redpoll_structures::packed::Packed;
use redpoll_structures::ranked_map::RankedMap;

/// A sorted set.
#[derive(Clone, Debug)]
pub enum SortedSet {
    /// Few short members: OBJECT ENCODING says `listpack`.
    Packed(Packed),
    /// Any members: `skiplist`, as clients know it.
    Ranked(Box<RankedMap>),
}

impl SortedSet {
    /// Makes an empty sorted set.
    pub fn new() -> SortedSet {
        SortedSet::Packed(Packed::new())
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        match self {
            SortedSet::Packed(packed) => packed.len() / 2,
            SortedSet::Ranked(map) => map.len(),
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            SortedSet::Packed(_) => "listpack",
            SortedSet::Ranked(_) => "skiplist",
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        match self {
            SortedSet::Packed(packed) => packed.heap_size(),
            SortedSet::Ranked(map) => size_of::<RankedMap>() + map.heap_size(),
        }
    }
}
