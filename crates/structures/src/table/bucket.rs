//! Buckets: one cache line with seven entries, and chains of them.
//!
//! ```text
//!   64 bytes  │ tag 0 │ tag 1 │ … │ tag 6 │ control │ slot 0 │ slot 1 │ … │ slot 6 │
//!                                         │                                └─► next bucket, if the control byte is not 0
//!                                         └─ which tags (by their low 3 bits) may occur in the buckets behind this one
//! ```
//!
//! A tag is the high byte of the hash, never 0; 0 says that the slot is empty. The eight bytes are one word, and all
//! seven tags are compared at once with ordinary arithmetic. In a chained bucket tag 6 is 0 and slot 6 a pointer. The
//! control byte is a filter: most lookups of absent keys end at the home bucket even if it is chained. Its bits are a
//! superset of what is true; they are cleared when the chain ends or is rebuilt.
//!
//! In a chain at rest all buckets but the home bucket and the second one are full, and the second holds at least two
//! entries if it is the last. So inserting looks at two buckets however long the chain is, and a chain gives its
//! memory back at once. Nothing relies on that shape for safety: buckets may have holes anywhere.
//!
//! Every function here takes raw buckets: who calls it says that they are alive and that nobody else uses them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Entries in a bucket.
pub(super) const SLOTS: usize = 7;
const LINK_SLOT: usize = SLOTS - 1;

/// Buckets are aligned to cache lines.
pub(super) use crate::prefetch::LINE;

const LOW_BITS: u64 = 0x0001_0101_0101_0101;
const LOW_SEVENS: u64 = 0x007f_7f7f_7f7f_7f7f;
const HIGH_BITS: u64 = 0x0080_8080_8080_8080;
const CONTROL_SHIFT: u32 = 56;
const LINK_SLOT_SHIFT: u32 = 8 * LINK_SLOT as u32 + 7;

/// Returns the tag of a hash: its high byte, or 1 if that is 0.
#[inline(always)]
pub(super) fn tag_of(hash: u64) -> u8 {
    let tag = (hash >> 56) as u8;
    tag + u8::from(tag == 0)
}

/// The first word of a bucket: seven tags and the control byte.
#[derive(Clone, Copy)]
pub(super) struct Meta(u64);

impl Meta {
    pub(super) const EMPTY: Meta = Meta(0);

    /// Returns the slots with this tag. There are no false positives: a slot it names is occupied.
    #[inline(always)]
    pub(super) fn matching(self, tag: u8) -> Slots {
        let difference = self.0 ^ LOW_BITS.wrapping_mul(u64::from(tag));
        Slots(!(((difference & LOW_SEVENS) + LOW_SEVENS) | difference) & HIGH_BITS)
    }

    #[inline(always)]
    pub(super) fn occupied(self) -> Slots {
        Slots((((self.0 & LOW_SEVENS) + LOW_SEVENS) | self.0) & HIGH_BITS)
    }

    #[inline(always)]
    fn free(self) -> Slots {
        let link = u64::from(self.is_chained()) << LINK_SLOT_SHIFT;
        Slots(self.occupied().0 ^ HIGH_BITS & !link)
    }

    #[inline(always)]
    pub(super) fn is_chained(self) -> bool {
        self.0 >> CONTROL_SHIFT != 0
    }

    /// Tells whether an entry with this tag may be in the buckets behind this one; if so, the bucket is chained.
    #[inline(always)]
    pub(super) fn may_follow(self, tag: u8) -> bool {
        self.0 & Meta::filter(tag) != 0
    }

    /// The bit of the control byte for a tag.
    #[inline(always)]
    fn filter(tag: u8) -> u64 {
        1 << (CONTROL_SHIFT + u32::from(tag & 7))
    }

    fn control(self) -> u64 {
        self.0 >> CONTROL_SHIFT << CONTROL_SHIFT
    }

    #[inline(always)]
    pub(super) fn tag(self, slot: usize) -> u8 {
        (self.0 >> (8 * slot)) as u8
    }

    /// The slot must be empty.
    #[inline(always)]
    fn with(self, slot: usize, tag: u8) -> Meta {
        Meta(self.0 | u64::from(tag) << (8 * slot))
    }

    #[inline(always)]
    fn without(self, slot: usize) -> Meta {
        Meta(self.0 & !(0xff << (8 * slot)))
    }
}

/// A set of slots: the high bit of the byte of each. Iterating empties it.
#[derive(Clone, Copy)]
pub(super) struct Slots(u64);

impl Slots {
    #[inline(always)]
    fn first(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some((self.0.trailing_zeros() / 8) as usize) }
    }

    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let slot = self.first()?;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// A bucket in memory. All zeros is an empty one.
#[repr(C, align(8))]
pub(super) struct Bucket<T> {
    _meta: Meta,
    slots: [Slot<T>; SLOTS],
}

union Slot<T> {
    _entry: ManuallyDrop<T>,
    _next: Option<NonNull<Bucket<T>>>,
}

/// A pointer to a bucket; copies alias.
pub(super) struct BucketPtr<T>(pub(super) NonNull<Bucket<T>>);

impl<T> Clone for BucketPtr<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for BucketPtr<T> {}

impl<T> PartialEq for BucketPtr<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[repr(align(64))]
struct Nothing {
    _line: [u64; LINE / 8],
}

static NOTHING: Nothing = Nothing { _line: [0; LINE / 8] };

impl<T> BucketPtr<T> {
    /// Layout of an overflow bucket.
    const LAYOUT: Layout = {
        assert!(align_of::<T>() <= LINE, "entries are aligned to a cache line at most");
        match Layout::from_size_align(size_of::<Bucket<T>>(), LINE) {
            Ok(layout) => layout,
            Err(_) => panic!("a bucket is too large"),
        }
    };

    /// The bucket of tables without memory: empty, not chained, and never written.
    pub(super) const NOTHING: BucketPtr<T> = BucketPtr(NonNull::from_ref(&NOTHING).cast());

    /// Asks the processor to load the line.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        crate::prefetch::line(self.0.as_ptr());
    }

    /// # Safety
    ///
    /// The bucket is alive.
    #[inline(always)]
    pub(super) unsafe fn meta(self) -> Meta {
        // SAFETY: the word stands first in a live bucket.
        unsafe { self.0.cast::<Meta>().read() }
    }

    /// # Safety
    ///
    /// The bucket is alive, and not the one of [`BucketPtr::NOTHING`].
    #[inline(always)]
    pub(super) unsafe fn set_meta(self, meta: Meta) {
        // SAFETY: the word stands first in a live bucket.
        unsafe { self.0.cast::<Meta>().write(meta) }
    }

    /// Returns where an entry stands.
    ///
    /// # Safety
    ///
    /// The bucket is alive, and the slot below [`SLOTS`].
    #[inline(always)]
    pub(super) unsafe fn slot(self, slot: usize) -> NonNull<T> {
        debug_assert!(slot < SLOTS);
        // SAFETY: the slots are inside the bucket.
        unsafe { NonNull::new_unchecked((&raw mut (*self.0.as_ptr()).slots).cast::<Slot<T>>().add(slot).cast::<T>()) }
    }

    /// Returns the next bucket of the chain.
    ///
    /// # Safety
    ///
    /// The bucket is alive and chained.
    #[inline(always)]
    pub(super) unsafe fn next(self) -> BucketPtr<T> {
        // SAFETY: in a chained bucket the last slot holds a pointer to a live bucket.
        unsafe { BucketPtr(self.slot(LINK_SLOT).cast::<NonNull<Bucket<T>>>().read()) }
    }

    /// Makes the bucket chained to another, adding to its filter; its last slot must hold no entry.
    ///
    /// # Safety
    ///
    /// Both are alive; the filter is not empty and covers all entries from `next` on, with what was there before.
    unsafe fn link(self, next: BucketPtr<T>, filter: u64) {
        // SAFETY: the last slot has room for a pointer, by the union.
        unsafe {
            self.slot(LINK_SLOT).cast::<NonNull<Bucket<T>>>().write(next.0);
            self.admit(filter);
        }
    }

    /// Adds to the filter of a chained bucket.
    ///
    /// # Safety
    ///
    /// The bucket is alive, and its last slot holds a pointer.
    unsafe fn admit(self, filter: u64) {
        // SAFETY: the bucket is alive.
        unsafe { self.set_meta(Meta(self.meta().0 | filter)) }
    }

    /// Writes an entry into an empty slot and returns where.
    ///
    /// # Safety
    ///
    /// The bucket is alive and the slot empty.
    #[inline(always)]
    unsafe fn fill(self, slot: usize, tag: u8, value: T) -> NonNull<T> {
        // SAFETY: the slot is in the bucket and holds nothing that would have to be dropped.
        unsafe {
            self.set_meta(self.meta().with(slot, tag));
            self.slot(slot).write(value);
            self.slot(slot)
        }
    }

    /// Takes an entry out of its slot and leaves a hole.
    ///
    /// # Safety
    ///
    /// The bucket is alive and the slot occupied.
    #[inline(always)]
    pub(super) unsafe fn take(self, slot: usize) -> T {
        // SAFETY: the entry is read once, for the slot is empty then.
        unsafe {
            self.set_meta(self.meta().without(slot));
            self.slot(slot).read()
        }
    }

    /// Makes an empty overflow bucket.
    fn allocate(overflow: &mut u32) -> BucketPtr<T> {
        // SAFETY: the layout is not empty.
        let Some(memory) = NonNull::new(unsafe { alloc(Self::LAYOUT) }) else { handle_alloc_error(Self::LAYOUT) };
        let bucket = BucketPtr(memory.cast());
        // SAFETY: the memory is ours; with this word it is an empty bucket.
        unsafe { bucket.set_meta(Meta::EMPTY) };
        *overflow += 1;
        bucket
    }

    /// Frees an overflow bucket, dropping nothing.
    ///
    /// # Safety
    ///
    /// It came from [`BucketPtr::allocate`], and nothing refers to it.
    unsafe fn free(self, overflow: &mut u32) {
        *overflow -= 1;
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::LAYOUT) }
    }
}

/// Puts an entry into the chain of a home bucket and returns where it stands.
///
/// # Safety
///
/// The chain is alive and its home bucket allocated.
#[inline(always)]
pub(super) unsafe fn push<T>(home: BucketPtr<T>, tag: u8, value: T, overflow: &mut u32) -> NonNull<T> {
    // SAFETY: the slot is a free one of the home bucket.
    unsafe {
        match home.meta().free().first() {
            Some(slot) => home.fill(slot, tag, value),
            None => push_behind(home, tag, value, overflow),
        }
    }
}

/// Puts an entry behind a full home bucket.
///
/// # Safety
///
/// The chain is alive.
#[inline(never)]
unsafe fn push_behind<T>(home: BucketPtr<T>, tag: u8, value: T, overflow: &mut u32) -> NonNull<T> {
    // SAFETY: the slots used are free; the home bucket is full, so without a link its last slot holds an entry, which
    // moves to the new bucket before the link overwrites it.
    unsafe {
        if !home.meta().is_chained() {
            let fresh = BucketPtr::allocate(overflow);
            let link_tag = home.meta().tag(LINK_SLOT);
            fresh.fill(0, link_tag, home.take(LINK_SLOT));
            home.link(fresh, Meta::filter(link_tag) | Meta::filter(tag));
            return fresh.fill(1, tag, value);
        }
        let behind = home.meta().control();
        home.admit(Meta::filter(tag));
        let second = home.next();
        if let Some(slot) = second.meta().free().first() {
            return second.fill(slot, tag, value);
        }
        let fresh = BucketPtr::allocate(overflow);
        fresh.link(second, behind);
        home.link(fresh, Meta::filter(tag));
        fresh.fill(0, tag, value)
    }
}

/// Takes an entry out of a chain and closes the hole.
///
/// # Safety
///
/// The chain is alive, the bucket belongs to it and the slot is occupied.
#[inline(always)]
pub(super) unsafe fn remove<T>(home: BucketPtr<T>, bucket: BucketPtr<T>, slot: usize, overflow: &mut u32) -> T {
    // SAFETY: as the caller says.
    unsafe {
        let value = bucket.take(slot);
        if home.meta().is_chained() {
            close_hole(home, bucket, slot, overflow);
        }
        value
    }
}

/// Fills a hole from the second bucket of the chain, and frees that when it is no longer needed.
///
/// # Safety
///
/// The chain is alive, its home bucket chained, the bucket belongs to it and the slot is empty.
unsafe fn close_hole<T>(home: BucketPtr<T>, bucket: BucketPtr<T>, slot: usize, overflow: &mut u32) {
    // SAFETY: entries move from occupied to empty slots; a bucket is freed when it is empty and unlinked.
    unsafe {
        let second = home.next();
        if bucket != second
            && let Some(donor) = second.meta().occupied().first()
        {
            let tag = second.meta().tag(donor);
            bucket.fill(slot, tag, second.take(donor));
            if bucket != home {
                let mut before = second;
                while before != bucket {
                    before.admit(Meta::filter(tag));
                    before = before.next();
                }
            }
        }
        let meta = second.meta();
        let rest = meta.occupied();
        if meta.is_chained() {
            if rest.count() == 0 {
                home.link(second.next(), meta.control());
                second.free(overflow);
            }
        } else if rest.count() <= 1 {
            unlink(home);
            if let Some(last) = rest.first() {
                home.fill(LINK_SLOT, meta.tag(last), second.take(last));
            }
            second.free(overflow);
        }
    }
}

/// Makes a bucket unchained, its last slot empty.
///
/// # Safety
///
/// The bucket is alive; what it was linked to is now the caller's.
unsafe fn unlink<T>(bucket: BucketPtr<T>) {
    // SAFETY: tag 6 of a chained bucket is 0 already, so the last slot counts as empty.
    unsafe { bucket.set_meta(Meta(bucket.meta().0 ^ bucket.meta().control())) }
}

/// Replaces the content of a home bucket by that of the next bucket of its chain, which it frees. Whether there was one.
///
/// # Safety
///
/// The chain is alive, and the entries in the home bucket have been moved out.
pub(super) unsafe fn pull_up<T>(home: BucketPtr<T>, overflow: &mut u32) -> bool {
    // SAFETY: two different buckets; the entries are moved bytewise and the bucket they came from is freed as memory.
    unsafe {
        if !home.meta().is_chained() {
            home.set_meta(Meta::EMPTY);
            return false;
        }
        let next = home.next();
        home.0.copy_from_nonoverlapping(next.0, 1);
        next.free(overflow);
        true
    }
}

/// Closes the holes anywhere in a chain.
///
/// # Safety
///
/// The chain is alive.
pub(super) unsafe fn compact<T>(home: BucketPtr<T>, overflow: &mut u32) {
    // SAFETY: the overflow buckets are cut off, then emptied and freed one by one; entries go to free slots.
    unsafe {
        let mut link = home.meta().is_chained().then(|| home.next());
        unlink(home);
        while let Some(bucket) = link {
            let meta = bucket.meta();
            for slot in meta.occupied() {
                push(home, meta.tag(slot), bucket.slot(slot).read(), overflow);
            }
            link = meta.is_chained().then(|| bucket.next());
            bucket.free(overflow);
        }
    }
}

/// Frees the overflow buckets of a chain, dropping no entries.
///
/// # Safety
///
/// The chain is alive, and its entries have been moved out or dropped.
pub(super) unsafe fn free_chain<T>(home: BucketPtr<T>, overflow: &mut u32) {
    // SAFETY: pull_up takes one bucket off at a time.
    unsafe { while pull_up(home, overflow) {} }
}

/// Returns the number of entries in a chain.
///
/// # Safety
///
/// The chain is alive.
pub(super) unsafe fn count<T>(home: BucketPtr<T>) -> usize {
    let (mut bucket, mut sum) = (home, 0);
    // SAFETY: links lead to live buckets.
    unsafe {
        loop {
            sum += bucket.meta().occupied().count();
            if !bucket.meta().is_chained() {
                return sum;
            }
            bucket = bucket.next();
        }
    }
}

/// Returns the entry with this number in a chain.
///
/// # Safety
///
/// The chain is alive.
pub(super) unsafe fn nth<T>(home: BucketPtr<T>, mut number: usize) -> Option<NonNull<T>> {
    let mut bucket = home;
    // SAFETY: links lead to live buckets.
    unsafe {
        loop {
            let mut occupied = bucket.meta().occupied();
            if number < occupied.count() {
                return occupied.nth(number).map(|slot| bucket.slot(slot));
            }
            number -= occupied.count();
            if !bucket.meta().is_chained() {
                return None;
            }
            bucket = bucket.next();
        }
    }
}
