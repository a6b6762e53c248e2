//! Tests of sessions: what they hold, how long they live, who may have them.

use std::collections::HashSet;
use std::time::Duration;

use redpoll_services::kept::OnEviction;
use redpoll_services::metrics::Counter;
use redpoll_services::sessions::{
    Binding, Layout, Lookup, MAX_FIELDS, MAX_GRACE, MAX_SESSIONS_PER_USER, Mismatch, NewSession, Origin, Session,
    SessionId, Sessions, ShortId, Update,
};
use redpoll_services::{Command, Error, Services, Settings, Tenant, Ttl};
use redpoll_testkit::RedisServer;
use serde_json::json;

use crate::support::{Place, eventually, tenant};

pub(crate) async fn open(place: &Place) -> (Services, Tenant, Sessions) {
    open_with(place, |_| {}).await
}

pub(crate) async fn open_with(place: &Place, choose: impl Fn(&mut Settings)) -> (Services, Tenant, Sessions) {
    let mut settings = Settings::default();
    choose(&mut settings);
    let (services, tenant) = (place.services_with(settings).await, tenant());
    let sessions = services.sessions(&tenant);
    (services, tenant, sessions)
}

/// Loads a session that must be there.
pub(crate) async fn found(sessions: &Sessions, id: &SessionId) -> Session {
    match sessions.load(id, &Origin::default()).await.unwrap() {
        Lookup::Found(session) => *session,
        other => panic!("expected a session: {other:?}"),
    }
}

pub(crate) async fn is_missing(sessions: &Sessions, id: &SessionId) -> bool {
    sessions.load(id, &Origin::default()).await.unwrap() == Lookup::Missing
}

pub(crate) fn lasting(idle_ms: i64, absolute_ms: i64) -> NewSession {
    NewSession {
        idle: Some(Ttl::ms(idle_ms).unwrap()),
        absolute: Some(Ttl::ms(absolute_ms).unwrap()),
        ..NewSession::of("ann")
    }
}

pub(crate) fn not_found<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotFound(_)))
}

/// All keys of a tenant, of all nodes.
pub(crate) async fn keys_of(services: &Services, tenant: &Tenant) -> Vec<String> {
    let mut found = HashSet::new();
    let lists = (0..16).map(|part| format!("rp:kept:{{{}:sessions:{part:02}}}:", tenant.name()));
    for prefix in lists {
        // KEYS of a pattern with a hash tag is answered by the node that has it.
        let command = Command::new("KEYS").key(format!("{prefix}*"));
        let reply = services.backend().call(command).await.unwrap().into_array().unwrap();
        found.extend(reply.iter().map(|key| key.as_str().unwrap().to_owned()));
    }
    found.into_iter().collect()
}

pub(crate) async fn number(services: &Services, name: &'static str, key: &str) -> i64 {
    services.backend().call(Command::new(name).key(key)).await.unwrap().as_i64().unwrap()
}

/// Names the key of a session's hash.
pub(crate) async fn key_of(services: &Services, tenant: &Tenant, kind: &str) -> String {
    let keys = keys_of(services, tenant).await;
    keys.into_iter().find(|key| key.contains(&format!("}}:{kind}"))).expect("a key of this kind")
}

pub(crate) async fn a_created_session_is_loaded(place: Place) {
    let (services, _, sessions) = open(&place).await;
    let before = services.backend().now_ms().await.unwrap();
    let new = NewSession {
        workspace: Some("a:b{c}".to_owned()),
        ip: Some("2001:db8::1".parse().unwrap()),
        agent: Some("Mozilla/5.0 (é)".to_owned()),
        ..NewSession::of("ann:%3A")
    };
    let new = new.with("settings", json!({"theme": "dark"})).with("null", json!(null)).with("n:1", json!(1.10));
    let created = sessions.create(&new).await.unwrap();
    let session = found(&sessions, &created.id).await;
    assert_eq!((session.user.as_deref(), session.workspace.as_deref()), (Some("ann:%3A"), Some("a:b{c}")));
    assert_eq!((session.ip, &session.agent), (new.ip, &new.agent));
    assert_eq!((session.handle, session.created_ms), (created.id.handle(), created.created_ms));
    assert_eq!((session.last_seen_ms, session.version), (session.created_ms, 1));
    assert!((before..before + 60_000).contains(&session.created_ms));
    assert_eq!((session.expires_ms, session.idle_ms), (session.created_ms + 86_400_000, 86_400_000));
    assert_eq!(session.absolute_ms, Some(session.created_ms + 30 * 86_400_000));
    assert_eq!(session.value::<serde_json::Value>("settings").unwrap(), Some(json!({"theme": "dark"})));
    assert_eq!(session.value::<Option<u8>>("null").unwrap(), Some(None));
    assert_eq!((session.value::<f64>("n:1").unwrap(), session.value::<u8>("other").unwrap()), (Some(1.1), None));
    assert_eq!((session.version_of("settings"), session.version_of("other")), (1, 0));

    let nobodys = sessions.create(&NewSession::anonymous()).await.unwrap();
    let session = found(&sessions, &nobodys.id).await;
    assert_eq!((session.user, session.workspace, session.ip, session.agent), (None, None, None, None));
    assert!(session.fields.is_empty());
}

pub(crate) async fn an_id_that_was_not_given_out_is_nobodys(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let id = sessions.create(&NewSession::of("ann")).await.unwrap().id;
    let keys = keys_of(&services, &tenant).await.len();
    let text = id.to_string();
    for position in [0, 3, 21, 22, 30, 43] {
        // Another letter of the alphabet in one place: another partition, ref, or secret.
        let other = if &text[position..=position] == "B" { "C" } else { "B" };
        let forged = format!("{}{other}{}", &text[..position], &text[position + 1..]);
        let Ok(forged) = forged.parse::<SessionId>() else { continue };
        assert!(forged != id && is_missing(&sessions, &forged).await, "{position}");
        assert!(not_found(sessions.update(&forged, &Update::new().set("a", 1)).await));
        assert!(not_found(sessions.append(&forged, &[json!(1)], None).await));
        assert!(not_found(sessions.messages(&forged).await));
        assert!(not_found(sessions.touch(&forged, None).await));
        assert!(not_found(sessions.extend(&forged, Ttl::ms(1000).unwrap()).await));
        assert!(not_found(sessions.rotate(&forged, None).await));
        assert!(not_found(sessions.login(&forged, &NewSession::of("eve")).await));
        assert_eq!(sessions.destroy(&forged).await, Ok(false));
    }
    assert_eq!(keys_of(&services, &tenant).await.len(), keys, "nothing came to be");
    assert_eq!(found(&sessions, &id).await.version, 1);
}

pub(crate) async fn the_store_keeps_no_secret(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let first = sessions.create(&NewSession { workspace: Some("w".into()), ..NewSession::of("ann") }).await.unwrap().id;
    let second = sessions.rotate(&first, None).await.unwrap();
    let mut kept = keys_of(&services, &tenant).await.concat();
    for key in keys_of(&services, &tenant).await {
        let dump = services.backend().call(Command::new("DUMP").key(&key)).await.unwrap().into_bytes().unwrap();
        kept.push_str(&String::from_utf8_lossy(&dump));
    }
    assert!(kept.contains("}:s:") && kept.contains("}:g:"), "{kept:?}");
    for id in [first, second] {
        // The last 16 letters are of the secret alone.
        assert!(!kept.contains(&id.to_string()[28..]), "{id:?}");
    }
}

pub(crate) async fn updates_change_what_they_name(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let id = sessions.create(&NewSession::of("ann").with("a", json!(1)).with("b", json!(2))).await.unwrap().id;
    let end = number(&services, "PEXPIRETIME", &key_of(&services, &tenant, "s:").await).await;
    let version = sessions.update(&id, &Update::new().set("b", 3).set("c", json!([1])).remove("nothing")).await;
    assert_eq!(version, Ok(2));
    let session = found(&sessions, &id).await;
    let versions: Vec<(&str, u64, &str)> =
        session.fields.iter().map(|(name, field)| (name.as_str(), field.version, field.json.as_str())).collect();
    assert_eq!(versions, [("a", 1, "1"), ("b", 2, "3"), ("c", 2, "[1]")]);
    assert_eq!(sessions.update(&id, &Update::new().remove("a")).await, Ok(3));
    assert!(!found(&sessions, &id).await.fields.contains_key("a"));
    assert_eq!(number(&services, "PEXPIRETIME", &key_of(&services, &tenant, "s:").await).await, end);
    assert!(matches!(sessions.update(&id, &Update::new()).await, Err(Error::InvalidInput { .. })));

    let kept = Update { lifetime: Some(Ttl::seconds(5).unwrap()), ..Update::new().set("a", 1) };
    assert_eq!(sessions.update(&id, &kept).await, Ok(4));
    assert!(number(&services, "PTTL", &key_of(&services, &tenant, "s:").await).await <= 5000);
}

pub(crate) async fn compare_and_set_by_version(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let id = sessions.create(&NewSession::of("ann").with("a", json!(1))).await.unwrap().id;
    assert_eq!(sessions.update(&id, &Update::new().set("a", 2).if_version(1)).await, Ok(2));
    let conflict = |result| matches!(result, Err(Error::Conflict(_)));
    assert!(conflict(sessions.update(&id, &Update::new().set("a", 3).if_version(1)).await));
    // Another field changes: the session's version does, the field's does not.
    assert_eq!(sessions.update(&id, &Update::new().set("b", 1)).await, Ok(3));
    assert_eq!(sessions.update(&id, &Update::new().set_if("a", 4, 2)).await, Ok(4));
    let all_or_nothing = Update::new().set("b", 9).set_if("a", 9, 2).set("c", 9);
    let refused = sessions.update(&id, &all_or_nothing).await;
    assert_eq!(refused, Err(Error::Conflict("field \"a\" is at version 4".to_owned())));
    let session = found(&sessions, &id).await;
    assert_eq!((session.value::<u8>("a").unwrap(), session.value::<u8>("b").unwrap()), (Some(4), Some(1)));
    assert!(!session.fields.contains_key("c") && session.version == 4);
    // 0 is the version of a field that is not there.
    assert_eq!(sessions.update(&id, &Update::new().set_if("once", 1, 0)).await, Ok(5));
    assert!(conflict(sessions.update(&id, &Update::new().set_if("once", 2, 0)).await));
    // Removed and set again is another version, so there is no A-B-A.
    sessions.update(&id, &Update::new().remove("once")).await.unwrap();
    sessions.update(&id, &Update::new().set("once", 1)).await.unwrap();
    assert!(conflict(sessions.update(&id, &Update::new().set_if("once", 3, 5)).await));
}

pub(crate) async fn sizes_are_bounded(place: Place) {
    let (_, _, sessions) = open_with(&place, |settings| settings.sessions.bytes_max = 100).await;
    let id = sessions.create(&NewSession::of("ann").with("a", json!("x".repeat(60)))).await.unwrap().id;
    let too_large = sessions.update(&id, &Update::new().set("b", "x".repeat(40))).await;
    assert_eq!(too_large, Err(Error::TooLarge { size_bytes: 106, max_bytes: 100 }));
    // What is replaced or removed makes room in the same step.
    let swap = Update::new().remove("a").set("b", "x".repeat(90));
    assert_eq!(sessions.update(&id, &swap).await, Ok(2));
    assert_eq!(sessions.update(&id, &Update::new().set("b", "x".repeat(97))).await, Ok(3));
    assert!(sessions.update(&id, &Update::new().set("b", "x".repeat(98))).await.is_err());
    assert!(matches!(sessions.append(&id, &[json!("x".repeat(99))], None).await, Err(Error::TooLarge { .. })));
    for messages in [vec![], vec![json!(1); 1001]] {
        assert!(matches!(sessions.append(&id, &messages, None).await, Err(Error::InvalidInput { .. })));
    }
    assert!(sessions.append(&id, &[json!(1)], Some(0)).await.is_err());
}

pub(crate) async fn fields_are_counted(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let full = (0..MAX_FIELDS - 1).fold(NewSession::of("ann"), |new, index| new.with(format!("{index}"), json!(1)));
    let full = NewSession { ip: Some("127.0.0.1".parse().unwrap()), workspace: Some("w".into()), ..full };
    let id = sessions.create(&full).await.unwrap().id;
    assert_eq!(sessions.update(&id, &Update::new().set("one", 1)).await, Ok(2));
    assert!(sessions.update(&id, &Update::new().set("two", 1)).await.is_err());
    assert_eq!(sessions.update(&id, &Update::new().set("two", 1).remove("one").set("0", 2)).await, Ok(3));
    assert_eq!(found(&sessions, &id).await.fields.len(), MAX_FIELDS);
}

pub(crate) async fn the_last_messages_are_kept(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let id = sessions.create(&NewSession::of("ann")).await.unwrap().id;
    assert_eq!(sessions.messages(&id).await, Ok(vec![]));
    for number in 0..25 {
        let length = sessions.append(&id, &[json!({"n": number, "text": "a\nb"})], None).await;
        assert_eq!(length, Ok((number + 1).min(20)));
    }
    let messages = sessions.messages(&id).await.unwrap();
    assert_eq!((messages.len(), &messages[0]["n"], &messages[19]["n"]), (20, &json!(5), &json!(24)));
    assert_eq!(sessions.append(&id, &[json!(1), json!(null), json!(3)], Some(2)).await, Ok(2));
    assert_eq!(sessions.messages(&id).await, Ok(vec![json!(null), json!(3)]));
    // They end with the session, whatever moves its end.
    sessions.extend(&id, Ttl::seconds(50).unwrap()).await.unwrap();
    let ends = [key_of(&services, &tenant, "s:").await, key_of(&services, &tenant, "m:").await];
    assert_eq!(number(&services, "PEXPIRETIME", &ends[0]).await, number(&services, "PEXPIRETIME", &ends[1]).await);
    assert_eq!(found(&sessions, &id).await.version, 27, "an append is a change");
}

pub(crate) async fn nothing_comes_back_after_the_logout(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let new = NewSession { workspace: Some("w".into()), ..NewSession::of("ann") };
    let id = sessions.create(&new).await.unwrap().id;
    let replaced = id.clone();
    let id = sessions.rotate(&id, None).await.unwrap();
    sessions.append(&id, &[json!(1)], None).await.unwrap();
    assert_eq!(sessions.destroy(&id).await, Ok(true));
    for id in [&id, &replaced] {
        assert!(is_missing(&sessions, id).await);
        assert!(not_found(sessions.update(id, &Update::new().set("a", 1)).await));
        assert!(not_found(sessions.append(id, &[json!(1)], None).await));
        assert!(not_found(sessions.messages(id).await));
        assert!(not_found(sessions.touch(id, Some(Duration::ZERO)).await));
        assert!(not_found(sessions.extend(id, Ttl::ms(1000).unwrap()).await));
        assert!(not_found(sessions.rotate(id, None).await));
        assert!(not_found(sessions.login(id, &NewSession::of("ann")).await));
        assert_eq!(sessions.destroy(id).await, Ok(false));
        assert_eq!(sessions.revoke(id.handle()).await, Ok(false));
    }
    let keys = keys_of(&services, &tenant).await;
    assert!(keys.iter().all(|key| key.contains("}:g:")), "only the grace of the replaced id is left: {keys:?}");
    assert_eq!(services.metrics().value(Counter::SessionsEnded), 1);
}

pub(crate) async fn a_replaced_id_is_accepted_for_the_grace(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let first = sessions.create(&NewSession::of("ann").with("a", json!(1))).await.unwrap().id;
    let second = sessions.rotate(&first, Some(Duration::from_millis(300))).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(first.handle(), second.handle(), "it is the same session");
    // A request under way with the old id reads and writes the session of the new one.
    assert_eq!(sessions.update(&first, &Update::new().set("b", 2)).await, Ok(2));
    assert_eq!(found(&sessions, &second).await.value::<u8>("b").unwrap(), Some(2));
    assert_eq!(found(&sessions, &first).await, found(&sessions, &second).await);
    // Another rotation makes a chain; both replaced ids lead to the newest.
    let third = sessions.rotate(&second, Some(Duration::from_millis(300))).await.unwrap();
    for old in [&first, &second] {
        assert_eq!(sessions.rotate(old, None).await, Ok(third.clone()));
    }
    eventually("the end of the grace", || async {
        is_missing(&sessions, &first).await && is_missing(&sessions, &second).await
    })
    .await;
    assert!(not_found(sessions.rotate(&first, None).await));
    assert!(not_found(sessions.update(&second, &Update::new().set("b", 3)).await));
    assert_eq!(found(&sessions, &third).await.value::<u8>("a").unwrap(), Some(1));

    let fourth = sessions.rotate(&third, Some(Duration::ZERO)).await.unwrap();
    assert!(is_missing(&sessions, &third).await && not_found(sessions.rotate(&third, None).await));
    assert_eq!(found(&sessions, &fourth).await.version, 2);
    let endless = sessions.rotate(&fourth, Some(MAX_GRACE + Duration::from_millis(1))).await;
    assert!(matches!(endless, Err(Error::InvalidInput { field: "grace_ms", .. })));
}

pub(crate) async fn rotating_without_grace_ends_that_of_earlier_ids(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let stolen = sessions.create(&NewSession::of("ann").with("a", json!(1))).await.unwrap().id;
    let second = sessions.rotate(&stolen, Some(MAX_GRACE)).await.unwrap();
    assert!(!is_missing(&sessions, &stolen).await, "within its grace");
    let third = sessions.rotate(&second, Some(Duration::ZERO)).await.unwrap();
    for id in [&stolen, &second] {
        assert!(is_missing(&sessions, id).await, "an id is accepted after a rotation that was to end that");
        assert!(not_found(sessions.touch(id, None).await) && not_found(sessions.messages(id).await));
        assert!(not_found(sessions.update(id, &Update::new().set("a", 2)).await));
        assert!(not_found(sessions.rotate(id, None).await) && !sessions.destroy(id).await.unwrap());
    }
    // From here on it is as before.
    let fourth = sessions.rotate(&third, Some(MAX_GRACE)).await.unwrap();
    assert_eq!(sessions.rotate(&third, None).await.unwrap(), fourth);
    sessions.update(&third, &Update::new().set("a", 3)).await.unwrap();
    let session = found(&sessions, &fourth).await;
    assert_eq!((session.value::<u8>("a").unwrap(), session.fields.len()), (Some(3), 1));
}

pub(crate) async fn an_id_from_before_the_login_is_worth_nothing(place: Place) {
    let (_, _, sessions) = open(&place).await;
    // An attacker visits, and gets the victim to use that session.
    let planted =
        sessions.create(&NewSession::anonymous().with("cart", json!([7])).with("x", json!(1))).await.unwrap().id;
    sessions.append(&planted, &[json!("hello")], None).await.unwrap();
    let login = sessions.login(&planted, &NewSession::of("victim").with("x", json!(2))).await.unwrap();
    assert!(is_missing(&sessions, &planted).await);
    assert!(not_found(sessions.update(&planted, &Update::new().set("a", 1)).await));
    assert!(not_found(sessions.rotate(&planted, None).await));
    assert_ne!(login.id.handle(), planted.handle());
    let session = found(&sessions, &login.id).await;
    assert_eq!(session.user.as_deref(), Some("victim"));
    assert_eq!(session.value::<Vec<u8>>("cart").unwrap(), Some(vec![7]));
    assert_eq!(session.value::<u8>("x").unwrap(), Some(2), "what is given at the login wins");
    assert_eq!(sessions.messages(&login.id).await, Ok(vec![json!("hello")]));
    assert_eq!(sessions.count_user("victim").await, Ok(1));
    // An id in its grace logs in too: it is the session's.
    let other = sessions.create(&NewSession::anonymous()).await.unwrap().id;
    sessions.rotate(&other, None).await.unwrap();
    sessions.login(&other, &NewSession::of("victim")).await.unwrap();
    assert!(is_missing(&sessions, &other).await);
    assert_eq!(sessions.count_user("victim").await, Ok(2));
}

pub(crate) async fn the_oldest_session_makes_room(place: Place) {
    let (services, _, sessions) = open_with(&place, |settings| settings.sessions.per_user_max = 3).await;
    let mut ids = Vec::new();
    for index in 0..5 {
        let created = sessions.create(&NewSession::of("ann")).await.unwrap();
        assert_eq!(created.evicted, u64::from(index >= 3));
        ids.push(created.id);
    }
    let listed = sessions.list_user("ann").await.unwrap();
    let handles: Vec<_> = listed.iter().map(|session| session.handle).collect();
    assert_eq!(handles, ids[2..].iter().map(SessionId::handle).collect::<Vec<_>>());
    assert!(is_missing(&sessions, &ids[0]).await && is_missing(&sessions, &ids[1]).await);
    // Others' sessions, and nobody's, do not count.
    sessions.create(&NewSession::of("bob")).await.unwrap();
    for _ in 0..4 {
        sessions.create(&NewSession::anonymous()).await.unwrap();
    }
    assert_eq!(sessions.count_user("ann").await, Ok(3));
    // Switching the workspace leaves one for another.
    let switch = NewSession { workspace: Some("w".into()), ..NewSession::of("ann") };
    let switched = sessions.login(&ids[4], &switch).await.unwrap();
    assert_eq!((switched.evicted, sessions.count_user("ann").await), (0, Ok(3)));
    assert_eq!(services.metrics().value(Counter::SessionsEvicted), 2);
}

pub(crate) async fn the_oldest_of_as_many_as_can_be_is_logged_in_anew(place: Place) {
    let (_, _, sessions) = open_with(&place, |settings| settings.sessions.per_user_max = MAX_SESSIONS_PER_USER).await;
    let oldest = sessions.create(&NewSession::of("ann")).await.unwrap().id;
    for _ in 1..MAX_SESSIONS_PER_USER {
        sessions.create(&NewSession::of("ann")).await.unwrap();
    }
    let created = sessions.login(&oldest, &NewSession::of("ann")).await.unwrap();
    assert_eq!((created.evicted, sessions.count_user("ann").await), (0, Ok(MAX_SESSIONS_PER_USER as u64)));
    assert!(is_missing(&sessions, &oldest).await);
    assert_eq!(sessions.create(&NewSession::of("ann")).await.unwrap().evicted, 1);
}

pub(crate) async fn a_lowered_cap_ends_the_excess(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    for _ in 0..40 {
        sessions.create(&NewSession::of("ann")).await.unwrap();
    }
    let mut settings = Settings::default();
    settings.sessions.per_user_max = 1;
    let lowered = place.services_with(settings).await.sessions(&tenant);
    assert_eq!(lowered.create(&NewSession::of("ann")).await.unwrap().evicted, 40);
    let sessions_left = keys_of(&services, &tenant).await.into_iter().filter(|key| key.contains("}:s:")).count();
    assert_eq!((sessions_left, sessions.count_user("ann").await), (1, Ok(1)));
    for bad in [0, 1001] {
        let (_, _, refused) = open_with(&place, |settings| settings.sessions.per_user_max = bad).await;
        assert!(matches!(refused.create(&NewSession::of("ann")).await, Err(Error::InvalidInput { .. })));
    }
}

pub(crate) async fn binding_is_checked_by_loading(place: Place) {
    let (services, _, sessions) = open(&place).await;
    let origin = |ip: &str, agent: &str| Origin { ip: Some(ip.parse().unwrap()), agent: Some(agent.to_owned()) };
    let bound = |binding| NewSession {
        binding,
        ip: Some("10.0.0.1".parse().unwrap()),
        agent: Some("curl".to_owned()),
        ..NewSession::of("ann")
    };
    let (ip, agent) = (Lookup::Mismatch(Mismatch::Ip), Lookup::Mismatch(Mismatch::Agent));
    for (binding, of_ip, of_agent, of_nothing) in [
        (Binding::Nothing, None, None, None),
        (Binding::Ip, Some(&ip), None, Some(&ip)),
        (Binding::Agent, None, Some(&agent), Some(&agent)),
        (Binding::IpAndAgent, Some(&ip), Some(&agent), Some(&ip)),
    ] {
        let id = sessions.create(&bound(binding)).await.unwrap().id;
        for (origin, expected) in [
            (origin("10.0.0.1", "curl"), None),
            (origin("10.0.0.2", "curl"), of_ip),
            (origin("10.0.0.1", "wget"), of_agent),
            (Origin::default(), of_nothing),
        ] {
            let lookup = sessions.load(&id, &origin).await.unwrap();
            match expected {
                Some(mismatch) => assert_eq!(&lookup, mismatch, "{binding:?} {origin:?}"),
                None => assert!(matches!(lookup, Lookup::Found(_)), "{binding:?} {origin:?}"),
            }
        }
    }
    assert_eq!(services.metrics().value(Counter::SessionsMismatched), 7);
}

pub(crate) async fn short_ids(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let short = sessions.create_short(&NewSession::anonymous().with("a", json!(1))).await.unwrap();
    let id = SessionId::from(short);
    assert_eq!(found(&sessions, &id).await.value::<u8>("a").unwrap(), Some(1));
    assert!(is_missing(&sessions, &SessionId::from(ShortId([7; 16]))).await);
    assert_eq!(keys_of(&services, &tenant).await.len(), 1, "it is in no index");
    assert!(sessions.create_short(&NewSession::of("ann")).await.is_err());
    assert!(sessions.destroy(&id).await.unwrap() && is_missing(&sessions, &id).await);
}

#[tokio::test]
async fn an_outage_is_an_error_and_counted() {
    let services = Place::down().services_lazily(Settings::default());
    let sessions = services.sessions(&tenant());
    let (_, _, elsewhere) = open(&Place::embedded()).await;
    let id = elsewhere.create(&NewSession::of("ann")).await.unwrap().id;
    assert!(sessions.load(&id, &Origin::default()).await.unwrap_err().is_outage(), "nobody is let in");
    assert!(sessions.create(&NewSession::of("ann")).await.unwrap_err().is_outage());
    assert!(sessions.list_user("ann").await.unwrap_err().is_outage());
    assert_eq!(services.metrics().value(Counter::SessionsOutages), 3);
}

#[tokio::test]
async fn a_store_that_may_evict_sessions_is_refused() {
    let limits = ["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"];
    let server = RedisServer::start_with(&limits).unwrap();
    let place = Place::at(server.url());
    let (services, _, sessions) = open(&place).await;
    let refused = sessions.create(&NewSession::of("ann")).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("volatile-lru")), "{refused:?}");
    assert!(sessions.list_user("ann").await.unwrap_err().is_outage());
    assert_eq!(services.metrics().value(Counter::SessionsOutages), 2);
    // Those of other libraries are theirs.
    let foreign = sessions.foreign(Layout::ConnectRedis, None).unwrap();
    assert_eq!(foreign.load("s1").await, Ok(None));
    // Who works all the same loses users, and their sessions from the next sign-out.
    let (_, _, sessions) = open_with(&place, |settings| settings.eviction = OnEviction::Tolerate).await;
    let id = sessions.create(&NewSession::of("ann")).await.unwrap().id;
    assert_eq!(found(&sessions, &id).await.user.as_deref(), Some("ann"));
    // What does not evict is accepted.
    services.backend().call(Command::new("CONFIG").arg("SET").arg("maxmemory-policy").arg("noeviction")).await.unwrap();
    let (_, _, sessions) = open(&place).await;
    sessions.create(&NewSession::of("ann")).await.unwrap();
}
