//! Acquiring: one attempt if the lock is free, a place in the queue otherwise.
//!
//! ```text
//! attempt ─ free ────────────────────────────────────► held
//!   └ taken ─► listen ─► attempt, joining the queue ─ my turn ─► held
//!                           ▲     └ not yet ─► wait for the signal to me, the end of the lease ahead, or a third of my own
//!                           └────────────────────┘
//! ```
//!
//! Every attempt of a waiter begins its short lease in the queue anew. Whoever gives up, by time, error or a dropped future, leaves the queue and
//! gives back what it may have been given unawares. Not so with a token that the caller brought along: it may hold the lock by an earlier request, or by
//! another that is under way, and who has the token can ask again. There only the place in the queue is given up.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::Guard;
use super::lock::{Attempted, Claim, Lock, Token, Withdrawal};
use super::settings::check_lease;
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::metrics::Counter;
use crate::signal::Waiter;

/// Longest wait: a day.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// Whether a guard renews its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewal {
    /// In the background, three times a lease, until the guard is released or dropped.
    #[default]
    Automatic,
    /// By [`Guard::extend`] only.
    Manual,
}

/// How a lock is acquired; absent parts are the settings'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockOptions {
    /// How long to wait for it, at most a day; zero is one attempt.
    pub wait: Option<Duration>,
    /// How long it is held unless renewed or released.
    pub lease: Option<Duration>,
    /// Whether the lease is renewed.
    pub renewal: Renewal,
    /// Who this is, for people who look at the lock. The number of the process if absent.
    pub owner: Option<String>,
    /// The token to acquire with. A new one if absent, which is right unless an acquisition is to be repeated. Who brings one along and is not
    /// answered holds the lock, perhaps: asking again with it tells, releasing ends it.
    pub token: Option<Token>,
}

/// Who asks for what; checked.
struct Request {
    token: Token,
    owner: String,
    lease: Duration,
    wait: Duration,
}

/// An acquisition, and when its lease began at the earliest.
struct Obtained {
    claim: Claim,
    lease: Duration,
    begun: Instant,
}

/// An attempt under way. Dropping it unsettled takes back what it came to.
struct Attempt<'a> {
    lock: &'a Lock,
    token: Token,
    withdrawal: Withdrawal,
    settled: bool,
}

impl Lock {
    /// Acquires the lock; none if the time to wait was up before.
    pub async fn acquire(&self, options: &LockOptions) -> Result<Option<Guard>> {
        let obtained = self.obtain(options).await?;
        Ok(obtained
            .map(|obtained| Guard::new(self.clone(), obtained.claim, obtained.begun, obtained.lease, options.renewal)))
    }

    /// Acquires the lock for somebody who is not in this process: nothing renews it, and only the token releases it.
    pub async fn claim(&self, options: &LockOptions) -> Result<Option<Claim>> {
        Ok(self.obtain(options).await?.map(|obtained| obtained.claim))
    }

    async fn obtain(&self, options: &LockOptions) -> Result<Option<Obtained>> {
        let request = Request::new(self, options)?;
        let withdrawal = if options.token.is_some() { Withdrawal::Place } else { Withdrawal::Everything };
        let mut attempt = Attempt { lock: self, token: request.token.clone(), withdrawal, settled: false };
        let outcome = self.ask(&request).await;
        let metrics = self.services().metrics();
        match &outcome {
            Ok(Some(_)) => {
                attempt.settled = true;
                metrics.add(Counter::LocksAcquired, 1);
            }
            Ok(None) => {
                metrics.add(Counter::LocksRefused, 1);
                attempt.withdraw(request.wait).await;
            }
            Err(error) => metrics.add(Counter::LockOutages, u64::from(error.is_outage())),
        }
        outcome
    }

    async fn ask(&self, request: &Request) -> Result<Option<Obtained>> {
        self.services().ensure_kept().await?;
        let deadline = Instant::now() + request.wait;
        let mut waiter_lease = Duration::ZERO;
        let mut waiter: Option<Waiter> = None;
        loop {
            let begun = Instant::now();
            match self.attempt(&request.token, &request.owner, request.lease, waiter_lease).await? {
                Attempted::Held(fence) => {
                    let claim = Claim { token: request.token.clone(), fence };
                    return Ok(Some(Obtained { claim, lease: request.lease, begun }));
                }
                Attempted::Refused { after } => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    if let Some(waiter) = &mut waiter {
                        waiter.wait(after.min(waiter_lease / 3).min(left)).await;
                    } else {
                        self.services().metrics().add(Counter::LockWaits, 1);
                        waiter = Some(self.services().signals().listen(self.state_key(), request.token.as_str()));
                        waiter_lease = self.services().settings().locks.waiter_lease;
                    }
                }
            }
        }
    }
}

impl Request {
    fn new(lock: &Lock, options: &LockOptions) -> Result<Self> {
        let settings = &lock.services().settings().locks;
        let lease = options.lease.unwrap_or(settings.lease);
        check_lease("lease", lease)?;
        let wait = options.wait.unwrap_or(settings.wait);
        if wait > MAX_WAIT {
            return Err(Error::invalid("wait", "must not be more than a day"));
        }
        let owner = options.owner.as_deref().unwrap_or_else(|| this_process());
        check_name("owner", owner)?;
        let token = options.token.clone().unwrap_or_default();
        Ok(Self { token, owner: owner.to_owned(), lease, wait })
    }
}

fn this_process() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("process {}", std::process::id()))
}

impl Attempt<'_> {
    /// Leaves the queue, where a place in it was asked for.
    async fn withdraw(&mut self, wait: Duration) {
        self.settled = wait.is_zero() || self.lock.withdraw(&self.token, self.withdrawal).await.is_ok();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Outside a runtime nothing can be sent; what there may be ends by its lease.
        if !self.settled
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (lock, token, withdrawal) = (self.lock.clone(), self.token.clone(), self.withdrawal);
            runtime.spawn(async move { lock.withdraw(&token, withdrawal).await });
        }
    }
}
