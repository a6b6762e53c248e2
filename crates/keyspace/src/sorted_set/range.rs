//! Walking a range of ranks, up or down, in either form of a sorted set.

use redpoll_structures::packed::{self, Item};
use redpoll_structures::ranked_map::Direction;

use super::{SortedSet, packed_pairs};

impl SortedSet {
    /// Walks over at most `count` elements. The one at rank `start` comes first; ranks count from the lowest element in either direction, so a walk down
    /// from the top starts at `len() - 1`. Empty if there is no element at `start`.
    pub fn range(&self, start: usize, count: usize, direction: Direction) -> impl Iterator<Item = (Item<'_>, f64)> {
        match self {
            SortedSet::Packed(packed) => {
                let at = i64::try_from(start).ok().and_then(|start| packed.seek(start.checked_mul(2)?));
                Form::Packed(at.map(|at| match direction {
                    Direction::Ascending => PackedRange { items: packed.iter_from(at), left: count, direction },
                    Direction::Descending => {
                        let score = packed.next(at).expect("every member has a score");
                        PackedRange { items: packed.iter_through(score), left: count, direction }
                    }
                }))
            }
            SortedSet::Ranked(map) => {
                Form::Ranked(map.range(start, count, direction).map(|(member, score)| (Item::Str(member), score)))
            }
        }
    }

    /// Walks over all elements from low to high.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, f64)> {
        self.range(0, usize::MAX, Direction::Ascending)
    }
}

enum Form<'a, R> {
    Packed(Option<PackedRange<'a>>),
    Ranked(R),
}

impl<'a, R: Iterator<Item = (Item<'a>, f64)>> Iterator for Form<'a, R> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Form::Packed(range) => range.as_mut()?.next(),
            Form::Ranked(range) => range.next(),
        }
    }

    /// The form is looked at once, not at every element.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, fold: F) -> B {
        match self {
            Form::Packed(range) => range.into_iter().flatten().fold(init, fold),
            Form::Ranked(range) => range.fold(init, fold),
        }
    }
}

struct PackedRange<'a> {
    items: packed::Iter<'a>,
    left: usize,
    direction: Direction,
}

impl<'a> Iterator for PackedRange<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (member, score) = match self.direction {
            Direction::Ascending => (self.items.next()?, self.items.next()?),
            Direction::Descending => {
                let score = self.items.next_back()?;
                (self.items.next_back()?, score)
            }
        };
        Some(packed_pairs::element((member, score)))
    }
}
