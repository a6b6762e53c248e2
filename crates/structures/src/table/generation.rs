//! A generation: the array of home buckets of a table. A table has one, and a second one while it grows or shrinks.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::bucket::{self, Bucket, BucketPtr, LINE};
use super::{BUCKET_LOAD, MAX_BUCKETS};
use crate::heap::block_size;

/// Arrays from this size are allocated so that the standard allocator gets them zeroed from the system, bytes.
const LAZY_ZERO_MIN: usize = 64 << 10;
const LAZY_ZERO_ALIGN: usize = 16;

/// An array of buckets.
pub(super) struct Generation<T> {
    pub(super) start: BucketPtr<T>,
    /// One less than the number of buckets; 0 also without an array.
    pub(super) mask: u32,
    /// Bytes between the memory as allocated and the first bucket.
    padding: u32,
}

impl<T> Generation<T> {
    /// No array: one bucket that is always empty.
    pub(super) const NONE: Generation<T> = Generation { start: BucketPtr::NOTHING, mask: 0, padding: 0 };

    pub(super) fn allocate(buckets: usize) -> Generation<T> {
        assert!(buckets.is_power_of_two() && buckets <= MAX_BUCKETS, "{buckets} buckets are not possible");
        let layout = Self::layout(buckets);
        // SAFETY: the layout is not empty.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let padding = memory.addr().get().wrapping_neg() % LINE;
        // SAFETY: a layout not aligned to lines has that much room to spare.
        let start = BucketPtr(unsafe { memory.add(padding) }.cast());
        Generation { start, mask: (buckets - 1) as u32, padding: padding as u32 }
    }

    /// The standard allocator clears over-aligned memory by hand, which touches all of it; so large arrays are
    /// allocated with small alignment and some bytes to spare.
    fn layout(buckets: usize) -> Layout {
        let size = buckets.checked_mul(size_of::<Bucket<T>>()).expect("bucket arrays fit the address space");
        let (size, align) =
            if size < LAZY_ZERO_MIN { (size, LINE) } else { (size + LINE - LAZY_ZERO_ALIGN, LAZY_ZERO_ALIGN) };
        Layout::from_size_align(size, align).expect("bucket arrays fit the address space")
    }

    /// # Safety
    ///
    /// Nothing refers to the array any more.
    pub(super) unsafe fn free(self) {
        if !self.is_none() {
            // SAFETY: the padding leads back to the memory as allocated, with this layout.
            unsafe {
                dealloc(self.start.0.cast::<u8>().sub(self.padding as usize).as_ptr(), Self::layout(self.buckets()))
            }
        }
    }

    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        self.start == BucketPtr::NOTHING
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> usize {
        self.mask as usize + 1
    }

    /// Entries at which the table grows.
    #[inline(always)]
    pub(super) fn limit(&self) -> usize {
        match self.mask {
            0 if self.is_none() => 0,
            0 => bucket::SLOTS,
            _ => self.buckets() * BUCKET_LOAD,
        }
    }

    pub(super) fn heap_size(&self) -> usize {
        if self.is_none() { 0 } else { block_size(Self::layout(self.buckets()).size()) }
    }

    /// The index must not be above the mask.
    #[inline(always)]
    pub(super) fn bucket(&self, index: u32) -> BucketPtr<T> {
        debug_assert!(index <= self.mask);
        // SAFETY: the array has that many buckets; without one the index is 0.
        BucketPtr(unsafe { self.start.0.add(index as usize) })
    }

    pub(super) fn homes_from(&self, index: u32) -> (BucketPtr<T>, usize) {
        if self.is_none() { (self.start, 0) } else { (self.bucket(index), self.buckets() - index as usize) }
    }
}
