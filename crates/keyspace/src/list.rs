//! Lists: one packed block while small, a deque of packed chunks beyond.
//!
//! `list-max-listpack-size` bounds the block, and later each chunk. A list outgrows the block when what a command adds, counted as bare text, would take
//! it past the bound; it returns to one block when removals leave a single chunk of at most half the bound, so that a list moving around
//! the bound does not change its form at every step.

use redpoll_structures::chunked_list::{self, ChunkLimit, ChunkedList};
use redpoll_structures::packed::{self, Item, Packed};

use crate::Limits;

/// A list.
#[derive(Clone, Debug)]
pub enum List {
    /// All elements in one block: OBJECT ENCODING says `listpack`.
    Packed(Packed),
    /// Several blocks: `quicklist`.
    Chunked(Box<ChunkedList>),
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// The head, index 0.
    Left,
    /// The tail, index -1.
    Right,
}

/// A side of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Toward the head.
    Before,
    /// Toward the tail.
    After,
}

impl List {
    /// Makes an empty list.
    pub fn new() -> List {
        List::Packed(Packed::new())
    }

    /// Returns the number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            List::Packed(packed) => packed.len(),
            List::Chunked(list) => list.len(),
        }
    }

    /// Tells whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            List::Packed(packed) => packed.is_empty(),
            List::Chunked(list) => list.is_empty(),
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            List::Packed(_) => "listpack",
            List::Chunked(_) => "quicklist",
        }
    }

    #[inline]
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            List::Packed(packed) => packed.heap_size(),
            List::Chunked(list) => size_of::<ChunkedList>() + list.heap_size(),
        }
    }

    /// Returns the element with this index, counted from the end if negative (-1 is the last).
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        match self {
            List::Packed(packed) => packed.seek(index).map(|at| packed.item(at)),
            List::Chunked(list) => list.get(index),
        }
    }

    /// Iterates over the elements from either end.
    pub fn iter(&self) -> ListIter<'_> {
        match self {
            List::Packed(packed) => ListIter::Packed(packed.iter()),
            List::Chunked(list) => ListIter::Chunked(list.iter()),
        }
    }

    /// Visits up to `count` elements from index `start` on.
    #[inline]
    pub fn visit(&self, start: usize, count: usize, visit: impl FnMut(Item<'_>)) {
        match self {
            List::Packed(packed) => {
                if let Some(at) = packed.seek(start as i64) {
                    packed.iter_from(at).take(count).for_each(visit);
                }
            }
            List::Chunked(list) => list.range(start, count).for_each(visit),
        }
    }

    /// Adds elements at an end, one after the other: the last one comes to stand outermost.
    #[inline]
    pub fn push(&mut self, end: ListEnd, values: &[&[u8]], limits: &Limits) {
        self.grow(values, limits);
        match (self, end) {
            (List::Packed(packed), ListEnd::Left) => values.iter().for_each(|value| packed.push_front(value)),
            (List::Packed(packed), ListEnd::Right) => values.iter().for_each(|value| packed.push_back(value)),
            (List::Chunked(list), ListEnd::Left) => values.iter().for_each(|value| list.push_front(value)),
            (List::Chunked(list), ListEnd::Right) => values.iter().for_each(|value| list.push_back(value)),
        }
    }

    /// Removes up to `count` elements from an end, having visited them from that end on; returns how many there were.
    #[inline]
    pub fn pop(&mut self, end: ListEnd, count: usize, limits: &Limits, mut visit: impl FnMut(Item<'_>)) -> usize {
        if let List::Packed(packed) = self
            && count == 1
        {
            let outermost = if end == ListEnd::Left { packed.first() } else { packed.last() };
            return outermost.map_or(0, |at| {
                visit(packed.item(at));
                packed.remove(at);
                1
            });
        }
        let len = self.len();
        let count = count.min(len);
        match end {
            ListEnd::Left => {
                self.visit(0, count, visit);
                self.trim(count, len - count, limits);
            }
            ListEnd::Right => {
                match self {
                    List::Packed(packed) => packed.iter().rev().take(count).for_each(visit),
                    List::Chunked(list) => list.range(len - count, count).rev().for_each(visit),
                }
                self.trim(0, len - count, limits);
            }
        }
        count
    }

    /// Keeps up to `count` elements from index `start` on and removes the others.
    pub fn trim(&mut self, start: usize, count: usize, limits: &Limits) {
        match self {
            List::Packed(packed) => {
                packed.remove_range(start.saturating_add(count), usize::MAX);
                packed.remove_range(0, start);
            }
            List::Chunked(list) => list.trim(start, count),
        }
        self.shrink(limits);
    }

    /// Replaces the element with this index; tells whether there is one.
    pub fn set(&mut self, index: i64, value: &[u8], limits: &Limits) -> bool {
        if self.get(index).is_none() {
            return false;
        }
        self.grow(&[value], limits);
        match self {
            List::Packed(packed) => {
                let at = packed.seek(index).expect("the element was just found");
                packed.replace(at, value);
            }
            List::Chunked(list) => {
                list.set(index, value);
            }
        }
        self.shrink(limits);
        true
    }

    /// Inserts an element beside the first one that is `pivot`; tells whether there is one.
    pub fn insert(&mut self, place: Place, pivot: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let List::Packed(packed) = self
            && packed.find(pivot, 0).is_none()
        {
            return false;
        }
        self.grow(&[value], limits);
        match (self, place) {
            (List::Packed(packed), place) => {
                let at = packed.find(pivot, 0).expect("the pivot was just found");
                match place {
                    Place::Before => packed.insert_before(at, value),
                    Place::After => packed.insert_after(at, value),
                };
                true
            }
            (List::Chunked(list), Place::Before) => list.insert_before_first(pivot, value),
            (List::Chunked(list), Place::After) => list.insert_after_first(pivot, value),
        }
    }

    /// Removes elements equal to `value`: all of them if `count` is 0, otherwise the first `count`, or the last `-count` if it is negative. Returns how
    /// many there were.
    pub fn remove_matching(&mut self, value: &[u8], count: i64, limits: &Limits) -> usize {
        let removed = match self {
            List::Packed(packed) => packed.remove_matching(value, count),
            List::Chunked(list) => list.remove_matching(value, count),
        };
        self.shrink(limits);
        removed
    }

    /// Prepares for these elements: gives up the single block if they would make it too large.
    #[inline]
    fn grow(&mut self, added: &[&[u8]], limits: &Limits) {
        let limit = ChunkLimit::from_setting(limits.list_max_listpack_size);
        match self {
            List::Packed(packed) => {
                let bytes = added.iter().map(|value| value.len()).sum::<usize>();
                if !limit.admits(packed.byte_len() + bytes, packed.len() + added.len()) {
                    let packed = std::mem::take(packed);
                    *self = List::Chunked(Box::new(ChunkedList::from_packed(packed, limit)));
                }
            }
            List::Chunked(list) => list.set_limit(limit),
        }
    }

    /// Returns to a single block if there is one chunk left of at most half the limit.
    #[inline]
    fn shrink(&mut self, limits: &Limits) {
        let List::Chunked(list) = self else { return };
        let mut chunks = list.chunks();
        let (Some(only), None) = (chunks.next(), chunks.next()) else { return };
        let small = match ChunkLimit::from_setting(limits.list_max_listpack_size) {
            ChunkLimit::Bytes(limit) => only.byte_len() <= limit / 2,
            ChunkLimit::Entries(limit) => only.len() <= limit / 2,
        };
        if small {
            drop(chunks);
            let only = std::mem::take(&mut **list).into_packed().expect("there is one chunk");
            *self = List::Packed(only);
        }
    }
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

/// The elements of a list, from either end.
#[derive(Clone)]
pub enum ListIter<'a> {
    /// Of a single block.
    Packed(packed::Iter<'a>),
    /// Of several.
    Chunked(chunked_list::Iter<'a>),
}

impl<'a> Iterator for ListIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            ListIter::Packed(items) => items.next(),
            ListIter::Chunked(items) => items.next(),
        }
    }
}

impl DoubleEndedIterator for ListIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            ListIter::Packed(items) => items.next_back(),
            ListIter::Chunked(items) => items.next_back(),
        }
    }
}

#[cfg(test)]
mod tests;
