//! Trimming: removing entries from the front until a stream is short or young enough.
//!
//! Whole nodes go first, which costs next to nothing. Trimming approximately ends there; trimming exactly opens one more node and makes tombstones in it.
//! A limit bounds the work of one call, counted in entries and kept by not beginning a node that would exceed it.

use super::{References, Stream, StreamId};

/// What is to remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// This many entries (MAXLEN).
    Len(u64),
    /// Entries from this id on (MINID).
    Id(StreamId),
}

/// How to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is to remain.
    pub to: TrimTo,
    /// Removes whole nodes only, so more may remain.
    pub whole_nodes: bool,
    /// Most entries to remove; `None` for no limit.
    pub limit: Option<u64>,
    /// What happens to groups that have the entries pending.
    pub references: References,
}

impl Stream {
    /// Trims and returns how many entries were removed.
    pub fn trim(&mut self, trim: &Trim) -> usize {
        let (mut removed, mut from) = (0, StreamId::MIN);
        while let Some(node) = self.entries.node_from(from) {
            let len = self.entries.len() as u64;
            let (over, whole) = match trim.to {
                TrimTo::Len(max) => (len > max, len - node.live as u64 >= max),
                TrimTo::Id(min) => (node.base < min, node.last < min),
            };
            if !over || trim.limit.is_some_and(|limit| (removed + node.live) as u64 > limit) {
                break;
            }
            if whole && trim.references == References::Keep {
                self.entries.remove_node(node.base);
                removed += node.live;
                continue;
            }
            if !whole && trim.whole_nodes {
                break;
            }
            removed += self.trim_node(node.base, trim);
            // A node opened for what stands behind its live entries stays, as in Redis: where it ends decides about later trimming.
            if whole {
                self.entries.remove_if_empty(node.base);
            }
            match node.last.next() {
                Some(next) => from = next,
                None => break,
            }
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    /// Removes entries of one node one by one.
    fn trim_node(&mut self, base: StreamId, trim: &Trim) -> usize {
        let mut left = self.entries.len() as u64;
        let (groups, mut gone) = (&self.groups, Vec::new());
        let removed = self.entries.remove_in_node(base, |id| {
            let over = match trim.to {
                TrimTo::Len(max) => left > max,
                TrimTo::Id(min) => id < min,
            };
            let goes = over && !(trim.references == References::Needed && groups.values().any(|group| group.needs(id)));
            if goes {
                left -= 1;
                if trim.references == References::Drop {
                    gone.push(id);
                }
            }
            goes
        });
        gone.into_iter().for_each(|id| self.drop_references(id));
        removed
    }
}
