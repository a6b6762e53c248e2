//! What was refused, latest first, for ACL LOG.
//!
//! The same refusal within a minute is counted instead of listed again, so that a client that tries for ever does not push everything else out.

use std::collections::VecDeque;

use redpoll_keyspace::Millis;

/// How long the same refusal is counted as one.
const SAME_WITHIN_MS: u64 = 60_000;

/// How many of the latest entries are searched for the same refusal.
const SEARCHED_MAX: usize = 10;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Command,
    Key,
    Channel,
    Login,
}

impl Refusal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Command => "command",
            Refusal::Key => "key",
            Refusal::Channel => "channel",
            Refusal::Login => "auth",
        }
    }
}

/// An entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) count: u64,
    pub(crate) refusal: Refusal,
    /// `toplevel`, `multi` or `lua`.
    pub(crate) context: &'static str,
    pub(crate) object: Vec<u8>,
    pub(crate) user: Vec<u8>,
    pub(crate) created: Millis,
    pub(crate) updated: Millis,
    pub(crate) client: String,
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    /// Adds an entry, or counts it to the same one of a moment ago, and keeps so many.
    pub(crate) fn add(&mut self, mut entry: Entry, len_max: usize) {
        let same = self.entries.iter().take(SEARCHED_MAX).position(|old| {
            (old.refusal, old.context) == (entry.refusal, entry.context)
                && old.object == entry.object
                && old.user == entry.user
                && entry.updated.abs_diff(old.updated) <= SAME_WITHIN_MS
        });
        if let Some(old) = same.and_then(|at| self.entries.remove(at)) {
            (entry.id, entry.count, entry.created) = (old.id, old.count + 1, old.created);
        } else {
            entry.id = self.next_id;
            self.next_id += 1;
        }
        self.entries.push_front(entry);
        self.entries.truncate(len_max);
    }

    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
