//! Schedules: jobs that are enqueued when their time comes, each time once.
//!
//! ```text
//! put ─► schedule ──(tick is due)──► claim ──► enqueue, once for each claim ──► confirm ─► next tick
//!                                      └─ whoever claimed it dies: the next process enqueues and confirms
//! ```
//!
//! # Guarantees
//!
//! * **One fire per tick**, however many processes run a [`Ticker`]. There is no leader; whoever looks first is the one. A tick is a moment that follows
//!   from the timing alone, so all processes mean the same tick, and its job is named after it: `<id>:<tick in ms>`.
//! * **No tick is lost** because a process dies, the store is down, or the queue is full. What was not fired in time is late, and what happens to late ticks is
//!   the schedule's choice ([`Misfire`]); what is left out stands in the history.
//! * **No drift**: every-n counts from an anchor. **Zones and their changes** are as [`cron`] says.
//! * Putting a schedule again changes it. If its timing is another, it begins anew; if not, the next tick stays what it was. What is being fired is carried
//!   through as it was claimed.
//! * Paused schedules have no ticks, and what would have come meanwhile is not late afterwards; only what comes once waits.
//!
//! # Why once
//!
//! The schedule and the queue are different groups, which a Cluster may keep on different nodes, so no step changes both. Instead:
//!
//! 1. *Claim.* A step moves the schedule from the tick that was read to the one after it, and notes the claim with a number that grows, if the schedule is still of the
//!    revision that was read. Of twenty processes that read the same, one succeeds.
//! 2. *Enqueue.* A step of the queue's adds the job and the number, or finds that number or a larger one (`:t:<uid>`). So it may be repeated, by anyone, also when
//!    the job has long been done and forgotten. Numbers grow because there is one claim at a time: nothing else is claimed until it is confirmed.
//! 3. *Confirm.* A step removes the claim and writes the history, if it is still this claim.
//!
//! A process that dies in between leaves the claim. After [`ScheduleSettings::claim`] whoever looks does steps 2 and 3; if the first only slept, and wakes now, both find
//! their work done. The queue remembers a number for thirty days. A claim that is older is given up, not repeated, and the history says so.
//!
//! # Keys
//!
//! ```text
//! rp:kept:{tenant:schedules}:s:<id>  the schedule, see state.rs      :h:<id>  its history, latest first
//!                           :d  due: ids by when they are looked at  :n  every id
//! rp:kept:{:schedules}:t   tenants by when they are looked at        :v  their versions
//! rp:kept:{tenant:jobs:<queue>}:t:<uid>  the number enqueued last, for thirty days
//! ```
//!
//! A tenant's place among all is a hint, since it is another group: written after each put, moved on by tickers if nothing was put since they looked. A hint that
//! was lost costs [`LOOK_EVERY`] and no tick. They must not be evicted: see [`kept`](crate::kept).
//!
//! # When the store is down
//!
//! Everything is an error. Tickers look again every second. What was due meanwhile is late.
//!
//! The clock is the store's. When it is set back, ticks that were fired are not fired again: the schedule waits until the clock is past the last of them. When it
//! jumps ahead, what lies between is late.
//!
//! Not here: doing the work, which is a worker's of the [queue](crate::jobs).

mod agenda;
mod change;
pub mod cron;
mod fire;
mod forms;
mod operations;
mod plan;
mod schedule;
mod settings;
mod state;
mod steps;
mod ticker;
mod timing;
mod views;

pub use agenda::LOOK_EVERY;
pub use change::{MAX_PAGE, Put};
pub use fire::{MAX_PASS, Passed};
pub use operations::SERVICE;
pub use schedule::{MAX_CATCH_UP, MAX_GRACE, MAX_ID_BYTES, Misfire, Overlap, Schedule};
pub use settings::ScheduleSettings;
pub use state::{Entry, Fire, Found, Outcome};
pub use ticker::Ticker;
pub use timing::{MAX_JITTER, MAX_MOMENT_MS, MAX_PERIOD, MIN_PERIOD, Spec, Timing};

use redpoll_resp::Value;

use change::Changed;
use state::State;

use crate::Services;
use crate::backend::Command;
use crate::error::Result;
use crate::jobs::Queue;
use crate::keys::{Group, Key, Tenant};
use crate::metrics::Counter;

const NAME: &str = "schedules";

/// A tenant's schedules. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Schedules {
    services: Services,
    tenant: Tenant,
    group: Group,
}

impl Schedules {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        let group = services.settings().keyring.kept_group(&tenant, NAME, &[]);
        Self { services, tenant, group }
    }

    fn queue(&self, name: &str) -> Result<Queue> {
        self.services.jobs(&self.tenant).queue(name)
    }

    fn schedule_key(&self, id: &str) -> Key {
        self.group.named("s", id)
    }

    fn history_key(&self, id: &str) -> Key {
        self.group.named("h", id)
    }

    fn due_key(&self) -> Key {
        self.group.key("d")
    }

    fn names_key(&self) -> Key {
        self.group.key("n")
    }

    fn settings(&self) -> &ScheduleSettings {
        &self.services.settings().schedules
    }

    fn claim_ms(&self) -> u64 {
        u64::try_from(self.settings().claim.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn recheck_ms(&self) -> u64 {
        u64::try_from(self.settings().recheck.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn history_max(&self) -> u64 {
        self.settings().history_max.clamp(1, 10_000)
    }

    fn count(&self, counter: Counter) {
        self.services.metrics().add(counter, 1);
    }

    /// Reads a schedule.
    async fn state(&self, id: &str) -> Result<Option<State>> {
        State::read(self.run(Command::new("HGETALL").key(self.schedule_key(id)).repeatable()).await?)
    }

    async fn run(&self, command: Command) -> Result<Value> {
        run(&self.services, command).await
    }
}

/// Talks to a store that does not evict, and counts when there is none.
async fn run(services: &Services, command: Command) -> Result<Value> {
    services.upon_kept(Counter::SchedulesOutages, services.backend().call(command)).await
}
