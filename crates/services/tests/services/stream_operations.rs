//! The operations of streams, as HTTP and the command line call them.

use serde_json::{Value as Json, json};

use crate::support::{Place, tenant};

pub(crate) async fn streams_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let run = async |name: &'static str, more: Json| {
        let mut input = json!({"tenant": tenant, "stream": "orders"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        crate::operations::run(&services, "streams", name, input).await
    };
    let of_group = async |name: &'static str, more: Json| {
        let mut input = json!({"group": "billing"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run(name, input).await
    };
    let created = of_group("create_group", json!({"from": "0-0", "attempts_max": 1, "order": "per_key"})).await;
    assert_eq!(created, Ok(json!({"created": "new"})));
    assert_eq!(of_group("create_group", json!({})).await, Ok(json!({"created": "existing"})));
    let text = r#"{"total":1.10,"by":null,"wide":12345678901234567890123456789012345678901234567890}"#;
    let data: Json = serde_json::from_str(text).unwrap();
    let event = json!({"id": "e:1", "source": "/shop", "type": "order.paid", "partitionkey": "17", "data": data});
    let first = run("publish", event.clone()).await.unwrap();
    assert_eq!((&first["id"], &first["duplicate"]), (&json!("e:1"), &json!(false)));
    let again = run("publish", event).await.unwrap();
    assert_eq!((&again["entry"], &again["duplicate"]), (&first["entry"], &json!(true)));
    let bytes = json!({"id": "e:2", "source": "/shop", "type": "order.sent", "data_base64": "AP8=", "extensions": {"color": "red"}});
    let effects = json!([{"effect": "add", "name": "sent", "by": 1}]);
    let second =
        run("publish_many", json!({"events": [bytes], "effects": effects})).await.unwrap()["events"][0].clone();
    taking(&of_group, &first, text).await;
    dead_letters(&of_group).await;
    // Looking, by everything that there is.
    let read = run("read", json!({"from": second["entry"], "types": ["order.sent"]})).await.unwrap();
    assert_eq!((&read["entries"][0]["event"]["data_base64"], &read["next"]), (&json!("AP8="), &Json::Null));
    let replay = json!({"group": "again", "from_ms": 1, "types": ["order.paid"], "to": first["entry"]});
    assert_eq!(run("replay", replay.clone()).await, Ok(json!({"created": "new"})));
    assert_eq!(run("replay", replay).await.unwrap_err().status(), 409);
    let groups = run("groups", json!({})).await.unwrap();
    let told: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|one| (&one["group"], &one["lag"])).collect();
    assert_eq!(told, [(&json!("again"), &json!(1)), (&json!("billing"), &json!(0))]);
    assert_eq!(run("configure", json!({"length_max": 1, "full": "refuse"})).await, Ok(json!({"changed": true})));
    let refused = run("publish", json!({"source": "s", "type": "t"})).await.unwrap_err();
    assert_eq!(refused.status(), 409, "{refused}");
    assert_eq!(run("trim", json!({})).await, Ok(json!({"count": 0})));
    let info = run("info", json!({})).await.unwrap();
    assert_eq!((&info["length"], &info["groups"]), (&json!(3), &json!(["again", "billing"])));
    assert_eq!(run("delete_group", json!({"group": "again"})).await, Ok(json!({"pending": 0, "dead": 0})));
    assert_eq!(run("delete_group", json!({"group": "again"})).await.unwrap_err().status(), 404);
    for (name, bad) in [
        ("publish", json!({"source": "s", "type": "t", "data": 1, "data_base64": "AA=="})),
        ("publish", json!({"source": "s", "type": "t", "dta": 1})),
        ("publish", json!({"source": "s"})),
        ("create_group", json!({"group": "g", "from": "1-1", "from_ms": 1})),
        ("create_group", json!({"group": "g", "from": "$"})),
        ("create_group", json!({"group": "g", "attempts_max": 0})),
        ("settle", json!({"group": "g", "outcomes": []})),
        ("take", json!({"group": "billing", "consumer": ""})),
        ("take", json!({"group": "billing", "consumer": "c", "count": 0})),
        ("take", json!({"group": "billing", "consumer": "c", "lease_ms": 1})),
        ("redrive", json!({"group": "billing", "data": 1})),
        ("configure", json!({"length_max": 0})),
    ] {
        assert_eq!(run(name, bad.clone()).await.unwrap_err().status(), 422, "{name} {bad}");
    }
}

async fn taking(
    of_group: &impl AsyncFn(&'static str, Json) -> Result<Json, redpoll_services::Error>,
    first: &Json,
    text: &str,
) {
    let taken = of_group("take", json!({"consumer": "c", "count": 5})).await.unwrap();
    let [paid, sent] = taken["entries"].as_array().unwrap().as_slice() else { panic!("two of them: {taken}") };
    assert_eq!((&paid["entry"], &paid["sequence"], &paid["attempt"]), (&first["entry"], &json!(1), &json!(1)));
    assert_eq!(paid["event"]["data"].to_string(), text);
    assert_eq!(
        (&paid["event"]["specversion"], &paid["event"]["datacontenttype"]),
        (&json!("1.0"), &json!("application/json"))
    );
    assert_eq!(
        (&sent["event"]["data_base64"], &sent["event"]["extensions"]),
        (&json!("AP8="), &json!({"color": "red"}))
    );
    let ticket = |taken: &Json| json!({"entry": taken["entry"], "token": taken["token"]});
    let stale = json!({"entry": sent["entry"], "token": 1});
    let renewed = of_group("renew", json!({"tickets": [ticket(paid), stale]})).await;
    assert_eq!(renewed, Ok(json!({"renewed": [true, false]})));
    let outcome = |taken: &Json, more: Json| {
        let mut outcome = ticket(taken);
        outcome.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        outcome
    };
    let outcomes = [
        outcome(paid, json!({"outcome": "failed", "cause": "no such account"})),
        outcome(sent, json!({"outcome": "done"})),
        outcome(sent, json!({"outcome": "done"})),
    ];
    assert_eq!(
        of_group("settle", json!({"outcomes": outcomes})).await,
        Ok(json!({"settled": ["dead", "done", "lost"]}))
    );
    let status = of_group("group", json!({})).await.unwrap();
    assert_eq!(
        (&status["dead"], &status["acknowledged_total"], &status["is_complete"]),
        (&json!(1), &json!(1), &json!(false))
    );
    assert_eq!(of_group("delete_group", json!({})).await.unwrap_err().status(), 409);
}

async fn dead_letters(of_group: &impl AsyncFn(&'static str, Json) -> Result<Json, redpoll_services::Error>) {
    let dead = of_group("dead", json!({})).await.unwrap();
    let letter = &dead["letters"][0];
    assert_eq!(
        (&letter["reason"], &letter["cause"], &letter["failures"]),
        (&json!("failed"), &json!("no such account"), &json!(1))
    );
    assert_eq!(letter["event"]["partitionkey"], json!("17"));
    let behind = of_group("dead", json!({"behind": letter["id"]})).await;
    assert_eq!(behind, Ok(json!({"letters": []})));
    assert_eq!(of_group("redrive", json!({"ids": [letter["id"]], "data": [2]})).await, Ok(json!({"count": 1})));
    let taken = of_group("take", json!({"consumer": "c"})).await.unwrap();
    let entry = &taken["entries"][0];
    assert_eq!((&entry["event"]["data"], &entry["event"]["id"]), (&json!([2]), &json!("e:1")));
    let poison = json!({"entry": entry["entry"], "token": entry["token"], "outcome": "poison", "cause": "what?"});
    assert_eq!(of_group("settle", json!({"outcomes": [poison]})).await, Ok(json!({"settled": ["dead"]})));
    assert_eq!(of_group("purge", json!({})).await, Ok(json!({"count": 1})));
    assert_eq!(of_group("purge", json!({})).await, Ok(json!({"count": 0})));
}
