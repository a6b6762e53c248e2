//! Who waits for what in this process, and what is still to be subscribed to.
//!
//! Knows no connection: a listener takes the changes from here and brings messages back. One mutex, held for a few operations on tables and never
//! while anything is awaited.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::MAX_CHANNELS;

/// Who waits, by channel and topic.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    /// Rings for the listener: there are changes, or messages.
    pub(super) work: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    channels: HashMap<String, HashMap<String, Topic>>,
    /// Channels that came or went since the listener last asked.
    changed: HashSet<String>,
    is_employed: bool,
    listener: Option<AbortHandle>,
}

#[derive(Debug)]
struct Topic {
    waiters: usize,
    news: watch::Sender<()>,
}

/// What a listener has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
}

/// A listener at work. When it ends, whatever the reason, the place is free for another, and who waits looks for itself.
#[derive(Debug)]
pub(super) struct Shift {
    pub(super) board: Arc<Board>,
}

impl Board {
    /// Adds somebody who waits; nothing if there are too many channels.
    pub(super) fn join(&self, channel: &str, topic: &str) -> Option<watch::Receiver<()>> {
        let mut state = self.lock();
        if !state.channels.contains_key(channel) {
            if state.channels.len() >= MAX_CHANNELS {
                return None;
            }
            state.channels.insert(channel.to_owned(), HashMap::new());
            state.changed.insert(channel.to_owned());
            self.work.notify_one();
        }
        let topics = state.channels.get_mut(channel).expect("it was there or has been put there");
        let topic =
            topics.entry(topic.to_owned()).or_insert_with(|| Topic { waiters: 0, news: watch::Sender::new(()) });
        topic.waiters += 1;
        Some(topic.news.subscribe())
    }

    /// Removes somebody who waited.
    pub(super) fn leave(&self, channel: &str, topic: &str) {
        let mut state = self.lock();
        let topics = state.channels.get_mut(channel).expect("who leaves has joined");
        let left = topics.get_mut(topic).expect("who leaves has joined");
        left.waiters -= 1;
        if left.waiters == 0 {
            topics.remove(topic);
            if topics.is_empty() {
                state.channels.remove(channel);
                state.changed.insert(channel.to_owned());
                self.work.notify_one();
            }
        }
    }

    /// Wakes those whom a message is for.
    pub(super) fn signal(&self, channel: &str, topic: &str) {
        if let Some(topics) = self.lock().channels.get(channel) {
            let met = topics.iter().filter(|(name, _)| topic.is_empty() || name.is_empty() || *name == topic);
            met.for_each(|(_, topic)| topic.ring());
        }
    }

    /// Wakes everyone.
    pub(super) fn signal_all(&self) {
        self.lock().channels.values().flat_map(HashMap::values).for_each(Topic::ring);
    }

    /// Returns how many channels are waited for.
    pub(super) fn channels(&self) -> usize {
        self.lock().channels.len()
    }

    /// Takes what came and went since the last time, beside what the listener has subscribed to already.
    pub(super) fn changes(&self, subscribed: &HashSet<String>) -> Changes {
        let mut state = self.lock();
        let mut changes = Changes::default();
        for channel in std::mem::take(&mut state.changed) {
            match (state.channels.contains_key(&channel), subscribed.contains(&channel)) {
                (true, false) => changes.subscribe.push(channel),
                (false, true) => changes.unsubscribe.push(channel),
                _ => {}
            }
        }
        changes
    }

    /// Has every channel subscribed to anew: the connection is a new one.
    pub(super) fn begin_anew(&self) {
        let mut state = self.lock();
        state.changed = state.channels.keys().cloned().collect();
    }

    /// Has a listener started unless there is one.
    pub(super) fn employ(self: &Arc<Self>, start: impl FnOnce(Shift) -> AbortHandle) {
        if std::mem::replace(&mut self.lock().is_employed, true) {
            return;
        }
        // Not under the lock: on a runtime that is ending, the shift ends within this call and takes it.
        let listener = start(Shift { board: Arc::clone(self) });
        self.lock().listener = Some(listener);
    }

    /// Ends the listener.
    pub(super) fn dismiss(&self) {
        let listener = self.lock().listener.take();
        if let Some(listener) = listener {
            listener.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding the lock")
    }
}

impl Topic {
    fn ring(&self) {
        self.news.send_replace(());
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        self.board.lock().is_employed = false;
        self.board.begin_anew();
        self.board.signal_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn messages_reach_their_topics() {
        let board = Board::default();
        let (mut a, mut b, mut every) =
            (board.join("c", "a").unwrap(), board.join("c", "b").unwrap(), board.join("c", "").unwrap());
        let mut other = board.join("d", "a").unwrap();
        let mut heard = || {
            [&mut a, &mut b, &mut every, &mut other].map(|news| {
                let changed = news.has_changed().unwrap();
                news.mark_unchanged();
                changed
            })
        };
        assert_eq!(heard(), [false; 4]);
        board.signal("c", "a");
        assert_eq!(heard(), [true, false, true, false]);
        board.signal("c", "");
        assert_eq!(heard(), [true, true, true, false]);
        board.signal("c", "nobody");
        assert_eq!(heard(), [false, false, true, false]);
        board.signal("nowhere", "a");
        assert_eq!(heard(), [false; 4]);
        board.signal_all();
        assert_eq!(heard(), [true; 4]);
    }

    #[test]
    fn channels_come_and_go_with_those_who_wait() {
        let board = Board::default();
        let subscribe = |channels: &[&str]| Changes {
            subscribe: channels.iter().map(|name| (*name).to_owned()).collect(),
            ..Changes::default()
        };
        board.join("c", "a").unwrap();
        board.join("c", "b").unwrap();
        assert_eq!(board.changes(&names(&[])), subscribe(&["c"]));
        assert_eq!(board.changes(&names(&["c"])), Changes::default());
        board.leave("c", "a");
        assert_eq!(board.changes(&names(&["c"])), Changes::default());
        board.leave("c", "b");
        // Whoever comes back before the listener has looked changes nothing.
        board.join("c", "a").unwrap();
        assert_eq!(board.changes(&names(&["c"])), Changes::default());
        board.leave("c", "a");
        assert_eq!(board.channels(), 0);
        let changes = board.changes(&names(&["c"]));
        assert_eq!((changes.subscribe.len(), changes.unsubscribe), (0, vec!["c".to_owned()]));
        board.join("d", "").unwrap();
        board.changes(&names(&[]));
        board.begin_anew();
        assert_eq!(board.changes(&names(&[])), subscribe(&["d"]));
    }

    #[test]
    fn channels_are_bounded() {
        let board = Board::default();
        for channel in 0..MAX_CHANNELS {
            board.join(&channel.to_string(), "").unwrap();
        }
        assert!(board.join("one more", "").is_none());
        assert!(board.join("0", "a topic more").is_some());
        board.leave("1", "");
        assert!(board.join("one more", "").is_some());
    }
}
