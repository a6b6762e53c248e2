//! Locks: who may do something alone, or as one of few, while others wait.
//!
//! One [`Lock`] is what a caller asks for: a mutex, a read or a write lock, permits of a semaphore, the lead of an [`Election`]. All are acquired,
//! extended, released and looked at in the same way.
//!
//! # Guarantees
//!
//! * **Lease.** A lock is held until it is released or its lease ends by the store's clock, whichever comes first. How long a caller waits for a lock has
//!   nothing to do with how long it then holds it. No client's clock matters: clients measure how much of a lease is left, and never tell the time.
//! * **Owner.** Each acquisition has a token of its own, and only it extends or releases. Acquiring, extending and releasing are one atomic step and one
//!   round trip each, when the lock is free.
//! * **Fence.** Each acquisition is given a number that is larger than any given before for this lock: see below.
//! * **Renewal.** A lease is renewed in the background unless told otherwise, and never after its release. When renewal fails, and also when nobody
//!   renews and the lease ends, [`Guard::lost`] says so at the latest when another may acquire the lock.
//! * **Order.** Those who wait are served in the order they came, and a release wakes the first one only. A waiter that died holds the others up until
//!   its own short lease ends ([`LockSettings::waiter_lease`]), ten of them no longer than one.
//! * **Asking again.** A token that acquires the lock it holds has its lease begun anew and is given the same fence: asking twice, as after a lost
//!   reply, is asking once. There is no count: one release frees it. A second acquisition *without* the token waits, also within one task.
//! * A lease that has ended is not revived. Who releases after that is told whether anybody has held the lock since.
//!
//! # Fences
//!
//! A lease cannot stop a holder that was paused past its end, and is not told of it, from going on. What can is the thing that is protected: it remembers
//! the largest fence it has seen and refuses smaller ones. [`Lock::fenced_set`] does so for values in the store, and asks the lock besides, so that it refuses as
//! soon as another *acquired*; [`FENCED`] does so within scripts; a database does so by `UPDATE … WHERE fence <= $1`.
//!
//! For that the numbers must grow strictly, whatever happens to the store. A counter alone does not: it expires, and an older backup rewinds it. The clock alone
//! does not: it stands still within its resolution, and goes back. So a fence is **the store's clock in microseconds, or one more than the last fence where
//! that is not larger**.
//!
//! * The last fence is part of the lock's state, which outlives the lease by [`LockSettings::fence_kept`]. Within that time the clock may go anywhere.
//! * A state that is gone (expired, evicted, flushed, never written to disk before a crash) or rewound by a restored backup is made up for by the clock: every
//!   earlier fence lies in the past, since no lock is acquired more than once a microsecond for long, and so fences do not outrun the clock.
//! * What is left is both at once: a clock that is behind, on a store that has forgotten the lock or was restored, by more than the time since the last
//!   acquisition. Nothing in the store can tell that; the thing that is protected, if it is elsewhere, does.
//! * Numbers stay below 2^53, exact in Lua and JSON, until the year 2255.
//!
//! # Keys
//!
//! Each lock is a group of its own, `rp:kept:{tenant:lock:<kind>:<name>}`, with `:m` its state (the key's name is also that of the channel on which those who wait are
//! woken), `:q` and `:w` those who
//! wait, `:h` and `:d` the holders where there can be several, and `:r:<resource>` what was stored under its fence. A free mutex is acquired and released by
//! one key. All expire: state and holders a lease and [`LockSettings::fence_kept`] after the last use, the queue a minute after.
//!
//! # When the store is down
//!
//! Locks fail closed: acquiring is an error, counted, and nobody is let in. A holder goes on until its lease must be taken to have ended, and is told then.
//! A store that may evict locks is refused like one that is down (see [`kept`](crate::kept)). A store that loses its memory, and a replica that takes over without
//! the last writes, can give a lock to two; fences keep growing even so.
//!
//! # Work
//!
//! A step touches a few elements however many hold or wait; it removes at most four dead waiters and four ended leases, and who finds more comes again at once.
//!
//! Not here: several locks as one (acquire them in the order of their names), upgrading a read lock (two who try wait for each other), counting
//! re-entrance, and quorums over several stores.

mod acquire;
mod election;
mod guard;
mod info;
mod lock;
mod operations;
mod settings;
mod steps;
mod twins;

pub use acquire::{LockOptions, Renewal};
pub use election::{Election, Leader};
pub use guard::{Guard, LossSignal, Lost};
pub use info::{Holder, LockInfo, Mode, Queued};
pub use lock::{Claim, Fenced, Kind, Lock, MAX_PERMITS, Token};
pub use operations::SERVICE;
pub use settings::{LockSettings, MAX_LEASE, MAX_WAITER_LEASE, MIN_LEASE};
pub(crate) use twins::TWINS;

use crate::Services;
use crate::error::{Error, Result};
use crate::keys::Tenant;

/// A part for scripts of one's own that write what a lock protects: `newest_fence()`, of the first key, the lock's state ([`Lock::state_key`]), and the second, the
/// resource, a hash with the field `fence`. A step whose fence is smaller must change nothing; otherwise it sets the field.
pub const FENCED: &str = include_str!("fenced.lua");

/// A tenant's locks.
#[derive(Debug, Clone)]
pub struct Locks {
    services: Services,
    tenant: Tenant,
}

impl Locks {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Returns a mutex: one holds it.
    pub fn mutex(&self, name: &str) -> Result<Lock> {
        Lock::new(&self.services, &self.tenant, Kind::Mutex, name, 1, 1)
    }

    /// Returns the reading side of a read/write lock: many hold it, while nobody writes.
    pub fn read(&self, name: &str) -> Result<Lock> {
        Lock::new(&self.services, &self.tenant, Kind::Rw, name, 1, MAX_PERMITS)
    }

    /// Returns the writing side of a read/write lock: one holds it, while nobody reads.
    pub fn write(&self, name: &str) -> Result<Lock> {
        Lock::new(&self.services, &self.tenant, Kind::Rw, name, MAX_PERMITS, MAX_PERMITS)
    }

    /// Returns so many permits of a semaphore that has `capacity` in all; each caller says how many there are, so all should say the same.
    pub fn semaphore(&self, name: &str, permits: u64, capacity: u64) -> Result<Lock> {
        if capacity == 0 || capacity > MAX_PERMITS {
            return Err(Error::invalid("capacity", format_args!("must be 1 to {MAX_PERMITS}")));
        }
        if permits == 0 || permits > capacity {
            return Err(Error::invalid("permits", format_args!("must be 1 to the capacity, {capacity}")));
        }
        Lock::new(&self.services, &self.tenant, Kind::Semaphore, name, permits, capacity)
    }

    /// Returns an election: whoever holds it leads.
    pub fn election(&self, name: &str) -> Result<Election> {
        Lock::new(&self.services, &self.tenant, Kind::Election, name, 1, 1).map(Election::new)
    }
}

#[cfg(test)]
mod tests {
    /// The clock of a client may say anything, as long as nobody asks it.
    #[test]
    fn no_clock_but_the_stores_tells_the_time() {
        let asked = concat!("System", "Time");
        for folder in ["locks", "hub"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
            for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
                assert!(!std::fs::read_to_string(&file).unwrap().contains(asked), "{}", file.display());
            }
        }
    }
}
