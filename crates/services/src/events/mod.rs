//! Events: counting per consumer, and a trigger each time a threshold is crossed.
//!
//! ```text
//! record ─► window ──(max_events, or max_time_ms after its first event)──► job of the consumer's queue ─► Deliverer ─► webhook, list, queue, …
//!   └► timeline, seen ids                                                    └► dead ─► requeue or purge
//! ```
//!
//! # Guarantees
//!
//! * Recording is one atomic step: count, first and last time, timeline, and the triggers it causes. A recorder that
//!   dies has recorded a batch or has not.
//! * **One trigger per crossing.** The step that crosses a threshold takes the window's events, opens the next window
//!   with the surplus and enqueues the trigger as a job of the consumer's own [queue](crate::jobs), which is among the consumer's keys. At every moment: events recorded = events in triggers +
//!   events in the open window + events discarded by a reset + events of windows that expired.
//! * Time is measured from the first event of a window, and a window is `[first, first + max_time_ms)`: an event at or
//!   after its end opens the next one, whether or not somebody has looked meanwhile. Windows of idle consumers are closed
//!   by [`Events::tick`], which any process may call at any time.
//! * An event with an id counts once while the id is remembered: [`EventsSettings::dedupe`], and at most
//!   [`EventsSettings::dedupe_max`] ids. Recording a batch that has ids throughout is repeated when its outcome is
//!   unknown.
//! * What cannot be understood (see [`debezium`]) is refused, counted and kept for inspection; the rest of its batch is
//!   recorded.
//! * A window expires [`EventsSettings::retention`] after its first event, whatever comes later. One with `max_time_ms`
//!   does not expire: it is a trigger that nobody has noticed yet. The timeline forgets each event after the same
//!   time, and beyond [`EventsSettings::timeline_max`] events the oldest.
//! * **Delivery at least once**, as of any job: a trigger is delivered when its holder says so with the token of its lease; a token that has been
//!   superseded is refused, and the same said again is answered alike as long as the trigger is remembered. The trigger's id is the job's, the same in every attempt, so
//!   a receiver that remembers ids sees each once. Failures are repeated with exponential pauses and jitter, then the
//!   trigger is dead: kept until it is requeued or purged. Triggers have no order among each other; their ids
//!   end in a number that counts the consumer's triggers without gaps.
//! * A target `job` passes each trigger on to another queue of the tenant, once: that a trigger has been enqueued is remembered for a week, in the step that
//!   enqueues it, also when the job has ended. From there workers have it, with the retries of that queue.
//!
//! # Keys
//!
//! Consumers are spread over [`PARTITIONS`] partitions by a hash of their name. A partition is one hash tag, so the
//! indexes over its consumers change in the same step as the consumers.
//!
//! ```text
//! rp:kept:{tenant:events:07}:c:<consumer>  definition, state, totals   :w:<consumer>  open window
//!                           :t:<consumer>  timeline                    :s:<consumer>  seen ids
//!                           :p:<consumer>  poison                      :q:<consumer>:…  queue of triggers, see jobs
//!                           :due  windows by end   :ready  queues by next delivery   :names  consumers
//! rp:kept:{:events}:tenants                tenants that ever defined a consumer
//! ```
//!
//! They must not be evicted: see [`kept`](crate::kept). What is `ready` is a hint: steps of events write it, the steps of jobs do not know of it, so
//! the deliverer brings it up to date behind what those have done. One that dies in between leaves a hint that is early or at the end of its leases.
//!
//! # When the store is down
//!
//! Everything is an error, and counted; pretending to have counted events would break the promise. The deliverer waits and goes on. Its
//! leases end by themselves.
//!
//! Not here: reading event streams (a consumer process does, and calls [`Events::record`]), and what a pipeline does with
//! a trigger. Delivery to a channel is done when the store has published; who listened is not known.

mod consumer;
mod counting;
pub mod debezium;
mod deliverer;
mod delivery;
mod event;
mod operations;
mod partition;
mod seed;
mod settings;
mod steps;
mod trigger;
pub mod webhook;

pub use consumer::{ConsumerInfo, Definition, State, Status, Target};
pub use counting::{Recorded, TimelineEntry, WindowCounts, WindowKind};
pub use debezium::{Ingested, Message};
pub use deliverer::Deliverer;
pub use delivery::{Held, Lease, Which};
pub use event::{Event, Op};
pub use operations::SERVICE;
pub use partition::PARTITIONS;
pub use seed::SERVICE as SEED_SERVICE;
pub use settings::EventsSettings;
pub use trigger::{OpCounts, Reason, Trigger};

use redpoll_resp::Value;

use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Tenant, check_name};
use crate::metrics::Counter;

use partition::{Partition, Place};

/// Most events in one call.
pub const MAX_BATCH_EVENTS: usize = crate::batch::MAX_BATCH;

/// Most consumers in a partition.
pub const MAX_CONSUMERS_PER_PARTITION: usize = 100_000;

/// Most items of a page.
pub const MAX_PAGE: usize = 1000;

/// A tenant's consumers.
#[derive(Debug, Clone)]
pub struct Events {
    services: Services,
    tenant: Tenant,
}

impl Events {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn settings(&self) -> &EventsSettings {
        &self.services.settings().events
    }

    fn place(&self, consumer: &str) -> Result<Place> {
        check_name("consumer", consumer)?;
        Ok(self.place_of(consumer))
    }

    /// Finds the place of a consumer whose name has been checked.
    fn place_of(&self, consumer: &str) -> Place {
        self.partition_of(consumer).place(self, consumer)
    }

    fn partition_of(&self, consumer: &str) -> Partition {
        self.partition(partition::number_of(consumer))
    }

    fn partition(&self, number: usize) -> Partition {
        Partition::new(&self.services.settings().keyring, &self.tenant, number)
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        (0..PARTITIONS).map(|number| self.partition(number))
    }

    /// Talks to a store that does not evict, and counts when there is none.
    async fn run(&self, command: Command) -> Result<Value> {
        self.services.upon_kept(Counter::EventsOutages, self.services.backend().call(command)).await
    }

    async fn run_all(&self, commands: Vec<Command>) -> Result<Vec<Result<Value>>> {
        self.services.upon_kept(Counter::EventsOutages, self.services.backend().pipeline(commands)).await
    }
}

fn no_consumer(consumer: &str) -> Error {
    Error::NotFound(format!("consumer {consumer:?}"))
}
