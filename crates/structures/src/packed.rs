//! A sequence of short texts and integers in one heap block, behind one pointer.
//!
//! ```text
//!   Packed ──► [ capacity u32 | total u32 | count u16 | entry | entry | … | FF | spare … ]
//!                             └──────────────── listpack ──────────────────┘
//! ```
//!
//! The bytes after the capacity are exactly the listpack of the RDB format, so a small list, hash, set or sorted set is
//! saved, dumped and loaded by copying. An entry costs two bytes more than a short text, and integers take one to nine
//! bytes; there are no pointers inside, a walk is a walk through consecutive cache lines. That beats every index up to
//! a few hundred elements; past that the owner moves on to a table or to chunks, and [`Packed::encoded_len`] tells it
//! when.
//!
//! Positions are byte offsets ([`At`]). They stay valid until the sequence changes; every change returns the position
//! to go on from. A stale position panics or names the wrong element, but cannot touch foreign memory.
//!
//! Invariant: every entry is canonical. Text that is a decimal integer is stored as that integer in its shortest form,
//! also when foreign bytes did otherwise ([`Packed::from_listpack`] rewrites them). Therefore equal elements are equal
//! bytes, which is what makes [`Packed::find`] a comparison of memory.
//!
//! It is not a set and not a map: it keeps order and duplicates, and pairs are only a way of reading it.

pub(crate) mod block;
mod encoding;
mod item;
mod iter;
#[cfg(test)]
pub(crate) mod tests;

pub use block::MAX_BYTES;
pub use item::Item;
pub use iter::{Iter, Pairs};

use block::{Block, Shape, Vacant};
use encoding::{END, Encoded, HEADER, UNKNOWN, before, decode, span};
use std::fmt;

/// Foreign bytes that are not what they claim to be; the text says in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Corrupt {}

/// The position of an element: its byte offset in the listpack. Valid until the sequence changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(u32);

impl At {
    #[inline]
    fn new(offset: usize) -> At {
        At(offset as u32)
    }

    #[inline]
    fn offset(self) -> usize {
        self.0 as usize
    }
}

struct Listpack;

// SAFETY: the used length is the first four bytes, which `set_used` alone writes; the vacant image has seven.
unsafe impl Shape for Listpack {
    const VACANT: &'static Vacant = &Vacant::new([7, 0, 0, 0, 0, 0, END, 0]);
    const FIXED: usize = 4;

    #[inline]
    unsafe fn used(image: *const u8) -> usize {
        // SAFETY: the caller vouches for the first four bytes.
        u32::from_le_bytes(unsafe { image.cast::<[u8; 4]>().read() }) as usize
    }

    #[inline]
    unsafe fn set_used(image: *mut u8, used: usize) {
        // SAFETY: the caller vouches for the first four bytes.
        unsafe { image.cast::<[u8; 4]>().write((used as u32).to_le_bytes()) };
    }
}

/// A sequence of texts and integers in one heap block.
///
/// ```
/// use redpoll_structures::packed::{Item, Packed};
///
/// let mut fields = Packed::new();
/// for text in [&b"name"[..], b"redpoll", b"weight", b"12"] {
///     fields.push_back(text);
/// }
/// let key = fields.find(b"weight", 1).expect("it was pushed");
/// let value = fields.next(key).expect("each key has a value");
/// assert_eq!(fields.item(value), Item::Int(12));
/// ```
#[derive(Clone)]
pub struct Packed(Block<Listpack>);

impl Packed {
    /// The most bytes an element takes beyond its text.
    pub const MAX_OVERHEAD: usize = 10;

    /// Creates an empty sequence; allocates nothing.
    pub const fn new() -> Packed {
        Packed(Block::vacant())
    }

    /// Creates an empty sequence with room for a listpack of `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Packed {
        Packed(Block::with_capacity(bytes))
    }

    /// Copies a listpack from foreign bytes after checking all of it.
    ///
    /// Entries that are not in canonical form are rewritten, and an unknown count is filled in where the header can
    /// hold it; bytes that were written by a Redis or by [`Packed::as_listpack`] come out as they went in.
    pub fn from_listpack(bytes: &[u8]) -> Result<Packed, Corrupt> {
        let survey = encoding::survey(bytes)?;
        let mut packed = Packed(Block::from_image(bytes));
        if !survey.canonical {
            let mut rewritten = Packed::with_capacity(bytes.len());
            for item in packed.iter() {
                rewritten.push_back(item.text(&mut [0; 20]));
            }
            packed = rewritten;
        }
        packed.write_count(survey.count);
        Ok(packed)
    }

    /// Returns the listpack: what RDB files and dumps hold.
    #[inline]
    pub fn as_listpack(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Returns the number of elements: O(1) below 65,535, a walk from there on.
    #[inline]
    pub fn len(&self) -> usize {
        match self.known_len() {
            Some(len) => len,
            None => self.count_between(HEADER, self.end()),
        }
    }

    /// Reports whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.end() == HEADER
    }

    /// Returns the length of the listpack in bytes, 7 when empty.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.0.bytes().len()
    }

    /// Returns the bytes taken on the heap, spare room included.
    #[inline]
    pub fn heap_size(&self) -> usize {
        self.0.heap_size()
    }

    /// Gives spare room back to the allocator.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Returns how many bytes `text` takes as an element.
    pub fn encoded_len(text: &[u8]) -> usize {
        encoding::encoded_len(text)
    }

    /// Reports whether elements of `extra` encoded bytes more would stay within [`MAX_BYTES`].
    pub fn would_fit(&self, extra: usize) -> bool {
        extra <= MAX_BYTES - self.byte_len()
    }
}

/// Positions.
impl Packed {
    /// Returns the position of the first element.
    #[inline]
    pub fn first(&self) -> Option<At> {
        self.entry_at(HEADER)
    }

    /// Returns the position of the last element.
    #[inline]
    pub fn last(&self) -> Option<At> {
        self.prev_of(self.end())
    }

    /// Returns the position after `at`.
    #[inline]
    pub fn next(&self, at: At) -> Option<At> {
        self.entry_at(self.after(at))
    }

    /// Returns the position before `at`.
    #[inline]
    pub fn prev(&self, at: At) -> Option<At> {
        self.prev_of(at.offset())
    }

    /// Returns the position of the element with this index, counted from the end if negative (-1 is the last).
    pub fn seek(&self, index: i64) -> Option<At> {
        let len = self.known_len();
        let (steps, from_back) = if index < 0 { ((-(index + 1)) as u64, true) } else { (index as u64, false) };
        match len {
            Some(len) if steps >= len as u64 => None,
            Some(len) if steps > len as u64 / 2 => self.walk(len as u64 - 1 - steps, !from_back),
            _ => self.walk(steps, from_back),
        }
    }

    /// Returns the index of the element at `at`: a walk from the front.
    pub fn index_of(&self, at: At) -> usize {
        self.count_between(HEADER, at.offset())
    }

    /// Reads the element at `at`.
    #[inline]
    pub fn item(&self, at: At) -> Item<'_> {
        decode(self.0.bytes(), at.offset())
    }

    /// Returns the first position whose element is `text`, looking at every `skip + 1`-th: 0 for the elements of a list
    /// or set, 1 for the keys of a sequence of pairs.
    #[inline]
    pub fn find(&self, text: &[u8], skip: usize) -> Option<At> {
        Encoded::of(text).find_in(self.0.bytes(), HEADER, skip).map(At::new)
    }

    /// Returns the first such position at or after `at`.
    #[inline]
    pub fn find_from(&self, at: At, text: &[u8], skip: usize) -> Option<At> {
        Encoded::of(text).find_in(self.0.bytes(), at.offset(), skip).map(At::new)
    }

    /// Iterates over the elements, from either end.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self.0.bytes(), HEADER, self.end())
    }

    /// Iterates over the elements from `at` to the last.
    pub fn iter_from(&self, at: At) -> Iter<'_> {
        Iter::new(self.0.bytes(), at.offset(), self.end())
    }

    /// Iterates over the elements from the first to `at`; reversed, that is from `at` back to the first.
    pub fn iter_through(&self, at: At) -> Iter<'_> {
        Iter::new(self.0.bytes(), HEADER, self.after(at))
    }

    /// Iterates over the elements two by two, from either end.
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs(self.iter())
    }
}

/// Changes. Each panics when the sequence would outgrow [`MAX_BYTES`]; ask [`Packed::would_fit`] first.
impl Packed {
    /// Adds an element at the end.
    #[inline]
    pub fn push_back(&mut self, text: &[u8]) {
        self.insert_encoded(self.end(), &Encoded::of(text));
    }

    /// Adds an integer at the end.
    #[inline]
    pub fn push_back_int(&mut self, value: i64) {
        self.insert_encoded(self.end(), &Encoded::of_int(value));
    }

    /// Adds an element at the beginning.
    pub fn push_front(&mut self, text: &[u8]) {
        self.insert_encoded(HEADER, &Encoded::of(text));
    }

    /// Inserts an element before `at` and returns its position.
    pub fn insert_before(&mut self, at: At, text: &[u8]) -> At {
        self.insert_encoded(at.offset(), &Encoded::of(text))
    }

    /// Inserts an element after `at` and returns its position.
    pub fn insert_after(&mut self, at: At, text: &[u8]) -> At {
        self.insert_encoded(self.after(at), &Encoded::of(text))
    }

    /// Inserts two elements before `at`, or at the end, in one move, and returns the position of the first.
    pub fn insert_pair(&mut self, at: Option<At>, first: &[u8], second: &[u8]) -> At {
        let offset = at.map_or(self.end(), At::offset);
        let (first, second) = (Encoded::of(first), Encoded::of(second));
        let ([a, b, c], [d, e, f]) = (first.parts(), second.parts());
        self.0.splice(offset, offset, [a, b, c, d, e, f]);
        self.count_changed(2);
        At::new(offset)
    }

    /// Replaces the element at `at` and returns its position, which is the same.
    pub fn replace(&mut self, at: At, text: &[u8]) -> At {
        self.replace_encoded(at, &Encoded::of(text))
    }

    /// Replaces the element at `at` by an integer and returns its position, which is the same.
    pub fn replace_int(&mut self, at: At, value: i64) -> At {
        self.replace_encoded(at, &Encoded::of_int(value))
    }

    /// Removes the element at `at` and returns the position of the one that followed it.
    pub fn remove(&mut self, at: At) -> Option<At> {
        self.0.splice(at.offset(), self.after(at), []);
        self.count_changed(-1);
        self.entry_at(at.offset())
    }

    /// Removes the element at `at` and the next, and returns the position of the one that followed them.
    pub fn remove_pair(&mut self, at: At) -> Option<At> {
        let Some(second) = self.next(at) else { return self.remove(at) };
        self.0.splice(at.offset(), self.after(second), []);
        self.count_changed(-2);
        self.entry_at(at.offset())
    }

    /// Removes up to `count` elements from `index` on.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        let Some(start) = self.seek(to_index(index)) else { return };
        let (mut end, mut removed) = (start.offset(), 0);
        if self.known_len().is_some_and(|len| count >= len - index) {
            removed = self.len() - index;
            end = self.end();
        }
        while removed < count && end < self.end() {
            end += span(self.0.bytes(), end);
            removed += 1;
        }
        if removed > 0 {
            self.0.splice(start.offset(), end, []);
            self.count_changed(-(removed as isize));
        }
    }

    /// Removes elements equal to `text`: all of them if `count` is 0, otherwise the first `count`, or the last `-count`
    /// if it is negative. Returns how many there were. One pass, whatever the number of matches.
    pub fn remove_matching(&mut self, text: &[u8], count: i64) -> usize {
        let needle = Encoded::of(text);
        let limit = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        let mut matches = Vec::new();
        let mut from = HEADER;
        while let Some(offset) = needle.find_in(self.0.bytes(), from, 0) {
            matches.push(offset);
            if count > 0 && matches.len() == limit {
                break;
            }
            from = offset + needle.len();
        }
        let matches = &matches[matches.len().saturating_sub(limit)..];
        match *matches {
            [] => {}
            [only] => {
                self.remove(At::new(only));
            }
            _ => self.remove_all(matches, needle.len()),
        }
        matches.len()
    }

    /// Moves the text of the first element to the end of `sink`; reports whether there was one.
    pub fn pop_front(&mut self, sink: &mut Vec<u8>) -> bool {
        let Some(at) = self.first() else { return false };
        self.item(at).write_to(sink);
        self.remove(at);
        true
    }

    /// Moves the text of the last element to the end of `sink`; reports whether there was one.
    pub fn pop_back(&mut self, sink: &mut Vec<u8>) -> bool {
        let Some(at) = self.last() else { return false };
        self.item(at).write_to(sink);
        self.remove(at);
        true
    }

    /// Cuts the sequence before `index` and returns what followed; empty if `index` is past the end.
    pub fn split_off(&mut self, index: usize) -> Packed {
        let Some(at) = self.seek(to_index(index)) else { return Packed::new() };
        let end = self.end();
        let right_len = self.known_len().map_or_else(|| self.count_between(at.offset(), end), |len| len - index);
        let mut right = Packed::with_capacity(end - at.offset() + HEADER + 1);
        right.0.splice(HEADER, HEADER, [&self.0.bytes()[at.offset()..end]]);
        right.write_count(right_len);
        self.0.splice(at.offset(), end, []);
        self.write_count(index);
        right
    }

    /// Adds all elements of `other` at the end.
    pub fn append(&mut self, other: &Packed) {
        if other.is_empty() {
            return;
        }
        let len = self.known_len().and_then(|len| Some(len + other.known_len()?));
        self.0.splice(self.end(), self.end(), [&other.0.bytes()[HEADER..other.end()]]);
        self.write_count(len.unwrap_or(usize::MAX));
    }

    /// Removes all elements and frees the block.
    pub fn clear(&mut self) {
        *self = Packed::new();
    }
}

impl Packed {
    /// Returns the offset of the end marker.
    #[inline]
    fn end(&self) -> usize {
        self.0.bytes().len() - 1
    }

    #[inline]
    fn after(&self, at: At) -> usize {
        at.offset() + span(self.0.bytes(), at.offset())
    }

    #[inline]
    fn entry_at(&self, offset: usize) -> Option<At> {
        (offset < self.end()).then(|| At::new(offset))
    }

    #[inline]
    fn prev_of(&self, offset: usize) -> Option<At> {
        (offset > HEADER).then(|| At::new(before(self.0.bytes(), offset)))
    }

    fn walk(&self, steps: u64, from_back: bool) -> Option<At> {
        let mut at = if from_back { self.last() } else { self.first() };
        for _ in 0..steps {
            at = if from_back { self.prev(at?) } else { self.next(at?) };
        }
        at
    }

    /// Returns the number of elements as far as the header knows it.
    #[inline]
    fn known_len(&self) -> Option<usize> {
        match u16::from_le_bytes([self.0.bytes()[4], self.0.bytes()[5]]) {
            UNKNOWN => None,
            len => Some(usize::from(len)),
        }
    }

    fn count_between(&self, mut offset: usize, end: usize) -> usize {
        let mut count = 0;
        while offset < end {
            offset += span(self.0.bytes(), offset);
            count += 1;
        }
        count
    }

    #[inline]
    fn insert_encoded(&mut self, offset: usize, entry: &Encoded<'_>) -> At {
        self.0.splice(offset, offset, entry.parts());
        self.count_changed(1);
        At::new(offset)
    }

    fn replace_encoded(&mut self, at: At, entry: &Encoded<'_>) -> At {
        self.0.splice(at.offset(), self.after(at), entry.parts());
        at
    }

    /// Removes the entries of `entry_len` bytes at these ascending offsets by copying what lies between them.
    fn remove_all(&mut self, offsets: &[usize], entry_len: usize) {
        let len = self.known_len();
        let end = self.end();
        let mut kept = Vec::with_capacity(self.byte_len());
        let mut from = HEADER;
        for &offset in offsets {
            kept.extend_from_slice(&self.0.bytes()[from..offset]);
            from = offset + entry_len;
        }
        kept.extend_from_slice(&self.0.bytes()[from..end]);
        self.0.splice(HEADER, end, [&kept]);
        self.write_count(len.map_or(usize::MAX, |len| len - offsets.len()));
    }

    #[inline]
    fn count_changed(&mut self, change: isize) {
        if let Some(len) = self.known_len() {
            self.write_count(len.wrapping_add_signed(change));
        }
    }

    /// Writes the number of elements into the header, as unknown if it does not fit.
    #[inline]
    fn write_count(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(UNKNOWN);
        if u16::from_le_bytes([self.0.bytes()[4], self.0.bytes()[5]]) != count {
            self.0.overwrite(4, &count.to_le_bytes());
        }
    }
}

fn to_index(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl Default for Packed {
    fn default() -> Packed {
        Packed::new()
    }
}

/// Two sequences are equal when their elements are.
impl PartialEq for Packed {
    fn eq(&self, other: &Packed) -> bool {
        self.0.bytes()[HEADER..] == other.0.bytes()[HEADER..]
    }
}

impl Eq for Packed {}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|item| String::from_utf8_lossy(item.text(&mut [0; 20])).into_owned()))
            .finish()
    }
}

impl<'a> IntoIterator for &'a Packed {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<T: AsRef<[u8]>> Extend<T> for Packed {
    fn extend<I: IntoIterator<Item = T>>(&mut self, texts: I) {
        for text in texts {
            self.push_back(text.as_ref());
        }
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Packed {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Packed {
        let mut packed = Packed::new();
        packed.extend(texts);
        packed
    }
}
