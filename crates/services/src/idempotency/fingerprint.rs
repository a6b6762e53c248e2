//! What a request is: a digest by which two uses of one key are told apart.
//!
//! The parts are whatever makes a request that request: method, path, query, body. Each goes into the digest with its
//! length before it, so that moving a byte from one part to the next makes another request.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Identifies a request among those that use the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Makes the fingerprint of a request that consists of these parts.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut text = String::with_capacity(64);
        for byte in hash.finalize() {
            write!(text, "{byte:02x}").expect("a string takes what is written");
        }
        Self(text)
    }

    /// Returns 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        let of = |parts: &[&str]| Fingerprint::of(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        assert_eq!(of(&["POST", "/a"]), of(&["POST", "/a"]));
        assert_ne!(of(&["POST", "/a"]), of(&["POST/", "a"]));
        assert_ne!(of(&["POST", "/a"]), of(&["POST", "/a", ""]));
        assert_eq!(of(&[]).as_str().len(), 64);
    }
}
