//! What waits to be given, and what was missed between: a queue with a bound.

use std::collections::VecDeque;
use std::sync::Arc;

use super::SubscriptionOptions;
use super::heard::{Gap, Message, Overflow};
use crate::hub::{self, Name};

/// Most entries of topics that wait here; the others wait in their topics.
const ENTRIES_MAX: usize = 256;

/// What was missed in one place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Missed {
    dropped: u64,
    is_interrupted: bool,
}

#[derive(Debug)]
pub(super) enum What {
    /// A message that came for a name.
    Message(Name, Arc<hub::Message>),
    /// An entry of a topic, and its size.
    Entry(Box<Message>, usize),
    /// Entries of a topic that are gone.
    Trimmed(String, Option<u64>),
}

#[derive(Debug)]
struct Item {
    before: Missed,
    what: What,
}

/// What takes room.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    count: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Buffer {
    items: VecDeque<Item>,
    /// What was missed behind them.
    missed: Missed,
    messages: Load,
    /// What came by topics.
    entries: Load,
    dropped: u64,
}

pub(super) enum Next {
    Gap(Gap),
    Item(What),
}

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.missed == Missed::default()
    }

    /// Takes what is next: what was missed before the next item, then that.
    pub(super) fn next(&mut self) -> Option<Next> {
        let missed = self.items.front_mut().map_or(&mut self.missed, |item| &mut item.before);
        if missed.dropped > 0 {
            let count = std::mem::take(&mut missed.dropped);
            return Some(Next::Gap(Gap::Dropped { count }));
        }
        if std::mem::take(&mut missed.is_interrupted) {
            return Some(Next::Gap(Gap::Interrupted));
        }
        let what = self.items.pop_front()?.what;
        self.load_of(&what).remove(what.size());
        Some(Next::Item(what))
    }

    pub(super) fn push(&mut self, what: What) {
        let size = what.size();
        self.load_of(&what).add(size);
        self.items.push_back(Item { before: std::mem::take(&mut self.missed), what });
    }

    /// Takes a message, or drops what the policy says, and returns how many were dropped.
    pub(super) fn take(&mut self, message: What, options: &SubscriptionOptions) -> u64 {
        let size = message.size();
        let mut dropped = 0;
        while !self.messages.has_room(options, size) {
            dropped += 1;
            let oldest = self.items.iter().position(|item| matches!(item.what, What::Message(..)));
            match oldest {
                Some(oldest) if options.overflow == Overflow::DropOldest && size <= options.buffer_bytes => {
                    self.remove(oldest).dropped += 1;
                }
                _ => {
                    self.missed.dropped += 1;
                    self.dropped += dropped;
                    return dropped;
                }
            }
        }
        self.dropped += dropped;
        self.push(message);
        dropped
    }

    /// Tells whether there is room for something of a topic.
    pub(super) fn has_room_for(&self, what: &What, options: &SubscriptionOptions) -> bool {
        self.entries.count < ENTRIES_MAX && self.entries.bytes + what.size() <= options.buffer_bytes
    }

    /// Leaves word that nobody knows what was published up to here.
    pub(super) fn interrupted(&mut self) {
        self.missed.is_interrupted = true;
    }

    /// Returns how many messages were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many messages wait, of channels and patterns, and their bytes.
    #[cfg(test)]
    pub(super) fn messages(&self) -> (usize, usize) {
        (self.messages.count, self.messages.bytes)
    }

    /// Removes an item, and returns what was missed where it stood.
    fn remove(&mut self, index: usize) -> &mut Missed {
        let Item { before, what } = self.items.remove(index).expect("the caller has seen it");
        self.load_of(&what).remove(what.size());
        let missed = self.items.get_mut(index).map_or(&mut self.missed, |item| &mut item.before);
        missed.add(before);
        missed
    }

    pub(super) fn forget(&mut self, is_it: impl Fn(&What) -> bool) {
        let mut missed = Missed::default();
        for mut item in std::mem::take(&mut self.items) {
            missed.add(item.before);
            match is_it(&item.what) {
                true => self.load_of(&item.what).remove(item.what.size()),
                false => {
                    item.before = std::mem::take(&mut missed);
                    self.items.push_back(item);
                }
            }
        }
        self.missed.add(missed);
    }

    fn load_of(&mut self, what: &What) -> &mut Load {
        match what {
            What::Message(..) => &mut self.messages,
            What::Entry(..) | What::Trimmed(..) => &mut self.entries,
        }
    }
}

impl Missed {
    fn add(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.is_interrupted |= other.is_interrupted;
    }
}

impl What {
    fn size(&self) -> usize {
        match self {
            Self::Message(_, message) => message.channel.len() + message.payload.len(),
            Self::Entry(_, size) => *size,
            Self::Trimmed(..) => 0,
        }
    }
}

impl Load {
    fn has_room(self, options: &SubscriptionOptions, size: usize) -> bool {
        self.count < options.buffer && self.bytes + size <= options.buffer_bytes
    }

    fn add(&mut self, size: usize) {
        self.count += 1;
        self.bytes += size;
    }

    fn remove(&mut self, size: usize) {
        self.count -= 1;
        self.bytes -= size;
    }
}
