//! Tests of `Idempotency-Key`.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use bytes::Bytes;
use http_body::Frame;
use redpoll_services::{Backend, BackendConfig, Services, Settings, Tenant};
use redpoll_testkit::RedisServer;
use redpoll_tower::IdempotencyLayer;
use redpoll_tower::idempotency::{KEY_HEADER, MissingKey, REPLAYED_HEADER};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// What the handlers of a test share.
#[derive(Default)]
struct Work {
    /// How often the handler has run.
    runs: AtomicUsize,
    /// Tells that a handler has begun.
    begun: Notify,
}

async fn embedded() -> Services {
    Services::new(Backend::connect("embedded:").await.unwrap(), Settings::default())
}

/// The user is what the header `user` says, so that tests can be several.
fn layer(services: Services) -> IdempotencyLayer {
    IdempotencyLayer::new(services, Tenant::default(), |request| match request.headers.get("user") {
        Some(user) => user.to_str().unwrap().to_owned(),
        None => "anonymous".to_owned(),
    })
}

/// An app that says how often it has been asked, in an answer with headers of all kinds.
fn app(layer: IdempotencyLayer, work: &Arc<Work>) -> Router {
    async fn pay(State(work): State<Arc<Work>>, body: Bytes) -> Response {
        let run = work.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::LOCATION, "/payments/1"),
            (header::SET_COOKIE, "session=secret"),
            (header::DATE, "Sun, 22 Nov 2026 05:00:00 GMT"),
        ];
        (StatusCode::CREATED, headers, format!("{run} {}", body.len())).into_response()
    }
    Router::new().route("/payments", any(pay)).route("/refunds", post(pay)).with_state(Arc::clone(work)).layer(layer)
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn is_replayed(&self) -> bool {
        self.headers.contains_key(REPLAYED_HEADER)
    }

    fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        problem["code"].as_str().unwrap().to_owned()
    }
}

async fn answered(response: Response) -> Answered {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answered { status: parts.status, headers: parts.headers, body }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn ask(app: &Router, request: Request<Body>) -> Answered {
    answered(app.clone().oneshot(request).await.unwrap()).await
}

async fn pay(app: &Router, key: &str) -> Answered {
    ask(app, request("POST", "/payments", &[("idempotency-key", key)], "10")).await
}

#[tokio::test]
async fn a_repeated_request_is_answered_and_not_done_again() {
    let work = Arc::default();
    let app = app(layer(embedded().await), &work);
    let first = pay(&app, "\"k\"").await;
    assert_eq!((first.status, first.is_replayed(), first.body.as_slice()), (StatusCode::CREATED, false, &b"1 2"[..]));
    assert!(first.headers.contains_key(header::SET_COOKIE));
    for key in ["\"k\"", "k"] {
        let again = pay(&app, key).await;
        assert_eq!((again.status, again.is_replayed(), &again.body), (StatusCode::CREATED, true, &first.body));
        assert_eq!(again.headers[header::LOCATION], "/payments/1");
        assert_eq!(again.headers[header::CONTENT_TYPE], "application/json");
        // Only what is safe to send to whoever repeats the request.
        assert!(!again.headers.contains_key(header::SET_COOKIE) && !again.headers.contains_key(header::DATE));
    }
    assert_eq!(pay(&app, "other").await.body, b"2 2");
    assert_eq!(work.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn another_request_with_the_same_key_is_refused() {
    let work = Arc::default();
    let app = app(layer(embedded().await), &work);
    let json = ("content-type", "application/json");
    let key = ("idempotency-key", "\"k\"");
    assert_eq!(ask(&app, request("POST", "/payments?a=1", &[key, json], "10")).await.status, StatusCode::CREATED);
    for other in [
        request("POST", "/payments?a=1", &[key, json], "11"),
        request("POST", "/payments?a=2", &[key, json], "10"),
        request("POST", "/payments", &[key, json], "10"),
        request("POST", "/refunds?a=1", &[key, json], "10"),
        request("PATCH", "/payments?a=1", &[key, json], "10"),
        request("POST", "/payments?a=1", &[key], "10"),
    ] {
        let refused = ask(&app, other).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
        );
    }
    assert_eq!(work.runs.load(Ordering::SeqCst), 1);
    // Another user's key is another key, and nobody gets another's answer.
    let bobs = ask(&app, request("POST", "/payments?a=1", &[key, json, ("user", "bob")], "10")).await;
    assert_eq!((bobs.status, bobs.is_replayed()), (StatusCode::CREATED, false));
}

#[tokio::test]
async fn keys_may_be_required_and_must_be_keys() {
    let work = Arc::default();
    let lax = app(layer(embedded().await), &work);
    let strict = app(layer(embedded().await).missing_key(MissingKey::Refuse), &work);
    assert_eq!(ask(&lax, request("POST", "/payments", &[], "10")).await.status, StatusCode::CREATED);
    let refused = ask(&strict, request("POST", "/payments", &[], "10")).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::BAD_REQUEST, "idempotency_key_missing"));
    for app in [&lax, &strict] {
        for bad in ["", "\"", "a b", &"x".repeat(256)] {
            let refused = pay(app, bad).await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (StatusCode::BAD_REQUEST, "idempotency_key_malformed")
            );
        }
        let twice = request("POST", "/payments", &[("idempotency-key", "a"), ("idempotency-key", "a")], "10");
        assert_eq!(ask(app, twice).await.status, StatusCode::BAD_REQUEST);
        // Methods that are idempotent by themselves pass, with and without a key.
        for _ in 0..2 {
            let put = ask(app, request("PUT", "/payments", &[("idempotency-key", "k")], "10")).await;
            assert_eq!((put.status, put.is_replayed()), (StatusCode::CREATED, false));
        }
    }
    assert_eq!(work.runs.load(Ordering::SeqCst), 5);
}

/// An app whose handler waits for permission to go on.
fn patient_app(layer: IdempotencyLayer, work: &Arc<Work>, go: &Arc<Semaphore>) -> Router {
    let (work, go) = (Arc::clone(work), Arc::clone(go));
    let handler = move || async move {
        let run = work.runs.fetch_add(1, Ordering::SeqCst) + 1;
        work.begun.notify_one();
        go.acquire().await.unwrap().forget();
        format!("run {run}")
    };
    Router::new().route("/payments", post(handler)).layer(layer)
}

/// Sends identical requests to two servers of one store at once, and lets the handler go on when `others` have been answered.
async fn fifty_at_once(servers: [IdempotencyLayer; 2], others: usize) -> (Vec<Answered>, usize) {
    let (work, go) = (Arc::<Work>::default(), Arc::new(Semaphore::new(0)));
    let apps = servers.map(|layer| patient_app(layer, &work, &go));
    let mut requests = JoinSet::new();
    for number in 0..50 {
        let app = apps[number % 2].clone();
        requests.spawn(async move { pay(&app, "k").await });
    }
    let mut answers = Vec::new();
    while answers.len() < others {
        answers.push(requests.join_next().await.unwrap().unwrap());
    }
    work.begun.notified().await;
    go.add_permits(50);
    answers.extend(requests.join_all().await);
    (answers, work.runs.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_at_once_run_the_handler_once() {
    let server = RedisServer::start().unwrap();
    let config = BackendConfig { command_timeout: Duration::from_secs(20), ..BackendConfig::default() };
    let mut servers = Vec::new();
    for _ in 0..2 {
        let backend = Backend::connect_with(&server.url(), config.clone()).await.unwrap();
        servers.push(Services::new(backend, Settings::default()));
    }
    let layers = |tenant: &str| {
        let tenant = Tenant::new(tenant).unwrap();
        [0, 1].map(|index| IdempotencyLayer::new(servers[index].clone(), tenant.clone(), |_| "ann".to_owned()))
    };
    // Without waiting, 49 are told to come again while the first is at work.
    let (answers, runs) = fifty_at_once(layers("impatient"), 49).await;
    assert_eq!(runs, 1);
    let (busy, done): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::CONFLICT);
    assert_eq!((busy.len(), done.len()), (49, 1));
    for refused in busy {
        assert_eq!(refused.code(), "idempotency_in_progress");
        assert!((1..=30).contains(&refused.headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap()));
    }
    // Waiting, all of them get the one answer.
    let waiting = layers("patient").map(|layer| layer.wait(Duration::from_secs(120)));
    let (answers, runs) = fifty_at_once(waiting, 0).await;
    assert_eq!(runs, 1);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK && answer.body == b"run 1"));
    assert_eq!(answers.iter().filter(|answer| answer.is_replayed()).count(), 49);
}

#[tokio::test]
async fn a_client_that_goes_away_finds_the_answer_when_it_comes_back() {
    let (work, go) = (Arc::<Work>::default(), Arc::new(Semaphore::new(0)));
    let app = patient_app(layer(embedded().await).wait(Duration::from_secs(60)), &work, &go);
    let impatient = tokio::spawn({
        let app = app.clone();
        async move { pay(&app, "k").await }
    });
    work.begun.notified().await;
    impatient.abort();
    assert!(impatient.await.is_err());
    go.add_permits(1);
    let answer = pay(&app, "k").await;
    assert_eq!((answer.body.as_slice(), answer.is_replayed()), (&b"run 1"[..], true));
    assert_eq!(work.runs.load(Ordering::SeqCst), 1);
}

/// An app that answers with the statuses in turn; 0 is a panic.
fn moody_app(layer: IdempotencyLayer, statuses: &'static [u16]) -> Router {
    let runs = Arc::new(AtomicUsize::new(0));
    let handler = move || async move {
        let status = statuses[runs.fetch_add(1, Ordering::SeqCst)];
        assert_ne!(status, 0, "the handler breaks");
        StatusCode::from_u16(status).unwrap()
    };
    Router::new().route("/payments", post(handler)).layer(layer)
}

#[tokio::test]
async fn what_is_not_final_frees_the_key() {
    let app = moody_app(layer(embedded().await), &[500, 503, 429, 401, 403, 408, 409, 425, 404, 200]);
    for expected in [500, 503, 429, 401, 403, 408, 409, 425, 404, 404, 404] {
        assert_eq!(pay(&app, "k").await.status.as_u16(), expected);
    }
    assert_eq!(pay(&app, "k2").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_handler_that_panics_frees_the_key() {
    let app = moody_app(layer(embedded().await), &[0, 204]);
    let broken = tokio::spawn({
        let app = app.clone();
        async move { pay(&app, "k").await }
    });
    assert!(broken.await.map(drop).unwrap_err().is_panic(), "the panic is the handler's own");
    let done = pay(&app, "k").await;
    assert_eq!((done.status, done.is_replayed(), done.body.len()), (StatusCode::NO_CONTENT, false, 0));
    assert!(pay(&app, "k").await.is_replayed());
}

/// A body that comes in pieces, and may break at its end.
struct Pieces {
    left: usize,
    breaks: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(std::mem::take(&mut self.breaks).then(|| Err(std::io::Error::other("broken"))));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 1000])))))
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let mut settings = Settings::default();
    settings.idempotency.bytes_max = 10_000;
    let services = Services::new(Backend::connect("embedded:").await.unwrap(), settings);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handler = move |body: String| async move {
        counted.fetch_add(1, Ordering::SeqCst);
        let left = body.parse().unwrap();
        Response::new(Body::new(Pieces { left, breaks: false }))
    };
    let app = Router::new().route("/payments", post(handler)).layer(layer(services).request_bytes_max(5));
    let send = |key: &'static str, body: &'static str| {
        ask(&app, request("POST", "/payments", &[("idempotency-key", key)], body))
    };
    let refused = send("k", "000001").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
    assert_eq!(runs.load(Ordering::SeqCst), 0);

    assert_eq!(send("small", "9").await.body.len(), 9000);
    let again = send("small", "9").await;
    assert_eq!((again.body.len(), again.is_replayed()), (9000, true));
    // Above the cap, and so near that what describes it is too much: the first client gets all of it, and it is not done
    // again for the next.
    for (key, pieces, bytes) in [("large", "50", 50_000), ("edge", "10", 10_000)] {
        let before = runs.load(Ordering::SeqCst);
        assert_eq!(send(key, pieces).await.body.len(), bytes);
        let again = send(key, pieces).await;
        assert_eq!((again.status, again.code().as_str()), (StatusCode::GONE, "idempotency_answer_not_kept"));
        assert_eq!(runs.load(Ordering::SeqCst), before + 1);
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_not_kept() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handler = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        Response::new(Body::new(Pieces { left: 3, breaks: true }))
    };
    let app = Router::new().route("/payments", post(handler)).layer(layer(embedded().await));
    let first = app.clone().oneshot(request("POST", "/payments", &[("idempotency-key", "k")], "")).await.unwrap();
    assert!(to_bytes(first.into_body(), usize::MAX).await.is_err(), "the client sees that it is broken");
    let again = pay_nothing(&app).await;
    assert_eq!((again.status, runs.load(Ordering::SeqCst)), (StatusCode::GONE, 1));
}

async fn pay_nothing(app: &Router) -> Answered {
    ask(app, request("POST", "/payments", &[("idempotency-key", "k")], "")).await
}

#[tokio::test]
async fn nothing_is_done_while_the_store_is_down() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backend = Backend::connect_lazily(&format!("redis://{free}"), BackendConfig::default()).unwrap();
    let work = Arc::default();
    let app = app(layer(Services::new(backend, Settings::default())), &work);
    let refused = pay(&app, "k").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    assert_eq!(work.runs.load(Ordering::SeqCst), 0);
    assert_eq!(ask(&app, request("POST", "/payments", &[], "10")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_chosen() {
    let work = Arc::default();
    let layer = layer(embedded().await).methods([axum::http::Method::PUT]).identifying_headers([]);
    assert!(layer.clone().keep_headers([header::SET_COOKIE]).is_err());
    let app = app(layer.keep_headers([axum::http::HeaderName::from_static("x-trace")]).unwrap(), &work);
    let put = |kind: &'static str| {
        let headers = [("idempotency-key", "k"), ("content-type", kind)];
        ask(&app, request("PUT", "/payments", &headers, "10"))
    };
    assert!(!put("a").await.is_replayed());
    assert!(put("b").await.is_replayed());
    assert!(!pay(&app, "k").await.is_replayed());
    assert_eq!(KEY_HEADER, "idempotency-key");
}

#[tokio::test]
async fn any_tower_service_will_do() {
    use tower::{Layer, service_fn};
    let echo =
        service_fn(|request: Request<Body>| async move { Ok::<_, Infallible>(Response::new(request.into_body())) });
    let service = layer(embedded().await).layer(echo);
    for replayed in [false, true] {
        let response =
            service.clone().oneshot(request("POST", "/", &[("idempotency-key", "k")], "body")).await.unwrap();
        let answer = answered(response).await;
        assert_eq!((answer.body.as_slice(), answer.is_replayed()), (&b"body"[..], replayed));
    }
}
