//! The keyspace: shards, databases, values, expiry, watches and waiters.
//!
//! ```text
//! Keyspace ─ gate (reader-writer lock, cheap for readers)
//!   └ 1,024 × Mutex<Shard>          shard = low bits of the key's CRC16 hash slot: keys sharing a {tag} share a shard
//!        ├ 16 × Database            Table<Entry> of one-block records, count and soonest deadline of volatile keys
//!        ├ Watches                  who is to be told when a key changes (WATCH)
//!        ├ Waiters                  who is to be served when a key comes to hold something (BLPOP)
//!        └ counters                 hits, misses, expired, bytes used: plain numbers, guarded by the shard's lock
//! ```
//!
//! A caller takes a [`Gate`] (shared or exclusive), locks through it the shards it needs and works on them through a [`View`]:
//! the only way to read or change a key. The view does all bookkeeping that must follow a change (watches, sizes, events, the removal of emptied
//! collections), so a caller cannot forget it. Time and randomness come in as arguments; there is no clock here.
//!
//! This crate knows no command names and no wire format; what happened is left in [`Effects`] for the layer above.

mod ahead;
mod effects;
mod entry;
mod evict;
mod hash;
mod image;
mod keyspace;
mod limits;
mod list;
mod member_table;
mod object;
pub mod rdb;
mod set;
mod shard;
mod sorted_set;
mod stream;
mod sweep;
mod tally;
mod view;
mod view_expired;
mod view_load;
mod view_store;
mod view_text;
mod view_whole;
mod wait;
mod waste;
mod watch;

pub use ahead::AHEAD_MAX;
pub use effects::{Change, Effects, Event, EventClass, EventClasses, Expired};
pub use entry::{Entry, Stamping, Text, encoding, heap_size, kind, lfu_counter, lru_idle_seconds};
pub use evict::{Candidates, Census, Portion};
pub use hash::{Hash, HashIter, Triples, VolatileTable};
pub use image::{Collector, Image, Part};
pub use keyspace::{DATABASES_DEFAULT, Exhaustion, Gate, Held, Keyspace, SHARDS, ShardIndex};
pub use limits::Limits;
pub use list::{List, ListEnd, ListIter, Place};
pub use member_table::{Member, MemberTable};
pub use object::{Kind, Object, Typed, WrongType};
pub use set::{Set, SetIter};
pub use shard::{Counters, Shard};
pub use sorted_set::{Direction, SortedSet};
pub use stream::{
    Acknowledgement, AddError, Claim, Claimed, Consumer, ConsumerNumber, Extent, Group, OpenGroup, Pending, References,
    Removal, Stream, StreamEntry, StreamId, StreamRange, Trim, TrimTo,
};
pub use view::{Expiry, View};
pub use view_whole::{Contents, DatabaseSize};
pub use wait::{ReadyKeys, Waiter, Wanted};
pub use waste::{Cause, Waste};
pub use watch::WatchFlag;

/// A hash function with a seed ([`View::hash_seed`]), for whoever tells members apart by hash on the way to a result.
pub use foldhash::fast::FixedState as SeededState;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
