//! A run of entries in one packed block, in the layout of Redis's stream nodes, so that dumps can copy it.
//!
//! ```text
//!   node    | live | dead | n | name 1 … name n | 0 | entry | entry | …
//!   entry   | flags | ms | seq | value 1 … value n                          | steps |    with the names of the node
//!           | flags | ms | seq | m | name 1 | value 1 | … name m | value m  | steps |    with names of its own
//! ```
//!
//! The names are those of the entry that began the node; entries of one shape, the usual case, store values only. `ms` and `seq` are differences from the
//! node's *base*, the id of that first entry, which the owner of the node keeps beside it. `steps` counts the elements of its entry before it, so the
//! block can be walked from its end.
//!
//! An entry that is removed becomes a tombstone: a flag is set and the counts change, nothing moves. A node without live entries is dropped by its owner.

use redpoll_structures::packed::{At, Item, Iter, Packed};

use super::StreamId;
use super::entry::{Names, StreamEntry};

/// The entry is a tombstone.
const DELETED: i64 = 1;
/// The entry has the names of the node.
const SAME_NAMES: i64 = 2;
/// Elements of an entry before its values: flags and the two halves of the id.
const PREFIX: usize = 3;
/// Elements of a node that come neither from names nor from values of its first entry, and those of that entry.
const FIXED_ELEMENTS: usize = 8;
/// Bytes of a block without elements.
const EMPTY_BYTES: usize = 7;

/// A run of entries in one block.
#[derive(Clone, Debug)]
pub(super) struct Node(Packed);

/// An entry as it lies in its node, tombstones included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    /// Where it begins.
    at: At,
    flags: i64,
    pub(super) id: StreamId,
    fields: usize,
    /// Its first value, or the first of its own names.
    values: At,
    /// Where it ends: its last element.
    end: At,
}

impl Raw {
    pub(super) fn is_live(&self) -> bool {
        self.flags & DELETED == 0
    }
}

/// What stands before the first entry of a node.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    base: StreamId,
    fields: usize,
    names: Iter<'a>,
    first: Option<At>,
}

impl Node {
    /// Makes a node for an entry of these names and values, which is yet to be pushed.
    pub(super) fn new(fields: &[&[u8]], room: usize) -> Node {
        let mut node = Packed::with_capacity(room);
        node.push_back_int(0);
        node.push_back_int(0);
        node.push_back_int((fields.len() / 2) as i64);
        fields.iter().step_by(2).for_each(|name| node.push_back(name));
        node.push_back_int(0);
        Node(node)
    }

    /// Returns the block, which is what a dump holds.
    pub(super) fn block(&self) -> &Packed {
        &self.0
    }

    /// Returns an upper bound of the bytes that an entry takes in a node that it begins.
    pub(super) fn bytes_at_most(fields: &[&[u8]]) -> usize {
        let texts: usize = fields.iter().map(|text| text.len()).sum();
        EMPTY_BYTES + texts + (fields.len() + FIXED_ELEMENTS) * Packed::MAX_OVERHEAD
    }

    pub(super) fn byte_len(&self) -> usize {
        self.0.byte_len()
    }

    pub(super) fn heap_size(&self) -> usize {
        self.0.heap_size()
    }

    /// Gives spare room back: nothing will be pushed any more.
    pub(super) fn seal(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Tells whether an entry of at most so many bytes still fits into the block.
    pub(super) fn would_fit(&self, bytes: usize) -> bool {
        self.0.would_fit(bytes)
    }

    /// Returns the numbers of live entries and of tombstones.
    pub(super) fn counts(&self) -> (usize, usize) {
        let at = self.first();
        (int(&self.0, at) as usize, int(&self.0, self.after(at)) as usize)
    }

    /// Adds an entry at the end. Names and values alternate.
    pub(super) fn push(&mut self, base: StreamId, id: StreamId, fields: &[&[u8]]) {
        let Head { fields: named, mut names, .. } = self.head(base);
        let same = named * 2 == fields.len()
            && fields.iter().step_by(2).all(|name| names.next().is_some_and(|known| known.eq_bytes(name)));
        let node = &mut self.0;
        node.push_back_int(if same { SAME_NAMES } else { 0 });
        node.push_back_int(id.ms.wrapping_sub(base.ms) as i64);
        node.push_back_int(id.seq.wrapping_sub(base.seq) as i64);
        if same {
            fields.iter().skip(1).step_by(2).for_each(|value| node.push_back(value));
            node.push_back_int((PREFIX + named) as i64);
        } else {
            node.push_back_int((fields.len() / 2) as i64);
            fields.iter().for_each(|text| node.push_back(text));
            node.push_back_int((PREFIX + 1 + fields.len()) as i64);
        }
        self.count(1, 0);
    }

    /// Makes tombstones of the live entries that `goes` says, asked in order; returns how many there were.
    pub(super) fn bury_where(&mut self, base: StreamId, mut goes: impl FnMut(StreamId) -> bool) -> usize {
        let mut flags = Vec::new();
        let head = self.head(base);
        let mut next = self.front(&head);
        while let Some(entry) = next {
            if entry.is_live() && goes(entry.id) {
                flags.push((entry.at, entry.flags | DELETED));
            }
            next = self.following(&head, &entry);
        }
        // All flags take one byte, so no entry moves until the counts are written.
        flags.iter().for_each(|(at, flags)| _ = self.0.replace_int(*at, *flags));
        self.count(-(flags.len() as i64), flags.len() as i64);
        flags.len()
    }

    /// Reads what stands before the first entry.
    pub(super) fn head(&self, base: StreamId) -> Head<'_> {
        let count = self.after(self.after(self.first()));
        let fields = int(&self.0, count) as usize;
        let names = self.0.iter_from(self.after(count));
        // Past the names and the closing zero.
        let first = (0..fields + 2).try_fold(count, |at, _| self.0.next(at));
        Head { base, fields, names, first }
    }

    /// Returns the first entry.
    pub(super) fn front(&self, head: &Head<'_>) -> Option<Raw> {
        head.first.map(|at| self.raw(head, at))
    }

    /// Returns the last entry.
    pub(super) fn back(&self, head: &Head<'_>) -> Option<Raw> {
        head.first?;
        self.0.last().map(|end| self.raw_ending(head, end))
    }

    /// Returns the entry after one.
    pub(super) fn following(&self, head: &Head<'_>, entry: &Raw) -> Option<Raw> {
        self.0.next(entry.end).map(|at| self.raw(head, at))
    }

    /// Returns the entry before one.
    pub(super) fn preceding(&self, head: &Head<'_>, entry: &Raw) -> Option<Raw> {
        if Some(entry.at) == head.first {
            return None;
        }
        self.0.prev(entry.at).map(|end| self.raw_ending(head, end))
    }

    /// Returns the live entry with an id. Tombstones need not be in order: XSETID can go back behind what was deleted.
    pub(super) fn find(&self, head: &Head<'_>, id: StreamId) -> Option<Raw> {
        let mut next = self.front(head);
        while let Some(entry) = next {
            if entry.is_live() && entry.id >= id {
                return (entry.id == id).then_some(entry);
            }
            next = self.following(head, &entry);
        }
        None
    }

    /// Returns an entry as readers see it.
    pub(super) fn entry<'a>(&'a self, head: &Head<'a>, entry: &Raw) -> StreamEntry<'a> {
        let own = entry.flags & SAME_NAMES == 0;
        let names = if own { Names::Own } else { Names::Shared(head.names.clone()) };
        StreamEntry::new(entry.id, entry.fields, names, self.0.iter_from(entry.values))
    }

    fn raw(&self, head: &Head<'_>, at: At) -> Raw {
        let flags = int(&self.0, at);
        let ms = self.after(at);
        let seq = self.after(ms);
        let mut values = self.after(seq);
        let (mut fields, mut elements) = (head.fields, head.fields);
        if flags & SAME_NAMES == 0 {
            fields = int(&self.0, values) as usize;
            elements = 2 * fields;
            values = self.after(values);
        }
        let end = (0..elements).fold(values, |at, _| self.after(at));
        let id = StreamId {
            ms: head.base.ms.wrapping_add(int(&self.0, ms) as u64),
            seq: head.base.seq.wrapping_add(int(&self.0, seq) as u64),
        };
        Raw { at, flags, id, fields, values, end }
    }

    fn raw_ending(&self, head: &Head<'_>, end: At) -> Raw {
        let steps = int(&self.0, end);
        let back = |at| self.0.prev(at).expect("an entry is as long as it says");
        self.raw(head, (0..steps).fold(end, |at, _| back(at)))
    }

    fn first(&self) -> At {
        self.0.first().expect("a node begins with its counts")
    }

    fn after(&self, at: At) -> At {
        self.0.next(at).expect("a node and its entries are as long as they say")
    }

    fn count(&mut self, live: i64, dead: i64) {
        let (was_live, was_dead) = self.counts();
        let at = self.0.replace_int(self.first(), was_live as i64 + live);
        if dead != 0 {
            let at = self.after(at);
            self.0.replace_int(at, was_dead as i64 + dead);
        }
    }
}

fn int(packed: &Packed, at: At) -> i64 {
    match packed.item(at) {
        Item::Int(value) => value,
        Item::Str(_) => unreachable!("counts, flags and differences of ids are numbers"),
    }
}
