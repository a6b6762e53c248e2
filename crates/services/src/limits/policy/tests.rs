//! What is refused in a table and in a request, and which limits hold.

use serde_json::{Value as Json, json};

use super::*;

fn good() -> Json {
    json!({
        "tiers": ["free", "pro"], "default_tier": "free", "bypass_roles": ["admin"],
        "limits": {
            "minute": {"per": ["user"], "limit": {"free": 10, "pro": "unlimited"}, "window_ms": 60_000},
            "tokens": {"per": ["org", "user"], "unit": "tokens", "algorithm": "token_bucket", "optional": true,
                       "limit": 1000, "burst": {"free": 100, "pro": 500}, "window_ms": 60_000, "debt": 50},
            "all": {"limit": 1000, "window_ms": 1000, "mode": "shadow"},
            "each": {"per": ["user", "endpoint"], "limit": 5, "window_ms": 1000}
        },
        "endpoints": [
            {"pattern": "POST /agents/*", "limits": ["minute", "tokens", "all", "each"], "outage": "closed"},
            {"pattern": "**", "limits": ["minute"]}
        ]
    })
}

#[test]
fn wrong_tables_are_refused_with_their_place() {
    let check = |change: &dyn Fn(&mut Json), expect: &str| {
        let mut table = good();
        change(&mut table);
        let error = Policy::from_value(table).unwrap_err().to_string();
        assert!(error.starts_with("policy: ") && error.contains(expect), "{error:?} is not about {expect:?}");
    };
    check(&|table| table["limtis"] = json!({}), "unknown field `limtis`");
    check(&|table| table["limits"]["minute"]["limit"] = json!("ten"), "limits.minute.limit: must be a number");
    check(&|table| table["limits"]["minute"]["window_ms"] = json!(-1), "limits.minute.window_ms: invalid");
    check(&|table| table["limits"]["minute"]["window_ms"] = json!(0), "limits.minute: tier \"free\": window_ms");
    check(&|table| table["limits"]["minute"]["limit"] = json!(0), "limits.minute: tier \"free\": limit");
    check(
        &|table| table["limits"]["minute"]["limit"] = json!({"free": 1}),
        "limits.minute.limit: lacks the tier \"pro\"",
    );
    check(&|table| table["limits"]["minute"]["limit"]["gold"] = json!(1), "\"gold\" is no tier");
    check(&|table| table["limits"]["minute"]["burst"] = json!(5), "only a token bucket");
    check(
        &|table| table["limits"]["minute"]["per"] = json!(["user", "user"]),
        "limits.minute.per: \"user\" is there twice",
    );
    check(&|table| table["limits"]["minute"]["per"] = json!(["endpoint"]), "endpoint is no scope");
    check(&|table| table["limits"]["minute"]["per"] = json!(["a b"]), "is no kind");
    check(&|table| table["limits"]["tokens"]["burst"] = json!("unlimited"), "limits.tokens.burst: cannot be unlimited");
    check(&|table| table["limits"]["tokens"]["debt"] = json!(1_u64 << 50), "limits.tokens: tier \"free\": debt");
    check(
        &|table| {
            table["limits"]["minute"]["escalation"] = json!({"refusals": 3, "within_ms": 1000, "blocks_ms": []});
        },
        "blocks: must be",
    );
    check(&|table| table["default_tier"] = json!("gold"), "default_tier: \"gold\" is no tier");
    check(&|table| table["default_tier"] = Json::Null, "default_tier: is needed");
    check(&|table| table["tiers"] = json!(["free", "free"]), "tiers: \"free\" is empty or there twice");
    check(
        &|table| table["endpoints"][0]["limits"] = json!(["hour"]),
        "endpoints[0].limits: there is no limit \"hour\"",
    );
    check(&|table| table["endpoints"][0]["limits"] = json!(["all", "all"]), "\"all\" is there twice");
    check(&|table| table["endpoints"][0]["pattern"] = json!("agents"), "endpoints[0]: pattern");
    check(&|table| table["endpoints"][0]["pattern"] = json!("**"), "endpoints[1]: is never reached");
    check(&|table| table["endpoints"][1]["pattern"] = json!("GET /**"), "the last row must fit everything");
    check(&|table| table["endpoints"] = json!([]), "the last row must fit everything");
    assert!(Policy::from_json("{").is_err());
    assert!(Policy::from_toml("tiers = 1").unwrap_err().to_string().contains("tiers: "));
}

#[test]
fn a_table_survives_being_written() {
    let policy = Policy::from_value(good()).unwrap();
    let text = serde_json::to_string(policy.table()).unwrap();
    assert_eq!(Policy::from_json(&text).unwrap().table(), policy.table());
    let text = toml::to_string(policy.table()).unwrap();
    assert_eq!(Policy::from_toml(&text).unwrap().table(), policy.table());
}

#[test]
fn the_first_row_that_fits_and_the_tier_decide() {
    let policy = Policy::from_value(good()).unwrap();
    let request = Request::new("POST /agents/run").about("user", "u").about("org", "o").costing("tokens", 70);
    let names = |request: &Request| policy.plan(request).map(|plan| plan.describe());
    assert_eq!(
        names(&request).unwrap(),
        ["user:u minute 1", "org:o tokens/u 70", "global all 1", "user:u each/POST /agents/* 1"]
    );
    assert_eq!(policy.plan(&request).unwrap().outage(), OutagePolicy::Closed);
    // What costs nothing of a unit is not asked; who is unlimited is only looked up among the blocked.
    let pro = Request::new("POST /agents/run").about("user", "u").about("org", "o").in_tier("pro");
    assert_eq!(names(&pro).unwrap(), ["global all 1", "user:u each/POST /agents/* 1"]);
    assert_eq!(names(&Request::new("GET /agents/run").about("user", "u")).unwrap(), ["user:u minute 1"]);
    assert_eq!(policy.plan(&Request::new("GET /x").about("user", "u")).unwrap().outage(), OutagePolicy::Open);
    // An optional subject may be absent, another may not.
    let alone = Request::new("POST /agents/run").about("user", "u").costing("tokens", 70);
    assert_eq!(names(&alone).unwrap().len(), 3);
    let error = names(&Request::new("GET /x")).unwrap_err().to_string();
    assert!(error.contains("says no \"user\""), "{error}");
    let error = names(&Request::new("GET /x").about("user", "u").in_tier("gold")).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "tier", .. }), "{error}");
    assert!(policy.plan(&Request::new("GET /x").with_role("admin")).unwrap().is_bypass());
}
