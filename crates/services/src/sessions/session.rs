//! What a session is, and how it lies in its hash.
//!
//! ```text
//! h  proof of the id      e  end, ms since 1970            u  user, escaped       b  bound to: i address, g agent
//! c  stamp, us since 1970 t  last seen, ms since 1970      w  workspace, escaped  .<name>  version:JSON
//! i  idle time, ms        v  version                       p  address
//! a  absolute end or 0    z  bytes of all fields           g  user agent                k  see session.lua
//! ```
//!
//! A field is JSON text that is read when it is asked for. Its version is that of the session when the field was last
//! changed; a field that is not there has version 0.

use std::collections::BTreeMap;
use std::net::IpAddr;

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::id::Handle;
use crate::error::{Error, Result};
use crate::keys::unescape;

/// A session as it was when it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its name for those who list and revoke.
    pub handle: Handle,
    /// Whose it is; `None` before a login.
    pub user: Option<String>,
    /// The workspace it works in.
    pub workspace: Option<String>,
    /// The address it was created from.
    pub ip: Option<IpAddr>,
    /// The user agent it was created by.
    pub agent: Option<String>,
    /// What must be the same whenever it is loaded.
    pub binding: Binding,
    /// When it was created, ms since 1970.
    pub created_ms: u64,
    /// When it was last touched, ms since 1970.
    pub last_seen_ms: u64,
    /// When it ends if it is not touched, ms since 1970.
    pub expires_ms: u64,
    /// When it ends in any case, ms since 1970; `None` for never.
    pub absolute_ms: Option<u64>,
    /// How long it lives after it was last touched, ms.
    pub idle_ms: u64,
    /// Counts the changes of its fields and messages, from 1.
    pub version: u64,
    /// Its data.
    pub fields: BTreeMap<String, Field>,
}

/// A value of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The session's version when this was last changed.
    pub version: u64,
    /// The value as JSON text.
    pub json: String,
}

impl Field {
    /// Reads the value; one of another shape is an error.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.json).map_err(|error| Error::invalid("value", error))
    }
}

impl Session {
    /// Reads a field, `None` if it is not there; a value of another shape is an error.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.fields.get(name).map(Field::value).transpose()
    }

    /// Returns the version of a field, 0 if it is not there.
    pub fn version_of(&self, name: &str) -> u64 {
        self.fields.get(name).map_or(0, |field| field.version)
    }

    /// Returns the first thing in which a request differs from what the session is bound to.
    pub(super) fn mismatch(&self, origin: &Origin) -> Option<Mismatch> {
        let (of_ip, of_agent) = self.binding.parts();
        if of_ip && self.ip != origin.ip {
            return Some(Mismatch::Ip);
        }
        (of_agent && self.agent != origin.agent).then_some(Mismatch::Agent)
    }
}

/// What must be the same at each loading as at the creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Nothing.
    #[default]
    Nothing,
    /// The address, to the bit.
    Ip,
    /// The user agent, to the letter.
    Agent,
    /// Both.
    IpAndAgent,
}

impl Binding {
    /// Returns whether address and user agent must be the same.
    pub(super) fn parts(self) -> (bool, bool) {
        (matches!(self, Self::Ip | Self::IpAndAgent), matches!(self, Self::Agent | Self::IpAndAgent))
    }

    /// Returns how it stands in the hash; nothing where nothing is bound.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Ip => "i",
            Self::Agent => "g",
            Self::IpAndAgent => "ig",
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::Nothing, Self::Ip, Self::Agent, Self::IpAndAgent].into_iter().find(|binding| binding.text() == text)
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its user agent.
    pub agent: Option<String>,
}

/// What loading found. The three are never confused, and an outage is an error.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// The session.
    Found(Box<Session>),
    /// There is no session with this id, or not any more.
    Missing,
    /// There is one, but it is bound to something else. It was left as it is.
    Mismatch(Mismatch),
}

/// In what a request differs from what a session is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// The address.
    Ip,
    /// The user agent.
    Agent,
}

/// A session and what proves that somebody holds its id.
pub(super) struct Record {
    pub(super) proof: Vec<u8>,
    pub(super) session: Session,
}

impl Record {
    /// Reads the reply to HGETALL, or to HMGET of some names, joined with them; `None` for a hash that is not there.
    pub(super) fn read(handle: Handle, pairs: Vec<(Value, Value)>) -> Result<Option<Self>> {
        let session = Session {
            handle,
            user: None,
            workspace: None,
            ip: None,
            agent: None,
            binding: Binding::Nothing,
            created_ms: 0,
            last_seen_ms: 0,
            expires_ms: 0,
            absolute_ms: None,
            idle_ms: 0,
            version: 0,
            fields: BTreeMap::new(),
        };
        let mut record = Self { proof: Vec::new(), session };
        let mut names = 0;
        for (name, value) in pairs {
            if value.is_nil() {
                continue;
            }
            names += 1;
            let known = match name.as_bytes() {
                Some([b'.', name @ ..]) => record.take_field(name, value),
                Some([letter]) => record.take(*letter, value),
                _ => None,
            };
            known.ok_or_else(|| Error::Backend("a session that nobody here has written".to_owned()))?;
        }
        Ok((names > 0).then_some(record))
    }

    fn take(&mut self, letter: u8, value: Value) -> Option<()> {
        let session = &mut self.session;
        let number = || value.as_u64();
        match letter {
            b'h' => self.proof = value.into_bytes().ok()?,
            b'c' => session.created_ms = number()? / 1000,
            b'i' => session.idle_ms = number()?,
            b'a' => session.absolute_ms = Some(number()?).filter(|end| *end > 0),
            b'e' => session.expires_ms = number()?,
            b't' => session.last_seen_ms = number()?,
            b'v' => session.version = number()?,
            b'u' => session.user = Some(unescape(value.as_str()?)?.into_owned()),
            b'w' => session.workspace = Some(unescape(value.as_str()?)?.into_owned()),
            b'p' => session.ip = Some(value.as_str()?.parse().ok()?),
            b'g' => session.agent = Some(value.as_str()?.to_owned()),
            b'b' => session.binding = Binding::read(value.as_str()?)?,
            // Names that a later version may add.
            _ => {}
        }
        Some(())
    }

    fn take_field(&mut self, name: &[u8], value: Value) -> Option<()> {
        let name = String::from_utf8(name.to_vec()).ok()?;
        let mut json = String::from_utf8(value.into_bytes().ok()?).ok()?;
        let colon = json.find(':')?;
        let version = json[..colon].parse().ok()?;
        json.drain(..=colon);
        self.session.fields.insert(name, Field { version, json });
        Some(())
    }
}

/// Writes a value as it lies in a field, behind the version.
pub(super) fn json_text(value: &Json) -> String {
    // A Value has no maps with keys that are not text, which is all that could fail.
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::id::SessionId;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Record>> {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let pairs = pairs.iter().map(|(name, value)| (bulk(name), bulk(value))).collect();
        Record::read(SessionId::generate(None).unwrap().handle(), pairs)
    }

    #[test]
    fn a_hash_is_read() {
        assert!(read(&[]).unwrap().is_none());
        let pairs =
            [("h", "x"), ("c", "1763700000000001"), ("a", "0"), ("u", "a%3Ab"), ("p", "::1"), ("b", "ig"), ("q", "?")];
        let record = read(&pairs).unwrap().unwrap();
        assert_eq!((record.proof.as_slice(), record.session.created_ms), (&b"x"[..], 1_763_700_000_000));
        assert_eq!((record.session.user.as_deref(), record.session.absolute_ms), (Some("a:b"), None));
        assert_eq!(record.session.binding, Binding::IpAndAgent);
        let record = read(&[(".a:b", "7:{\"x\":1}"), (".", "8:null")]).unwrap().unwrap();
        assert_eq!(record.session.value::<Json>("a:b").unwrap(), Some(serde_json::json!({"x": 1})));
        assert_eq!((record.session.version_of("a:b"), record.session.version_of("c")), (7, 0));
        assert!(record.session.value::<u8>("a:b").is_err());
    }

    #[test]
    fn foreign_bytes_are_an_error() {
        for pair in [("c", "soon"), ("p", "nowhere"), ("b", "z"), (".f", "no version"), ("long", "1"), ("u", "%")] {
            assert!(matches!(read(&[pair]), Err(Error::Backend(_))), "{pair:?}");
        }
    }
}
