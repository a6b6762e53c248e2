//! Who listens to what in this process, and what is still to be subscribed to.
//!
//! Knows no connection: a listener takes the changes from here and brings messages back. One mutex, held for a few operations on tables and while
//! messages are handed on, which never waits, and never while anything is awaited.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Hears, MAX_NAMES, Message, Name};

/// Who listens, by name.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    /// Rings for the listener: there are changes, or messages.
    pub(super) work: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    names: HashMap<Name, HashMap<u64, Arc<dyn Hears>>>,
    /// The place that the next who joins gets.
    next: u64,
    /// Names that came or went since the listener last asked.
    changed: HashSet<Name>,
    /// Names whose subscription the store has confirmed, for as long as it can be relied upon.
    standing: HashSet<Name>,
    /// Counts connections, so that what an earlier one brings late is not taken for the present one's.
    connection: u64,
    is_employed: bool,
    listener: Option<AbortHandle>,
}

/// What a connection brings its messages to.
#[derive(Debug)]
pub(super) struct Line {
    board: Arc<Board>,
    connection: u64,
}

/// What a listener has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<Name>,
    pub(super) unsubscribe: Vec<Name>,
}

/// A listener at work. When it ends, whatever the reason, the place is free for another, and who listens is told.
#[derive(Debug)]
pub(super) struct Shift {
    pub(super) board: Arc<Board>,
}

impl Board {
    /// Adds somebody who listens, and tells their place; nothing if there are too many names.
    pub(super) fn join(&self, name: &Name, ear: Arc<dyn Hears>) -> Option<u64> {
        let mut state = self.lock();
        if !state.names.contains_key(name) {
            if state.names.len() >= MAX_NAMES {
                return None;
            }
            state.names.insert(name.clone(), HashMap::new());
            state.changed.insert(name.clone());
            self.work.notify_one();
        }
        // Told before anything else can be, such as that it is lost.
        if state.standing.contains(name) {
            ear.stood(name);
        }
        let place = state.next;
        state.next += 1;
        state.names.get_mut(name).expect("it was there or has been put there").insert(place, ear);
        Some(place)
    }

    /// Removes somebody who listened.
    pub(super) fn leave(&self, name: &Name, place: u64) {
        let mut state = self.lock();
        let ears = state.names.get_mut(name).expect("who leaves has joined");
        ears.remove(&place).expect("who leaves has joined");
        if ears.is_empty() {
            state.names.remove(name);
            state.changed.insert(name.clone());
            self.work.notify_one();
        }
    }

    /// Tells those who listen to a name that the store refuses it.
    pub(super) fn refused(&self, name: &Name, reason: &str) {
        if let Some(ears) = self.lock().names.get(name) {
            ears.values().for_each(|ear| ear.refused(name, reason));
        }
    }

    /// Tells everyone that nothing is heard for now.
    pub(super) fn lost(&self) {
        self.lock().lose();
    }

    /// Returns how many names are listened to.
    pub(super) fn names(&self) -> usize {
        self.lock().names.len()
    }

    /// Takes what came and went since the last time, beside what the listener has subscribed to already.
    pub(super) fn changes(&self, subscribed: &HashSet<Name>) -> Changes {
        let mut state = self.lock();
        let mut changes = Changes::default();
        for name in std::mem::take(&mut state.changed) {
            match (state.names.contains_key(&name), subscribed.contains(&name)) {
                (true, false) => changes.subscribe.push(name),
                (false, true) => {
                    // Whoever joins from now on waits for the next subscription.
                    state.standing.remove(&name);
                    changes.unsubscribe.push(name);
                }
                _ => {}
            }
        }
        changes
    }

    /// Has every name subscribed to anew, on a new connection.
    pub(super) fn begin_anew(self: &Arc<Self>) -> Line {
        let mut state = self.lock();
        state.connection += 1;
        state.standing.clear();
        state.changed = state.names.keys().cloned().collect();
        Line { board: Arc::clone(self), connection: state.connection }
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

impl State {
    fn lose(&mut self) {
        self.connection += 1;
        self.standing.clear();
        self.names.values().flat_map(HashMap::values).for_each(|ear| ear.lost());
    }
}

impl Line {
    /// Hands a message to those who listen to its name.
    pub(super) fn message(&self, name: &Name, message: &Arc<Message>) {
        let state = self.board.lock();
        // The name of those who listen, so that they can share it.
        if let Some((name, ears)) = state.names.get_key_value(name).filter(|_| state.connection == self.connection) {
            ears.values().for_each(|ear| ear.message(name, message));
        }
    }

    /// Takes note that a subscription stands, and tells those who listen.
    pub(super) fn stands(&self, name: Name) {
        let mut state = self.board.lock();
        if state.connection != self.connection {
            return;
        }
        if let Some(ears) = state.names.get(&name) {
            ears.values().for_each(|ear| ear.stands(&name));
        }
        state.standing.insert(name);
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        let mut state = self.board.lock();
        state.is_employed = false;
        state.lose();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it hears.
    #[derive(Debug, Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Notes {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }

        fn add(&self, note: impl Into<String>) {
            self.0.lock().unwrap().push(note.into());
        }
    }

    impl Hears for Notes {
        fn message(&self, _: &Name, message: &Arc<Message>) {
            self.add(String::from_utf8_lossy(&message.payload));
        }

        fn stood(&self, _: &Name) {
            self.add("stood");
        }

        fn stands(&self, _: &Name) {
            self.add("stands");
        }

        fn lost(&self) {
            self.add("lost");
        }

        fn refused(&self, _: &Name, reason: &str) {
            self.add(reason);
        }
    }

    fn channel(name: &str) -> Name {
        Name::Channel(name.into())
    }

    fn names(names: &[&str]) -> HashSet<Name> {
        names.iter().map(|name| channel(name)).collect()
    }

    fn message(payload: &str) -> Arc<Message> {
        Arc::new(Message { channel: Vec::new(), payload: payload.as_bytes().to_vec() })
    }

    #[test]
    fn messages_reach_those_who_listen_to_their_name() {
        let board = Arc::new(Board::default());
        let line = board.begin_anew();
        let (a, b, pattern) = (Arc::new(Notes::default()), Arc::new(Notes::default()), Arc::new(Notes::default()));
        let place = board.join(&channel("c"), a.clone()).unwrap();
        board.join(&channel("c"), b.clone()).unwrap();
        board.join(&Name::Pattern("c".into()), pattern.clone()).unwrap();
        line.message(&channel("c"), &message("one"));
        line.message(&Name::Pattern("c".into()), &message("two"));
        line.message(&channel("nowhere"), &message("three"));
        board.leave(&channel("c"), place);
        line.message(&channel("c"), &message("four"));
        board.lost();
        line.message(&channel("c"), &message("too late"));
        assert_eq!(a.take(), ["one"]);
        assert_eq!(b.take(), ["one", "four", "lost"]);
        assert_eq!(pattern.take(), ["two", "lost"]);
    }

    #[test]
    fn names_come_and_go_with_those_who_listen() {
        let board = Arc::new(Board::default());
        let subscribe = |names: &[&str]| Changes {
            subscribe: names.iter().map(|name| channel(name)).collect(),
            ..Changes::default()
        };
        let join = |name: &str| board.join(&channel(name), Arc::<Notes>::default()).unwrap();
        let (a, b) = (join("c"), join("c"));
        assert_eq!(board.changes(&names(&[])), subscribe(&["c"]));
        assert_eq!(board.changes(&names(&["c"])), Changes::default());
        board.leave(&channel("c"), a);
        assert_eq!(board.changes(&names(&["c"])), Changes::default());
        board.leave(&channel("c"), b);
        // Whoever comes back before the listener has looked changes nothing.
        let c = join("c");
        assert_eq!(board.changes(&names(&["c"])), Changes::default());
        board.leave(&channel("c"), c);
        assert_eq!(board.names(), 0);
        let changes = board.changes(&names(&["c"]));
        assert_eq!((changes.subscribe.len(), changes.unsubscribe), (0, vec![channel("c")]));
        join("d");
        board.changes(&names(&[]));
        board.begin_anew();
        assert_eq!(board.changes(&names(&[])), subscribe(&["d"]));
    }

    #[test]
    fn a_subscription_stands_until_it_is_ended_or_lost() {
        let board = Arc::new(Board::default());
        let (line, notes) = (board.begin_anew(), Arc::new(Notes::default()));
        let join = || board.join(&channel("c"), notes.clone()).unwrap();
        let first = join();
        assert!(notes.take().is_empty());
        line.stands(channel("c"));
        let second = join();
        assert_eq!(notes.take(), ["stands", "stood"]);
        board.lost();
        assert_eq!(notes.take(), ["lost", "lost"]);
        line.stands(channel("c"));
        assert!(notes.take().is_empty(), "what an earlier connection says counts for nothing");
        let line = board.begin_anew();
        let third = join();
        assert!(notes.take().is_empty());
        line.stands(channel("c"));
        assert_eq!(notes.take(), ["stands"; 3]);
        [first, second, third].iter().for_each(|place| board.leave(&channel("c"), *place));
        // The listener has not ended it yet, so it stands for whoever comes back.
        let again = join();
        assert_eq!(notes.take(), ["stood"]);
        board.leave(&channel("c"), again);
        board.changes(&names(&["c"]));
        join();
        assert!(notes.take().is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let board = Board::default();
        let join = |name: &str| board.join(&channel(name), Arc::<Notes>::default());
        let first = join("0").unwrap();
        for name in 1..MAX_NAMES {
            join(&name.to_string()).unwrap();
        }
        assert!(join("one more").is_none());
        let second = join("0").unwrap();
        board.leave(&channel("0"), first);
        assert!(join("one more").is_none());
        board.leave(&channel("0"), second);
        assert!(join("one more").is_some());
    }
}
