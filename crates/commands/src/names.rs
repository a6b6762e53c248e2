//! Finding a command by its name, in any case, in a few nanoseconds.
//!
//! Every command of every client comes through here. Names are short and ASCII, so a name of up to 16 bytes is folded to lower case as one 128-bit
//! number and looked up in a small open table by a multiplication; what is found is then compared for real. Longer names take a map.

use std::collections::HashMap;

/// Longest name that is folded into a number, bytes.
const FOLDED_MAX: usize = 16;

/// Spreads the bits of a folded name over the upper bits of the product.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A name of up to [`FOLDED_MAX`] bytes.
#[derive(Clone, Debug)]
struct Place {
    name: Box<[u8]>,
    folded: u128,
    /// What the name stands for.
    id: usize,
    /// Nothing but letters: names of the same length that fold to the same are the same.
    letters: bool,
}

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
            old.into_iter().flatten().for_each(|place| self.put(place));
        }
        self.put(Place { name: name.into(), folded, id, letters: name.iter().all(u8::is_ascii_alphabetic) });
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
        while let Some(place) = &self.places[at] {
            let alike = place.folded == folded && place.name.len() == name.len();
            if alike && (place.letters || place.name.eq_ignore_ascii_case(name)) {
                return Some(place.id);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
        None
    }

    fn put(&mut self, place: Place) {
        let mut at = self.place(place.folded);
        while self.places[at].is_some() {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = Some(place);
    }

    #[inline]
    fn place(&self, folded: u128) -> usize {
        let mixed = (folded as u64 ^ ((folded >> 64) as u64).rotate_left(32)).wrapping_mul(MULTIPLIER);
        (mixed >> 40) as usize & (self.places.len() - 1)
    }
}

/// Packs a name into a number, upper case like lower case. Both ends are read as they lie, and may overlap.
#[inline]
fn fold(name: &[u8]) -> Option<u128> {
    const LOWER: u128 = u128::from_le_bytes([0x20; FOLDED_MAX]);
    let len = name.len();
    let packed = match len {
        0 => 0,
        1..4 => {
            u128::from(name[0])
                | u128::from(name[len / 2]) << (len / 2 * 8)
                | u128::from(name[len - 1]) << ((len - 1) * 8)
        }
        4..8 => {
            let (front, back) = (name.first_chunk()?, name.last_chunk()?);
            u128::from(u32::from_le_bytes(*front)) | u128::from(u32::from_le_bytes(*back)) << ((len - 4) * 8)
        }
        8..=FOLDED_MAX => {
            let (front, back) = (name.first_chunk()?, name.last_chunk()?);
            u128::from(u64::from_le_bytes(*front)) | u128::from(u64::from_le_bytes(*back)) << ((len - 8) * 8)
        }
        _ => return None,
    };
    Some(packed | LOWER)
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
        for len in 1..=FOLDED_MAX {
            let name = &b"abcdefghijklmnop"[..len];
            let mut padded = [0x20; FOLDED_MAX];
            padded[..len].copy_from_slice(name);
            assert_eq!(fold(name), Some(u128::from_le_bytes(padded)));
            assert_eq!(fold(&name.to_ascii_uppercase()), fold(name));
        }
        for other in ["", "ge", "gett", "get ", "get\0", "\x11", "a\rb", "zremrangebyscoree", "georadiusbymember_r"] {
            assert_eq!(names.find(other.as_bytes()), None, "{other:?}");
        }
    }
}
