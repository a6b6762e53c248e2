//! CSRF tokens: proof that a request comes from a page that was given to this session.
//!
//! A session has a bounded number of tokens, each either good until it expires or good for one request. They lie in
//! one sorted set by expiry, so that logging out forgets them all at once.
//!
//! For the double-submit pattern the same token also travels in a cookie: [`Tokens::check_csrf_pair`] compares the two
//! in constant time before it asks the store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tokens;
use super::secret::{Digest, Secret};
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::script::{Flags, INTEGERS, Repeat, Script};
use crate::ttl::Ttl;

/// Most CSRF tokens a session may be allowed.
const MAX_TOKENS: u32 = 1000;

static ADD: Script =
    Script::new("tokens.add_csrf", Flags::None, Repeat::Safe, &[INTEGERS, include_str!("add_csrf.lua")]);
/// A second run would not find the token of one request that the first one consumed.
static USE: Script =
    Script::new("tokens.use_csrf", Flags::AllowOom, Repeat::Never, &[INTEGERS, include_str!("use_csrf.lua")]);

/// How often a CSRF token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CsrfUse {
    /// For any number of requests until it expires.
    #[default]
    Many,
    /// For one request.
    Once,
}

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum CsrfVerdict {
    /// The token is the session's.
    Valid,
    /// It is not: unknown, expired, used before, another session's, or not the one in the cookie.
    Invalid,
}

impl Tokens {
    /// Makes a CSRF token for a session.
    pub async fn issue_csrf(&self, session: &str, usage: CsrfUse, ttl: Option<Ttl>) -> Result<Secret> {
        let key = self.csrf_key(session)?;
        let max = self.settings().csrf_tokens_max;
        if !(1..=MAX_TOKENS).contains(&max) {
            return Err(Error::invalid("csrf_tokens_max", format_args!("must be 1 to {MAX_TOKENS}")));
        }
        let token = Secret::random()?;
        let ttl_ms = self.lifetime(ttl, self.settings().csrf_ttl)?;
        let letter = match usage {
            CsrfUse::Many => "m",
            CsrfUse::Once => "o",
        };
        let member = letter.to_owned() + &token.digest("csrf")?.text();
        self.run(&ADD, &[key], &[&member, &ttl_ms, &max]).await?;
        Ok(token)
    }

    /// Checks the token of a request against its session, and consumes it if it is good for one request only.
    pub async fn check_csrf(&self, session: &str, token: &Secret) -> Result<CsrfVerdict> {
        let key = self.csrf_key(session)?;
        let digest = token.digest("csrf")?.text();
        let reply = self.run(&USE, &[key], &[&digest]).await?;
        match reply.as_u64() {
            Some(1) => Ok(CsrfVerdict::Valid),
            Some(0) => Ok(self.invalid()),
            _ => Err(Error::unexpected("tokens.use_csrf", &reply)),
        }
    }

    /// Checks a request that carries its token twice, in a cookie and in a header or field.
    pub async fn check_csrf_pair(&self, session: &str, cookie: &Secret, submitted: &Secret) -> Result<CsrfVerdict> {
        match cookie.matches(submitted) {
            true => self.check_csrf(session, submitted).await,
            false => Ok(self.invalid()),
        }
    }

    /// Forgets all CSRF tokens of a session, as at a logout; tells whether there were any.
    pub async fn forget_csrf(&self, session: &str) -> Result<bool> {
        let delete = Command::new("DEL").key(self.csrf_key(session)?);
        self.exchange(self.services.backend().call(delete)).await.map(|reply| reply.as_i64() == Some(1))
    }

    fn invalid(&self) -> CsrfVerdict {
        self.count(Counter::TokensRefused);
        CsrfVerdict::Invalid
    }

    /// Whoever reads the store learns no session's id.
    fn csrf_key(&self, session: &str) -> Result<Key> {
        check_name("session", session)?;
        Ok(self.group(&["csrf", &Digest::of("session", &[session.as_bytes()]).text()]).key("c"))
    }
}
