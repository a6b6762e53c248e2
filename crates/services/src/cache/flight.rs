//! One load per key within this process.
//!
//! The first caller leads and goes to the store; the others wait here and are woken with the value, without a round
//! trip of their own. A leader that ends without a value (its loader failed, its future was dropped, its fill was
//! refused) wakes them empty-handed, and one of them leads next. Nothing outlives the callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::entry::Body;
use crate::keys::Key;

/// What a leader hands to the others: a value, or a known absence.
pub(super) type Landed = Option<Body>;

/// Loads under way in this process.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<Key, watch::Receiver<Option<Landed>>>>,
}

/// A caller's part in a load.
pub(super) enum Flight {
    /// Load, and tell the others through the seat.
    Lead(Seat),
    /// Wait for the leader.
    Follow(watch::Receiver<Option<Landed>>),
}

/// The leader's place; dropping it without landing frees it for another.
pub(super) struct Seat {
    flights: Arc<Flights>,
    key: Key,
    sender: watch::Sender<Option<Landed>>,
}

impl Flights {
    /// Joins the load of a key.
    pub(super) fn join(self: &Arc<Self>, key: &Key) -> Flight {
        let mut by_key = self.lock();
        if let Some(receiver) = by_key.get(key) {
            return Flight::Follow(receiver.clone());
        }
        let (sender, receiver) = watch::channel(None);
        by_key.insert(key.clone(), receiver);
        Flight::Lead(Seat { flights: Arc::clone(self), key: key.clone(), sender })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<Landed>>>> {
        self.by_key.lock().expect("nothing panics while holding the lock")
    }
}

impl Seat {
    /// Hands the value to everyone waiting.
    pub(super) fn land(self, body: &Option<Body>) {
        if self.sender.receiver_count() > 1 {
            self.sender.send_replace(Some(body.clone()));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

/// Waits for the leader; `None` if it ended without a value.
pub(super) async fn follow(mut receiver: watch::Receiver<Option<Landed>>) -> Option<Landed> {
    receiver.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Keyring, Tenant};

    fn key(name: &str) -> Key {
        Keyring::new("rp").unwrap().group(&Tenant::default(), "cache", &[]).named("v", name)
    }

    #[tokio::test]
    async fn followers_get_the_value_or_the_seat() {
        let flights = Arc::new(Flights::default());
        let Flight::Lead(seat) = flights.join(&key("a")) else { panic!("first joins as leader") };
        let Flight::Follow(receiver) = flights.join(&key("a")) else { panic!("second follows") };
        assert!(matches!(flights.join(&key("b")), Flight::Lead(_)));
        seat.land(&Some(Body::from(vec![1])));
        assert_eq!(follow(receiver).await.unwrap(), Some(Body::from(vec![1])));

        let Flight::Lead(seat) = flights.join(&key("a")) else { panic!("the seat is free again") };
        let Flight::Follow(receiver) = flights.join(&key("a")) else { panic!("second follows") };
        drop(seat);
        assert_eq!(follow(receiver).await, None);
        assert!(flights.lock().is_empty());
    }
}
