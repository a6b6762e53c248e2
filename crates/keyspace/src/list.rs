//! Lists: one packed block while small, a deque of packed chunks beyond.

use redpoll_structures::chunked_list::ChunkedList;
use redpoll_structures::packed::Packed;

/// A list.
#[derive(Clone, Debug)]
pub enum List {
    /// All elements in one block: OBJECT ENCODING says `listpack`.
    Packed(Packed),
    /// Several blocks: `quicklist`.
    Chunked(Box<ChunkedList>),
}

impl List {
    /// Makes an empty list.
    pub fn new() -> List {
        List::Packed(Packed::new())
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Packed(packed) => packed.len(),
            List::Chunked(list) => list.len(),
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            List::Packed(_) => "listpack",
            List::Chunked(_) => "quicklist",
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        match self {
            List::Packed(packed) => packed.heap_size(),
            List::Chunked(list) => size_of::<ChunkedList>() + list.heap_size(),
        }
    }
}
