//! Versioned values: compare and set, get and set, delete if equal.
//!
//! A register is one value with a lifetime; a record is a hash of fields, each versioned by itself. Both are a hash in the
//! store with two entries for each value, its version and its bytes (`change.lua`).
//!
//! **Versions** come from the store's clock in microseconds and grow with each write, so a value that went away and came
//! back, or changed from A to B to A, has another version: comparing versions sees what comparing values does not. That
//! holds unless the store's clock goes back (failover) to the very microsecond of an earlier write.

use redpoll_resp::Value as Reply;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Call, read};
use super::{Lifetime, Object, steps};
use crate::backend::{Command, ToArg};
use crate::error::{Error, Result};
use crate::metrics::Counter;

/// How often [`Register::update`] tries before it gives up.
pub const MAX_UPDATE_ATTEMPTS: u32 = 64;

/// What a value must be for a change to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// There is none. `""` and JSON `null` are values.
    Absent,
    /// It has this version. This is the comparison that notices every change.
    Version(u64),
    /// It has these bytes, whether or not it had others meanwhile.
    Bytes(Vec<u8>),
}

/// A value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Grows with each write.
    pub version: u64,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// It was as expected and is changed; the new version, `None` for what was deleted.
    Done(Option<u64>),
    /// It was not; nothing was changed. What there is, if anything.
    Refused(Option<Versioned<Vec<u8>>>),
}

/// What a step of `change.lua` answers.
struct Changed {
    applied: bool,
    version: Option<u64>,
    before: Option<Versioned<Vec<u8>>>,
}

/// One value with a lifetime.
#[derive(Debug, Clone)]
pub struct Register(Object);

/// A hash whose fields are versioned one by one. Its lifetime is that of all.
#[derive(Debug, Clone)]
pub struct Record(Object);

/// One field of a [`Record`].
#[derive(Debug, Clone)]
pub struct Field {
    object: Object,
    name: String,
}

impl Register {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    /// Returns what all kinds of objects have: key, lifetime, removal.
    pub fn object(&self) -> &Object {
        &self.0
    }

    fn field(&self) -> Field {
        Field { object: self.0.clone(), name: String::new() }
    }

    /// Reads the value.
    pub fn read(&self) -> Call<Option<Versioned<Vec<u8>>>> {
        self.field().read()
    }

    /// Sets the value if it is as expected. Above the cap of [`AtomicSettings`](super::AtomicSettings) it is an error.
    pub fn compare_and_set(&self, expected: &Expected, value: &[u8], lifetime: Lifetime) -> Call<Compared> {
        self.field().compare_and_set(expected, value, lifetime)
    }

    /// Deletes the value if it is as expected.
    pub fn compare_and_delete(&self, expected: &Expected) -> Call<Compared> {
        self.field().compare_and_delete(expected)
    }

    /// Sets the value, or deletes it for `None`, and returns what it was.
    pub fn swap(&self, value: Option<&[u8]>, lifetime: Lifetime) -> Call<Option<Versioned<Vec<u8>>>> {
        self.field().swap(value, lifetime)
    }

    /// Reads a value of a type from its JSON.
    pub fn read_json<T: DeserializeOwned + 'static>(&self) -> Call<Option<Versioned<T>>> {
        self.field().read_json()
    }

    /// Sets a value as JSON if the one there is as expected, which is best said by its version: one value can be written
    /// in several ways.
    pub fn compare_and_set_json<T: Serialize>(
        &self,
        expected: &Expected,
        value: &T,
        lifetime: Lifetime,
    ) -> Call<Compared> {
        self.field().compare_and_set_json(expected, value, lifetime)
    }

    /// Reads a value, changes it and sets it if nobody else did meanwhile, and otherwise begins anew; `change` may run
    /// several times. `None` is no value, before and after. Keeps the lifetime. After [`MAX_UPDATE_ATTEMPTS`] the
    /// error is [`Error::Conflict`].
    pub async fn update<T, F>(&self, change: F) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned + 'static,
        F: FnMut(Option<T>) -> Option<T>,
    {
        self.field().update(change).await
    }
}

impl Record {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    /// Returns what all kinds of objects have: key, lifetime, removal.
    pub fn object(&self) -> &Object {
        &self.0
    }

    /// Opens a field; its name has 1 to [`MAX_NAME_BYTES`](crate::keys::MAX_NAME_BYTES) bytes.
    pub fn field(&self, name: &str) -> Result<Field> {
        crate::keys::check_name("field", name)?;
        Ok(Field { object: self.0.clone(), name: name.to_owned() })
    }
}

impl Field {
    /// Reads the field.
    pub fn read(&self) -> Call<Option<Versioned<Vec<u8>>>> {
        let (version, bytes) = (format!("v{}", self.name), format!("b{}", self.name));
        let command = Command::new("HMGET").key(&self.object.key).arg(version).arg(bytes).repeatable();
        Call::new(&self.object.services, Ok(command), |reply| match reply.as_array() {
            Some([version, bytes]) => versioned(version, bytes),
            _ => Err(Error::unexpected("HMGET", &reply)),
        })
    }

    /// Sets the field if it is as expected.
    pub fn compare_and_set(&self, expected: &Expected, value: &[u8], lifetime: Lifetime) -> Call<Compared> {
        let (kind, expectation) = expectation(expected);
        self.change((kind, &expectation), Some(value), lifetime).map(|changed| Ok(changed.into()))
    }

    /// Removes the field if it is as expected.
    pub fn compare_and_delete(&self, expected: &Expected) -> Call<Compared> {
        let (kind, expectation) = expectation(expected);
        self.change((kind, &expectation), None, Lifetime::Keep).map(|changed| Ok(changed.into()))
    }

    /// Sets the field, or removes it for `None`, and returns what it was.
    pub fn swap(&self, value: Option<&[u8]>, lifetime: Lifetime) -> Call<Option<Versioned<Vec<u8>>>> {
        self.change(("any", b""), value, lifetime).map(|changed| Ok(changed.before))
    }

    /// As [`Register::read_json`].
    pub fn read_json<T: DeserializeOwned + 'static>(&self) -> Call<Option<Versioned<T>>> {
        self.read().map(|found| {
            found.map(|found| Ok(Versioned { value: parsed(&found.value)?, version: found.version })).transpose()
        })
    }

    /// As [`Register::compare_and_set_json`].
    pub fn compare_and_set_json<T: Serialize>(
        &self,
        expected: &Expected,
        value: &T,
        lifetime: Lifetime,
    ) -> Call<Compared> {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.compare_and_set(expected, &bytes, lifetime),
            Err(error) => Call::new(&self.object.services, Err(Error::invalid("value", error)), |reply| {
                Err(Error::unexpected("nothing", &reply))
            }),
        }
    }

    /// As [`Register::update`].
    pub async fn update<T, F>(&self, mut change: F) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned + 'static,
        F: FnMut(Option<T>) -> Option<T>,
    {
        for _ in 0..MAX_UPDATE_ATTEMPTS {
            let found = self.read_json::<T>().await?;
            let (before, expected) = match found {
                Some(found) => (Some(found.value), Expected::Version(found.version)),
                None => (None, Expected::Absent),
            };
            let after = change(before);
            let compared = match &after {
                Some(value) => self.compare_and_set_json(&expected, value, Lifetime::Keep).await?,
                None if expected == Expected::Absent => return Ok(None),
                None => self.compare_and_delete(&expected).await?,
            };
            if let Compared::Done(_) = compared {
                return Ok(after);
            }
        }
        Err(Error::Conflict(format!("others changed the value each of {MAX_UPDATE_ATTEMPTS} times")))
    }

    fn change(&self, expected: (&str, &[u8]), value: Option<&[u8]>, lifetime: Lifetime) -> Call<Changed> {
        let services = self.object.services.clone();
        let lifetime = match lifetime {
            Lifetime::Keep => "keep".to_owned(),
            Lifetime::Set(ttl) => ttl.script_ms().to_string(),
        };
        let what = if value.is_some() { "put" } else { "remove" };
        let bytes = value.unwrap_or_default();
        let args: [&dyn ToArg; 6] = [&self.name, &expected.0, &expected.1, &what, &bytes, &lifetime];
        let size = services.settings().atomic.check_size(bytes);
        let command = size.map(|()| Command::script(&steps::CHANGE, &[&self.object.key], &args));
        Call::new(&self.object.services, command, move |reply| {
            let changed = match reply.as_array() {
                Some([applied, after, version, bytes]) => Changed {
                    applied: applied.as_i64() == Some(1),
                    version: read::number(after).and_then(|version| version.try_into().ok()),
                    before: versioned(version, bytes)?,
                },
                _ => return Err(Error::unexpected("atomic.change", &reply)),
            };
            let counter = if changed.applied { Counter::AtomicApplied } else { Counter::AtomicRefused };
            services.metrics().add(counter, 1);
            Ok(changed)
        })
    }
}

impl From<Changed> for Compared {
    fn from(changed: Changed) -> Self {
        if changed.applied { Self::Done(changed.version) } else { Self::Refused(changed.before) }
    }
}

fn expectation(expected: &Expected) -> (&'static str, Vec<u8>) {
    match expected {
        Expected::Absent => ("absent", Vec::new()),
        Expected::Version(version) => ("version", version.to_string().into_bytes()),
        Expected::Bytes(bytes) => ("value", bytes.clone()),
    }
}

fn versioned(version: &Reply, bytes: &Reply) -> Result<Option<Versioned<Vec<u8>>>> {
    match (version, bytes) {
        (Reply::Nil, Reply::Nil) => Ok(None),
        (version, bytes) => {
            let number = read::number(version).and_then(|version| version.try_into().ok());
            match (number, bytes.as_bytes()) {
                (Some(version), Some(bytes)) => Ok(Some(Versioned { value: bytes.to_vec(), version })),
                _ => Err(Error::unexpected("a versioned value", bytes)),
            }
        }
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Backend(format!("the stored value is not of this type: {error}")))
}
