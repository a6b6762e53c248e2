//! The image of all databases at one moment, written while they go on changing.
//!
//! ```text
//!            begin, gate exclusive                   marked shares, one after the other
//! shares     ●●●● ●●●● ●●●● ●●●●   ─────────►   ○○○○ ○○●● ●○●● ●●●●       each of groups: ● to be written   ○ written
//!                                                         └ written by who came to change a key of it
//! ```
//!
//! A *share* is what one shard holds of one database, a *group* some eight keys of it: those that the table has in one bucket when the image begins, and that agree in
//! some bits of their hashes whatever becomes of the table. To begin, with all shards held, the shares that hold anything are marked, with one bit for each group.
//! From then on whoever is about to change or add a key writes the key's group first and takes its mark away ([`Database::before_change`], which the view calls); a
//! thread in the background goes round and does the same for the groups that nobody changes, some of them at a time. Either way
//! a group is written as it was when the image began, once, and what is read only is not held up. FLUSHALL gives away whole shares: they are set aside and
//! written later, as far as they are still marked. SWAPDB takes the marks along, which know the number of the database they were made in.
//!
//! So the image is exact without a copy of the process and without a second copy of the data. Its price is that the first change of a group waits until
//! the group is written, and whoever wants a shard that the thread is just at, until some groups are: either takes microseconds. But a value is written in one
//! piece: who changes the neighbour of a huge one waits for all of it, and so does who comes while the thread writes it.
//!
//! Entries gather in *drafts* before they are handed on: one for each thread that writes at the same time, whichever shares it writes of.

mod marks;
#[cfg(test)]
mod one_share_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

pub(crate) use marks::Marks;

use crate::rdb::{Compression, Entries};
use crate::shard::Database;
use crate::{Entry, Gate, Keyspace, SHARDS, Shard, ShardIndex, Stamping, View};

/// Bytes after which a draft is handed on.
const PART_LEN: usize = 1 << 16;

/// A piece of an image: entries of one database as [`Entries`] writes them.
#[derive(Debug)]
pub struct Part {
    /// The database.
    pub db: usize,
    /// The number of entries.
    pub keys: usize,
    /// The entries.
    pub bytes: Vec<u8>,
}

/// Takes the parts of an image, in no order. Called under the lock of a shard: it must lock nothing of the keyspace.
pub trait Collector: Send + Sync {
    /// Takes a part.
    fn collect(&self, part: Part);
}

/// A part in the making.
struct Draft {
    db: usize,
    keys: usize,
    entries: Entries,
}

/// An image being written.
pub struct Image {
    compression: Compression,
    stamping: Option<Stamping>,
    collector: Box<dyn Collector>,
    /// Drafts that nobody writes to just now.
    drafts: Mutex<Vec<Draft>>,
    /// Shares that went away as a whole before they were written.
    aside: Mutex<Vec<Database>>,
    /// Nobody wants it any more.
    abandoned: AtomicBool,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("abandoned", &self.abandoned).finish_non_exhaustive()
    }
}

impl Image {
    /// Makes an image to begin with; with a stamping it tells how long or how often keys were used.
    pub fn new(compression: Compression, stamping: Option<Stamping>, collector: Box<dyn Collector>) -> Image {
        Image {
            compression,
            stamping,
            collector,
            drafts: Mutex::default(),
            aside: Mutex::default(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Lets nothing more be written: marks are taken away as they are met.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Takes a draft for entries of a database; it is to be put back.
    fn draft(&self, db: usize) -> Draft {
        let mut drafts = self.drafts.lock();
        let fitting = drafts.iter().position(|draft| draft.db == db);
        let found = fitting.map(|at| drafts.swap_remove(at)).or_else(|| drafts.pop());
        drop(drafts);
        let mut draft =
            found.unwrap_or_else(|| Draft { db, keys: 0, entries: Entries::new(self.compression, self.stamping) });
        if draft.db != db {
            self.hand_on(&mut draft);
            draft.db = db;
        }
        draft
    }

    fn put_back(&self, draft: Draft) {
        self.drafts.lock().push(draft);
    }

    /// Writes an entry; returns how many bytes it took.
    fn add(&self, entry: &Entry, draft: &mut Draft) -> usize {
        let before = draft.entries.len();
        draft.entries.add(entry);
        draft.keys += 1;
        let len = draft.entries.len();
        if len >= PART_LEN {
            self.hand_on(draft);
        }
        len - before
    }

    fn hand_on(&self, draft: &mut Draft) {
        if draft.keys > 0 {
            let keys = std::mem::take(&mut draft.keys);
            self.collector.collect(Part { db: draft.db, keys, bytes: draft.entries.take() });
        }
    }

    /// Hands on what has gathered. Nobody may be writing any more.
    fn hand_on_all(&self) {
        self.drafts.lock().drain(..).for_each(|mut draft| self.hand_on(&mut draft));
    }
}

impl Shard {
    /// Writes all that images still need as it is.
    pub(crate) fn write_marked(&mut self, keyspace: &Keyspace) {
        self.databases.iter_mut().for_each(|database| while database.write_some(keyspace) {});
    }
}

impl Database {
    /// Lets go of a share that was taken out: returns it, unless an image still needs it and keeps it for that.
    pub(crate) fn let_go(self) -> Option<Database> {
        match self.marks.as_ref().map(|marks| marks.image()).filter(|image| !image.is_abandoned()) {
            None => Some(self),
            Some(image) => {
                Arc::clone(image).aside.lock().push(self);
                None
            }
        }
    }
}

impl View<'_> {
    /// Begins an image of this moment. All shards must be held.
    ///
    /// One that was begun before and not finished is given up.
    pub fn begin_image(&mut self, image: &Arc<Image>) {
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                for (db, database) in shard.databases.iter_mut().enumerate() {
                    database.marks = Marks::new(image, db, &database.table).map(Box::new);
                }
            });
        }
    }

    /// Writes an image of this moment at once. All shards must be held.
    pub fn write_image(&mut self, image: &Image) {
        for db in 0..self.keyspace.databases() {
            let mut draft = image.draft(db);
            for index in 0..SHARDS as ShardIndex {
                self.held.with_shard(index, |shard| {
                    for entry in &shard.databases[db].table {
                        image.add(entry, &mut draft);
                    }
                });
            }
            image.put_back(draft);
        }
        image.hand_on_all();
    }
}

impl Keyspace {
    /// Writes what is still to be written of one database in one shard, piece by piece: the shard is locked for each anew, and after each, with nothing held,
    /// `between` is called.
    pub fn write_share(&self, image: &Arc<Image>, number: usize, index: ShardIndex, mut between: impl FnMut()) {
        let mut is_more = true;
        while is_more {
            let mut gate: Gate<'_> = self.enter();
            is_more = gate.lock_shard(index).with_locked(index, |shard| {
                let is_it = |database: &&mut Database| {
                    database.marks.as_ref().is_some_and(|marks| marks.are_of(image) && marks.number() == number)
                };
                shard.databases.iter_mut().find(is_it).is_some_and(|database| database.write_some(self))
            });
            drop(gate);
            between();
        }
    }

    /// Ends an image of which every share has been gone round to: what was set aside is written too, with `between` called after each piece. Call it also for
    /// one that was abandoned.
    pub fn end_image(&self, image: &Arc<Image>, mut between: impl FnMut()) {
        let mut gate: Gate<'_> = self.enter();
        for index in 0..SHARDS as ShardIndex {
            gate.lock_shard(index).with_locked(index, |shard| {
                for database in &mut shard.databases {
                    if database.marks.as_ref().is_some_and(|marks| marks.are_of(image)) {
                        while database.write_some(self) {}
                    }
                }
            });
        }
        drop(gate);
        let aside = std::mem::take(&mut *image.aside.lock());
        for mut database in aside {
            while database.write_some(self) {
                between();
            }
        }
        image.hand_on_all();
    }
}
