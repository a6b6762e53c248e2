//! What a command did, collected while it runs and handed up when it is done.
//!
//! A handler never talks to the log, to subscribers or to watchers itself: changes made through the view leave their traces here, in the
//! order they happened, and the dispatcher passes them on while the shards are still locked.

use crate::{Cause, ReadyKeys, Waste};

/// Classes of keyspace events, one bit each, with the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventClass {
    /// `g`: commands that work on any type.
    Generic = 1 << 2,
    /// `$`: strings.
    String = 1 << 3,
    /// `l`: lists.
    List = 1 << 4,
    /// `s`: sets.
    Set = 1 << 5,
    /// `h`: hashes.
    Hash = 1 << 6,
    /// `z`: sorted sets.
    SortedSet = 1 << 7,
    /// `x`: keys that expired.
    Expired = 1 << 8,
    /// `e`: keys that were evicted.
    Evicted = 1 << 9,
    /// `t`: streams.
    Stream = 1 << 10,
    /// `m`: reads of keys that do not exist.
    KeyMiss = 1 << 11,
    /// `n`: keys that came into being.
    New = 1 << 14,
}

/// A set of [`EventClass`]es: which events are wanted at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClasses(pub u32);

impl EventClasses {
    /// Tells whether events of this class are wanted.
    #[inline]
    pub fn contains(self, class: EventClass) -> bool {
        self.0 & class as u32 != 0
    }
}

/// One keyspace event: something of a class happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The class, by which subscribers select.
    pub class: EventClass,
    /// The event's name, such as `set` or `expired`.
    pub name: &'static str,
    /// The database of the key.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
}

/// What an update did to a value: nothing, or a number of changes under an event name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub(crate) event: &'static str,
    pub(crate) count: u64,
    /// Whether watchers are told.
    pub(crate) watched: bool,
}

impl Change {
    /// Nothing changed: no watcher is told, nothing is logged.
    pub const NONE: Change = Change::of("", 0);

    /// `count` things changed under one event name; a count of zero is [`Change::NONE`].
    #[inline]
    pub const fn of(event: &'static str, count: u64) -> Change {
        Change { event, count, watched: true }
    }

    /// `count` things changed that belong to a value without being it, such as who reads it: they are logged and those who wait for the
    /// key look again, but no watcher is told. An empty name raises
    /// no event.
    #[inline]
    pub const fn aside(event: &'static str, count: u64) -> Change {
        Change { event, count, watched: false }
    }
}

/// What was removed without being asked for: its time had come, or memory was needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The database of the key.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// The fields of the hash at the key that were removed; none if it was the key itself.
    pub fields: Vec<Box<[u8]>>,
}

impl Expired {
    /// The key went.
    pub(crate) fn key(db: usize, key: &[u8]) -> Expired {
        Expired { db, key: key.into(), fields: Vec::new() }
    }

    /// Returns the number of things removed.
    pub fn count(&self) -> usize {
        self.fields.len().max(1)
    }
}

/// Everything one command caused, in order.
#[derive(Debug, Default)]
pub struct Effects {
    /// Number of changes; zero means that the command changed nothing.
    pub dirty: u64,
    /// Events of the wanted classes.
    pub events: Vec<Event>,
    /// What was removed because its time had come or memory was needed, to be logged as deletions before the command itself.
    pub expired: Vec<Expired>,
    /// Keys that were met expired by who held no lock to remove them, with their databases.
    pub overdue: Vec<(usize, Box<[u8]>)>,
    /// Values that went without anybody asking for it and that take long to free.
    pub waste: Vec<(Cause, Waste)>,
    /// Keys that somebody waits for and that changed.
    pub ready: ReadyKeys,
    /// Which events to collect.
    pub wanted: EventClasses,
    /// Keys whose values changed or that went away, collected if somebody tracks changes; a key changed twice is there twice.
    pub modified: Vec<Box<[u8]>>,
    /// How many of them the layer above has dealt with.
    pub told: usize,
    /// Whether to collect them.
    pub wants_modified: bool,
    /// A database was emptied.
    pub flushed: bool,
}

impl Effects {
    /// Collects an event if its class is wanted; an empty name is no event.
    #[inline]
    pub fn notify(&mut self, class: EventClass, name: &'static str, db: usize, key: &[u8]) {
        if self.wanted.contains(class) && !name.is_empty() {
            self.events.push(Event { class, name, db, key: key.into() });
        }
    }

    /// Notes that a key's value changed or that it went away.
    #[inline]
    pub(crate) fn note_modified(&mut self, key: &[u8]) {
        if self.wants_modified {
            self.modified.push(key.into());
        }
    }

    /// Forgets what was collected, keeping the buffers.
    pub fn clear(&mut self) {
        self.dirty = 0;
        self.events.clear();
        self.expired.clear();
        self.overdue.clear();
        self.waste.clear();
        self.ready.clear();
        self.modified.clear();
        self.told = 0;
        self.flushed = false;
    }
}
