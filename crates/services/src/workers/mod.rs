//! Workers: they lease jobs, run handlers on them, and say what became of them.
//!
//! ```text
//!            ┌──────────── one round trip: outcomes of the last, leases of the next ────────────┐
//! queues ─► ready (prefetched) ─► running, at most `concurrency` ─► outcomes ─► queues
//!                └────────┬────────────┘
//!            renewal: one heartbeat for all that is held, running or not; learns what is lost or to be cancelled
//! ```
//!
//! # Guarantees
//!
//! * **Nothing is dropped.** Leasing registers the lease in the same step, so nobody can die between the two. What is leased is run, handed back, or,
//!   if the process dies, taken back by whoever leases next when the lease has ended.
//! * **Leases of all jobs that are held are renewed**, three times as often as need be, also of those that wait behind a slow handler. A run that is
//!   limited in time begins when its handler begins, not when the job was fetched. A job that has waited here and whose lease could not be renewed is not begun
//!   unless the store says that it is ours still; otherwise it is handed back.
//! * **A lost lease is not reported as done.** A handler is told ([`Context::stopped`]) as soon as the worker knows, and is dropped after a grace. A worker that
//!   did not know, because it stood still, is refused by the store: each outcome shows the token of its lease.
//! * **Outcomes are said until the store has answered.** While it is away, handlers go on, nothing is leased, and what has ended is kept, at most as many as
//!   the worker may hold; when the store is back it is told. Saying it twice does nothing.
//! * **A handler that panics has failed**, with the panic's text, and nothing else happens. One that returns what the store cannot keep has failed too.
//! * **Stopping** leases nothing more, hands back at once what has not begun, gives what runs the time to end ([`Worker::drain`]), and then
//!   cancels it and hands it back. Jobs that are handed back take their old places and have not failed.
//! * **Cancelled jobs** are known at once if the store's hint is heard, otherwise at the next renewal.
//!
//! # Order of queues
//!
//! Strict: a queue is looked at when those before it have nothing. Weighted: each look begins with a queue drawn by weight. What is waited for with
//! several queues comes from whichever has it first.
//!
//! # The registry
//!
//! A running worker announces itself every few seconds under an id of that one run, so a restarted one never speaks for the one before. Whether it is alive
//! is told by the store's clock: its last word is not older than it said it would be. One that stops leaves; one that died is listed as dead
//! for an hour and then forgotten.
//!
//! ```text
//! rp:kept:{tenant:workers}:b  last word of each worker, by when
//!                         :r  records: started 13 │ longest silence 10 │ JSON
//! ```
//!
//! # When the store is down
//!
//! Handlers go on; their `progress` and `commit` are errors. The loop tries again with pauses that double up to five seconds, each queue for itself: one that
//! cannot be reached or whose keys are spoilt does not keep jobs of the others waiting. A worker is shown dead meanwhile.
//!
//! Not here: what a job is and where it lies ([`crate::jobs`]), and processes as handlers, which the program has (`redpoll worker`).

mod context;
mod driver;
mod fetch;
mod handler;
mod hold;
mod line;
mod operations;
mod registry;
mod renewal;
mod run;
mod running;
mod stats;
mod steps;
mod worker;

pub use context::{Context, Trace};
pub use handler::{Done, Failure, HandlerResult};
pub use hold::Stop;
pub use operations::SERVICE;
pub use registry::{MAX_WORKERS, REMEMBERED, Seen, WorkerState, Workers};
pub use running::{Running, Stopper};
pub use stats::Summary;
pub use worker::{MAX_HELD, Order, Unhandled, Worker};
