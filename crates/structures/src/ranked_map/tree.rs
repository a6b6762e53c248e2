//! A counted B+tree: an ordered sequence that knows the rank of everything.
//!
//! ```text
//!                 inner   min  min  min        first entry of each child
//!                         127  91   130        entries below each child
//!                          │    │    └────────────────────────┐
//!            ┌─────────────┘    └──────┐                      │
//!          leaf  e e e … ◄──►  leaf  e e e e … ◄──►  leaf  e e …
//! ```
//!
//! Entries are small copies; the tree neither owns nor understands what they stand for. Order is given from outside by
//! *partitions*: a predicate that holds for a prefix of the sequence and for nothing after it. From the counts follow
//! rank (add up what is left of the path) and selection (subtract until the rank falls into a child), both in O(log n).
//!
//! Nodes live in two arenas and name each other by number, so that there is no unsafe code here. Leaves grow in steps
//! of 16 entries. A node overflows at 64 and splits in the middle, but at either end of the sequence it splits at the
//! edge, so that entries arriving in order fill their leaves. A node below a quarter borrows from a sibling or merges
//! with it; only nodes on the outer edges of the tree may be smaller, and none is empty except the root of an empty
//! tree.

use std::ops::{Index, IndexMut};

/// Most entries of a leaf and most children of an inner node.
pub(super) const CAPACITY: usize = 64;
/// Nodes with fewer entries or children look for company, except on the edges.
const MINIMUM: usize = CAPACITY / 4;
/// Two siblings with at most this many together become one.
const MERGED_MAX: usize = CAPACITY * 3 / 4;
/// Leaves grow by this many entries.
const GROWTH: usize = 16;
/// Most levels of inner nodes: with 16 children each more than 2^60 leaves.
const HEIGHT_MAX: usize = 16;

/// In place of the number of a leaf: there is none.
const NONE: u32 = u32::MAX;

/// Which way to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From low to high.
    Ascending,
    /// From high to low.
    Descending,
}

pub(super) struct CountedTree<E> {
    leaves: Arena<Leaf<E>>,
    inners: Arena<Inner<E>>,
    /// A leaf if the height is zero, an inner node otherwise.
    root: u32,
    /// Levels of inner nodes.
    height: usize,
    len: usize,
    /// Sum of the capacities of all leaves, in entries.
    slots: usize,
}

struct Leaf<E> {
    entries: Vec<E>,
    previous: u32,
    next: u32,
}

/// Three columns of equal length, one row per child.
struct Inner<E> {
    mins: Vec<E>,
    counts: Vec<usize>,
    children: Vec<u32>,
}

struct Child<E> {
    id: u32,
    min: E,
    count: usize,
}

/// The way from the root to a leaf.
struct Path {
    steps: [Step; HEIGHT_MAX],
    leaf: u32,
}

#[derive(Clone, Copy)]
struct Step {
    inner: u32,
    child: usize,
}

impl<E: Copy> CountedTree<E> {
    pub(super) fn new() -> Self {
        let mut leaves = Arena::new();
        let root = leaves.put(Leaf::new());
        Self { leaves, inners: Arena::new(), root, height: 0, len: 0, slots: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the memory outside the struct itself, in bytes; the small share of the inner nodes is an estimate.
    pub(super) fn heap_size(&self) -> usize {
        let row = size_of::<E>() + size_of::<usize>() + size_of::<u32>();
        let rows = if self.height == 0 { 0 } else { self.leaves.live() + self.inners.live() };
        self.slots * size_of::<E>() + rows * row * 4 / 3 + self.leaves.heap_size() + self.inners.heap_size()
    }

    /// Returns the length of the prefix for which `before` holds.
    pub(super) fn partition_point(&self, before: impl Fn(&E) -> bool) -> usize {
        let mut rank = 0;
        let path = self.descend(|inner| {
            let child = inner.partition(&before);
            rank += inner.counts[..child].iter().sum::<usize>();
            child
        });
        rank + self.leaves[path.leaf].entries.partition_point(before)
    }

    /// Returns the entry at `rank`.
    pub(super) fn at(&self, rank: usize) -> Option<E> {
        if rank >= self.len {
            return None;
        }
        let (path, at) = self.descend_to_rank(rank);
        Some(self.leaves[path.leaf].entries[at])
    }

    /// Walks over at most `count` entries, the one at `start` first.
    pub(super) fn range(&self, start: usize, count: usize, direction: Direction) -> Range<'_, E> {
        if start >= self.len {
            return Range { tree: self, leaf: NONE, at: 0, left: 0, direction };
        }
        let there_are = match direction {
            Direction::Ascending => self.len - start,
            Direction::Descending => start + 1,
        };
        let (path, at) = self.descend_to_rank(start);
        Range { tree: self, leaf: path.leaf, at, left: count.min(there_are), direction }
    }

    /// Inserts `entry` behind the prefix for which `before` holds.
    pub(super) fn insert(&mut self, before: impl Fn(&E) -> bool, entry: E) {
        let path = self.descend(|inner| inner.partition(&before));
        let at = self.leaves[path.leaf].entries.partition_point(before);
        self.insert_at(&path, at, entry);
    }

    /// Inserts `entry` behind all others.
    pub(super) fn push(&mut self, entry: E) {
        let path = self.descend(|inner| inner.children.len() - 1);
        let at = self.leaves[path.leaf].entries.len();
        self.insert_at(&path, at, entry);
    }

    /// Removes the last entry of the prefix for which `through` holds.
    pub(super) fn remove(&mut self, through: impl Fn(&E) -> bool) -> Option<E> {
        let path = self.descend(|inner| inner.partition(&through));
        let at = self.leaves[path.leaf].entries.partition_point(through).checked_sub(1)?;
        let removed = self.leaves[path.leaf].entries[at];
        self.remove_run(&path, at, 1, |_| {});
        Some(removed)
    }

    /// Replaces the last entry of the prefix for which `through` holds, if it has a neighbour on either side in its
    /// leaf and `fits` between them; removes it otherwise. Tells whether it was replaced. There must be such an entry.
    pub(super) fn replace_or_remove(
        &mut self,
        through: impl Fn(&E) -> bool,
        entry: E,
        fits: impl FnOnce(&E, &E) -> bool,
    ) -> bool {
        let path = self.descend(|inner| inner.partition(&through));
        let entries = &mut self.leaves[path.leaf].entries;
        let behind = entries.partition_point(through);
        assert!(behind > 0, "the entry to replace is in the tree");
        if behind >= 2 && behind < entries.len() && fits(&entries[behind - 2], &entries[behind]) {
            entries[behind - 1] = entry;
            return true;
        }
        self.remove_run(&path, behind - 1, 1, |_| {});
        false
    }

    /// Removes `count` entries from `start` on, or as many as there are, a leaf at a time; returns how many. An entry
    /// is shown when the tree no longer mentions it anywhere.
    pub(super) fn remove_range(&mut self, start: usize, count: usize, mut removed: impl FnMut(E)) -> usize {
        let count = count.min(self.len.saturating_sub(start));
        let mut run = Vec::with_capacity(count.min(CAPACITY));
        let mut left = count;
        while left > 0 {
            let (path, at) = self.descend_to_rank(start);
            let len = left.min(self.leaves[path.leaf].entries.len() - at);
            self.remove_run(&path, at, len, |entry| run.push(entry));
            run.drain(..).for_each(&mut removed);
            left -= len;
        }
        count
    }

    /// Walks down, letting `choose` pick the child in every inner node.
    fn descend(&self, mut choose: impl FnMut(&Inner<E>) -> usize) -> Path {
        let mut path = Path { steps: [Step { inner: 0, child: 0 }; HEIGHT_MAX], leaf: self.root };
        for step in &mut path.steps[..self.height] {
            let inner = &self.inners[path.leaf];
            let child = choose(inner);
            *step = Step { inner: path.leaf, child };
            path.leaf = inner.children[child];
        }
        path
    }

    /// Walks down to the entry at `rank`, which exists; returns its index in the leaf too.
    fn descend_to_rank(&self, mut rank: usize) -> (Path, usize) {
        let path = self.descend(|inner| {
            let mut child = 0;
            while rank >= inner.counts[child] {
                rank -= inner.counts[child];
                child += 1;
            }
            child
        });
        (path, rank)
    }

    /// Changes a leaf and keeps the sum of capacities.
    fn with_leaf<R>(&mut self, id: u32, change: impl FnOnce(&mut Leaf<E>) -> R) -> R {
        let leaf = &mut self.leaves[id];
        self.slots -= leaf.entries.capacity();
        let result = change(leaf);
        self.slots += leaf.entries.capacity();
        result
    }

    fn insert_at(&mut self, path: &Path, at: usize, entry: E) {
        self.len += 1;
        for step in &path.steps[..self.height] {
            self.inners[step.inner].counts[step.child] += 1;
        }
        if at == 0 {
            self.lower_min(path, entry);
        }
        if self.leaves[path.leaf].entries.len() < CAPACITY {
            self.with_leaf(path.leaf, |leaf| leaf.insert(at, entry));
        } else {
            let right = self.split_leaf(path.leaf, at, entry);
            self.attach(path, right);
        }
    }

    /// A new first entry of a leaf is the new minimum all the way up while it is the first child.
    fn lower_min(&mut self, path: &Path, entry: E) {
        for step in path.steps[..self.height].iter().rev() {
            self.inners[step.inner].mins[step.child] = entry;
            if step.child > 0 {
                break;
            }
        }
    }

    /// Splits a full leaf and inserts `entry`; returns the new right half.
    fn split_leaf(&mut self, id: u32, at: usize, entry: E) -> Child<E> {
        let Leaf { previous, next, .. } = self.leaves[id];
        let middle = match at {
            CAPACITY if next == NONE => CAPACITY,
            0 if previous == NONE => 0,
            _ => CAPACITY / 2,
        };
        self.slots -= self.leaves[id].entries.capacity();
        let mut right = Leaf { entries: self.leaves[id].entries.split_off(middle), previous: id, next };
        if at <= middle && middle < CAPACITY {
            self.leaves[id].insert(at, entry);
        } else {
            right.insert(at - middle, entry);
        }
        self.leaves[id].trim();
        right.trim();
        self.slots += self.leaves[id].entries.capacity() + right.entries.capacity();
        let (min, count) = (right.entries[0], right.entries.len());
        let right = self.leaves.put(right);
        self.leaves[id].next = right;
        if next != NONE {
            self.leaves[next].previous = right;
        }
        Child { id: right, min, count }
    }

    /// Hangs `right`, just split off the end of the path, into the tree next to where it came from.
    fn attach(&mut self, path: &Path, mut right: Child<E>) {
        for level in (0..self.height).rev() {
            let step = path.steps[level];
            let inner = &mut self.inners[step.inner];
            inner.counts[step.child] -= right.count;
            if inner.children.len() < CAPACITY {
                inner.insert(step.child + 1, right);
                return;
            }
            right = self.split_inner(path, level, right);
        }
        let left = Child { id: self.root, min: self.min(self.root, 0), count: self.len - right.count };
        let mut root = Inner::new();
        root.insert(0, left);
        root.insert(1, right);
        self.root = self.inners.put(root);
        self.height += 1;
        assert!(self.height < HEIGHT_MAX, "memory ends long before the tree is this high");
    }

    /// Splits the full inner node of a level and inserts `child` behind the one on the path; returns the right half.
    fn split_inner(&mut self, path: &Path, level: usize, child: Child<E>) -> Child<E> {
        let above = &path.steps[..level];
        let at = path.steps[level].child + 1;
        let first = above.iter().all(|step| step.child == 0);
        let last = above.iter().all(|step| step.child + 1 == self.inners[step.inner].children.len());
        let middle = match at {
            CAPACITY if last => CAPACITY,
            1 if first => 1,
            _ => CAPACITY / 2,
        };
        let left = &mut self.inners[path.steps[level].inner];
        let mut right = left.split_off(middle);
        if at <= middle && middle < CAPACITY {
            left.insert(at, child);
        } else {
            right.insert(at - middle, child);
        }
        let (min, count) = (right.mins[0], right.counts.iter().sum());
        Child { id: self.inners.put(right), min, count }
    }

    /// Removes a run of entries from the leaf of the path and puts the tree in order again.
    fn remove_run(&mut self, path: &Path, at: usize, count: usize, removed: impl FnMut(E)) {
        self.len -= count;
        for step in &path.steps[..self.height] {
            self.inners[step.inner].counts[step.child] -= count;
        }
        self.with_leaf(path.leaf, |leaf| {
            leaf.entries.drain(at..at + count).for_each(removed);
            if leaf.entries.capacity() - leaf.entries.len() > 2 * GROWTH {
                leaf.trim();
            }
        });
        for level in (0..self.height).rev() {
            self.tend(path.steps[level], level + 1);
        }
        while self.height > 0 && self.inners[self.root].children.len() == 1 {
            let only = self.inners[self.root].children[0];
            self.inners.free(self.root);
            self.root = only;
            self.height -= 1;
        }
        if self.len == 0 {
            *self = Self::new();
        }
    }

    /// Restores the rules for one child, at `depth` levels below the root, after something below it went away.
    fn tend(&mut self, step: Step, depth: usize) {
        let Step { inner, child } = step;
        let id = self.inners[inner].children[child];
        let width = self.width(id, depth);
        if width == 0 {
            self.inners[inner].remove(child);
            self.free(id, depth);
            return;
        }
        self.inners[inner].mins[child] = self.min(id, depth);
        if width >= MINIMUM || self.inners[inner].children.len() == 1 {
            return;
        }
        let left = child.saturating_sub(1);
        self.balance(inner, left, depth);
    }

    /// Merges the children `left` and `left + 1` of an inner node, or evens them out.
    fn balance(&mut self, inner: u32, left: usize, depth: usize) {
        let (left_id, right_id) = (self.inners[inner].children[left], self.inners[inner].children[left + 1]);
        let total = self.width(left_id, depth) + self.width(right_id, depth);
        let left_width = if total <= MERGED_MAX { total } else { total / 2 };
        let left_count = if depth == self.height {
            let mut right = self.with_leaf(right_id, |leaf| std::mem::take(&mut leaf.entries));
            self.with_leaf(left_id, |leaf| {
                shift(&mut leaf.entries, &mut right, left_width);
                leaf.trim();
            });
            self.with_leaf(right_id, |leaf| {
                leaf.entries = right;
                leaf.trim();
            });
            left_width
        } else {
            let mut right = std::mem::replace(&mut self.inners[right_id], Inner::new());
            let left = &mut self.inners[left_id];
            shift(&mut left.mins, &mut right.mins, left_width);
            shift(&mut left.counts, &mut right.counts, left_width);
            shift(&mut left.children, &mut right.children, left_width);
            let count = left.counts.iter().sum();
            self.inners[right_id] = right;
            count
        };
        let both = self.inners[inner].counts[left] + self.inners[inner].counts[left + 1];
        self.inners[inner].counts[left] = left_count;
        if left_width == total {
            self.inners[inner].remove(left + 1);
            self.free(right_id, depth);
        } else {
            self.inners[inner].counts[left + 1] = both - left_count;
            self.inners[inner].mins[left + 1] = self.min(right_id, depth);
        }
    }

    /// Gives back an empty node.
    fn free(&mut self, id: u32, depth: usize) {
        if depth < self.height {
            self.inners.free(id);
            return;
        }
        let Leaf { previous, next, .. } = self.leaves[id];
        if previous != NONE {
            self.leaves[previous].next = next;
        }
        if next != NONE {
            self.leaves[next].previous = previous;
        }
        self.slots -= self.leaves[id].entries.capacity();
        self.leaves.free(id);
    }

    /// Returns the first entry below a node, `depth` levels below the root.
    fn min(&self, id: u32, depth: usize) -> E {
        if depth == self.height { self.leaves[id].entries[0] } else { self.inners[id].mins[0] }
    }

    fn width(&self, id: u32, depth: usize) -> usize {
        if depth == self.height { self.leaves[id].entries.len() } else { self.inners[id].children.len() }
    }
}

/// Moves elements over the boundary between two neighbours until `left` has `width`.
fn shift<T>(left: &mut Vec<T>, right: &mut Vec<T>, width: usize) {
    if left.len() < width {
        let missing = width - left.len();
        left.reserve_exact(missing);
        left.extend(right.drain(..missing));
    } else {
        right.splice(..0, left.drain(width..));
    }
}

impl<E> Leaf<E> {
    fn new() -> Self {
        Self { entries: Vec::new(), previous: NONE, next: NONE }
    }

    fn insert(&mut self, at: usize, entry: E) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(GROWTH.min(CAPACITY - self.entries.len()));
        }
        self.entries.insert(at, entry);
    }

    /// Gives back memory beyond the next step of growth.
    fn trim(&mut self) {
        self.entries.shrink_to(self.entries.len().next_multiple_of(GROWTH));
    }
}

impl<E> Inner<E> {
    fn new() -> Self {
        Self { mins: Vec::new(), counts: Vec::new(), children: Vec::new() }
    }

    /// Returns the last child whose minimum satisfies `before`, or the first child.
    fn partition(&self, before: impl Fn(&E) -> bool) -> usize {
        self.mins[1..].partition_point(before)
    }

    fn insert(&mut self, at: usize, child: Child<E>) {
        self.mins.insert(at, child.min);
        self.counts.insert(at, child.count);
        self.children.insert(at, child.id);
    }

    fn remove(&mut self, at: usize) {
        self.mins.remove(at);
        self.counts.remove(at);
        self.children.remove(at);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { mins: self.mins.split_off(at), counts: self.counts.split_off(at), children: self.children.split_off(at) }
    }
}

/// Entries in order, or in reverse.
pub(super) struct Range<'a, E> {
    tree: &'a CountedTree<E>,
    leaf: u32,
    at: usize,
    left: usize,
    direction: Direction,
}

impl<E: Copy> Iterator for Range<'_, E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.left = self.left.checked_sub(1)?;
        let leaf = &self.tree.leaves[self.leaf];
        let entry = leaf.entries[self.at];
        match self.direction {
            Direction::Ascending if self.at + 1 < leaf.entries.len() => self.at += 1,
            Direction::Ascending => (self.leaf, self.at) = (leaf.next, 0),
            Direction::Descending if self.at > 0 => self.at -= 1,
            Direction::Descending if self.left > 0 => {
                self.leaf = leaf.previous;
                self.at = self.tree.leaves[self.leaf].entries.len() - 1;
            }
            Direction::Descending => {}
        }
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Nodes by number. Freed numbers are used again.
struct Arena<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

/// What stands in a freed place.
trait Vacant {
    fn vacant() -> Self;
}

impl<E> Vacant for Leaf<E> {
    fn vacant() -> Self {
        Self::new()
    }
}

impl<E> Vacant for Inner<E> {
    fn vacant() -> Self {
        Self::new()
    }
}

impl<T: Vacant> Arena<T> {
    fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    fn put(&mut self, item: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self[id] = item;
            return id;
        }
        let id = u32::try_from(self.items.len()).expect("memory ends long before the numbers do");
        self.items.push(item);
        id
    }

    fn free(&mut self, id: u32) {
        self[id] = T::vacant();
        self.free.push(id);
    }

    fn live(&self) -> usize {
        self.items.len() - self.free.len()
    }

    fn heap_size(&self) -> usize {
        self.items.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, id: u32) -> &T {
        &self.items[id as usize]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }
}

#[cfg(test)]
mod tests;
