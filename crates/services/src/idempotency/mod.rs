//! Idempotency keys: a request that is sent twice is done once.
//!
//! ```text
//! begin(key, fingerprint) ─► Started(claim) ─► work ─► complete(answer)      or abandon: the key is free again
//!                         ├► InProgress        another caller is at it
//!                         ├► Replay(answer)    it is done: here is what came of it
//!                         └► Mismatch          the key belongs to another request
//! ```
//!
//! # Guarantees
//!
//! * Of any number of callers that begin with one key, one is told to start, whatever the number of processes: beginning
//!   is one step in the store, before the work, not a look at what has been finished.
//! * A finished answer comes back byte for byte, for [`IdempotencySettings::ttl`] after it was stored.
//! * A key stands for one request. Whoever uses it with another fingerprint is told so, while the first is in progress,
//!   after it is done, and after its owner has died.
//! * **Crashed owners.** A claim is a lease. When it ends and somebody begins, that caller becomes the owner and is
//!   told with [`Claim::attempt`] that the work may have been done already, in part or wholly. From then on the
//!   former owner's answer is refused ([`Error::Conflict`]). While nobody has begun, the owner of an ended lease can still
//!   complete.
//! * An answer above [`IdempotencySettings::bytes_max`] is refused and nothing changes: the key is not free, so the
//!   work is not done again at once.
//! * Scopes are walls: keys of one user are never answered with what another got.
//!
//! What no such service can promise: that work was done *exactly* once if its owner dies before the answer is stored.
//!
//! # Keys
//!
//! `rp:kept:{tenant:idempotency:scope:key}:r`, a hash of fingerprint, token, until, lease, attempt, and done, meta, body
//! when there is an answer. Every request is its own group. It must not be evicted: see [`kept`](crate::kept). Its name
//! is also that of the channel by which those who wait are woken, see [`signal`](crate::signal).
//!
//! # When the store is down
//!
//! Beginning is an error, and counted: doing the work anyway could do it twice. The same holds for a store that may evict.
//!
//! Not here: HTTP. The layer for servers that are built with tower is in the crate `redpoll-tower`.

mod claim;
mod fingerprint;
mod operations;
mod settings;

pub use claim::Claim;
pub use fingerprint::Fingerprint;
pub use operations::SERVICE;
pub use settings::{IdempotencySettings, MAX_LEASE, MAX_WAIT, MIN_LEASE};

use std::time::Duration;

use redpoll_resp::Value;
use serde_json::Value as Json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::ToArg;
use crate::error::{Error, Result};
use crate::keys::{Key, Tenant, check_name};
use crate::metrics::Counter;
use crate::script::{Flags, INTEGERS, Repeat, Script};
use crate::ttl::Ttl;
use crate::{Command, Services};

/// The same attempt is known by its token, and answered the same way.
static BEGIN: Script =
    Script::new("idempotency.begin", Flags::None, Repeat::Safe, &[INTEGERS, include_str!("begin.lua")]);

/// What beginning came to.
#[derive(Debug)]
#[must_use]
pub enum Begun {
    /// The caller is to do the work.
    Started(Claim),
    /// Another caller is at it.
    InProgress {
        /// How long that caller's lease lasts unless renewed, in milliseconds; at least 1.
        retry_after_ms: u64,
    },
    /// It has been done.
    Replay(Answer),
    /// The key was used for a request with another fingerprint.
    Mismatch,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What describes the body, such as status and headers.
    pub metadata: Json,
    /// The body.
    pub body: Vec<u8>,
    /// When it was stored, milliseconds since 1970 by the store's clock; 0 in one that has not been.
    pub stored_at_ms: u64,
}

impl Answer {
    /// Makes an answer to store.
    pub fn new(metadata: Json, body: impl Into<Vec<u8>>) -> Self {
        Self { metadata, body: body.into(), stored_at_ms: 0 }
    }
}

/// How a request begins; absent parts are the settings'.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BeginOptions {
    /// How long the caller may give no sign of life before another one takes over.
    pub lease: Option<Duration>,
    /// How long the answer is kept.
    pub ttl: Option<Ttl>,
    /// How long to wait for another caller who is at it; not at all if absent.
    pub wait: Option<Duration>,
}

/// A tenant's idempotency keys within a scope.
#[derive(Debug, Clone)]
pub struct Idempotency {
    services: Services,
    tenant: Tenant,
    scope: String,
}

impl Idempotency {
    pub(crate) fn open(services: Services, tenant: Tenant, scope: &str) -> Result<Self> {
        check_name("scope", scope)?;
        Ok(Self { services, tenant, scope: scope.to_owned() })
    }

    /// Begins a request, without waiting.
    pub async fn begin(&self, key: &str, fingerprint: &Fingerprint) -> Result<Begun> {
        self.begin_with(key, fingerprint, &BeginOptions::default()).await
    }

    /// Begins a request; if another caller is at it, waits for that one's answer as long as the options say.
    pub async fn begin_with(&self, key: &str, fingerprint: &Fingerprint, options: &BeginOptions) -> Result<Begun> {
        let wait = options.wait.unwrap_or_default();
        if wait > MAX_WAIT {
            return Err(Error::invalid("wait_ms", format_args!("more than {} ms", MAX_WAIT.as_millis())));
        }
        let deadline = Instant::now() + wait;
        let mut begun = self.begin_once(key, fingerprint, options, "").await?;
        if matches!(begun, Begun::InProgress { .. }) && !wait.is_zero() {
            // Listening begins before the look it must not miss anything after.
            let mut waiter = self.services.signals().listen(&self.record(key)?, "");
            loop {
                begun = self.begin_once(key, fingerprint, options, "wait").await?;
                let Begun::InProgress { retry_after_ms } = begun else { break };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                waiter.wait(left.min(Duration::from_millis(retry_after_ms))).await;
            }
        }
        self.count(match &begun {
            Begun::Started(claim) if claim.attempt() > 1 => Counter::IdempotencyTakeovers,
            Begun::Started(_) => Counter::IdempotencyStarted,
            Begun::InProgress { .. } => Counter::IdempotencyBusy,
            Begun::Replay(_) => Counter::IdempotencyReplays,
            Begun::Mismatch => Counter::IdempotencyMismatches,
        });
        Ok(begun)
    }

    /// Returns the claim of a caller who has its token, such as one who began over HTTP.
    pub fn claim(&self, key: &str, token: &str, options: &BeginOptions) -> Result<Claim> {
        check_name("token", token)?;
        Claim::new(self.clone(), self.record(key)?, token.to_owned(), 0, options)
    }

    async fn begin_once(
        &self,
        key: &str,
        fingerprint: &Fingerprint,
        options: &BeginOptions,
        intent: &'static str,
    ) -> Result<Begun> {
        let record = self.record(key)?;
        let token = Uuid::new_v4().to_string();
        let mut claim = Claim::new(self.clone(), record.clone(), token.clone(), 1, options)?;
        let args: [&dyn ToArg; 5] = [&fingerprint.as_str(), &token, &claim.lease_ms(), &claim.ttl_ms(), &intent];
        let reply = self.run(&BEGIN, record, &args).await?;
        let parts = reply.as_array().unwrap_or_default();
        let number = |index: usize| parts.get(index)?.as_u64();
        match (parts.first().and_then(Value::as_str), number(1)) {
            (Some("started"), Some(attempt)) => {
                claim.set_attempt(attempt);
                Ok(Begun::Started(claim))
            }
            (Some("busy"), Some(retry_after_ms)) => Ok(Begun::InProgress { retry_after_ms }),
            (Some("done"), Some(stored_at_ms)) => match (parts.get(2), parts.get(3).and_then(Value::as_bytes)) {
                (Some(metadata), Some(body)) => {
                    let metadata = serde_json::from_slice(metadata.as_bytes().unwrap_or_default())
                        .map_err(|error| Error::Backend(format!("an answer's metadata: {error}")))?;
                    Ok(Begun::Replay(Answer { metadata, body: body.to_vec(), stored_at_ms }))
                }
                _ => Err(Error::unexpected("idempotency.begin", &reply)),
            },
            (Some("mismatch"), _) => Ok(Begun::Mismatch),
            _ => Err(Error::unexpected("idempotency.begin", &reply)),
        }
    }

    fn settings(&self) -> &IdempotencySettings {
        &self.services.settings().idempotency
    }

    fn count(&self, counter: Counter) {
        self.services.metrics().add(counter, 1);
    }

    fn record(&self, key: &str) -> Result<Key> {
        check_name("key", key)?;
        let keyring = &self.services.settings().keyring;
        Ok(keyring.kept_group(&self.tenant, "idempotency", &[&self.scope, key]).key("r"))
    }

    /// Talks to a store that does not evict, and counts when there is none.
    async fn run(&self, script: &'static Script, record: Key, args: &[&dyn ToArg]) -> Result<Value> {
        let call = self.services.backend().call(Command::script(script, &[record], args));
        self.services.upon_kept(Counter::IdempotencyOutages, call).await
    }
}
