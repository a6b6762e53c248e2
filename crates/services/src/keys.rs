//! Where every key of every service is built.
//!
//! ```text
//! rp:{acme:cache:users:07}:v:42
//! ── ───────────────────── ────
//! │  group: tenant, service and what must stay together; the hash tag
//! │                        └ parts: the object inside the group
//! └ prefix, one per deployment
//! ```
//!
//! A Cluster places a key by the text between its first `{` and the next `}`. The group is that text, so everything
//! one atomic step touches shares a slot, while different groups (another subject, another queue, another partition of
//! a cache) spread over the nodes. Each service states in its essay what its group is.
//!
//! All text that comes from callers is percent-escaped: `:`, `{`, `}`, `%` and control characters become `%XX`. The
//! escape is injective and the separators cannot occur in escaped text, so two different objects never share a key,
//! one tenant cannot name another's key, and the hash tag cannot be forged. The names of services and parts are
//! constants of this crate. A prefix may contain `:` but nothing else that is escaped.
//!
//! What must not be evicted (see [`kept`](crate::kept)) lies below `rp:kept:`, so that one prefix names all of it.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Result};

/// Longest name a caller may give to anything, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// Longest tenant name, in bytes.
pub const MAX_TENANT_BYTES: usize = 128;

/// What follows the prefix in the names of keys that must not be evicted.
const KEPT: &str = ":kept";

/// One customer, application or workspace: the outermost wall between data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

impl Tenant {
    /// Takes a name of 1 to [`MAX_TENANT_BYTES`] bytes; any characters are allowed.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        check_name("tenant", &name)?;
        if name.len() > MAX_TENANT_BYTES {
            return Err(Error::invalid("tenant", format_args!("longer than {MAX_TENANT_BYTES} bytes")));
        }
        Ok(Self(name))
    }

    /// Returns the name as given.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    /// The tenant of programs that have only one.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// Builds groups under one prefix.
#[derive(Debug, Clone)]
pub struct Keyring {
    prefix: String,
    /// The prefix of keys that must not be evicted.
    kept: String,
}

impl Keyring {
    /// Takes the deployment's prefix; trailing colons are dropped.
    pub fn new(prefix: &str) -> Result<Self> {
        let prefix = prefix.trim_end_matches(':');
        if prefix.is_empty() || prefix.len() > MAX_TENANT_BYTES {
            return Err(Error::invalid("prefix", format_args!("must have 1 to {MAX_TENANT_BYTES} bytes")));
        }
        if prefix.chars().any(|char| char != ':' && is_escaped(char)) {
            return Err(Error::invalid("prefix", "must not contain braces, percent signs or control characters"));
        }
        if prefix.ends_with(KEPT) {
            return Err(Error::invalid("prefix", format_args!("must not end with {KEPT}")));
        }
        Ok(Self { prefix: prefix.to_owned(), kept: format!("{prefix}{KEPT}") })
    }

    /// Tells whether a key of somebody else's choosing would lie among the services' own.
    pub fn owns(&self, key: &str) -> bool {
        key.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with(':'))
    }

    /// Returns how the keys of a service begin, whoever the tenant is; `*` stands for text without a colon. They have the
    /// service's name, or that, a dash and the name of a family.
    ///
    /// This is how `non-evictable-prefixes` of our own store takes them, whose words end at blanks.
    pub(crate) fn beginnings(&self, service: &str) -> [String; 3] {
        let prefix = self.prefix.replace(' ', "*");
        [':', '}', '-'].map(|end| format!("{prefix}:{{*:{service}{end}"))
    }

    /// Returns a service's group over all tenants. No tenant's name is empty, so it is nobody's.
    pub fn group_of_all(&self, service: &'static str) -> Group {
        Group { head: format!("{}:{{:{service}}}", self.prefix) }
    }

    /// Returns a service's group over all tenants, of keys that must not be evicted.
    pub fn kept_group_of_all(&self, service: &'static str) -> Group {
        Group { head: format!("{}{{:{service}}}", self.kept_prefix()) }
    }

    /// Returns what the names of all keys that must not be evicted begin with.
    pub fn kept_prefix(&self) -> String {
        format!("{}:", self.kept)
    }

    /// Returns the group that `parts` name within a tenant's service.
    pub fn group(&self, tenant: &Tenant, service: &'static str, parts: &[&str]) -> Group {
        Self::group_below(&self.prefix, tenant, service, parts)
    }

    /// Returns the group that `parts` name within a tenant's service, of keys that must not be evicted.
    pub fn kept_group(&self, tenant: &Tenant, service: &'static str, parts: &[&str]) -> Group {
        Self::group_below(&self.kept, tenant, service, parts)
    }

    fn group_below(prefix: &str, tenant: &Tenant, service: &'static str, parts: &[&str]) -> Group {
        let mut head = String::with_capacity(USUAL_KEY_BYTES);
        head.push_str(prefix);
        head.push_str(":{");
        push_escaped(&mut head, &tenant.0);
        head.push(':');
        head.push_str(service);
        for part in parts {
            head.push(':');
            push_escaped(&mut head, part);
        }
        head.push('}');
        Group { head }
    }
}

/// Room for most keys, in bytes.
const USUAL_KEY_BYTES: usize = 96;

/// Keys that share a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    head: String,
}

impl Group {
    /// Returns the key of the group's only object of this kind.
    pub fn key(&self, kind: &'static str) -> Key {
        self.clone().into_key(kind)
    }

    /// Makes the group the key of its only object of this kind.
    pub fn into_key(self, kind: &'static str) -> Key {
        let mut key = self.head;
        key.reserve(1 + kind.len());
        key.push(':');
        key.push_str(kind);
        Key(key)
    }

    /// Returns a group within this one: keys of one object that share its slot, beside the objects of other kinds and names.
    pub(crate) fn within(&self, kind: &'static str, name: &str) -> Self {
        let Key(head) = self.named(kind, name);
        Self { head }
    }

    /// Returns what the keys of this group and of those whose first parts are the same begin with: everything before the
    /// last part.
    pub fn siblings(&self) -> &str {
        let end = self.head.rfind(':').expect("a group has parts");
        &self.head[..=end]
    }

    /// Returns the key of the named object of this kind.
    pub fn named(&self, kind: &'static str, name: &str) -> Key {
        let mut key = String::with_capacity(self.head.len() + kind.len() + name.len() + 2);
        key.push_str(&self.head);
        key.push(':');
        key.push_str(kind);
        key.push(':');
        push_escaped(&mut key, name);
        Key(key)
    }
}

impl Group {
    /// Returns the key of the named object of this kind, the name as it is: for names that patterns of the store's must match. It ends the key, so two
    /// names are two keys.
    pub(crate) fn as_given(&self, kind: &'static str, name: &str) -> Key {
        Key(format!("{}:{kind}:{name}", self.head))
    }
}

/// A finished key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Returns the bytes that go to the store.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Refuses empty names and names above [`MAX_NAME_BYTES`].
pub fn check_name(field: &'static str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(field, format_args!("longer than {MAX_NAME_BYTES} bytes")));
    }
    Ok(())
}

/// Returns `text` with everything escaped that has a meaning in keys.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    push_escaped(&mut escaped, text);
    escaped
}

/// Returns the text that [`escape`] made this of; `None` if it made nothing of the kind.
pub fn unescape(escaped: &str) -> Option<Cow<'_, str>> {
    let mut parts = escaped.split('%');
    let first = parts.next()?;
    if first.len() == escaped.len() {
        return Some(Cow::Borrowed(escaped));
    }
    let mut text = first.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        text.push(char::from(u8::from_str_radix(code, 16).ok()?));
        text.push_str(rest);
    }
    Some(Cow::Owned(text))
}

fn is_escaped(char: char) -> bool {
    u8::try_from(char).is_ok_and(|byte| ESCAPED[usize::from(byte)])
}

/// Which bytes are escaped; all of them are whole characters.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        escaped[byte] = matches!(byte as u8, b':' | b'{' | b'}' | b'%' | b'\0'..=b'\x1f' | b'\x7f');
        byte += 1;
    }
    escaped
};

fn push_escaped(target: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut done = 0;
    for (at, byte) in text.bytes().map(usize::from).enumerate() {
        if ESCAPED[byte] {
            target.push_str(&text[done..at]);
            target.push('%');
            target.push(char::from(HEX[byte >> 4]));
            target.push(char::from(HEX[byte & 15]));
            done = at + 1;
        }
    }
    target.push_str(&text[done..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(tenant: &str, part: &str) -> Group {
        Keyring::new("rp").unwrap().group(&Tenant::new(tenant).unwrap(), "cache", &[part])
    }

    #[test]
    fn layout() {
        assert_eq!(group("acme", "users").named("v", "42").as_str(), "rp:{acme:cache:users}:v:42");
        assert_eq!(group("a:b", "{x}%").key("e").as_str(), "rp:{a%3Ab:cache:%7Bx%7D%25}:e");
    }

    #[test]
    fn escape_is_injective() {
        let texts = ["a:b", "a%3Ab", "a%3ab", "a", "", "{", "%7B", "\0", "%00", "é", "*", "a\nb", "a b"];
        for (index, left) in texts.iter().enumerate() {
            for right in &texts[index + 1..] {
                assert_ne!(escape(left), escape(right));
            }
            assert_eq!(unescape(&escape(left)).as_deref(), Some(*left));
        }
    }

    #[test]
    fn what_was_never_escaped() {
        for text in ["%", "%4", "%GG", "a%", "%\u{e9}"] {
            assert_eq!(unescape(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_tenant_cannot_reach_into_another() {
        assert_ne!(group("a", "b:cache:c"), group("a:cache:b", "c"));
        assert_ne!(group("a:cache", "b"), group("a", "cache:b"));
    }

    #[test]
    fn one_hash_tag_only() {
        let key = group("}{", "}").named("v", "{other}");
        assert_eq!(key.as_str().matches('{').count(), 1);
        assert_eq!(key.as_str().matches('}').count(), 1);
    }

    #[test]
    fn what_must_not_be_evicted_has_one_beginning() {
        let ring = Keyring::new("rp").unwrap();
        let key = ring.kept_group(&Tenant::new("acme").unwrap(), "tokens", &["jti", "a:b"]).key("d");
        assert_eq!(key.as_str(), "rp:kept:{acme:tokens:jti:a%3Ab}:d");
        assert!(key.as_str().starts_with(&ring.kept_prefix()) && ring.owns(key.as_str()));
        // Another deployment's ordinary keys cannot lie there.
        assert!(Keyring::new("rp:kept").is_err() && Keyring::new("rp:kept:").is_err());
    }

    #[test]
    fn refused_names() {
        assert!(Tenant::new("").is_err());
        assert!(Tenant::new("x".repeat(MAX_TENANT_BYTES + 1)).is_err());
        assert!(Keyring::new("a{b").is_err());
        assert!(Keyring::new(":").is_err());
        assert!(check_name("key", &"x".repeat(MAX_NAME_BYTES + 1)).is_err());
    }
}
