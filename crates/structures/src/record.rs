//! One heap block that holds a key, an optional deadline and a small value, behind one thin pointer.
//!
//! ```text
//!  Record ──► ┌ stamp u32 ┬ key word u32 ┬ payload word u32 ┐ 12 bytes
//!             └───────────┴──────────────┴──────────────────┘
//!   integer   │ header │ deadline u64? │ key … │ i64     │
//!   bytes     │ header │ deadline u64? │ key … │ bytes … │
//!   object    │ header │ pad │ O │ deadline u64? │ key … │
//!
//!   key word      31 30 │ 29 … 0      kind (0 bytes, 1 integer, 2 object) │ length of the key
//!   payload word  31 30 │ 29 … 0      has a deadline, mark                │ length of integer or bytes; 0 for an object
//! ```
//!
//! A store of small values spends most of its memory on what is not the value: pointers, capacities, allocator rounding.
//! Here an entry of the keyspace, a field of a hash or a member of a set is one allocation without any pointer inside:
//! a 16-byte key with a 64-byte value takes 92 bytes, 100 with a deadline. Everything is read after one cache miss, and
//! a table slot is 8 bytes. Numbers and lengths in the block are unaligned except the header and `O`, which stands at
//! the front so that it can be aligned whatever the key is.
//!
//! The size of the block is not stored: it follows from the two words, and so does the layout for freeing it. Every
//! block of one `Record<O>` type has the same alignment, therefore any change of shape may use `realloc`.
//!
//! The stamp belongs to the caller (an access clock or counter); it can be set through a shared reference, like a
//! `Cell`, which makes a record `Send` but not `Sync`. The mark is one bit of the caller's about the payload.
//!
//! It is not a value type: what `O` is, what the stamp means and when a deadline has passed, the caller knows.

use std::alloc::{alloc, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use shape::{DEADLINE_BIT, HEADER_LEN, Kind, MARK_BIT, Shape};

mod shape;
#[cfg(test)]
mod tests;

/// Longest key, bytes.
pub const MAX_KEY_LEN: usize = 1 << 29;

/// Longest value that can stand in the record itself, bytes.
pub const MAX_INLINE_LEN: usize = 1 << 29;

/// What a record holds besides its key.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload<'a, O> {
    /// An integer.
    Int(i64),
    /// Bytes in the record.
    Bytes(&'a [u8]),
    /// An object of the caller's.
    Object(&'a O),
}

impl<O> Clone for Payload<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Payload<'_, O> {}

/// A key with a stamp, an optional deadline and a payload in one heap block.
///
/// ```
/// use redpoll_structures::record::{Payload, Record};
///
/// let mut record = Record::<String>::new_bytes(b"greeting", b"hello");
/// record.set_deadline(Some(1_700_000_000_000));
/// assert_eq!(record.key(), b"greeting");
/// assert_eq!(record.payload(), Payload::Bytes(b"hello"));
/// ```
pub struct Record<O> {
    block: NonNull<u8>,
    object: PhantomData<O>,
}

// SAFETY: a record owns its block and what is in it; nothing refers to a thread. It is not `Sync`, because the stamp is
// written through a shared reference without synchronisation.
unsafe impl<O: Send> Send for Record<O> {}

impl<O> Record<O> {
    /// Asks the processor to load the block, which will be read soon: its first two lines, where short keys and values end.
    #[inline(always)]
    pub fn prefetch(&self) {
        crate::prefetch::line(self.block.as_ptr());
        crate::prefetch::line(self.block.as_ptr().wrapping_add(crate::prefetch::LINE));
    }

    /// Makes a record that holds bytes; stamp 0, no deadline, no mark.
    ///
    /// # Panics
    ///
    /// If the key is longer than [`MAX_KEY_LEN`] or the value than [`MAX_INLINE_LEN`].
    #[inline]
    pub fn new_bytes(key: &[u8], value: &[u8]) -> Record<O> {
        Record::new_scalar(key, Kind::Bytes, value)
    }

    /// Makes a record that holds an integer; stamp 0, no deadline, no mark.
    ///
    /// # Panics
    ///
    /// If the key is longer than [`MAX_KEY_LEN`].
    #[inline]
    pub fn new_int(key: &[u8], value: i64) -> Record<O> {
        Record::new_scalar(key, Kind::Int, &value.to_ne_bytes())
    }

    /// Makes a record that holds an object; stamp 0, no deadline, no mark.
    ///
    /// # Panics
    ///
    /// If the key is longer than [`MAX_KEY_LEN`].
    pub fn new_object(key: &[u8], value: O) -> Record<O> {
        let shape = Shape::<O>::new(key.len()).with_payload(Kind::Object, 0);
        // SAFETY: key and object are written before anything else can look at or drop the record.
        unsafe {
            let record = Record::allocate(shape, 0);
            record.object_pointer().write(value);
            record.write(shape.key_offset(), key);
            record
        }
    }

    #[inline(always)]
    fn new_scalar(key: &[u8], kind: Kind, payload: &[u8]) -> Record<O> {
        let shape = Shape::<O>::new(key.len()).with_payload(kind, payload.len());
        // SAFETY: the new block has the size of header, key and payload.
        unsafe {
            let record = Record::allocate(shape, 0);
            record.write(shape.key_offset(), key);
            record.write(shape.payload_offset(), payload);
            record
        }
    }

    /// Returns the key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: the block holds that many initialised bytes at this offset, and they change only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.at(shape.key_offset()), shape.key_len()) }
    }

    /// Returns the stamp.
    #[inline]
    pub fn stamp(&self) -> u32 {
        // SAFETY: the block starts with an aligned, initialised word.
        unsafe { self.block.cast::<u32>().read() }
    }

    /// Sets the stamp.
    #[inline]
    pub fn set_stamp(&self, stamp: u32) {
        // SAFETY: as above; no reference to the header ever exists, and the type is not `Sync`.
        unsafe { self.block.cast::<u32>().write(stamp) }
    }

    /// Tells whether the mark is set.
    #[inline]
    pub fn mark(&self) -> bool {
        self.shape().payload_word & MARK_BIT != 0
    }

    /// Sets or clears the mark.
    #[inline]
    pub fn set_mark(&mut self, mark: bool) {
        let shape = self.shape();
        let payload_word = shape.payload_word & !MARK_BIT | if mark { MARK_BIT } else { 0 };
        self.set_shape(Shape { payload_word, ..shape });
    }

    /// Returns the deadline, if there is one.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        let shape = self.shape();
        if !shape.has_deadline() {
            return None;
        }
        // SAFETY: the shape says that a deadline stands there.
        Some(unsafe { self.at(shape.deadline_offset()).cast::<u64>().read_unaligned() })
    }

    /// Sets or removes the deadline: in place if one is replaced by another, else the block is re-allocated.
    pub fn set_deadline(&mut self, deadline: Option<u64>) {
        let old = self.shape();
        let flag = if deadline.is_some() { DEADLINE_BIT } else { 0 };
        let new = Shape { payload_word: old.payload_word & !DEADLINE_BIT | flag, ..old };
        let tail_len = old.size() - old.key_offset();
        // SAFETY: the tail is moved while the block has the larger of both sizes, from and to offsets inside it.
        unsafe {
            if new.size() > old.size() {
                self.reallocate(old, new);
                ptr::copy(self.at(old.key_offset()), self.at(new.key_offset()), tail_len);
            } else if new.size() < old.size() {
                ptr::copy(self.at(old.key_offset()), self.at(new.key_offset()), tail_len);
                self.reallocate(old, new);
            }
            if let Some(deadline) = deadline {
                self.at(new.deadline_offset()).cast::<u64>().write_unaligned(deadline);
            }
        }
    }

    /// Returns what the record holds.
    #[inline]
    pub fn payload(&self) -> Payload<'_, O> {
        let shape = self.shape();
        // SAFETY: kind and lengths in the header say what was written there; nothing changes it but `&mut self`.
        unsafe {
            if shape.is(Kind::Bytes) {
                Payload::Bytes(std::slice::from_raw_parts(self.at(shape.payload_offset()), shape.payload_len()))
            } else if shape.is_object() {
                Payload::Object(&*self.object_pointer())
            } else {
                Payload::Int(self.at(shape.payload_offset()).cast::<i64>().read_unaligned())
            }
        }
    }

    /// Returns the object, if the record holds one.
    #[inline]
    pub fn object(&self) -> Option<&O> {
        // SAFETY: the kind says that an object stands there.
        self.shape().is_object().then(|| unsafe { &*self.object_pointer() })
    }

    /// Returns the object for changing it, if the record holds one.
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut O> {
        // SAFETY: the kind says that an object stands there; `&mut self` makes the reference unique.
        self.shape().is_object().then(|| unsafe { &mut *self.object_pointer() })
    }

    /// Returns the bytes for changing them, if the record holds bytes.
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let shape = self.shape();
        shape.is(Kind::Bytes).then(|| {
            // SAFETY: the kind says that bytes stand there; `&mut self` makes the reference unique.
            unsafe { std::slice::from_raw_parts_mut(self.at(shape.payload_offset()), shape.payload_len()) }
        })
    }

    /// Replaces the payload by an integer, clearing the mark and keeping all else.
    #[inline]
    pub fn set_int(&mut self, value: i64) {
        self.set_scalar(Kind::Int, &value.to_ne_bytes());
    }

    /// Replaces the payload by bytes, clearing the mark and keeping all else; in place if the length is the same.
    ///
    /// # Panics
    ///
    /// If the value is longer than [`MAX_INLINE_LEN`].
    #[inline]
    pub fn set_bytes(&mut self, value: &[u8]) {
        self.set_scalar(Kind::Bytes, value);
    }

    /// Replaces the payload by an object, clearing the mark and keeping all else.
    pub fn set_object(&mut self, value: O) {
        if self.shape().is_object() {
            self.set_mark(false);
            *self.object_mut().expect("the kind was looked at") = value;
            return;
        }
        let old = self.shape();
        let new = old.with_payload(Kind::Object, 0);
        // SAFETY: the object and the tail (deadline and key, of the same length in both) fill the new block; the old
        // one holds nothing to drop.
        unsafe {
            let record = Record::allocate(new, self.stamp());
            record.object_pointer().write(value);
            let tail_len = old.payload_offset() - old.deadline_offset();
            ptr::copy_nonoverlapping(self.at(old.deadline_offset()), record.at(new.deadline_offset()), tail_len);
            std::mem::replace(self, record).retire();
        }
    }

    /// Changes the number of inline bytes, keeping the mark; new bytes are zero.
    ///
    /// # Panics
    ///
    /// If the record does not hold bytes, or the length is above [`MAX_INLINE_LEN`].
    pub fn resize_bytes(&mut self, new_len: usize) {
        let old = self.shape();
        assert!(old.is(Kind::Bytes), "only bytes can be resized");
        let new = old.with_len(new_len);
        // SAFETY: the payload is the end of the block, so only its end moves; the added bytes lie inside the new size.
        unsafe {
            self.reallocate(old, new);
            if new_len > old.payload_len() {
                self.at(old.size()).write_bytes(0, new_len - old.payload_len());
            }
        }
    }

    /// Takes the record apart and returns the object, if it held one.
    pub fn into_object(self) -> Option<O> {
        if !self.shape().is_object() {
            return None;
        }
        // SAFETY: the object is read once; the block is freed without dropping it.
        unsafe {
            let object = self.object_pointer().read();
            self.retire();
            Some(object)
        }
    }

    /// Takes the object out, if there is one, and leaves the integer 0, without mark.
    pub fn take_object(&mut self) -> Option<O> {
        self.shape().is_object().then(|| self.replace_object(Kind::Int, &0_i64.to_ne_bytes()))
    }

    /// Returns the record under another key: payload, deadline, stamp and mark stay.
    ///
    /// # Panics
    ///
    /// If the key is longer than [`MAX_KEY_LEN`].
    pub fn with_key(self, new_key: &[u8]) -> Record<O> {
        let old = self.shape();
        let new = old.with_key_len(new_key.len());
        // SAFETY: all that lies before the key (header, object, deadline) has the same offsets in both blocks, and what
        // lies behind it the same length. The object is moved bytewise and the old block freed without dropping it.
        unsafe {
            let record = Record::allocate(new, self.stamp());
            let front_len = old.key_offset() - HEADER_LEN;
            ptr::copy_nonoverlapping(self.at(HEADER_LEN), record.at(HEADER_LEN), front_len);
            record.write(new.key_offset(), new_key);
            let payload = self.at(old.payload_offset());
            ptr::copy_nonoverlapping(payload, record.at(new.payload_offset()), old.payload_len());
            self.retire();
            record
        }
    }

    /// Returns the size of the block in bytes, without what an object owns elsewhere.
    #[inline]
    pub fn heap_size(&self) -> usize {
        crate::heap::block_size(self.shape().size())
    }

    fn set_scalar(&mut self, kind: Kind, payload: &[u8]) {
        let old = self.shape();
        if old.is_object() {
            drop(self.replace_object(kind, payload));
            return;
        }
        let new = old.with_payload(kind, payload.len());
        // SAFETY: the payload is the end of the block, which then has room for the new one.
        unsafe {
            self.reallocate(old, new);
            self.write(new.payload_offset(), payload);
        }
    }

    /// Puts an integer or bytes in the place of an object, which it returns. The record must hold one.
    fn replace_object(&mut self, kind: Kind, payload: &[u8]) -> O {
        let old = self.shape();
        assert!(old.is_object(), "the record holds an object");
        let new = old.with_payload(kind, payload.len());
        // SAFETY: tail (deadline and key) and payload fill the new block; the object is read once and its old block
        // freed without dropping it.
        unsafe {
            let record = Record::allocate(new, self.stamp());
            let tail_len = old.payload_offset() - old.deadline_offset();
            ptr::copy_nonoverlapping(self.at(old.deadline_offset()), record.at(new.deadline_offset()), tail_len);
            record.write(new.payload_offset(), payload);
            let object = self.object_pointer().read();
            std::mem::replace(self, record).retire();
            object
        }
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> *mut u8 {
        self.block.as_ptr().wrapping_add(offset)
    }

    #[inline(always)]
    fn object_pointer(&self) -> *mut O {
        self.at(Shape::<O>::OBJECT_OFFSET).cast()
    }

    #[inline(always)]
    fn shape(&self) -> Shape<O> {
        let words = self.block.cast::<u32>();
        // SAFETY: the header is three aligned, initialised words.
        unsafe { Shape { key_word: words.add(1).read(), payload_word: words.add(2).read(), object: PhantomData } }
    }

    #[inline(always)]
    fn set_shape(&mut self, shape: Shape<O>) {
        let words = self.block.cast::<u32>();
        // SAFETY: the header is three aligned words.
        unsafe {
            words.add(1).write(shape.key_word);
            words.add(2).write(shape.payload_word);
        }
    }

    /// Copies bytes into the block.
    ///
    /// # Safety
    ///
    /// The block must reach that far.
    #[inline(always)]
    unsafe fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: the caller vouches for the room; foreign bytes cannot lie in this block, which nobody else can borrow.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset), bytes.len()) }
    }

    /// Makes a block with a header; the rest is not initialised.
    ///
    /// # Safety
    ///
    /// The caller must fill the block before the record is used, dropped, or anything can unwind.
    #[inline(always)]
    unsafe fn allocate(shape: Shape<O>, stamp: u32) -> Record<O> {
        let layout = shape.layout();
        // SAFETY: the size is at least that of the header.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut record = Record { block, object: PhantomData };
        record.set_stamp(stamp);
        record.set_shape(shape);
        record
    }

    /// Gives the block another size and sets the header's shape.
    ///
    /// # Safety
    ///
    /// `old` must be the shape the block was allocated with, and the caller must make the content fit the new shape.
    #[inline(always)]
    unsafe fn reallocate(&mut self, old: Shape<O>, new: Shape<O>) {
        if old.size() != new.size() {
            // SAFETY: the block has the old layout; the new size is not zero and, by the limits, in range.
            let moved = unsafe { realloc(self.block.as_ptr(), old.layout(), new.size()) };
            let Some(moved) = NonNull::new(moved) else { handle_alloc_error(new.layout()) };
            self.block = moved;
        }
        self.set_shape(new);
    }

    /// Frees the block without dropping an object in it.
    ///
    /// # Safety
    ///
    /// The object, if there was one, must have been moved out.
    unsafe fn retire(self) {
        let record = ManuallyDrop::new(self);
        // SAFETY: the block was allocated with the layout that follows from its header.
        unsafe { dealloc(record.block.as_ptr(), record.shape().layout()) }
    }
}

impl<O> Drop for Record<O> {
    #[inline]
    fn drop(&mut self) {
        let shape = self.shape();
        // SAFETY: the record owns block and object; the layout is that of its header.
        unsafe {
            if shape.is_object() {
                ptr::drop_in_place(self.object_pointer());
            }
            dealloc(self.block.as_ptr(), shape.layout());
        }
    }
}

impl<O: Clone> Clone for Record<O> {
    fn clone(&self) -> Record<O> {
        let shape = self.shape();
        let object = self.object().cloned();
        // SAFETY: header and object are written, and all behind them is copied, before anything can unwind.
        unsafe {
            let record = Record::allocate(shape, self.stamp());
            if let Some(object) = object {
                record.object_pointer().write(object);
            }
            let start = shape.deadline_offset();
            ptr::copy_nonoverlapping(self.at(start), record.at(start), shape.size() - start);
            record
        }
    }
}

impl<O: fmt::Debug> fmt::Debug for Record<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key().escape_ascii().to_string())
            .field("stamp", &self.stamp())
            .field("mark", &self.mark())
            .field("deadline", &self.deadline())
            .field("payload", &self.payload())
            .finish()
    }
}
