//! The deny list by `jti`, and what is revoked for a user as a whole.
//!
//! Asking is one exchange: a pipeline that looks whether the token is denied and when its user was last revoked. On a
//! Cluster the two keys are on different nodes, which are asked side by side. That they are not read at one moment does no
//! harm: a revocation that had returned before the question was asked is seen by its own half.

use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tokens;
use super::secret::Digest;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Group, check_name};
use crate::metrics::Counter;
use crate::script::{Flags, INTEGERS, Repeat, Script};

/// Largest `iat` or `exp`, in seconds: the year 2242. What is larger was given in milliseconds.
const MAX_SECONDS: i64 = 1 << 33;

static DENY: Script = Script::new("tokens.deny", Flags::None, Repeat::Safe, &[INTEGERS, include_str!("deny.lua")]);
/// A second run would revoke what was issued since the first.
static REVOKE_USER: Script =
    Script::new("tokens.revoke_user", Flags::None, Repeat::Never, &[INTEGERS, include_str!("revoke_user.lua")]);

/// What denying a token came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Denial {
    /// The token is denied for the rest of its life.
    Denied {
        /// When it is forgotten, milliseconds since 1970 by the store's clock.
        until_ms: u64,
    },
    /// The token had expired, so there was nothing to do.
    Expired,
}

/// Whether a token is still good, as far as revocation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Nobody has revoked it.
    Valid,
    /// It is revoked.
    Revoked(Reason),
}

/// Why a token is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The token itself was denied.
    Token,
    /// All tokens that its user had when it was issued were revoked.
    User,
}

/// What was revoked for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UserRevoked {
    /// What was issued up to then is revoked, milliseconds since 1970 by the store's clock.
    pub at_ms: u64,
    /// The first `iat`, in seconds since 1970, that is good again.
    pub not_before: u64,
}

impl Tokens {
    /// Denies a token until its `exp`, in seconds since 1970.
    pub async fn deny(&self, jti: &str, exp: i64) -> Result<Denial> {
        let key = self.jti_group(jti)?.key("d");
        let until_ms = seconds("exp", exp)?.saturating_mul(1000).saturating_add_unsigned(self.settings().leeway_ms());
        let max_ms = self.settings().token_ttl_max.script_ms() + self.settings().leeway_ms();
        let reply = self.run(&DENY, &[key], &[&until_ms, &max_ms]).await?;
        let parts = reply.as_array().unwrap_or_default();
        match (parts.first().and_then(Value::as_str), parts.get(1).and_then(Value::as_u64)) {
            (Some("denied"), Some(until_ms)) => {
                self.count(Counter::TokensDenied);
                Ok(Denial::Denied { until_ms })
            }
            (Some("expired"), _) => Ok(Denial::Expired),
            (Some("far"), _) => Err(Error::invalid("exp", format_args!("more than {max_ms} ms from now"))),
            _ => Err(Error::unexpected("tokens.deny", &reply)),
        }
    }

    /// Revokes what a user has been issued until now: JWTs by their `iat`, refresh tokens by the store's stamp.
    pub async fn revoke_user(&self, user: &str) -> Result<UserRevoked> {
        let key = self.user_group(user)?.key("n");
        let (leeway_ms, max_ms) = (self.settings().leeway_ms(), self.settings().token_ttl_max.script_ms());
        let reply = self.run(&REVOKE_USER, &[key], &[&leeway_ms, &max_ms]).await?;
        let at_ms = reply.as_u64().ok_or_else(|| Error::unexpected("tokens.revoke_user", &reply))?;
        Ok(UserRevoked { at_ms, not_before: at_ms / 1000 + 1 })
    }

    /// Asks whether a user's token is still good, by its `jti` and its `iat` in seconds since 1970.
    pub async fn check(&self, jti: &str, user: &str, iat: i64) -> Result<Verdict> {
        let denied = Command::new("EXISTS").key(self.jti_group(jti)?.key("d")).repeatable();
        let revoked = Command::new("GET").key(self.user_group(user)?.key("n")).repeatable();
        let issued_ms = seconds("iat", iat)?.saturating_mul(1000);
        let replies = self.exchange(self.both(denied, revoked)).await?;
        let revoked_at = match &replies.1 {
            Value::Nil => None,
            value => Some(value.as_i64().ok_or_else(|| Error::unexpected("GET", value))?),
        };
        self.verdict(&replies.0, revoked_at.is_some_and(|at_ms| issued_ms <= at_ms))
    }

    /// Asks whether a token that is no user's is still good.
    pub async fn check_token(&self, jti: &str) -> Result<Verdict> {
        let denied = Command::new("EXISTS").key(self.jti_group(jti)?.key("d")).repeatable();
        let reply = self.exchange(self.services.backend().call(denied)).await?;
        self.verdict(&reply, false)
    }

    fn verdict(&self, denied: &Value, of_the_user: bool) -> Result<Verdict> {
        let verdict = match denied.as_i64() {
            Some(1) => Verdict::Revoked(Reason::Token),
            Some(0) if of_the_user => Verdict::Revoked(Reason::User),
            Some(0) => return Ok(Verdict::Valid),
            _ => return Err(Error::unexpected("EXISTS", denied)),
        };
        self.count(Counter::TokensRevoked);
        Ok(verdict)
    }

    async fn both(&self, first: Command, second: Command) -> Result<(Value, Value)> {
        let mut replies = self.services.backend().pipeline(vec![first, second]).await?.into_iter();
        match (replies.next(), replies.next()) {
            (Some(first), Some(second)) => Ok((first?, second?)),
            _ => Err(Error::Backend("a pipeline of two without two replies".to_owned())),
        }
    }

    fn jti_group(&self, jti: &str) -> Result<Group> {
        check_name("jti", jti)?;
        Ok(self.group(&["jti", jti]))
    }

    /// Names the group of what is a user's: the revocation, and the families of refresh tokens.
    pub(super) fn user_group(&self, user: &str) -> Result<Group> {
        check_name("user", user)?;
        Ok(self.user_group_of(user_mark(user)))
    }
}

/// Returns what stands for a user in the names of keys and within refresh tokens.
pub(super) fn user_mark(user: &str) -> [u8; 16] {
    Digest::of("user", &[user.as_bytes()]).half()
}

fn seconds(field: &'static str, seconds: i64) -> Result<i64> {
    match seconds <= MAX_SECONDS {
        true => Ok(seconds),
        false => Err(Error::invalid(field, "must be seconds since 1970; this looks like milliseconds")),
    }
}
