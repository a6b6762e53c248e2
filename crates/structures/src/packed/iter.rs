//! Walking a packed sequence from both ends.

use super::encoding::{before, decode, decode_next};
use super::item::Item;
use std::iter::FusedIterator;

/// The elements of a packed sequence, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    listpack: &'a [u8],
    /// Offset of the next entry from the front; equal to `back` when there is none.
    front: usize,
    /// Offset behind the next entry from the back.
    back: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(listpack: &'a [u8], front: usize, back: usize) -> Iter<'a> {
        Iter { listpack, front, back }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (item, next) = decode_next(self.listpack, self.front);
        self.front = next;
        Some(item)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = before(self.listpack, self.back);
        Some(decode(self.listpack, self.back))
    }
}

impl FusedIterator for Iter<'_> {}

/// The elements of a packed sequence two by two, from either end; each pair is in sequence order.
///
/// A sequence of pairs has an even number of elements; an element without a partner ends the walk.
#[derive(Clone, Debug)]
pub struct Pairs<'a>(pub(super) Iter<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let second = self.0.next_back()?;
        Some((self.0.next_back()?, second))
    }
}

impl FusedIterator for Pairs<'_> {}
