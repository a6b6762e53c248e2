//! The sweep: finding expired entries and fields nobody asks for, without an index of the keys' deadlines.
//!
//! Every database of a shard knows a lower bound of its deadlines. While that has not come, there is nothing to do. When it has come, the sweep goes
//! once round the table, removes what has expired and on the way learns the new lower bound. The work is proportional to the shard, which is small,
//! and is cut into pieces by a budget of buckets; no memory per key is spent. Who calls how often, and so how much processor time expiry may take, is the
//! caller's decision.
//!
//! A hash knows which of its fields expire next, so only those are touched. They count against the budget too: a hash with more of them than are left of it keeps
//! the sweep at its bucket until it is done.

use crate::entry::{is_expired, soonest_field};
use crate::shard::Database;
use crate::{Entry, Hash, Keyspace, Millis, Object};

/// How many fields are removed for what a bucket costs.
const FIELDS_PER_BUCKET: usize = 4;

/// What a sweep removed.
#[derive(Default)]
pub(crate) struct Swept {
    /// Buckets visited, fields counted in; 0 if nothing was due.
    pub(crate) visited: usize,
    /// Entries whose time had come.
    pub(crate) expired: Vec<Entry>,
    /// Hashes of which fields expired.
    pub(crate) hashes: Vec<SweptHash>,
    /// Hashes that lost their last field; they stand in `hashes` too.
    pub(crate) emptied: Vec<Entry>,
    /// Heap bytes of the hashes before and after.
    pub(crate) before: usize,
    pub(crate) after: usize,
    /// How many hashes have no field with a deadline any more.
    calmed: usize,
}

/// A hash of which fields expired.
pub(crate) struct SweptHash {
    pub(crate) key: Box<[u8]>,
    pub(crate) fields: Vec<Box<[u8]>>,
    /// Nothing was left of it.
    pub(crate) is_empty: bool,
}

impl Database {
    /// Visits at most `budget` buckets and takes out what has expired.
    pub(crate) fn sweep(&mut self, now: Millis, budget: usize, keyspace: &Keyspace) -> Swept {
        let mut swept = Swept::default();
        if !self.may_expire(now) {
            return swept;
        }
        let mut fields_left = budget * FIELDS_PER_BUCKET;
        let mut soonest = self.sweep_soonest;
        while swept.visited < budget && fields_left > 0 {
            let (before, mut expired, mut emptied) = (fields_left, Vec::new(), Vec::new());
            if self.marks.is_some() {
                self.before_sweep(now, keyspace);
            }
            let next = self.table.sweep(
                self.sweep_cursor,
                |entry| {
                    if is_expired(entry, now) {
                        return false;
                    }
                    if soonest_field(entry).is_some_and(|soonest| soonest <= now) {
                        swept.reap(entry, now, &mut fields_left);
                    }
                    let deadlines = [entry.deadline(), soonest_field(entry)];
                    soonest = deadlines.into_iter().flatten().fold(soonest, Millis::min);
                    !is_emptied(entry)
                },
                |entry| if is_emptied(&entry) { emptied.push(entry) } else { expired.push(entry) },
                |entry| keyspace.hash(entry.key()),
            );
            self.volatile -= expired.iter().chain(&emptied).filter(|entry| entry.deadline().is_some()).count();
            self.volatile_hashes -= expired.iter().filter(|entry| soonest_field(entry).is_some()).count();
            swept.expired.append(&mut expired);
            swept.emptied.append(&mut emptied);
            swept.visited += 1 + (before - fields_left) / FIELDS_PER_BUCKET;
            if fields_left == 0 {
                // Something due may be left in this bucket.
                swept.visited = budget;
                break;
            }
            self.sweep_cursor = next;
            if next == 0 {
                // Once round: what was seen on the way is the new bound. Deadlines set meanwhile lowered both.
                self.soonest = std::mem::replace(&mut soonest, Millis::MAX);
                break;
            }
        }
        self.sweep_soonest = soonest;
        self.volatile_hashes -= std::mem::take(&mut swept.calmed);
        swept
    }

    /// Writes what an image still needs of what the next step of the sweep changes.
    #[cold]
    fn before_sweep(&mut self, now: Millis, keyspace: &Keyspace) {
        let mut due = Vec::new();
        self.table.scan(self.sweep_cursor, |entry| {
            if is_expired(entry, now) || soonest_field(entry).is_some_and(|soonest| soonest <= now) {
                due.push(keyspace.hash(entry.key()));
            }
        });
        due.into_iter().for_each(|hash| self.before_change(hash, keyspace));
    }
}

impl Swept {
    /// Removes fields of a hash whose time has come, as many as are left to remove.
    fn reap(&mut self, entry: &mut Entry, now: Millis, fields_left: &mut usize) {
        let key = entry.key().into();
        let Some(Object::Hash(hash)) = entry.object_mut() else { return };
        self.before += hash.heap_size();
        let mut fields = Vec::new();
        *fields_left -= hash.reap(now, *fields_left, |field| fields.push(field.into()));
        self.after += hash.heap_size();
        self.calmed += usize::from(hash.soonest().is_none());
        if !fields.is_empty() {
            self.hashes.push(SweptHash { key, fields, is_empty: hash.is_empty() });
        }
    }
}

/// Tells whether an entry holds a hash without fields, which only a sweep ever sees.
fn is_emptied(entry: &Entry) -> bool {
    matches!(entry.object(), Some(Object::Hash(hash)) if Hash::is_empty(hash))
}
