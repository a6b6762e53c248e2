//! A sorted set of integers in one heap block, behind one pointer.
//!
//! ```text
//!   IntSet ──► [ capacity u32 | width u32 | len u32 | value | value | … | spare … ]
//!                             └────────────── int set ────────────────┘
//! ```
//!
//! All values take the same width, 2, 4 or 8 bytes little-endian: the smallest that held every value so far. A value
//! that does not fit widens the set once; removing it does not narrow the set again. Values are unique and ascending,
//! so membership is a binary search and a random member is an index. The bytes after the capacity are exactly those
//! of the RDB format.
//!
//! Inserting moves what follows, which is why owners give this form up at some hundreds of values. It is not a bitmap:
//! dense ranges are not compressed.

use crate::packed::Corrupt;
use crate::packed::block::{Block, MAX_BYTES, Shape, Vacant};
use std::fmt;
use std::iter::FusedIterator;

/// Bytes before the first value: the width and the number of values.
const HEADER: usize = 8;

/// How many bytes each value takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two = 2,
    Four = 4,
    Eight = 8,
}

impl Width {
    fn of(value: i64) -> Width {
        if i16::try_from(value).is_ok() {
            Width::Two
        } else if i32::try_from(value).is_ok() {
            Width::Four
        } else {
            Width::Eight
        }
    }

    fn from_header(header: u8) -> Option<Width> {
        match header {
            2 => Some(Width::Two),
            4 => Some(Width::Four),
            8 => Some(Width::Eight),
            _ => None,
        }
    }
}

struct Image;

// SAFETY: the used length follows from the first eight bytes: the width, which no operation on a block writes, and the
// number of values, which `set_used` alone writes. The vacant image has exactly these eight bytes.
unsafe impl Shape for Image {
    const VACANT: &'static Vacant = &Vacant::new([2, 0, 0, 0, 0, 0, 0, 0]);
    const FIXED: usize = HEADER;

    #[inline]
    unsafe fn used(image: *const u8) -> usize {
        // SAFETY: the caller vouches for the first eight bytes.
        let [width, _, _, _, len @ ..] = unsafe { image.cast::<[u8; 8]>().read() };
        HEADER + usize::from(width) * u32::from_le_bytes(len) as usize
    }

    #[inline]
    unsafe fn set_used(image: *mut u8, used: usize) {
        // SAFETY: the caller vouches for the first eight bytes.
        unsafe {
            let len = (used - HEADER) / usize::from(*image);
            image.add(4).cast::<[u8; 4]>().write((len as u32).to_le_bytes());
        }
    }
}

/// A sorted set of 64-bit integers.
///
/// ```
/// use redpoll_structures::int_set::IntSet;
///
/// let mut set = IntSet::new();
/// assert!(set.insert(40_000) && set.insert(-7));
/// assert!(!set.insert(-7));
/// assert_eq!(set.iter().collect::<Vec<_>>(), [-7, 40_000]);
/// ```
#[derive(Clone)]
pub struct IntSet(Block<Image>);

impl IntSet {
    /// Creates an empty set; allocates nothing.
    pub const fn new() -> IntSet {
        IntSet(Block::vacant())
    }

    /// Copies a set from foreign bytes after checking the width, the length and the order.
    pub fn from_intset_bytes(bytes: &[u8]) -> Result<IntSet, Corrupt> {
        let Some(([width, 0, 0, 0, len @ ..], values)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Corrupt("int set with a broken header"));
        };
        let width = Width::from_header(*width).ok_or(Corrupt("int set of an unknown width"))?;
        if bytes.len() > MAX_BYTES || values.len() != u32::from_le_bytes(*len) as usize * width as usize {
            return Err(Corrupt("int set of the wrong size"));
        }
        let set = IntSet(Block::from_image(bytes));
        if set.iter().zip(set.iter().skip(1)).all(|(low, high)| low < high) {
            Ok(set)
        } else {
            Err(Corrupt("int set out of order"))
        }
    }

    /// Returns the bytes as RDB files and dumps hold them.
    pub fn as_intset_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Returns the number of values.
    #[inline]
    pub fn len(&self) -> usize {
        self.values().len() / self.width() as usize
    }

    /// Reports whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.values().is_empty()
    }

    /// Returns the bytes taken on the heap, spare room included.
    pub fn heap_size(&self) -> usize {
        self.0.heap_size()
    }

    /// Gives spare room back to the allocator.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Returns the value with this index in ascending order. Panics if there are not that many.
    #[inline]
    pub fn at(&self, index: usize) -> i64 {
        read(self.values(), self.width(), index)
    }

    /// Returns the smallest value.
    pub fn min(&self) -> Option<i64> {
        (!self.is_empty()).then(|| self.at(0))
    }

    /// Returns the largest value.
    pub fn max(&self) -> Option<i64> {
        (!self.is_empty()).then(|| self.at(self.len() - 1))
    }

    /// Reports whether `value` is a member: a binary search.
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        self.position(value).is_ok()
    }

    /// Returns the index of `value`, or the index at which it would be inserted.
    pub fn position(&self, value: i64) -> Result<usize, usize> {
        let (values, width) = (self.values(), self.width());
        let (mut low, mut high) = (0, self.len());
        if Width::of(value) > width {
            return Err(if value < 0 { low } else { high });
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if read(values, width, middle) < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low < self.len() && read(values, width, low) == value { Ok(low) } else { Err(low) }
    }

    /// Adds `value`; reports whether it was missing. Panics when the set would outgrow [`MAX_BYTES`].
    pub fn insert(&mut self, value: i64) -> bool {
        let index = match self.max() {
            Some(max) if value > max => self.len(),
            _ => match self.position(value) {
                Ok(_) => return false,
                Err(index) => index,
            },
        };
        if Width::of(value) > self.width() {
            self.widen(Width::of(value));
        }
        let width = self.width() as usize;
        let offset = HEADER + index * width;
        self.0.splice(offset, offset, [&value.to_le_bytes()[..width]]);
        true
    }

    /// Removes `value`; reports whether it was a member.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.position(value) else { return false };
        let width = self.width() as usize;
        let offset = HEADER + index * width;
        self.0.splice(offset, offset + width, []);
        true
    }

    /// Iterates over the values in ascending order, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { values: self.values(), width: self.width(), front: 0, back: self.len() }
    }

    #[inline]
    fn width(&self) -> Width {
        Width::from_header(self.0.bytes()[0]).expect("no image is built with another width")
    }

    #[inline]
    fn values(&self) -> &[u8] {
        &self.0.bytes()[HEADER..]
    }

    /// Rewrites the set with more bytes a value, and with spare room for one.
    fn widen(&mut self, width: Width) {
        let mut values = Vec::with_capacity(self.len() * width as usize);
        for value in self.iter() {
            values.extend_from_slice(&value.to_le_bytes()[..width as usize]);
        }
        let mut image = Vec::with_capacity(HEADER + values.len());
        image.extend_from_slice(&(width as u32).to_le_bytes());
        image.extend_from_slice(&(self.len() as u32).to_le_bytes());
        image.extend_from_slice(&values);
        self.0 = Block::from_image(&image);
    }
}

/// Reads one value; panics if it lies outside.
#[inline]
fn read(values: &[u8], width: Width, index: usize) -> i64 {
    #[inline]
    fn bytes<const N: usize>(values: &[u8], index: usize) -> [u8; N] {
        values[index * N..][..N].try_into().expect("a slice of N bytes")
    }
    match width {
        Width::Two => i64::from(i16::from_le_bytes(bytes(values, index))),
        Width::Four => i64::from(i32::from_le_bytes(bytes(values, index))),
        Width::Eight => i64::from_le_bytes(bytes(values, index)),
    }
}

impl Default for IntSet {
    fn default() -> IntSet {
        IntSet::new()
    }
}

/// Two sets are equal when their members are, whatever the widths.
impl PartialEq for IntSet {
    fn eq(&self, other: &IntSet) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl Eq for IntSet {}

impl fmt::Debug for IntSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl Extend<i64> for IntSet {
    fn extend<I: IntoIterator<Item = i64>>(&mut self, values: I) {
        for value in values {
            self.insert(value);
        }
    }
}

impl FromIterator<i64> for IntSet {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> IntSet {
        let mut set = IntSet::new();
        set.extend(values);
        set
    }
}

impl<'a> IntoIterator for &'a IntSet {
    type Item = i64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The values of an [`IntSet`] in ascending order, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    values: &'a [u8],
    width: Width,
    front: usize,
    back: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.front == self.back {
            return None;
        }
        self.front += 1;
        Some(read(self.values, self.width, self.front - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }

    fn nth(&mut self, n: usize) -> Option<i64> {
        self.front = self.front.saturating_add(n).min(self.back);
        self.next()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<i64> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        Some(read(self.values, self.width, self.back))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Values around every width.
    fn value() -> impl Strategy<Value = i64> {
        let edges = [0, i64::from(i16::MIN), i64::from(i16::MAX), i64::from(i32::MIN), i64::from(i32::MAX)];
        prop_oneof![
            4 => -20..20i64,
            2 => (proptest::sample::select(edges.to_vec()), -2..=2i64).prop_map(|(edge, near)| edge + near),
            1 => proptest::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]),
            1 => any::<i64>(),
        ]
    }

    #[test]
    fn bytes_are_those_of_the_format() {
        let mut set = IntSet::new();
        assert_eq!(set.as_intset_bytes(), [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(set.heap_size(), 0);
        set.extend([1, -1]);
        assert_eq!(set.as_intset_bytes(), [2, 0, 0, 0, 2, 0, 0, 0, 0xFF, 0xFF, 1, 0]);
        set.insert(65_536);
        let wide = [4, 0, 0, 0, 3, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(set.as_intset_bytes(), wide);
        set.remove(65_536);
        assert_eq!(set.as_intset_bytes(), [&[4, 0, 0, 0, 2, 0, 0, 0], &wide[8..16]].concat(), "widths never shrink");
    }

    #[test]
    fn observed_dump_is_read_and_written_alike() {
        for dump in OBSERVED {
            let set = IntSet::from_intset_bytes(dump.0).expect("a real server wrote it");
            assert_eq!(set.iter().collect::<Vec<_>>(), dump.1);
            assert_eq!(set.as_intset_bytes(), dump.0);
            assert_eq!(dump.1.iter().rev().copied().collect::<IntSet>().as_intset_bytes(), dump.0);
        }
    }

    /// The int sets inside `DUMP` replies of redis-server 7.0.15.
    const OBSERVED: &[(&[u8], &[i64])] = &[
        (&[2, 0, 0, 0, 4, 0, 0, 0, 251, 255, 1, 0, 2, 0, 3, 0], &[-5, 1, 2, 3]),
        (&[4, 0, 0, 0, 3, 0, 0, 0, 251, 255, 255, 255, 1, 0, 0, 0, 112, 17, 1, 0], &[-5, 1, 70_000]),
        (
            &[8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
            &[i64::MIN, 1, 1 << 40],
        ),
    ];

    #[test]
    fn broken_bytes_are_refused() {
        let cases: &[&[u8]] = &[
            b"",
            &[2, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[2, 1, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 0, 0, 1],
            &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0],
            &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0xFF, 0xFF],
            &[8, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        ];
        for bytes in cases {
            assert!(IntSet::from_intset_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(steps in prop::collection::vec((any::<bool>(), value()), 0..200)) {
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            for (add, value) in steps {
                prop_assert_eq!(set.contains(value), model.contains(&value));
                if add {
                    prop_assert_eq!(set.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.iter().rev().eq(model.iter().rev().copied()));
            prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
            for (index, &value) in model.iter().enumerate() {
                prop_assert_eq!(set.at(index), value);
                prop_assert_eq!(set.position(value), Ok(index));
            }
            let again = IntSet::from_intset_bytes(set.as_intset_bytes());
            prop_assert_eq!(again.as_ref(), Ok(&set));
            set.shrink_to_fit();
            prop_assert_eq!(Ok(set), again);
        }

        #[test]
        fn mutated_bytes_never_break_it(
            values in prop::collection::vec(value(), 0..20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in 0..3usize,
        ) {
            let mut bytes = values.into_iter().collect::<IntSet>().as_intset_bytes().to_vec();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.truncate(bytes.len() - cut);
            if let Ok(mut set) = IntSet::from_intset_bytes(&bytes) {
                prop_assert_eq!(set.as_intset_bytes(), &bytes[..]);
                prop_assert!(set.iter().is_sorted());
                set.insert(i64::MIN);
                prop_assert_eq!(set.min(), Some(i64::MIN));
            }
        }
    }
}
