//! An axum application behind a policy.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use axum::routing::{get, post};
use redpoll_services::limits::{self, HeaderSet, Policy, Scope};
use redpoll_services::{Backend, BackendConfig, Error, Services, Settings, Tenant, Ttl};
use redpoll_tower::RateLimitLayer;
use tower::ServiceExt;

const POLICY: &str = r#"
bypass_roles = ["admin"]

[limits.day]
per = ["user"]
limit = 2
window_ms = 86_400_000
algorithm = "fixed_window"

[limits.all]
limit = 100
window_ms = 86_400_000

[[endpoints]]
pattern = "POST /pay"
limits = ["day"]
outage = "closed"

[[endpoints]]
pattern = "GET /free"
limits = []

[[endpoints]]
pattern = "**"
limits = ["day", "all"]
"#;

fn application(services: &Services, headers: HeaderSet) -> Router {
    let limits = services.limits(&Tenant::default());
    let policy = Policy::from_toml(POLICY).unwrap();
    let layer = RateLimitLayer::with_headers(limits, policy, headers, |parts| {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let user = text("x-user").ok_or_else(|| Error::invalid("x-user", "is missing"))?;
        let request = limits::Request::new(format!("{} {}", parts.method, parts.uri.path())).about("user", user);
        Ok(request.with_role(text("x-role").unwrap_or("member")))
    });
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/free", get(|| async { "hello" }))
        .route("/pay", post(|| async { ([("x-ratelimit-limit", "its own")], "paid") }))
        .layer(layer)
}

async fn call(application: &Router, request: &str, user: &str) -> Response<Body> {
    let (method, path) = request.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path).header("x-user", user).body(Body::empty()).unwrap();
    application.clone().oneshot(request).await.unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn embedded() -> Services {
    Services::new(Backend::connect("embedded:").await.unwrap(), Settings::default())
}

#[tokio::test]
async fn admitted_until_the_limit_then_429_with_headers() {
    let application = application(&embedded().await, HeaderSet::All);
    let first = call(&application, "GET /", "ann").await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(header(&first, "ratelimit-policy"), "\"day\";q=2;w=86400, \"all\";q=100;w=86400");
    assert!(header(&first, "ratelimit").starts_with("\"day\";r=1;t="), "{:?}", first.headers());
    assert_eq!((header(&first, "x-ratelimit-remaining"), header(&first, "retry-after")), ("1", ""));
    assert_eq!(&to_bytes(first.into_body(), 100).await.unwrap()[..], b"hello");
    assert_eq!(call(&application, "GET /?x=1", "ann").await.status(), StatusCode::OK);
    let refused = call(&application, "GET /", "ann").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let after: u64 = header(&refused, "retry-after").parse().unwrap();
    assert!((86_000..=86_400).contains(&after), "{after}");
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    let body: serde_json::Value =
        serde_json::from_slice(&to_bytes(refused.into_body(), 10_000).await.unwrap()).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&"rate_limited".into(), &429.into()));
    assert_eq!(body["verdict"]["binding"], "day");
    // Another user has limits of their own, and an admin has none.
    assert_eq!(call(&application, "GET /", "bob").await.status(), StatusCode::OK);
    let request = Request::builder().uri("/").header("x-user", "ann").header("x-role", "admin");
    let admin = application.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((admin.status(), header(&admin, "ratelimit")), (StatusCode::OK, ""));
}

#[tokio::test]
async fn what_the_application_says_stays() {
    let application = application(&embedded().await, HeaderSet::Legacy);
    let paid = call(&application, "POST /pay", "ann").await;
    assert_eq!((paid.status(), header(&paid, "x-ratelimit-limit")), (StatusCode::OK, "its own"));
    assert_eq!((header(&paid, "x-ratelimit-remaining"), header(&paid, "ratelimit")), ("1", ""));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_its_answer() {
    let application = application(&embedded().await, HeaderSet::All);
    let unknown = Request::builder().uri("/").body(Body::empty()).unwrap();
    assert_eq!(application.oneshot(unknown).await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn the_blocked_are_told_so() {
    let services = embedded().await;
    let application = application(&services, HeaderSet::All);
    let limits = services.limits(&Tenant::default());
    limits.block(&Scope::new("user", "eve").unwrap(), Ttl::Never, "fraud", "").await.unwrap();
    let blocked = call(&application, "GET /", "eve").await;
    assert_eq!((blocked.status(), header(&blocked, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, ""));
    let body = to_bytes(blocked.into_body(), 10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("user:eve is blocked"));
}

#[tokio::test]
async fn an_outage_is_decided_by_the_row() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let backend = Backend::connect_lazily(&format!("redis://127.0.0.1:{port}"), BackendConfig::default()).unwrap();
    let application = application(&Services::new(backend, Settings::default()), HeaderSet::All);
    assert_eq!(call(&application, "GET /", "ann").await.status(), StatusCode::OK);
    assert_eq!(call(&application, "GET /free", "ann").await.status(), StatusCode::OK);
    let closed = call(&application, "POST /pay", "ann").await;
    assert_eq!((closed.status(), header(&closed, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
}
