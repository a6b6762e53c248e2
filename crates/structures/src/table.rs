//! A hash table of cache-line buckets that grows and shrinks a little at a time and can be scanned statelessly.
//!
//! ```text
//!   hash  63 … 56  tag       … 0  bucket (low bits)
//!
//!   current  [ bucket │ bucket │ bucket │ bucket │ … ]      power of two; 7 entries a bucket, more in chained ones
//!   old      [ ·      │ ·      │ bucket │ bucket ]          while growing or shrinking: those before `moved` are empty
//!                        moved ──┘
//! ```
//!
//! **Lookup.** A bucket is one cache line: seven tags, compared at once, and seven entries. An entry is compared with
//! the key only if its tag agrees, so a lookup touches one line of the table and, nearly always, only the record it is
//! looking for. The caller hashes and compares; the table knows neither keys nor hash functions. An entry waits in the
//! old generation exactly until its bucket has been moved, so there is always one place to look.
//!
//! **Memory.** The table doubles at [`BUCKET_LOAD`] entries a bucket on average, counting those in chains: 12 to 17
//! bytes for an 8-byte entry, and some 33 at worst after removals. Up to seven entries take one bucket, none takes nothing.
//!
//! **Stalls.** Growing and shrinking allocate the new generation (zeroed lazily by the operating system when it is
//! large) and then move [`STEP_BUCKETS`] buckets with every insertion and removal, so that nothing but the allocator
//! ever works in proportion to the size of the table. A table that hardly any hash bits reach has long chains, and moves
//! a chain at a time.
//!
//! **Scans.** A cursor names a bucket and is advanced from its high bit down (the reverse binary increment that Pieter
//! Noordhuis found for Redis). When buckets split or merge, those already visited stay the ones before the cursor, so a
//! full scan meets every entry that was there all the time, some of them twice.
//!
//! Panics in the caller's closures leave a table that can still be used and drops nothing twice. If `rehash` panics,
//! entries of the bucket just being moved cannot be found until the move is taken up again.

use std::fmt;

use bucket::{Bucket, BucketPtr, tag_of};
use generation::Generation;
use iter::{Homes, Walk};

pub use iter::{IntoIter, Iter, IterMut};

mod bucket;
mod family;
mod generation;
mod iter;
#[cfg(test)]
mod tests;

/// Entries a bucket, on average, at which the table doubles.
pub const BUCKET_LOAD: usize = 8;

/// Buckets moved by one insertion or removal while the table grows or shrinks.
pub const STEP_BUCKETS: usize = 2;

/// The table shrinks when it has fewer entries than this a bucket on average, to about twice as many.
const SPARSE_LOAD: usize = 2;

/// A generation of at most so many buckets is moved at once.
const MOVE_WHOLE_BUCKETS: usize = 4;

/// Most buckets of a table; beyond, the chains grow.
const MAX_BUCKETS: usize = 1 << 31;

/// Up to so many buckets, a random entry is chosen by counting.
const COUNTED_BUCKETS: usize = 4;
const RANDOM_TRIES: usize = 64;
/// Chains up to this length have exactly the chance they deserve.
const FAIR_CHAIN_LEN: u64 = 16;

/// The value of `moved` while there is one generation.
const IDLE: u32 = u32::MAX;

/// A set of entries found by the hash the caller gives.
///
/// ```
/// use redpoll_structures::table::Table;
///
/// let hash = |number: &u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let mut table = Table::new();
/// table.insert_unique(hash(&7), 7, hash);
/// assert_eq!(table.find(hash(&7), |entry| *entry == 7), Some(&7));
/// assert_eq!(table.remove(hash(&7), |entry| *entry == 7, hash), Some(7));
/// ```
pub struct Table<T> {
    current: Generation<T>,
    old: Generation<T>,
    len: usize,
    /// How many buckets of the old generation have been moved, or [`IDLE`].
    moved: u32,
    /// Overflow buckets of both generations.
    overflow: u32,
}

// SAFETY: the table owns its buckets and entries, and shared access only reads them.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Table<T> {}

impl<T> Table<T> {
    /// Makes an empty table, without memory.
    pub const fn new() -> Table<T> {
        Table { current: Generation::NONE, old: Generation::NONE, len: 0, moved: IDLE, overflow: 0 }
    }

    /// Returns the number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there are no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all entries and frees the memory.
    pub fn clear(&mut self) {
        *self = Table::new();
    }

    /// Returns the bytes of the buckets, without what the entries own.
    pub fn heap_size(&self) -> usize {
        self.current.heap_size() + self.old.heap_size() + self.overflow as usize * size_of::<Bucket<T>>()
    }

    /// Makes room for so many entries more, so that inserting them does not grow the table. Completes a move under way
    /// and starts one: for bulk loading. Removals may give the room back.
    pub fn reserve(&mut self, additional: usize, rehash: impl Fn(&T) -> u64) {
        let wanted = self.len.saturating_add(additional);
        if wanted <= self.current.limit() {
            return;
        }
        while self.moved != IDLE {
            self.move_bucket(&rehash);
        }
        let buckets = if wanted < BUCKET_LOAD { 1 } else { wanted.div_ceil(BUCKET_LOAD).next_power_of_two() };
        self.resize(buckets.min(MAX_BUCKETS), &rehash);
    }

    /// Returns the entry with this hash that `eq` accepts.
    #[inline]
    pub fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        // SAFETY: the home bucket of a hash is alive; the entry found lives as long as the table is not changed.
        unsafe {
            let (bucket, slot) = locate(self.home(hash), tag_of(hash), eq)?;
            Some(bucket.slot(slot).as_ref())
        }
    }

    /// Returns the entry with this hash that `eq` accepts, for changing it. Its hash must stay the same.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        // SAFETY: as in find; `&mut self` makes the reference unique.
        unsafe {
            let (bucket, slot) = locate(self.home(hash), tag_of(hash), eq)?;
            Some(bucket.slot(slot).as_mut())
        }
    }

    /// Inserts an entry of which the caller knows that it is absent, and returns it.
    #[inline]
    pub fn insert_unique(&mut self, hash: u64, value: T, rehash: impl Fn(&T) -> u64) -> &mut T {
        if self.moved != IDLE {
            self.step(&rehash);
        } else if self.len >= self.current.limit() {
            self.grow(&rehash);
        }
        // SAFETY: the table has buckets now, so the home bucket is an allocated one.
        unsafe {
            let slot = bucket::push(self.home(hash), tag_of(hash), value, &mut self.overflow);
            self.len += 1;
            &mut *slot.as_ptr()
        }
    }

    /// Removes the entry with this hash that `eq` accepts.
    #[inline]
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&T) -> bool, rehash: impl Fn(&T) -> u64) -> Option<T> {
        let home = self.home(hash);
        // SAFETY: the slot found is occupied and in the chain of the home bucket.
        let value = unsafe {
            let (bucket, slot) = locate(home, tag_of(hash), eq)?;
            bucket::remove(home, bucket, slot, &mut self.overflow)
        };
        self.len -= 1;
        self.after_removal(&rehash);
        Some(value)
    }

    /// Goes one step towards an entry that will be looked up soon, asking the processor to load what the next step needs, and hands entries that
    /// have the right tag to `near` without reading them. Step 0 asks for the bucket, step 1 looks into it, further steps follow its chain.
    /// Returns whether there is a further step.
    #[inline]
    pub fn approach(&self, hash: u64, step: usize, mut near: impl FnMut(&T)) -> bool {
        let (mut bucket, tag) = (self.home(hash), tag_of(hash));
        if step == 0 {
            bucket.prefetch();
            return true;
        }
        // SAFETY: the home bucket is alive, links lead to live buckets, and matching names occupied slots only.
        unsafe {
            for _ in 1..step {
                if !bucket.meta().may_follow(tag) {
                    return false;
                }
                bucket = bucket.next();
            }
            let meta = bucket.meta();
            meta.matching(tag).for_each(|slot| near(bucket.slot(slot).as_ref()));
            let follows = meta.may_follow(tag);
            if follows {
                bucket.next().prefetch();
            }
            follows
        }
    }

    /// Visits the entries of some buckets and returns the cursor to go on with; the first and the last cursor are 0.
    ///
    /// An entry that is present from the first call to the last is visited at least once, even when the table grows
    /// or shrinks in between. One call visits one bucket of the smaller generation and those of the larger one into
    /// which it splits.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&T)) -> u64 {
        let (family, next) = self.family(cursor);
        for home in family {
            // SAFETY: buckets and entries are alive while the table is borrowed.
            unsafe { for_each(home, |bucket, slot| visit(bucket.slot(slot).as_ref())) };
        }
        next
    }

    /// Visits buckets like [`Table::scan`], removes the entries that `keep` refuses and hands them to `removed`.
    pub fn sweep(
        &mut self,
        cursor: u64,
        mut keep: impl FnMut(&mut T) -> bool,
        mut removed: impl FnMut(T),
        rehash: impl Fn(&T) -> u64,
    ) -> u64 {
        let (family, next) = self.family(cursor);
        let len_before = self.len;
        for home in family {
            let len = self.len;
            // SAFETY: the buckets are alive and, through `&mut self`, ours; for_each names occupied slots. The holes
            // are harmless until they are closed.
            unsafe {
                for_each(home, |bucket, slot| {
                    if !keep(bucket.slot(slot).as_mut()) {
                        self.len -= 1;
                        removed(bucket.take(slot));
                    }
                });
                if self.len < len && home.meta().is_chained() {
                    bucket::compact(home, &mut self.overflow);
                }
            }
        }
        if self.len < len_before {
            self.after_removal(&rehash);
        }
        next
    }

    /// Returns an entry chosen by the random number, or nothing if there is none.
    ///
    /// All entries have the same chance as long as no chain is longer than 16.
    pub fn random(&self, random: u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        let mut seed = mix(random);
        let waiting = if self.moved == IDLE { 0 } else { self.old.buckets() - self.moved as usize };
        let buckets = waiting + self.current.buckets();
        if buckets <= COUNTED_BUCKETS {
            return self.iter().nth(scale(seed, self.len));
        }
        let home = |index: usize| {
            if index < waiting {
                self.old.bucket(self.moved + index as u32)
            } else {
                self.current.bucket((index - waiting) as u32)
            }
        };
        // SAFETY: home yields live buckets for indexes below `buckets`; entries live while the table is borrowed.
        unsafe {
            // A bucket with n of 16 imagined places filled is accepted with a chance of n in 16.
            for _ in 0..RANDOM_TRIES {
                let chain = home(scale(seed, buckets));
                let count = bucket::count(chain) as u64;
                let place = if count > FAIR_CHAIN_LEN { mix(seed) % count } else { seed % FAIR_CHAIN_LEN };
                if place < count {
                    return bucket::nth(chain, place as usize).map(|entry| entry.as_ref());
                }
                seed = mix(seed);
            }
            // A sparse table: the next bucket that has entries.
            let start = scale(seed, buckets);
            let chain = (start..buckets).chain(0..start).map(home).find(|chain| bucket::count(*chain) > 0)?;
            bucket::nth(chain, scale(mix(seed), bucket::count(chain))).map(|entry| entry.as_ref())
        }
    }

    /// Iterates over the entries in no particular order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self.walk())
    }

    /// Iterates over the entries for changing them. Their hashes must stay the same.
    pub fn iter_mut(&mut self) -> IterMut<'_, T> {
        IterMut::new(self.walk())
    }

    /// Takes all entries out and leaves the table empty, without memory.
    pub fn drain(&mut self) -> IntoIter<T> {
        std::mem::take(self).into_iter()
    }

    /// The one bucket where an entry with this hash can start.
    #[inline(always)]
    fn home(&self, hash: u64) -> BucketPtr<T> {
        let index = hash as u32 & self.old.mask;
        if index >= self.moved { self.old.bucket(index) } else { self.current.bucket(hash as u32 & self.current.mask) }
    }

    fn homes(&self) -> Homes<T> {
        let moved = if self.moved == IDLE { 0 } else { self.moved };
        Homes::new(self.old.homes_from(moved), self.current.homes_from(0))
    }

    fn walk(&self) -> Walk<T> {
        Walk::new(self.homes(), self.len)
    }

    #[inline]
    fn after_removal(&mut self, rehash: &impl Fn(&T) -> u64) {
        if self.len == 0 {
            self.clear();
        } else if self.moved != IDLE {
            self.step(rehash);
        } else if self.len < SPARSE_LOAD * self.current.buckets() && self.current.mask != 0 {
            self.shrink(rehash);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, rehash: &impl Fn(&T) -> u64) {
        if self.current.is_none() {
            self.resize(1, rehash);
        } else if self.current.buckets() < MAX_BUCKETS {
            self.resize(self.current.buckets() * 2, rehash);
        }
    }

    #[cold]
    #[inline(never)]
    fn shrink(&mut self, rehash: &impl Fn(&T) -> u64) {
        let buckets = self.len.div_ceil(2 * SPARSE_LOAD).next_power_of_two();
        if buckets < self.current.buckets() {
            self.resize(buckets, rehash);
        }
    }

    /// Starts to move to a generation of that many buckets. None may be under way.
    fn resize(&mut self, buckets: usize, rehash: &impl Fn(&T) -> u64) {
        assert!(self.moved == IDLE, "one move at a time");
        if self.current.buckets() == buckets && !self.current.is_none() {
            return;
        }
        let fresh = Generation::allocate(buckets);
        if self.len == 0 {
            self.clear();
            self.current = fresh;
            return;
        }
        self.old = std::mem::replace(&mut self.current, fresh);
        self.moved = 0;
        if self.old.buckets() <= MOVE_WHOLE_BUCKETS {
            while self.moved != IDLE {
                self.move_bucket(rehash);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn step(&mut self, rehash: &impl Fn(&T) -> u64) {
        for _ in 0..STEP_BUCKETS {
            if self.moved == IDLE {
                return;
            }
            self.move_bucket(rehash);
        }
    }

    /// Moves the next bucket of the old generation, with its chain; frees that generation after the last one.
    fn move_bucket(&mut self, rehash: &impl Fn(&T) -> u64) {
        let home = self.old.bucket(self.moved);
        // SAFETY: both generations are alive. All hashes of a bucket are computed before its entries are moved, so
        // `rehash` never runs while an entry is in two places.
        unsafe {
            loop {
                let meta = home.meta();
                let mut hashes = [0; bucket::SLOTS];
                for slot in meta.occupied() {
                    hashes[slot] = rehash(home.slot(slot).as_ref());
                }
                for slot in meta.occupied() {
                    let target = self.current.bucket(hashes[slot] as u32 & self.current.mask);
                    bucket::push(target, meta.tag(slot), home.slot(slot).read(), &mut self.overflow);
                }
                if !bucket::pull_up(home, &mut self.overflow) {
                    break;
                }
            }
        }
        self.moved += 1;
        if self.moved > self.old.mask {
            self.moved = IDLE;
            // SAFETY: all its buckets are empty, and nothing refers to them any more.
            unsafe { std::mem::replace(&mut self.old, Generation::NONE).free() };
        }
    }

    /// Frees all memory without dropping entries, and leaves the table empty.
    ///
    /// # Safety
    ///
    /// The entries have been moved out or dropped.
    unsafe fn free_buckets(&mut self) {
        let homes = self.homes();
        self.len = 0;
        self.moved = IDLE;
        // SAFETY: each chain is freed once, then the arrays, which nothing refers to any more.
        unsafe {
            if self.overflow > 0 {
                homes.for_each(|home| bucket::free_chain(home, &mut self.overflow));
            }
            std::mem::replace(&mut self.current, Generation::NONE).free();
            std::mem::replace(&mut self.old, Generation::NONE).free();
        }
    }
}

/// Finds an entry in a chain.
///
/// # Safety
///
/// The chain is alive.
#[inline(always)]
unsafe fn locate<T>(home: BucketPtr<T>, tag: u8, mut eq: impl FnMut(&T) -> bool) -> Option<(BucketPtr<T>, usize)> {
    let mut bucket = home;
    // SAFETY: links lead to live buckets, and matching names occupied slots only.
    unsafe {
        loop {
            let meta = bucket.meta();
            for slot in meta.matching(tag) {
                if eq(bucket.slot(slot).as_ref()) {
                    return Some((bucket, slot));
                }
            }
            if !meta.may_follow(tag) {
                return None;
            }
            bucket = bucket.next();
        }
    }
}

/// Calls a function with every occupied slot of a chain; it may empty that slot.
///
/// # Safety
///
/// The chain is alive.
unsafe fn for_each<T>(home: BucketPtr<T>, mut visit: impl FnMut(BucketPtr<T>, usize)) {
    let mut bucket = home;
    // SAFETY: links lead to live buckets.
    unsafe {
        loop {
            bucket.meta().occupied().for_each(|slot| visit(bucket, slot));
            if !bucket.meta().is_chained() {
                return;
            }
            bucket = bucket.next();
        }
    }
}

/// Scrambles a number (the finaliser of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Maps a random number to one below the bound, by its high bits.
fn scale(random: u64, bound: usize) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table::new()
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: every entry is dropped once; if one of them panics, the rest and the memory leak.
        unsafe {
            if std::mem::needs_drop::<T>() {
                self.walk().for_each(|entry| entry.drop_in_place());
            }
            self.free_buckets();
        }
    }
}

impl<T: Clone> Clone for Table<T> {
    fn clone(&self) -> Table<T> {
        let mut copy = Table::new();
        if self.len == 0 {
            return copy;
        }
        copy.current = Generation::allocate(self.current.buckets());
        if self.moved != IDLE {
            copy.old = Generation::allocate(self.old.buckets());
            copy.moved = self.moved;
        }
        for (from, to) in self.homes().zip(copy.homes()) {
            // SAFETY: the chains of this table are alive, and the buckets of the copy allocated and its own. An entry
            // counts as soon as it is there, so a panic in clone drops what has been copied.
            unsafe {
                for_each(from, |bucket, slot| {
                    let value = bucket.slot(slot).as_ref().clone();
                    bucket::push(to, bucket.meta().tag(slot), value, &mut copy.overflow);
                    copy.len += 1;
                });
            }
        }
        copy
    }
}

impl<T> IntoIterator for Table<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter::new(self)
    }
}

impl<'a, T> IntoIterator for &'a Table<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Table<T> {
    type Item = &'a mut T;
    type IntoIter = IterMut<'a, T>;

    fn into_iter(self) -> IterMut<'a, T> {
        self.iter_mut()
    }
}

impl<T: fmt::Debug> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}
