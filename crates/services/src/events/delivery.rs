//! What waits for delivery: leasing, settling, and the dead. A consumer's triggers are the jobs of its queue; here they are
//! looked at as triggers.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::consumer::check_limit;
use super::partition::Place;
use super::trigger::Trigger;
use super::{Events, MAX_PAGE, no_consumer, steps};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::jobs::{self, Inspected, LeaseOptions, Leased, MAX_ID_BYTES, Outcome, Settled, State, Ticket};
use crate::keys::check_name;
use crate::metrics::Counter;

/// Most triggers a page can skip.
pub(super) const MAX_OFFSET: usize = 1 << 31;

/// Longest pause before another attempt, in milliseconds: a week.
pub(super) const MAX_PAUSE_MS: u64 = 7 * 86_400_000;

/// A trigger that its holder is to deal with before the lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lease {
    /// The trigger.
    pub trigger: Trigger,
    /// Proves that the lease is still the holder's.
    pub token: String,
    /// How often the trigger was leased, this time included.
    pub attempt: u32,
}

/// Which triggers to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those to be delivered, or being delivered.
    #[default]
    Waiting,
    /// Those given up.
    Dead,
}

/// A trigger that is kept, and how its delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    /// The trigger.
    pub trigger: Trigger,
    /// When it may be leased next; of a dead one, when it was given up. Milliseconds since 1970.
    pub at_ms: u64,
    /// How often it was leased.
    pub attempts: u32,
    /// Whether its last lease has not been settled.
    pub leased: bool,
    /// What went wrong last.
    pub error: Option<String>,
}

impl Held {
    fn read(tenant: &str, consumer: &str, found: Inspected) -> Result<Self> {
        let job = found.job.ok_or_else(|| Error::Backend("a listed job has no state".to_owned()))?;
        let leased = matches!(job.state, State::Active | State::Cancelling);
        Ok(Self {
            trigger: Trigger::of_job(tenant, consumer, &job)?,
            at_ms: found.moment_ms.unwrap_or(job.since_ms),
            attempts: job.failures + job.lost + u32::from(leased),
            leased,
            error: found.error,
        })
    }
}

impl Lease {
    pub(super) fn read(tenant: &str, consumer: &str, leased: &Leased) -> Result<Self> {
        Ok(Self {
            trigger: Trigger::of_job(tenant, consumer, &leased.job)?,
            token: leased.ticket.token.to_string(),
            attempt: leased.job.attempt(),
        })
    }
}

impl Events {
    /// Leases up to `limit` triggers of a consumer whose target is [`Target::Pull`](super::Target::Pull), for `lease_ms`, at least
    /// [`MIN_LEASE`](jobs::MIN_LEASE).
    ///
    /// Each is the caller's until the lease ends; it then belongs to whoever leases it next. A consumer whose triggers
    /// are pushed is a conflict.
    pub async fn lease(&self, consumer: &str, limit: usize, lease_ms: u64) -> Result<Vec<Lease>> {
        check_limit(limit)?;
        if self.target(consumer).await?.is_push() {
            return Err(Error::Conflict(format!("triggers of consumer {consumer:?} are pushed to its target")));
        }
        let leased = self.lease_from(&self.place_of(consumer), limit, Duration::from_millis(lease_ms)).await?;
        leased.iter().map(|leased| Lease::read(self.tenant.name(), consumer, leased)).collect()
    }

    /// Leases triggers, whatever the target.
    pub(super) async fn lease_from(&self, place: &Place, limit: usize, lease: Duration) -> Result<Vec<Leased>> {
        place.queue.lease(&LeaseOptions { count: limit, lease: Some(lease), wait: Duration::ZERO }).await
    }

    /// Hands leased triggers back as if they had not been leased.
    pub(super) async fn release(&self, place: &Place, leased: &[Leased]) -> Result<()> {
        let released = |leased: &Leased| (leased.ticket.clone(), Outcome::Released { delay: Duration::ZERO });
        place.queue.settle(&leased.iter().map(released).collect::<Vec<_>>()).await?;
        self.index(place).await
    }

    /// Says that a leased trigger has been dealt with; saying so again is answered alike.
    ///
    /// A conflict if another has leased it since or it was given up, not found if it is not remembered.
    pub async fn ack(&self, consumer: &str, trigger: &str, token: &str) -> Result<()> {
        match self
            .settle(&self.place(consumer)?, trigger, token, Outcome::Completed { result: None, ttl: None })
            .await?
        {
            State::Completed => Ok(()),
            _ => Err(lost(trigger)),
        }
    }

    /// Says that a leased trigger could not be dealt with. It can be leased again after `pause_ms`, by default a pause
    /// that doubles with each attempt; after the last attempt it is dead. Returns whether it is. Errors as [`Events::ack`].
    pub async fn fail(&self, consumer: &str, lease: (&str, &str), error: &str, pause_ms: Option<u64>) -> Result<bool> {
        let (trigger, token) = lease;
        if pause_ms.is_some_and(|pause| pause > MAX_PAUSE_MS) {
            return Err(Error::invalid("pause_ms", format_args!("must be at most {MAX_PAUSE_MS}")));
        }
        let retry_after = pause_ms.map(Duration::from_millis);
        let outcome = Outcome::Failed { error: error.to_owned(), retry_after };
        let place = self.place(consumer)?;
        match self.settle(&place, trigger, token, outcome).await? {
            State::Completed => return Err(Error::Conflict(format!("trigger {trigger:?} has been dealt with"))),
            State::Dead => return Ok(true),
            _ => {}
        }
        // There may be a target by now.
        self.index(&place).await?;
        Ok(false)
    }

    /// Settles a lease by what was shown of it, and returns where its trigger is then.
    async fn settle(&self, place: &Place, trigger: &str, token: &str, outcome: Outcome) -> Result<State> {
        check_name("trigger", trigger)?;
        let unknown = || Error::NotFound(format!("trigger {trigger:?} of consumer {:?}", place.queue.name()));
        if trigger.len() > MAX_ID_BYTES {
            return Err(unknown());
        }
        if let Ok(token) = token.parse() {
            let ticket = Ticket { id: trigger.to_owned(), token };
            if let Settled::Done(state) = self.settle_job(place, &ticket, outcome).await? {
                return Ok(state);
            }
        }
        match place.queue.job(trigger).await {
            Err(Error::NotFound(_)) => Err(unknown()),
            _ => Err(lost(trigger)),
        }
    }

    /// Settles a lease, and counts what became of its trigger.
    pub(super) async fn settle_job(&self, place: &Place, ticket: &Ticket, outcome: Outcome) -> Result<Settled> {
        let settled = place.queue.settle(&[(ticket.clone(), outcome)]).await?.remove(0);
        let counter = match settled {
            Settled::Done(State::Completed) => Some(Counter::TriggersDelivered),
            Settled::Done(State::Dead) => Some(Counter::TriggersDead),
            Settled::Done(State::Waiting | State::Delayed) => Some(Counter::TriggersRetried),
            _ => None,
        };
        if let Some(counter) = counter {
            self.services.metrics().add(counter, 1);
        }
        Ok(settled)
    }

    /// Has the deliverer look at a consumer's queue when there is something in it to deliver.
    pub(super) async fn index(&self, place: &Place) -> Result<()> {
        self.run(place.command(&steps::INDEX, [])).await.map(drop)
    }

    /// Lists triggers, at most `limit` after the first `offset`: of those that wait first those that are being delivered, then those that can be leased, in
    /// their order, then those that pause; of the dead the latest first. `limit` is at most [`MAX_PAGE`].
    pub async fn triggers(&self, consumer: &str, which: Which, offset: usize, limit: usize) -> Result<Vec<Held>> {
        check_limit(limit)?;
        if offset > MAX_OFFSET {
            return Err(Error::invalid("offset", format_args!("must be at most {MAX_OFFSET}")));
        }
        self.ensure_defined(consumer).await?;
        let states: &[State] = match which {
            Which::Waiting => &[State::Active, State::Waiting, State::Delayed],
            Which::Dead => &[State::Dead],
        };
        let listed = self.place_of(consumer).queue.list_places(states, offset, limit).await?;
        listed.into_iter().map(|found| Held::read(self.tenant.name(), consumer, found)).collect()
    }

    /// Has a dead trigger, or all of them, wait again as if never tried, the oldest first; returns how many, which is as many as there is room for.
    pub async fn requeue(&self, consumer: &str, trigger: Option<&str>) -> Result<u64> {
        let place = self.place(consumer)?;
        trigger.map_or(Ok(()), |trigger| check_name("trigger", trigger))?;
        let mut total = 0;
        // One step handles a page; there are so many dead at most, and new ones need not be waited for.
        for _ in 0..=self.settings().dead_max / MAX_PAGE as u64 {
            let command = place.command(&steps::REQUEUE, []).arg(self.settings().waiting_max).arg(MAX_PAGE);
            let reply = self.run(trigger.iter().fold(command, Command::arg)).await?;
            if reply.is_nil() {
                return Err(no_consumer(consumer));
            }
            let count = reply.as_u64().ok_or_else(|| Error::unexpected(steps::REQUEUE.name(), &reply))?;
            total += count;
            if count > 0 {
                self.services.fired().notify_one();
            }
            if count < MAX_PAGE as u64 {
                break;
            }
        }
        Ok(total)
    }

    /// Forgets a dead trigger, or all of them; returns how many.
    pub async fn purge(&self, consumer: &str, trigger: Option<&str>) -> Result<u64> {
        self.ensure_defined(consumer).await?;
        trigger.map_or(Ok(()), |trigger| check_name("trigger", trigger))?;
        let ids = match trigger {
            Some(trigger) if trigger.len() > MAX_ID_BYTES => return Ok(0),
            trigger => trigger.map(|trigger| [trigger.to_owned()]),
        };
        let which = ids.as_ref().map_or(jobs::Which::All, |ids| jobs::Which::Ids(ids));
        self.place_of(consumer).queue.clear(State::Dead, which).await
    }
}

fn lost(trigger: &str) -> Error {
    Error::Conflict(format!("trigger {trigger:?} is not leased under this token any more"))
}
