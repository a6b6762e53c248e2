//! One member and its score in one heap block.
//!
//! ```text
//! 0        8     12
//! | score  | len | member bytes … |
//! ```
//!
//! A thin pointer (eight bytes, no length beside it) so that table slots and tree entries stay small. [`Node`] owns the
//! block; the tree holds plain [`NodeRef`] copies, whose use is `unsafe`: whoever reads through one must know that its
//! owner still lives. This file and the map that pairs the two are the only places that know.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::heap::block_size;

const LEN_OFFSET: usize = size_of::<f64>();
const MEMBER_OFFSET: usize = LEN_OFFSET + size_of::<u32>();

/// Owner of a member and its score.
pub(super) struct Node(NodeRef);

/// A copy of the pointer to a [`Node`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRef(NonNull<u8>);

// SAFETY: the block is plain memory (a float, a length, bytes) without ties to a thread. Reading it through a shared
// reference writes nothing, and the one function that writes demands exclusive access.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl Node {
    /// Copies `member` into a new block. Members are shorter than 4 GiB.
    pub(super) fn new(member: &[u8], score: f64) -> Self {
        let len = u32::try_from(member.len()).expect("members are shorter than 4 GiB");
        let layout = layout(member.len());
        // SAFETY: the layout is never empty, the header alone has twelve bytes.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        // SAFETY: the block has `layout`: eight bytes aligned for the score, four aligned for the length, and
        // `member.len()` bytes after them. It is new, so `member` does not overlap it.
        unsafe {
            block.cast::<f64>().write(score);
            block.add(LEN_OFFSET).cast::<u32>().write(len);
            block.add(MEMBER_OFFSET).copy_from_nonoverlapping(NonNull::from(member).cast(), member.len());
        }
        Self(NodeRef(block))
    }

    pub(super) fn member(&self) -> &[u8] {
        // SAFETY: the owner lives as long as the borrow, and nobody can write the member.
        unsafe { self.0.member() }
    }

    pub(super) fn score(&self) -> f64 {
        // SAFETY: the owner lives, and a writer would hold exclusive access.
        unsafe { self.0.score() }
    }

    pub(super) fn as_ref(&self) -> NodeRef {
        self.0
    }

    /// Returns the size of the block, rounded as allocators round.
    pub(super) fn heap_size(&self) -> usize {
        heap_size(self.member().len())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let layout = layout(self.member().len());
        // SAFETY: the block was allocated with the layout of this very length, and its owner goes away only once.
        unsafe { dealloc(self.0.0.as_ptr(), layout) }
    }
}

impl NodeRef {
    /// # Safety
    /// The owner must outlive `'a`.
    pub(super) unsafe fn member<'a>(self) -> &'a [u8] {
        // SAFETY: the caller keeps the owner alive, so the block is as `Node::new` wrote it: a length, and as many
        // initialised bytes behind it, which are never written again.
        unsafe {
            let len = self.0.add(LEN_OFFSET).cast::<u32>().read() as usize;
            NonNull::slice_from_raw_parts(self.0.add(MEMBER_OFFSET), len).as_ref()
        }
    }

    /// # Safety
    /// The owner must live, and nobody may write the score meanwhile.
    pub(super) unsafe fn score(self) -> f64 {
        // SAFETY: the caller keeps the owner alive; a score stands at the start of its block.
        unsafe { self.0.cast::<f64>().read() }
    }

    /// # Safety
    /// The owner must live, and the caller must have exclusive access to it.
    pub(super) unsafe fn set_score(self, score: f64) {
        // SAFETY: the caller keeps the owner alive and others away; a score stands at the start of its block.
        unsafe { self.0.cast::<f64>().write(score) }
    }
}

fn layout(member_len: usize) -> Layout {
    Layout::from_size_align(MEMBER_OFFSET + member_len, align_of::<f64>()).expect("4 GiB and a header fit an isize")
}

/// Returns the size of the block of a member of this length.
fn heap_size(member_len: usize) -> usize {
    block_size(MEMBER_OFFSET + member_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_it_was_given() {
        for len in [0, 1, 3, 4, 5, 100, 70_000] {
            let member: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let node = Node::new(&member, 1.5);
            assert_eq!((node.member(), node.score()), (&member[..], 1.5));
            // SAFETY: the owner lives, and this test alone knows it.
            unsafe { node.as_ref().set_score(-2.5) };
            assert_eq!((node.member(), node.score()), (&member[..], -2.5));
            assert!(node.heap_size() >= 12 + len);
        }
    }
}
