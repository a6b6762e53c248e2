//! Ids: what a client shows, what the store keeps of it, and what an operator sees instead.
//!
//! ```text
//! id      partition 1 ┬ ref 16 ┬ secret 16     44 letters of URL-safe Base64; only its client knows it
//! handle  partition 1 ┴ ref 16                 23 letters; names the session in lists and to those who revoke
//! proof   SHA-256(secret)                      in the store
//! ```
//!
//! Ref and secret are random bytes of the operating system, 128 bits each. The partition and the ref find the session,
//! the secret proves that the session is the caller's. The store keeps only the secret's hash: who reads the store, a
//! backup of it or a list of sessions cannot act as anybody. The hash needs no salt, since there is no guessing among
//! 2^128 secrets.
//!
//! The next id of a session has the same ref and `HMAC-SHA256(secret, nonce)` as its secret, so whoever holds the
//! present id and is told the nonce by the store comes to the same next id; the store itself cannot.
//!
//! Some frameworks have ids of 128 bits. A [`ShortId`] is all secret, and its ref is a hash of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::place::{PARTITIONS, partition_of};
use crate::error::{Error, Result};

/// Bytes of ref, secret and nonce.
const PART_BYTES: usize = 16;

/// Random bytes of the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Backend(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}

/// Names a session without giving access to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    partition: u8,
    reference: [u8; PART_BYTES],
}

impl Handle {
    pub(super) fn partition(self) -> usize {
        usize::from(self.partition)
    }

    /// Returns the ref as it stands in keys.
    pub(super) fn reference(self) -> String {
        BASE64.encode(self.reference)
    }

    /// Puts a ref that stood in the index back together with its partition.
    pub(super) fn from_reference(partition: usize, reference: &str) -> Option<Self> {
        let bytes = BASE64.decode(reference).ok()?;
        Self::from_parts(u8::try_from(partition).ok()?, bytes.try_into().ok()?)
    }

    fn from_parts(partition: u8, reference: [u8; PART_BYTES]) -> Option<Self> {
        (usize::from(partition) < PARTITIONS).then_some(Self { partition, reference })
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.partition];
        bytes.extend(self.reference);
        formatter.write_str(&BASE64.encode(bytes))
    }
}

impl FromStr for Handle {
    type Err = Error;

    /// What is no handle names no session.
    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let bytes = BASE64.decode(text).ok()?;
            let (partition, reference) = bytes.split_first()?;
            Self::from_parts(*partition, reference.try_into().ok()?)
        };
        parts().ok_or_else(no_session)
    }
}

/// What a client shows to be known again: a secret, to be sent over TLS and never to be logged.
///
/// `Display` writes it; `Debug` writes the handle only.
#[derive(Clone)]
pub struct SessionId {
    handle: Handle,
    secret: [u8; PART_BYTES],
}

impl SessionId {
    /// Makes an id that nobody has, for a session of a user, or of nobody.
    pub(super) fn generate(user: Option<&str>) -> Result<Self> {
        let reference: [u8; PART_BYTES] = random()?;
        let partition = partition_of(user.map_or(&reference[..], str::as_bytes));
        Ok(Self { handle: Handle { partition, reference }, secret: random()? })
    }

    /// Returns the name of the session, which gives no access to it.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Returns what the store keeps of the secret.
    pub(super) fn proof(&self) -> String {
        BASE64.encode(Sha256::digest(self.secret))
    }

    /// Tells whether the store has kept this of the secret.
    pub(super) fn is_proven_by(&self, proof: &[u8]) -> bool {
        self.proof().as_bytes().ct_eq(proof).into()
    }

    /// Returns the session's next id.
    pub(super) fn successor(&self, nonce: &[u8]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length will do");
        mac.update(nonce);
        let digest = mac.finalize().into_bytes();
        let secret = digest[..PART_BYTES].try_into().expect("a digest has 32 bytes");
        Self { handle: self.handle, secret }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.handle.partition];
        bytes.extend(self.handle.reference);
        bytes.extend(self.secret);
        formatter.write_str(&BASE64.encode(bytes))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SessionId of {}", self.handle)
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle && bool::from(self.secret.ct_eq(&other.secret))
    }
}

impl Eq for SessionId {}

impl FromStr for SessionId {
    type Err = Error;

    /// What is no id is the id of no session.
    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let bytes = BASE64.decode(text).ok()?;
            let (partition, rest) = bytes.split_first()?;
            let (reference, secret) = rest.split_first_chunk()?;
            let handle = Handle::from_parts(*partition, *reference)?;
            Some(Self { handle, secret: secret.try_into().ok()? })
        };
        parts().ok_or_else(no_session)
    }
}

/// The id of a session of nobody in particular, for frameworks whose ids have 128 bits. All of them are secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortId(pub [u8; PART_BYTES]);

impl ShortId {
    pub(super) fn generate() -> Result<Self> {
        random().map(Self)
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ShortId of {}", SessionId::from(*self).handle)
    }
}

impl From<ShortId> for SessionId {
    fn from(short: ShortId) -> Self {
        // Another text than a proof's, so that neither hash tells of the other.
        let digest = Sha256::new().chain_update(b"redpoll short session id").chain_update(short.0).finalize();
        let reference: [u8; PART_BYTES] = digest[..PART_BYTES].try_into().expect("a digest has 32 bytes");
        Self { handle: Handle { partition: partition_of(&reference), reference }, secret: short.0 }
    }
}

/// The answer about a session that is not there, whatever the reason.
pub(super) fn no_session() -> Error {
    Error::NotFound("session".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for user in [None, Some("ann")] {
            let id = SessionId::generate(user).unwrap();
            let text = id.to_string();
            assert_eq!(text.len(), 44);
            assert_eq!(text.parse::<SessionId>().unwrap(), id);
            let handle = id.handle().to_string();
            assert_eq!(handle.len(), 23);
            assert_eq!(handle.parse::<Handle>().unwrap(), id.handle());
            assert!(!format!("{id:?}").contains(&text));
            assert_eq!(
                Handle::from_reference(id.handle.partition(), &id.handle.reference()),
                Some(id.handle()),
                "as the index names it"
            );
        }
    }

    #[test]
    fn what_is_no_id_is_the_id_of_no_session() {
        let id = SessionId::generate(None).unwrap().to_string();
        let beyond = BASE64.encode([PARTITIONS as u8; 33]);
        for text in ["", "x", "not base64!", &id[..40], &format!("{id}AAAA"), &beyond, "\0", "é"] {
            assert!(matches!(text.parse::<SessionId>(), Err(Error::NotFound(_))), "{text:?}");
            assert!(matches!(text.parse::<Handle>(), Err(Error::NotFound(_))), "{text:?}");
        }
    }

    #[test]
    fn sessions_of_a_user_share_a_partition() {
        let partitions: Vec<u8> = (0..20).map(|_| SessionId::generate(Some("ann")).unwrap().handle.partition).collect();
        assert!(partitions.iter().all(|partition| *partition == partitions[0]));
        let spread: std::collections::HashSet<u8> =
            (0..400).map(|_| SessionId::generate(None).unwrap().handle.partition).collect();
        assert_eq!(spread.len(), PARTITIONS);
    }

    #[test]
    fn ids_do_not_repeat_and_proofs_do_not_tell() {
        let ids: std::collections::HashSet<String> =
            (0..10_000).map(|_| SessionId::generate(None).unwrap().to_string()).collect();
        assert_eq!(ids.len(), 10_000);
        let id = SessionId::generate(None).unwrap();
        assert!(id.is_proven_by(id.proof().as_bytes()));
        assert!(!id.is_proven_by(SessionId::generate(None).unwrap().proof().as_bytes()));
        assert!(!id.is_proven_by(b""));
    }

    #[test]
    fn successors_need_both_secret_and_nonce() {
        let id = SessionId::generate(None).unwrap();
        assert_eq!(id.successor(b"n"), id.successor(b"n"));
        assert_eq!(id.successor(b"n").handle(), id.handle());
        assert_ne!(id.successor(b"n"), id.successor(b"m"));
        let other = SessionId { secret: random().unwrap(), ..id.clone() };
        assert_ne!(id.successor(b"n"), other.successor(b"n"));
    }

    #[test]
    fn a_short_id_leads_to_one_session() {
        let short = ShortId::generate().unwrap();
        assert_eq!(SessionId::from(short), SessionId::from(short));
        assert_ne!(SessionId::from(short).handle(), SessionId::from(ShortId::generate().unwrap()).handle());
    }
}
