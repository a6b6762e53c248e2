//! One-time tokens: magic links, e-mail verification, WebAuthn challenges.
//!
//! A token is found by its digest and purpose. What is stored is the digest of its subject, if it has one, and its
//! payload. Looking ([`Tokens::peek`]) consumes nothing: a link that mail scanners open should show a page whose button
//! consumes.

use serde_json::Value as Json;

use super::secret::{Digest, Secret};
use super::{Tokens, payload};
use crate::backend::Command;
use crate::error::Result;
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::script::{Flags, Repeat, Script};
use crate::ttl::Ttl;

/// A second run would not find what the first one took.
static TAKE: Script = Script::new("tokens.take", Flags::AllowOom, Repeat::Never, &[include_str!("take.lua")]);
static PEEK: Script = Script::new("tokens.peek", Flags::NoWrites, Repeat::Safe, &[include_str!("take.lua")]);

/// What presenting a token came to.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Consumed<T> {
    /// It was good, and is not any more.
    Now(T),
    /// There is no such token: it never was, has expired, is another subject's, or was consumed before.
    Unknown,
}

impl<T> Consumed<T> {
    /// Returns what the token stood for.
    pub fn now(self) -> Option<T> {
        match self {
            Self::Now(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

impl Tokens {
    /// Makes a token of this purpose. With a subject, only who names the subject can consume it.
    pub async fn issue(&self, purpose: &str, subject: Option<&str>, data: &Json, ttl: Option<Ttl>) -> Result<Secret> {
        let token = Secret::random()?;
        let key = self.once_key(purpose, &token)?;
        let ttl_ms = self.lifetime(ttl, self.settings().once_ttl)?;
        self.put(key, subject, data, ttl_ms).await?;
        Ok(token)
    }

    /// Consumes a token and returns its payload.
    pub async fn consume(&self, purpose: &str, subject: Option<&str>, token: &Secret) -> Result<Consumed<Json>> {
        self.take(self.once_key(purpose, token)?, subject, &TAKE).await
    }

    /// Returns the payload of a token and leaves it as it is.
    pub async fn peek(&self, purpose: &str, subject: Option<&str>, token: &Secret) -> Result<Option<Json>> {
        Ok(self.read(self.once_key(purpose, token)?, subject, &PEEK).await?.now())
    }

    fn once_key(&self, purpose: &str, token: &Secret) -> Result<Key> {
        check_name("purpose", purpose)?;
        Ok(self.group(&["once", purpose, &token.digest("once")?.text()]).key("t"))
    }

    /// Stores what one token stands for.
    pub(super) async fn put(&self, key: Key, subject: Option<&str>, data: &Json, ttl_ms: u64) -> Result<()> {
        let stored = subject_mark(subject)? + &self.written(data)?;
        let set = Command::new("SET").key(key).arg(stored).arg("PX").arg(ttl_ms).repeatable();
        self.exchange(self.services.backend().call(set)).await.map(drop)
    }

    /// Consumes what was stored for a token.
    pub(super) async fn take_once(&self, key: Key, subject: Option<&str>) -> Result<Consumed<Json>> {
        self.take(key, subject, &TAKE).await
    }

    async fn take(&self, key: Key, subject: Option<&str>, script: &'static Script) -> Result<Consumed<Json>> {
        let taken = self.read(key, subject, script).await?;
        self.count(match taken {
            Consumed::Now(_) => Counter::TokensConsumed,
            Consumed::Unknown => Counter::TokensRefused,
        });
        Ok(taken)
    }

    async fn read(&self, key: Key, subject: Option<&str>, script: &'static Script) -> Result<Consumed<Json>> {
        let mode = if std::ptr::eq(script, &TAKE) { "take" } else { "peek" };
        let reply = self.run(script, &[key], &[&subject_mark(subject)?, &mode]).await?;
        match reply.as_str() {
            Some(text) => Ok(Consumed::Now(payload(text)?)),
            None => Ok(Consumed::Unknown),
        }
    }
}

/// Returns what stands before a payload: 43 characters, dots if there is no subject.
fn subject_mark(subject: Option<&str>) -> Result<String> {
    match subject {
        Some(subject) => {
            check_name("subject", subject)?;
            Ok(Digest::of("subject", &[subject.as_bytes()]).text())
        }
        None => Ok(".".repeat(43)),
    }
}
