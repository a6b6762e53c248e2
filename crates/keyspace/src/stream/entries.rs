//! The entries of a stream: nodes in the order of their bases.
//!
//! A new entry goes to the last node until that is full by `stream-node-max-bytes` or `stream-node-max-entries`. The limits decide by the same arithmetic
//! as Redis's, because trimming approximately removes whole nodes, and clients see how many.

use std::collections::{BTreeMap, btree_map};
use std::ops::RangeInclusive;

use redpoll_structures::packed::{MAX_BYTES, Packed};

use super::node::{Head, Node, Raw};
use super::{StreamEntry, StreamId};
use crate::{Direction, Limits};

/// What a node takes beside its block: its share of the tree that orders the nodes, bytes; and the least that this tree takes.
const PLACE_BYTES: usize = 48;
const TREE_BYTES: usize = 320;

/// A node behind another is given half of what that took, up to this: it will need it, and need not grow so often.
const ROOM_MAX: usize = 4096;

/// Nodes in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    nodes: BTreeMap<StreamId, Node>,
    len: usize,
    /// Bytes of all blocks.
    block_bytes: usize,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn heap_size(&self) -> usize {
        self.block_bytes + if self.nodes.is_empty() { 0 } else { TREE_BYTES.max(self.nodes.len() * PLACE_BYTES) }
    }

    /// Returns the bases of the nodes in order.
    pub(super) fn bases(&self) -> impl ExactSizeIterator<Item = StreamId> {
        self.nodes.keys().copied()
    }

    /// Iterates over base ids and blocks.
    pub(super) fn blocks(&self) -> impl ExactSizeIterator<Item = (StreamId, &Packed)> {
        self.nodes.iter().map(|(base, node)| (*base, node.block()))
    }

    /// Iterates over the nodes.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Tells whether an entry is too large for any node.
    pub(super) fn is_too_large(fields: &[&[u8]]) -> bool {
        Node::bytes_at_most(fields) > MAX_BYTES
    }

    /// Adds an entry behind all others.
    pub(super) fn push(&mut self, id: StreamId, fields: &[&[u8]], limits: &Limits) {
        self.len += 1;
        let mut room = 0;
        if let Some(mut last) = self.nodes.last_entry() {
            let base = *last.key();
            let node = last.get_mut();
            let before = node.heap_size();
            if has_room(node, fields, limits) {
                node.push(base, id, fields);
                self.block_bytes = self.block_bytes + node.heap_size() - before;
                return;
            }
            node.seal();
            self.block_bytes = self.block_bytes + node.heap_size() - before;
            room = (node.block().byte_len() / 2).min(ROOM_MAX);
        }
        let mut node = Node::new(fields, room);
        node.push(id, id, fields);
        self.block_bytes += node.heap_size();
        self.nodes.insert(id, node);
    }

    /// Returns an entry.
    pub(super) fn find(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        let (base, node) = self.node_of(id)?;
        let head = node.head(base);
        node.find(&head, id).map(|raw| node.entry(&head, &raw))
    }

    /// Returns the node that holds an entry if any does. After XSETID went back, that can be the first node although it begins later.
    fn node_of(&self, id: StreamId) -> Option<(StreamId, &Node)> {
        let found = self.nodes.range(..=id).next_back().or_else(|| self.nodes.first_key_value());
        found.map(|(base, node)| (*base, node))
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.find(id).is_some()
    }

    /// Walks the live entries between two ids, both included.
    pub(super) fn range(&self, ids: RangeInclusive<StreamId>, direction: Direction) -> StreamRange<'_> {
        let (start, end) = (*ids.start(), *ids.end());
        let first = self.node_of(start).map_or(start, |(base, _)| base);
        let nodes = self.nodes.range(first..=end.max(first));
        StreamRange { nodes, start, end, direction, current: None }
    }

    /// Removes an entry; tells whether it was there.
    pub(super) fn remove(&mut self, id: StreamId) -> bool {
        let found = self.node_of(id).filter(|(base, node)| node.find(&node.head(*base), id).is_some());
        let Some((base, _)) = found else { return false };
        self.remove_in_node(base, |other| other == id);
        self.remove_if_empty(base);
        true
    }

    /// Returns the first node from an id on: its base, the number of its live entries and the id of its last entry, tombstone or not.
    pub(super) fn node_from(&self, base: StreamId) -> Option<NodeFacts> {
        let (&base, node) = self.nodes.range(base..).next()?;
        let last = node.back(&node.head(base)).map_or(base, |raw| raw.id);
        Some(NodeFacts { base, live: node.counts().0, last })
    }

    /// Removes a node with all its entries.
    pub(super) fn remove_node(&mut self, base: StreamId) {
        if let Some(node) = self.nodes.remove(&base) {
            self.len -= node.counts().0;
            self.block_bytes -= node.heap_size();
        }
    }

    /// Removes the entries of a node that `goes` says, asked in order; returns how many there were. The node stays, also if it has none left.
    pub(super) fn remove_in_node(&mut self, base: StreamId, goes: impl FnMut(StreamId) -> bool) -> usize {
        let Some(node) = self.nodes.get_mut(&base) else { return 0 };
        let before = node.heap_size();
        let removed = node.bury_where(base, goes);
        self.len -= removed;
        self.block_bytes = self.block_bytes + node.heap_size() - before;
        removed
    }

    /// Removes a node if it holds nothing but tombstones.
    pub(super) fn remove_if_empty(&mut self, base: StreamId) {
        if self.nodes.get(&base).is_some_and(|node| node.counts().0 == 0) {
            self.remove_node(base);
        }
    }
}

/// What trimming looks at before it opens a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeFacts {
    pub(super) base: StreamId,
    pub(super) live: usize,
    pub(super) last: StreamId,
}

/// Tells whether a node takes another entry.
fn has_room(node: &Node, fields: &[&[u8]], limits: &Limits) -> bool {
    let texts: usize = fields.iter().map(|text| text.len()).sum();
    let bytes_max = match limits.stream_node_max_bytes {
        0 => MAX_BYTES,
        bytes => bytes.min(MAX_BYTES),
    };
    let (live, dead) = node.counts();
    node.byte_len() + texts < bytes_max
        && (limits.stream_node_max_entries == 0 || live + dead < limits.stream_node_max_entries)
        && node.would_fit(Node::bytes_at_most(fields))
}

/// The live entries between two ids.
#[derive(Debug)]
pub struct StreamRange<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    start: StreamId,
    end: StreamId,
    direction: Direction,
    /// The node being walked and the next entry of it.
    current: Option<(&'a Node, Head<'a>, Option<Raw>)>,
}

impl<'a> Iterator for StreamRange<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            if self.current.is_none() {
                let ascending = self.direction == Direction::Ascending;
                let (base, node) = if ascending { self.nodes.next()? } else { self.nodes.next_back()? };
                let head = node.head(*base);
                let raw = if ascending { node.front(&head) } else { node.back(&head) };
                self.current = Some((node, head, raw));
            }
            let (node, head, next) = self.current.as_mut().expect("it was just set");
            let Some(raw) = next.take() else {
                self.current = None;
                continue;
            };
            let beyond = match self.direction {
                Direction::Ascending => {
                    *next = node.following(head, &raw);
                    raw.id > self.end
                }
                Direction::Descending => {
                    *next = node.preceding(head, &raw);
                    raw.id < self.start
                }
            };
            // Tombstones need not be in order.
            if !raw.is_live() {
                continue;
            }
            if beyond {
                *next = None;
                self.nodes = btree_map::Range::default();
            } else if (self.start..=self.end).contains(&raw.id) {
                return Some(node.entry(head, &raw));
            }
        }
    }
}
