//! Tests of the mechanisms.

use std::time::Duration;

use redpoll_resp::Value;
use redpoll_services::metrics::Counter;
use redpoll_services::script::{Flags, Repeat, Script};
use redpoll_services::{Backend, BackendConfig, Command, Error};
use redpoll_testkit::RedisServer;

use crate::support::{Place, tenant};

static ECHO: Script = Script::new("echo", Flags::NoWrites, Repeat::Safe, &["return {KEYS[1], ARGV[1], '!'}"]);
static BUMP: Script = Script::new("bump", Flags::None, Repeat::Never, &["return redis.call('INCR', KEYS[1])"]);
static PAIR: Script = Script::new("pair", Flags::None, Repeat::Safe, &["return #KEYS"]);

pub(crate) async fn clock_is_the_stores(place: Place) {
    let backend = place.services().await.backend().clone();
    let ours = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let before = ours();
    let theirs = backend.now_ms().await.unwrap();
    // One in this process follows the machine's clock a tenth of a second late.
    assert!((before - 150..=ours() + 150).contains(&theirs), "{theirs}");
}

pub(crate) async fn errors_stay_in_their_places(place: Place) {
    let backend = place.services().await.backend().clone();
    let key = |name: &str| format!("test:{}:{name}", tenant().name());
    let (text, number) = (key("text"), key("number"));
    let results = backend
        .pipeline(vec![
            Command::new("SET").key(&text).arg("abc"),
            Command::new("INCR").key(&text),
            Command::new("INCR").key(&number),
            Command::new("LPUSH").key(&text).arg("x"),
            Command::new("GET").key(&text),
            Command::script(&ECHO, &[&text], &["arg"]),
        ])
        .await
        .unwrap();
    assert_eq!(results.len(), 6);
    assert_eq!(results[0], Ok(Value::Simple("OK".into())));
    assert!(matches!(&results[1], Err(Error::Backend(line)) if line.starts_with("ERR value is not an integer")));
    assert_eq!(results[2], Ok(Value::Int(1)));
    assert!(matches!(&results[3], Err(Error::Backend(line)) if line.starts_with("WRONGTYPE")));
    assert_eq!(results[4].as_ref().unwrap().as_bytes(), Some(&b"abc"[..]));
    assert_eq!(results[5].as_ref().unwrap().as_array().unwrap()[1].as_str(), Some("arg"));
    assert_eq!(backend.pipeline(Vec::new()).await, Ok(Vec::new()));
}

pub(crate) async fn scripts_survive_a_flush(place: Place) {
    let backend = place.services().await.backend().clone();
    let key = format!("test:{}", tenant().name());
    assert_eq!(backend.script(&BUMP, &[&key], &[] as &[&str]).await, Ok(Value::Int(1)));
    backend.call(Command::new("SCRIPT").arg("FLUSH")).await.unwrap();
    assert_eq!(backend.script(&BUMP, &[&key], &[] as &[&str]).await, Ok(Value::Int(2)));
    backend.call(Command::new("SCRIPT").arg("FLUSH")).await.unwrap();
    let bump = || Command::script(&BUMP, &[&key], &[] as &[&str]);
    let results = backend.pipeline(vec![bump(), bump()]).await.unwrap();
    assert_eq!(results, [Ok(Value::Int(3)), Ok(Value::Int(4))]);
}

pub(crate) async fn a_script_spans_no_slots(place: Place) {
    let backend = place.services().await.backend().clone();
    let group = redpoll_services::keys::Keyring::new("rp").unwrap().group(&tenant(), "test", &["a"]);
    let keys = [group.key("x"), group.named("y", "}{")];
    assert_eq!(backend.script(&PAIR, &keys, &[] as &[&str]).await, Ok(Value::Int(2)));
}

#[tokio::test]
async fn connection_lost_and_found() {
    // A server of its own, since the test kills connections.
    let server = RedisServer::start().unwrap();
    let place = Place::at(server.url());
    let (backend, killer) = (place.services().await.backend().clone(), place.services().await.backend().clone());
    let key = format!("test:{}", tenant().name());
    backend.call(Command::new("SET").key(&key).arg("1")).await.unwrap();
    for _ in 0..5 {
        let kill = Command::new("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        killer.call(kill.repeatable()).await.unwrap();
        // Repeatable: the lost connection costs nothing.
        let reply = backend.call(Command::new("GET").key(&key).repeatable()).await.unwrap();
        assert_eq!(reply.as_bytes(), Some(&b"1"[..]));
    }
}

#[tokio::test]
async fn outage_is_an_error_within_the_deadline() {
    let services = Place::down().services_lazily(redpoll_services::Settings::default());
    let started = std::time::Instant::now();
    let error = services.backend().call(Command::new("GET").key("k").repeatable()).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(services.metrics().value(Counter::BackendRetries) >= 1, "refused connections are tried again");
    assert_eq!(services.metrics().value(Counter::BackendFailures), 1);
}

#[tokio::test]
async fn silent_server_is_a_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let config = BackendConfig { command_timeout: Duration::from_millis(200), ..BackendConfig::default() };
    let error = Backend::connect_with(&url, config).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn unknown_urls_are_refused() {
    for url in ["", "http://x", "redisss://x", "redis://", "rediss://", "127.0.0.1:6379"] {
        let error = Backend::connect_lazily(url, BackendConfig::default()).map(drop).unwrap_err();
        assert!(matches!(error, Error::InvalidInput { field: "url", .. }), "{url}: {error:?}");
    }
}
