//! Tests of the rows of atomic operations.

use redpoll_services::{Error, Services};
use serde_json::{Value as Json, json};

use crate::operations::run;
use crate::support::{Place, tenant};

/// Calls operations on one object.
struct Caller {
    services: Services,
    tenant: String,
}

impl Caller {
    async fn call(&self, operation: &str, more: Json) -> Result<Json, Error> {
        let mut input = json!({"tenant": self.tenant, "group": "g", "name": "n"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run(&self.services, "atomic", operation, input).await
    }

    async fn is_refused(&self, operation: &str, more: Json, status: u16) {
        let error = self.call(operation, more.clone()).await.unwrap_err();
        assert_eq!(error.status(), status, "{operation} {more}: {error}");
    }
}

async fn registers(caller: &Caller) {
    caller.is_refused("read", json!({}), 404).await;
    let set = caller.call("compare_and_set", json!({"value": null})).await.unwrap();
    let version = set["version"].as_u64().unwrap();
    assert_eq!(set["applied"], json!(true));
    assert_eq!(caller.call("read", json!({})).await, Ok(json!({"value": null, "version": version})));
    let refused = caller.call("compare_and_set", json!({"value": 1})).await;
    assert_eq!(refused, Ok(json!({"applied": false, "current": {"value": null, "version": version}})));
    let wrong = json!({"value": 1, "expect_value": {"a": 1}});
    assert_eq!(caller.call("compare_and_set", wrong).await.unwrap()["applied"], json!(false));
    let right = json!({"value": {"a": 1}, "expect_value": null, "ttl_ms": 60_000});
    assert_eq!(caller.call("compare_and_set", right).await.unwrap()["applied"], json!(true));
    let swapped = caller.call("swap", json!({"value": 2})).await.unwrap();
    assert_eq!(swapped["before"]["value"], json!({"a": 1}));
    let version = caller.call("read", json!({})).await.unwrap()["version"].clone();
    let late = caller.call("compare_and_delete", json!({"expect_version": 1})).await.unwrap();
    assert_eq!(late, json!({"applied": false, "current": {"value": 2, "version": version}}));
    let deleted = caller.call("compare_and_delete", json!({"expect_version": version})).await;
    assert_eq!(deleted, Ok(json!({"applied": true})));
    assert_eq!(caller.call("swap", json!({})).await, Ok(json!({})));
    caller.is_refused("compare_and_set", json!({"value": 1, "expect_version": 1, "expect_value": 1}), 422).await;
    caller.is_refused("compare_and_set", json!({"value": 1, "ttl_ms": 0}), 422).await;
    caller.is_refused("compare_and_set", json!({}), 422).await;
}

async fn counters(caller: &Caller) {
    caller.is_refused("read_counter", json!({}), 404).await;
    let added =
        |applied: bool, replayed: bool, value: Json| json!({"applied": applied, "replayed": replayed, "value": value});
    assert_eq!(caller.call("add", json!({"ceiling": 0})).await, Ok(added(false, false, Json::Null)));
    let once = json!({"amount": 5, "request": "r"});
    assert_eq!(caller.call("add", once.clone()).await, Ok(added(true, false, json!(5))));
    assert_eq!(caller.call("add", once).await, Ok(added(true, true, json!(5))));
    caller.is_refused("add", json!({"amount": 6, "request": "r"}), 409).await;
    assert_eq!(caller.call("add", json!({"amount": i64::MAX})).await, Ok(added(false, false, json!(5))));
    assert_eq!(caller.call("read_counter", json!({})).await, Ok(json!({"value": 5})));
    caller.is_refused("add", json!({"amount": 1.5}), 422).await;
    caller.is_refused("add", json!({"floor": 2, "ceiling": 1}), 422).await;

    let money = |applied: bool, amount: Json| json!({"applied": applied, "replayed": false, "amount": amount});
    assert_eq!(caller.call("add_money", json!({"amount": "0.1"})).await, Ok(money(true, json!("0.1"))));
    assert_eq!(caller.call("add_money", json!({"amount": "0.20"})).await, Ok(money(true, json!("0.3"))));
    let beyond = json!({"amount": "1", "ceiling": "1.299999"});
    assert_eq!(caller.call("add_money", beyond).await, Ok(money(false, json!("0.3"))));
    assert_eq!(caller.call("read_money", json!({})).await, Ok(json!({"amount": "0.3"})));
    caller.is_refused("add_money", json!({"amount": "0.0000001"}), 422).await;
    caller.is_refused("add_money", json!({"amount": 0.1}), 422).await;

    assert_eq!(caller.call("take_numbers", json!({})).await, Ok(json!({"first": 1, "last": 1})));
    assert_eq!(caller.call("take_numbers", json!({"count": 3})).await, Ok(json!({"first": 2, "last": 4})));
    caller.is_refused("take_numbers", json!({"count": 0}), 422).await;
}

async fn inventories(caller: &Caller) {
    caller.is_refused("stock", json!({}), 404).await;
    let stock = |available: u64, reserved: u64, committed: u64| json!({"total": 10, "available": available, "reserved": reserved, "committed": committed});
    assert_eq!(caller.call("set_total", json!({"total": 10})).await, Ok(stock(10, 0, 0)));
    let reserved = caller.call("reserve", json!({"units": 4, "ttl_ms": 60_000})).await.unwrap();
    assert_eq!((&reserved["granted"], &reserved["stock"]), (&json!(true), &stock(6, 4, 0)));
    assert!(reserved["expires_at_ms"].is_u64());
    let refused = caller.call("reserve", json!({"reservation": "b", "units": 7, "ttl_ms": 60_000})).await;
    assert_eq!(
        refused,
        Ok(json!({"granted": false, "reservation": "b", "expires_at_ms": null, "stock": stock(6, 4, 0)}))
    );
    let id = &reserved["reservation"];
    assert_eq!(caller.call("commit", json!({"reservation": id, "units": 3})).await, Ok(stock(7, 0, 3)));
    caller.is_refused("release", json!({"reservation": id}), 409).await;
    caller.is_refused("release", json!({"reservation": "x"}), 404).await;
    caller.call("reserve", json!({"reservation": "c", "ttl_ms": 60_000})).await.unwrap();
    assert_eq!(caller.call("release", json!({"reservation": "c"})).await, Ok(stock(7, 0, 3)));
    caller.is_refused("set_total", json!({"total": 2}), 409).await;
    caller.is_refused("reserve", json!({"ttl_ms": 0}), 422).await;
    assert_eq!(caller.call("stock", json!({})).await, Ok(stock(7, 0, 3)));
}

pub(crate) async fn atomic_round_trip(place: Place) {
    let caller = Caller { services: place.services().await, tenant: tenant().name().to_owned() };
    registers(&caller).await;
    counters(&caller).await;
    inventories(&caller).await;
}
