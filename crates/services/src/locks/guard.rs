//! Holding a lock: its lease as this process knows it, its renewal, and its end.
//!
//! A guard measures its lease from the moment the last successful request was *sent*, by a clock that only goes forward, so what it believes ends no
//! later than the store's lease. (A machine that sleeps stops that clock; what is written then is caught by the fence.)

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::acquire::Renewal;
use super::lock::{Claim, Lock, Token};
use crate::error::Result;
use crate::metrics::Counter;
use crate::ttl::Ttl;

/// Longest pause before a renewal that failed is tried again.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Why a lock is no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The store says so: the lease has ended, or somebody took the lock away.
    Refused,
    /// The lease was not renewed in time, so it must be taken to have ended.
    Ended,
    /// It was given back.
    Released,
}

/// The lease as this process knows it.
#[derive(Debug, Clone, Copy)]
struct Lease {
    length: Duration,
    valid_until: Instant,
    is_refused: bool,
}

/// A lock that is held. Releasing it tells whether it was held all the time; dropping it releases it too, if there is a runtime.
#[derive(Debug)]
pub struct Guard {
    lock: Lock,
    claim: Claim,
    lease: watch::Sender<Lease>,
    renewal: Option<AbortHandle>,
    settled: bool,
}

/// Tells when a lock is lost, to whoever works under it.
#[derive(Debug, Clone)]
pub struct LossSignal {
    lease: watch::Receiver<Lease>,
}

impl Guard {
    pub(super) fn new(lock: Lock, claim: Claim, begun: Instant, length: Duration, renewal: Renewal) -> Self {
        let lease = watch::Sender::new(Lease { length, valid_until: begun + length, is_refused: false });
        let renewal = match renewal {
            Renewal::Automatic => {
                let renewing = renew(lock.clone(), claim.token.clone(), lease.clone());
                Some(tokio::spawn(renewing).abort_handle())
            }
            Renewal::Manual => None,
        };
        Self { lock, claim, lease, renewal, settled: false }
    }

    /// Returns the fence: larger than that of any acquisition of this lock before. What the lock protects must refuse smaller ones.
    pub fn fence(&self) -> u64 {
        self.claim.fence
    }

    /// Returns the right to extend and release.
    pub fn token(&self) -> &Token {
        &self.claim.token
    }

    /// Tells whether the lock is held, as far as this process knows.
    pub fn is_held(&self) -> bool {
        let lease = self.lease.borrow();
        !lease.is_refused && Instant::now() < lease.valid_until
    }

    /// Waits until the lock is no longer held, which is known at the latest when another may acquire it.
    pub async fn lost(&self) -> Lost {
        self.signal().lost().await
    }

    /// Returns what tells others that the lock is lost.
    pub fn signal(&self) -> LossSignal {
        LossSignal { lease: self.lease.subscribe() }
    }

    /// Does some work and gives it up when the lock is lost.
    pub async fn protect<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        tokio::select! {
            biased;
            lost = self.lost() => Err(lost),
            done = work => Ok(done),
        }
    }

    /// Begins the lease anew, with a length that renewals keep to from now on; false if the lock is lost.
    pub async fn extend(&self, length: Duration) -> Result<bool> {
        let begun = Instant::now();
        let extended = self.lock.extend(&self.claim.token, length).await?;
        self.lease.send_modify(|lease| lease.learn(extended, begun, length));
        Ok(extended)
    }

    /// Stores what the lock protects, under this guard's fence: see [`Lock::fenced_set`].
    pub async fn fenced_set(&self, resource: &str, value: &[u8], ttl: Ttl) -> Result<()> {
        self.lock.fenced_set(resource, self.claim.fence, value, ttl).await
    }

    /// Gives the lock back and wakes who waits first; false if it was lost, and somebody may have held it since.
    ///
    /// After an error the release is tried once more in the background; if that fails too, the lease ends by itself.
    pub async fn release(mut self) -> Result<bool> {
        self.stop_renewal();
        let released = self.lock.release(&self.claim.token).await?;
        self.settled = true;
        Ok(released)
    }

    /// Leaves the lock held for whoever has the token: nothing renews or releases it any more.
    pub fn detach(mut self) -> Claim {
        self.stop_renewal();
        self.settled = true;
        self.claim.clone()
    }

    fn stop_renewal(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop_renewal();
        if !self.settled
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (lock, token) = (self.lock.clone(), self.claim.token.clone());
            runtime.spawn(async move { lock.release(&token).await });
        }
    }
}

impl Lease {
    fn learn(&mut self, extended: bool, begun: Instant, length: Duration) {
        if extended {
            (self.length, self.valid_until) = (length, begun + length);
        } else {
            self.is_refused = true;
        }
    }
}

impl LossSignal {
    /// Waits until the lock is no longer held.
    pub async fn lost(&mut self) -> Lost {
        loop {
            let lease = *self.lease.borrow_and_update();
            if lease.is_refused {
                return Lost::Refused;
            }
            if lease.valid_until <= Instant::now() {
                return Lost::Ended;
            }
            tokio::select! {
                changed = self.lease.changed() => if changed.is_err() { return Lost::Released },
                () = sleep_until(lease.valid_until) => {}
            }
        }
    }
}

/// Renews a lease until it is refused or has ended. Whatever else goes wrong is tried again for as long as the lease lasts.
async fn renew(lock: Lock, token: Token, lease: watch::Sender<Lease>) {
    let mut changes = lease.subscribe();
    loop {
        let Lease { length, valid_until, is_refused } = *changes.borrow_and_update();
        if is_refused || valid_until <= Instant::now() {
            break;
        }
        tokio::select! {
            _ = changes.changed() => continue,
            () = sleep_until(valid_until - length * 2 / 3) => {}
        }
        let begun = Instant::now();
        match timeout_at(valid_until, lock.extend(&token, length)).await {
            Ok(Ok(extended)) => lease.send_modify(|lease| lease.learn(extended, begun, length)),
            Ok(Err(error)) => {
                tracing::debug!(lock = lock.name(), %error, "lease not renewed");
                sleep((length / 10).min(RETRY_MAX)).await;
            }
            Err(_) => tracing::debug!(lock = lock.name(), "lease not renewed in time"),
        }
    }
    tracing::warn!(lock = lock.name(), "lock lost while it was held");
    lock.services().metrics().add(Counter::LocksLost, 1);
}
