//! Members with scores, ordered, with ranks: the large sorted set.
//!
//! Every member stands once on the heap, together with its score, in a *node*. Two indexes point at the nodes:
//!
//! ```text
//!   table      hash of the member ──► node            score of a member, membership, cursors
//!   tree       (score, node) in order, counted        ranges, ranks, first and last
//!
//!   node       | score 8 | len 4 | member bytes |
//! ```
//!
//! The order is by score, then by the bytes of the member; `-0.0` and `0.0` are the same score, NaN is none. The tree
//! keeps the score next to the pointer, so a search touches nodes only among equal scores. A change of score that keeps
//! an element between its neighbours is done in place, any other is a removal and an insertion.
//!
//! Against a skip list this costs 16 bytes an element and the slack of the leaves where a skip list spends its towers,
//! walks a range in a handful of cache lines, and never needs to be told how tall to grow.
//!
//! It is not a map to values and keeps no time; small sorted sets are better off packed.
//!
//! The invariant behind every `unsafe` here: the table owns the nodes, the tree mentions exactly the nodes that are in
//! the table, and a node leaves both before it is dropped.

mod node;
#[cfg(test)]
mod tests;
mod tree;

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;

use foldhash::quality::FixedState;

use self::node::{Node, NodeRef};
use self::tree::CountedTree;
pub use self::tree::Direction;
use crate::table::Table;

/// An ordered collection of unique members, each with a score.
///
/// ```
/// use redpoll_structures::ranked_map::{Direction, RankedMap};
/// let mut map = RankedMap::new(42);
/// map.insert(b"tortoise", 3.0);
/// map.insert(b"hare", 9.5);
/// assert_eq!(map.rank(b"hare"), Some(1));
/// assert_eq!(map.insert(b"hare", 0.5), Some(9.5));
/// let order: Vec<_> = map.range(0, usize::MAX, Direction::Ascending).collect();
/// assert_eq!(order, [(&b"hare"[..], 0.5), (&b"tortoise"[..], 3.0)]);
/// ```
pub struct RankedMap {
    table: Table<Node>,
    tree: CountedTree<Entry>,
    seed: u64,
    /// Bytes of all nodes together.
    node_bytes: usize,
}

/// What the tree holds: the score beside the pointer to the node that has it too.
#[derive(Debug, Clone, Copy)]
struct Entry {
    score: f64,
    node: NodeRef,
}

impl Entry {
    fn of(node: &Node) -> Self {
        Self { score: node.score(), node: node.as_ref() }
    }

    /// Returns the member.
    ///
    /// # Safety
    /// The owner of the node must outlive `'a`.
    unsafe fn member<'a>(self) -> &'a [u8] {
        // SAFETY: the caller vouches for the owner.
        unsafe { self.node.member() }
    }

    /// Compares with an element that need not exist.
    ///
    /// # Safety
    /// The owner of the node must live.
    unsafe fn order(self, score: f64, member: &[u8]) -> Ordering {
        match self.score.partial_cmp(&score).expect("no score is NaN") {
            // SAFETY: the caller vouches for the owner.
            Ordering::Equal => unsafe { self.member() }.cmp(member),
            unequal => unequal,
        }
    }
}

impl RankedMap {
    /// Creates an empty map. The seed should be secret if members come from strangers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { table: Table::new(), tree: CountedTree::new(), seed, node_bytes: 0 }
    }

    /// Creates a map from elements, fastest when they come in order (either way). The last score of a member counts.
    pub fn from_sorted<M: AsRef<[u8]>>(seed: u64, elements: impl IntoIterator<Item = (M, f64)>) -> Self {
        let mut map = Self::new(seed);
        let mut last: Option<Entry> = None;
        for (member, score) in elements {
            let member = member.as_ref();
            assert!(!score.is_nan(), "a score is a number");
            // SAFETY: the last entry of the tree is in the tree, so its owner is in the table.
            let behind_all = last.is_none_or(|last| unsafe { last.order(score, member) }.is_lt());
            if behind_all && map.find(member).is_none() {
                let entry = map.insert_node(member, score);
                map.tree.push(entry);
                last = Some(entry);
            } else {
                map.insert(member, score);
                last = map.tree.at(map.len() - 1);
            }
        }
        map
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Tells whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the score of `member`.
    #[must_use]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(member).map(Node::score)
    }

    /// Sets the score of `member`, inserting it if need be; returns the score it had.
    ///
    /// # Panics
    /// If the score is NaN.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        assert!(!score.is_nan(), "a score is a number");
        let Some(found) = self.find(member) else {
            let entry = self.insert_node(member, score);
            self.insert_entry(entry, member);
            return None;
        };
        let old = Entry::of(found);
        if old.score != score {
            self.change_score(old, score);
        }
        Some(old.score)
    }

    /// Removes `member` and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = Entry::of(self.find(member)?);
        self.remove_entry(old);
        let node = self.remove_node(old.node, member);
        Some(node.score())
    }

    /// Returns how many elements stand before `member`.
    #[must_use]
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        // SAFETY: the entries of the tree have their owners in the table.
        Some(self.tree.partition_point(|entry| unsafe { entry.order(score, member) }.is_lt()))
    }

    /// Returns the element at `rank`, zero being the lowest.
    #[must_use]
    pub fn at(&self, rank: usize) -> Option<(&[u8], f64)> {
        self.tree.at(rank).map(|entry| self.element(entry))
    }

    /// Walks over at most `count` elements. The one at `start` comes first; ranks count from the lowest element in
    /// either direction, so a walk down from the top starts at `len() - 1`. Empty if there is no element at `start`.
    pub fn range(&self, start: usize, count: usize, direction: Direction) -> impl Iterator<Item = (&[u8], f64)> {
        self.tree.range(start, count, direction).map(|entry| self.element(entry))
    }

    /// Walks over all elements from low to high.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.range(0, usize::MAX, Direction::Ascending)
    }

    /// Returns the rank of the first element whose score is at or above (`Included`) or above (`Excluded`) a score,
    /// which is the number of elements below it. Zero for `Unbounded`.
    ///
    /// The elements from `low` to `high`, both inclusive, have the ranks
    /// `rank_of_score(Included(low))..rank_of_score(Excluded(high))`.
    #[must_use]
    pub fn rank_of_score(&self, bound: Bound<f64>) -> usize {
        match bound {
            Bound::Included(f64::NEG_INFINITY) => 0,
            Bound::Excluded(f64::INFINITY) => self.len(),
            Bound::Included(score) => self.tree.partition_point(|entry| entry.score < score),
            Bound::Excluded(score) => self.tree.partition_point(|entry| entry.score <= score),
            Bound::Unbounded => 0,
        }
    }

    /// Returns the rank of the first element whose member is at or above (`Included`) or above (`Excluded`) a member,
    /// in a map whose scores are all equal. Zero for `Unbounded`. With unequal scores the answer means nothing.
    #[must_use]
    pub fn rank_of_member(&self, bound: Bound<&[u8]>) -> usize {
        // SAFETY: the entries of the tree have their owners in the table.
        let of = |entry: &Entry| unsafe { entry.member::<'_>() };
        match bound {
            Bound::Included(member) => self.tree.partition_point(|entry| of(entry) < member),
            Bound::Excluded(member) => self.tree.partition_point(|entry| of(entry) <= member),
            Bound::Unbounded => 0,
        }
    }

    /// Removes the elements with the ranks from `start` on, at most `count`, showing each to `removed` in order;
    /// returns how many there were.
    pub fn remove_range(&mut self, start: usize, count: usize, mut removed: impl FnMut(&[u8], f64)) -> usize {
        let Self { table, tree, seed, node_bytes } = self;
        tree.remove_range(start, count, |entry| {
            // SAFETY: the owner of the node is in the table until the next statement takes it out.
            let hash = hash(*seed, unsafe { entry.member() });
            let node = take_node(table, *seed, hash, entry.node);
            *node_bytes -= node.heap_size();
            removed(node.member(), node.score());
        })
    }

    /// Removes the lowest element.
    pub fn pop_first(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop_at(0)
    }

    /// Removes the highest element.
    pub fn pop_last(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop_at(self.len().checked_sub(1)?)
    }

    /// Shows a few elements, in the order of the hash table, and returns the cursor to go on with; zero starts and zero
    /// ends. Elements that stay during the whole walk are shown at least once.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.table.scan(cursor, |node| visit(node.member(), node.score()))
    }

    /// Returns the element that a uniformly distributed number picks; every element is equally likely.
    #[must_use]
    pub fn random(&self, number: u64) -> Option<(&[u8], f64)> {
        self.at(((u128::from(number) * self.len() as u128) >> 64) as usize)
    }

    /// Returns the memory outside the struct itself, in bytes.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.node_bytes + self.table.heap_size() + self.tree.heap_size()
    }

    fn element(&self, entry: Entry) -> (&[u8], f64) {
        // SAFETY: the entry is in the tree, so its owner is in the table and stays there while `self` is borrowed.
        (unsafe { entry.member() }, entry.score)
    }

    fn find(&self, member: &[u8]) -> Option<&Node> {
        self.table.find(hash(self.seed, member), |node| node.member() == member)
    }

    /// Puts a new node into the table; it must go into the tree next.
    fn insert_node(&mut self, member: &[u8], score: f64) -> Entry {
        let seed = self.seed;
        let node = Node::new(member, score);
        self.node_bytes += node.heap_size();
        Entry::of(self.table.insert_unique(hash(seed, member), node, |node| hash(seed, node.member())))
    }

    /// Takes a node out of the table; it must have left the tree already.
    fn remove_node(&mut self, node: NodeRef, member: &[u8]) -> Node {
        let node = take_node(&mut self.table, self.seed, hash(self.seed, member), node);
        self.node_bytes -= node.heap_size();
        node
    }

    fn insert_entry(&mut self, entry: Entry, member: &[u8]) {
        // SAFETY: the entries of the tree have their owners in the table.
        self.tree.insert(|other| unsafe { other.order(entry.score, member) }.is_lt(), entry);
    }

    fn remove_entry(&mut self, old: Entry) {
        // SAFETY: `old` is in the tree, and the entries of the tree have their owners in the table.
        let removed = unsafe {
            let member = old.member();
            self.tree.remove(|entry| entry.order(old.score, member).is_le())
        };
        assert_eq!(removed.map(|entry| entry.node), Some(old.node), "what is in the table is in the tree");
    }

    fn change_score(&mut self, old: Entry, score: f64) {
        let new = Entry { score, node: old.node };
        // SAFETY: `old` is in the tree, so its owner is in the table, which nothing here changes.
        let member = unsafe { old.member() };
        // SAFETY: the entries of the tree have their owners in the table.
        let replaced = unsafe {
            self.tree.replace_or_remove(
                |entry| entry.order(old.score, member).is_le(),
                new,
                |previous, next| previous.order(score, member).is_lt() && next.order(score, member).is_gt(),
            )
        };
        if !replaced {
            self.insert_entry(new, member);
        }
        // SAFETY: the owner is in the table, and `self` is borrowed exclusively.
        unsafe { new.node.set_score(score) };
    }

    fn pop_at(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let mut popped = None;
        self.remove_range(rank, 1, |member, score| popped = Some((member.to_vec(), score)));
        popped
    }
}

/// Takes `node`, which is there, out of the table.
fn take_node(table: &mut Table<Node>, seed: u64, hash_of_node: u64, node: NodeRef) -> Node {
    table
        .remove(hash_of_node, |other| other.as_ref() == node, |node| hash(seed, node.member()))
        .expect("what is in the tree is in the table")
}

fn hash(seed: u64, member: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(member);
    hasher.finish()
}

impl Clone for RankedMap {
    fn clone(&self) -> Self {
        Self::from_sorted(self.seed, self.iter())
    }
}

impl std::fmt::Debug for RankedMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(member, score)| (member.escape_ascii().to_string(), score))).finish()
    }
}
