//! The service: from a request to its answer.

use std::convert::identity;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_core::BoxError;
use axum_core::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use redpoll_services::Error;
use redpoll_services::idempotency::{Answer, Begun, Claim};
use tower_service::Service;
use tracing::Instrument;

use super::answer::{is_final, not_kept, replay, take};
use super::key::{self, Given};
use super::refusal::Refusal;
use super::{MissingKey, Rules};

/// A server's handlers behind [`IdempotencyLayer`](super::IdempotencyLayer).
#[derive(Clone)]
pub struct IdempotencyService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> IdempotencyService<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for IdempotencyService<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IdempotencyService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for IdempotencyService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready does the work; its clone is asked whether it is ready for the next.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let rules = Arc::clone(&self.rules);
        Box::pin(async move {
            let given = match rules.protects(request.method()) {
                true => key::read(request.headers()),
                false => Given::Missing,
            };
            let key = match given {
                Given::Key(key) => key,
                Given::Malformed(why) => return Ok(Refusal::Malformed(why).response()),
                Given::Missing if rules.protects(request.method()) && rules.missing == MissingKey::Refuse => {
                    return Ok(Refusal::Missing.response());
                }
                Given::Missing => return Ok(inner.call(request.map(Body::new)).await?.map(Body::new)),
            };
            let (parts, body) = request.into_parts();
            let body = match read(body, rules.request_bytes_max).await {
                Ok(body) => body,
                Err(refusal) => return Ok(refusal.response()),
            };
            match begin(&rules, &parts, &key, &body).await {
                Ok(Begun::Started(claim)) => {
                    let request = Request::from_parts(parts, Body::from(body));
                    let work = async move { Ok(inner.call(request).await?.map(Body::new)) };
                    run_to_the_end(rules, claim, work).await
                }
                Ok(Begun::Replay(answer)) => Ok(replay(answer)),
                Ok(Begun::InProgress { retry_after_ms }) => Ok(Refusal::InProgress { retry_after_ms }.response()),
                Ok(Begun::Mismatch) => Ok(Refusal::Mismatch.response()),
                Err(error) => Ok(Refusal::Failed(error).response()),
            }
        })
    }
}

async fn begin(rules: &Rules, parts: &Parts, key: &str, body: &[u8]) -> Result<Begun, Error> {
    rules.keys(parts)?.begin_with(key, &rules.fingerprint(parts, body), &rules.options).await
}

/// Reads the whole body of a request, as far as it may go.
async fn read<B>(body: B, max_bytes: usize) -> Result<Bytes, Refusal>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge { max_bytes }),
        Err(error) => Err(Refusal::Unreadable(error.to_string())),
    }
}

/// Does the work in tasks that go on when the client goes away, and settles the claim.
///
/// One task does the work and may panic; the other one survives that and frees the key.
async fn run_to_the_end<E: Send + 'static>(
    rules: Arc<Rules>,
    claim: Claim,
    work: impl Future<Output = Result<Response<Body>, E>> + Send + 'static,
) -> Result<Response<Body>, E> {
    let supervised = async move {
        let max_bytes = rules.services.settings().idempotency.bytes_max;
        let kept = rules.kept.clone();
        let work = async move {
            let response = work.await?;
            match is_final(response.status()) {
                true => Ok(Ok(take(response, &kept, max_bytes).await)),
                false => Ok(Err(response)),
            }
        };
        match claim.renewing(tokio::spawn(work.in_current_span())).await {
            Ok(Ok(Ok((response, answer)))) => {
                complete(&claim, &answer, response.status().as_u16()).await;
                Ok(Ok(response))
            }
            Ok(Ok(Err(response))) => {
                abandon(&claim).await;
                Ok(Ok(response))
            }
            Ok(Err(error)) => {
                abandon(&claim).await;
                Ok(Err(error))
            }
            Err(broken) => {
                abandon(&claim).await;
                Err(broken)
            }
        }
    };
    let done = tokio::spawn(supervised.in_current_span()).await;
    match done.and_then(identity) {
        Ok(result) => result,
        // Whoever catches panics outside of this layer sees the handler's own.
        Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
        // The runtime is shutting down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

/// Stores an answer. The work has been done, so whatever goes wrong here is not the client's.
async fn complete(claim: &Claim, answer: &Answer, status: u16) {
    let stored = match claim.complete(answer).await {
        Err(Error::TooLarge { .. }) => claim.complete(&not_kept(status)).await,
        other => other,
    };
    if let Err(error) = stored {
        tracing::error!(%error, "the answer of an idempotent request was not stored; repeated, it will be done again");
    }
}

async fn abandon(claim: &Claim) {
    if let Err(error) = claim.abandon().await {
        tracing::warn!(%error, "an idempotency key was not freed; it will be when its lease has ended");
    }
}
