//! The kinds of values a key can hold.
//!
//! Short strings and integers stand inside the key's own record ([`crate::Entry`]); everything else is an [`Object`] in it: a tag and one pointer,
//! 16 bytes. Each kind has its own file (`list.rs`, `set.rs`, …) that hides the encodings behind operations.

use redpoll_structures::heap::block_size;

use crate::{EventClass, Hash, List, Millis, Set, SortedSet, Stream};

/// The type of a key's value, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A string, also when it holds a number.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
}

impl Kind {
    /// Returns the name that TYPE and SCAN TYPE use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

/// The key holds a value of another kind than the operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// A value that does not fit inside the key's record.
#[derive(Clone, Debug)]
pub enum Object {
    /// A long string.
    Bytes(Box<Vec<u8>>),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    SortedSet(SortedSet),
    /// A stream.
    Stream(Box<Stream>),
}

impl Object {
    /// Returns the kind of the value.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Bytes(_) => Kind::String,
            Object::List(_) => Kind::List,
            Object::Set(_) => Kind::Set,
            Object::Hash(_) => Kind::Hash,
            Object::SortedSet(_) => Kind::SortedSet,
            Object::Stream(_) => Kind::Stream,
        }
    }

    /// Returns the name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Object::Bytes(_) => "raw",
            Object::List(list) => list.encoding(),
            Object::Set(set) => set.encoding(),
            Object::Hash(hash) => hash.encoding(),
            Object::SortedSet(set) => set.encoding(),
            Object::Stream(stream) => stream.encoding(),
        }
    }

    /// Returns the bytes the value holds on the heap, apart from the record it stands in.
    pub fn heap_size(&self) -> usize {
        match self {
            Object::Bytes(bytes) => block_size(size_of::<Vec<u8>>()) + block_size(bytes.capacity()),
            Object::List(list) => list.heap_size(),
            Object::Set(set) => set.heap_size(),
            Object::Hash(hash) => hash.heap_size(),
            Object::SortedSet(set) => set.heap_size(),
            Object::Stream(stream) => stream.heap_size(),
        }
    }
}

/// A collection that a key can hold, so that the view can find, make and drop it by its Rust type.
pub trait Typed: Sized {
    /// The class of the events its changes raise.
    const CLASS: EventClass;
    /// Returns the collection in the object, if it is of this type.
    fn of(object: &Object) -> Option<&Self>;
    /// Returns the collection in the object for changing, if it is of this type.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// Makes an empty collection.
    fn empty() -> Self;
    /// Wraps the collection up.
    fn into_object(self) -> Object;
    /// Tells whether nothing is left, in which case the key goes away; never so for streams.
    fn is_empty(&self) -> bool;
    /// Returns the bytes held on the heap.
    fn heap_size(&self) -> usize;
    /// Returns the soonest deadline of anything in the collection: of the fields of a hash.
    #[inline]
    fn soonest(&self) -> Option<Millis> {
        None
    }
}

macro_rules! typed {
    ($type:ident, $class:expr $(, $soonest:expr)?) => {
        impl Typed for $type {
            const CLASS: EventClass = $class;

            #[inline]
            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$type(value) => Some(value),
                    _ => None,
                }
            }

            #[inline]
            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$type(value) => Some(value),
                    _ => None,
                }
            }

            fn empty() -> Self {
                $type::new()
            }

            fn into_object(self) -> Object {
                Object::$type(self)
            }

            #[inline]
            fn is_empty(&self) -> bool {
                self.len() == 0
            }

            #[inline]
            fn heap_size(&self) -> usize {
                $type::heap_size(self)
            }

            $(
                #[inline]
                fn soonest(&self) -> Option<Millis> {
                    $soonest(self)
                }
            )?
        }
    };
}

typed!(List, EventClass::List);
typed!(Set, EventClass::Set);
typed!(Hash, EventClass::Hash, Hash::soonest);
typed!(SortedSet, EventClass::SortedSet);
