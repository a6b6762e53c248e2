//! Streams: events that are kept in order and handled by groups of consumers, each entry by each group, at least once and not lost.
//!
//! ```text
//! publish ─► entries ──┬─ group billing ── take ─► leased ──┬─ done ─► acknowledged
//!                      │                            ▲       ├─ failed ─► a pause that doubles ─┐
//!                      │                            ├───────┼─ no sign of life until the lease ends
//!                      │                            └───────┼──────────────────────────────────┘
//!                      │                                    └─ for the last time, given up, poison ─► dead letters ─► redrive
//!                      └─ group search …  each on its own; one made for a replay reads from an entry or a time to another
//! ```
//!
//! # Guarantees
//!
//! * **Publishing** is one step: all events of a call or none, and with them changes of data beside the stream ([`Stream::publish_with`]), so
//!   that a state and the event that tells of it cannot differ. An event with an id is published once while the id is remembered
//!   ([`StreamSettings::dedupe`]); a second is told where the first is.
//! * **Every group handles every entry** behind its start, at least once. An entry is acknowledged only by an outcome that shows the token of its
//!   present lease: who was taken for dead and comes back is refused, and changes nothing. Failures never acknowledge.
//! * **Nothing is pending for ever.** Attempts are counted in the store. After the last failure, after too many lost leases (counted apart, as a
//!   consumer that was restarted says nothing about the entry), when it is no event, or when it is no longer there, an entry becomes a dead letter
//!   with cause, attempts and origin, in the same step that acknowledges it.
//! * **Nothing that is needed is trimmed away**: no entry that a live group has pending or has not read. A group that was silent for longer than
//!   [`StreamSettings::group_idle`] is not live; what it misses then is counted, and told when it comes back. A stream whose entries are needed grows
//!   up to a cap, or refuses, as it is told; both refusals are errors and lose nothing.
//! * **Order.** Ids grow, also when the clock is set back. With [`Order::PerKey`] entries of one key are handled one after the other in their
//!   order, whoever handles them; while one pauses after a failure, those behind it wait, and no others do.
//! * **Claims.** Whoever takes entries takes first what the dead have left; of many who try, one gets it. No process has to watch.
//! * **Lag** is exact, also after trimming, deletions in the middle, and for groups that begin or end anywhere.
//! * **A group that was destroyed** from outside is made again where it was, with what it had pending, by whoever takes next, and that is told.
//!   In a store that was emptied it is made again from the beginning, as nobody has handled anything in it. One that was deleted here stays deleted.
//!
//! # Keys
//!
//! A stream is one group of keys, `rp:kept:{tenant:streams:<stream>}`, so that a step can touch all of it. It must not be evicted: see
//! [`kept`](crate::kept).
//!
//! ```text
//! :s  the entries, a native stream     :h:<group>  options, position, totals     :d:<group>  dead letters, a native stream
//! :m  limits, numbers, totals          :e:<group>  pending: state, token, failures, lost leases, consumer, place
//! :g  groups by when last seen         :l:<group>  pending by when they can be taken
//! :w  who waits                        :k:<group>  pending by key
//! :i :t  ids of events                 :u:<name>   data
//! ```
//!
//! Entries and groups are native ones, and the list of pending entries is kept true: XRANGE, XREAD, XINFO and XPENDING of any client see what is there, and
//! a client may read with a group of its own. What it reads with a group of ours (XREADGROUP) is noticed within a second of somebody's taking and
//! treated like a lease; what it acknowledges (XACK) is done. The fields of entries are those of [`event`](Event).
//!
//! # Work of a step
//!
//! A step touches the entries it names, at most [`MAX_BATCH`], drops at most a hundred entries beside as many as it adds, and looks at fifty pending ones of
//! strangers. A group that has [`GroupOptions::pending_max`] entries pending reads no new ones. Only restoring a group touches all it has pending.
//!
//! # When the store is down
//!
//! Everything is an error, and counted. Consumers at work rest, for pauses that are bounded, and go on. When the answer to an outcome was lost, the
//! second telling of it is refused as lost: it held.
//!
//! The clock is the store's. One that jumps ahead ends leases early: entries are taken again, and who held them is refused. One that is set back prolongs
//! leases and pauses by as much, and ids stay at the later time until it is reached again.
//!
//! Not here: schemas of data, and streams of several partitions; a stream lies on one node.

mod consumer;
mod dead;
mod event;
mod follow;
mod forms;
mod group;
mod id;
mod operations;
mod replay;
mod settings;
mod settle;
mod steps;
mod stream;
mod take;
mod views;

pub use crate::batch::MAX_BATCH;
pub use crate::effects::{Effect, MAX_EFFECTS, MAX_SUM};
pub use consumer::{Consumer, Failure, Ran};
pub use dead::{DeadLetter, Letters, Reason};
pub use event::{Entry, Event, MAX_EXTENSION_NAME_BYTES, MAX_EXTENSIONS};
pub(crate) use follow::{FOLLOWERS, Followed, FollowedEntry};
pub(crate) use forms::EventForm;
pub use group::{
    ConsumerStatus, Created, Deleted, Force, Group, GroupOptions, GroupStatus, MAX_FILTERS, MAX_GROUPS, Order, Start,
};
pub use id::EntryId;
pub use operations::SERVICE;
pub use settings::{Full, MAX_ATTEMPTS, MAX_LEASE, MAX_PAUSE, MAX_PENDING, MAX_WAIT, MIN_LEASE, StreamSettings};
pub use settle::{MAX_CAUSE_BYTES, Outcome, Settled};
pub use stream::{Limits, Page, Published, Range, Stream, StreamInfo};
pub use take::{Delivery, TakeOptions, Taken, Ticket};
pub(crate) use views::EventView;

use crate::Services;
use crate::error::Result;
use crate::keys::Tenant;

/// A tenant's streams.
#[derive(Debug, Clone)]
pub struct Streams {
    services: Services,
    tenant: Tenant,
}

impl Streams {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Returns a stream, which need not be made: it is there as soon as something is published, or a group is made.
    pub fn stream(&self, name: &str) -> Result<Stream> {
        Stream::open(self.services.clone(), &self.tenant, name)
    }
}
