//! Keys: whence they come and how they are told apart.
//!
//! A key is 32 bytes that nobody can guess, written as 64 hexadecimal digits or in Base64, one on a line. Of several the first is the one that is written
//! with; all are there to read with, which is what makes a change of keys possible. A key is never shown: what names it is its id, which is made from it and
//! tells nothing about it.

use std::fmt;

use ring::hmac;
use zeroize::Zeroizing;

/// Bytes of a key.
pub(super) const KEY_LEN: usize = 32;
/// Bytes of what names a key.
pub(super) const ID_LEN: usize = 8;

/// What an id is made of besides the key.
const ID_PURPOSE: &[u8] = b"redpoll key id";

/// Most keys that are kept.
const KEYS_MAX: usize = 64;

/// What names a key; it is no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub(super) [u8; ID_LEN]);

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A key and what names it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) secret: Zeroizing<[u8; KEY_LEN]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.id, out)
    }
}

/// The keys there are; the first is written with.
#[derive(Clone, Default)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// Reads keys from a text: one on a line, empty lines and those that begin with `#` left out.
    ///
    /// # Errors
    /// Which line is no key; nothing of what stands there.
    pub fn parse(text: &str) -> Result<KeyRing, String> {
        let mut ring = KeyRing::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let secret = hexadecimal(line).or_else(|| base64(line));
            let secret = secret.ok_or_else(|| {
                format!("line {} is no key: 32 bytes in hexadecimal or Base64 are expected", index + 1)
            })?;
            if ring.0.len() == KEYS_MAX {
                return Err(format!("there are more than {KEYS_MAX} keys"));
            }
            ring.add(secret);
        }
        Ok(ring)
    }

    /// Adds the keys of another ring behind these.
    #[must_use]
    pub fn and(mut self, others: KeyRing) -> KeyRing {
        others.0.into_iter().for_each(|key| self.add(key.secret));
        self
    }

    /// Tells whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what names the keys, that which is written with first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|key| key.id)
    }

    pub(super) fn writing(&self) -> Option<&Key> {
        self.0.first()
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    fn add(&mut self, secret: Zeroizing<[u8; KEY_LEN]>) {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*secret), ID_PURPOSE);
        let id = KeyId(*tag.as_ref().first_chunk().expect("a tag has 32 bytes"));
        if self.find(id).is_none() {
            self.0.push(Key { id, secret });
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.ids()).finish()
    }
}

fn hexadecimal(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let digits: Zeroizing<Vec<u32>> =
        Zeroizing::new(text.chars().map(|char| char.to_digit(16)).collect::<Option<_>>()?);
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    let mut secret = Zeroizing::new([0; KEY_LEN]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8;
    }
    Some(secret)
}

/// Reads 32 bytes of Base64 in either alphabet, with or without the padding.
fn base64(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let text = text.strip_suffix('=').unwrap_or(text);
    let mut secret = Zeroizing::new([0; KEY_LEN]);
    let (mut bits, mut have, mut bytes) = (0_u32, 0, secret.iter_mut());
    for char in text.bytes() {
        let value = match char {
            b'A'..=b'Z' => char - b'A',
            b'a'..=b'z' => char - b'a' + 26,
            b'0'..=b'9' => char - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            *bytes.next()? = (bits >> have) as u8;
        }
    }
    // Nothing is missing, and the two bits that are left over say nothing.
    (bytes.next().is_none() && have == 2 && bits & 3 == 0).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<usize, &str>) {
        let parsed = KeyRing::parse(text);
        assert_eq!(parsed.map(|ring| ring.0.len()), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn keys_are_lines_of_hexadecimal_or_base64() {
        let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let base64 = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";
        let other = "0".repeat(64);
        check("", Ok(0));
        check(&format!("# new\n\n  {hex} \r\n{other}\n"), Ok(2));
        check(&format!("{hex}\n{base64}\n{}", base64.replace('/', "_").trim_end_matches('=')), Ok(1));
        let no_key = |line| {
            Err([
                "",
                "line 1 is no key: 32 bytes in hexadecimal or Base64 are expected",
                "line 2 is no key: 32 bytes in hexadecimal or Base64 are expected",
            ][line])
        };
        check(&hex[..63], no_key(1));
        check(&format!("{hex}\n{}", &base64[1..]), no_key(2));
        check(&format!("{hex}00"), no_key(1));
        check("ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v9=", no_key(1));
        check("secret", no_key(1));
        let many: String = (0..=KEYS_MAX).map(|number| format!("{number:064x}\n")).collect();
        check(&many, Err("there are more than 64 keys"));
    }

    #[test]
    fn a_ring_shows_ids_and_no_secrets() {
        let ring = KeyRing::parse(&"ab".repeat(32)).unwrap().and(KeyRing::parse(&"cd".repeat(32)).unwrap());
        let shown = format!("{ring:?}");
        assert_eq!((ring.ids().count(), shown.len(), shown.contains("abab")), (2, 36, false), "{shown}");
        assert_eq!(ring.writing().unwrap().id, ring.ids().next().unwrap());
    }
}
