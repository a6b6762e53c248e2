//! Tests of the operations tables: what routes and documentation derive from.

use std::collections::HashSet;

use redpoll_services::{Error, Operation, SERVICES, Services};
use serde_json::{Value as Json, json};

use crate::support::{Place, tenant};

pub(crate) fn find(service: &str, name: &str) -> &'static Operation {
    let service = SERVICES.iter().find(|row| row.name == service).unwrap();
    service.operations.iter().find(|row| row.name == name).unwrap()
}

pub(crate) async fn run(services: &Services, service: &str, name: &str, input: Json) -> Result<Json, Error> {
    (find(service, name).run)(services.clone(), input).await
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
            assert!(serde_json::to_value((operation.output_schema)()).unwrap()["properties"].is_object());
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
