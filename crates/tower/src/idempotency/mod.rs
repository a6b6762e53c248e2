//! `Idempotency-Key`: a request that a client sends again is answered, not done again.
//!
//! After the IETF's draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header):
//!
//! | request | answer |
//! |---|---|
//! | without a key where one is required, or with one that is malformed | 400 |
//! | with a key that was used for another request | 422 |
//! | while the first one is in progress | 409 and `Retry-After`; or wait for it, see [`IdempotencyLayer::wait`] |
//! | after the first one | its answer, with `Idempotent-Replayed: true` |
//! | while the store is down | 503: doing it anyway could do it twice |
//!
//! A request is its method, path, query, body and chosen headers. Keys belong to a scope, which the server must name for each
//! request: as a rule the user, so that nobody gets another's answer by guessing a key.
//!
//! **The handler runs to its end**, in a task of its own, also when the client goes away: that is when it will ask
//! again. Its lease is renewed meanwhile.
//!
//! **What is kept** is an answer that is final: not one of status 5xx, 401, 403, 408, 409, 425 or 429, nor one of a handler that
//! panicked; these free the key. Of its headers only those are kept that are safe to send to whoever repeats
//! the request ([`REPLAYED_HEADERS`]): no cookies, no dates, nothing of the connection. An answer that is too
//! large to be kept is given to the first client in full; who repeats the request gets 410, and it is not done again.
//!
//! Refusals are `application/problem+json` (RFC 9457) with a `code`.
//!
//! Not here: the key of requests that this server sends to others.

mod answer;
mod key;
mod refusal;
mod service;

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method};
use redpoll_services::idempotency::{BeginOptions, Idempotency};
use redpoll_services::{Error, Result, Services, Tenant, Ttl};
use tower_layer::Layer;

pub use key::{KEY_BYTES_MAX, KEY_HEADER};
pub use service::IdempotencyService;

/// Tells that an answer is the one of an earlier request.
pub const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Largest request body, in bytes, unless the layer is told otherwise.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Headers of an answer that are kept, beside those the layer is told to keep.
pub const REPLAYED_HEADERS: &[HeaderName] = &[
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::VARY,
];

/// Headers that are never kept: secrets of one client, and what belongs to one connection or one message.
const NEVER_REPLAYED: &[HeaderName] = &[
    header::SET_COOKIE,
    header::AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What to do with a request without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// Let it through, unprotected.
    #[default]
    Pass,
    /// Refuse it with 400.
    Refuse,
}

type Scope = dyn Fn(&Parts) -> String + Send + Sync;

/// Puts `Idempotency-Key` upon a server's POST and PATCH requests.
///
/// ```
/// # async fn make(services: redpoll_services::Services) {
/// use redpoll_services::Tenant;
/// use redpoll_tower::IdempotencyLayer;
///
/// let user = |request: &http::request::Parts| match request.extensions.get::<String>() {
///     Some(user) => user.clone(),
///     None => "anonymous".to_owned(),
/// };
/// let layer = IdempotencyLayer::new(services, Tenant::default(), user);
/// let app: axum::Router = axum::Router::new().route("/payments", axum::routing::post(|| async { "paid" })).layer(layer);
/// # }
/// ```
#[derive(Clone)]
pub struct IdempotencyLayer {
    rules: Arc<Rules>,
}

#[derive(Clone)]
pub(crate) struct Rules {
    services: Services,
    tenant: Tenant,
    scope: Arc<Scope>,
    methods: Vec<Method>,
    missing: MissingKey,
    request_bytes_max: usize,
    kept: Vec<HeaderName>,
    identifying: Vec<HeaderName>,
    options: BeginOptions,
}

impl IdempotencyLayer {
    /// Makes a layer. `scope` says whose request it is; keys of different scopes have nothing to do with each other.
    pub fn new(services: Services, tenant: Tenant, scope: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        Self {
            rules: Arc::new(Rules {
                services,
                tenant,
                scope: Arc::new(scope),
                methods: vec![Method::POST, Method::PATCH],
                missing: MissingKey::default(),
                request_bytes_max: REQUEST_BYTES_MAX,
                kept: REPLAYED_HEADERS.to_vec(),
                identifying: vec![header::CONTENT_TYPE],
                options: BeginOptions::default(),
            }),
        }
    }

    /// Says which methods are protected; POST and PATCH unless told otherwise.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        let methods = methods.into_iter().collect();
        self.with(|rules| rules.methods = methods)
    }

    /// Says what to do with a request without a key.
    #[must_use]
    pub fn missing_key(self, missing: MissingKey) -> Self {
        self.with(|rules| rules.missing = missing)
    }

    /// Lets a repeated request wait for the answer of the first one, up to
    /// [`MAX_WAIT`](redpoll_services::idempotency::MAX_WAIT), rather than be refused with 409 at once.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        self.with(|rules| rules.options.wait = Some(wait))
    }

    /// Says how long a server that died keeps its requests from being done by another; the settings' lease otherwise.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|rules| rules.options.lease = Some(lease))
    }

    /// Says how long answers are kept; as long as the settings say otherwise.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        self.with(|rules| rules.options.ttl = Some(ttl))
    }

    /// Says how large the body of a request may be; above it is refused with 413.
    #[must_use]
    pub fn request_bytes_max(self, bytes: usize) -> Self {
        self.with(|rules| rules.request_bytes_max = bytes)
    }

    /// Has more headers of answers kept. Refuses those that must not be given to anyone else.
    pub fn keep_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Result<Self> {
        let names: Vec<HeaderName> = names.into_iter().collect();
        match names.iter().find(|name| NEVER_REPLAYED.contains(name)) {
            Some(name) => Err(Error::invalid("headers", format_args!("{name} must not be replayed"))),
            None => Ok(self.with(|rules| rules.kept.extend(names))),
        }
    }

    /// Says which headers make a request another one; `Content-Type` unless told otherwise.
    #[must_use]
    pub fn identifying_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        self.with(|rules| rules.identifying = names)
    }

    fn with(self, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Arc::unwrap_or_clone(self.rules);
        change(&mut rules);
        Self { rules: Arc::new(rules) }
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyService::new(inner, Arc::clone(&self.rules))
    }
}

impl std::fmt::Debug for IdempotencyLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IdempotencyLayer").field("tenant", &self.rules.tenant).finish_non_exhaustive()
    }
}

impl Rules {
    fn protects(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    fn keys(&self, parts: &Parts) -> Result<Idempotency> {
        self.services.idempotency(&self.tenant, &(self.scope)(parts))
    }

    /// Collects what makes a request this request.
    fn fingerprint(&self, parts: &Parts, body: &[u8]) -> redpoll_services::idempotency::Fingerprint {
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let mut all: Vec<&[u8]> = vec![parts.method.as_str().as_bytes(), path.as_bytes(), query.as_bytes(), body];
        for name in &self.identifying {
            all.push(name.as_str().as_bytes());
            all.extend(values(&parts.headers, name));
        }
        redpoll_services::idempotency::Fingerprint::of(&all)
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(http::HeaderValue::as_bytes)
}
