//! Families: the buckets of both generations that hold what has the same low bits of its hash.
//!
//! A bucket holds the hashes that agree in as many low bits as its generation needs to tell its buckets apart. So those that agree in some low bits stand in one
//! bucket of a generation that is smaller, among others, and in several of one that is larger, alone. Scans visit the family of a bucket of the smaller
//! generation. A *group* is chosen by the caller and is the same set of entries however the table grows or shrinks: who once divided a table into groups
//! can go on with them.

use super::bucket::BucketPtr;
use super::generation::Generation;
use super::{IDLE, MAX_BUCKETS, Table, for_each};

impl<T> Table<T> {
    /// Returns the mask that makes a group of what each bucket holds now.
    pub fn group_mask(&self) -> u32 {
        self.current.mask
    }

    /// Visits the entries of a group: those whose hashes, in the bits of the mask, are `group`. The mask is one less than a power of two.
    ///
    /// It looks at one bucket, or at several if the table has grown since it had as many buckets as there are groups. If it has shrunk, `hash` tells which
    /// entries of the bucket belong to the group.
    ///
    /// ```
    /// use redpoll_structures::table::Table;
    ///
    /// let hash = |number: &u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let mut table = Table::new();
    /// (0..100).for_each(|number| drop(table.insert_unique(hash(&number), number, hash)));
    /// let mut odd = Vec::new();
    /// table.visit_group(1, 1, hash, |number| odd.push(*number));
    /// odd.sort();
    /// assert!(odd.into_iter().eq((1..100).step_by(2)));
    /// ```
    pub fn visit_group(&self, group: u32, mask: u32, hash: impl Fn(&T) -> u64, mut visit: impl FnMut(&T)) {
        assert!(mask < MAX_BUCKETS as u32 && (mask + 1).is_power_of_two() && group <= mask, "{group} of {mask}");
        for generation in [&self.old, &self.current] {
            let is_mixed = generation.mask < mask;
            for home in Expansion::new(generation, group & generation.mask, mask) {
                // SAFETY: buckets and entries are alive while the table is borrowed.
                unsafe {
                    for_each(home, |bucket, slot| {
                        let entry = bucket.slot(slot).as_ref();
                        if !is_mixed || hash(entry) as u32 & mask == group {
                            visit(entry);
                        }
                    });
                }
            }
        }
    }

    /// The buckets that belong to a cursor in both generations, and the next cursor.
    pub(super) fn family(&self, cursor: u64) -> (Family<T>, u64) {
        let (small, large) = match self.moved {
            IDLE => (&self.current, None),
            _ if self.old.mask <= self.current.mask => (&self.old, Some(&self.current)),
            _ => (&self.current, Some(&self.old)),
        };
        let low = cursor as u32 & small.mask;
        let next = (low | !small.mask).reverse_bits().wrapping_add(1).reverse_bits();
        let first = small.bucket(low);
        let rest = large.map(|large| Expansion::new(large, low, small.mask));
        (Family { first: Some(first), rest }, u64::from(next))
    }
}

/// The buckets a scan visits with one cursor.
pub(super) struct Family<T> {
    first: Option<BucketPtr<T>>,
    rest: Option<Expansion<T>>,
}

impl<T> Iterator for Family<T> {
    type Item = BucketPtr<T>;

    fn next(&mut self) -> Option<BucketPtr<T>> {
        self.first.take().or_else(|| self.rest.as_mut()?.next())
    }
}

/// The buckets of a generation whose low bits agree.
struct Expansion<T> {
    start: BucketPtr<T>,
    index: u32,
    step: u32,
    mask: u32,
}

impl<T> Expansion<T> {
    /// Those that agree with `index` in the bits of `mask`, from that one on.
    fn new(generation: &Generation<T>, index: u32, mask: u32) -> Expansion<T> {
        Expansion { start: generation.start, index, step: mask + 1, mask: generation.mask }
    }
}

impl<T> Iterator for Expansion<T> {
    type Item = BucketPtr<T>;

    fn next(&mut self) -> Option<BucketPtr<T>> {
        if self.index > self.mask {
            return None;
        }
        // SAFETY: the index is not above the mask, so it is in the array.
        let bucket = BucketPtr(unsafe { self.start.0.add(self.index as usize) });
        self.index += self.step;
        Some(bucket)
    }
}
