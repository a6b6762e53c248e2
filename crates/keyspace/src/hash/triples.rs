//! Few short fields of which some have deadlines: field, value, deadline, field, value, deadline, … in one packed block.
//!
//! ```text
//! │ f1 │ v1 │ 1704067201000 │ f2 │ v2 │ 1704067260000 │ f3 │ v3 │ 0 │
//! ```
//!
//! Triples stand in the order of their deadlines, those without one (0) behind all others: what expires next is found at the front, and what has expired is a prefix.
//! That is the block of Redis 7.4's `listpackex`, so dumps copy it.

use redpoll_structures::packed::{self, At, Item, Packed};

use super::is_due;
use crate::Millis;

/// What stands in the place of a deadline where there is none.
const NEVER: i64 = 0;

/// Elements of a field.
const WIDTH: usize = 3;

/// Fields with values and deadlines.
#[derive(Clone, Debug)]
pub struct Triples(Packed);

/// A field, its value, its deadline.
pub(crate) type Triple<'a> = (Item<'a>, Item<'a>, Option<Millis>);

impl Triples {
    /// Gives every field of a block of pairs no deadline; none if the block would become too large.
    pub(crate) fn from_pairs(pairs: &Packed) -> Option<Triples> {
        let room = pairs.len() / 2 * Packed::MAX_OVERHEAD;
        if !pairs.would_fit(room) {
            return None;
        }
        let mut triples = Packed::with_capacity(pairs.byte_len() + pairs.len());
        for (field, value) in pairs.pairs() {
            triples.push_back(field.text(&mut [0; 20]));
            triples.push_back(value.text(&mut [0; 20]));
            triples.push_back_int(NEVER);
        }
        Some(Triples(triples))
    }

    /// Returns the block.
    pub fn packed(&self) -> &Packed {
        &self.0
    }

    /// Returns the number of fields.
    pub(crate) fn len(&self) -> usize {
        self.0.len() / WIDTH
    }

    /// Returns where the field stands and where its value does.
    fn find(&self, field: &[u8]) -> Option<(At, At)> {
        let at = self.0.find(field, WIDTH - 1)?;
        Some((at, self.after(at)))
    }

    fn after(&self, at: At) -> At {
        self.0.next(at).expect("every field has a value and a deadline")
    }

    fn deadline_at(&self, at: At) -> Option<Millis> {
        deadline(self.0.item(at))
    }

    /// Returns value and deadline of a field.
    pub(crate) fn get(&self, field: &[u8]) -> Option<(Item<'_>, Option<Millis>)> {
        let (_, value) = self.find(field)?;
        Some((self.0.item(value), self.deadline_at(self.after(value))))
    }

    /// Sets a field, which keeps its deadline if it has one; tells whether it is new.
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        match self.find(field) {
            Some((_, at)) => drop(self.0.replace(at, value)),
            None => {
                self.0.insert_pair(None, field, value);
                self.0.push_back_int(NEVER);
                return true;
            }
        }
        false
    }

    /// Removes a field; tells whether it was there.
    pub(crate) fn remove(&mut self, field: &[u8]) -> bool {
        let Some((at, _)) = self.find(field) else { return false };
        let rest = self.0.remove_pair(at).expect("every field has a deadline");
        self.0.remove(rest);
        true
    }

    /// Gives a field a deadline or takes it away; nothing if there is no such field.
    pub(crate) fn set_deadline(&mut self, field: &[u8], deadline: Option<Millis>) {
        let Some((value, before)) = self.get(field) else { return };
        if before == deadline {
            return;
        }
        let value = value.to_vec();
        self.remove(field);
        let number = deadline.map_or(NEVER, |deadline| deadline as i64);
        match self.first_beyond(deadline) {
            None => {
                self.0.insert_pair(None, field, &value);
                self.0.push_back_int(number);
            }
            Some(at) => {
                let at = self.0.insert_pair(Some(at), field, &value);
                self.0.insert_after(self.after(at), number.to_string().as_bytes());
            }
        }
    }

    /// Returns the first field that expires later than at this time.
    fn first_beyond(&self, deadline: Option<Millis>) -> Option<At> {
        let deadline = deadline?;
        let mut at = self.0.first();
        while let Some(field) = at {
            let last = self.after(self.after(field));
            if self.deadline_at(last).is_none_or(|other| other > deadline) {
                break;
            }
            at = self.0.next(last);
        }
        at
    }

    /// Returns the soonest deadline.
    pub(crate) fn soonest(&self) -> Option<Millis> {
        let first = self.0.first()?;
        self.deadline_at(self.after(self.after(first)))
    }

    /// Removes fields whose time has come, at most `max`, and shows each; returns how many.
    pub(crate) fn reap(&mut self, now: Millis, max: usize, gone: &mut impl FnMut(&[u8])) -> usize {
        let due = self.iter().take(max).take_while(|(_, _, deadline)| is_due(*deadline, now));
        let count = due.map(|(field, _, _)| gone(field.text(&mut [0; 20]))).count();
        self.0.remove_range(0, WIDTH * count);
        count
    }

    /// Iterates over all fields in the order of their deadlines.
    pub(crate) fn iter(&self) -> TriplesIter<'_> {
        TriplesIter(self.0.iter())
    }
}

fn deadline(item: Item<'_>) -> Option<Millis> {
    item.as_int().and_then(|number| Millis::try_from(number).ok()).filter(|millis| *millis != NEVER as Millis)
}

/// The fields of a block.
pub(crate) struct TriplesIter<'a>(packed::Iter<'a>);

impl<'a> Iterator for TriplesIter<'a> {
    type Item = Triple<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?, deadline(self.0.next()?)))
    }
}
