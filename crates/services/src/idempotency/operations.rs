//! The rows of idempotency keys, and their inputs and outputs.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{Answer, BeginOptions, Begun, Claim, Fingerprint};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::{Tenant, check_name};
use crate::operation::{Service, inputs, operation};
use crate::outage::OutagePolicy;
use crate::ttl::Ttl;

const NAME: &str = "idempotency";

/// Idempotency keys, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "A request that is sent twice is done once: begin before the work, complete after it. Keys belong to a scope, as a rule a user.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "begin", Post "/idempotency/{scope}/{key}/begin", begin: BeginInput => BeginDone, [200, 422, 503, 504],
            "Begins a request.",
            "Of any number of callers one is told `started`; it does the work and completes. The others are told `in_progress`, and `replay` with the answer when it is done; with `wait_ms` they wait for it. `mismatch` means that the key was used for another request. When the store is down this fails, and the work must not be done.").waiting(),
        operation!(NAME, "complete", Post "/idempotency/{scope}/{key}/complete", complete: CompleteInput => Settled, [200, 409, 413, 422, 503, 504],
            "Stores the answer of a request.", "409 means that the lease had ended and another caller has taken over. An answer above the cap is refused and changes nothing."),
        operation!(NAME, "renew", Post "/idempotency/{scope}/{key}/renew", renew: ClaimInput => Settled, [200, 409, 422, 503, 504],
            "Begins the lease anew.", "Work that takes longer than its lease does so in time."),
        operation!(NAME, "abandon", Post "/idempotency/{scope}/{key}/abandon", abandon: ClaimInput => Settled, [200, 409, 422, 503, 504],
            "Frees the key without an answer.", "For work that has failed and may be tried again."),
    ],
};

inputs! {
    /// A request to begin.
    BeginInput {
        /// Whose key it is, as a rule a user.
        scope: String,
        /// The key.
        key: String,
        /// What makes the request this request, such as a digest of method, path and body; compared as text.
        fingerprint: String,
        /// How long the owner may give no sign of life before another caller takes over, in milliseconds; 30,000 if absent.
        lease_ms: Option<u64>,
        /// How long to wait for another caller who is at it, in milliseconds; not at all if absent.
        wait_ms: Option<u64>,
    }

    /// An answer to store.
    CompleteInput {
        /// Whose key it is.
        scope: String,
        /// The key.
        key: String,
        /// What beginning gave.
        token: String,
        /// What describes the body, such as status and headers.
        #[serde(default)]
        metadata: Json,
        /// The body, in Base64; empty if absent.
        #[serde(default)]
        body_base64: String,
        /// How long the answer is kept, in milliseconds; 86,400,000 if absent.
        ttl_ms: Option<i64>,
    }

    /// Names a claim.
    ClaimInput {
        /// Whose key it is.
        scope: String,
        /// The key.
        key: String,
        /// What beginning gave.
        token: String,
        /// Length of the lease from now when it is renewed, in milliseconds; 30,000 if absent.
        lease_ms: Option<u64>,
    }
}

/// What beginning came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BeginDone {
    /// What it came to.
    outcome: Outcome,
    /// Proves the claim, if started.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// 1 for the first owner, more if earlier ones gave no sign of life and may have done the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u64>,
    /// Length of the lease in milliseconds, if started.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ms: Option<u64>,
    /// How long the owner's lease lasts unless renewed, in milliseconds, if in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// What describes the body, if it has been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Json>,
    /// The body in Base64, if it has been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// When the answer was stored, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at_ms: Option<u64>,
}

/// What beginning came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The caller is to do the work.
    Started,
    /// Another caller is at it.
    InProgress,
    /// It has been done.
    Replay,
    /// The key was used for another request.
    Mismatch,
}

/// Says that it is done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Settled {
    /// Always true.
    done: bool,
}

async fn begin(services: Services, input: BeginInput) -> Result<BeginDone> {
    check_name("fingerprint", &input.fingerprint)?;
    let options = BeginOptions {
        lease: input.lease_ms.map(Duration::from_millis),
        wait: input.wait_ms.map(Duration::from_millis),
        ttl: None,
    };
    let fingerprint = Fingerprint::of(&[input.fingerprint.as_bytes()]);
    let keys = services.idempotency(&Tenant::new(input.tenant)?, &input.scope)?;
    Ok(match keys.begin_with(&input.key, &fingerprint, &options).await? {
        Begun::Started(claim) => BeginDone {
            token: Some(claim.token().to_owned()),
            attempt: Some(claim.attempt()),
            lease_ms: Some(claim.lease_ms()),
            ..BeginDone::of(Outcome::Started)
        },
        Begun::InProgress { retry_after_ms } => {
            BeginDone { retry_after_ms: Some(retry_after_ms), ..BeginDone::of(Outcome::InProgress) }
        }
        Begun::Replay(answer) => BeginDone {
            metadata: Some(answer.metadata),
            body_base64: Some(BASE64.encode(answer.body)),
            stored_at_ms: Some(answer.stored_at_ms),
            ..BeginDone::of(Outcome::Replay)
        },
        Begun::Mismatch => BeginDone::of(Outcome::Mismatch),
    })
}

async fn complete(services: Services, input: CompleteInput) -> Result<Settled> {
    let body = BASE64.decode(&input.body_base64).map_err(|error| Error::invalid("body_base64", error))?;
    let options = BeginOptions { ttl: input.ttl_ms.map(Ttl::ms).transpose()?, ..BeginOptions::default() };
    let keys = services.idempotency(&Tenant::new(input.tenant)?, &input.scope)?;
    let claim = keys.claim(&input.key, &input.token, &options)?;
    claim.complete(&Answer::new(input.metadata, body)).await.map(|()| Settled { done: true })
}

async fn renew(services: Services, input: ClaimInput) -> Result<Settled> {
    claim(&services, input)?.renew().await.map(|()| Settled { done: true })
}

async fn abandon(services: Services, input: ClaimInput) -> Result<Settled> {
    claim(&services, input)?.abandon().await.map(|()| Settled { done: true })
}

fn claim(services: &Services, input: ClaimInput) -> Result<Claim> {
    let options = BeginOptions { lease: input.lease_ms.map(Duration::from_millis), ..BeginOptions::default() };
    services.idempotency(&Tenant::new(input.tenant)?, &input.scope)?.claim(&input.key, &input.token, &options)
}

impl BeginDone {
    fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            token: None,
            attempt: None,
            lease_ms: None,
            retry_after_ms: None,
            metadata: None,
            body_base64: None,
            stored_at_ms: None,
        }
    }
}
