//! Sessions of other libraries, in their layout and under their keys, so that an application can switch.
//!
//! | layout | key | value |
//! |---|---|---|
//! | Flask-Session 0.8, Redis | `session:<sid>` | MessagePack map; JSON where it is set so |
//! | connect-redis 7 to 9 (express-session) | `sess:<sid>` | JSON object with `cookie` |
//!
//! A program of either kind reads what is written here, and the other way round, so both can run beside each other.
//! [`Foreign::import`] makes one of ours of such a session and removes it, if nobody changed it meanwhile: of imports at
//! once one succeeds.
//!
//! These layouts are one value under one key: a save replaces everything, so two at once lose one's changes. What can be
//! kept is kept: a save of a session that has ended does not bring it back, ids of new ones are made here, and a read
//! leaves the lifetime alone. Everything else is what importing is for.
//!
//! Not here: Flask-Session's older pickle, which runs code when it is read, signed ids (`SESSION_USE_SIGNER`, and
//! the signature that express-session puts behind the sid in its cookie), which the application must take off, and types
//! that JSON does not have (bytes, points in time), which are refused.

mod connect;
mod flask;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redpoll_resp::Value;
use serde_json::{Map, Value as Json};

use super::id::{no_session, random};
use super::input::{NewSession, check_bytes, finite};
use super::{Created, Sessions, steps};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::check_name;
use crate::ttl::Ttl;

/// Random bytes in an id that is made here, as many as Flask-Session takes.
const SID_BYTES: usize = 32;

/// Whose layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Flask-Session with the Redis backend.
    FlaskSession,
    /// connect-redis, the store of express-session.
    ConnectRedis,
}

impl Layout {
    /// Returns what the library puts before ids if it is not told otherwise.
    pub fn default_prefix(self) -> &'static str {
        match self {
            Self::FlaskSession => "session:",
            Self::ConnectRedis => "sess:",
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<Map<String, Json>> {
        match self {
            Self::FlaskSession => flask::decode(bytes),
            Self::ConnectRedis => connect::decode(bytes),
        }
    }

    fn encode(self, data: &Map<String, Json>) -> Result<Vec<u8>> {
        match self {
            Self::FlaskSession => flask::encode(data),
            Self::ConnectRedis => connect::encode(data),
        }
    }
}

/// The sessions of another library. They are not a tenant's: their keys are the library's.
#[derive(Debug, Clone)]
pub struct Foreign {
    sessions: Sessions,
    layout: Layout,
    prefix: String,
}

impl Sessions {
    /// Opens the sessions of another library, with the library's own prefix if `None`.
    pub fn foreign(&self, layout: Layout, prefix: Option<&str>) -> Result<Foreign> {
        let prefix = prefix.unwrap_or(layout.default_prefix());
        if self.services.settings().keyring.owns(prefix) {
            return Err(Error::invalid("prefix", "these keys are the services' own"));
        }
        Ok(Foreign { sessions: self.clone(), layout, prefix: prefix.to_owned() })
    }
}

impl Foreign {
    /// Reads a session, `None` if there is none. Changes nothing.
    pub async fn load(&self, sid: &str) -> Result<Option<Map<String, Json>>> {
        match self.read(sid).await? {
            Some(bytes) => self.layout.decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Creates a session and returns its id, which is made here.
    pub async fn create(&self, data: &Map<String, Json>, lifetime: Ttl) -> Result<String> {
        let sid = BASE64.encode(random::<SID_BYTES>()?);
        match self.set(&sid, data, lifetime, "NX").await? {
            true => Ok(sid),
            false => Err(Error::Conflict("an id that was made before".to_owned())),
        }
    }

    /// Replaces the data of a session that is there, and its lifetime. [`Error::NotFound`] if it is not.
    pub async fn save(&self, sid: &str, data: &Map<String, Json>, lifetime: Ttl) -> Result<()> {
        match self.set(sid, data, lifetime, "XX").await? {
            true => Ok(()),
            false => Err(no_session()),
        }
    }

    /// Ends a session; tells whether there was one.
    pub async fn destroy(&self, sid: &str) -> Result<bool> {
        let command = Command::new("DEL").key(self.key(sid)?);
        self.sessions.call_unkept(command).await.map(|reply| reply.as_i64() == Some(1))
    }

    /// Makes one of our sessions of what `new` says and the data of a session of the library, which ends.
    ///
    /// Each name of the data becomes a field, where `new` has none of the name; the `cookie` of express-session, which
    /// is about the old cookie, does not. [`Error::NotFound`] if there is no such session or another import was faster,
    /// [`Error::Conflict`] if it was saved meanwhile.
    pub async fn import(&self, sid: &str, new: &NewSession) -> Result<Created> {
        let bytes = self.read(sid).await?.ok_or_else(no_session)?;
        let mut whole = new.clone();
        for (name, value) in self.layout.decode(&bytes)? {
            let about_the_cookie = self.layout == Layout::ConnectRedis && name == connect::COOKIE;
            if !about_the_cookie && new.fields.iter().all(|(given, _)| *given != name) {
                whole.fields.push((name, value));
            }
        }
        let created = self.sessions.create(&whole).await?;
        let left = self.sessions.call_unkept(Command::script(&steps::LEAVE, &[self.key(sid)?], &[&bytes])).await;
        if matches!(&left, Ok(Value::Int(1))) {
            return Ok(created);
        }
        self.sessions.destroy(&created.id).await?;
        match left?.as_i64() {
            Some(0) => Err(no_session()),
            _ => Err(Error::Conflict("the session was saved meanwhile".to_owned())),
        }
    }

    async fn read(&self, sid: &str) -> Result<Option<Vec<u8>>> {
        let reply = self.sessions.call_unkept(Command::new("GET").key(self.key(sid)?).repeatable()).await?;
        if reply.is_nil() {
            return Ok(None);
        }
        reply.into_bytes().map(Some).map_err(|reply| Error::unexpected("GET", &reply))
    }

    async fn set(&self, sid: &str, data: &Map<String, Json>, lifetime: Ttl, when: &'static str) -> Result<bool> {
        let bytes = self.layout.encode(data)?;
        check_bytes(bytes.len(), self.sessions.settings().bytes_max)?;
        let lifetime_ms = finite("lifetime_ms", lifetime)?;
        let command = Command::new("SET").key(self.key(sid)?).arg(bytes).arg("PX").arg(lifetime_ms).arg(when);
        self.sessions.call_unkept(command).await.map(|reply| !reply.is_nil())
    }

    fn key(&self, sid: &str) -> Result<String> {
        check_name("sid", sid)?;
        let key = format!("{}{sid}", self.prefix);
        // A prefix that is empty, or the beginning of ours, leaves it to whoever chose the sid where the key lies.
        match self.sessions.services.settings().keyring.owns(&key) {
            true => Err(Error::invalid("sid", "leads to the services' own keys")),
            false => Ok(key),
        }
    }
}

/// Takes an object apart; anything else is no session.
fn object(json: Json, layout: &'static str) -> Result<Map<String, Json>> {
    match json {
        Json::Object(data) => Ok(data),
        _ => Err(unreadable(layout, "not a map")),
    }
}

fn unreadable(layout: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::Backend(format!("not a session of {layout}: {reason}"))
}
