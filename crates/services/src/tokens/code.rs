//! Short codes: a few digits that a person copies from an e-mail or a message.
//!
//! A subject has one code for a purpose; sending another replaces it. Six digits can be guessed, so attempts are limited
//! and a wrong one is counted in the step that compares. Somebody who may have codes sent again and again has that many
//! more attempts: limit the sending.
//!
//! The digest covers tenant, purpose and subject, but whoever reads the store can still try all codes. Codes should live
//! for minutes.

use redpoll_resp::Value;
use serde_json::Value as Json;

use super::secret::{Digest, Secret, random_below};
use super::{Tokens, payload};
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::metrics::Counter;
use crate::script::{Flags, Repeat, Script};
use crate::ttl::Ttl;

/// Fewest and most digits of a code.
const DIGITS: std::ops::RangeInclusive<u32> = 4..=12;

static SEND: Script = Script::new("tokens.send_code", Flags::None, Repeat::Safe, &[include_str!("send_code.lua")]);
/// Each run is an attempt.
static VERIFY: Script =
    Script::new("tokens.verify_code", Flags::AllowOom, Repeat::Never, &[include_str!("verify_code.lua")]);

/// What presenting a code came to.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Verification {
    /// It was right, and is consumed. Carries the payload.
    Right(Json),
    /// It was wrong, and so many attempts are left.
    Wrong(u64),
    /// All attempts have been used up; another code must be sent.
    Exhausted,
    /// There is no code: none was sent, it has expired, or it was consumed before.
    Unknown,
}

impl Tokens {
    /// Makes a code for a subject, in place of any earlier one of this purpose.
    pub async fn issue_code(&self, purpose: &str, subject: &str, data: &Json, ttl: Option<Ttl>) -> Result<Secret> {
        let key = self.code_key(purpose, subject)?;
        let settings = self.settings();
        if !DIGITS.contains(&settings.code_digits) || settings.code_attempts == 0 {
            return Err(Error::invalid("code_digits", "must be 4 to 12, and code_attempts at least 1"));
        }
        let width = settings.code_digits as usize;
        let code = Secret::new(format!("{:0width$}", random_below(10_u64.pow(settings.code_digits))?));
        let digest = self.code_digest(purpose, subject, &code).text();
        let ttl_ms = self.lifetime(ttl, settings.code_ttl)?;
        self.run(&SEND, &[key], &[&digest, &settings.code_attempts, &self.written(data)?, &ttl_ms]).await?;
        Ok(code)
    }

    /// Tries a code: consumes it if it is right, else counts the attempt.
    pub async fn verify_code(&self, purpose: &str, subject: &str, code: &Secret) -> Result<Verification> {
        let key = self.code_key(purpose, subject)?;
        let digest = self.code_digest(purpose, subject, code).text();
        let reply = self.run(&VERIFY, &[key], &[&digest]).await?;
        let parts = reply.as_array().unwrap_or_default();
        let verification = match (parts.first().and_then(Value::as_str), parts.get(1)) {
            (Some("right"), Some(data)) => Verification::Right(payload(data.as_str().unwrap_or_default())?),
            (Some("wrong"), left) => Verification::Wrong(left.and_then(Value::as_u64).unwrap_or(0)),
            (Some("exhausted"), _) => Verification::Exhausted,
            (Some("unknown"), _) => Verification::Unknown,
            _ => return Err(Error::unexpected("tokens.verify_code", &reply)),
        };
        self.count(match verification {
            Verification::Right(_) => Counter::TokensConsumed,
            _ => Counter::TokensRefused,
        });
        Ok(verification)
    }

    fn code_key(&self, purpose: &str, subject: &str) -> Result<Key> {
        check_name("purpose", purpose)?;
        check_name("subject", subject)?;
        Ok(self.group(&["code", purpose, &Digest::of("subject", &[subject.as_bytes()]).text()]).key("c"))
    }

    fn code_digest(&self, purpose: &str, subject: &str, code: &Secret) -> Digest {
        let parts = [self.tenant.name(), purpose, subject, code.expose()];
        Digest::of("code", &parts.map(str::as_bytes))
    }
}
