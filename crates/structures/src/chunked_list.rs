//! A long list: a deque of packed sequences.
//!
//! ```text
//!   ChunkedList ─► [ len │ packed ─► 8 KB listpack ][ len │ packed ─► … ][ … ]
//! ```
//!
//! Both ends are O(1), elements cost two bytes more than their text, and reaching the middle walks over chunk lengths,
//! which stand next to each other in memory, and then through one chunk. A [`ChunkLimit`] bounds the chunks and so the
//! bytes one change can move. An element that is larger than the limit has a chunk of its own.
//!
//! Chunks are never empty. A change in the middle may split a chunk; neighbours that have become small are merged, but
//! only to three quarters of the limit, so that adding and removing at one place does not split and merge for ever.
//! Taking elements from the ends merges only the last
//! two chunks: any other is about to vanish anyway.
//!
//! Chunks are listpacks so that RDB files can hold them as they are ([`ChunkedList::chunks`]). It is not a rope: there
//! is no index over the chunks, the walk over their lengths is linear.

mod limit;

pub use limit::ChunkLimit;

use crate::heap::block_size;
use crate::packed::block::PREFIX;
use crate::packed::{self, Item, Packed};
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;

/// The most room that a new chunk is given in advance.
const ROOM_MAX: usize = 4 << 10;
/// The deque gives memory back when fewer than a quarter of at least this many places are taken.
const SHRINK_FROM_CHUNKS: usize = 64;

/// One packed sequence, with its length where a walk over the chunks finds it without following the pointer.
#[derive(Clone)]
struct Chunk {
    packed: Packed,
    len: u32,
}

/// A list of texts and integers that may be long.
///
/// Elements read as [`Item`]s; `pop_*` append the text to a buffer. Indexes of `i64` count from the end if negative.
#[derive(Default)]
pub struct ChunkedList {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// What the chunks take on the heap, together.
    packed_heap: usize,
    limit: ChunkLimit,
}

impl ChunkedList {
    /// Creates an empty list whose chunks keep to `limit`.
    pub fn new(limit: ChunkLimit) -> ChunkedList {
        ChunkedList { limit, ..ChunkedList::default() }
    }

    /// Turns a sequence into a list of one chunk, or of more if it has too many elements for one.
    pub fn from_packed(packed: Packed, limit: ChunkLimit) -> ChunkedList {
        let mut list = ChunkedList::new(limit);
        list.push_chunk(packed);
        list
    }

    /// Turns a list of at most one chunk into that chunk; returns longer lists as they are.
    pub fn into_packed(mut self) -> Result<Packed, ChunkedList> {
        if self.chunks.len() > 1 {
            return Err(self);
        }
        Ok(self.chunks.pop_front().map(|chunk| chunk.packed).unwrap_or_default())
    }

    /// Adds a whole chunk at the end, as when loading; an empty one adds nothing. The limit does not apply to it, but
    /// a chunk of more than 65,534 elements is taken apart.
    pub fn push_chunk(&mut self, packed: Packed) {
        let len = packed.len();
        if len >= usize::from(u16::MAX) {
            for item in &packed {
                self.push_back(item.text(&mut [0; 20]));
            }
        } else if len > 0 {
            self.insert_chunk(self.chunks.len(), packed);
        }
    }

    /// Iterates over the chunks, none of them empty.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = &Packed> + ExactSizeIterator {
        self.chunks.iter().map(|chunk| &chunk.packed)
    }

    /// Changes the limit; it applies to later changes.
    pub fn set_limit(&mut self, limit: ChunkLimit) {
        self.limit = limit;
    }

    /// Returns the limit.
    pub fn limit(&self) -> ChunkLimit {
        self.limit
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Reports whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes taken on the heap, spare room included: O(1).
    pub fn heap_size(&self) -> usize {
        self.packed_heap + block_size(self.chunks.capacity() * size_of::<Chunk>())
    }

    /// Returns the element with this index.
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        let (chunk, within) = self.locate(self.absolute(index)?)?;
        let packed = &self.chunks[chunk].packed;
        packed.seek(within as i64).map(|at| packed.item(at))
    }

    /// Iterates over all elements, from either end.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len)
    }

    /// Iterates over up to `count` elements from index `start` on, from either end.
    pub fn range(&self, start: usize, count: usize) -> Iter<'_> {
        let start = start.min(self.len);
        Iter { list: self, start, remaining: count.min(self.len - start), front: None, back: None }
    }
}

/// Changes. Each panics when an element is over [`packed::MAX_BYTES`].
impl ChunkedList {
    /// Adds an element at the end.
    pub fn push_back(&mut self, value: &[u8]) {
        match self.chunks.len().checked_sub(1) {
            Some(last) if self.admits(last, value) => self.edit(last, |packed| packed.push_back(value)),
            Some(last) => {
                self.edit(last, close);
                self.insert_chunk(last + 1, self.beside(last, value));
            }
            None => self.insert_chunk(0, single(value)),
        }
    }

    /// Adds an element at the beginning.
    pub fn push_front(&mut self, value: &[u8]) {
        if self.chunks.is_empty() {
            self.insert_chunk(0, single(value));
        } else if self.admits(0, value) {
            self.edit(0, |packed| packed.push_front(value));
        } else {
            self.edit(0, close);
            self.insert_chunk(0, self.beside(0, value));
        }
    }

    /// Moves the text of the first element to the end of `sink`; reports whether there was one.
    pub fn pop_front(&mut self, sink: &mut Vec<u8>) -> bool {
        if self.chunks.is_empty() {
            return false;
        }
        self.edit(0, |packed| packed.pop_front(sink));
        self.drop_if_empty(0);
        true
    }

    /// Moves the text of the last element to the end of `sink`; reports whether there was one.
    pub fn pop_back(&mut self, sink: &mut Vec<u8>) -> bool {
        let Some(last) = self.chunks.len().checked_sub(1) else { return false };
        self.edit(last, |packed| packed.pop_back(sink));
        self.drop_if_empty(last);
        true
    }

    /// Replaces the element with this index; reports whether there is one.
    pub fn set(&mut self, index: i64, value: &[u8]) -> bool {
        let Some((chunk, within)) = self.absolute(index).and_then(|index| self.locate(index)) else { return false };
        let packed = &self.chunks[chunk].packed;
        let at = packed.seek(within as i64).expect("the chunk has that many elements");
        let (old, new) = (packed.item(at), Packed::encoded_len(value));
        let old = Packed::encoded_len(old.text(&mut [0; 20]));
        let after = packed.byte_len() - old + new;
        let fits = new <= old || packed.len() == 1 || self.limit.admits(after, packed.len());
        if fits {
            self.edit(chunk, |packed| packed.replace(at, value));
            return true;
        }
        self.edit(chunk, |packed| packed.remove(at));
        self.insert_at(chunk, within, value);
        true
    }

    /// Inserts `value` before the first element that is `pivot`; reports whether there is one.
    pub fn insert_before_first(&mut self, pivot: &[u8], value: &[u8]) -> bool {
        let Some((chunk, within)) = self.find(pivot) else { return false };
        self.insert_at(chunk, within, value);
        true
    }

    /// Inserts `value` after the first element that is `pivot`; reports whether there is one.
    pub fn insert_after_first(&mut self, pivot: &[u8], value: &[u8]) -> bool {
        let Some((chunk, within)) = self.find(pivot) else { return false };
        self.insert_at(chunk, within + 1, value);
        true
    }

    /// Removes elements equal to `value`: all of them if `count` is 0, otherwise the first `count`, or the last `-count`
    /// if it is negative. Returns how many there were.
    pub fn remove_matching(&mut self, value: &[u8], count: i64) -> usize {
        let (mut left, mut removed) = (count, 0);
        let mut touched: Option<(usize, usize)> = None;
        for step in 0..self.chunks.len() {
            let chunk = if count < 0 { self.chunks.len() - 1 - step } else { step };
            let here = self.edit(chunk, |packed| packed.remove_matching(value, left));
            if here > 0 {
                let (low, high) = touched.unwrap_or((chunk, chunk));
                touched = Some((low.min(chunk), high.max(chunk)));
                removed += here;
                left -= here as i64 * count.signum();
                if count != 0 && left == 0 {
                    break;
                }
            }
        }
        if let Some((low, high)) = touched {
            self.settle(low, high);
        }
        removed
    }

    /// Keeps up to `count` elements from index `start` on and removes the others.
    pub fn trim(&mut self, start: usize, count: usize) {
        let start = start.min(self.len);
        let count = count.min(self.len - start);
        self.drop_back(self.len - start - count);
        self.drop_front(start);
        if self.chunks.len() == 2 {
            self.settle(0, 1);
        }
    }

    /// Removes all elements and frees the chunks.
    pub fn clear(&mut self) {
        *self = ChunkedList::new(self.limit);
    }
}

impl ChunkedList {
    /// Turns an index that may count from the end into one from the front; `None` if it is outside.
    fn absolute(&self, index: i64) -> Option<usize> {
        let index = if index < 0 { (self.len as i64).checked_add(index)? } else { index };
        usize::try_from(index).ok().filter(|&index| index < self.len)
    }

    /// Returns the chunk that holds the element with this index, and its index there, walking from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut before = 0;
            for (chunk, entry) in self.chunks.iter().enumerate() {
                let len = entry.len as usize;
                if index < before + len {
                    return Some((chunk, index - before));
                }
                before += len;
            }
        } else {
            let mut before = self.len;
            for (chunk, entry) in self.chunks.iter().enumerate().rev() {
                before -= entry.len as usize;
                if index >= before {
                    return Some((chunk, index - before));
                }
            }
        }
        None
    }

    /// Returns the chunk of the first element that is `value`, and its index there.
    fn find(&self, value: &[u8]) -> Option<(usize, usize)> {
        self.chunks.iter().enumerate().find_map(|(chunk, entry)| {
            let at = entry.packed.find(value, 0)?;
            Some((chunk, entry.packed.index_of(at)))
        })
    }

    fn chunk_len(&self, chunk: usize) -> usize {
        self.chunks[chunk].len as usize
    }

    /// Reports whether a chunk may take `value` as one element more.
    #[inline]
    fn admits(&self, chunk: usize, value: &[u8]) -> bool {
        let Chunk { packed, len } = &self.chunks[chunk];
        // The whole block keeps to the limit, which is a size that allocators have; the next is larger by a quarter.
        let (bytes, entries) = (packed.byte_len() + PREFIX, *len as usize + 1);
        // Mostly there is plenty of room, and telling an integer from a text can wait.
        self.limit.admits(bytes + value.len() + Packed::MAX_OVERHEAD, entries)
            || self.limit.admits(bytes + Packed::encoded_len(value), entries)
    }

    /// Changes one chunk and keeps the sums in step. Every change of a chunk goes through here.
    #[inline]
    fn edit<R>(&mut self, chunk: usize, change: impl FnOnce(&mut Packed) -> R) -> R {
        let Chunk { packed, len } = &mut self.chunks[chunk];
        self.packed_heap -= packed.heap_size();
        self.len -= *len as usize;
        let result = change(packed);
        *len = packed.len() as u32;
        self.packed_heap += packed.heap_size();
        self.len += *len as usize;
        result
    }

    /// Makes a chunk of one element, which is going to grow as the one beside it has: it is given half as much room.
    fn beside(&self, chunk: usize, value: &[u8]) -> Packed {
        let mut packed = Packed::with_capacity((self.chunks[chunk].packed.byte_len() / 2).min(ROOM_MAX));
        packed.push_back(value);
        packed
    }

    fn insert_chunk(&mut self, chunk: usize, packed: Packed) {
        let len = packed.len();
        self.len += len;
        self.packed_heap += packed.heap_size();
        self.chunks.insert(chunk, Chunk { packed, len: len as u32 });
    }

    fn remove_chunk(&mut self, chunk: usize) -> Packed {
        let Chunk { packed, len } = self.chunks.remove(chunk).expect("callers name a chunk that is there");
        self.len -= len as usize;
        self.packed_heap -= packed.heap_size();
        if self.chunks.capacity() >= SHRINK_FROM_CHUNKS && self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
        packed
    }

    fn drop_if_empty(&mut self, chunk: usize) {
        if self.chunk_len(chunk) == 0 {
            self.remove_chunk(chunk);
        }
    }

    /// Inserts before the element `within` a chunk, or at its end: there, in a neighbour, or in a chunk of its own.
    fn insert_at(&mut self, chunk: usize, within: usize, value: &[u8]) {
        let len = self.chunk_len(chunk);
        if self.admits(chunk, value) {
            self.edit(chunk, |packed| match packed.seek(within as i64) {
                Some(at) => {
                    packed.insert_before(at, value);
                }
                None => packed.push_back(value),
            });
        } else if within == 0 {
            self.insert_between(chunk, value);
        } else if within == len {
            self.insert_between(chunk + 1, value);
        } else {
            let right = self.edit(chunk, |packed| packed.split_off(within));
            self.insert_chunk(chunk + 1, right);
            self.insert_between(chunk + 1, value);
            self.settle(chunk, chunk + 1);
        }
    }

    /// Inserts between the chunks `right - 1` and `right`: in one of them if it may take the value.
    fn insert_between(&mut self, right: usize, value: &[u8]) {
        if right > 0 && self.admits(right - 1, value) {
            self.edit(right - 1, |packed| packed.push_back(value));
        } else if right < self.chunks.len() && self.admits(right, value) {
            self.edit(right, |packed| packed.push_front(value));
        } else {
            self.insert_chunk(right, single(value));
        }
    }

    /// Removes the empty chunks among `low..=high` and merges small neighbours there and one to either side: one pass
    /// that moves every later chunk at most once.
    fn settle(&mut self, low: usize, high: usize) {
        let low = low.saturating_sub(1);
        let window = self.chunks.len().min(high + 2) - low;
        let pairs = self.chunks.range(low..low + window);
        let worthwhile = pairs.clone().any(|chunk| chunk.len == 0)
            || pairs.clone().zip(pairs.skip(1)).any(|(left, right)| self.mergeable(&left.packed, &right.packed));
        if !worthwhile {
            return;
        }
        let later = self.chunks.split_off(low + window);
        let mut kept: Vec<Packed> = Vec::new();
        for Chunk { packed, len } in self.chunks.split_off(low) {
            self.len -= len as usize;
            self.packed_heap -= packed.heap_size();
            match kept.last_mut() {
                _ if len == 0 => {}
                Some(left) if self.mergeable(left, &packed) => left.append(&packed),
                _ => kept.push(packed),
            }
        }
        for packed in kept {
            self.insert_chunk(self.chunks.len(), packed);
        }
        self.chunks.extend(later);
    }

    /// Reports whether two neighbours together stay within three quarters of the limit.
    fn mergeable(&self, left: &Packed, right: &Packed) -> bool {
        let (bytes, entries) = (left.byte_len() + right.byte_len(), left.len() + right.len());
        self.limit.admits(bytes + bytes / 3, entries + entries / 3)
    }

    fn drop_front(&mut self, mut count: usize) {
        while count > 0 {
            let len = self.chunk_len(0);
            if len > count {
                return self.edit(0, |packed| packed.remove_range(0, count));
            }
            self.remove_chunk(0);
            count -= len;
        }
    }

    fn drop_back(&mut self, mut count: usize) {
        while count > 0 {
            let last = self.chunks.len() - 1;
            let len = self.chunk_len(last);
            if len > count {
                return self.edit(last, |packed| packed.remove_range(len - count, count));
            }
            self.remove_chunk(last);
            count -= len;
        }
    }
}

/// Makes a chunk of one element.
fn single(value: &[u8]) -> Packed {
    let mut packed = Packed::new();
    packed.push_back(value);
    packed
}

/// Returns the spare room of a chunk that is full, if it is more than a sixteenth.
fn close(packed: &mut Packed) {
    if packed.heap_size() - packed.byte_len() > packed.byte_len() / 16 {
        packed.shrink_to_fit();
    }
}

/// The chunks of a clone have no spare room.
impl Clone for ChunkedList {
    fn clone(&self) -> ChunkedList {
        let chunks = self.chunks.clone();
        let packed_heap = chunks.iter().map(|chunk| chunk.packed.heap_size()).sum();
        ChunkedList { chunks, packed_heap, ..*self }
    }
}

impl fmt::Debug for ChunkedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.chunks()).finish()
    }
}

impl<'a> IntoIterator for &'a ChunkedList {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<T: AsRef<[u8]>> Extend<T> for ChunkedList {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push_back(value.as_ref());
        }
    }
}

/// A walk that has started: the chunk it is in and what it has left there.
type Leg<'a> = (usize, packed::Iter<'a>);

/// Elements of a [`ChunkedList`], from either end.
///
/// Each end is located when it is first asked for, so a walk in one direction pays for one search.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a ChunkedList,
    /// Index of the next element from the front.
    start: usize,
    /// How many elements are left; decides the end for both directions.
    remaining: usize,
    front: Option<Leg<'a>>,
    back: Option<Leg<'a>>,
}

/// In which direction a leg goes on.
#[derive(Clone, Copy)]
enum Toward {
    Start,
    End,
}

impl ChunkedList {
    /// Starts a walk at the element with this index, which must be there.
    fn leg(&self, index: usize, toward: Toward) -> Leg<'_> {
        let (chunk, within) = self.locate(index).expect("a range ends within its list");
        let packed = &self.chunks[chunk].packed;
        let at = packed.seek(within as i64).expect("the chunk has that many elements");
        match toward {
            Toward::End => (chunk, packed.iter_from(at)),
            Toward::Start => (chunk, packed.iter_through(at)),
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.remaining == 0 {
            return None;
        }
        let (chunk, items) = match &mut self.front {
            Some(leg) => leg,
            None => self.front.insert(self.list.leg(self.start, Toward::End)),
        };
        self.start += 1;
        self.remaining -= 1;
        items.next().or_else(|| {
            *chunk += 1;
            *items = self.list.chunks[*chunk].packed.iter();
            items.next()
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }

    /// Goes chunk by chunk with the place in local variables, which a caller's loop over `next` has in memory.
    #[inline]
    fn fold<B, F: FnMut(B, Item<'a>) -> B>(self, init: B, mut fold: F) -> B {
        let (mut result, mut remaining) = (init, self.remaining);
        if remaining == 0 {
            return result;
        }
        let (mut chunk, mut items) = self.front.unwrap_or_else(|| self.list.leg(self.start, Toward::End));
        loop {
            for item in items {
                result = fold(result, item);
                remaining -= 1;
                if remaining == 0 {
                    return result;
                }
            }
            chunk += 1;
            items = self.list.chunks[chunk].packed.iter();
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let (chunk, items) = match &mut self.back {
            Some(leg) => leg,
            None => self.back.insert(self.list.leg(self.start + self.remaining - 1, Toward::Start)),
        };
        self.remaining -= 1;
        items.next_back().or_else(|| {
            *chunk -= 1;
            *items = self.list.chunks[*chunk].packed.iter();
            items.next_back()
        })
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests;
