//! A growable byte image behind one thin pointer.
//!
//! ```text
//!   Block ──► [ capacity u32 | image …………………… | spare …… ]
//!                              └ used bytes ┘
//! ```
//!
//! `Vec<u8>` is three words in its owner and a fourth in the allocator; a keyspace of ten million small hashes cannot
//! afford that. The images kept here (listpack, int set) already state their own length in their header, so a block
//! stores only the capacity beside them and its owner stores one non-null pointer. What the header means is the
//! [`Shape`]'s business; everything that touches raw memory is in this file, and all of it is checked: an offset that
//! is wrong panics, it never reads or writes outside the block.
//!
//! An image without elements needs no heap: it is a constant with capacity 0, which is never written and never freed.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::heap::block_size;

/// The most bytes one image may have. Growing past it panics: owners ask before they insert.
pub const MAX_BYTES: usize = 1 << 30;

/// Bytes in front of the image: the capacity.
pub(crate) const PREFIX: usize = 4;
const ALIGN: usize = 4;
/// Blocks smaller than this keep their spare room when elements leave.
const SHRINK_FROM_BYTES: usize = 256;

/// The constant block that stands for "no elements": capacity 0, then an empty image.
#[repr(C, align(4))]
pub(crate) struct Vacant {
    capacity: u32,
    image: [u8; 8],
}

impl Vacant {
    /// Wraps the image of an empty sequence, zero-padded to eight bytes.
    pub(crate) const fn new(image: [u8; 8]) -> Vacant {
        Vacant { capacity: 0, image }
    }
}

/// How an image's header states how many bytes are in use.
///
/// # Safety
///
/// `used` must return what the last `set_used` was given (or what the header of a fresh image says) and must depend on
/// the first `FIXED` bytes only; `set_used` must write nothing but those bytes; `FIXED` is at most 8 and at most the
/// used length of `VACANT`.
pub(crate) unsafe trait Shape {
    /// The image without elements.
    const VACANT: &'static Vacant;
    /// How many leading bytes decide the used length; only `set_used` writes them.
    const FIXED: usize;

    /// Reads the used length in bytes.
    ///
    /// # Safety
    ///
    /// `image` points to at least `FIXED` initialised bytes.
    unsafe fn used(image: *const u8) -> usize;

    /// Writes the used length in bytes.
    ///
    /// # Safety
    ///
    /// `image` points to at least `FIXED` initialised bytes that nobody else accesses.
    unsafe fn set_used(image: *mut u8, used: usize);
}

/// Owns one image. Invariant: `used ≤ capacity` and the used bytes are initialised, or the block is the vacant one.
pub(crate) struct Block<S: Shape> {
    start: NonNull<u8>,
    shape: PhantomData<S>,
}

// SAFETY: a block owns its memory alone (the vacant constant is never written), so it moves between threads like a Vec.
unsafe impl<S: Shape> Send for Block<S> {}
// SAFETY: `&Block` only reads.
unsafe impl<S: Shape> Sync for Block<S> {}

impl<S: Shape> Block<S> {
    /// Returns the block without elements; allocates nothing.
    pub(crate) const fn vacant() -> Block<S> {
        let vacant: *const Vacant = S::VACANT;
        // SAFETY: a reference is never null. The pointer is only written through when the capacity is above 0.
        Block { start: unsafe { NonNull::new_unchecked(vacant.cast_mut().cast()) }, shape: PhantomData }
    }

    /// Copies a whole image whose header already states its length, which must be that of `image`.
    pub(crate) fn from_image(image: &[u8]) -> Block<S> {
        assert!(S::FIXED <= image.len() && image.len() <= MAX_BYTES, "image of {} bytes", image.len());
        // SAFETY: the image has at least FIXED bytes.
        let used = unsafe { S::used(image.as_ptr()) };
        assert!(used == image.len(), "image of {} bytes that claims {used}", image.len());
        let vacant = Block::vacant();
        if image == vacant.bytes() {
            return vacant;
        }
        let start = allocate(round(used));
        // SAFETY: the new allocation has room for `used` bytes after the prefix and cannot overlap `image`.
        unsafe { ptr::copy_nonoverlapping(image.as_ptr(), start.as_ptr().add(PREFIX), used) };
        Block { start, shape: PhantomData }
    }

    /// Returns an empty image with room for `capacity` bytes in all.
    pub(crate) fn with_capacity(capacity: usize) -> Block<S> {
        let mut block = Block::vacant();
        if capacity > block.bytes().len() {
            block.resize(round(capacity.min(MAX_BYTES)));
        }
        block
    }

    #[inline]
    fn capacity(&self) -> usize {
        // SAFETY: every block starts with its capacity, aligned to 4.
        unsafe { self.start.cast::<u32>().read() as usize }
    }

    #[inline]
    fn image(&self) -> *mut u8 {
        // SAFETY: the image follows the prefix in the same allocation.
        unsafe { self.start.as_ptr().add(PREFIX) }
    }

    /// Returns the image: exactly its used bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: by the invariant the used bytes are initialised and inside the block, and `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.image(), S::used(self.image())) }
    }

    /// Returns what the block takes on the heap, in bytes.
    #[inline]
    pub(crate) fn heap_size(&self) -> usize {
        match self.capacity() {
            0 => 0,
            capacity => capacity + PREFIX,
        }
    }

    /// Overwrites bytes behind the fixed header, in place.
    #[inline]
    pub(crate) fn overwrite(&mut self, offset: usize, bytes: &[u8]) {
        assert!(self.capacity() > 0, "the vacant image is constant");
        assert!(offset >= S::FIXED && offset + bytes.len() <= self.bytes().len());
        // SAFETY: the range is inside the used bytes (just checked), `&mut self` makes it ours alone, and `bytes`
        // cannot overlap it because it is borrowed from elsewhere.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.image().add(offset), bytes.len()) };
    }

    /// Replaces the bytes from `start` to `end` by the concatenation of `parts`: one move of what follows.
    #[inline]
    pub(crate) fn splice<const N: usize>(&mut self, start: usize, end: usize, parts: [&[u8]; N]) {
        let used = self.bytes().len();
        assert!(S::FIXED <= start && start <= end && end <= used, "splice {start}..{end} of {used}");
        let inserted: usize = parts.iter().map(|part| part.len()).sum();
        let after = used - (end - start) + inserted;
        if after > self.capacity() {
            self.grow(used, after);
        }
        // SAFETY: the capacity is at least `used` and `after`, and the block is not the vacant one (its capacity of 0
        // is below any `after`, so it was just replaced). The tail of `used - end` bytes is read inside the used bytes
        // and written to `start + inserted ..= after`; the parts fill exactly the `inserted` bytes from `start`, so all
        // of `..after` is initialised when `set_used` says so. Nothing in between can panic.
        unsafe {
            let image = self.image();
            if end != start + inserted {
                move_bytes(image.add(end), image.add(start + inserted), used - end);
            }
            let mut to = image.add(start);
            for part in parts {
                copy_bytes(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
            S::set_used(image, after);
        }
        let capacity = self.capacity();
        if capacity >= SHRINK_FROM_BYTES && after < capacity / 4 {
            self.resize(roomy(after));
        }
    }

    /// Gives the spare room back to the allocator.
    pub(crate) fn shrink_to_fit(&mut self) {
        let vacant = Block::vacant();
        let used = self.bytes().len();
        if used <= vacant.bytes().len() {
            *self = vacant;
        } else if round(used) < self.capacity() {
            self.resize(round(used));
        }
    }

    #[cold]
    fn grow(&mut self, used: usize, needed: usize) {
        assert!(needed <= MAX_BYTES, "an image of {needed} bytes is over the limit of {MAX_BYTES}");
        let least = used.max(needed);
        let capacity = if self.capacity() == 0 { round(least) } else { roomy(least) };
        self.resize(capacity);
    }

    /// Moves the image to an allocation of `capacity` bytes, which must hold the used ones.
    fn resize(&mut self, capacity: usize) {
        let used = self.bytes().len();
        assert!(used <= capacity);
        let old = self.capacity();
        if capacity <= old || old == 0 {
            // Allocators hand out the same block again where a smaller one is asked for, with up to half of it unused.
            let fresh = Block { start: allocate(capacity), shape: PhantomData };
            // SAFETY: both have `used` bytes after the prefix, and a fresh allocation overlaps nothing.
            unsafe { ptr::copy_nonoverlapping(self.image(), fresh.start.as_ptr().add(PREFIX), used) };
            *self = fresh;
            return;
        }
        // SAFETY: the block was allocated with exactly this layout, and the new size is not 0 and below isize::MAX.
        let moved = unsafe { realloc(self.start.as_ptr(), layout(old), PREFIX + capacity) };
        self.start = with_prefix(moved, capacity);
    }
}

impl<S: Shape> Drop for Block<S> {
    fn drop(&mut self) {
        let capacity = self.capacity();
        if capacity > 0 {
            // SAFETY: a block with a capacity was allocated with exactly this layout and is freed once, here.
            unsafe { dealloc(self.start.as_ptr(), layout(capacity)) };
        }
    }
}

impl<S: Shape> Clone for Block<S> {
    fn clone(&self) -> Block<S> {
        Block::from_image(self.bytes())
    }
}

/// Moves `len` bytes that may overlap; the end marker alone is the common case when appending.
///
/// # Safety
///
/// Both ranges are valid, `from` for reads and `to` for writes.
#[inline]
unsafe fn move_bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: passed on from the caller.
    unsafe { if len == 1 { *to = *from } else { ptr::copy(from, to, len) } }
}

/// Copies `len` bytes; heads and back lengths are mostly one byte, not worth a call.
///
/// # Safety
///
/// Both ranges are valid, `from` for reads and `to` for writes, and do not overlap.
#[inline]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: passed on from the caller.
    unsafe { if len == 1 { *to = *from } else { ptr::copy_nonoverlapping(from, to, len) } }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(PREFIX + capacity, ALIGN).expect("a capacity is far below isize::MAX")
}

fn allocate(capacity: usize) -> NonNull<u8> {
    // SAFETY: the size is at least the prefix, never 0.
    with_prefix(unsafe { alloc(layout(capacity)) }, capacity)
}

/// Writes the capacity in front of a new or moved allocation.
fn with_prefix(start: *mut u8, capacity: usize) -> NonNull<u8> {
    let Some(start) = NonNull::new(start) else { handle_alloc_error(layout(capacity)) };
    let capacity = u32::try_from(capacity).expect("capacities are at most MAX_BYTES and a rounding");
    // SAFETY: the allocation is at least 4 bytes, aligned to 4, and not shared yet.
    unsafe { start.cast::<u32>().write(capacity) };
    start
}

/// Rounds a capacity up to all that the allocator gives.
fn round(capacity: usize) -> usize {
    block_size(PREFIX + capacity) - PREFIX
}

/// Adds spare room for elements to come: an eighth to small images, a quarter to larger ones.
fn roomy(needed: usize) -> usize {
    let spare = if needed < 256 { needed / 8 } else { needed / 4 };
    round((needed + spare).min(MAX_BYTES))
}
