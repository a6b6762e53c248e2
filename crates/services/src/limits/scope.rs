//! Who a limit is about: a user, an organisation, an address, everybody. What lies in one scope shares a hash tag.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::keys::{Group, Keyring, Tenant, check_name};

/// The kind of the scope that everybody shares.
const GLOBAL: &str = "global";

/// One subject of a kind, `user:42`, or everybody, `global`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    kind: String,
    id: Option<String>,
}

impl Scope {
    /// Names a subject. A kind is a word such as `user`; an id may be any text.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Result<Self> {
        let (kind, id) = (kind.into(), id.into());
        check_kind(&kind)?;
        check_name("scope", &id)?;
        Ok(Self { kind, id: Some(id) })
    }

    /// Returns the scope that everybody shares.
    pub fn global() -> Self {
        Self { kind: GLOBAL.to_owned(), id: None }
    }

    /// Returns the keys of what is known about the scope.
    pub(super) fn group(&self, keyring: &Keyring, tenant: &Tenant) -> Group {
        match &self.id {
            Some(id) => keyring.group(tenant, "limits", &[&self.kind, id]),
            None => keyring.group(tenant, "limits", &[&self.kind]),
        }
    }
}

/// Refuses what is no word, and the word for everybody.
pub(super) fn check_kind(kind: &str) -> Result<()> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if kind.is_empty() || kind.len() > 64 || !kind.chars().all(is_word) {
        return Err(Error::invalid("scope", format_args!("{kind:?} is no kind: letters, digits, _ and -, 64 at most")));
    }
    if kind == GLOBAL {
        return Err(Error::invalid("scope", "everybody is one scope, which has no id"));
    }
    Ok(())
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(formatter, "{}:{id}", self.kind),
            None => formatter.write_str(&self.kind),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((kind, id)) => Self::new(kind, id),
            None if text == GLOBAL => Ok(Self::global()),
            None => Err(Error::invalid("scope", "must be kind:id, or global")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for text in ["user:42", "ip:::1", "user: ", "global"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "user", "user:", ":42", "global:1", "us er:1"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    #[test]
    fn scopes_do_not_meet() {
        let group = |scope: &Scope| scope.group(&Keyring::new("rp").unwrap(), &Tenant::default());
        let (plain, odd) = (Scope::new("user", "a:b").unwrap(), Scope::new("user", "a%3Ab").unwrap());
        assert_ne!(group(&plain), group(&odd));
        assert_eq!(group(&plain).key("x").as_str(), "rp:{default:limits:user:a%3Ab}:x");
        assert_eq!(group(&Scope::global()).key("x").as_str(), "rp:{default:limits:global}:x");
    }
}
