//! One file's cipher: its head, the keys that come of it, and chunks sealed and opened.
//!
//! ```text
//! head    "RPSEAL01" │ kind 1: w, g │ id of the key 8 │ salt 32
//! chunk   length u32 │ its complement u32 │ nonce 12 │ sealed content │ tag 16                little endian
//! bound   head │ number of the chunk u64 │ 1 for the last chunk of a whole file, or else 0
//! ```
//!
//! AES-256-GCM. Each file has keys of its own: HKDF-SHA256 of the key and the file's salt, and of how many times 2^24 chunks were sealed. So random nonces do not meet, however long a
//! log grows; each attempt at a chunk draws a new one, also when the same bytes are written again. A chunk is bound to its file, its number and whether
//! it is the last.

use std::fmt;
use std::io::{Error, Result};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use super::keys::{ID_LEN, Key, KeyId};

/// What every sealed file begins with.
pub(super) const MAGIC: &[u8; 8] = b"RPSEAL01";
const SALT_LEN: usize = 32;
/// Bytes of the beginning of a file.
pub(super) const HEAD_LEN: usize = MAGIC.len() + 1 + ID_LEN + SALT_LEN;
/// Bytes of what stands before the nonce of a chunk.
pub(super) const LENGTH_LEN: usize = 8;
/// Bytes of a chunk besides its content.
pub(super) const CHUNK_MORE: usize = LENGTH_LEN + NONCE_LEN + MAX_TAG_LEN;

/// Chunks that are sealed with one key.
const CHUNKS_PER_KEY: u64 = 1 << 24;
/// What keys of files are made of besides the key, the salt and a number.
const FILE_PURPOSE: &[u8] = b"redpoll sealed file";

/// How a file comes into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From its beginning to its end, and then never again: its last chunk says that it is the last, and all others have the same length.
    Whole,
    /// By appending.
    Growing,
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Kind::Whole => b'w',
            Kind::Growing => b'g',
        }
    }

    /// Returns the longest content of a chunk, bytes.
    pub(super) const fn chunk_max(self) -> usize {
        match self {
            Kind::Whole => 64 << 10,
            Kind::Growing => 1 << 20,
        }
    }
}

/// The beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) id: KeyId,
    pub(super) bytes: [u8; HEAD_LEN],
}

impl Head {
    fn new(kind: Kind, id: KeyId) -> Result<Head> {
        let mut bytes = [0; HEAD_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = kind.letter();
        bytes[9..9 + ID_LEN].copy_from_slice(&id.0);
        fill(&mut bytes[9 + ID_LEN..])?;
        Ok(Head { kind, id, bytes })
    }

    /// Reads a head, whose magic word is known to be there; none if it is of an unknown kind.
    pub(super) fn parse(bytes: [u8; HEAD_LEN]) -> Option<Head> {
        let kind = [Kind::Whole, Kind::Growing].into_iter().find(|kind| kind.letter() == bytes[8])?;
        let id = KeyId(*bytes[9..].first_chunk().expect("a head is longer"));
        Some(Head { kind, id, bytes })
    }
}

/// Whether chunks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Perhaps.
    Within,
    /// None.
    Last,
}

/// Seals and opens the chunks of one file.
pub(super) struct Cipher {
    pub(super) head: Head,
    material: Prk,
    /// The key of the chunks around the one that was sealed or opened last, and which those are.
    key: LessSafeKey,
    period: u64,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cipher").field("key", &self.head.id).finish_non_exhaustive()
    }
}

impl Cipher {
    /// Begins a file.
    pub(super) fn begin(key: &Key, kind: Kind) -> Result<Cipher> {
        Ok(Cipher::of(key, Head::new(kind, key.id)?))
    }

    /// Goes on with a file that was begun with a key.
    pub(super) fn of(key: &Key, head: Head) -> Cipher {
        let material = Salt::new(HKDF_SHA256, &head.bytes[HEAD_LEN - SALT_LEN..]).extract(&*key.secret);
        let first = key_of(&material, 0);
        Cipher { head, material, key: first, period: 0 }
    }

    /// Appends a sealed chunk to a buffer.
    pub(super) fn seal(&mut self, number: u64, place: Place, content: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let length = u32::try_from(content.len()).expect("chunks are short");
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(nonce);
        let at = out.len();
        out.extend_from_slice(content);
        let bound = self.bound(number, place);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.at(number).seal_in_place_separate_tag(nonce, Aad::from(bound), &mut out[at..]);
        let tag = sealed.map_err(|_| Error::other("a chunk cannot be sealed"))?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a chunk in place, of which the nonce comes first and the tag last; none if it is not what was sealed there.
    pub(super) fn open<'a>(&mut self, number: u64, place: Place, chunk: &'a mut [u8]) -> Option<&'a [u8]> {
        let bound = self.bound(number, place);
        let (nonce, sealed) = chunk.split_first_chunk_mut()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.at(number).open_in_place(nonce, Aad::from(bound), sealed).ok().map(|content| &*content)
    }

    /// Returns the key of a chunk.
    fn at(&mut self, number: u64) -> &LessSafeKey {
        let period = number / CHUNKS_PER_KEY;
        if period != self.period {
            self.key = key_of(&self.material, period);
            self.period = period;
        }
        &self.key
    }

    /// Returns what a chunk is bound to.
    fn bound(&self, number: u64, place: Place) -> [u8; HEAD_LEN + 9] {
        let mut bound = [0; HEAD_LEN + 9];
        bound[..HEAD_LEN].copy_from_slice(&self.head.bytes);
        bound[HEAD_LEN..HEAD_LEN + 8].copy_from_slice(&number.to_le_bytes());
        bound[HEAD_LEN + 8] = u8::from(place == Place::Last);
        bound
    }
}

fn key_of(material: &Prk, period: u64) -> LessSafeKey {
    let period = period.to_le_bytes();
    let info = [FILE_PURPOSE, &period];
    let key = material.expand(&info, &AES_256_GCM).expect("a key is shorter than what can be made");
    LessSafeKey::new(UnboundKey::from(key))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::other("the system gives no random numbers"))
}

#[cfg(test)]
mod tests {
    use super::super::keys::KeyRing;
    use super::*;

    #[test]
    fn keys_change_before_nonces_can_meet_and_attempts_differ() {
        let ring = KeyRing::parse(&"ab".repeat(32)).unwrap();
        let mut cipher = Cipher::begin(ring.writing().unwrap(), Kind::Growing).unwrap();
        let mut seal = |number| {
            let mut out = Vec::new();
            cipher.seal(number, Place::Within, b"content", &mut out).unwrap();
            out
        };
        let chunks = [CHUNKS_PER_KEY - 1, CHUNKS_PER_KEY, 0].map(|number| (number, seal(number)));
        assert_ne!(seal(0), chunks[2].1, "another attempt has another nonce");
        for (number, chunk) in &chunks {
            for other in [CHUNKS_PER_KEY - 1, CHUNKS_PER_KEY, 0, 1] {
                let mut copy = chunk[LENGTH_LEN..].to_vec();
                let opened = cipher.open(other, Place::Within, &mut copy).map(<[u8]>::to_vec);
                assert_eq!(opened, (other == *number).then(|| b"content".to_vec()));
            }
        }
        assert_eq!(cipher.open(0, Place::Last, &mut chunks[2].1[LENGTH_LEN..].to_vec()), None);
    }
}
