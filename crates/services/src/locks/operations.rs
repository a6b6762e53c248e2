//! The rows of locks, and their inputs.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::acquire::LockOptions;
use super::info::{LockInfo, Mode};
use super::lock::{Kind, Lock, Token};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation};
use crate::outage::OutagePolicy;

const NAME: &str = "locks";

/// Locks, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Who may do something alone, or as one of few: mutexes, read/write locks, semaphores, elections. Leases by the store's clock, waiters served in order, and with every acquisition a fence, a number that only grows.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "acquire", Post "/locks/{kind}/{name}/acquire", acquire: AcquireInput => Acquired, [200, 409, 422, 503, 504],
            "Acquires a lock, waiting for it if asked to.",
            "If it could not be acquired in time that is a result, not an error: `acquired` is false; over HTTP the status is 409. Nothing renews the lease but `extend`, and whoever knows the token releases it. Give the fence to whatever the lock protects, and have it refuse smaller ones. Repeating a request with the same token gives the same fence, so choose the token yourself to be safe against lost replies. Who goes away while it waits is no longer waiting.").waiting(),
        operation!(NAME, "extend", Post "/locks/{kind}/{name}/extend", extend: ExtendInput => LockDone, [200, 409, 422, 503, 504],
            "Begins the lease of an acquisition anew.", "A conflict if the token does not hold the lock, or not any more: a lease that has ended is not revived."),
        operation!(NAME, "release", Post "/locks/{kind}/{name}/release", release: TokenInput => LockDone, [200, 409, 422, 503, 504],
            "Gives an acquisition back.", "Wakes who waits first. A conflict if the token does not hold the lock: its lease had ended, and somebody may have held the lock since."),
        operation!(NAME, "info", Get "/locks/{kind}/{name}", info: LockInput => LockInfo, [200, 422, 503, 504],
            "Tells who holds a lock, since when and for how long, and who waits.", "Tokens are not told."),
        operation!(NAME, "force_release", Post "/locks/{kind}/{name}/force_release", force_release: LockInput => Forced, [200, 422, 503, 504],
            "Takes a lock from whoever holds it.", "Gives a new fence, so that what the holders still write under theirs is refused."),
    ],
};

inputs! {
    /// Names a lock.
    LockInput {
        /// Sort of lock.
        kind: Kind,
        /// Name of the lock.
        name: String,
    }

    /// A wish to acquire a lock.
    AcquireInput {
        /// Sort of lock.
        kind: Kind,
        /// Name of the lock.
        name: String,
        /// Of a read/write lock: which side; required there.
        mode: Option<Mode>,
        /// Of a semaphore: how many permits to take; 1 if absent.
        permits: Option<u64>,
        /// Of a semaphore: how many permits there are; required there.
        capacity: Option<u64>,
        /// How long to wait for the lock, in milliseconds; 0 if absent.
        #[serde(default)]
        wait_ms: u64,
        /// How long it is held unless extended or released, in milliseconds; 30 s if absent.
        lease_ms: Option<u64>,
        /// Who this is, for people who look at the lock.
        owner: Option<String>,
        /// 32 lower-case hexadecimal digits that nobody can guess; made by the server if absent.
        token: Option<String>,
    }

    /// An acquisition, and for how long.
    ExtendInput {
        /// Sort of lock.
        kind: Kind,
        /// Name of the lock.
        name: String,
        /// What `acquire` gave.
        token: String,
        /// Lease from now, in milliseconds.
        lease_ms: u64,
    }

    /// An acquisition.
    TokenInput {
        /// Sort of lock.
        kind: Kind,
        /// Name of the lock.
        name: String,
        /// What `acquire` gave.
        token: String,
    }
}

/// What became of a wish.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Acquired {
    /// Whether the lock is held now.
    acquired: bool,
    /// What extends and releases it; null if it was not acquired.
    token: Option<String>,
    /// Larger than that of any acquisition before; null if it was not acquired.
    fence: Option<u64>,
}

/// Says that it was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LockDone {
    /// Always true.
    done: bool,
}

/// What taking a lock away did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Forced {
    /// Whether anybody held it.
    was_held: bool,
    /// A fence larger than that of any acquisition before.
    fence: u64,
}

async fn acquire(services: Services, input: AcquireInput) -> Result<Acquired> {
    let lock = input.lock(&services)?;
    let options = LockOptions {
        wait: Some(Duration::from_millis(input.wait_ms)),
        lease: input.lease_ms.map(Duration::from_millis),
        owner: input.owner,
        token: input.token.as_deref().map(Token::parse).transpose()?,
        ..LockOptions::default()
    };
    let claim = lock.claim(&options).await?;
    let (token, fence) = claim.map(|claim| (claim.token.as_str().to_owned(), claim.fence)).unzip();
    Ok(Acquired { acquired: token.is_some(), token, fence })
}

async fn extend(services: Services, input: ExtendInput) -> Result<LockDone> {
    let lock = whole(&services, input.tenant, input.kind, &input.name)?;
    let extended = lock.extend(&Token::parse(&input.token)?, Duration::from_millis(input.lease_ms)).await?;
    held(extended, &lock)
}

async fn release(services: Services, input: TokenInput) -> Result<LockDone> {
    let lock = whole(&services, input.tenant, input.kind, &input.name)?;
    let released = lock.release(&Token::parse(&input.token)?).await?;
    held(released, &lock)
}

async fn info(services: Services, input: LockInput) -> Result<LockInfo> {
    whole(&services, input.tenant, input.kind, &input.name)?.info().await
}

async fn force_release(services: Services, input: LockInput) -> Result<Forced> {
    let (was_held, fence) = whole(&services, input.tenant, input.kind, &input.name)?.force_release().await?;
    Ok(Forced { was_held, fence })
}

/// A lock for steps that do not ask for permits.
fn whole(services: &Services, tenant: String, kind: Kind, name: &str) -> Result<Lock> {
    Lock::new(services, &Tenant::new(tenant)?, kind, name, 1, 1)
}

fn held(is_held: bool, lock: &Lock) -> Result<LockDone> {
    match is_held {
        true => Ok(LockDone { done: true }),
        false => Err(Error::Conflict(format!("the token does not hold {:?}", lock.name()))),
    }
}

impl AcquireInput {
    fn lock(&self, services: &Services) -> Result<Lock> {
        let tenant = Tenant::new(self.tenant.clone())?;
        let locks = services.locks(&tenant);
        if self.kind != Kind::Rw && self.mode.is_some() {
            return Err(Error::invalid("mode", "only a read/write lock has sides"));
        }
        if self.kind != Kind::Semaphore && (self.permits.is_some() || self.capacity.is_some()) {
            return Err(Error::invalid("permits", "only a semaphore has permits and a capacity"));
        }
        match (self.kind, self.mode, self.capacity) {
            (Kind::Mutex, ..) => locks.mutex(&self.name),
            (Kind::Election, ..) => Ok(locks.election(&self.name)?.lock().clone()),
            (Kind::Rw, Some(Mode::Read), _) => locks.read(&self.name),
            (Kind::Rw, Some(Mode::Write), _) => locks.write(&self.name),
            (Kind::Rw, None, _) => Err(Error::invalid("mode", "must be read or write")),
            (Kind::Semaphore, _, Some(capacity)) => locks.semaphore(&self.name, self.permits.unwrap_or(1), capacity),
            (Kind::Semaphore, _, None) => Err(Error::invalid("capacity", "is required for a semaphore")),
        }
    }
}
