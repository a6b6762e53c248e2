//! Tests of the rows of limits, from a policy to what is left of it.

use serde_json::{Value as Json, json};

use crate::operations::run;
use crate::support::{Place, tenant};

pub(crate) async fn limits_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let with = |more: Json| {
        let mut input = json!({"tenant": tenant});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let call = async |name: &str, more: Json| run(&services, "limits", name, with(more)).await;
    let table = json!({
        "limits": {
            "day": {"per": ["user"], "limit": 3, "window_ms": 86_400_000},
            "tokens": {"per": ["user"], "unit": "tokens", "algorithm": "token_bucket", "limit": 100, "window_ms": 86_400_000}
        },
        "endpoints": [{"pattern": "**", "limits": ["day", "tokens"]}]
    });
    let wrong = call("define", json!({"policy": "api", "table": {"endpoints": []}})).await.unwrap_err();
    assert_eq!(wrong.status(), 422, "{wrong}");
    assert_eq!(call("define", json!({"policy": "api", "table": table})).await, Ok(json!({"version": 1})));
    assert_eq!(call("policy", json!({"policy": "api"})).await.unwrap()["table"]["limits"]["day"]["limit"], json!(3));
    let ask = |tokens: u64| json!({"policy": "api", "endpoint": "POST /x", "subject": {"user": "u"}, "cost": {"tokens": tokens}});
    let verdict = call("check", ask(10)).await.unwrap();
    assert_eq!(
        (&verdict["allowed"], &verdict["binding"], &verdict["remaining"]),
        (&json!(true), &json!("day"), &json!(2))
    );
    let reserved = call("reserve", ask(50)).await.unwrap();
    let id = reserved["reservation"].as_str().unwrap().to_owned();
    let settled = call("commit", json!({"id": id, "used": {"tokens": 20}})).await.unwrap();
    assert_eq!(settled["limits"][1]["charged"], json!(20));
    assert_eq!(call("refund", json!({"id": id})).await.unwrap_err().status(), 409);
    assert_eq!(call("peek", ask(1)).await.unwrap()["limits"][1]["remaining"], json!(70));
    assert_eq!(call("penalise", ask(5)).await.unwrap()["limits"][1]["remaining"], json!(65));
    assert_eq!(call("reward", ask(5)).await.unwrap()["limits"][1]["remaining"], json!(70));
    let scope = json!({"scope": "user:u", "limit": "day", "amount": 9, "ttl_ms": "never"});
    assert_eq!(call("set_custom", scope).await, Ok(json!({"done": true})));
    assert_eq!(call("peek", ask(1)).await.unwrap()["limits"][0]["limit"], json!(9));
    assert_eq!(call("remove_custom", json!({"scope": "user:u", "limit": "day"})).await, Ok(json!({"removed": true})));
    assert!(call("block", json!({"scope": "user:u", "ttl_ms": 3_600_000})).await.unwrap()["until_ms"].is_u64());
    assert_eq!(call("check", ask(1)).await.unwrap()["allowed"], json!(false));
    assert_eq!(call("unblock", json!({"scope": "user:u"})).await, Ok(json!({"removed": true})));
    assert_eq!(call("status", json!({"scope": "user:u"})).await.unwrap()["changes"].as_array().unwrap().len(), 4);
    assert_eq!(call("reset", ask(1)).await, Ok(json!({"count": 2})));
    let slot = json!({"scope": "user:u", "name": "jobs", "limit": 1});
    let taken = call("acquire", slot.clone()).await.unwrap();
    assert_eq!(call("acquire", slot).await.unwrap()["allowed"], json!(false));
    let held = json!({"scope": "user:u", "name": "jobs", "slot": taken["slot"]});
    assert_eq!(call("renew", held.clone()).await, Ok(json!({"held": true})));
    assert_eq!(call("release", held.clone()).await, Ok(json!({"held": true})));
    assert_eq!(call("release", held).await, Ok(json!({"held": false})));
    assert_eq!(call("remove_policy", json!({"policy": "api"})).await, Ok(json!({"done": true})));
    assert_eq!(call("check", ask(1)).await.unwrap_err().status(), 404);
    let history = call("policy_history", json!({"policy": "api"})).await.unwrap();
    assert_eq!(history["versions"][0]["version"], json!(1));
}
