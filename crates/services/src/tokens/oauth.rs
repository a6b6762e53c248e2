//! OAuth: what a login at a provider has to remember between its two halves (RFC 6749, PKCE of RFC 7636).
//!
//! The state goes to the provider and comes back in the browser's address; the verifier must not be known to whoever
//! sees that address, nor to whoever reads the store. So the verifier is stored nowhere: it is an HMAC of
//! a stored salt under the state, and takes both. The same holds for the nonce of OpenID Connect.
//!
//! A state is consumed once. Bind it to the browser (`subject`: a cookie set when the login began), or
//! somebody else's login can be finished in it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::Tokens;
use super::once::Consumed;
use super::secret::Secret;
use crate::error::{Error, Result};
use crate::keys::{Key, check_name};
use crate::ttl::Ttl;

/// A login that begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OAuthRequest {
    /// Where the browser goes when the login is done.
    pub redirect: String,
    /// What binds the login to the browser; without it the state is anyone's.
    pub subject: Option<String>,
    /// Whatever else the second half needs.
    pub extra: Json,
    /// How long the login may take; [`TokensSettings::oauth_ttl`](super::TokensSettings::oauth_ttl) if absent.
    pub ttl: Option<Ttl>,
}

/// A login under way.
#[derive(Debug, Clone)]
pub struct OAuthFlow {
    /// For the provider; comes back with the browser.
    pub state: Secret,
    /// For the provider's token endpoint, 43 characters.
    pub verifier: Secret,
    /// Must be in the provider's ID token.
    pub nonce: Secret,
    /// Where the browser goes when the login is done.
    pub redirect: String,
    /// As given.
    pub extra: Json,
}

impl OAuthFlow {
    /// Returns the challenge for the provider's authorization endpoint, of method `S256`.
    pub fn challenge(&self) -> String {
        code_challenge(&self.verifier)
    }
}

/// Returns the PKCE challenge of method `S256` for a verifier.
pub fn code_challenge(verifier: &Secret) -> String {
    BASE64.encode(Sha256::digest(verifier.expose()))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    salt: String,
    redirect: String,
    extra: Json,
}

impl Tokens {
    /// Begins a login.
    pub async fn begin_oauth(&self, request: &OAuthRequest) -> Result<OAuthFlow> {
        check_name("redirect", &request.redirect)?;
        let (state, salt) = (Secret::random()?, Secret::random()?);
        let ttl_ms = self.lifetime(request.ttl, self.settings().oauth_ttl)?;
        let stored =
            Stored { salt: salt.expose().to_owned(), redirect: request.redirect.clone(), extra: request.extra.clone() };
        let data = serde_json::to_value(&stored).map_err(|error| Error::invalid("extra", error))?;
        self.put(self.oauth_key(&state)?, request.subject.as_deref(), &data, ttl_ms).await?;
        Ok(flow(state, stored))
    }

    /// Consumes the state a browser came back with.
    pub async fn consume_oauth(&self, state: &Secret, subject: Option<&str>) -> Result<Consumed<OAuthFlow>> {
        match self.take_once(self.oauth_key(state)?, subject).await? {
            Consumed::Now(data) => {
                let stored = serde_json::from_value(data).map_err(|error| Error::Backend(error.to_string()))?;
                Ok(Consumed::Now(flow(state.clone(), stored)))
            }
            Consumed::Unknown => Ok(Consumed::Unknown),
        }
    }

    fn oauth_key(&self, state: &Secret) -> Result<Key> {
        Ok(self.group(&["oauth", &state.digest("oauth")?.text()]).key("t"))
    }
}

fn flow(state: Secret, stored: Stored) -> OAuthFlow {
    OAuthFlow {
        verifier: state.derive("oauth verifier", &stored.salt),
        nonce: state.derive("oauth nonce", &stored.salt),
        state,
        redirect: stored.redirect,
        extra: stored.extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenge_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(code_challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
