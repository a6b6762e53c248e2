//! Events: counting per consumer, and a trigger each time a threshold is crossed.
//!
//! ```text
//! record ─► window ──(max_events, or max_time_ms after its first event)──► outbox ─► Deliverer ─► job, webhook, list, …
//!   └► timeline, seen ids                                                    └► dead ─► requeue or purge
//! ```
//!
//! # Guarantees
//!
//! * Recording is one atomic step: count, first and last time, timeline, and the triggers it causes. A recorder that
//!   dies has recorded a batch or has not.
//! * **One trigger per crossing.** The step that crosses a threshold takes the window's events, opens the next window
//!   with the surplus and writes the trigger to the outbox. At every moment: events recorded = events in triggers +
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
//! * **Delivery at least once.** A trigger leaves the outbox only when its holder says that it was delivered, with the
//!   token of its lease; a token that has been superseded is refused. The trigger's id is the same in every attempt, so
//!   a receiver that remembers ids sees each once. Failures are repeated with exponential pauses and jitter, then the
//!   trigger is dead: kept, listed, to be requeued or purged. Triggers have no order among each other; their ids
//!   end in a number that counts the consumer's triggers without gaps.
//!
//! * A target `job` makes each trigger a job of a queue, once: that a trigger has been enqueued is remembered for a week, in the step that enqueues it,
//!   also when the job has ended. From there workers have it, with their own retries.
//!
//! # Keys
//!
//! Consumers are spread over [`PARTITIONS`] partitions by a hash of their name. A partition is one hash tag, so the
//! indexes over its consumers change in the same step as the consumers.
//!
//! ```text
//! rp:{tenant:events:07}:c:<consumer>  definition, state, totals   :w:<consumer>  open window
//!                      :t:<consumer>  timeline                    :s:<consumer>  seen ids
//!                      :o:<consumer>  outbox                      :r:<consumer>  triggers
//!                      :d:<consumer>  dead                        :p:<consumer>  poison
//!                      :due  windows by end   :ready  outboxes by next delivery   :names  consumers
//! rp:{:events}:tenants                tenants that ever defined a consumer
//! ```
//!
//! # When the store is down
//!
//! Everything is an error; pretending to have counted would break the promise. The deliverer waits and goes on. Its
//! leases end by themselves.
//!
//! Not here: reading event streams (a consumer process does, and calls [`Events::record`]), and what a pipeline does with
//! a trigger. Delivery to a channel is done when the store has published; who listened is not known.

mod consumer;
mod counting;
pub mod debezium;
mod deliverer;
mod event;
mod operations;
mod outbox;
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
pub use event::{Event, Op};
pub use operations::SERVICE;
pub use outbox::{Held, Lease, Which};
pub use partition::PARTITIONS;
pub use seed::SERVICE as SEED_SERVICE;
pub use settings::EventsSettings;
pub use trigger::{OpCounts, Reason, Trigger};

use redpoll_resp::Value;

use crate::Services;
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::keys::{Tenant, check_name};
use crate::script::Script;

use partition::{ConsumerKeys, Partition};

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

    fn keys(&self, consumer: &str) -> Result<ConsumerKeys> {
        check_name("consumer", consumer)?;
        Ok(self.keys_of(consumer))
    }

    /// Names the keys of a consumer whose name has been checked.
    fn keys_of(&self, consumer: &str) -> ConsumerKeys {
        self.partition(partition::number_of(consumer)).consumer(consumer)
    }

    fn partition(&self, number: usize) -> Partition {
        Partition::new(&self.services.settings().keyring, &self.tenant, number)
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        (0..PARTITIONS).map(|number| self.partition(number))
    }

    async fn run(&self, script: &'static Script, keys: &[crate::keys::Key], args: &[&dyn ToArg]) -> Result<Value> {
        self.services.backend().call(Command::script(script, keys, args)).await
    }
}

fn no_consumer(consumer: &str) -> Error {
    Error::NotFound(format!("consumer {consumer:?}"))
}
