//! An entry as readers see it: its id and its fields, in place in the node that holds it.

use redpoll_structures::packed::{Item, Iter};

use super::StreamId;

/// Where the names of an entry's fields stand.
#[derive(Clone, Debug)]
pub(super) enum Names<'a> {
    /// In front of each value.
    Own,
    /// At the beginning of the node.
    Shared(Iter<'a>),
}

/// An entry of a stream.
#[derive(Clone, Debug)]
pub struct StreamEntry<'a> {
    id: StreamId,
    fields: usize,
    names: Names<'a>,
    values: Iter<'a>,
}

impl<'a> StreamEntry<'a> {
    pub(super) fn new(id: StreamId, fields: usize, names: Names<'a>, values: Iter<'a>) -> StreamEntry<'a> {
        StreamEntry { id, fields, names, values }
    }

    /// Returns the id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Tells whether there are no fields, which XADD does not allow.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Iterates over names and values in the order they were given.
    pub fn fields(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let StreamEntry { mut names, mut values, fields, .. } = self.clone();
        (0..fields).map_while(move |_| {
            let name = match &mut names {
                Names::Own => values.next()?,
                Names::Shared(names) => names.next()?,
            };
            Some((name, values.next()?))
        })
    }
}
