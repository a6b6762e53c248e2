//! Tests of the operations tables: what routes and documentation derive from.

use std::collections::HashSet;

use redpoll_services::operation::{Feed, Run};
use redpoll_services::{Error, Operation, SERVICES, Services};
use serde_json::{Value as Json, json};

use crate::support::{Place, tenant};

pub(crate) fn find(service: &str, name: &str) -> &'static Operation {
    let service = SERVICES.iter().find(|row| row.name == service).unwrap();
    service.operations.iter().find(|row| row.name == name).unwrap()
}

pub(crate) async fn run(services: &Services, service: &str, name: &str, input: Json) -> Result<Json, Error> {
    match find(service, name).run {
        Run::Answer(run) => run(services.clone(), input).await,
        Run::Feed(_) => panic!("{service} {name} is a feed"),
    }
}

/// Opens a feed.
pub(crate) async fn open(services: &Services, service: &str, name: &str, input: Json) -> Result<Box<dyn Feed>, Error> {
    match find(service, name).run {
        Run::Answer(_) => panic!("{service} {name} is no feed"),
        Run::Feed(open) => open(services.clone(), input).await,
    }
}

#[test]
fn tables_are_consistent() {
    let mut routes = HashSet::new();
    let mut names = HashSet::new();
    for service in SERVICES {
        assert!(!service.doc.is_empty());
        for operation in service.operations {
            assert_eq!(operation.service, service.name);
            assert!(names.insert((operation.service, operation.name)), "{operation:?} is there twice");
            assert!(routes.insert((operation.method, operation.path)), "{operation:?} shares its route");
            assert!(operation.path.starts_with(&format!("/{}/", service.name)), "{operation:?}");
            assert!(operation.summary.ends_with('.') && !operation.doc.is_empty(), "{operation:?}");
            assert!(operation.statuses[0] < 300, "{operation:?}");
            let schema = serde_json::to_value((operation.input_schema)()).unwrap();
            for param in operation.path_params() {
                assert!(schema["properties"][param].is_object(), "{operation:?} lacks {param}");
                assert!(schema["required"].as_array().unwrap().contains(&json!(param)), "{operation:?} {param}");
            }
            for (field, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{operation:?} {field} has no description");
            }
            let output = serde_json::to_value((operation.output_schema)()).unwrap();
            // A feed may give things of several kinds.
            assert!(output["properties"].is_object() || output["anyOf"].is_array(), "{operation:?}");
        }
    }
}

/// What no integer or float of the machine holds, and what has several ways to be written.
const NUMBERS: &str =
    r#"{"z":12345678901234567890123,"a":[-0.0,1.10,1e+400,0.1234567890123456789012345678901,18446744073709551616]}"#;

pub(crate) async fn numbers_come_back_as_they_were_given(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let value: Json = serde_json::from_str(NUMBERS).unwrap();
    let entry = json!({"tenant": tenant, "namespace": "n", "key": "k"});
    let mut input = entry.clone();
    input["value"] = value;
    run(&services, "cache", "set", input).await.unwrap();
    let found = run(&services, "cache", "get", entry).await.unwrap();
    assert_eq!(found["value"].to_string(), NUMBERS);
}

pub(crate) async fn cache_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let entry = |key: &str| json!({"tenant": tenant, "namespace": "n", "key": key});
    let with = |key: &str, more: Json| {
        let mut input = entry(key);
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    assert_eq!(run(&services, "cache", "get", entry("k")).await, Ok(json!({"outcome": "miss"})));
    let set = run(&services, "cache", "set", with("k", json!({"value": null, "tags": ["t"], "ttl_ms": "never"}))).await;
    assert_eq!(set, Ok(json!({"done": true})));
    assert_eq!(run(&services, "cache", "get", entry("k")).await, Ok(json!({"outcome": "hit", "value": null})));
    assert_eq!(run(&services, "cache", "ttl", entry("k")).await, Ok(json!({"ttl_ms": null})));
    run(&services, "cache", "set", with("b", json!({"bytes_base64": "AP8K"}))).await.unwrap();
    let bytes = run(&services, "cache", "get", entry("b")).await;
    assert_eq!(bytes, Ok(json!({"outcome": "hit", "bytes_base64": "AP8K"})));
    let tag = json!({"tenant": tenant, "namespace": "n", "tag": "t"});
    assert_eq!(run(&services, "cache", "invalidate_tag", tag).await, Ok(json!({"count": 1})));
    assert!(matches!(run(&services, "cache", "ttl", entry("k")).await, Err(Error::NotFound(_))));
    for bad in
        [json!({}), json!({"value": 1, "bytes_base64": ""}), json!({"value": 1, "ttl_ms": 0}), json!({"valeu": 1})]
    {
        let error = run(&services, "cache", "set", with("k", bad.clone())).await.unwrap_err();
        assert_eq!(error.status(), 422, "{bad}");
    }
    let many =
        json!({"tenant": tenant, "namespace": "n", "entries": [{"key": "x", "value": 1}, {"key": "y", "value": 2}]});
    assert_eq!(run(&services, "cache", "set_many", many).await, Ok(json!({"errors": [null, null]})));
    let keys = json!({"tenant": tenant, "namespace": "n", "keys": ["y", "z", "x"]});
    let found = run(&services, "cache", "get_many", keys).await.unwrap();
    assert_eq!(
        found["entries"],
        json!([{"outcome": "hit", "value": 2}, {"outcome": "miss"}, {"outcome": "hit", "value": 1}])
    );
    let namespace = json!({"tenant": tenant, "namespace": "n"});
    assert_eq!(run(&services, "cache", "count", namespace.clone()).await, Ok(json!({"count": 3})));
    assert_eq!(run(&services, "cache", "clear", namespace).await, Ok(json!({"count": 3})));
}

pub(crate) async fn rate_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let input = json!({
        "tenant": tenant, "rule": "api", "subject": "u", "limit": 2, "window_ms": 86_400_000, "algorithm": "sliding_log"
    });
    for (allowed, remaining) in [(true, 1), (true, 0), (false, 0)] {
        let decision = run(&services, "rate", "take", input.clone()).await.unwrap();
        assert_eq!((&decision["allowed"], &decision["remaining"]), (&json!(allowed), &json!(remaining)));
        assert_eq!(decision["source"], json!("store"));
    }
    let reset = json!({"tenant": tenant, "rule": "api", "subject": "u", "algorithm": "sliding_log"});
    assert_eq!(run(&services, "rate", "reset", reset).await, Ok(json!({"reset": true})));
    assert_eq!(run(&services, "rate", "peek", input).await.unwrap()["remaining"], json!(2));
}

pub(crate) async fn tokens_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let ask = |name: &'static str, mut input: Json| {
        input["tenant"] = json!(tenant);
        let services = services.clone();
        async move { run(&services, "tokens", name, input).await }
    };
    let now = services.backend().now_ms().await.unwrap() / 1000;
    let denied = ask("deny", json!({"jti": "j", "exp": now + 100})).await.unwrap();
    assert_eq!(denied, json!({"denied": true, "until_ms": (now + 100) * 1000}));
    assert_eq!(ask("deny", json!({"jti": "j", "exp": 1})).await.unwrap(), json!({"denied": false, "until_ms": null}));
    assert_eq!(ask("check", json!({"jti": "j"})).await.unwrap(), json!({"revoked": true, "reason": "token"}));
    let revoked = ask("revoke_user", json!({"user": "ann"})).await.unwrap();
    let of_ann = json!({"jti": "k", "user": "ann", "iat": revoked["not_before"].as_u64().unwrap() - 1});
    assert_eq!(ask("check", of_ann).await.unwrap(), json!({"revoked": true, "reason": "user"}));
    assert_eq!(ask("check", json!({"jti": "k", "user": "ann"})).await.unwrap_err().status(), 422);

    let begun = ask("begin_oauth", json!({"redirect": "/a", "subject": "c", "extra": {"x": 1}})).await.unwrap();
    let back = json!({"state": begun["state"], "subject": "c"});
    let returned = ask("consume_oauth", back.clone()).await.unwrap();
    assert_eq!((&returned["valid"], &returned["extra"]), (&json!(true), &json!({"x": 1})));
    assert_eq!(returned["nonce"], begun["nonce"]);
    assert_eq!(ask("consume_oauth", back).await.unwrap(), json!({"valid": false}));

    let csrf = ask("issue_csrf", json!({"session": "s", "usage": "once"})).await.unwrap();
    let form = json!({"session": "s", "token": csrf["token"], "cookie": csrf["token"]});
    assert_eq!(ask("check_csrf", form.clone()).await.unwrap(), json!({"valid": true}));
    assert_eq!(ask("check_csrf", form).await.unwrap(), json!({"valid": false}));
    assert_eq!(ask("forget_csrf", json!({"session": "s"})).await.unwrap(), json!({"done": false}));

    let refresh = ask("issue_refresh", json!({"user": "bob", "payload": 5})).await.unwrap();
    let rotated = ask("rotate_refresh", json!({"token": refresh["token"]})).await.unwrap();
    assert_eq!((&rotated["outcome"], &rotated["payload"]), (&json!("rotated"), &json!(5)));
    let successor = json!({"token": rotated["successor"]["token"]});
    assert_eq!(ask("revoke_refresh", successor.clone()).await.unwrap(), json!({"done": true}));
    let revoked = ask("rotate_refresh", successor).await.unwrap();
    assert_eq!(revoked, json!({"outcome": "revoked", "reason": "family"}));
    let family = json!({"user": "bob", "family": refresh["family"]});
    assert_eq!(ask("revoke_family", family).await.unwrap(), json!({"done": false}));

    let once = ask("issue", json!({"purpose": "login", "payload": [1]})).await.unwrap();
    let presented = json!({"purpose": "login", "token": once["token"]});
    assert_eq!(ask("peek", presented.clone()).await.unwrap(), json!({"valid": true, "payload": [1]}));
    assert_eq!(ask("consume", presented.clone()).await.unwrap(), json!({"valid": true, "payload": [1]}));
    assert_eq!(ask("consume", presented).await.unwrap(), json!({"valid": false, "payload": null}));

    let code = ask("issue_code", json!({"purpose": "mfa", "subject": "ann"})).await.unwrap();
    let tried = |code: &Json| json!({"purpose": "mfa", "subject": "ann", "code": code});
    let wrong = ask("verify_code", tried(&json!("x"))).await.unwrap();
    assert_eq!(wrong, json!({"outcome": "wrong", "attempts_left": 4}));
    let right = ask("verify_code", tried(&code["code"])).await.unwrap();
    assert_eq!(right, json!({"outcome": "right", "payload": null}));
}

pub(crate) async fn idempotency_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let ask = |name: &'static str, more: Json| {
        let mut input = json!({"tenant": tenant, "scope": "ann", "key": "k"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let services = services.clone();
        async move { run(&services, "idempotency", name, input).await }
    };
    let begun = ask("begin", json!({"fingerprint": "a", "lease_ms": 60_000})).await.unwrap();
    assert_eq!((&begun["outcome"], &begun["attempt"]), (&json!("started"), &json!(1)));
    let busy = ask("begin", json!({"fingerprint": "a", "wait_ms": 20})).await.unwrap();
    assert_eq!(busy["outcome"], "in_progress");
    assert!((1..=60_000).contains(&busy["retry_after_ms"].as_u64().unwrap()));
    assert_eq!(ask("begin", json!({"fingerprint": "b"})).await.unwrap(), json!({"outcome": "mismatch"}));
    let token = &begun["token"];
    assert_eq!(ask("renew", json!({"token": token})).await.unwrap(), json!({"done": true}));
    let done = json!({"token": token, "metadata": {"status": 201}, "body_base64": "AP8K"});
    assert_eq!(ask("complete", done).await.unwrap(), json!({"done": true}));
    let replay = ask("begin", json!({"fingerprint": "a"})).await.unwrap();
    assert_eq!((&replay["outcome"], &replay["body_base64"]), (&json!("replay"), &json!("AP8K")));
    assert_eq!(replay["metadata"], json!({"status": 201}));
    for name in ["abandon", "renew"] {
        assert_eq!(ask(name, json!({"token": token})).await.unwrap_err().status(), 409);
    }
    for bad in [json!({"fingerprint": ""}), json!({"fingerprint": "a", "lease_ms": 0}), json!({})] {
        assert_eq!(ask("begin", bad).await.unwrap_err().status(), 422);
    }
}

pub(crate) async fn locks_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let of = |kind: &str, more: Json| {
        let mut input = json!({"tenant": tenant, "kind": kind, "name": "n"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    for (kind, wish) in [
        ("mutex", json!({})),
        ("election", json!({})),
        ("rw", json!({"mode": "write"})),
        ("semaphore", json!({"permits": 2, "capacity": 2})),
    ] {
        let held = run(&services, "locks", "acquire", of(kind, wish.clone())).await.unwrap();
        assert_eq!(held["acquired"], json!(true));
        let refused = run(&services, "locks", "acquire", of(kind, wish.clone())).await;
        assert_eq!(refused, Ok(json!({"acquired": false, "token": null, "fence": null})));
        let extend = of(kind, json!({"token": held["token"], "lease_ms": 5000}));
        assert_eq!(run(&services, "locks", "extend", extend).await, Ok(json!({"done": true})));
        let info = run(&services, "locks", "info", of(kind, json!({}))).await.unwrap();
        assert_eq!((&info["holders"][0]["fence"], &info["holders_total"]), (&held["fence"], &json!(1)));
        let token = of(kind, json!({"token": held["token"]}));
        assert_eq!(run(&services, "locks", "release", token.clone()).await, Ok(json!({"done": true})));
        let again = run(&services, "locks", "acquire", of(kind, wish)).await.unwrap();
        assert!(again["fence"].as_u64() > held["fence"].as_u64());
        assert_eq!(run(&services, "locks", "release", token).await.unwrap_err().status(), 409);
        let forced = run(&services, "locks", "force_release", of(kind, json!({}))).await.unwrap();
        assert_eq!(forced["was_held"], json!(true));
        assert!(forced["fence"].as_u64() > again["fence"].as_u64());
    }
    for (kind, bad) in [
        ("rw", json!({})),
        ("semaphore", json!({})),
        ("semaphore", json!({"capacity": 1, "permits": 2})),
        ("mutex", json!({"mode": "read"})),
        ("mutex", json!({"capacity": 1})),
        ("mutex", json!({"token": "mine"})),
        ("mutex", json!({"lease_ms": 0})),
        ("mutex", json!({"wait_ms": u64::MAX})),
        ("spin", json!({})),
    ] {
        let error = run(&services, "locks", "acquire", of(kind, bad.clone())).await.unwrap_err();
        assert_eq!(error.status(), 422, "{kind} {bad}");
    }
}
