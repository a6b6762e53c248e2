//! Sets: sorted integers or one packed block while small, a table of member records beyond.
//!
//! ```text
//!   integers ──── a member that is none ────► packed ──── too many, or too long a member ────► table
//!       └──────── more than set-max-intset-entries ─────────────────────────────────────────────┘
//! ```
//!
//! A set never returns to a smaller form. Members come and go as [`Item`]s, text or number, so that moving them between two sets of integers spells
//! out no digits; the two kinds of items with one text are one member.

use redpoll_structures::int_set::{self, IntSet};
use redpoll_structures::packed::{self, Item, Packed};
use redpoll_structures::table;

use crate::Limits;
use crate::member_table::{Member, MemberTable, Selection, below};

/// A set of integers leaves its form at this number of members, whatever the settings say.
const INTS_MAX: usize = 1 << 26;

/// A set of more integers than this never becomes packed, whatever the settings say: their block could outgrow its bounds.
const PACKED_INTS_MAX: usize = packed::MAX_BYTES / 32;

/// A set.
#[derive(Clone, Debug)]
pub enum Set {
    /// Integers only: OBJECT ENCODING says `intset`.
    Ints(IntSet),
    /// Few short members: `listpack`.
    Packed(Packed),
    /// Any members: `hashtable`.
    Table(Box<MemberTable>),
}

impl Set {
    /// Makes an empty set.
    pub fn new() -> Set {
        Set::Ints(IntSet::new())
    }

    /// Makes a set of members, of which some may be the same.
    pub fn collect<'a>(members: impl IntoIterator<Item = Item<'a>>, limits: &Limits, seed: u64) -> Set {
        let mut set = Set::new();
        for member in members {
            set.insert(member, limits, seed);
        }
        set
    }

    /// Returns the number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(packed) => packed.len(),
            Set::Table(table) => table.len(),
        }
    }

    /// Tells whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Set::Ints(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.heap_size(),
            Set::Packed(packed) => packed.heap_size(),
            Set::Table(table) => size_of::<MemberTable>() + table.heap_size(),
        }
    }

    /// Tells whether something is a member.
    #[inline]
    pub fn contains(&self, member: Item<'_>) -> bool {
        let mut buf = [0; 20];
        match self {
            Set::Ints(ints) => member.as_int().is_some_and(|number| ints.contains(number)),
            Set::Packed(packed) => packed.find(member.text(&mut buf), 0).is_some(),
            Set::Table(table) => table.find(member.text(&mut buf)).is_some(),
        }
    }

    /// Iterates over the members: integers ascending, packed ones in order of insertion, others in no particular order.
    pub fn iter(&self) -> SetIter<'_> {
        SetIter(match self {
            Set::Ints(ints) => Inner::Ints(ints.iter()),
            Set::Packed(packed) => Inner::Packed(packed.iter()),
            Set::Table(table) => Inner::Table(table.iter()),
        })
    }

    /// Prepares for so many members, `first` and others, that may all be new: a set they would make too large for its form changes form at once.
    /// `seed` must be secret, it goes into the hash function of a table.
    #[inline]
    pub fn reserve(&mut self, first: &[u8], members: usize, limits: &Limits, seed: u64) {
        let packs = members <= limits.set_max_listpack_entries;
        let fits = match self {
            Set::Ints(ints) if !ints.is_empty() => members <= limits.set_max_intset_entries,
            Set::Ints(_) if Item::of(first).as_int().is_some() => {
                // Only a set that is just made can be packed for being too long an array.
                if packs && members > limits.set_max_intset_entries {
                    *self = Set::Packed(Packed::new());
                }
                packs || members <= limits.set_max_intset_entries
            }
            Set::Ints(_) | Set::Packed(_) => packs,
            Set::Table(_) => true,
        };
        if !fits {
            self.table(members, seed);
        }
    }

    /// Adds a member; tells whether it is new. `seed` must be secret, it goes into the hash function of a table.
    #[inline]
    pub fn insert(&mut self, member: Item<'_>, limits: &Limits, seed: u64) -> bool {
        let mut buf = [0; 20];
        match self {
            Set::Table(table) => table.set(member.text(&mut buf), b""),
            Set::Packed(packed) => {
                let text = member.text(&mut buf);
                if packed.find(text, 0).is_some() {
                    return false;
                }
                if packed.len() < limits.set_max_listpack_entries && fits(packed, text, limits) {
                    packed.push_back(text);
                    return true;
                }
                self.table(1, seed).set(text, b"")
            }
            Set::Ints(ints) => match member.as_int() {
                Some(number) => {
                    let added = ints.insert(number);
                    if added && ints.len() > limits.set_max_intset_entries.min(INTS_MAX) {
                        self.table(0, seed);
                    }
                    added
                }
                None => self.insert_text(member.text(&mut buf), limits, seed),
            },
        }
    }

    /// Adds the first member that is no integer to a set of integers.
    #[cold]
    fn insert_text(&mut self, text: &[u8], limits: &Limits, seed: u64) -> bool {
        let Set::Ints(ints) = self else { unreachable!("the caller has looked") };
        let digits = [ints.min(), ints.max()].into_iter().flatten().map(|number| Item::Int(number).len()).max();
        let packs = ints.len() < limits.set_max_listpack_entries
            && digits.unwrap_or(0) <= limits.set_max_listpack_value
            && ints.len() <= PACKED_INTS_MAX;
        if !packs {
            return self.table(1, seed).set(text, b"");
        }
        let mut packed = Packed::new();
        ints.iter().for_each(|number| packed.push_back_int(number));
        *self = Set::Packed(packed);
        self.insert(Item::Str(text), limits, seed)
    }

    /// Removes a member; tells whether it was there.
    #[inline]
    pub fn remove(&mut self, member: Item<'_>) -> bool {
        let mut buf = [0; 20];
        match self {
            Set::Ints(ints) => member.as_int().is_some_and(|number| ints.remove(number)),
            Set::Packed(packed) => packed.find(member.text(&mut buf), 0).map(|at| packed.remove(at)).is_some(),
            Set::Table(table) => table.remove(member.text(&mut buf)).is_some(),
        }
    }

    /// Removes the member that a random number chooses, after showing it; tells whether there was one.
    pub fn pop(&mut self, random: u64, visit: impl FnOnce(Item<'_>)) -> bool {
        match self {
            Set::Ints(ints) if !ints.is_empty() => {
                let number = ints.at(below(random, ints.len()));
                visit(Item::Int(number));
                ints.remove(number)
            }
            Set::Packed(packed) => {
                let Some(at) = packed.seek(below(random, packed.len()) as i64) else { return false };
                visit(packed.item(at));
                packed.remove(at);
                true
            }
            Set::Table(table) => {
                let Some(name) = table.random(random).map(|member| member.key().to_vec()) else { return false };
                visit(Item::Str(&name));
                table.remove(&name).is_some()
            }
            Set::Ints(_) => false,
        }
    }

    /// Returns the member that a random number chooses.
    pub fn random(&self, random: u64) -> Option<Item<'_>> {
        match self {
            Set::Ints(ints) => (!ints.is_empty()).then(|| Item::Int(ints.at(below(random, ints.len())))),
            Set::Packed(packed) => packed.seek(below(random, packed.len()) as i64).map(|at| packed.item(at)),
            Set::Table(table) => table.random(random).map(text),
        }
    }

    /// Visits `count` members chosen at random, each independently of the others; none of an empty set.
    pub fn choose(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(Item<'_>)) {
        if let Set::Packed(packed) = self
            && !packed.is_empty()
        {
            let members: Vec<_> = packed.iter().collect();
            return (0..count).for_each(|_| visit(members[below(random(), members.len())]));
        }
        (0..count).map_while(|_| self.random(random())).for_each(visit);
    }

    /// Visits `count` different members chosen at random, all of them if there are no more.
    pub fn sample(&self, count: usize, mut random: impl FnMut() -> u64, mut visit: impl FnMut(Item<'_>)) {
        if let Set::Table(table) = self {
            return table.sample(count, random, |member| visit(text(member)));
        }
        let mut selection = Selection::new(count, self.len());
        self.iter().filter(|_| selection.takes(&mut random)).for_each(visit);
    }

    /// Visits some members, about `count`, from a cursor on and returns the cursor to go on from; zero begins and zero ends. A small set is visited as
    /// a whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>)) -> u64 {
        if let Set::Table(table) = self {
            return table.scan(cursor, count, |member| visit(text(member)));
        }
        self.iter().for_each(visit);
        0
    }

    /// Returns the table, into which a smaller form is turned, with room for so many members more.
    fn table(&mut self, room: usize, seed: u64) -> &mut MemberTable {
        if !matches!(self, Set::Table(_)) {
            let mut table = MemberTable::new(seed);
            table.reserve(self.len() + room);
            let mut buf = [0; 20];
            for member in self.iter() {
                table.set(member.text(&mut buf), b"");
            }
            *self = Set::Table(Box::new(table));
        }
        match self {
            Set::Table(table) => table,
            Set::Ints(_) | Set::Packed(_) => unreachable!("it was just turned into a table"),
        }
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

/// Tells whether a packed set can take a member of this length.
fn fits(packed: &Packed, member: &[u8], limits: &Limits) -> bool {
    member.len() <= limits.set_max_listpack_value && packed.would_fit(member.len() + Packed::MAX_OVERHEAD)
}

#[inline]
fn text(member: &Member) -> Item<'_> {
    Item::Str(member.key())
}

/// The members of a set.
pub struct SetIter<'a>(Inner<'a>);

enum Inner<'a> {
    Ints(int_set::Iter<'a>),
    Packed(packed::Iter<'a>),
    Table(table::Iter<'a, Member>),
}

impl<'a> Iterator for SetIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match &mut self.0 {
            Inner::Ints(ints) => ints.next().map(Item::Int),
            Inner::Packed(packed) => packed.next(),
            Inner::Table(members) => members.next().map(text),
        }
    }

    /// The form is looked at once, not at every member.
    #[inline]
    fn fold<B, F: FnMut(B, Item<'a>) -> B>(self, init: B, fold: F) -> B {
        match self.0 {
            Inner::Ints(ints) => ints.map(Item::Int).fold(init, fold),
            Inner::Packed(packed) => packed.fold(init, fold),
            Inner::Table(members) => members.map(text).fold(init, fold),
        }
    }
}

#[cfg(test)]
mod tests;
