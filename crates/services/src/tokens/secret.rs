//! Secrets: where they come from, what is stored instead of them, how they are compared.
//!
//! A secret is 32 bytes of the operating system in Base64 without padding, 43 characters that fit URLs, cookies and
//! headers. What is stored is a [`Digest`]: the SHA-256 of a domain and of parts, each with its length before it, so
//! that no two lists of parts share a digest and none can be taken for one of another kind.
//!
//! Digests have no `==`. [`Digest::matches`] takes the same time wherever two differ, and [`Secret`]s are compared by
//! their digests, so lengths do not show either. In the store's scripts digests are compared as strings of Lua, which
//! are interned: equality is one comparison of pointers. Even a comparison that stopped early would say
//! nothing, since nobody can choose the beginning of a SHA-256.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// Longest secret that is looked at, in bytes.
const MAX_SECRET_BYTES: usize = 1024;

/// A secret in the hands of its owner. `Debug` does not show it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret that somebody presents.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Makes a secret nobody can guess.
    pub(super) fn random() -> Result<Self> {
        Ok(Self(BASE64.encode(random_bytes::<32>()?)))
    }

    /// Returns the text, to be given to the owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Secret) -> bool {
        Digest::of("compare", &[self.0.as_bytes()]).matches(&Digest::of("compare", &[other.0.as_bytes()]))
    }

    /// Returns the digest to store or to look up.
    pub(super) fn digest(&self, domain: &str) -> Result<Digest> {
        if self.0.is_empty() || self.0.len() > MAX_SECRET_BYTES {
            return Err(Error::invalid("token", format_args!("must have 1 to {MAX_SECRET_BYTES} bytes")));
        }
        Ok(Digest::of(domain, &[self.0.as_bytes()]))
    }

    /// Derives another secret, which takes both this one and the salt.
    pub(super) fn derive(&self, domain: &str, salt: &str) -> Secret {
        Secret(BASE64.encode(derived(self.0.as_bytes(), domain, salt)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What is known of a secret without knowing it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in [&[domain.as_bytes()], parts].concat() {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Returns 43 characters of Base64.
    pub(super) fn text(&self) -> String {
        BASE64.encode(self.0)
    }

    /// Returns the first 16 bytes.
    pub(super) fn half(&self) -> [u8; 16] {
        self.0[..16].try_into().expect("16 of 32 bytes")
    }

    pub(super) fn matches(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Computes HMAC-SHA256 of a domain and a salt under a key.
pub(super) fn derived(key: &[u8], domain: &str, salt: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(domain.as_bytes());
    mac.update(&[0]);
    mac.update(salt.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Draws bytes from the operating system.
pub(super) fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(|error| Error::Backend(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// Draws a number below a bound, every one as likely as the others.
pub(super) fn random_below(bound: u64) -> Result<u64> {
    // Numbers above the last whole multiple would favour the small ones.
    let zone = u64::MAX - u64::MAX % bound;
    loop {
        let draw = u64::from_le_bytes(random_bytes()?);
        if draw < zone {
            return Ok(draw % bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while the type has no `==`: with one, both implementations would hold and the call be ambiguous.
    macro_rules! assert_has_no_equality {
        ($type:ty) => {{
            trait Ambiguous<Marker> {
                fn only() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct HasEquality;
            impl<T: ?Sized + PartialEq> Ambiguous<HasEquality> for T {}
            <$type as Ambiguous<_>>::only();
        }};
    }

    #[test]
    fn timing_safe_compare_is_the_only_one() {
        assert_has_no_equality!(Digest);
        assert_has_no_equality!(Secret);
        let secret = Secret::random().unwrap();
        assert!(secret.matches(&secret.clone()));
        for other in ["", "x", &secret.expose()[..42], &format!("{}x", secret.expose())] {
            assert!(!secret.matches(&Secret::new(other)), "{other:?}");
        }
        // One bit anywhere makes a difference.
        let digest = secret.digest("d").unwrap();
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!digest.matches(&other) && other.matches(&other.clone()));
        }
    }

    #[test]
    fn digests_keep_parts_and_domains_apart() {
        let digest = |domain, parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            Digest::of(domain, &parts).text()
        };
        let texts = [
            digest("a", &["b", "c"]),
            digest("a", &["bc"]),
            digest("a", &["bc", ""]),
            digest("ab", &["c"]),
            digest("b", &["b", "c"]),
        ];
        let different: std::collections::HashSet<&String> = texts.iter().collect();
        assert_eq!(different.len(), texts.len());
        assert!(texts.iter().all(|text| text.len() == 43));
    }

    #[test]
    fn secrets_do_not_show_and_do_not_repeat() {
        let secret = Secret::random().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose().len(), 43);
        let drawn: std::collections::HashSet<String> = (0..1000).map(|_| Secret::random().unwrap().0).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(Secret::new("").digest("d").is_err());
        assert!(Secret::new("x".repeat(MAX_SECRET_BYTES + 1)).digest("d").is_err());
    }

    #[test]
    fn draws_are_below_their_bound_and_even() {
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[usize::try_from(random_below(10).unwrap()).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
