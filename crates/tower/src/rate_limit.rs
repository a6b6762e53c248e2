//! A policy of limits in front of an application.
//!
//! ```no_run
//! use redpoll_services::limits::{Policy, Request};
//! use redpoll_services::{Error, Services, Tenant};
//! use redpoll_tower::RateLimitLayer;
//!
//! fn layered(services: &Services, policy: Policy) -> axum::Router {
//!     let layer = RateLimitLayer::new(services.limits(&Tenant::default()), policy, |parts| {
//!         let user = parts.headers.get("x-user").and_then(|user| user.to_str().ok());
//!         let user = user.ok_or_else(|| Error::invalid("x-user", "is missing"))?;
//!         Ok(Request::new(format!("{} {}", parts.method, parts.uri.path())).about("user", user))
//!     });
//!     axum::Router::new().route("/", axum::routing::get(|| async { "hello" })).layer(layer)
//! }
//! ```
//!
//! An admitted request goes on, and its response has the headers of the verdict unless it has some of its own. A refused
//! one is answered with 429, the headers, and problem details (RFC 9457) with the `code` `rate_limited` and the `verdict`. What the closure finds wrong with a request, and what goes wrong in asking, is answered with the error's
//! status; an outage is neither, since the policy says what to do then.
//!
//! The subject should be something the caller cannot choose: a header that a proxy sets, the outcome of authentication.
//! Give the path as the router sees it, since a row of the policy fits text.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use redpoll_services::limits::{self, HeaderSet, Limits, Policy, Verdict};
use redpoll_services::{Error, Result};
use serde_json::{Value as Json, json};
use tower_layer::Layer;
use tower_service::Service;

/// Says what a request is: who it is about, its endpoint, tier, roles and cost.
type Describe = dyn Fn(&Parts) -> Result<limits::Request> + Send + Sync;

/// Puts a policy in front of an application.
#[derive(Clone)]
pub struct RateLimitLayer {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    policy: Policy,
    describe: Box<Describe>,
    headers: HeaderSet,
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RateLimitLayer").field("headers", &self.shared.headers).finish_non_exhaustive()
    }
}

impl RateLimitLayer {
    /// Asks `policy` about every request, as `describe` describes it.
    pub fn new<F>(limits: Limits, policy: Policy, describe: F) -> Self
    where
        F: Fn(&Parts) -> Result<limits::Request> + Send + Sync + 'static,
    {
        Self::with_headers(limits, policy, HeaderSet::default(), describe)
    }

    /// The same, with a choice of headers.
    pub fn with_headers<F>(limits: Limits, policy: Policy, headers: HeaderSet, describe: F) -> Self
    where
        F: Fn(&Parts) -> Result<limits::Request> + Send + Sync + 'static,
    {
        Self { shared: Arc::new(Shared { limits, policy, describe: Box::new(describe), headers }) }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        RateLimited { inner, shared: Arc::clone(&self.shared) }
    }
}

/// An application behind a policy.
#[derive(Clone)]
pub struct RateLimited<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: fmt::Debug> fmt::Debug for RateLimited<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RateLimited").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for RateLimited<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled is the one that is ready; the clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let verdict = match shared.ask(&parts).await {
                Ok(verdict) => verdict,
                Err(error) => return Ok(failure(&error)),
            };
            let fields = limits::headers(&verdict, shared.headers);
            if !verdict.allowed {
                let mut response = refusal(&verdict);
                add(response.headers_mut(), fields);
                return Ok(response);
            }
            let mut response = inner.call(Request::from_parts(parts, body)).await?;
            add(response.headers_mut(), fields);
            Ok(response)
        })
    }
}

impl Shared {
    async fn ask(&self, parts: &Parts) -> Result<Verdict> {
        let plan = self.policy.plan(&(self.describe)(parts)?)?;
        self.limits.check(&plan).await
    }
}

fn refusal<R: From<String>>(verdict: &Verdict) -> Response<R> {
    let detail = match (&verdict.binding, verdict.blocks.first()) {
        (_, Some(block)) => format!("{} is blocked", block.scope),
        (Some(limit), None) => format!("the limit {limit:?} is reached"),
        (None, None) => "limits cannot be asked now".to_owned(),
    };
    let verdict = serde_json::to_value(verdict).expect("a verdict has a JSON form");
    response(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &detail, Some(verdict))
}

fn failure<R: From<String>>(error: &Error) -> Response<R> {
    tracing::warn!(%error, "limits were not asked");
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response(status, error.code(), &error.to_string(), None)
}

fn response<R: From<String>>(status: StatusCode, code: &str, detail: &str, verdict: Option<Json>) -> Response<R> {
    let mut body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    if let Some(verdict) = verdict {
        body["verdict"] = verdict;
    }
    let mut response = Response::new(R::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn add(headers: &mut HeaderMap, fields: Vec<(&'static str, String)>) {
    for (name, value) in fields {
        let value = HeaderValue::try_from(value).expect("fields are printable ASCII");
        headers.entry(HeaderName::from_static(name)).or_insert(value);
    }
}
