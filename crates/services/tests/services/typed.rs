//! Tests of what is built upon the cache: HTTP responses, users, tasks, derived keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use redpoll_services::cache::derived::DerivedKey;
use redpoll_services::cache::embedding::Embedding;
use redpoll_services::cache::http::{Headers, Request, Response};
use redpoll_services::cache::tasks::TaskCache;
use redpoll_services::cache::users::{Lead, User, UserCache};
use redpoll_services::cache::{Body, LoadOptions, Lookup, Namespace, Source};
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use crate::support::{Place, tenant};

/// What an origin says, and what it was asked.
#[derive(Clone, Default)]
struct Origin {
    answers: Arc<Mutex<Vec<Response>>>,
    asked: Arc<Mutex<Vec<Headers>>>,
}

fn headers(headers: &[(&str, &str)]) -> Headers {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Origin {
    fn says(&self, status: u16, said: &[(&str, &str)], body: &str) {
        let response = Response { status, headers: headers(said), body: body.as_bytes().to_vec() };
        self.answers.lock().unwrap().insert(0, response);
    }

    /// Asks the cache; an origin that has nothing more to say is down.
    async fn get(&self, cache: &Namespace, url: &str, asking: &[(&str, &str)]) -> (u16, String, Source) {
        self.request(cache, "GET", url, asking).await
    }

    async fn request(
        &self,
        cache: &Namespace,
        method: &str,
        url: &str,
        asking: &[(&str, &str)],
    ) -> (u16, String, Source) {
        let origin = self.clone();
        let fetch = move |conditions: Headers| async move {
            origin.asked.lock().unwrap().push(conditions);
            origin.answers.lock().unwrap().pop().ok_or("down")
        };
        let asking = headers(asking);
        let answer = cache.http(Request { method, url, headers: &asking }, fetch).await.unwrap();
        (answer.response.status, String::from_utf8(answer.response.body).unwrap(), answer.source)
    }
}

async fn pages(place: &Place) -> Namespace {
    place.services().await.cache(&tenant()).namespace("pages").unwrap()
}

fn is(answer: &(u16, String, Source), status: u16, body: &str, source: Source) {
    assert_eq!((answer.0, answer.1.as_str(), answer.2), (status, body, source));
}

pub(crate) async fn http_is_cached_as_it_says(place: Place) {
    let (cache, origin) = (pages(&place).await, Origin::default());
    origin.says(200, &[("Cache-Control", "max-age=60")], "one");
    is(&origin.get(&cache, "/a", &[]).await, 200, "one", Source::Loader);
    is(&origin.get(&cache, "/a", &[]).await, 200, "one", Source::Cache);
    origin.says(200, &[("Cache-Control", "max-age=60")], "two");
    is(&origin.get(&cache, "/a?b", &[]).await, 200, "two", Source::Loader);
    // What must not be stored goes to its own caller, each time.
    for control in ["no-store", "private, max-age=60", "no-cache, max-age=60", "max-age=60, max-age=1"] {
        for body in ["for ada", "for grace"] {
            origin.says(200, &[("cache-control", control)], body);
            is(&origin.get(&cache, control, &[]).await, 200, body, Source::Unstored);
        }
    }
    for body in ["for ada", "for grace"] {
        origin.says(200, &[("cache-control", "max-age=60")], body);
        is(&origin.get(&cache, "/me", &[("Authorization", body)]).await, 200, body, Source::Unstored);
    }
    // A caller may insist, and a change forgets.
    origin.says(200, &[("cache-control", "max-age=60")], "fresh");
    is(&origin.get(&cache, "/a", &[("cache-control", "no-cache")]).await, 200, "fresh", Source::Unstored);
    is(&origin.get(&cache, "/a", &[]).await, 200, "one", Source::Cache);
    origin.says(500, &[], "no");
    is(&origin.request(&cache, "PUT", "/a", &[]).await, 500, "no", Source::Unstored);
    is(&origin.get(&cache, "/a", &[]).await, 200, "one", Source::Cache);
    origin.says(204, &[], "");
    is(&origin.request(&cache, "PUT", "/a", &[]).await, 204, "", Source::Unstored);
    origin.says(200, &[("cache-control", "max-age=60")], "three");
    is(&origin.get(&cache, "/a", &[]).await, 200, "three", Source::Loader);
}

pub(crate) async fn http_varies(place: Place) {
    let (cache, origin) = (pages(&place).await, Origin::default());
    let said = [("cache-control", "max-age=60"), ("Vary", "Accept-Language")];
    origin.says(200, &said, "hello");
    is(&origin.get(&cache, "/", &[("accept-language", "en")]).await, 200, "hello", Source::Unstored);
    for (language, body) in [("en", "hello"), ("de", "hallo")] {
        origin.says(200, &said, body);
        is(&origin.get(&cache, "/", &[("accept-language", language)]).await, 200, body, Source::Loader);
    }
    for (language, body) in [("en", "hello"), ("de", "hallo")] {
        is(&origin.get(&cache, "/", &[("Accept-Language", language)]).await, 200, body, Source::Cache);
    }
    origin.says(200, &said, "none");
    is(&origin.get(&cache, "/", &[]).await, 200, "none", Source::Loader);
}

pub(crate) async fn http_revalidates(place: Place) {
    let (cache, origin) = (pages(&place).await, Origin::default());
    origin.says(200, &[("cache-control", "max-age=60"), ("ETag", "\"v1\""), ("x-more", "1")], "body");
    is(&origin.get(&cache, "/", &[]).await, 200, "body", Source::Loader);
    for wanted in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
        is(&origin.get(&cache, "/", &[("if-none-match", wanted)]).await, 304, "", Source::Cache);
    }
    is(&origin.get(&cache, "/", &[("if-none-match", "\"v2\"")]).await, 200, "body", Source::Cache);
    // Without an ETag there is one of the body.
    origin.says(200, &[("cache-control", "max-age=1, stale-if-error=60")], "plain");
    is(&origin.get(&cache, "/plain", &[]).await, 200, "plain", Source::Loader);
    is(&origin.get(&cache, "/plain", &[("if-none-match", "*")]).await, 304, "", Source::Cache);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    // Past its lifetime: the origin is down, then says that it still holds.
    is(&origin.get(&cache, "/plain", &[]).await, 200, "plain", Source::FailSafe);
    origin.says(304, &[("cache-control", "max-age=60")], "");
    is(&origin.get(&cache, "/plain", &[]).await, 200, "plain", Source::Loader);
    let asked = origin.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked[0].0, "if-none-match");
    assert_eq!(asked[0].1.len(), 66, "a whole hash in quotes");
    is(&origin.get(&cache, "/plain", &[]).await, 200, "plain", Source::Cache);
}

/// Users as a database keeps them.
#[derive(Clone, Default)]
struct Database {
    users: Arc<Mutex<HashMap<String, User>>>,
    reads: Arc<AtomicUsize>,
}

impl Database {
    fn put(&self, id: &str, username: &str, email: &str) {
        let user = User { id: id.into(), username: username.into(), email: email.into(), data: json!({}) };
        self.users.lock().unwrap().insert(id.to_owned(), user);
    }

    async fn user(&self, cache: &UserCache, id: &str) -> Option<User> {
        let (database, own) = (self.clone(), id.to_owned());
        cache.by_id(id, move || async move { database.read(&own) }).await.unwrap()
    }

    fn read(&self, id: &str) -> Result<Option<User>, String> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.users.lock().unwrap().get(id).cloned())
    }

    async fn by(&self, cache: &UserCache, lead: Lead<'_>) -> Option<String> {
        let name = match lead {
            Lead::Username(name) | Lead::Email(name) => name.to_owned(),
        };
        let (database, reader) = (self.clone(), self.clone());
        let find = move || {
            let (database, name) = (database.clone(), name.clone());
            async move {
                database.reads.fetch_add(1, Ordering::SeqCst);
                let users = database.users.lock().unwrap();
                let found = users.values().find(|user| user.username == name || user.email == name);
                Ok::<_, String>(found.map(|user| user.id.clone()))
            }
        };
        let load = move |id: String| {
            let reader = reader.clone();
            async move { reader.read(&id) }
        };
        cache.by_lead(lead, find, load).await.unwrap().map(|user| user.id)
    }
}

pub(crate) async fn no_stale_lookup_after_a_rename(place: Place) {
    let (services, tenant, database) = (place.services().await, tenant(), Database::default());
    let users = UserCache::open(&services, &tenant).unwrap();
    let (ada, grace, mail) = (Lead::Username("ada"), Lead::Username("grace"), Lead::Email("a@x"));
    database.put("1", "ada", "a@x");
    for lead in [ada, mail] {
        assert_eq!(database.by(&users, lead).await.as_deref(), Some("1"));
    }
    let reads = database.reads.load(Ordering::SeqCst);
    for lead in [ada, mail] {
        assert_eq!(database.by(&users, lead).await.as_deref(), Some("1"));
    }
    assert_eq!(database.user(&users, "1").await.unwrap().username, "ada");
    assert_eq!(database.reads.load(Ordering::SeqCst), reads, "all of it is cached");

    // Is the name taken? That nobody has it is cached, until somebody has.
    for _ in 0..2 {
        assert_eq!(database.by(&users, grace).await, None);
    }
    // Renamed, and said so: the user and both ways to it are gone, the old name's too.
    database.put("1", "grace", "a@x");
    assert_eq!(users.changed("1").await, Ok(3));
    assert_eq!(database.by(&users, ada).await, None);
    assert_eq!(database.by(&users, grace).await.as_deref(), Some("1"));
    assert_eq!(database.by(&users, mail).await.as_deref(), Some("1"));

    // The name goes to somebody else while a late writer's lookup still leads to the first: as if it had crashed before it said so.
    database.put("2", "ada", "b@x");
    let space = services.cache(&tenant).namespace("users").unwrap();
    space.set("name:ada", "1").await.unwrap();
    assert_eq!(space.get::<String>("name:ada").await.unwrap().as_deref(), Some("1"), "a naive cache would answer 1");
    assert_eq!(database.by(&users, ada).await.as_deref(), Some("2"));
    space.set("name:nobody", "1").await.unwrap();
    assert_eq!(database.by(&users, Lead::Username("nobody")).await, None);
    assert_eq!(database.user(&users, "missing").await, None);
}

pub(crate) async fn cache_aside_race(place: Place) {
    let (services, database) = (place.services().await, Database::default());
    let tenant = tenant();
    let users = UserCache::open(&services, &tenant).unwrap();
    database.put("1", "ada", "a@x");
    // A reader has read the old user and not stored it yet; the user is changed; the reader stores.
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let reader = tokio::spawn({
        let (users, database, begun, go) = (users.clone(), database.clone(), begun.clone(), go.clone());
        async move {
            let load = move || async move {
                let old = database.read("1");
                begun.notify_one();
                go.notified().await;
                old
            };
            users.by_id("1", load).await.unwrap()
        }
    });
    begun.notified().await;
    let naive = database.read("1").unwrap();
    database.put("1", "grace", "a@x");
    users.changed("1").await.unwrap();
    go.notify_one();
    assert_eq!(reader.await.unwrap().unwrap().username, "ada", "who asked before gets what was then");
    let space = services.cache(&tenant).namespace("naive").unwrap();
    space.delete("1").await.unwrap();
    space.set("1", &naive).await.unwrap();
    assert_eq!(space.get::<User>("1").await.unwrap().unwrap().username, "ada", "the naive one keeps the old user");
    assert_eq!(database.user(&users, "1").await.unwrap().username, "grace");
}

pub(crate) async fn task_lists_change_with_their_tasks(place: Place) {
    let tasks = TaskCache::open(&place.services().await, &tenant()).unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let list = |user: &'static str, filter: &'static str, page: u32| {
        let (tasks, loads) = (tasks.clone(), loads.clone());
        async move {
            let load = move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, String>(Some(json!({"of": user, "filter": filter, "page": page})))
            };
            let query = json!({"page": page, "status": filter});
            tasks.list(user, &query, load).await.unwrap().unwrap()
        }
    };
    for _ in 0..2 {
        for (user, filter, page) in [("ada", "open", 1), ("ada", "open", 2), ("ada", "done", 1), ("grace", "open", 1)] {
            assert_eq!(list(user, filter, page).await, json!({"of": user, "filter": filter, "page": page}));
        }
    }
    assert_eq!(loads.load(Ordering::SeqCst), 4, "pages, filters and users are apart, and cached");
    let load = || async { Ok::<_, String>(Some(json!({"title": "t"}))) };
    assert_eq!(tasks.by_id("7", load).await.unwrap(), Some(json!({"title": "t"})));
    assert_eq!(tasks.changed("7", &["ada"]).await, Ok(1 + 3));
    list("ada", "open", 1).await;
    list("grace", "open", 1).await;
    assert_eq!(loads.load(Ordering::SeqCst), 5);
    assert_eq!(tasks.by_id("8", || async { Ok::<Option<Json>, String>(None) }).await.unwrap(), None);
}

pub(crate) async fn derived_keys_and_embeddings(place: Place) {
    let cache = pages(&place).await;
    let embedding = Embedding::of_f32(&[0.25, f32::MIN_POSITIVE, -0.0]);
    let key = DerivedKey::of_embedding("model", "text");
    let body = Body::from(&embedding);
    cache
        .get_or_set(key.as_str(), &LoadOptions::default(), move || async move { Ok::<_, String>(Some(body)) })
        .await
        .unwrap();
    let Lookup::Hit(found) = cache.lookup(key.as_str()).await.unwrap() else { panic!("it was stored") };
    assert_eq!(Embedding::try_from(&found).unwrap(), embedding);
    assert_eq!(cache.lookup(DerivedKey::of_embedding("model", "text ").as_str()).await, Ok(Lookup::Miss));
}
