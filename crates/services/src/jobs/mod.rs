//! Job queues: work that is done later, by whoever is free, at least once and not lost.
//!
//! ```text
//! enqueue ─► waiting ──lease──► active ──► completed (with its result)
//!        └► delayed ─(due)─► ▲   │  ├ failed ──► delayed, after a pause that doubles ──► … ──► dead
//!                            ├───┘  ├ released ─► its place in the queue
//!                            │      └ no sign of life until the lease ends ─► its place in the queue ─► … ─► dead
//!                            └ requeue ◄── dead          cancelled, expired: ended before they were done
//! a parent: blocked ─(all its children have completed)─► waiting
//! ```
//!
//! # Guarantees
//!
//! * **No job is ever in no place.** Every move is one step in the store, and a job's state and the place it is found in change
//!   together. Between taking a job and saying so nobody can die: leasing says so.
//! * **At least once.** A job leaves the queue only by an outcome that shows the token of its lease. A worker that dies keeps its jobs
//!   until their leases end; then whoever leases next finds them, without any process that watches. Who was taken for dead is
//!   refused when it comes back: [`Settled::Lost`] changes nothing. As long as nobody took a job back, its holder can settle it late.
//! * **Order.** A larger priority goes first; within one, the job that was enqueued first. A job keeps its number through delays,
//!   retries and hand-backs, so one that comes back is not behind those that came after it.
//! * **Ids.** While a job of an id has not ended, another is not enqueued, and that is told. Every way to end frees the id; a new job of the same id
//!   takes the place of an ended one, also of a dead one.
//! * **Payloads** are bytes and come back as they were given, and so do headers.
//! * **Failures** are counted in the store before the job can be seen again; pauses double with jitter up to a bound; after the last one the job is dead:
//!   kept whole with what went wrong, listed, to be tried again (edited, if need be) or removed. Lost leases are counted apart, because a
//!   worker that was restarted says nothing about the job; but a job that costs too many leases is dead too, as it may be what kills its workers.
//! * **Time-outs.** A run that is limited ends at its limit whatever its heartbeats say, and has failed. A job that may wait for a limited time only
//!   is never leased after it.
//! * **Counts** of all states are of one moment, and exact.
//! * **Full** is an error: a queue above its limits refuses what is enqueued, all of a batch or none, and loses nothing. So does a store without memory;
//!   what frees memory, as completing does, goes on.
//! * What is remembered of the ended is bounded by count and age; results live as long as they are said to, whatever else is forgotten.
//! * **What is said again** because the answer was lost gets the same answer, for as long as the ended job is remembered. When it has been forgotten meanwhile
//!   ([`JobSettings::completed_max`] is 0, or more have completed since), a repeated outcome is [`Settled::Lost`] and a repeated commit a conflict, although the first
//!   one holds: nothing was done twice, but nobody can tell. So keep `completed_max` well above what completes while an answer may be on its way, and take a loss that
//!   follows an outage for not knowing.
//!
//! What no queue can promise: that a job is worked on *once*. A worker may have done it and died before saying so. [`Job::attempt`] tells when that
//! is possible.
//!
//! * **Flows.** A parent is blocked until all its children have completed; a child that ends in any other way takes it to the dead. Parent and children are
//!   enqueued in one step, and whatever ends a child tells its parent in the same step.
//! * **Commits.** [`Queue::commit`] completes a job, changes data beside the queue and enqueues what follows in one step, or does none of it.
//! * **Groups.** A job may name a group, such as the tenant it is for. Groups with jobs of the same priority take turns, one job a turn, however many jobs each has;
//!   jobs without a group are one together. Within a group the order is that of a queue. So many of a group may be active, and so many be leased in a time; one that has had as many stands
//!   aside until one of them ends, is lost or handed back, or its time has come; that costs no lease anything, however many groups stand aside. A turn is a turn at whatever
//!   priority, and a group that comes (again) is last. Counts of groups are exact, and nothing is left of one that has no jobs.
//! * **Events.** A queue can be told to keep so many events: what became of its jobs, each written in the step in which it became so, with dense numbers, so that a reader goes
//!   on behind the last it knows and is told how many it has missed. A queue that keeps none does nothing for it.
//! * **Logs.** Who works on a job can append lines to its log, which is bounded and stays with the job: through its runs, and for as long as it is remembered.
//! * **Bounds.** A queue can be told how many of its jobs may be active at once, and how fast they are leased, whoever leases them.
//!
//! # Keys
//!
//! A queue is one group, `rp:kept:{tenant:jobs:<queue>}`, with twenty-one keys that `queue.lua` lists, and `:r:<id>` for results, `:u:<name>` for data of commits,
//! `:i:<id>` for what was enqueued once and `:t:<counter>` for what counts what it enqueues. A job is two fields of hashes
//! and one member of a sorted set; payloads are written once. It must not be evicted: see [`kept`](crate::kept).
//!
//! # Work of a step
//!
//! A step touches the jobs it names, at most [`MAX_BATCH`] with at most [`MAX_BATCH_BYTES`], more of which are refused, and moves at most a hundred of each kind whose time has come; the next step goes on.
//!
//! # When the store is down
//!
//! Everything is an error, and counted. Workers go on with what they have; leases that end meanwhile are taken back when the store is there again and
//! somebody leases.
//!
//! The clock is the store's. One that jumps ahead ends leases early: jobs are leased again, and who held them is refused. One that is set back
//! prolongs leases and delays by as much.
//!
//! Not here: running handlers ([`workers`](crate::workers)), and [`schedules`](crate::schedules), which stand upon this.

mod commit;
mod events;
mod forms;
mod groups;
mod headers;
mod job;
mod leftover;
mod logs;
mod look;
mod once;
mod operations;
mod payload;
mod queue;
mod settings;
mod steps;
mod twins;
mod views;
mod watching;
mod work;

pub use crate::batch::MAX_BATCH;
pub use crate::effects::{Effect, MAX_EFFECTS, MAX_SUM};
pub use commit::Commit;
pub use events::{EventKind, EventPage, EventWish, JobEvent, MAX_EVENTS};
pub(crate) use forms::JobForm;
pub use groups::{GroupBounds, GroupCounts};
pub use headers::{Headers, MAX_HEADER_NAME_BYTES, MAX_HEADERS, MAX_HEADERS_BYTES};
pub use job::{Job, MAX_GROUP_BYTES, MAX_ID_BYTES, MAX_JOB_NAME_BYTES, NewJob, State};
pub use leftover::Which;
pub use logs::{LogLine, LogPage, MAX_LOG_LINE_BYTES};
pub use look::{Counts, Inspected};
pub(crate) use once::NUMBER_AGE;
pub use operations::SERVICE;
pub use payload::Payload;
pub(crate) use queue::Own;
pub use queue::{Bounds, Enqueued, MAX_BATCH_BYTES, Queue, Rate, Swept};
pub use settings::{JobSettings, MAX_ATTEMPTS, MAX_DELAY, MAX_LEASE, MAX_TIMEOUT, MAX_WAIT, MIN_LEASE};
pub(crate) use steps::ENQUEUING;
pub(crate) use twins::TWINS;
pub use work::{
    Exchanged, Heartbeat, LeaseOptions, Leased, MAX_ERROR_BYTES, MAX_PROGRESS_BYTES, Outcome, Settled, Ticket,
};

use crate::Services;
use crate::error::Result;
use crate::keys::Tenant;

/// A tenant's queues.
#[derive(Debug, Clone)]
pub struct Jobs {
    services: Services,
    tenant: Tenant,
}

impl Jobs {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Returns a queue, which need not be made: it is there as soon as something is enqueued.
    pub fn queue(&self, name: &str) -> Result<Queue> {
        Queue::open(self.services.clone(), &self.tenant, name)
    }
}
