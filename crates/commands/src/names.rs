//! Finding a command by its name, in any case, in a few nanoseconds.
//!
//! Every command of every client comes through here. Names are short and ASCII, so a name of up to 16 bytes is folded to lower case as one 128-bit
//! number and looked up in a small open table by a multiplication; what is found is then compared for real. Longer names take a map.

use std::collections::HashMap;

/// Longest name that is folded into a number, bytes.
const FOLDED_MAX: usize = 16;

/// Spreads the bits of a folded name over the upper bits of the product.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A name, the same folded, and the number it stands for.
type Place = (Box<[u8]>, u128, usize);

/// Names and the numbers they stand for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// A power of two of places, at most half of them taken; a collision takes the next free one.
    places: Vec<Option<Place>>,
    taken: usize,
    longer: HashMap<Box<[u8]>, usize>,
}

impl Names {
    /// Adds a lower-case name; returns the number it already stood for, if it did.
    pub(crate) fn insert(&mut self, name: &[u8], id: usize) -> Option<usize> {
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        let Some(folded) = fold(name) else {
            self.longer.insert(name.into(), id);
            return None;
        };
        if (self.taken + 1) * 2 > self.places.len() {
            let size = (self.places.len() * 2).max(8);
            let old = std::mem::replace(&mut self.places, vec![None; size]);
            old.into_iter().flatten().for_each(|(name, folded, id)| self.put(name, folded, id));
        }
        self.put(name.into(), folded, id);
        self.taken += 1;
        None
    }

    /// Finds what a name in any case stands for.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let Some(folded) = fold(name) else { return self.longer.get(name.to_ascii_lowercase().as_slice()).copied() };
        if self.places.is_empty() {
            return None;
        }
        let mut at = self.place(folded);
        while let Some((found, found_folded, id)) = &self.places[at] {
            if *found_folded == folded && found.eq_ignore_ascii_case(name) {
                return Some(*id);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
        None
    }

    fn put(&mut self, name: Box<[u8]>, folded: u128, id: usize) {
        let mut at = self.place(folded);
        while self.places[at].is_some() {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = Some((name, folded, id));
    }

    #[inline]
    fn place(&self, folded: u128) -> usize {
        let mixed = (folded as u64 ^ ((folded >> 64) as u64).rotate_left(32)).wrapping_mul(MULTIPLIER);
        (mixed >> 40) as usize & (self.places.len() - 1)
    }
}

/// Packs a name into a number, upper case like lower case.
#[inline]
fn fold(name: &[u8]) -> Option<u128> {
    const LOWER: u128 = u128::from_le_bytes([0x20; FOLDED_MAX]);
    let mut bytes = [0; FOLDED_MAX];
    bytes.get_mut(..name.len())?.copy_from_slice(name);
    Some(u128::from_le_bytes(bytes) | LOWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is() {
        let mut names = Names::default();
        let list = ["get", "set", "zremrangebyscore", "georadiusbymember_ro", "pfadd", "hincrbyfloat", "1", "a-b"];
        for (id, name) in list.iter().enumerate() {
            assert_eq!(names.insert(name.as_bytes(), id), None);
            assert_eq!(names.insert(name.as_bytes(), 99), Some(id));
        }
        for (id, name) in list.iter().enumerate() {
            assert_eq!(names.find(name.as_bytes()), Some(id));
            assert_eq!(names.find(name.to_ascii_uppercase().as_bytes()), Some(id));
        }
        for other in ["", "ge", "gett", "get ", "get\0", "\x11", "a\rb", "zremrangebyscoree", "georadiusbymember_r"] {
            assert_eq!(names.find(other.as_bytes()), None, "{other:?}");
        }
    }
}
