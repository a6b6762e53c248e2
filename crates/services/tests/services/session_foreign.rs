//! Tests of sessions of other libraries, and of the rows of sessions.

use redpoll_services::sessions::{Foreign, Layout, NewSession, Sessions};
use redpoll_services::{Command, Error, Services, Ttl};
use serde_json::{Map, Value as Json, json};
use tokio::task::JoinSet;

use crate::operations::{find, run};
use crate::sessions::{found, open};
use crate::support::{Place, tenant};

const LAYOUTS: [Layout; 2] = [Layout::FlaskSession, Layout::ConnectRedis];

fn data(json: Json) -> Map<String, Json> {
    json.as_object().unwrap().clone()
}

fn open_foreign(sessions: &Sessions, layout: Layout) -> Foreign {
    sessions.foreign(layout, None).unwrap()
}

async fn write(services: &Services, key: &str, value: &[u8]) {
    let command = Command::new("SET").key(key).arg(value).arg("EX").arg(100_u64);
    services.backend().call(command).await.unwrap();
}

/// Sids come from cookies. With a prefix that is empty, or with which ours begins, they could name any key.
pub(crate) async fn no_sid_leads_to_our_own_keys(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let hour = Ttl::seconds(3600).unwrap();
    let keys = services.backend().clone();
    let denied = format!("rp:kept:{{{}:tokens:jti:a}}:d", tenant.name());
    keys.call(Command::new("SET").key(&denied).arg("1").arg("EX").arg(60_u64)).await.unwrap();
    for (prefix, cut) in [("", 0), ("r", 1)] {
        for layout in LAYOUTS {
            let foreign = sessions.foreign(layout, Some(prefix)).unwrap();
            for key in [format!("rp:{{{}:cache:users:07}}:v:42", tenant.name()), denied.clone()] {
                let sid = &key[cut..];
                let refused = |result: redpoll_services::Result<()>| {
                    assert!(matches!(result, Err(Error::InvalidInput { field: "sid", .. })), "{key}: {result:?}");
                };
                refused(foreign.load(sid).await.map(drop));
                refused(foreign.save(sid, &data(json!({"n": 1})), hour).await);
                refused(foreign.destroy(sid).await.map(drop));
                refused(foreign.import(sid, &NewSession::anonymous()).await.map(drop));
            }
            assert!(foreign.load("another's").await.unwrap().is_none());
        }
    }
    assert_eq!(keys.call(Command::new("GET").key(&denied)).await.unwrap().as_str(), Some("1"));
}

pub(crate) async fn sessions_of_other_libraries(place: Place) {
    let (services, _, sessions) = open(&place).await;
    for layout in LAYOUTS {
        let foreign = open_foreign(&sessions, layout);
        let hour = Ttl::seconds(3600).unwrap();
        let sid = foreign.create(&data(json!({"_permanent": true, "n": 1})), hour).await.unwrap();
        assert_eq!(sid.len(), 43);
        let mut loaded = foreign.load(&sid).await.unwrap().unwrap();
        assert_eq!((&loaded["n"], loaded.contains_key("cookie")), (&json!(1), layout == Layout::ConnectRedis));
        loaded.insert("n".to_owned(), json!(2));
        foreign.save(&sid, &loaded, hour).await.unwrap();
        assert_eq!(foreign.load(&sid).await.unwrap().unwrap()["n"], json!(2));
        let key = format!("{}{sid}", layout.default_prefix());
        let pttl = services.backend().call(Command::new("PTTL").key(&key)).await.unwrap().as_i64().unwrap();
        assert!((3_590_000..=3_600_000).contains(&pttl), "{layout:?} {pttl}");
        assert_eq!(foreign.destroy(&sid).await, Ok(true));
        assert_eq!((foreign.load(&sid).await, foreign.destroy(&sid).await), (Ok(None), Ok(false)));
        // A save that comes late brings nothing back.
        assert!(matches!(foreign.save(&sid, &loaded, hour).await, Err(Error::NotFound(_))));
        assert_eq!(foreign.load(&sid).await, Ok(None));
        write(&services, &key, b"\xc1").await;
        assert!(matches!(foreign.load(&sid).await, Err(Error::Backend(_))));
    }
    assert!(matches!(sessions.foreign(Layout::FlaskSession, Some("rp:x")), Err(Error::InvalidInput { .. })));
    assert!(open_foreign(&sessions, Layout::FlaskSession).load("").await.is_err());
}

pub(crate) async fn imports_take_a_session_over_once(place: Place) {
    let (services, _, sessions) = open(&place).await;
    for layout in LAYOUTS {
        let foreign = open_foreign(&sessions, layout);
        let sid = uuid::Uuid::new_v4().to_string();
        let (key, value): (_, &[u8]) = match layout {
            Layout::FlaskSession => (format!("session:{sid}"), b"\x82\xa1a\x01\xa1b\x92\x01\xc3"),
            Layout::ConnectRedis => (format!("sess:{sid}"), br#"{"cookie":{"path":"/"},"a":1,"b":[1,true]}"#),
        };
        write(&services, &key, value).await;
        let new = NewSession::of("ann").with("a", json!("given"));
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let (foreign, sid, new) = (foreign.clone(), sid.clone(), new.clone());
            tasks.spawn(async move { foreign.import(&sid, &new).await });
        }
        let results = tasks.join_all().await;
        let mut imported = results.iter().flatten();
        let session = found(&sessions, &imported.next().expect("one was imported").id).await;
        assert!(imported.next().is_none(), "and no second");
        let names: Vec<&String> = session.fields.keys().collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(session.value::<String>("a").unwrap().as_deref(), Some("given"));
        assert_eq!(session.value::<Json>("b").unwrap(), Some(json!([1, true])));
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::NotFound(_)))));
        assert_eq!(sessions.revoke_user("ann", None).await, Ok(1), "the others left nothing behind");
        assert_eq!(foreign.load(&sid).await, Ok(None));
    }
}

/// Calls operations of sessions.
struct Caller {
    services: Services,
    tenant: String,
}

impl Caller {
    /// Gives the result, or the status of the error.
    async fn call(&self, name: &str, mut input: Json) -> Result<Json, u16> {
        input["tenant"] = json!(self.tenant);
        let operation = find("sessions", name);
        run(&self.services, "sessions", name, input).await.map_err(|error| {
            assert!(operation.statuses.contains(&error.status()), "{operation:?} does not list {error:?}");
            error.status()
        })
    }
}

pub(crate) async fn sessions_round_trip(place: Place) {
    let caller = Caller { services: place.services().await, tenant: tenant().name().to_owned() };
    let visit = caller.call("create", json!({"fields": {"cart": [1]}})).await.unwrap();
    let login =
        json!({"id": visit["id"], "user": "ann", "workspace": "w", "ip": "10.0.0.1", "agent": "curl", "binding": "ip"});
    let created = caller.call("login", login.clone()).await.unwrap();
    assert_eq!((created["evicted"].clone(), caller.call("login", login).await), (json!(0), Err(404)));
    let id = || json!({"id": created["id"]});
    let with = |more: Json| {
        let mut input = id();
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let loaded = caller.call("load", with(json!({"ip": "10.0.0.1"}))).await.unwrap();
    assert_eq!((&loaded["outcome"], &loaded["session"]["user"]), (&json!("found"), &json!("ann")));
    assert_eq!(loaded["session"]["fields"], json!({"cart": {"value": [1], "version": 1}}));
    assert_eq!(caller.call("load", id()).await, Ok(json!({"outcome": "mismatch", "differs": "ip"})));
    assert_eq!(caller.call("load", json!({"id": "nobody's"})).await, Ok(json!({"outcome": "missing"})));
    assert_eq!(caller.call("load", with(json!({"ip": "here"}))).await, Err(422));

    let update = with(json!({"set": {"a": null}, "remove": ["cart"], "version": 1, "field_versions": {"a": 0}}));
    assert_eq!(caller.call("update", update.clone()).await, Ok(json!({"version": 2})));
    assert_eq!(caller.call("update", update).await, Err(409));
    assert_eq!(caller.call("update", with(json!({"set": {"a": 1}, "field_versions": {"b": 0}}))).await, Err(422));
    assert_eq!(caller.call("update", with(json!({"set": {"a": "x".repeat(1 << 20)}}))).await, Err(413));
    assert_eq!(caller.call("update", json!({"id": "nobody's", "set": {"a": 1}})).await, Err(404));
    assert_eq!(caller.call("append", with(json!({"message": null}))).await, Ok(json!({"length": 1})));
    assert_eq!(caller.call("append", with(json!({"messages": [1, 2], "keep": 2}))).await, Ok(json!({"length": 2})));
    assert_eq!(caller.call("append", id()).await, Err(422));
    assert_eq!(caller.call("messages", id()).await, Ok(json!({"messages": [1, 2]})));
    let touched = caller.call("touch", with(json!({"interval_ms": 3_600_000}))).await.unwrap();
    assert_eq!((&touched["moved"], &touched["expires_ms"]), (&json!(false), &created["expires_ms"]));
    assert_eq!(caller.call("extend", with(json!({"lifetime_ms": 0}))).await, Err(422));
    assert!(caller.call("extend", with(json!({"lifetime_ms": 1_800_000}))).await.is_ok());
    assert_eq!(caller.call("rotate", with(json!({"grace_ms": 300_001}))).await, Err(422));
    let rotated = caller.call("rotate", id()).await.unwrap();
    assert_eq!(caller.call("rotate", id()).await.unwrap(), rotated);

    let listed = caller.call("list_user", json!({"user": "ann"})).await.unwrap();
    assert_eq!((&listed["sessions"][0]["handle"], listed["sessions"][0].get("fields")), (&created["handle"], None));
    assert_eq!(caller.call("count_user", json!({"user": "ann"})).await, Ok(json!({"count": 1})));
    let page = caller.call("list_workspace", json!({"workspace": "w"})).await.unwrap();
    assert_eq!(page["sessions"].as_array().unwrap().len(), 1);
    let next = json!({"workspace": "w", "after": page["next"]});
    assert_eq!(caller.call("list_workspace", next).await, Ok(json!({"sessions": [], "next": null})));
    assert_eq!(caller.call("count_workspace", json!({"workspace": "w"})).await, Ok(json!({"count": 1})));
    assert_eq!(caller.call("revoke", json!({"handle": "nobody's"})).await, Err(404));
    assert_eq!(caller.call("revoke", json!({"handle": created["handle"]})).await, Ok(json!({"destroyed": true})));
    assert_eq!(caller.call("destroy", id()).await, Ok(json!({"destroyed": false})));
    assert_eq!(caller.call("revoke_user", json!({"user": "ann"})).await, Ok(json!({"count": 0})));
    assert_eq!(caller.call("revoke_workspace", json!({"workspace": "w"})).await, Ok(json!({"count": 0})));
    assert_eq!(caller.call("create", json!({"id": "chosen"})).await, Err(422), "there is no way to choose an id");
}
