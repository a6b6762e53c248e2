//! Refresh tokens: each good for one rotation, and every family traceable to one login.
//!
//! ```text
//! token    base64( mark of the user 16 │ family 16 │ secret 32 )     86 characters
//! family   hash: current, previous, salt, rotated, seen, ends, user, payload, generation, revoked
//! ```
//!
//! The mark of the user names the group, the family's digest the key in it, so a rotation finds everything it needs
//! without asking, and is one step together with the user's revocation. `current` and `previous` are digests of whole
//! tokens, `seen` is the revocation of the user that the family came after: it is over when there is another one.
//!
//! **The successor** is not stored either. Its secret is an HMAC of a salt under the token it replaces: whoever
//! presents the previous token again, within the grace, is told the stored salt and arrives at the same successor.
//!
//! **Reuse.** A token that names a family but is neither its current nor its previous one was rotated long ago,
//! or is forged by somebody who holds one of the family, since the family's 16 bytes are secret too. Either way
//! the family is revoked. So it is when the previous one comes back after the grace. The revoked family
//! is remembered until it would have ended, so that later attempts are told why.
//!
//! A store's clock that goes back makes the grace longer by as much.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redpoll_resp::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::deny::user_mark;
use super::secret::{Digest, Secret, derived, random_bytes};
use super::{Tokens, payload};
use crate::error::{Error, Result};
use crate::keys::{Group, Key, check_name};
use crate::metrics::Counter;
use crate::script::{Flags, INTEGERS, Repeat, Script};

static ISSUE: Script =
    Script::new("tokens.issue_refresh", Flags::None, Repeat::Safe, &[INTEGERS, include_str!("issue_refresh.lua")]);
/// The same rotation is known by its salt, and answered the same way.
static ROTATE: Script =
    Script::new("tokens.rotate_refresh", Flags::None, Repeat::Safe, &[INTEGERS, include_str!("rotate_refresh.lua")]);
/// A second run would tell that there was nothing left to revoke.
static REVOKE: Script =
    Script::new("tokens.revoke_refresh", Flags::AllowOom, Repeat::Never, &[include_str!("revoke_refresh.lua")]);

/// A refresh token that was issued or is the successor of one.
#[derive(Debug, Clone)]
pub struct RefreshIssued {
    /// For the client.
    pub token: Secret,
    /// Names the family in logs and for [`Tokens::revoke_family`]; no secret.
    pub family: String,
    /// How often the family has been rotated.
    pub generation: u64,
    /// When the token expires unless rotated, milliseconds since 1970 by the store's clock.
    pub expires_at_ms: u64,
}

/// What a refresh token stands for.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The successor.
    pub issued: RefreshIssued,
    /// Whose it is.
    pub user: String,
    /// As given when the family was issued.
    pub payload: Json,
}

/// What presenting a refresh token came to.
#[derive(Debug, Clone)]
#[must_use]
pub enum Rotation {
    /// It was good; here is its successor.
    Rotated(Refresh),
    /// It had been rotated before: somebody else has it. The family is revoked from now on.
    Reused {
        /// Whose it is.
        user: String,
        /// The family that was revoked.
        family: String,
    },
    /// Its family is revoked.
    Revoked(RefreshReason),
    /// There is no such family: it has expired or never was.
    Unknown,
}

/// Why a family is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RefreshReason {
    /// A rotated token came back.
    Reuse,
    /// The family was revoked, as at a logout.
    Family,
    /// All that its user had been issued was revoked.
    User,
}

impl Tokens {
    /// Begins a family, as at a login.
    pub async fn issue_refresh(&self, user: &str, data: &Json) -> Result<RefreshIssued> {
        check_name("user", user)?;
        let token = Token { user: user_mark(user), family: random_bytes()?, secret: random_bytes()? };
        let settings = self.settings();
        let (idle_ms, whole_ms) =
            (self.lifetime(None, settings.refresh_ttl)?, self.lifetime(None, settings.refresh_family_ttl)?);
        let (keys, digest, data) = (self.token_keys(&token), token.digest()?, self.written(data)?);
        let reply = self.run(&ISSUE, &keys, &[&digest, &user, &data, &idle_ms, &whole_ms]).await?;
        match reply.as_u64() {
            Some(expires_at_ms) => {
                Ok(RefreshIssued { token: token.secret(), family: token.family_id(), generation: 0, expires_at_ms })
            }
            None => Err(Error::unexpected("tokens.issue_refresh", &reply)),
        }
    }

    /// Exchanges a refresh token for its successor.
    pub async fn rotate_refresh(&self, presented: &Secret) -> Result<Rotation> {
        let Some(token) = Token::read(presented) else { return Ok(self.unknown()) };
        let salt = Secret::random()?;
        let next = token.successor(salt.expose()).digest()?;
        let (grace_ms, idle_ms) = (self.settings().grace_ms(), self.lifetime(None, self.settings().refresh_ttl)?);
        let args: [&dyn crate::backend::ToArg; 5] = [&token.digest()?, &salt.expose(), &next, &grace_ms, &idle_ms];
        let reply = self.run(&ROTATE, &self.token_keys(&token), &args).await?;
        let parts = reply.as_array().unwrap_or_default();
        let text = |index: usize| parts.get(index).and_then(Value::as_str);
        match (text(0), text(1)) {
            (Some("rotated"), Some(salt)) => {
                let (Some(generation), Some(expires_at_ms), Some(user), Some(data)) =
                    (parts.get(2).and_then(Value::as_u64), parts.get(3).and_then(Value::as_u64), text(4), text(5))
                else {
                    return Err(Error::unexpected("tokens.rotate_refresh", &reply));
                };
                let (token, family) = (token.successor(salt).secret(), token.family_id());
                let issued = RefreshIssued { token, family, generation, expires_at_ms };
                Ok(Rotation::Rotated(Refresh { issued, user: user.to_owned(), payload: payload(data)? }))
            }
            (Some("reused"), Some(user)) => {
                self.count(Counter::TokensReused);
                tracing::warn!(family = token.family_id(), "a rotated refresh token came back; its family is revoked");
                Ok(Rotation::Reused { user: user.to_owned(), family: token.family_id() })
            }
            (Some("revoked"), Some(reason)) => {
                self.count(Counter::TokensRevoked);
                Ok(Rotation::Revoked(
                    reason_of(reason).ok_or_else(|| Error::unexpected("tokens.rotate_refresh", &reply))?,
                ))
            }
            (Some("unknown"), _) => Ok(self.unknown()),
            _ => Err(Error::unexpected("tokens.rotate_refresh", &reply)),
        }
    }

    /// Revokes the family of a token, as at a logout; tells whether it was still good.
    pub async fn revoke_refresh(&self, presented: &Secret) -> Result<bool> {
        match Token::read(presented) {
            Some(token) => self.revoke(&self.token_keys(&token)).await,
            None => Ok(false),
        }
    }

    /// Revokes a user's family by its name; tells whether it was still good.
    pub async fn revoke_family(&self, user: &str, family: &str) -> Result<bool> {
        check_name("family", family)?;
        self.revoke(&family_keys(&self.user_group(user)?, family)).await
    }

    async fn revoke(&self, keys: &[Key; 2]) -> Result<bool> {
        self.run(&REVOKE, keys, &[]).await.map(|reply| reply.as_i64() == Some(1))
    }

    fn unknown(&self) -> Rotation {
        self.count(Counter::TokensRefused);
        Rotation::Unknown
    }

    /// Names the group of the user whose mark this is.
    pub(super) fn user_group_of(&self, mark: [u8; 16]) -> Group {
        self.group(&["user", &BASE64.encode(mark)])
    }

    fn token_keys(&self, token: &Token) -> [Key; 2] {
        family_keys(&self.user_group_of(token.user), &token.family_id())
    }
}

/// Names a family, and when its user was revoked.
fn family_keys(group: &Group, family: &str) -> [Key; 2] {
    [group.named("f", family), group.key("n")]
}

fn reason_of(text: &str) -> Option<RefreshReason> {
    match text {
        "reuse" => Some(RefreshReason::Reuse),
        "family" => Some(RefreshReason::Family),
        "user" => Some(RefreshReason::User),
        _ => None,
    }
}

/// A refresh token in its parts.
struct Token {
    user: [u8; 16],
    family: [u8; 16],
    secret: [u8; 32],
}

impl Token {
    /// Reads what a client presents; `None` if it is no refresh token.
    fn read(presented: &Secret) -> Option<Self> {
        let bytes: [u8; 64] = BASE64.decode(presented.expose()).ok()?.try_into().ok()?;
        let (user, rest) = bytes.split_first_chunk()?;
        let (family, secret) = rest.split_first_chunk()?;
        Some(Self { user: *user, family: *family, secret: secret.try_into().ok()? })
    }

    fn secret(&self) -> Secret {
        Secret::new(BASE64.encode([&self.user[..], &self.family, &self.secret].concat()))
    }

    fn digest(&self) -> Result<String> {
        Ok(self.secret().digest("refresh")?.text())
    }

    fn family_id(&self) -> String {
        Digest::of("family", &[&self.family]).text()
    }

    fn successor(&self, salt: &str) -> Token {
        Token { user: self.user, family: self.family, secret: derived(&self.secret, "refresh", salt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_written() {
        let token = Token { user: [1; 16], family: [2; 16], secret: [3; 32] };
        let secret = token.secret();
        assert_eq!(secret.expose().len(), 86);
        let read = Token::read(&secret).unwrap();
        assert_eq!((read.user, read.family, read.secret), (token.user, token.family, token.secret));
        for wrong in ["", "x", &secret.expose()[1..], &format!("{}AA", secret.expose()), &"é".repeat(43)] {
            assert!(Token::read(&Secret::new(wrong)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_successor_takes_both_the_token_and_the_salt() {
        let token = Token { user: [1; 16], family: [2; 16], secret: [3; 32] };
        let other = Token { user: [1; 16], family: [2; 16], secret: [4; 32] };
        let next = |token: &Token, salt: &str| token.successor(salt).secret().expose().to_owned();
        assert_eq!(next(&token, "a"), next(&token, "a"));
        assert_ne!(next(&token, "a"), next(&token, "b"));
        assert_ne!(next(&token, "a"), next(&other, "a"));
    }
}
