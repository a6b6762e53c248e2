//! Iterators over the entries of a table: over its home buckets, over the slots of their chains, and what users see.
//!
//! All are one [`Walk`] that yields pointers; the wrappers say what may be done with them. The walk stops after as many
//! entries as the table has, without looking at the buckets behind the last one.

use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::Table;
use super::bucket::{BucketPtr, Meta, Slots};

/// Iterates over the home buckets of both generations.
pub(super) struct Homes<T> {
    now: (BucketPtr<T>, usize),
    then: (BucketPtr<T>, usize),
}

impl<T> Homes<T> {
    /// Takes two arrays of live buckets.
    pub(super) fn new(now: (BucketPtr<T>, usize), then: (BucketPtr<T>, usize)) -> Homes<T> {
        Homes { now, then }
    }
}

impl<T> Iterator for Homes<T> {
    type Item = BucketPtr<T>;

    #[inline]
    fn next(&mut self) -> Option<BucketPtr<T>> {
        if self.now.1 == 0 {
            self.now = std::mem::replace(&mut self.then, (BucketPtr::NOTHING, 0));
            if self.now.1 == 0 {
                return None;
            }
        }
        let home = self.now.0;
        // SAFETY: one bucket at least was left, so the next one is in the array or its end.
        self.now = (BucketPtr(unsafe { home.0.add(1) }), self.now.1 - 1);
        Some(home)
    }
}

/// Iterates over the places of all entries. The table must outlive it unchanged.
pub(super) struct Walk<T> {
    homes: Homes<T>,
    bucket: BucketPtr<T>,
    slots: Slots,
    left: usize,
}

impl<T> Walk<T> {
    pub(super) fn new(homes: Homes<T>, len: usize) -> Walk<T> {
        Walk { homes, bucket: BucketPtr::NOTHING, slots: Meta::EMPTY.occupied(), left: len }
    }
}

impl<T> Iterator for Walk<T> {
    type Item = NonNull<T>;

    #[inline]
    fn next(&mut self) -> Option<NonNull<T>> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: homes and links lead to live buckets.
        unsafe {
            loop {
                if let Some(slot) = self.slots.next() {
                    self.left -= 1;
                    return Some(self.bucket.slot(slot));
                }
                let chained = self.bucket.meta().is_chained();
                self.bucket = if chained { self.bucket.next() } else { self.homes.next()? };
                self.slots = self.bucket.meta().occupied();
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Iterates over references to the entries of a table.
pub struct Iter<'a, T> {
    walk: Walk<T>,
    table: PhantomData<&'a T>,
}

/// Iterates over the entries of a table for changing them.
pub struct IterMut<'a, T> {
    walk: Walk<T>,
    table: PhantomData<&'a mut T>,
}

/// Moves the entries out of a table.
pub struct IntoIter<T> {
    walk: Walk<T>,
    table: ManuallyDrop<Table<T>>,
}

// SAFETY: it is a shared reference to the table.
unsafe impl<T: Sync> Send for Iter<'_, T> {}
// SAFETY: it is a unique reference to the table.
unsafe impl<T: Send> Send for IterMut<'_, T> {}
// SAFETY: it owns the table.
unsafe impl<T: Send> Send for IntoIter<T> {}

impl<T> Iter<'_, T> {
    pub(super) fn new(walk: Walk<T>) -> Self {
        Iter { walk, table: PhantomData }
    }
}

impl<T> IterMut<'_, T> {
    pub(super) fn new(walk: Walk<T>) -> Self {
        IterMut { walk, table: PhantomData }
    }
}

impl<T> IntoIter<T> {
    pub(super) fn new(table: Table<T>) -> Self {
        IntoIter { walk: table.walk(), table: ManuallyDrop::new(table) }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        // SAFETY: the table is borrowed for the lifetime, so the entry stays.
        self.walk.next().map(|entry| unsafe { entry.as_ref() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl<'a, T> Iterator for IterMut<'a, T> {
    type Item = &'a mut T;

    #[inline]
    fn next(&mut self) -> Option<&'a mut T> {
        // SAFETY: the table is uniquely borrowed for the lifetime, and every entry is yielded once.
        self.walk.next().map(|mut entry| unsafe { entry.as_mut() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        // SAFETY: every entry is yielded once, and nothing else reads the table from now on.
        self.walk.next().map(|entry| unsafe { entry.read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
impl<T> ExactSizeIterator for IterMut<'_, T> {}
impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IterMut<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        // SAFETY: what was not yielded is dropped, then the memory is freed; if an entry panics, the rest leaks.
        unsafe {
            self.walk.by_ref().for_each(|entry| entry.drop_in_place());
            self.table.free_buckets();
        }
    }
}
