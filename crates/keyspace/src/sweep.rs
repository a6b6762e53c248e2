//! The sweep: finding expired entries nobody asks for, without an index of deadlines.
//!
//! Every database of a shard knows a lower bound of its deadlines. While that has not come, there is nothing to do. When it has come, the sweep goes
//! once round the table, removes what has expired and on the way learns the new lower bound. The work is proportional to the shard, which is small,
//! and is cut into pieces by a budget of buckets; no memory per key is spent. Who calls how often, and so how much processor time expiry may take, is the
//! caller's decision.

use crate::entry::is_expired;
use crate::shard::Database;
use crate::{Entry, Keyspace, Millis};

impl Database {
    /// Visits at most `budget` buckets, moving expired entries to `gone`; returns how many it visited, 0 if nothing is due.
    pub(crate) fn sweep(&mut self, now: Millis, budget: usize, keyspace: &Keyspace, gone: &mut Vec<Entry>) -> usize {
        if !self.may_expire(now) {
            return 0;
        }
        let mut visited = 0;
        while visited < budget {
            visited += 1;
            let (volatile, soonest) = (&mut self.volatile, &mut self.sweep_soonest);
            self.sweep_cursor = self.table.sweep(
                self.sweep_cursor,
                |entry| {
                    if let Some(deadline) = entry.deadline().filter(|deadline| *deadline > now) {
                        *soonest = (*soonest).min(deadline);
                    }
                    !is_expired(entry, now)
                },
                |entry| {
                    *volatile -= 1;
                    gone.push(entry);
                },
                |entry| keyspace.hash(entry.key()),
            );
            if self.sweep_cursor == 0 {
                // Once round: what was seen on the way is the new bound. Deadlines set meanwhile lowered both.
                self.soonest = std::mem::replace(&mut self.sweep_soonest, Millis::MAX);
                break;
            }
        }
        visited
    }
}
