//! A worker before it runs: its queues, handlers and bounds.

use std::collections::HashMap;
use std::time::Duration;

use super::context::Context;
use super::handler::{Done, Failure, Handler};
use super::running::Running;
use super::stats::Summary;
use crate::error::{Error, Result};
use crate::jobs::{MAX_BATCH, MAX_DELAY, MAX_JOB_NAME_BYTES, Outcome, Queue};
use crate::keys::check_name;
use crate::random;

/// Most jobs that a worker holds: as many as one step takes.
pub const MAX_HELD: usize = MAX_BATCH;

/// Most queues of a worker.
const MAX_QUEUES: usize = 64;

/// Longest time to end, grace, and time between two announcements.
const MAX_TIME: Duration = Duration::from_secs(86_400);

/// In which order queues are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Order {
    /// One is looked at when those before it have nothing.
    #[default]
    Strict,
    /// Each look begins with one that is drawn by its weight, 1 to 1,000, and goes on with another.
    Weighted(Vec<u32>),
}

/// What becomes of jobs of a type that nothing handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unhandled {
    /// They have failed, and are tried again after their pause, perhaps by a worker that knows them, until they are dead.
    #[default]
    Fail,
    /// They are dead at once.
    GiveUp,
    /// They are handed back and left alone for so long, at least 10 ms, for ever and ever.
    Release(Duration),
}

/// A worker: handlers for the jobs of one or several queues.
///
/// ```no_run
/// # async fn example(queue: redpoll_services::jobs::Queue) -> redpoll_services::Result<()> {
/// use redpoll_services::workers::{Context, Failure, Worker};
/// let worker = Worker::new(queue)
///     .handle("send_mail", |cx: Context| async move {
///         let mail: serde_json::Value = cx.payload().parse()?;
///         println!("to {}", mail["to"]);
///         Ok::<_, Failure>(())
///     })
///     .concurrency(8);
/// let running = worker.start()?;
/// let summary = running.stop().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Worker {
    pub(super) queues: Vec<Queue>,
    pub(super) order: Order,
    pub(super) handlers: HashMap<String, Handler>,
    pub(super) fallback: Option<Handler>,
    pub(super) unhandled: Unhandled,
    pub(super) concurrency: usize,
    pub(super) limits: HashMap<String, usize>,
    pub(super) prefetch: usize,
    pub(super) lease: Option<Duration>,
    pub(super) drain: Duration,
    pub(super) grace: Duration,
    pub(super) announce_every: Duration,
    pub(super) name: String,
}

impl Worker {
    /// Makes a worker of one queue, without handlers, for one job at a time.
    pub fn new(queue: Queue) -> Self {
        Self {
            queues: vec![queue],
            order: Order::Strict,
            handlers: HashMap::new(),
            fallback: None,
            unhandled: Unhandled::default(),
            concurrency: 1,
            limits: HashMap::new(),
            prefetch: 0,
            lease: None,
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            announce_every: Duration::from_secs(5),
            name: format!("worker-{}", std::process::id()),
        }
    }

    /// Adds a queue of the same tenant, behind those that are there; at most 64.
    #[must_use]
    pub fn and(mut self, queue: Queue) -> Self {
        self.queues.push(queue);
        self
    }

    /// Chooses the order in which queues are looked at.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Handles jobs of a name.
    #[must_use]
    pub fn handle<F, Fut, R>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Into<Done>,
    {
        self.handlers.insert(name.into(), Handler::of(handler));
        self
    }

    /// Handles jobs of a name on threads that may block. Nobody can end such a run: it is told to stop, and its place among those that
    /// run at once is taken until it has ended.
    #[must_use]
    pub fn handle_blocking<F, R>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Context) -> Result<R, Failure> + Send + Sync + 'static,
        R: Into<Done>,
    {
        self.handlers.insert(name.into(), Handler::blocking(handler));
        self
    }

    /// Handles jobs of all other names.
    #[must_use]
    pub fn fallback<F, Fut, R>(mut self, handler: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Into<Done>,
    {
        self.fallback = Some(Handler::of(handler));
        self
    }

    /// Chooses what becomes of jobs that nothing handles.
    #[must_use]
    pub fn unhandled(mut self, unhandled: Unhandled) -> Self {
        self.unhandled = unhandled;
        self
    }

    /// Runs so many jobs at once, 1 to [`MAX_HELD`]. Default 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Runs at most so many jobs of a name at once in this worker. Jobs above that which are leased all the same wait among the prefetched; for what
    /// there is no room there, they are handed back for a second. A queue of their own serves better; all workers together are bounded by [`Queue::limit`].
    #[must_use]
    pub fn limit(mut self, name: impl Into<String>, concurrency: usize) -> Self {
        self.limits.insert(name.into(), concurrency);
        self
    }

    /// Leases so many jobs beyond those that run. Default 0.
    #[must_use]
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// Chooses how long the worker may give no sign of life. Default: as the settings of jobs say.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Chooses how long runs may go on when the worker stops. Default 30 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Chooses how long a handler that was told to stop may go on. Default 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Chooses how often the worker announces itself; it is dead after three times as long. Default 5 s.
    #[must_use]
    pub fn announce_every(mut self, every: Duration) -> Self {
        self.announce_every = every;
        self
    }

    /// Chooses the name under which the worker is listed. Several may have the same. Default: `worker-` and the process's number.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Starts it, within a tokio runtime.
    pub fn start(self) -> Result<Running> {
        self.check()?;
        Ok(Running::start(self))
    }

    /// Runs until `shutdown` is ready, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary> {
        let running = self.start()?;
        shutdown.await;
        Ok(running.stop().await)
    }

    fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        if self.queues.len() > MAX_QUEUES {
            return Err(Error::invalid("queues", format_args!("more than {MAX_QUEUES}")));
        }
        for (index, queue) in self.queues.iter().enumerate() {
            if queue.tenant() != self.queues[0].tenant() {
                return Err(Error::invalid("queues", "are of different tenants"));
            }
            if self.queues[..index].iter().any(|other| other.name() == queue.name()) {
                return Err(Error::invalid("queues", format_args!("{:?} is there twice", queue.name())));
            }
        }
        if let Order::Weighted(weights) = &self.order
            && (weights.len() != self.queues.len() || !weights.iter().all(|weight| (1..=1_000).contains(weight)))
        {
            return Err(Error::invalid("order", "needs a weight of 1 to 1,000 for each queue"));
        }
        if self.handlers.is_empty() && self.fallback.is_none() {
            return Err(Error::invalid("handlers", "are missing"));
        }
        if let Some(name) = self.handlers.keys().chain(self.limits.keys()).find(|name| name.len() > MAX_JOB_NAME_BYTES)
        {
            return Err(Error::invalid("handlers", format_args!("{name:?} is longer than a job's name")));
        }
        if self.concurrency == 0 || self.concurrency.saturating_add(self.prefetch) > MAX_HELD {
            return Err(Error::invalid(
                "concurrency",
                format_args!("must be 1 to {MAX_HELD}, with what is prefetched"),
            ));
        }
        if self.limits.values().any(|limit| *limit == 0) {
            return Err(Error::invalid("limit", "must be at least 1"));
        }
        self.check_times()
    }

    fn check_times(&self) -> Result<()> {
        self.queues[0].settings().lease_ms(self.lease)?;
        if self.drain > MAX_TIME || self.grace > MAX_TIME {
            return Err(Error::invalid("drain", "and grace are at most a day"));
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(600)).contains(&self.announce_every) {
            return Err(Error::invalid("announce_every", "must be 10 ms to 10 minutes"));
        }
        match self.unhandled {
            Unhandled::Release(pause) if !(Duration::from_millis(10)..=MAX_DELAY).contains(&pause) => {
                Err(Error::invalid("unhandled", "jobs are left alone for at least 10 ms"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn handler(&self, name: &str) -> Option<&Handler> {
        self.handlers.get(name).or(self.fallback.as_ref())
    }

    /// Returns what becomes of a job of a name that nothing handles.
    pub(super) fn unhandled_outcome(&self, name: &str) -> Outcome {
        let error = format!("no handler for jobs named {name:?}");
        match self.unhandled {
            Unhandled::Fail => Outcome::Failed { error, retry_after: None },
            Unhandled::GiveUp => Outcome::GivenUp { error },
            Unhandled::Release(delay) => Outcome::Released { delay },
        }
    }

    /// Returns the numbers of the queues in the order of the next look.
    pub(super) fn look_order(&self) -> Vec<usize> {
        let mut left: Vec<usize> = (0..self.queues.len()).collect();
        let Order::Weighted(weights) = &self.order else { return left };
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let sum: u32 = left.iter().map(|index| weights[*index]).sum();
            let mut draw = random::unit() * f64::from(sum);
            let drawn = left.iter().position(|index| {
                draw -= f64::from(weights[*index]);
                draw < 0.0
            });
            order.push(left.remove(drawn.unwrap_or(0)));
        }
        order
    }
}
