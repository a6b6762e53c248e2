//! The task that brings triggers to their targets.
//!
//! ```text
//! loop: tenants ─► scan partitions ─► close windows whose time has come
//!                                └──► lease what is ready ─► deliver, so many at a time ─► settle
//! ```
//!
//! Any number of processes may run one; leases keep them apart. It wakes when a trigger is fired in this process, when a
//! delivery ends, and every [`EventsSettings::poll`]. It leases only what it can start on at once, so a process that
//! dies holds up no more than it had in hand, and that for the length of a lease.
//!
//! On shutdown it leases no more and waits for the deliveries in hand, each of which has a time limit.
//!
//! Not here: order. Triggers of one consumer may overtake each other when attempts fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_resp::Value;
use tokio::task::JoinSet;

use super::consumer::{Target, tenants};
use super::delivery::Lease;
use super::partition::{self, Place};
use super::settings::EventsSettings;
use super::trigger::Trigger;
use super::webhook::{Answer, Sender};
use super::{Events, MAX_PAGE};
use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::jobs::{Leased, NewJob, Outcome, Payload, Settled, State};
use crate::keys::Tenant;

/// Most consumers taken from a partition in one round.
const MAX_SCAN: usize = 256;

/// Pause after the store could not be asked.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// How often the outcome of a delivery is reported before the end of its lease is waited for instead.
const SETTLE_ATTEMPTS: u32 = 3;

/// How long it is remembered that a trigger has become a job: longer than attempts to deliver it go on.
const ENQUEUED_ONCE: Duration = Duration::from_secs(7 * 86_400);

/// Brings triggers of all tenants to their targets.
#[derive(Debug)]
pub struct Deliverer {
    services: Services,
    sender: Arc<Sender>,
    running: JoinSet<Consumer>,
    in_hand: HashMap<Consumer, usize>,
    /// Whose triggers were taken last.
    last: Option<Consumer>,
}

/// A tenant's, by name.
type Consumer = (Tenant, String);

/// Consumers of a partition whose window is over, and such with something to deliver.
type Scanned = (Vec<String>, Vec<String>);

impl Deliverer {
    /// Makes a deliverer upon services, with their settings.
    pub fn new(services: Services) -> Self {
        let sender = Arc::new(Sender::new(services.settings().events.delivery_timeout));
        Self { services, sender, running: JoinSet::new(), in_hand: HashMap::new(), last: None }
    }

    /// Delivers until `shutdown` is ready, then finishes what it has in hand.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let services = self.services.clone();
        let poll = services.settings().events.poll.max(Duration::from_millis(1));
        tokio::pin!(shutdown);
        loop {
            // A round is not cut short: what it has leased, it starts.
            let pause = match self.round().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => poll,
                Err(error) => {
                    tracing::warn!(%error, "triggers cannot be looked for");
                    poll.max(ERROR_PAUSE)
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(done) = self.running.join_next() => self.release(done),
                () = services.fired().notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        while self.running.join_next().await.is_some() {}
    }

    /// Looks through all partitions once; true if there is more to do at once. What cannot be reached or read holds up nothing else; an error is the last of those.
    async fn round(&mut self) -> Result<bool> {
        while let Some(done) = self.running.try_join_next() {
            self.release(done);
        }
        let (mut more, mut failed) = (false, None);
        let mut after = None;
        loop {
            let page = tenants(&self.services, after.as_ref()).await?;
            let last_page = page.len() < MAX_PAGE;
            after = page.last().cloned();
            let mut ready = Vec::new();
            for (events, scanned) in self.scan(&page).await {
                let closed = match scanned {
                    Ok((due, names)) => {
                        ready.extend(names.into_iter().map(|name| (events.tenant.clone(), name)));
                        if due.is_empty() { Ok(Vec::new()) } else { events.fire(&due).await }
                    }
                    Err(error) => Err(error),
                };
                match closed {
                    // There may be more to deliver.
                    Ok(fired) => more |= !fired.is_empty(),
                    Err(error) => failed = Some(error),
                }
            }
            for consumer in self.by_turns(ready) {
                if let Err(error) = self.take(consumer).await {
                    failed = Some(error);
                }
            }
            if last_page {
                return failed.map_or(Ok(more), Err);
            }
        }
    }

    /// Asks for what is due and ready in each partition of these tenants.
    async fn scan(&self, page: &[Tenant]) -> Vec<(Events, Result<Scanned>)> {
        let all: Vec<Events> = page.iter().map(|tenant| self.services.events(tenant)).collect();
        let scans = || all.iter().flat_map(|events| events.partitions().map(|partition| partition.scan(MAX_SCAN)));
        let replies = match self.services.backend().pipeline(scans().collect()).await {
            Ok(replies) => replies,
            // One node that does not answer has a pipeline fail as a whole; the others answer.
            Err(_) => self.scan_each(scans().collect()).await,
        };
        let events = |index: usize| all[index / partition::PARTITIONS].clone();
        let read = |reply: Result<Value>| reply.and_then(|reply| partition::read_scan(&reply));
        replies.into_iter().enumerate().map(|(index, reply)| (events(index), read(reply))).collect()
    }

    /// Sends scans side by side, apart from each other; the replies are in their order.
    async fn scan_each(&self, scans: Vec<Command>) -> Vec<Result<Value>> {
        let send = |scan| {
            let backend = self.services.backend().clone();
            tokio::spawn(async move { backend.call(scan).await })
        };
        let sent: Vec<_> = scans.into_iter().map(send).collect();
        let mut replies = Vec::with_capacity(sent.len());
        for reply in sent {
            replies.push(reply.await.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string()))));
        }
        replies
    }

    /// Puts consumers in the order in which it is their turn: behind the one whose triggers were taken last.
    fn by_turns(&self, mut ready: Vec<Consumer>) -> Vec<Consumer> {
        ready.sort_unstable();
        let first = self.last.as_ref().map_or(0, |last| ready.partition_point(|consumer| consumer <= last));
        ready.rotate_left(first);
        ready
    }

    /// Leases as many triggers of one consumer as there is room for, and starts delivering them.
    async fn take(&mut self, consumer: Consumer) -> Result<()> {
        let settings = &self.services.settings().events;
        let events = self.services.events(&consumer.0);
        let own = self.in_hand.get(&consumer).copied().unwrap_or(0);
        let room = settings.concurrency_per_consumer.max(1).saturating_sub(own);
        let limit = room.min(settings.concurrency.max(1).saturating_sub(self.running.len())).min(MAX_PAGE);
        if limit == 0 {
            return Ok(());
        }
        let place = Arc::new(events.place_of(&consumer.1));
        let leased = events.lease_from(&place, limit, place.queue.settings().lease).await?;
        let is_drained = leased.len() < limit;
        if leased.is_empty() {
            return events.index(&place).await;
        }
        self.last = Some(consumer.clone());
        // Read behind the lease: what was fired since the consumer was defined anew does not go where its triggers went before.
        let target = match events.target(&consumer.1).await {
            Ok(target) if target.is_push() => Arc::new(target),
            other => {
                events.release(&place, &leased).await?;
                return other.map(drop).or_else(|error| match error {
                    Error::NotFound(_) => Ok(()),
                    error => Err(error),
                });
            }
        };
        *self.in_hand.entry(consumer.clone()).or_default() += leased.len();
        for leased in leased {
            let (events, sender, place, target) = (events.clone(), self.sender.clone(), place.clone(), target.clone());
            let (delivery, consumer) = (Delivery { events, sender, place, target }, consumer.clone());
            self.running.spawn(async move {
                delivery.run(&leased).await;
                consumer
            });
        }
        // What is left comes due later, if anything is.
        if is_drained { events.index(&place).await } else { Ok(()) }
    }

    fn release(&mut self, done: Result<Consumer, tokio::task::JoinError>) {
        let consumer = done.expect("a delivery neither panics nor is aborted");
        if let Some(count) = self.in_hand.get_mut(&consumer) {
            *count -= 1;
            if *count == 0 {
                self.in_hand.remove(&consumer);
            }
        }
    }
}

/// One attempt to deliver one trigger.
struct Delivery {
    events: Events,
    sender: Arc<Sender>,
    place: Arc<Place>,
    target: Arc<Target>,
}

impl Delivery {
    async fn run(self, leased: &Leased) {
        // An attempt must be over before its trigger may be leased again.
        let limit = self.settings().delivery_timeout.min(self.settings().lease / 2);
        let (consumer, id) = (self.place.queue.name(), &leased.ticket.id);
        let answer = match Lease::read(self.events.tenant.name(), consumer, leased) {
            Ok(lease) => tokio::time::timeout(limit, self.attempt(&lease)).await.unwrap_or_else(|_| Answer::Later {
                error: format!("not delivered within {} ms", limit.as_millis()),
                wait: None,
            }),
            Err(error) => Answer::Never { error: error.to_string() },
        };
        let attempt = leased.job.attempt();
        let outcome = match answer {
            Answer::Accepted => Outcome::Completed { result: None, ttl: None },
            Answer::Never { error } => Outcome::GivenUp { error },
            Answer::Later { error, wait } => {
                let pause = self.settings().pause(attempt);
                let pause = wait.map_or(pause, |wait| wait.max(pause).min(self.settings().retry_cap));
                Outcome::Failed { error, retry_after: Some(pause) }
            }
        };
        if let Outcome::Failed { error, .. } | Outcome::GivenUp { error } = &outcome {
            tracing::debug!(consumer, id, attempt, error, "a trigger was not delivered");
        }
        let settled = self.insist(|| self.events.settle_job(&self.place, &leased.ticket, outcome.clone())).await;
        let told = match settled {
            // It is to be delivered again, before its lease would have ended.
            Ok(Settled::Done(State::Waiting | State::Delayed)) => self.insist(|| self.events.index(&self.place)).await,
            // Lost: the consumer was removed, or the lease has ended and another has the trigger.
            settled => settled.map(drop),
        };
        if let Err(error) = told {
            tracing::warn!(consumer, id, %error, "what became of a delivery could not be told; the trigger may come again when its lease ends");
        }
    }

    /// Tells the store something, again if it is down. If it stays down, the lease ends by itself and the trigger comes again.
    async fn insist<T, F: Future<Output = Result<T>>>(&self, tell: impl Fn() -> F) -> Result<T> {
        for attempt in 1..SETTLE_ATTEMPTS {
            match tell().await {
                Err(error) if error.is_outage() => {
                    tokio::time::sleep(self.settings().pause(attempt).min(Duration::from_secs(1))).await;
                }
                other => return other,
            }
        }
        tell().await
    }

    async fn attempt(&self, lease: &Lease) -> Answer {
        let command = match &*self.target {
            Target::Webhook { url, secret } => {
                return self.sender.send(url, secret.as_deref().unwrap_or_default(), lease).await;
            }
            Target::Job { queue, name } => return self.enqueue(&lease.trigger, queue, name).await,
            Target::List { key } => Command::new("RPUSH").key(key).arg(lease.trigger.payload()),
            Target::Stream { key, max_entries } => stream_entry(&lease.trigger, key, *max_entries),
            Target::Channel { channel } => Command::new("PUBLISH").arg(channel).arg(lease.trigger.payload()),
            Target::Pull => {
                return Answer::Later { error: "triggers of this consumer are pulled".to_owned(), wait: None };
            }
        };
        let name = command.name().to_owned();
        match self.events.services.backend().call(command).await {
            Ok(_) => Answer::Accepted,
            Err(Error::Backend(text)) if text.contains("unknown command") => {
                Answer::Never { error: format!("the store does not have the command {name}") }
            }
            Err(error) => Answer::Later { error: error.to_string(), wait: None },
        }
    }

    /// Enqueues a job whose id is the trigger's. A second attempt, after one whose answer was lost, finds that it was.
    async fn enqueue(&self, trigger: &Trigger, queue: &str, name: &str) -> Answer {
        let enqueue = async {
            let payload = Payload::json(trigger)?;
            let job = NewJob { id: Some(trigger.id.clone()), ..NewJob::new(name, payload) };
            let queue = self.events.services.jobs(&self.events.tenant).queue(queue)?;
            queue.enqueue_once(&job, ENQUEUED_ONCE).await
        };
        match enqueue.await {
            Ok(_) => Answer::Accepted,
            Err(error @ (Error::InvalidInput { .. } | Error::TooLarge { .. })) => {
                Answer::Never { error: error.to_string() }
            }
            // A full queue is one of these.
            Err(error) => Answer::Later { error: error.to_string(), wait: None },
        }
    }

    fn settings(&self) -> &EventsSettings {
        self.events.settings()
    }
}

fn stream_entry(trigger: &Trigger, key: &str, max_entries: Option<u64>) -> Command {
    let mut command = Command::new("XADD").key(key);
    if let Some(max_entries) = max_entries {
        command = command.arg("MAXLEN").arg("~").arg(max_entries);
    }
    let command = command.arg("*").arg("id").arg(&trigger.id).arg("consumer").arg(&trigger.consumer);
    command.arg("trigger").arg(trigger.payload())
}
