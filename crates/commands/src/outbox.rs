//! What a client is sent without having asked: its mailbox.
//!
//! A connection writes the replies to its own commands itself. Messages of channels, invalidations and lines of MONITOR come from the threads of other
//! clients. They do not touch the connection: they leave encoded bytes in its outbox and wake it.
//!
//! ```text
//! any thread ─ Client::deliver(bytes) ─► Outbox ─┐
//!                                  └► wake ──────┴─► the connection, at its next turn: take(…) into its reply buffer, send
//! ```
//!
//! * Bytes are shared: a message to fifty clients is encoded once and lies in memory once.
//! * The first message in an empty outbox wakes the connection, further ones need not: it takes until nothing is left. A wake is a hint, never the
//!   news itself, and may come for nothing.
//! * An outbox is bounded. `client-output-buffer-limit` cuts a client off that lets too much wait, or too much for too long; where the setting knows
//!   no limit, [`OUTBOX_BYTES_MAX`] is one.
//!
//! An outbox knows no socket and no runtime, and nothing of what its bytes mean.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use redpoll_keyspace::Millis;

use crate::gauge::{Gauge, GaugeSum};
use crate::output_limit::OutputLimit;

/// Most bytes that wait for one client, whatever the settings allow.
pub const OUTBOX_BYTES_MAX: usize = 1 << 30;

/// What a waiting message costs beside its bytes.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

/// Places for messages that an empty outbox keeps.
const KEPT_SLOTS: usize = 64;

/// Encoded bytes, shared by all who are sent them.
pub type Message = Arc<[u8]>;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// It is the only one: the connection must be woken.
    First,
    /// It waits behind others.
    Behind,
    /// It waits, and from now on there is more than may be for long: see `Outbox::is_overdue`.
    Lagging,
    /// There was no room; everything that waited is dropped and nothing more is taken.
    Overflow,
    /// The outbox overflowed before.
    Closed,
}

/// Messages waiting for a client, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Bytes waiting, so that an empty outbox is seen without locking it.
    waiting: Gauge,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// Since when there is more than the soft limit.
    lagging_since: Option<Millis>,
    closed: bool,
}

impl Outbox {
    /// Makes an empty outbox of which the bytes count into a sum.
    pub(crate) fn counted(sum: &GaugeSum) -> Outbox {
        Outbox { waiting: Gauge::new(sum), queue: Mutex::default() }
    }

    /// Tells whether something waits. A message put by another thread at this very moment may be missed; its wake comes then.
    #[inline]
    pub fn has_mail(&self) -> bool {
        self.waiting.bytes() != 0
    }

    /// Returns the number of messages waiting.
    pub fn len(&self) -> usize {
        self.queue.lock().messages.len()
    }

    /// Tells whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of bytes waiting.
    pub fn bytes(&self) -> usize {
        self.waiting.bytes()
    }

    /// Adds a message. `unsent` bytes are on their way already and count too.
    pub(crate) fn put(&self, message: &Message, unsent: usize, limit: OutputLimit, now: Millis) -> Put {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Put::Closed;
        }
        let bytes = self.bytes() + message.len() + MESSAGE_OVERHEAD;
        let held = bytes + unsent;
        if !limit.is_soft(held) {
            queue.lagging_since = None;
        }
        if held > OUTBOX_BYTES_MAX || limit.is_hard(held) || queue.is_overdue(limit, now) {
            queue.close();
            self.waiting.set(0);
            return Put::Overflow;
        }
        queue.messages.push_back(Arc::clone(message));
        self.waiting.set(bytes);
        if limit.is_soft(held) && queue.lagging_since.is_none() {
            queue.lagging_since = Some(now);
            return Put::Lagging;
        }
        if queue.messages.len() == 1 { Put::First } else { Put::Behind }
    }

    /// Takes the oldest message.
    pub fn pop(&self) -> Option<Message> {
        let mut queue = self.queue.lock();
        let message = queue.messages.pop_front()?;
        self.took(&mut queue, message.len());
        Some(message)
    }

    /// Hands out messages in order until at least `enough` bytes have been handed out or none is left.
    pub fn take(&self, enough: usize, mut to: impl FnMut(&[u8])) {
        let mut queue = self.queue.lock();
        let mut taken = 0;
        while taken < enough
            && let Some(message) = queue.messages.pop_front()
        {
            to(&message);
            taken += message.len();
            self.took(&mut queue, message.len());
        }
        if queue.messages.is_empty() && queue.messages.capacity() > KEPT_SLOTS {
            queue.messages = VecDeque::new();
        }
    }

    /// Tells whether more than the soft limit has been waiting for too long; such an outbox drops everything and takes nothing more.
    pub(crate) fn is_overdue(&self, unsent: usize, limit: OutputLimit, now: Millis) -> bool {
        let mut queue = self.queue.lock();
        if !limit.is_soft(self.bytes() + unsent) {
            queue.lagging_since = None;
        }
        let overdue = queue.is_overdue(limit, now);
        if overdue {
            queue.close();
            self.waiting.set(0);
        }
        overdue
    }

    /// Tells whether more than the soft limit waited when last looked.
    pub(crate) fn is_lagging(&self) -> bool {
        self.queue.lock().lagging_since.is_some()
    }

    fn took(&self, queue: &mut Queue, len: usize) {
        self.waiting.set(self.bytes() - len - MESSAGE_OVERHEAD);
        // Once everything is on its way the client counts as having caught up.
        if queue.messages.is_empty() {
            queue.lagging_since = None;
        }
    }
}

impl Queue {
    fn is_overdue(&self, limit: OutputLimit, now: Millis) -> bool {
        self.lagging_since.is_some_and(|since| now.saturating_sub(since) > limit.soft_ms)
    }

    fn close(&mut self) {
        self.messages = VecDeque::new();
        self.lagging_since = None;
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: OutputLimit = OutputLimit { hard: 1000, soft: 500, soft_ms: 2000 };

    fn message(len: usize) -> Message {
        vec![b'x'; len].into()
    }

    #[test]
    fn only_the_first_message_wakes() {
        let outbox = Outbox::default();
        assert!(!outbox.has_mail());
        assert_eq!(outbox.put(&message(10), 0, LIMIT, 0), Put::First);
        assert_eq!(outbox.put(&message(10), 0, LIMIT, 0), Put::Behind);
        let mut taken = 0;
        outbox.take(1, |bytes| taken += bytes.len());
        assert_eq!((taken, outbox.has_mail()), (10, true));
        outbox.take(100, |bytes| taken += bytes.len());
        assert_eq!((taken, outbox.has_mail(), outbox.bytes()), (20, false, 0));
        assert_eq!(outbox.put(&message(10), 0, LIMIT, 0), Put::First);
    }

    #[test]
    fn the_hard_limit_counts_what_is_being_sent() {
        let outbox = Outbox::default();
        assert_eq!(outbox.put(&message(900), 200, LIMIT, 0), Put::Overflow);
        assert_eq!(outbox.put(&message(1), 0, LIMIT, 0), Put::Closed);
        let outbox = Outbox::default();
        assert_eq!(outbox.put(&message(900), 0, LIMIT, 0), Put::Lagging);
        assert_eq!(outbox.put(&message(100), 0, LIMIT, 0), Put::Overflow);
        assert_eq!((outbox.bytes(), outbox.pop()), (0, None));
    }

    #[test]
    fn lagging_is_forgiven_for_a_while() {
        let outbox = Outbox::default();
        assert_eq!(outbox.put(&message(600), 0, LIMIT, 1000), Put::Lagging);
        assert_eq!(outbox.put(&message(1), 0, LIMIT, 3000), Put::Behind);
        assert!(!outbox.is_overdue(0, LIMIT, 3000));
        assert!(outbox.is_lagging());
        outbox.take(usize::MAX, |_| {});
        assert!(!outbox.is_lagging());
        assert_eq!(outbox.put(&message(600), 0, LIMIT, 9000), Put::Lagging);
        assert!(outbox.is_overdue(0, LIMIT, 11_001));
        assert_eq!(outbox.put(&message(1), 0, LIMIT, 11_001), Put::Closed);
    }
}
