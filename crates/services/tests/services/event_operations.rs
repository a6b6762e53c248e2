//! Tests of the rows of events, and of the four endpoints of an earlier service.

use redpoll_services::operation::Envelope;
use redpoll_services::{Services, Settings};
use serde_json::{Value as Json, json};

use crate::operations::{find, run};
use crate::support::{Place, tenant};

/// Calls operations of events for one consumer.
struct Caller {
    services: Services,
    tenant: String,
}

impl Caller {
    async fn open(place: &Place) -> Self {
        let services = place.services_with(Settings::default()).await;
        Self { services, tenant: tenant().name().to_owned() }
    }

    /// Gives the result, or the status of the error.
    async fn call(&self, service: &str, name: &str, mut input: Json) -> Result<Json, u16> {
        input["tenant"] = json!(self.tenant);
        let result = run(&self.services, service, name, input).await;
        let operation = find(service, name);
        result.map_err(|error| {
            assert!(operation.statuses.contains(&error.status()), "{operation:?} does not list {error:?}");
            error.status()
        })
    }

    async fn events(&self, name: &str, input: Json) -> Result<Json, u16> {
        self.call("events", name, input).await
    }

    async fn redis(&self, name: &str, input: Json) -> Result<Json, u16> {
        self.call("redis", name, input).await
    }
}

pub(crate) async fn events_round_trip(place: Place) {
    let caller = Caller::open(&place).await;
    let c = || json!({"consumer": "c"});
    assert_eq!(caller.events("record", c()).await, Err(404));
    assert_eq!(caller.events("define", c()).await, Err(422));
    let defined = caller.events("define", json!({"consumer": "c", "max_events": 3})).await.unwrap();
    assert_eq!((&defined["state"], &defined["target"]), (&json!("running"), &json!({"kind": "pull"})));
    let recorded =
        caller.events("record", json!({"consumer": "c", "id": "1", "op": "u", "source_ms": 5})).await.unwrap();
    assert_eq!(
        (&recorded["count"], &recorded["counted"], &recorded["triggers"]),
        (&json!(1), &json!([true]), &json!([]))
    );
    let many = json!({"consumer": "c", "events": [{"id": "1"}, {"id": "2"}, {}, {}]});
    let recorded = caller.events("record_many", many).await.unwrap();
    assert_eq!((&recorded["count"], &recorded["counted"]), (&json!(1), &json!([false, true, true, true])));
    assert_eq!(recorded["triggers"][0]["reason"], json!("EVENT_THRESHOLD"));
    assert_eq!(caller.events("record", json!({"consumer": "c", "idd": "1"})).await, Err(422));
    assert_eq!(caller.events("record", json!({"consumer": "c", "op": "x"})).await, Err(422));

    let messages = json!([{"value": {"op": "d", "before": {"id": 1}}}, {"value": "{"}, {"value": null}, {}]);
    let ingested = caller.events("ingest", json!({"consumer": "c", "messages": messages})).await.unwrap();
    assert_eq!(
        (&ingested["count"], &ingested["tombstones"], &ingested["poison"][0]["index"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!(caller.events("poison", c()).await.unwrap()["messages"].as_array().unwrap().len(), 1);

    let status = caller.events("status", c()).await.unwrap();
    assert_eq!((&status["consumer"], &status["count"], &status["waiting"]), (&json!("c"), &json!(2), &json!(1)));
    let windows = caller.events("windows", json!({"consumer": "c", "width_ms": 3_600_000})).await.unwrap();
    assert_eq!(windows["windows"][0]["count"], json!(5));
    assert_eq!(caller.events("timeline", c()).await.unwrap()["events"].as_array().unwrap().len(), 5);
    assert_eq!(caller.events("tick", json!({})).await, Ok(json!({"triggers": []})));
    assert_eq!(caller.events("list", json!({})).await.unwrap()["consumers"][0]["consumer"], json!("c"));

    let held = caller.events("triggers", c()).await.unwrap();
    assert_eq!(held["triggers"][0]["trigger"], recorded["triggers"][0]);
    let lease = caller.events("lease", c()).await.unwrap()["leases"][0].clone();
    let settle = |more: Json| {
        let mut input = json!({"consumer": "c", "trigger": lease["trigger"]["id"], "token": lease["token"]});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    assert_eq!(caller.events("ack", settle(json!({"token": "stale"}))).await, Err(409));
    let failed = caller.events("fail", settle(json!({"error": "no", "pause_ms": 0}))).await;
    assert_eq!(failed, Ok(json!({"dead": false})));
    assert_eq!(caller.events("ack", settle(json!({}))).await, Err(409));
    let lease = caller.events("lease", c()).await.unwrap()["leases"][0].clone();
    let ack = json!({"consumer": "c", "trigger": lease["trigger"]["id"], "token": lease["token"]});
    assert_eq!(caller.events("ack", ack.clone()).await, Ok(json!({"done": true})));
    assert_eq!(caller.events("ack", ack.clone()).await, Ok(json!({"done": true})), "the same again");
    let mut unknown = ack;
    unknown["trigger"] = json!("unknown");
    assert_eq!(caller.events("ack", unknown).await, Err(404));
    assert_eq!(caller.events("requeue", c()).await, Ok(json!({"count": 0})));
    assert_eq!(caller.events("purge", c()).await, Ok(json!({"count": 0})));

    assert_eq!(caller.events("remove", c()).await, Err(409));
    assert_eq!(caller.events("stop", c()).await.unwrap()["state"], json!("stopped"));
    assert_eq!(caller.events("record", c()).await, Err(409));
    assert_eq!(caller.events("start", c()).await.unwrap()["state"], json!("running"));
    assert_eq!(caller.events("reset", c()).await, Ok(json!({"count": 2})));
    caller.events("stop", c()).await.unwrap();
    assert_eq!(caller.events("remove", c()).await, Ok(json!({"count": 0})));
    assert_eq!(caller.events("info", c()).await, Err(404));
}

pub(crate) async fn endpoints_of_an_earlier_service(place: Place) {
    let caller = Caller::open(&place).await;
    let id = || json!({"id": "orders"});
    for name in ["count", "reset", "status"] {
        assert_eq!(caller.redis(name, id()).await, Err(404), "{name}");
        assert_eq!(caller.redis(name, json!({"id": ""})).await, Err(422), "{name}");
    }
    caller.events("define", json!({"consumer": "orders", "max_events": 10, "max_time_ms": 60_000})).await.unwrap();
    caller.events("record_many", json!({"consumer": "orders", "events": [{}, {}, {}]})).await.unwrap();
    assert_eq!(caller.redis("count", id()).await, Ok(json!({"consumer_id": "orders", "count": 3})));
    let status = caller.redis("status", id()).await.unwrap();
    assert_eq!((&status["count"], &status["events_left"], &status["state"]), (&json!(3), &json!(7), &json!("running")));
    assert!(status["time_left_ms"].as_u64().unwrap() <= 60_000);
    assert_eq!(caller.redis("reset", id()).await, Ok(json!({"consumer_id": "orders", "discarded": 3})));
    assert_eq!(caller.redis("count", id()).await, Ok(json!({"consumer_id": "orders", "count": 0})));
    let consumers = caller.redis("consumers", json!({})).await.unwrap();
    assert_eq!((&consumers["count"], &consumers["consumers"][0]["consumer"]), (&json!(1), &json!("orders")));
}

#[test]
fn endpoints_of_an_earlier_service_stand_where_they_did() {
    let rows = [
        ("count", "GET", "/redis/count/{id}"),
        ("reset", "POST", "/redis/reset/{id}"),
        ("status", "GET", "/redis/status/{id}"),
        ("consumers", "GET", "/redis/consumers"),
    ];
    for (name, method, path) in rows {
        let operation = find("redis", name);
        assert_eq!((operation.method.as_str(), operation.path), (method, path));
        assert!(matches!(operation.envelope, Envelope::Outcome { message } if !message.is_empty()));
    }
    assert_eq!(find("events", "record").path, "/events/{consumer}/record");
    assert_eq!(find("events", "record").envelope, Envelope::None);
}
