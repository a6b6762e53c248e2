//! Tests of sessions: whose there are, ending them, and the index behind it.

use std::time::Duration;

use redpoll_services::sessions::{NewSession, Session, SessionId, Sessions};
use redpoll_services::{Command, Error, Services, Ttl};
use serde_json::json;

use crate::sessions::{found, is_missing, keys_of, lasting, open, open_with};
use crate::support::{Place, eventually, tenant};

fn at(user: &str, workspace: &str) -> NewSession {
    NewSession { workspace: Some(workspace.to_owned()), ..NewSession::of(user) }
}

async fn all_of_workspace(sessions: &Sessions, workspace: &str, limit: usize) -> Vec<Session> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = sessions.list_workspace(workspace, after.as_deref(), limit).await.unwrap();
        assert!(page.sessions.len() <= limit);
        all.extend(page.sessions);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

pub(crate) async fn lists_and_counts(place: Place) {
    let (services, _, sessions) = open(&place).await;
    let odd = "a:b;{%}\u{7f} é";
    for user in ["ann", "bob", odd, "an", "ann:"] {
        for workspace in ["w", odd] {
            let new = NewSession { agent: Some("curl".into()), ..at(user, workspace) };
            sessions.create(&new.with("secret", json!(1))).await.unwrap();
        }
    }
    sessions.create(&NewSession { workspace: Some("w".into()), ..NewSession::anonymous() }).await.unwrap();
    for user in ["ann", "bob", odd, "an", "ann:"] {
        let listed = sessions.list_user(user).await.unwrap();
        assert!(listed.iter().all(|session| session.user.as_deref() == Some(user)), "{user}");
        assert_eq!((listed.len(), sessions.count_user(user).await), (2, Ok(2)), "{user}");
        assert!(listed[0].created_ms <= listed[1].created_ms);
        assert!(listed.iter().all(|session| session.fields.is_empty() && session.agent.as_deref() == Some("curl")));
    }
    for (workspace, count) in [("w", 6), (odd, 5), ("other", 0)] {
        for limit in [1, 4, 1000] {
            let listed = all_of_workspace(&sessions, workspace, limit).await;
            assert_eq!(listed.len(), count, "{workspace} by {limit}");
            assert!(listed.iter().all(|session| session.workspace.as_deref() == Some(workspace)));
        }
        assert_eq!(sessions.count_workspace(workspace).await, Ok(count as u64));
    }
    // Other tenants see nothing of this.
    let others = services.sessions(&tenant());
    assert_eq!((others.count_user("ann").await, others.count_workspace("w").await), (Ok(0), Ok(0)));
    for bad in [0, 1001] {
        assert!(matches!(sessions.list_workspace("w", None, bad).await, Err(Error::InvalidInput { .. })));
    }
    assert!(sessions.list_workspace("w", Some("00:other:1:2:3"), 10).await.is_err());
    assert!(sessions.list_user("").await.is_err());
}

pub(crate) async fn revoking_is_exact(place: Place) {
    let (_, _, sessions) = open(&place).await;
    let mut ids: Vec<SessionId> = Vec::new();
    for user in ["ann", "ann", "ann", "bob"] {
        ids.push(sessions.create(&at(user, "w")).await.unwrap().id);
    }
    let handle: redpoll_services::sessions::Handle = ids[0].handle().to_string().parse().unwrap();
    assert_eq!(sessions.revoke(handle).await, Ok(true));
    assert_eq!(sessions.revoke(handle).await, Ok(false));
    assert!(is_missing(&sessions, &ids[0]).await);
    // Everywhere else: the present session stays, also when it is named by its replaced id.
    let present = sessions.rotate(&ids[1], None).await.unwrap();
    assert_eq!(sessions.revoke_user("ann", Some(&ids[1])).await, Ok(1));
    found(&sessions, &present).await;
    assert!(is_missing(&sessions, &ids[2]).await);
    assert_eq!(sessions.revoke_user("ann", None).await, Ok(1));
    assert!(is_missing(&sessions, &present).await && is_missing(&sessions, &ids[1]).await);
    assert_eq!(sessions.revoke_user("ann", None).await, Ok(0));
    found(&sessions, &ids[3]).await;
    assert_eq!(sessions.count_workspace("w").await, Ok(1));
}

pub(crate) async fn a_workspace_ends_in_all_partitions(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let mut ids = Vec::new();
    for index in 0..60 {
        let workspace = if index % 3 == 0 { "stays" } else { "goes" };
        ids.push(sessions.create(&at(&format!("user-{index}"), workspace)).await.unwrap().id);
    }
    assert_eq!(sessions.count_workspace("goes").await, Ok(40));
    assert_eq!(sessions.revoke_workspace("goes").await, Ok(40));
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(is_missing(&sessions, id).await, index % 3 != 0, "{index}");
    }
    assert_eq!((sessions.count_workspace("goes").await, sessions.count_workspace("stays").await), (Ok(0), Ok(20)));
    assert_eq!(sessions.revoke_workspace("stays").await, Ok(20));
    assert_eq!(keys_of(&services, &tenant).await, Vec::<String>::new(), "nothing is left behind");
}

async fn ends(services: &Services, keys: &[String], kind: &str) -> Vec<u64> {
    let marker = format!("}}:{kind}");
    let mut ends = Vec::new();
    for key in keys.iter().filter(|key| key.contains(&marker)) {
        let end = services.backend().call(Command::new("PEXPIRETIME").key(key)).await.unwrap().as_i64().unwrap();
        ends.push(u64::try_from(end).expect("every key has a deadline"));
    }
    ends
}

pub(crate) async fn the_index_ends_with_its_longest_session(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let lasting = |idle_ms| NewSession { workspace: Some("w".into()), ..lasting(idle_ms, 9_000_000) };
    let first = sessions.create(&lasting(60_000)).await.unwrap();
    let longest = sessions.create(&lasting(4_000_000)).await.unwrap();
    sessions.create(&lasting(1000)).await.unwrap();
    let check = |end_ms: u64| {
        let (services, tenant) = (services.clone(), tenant.clone());
        async move {
            let keys = keys_of(&services, &tenant).await;
            for kind in ["x", "u", "w"] {
                assert_eq!(ends(&services, &keys, kind).await, [end_ms], "{kind}");
            }
            assert!(ends(&services, &keys, "s:").await.into_iter().max() <= Some(end_ms));
        }
    };
    check(longest.expires_ms).await;
    sessions.touch(&first.id, Some(Duration::ZERO)).await.unwrap();
    check(longest.expires_ms).await;
    let extended = sessions.extend(&first.id, Ttl::ms(8_000_000).unwrap()).await.unwrap();
    check(extended).await;
}

pub(crate) async fn what_the_index_lost_comes_back(place: Place) {
    let (services, tenant, sessions) = open(&place).await;
    let new = at("ann", "w");
    let ids = [sessions.create(&new).await.unwrap().id, sessions.create(&new).await.unwrap().id];
    for kind in ["x", "u", "w"] {
        let keys = keys_of(&services, &tenant).await;
        for key in keys.iter().filter(|key| key.ends_with(&format!("}}:{kind}"))) {
            services.backend().call(Command::new("DEL").key(key)).await.unwrap();
        }
        for id in &ids {
            sessions.touch(id, Some(Duration::ZERO)).await.unwrap();
        }
        assert_eq!(sessions.list_user("ann").await.unwrap().len(), 2, "{kind}");
        assert_eq!((sessions.count_user("ann").await, sessions.count_workspace("w").await), (Ok(2), Ok(2)), "{kind}");
    }
    assert_eq!(sessions.revoke_user("ann", None).await, Ok(2));
}

pub(crate) async fn expired_ones_leave_the_index_step_by_step(place: Place) {
    let (services, tenant, sessions) = open_with(&place, |settings| settings.sessions.per_user_max = 1000).await;
    let short = NewSession { workspace: Some("w".into()), ..lasting(150, 150) };
    for _ in 0..230 {
        sessions.create(&short).await.unwrap();
    }
    let kept = sessions.create(&at("ann", "w")).await.unwrap().id;
    eventually("the end of the short ones", || async { sessions.list_user("ann").await.unwrap().len() == 1 }).await;
    assert_eq!((sessions.count_user("ann").await, sessions.count_workspace("w").await), (Ok(1), Ok(1)));
    for kind in ["x", "u", "w"] {
        let key = keys_of(&services, &tenant).await.into_iter().find(|key| key.ends_with(&format!("}}:{kind}")));
        let size = services.backend().call(Command::new("ZCARD").key(key.unwrap())).await.unwrap();
        assert_eq!(size.as_i64(), Some(1), "{kind}");
    }
    found(&sessions, &kept).await;
}
