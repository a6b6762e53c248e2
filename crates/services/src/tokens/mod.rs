//! Tokens: what proves something for a while, and how it stops doing so.
//!
//! # Guarantees
//!
//! * **Time is the store's.** A revoked token is remembered for exactly the rest of its life: `exp` and `iat` are
//!   seconds since 1970, and no clock of a caller takes part. A token that has expired needs no revocation and is
//!   told so; an `exp` beyond [`TokensSettings::token_ttl_max`] is an error, since it cannot be kept for so long.
//! * **Once is once.** One-time tokens, codes and OAuth states are consumed in one step: of any number of callers
//!   exactly one gets them.
//! * **Everything of a user goes at once.** [`Tokens::revoke_user`] is one write and needs no list of what there is, so
//!   nothing that is issued at the same time can be missed. What was issued before it is revoked; see `iat` below.
//! * **A stolen refresh token betrays itself.** Each is good for one rotation. Whoever presents one that has been
//!   rotated before revokes the whole family, the thief's tokens and the owner's. A client that sends the same
//!   rotation twice within [`TokensSettings::refresh_grace`] is told the same successor.
//! * **Secrets are not stored**, only their SHA-256, or what is useless without them. They are 256 bits from the
//!   operating system, except short codes, whose attempts are limited. Comparison is in constant time.
//!
//! # `iat`
//!
//! A user's revocation at `t` ms revokes tokens with `iat * 1000 <= t`, since `iat` counts whole seconds: also one that
//! was issued in the same second but later. [`UserRevoked::not_before`] is the first `iat` that is good. It must
//! come from clocks that are at most [`TokensSettings::leeway`] ahead of the store's. Refresh tokens need no clock: a
//! family knows which revocation it came after.
//!
//! # Keys
//!
//! ```text
//! rp:kept:{tenant:tokens:jti:<jti>}:d              denied token: when it was denied      until its exp
//! rp:kept:{tenant:tokens:user:<H user>}:n          the user's revocation, ms             token_ttl_max
//!                                      :f:<H fam>  family of refresh tokens (hash)       its end
//! rp:kept:{tenant:tokens:once:<purpose>:<H>}:t     one-time token: H subject, payload    its ttl
//! rp:kept:{tenant:tokens:oauth:<H state>}:t        OAuth state, the same way             its ttl
//! rp:kept:{tenant:tokens:code:<purpose>:<H>}:c     short code of a subject (hash)        its ttl
//! rp:kept:{tenant:tokens:csrf:<H session>}:c       CSRF tokens by expiry (sorted set)    the last one's
//! ```
//!
//! H is a SHA-256. Nothing is stored without an end. Nothing may be evicted: see [`kept`](crate::kept).
//!
//! # When the store is down
//!
//! Every operation is an error, and counted: never "not revoked", never "valid". The same holds for a store
//! that may evict. A one-time token whose consumption was not answered counts as consumed.
//!
//! Not here: signing and verifying JWTs, sending codes, limiting how often codes are sent (a rate limit's work), and
//! sessions.

mod code;
mod csrf;
mod deny;
mod forms;
mod oauth;
mod once;
mod operations;
mod refresh;
mod secret;
mod settings;

pub use code::Verification;
pub use csrf::{CsrfUse, CsrfVerdict};
pub use deny::{Denial, Reason, UserRevoked, Verdict};
pub use oauth::{OAuthFlow, OAuthRequest, code_challenge};
pub use once::Consumed;
pub use operations::SERVICE;
pub use refresh::{Refresh, RefreshIssued, RefreshReason, Rotation};
pub use secret::Secret;
pub use settings::TokensSettings;

use redpoll_resp::Value;
use serde_json::Value as Json;

use crate::backend::ToArg;
use crate::error::{Error, Result};
use crate::keys::{Group, Key, Tenant};
use crate::metrics::Counter;
use crate::script::Script;
use crate::ttl::Ttl;
use crate::{Command, Services};

/// A tenant's tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    services: Services,
    tenant: Tenant,
}

impl Tokens {
    pub(crate) fn new(services: Services, tenant: Tenant) -> Self {
        Self { services, tenant }
    }

    fn settings(&self) -> &TokensSettings {
        &self.services.settings().tokens
    }

    fn group(&self, parts: &[&str]) -> Group {
        self.services.settings().keyring.kept_group(&self.tenant, "tokens", parts)
    }

    fn count(&self, counter: Counter) {
        self.services.metrics().add(counter, 1);
    }

    async fn run(&self, script: &'static Script, keys: &[Key], args: &[&dyn ToArg]) -> Result<Value> {
        self.exchange(self.services.backend().call(Command::script(script, keys, args))).await
    }

    /// Talks to a store that does not evict, and counts when there is none.
    async fn exchange<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.services.upon_kept(Counter::TokensOutages, work).await
    }

    /// Returns a lifetime in milliseconds; nothing here lives for ever, or longer than a token may.
    fn lifetime(&self, ttl: Option<Ttl>, default: Ttl) -> Result<u64> {
        let max_ms = self.settings().token_ttl_max.script_ms();
        match ttl.unwrap_or(default) {
            Ttl::Ms(ms) if ms.get() <= max_ms => Ok(ms.get()),
            Ttl::Ms(_) => Err(Error::invalid("ttl_ms", format_args!("more than the {max_ms} ms a token may live"))),
            Ttl::Never => Err(Error::invalid("ttl_ms", "must have an end")),
        }
    }

    /// Writes a payload, if it is not too large.
    fn written(&self, payload: &Json) -> Result<String> {
        let text = payload.to_string();
        let max_bytes = self.settings().payload_bytes_max;
        match text.len() <= max_bytes {
            true => Ok(text),
            false => Err(Error::TooLarge { size_bytes: text.len(), max_bytes }),
        }
    }
}

/// Reads a payload that this service wrote.
fn payload(text: &str) -> Result<Json> {
    serde_json::from_str(text).map_err(|error| Error::Backend(format!("a token's payload: {error}")))
}
