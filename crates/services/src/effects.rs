//! Changes of data that a step makes together with its own: what a job did when it is completed, what is told of when an event is published.
//!
//! One step has one hash tag, so the data lies in the group of the service's keys, which names it for whoever reads it. A step first asks
//! whether all effects fit what their keys hold, and then applies them; `effects.lua` has both halves.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::keys::{Group, Key, check_name};
use crate::ttl::Ttl;

/// Functions that steps with effects use.
pub(crate) const EFFECTS: &str = include_str!("effects.lua");

/// Most effects of one step.
pub const MAX_EFFECTS: usize = 100;

/// Largest number that is added, either way: 2^53, what Lua holds exactly. A sum beyond is refused.
pub const MAX_SUM: i64 = 1 << 53;

/// A change of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Puts a value there, whatever was there before.
    Set {
        /// The value.
        value: Vec<u8>,
        /// How long it lives.
        ttl: Ttl,
    },
    /// Adds to an integer, which is 0 if there is none.
    Add {
        /// What to add, at most [`MAX_SUM`].
        by: i64,
    },
    /// Removes what is there.
    Delete,
    /// Sets a field of a hash.
    Field {
        /// The field.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// Appends to a list.
    Push {
        /// The element.
        value: Vec<u8>,
    },
}

impl Effect {
    /// Returns the effect as the steps take it: verb, what, more.
    pub(crate) fn spelled(&self) -> Result<[Vec<u8>; 3]> {
        let parts = |verb: &str, what: Vec<u8>, more: Vec<u8>| [verb.as_bytes().to_vec(), what, more];
        Ok(match self {
            Self::Set { value, ttl } => parts("set", value.clone(), ttl.script_ms().to_string().into_bytes()),
            Self::Add { by } if (-MAX_SUM..=MAX_SUM).contains(by) => {
                parts("add", by.to_string().into_bytes(), Vec::new())
            }
            Self::Add { .. } => return Err(Error::invalid("by", format_args!("more than {MAX_SUM}"))),
            Self::Delete => parts("delete", Vec::new(), Vec::new()),
            Self::Field { name, value } => parts("field", name.as_bytes().to_vec(), value.clone()),
            Self::Push { value } => parts("push", value.clone(), Vec::new()),
        })
    }
}

/// A change of data beside a service's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "effect", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum EffectForm {
    /// Puts a value there.
    Set {
        /// Name of the data.
        name: String,
        /// The value.
        value: String,
        /// How long it lives, in milliseconds; for ever if absent.
        ttl_ms: Option<i64>,
    },
    /// Adds to an integer.
    Add {
        /// Name of the data.
        name: String,
        /// What to add.
        by: i64,
    },
    /// Removes what is there.
    Delete {
        /// Name of the data.
        name: String,
    },
    /// Sets a field of a hash.
    Field {
        /// Name of the data.
        name: String,
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// Appends to a list.
    Push {
        /// Name of the data.
        name: String,
        /// The element.
        value: String,
    },
}

impl EffectForm {
    pub(crate) fn read(self) -> Result<(String, Effect)> {
        Ok(match self {
            Self::Set { name, value, ttl_ms } => {
                let ttl = ttl_ms.map_or(Ok(Ttl::Never), Ttl::ms)?;
                (name, Effect::Set { value: value.into_bytes(), ttl })
            }
            Self::Add { name, by } => (name, Effect::Add { by }),
            Self::Delete { name } => (name, Effect::Delete),
            Self::Field { name, field, value } => (name, Effect::Field { name: field, value: value.into_bytes() }),
            Self::Push { name, value } => (name, Effect::Push { value: value.into_bytes() }),
        })
    }
}

/// Returns where data of that name lies in a service's group.
pub(crate) fn data_key(group: &Group, name: &str) -> Result<Key> {
    check_name("name", name)?;
    Ok(group.named("u", name))
}

/// Returns the keys of effects, each of which has a name of its own.
pub(crate) fn data_keys(group: &Group, effects: &[(String, Effect)]) -> Result<Vec<Key>> {
    if effects.len() > MAX_EFFECTS {
        return Err(Error::invalid("effects", format_args!("more than {MAX_EFFECTS}")));
    }
    let mut names = HashSet::new();
    let mut keys = Vec::with_capacity(effects.len());
    for (name, _) in effects {
        if !names.insert(name) {
            return Err(Error::invalid("effects", format_args!("{name:?} is there twice")));
        }
        keys.push(data_key(group, name)?);
    }
    Ok(keys)
}

/// Returns the error of an effect that does not fit, by the number that the step gave.
pub(crate) fn misfit(effects: &[(String, Effect)], number: u64) -> Error {
    let index = usize::try_from(number).unwrap_or_default().wrapping_sub(1);
    let name = effects.get(index).map_or("", |(name, _)| name.as_str());
    Error::Conflict(format!("{name:?} holds something else than the effect takes"))
}
