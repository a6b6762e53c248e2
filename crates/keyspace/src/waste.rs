//! Waste: values that are gone from the keyspace and take long to free.
//!
//! Freeing a collection visits all its allocations. One of many thousand elements would hold the shard's lock, and the client, for milliseconds. So what
//! takes long is set aside here instead of being dropped where it was removed, and the layer above decides who frees it: at once, as with
//! everything small, or a thread in the background. Nothing of it can be reached any more, and its bytes are no longer counted.

use crate::entry::Entry;
use crate::shard::Database;
use crate::{Hash, List, Object, Set, SortedSet, Stream};

/// What takes more steps than this to free is waste.
const FREE_EFFORT_MAX: usize = 64;

/// How a value came to be waste, when it was not the client who removed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time had come.
    Expired,
    /// Something else took its place.
    Overwritten,
}

/// Something to be freed.
#[derive(Debug)]
pub struct Waste(Content);

#[derive(Debug)]
enum Content {
    Value { _value: Object },
    Databases { _databases: Vec<Database>, keys: usize },
}

impl Waste {
    /// Takes over the value of an entry that was removed, if it takes long to free.
    pub fn of(entry: Entry) -> Option<Waste> {
        entry.object().filter(|object| is_big(object))?;
        entry.into_object().map(Waste::value)
    }

    /// Takes over the value of an entry that is about to get another one, if it takes long to free.
    #[inline]
    pub(crate) fn replaced(entry: &mut Entry) -> Option<Waste> {
        entry.object().filter(|object| is_big(object))?;
        entry.take_object().map(Waste::value)
    }

    /// Takes over whole tables.
    pub(crate) fn databases(databases: Vec<Database>) -> Waste {
        let keys = databases.iter().map(|database| database.table.len()).sum();
        Waste(Content::Databases { _databases: databases, keys })
    }

    fn value(value: Object) -> Waste {
        Waste(Content::Value { _value: value })
    }

    /// Returns how many keys this was the value of.
    pub fn objects(&self) -> usize {
        match &self.0 {
            Content::Value { .. } => 1,
            Content::Databases { keys, .. } => *keys,
        }
    }
}

fn is_big(object: &Object) -> bool {
    free_effort(object) > FREE_EFFORT_MAX
}

/// Returns how many allocations are freed with a value, roughly: one for each element of a table, or for each block of many.
fn free_effort(object: &Object) -> usize {
    match object {
        Object::Bytes(_) => 1,
        Object::List(List::Chunked(list)) => list.chunks().len(),
        Object::Set(Set::Table(table)) => table.len(),
        Object::Hash(hash @ (Hash::Table(_) | Hash::VolatileTable(_))) => hash.len(),
        Object::SortedSet(set @ SortedSet::Ranked(_)) => set.len(),
        Object::Stream(stream) => stream_effort(stream),
        Object::List(_) | Object::Set(_) | Object::Hash(_) | Object::SortedSet(_) => 1,
    }
}

/// Nodes of entries, and what is pending in the groups, of which the first stands for all.
fn stream_effort(stream: &Stream) -> usize {
    let first = stream.groups().next().map_or(0, |(_, group)| 1 + group.pending_len());
    stream.blocks().len() + stream.groups_len() * first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Typed};
    use redpoll_structures::packed::Item;

    fn set_of(members: usize) -> Object {
        let mut set = Set::new();
        for member in 0..members {
            set.insert(Item::Str(format!("member {member}").as_bytes()), &Limits::default(), 1);
        }
        set.into_object()
    }

    #[test]
    fn what_has_many_parts_takes_long_to_free() {
        for (members, big) in [(1, false), (FREE_EFFORT_MAX, false), (1000, true)] {
            let object = set_of(members);
            assert_eq!(is_big(&object), big, "{members} members");
            let entry = Entry::new_object(b"key", object);
            assert_eq!(Waste::of(entry).map(|waste| waste.objects()), big.then_some(1));
        }
        assert!(Waste::of(Entry::new_bytes(b"key", b"text")).is_none());
        assert!(!is_big(&Object::Bytes(Box::new(vec![0; 1 << 20]))));
    }

    #[test]
    fn a_value_that_is_replaced_leaves_an_entry_to_fill() {
        let mut entry = Entry::new_object(b"key", set_of(1000));
        assert!(Waste::replaced(&mut entry).is_some());
        assert!(entry.object().is_none());
        assert!(Waste::replaced(&mut entry).is_none());
    }
}
