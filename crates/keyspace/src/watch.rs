//! WATCH: telling a transaction that a key it depends on has changed.
//!
//! A watcher leaves a flag at the key's shard; whoever changes the key raises the flag while holding the shard's lock. The transaction looks at
//! its flag after locking its own shards, so a change is either seen or comes after. A shard without watchers costs writers one comparison.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Millis, View};

/// Raised when a watched key has changed; shared by all watches of one transaction.
#[derive(Debug, Default)]
pub struct WatchFlag(AtomicBool);

impl WatchFlag {
    /// Raises the flag.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Tells whether a watched key has changed.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether a key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Missing,
    /// It is, but its time has come.
    Expired,
    Live,
}

type Watched = (usize, Box<[u8]>);

/// The watches of one shard.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_key: HashMap<Watched, Vec<Watch>>,
}

#[derive(Debug)]
struct Watch {
    flag: Arc<WatchFlag>,
    /// The key had already expired when the watch began: its removal is then no change.
    stale: bool,
    /// When the watch began.
    began: Millis,
}

impl Watches {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(crate) fn add(&mut self, db: usize, key: &[u8], flag: &Arc<WatchFlag>, stale: bool, now: Millis) {
        let watches = self.by_key.entry((db, key.into())).or_default();
        if !watches.iter().any(|watch| Arc::ptr_eq(&watch.flag, flag)) {
            watches.push(Watch { flag: Arc::clone(flag), stale, began: now });
        }
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) {
        let watched: Watched = (db, key.into());
        if let Some(watches) = self.by_key.get_mut(&watched) {
            watches.retain(|watch| !Arc::ptr_eq(&watch.flag, flag));
            if watches.is_empty() {
                self.by_key.remove(&watched);
            }
        }
    }

    /// Tells whether the key had already expired when this flag began to watch it.
    pub(crate) fn is_stale(&self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) -> bool {
        self.find(db, key, flag).is_some_and(|watch| watch.stale)
    }

    /// Returns when this flag began to watch the key.
    pub(crate) fn began(&self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) -> Option<Millis> {
        self.find(db, key, flag).map(|watch| watch.began)
    }

    fn find(&self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) -> Option<&Watch> {
        self.by_key.get(&(db, Box::from(key)))?.iter().find(|watch| Arc::ptr_eq(&watch.flag, flag))
    }

    /// Raises the flags of those who watch the key.
    pub(crate) fn changed(&mut self, db: usize, key: &[u8]) {
        if let Some(watches) = self.by_key.get(&(db, Box::from(key))) {
            watches.iter().for_each(|watch| watch.flag.raise());
        }
    }

    /// The key went away because its time had come: no news to those who began to watch it after that time.
    pub(crate) fn expired(&mut self, db: usize, key: &[u8]) {
        if let Some(watches) = self.by_key.get_mut(&(db, Box::from(key))) {
            for watch in watches {
                if watch.stale {
                    watch.stale = false;
                } else {
                    watch.flag.raise();
                }
            }
        }
    }

    /// Another content takes the place of a database's: `standing` tells how a key stood before and will stand after.
    ///
    /// A key that has expired counts as missing to those who watch it as such, whether it is still there or not.
    pub(crate) fn replaced(&mut self, db: usize, standing: impl Fn(&[u8]) -> (Standing, Standing)) {
        for ((_, key), watches) in self.by_key.iter_mut().filter(|((watched_db, _), _)| *watched_db == db) {
            let (before, after) = standing(key);
            for watch in watches {
                match (before, after) {
                    (Standing::Missing, Standing::Missing) => {}
                    (_, Standing::Missing) if watch.stale => watch.stale = false,
                    (_, Standing::Expired) if watch.stale => {}
                    (Standing::Missing, Standing::Expired) => watch.stale = true,
                    _ => watch.flag.raise(),
                }
            }
        }
    }
}

impl View<'_> {
    /// Lets a flag watch a key of the selected database.
    pub fn watch(&mut self, key: &[u8], flag: &Arc<WatchFlag>) {
        let (hash, now, db) = (self.hash(key), self.now, self.db);
        let shard = self.held.shard(key);
        let stale = shard.databases[db].holds_expired(hash, key, now);
        shard.watches.add(db, key, flag, stale, now);
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) {
        self.held.shard(key).watches.remove(db, key, flag);
    }
}
