//! Requests and answers, in process, over a store in memory.

use std::time::Duration;

use crate::support::{Answer, Api};
use axum::http::{Method, StatusCode};
use redpoll_http::Options;
use redpoll_services::SERVICES;
use redpoll_services::operation::Envelope;
use serde_json::{Value as Json, json};

#[tokio::test]
async fn an_operation_takes_path_query_and_body() {
    let api = Api::new();
    let set = api
        .json("PUT", "/v1/cache/pages/entries/home?ttl_ms=60000", json!({"value": {"title": "Hé"}, "tags": ["a"]}))
        .await;
    assert_eq!((set.status, &set.json()), (StatusCode::OK, &json!({"done": true})));
    let found = api.get("/v1/cache/pages/entries/home").await;
    assert_eq!(found.json(), json!({"outcome": "hit", "value": {"title": "Hé"}}));
    let left = api.get("/v1/cache/pages/entries/home/ttl").await.json();
    assert!((1..=60_000).contains(&left["ttl_ms"].as_u64().unwrap()), "{left}");
    assert_eq!(api.delete("/v1/cache/pages/tags/a").await.json(), json!({"count": 1}));
}

#[tokio::test]
async fn a_value_comes_back_as_it_was_sent() {
    let api = Api::new();
    let value = r#"{"z":12345678901234567890123,"a":[-0.0,1.10,0.1234567890123456789012345678901],"m":{"y":1,"b":2}}"#;
    let body = format!("{{\"value\": {value}}}");
    let set = api.ask("PUT", "/v1/cache/n/entries/k", &[("content-type", "application/json")], &body).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.text());
    let found = api.get("/v1/cache/n/entries/k").await;
    assert!(found.text().contains(value), "{}", found.text());
}

#[tokio::test]
async fn a_path_parameter_may_hold_anything_and_wins_over_the_body() {
    let api = Api::new();
    let set = api.json("PUT", "/v1/cache/n/entries/a%2Fb%20%C3%A9?key=query", json!({"key": "body", "value": 1})).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.text());
    assert_eq!(api.get("/v1/cache/n/entries/a%2Fb%20%C3%A9").await.json()["outcome"], "hit");
    for other in ["query", "body"] {
        assert_eq!(api.get(&format!("/v1/cache/n/entries/{other}")).await.json()["outcome"], "miss");
    }
}

#[tokio::test]
async fn failures_have_their_status_and_say_what_is_wrong() {
    let api = Api::with(Options { body_max_bytes: 1000, ..Options::default() });
    let long = format!("{{\"value\":\"{}\"}}", "x".repeat(1000));
    let long_of_the_service = "/v1/cache/n/entries/k?value=1&value=2";
    #[rustfmt::skip]
    let cases: &[(&str, &str, Option<&str>, u16, &str)] = &[
        ("GET",    "/nowhere",                             None,                   404, "no_such_path"),
        ("GET",    "/cache/n/entries/k",                   None,                   404, "no_such_path"),
        ("PATCH",  "/v1/cache/n/entries/k",                None,                   405, "method_not_allowed"),
        ("PUT",    "/v1/cache/n/entries/k",                Some("{"),              400, "malformed_json"),
        ("PUT",    "/v1/cache/n/entries/k",                Some("[1]"),            422, "invalid_input"),
        ("PUT",    "/v1/cache/n/entries/k",                Some("{}"),             422, "invalid_input"),
        ("PUT",    "/v1/cache/n/entries/k",                Some("{\"value\":1,\"ttl_ms\":0}"), 422, "invalid_input"),
        ("PUT",    "/v1/cache/n/entries/k",                Some("{\"value\":1,\"nonsense\":0}"), 422, "invalid_input"),
        ("PUT",    long_of_the_service,                    None,                   422, "invalid_input"),
        ("PUT",    "/v1/cache/n/entries/k",                Some(&long),            413, "too_large"),
        ("GET",    "/v1/cache/n/entries/k/ttl",            None,                   404, "not_found"),
        ("GET",    "/v1/cache/n/entries/%FF",              None,                   400, "bad_path"),
        ("GET",    "/v1/rate/r/s?limit=x&window_ms=1000",  None,                   422, "invalid_input"),
        ("GET",    "/v1/rate/r/s?limit=1",                 None,                   422, "invalid_input"),
    ];
    for (method, uri, body, status, code) in cases {
        let answer = api.ask(method, uri, &[("content-type", "application/json")], body.unwrap_or_default()).await;
        assert_eq!(answer.status.as_u16(), *status, "{method} {uri}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(error["code"], *code, "{method} {uri}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{method} {uri}");
    }
    let refused = api.get("/v1/rate/r/s?limit=x&window_ms=1000").await.json();
    assert_eq!(refused["error"]["details"]["field"], "limit");
    let refused = api.ask("PATCH", "/v1/cache/n/entries/k", &[], "").await;
    assert!(refused.header("allow").contains("PUT"), "{:?}", refused.headers);
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let api = Api::new();
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = api.ask("PUT", "/v1/cache/n/entries/k", &[("content-type", kind)], "{\"value\":1}").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    for kind in ["application/json; charset=utf-8", "application/merge-patch+json"] {
        let answer = api.ask("PUT", "/v1/cache/n/entries/k", &[("content-type", kind)], "{\"value\":1}").await;
        assert_eq!(answer.status, StatusCode::OK, "{kind}");
    }
}

#[tokio::test]
async fn a_lock_that_is_not_acquired_is_a_conflict() {
    let api = Api::new();
    let first = api.json("POST", "/v1/locks/mutex/orders/acquire", json!({})).await;
    assert_eq!((first.status, &first.json()["acquired"]), (StatusCode::OK, &json!(true)));
    let second = api.json("POST", "/v1/locks/mutex/orders/acquire", json!({"wait_ms": 1})).await;
    assert_eq!((second.status, &second.json()["acquired"]), (StatusCode::CONFLICT, &json!(false)));
    let token = json!({"token": first.json()["token"]});
    let release = async || api.json("POST", "/v1/locks/mutex/orders/release", token.clone()).await.status;
    assert_eq!(release().await, StatusCode::OK);
    api.json("POST", "/v1/locks/mutex/orders/force_release", json!({})).await;
    assert_eq!(release().await, StatusCode::CONFLICT);
    assert_eq!(api.get("/v1/locks/mutex/orders").await.json()["holders"], json!([]));
}

#[tokio::test]
async fn who_goes_away_while_it_waits_is_not_given_a_lock() {
    let api = Api::with(Options { request_timeout: Duration::from_millis(200), ..Options::default() });
    let held = api.json("POST", "/v1/locks/mutex/jobs/acquire", json!({})).await.json();
    let waits = json!({"wait_ms": 60_000, "lease_ms": 60_000});
    let late = api.json("POST", "/v1/locks/mutex/jobs/acquire", waits).await;
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT);
    // What it leaves behind is taken back in the background.
    for _ in 0..10_000 {
        if api.get("/v1/locks/mutex/jobs").await.json()["queue_total"] == json!(0) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let release = json!({"token": held["token"]});
    assert_eq!(api.json("POST", "/v1/locks/mutex/jobs/release", release).await.status, StatusCode::OK);
    let next = api.json("POST", "/v1/locks/mutex/jobs/acquire", json!({})).await;
    assert_eq!(next.json()["acquired"], json!(true), "it went to somebody who has gone: {}", next.text());
}

#[tokio::test]
async fn a_decision_of_a_rate_limit_stands_in_status_and_headers_too() {
    let api = Api::new();
    let body = json!({"limit": 2, "window_ms": 60_000, "algorithm": "fixed_window"});
    let first = api.json("POST", "/v1/rate/login/ann/take", body.clone()).await;
    assert_eq!((first.status, &first.json()["allowed"]), (StatusCode::OK, &json!(true)));
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("2", "1"));
    assert_eq!(first.header("retry-after"), "");
    api.json("POST", "/v1/rate/login/ann/take", body.clone()).await;
    let refused = api.json("POST", "/v1/rate/login/ann/take", body).await;
    assert_eq!((refused.status, &refused.json()["allowed"]), (StatusCode::TOO_MANY_REQUESTS, &json!(false)));
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&after));
    // What is asked in a query means the same, and telling that asking would be refused is no refusal.
    let peeked = api.get("/v1/rate/login/ann?limit=2&window_ms=60000&algorithm=fixed_window").await;
    assert_eq!((peeked.status, &peeked.json()["remaining"]), (StatusCode::OK, &json!(0)));
}

#[tokio::test]
async fn a_verdict_of_a_policy_stands_in_status_and_headers_too() {
    let api = Api::new();
    let table = json!({
        "limits": {"hour": {"per": ["user"], "algorithm": "fixed_window", "limit": 1, "window_ms": 3_600_000}},
        "endpoints": [{"pattern": "**", "limits": ["hour"]}]
    });
    let defined = api.json("PUT", "/v1/limits/policies/api", json!({"table": table})).await;
    assert_eq!((defined.status, defined.json()), (StatusCode::OK, json!({"version": 1})));
    let body = json!({"endpoint": "POST /x", "subject": {"user": "ann"}});
    let first = api.json("POST", "/v1/limits/policies/api/check", body.clone()).await;
    assert_eq!((first.status, first.header("ratelimit-remaining")), (StatusCode::OK, "0"));
    let refused = api.json("POST", "/v1/limits/policies/api/check", body.clone()).await;
    assert_eq!((refused.status, refused.json()["binding"].as_str()), (StatusCode::TOO_MANY_REQUESTS, Some("hour")));
    assert!((3500..=3600).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    // A block has no limit to tell of, but a time; one for good has none.
    for (ttl, after) in [(json!(60_000), true), (json!("never"), false)] {
        api.json("PUT", "/v1/limits/scopes/user:ann/block", json!({"ttl_ms": ttl})).await;
        let blocked = api.json("POST", "/v1/limits/policies/api/check", body.clone()).await;
        assert_eq!(blocked.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!((blocked.header("ratelimit-limit"), !blocked.header("retry-after").is_empty()), ("", after));
    }
    let slot = json!({"limit": 1, "lease_ms": 30_000});
    assert_eq!(api.json("POST", "/v1/limits/scopes/user:ann/slots/jobs/acquire", slot.clone()).await.status, 200);
    let full = api.json("POST", "/v1/limits/scopes/user:ann/slots/jobs/acquire", slot).await;
    assert_eq!((full.status, full.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "30"));
}

#[tokio::test]
async fn endpoints_in_an_envelope_keep_their_status() {
    let api = Api::new();
    let missing = api.get("/redis/count/orders").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let body = missing.json();
    assert_eq!((&body["success"], &body["error"]), (&json!(false), &json!("not_found")));
    assert!(body["details"].as_str().unwrap().contains("orders"));
    let defined = api.json("PUT", "/v1/events/orders/definition", json!({"max_events": 10})).await;
    assert_eq!(defined.status, StatusCode::OK, "{}", defined.text());
    let count = api.get("/redis/count/orders").await;
    assert_eq!(count.status, StatusCode::OK);
    let body = count.json();
    assert_eq!((&body["success"], &body["data"]["count"]), (&json!(true), &json!(0)));
    assert!(body["message"].is_string());
    let malformed = api.ask("POST", "/redis/reset/orders", &[("content-type", "application/json")], "{").await;
    assert_eq!((malformed.status, &malformed.json()["success"]), (StatusCode::BAD_REQUEST, &json!(false)));
    let conflict = api.delete("/v1/events/orders/definition").await;
    assert_eq!((conflict.status, &conflict.json()["error"]["code"]), (StatusCode::CONFLICT, &json!("conflict")));
}

#[tokio::test]
async fn every_operation_has_its_route() {
    let api = Api::new();
    for operation in SERVICES.iter().flat_map(|service| service.operations) {
        let root = if operation.envelope == Envelope::None { redpoll_http::API_ROOT } else { "" };
        let path = format!("{root}{}", operation.path.replace(['{', '}'], ""));
        let answer = api.ask("PATCH", &path, &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{operation:?}");
        let allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        assert!(allowed.contains(&operation.method.as_str()), "{operation:?}: {allowed:?}");
    }
}

async fn status(api: &Api, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let answer: Answer = api.ask(method, path, headers, "").await;
    answer.status.as_u16()
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out() {
    let api = Api::new();
    let path = "/v1/cache/n/entries/k";
    assert_eq!(status(&api, "GET", path, &[("host", "evil.example:8379")]).await, 403);
    assert_eq!(status(&api, "GET", path, &[("host", "localhost:8379"), ("origin", "http://evil.example")]).await, 403);
    assert_eq!(status(&api, "GET", path, &[("host", "localhost:8379"), ("origin", "null")]).await, 403);
    assert_eq!(
        status(&api, "GET", path, &[("host", "localhost:8379"), ("origin", "http://localhost:8379")]).await,
        200
    );
    assert_eq!(status(&api, "DELETE", path, &[("host", "localhost"), ("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(status(&api, "DELETE", path, &[("host", "localhost"), ("sec-fetch-site", "same-site")]).await, 403);
    assert_eq!(status(&api, "DELETE", path, &[("host", "localhost"), ("sec-fetch-site", "same-origin")]).await, 200);
    let named = Api::with(Options { allowed_hosts: vec!["cache.example".into()], ..Options::default() });
    assert_eq!(status(&named, "GET", path, &[("host", "cache.example:8379")]).await, 200);
    assert_eq!(status(&named, "GET", path, &[("host", "evil.example")]).await, 403);
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_but_for_health() {
    let open = Api::with(Options { token: Some(String::new()), ..Options::default() });
    assert_eq!(open.get("/metrics").await.status, StatusCode::OK, "an empty token is none");
    let api = Api::with(Options { token: Some("s3cret".into()), ..Options::default() });
    for path in ["/v1/cache/n", "/metrics", "/openapi.json", "/redis/consumers", "/nowhere"] {
        let refused = api.get(path).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        assert_eq!(status(&api, "GET", path, &[("authorization", "Bearer wrong")]).await, 401, "{path}");
        assert_ne!(status(&api, "GET", path, &[("authorization", "Bearer s3cret")]).await, 401, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(api.get(path).await.status, StatusCode::OK, "{path}");
    }
    // Whoever has the token may use any name.
    let headers = [("host", "cache.example"), ("authorization", "Bearer s3cret")];
    assert_eq!(status(&api, "GET", "/v1/cache/n", &headers).await, 200);
}

#[tokio::test]
async fn answers_are_neither_cached_nor_guessed_at() {
    let api = Api::new();
    for path in ["/healthz", "/nowhere", "/v1/cache/n/entries/k", "/metrics"] {
        let answer = api.get(path).await;
        assert_eq!((answer.header("cache-control"), answer.header("x-content-type-options")), ("no-store", "nosniff"));
    }
    assert_eq!(api.ask(Method::HEAD.as_str(), "/healthz", &[], "").await.body, Vec::<u8>::new());
}

#[tokio::test]
async fn the_document_is_served_as_it_is_printed() {
    let served: Json = Api::new().get("/openapi.json").await.json();
    assert_eq!(served, redpoll_http::openapi_document());
}
