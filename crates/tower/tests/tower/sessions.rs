//! The store of sessions under a real axum application, beside the framework's own store in memory.
//!
//! Requests are held inside of their handler, after they have loaded the session, so that races are played and not
//! waited for. Where the framework's store fails, the test says so: it shows that the test can.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use redpoll_services::{Backend, BackendConfig, Services, Settings, Tenant};
use redpoll_tower::sessions::{LateSave, SessionStore};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_sessions::session::{Id, Record};
use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore as _};

/// Where requests are held.
struct Gate {
    entered: Semaphore,
    go: Semaphore,
}

#[derive(Clone)]
struct App {
    router: Router,
    gate: Arc<Gate>,
}

struct Answer {
    status: StatusCode,
    /// The session cookie that was set, as the client would send it; empty if it was removed.
    cookie: Option<String>,
    body: String,
}

async fn set(session: Session, Path((name, value)): Path<(String, String)>) {
    session.insert(&name, value).await.unwrap();
}

/// Loads the session, waits to be let go on, and changes it.
async fn held(State(gate): State<Arc<Gate>>, session: Session, Path(name): Path<String>) {
    session.get::<String>("any").await.unwrap();
    gate.entered.add_permits(1);
    gate.go.acquire().await.unwrap().forget();
    session.insert(&name, "held").await.unwrap();
}

async fn show(session: Session, Path(name): Path<String>) -> String {
    session.get::<String>(&name).await.unwrap().unwrap_or_default()
}

async fn login(session: Session) {
    session.cycle_id().await.unwrap();
}

async fn logout(session: Session) {
    session.flush().await.unwrap();
}

async fn replace(session: Session) {
    session.clear().await;
    session.insert("only", "this").await.unwrap();
}

impl App {
    fn new(store: impl tower_sessions::SessionStore + Clone) -> Self {
        let gate = Arc::new(Gate { entered: Semaphore::new(0), go: Semaphore::new(0) });
        let layer = SessionManagerLayer::new(store).with_expiry(Expiry::OnInactivity(time::Duration::seconds(100)));
        let router = Router::new()
            .route("/set/{name}/{value}", get(set))
            .route("/held/{name}", get(held))
            .route("/show/{name}", get(show))
            .route("/login", get(login))
            .route("/logout", get(logout))
            .route("/replace", get(replace))
            .with_state(gate.clone())
            .layer(layer);
        Self { router, gate }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path).header(COOKIE, cookie).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let set = response.headers().get(SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        let cookie = set.map(|value| value.split(';').next().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, cookie, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// Starts a request and returns when it is held.
    async fn hold(&self, name: &str, cookie: &str) -> JoinHandle<Answer> {
        let (app, path, cookie) = (self.clone(), format!("/held/{name}"), cookie.to_owned());
        let request = tokio::spawn(async move { app.get(&path, &cookie).await });
        self.gate.entered.acquire().await.unwrap().forget();
        request
    }

    async fn let_go(&self, requests: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
        self.gate.go.add_permits(requests.len());
        let mut answers = Vec::new();
        for request in requests {
            answers.push(request.await.unwrap());
        }
        answers
    }

    /// Begins a session and returns its cookie.
    async fn begin(&self) -> String {
        self.get("/set/a/1", "").await.cookie.unwrap()
    }
}

async fn services() -> Services {
    Services::new(Backend::connect("embedded:").await.unwrap(), Settings::default())
}

async fn store() -> SessionStore {
    SessionStore::new(services().await.sessions(&Tenant::default()))
}

#[tokio::test]
async fn a_session_is_kept_between_requests() {
    let app = App::new(store().await);
    assert_eq!(app.get("/show/a", "").await.cookie, None, "nothing was written, so there is no session");
    let cookie = app.begin().await;
    assert_eq!(app.get("/show/a", &cookie).await.body, "1");
    app.get("/set/b/2", &cookie).await;
    app.get("/set/a/3", &cookie).await;
    assert_eq!(
        (app.get("/show/a", &cookie).await.body, app.get("/show/b", &cookie).await.body),
        ("3".into(), "2".into())
    );
    app.get("/replace", &cookie).await;
    assert_eq!(app.get("/show/only", &cookie).await.body, "this");
    assert_eq!(app.get("/show/a", &cookie).await.body, "", "what was cleared is gone");
}

#[tokio::test]
async fn requests_at_once_keep_each_others_changes() {
    async fn lost_none(app: App) -> bool {
        let cookie = app.begin().await;
        let requests = vec![app.hold("left", &cookie).await, app.hold("right", &cookie).await];
        let answers = app.let_go(requests).await;
        assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
        let (left, right) = (app.get("/show/left", &cookie).await.body, app.get("/show/right", &cookie).await.body);
        (left, right) == ("held".to_owned(), "held".to_owned())
    }
    assert!(lost_none(App::new(store().await)).await);
    assert!(!lost_none(App::new(MemoryStore::default())).await, "a store of whole records loses one");
}

#[tokio::test]
async fn a_save_after_the_logout_does_not_resurrect() {
    async fn after_logout(app: App) -> (StatusCode, String) {
        let cookie = app.begin().await;
        let request = app.hold("late", &cookie).await;
        assert_eq!(app.get("/logout", &cookie).await.cookie.as_deref(), Some("id="), "the cookie is removed");
        let answers = app.let_go(vec![request]).await;
        (answers[0].status, app.get("/show/late", &cookie).await.body)
    }
    let refused = after_logout(App::new(store().await)).await;
    assert_eq!(refused, (StatusCode::INTERNAL_SERVER_ERROR, String::new()));
    let discarding = store().await.with_late_save(LateSave::Discard);
    assert_eq!(after_logout(App::new(discarding)).await, (StatusCode::OK, String::new()));
    let naive = after_logout(App::new(MemoryStore::default())).await;
    assert_eq!(naive, (StatusCode::OK, "held".to_owned()), "a store that saves whatever comes brings it back");
}

#[tokio::test]
async fn many_saves_racing_a_logout() {
    let app = App::new(store().await.with_late_save(LateSave::Discard));
    for _ in 0..20 {
        let cookie = app.begin().await;
        let mut requests = Vec::new();
        for index in 0..16 {
            let (app, cookie) = (app.clone(), cookie.clone());
            requests.push(tokio::spawn(async move {
                let path = if index == 7 { "/logout".to_owned() } else { format!("/set/of-{index}/1") };
                app.get(&path, &cookie).await
            }));
        }
        for request in requests {
            assert_eq!(request.await.unwrap().status, StatusCode::OK);
        }
        assert_eq!(app.get("/show/a", &cookie).await.body, "");
    }
}

#[tokio::test]
async fn a_planted_cookie_is_not_adopted() {
    let app = App::new(store().await);
    let planted = format!("id={}", Id::default());
    let cookie = app.get("/set/a/1", &planted).await.cookie.unwrap();
    assert_ne!(cookie, planted);
    assert_eq!(
        (app.get("/show/a", &planted).await.body, app.get("/show/a", &cookie).await.body),
        (String::new(), "1".into())
    );
}

#[tokio::test]
async fn the_id_from_before_a_login_is_worth_nothing() {
    let app = App::new(store().await);
    let before = app.begin().await;
    let after = app.get("/login", &before).await.cookie.unwrap();
    assert_ne!(before, after);
    assert_eq!(
        (app.get("/show/a", &before).await.body, app.get("/show/a", &after).await.body),
        (String::new(), "1".into())
    );
}

#[tokio::test]
async fn records_and_their_expiry() {
    let services = services().await;
    let store = SessionStore::new(services.sessions(&Tenant::default()));
    let ends = |seconds| time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let (framework_id, expiry_date) = (Id::default(), ends(100));
    let mut record = Record { id: framework_id, data: Default::default(), expiry_date };
    record.data.insert("a".to_owned(), 1.into());
    store.create(&mut record).await.unwrap();
    assert_ne!(record.id, framework_id, "ids are made by the services");
    assert!(store.load(&framework_id).await.unwrap().is_none());
    let mut twin = record.clone();
    store.create(&mut twin).await.unwrap();
    assert_ne!(twin.id, record.id, "creating never takes over what is there");

    let loaded = store.load(&record.id).await.unwrap().unwrap();
    assert_eq!((loaded.id, loaded.expiry_date, &loaded.data["a"]), (record.id, expiry_date, &1.into()));
    let left_ms = || async {
        let keys = services.backend().call(redpoll_services::Command::new("KEYS").arg("*")).await.unwrap();
        let mut left = Vec::new();
        for key in keys.as_array().unwrap() {
            let pttl = redpoll_services::Command::new("PTTL").key(key.as_str().unwrap());
            left.push(services.backend().call(pttl).await.unwrap().as_i64().unwrap());
        }
        left.into_iter().min().unwrap()
    };
    assert!((99_000..=100_000).contains(&left_ms().await));
    // A save moves the end, to an earlier one too; a read does not.
    store.save(&Record { expiry_date: ends(50), ..loaded.clone() }).await.unwrap();
    let left = left_ms().await;
    assert!((49_000..=50_000).contains(&left));
    store.load(&record.id).await.unwrap();
    assert!(left_ms().await <= left);
    let mut taken = loaded.clone();
    taken.data.insert("redpoll.expiry".to_owned(), 1.into());
    assert!(store.save(&taken).await.is_err(), "names of ours are refused");
    store.save(&Record { expiry_date: ends(-1), ..loaded }).await.unwrap();
    while store.load(&record.id).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    store.delete(&twin.id).await.unwrap();
    store.delete(&twin.id).await.unwrap();
    assert!(store.load(&twin.id).await.unwrap().is_none());
}

#[tokio::test]
async fn an_outage_lets_nobody_in() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backend = Backend::connect_lazily(&format!("redis://{free}"), BackendConfig::default()).unwrap();
    let store = SessionStore::new(Services::new(backend, Settings::default()).sessions(&Tenant::default()));
    assert!(store.load(&Id::default()).await.is_err());
    assert_eq!(App::new(store).get("/set/a/1", "").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}
