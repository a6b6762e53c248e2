//! The marks of a share: which of its groups an image still needs.
//!
//! ```text
//! hash of a key  … 0110 1011        group = hash & mask        to_write  │ 1101 … │ … │     one bit a group, in words
//!                     ───────
//! ```
//!
//! The mask is that of the table when the image began, and stays. So a table that grows or shrinks does not matter, and what is in a group that is still
//! to be written was there when the image began: nothing was put there or changed since. There is one bit for about eight keys, a thousandth of what they take.

use std::sync::Arc;

use redpoll_structures::table::Table;

use super::{Draft, Image};
use crate::shard::Database;
use crate::{Entry, Keyspace};

/// Most groups written under one lock of a shard, and the bytes after which no further one is.
const HOLD_GROUPS: usize = 4;
const HOLD_BYTES: usize = 1 << 12;

/// What an image still needs of a share; not for ever nothing, since who writes the last group takes the marks away.
#[derive(Debug)]
pub(crate) struct Marks {
    image: Arc<Image>,
    /// The number that the database had.
    number: usize,
    mask: u32,
    to_write: Box<[u64]>,
    /// How many groups are to be written.
    left: usize,
    /// Words before this one have no bit any more.
    next: usize,
}

impl Marks {
    /// Marks all groups of a share, if it has any.
    pub(crate) fn new(image: &Arc<Image>, number: usize, table: &Table<Entry>) -> Option<Marks> {
        if table.is_empty() {
            return None;
        }
        let mask = table.group_mask();
        let groups = mask as usize + 1;
        let mut to_write = vec![u64::MAX; groups.div_ceil(64)].into_boxed_slice();
        if groups < 64 {
            to_write[0] = (1 << groups) - 1;
        }
        Some(Marks { image: Arc::clone(image), number, mask, to_write, left: groups, next: 0 })
    }

    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    pub(crate) fn are_of(&self, image: &Arc<Image>) -> bool {
        Arc::ptr_eq(&self.image, image)
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    fn is_marked(&self, group: u32) -> bool {
        self.to_write[group as usize / 64] >> (group % 64) & 1 == 1
    }

    /// Writes a marked group and takes its mark away; returns how many bytes it took.
    fn write_group(&mut self, group: u32, table: &Table<Entry>, keyspace: &Keyspace, draft: &mut Draft) -> usize {
        debug_assert!(self.is_marked(group));
        self.to_write[group as usize / 64] &= !(1 << (group % 64));
        self.left -= 1;
        let mut bytes = 0;
        let hash = |entry: &Entry| keyspace.hash(entry.key());
        table.visit_group(group, self.mask, hash, |entry| bytes += self.image.add(entry, draft));
        bytes
    }

    /// Writes so many of the marked groups, as long as they are small.
    fn write_next(&mut self, table: &Table<Entry>, keyspace: &Keyspace, draft: &mut Draft) {
        let (mut groups, mut bytes) = (0, 0);
        while self.left > 0 && groups < HOLD_GROUPS && bytes < HOLD_BYTES {
            let word = self.to_write[self.next];
            if word == 0 {
                self.next += 1;
                continue;
            }
            let group = (self.next * 64) as u32 + word.trailing_zeros();
            bytes += self.write_group(group, table, keyspace, draft);
            groups += 1;
        }
    }
}

impl Database {
    /// Must be called before the key with this hash is changed, added or removed: writes its group if an image still needs it as it is.
    #[inline]
    pub(crate) fn before_change(&mut self, hash: u64, keyspace: &Keyspace) {
        if self.marks.is_some() {
            self.write_group_of(hash, keyspace);
        }
    }

    #[cold]
    fn write_group_of(&mut self, hash: u64, keyspace: &Keyspace) {
        let group_of = |marks: &Marks| hash as u32 & marks.mask;
        if self.marks.as_ref().is_some_and(|marks| marks.is_marked(group_of(marks))) {
            self.write(|marks, table, draft| {
                marks.write_group(group_of(marks), table, keyspace, draft);
            });
        }
    }

    /// Writes some of what an image still needs, as much as a shard may be held for; tells whether there is more.
    pub(crate) fn write_some(&mut self, keyspace: &Keyspace) -> bool {
        self.write(|marks, table, draft| marks.write_next(table, keyspace, draft));
        self.marks.is_some()
    }

    /// Has something written, and takes the marks away when there are no more, or nobody wants the image.
    fn write(&mut self, write: impl FnOnce(&mut Marks, &Table<Entry>, &mut Draft)) {
        let Some(marks) = &mut self.marks else { return };
        let image = Arc::clone(&marks.image);
        if image.is_abandoned() {
            self.marks = None;
            return;
        }
        let mut draft = image.draft(marks.number);
        write(marks, &self.table, &mut draft);
        if marks.left == 0 {
            image.hand_on(&mut draft);
            self.marks = None;
        }
        image.put_back(draft);
    }
}
