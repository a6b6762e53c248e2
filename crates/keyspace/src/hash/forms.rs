//! The volatile forms of a hash: how it comes into them, what deadlines do, and walking a hash in any form.

use redpoll_structures::packed::{Item, Packed, Pairs};
use redpoll_structures::table;

use super::triples::{Triple, TriplesIter};
use super::{Hash, Triples, VolatileTable, is_due};
use crate::member_table::{Member, MemberTable, value};
use crate::{Limits, Millis};

/// Deadlines.
impl Hash {
    /// Returns the deadline of a field, if it has one; none at all if there is no such field.
    pub fn deadline(&self, field: &[u8], now: Millis) -> Option<Option<Millis>> {
        match self {
            Hash::Packed(_) | Hash::Table(_) => self.contains(field, now).then_some(None),
            Hash::VolatilePacked(_) | Hash::VolatileTable(_) => {
                self.find_volatile(field, now).map(|(_, deadline)| deadline)
            }
        }
    }

    /// Gives a field a deadline; nothing if there is no such field.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Millis, seed: u64) {
        self.make_volatile(seed);
        match self {
            Hash::VolatilePacked(triples) => triples.set_deadline(field, Some(deadline)),
            Hash::VolatileTable(table) => table.set_deadline(field, Some(deadline)),
            Hash::Packed(_) | Hash::Table(_) => unreachable!("it was just made volatile"),
        }
    }

    /// Takes the deadline of a field away, if it has one.
    pub fn clear_deadline(&mut self, field: &[u8]) {
        match self {
            Hash::Packed(_) | Hash::Table(_) => {}
            Hash::VolatilePacked(triples) => triples.set_deadline(field, None),
            Hash::VolatileTable(table) => table.set_deadline(field, None),
        }
    }

    /// Returns the soonest deadline of a field; none if no field has any.
    #[inline]
    pub fn soonest(&self) -> Option<Millis> {
        match self {
            Hash::Packed(_) | Hash::Table(_) => None,
            Hash::VolatilePacked(triples) => triples.soonest(),
            Hash::VolatileTable(table) => table.soonest(),
        }
    }

    /// Tells whether the time of any field has come.
    #[inline]
    pub fn is_due(&self, now: Millis) -> bool {
        is_due(self.soonest(), now)
    }

    /// Tells whether the deadline of any field is after one time and not after another.
    pub fn expires_between(&self, after: Millis, until: Millis) -> bool {
        match self {
            Hash::Packed(_) | Hash::Table(_) => false,
            Hash::VolatilePacked(triples) => {
                triples.iter().map_while(|(_, _, deadline)| deadline).any(|it| after < it && it <= until)
            }
            Hash::VolatileTable(table) => table.expires_between(after, until),
        }
    }

    /// Removes a field if its time has come; tells whether it did.
    pub fn remove_due(&mut self, field: &[u8], now: Millis) -> bool {
        // Nothing is due at time zero, so everything is found.
        let due = self.deadline(field, 0).flatten().is_some_and(|deadline| deadline <= now);
        due && self.remove(field)
    }

    /// Removes fields whose time has come, the first ones first and at most `max`, and shows each; returns how many.
    pub fn reap(&mut self, now: Millis, max: usize, mut gone: impl FnMut(&[u8])) -> usize {
        match self {
            Hash::Packed(_) | Hash::Table(_) => 0,
            Hash::VolatilePacked(triples) => triples.reap(now, max, &mut gone),
            Hash::VolatileTable(table) => table.reap(now, max, &mut gone),
        }
    }

    /// Returns value and deadline of a field of a volatile hash.
    pub(super) fn find_volatile(&self, field: &[u8], now: Millis) -> Option<(Item<'_>, Option<Millis>)> {
        match self {
            Hash::Packed(_) | Hash::Table(_) => None,
            Hash::VolatilePacked(triples) => {
                triples.get(field).filter(|(_, deadline)| deadline.is_none_or(|deadline| now < deadline))
            }
            Hash::VolatileTable(table) => table.find(field, now).map(|member| (value(member), member.deadline())),
        }
    }

    /// Sets a field of a volatile hash, which keeps its deadline if it has one; tells whether it is new.
    pub(super) fn set_volatile(&mut self, field: &[u8], value: &[u8], limits: &Limits, seed: u64) -> bool {
        if let Hash::VolatilePacked(triples) = self {
            let fits = field.len().max(value.len()) <= limits.hash_max_listpack_value
                && triples.packed().would_fit(field.len() + value.len() + 3 * Packed::MAX_OVERHEAD);
            let is_new = triples.get(field).is_none();
            if fits && triples.len() + usize::from(is_new) <= limits.hash_max_listpack_entries {
                return triples.set(field, value);
            }
            *self = Hash::VolatileTable(Box::new(spread(triples, seed)));
        }
        match self {
            Hash::VolatileTable(table) => table.set(field, value),
            _ => unreachable!("it is volatile, and not packed any more"),
        }
    }

    fn make_volatile(&mut self, seed: u64) {
        match self {
            Hash::VolatilePacked(_) | Hash::VolatileTable(_) => {}
            Hash::Packed(packed) => {
                *self = match Triples::from_pairs(packed) {
                    Some(triples) => Hash::VolatilePacked(triples),
                    None => Hash::VolatileTable(Box::new(VolatileTable::new(unpack(packed, seed)))),
                };
            }
            Hash::Table(table) => {
                let table = std::mem::replace(&mut **table, MemberTable::new(seed));
                *self = Hash::VolatileTable(Box::new(VolatileTable::new(table)));
            }
        }
    }

    /// Iterates over fields and values whose time has not come: in order of insertion or of deadlines while packed, in no particular order beyond.
    #[inline]
    pub fn iter(&self, now: Millis) -> HashIter<'_> {
        HashIter(match self {
            Hash::Packed(packed) => Inner::Packed(packed.pairs()),
            Hash::Table(table) => Inner::Table(table.iter()),
            Hash::VolatilePacked(triples) => Inner::VolatilePacked(triples.iter(), now),
            Hash::VolatileTable(table) => Inner::VolatileTable(table.table().iter(), now),
        })
    }

    /// Iterates over all fields, also those whose time has come, with their deadlines.
    pub fn iter_with_deadlines(&self) -> impl Iterator<Item = Triple<'_>> {
        let packed = match self {
            Hash::Packed(packed) => Some(packed.pairs().map(|(field, value)| (field, value, None))),
            _ => None,
        };
        let triples = match self {
            Hash::VolatilePacked(triples) => Some(triples.iter()),
            _ => None,
        };
        let members = self.as_table().map(MemberTable::iter).into_iter().flatten();
        let members = members.map(|member| (Item::Str(member.key()), value(member), member.deadline()));
        packed.into_iter().flatten().chain(triples.into_iter().flatten()).chain(members)
    }
}

/// Makes a table of a packed hash.
#[cold]
pub(super) fn unpack(packed: &Packed, seed: u64) -> MemberTable {
    let mut table = MemberTable::new(seed);
    table.reserve(packed.len() / 2 + 1);
    let (mut name, mut text) = ([0; 20], [0; 20]);
    for (field, value) in packed.pairs() {
        table.set(field.text(&mut name), value.text(&mut text));
    }
    table
}

/// Makes a table of a packed hash with deadlines.
#[cold]
fn spread(triples: &Triples, seed: u64) -> VolatileTable {
    let mut table = MemberTable::new(seed);
    table.reserve(triples.len() + 1);
    let mut table = VolatileTable::new(table);
    let (mut name, mut text) = ([0; 20], [0; 20]);
    for (field, value, deadline) in triples.iter() {
        let field = field.text(&mut name);
        table.set(field, value.text(&mut text));
        if deadline.is_some() {
            table.set_deadline(field, deadline);
        }
    }
    table
}

/// The fields of a hash with their values.
pub struct HashIter<'a>(Inner<'a>);

enum Inner<'a> {
    Packed(Pairs<'a>),
    Table(table::Iter<'a, Member>),
    VolatilePacked(TriplesIter<'a>, Millis),
    VolatileTable(table::Iter<'a, Member>, Millis),
}

impl<'a> Iterator for HashIter<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Packed(pairs) => pairs.next(),
            Inner::Table(members) => members.next().map(pair),
            Inner::VolatilePacked(triples, now) => triples.find(|triple| !is_due(triple.2, *now)).map(first_two),
            Inner::VolatileTable(members, now) => members.find(|member| !is_due(member.deadline(), *now)).map(pair),
        }
    }

    /// The form is looked at once, not at every field.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, fold: F) -> B {
        match self.0 {
            Inner::Packed(pairs) => pairs.fold(init, fold),
            Inner::Table(members) => members.map(pair).fold(init, fold),
            Inner::VolatilePacked(triples, now) => {
                triples.filter(|triple| !is_due(triple.2, now)).map(first_two).fold(init, fold)
            }
            Inner::VolatileTable(members, now) => {
                members.filter(|member| !is_due(member.deadline(), now)).map(pair).fold(init, fold)
            }
        }
    }
}

#[inline]
fn pair(member: &Member) -> (Item<'_>, Item<'_>) {
    (Item::Str(member.key()), value(member))
}

fn first_two<'a>((field, value, _): Triple<'a>) -> (Item<'a>, Item<'a>) {
    (field, value)
}
