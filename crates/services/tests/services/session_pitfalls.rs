//! What session libraries get wrong, as scenarios that ours passes and a naive library fails.
//!
//! The naive one does what many do: the whole session as JSON under `SET … EX`, read, changed and written back, with an
//! index that has a lifetime of its own. A scenario plays requests step by step, so it fails by its order and not by chance.

use std::time::Duration;

use redpoll_services::sessions::{Lookup, NewSession, Origin, SessionId, Sessions, Update};
use redpoll_services::{Command, Services, Ttl};
use serde_json::{Map, Value as Json, json};

use crate::sessions::open_with;
use crate::support::Place;

/// How long sessions of these scenarios live without use.
const IDLE_MS: u64 = 300;
/// How long they live at most.
const ABSOLUTE_MS: u64 = 700;

/// What a library offers to an application. Ids are text, as in a cookie.
trait Library {
    /// Begins a session for a request whose cookie may have an id; returns the id for the cookie.
    async fn begin(&self, cookie: Option<&str>) -> String;
    /// Begins a request: reads the session.
    async fn load(&self, id: &str) -> Option<Map<String, Json>>;
    /// Ends a request: writes what it has changed.
    async fn save(&self, id: &str, loaded: &Map<String, Json>, name: &str, value: Json);
    async fn touch(&self, id: &str);
    async fn destroy(&self, id: &str);
    /// Replaces the id, by a request that has loaded the session.
    async fn rotate(&self, id: &str, loaded: &Map<String, Json>) -> Option<String>;
    /// Says whose the sessions are that `begin` makes.
    fn user(&self) -> &str;
    async fn list(&self) -> usize;
    /// Milliseconds that are left.
    async fn remaining_ms(&self, id: &str) -> i64;
}

/// The right way.
struct Ours(Sessions);

impl Ours {
    async fn open(place: &Place) -> Self {
        let settings = |settings: &mut redpoll_services::Settings| {
            settings.sessions.idle = Ttl::ms(IDLE_MS as i64).unwrap();
            settings.sessions.absolute = Ttl::ms(ABSOLUTE_MS as i64).unwrap();
        };
        Self(open_with(place, settings).await.2)
    }
}

impl Library for Ours {
    async fn begin(&self, cookie: Option<&str>) -> String {
        if let Some(cookie) = cookie
            && self.load(cookie).await.is_some()
        {
            return cookie.to_owned();
        }
        self.0.create(&NewSession::of(self.user())).await.unwrap().id.to_string()
    }

    async fn load(&self, id: &str) -> Option<Map<String, Json>> {
        match self.0.load(&id.parse().ok()?, &Origin::default()).await.unwrap() {
            Lookup::Found(session) => {
                Some(session.fields.iter().map(|(name, field)| (name.clone(), field.value().unwrap())).collect())
            }
            _ => None,
        }
    }

    async fn save(&self, id: &str, _: &Map<String, Json>, name: &str, value: Json) {
        self.0.update(&id.parse().unwrap(), &Update::new().set(name, value)).await.ok();
    }

    async fn touch(&self, id: &str) {
        self.0.touch(&id.parse().unwrap(), Some(Duration::ZERO)).await.ok();
    }

    async fn destroy(&self, id: &str) {
        self.0.destroy(&id.parse().unwrap()).await.unwrap();
    }

    async fn rotate(&self, id: &str, _: &Map<String, Json>) -> Option<String> {
        self.0.rotate(&id.parse().unwrap(), None).await.ok().map(|id| id.to_string())
    }

    fn user(&self) -> &str {
        "ann"
    }

    async fn list(&self) -> usize {
        self.0.list_user(self.user()).await.unwrap().len()
    }

    async fn remaining_ms(&self, id: &str) -> i64 {
        let id: SessionId = id.parse().unwrap();
        let session = self.0.list_user(self.user()).await.unwrap().into_iter().find(|one| one.handle == id.handle());
        let expires_ms = session.map_or(0, |session| session.expires_ms);
        // How far off the end is, as counted from the last touch.
        let Lookup::Found(session) = self.0.load(&id, &Origin::default()).await.unwrap() else { return -2 };
        i64::try_from(expires_ms - session.last_seen_ms).unwrap()
    }
}

/// The usual way.
struct Naive {
    services: Services,
    user: String,
}

impl Naive {
    async fn open(place: &Place) -> Self {
        Self { services: place.services().await, user: uuid::Uuid::new_v4().to_string() }
    }

    async fn call(&self, command: Command) -> redpoll_resp::Value {
        self.services.backend().call(command).await.unwrap()
    }

    /// Takes a number of seconds and means it; the idle time is in milliseconds.
    async fn write(&self, id: &str, data: &Map<String, Json>) {
        let text = Json::Object(data.clone()).to_string();
        self.call(Command::new("SET").key(id).arg(text).arg("EX").arg(IDLE_MS)).await;
    }

    async fn index(&self) -> Vec<Json> {
        let list = self.call(Command::new("GET").key(&self.user)).await;
        list.as_str().map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default()
    }

    async fn write_index(&self, list: Vec<Json>) {
        let text = Json::Array(list).to_string();
        self.call(Command::new("SET").key(&self.user).arg(text).arg("PX").arg(IDLE_MS)).await;
    }
}

impl Library for Naive {
    async fn begin(&self, cookie: Option<&str>) -> String {
        let id = cookie.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        if self.load(&id).await.is_none() {
            self.write(&id, &Map::new()).await;
            let mut list = self.index().await;
            list.push(json!(id));
            self.write_index(list).await;
        }
        id
    }

    async fn load(&self, id: &str) -> Option<Map<String, Json>> {
        let text = self.call(Command::new("GET").key(id)).await;
        let data: Map<String, Json> = serde_json::from_str(text.as_str()?).unwrap();
        // Notes that the session was seen, and with that drops its lifetime.
        self.call(Command::new("SET").key(id).arg(Json::Object(data.clone()).to_string())).await;
        Some(data)
    }

    async fn save(&self, id: &str, loaded: &Map<String, Json>, name: &str, value: Json) {
        let mut data = loaded.clone();
        data.insert(name.to_owned(), value);
        self.write(id, &data).await;
    }

    async fn touch(&self, id: &str) {
        self.write(id, &self.load(id).await.unwrap_or_default()).await;
    }

    async fn destroy(&self, id: &str) {
        self.call(Command::new("DEL").key(id)).await;
    }

    async fn rotate(&self, id: &str, loaded: &Map<String, Json>) -> Option<String> {
        self.destroy(id).await;
        let next = uuid::Uuid::new_v4().to_string();
        self.write(&next, loaded).await;
        Some(next)
    }

    fn user(&self) -> &str {
        &self.user
    }

    async fn list(&self) -> usize {
        self.index().await.len()
    }

    async fn remaining_ms(&self, id: &str) -> i64 {
        self.call(Command::new("PTTL").key(id)).await.as_i64().unwrap()
    }
}

/// Two requests change different fields of one session at once: both changes are there.
async fn parallel_requests_keep_both_updates(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    let (first, second) = (library.load(&id).await.unwrap(), library.load(&id).await.unwrap());
    library.save(&id, &first, "theme", json!("dark")).await;
    library.save(&id, &second, "cart", json!([7])).await;
    let data = library.load(&id).await.unwrap();
    data.contains_key("theme") && data.contains_key("cart")
}

/// A request that began before the logout saves after it: the session stays ended.
async fn a_save_after_the_logout_does_not_resurrect(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    let loaded = library.load(&id).await.unwrap();
    library.destroy(&id).await;
    library.save(&id, &loaded, "theme", json!("dark")).await;
    library.load(&id).await.is_none()
}

/// A touch comes after the logout.
async fn a_touch_after_the_logout_does_not_resurrect(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    library.destroy(&id).await;
    library.touch(&id).await;
    library.load(&id).await.is_none()
}

/// Two requests replace the id of a session at once: they come to the same new one.
async fn two_rotations_give_one_id(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    let (first, second) = (library.load(&id).await.unwrap(), library.load(&id).await.unwrap());
    let ids = (library.rotate(&id, &first).await, library.rotate(&id, &second).await);
    ids.0.is_some() && ids.0 == ids.1
}

/// A request that began before the rotation still finds its session.
async fn a_request_under_way_survives_a_rotation(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    let loaded = library.load(&id).await.unwrap();
    library.rotate(&id, &loaded).await;
    library.load(&id).await.is_some()
}

/// An attacker plants a cookie of his own making: the session gets another id.
async fn a_chosen_id_is_not_adopted(library: &impl Library) -> bool {
    let planted = uuid::Uuid::new_v4().to_string();
    library.begin(Some(&planted)).await != planted && library.load(&planted).await.is_none()
}

/// A read leaves the lifetime alone.
async fn a_read_keeps_the_lifetime(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    library.load(&id).await;
    library.remaining_ms(&id).await > 0
}

/// A lifetime in milliseconds is not one in seconds.
async fn the_unit_of_a_lifetime_is_kept(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    library.remaining_ms(&id).await <= IDLE_MS as i64
}

/// However often it is touched, a session ends.
async fn touches_do_not_pass_the_absolute_end(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    for _ in 0..12 {
        library.touch(&id).await;
        tokio::time::sleep(Duration::from_millis(ABSOLUTE_MS / 10)).await;
    }
    library.load(&id).await.is_none()
}

/// As long as a session lives, it is listed.
async fn the_index_lives_as_long_as_its_sessions(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(IDLE_MS / 3)).await;
        library.touch(&id).await;
    }
    library.load(&id).await.is_some() == (library.list().await == 1)
}

/// No session is listed that has ended.
async fn the_index_lives_no_longer_than_its_sessions(library: &impl Library) -> bool {
    let id = library.begin(None).await;
    library.destroy(&id).await;
    library.list().await == 0
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $test:ident: $scenario:ident;)*) => {
        $($(#[$doc])* pub(crate) async fn $test(place: Place) {
            assert!($scenario(&Ours::open(&place).await).await, "ours");
            assert!(!$scenario(&Naive::open(&place).await).await, "the naive library must fail, or this shows nothing");
        })*
    };
}

scenarios! {
    lost_update: parallel_requests_keep_both_updates;
    logout_then_save: a_save_after_the_logout_does_not_resurrect;
    logout_then_touch: a_touch_after_the_logout_does_not_resurrect;
    double_rotation: two_rotations_give_one_id;
    request_under_way: a_request_under_way_survives_a_rotation;
    chosen_id: a_chosen_id_is_not_adopted;
    lifetime_dropped_by_a_read: a_read_keeps_the_lifetime;
    lifetime_of_another_unit: the_unit_of_a_lifetime_is_kept;
    absolute_end: touches_do_not_pass_the_absolute_end;
    index_too_short: the_index_lives_as_long_as_its_sessions;
    index_too_long: the_index_lives_no_longer_than_its_sessions;
}

/// A session is created while all of a user's sessions are ended, which is written back from what was read before it.
pub(crate) async fn sign_out_racing_a_login(place: Place) {
    let naive = Naive::open(&place).await;
    let first = naive.begin(None).await;
    let read = naive.index().await;
    let second = naive.begin(None).await;
    for id in &read {
        naive.destroy(id.as_str().unwrap()).await;
    }
    naive.write_index(Vec::new()).await;
    assert!(naive.load(&first).await.is_none() && naive.load(&second).await.is_some());
    assert_eq!(naive.list().await, 0, "it lives, and no sign-out will ever find it");

    let ours = Ours::open(&place).await;
    ours.begin(None).await;
    let (ended, id) = tokio::join!(ours.0.revoke_user("ann", None), ours.begin(None));
    let lives = usize::from(ours.load(&id).await.is_some());
    assert!(ended.unwrap() + lives as u64 == 2, "each of them was ended or lives");
    assert_eq!(ours.list().await, lives);
    assert_eq!(ours.0.revoke_user("ann", None).await, Ok(lives as u64));
    assert!(ours.load(&id).await.is_none());
}
