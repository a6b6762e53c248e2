//! Health and metrics, of a store that works and of one that does not.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::Api;
use axum::http::StatusCode;
use redpoll_http::Options;
use redpoll_services::backend::RetryPolicy;
use redpoll_services::{Backend, BackendConfig};
use redpoll_store::{Config, Store};
use redpoll_testkit::{RedisCluster, RedisServer};
use serde_json::json;

/// Impatient, so that an outage is known quickly.
fn impatient() -> BackendConfig {
    BackendConfig {
        connect_timeout: Duration::from_millis(200),
        command_timeout: Duration::from_millis(300),
        connections: 1,
        retry: RetryPolicy { attempts_max: 0, ..RetryPolicy::default() },
        ..BackendConfig::default()
    }
}

/// An API over a server that takes connections and never says a word; the listener keeps it so.
fn over_silence(options: Options) -> (Api, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    (Api::over(Backend::connect_lazily(&url, impatient()).unwrap(), options), listener)
}

#[tokio::test]
async fn a_store_that_works_is_healthy() {
    let store = Store::open(Config::in_memory()).unwrap();
    let api = Api::over(Backend::embedded(store.clone()), Options::default());
    assert_eq!(api.get("/healthz").await.json(), json!({"status": "healthy"}));
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    let health = ready.json();
    assert_eq!((&health["status"], &health["reasons"]), (&json!("healthy"), &json!([])));
    assert!(health["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(store.call(&["DBSIZE"]).as_i64(), Some(0), "the probe leaves nothing behind");
}

#[tokio::test]
async fn a_store_that_is_full_is_critical() {
    let store = Store::open(Config::in_memory().set("maxmemory", "1").unwrap()).unwrap();
    store.call(&["CONFIG", "SET", "maxmemory", "100000000"]);
    store.set("key", "x".repeat(2000)).unwrap();
    store.call(&["CONFIG", "SET", "maxmemory", "1000"]);
    let api = Api::over(Backend::embedded(store), Options::default());
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let health = ready.json();
    assert_eq!(health["status"], "critical");
    let checks: Vec<&str> =
        health["reasons"].as_array().unwrap().iter().map(|reason| reason["check"].as_str().unwrap()).collect();
    assert!(checks.contains(&"memory"), "{health}");
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK, "the process is alive all the same");
}

#[tokio::test]
async fn a_store_that_is_down_is_critical_and_operations_say_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let api = Api::over(Backend::connect_lazily(&url, impatient()).unwrap(), Options::default());
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let health = ready.json();
    assert_eq!((&health["status"], &health["latency_ms"]), (&json!("critical"), &json!(null)));
    assert_eq!(health["reasons"][0]["check"], "probe");
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(metrics.text().contains("\nredis_up 0\n"));
    assert!(metrics.text().contains("\nredpoll_backend_failures_total "));
    let set = api.json("PUT", "/v1/cache/n/entries/k", json!({"value": 1})).await;
    assert_eq!((set.status, &set.json()["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));

    // After some more outages in a row nothing is tried for a while.
    for _ in 0..5 {
        api.get("/v1/cache/n").await;
    }
    assert!(api.get("/metrics").await.text().contains("\nredpoll_backend_circuit_state{state=\"open\"} 1\n"));
    let health = api.get("/readyz").await.json();
    let checks = health["reasons"].as_array().unwrap().iter().map(|reason| reason["check"].as_str().unwrap());
    assert!(checks.into_iter().any(|check| check == "circuit"), "{health}");
}

#[tokio::test]
async fn a_store_that_would_evict_what_must_stay_is_a_warning() {
    let server = RedisServer::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]).unwrap();
    let api = Api::over(Backend::connect(&server.url()).await.unwrap(), Options::default());
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    let health = ready.json();
    assert_eq!((&health["status"], &health["reasons"][0]["check"]), (&json!("warning"), &json!("eviction")));
    let store = Config::in_memory().set("maxmemory", "100mb").unwrap().set("maxmemory-policy", "allkeys-lru").unwrap();
    let api = Api::over(Backend::embedded(Store::open(store).unwrap()), Options::default());
    assert_eq!(api.get("/readyz").await.json()["status"], "healthy", "ours keeps them");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_a_timeout() {
    let (api, _listener) = over_silence(Options::default());
    let count = api.get("/v1/cache/n").await;
    assert_eq!((count.status, &count.json()["error"]["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("timeout")));
    let (api, _listener) = over_silence(Options { request_timeout: Duration::from_millis(50), ..Options::default() });
    let count = api.get("/v1/cache/n").await;
    assert_eq!(count.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(count.text().contains("50 ms"), "{}", count.text());
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_know() {
    let store = Store::open(Config::in_memory().set("maxmemory", "1gb").unwrap()).unwrap();
    let api = Api::over(Backend::embedded(store.clone()), Options::default());
    store.set("a", "1").unwrap();
    store.call(&["SET", "b", "2", "EX", "100"]);
    store.call(&["GET", "a"]);
    store.call(&["GET", "missing"]);
    store.call(&["INCR", "a", "b", "c"]);
    api.get("/v1/cache/n/entries/k").await;
    let answer = api.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    for line in [
        "redis_up 1",
        "redis_memory_max_bytes 1073741824",
        "redis_commands_total{cmd=\"set\"} 2",
        "redis_commands_total{cmd=\"get\"} 2",
        "redis_commands_rejected_calls_total{cmd=\"incr\"} 1",
        "redis_errors_total{err=\"ERR\"} 1",
        "redis_db_keys{db=\"db0\"} 2",
        "redis_db_keys_expiring{db=\"db0\"} 1",
        "redis_evicted_keys_total 0",
        "redpoll_cache_misses_total 1",
        "redpoll_backend_circuit_state{state=\"closed\"} 1",
        "redpoll_backend_circuit_state{state=\"open\"} 0",
        "redpoll_outage_policy{service=\"rate\",policy=\"open\"} 1",
        "redpoll_outage_policy{service=\"events\",policy=\"error\"} 1",
        "redpoll_http_requests_total{service=\"cache\",operation=\"get\",status=\"2xx\"} 1",
        "redpoll_http_request_duration_seconds_bucket{service=\"cache\",operation=\"get\",le=\"+Inf\"} 1",
        "redpoll_http_request_duration_seconds_count{service=\"cache\",operation=\"get\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    for family in [
        "redis_instance_info{",
        "redis_uptime_in_seconds ",
        "redis_connected_clients ",
        "redis_memory_used_bytes ",
        "redis_commands_duration_seconds_total{cmd=\"get\"} ",
        "redis_commands_processed_total ",
        "redis_keyspace_hits_total ",
        "redis_keyspace_misses_total ",
        "redis_expired_keys_total ",
        "redis_net_input_bytes_total ",
        "redis_net_output_bytes_total ",
        "redis_connections_received_total ",
        "redis_rejected_connections_total ",
    ] {
        assert!(text.lines().any(|found| found.starts_with(family)), "{family} is missing");
    }
    well_formed(&text);
}

/// Every sample belongs to the family announced above it, no family comes twice, and every value is a number.
fn well_formed(text: &str) {
    let (mut family, mut seen) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(!seen.contains(&family), "{family} comes twice");
            seen.push(family.clone());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next().unwrap(), family);
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line}");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        }
    }
    assert!(seen.len() > 30);
}

async fn is_judged(url: &str) {
    let api = Api::over(Backend::connect(url).await.unwrap(), Options::default());
    let ready = api.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (StatusCode::OK, &json!("healthy")), "{}", ready.text());
    let text = api.get("/metrics").await.text();
    for family in
        ["redis_up 1", "redis_commands_total{cmd=\"set\"} ", "redis_rdb_last_bgsave_status 1", "redis_cpu_user_"]
    {
        assert!(text.lines().any(|found| found.starts_with(family)), "{family} is missing in\n{text}");
    }
    well_formed(&text);
}

#[tokio::test]
async fn a_server_elsewhere_is_judged_by_what_it_says() {
    let server = RedisServer::start().unwrap();
    is_judged(&server.url()).await;
}

#[tokio::test]
async fn a_cluster_is_judged_by_what_each_master_says() {
    let cluster = RedisCluster::start(3).unwrap();
    let nodes: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    let api =
        Api::over(Backend::connect(&format!("redis+cluster://{}", nodes.join(","))).await.unwrap(), Options::default());
    let ready = api.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (StatusCode::OK, &json!("healthy")), "{}", ready.text());
    let text = api.get("/metrics").await.text();
    for node in &nodes {
        for line in
            [format!("redis_cluster_enabled{{node=\"{node}\"}} 1"), format!("redis_aof_enabled{{node=\"{node}\"}} 0")]
        {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
    well_formed(&text);
}
