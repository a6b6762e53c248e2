//! A table of members: the large form of hashes (fields with values) and sets (members alone).
//!
//! It is the structures' [`Table`] of one-block records together with what that table leaves to its owner: the seeded hash function, so that nobody
//! outside can choose members that collide, and the sum of the records' sizes, so that [`MemberTable::heap_size`] need not walk. Every change
//! of a record therefore goes through here.
//!
//! A member may carry a deadline, which stays when its value is replaced. The table keeps deadlines but draws nothing from them.
//!
//! Values of nine bytes and more that are canonical integers are held as eight bytes; shorter ones are no longer as text than as a number.

use std::collections::HashSet;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use redpoll_structures::decimal;
use redpoll_structures::packed::Item;
use redpoll_structures::record::{Payload, Record};
use redpoll_structures::table::{self, Table};

use crate::Millis;

/// A member, or a field with its value, in one block.
pub type Member = Record<Infallible>;

/// The longest text that takes no more room than an integer.
const SHORT_TEXT_MAX: usize = size_of::<i64>();

/// Up to which share of the members a sample is drawn one by one: one in so many.
const SPARSE_SAMPLE: usize = 3;

/// How often drawing one by one is tried per wanted member before the whole table is walked instead.
const TRIES_PER_MEMBER: usize = 16;

/// Members found by their text.
#[derive(Clone, Debug)]
pub struct MemberTable {
    table: Table<Member>,
    hasher: FixedState,
    /// What the records take on the heap, together.
    records_heap: usize,
}

impl MemberTable {
    /// Makes an empty table whose hash function depends on `seed`, which must be secret.
    pub fn new(seed: u64) -> MemberTable {
        MemberTable { table: Table::new(), hasher: FixedState::with_seed(seed), records_heap: 0 }
    }

    /// Makes room for so many members more.
    pub fn reserve(&mut self, additional: usize) {
        let hasher = &self.hasher;
        self.table.reserve(additional, |member| hash(hasher, member.key()));
    }

    /// Returns the number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Tells whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Returns the bytes taken on the heap: O(1).
    #[inline]
    pub fn heap_size(&self) -> usize {
        self.table.heap_size() + self.records_heap
    }

    /// Finds a member.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Member> {
        self.table.find(hash(&self.hasher, name), |member| member.key() == name)
    }

    /// Sets the value of a member, which is added if absent; tells whether it was added. Sets give members the empty value.
    #[inline]
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        let (hasher, code) = (&self.hasher, hash(&self.hasher, name));
        if let Some(member) = self.table.find_mut(code, |member| member.key() == name) {
            let before = member.heap_size();
            match long_number(value) {
                Some(number) => member.set_int(number),
                None => member.set_bytes(value),
            }
            self.records_heap = self.records_heap + member.heap_size() - before;
            return false;
        }
        let member = match long_number(value) {
            Some(number) => Record::new_int(name, number),
            None => Record::new_bytes(name, value),
        };
        self.records_heap += member.heap_size();
        self.table.insert_unique(code, member, |member| hash(hasher, member.key()));
        true
    }

    /// Removes a member and returns it.
    #[inline]
    pub fn remove(&mut self, name: &[u8]) -> Option<Member> {
        let hasher = &self.hasher;
        let rehash = |member: &Member| hash(hasher, member.key());
        let member = self.table.remove(hash(hasher, name), |member| member.key() == name, rehash)?;
        self.records_heap -= member.heap_size();
        Some(member)
    }

    /// Returns the hash of a member's name.
    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u64 {
        hash(&self.hasher, name)
    }

    /// Gives a member a deadline or takes it away and returns what it had; none if there is no such member.
    pub(crate) fn set_deadline(&mut self, name: &[u8], deadline: Option<Millis>) -> Option<Option<Millis>> {
        let member = self.table.find_mut(hash(&self.hasher, name), |member| member.key() == name)?;
        let (had, before) = (member.deadline(), member.heap_size());
        member.set_deadline(deadline);
        self.records_heap = self.records_heap + member.heap_size() - before;
        Some(had)
    }

    /// Tells whether a member whose name has this hash has this deadline.
    pub(crate) fn has_deadline(&self, hash: u64, deadline: Millis) -> bool {
        self.table.find(hash, |member| member.deadline() == Some(deadline) && self.hash(member.key()) == hash).is_some()
    }

    /// Removes a member whose name has this hash and that has this deadline, and returns it.
    pub(crate) fn remove_by_deadline(&mut self, code: u64, deadline: Millis) -> Option<Member> {
        let hasher = &self.hasher;
        let rehash = |member: &Member| hash(hasher, member.key());
        let is_it = |member: &Member| member.deadline() == Some(deadline) && rehash(member) == code;
        let member = self.table.remove(code, is_it, rehash)?;
        self.records_heap -= member.heap_size();
        Some(member)
    }

    /// Visits the members of some buckets, at least `count` of them if so many are left and not too many buckets are empty, and returns the cursor to
    /// go on from; zero begins and zero ends. A member present from the first call to the last is visited at least once.
    pub fn scan(&self, mut cursor: u64, count: usize, mut visit: impl FnMut(&Member)) -> u64 {
        /// Buckets visited per wanted member, so that a sparse table cannot hold a caller up.
        const BUCKETS_PER_MEMBER: usize = 10;
        let mut seen = 0;
        for _ in 0..count.saturating_mul(BUCKETS_PER_MEMBER).max(1) {
            cursor = self.table.scan(cursor, |member| {
                seen += 1;
                visit(member);
            });
            if cursor == 0 || seen >= count {
                break;
            }
        }
        cursor
    }

    /// Returns the member that a random number chooses.
    pub fn random(&self, random: u64) -> Option<&Member> {
        self.table.random(random)
    }

    /// Visits `count` different members chosen at random, all of them if there are no more.
    pub fn sample(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(&Member)) {
        if count < self.len() / SPARSE_SAMPLE {
            let mut names = HashSet::with_capacity_and_hasher(count, self.hasher.clone());
            let mut chosen = Vec::with_capacity(count);
            for _ in 0..count.saturating_mul(TRIES_PER_MEMBER) {
                if chosen.len() == count {
                    break;
                }
                chosen.extend(self.random(random()).filter(|member| names.insert(member.key())));
            }
            if chosen.len() == count {
                return chosen.into_iter().for_each(visit);
            }
        }
        let mut selection = Selection::new(count, self.len());
        self.table.iter().filter(|_| selection.takes(&mut random)).for_each(&mut visit);
    }

    /// Iterates over the members in no particular order.
    pub fn iter(&self) -> table::Iter<'_, Member> {
        self.table.iter()
    }
}

/// Returns the value of a member as it is held.
#[inline]
pub(crate) fn value(member: &Member) -> Item<'_> {
    match member.payload() {
        Payload::Bytes(bytes) => Item::Str(bytes),
        Payload::Int(number) => Item::Int(number),
        Payload::Object(never) => match *never {},
    }
}

/// Tells whether no item of a packed block is among its `count` items twice. `seed` must be secret, it goes into a hash function.
pub(crate) fn all_differ<'a>(mut items: impl Iterator<Item = Item<'a>>, count: usize, seed: u64) -> bool {
    let mut seen = HashSet::with_capacity_and_hasher(count, FixedState::with_seed(seed));
    items.all(|item| seen.insert(item))
}

/// Chooses `wanted` of `left` elements as they come by, each with the same chance (Knuth's algorithm S).
pub(crate) struct Selection {
    wanted: usize,
    left: usize,
}

impl Selection {
    pub(crate) fn new(wanted: usize, left: usize) -> Selection {
        Selection { wanted: wanted.min(left), left }
    }

    /// Tells whether the next element is chosen.
    pub(crate) fn takes(&mut self, random: &mut impl FnMut() -> u64) -> bool {
        let takes = self.wanted >= self.left || below(random(), self.left) < self.wanted;
        self.left -= 1;
        self.wanted -= usize::from(takes);
        takes
    }
}

/// Maps a random number to one below the bound.
#[inline]
pub(crate) fn below(random: u64, bound: usize) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}

#[inline]
fn hash(hasher: &FixedState, bytes: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[inline]
fn long_number(value: &[u8]) -> Option<i64> {
    let plausible = value.len() > SHORT_TEXT_MAX && value.len() <= decimal::I64_TEXT_MAX;
    if plausible { decimal::parse_i64(value) } else { None }
}
