//! A store for the sessions of the crate `tower-sessions`.
//!
//! ```
//! use redpoll_services::{Backend, Services, Settings, Tenant};
//! use redpoll_tower::sessions::SessionStore;
//! use tower_sessions::SessionManagerLayer;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let services = Services::new(Backend::connect("embedded:").await?, Settings::default());
//! let store = SessionStore::new(services.sessions(&Tenant::default()));
//! let app: axum::Router = axum::Router::new().layer(SessionManagerLayer::new(store));
//! # Ok::<_, redpoll_services::Error>(())
//! # }).unwrap();
//! ```
//!
//! The framework reads a session once in a request and saves the whole of it at the end. Here that does less harm than in
//! other stores:
//!
//! * **Requests at once.** What was loaded is remembered in the record, below a name that applications do not use, and a
//!   save writes only what differs from it. So changes of different keys do not undo each other.
//! * **Logout.** A save does not bring back a session that has ended meanwhile: [`LateSave`] says what it is instead.
//! * **Ids** are made by the services, of 128 bits of the operating system, and made anew in the improbable case that
//!   there is one like it. A cookie with an id that was not given out leads to no session. The store keeps hashes of them.
//! * **Expiry** is that of the framework, as a lifetime from the moment of the save.
//!
//! An outage is an error, which the framework answers with status 500.
//!
//! Not here: lists of a user's sessions, sign-out everywhere and grace at a change of the id. The framework's ids have no
//! room for the part of the store where a user's sessions lie together; use the services' sessions themselves for that.

use std::collections::HashMap;

use async_trait::async_trait;
use redpoll_services::sessions::{Change, Lookup, NewSession, Origin, SessionId, Sessions, ShortId, Update};
use redpoll_services::ttl::MAX_TTL_MS;
use redpoll_services::{Error, Ttl};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store;

/// Beginning of the names that are not an application's.
const OWN: &str = "redpoll.";

/// The field that holds the record's date of expiry: nanoseconds since 1970, as text.
const EXPIRY: &str = "redpoll.expiry";

/// The entry of a record's data that holds what was loaded. It is never stored.
const LOADED: &str = "redpoll.loaded";

/// What saving a session is that has ended since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LateSave {
    /// An error: the request is answered with status 500, and nobody believes that something was kept.
    #[default]
    Refuse,
    /// Nothing: the request is answered as if it had been saved.
    Discard,
}

/// Keeps sessions of `tower-sessions`. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct SessionStore {
    sessions: Sessions,
    late_save: LateSave,
}

impl SessionStore {
    /// Keeps sessions among those of a tenant.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions, late_save: LateSave::default() }
    }

    /// Says what a save that comes too late is.
    #[must_use]
    pub fn with_late_save(mut self, late_save: LateSave) -> Self {
        self.late_save = late_save;
        self
    }

    /// Returns what a save has to change: what differs from what was loaded.
    async fn changes(&self, id: &SessionId, record: &Record) -> session_store::Result<Vec<Change>> {
        let loaded = match record.data.get(LOADED) {
            Some(Json::Object(loaded)) => loaded.clone(),
            // The application has cleared the session, so all of it is replaced.
            _ => self.data(id).await?.into_keys().map(|name| (name, Json::Null)).collect(),
        };
        let cleared = !record.data.contains_key(LOADED);
        let mut changes = vec![change(EXPIRY, Some(expiry_text(record.expiry_date)))];
        for (name, value) in application_data(record)? {
            if cleared || loaded.get(name) != Some(value) {
                changes.push(change(name, Some(value.clone())));
            }
        }
        let removed = loaded.keys().filter(|name| !record.data.contains_key(*name));
        changes.extend(removed.map(|name| change(name, None)));
        Ok(changes)
    }

    /// Reads the application's data; none if there is no such session.
    async fn data(&self, id: &SessionId) -> session_store::Result<HashMap<String, Json>> {
        match self.sessions.load(id, &Origin::default()).await.map_err(backend)? {
            Lookup::Found(session) => {
                let own = session.fields.iter().filter(|(name, _)| !name.starts_with(OWN));
                own.map(|(name, field)| Ok((name.clone(), field.value().map_err(decode)?))).collect()
            }
            Lookup::Missing | Lookup::Mismatch(_) => Ok(HashMap::new()),
        }
    }
}

#[async_trait]
impl tower_sessions_core::SessionStore for SessionStore {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let mut new = NewSession {
            idle: Some(lifetime(record.expiry_date)),
            absolute: Some(Ttl::Never),
            ..NewSession::anonymous().with(EXPIRY, expiry_text(record.expiry_date))
        };
        let data = application_data(record)?.into_iter();
        new.fields.extend(data.map(|(name, value)| (name.to_owned(), value.clone())));
        let short = self.sessions.create_short(&new).await.map_err(backend)?;
        record.id = Id(i128::from_le_bytes(short.0));
        Ok(())
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let id = session_id(&record.id);
        let changes = self.changes(&id, record).await?;
        let update = Update { changes, version: None, lifetime: Some(lifetime(record.expiry_date)) };
        match self.sessions.update(&id, &update).await {
            Ok(_) => Ok(()),
            Err(Error::NotFound(_)) if self.late_save == LateSave::Discard => {
                tracing::debug!(session = %id.handle(), "a save after the end of its session");
                Ok(())
            }
            Err(error) => Err(backend(error)),
        }
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let found = self.sessions.load(&session_id(id), &Origin::default()).await.map_err(backend)?;
        let Lookup::Found(session) = found else {
            return Ok(None);
        };
        let expiry: Option<String> = session.value(EXPIRY).map_err(decode)?;
        let expiry_date = expiry.as_deref().and_then(read_expiry);
        let expiry_date = expiry_date.ok_or_else(|| session_store::Error::Decode("no date of expiry".to_owned()))?;
        let mut data = HashMap::with_capacity(session.fields.len());
        for (name, field) in session.fields.iter().filter(|(name, _)| !name.starts_with(OWN)) {
            data.insert(name.clone(), field.value::<Json>().map_err(decode)?);
        }
        let loaded: Map<String, Json> = data.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        data.insert(LOADED.to_owned(), Json::Object(loaded));
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.sessions.destroy(&session_id(id)).await.map(drop).map_err(backend)
    }
}

fn session_id(id: &Id) -> SessionId {
    ShortId(id.0.to_le_bytes()).into()
}

/// Returns an application's entries; a name that is ours is an error.
fn application_data(record: &Record) -> session_store::Result<Vec<(&str, &Json)>> {
    let entries = record.data.iter().filter(|(name, _)| *name != LOADED);
    entries
        .map(|(name, value)| match name.starts_with(OWN) {
            true => Err(session_store::Error::Encode(format!("{name:?}: names that begin with {OWN:?} are taken"))),
            false => Ok((name.as_str(), value)),
        })
        .collect()
}

fn change(name: &str, value: Option<Json>) -> Change {
    Change { name: name.to_owned(), value, version: None }
}

/// Returns how long a session lives that ends then. A date that has passed is the shortest lifetime there is.
fn lifetime(expiry_date: OffsetDateTime) -> Ttl {
    let ms = (expiry_date - OffsetDateTime::now_utc()).whole_milliseconds().clamp(1, i128::from(MAX_TTL_MS));
    Ttl::ms(ms as i64).expect("within the bounds")
}

fn expiry_text(expiry_date: OffsetDateTime) -> Json {
    Json::String(expiry_date.unix_timestamp_nanos().to_string())
}

fn read_expiry(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(text.parse().ok()?).ok()
}

fn backend(error: Error) -> session_store::Error {
    session_store::Error::Backend(error.to_string())
}

fn decode(error: Error) -> session_store::Error {
    session_store::Error::Decode(error.to_string())
}
