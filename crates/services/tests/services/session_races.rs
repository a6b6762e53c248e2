//! Tests of sessions under many threads, over several services that share nothing but the store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redpoll_services::metrics::Counter;
use redpoll_services::sessions::{NewSession, SessionId, Sessions, Update};
use redpoll_services::{Error, Services, Settings, Tenant, Ttl};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::sessions::{found, is_missing, keys_of, not_found, open, open_with};
use crate::support::{Place, tenant};

const TASKS: usize = 64;
const PROCESSES: usize = 4;

/// Services of their own that share a tenant.
async fn processes(place: &Place, choose: impl Fn(&mut Settings)) -> (Vec<Services>, Tenant) {
    let mut settings = Settings::default();
    choose(&mut settings);
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(place.services_with(settings.clone()).await);
    }
    (processes, tenant())
}

/// Runs a thread for each of [`TASKS`], spread over the processes, all starting at once.
async fn at_once<T, F>(processes: &[Services], tenant: &Tenant, task: impl Fn(usize, Sessions) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(TASKS));
    let mut threads = JoinSet::new();
    for index in 0..TASKS {
        let (start, work) = (start.clone(), task(index, processes[index % PROCESSES].sessions(tenant)));
        let work = async move {
            start.wait().await;
            work.await
        };
        threads.spawn_blocking(|| Handle::current().block_on(work));
    }
    threads.join_all().await
}

pub(crate) async fn parallel_requests_lose_no_update(place: Place) {
    const ROUNDS: usize = 5;
    let (processes, tenant) = processes(&place, |_| {}).await;
    let id = processes[0].sessions(&tenant).create(&NewSession::of("ann")).await.unwrap().id;
    at_once(&processes, &tenant, |index, sessions| {
        let id = id.clone();
        async move {
            for round in 0..ROUNDS {
                sessions.update(&id, &Update::new().set(format!("of-{index}"), round)).await.unwrap();
                sessions.append(&id, &[json!(index)], Some(1000)).await.unwrap();
            }
        }
    })
    .await;
    let sessions = processes[0].sessions(&tenant);
    let session = found(&sessions, &id).await;
    assert_eq!((session.fields.len(), session.version), (TASKS, 1 + 2 * (TASKS * ROUNDS) as u64));
    assert!(session.fields.values().all(|field| field.json == (ROUNDS - 1).to_string()));
    let messages = sessions.messages(&id).await.unwrap();
    assert_eq!(messages.len(), TASKS * ROUNDS);
    assert!((0..TASKS).all(|index| messages.iter().filter(|message| **message == json!(index)).count() == ROUNDS));
}

pub(crate) async fn compare_and_set_counts_exactly(place: Place) {
    let (processes, tenant) = processes(&place, |_| {}).await;
    let id = processes[0].sessions(&tenant).create(&NewSession::of("ann").with("n", json!(0))).await.unwrap().id;
    let conflicts = Arc::new(AtomicU64::new(0));
    at_once(&processes, &tenant, |index, sessions| {
        let (id, conflicts) = (id.clone(), conflicts.clone());
        async move {
            loop {
                let session = found(&sessions, &id).await;
                let next = session.value::<u64>("n").unwrap().unwrap() + 1;
                std::thread::yield_now();
                let update = match index % 2 {
                    0 => Update::new().set("n", next).if_version(session.version),
                    _ => Update::new().set_if("n", next, session.version_of("n")),
                };
                match sessions.update(&id, &update).await {
                    Ok(_) => break,
                    Err(Error::Conflict(_)) => conflicts.fetch_add(1, Ordering::Relaxed),
                    Err(error) => panic!("{error}"),
                };
            }
        }
    })
    .await;
    let total = found(&processes[0].sessions(&tenant), &id).await.value::<usize>("n").unwrap();
    assert_eq!(total, Some(TASKS));
    assert!(conflicts.load(Ordering::Relaxed) > 0, "they did meet");
}

pub(crate) async fn a_logout_is_final_whoever_races_it(place: Place) {
    const ROUNDS: usize = 6;
    let (processes, tenant) = processes(&place, |_| {}).await;
    for round in 0..ROUNDS {
        let new = NewSession { workspace: Some("w".into()), ..NewSession::of("ann") };
        let id = processes[0].sessions(&tenant).create(&new).await.unwrap().id;
        let ended = Arc::new(AtomicBool::new(false));
        let outcomes = at_once(&processes, &tenant, |index, sessions| {
            let (id, ended) = (id.clone(), ended.clone());
            async move {
                if index == 0 {
                    for _ in 0..round * 3 {
                        std::thread::yield_now();
                    }
                    assert_eq!(sessions.destroy(&id).await, Ok(true));
                    ended.store(true, Ordering::SeqCst);
                    return 0;
                }
                let mut successes = 0;
                for _ in 0..100 {
                    // What begins after the logout has returned must find nothing.
                    let too_late = ended.load(Ordering::SeqCst);
                    let result = match index % 5 {
                        0 => sessions.update(&id, &Update::new().set("late", 1)).await.map(drop),
                        1 => sessions.touch(&id, Some(Duration::ZERO)).await.map(drop),
                        2 => sessions.append(&id, &[json!("late")], None).await.map(drop),
                        3 => sessions.extend(&id, Ttl::ms(60_000).unwrap()).await.map(drop),
                        _ => sessions.rotate(&id, None).await.map(drop),
                    };
                    match result {
                        Ok(()) => {
                            assert!(!too_late, "{index} found a session that had ended");
                            successes += 1;
                        }
                        Err(error) => {
                            assert!(not_found::<()>(Err(error.clone())), "{error}");
                            if too_late {
                                break;
                            }
                        }
                    }
                }
                successes
            }
        })
        .await;
        let sessions = processes[1].sessions(&tenant);
        assert!(is_missing(&sessions, &id).await);
        assert_eq!((sessions.count_user("ann").await, sessions.count_workspace("w").await), (Ok(0), Ok(0)));
        let keys = keys_of(&processes[0], &tenant).await;
        assert!(keys.iter().all(|key| key.contains("}:g:")), "{keys:?} after {outcomes:?}");
    }
}

pub(crate) async fn rotations_at_once_give_one_new_id(place: Place) {
    let (processes, tenant) = processes(&place, |_| {}).await;
    for _ in 0..5 {
        let id = processes[0].sessions(&tenant).create(&NewSession::of("ann")).await.unwrap().id;
        let before: u64 = processes.iter().map(|process| process.metrics().value(Counter::SessionsRotated)).sum();
        let ids = at_once(&processes, &tenant, |_, sessions| {
            let id = id.clone();
            async move { sessions.rotate(&id, None).await.unwrap().to_string() }
        })
        .await;
        let distinct: HashSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), 1);
        let after: u64 = processes.iter().map(|process| process.metrics().value(Counter::SessionsRotated)).sum();
        assert_eq!(after, before + 1);
        assert_ne!(ids[0], id.to_string());
        found(&processes[0].sessions(&tenant), &ids[0].parse().unwrap()).await;
    }
    // Without grace there is one winner, and the others have no id any more.
    let id = processes[0].sessions(&tenant).create(&NewSession::of("ann")).await.unwrap().id;
    let results = at_once(&processes, &tenant, |_, sessions| {
        let id = id.clone();
        async move { sessions.rotate(&id, Some(Duration::ZERO)).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().all(|result| result.is_ok() || not_found(result)));
}

pub(crate) async fn logins_at_once_make_one_session_and_lose_nothing(place: Place) {
    let (processes, tenant) = processes(&place, |_| {}).await;
    for round in 0..4 {
        let user = format!("user-{round}");
        let id = processes[0].sessions(&tenant).create(&NewSession::anonymous()).await.unwrap().id;
        // Half log in, half write what must not be lost once it is acknowledged.
        let results = at_once(&processes, &tenant, |index, sessions| {
            let (id, user) = (id.clone(), user.clone());
            async move {
                if index.is_multiple_of(2) {
                    return (sessions.login(&id, &NewSession::of(user)).await.map(|created| Some(created.id)), None);
                }
                let name = format!("of-{index}");
                (sessions.update(&id, &Update::new().set(&name, 1)).await.map(|_| None), Some(name))
            }
        })
        .await;
        let sessions = processes[0].sessions(&tenant);
        let mut logged_in: Vec<SessionId> = Vec::new();
        let mut written = Vec::new();
        for (result, name) in results {
            match result {
                Ok(Some(id)) => logged_in.push(id),
                Ok(None) => written.extend(name),
                // A login gives up only if the session goes on changing.
                Err(Error::NotFound(_) | Error::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if logged_in.is_empty() {
            logged_in.push(sessions.login(&id, &NewSession::of(&user)).await.unwrap().id);
        }
        assert_eq!(logged_in.len(), 1);
        let session = found(&sessions, &logged_in[0]).await;
        assert!(written.iter().all(|name| session.fields.contains_key(name)), "{written:?} in {:?}", session.fields);
        assert!(is_missing(&sessions, &id).await);
        assert_eq!(sessions.count_user(&user).await, Ok(1));
    }
}

pub(crate) async fn the_cap_holds_under_racing_creates(place: Place) {
    let (processes, tenant) = processes(&place, |settings| settings.sessions.per_user_max = 5).await;
    let created =
        at_once(
            &processes,
            &tenant,
            |_, sessions| async move { sessions.create(&NewSession::of("ann")).await.unwrap() },
        )
        .await;
    let sessions = processes[0].sessions(&tenant);
    let listed = sessions.list_user("ann").await.unwrap();
    assert_eq!((listed.len(), sessions.count_user("ann").await), (5, Ok(5)));
    let mut live = HashSet::new();
    for created in &created {
        if !is_missing(&sessions, &created.id).await {
            live.insert(created.id.handle());
        }
    }
    assert_eq!(live, listed.iter().map(|session| session.handle).collect());
    assert_eq!(created.iter().map(|created| created.evicted).sum::<u64>(), TASKS as u64 - 5);
}

pub(crate) async fn sign_out_everywhere_racing_creates(place: Place) {
    let (processes, tenant) = processes(&place, |settings| settings.sessions.per_user_max = 1000).await;
    let sessions = processes[0].sessions(&tenant);
    let mut before = Vec::new();
    for _ in 0..20 {
        before.push(sessions.create(&NewSession::of("ann")).await.unwrap().id);
    }
    let results = at_once(&processes, &tenant, |index, sessions| {
        let (old, before) = (before[index % 20].clone(), before.clone());
        async move {
            match index % 4 {
                0 => {
                    sessions.revoke_user("ann", None).await.unwrap();
                    // Whatever was there when it began is gone when it returns.
                    for id in &before {
                        assert!(is_missing(&sessions, id).await);
                    }
                    None
                }
                1 => sessions.login(&old, &NewSession::of("ann")).await.ok().map(|created| created.id),
                _ => Some(sessions.create(&NewSession::of("ann")).await.unwrap().id),
            }
        }
    })
    .await;
    // Every session that lives is in the index, so the next sign-out reaches all of them.
    let ids: Vec<SessionId> = results.into_iter().flatten().collect();
    let mut live = HashSet::new();
    for id in &ids {
        if !is_missing(&sessions, id).await {
            live.insert(id.handle());
        }
    }
    let listed = sessions.list_user("ann").await.unwrap();
    assert_eq!(listed.iter().map(|session| session.handle).collect::<HashSet<_>>(), live);
    assert_eq!(sessions.revoke_user("ann", None).await, Ok(live.len() as u64));
    for id in &ids {
        assert!(is_missing(&sessions, id).await);
    }
    assert_eq!(keys_of(&processes[0], &tenant).await, Vec::<String>::new());
}

/// What sessions should hold, as plain maps.
#[derive(Default)]
struct Model {
    /// Live sessions in order of creation: user, version, fields with versions, messages.
    sessions: Vec<Modelled>,
}

struct Modelled {
    id: SessionId,
    user: Option<String>,
    version: u64,
    fields: BTreeMap<String, (u64, u64)>,
    messages: Vec<u64>,
}

const CAP: usize = 3;
const KEEP: usize = 4;

impl Model {
    fn create(&mut self, session: Modelled) {
        let own: Vec<usize> = self
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, other)| other.user == session.user)
            .map(|(at, _)| at)
            .collect();
        if session.user.is_some() && own.len() >= CAP {
            self.sessions.remove(own[0]);
        }
        self.sessions.push(session);
    }
}

/// A generator with a seed that a failure can be repeated with.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub(crate) async fn sessions_match_the_model(place: Place) {
    let seed = u64::from_le_bytes(uuid::Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    println!("seed {seed}");
    let (_, _, sessions) = open_with(&place, |settings| settings.sessions.per_user_max = CAP).await;
    let (mut draw, mut model) = (Draw(seed), Model::default());
    let mut gone: HashMap<String, SessionId> = HashMap::new();
    for step in 0..400 {
        let before: Vec<SessionId> = model.sessions.iter().map(|session| session.id.clone()).collect();
        step_of_model(&sessions, &mut draw, &mut model, step).await;
        let now: HashSet<String> = model.sessions.iter().map(|session| session.id.to_string()).collect();
        gone.extend(before.into_iter().map(|id| (id.to_string(), id)).filter(|(text, _)| !now.contains(text)));
        if step % 20 == 0 {
            check_model(&sessions, &model, &gone).await;
        }
    }
    check_model(&sessions, &model, &gone).await;
}

async fn step_of_model(sessions: &Sessions, draw: &mut Draw, model: &mut Model, step: u64) {
    let user = [None, Some("ann".to_owned()), Some("bob".to_owned())][draw.below(3) as usize].clone();
    let new = NewSession { user: user.clone(), ..NewSession::default() };
    let name = format!("f{}", draw.below(4));
    if model.sessions.is_empty() || draw.below(8) == 0 {
        let id = sessions.create(&new).await.unwrap().id;
        model.create(Modelled { id, user, version: 1, fields: BTreeMap::new(), messages: Vec::new() });
        return;
    }
    let at = draw.below(model.sessions.len() as u64) as usize;
    let session = &mut model.sessions[at];
    let id = session.id.clone();
    match draw.below(7) {
        0 => {
            session.version += 1;
            session.fields.insert(name.clone(), (session.version, step));
            assert_eq!(sessions.update(&id, &Update::new().set(name, step)).await, Ok(session.version));
        }
        1 => {
            session.version += 1;
            session.fields.remove(&name);
            assert_eq!(sessions.update(&id, &Update::new().remove(name)).await, Ok(session.version));
        }
        2 => {
            let guess = draw.below(session.version + 1);
            let of = session.fields.get(&name).map_or(0, |(version, _)| *version);
            let result = sessions.update(&id, &Update::new().set_if(&name, step, guess)).await;
            assert_eq!(result.is_ok(), guess == of, "{result:?}");
            if guess == of {
                session.version += 1;
                session.fields.insert(name, (session.version, step));
            }
        }
        3 => {
            session.version += 1;
            session.messages.push(step);
            session.messages.drain(..session.messages.len().saturating_sub(KEEP));
            let length = sessions.append(&id, &[json!(step)], Some(KEEP)).await;
            assert_eq!(length, Ok(session.messages.len() as u64));
        }
        4 => session.id = sessions.rotate(&id, Some(Duration::ZERO)).await.unwrap(),
        5 => {
            assert_eq!(sessions.destroy(&id).await, Ok(true));
            model.sessions.remove(at);
        }
        _ => {
            let id = sessions.login(&id, &new).await.unwrap().id;
            let old = model.sessions.remove(at);
            let fields = old.fields.into_iter().map(|(name, (_, value))| (name, (1, value))).collect();
            model.create(Modelled { id, user, version: 1, fields, messages: old.messages });
        }
    }
}

async fn check_model(sessions: &Sessions, model: &Model, gone: &HashMap<String, SessionId>) {
    for expected in &model.sessions {
        let session = found(sessions, &expected.id).await;
        assert_eq!((session.user.as_ref(), session.version), (expected.user.as_ref(), expected.version));
        let fields: BTreeMap<String, (u64, u64)> = session
            .fields
            .iter()
            .map(|(name, field)| (name.clone(), (field.version, field.value().unwrap())))
            .collect();
        assert_eq!(fields, expected.fields);
        let messages: Vec<u64> =
            sessions.messages(&expected.id).await.unwrap().iter().map(|message| message.as_u64().unwrap()).collect();
        assert_eq!(messages, expected.messages);
    }
    for id in gone.values() {
        assert!(is_missing(sessions, id).await, "{id:?} came back");
    }
    for user in ["ann", "bob"] {
        let listed: Vec<_> = sessions.list_user(user).await.unwrap().iter().map(|session| session.handle).collect();
        let own = model.sessions.iter().filter(|session| session.user.as_deref() == Some(user));
        assert_eq!(listed, own.map(|session| session.id.handle()).collect::<Vec<_>>());
        assert_eq!(sessions.count_user(user).await, Ok(listed.len() as u64));
    }
}

pub(crate) async fn a_login_racing_a_logout(place: Place) {
    for _ in 0..20 {
        let (_, _, sessions) = open(&place).await;
        let id = sessions.create(&NewSession::anonymous()).await.unwrap().id;
        let new = NewSession::of("ann");
        let (login, logout) = tokio::join!(
            tokio::spawn({
                let (sessions, id) = (sessions.clone(), id.clone());
                async move { sessions.login(&id, &new).await }
            }),
            tokio::spawn({
                let (sessions, id) = (sessions.clone(), id.clone());
                async move { sessions.destroy(&id).await }
            })
        );
        let (login, logout) = (login.unwrap(), logout.unwrap().unwrap());
        assert_ne!(login.is_ok(), logout, "one of them was first: {login:?} {logout}");
        assert_eq!(sessions.count_user("ann").await, Ok(u64::from(login.is_ok())));
        assert!(is_missing(&sessions, &id).await);
    }
}
