//! What callers give: a new session, and changes of one. Checked here, before anything is sent.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value as Json;

use super::session::{Binding, json_text};
use super::settings::{MAX_AGENT_BYTES, MAX_FIELD_NAME_BYTES, MAX_FIELDS, SessionsSettings};
use crate::error::{Error, Result};
use crate::keys::{check_name, escape};
use crate::ttl::Ttl;

/// A session to be created. Absent parts are those of the settings, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewSession {
    /// Whose it is; `None` before a login.
    pub user: Option<String>,
    /// The workspace it works in.
    pub workspace: Option<String>,
    /// The address of the request.
    pub ip: Option<IpAddr>,
    /// The user agent of the request.
    pub agent: Option<String>,
    /// What must be the same whenever the session is loaded.
    pub binding: Binding,
    /// How long it lives after it was last touched; finite.
    pub idle: Option<Ttl>,
    /// How long it lives at most.
    pub absolute: Option<Ttl>,
    /// Its data.
    pub fields: Vec<(String, Json)>,
}

impl NewSession {
    /// Starts a session of nobody.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Starts a session of a user.
    pub fn of(user: impl Into<String>) -> Self {
        Self { user: Some(user.into()), ..Self::default() }
    }

    /// Sets a field.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Json) -> Self {
        self.fields.push((name.into(), value));
        self
    }
}

/// A new session, checked, as the step takes it.
pub(super) struct Checked {
    /// Escaped; empty for none.
    pub(super) user: String,
    pub(super) workspace: String,
    pub(super) idle_ms: u64,
    /// 0 for none.
    pub(super) absolute_ms: u64,
    pub(super) bytes: usize,
    /// Names and values of the hash.
    pub(super) pairs: Vec<(String, String)>,
}

impl Checked {
    pub(super) fn new(new: &NewSession, settings: &SessionsSettings) -> Result<Self> {
        let name = |field, name: &Option<String>| match name {
            Some(name) => check_name(field, name).map(|()| escape(name)),
            None => Ok(String::new()),
        };
        let (user, workspace) = (name("user", &new.user)?, name("workspace", &new.workspace)?);
        let idle_ms = finite("idle_ms", new.idle.unwrap_or(settings.idle))?;
        let absolute_ms = new.absolute.unwrap_or(settings.absolute).script_ms();
        let mut pairs = Vec::new();
        let (of_ip, of_agent) = new.binding.parts();
        if (of_ip && new.ip.is_none()) || (of_agent && new.agent.is_none()) {
            return Err(Error::invalid("binding", "to an address or user agent that is not given"));
        }
        if let Some(ip) = new.ip {
            pairs.push(("p".to_owned(), ip.to_string()));
        }
        if let Some(agent) = &new.agent {
            if agent.len() > MAX_AGENT_BYTES {
                return Err(Error::invalid("agent", format_args!("longer than {MAX_AGENT_BYTES} bytes")));
            }
            pairs.push(("g".to_owned(), agent.clone()));
        }
        if new.binding != Binding::Nothing {
            pairs.push(("b".to_owned(), new.binding.text().to_owned()));
        }
        check_names(new.fields.iter().map(|(name, _)| name.as_str()))?;
        let mut bytes = 0;
        for (name, value) in &new.fields {
            let json = json_text(value);
            bytes += name.len() + json.len();
            pairs.push((format!(".{name}"), format!("1:{json}")));
        }
        check_bytes(bytes, settings.bytes_max)?;
        Ok(Self { user, workspace, idle_ms, absolute_ms, bytes, pairs })
    }
}

/// Changes of a session's fields: all of them are made, or none.
///
/// Fields that are not named stay as they are, whoever changes them at the same time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// What to change.
    pub changes: Vec<Change>,
    /// The version that the session must have.
    pub version: Option<u64>,
    /// A lifetime from now; `None` leaves the session's end as it is.
    pub lifetime: Option<Ttl>,
}

/// A change of one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which.
    pub name: String,
    /// The new value; `None` removes the field.
    pub value: Option<Json>,
    /// The version that the field must have, 0 for one that must not be there.
    pub version: Option<u64>,
}

impl Update {
    /// Starts without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a field.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.changes.push(Change { name: name.into(), value: Some(value.into()), version: None });
        self
    }

    /// Sets a field to anything that has a JSON form.
    pub fn set_as<T: Serialize + ?Sized>(self, name: impl Into<String>, value: &T) -> Result<Self> {
        let json = serde_json::to_value(value).map_err(|error| Error::invalid("value", error))?;
        Ok(self.set(name, json))
    }

    /// Sets a field if it has a version; 0 is the version of one that is not there.
    #[must_use]
    pub fn set_if(mut self, name: impl Into<String>, value: impl Into<Json>, version: u64) -> Self {
        self.changes.push(Change { name: name.into(), value: Some(value.into()), version: Some(version) });
        self
    }

    /// Removes a field; none to remove is no error.
    #[must_use]
    pub fn remove(mut self, name: impl Into<String>) -> Self {
        self.changes.push(Change { name: name.into(), value: None, version: None });
        self
    }

    /// Makes the changes only if the session has this version: nothing in it has changed since.
    #[must_use]
    pub fn if_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Returns name, expected version, verb and JSON of each change, as the step takes them.
    pub(super) fn args(&self, settings: &SessionsSettings) -> Result<Vec<String>> {
        if self.changes.is_empty() {
            return Err(Error::invalid("changes", "must not be empty"));
        }
        check_names(self.changes.iter().map(|change| change.name.as_str()))?;
        let mut args = Vec::with_capacity(self.changes.len() * 4);
        for change in &self.changes {
            let (verb, json) = match &change.value {
                Some(value) => ("set", json_text(value)),
                None => ("remove", String::new()),
            };
            check_bytes(json.len(), settings.bytes_max)?;
            args.push(change.name.clone());
            args.push(version_text(change.version));
            args.push(verb.to_owned());
            args.push(json);
        }
        Ok(args)
    }
}

/// Writes an expected version as the steps take it.
pub(super) fn version_text(version: Option<u64>) -> String {
    version.map(|version| version.to_string()).unwrap_or_default()
}

/// Returns a lifetime in milliseconds that must have an end.
pub(super) fn finite(field: &'static str, ttl: Ttl) -> Result<u64> {
    match ttl {
        Ttl::Ms(ms) => Ok(ms.get()),
        Ttl::Never => Err(Error::invalid(field, "a session must end when nobody uses it")),
    }
}

/// Refuses what is too large.
pub(super) fn check_bytes(size_bytes: usize, max_bytes: usize) -> Result<()> {
    if size_bytes > max_bytes {
        return Err(Error::TooLarge { size_bytes, max_bytes });
    }
    Ok(())
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name("field", name)?;
        if name.len() > MAX_FIELD_NAME_BYTES {
            return Err(Error::invalid("field", format_args!("name longer than {MAX_FIELD_NAME_BYTES} bytes")));
        }
        if !seen.insert(name) {
            return Err(Error::invalid("field", format_args!("{name:?} is named twice")));
        }
    }
    if seen.len() > MAX_FIELDS {
        return Err(Error::invalid("fields", format_args!("more than {MAX_FIELDS}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn new_sessions_are_checked() {
        let settings = SessionsSettings { bytes_max: 10, ..SessionsSettings::default() };
        let check = |new: NewSession| Checked::new(&new, &settings).map(drop);
        assert_eq!(check(NewSession::of("ann").with("a", json!("1234567"))), Ok(()));
        let too_large = Err(Error::TooLarge { size_bytes: 11, max_bytes: 10 });
        assert_eq!(check(NewSession::anonymous().with("a", json!("12345678"))), too_large);
        let bound = |binding| NewSession { binding, ..NewSession::of("ann") };
        for bad in [
            NewSession::of(""),
            NewSession::of("x".repeat(1025)),
            NewSession { workspace: Some(String::new()), ..NewSession::default() },
            NewSession { idle: Some(Ttl::Never), ..NewSession::default() },
            NewSession { agent: Some("x".repeat(MAX_AGENT_BYTES + 1)), ..NewSession::default() },
            NewSession::anonymous().with("", json!(1)),
            NewSession::anonymous().with("a", json!(1)).with("a", json!(2)),
            bound(Binding::Ip),
            bound(Binding::Agent),
        ] {
            assert!(matches!(check(bad.clone()), Err(Error::InvalidInput { .. })), "{bad:?}");
        }
        let many = (0..=MAX_FIELDS).fold(NewSession::anonymous(), |new, index| new.with(format!("{index}"), json!(1)));
        assert!(Checked::new(&many, &SessionsSettings::default()).is_err());
    }

    #[test]
    fn updates_are_checked() {
        let settings = SessionsSettings::default();
        assert!(Update::new().args(&settings).is_err());
        assert!(Update::new().set("a", 1).remove("a").args(&settings).is_err());
        assert!(Update::new().remove("x".repeat(MAX_FIELD_NAME_BYTES + 1)).args(&settings).is_err());
        let args = Update::new().set("a", 1).set_if("b", "x", 0).remove("c").args(&settings).unwrap();
        assert_eq!(args, ["a", "", "set", "1", "b", "0", "set", "\"x\"", "c", "", "remove", ""]);
    }
}
