//! Asking for keys ahead of the commands that will use them.
//!
//! A command on a key that is not in the processor's caches waits for main memory twice: for the table's bucket, then for the record. A pipeline
//! tells what comes next, and so do keys that are loaded, so several are asked for together, step by step, and the waits overlap. Nothing is read of a
//! record and nothing changes; for a pipeline, a shard that somebody else holds is skipped, so this never waits for a lock.

use smallvec::SmallVec;

use crate::Entry;
use crate::View;
use crate::keyspace::{Gate, Keyspace, ShardIndex};

/// Keys asked for at a time: about as many loads as a processor has under way at once.
pub const AHEAD_MAX: usize = 16;

/// Steps gone towards a key: its bucket, the record or the next bucket, and once more.
const STEPS: usize = 3;

impl Keyspace {
    /// Asks the processor to load what lookups of these keys will need; of more than [`AHEAD_MAX`] keys the first.
    pub fn ask_for(&self, db: usize, keys: &[&[u8]]) {
        let Some(Gate::Shared(shards)) = self.try_enter() else { return };
        let mut places: SmallVec<[(ShardIndex, u64); AHEAD_MAX]> =
            keys.iter().take(AHEAD_MAX).map(|key| (Keyspace::shard_of(key), self.hash(key))).collect();
        for step in 0..STEPS {
            places.retain(|(shard, hash)| {
                shards[*shard as usize]
                    .try_lock()
                    .is_some_and(|shard| shard.databases[db].table.approach(*hash, step, Entry::prefetch))
            });
        }
    }
}

impl View<'_> {
    /// Asks the processor to load what lookups of these keys in the selected database will need. Their shards must be held.
    pub fn ask_for<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let place = |key| (&self.held.shard_ref(key).databases[self.db].table, self.hash(key));
        let mut places: Vec<_> = keys.map(place).collect();
        for step in 0..STEPS {
            places.retain(|(table, hash)| table.approach(*hash, step, Entry::prefetch));
        }
    }
}
