//! The image of all databases at one moment, written while they go on changing.
//!
//! ```text
//!            begin, gate exclusive                       marked shares, one after the other
//! shares     ● ● ● ● ● ● ● ●      ─────────►     ○ ○ ○ ● ○ ● ● ●        ● to be written   ○ written, or younger than the image
//!            (all marked)                              └ written by who came to change it
//! ```
//!
//! A *share* is what one shard holds of one database. To begin, with all shards held, the shares that hold anything are marked, which takes microseconds
//! and no memory. From then on whoever is about to change a marked share writes it first and takes the mark away ([`Shard::before_change`], which the
//! view calls); a thread in the background goes round and does the same for those that nobody changes. Either way a share is
//! written as it was when the image began, once, and what is read only is not held up. FLUSHALL gives away whole shares: they are set aside and
//! written later. SWAPDB takes the marks along, which know the number of the database they were made in.
//!
//! So the image is exact without a copy of the process and without a second copy of the data. Its price is that the first change of a share waits until
//! the share is written: a 1,024th of a database, but all of its largest value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redpoll_structures::table::Table;

use crate::rdb::{Compression, Entries};
use crate::shard::Database;
use crate::{Entry, Gate, Held, Keyspace, SHARDS, Shard, ShardIndex, Stamping, View};

/// Bytes after which what was written of a share is handed on.
const PART_LEN: usize = 1 << 20;

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

/// Takes the parts of an image, in no order. Called under the lock of the shard they come from: it must lock nothing of the keyspace.
pub trait Collector: Send + Sync {
    /// Takes a part.
    fn collect(&self, part: Part);
}

/// An image being written.
pub struct Image {
    compression: Compression,
    stamping: Option<Stamping>,
    collector: Box<dyn Collector>,
    /// Shares that went away as a whole before they were written.
    aside: Mutex<Vec<(usize, Table<Entry>)>>,
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
        Image { compression, stamping, collector, aside: Mutex::default(), abandoned: AtomicBool::new(false) }
    }

    /// Lets nothing more be written: marks are taken away as they are met.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Writes entries of a database.
    fn write(&self, db: usize, table: &Table<Entry>) {
        if self.abandoned.load(Ordering::Relaxed) {
            return;
        }
        let (mut entries, mut keys) = (Entries::new(self.compression, self.stamping), 0);
        for entry in table.iter() {
            entries.add(entry);
            keys += 1;
            if entries.len() >= PART_LEN {
                self.collector.collect(Part { db, keys: std::mem::take(&mut keys), bytes: entries.take() });
            }
        }
        if !entries.is_empty() {
            self.collector.collect(Part { db, keys, bytes: entries.take() });
        }
    }
}

impl Shard {
    /// Must be called before a database's share is changed: writes it if an image still needs it as it is.
    #[inline]
    pub(crate) fn before_change(&mut self, db: usize) {
        if self.databases[db].imaged_as.is_some() {
            self.write_share(db);
        }
    }

    #[cold]
    fn write_share(&mut self, db: usize) {
        let database = &mut self.databases[db];
        if let (Some(number), Some(image)) = (database.imaged_as.take(), &self.image) {
            image.write(number, &database.table);
        }
    }

    /// Writes all shares that an image still needs as they are.
    pub(crate) fn write_shares(&mut self) {
        (0..self.databases.len()).for_each(|db| self.before_change(db));
    }

    /// Lets go of a share that was taken out: returns it, unless an image still needs it and keeps it for that.
    pub(crate) fn let_go(&self, database: Database) -> Option<Database> {
        if let (Some(number), Some(image)) = (database.imaged_as, &self.image)
            && !image.abandoned.load(Ordering::Relaxed)
        {
            image.aside.lock().push((number, database.table));
            return None;
        }
        Some(database)
    }
}

impl View<'_> {
    /// Begins an image of this moment. All shards must be held.
    ///
    /// One that was begun before and not finished is given up.
    pub fn begin_image(&mut self, image: &Arc<Image>) {
        for index in 0..SHARDS as ShardIndex {
            self.held.with_shard(index, |shard| {
                shard.image = Some(Arc::clone(image));
                for (db, database) in shard.databases.iter_mut().enumerate() {
                    database.imaged_as = (!database.table.is_empty()).then_some(db);
                }
            });
        }
    }

    /// Writes an image of this moment at once. All shards must be held.
    pub fn write_image(&mut self, image: &Image) {
        for db in 0..self.keyspace.databases() {
            for index in 0..SHARDS as ShardIndex {
                self.held.with_shard(index, |shard| image.write(db, &shard.databases[db].table));
            }
        }
    }
}

impl Keyspace {
    /// Writes what is still to be written of one database in one shard.
    pub fn write_share(&self, image: &Arc<Image>, number: usize, index: ShardIndex) {
        let mut gate: Gate<'_> = self.enter();
        gate.lock_shard(index).with_locked(index, |shard| {
            let is_theirs = shard.image.as_ref().is_some_and(|theirs| Arc::ptr_eq(theirs, image));
            let marked = shard.databases.iter().position(|database| database.imaged_as == Some(number));
            if let (true, Some(db)) = (is_theirs, marked) {
                shard.before_change(db);
            }
        });
    }

    /// Ends an image of which every share has been gone round to: what was set aside is written too. Call it also for one that was abandoned.
    pub fn end_image(&self, image: &Arc<Image>) {
        let mut gate: Gate<'_> = self.enter();
        for index in 0..SHARDS as ShardIndex {
            let mut held: Held<'_> = gate.lock_shard(index);
            held.with_locked(index, |shard| {
                if shard.image.as_ref().is_some_and(|theirs| Arc::ptr_eq(theirs, image)) {
                    shard.write_shares();
                    shard.image = None;
                }
            });
        }
        drop(gate);
        for (db, table) in std::mem::take(&mut *image.aside.lock()) {
            image.write(db, &table);
        }
    }
}

#[cfg(test)]
mod tests;
