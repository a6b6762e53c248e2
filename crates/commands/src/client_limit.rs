//! `maxmemory-clients`: what all clients together may take, and who goes when it is more.
//!
//! ```text
//! a client's gauges ─► sum of all ─► ≤ limit + excused: go on          a load, and with a limit three more
//!                                    more ─► look at everybody ─► the largest go, until the others are within the limit
//! ```
//!
//! What a client takes are its gauges: what it sent and what of it is an argument already, commands that wait for EXEC, keys it watches, names it is
//! subscribed to and prefixes it tracks, replies and messages on their way to it, and what is there for any client. The sum is looked at by a connection
//! whenever its own share may have grown, by CONFIG SET, and ten times a second by the housekeeper; never by a command.
//!
//! Callers within the process and clients with CLIENT NO-EVICT on neither go nor count. redis-server counts the latter, so that one of them that takes more
//! than the limit has all others disconnected, whatever they do.
//!
//! Looking at everybody takes time, so it must lead to something: who was told to go is excused until he is gone, and what was found that does not count
//! until the housekeeper looks again.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::client::{Client, Transport};
use crate::engine::Engine;
use crate::settings::Setting;

/// What is remembered from one look at all clients to the next.
#[derive(Debug, Default)]
pub(crate) struct ClientLimit {
    /// Bytes of those who do not count, as they were found last.
    uncounted: AtomicUsize,
    /// Bytes of those who were told to go and have not gone.
    going: AtomicUsize,
    /// One looks at a time: who comes next finds that the largest are gone.
    looking: Mutex<()>,
}

impl ClientLimit {
    /// Notes that a client has gone.
    pub(crate) fn gone(&self, client: &Client) {
        self.going.fetch_sub(client.going.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn excused(&self) -> usize {
        self.uncounted.load(Ordering::Relaxed).saturating_add(self.going.load(Ordering::Relaxed))
    }
}

impl Engine {
    /// Disconnects the largest clients if all together take more than `maxmemory-clients` allows. Called without the lock of any client.
    #[inline]
    pub fn bound_clients(&self) {
        let limit = limit(self);
        if limit != 0 && self.clients.held_bytes() > limit.saturating_add(self.clients.limit.excused()) {
            disconnect_largest(self, limit);
        }
    }

    /// Does the same and looks anew at what does not count; called a few times a second.
    pub fn bound_clients_anew(&self) {
        self.clients.limit.uncounted.store(0, Ordering::Relaxed);
        self.bound_clients();
    }
}

/// Returns the limit in bytes; 0 for none.
#[inline]
fn limit(engine: &Engine) -> usize {
    match engine.settings.int(Setting::MaxmemoryClients) {
        bytes @ 0.. => usize::try_from(bytes).unwrap_or(usize::MAX),
        percent => {
            let part = engine.settings.size(Setting::Maxmemory) as u128 * u128::from(percent.unsigned_abs()) / 100;
            usize::try_from(part).unwrap_or(usize::MAX)
        }
    }
}

#[cold]
fn disconnect_largest(engine: &Engine, limit: usize) {
    let known = &engine.clients.limit;
    let _looking = known.looking.lock();
    let counts = |client: &Client| client.transport != Transport::Embedded && !client.no_evict.load(Ordering::Relaxed);
    let clients = engine.clients.all().into_iter().map(|client| (client.held_bytes(), client));
    let (counted, uncounted): (Vec<_>, Vec<_>) = clients.partition(|(_, client)| counts(client));
    known.uncounted.store(uncounted.iter().map(|(bytes, _)| bytes).sum(), Ordering::Relaxed);
    for (bytes, client) in largest(counted, limit) {
        tracing::warn!(client = client.id, address = client.address, bytes, "Evicting client: maxmemory-clients");
        engine.stats.totals.evicted_clients.fetch_add(1, Ordering::Relaxed);
        known.going.fetch_add(bytes, Ordering::Relaxed);
        client.going.store(bytes, Ordering::Relaxed);
        client.kill();
        if engine.clients.find(client.id).is_none() {
            // It went by itself just before.
            known.gone(&client);
        }
    }
}

/// Chooses who goes, the largest first and no more than need be.
fn largest<C>(mut clients: Vec<(usize, C)>, limit: usize) -> Vec<(usize, C)> {
    let mut left: usize = clients.iter().map(|(bytes, _)| bytes).sum();
    clients.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let beyond = clients.iter().take_while(|(bytes, _)| {
        let is_beyond = left > limit;
        left -= bytes;
        is_beyond
    });
    let count = beyond.count();
    clients.truncate(count);
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(clients: &[usize], limit: usize, gone: &[usize]) {
        let numbered = clients.iter().copied().zip(0..).collect();
        let victims: Vec<(usize, i32)> = largest(numbered, limit);
        assert_eq!(victims.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>(), gone, "{clients:?} within {limit}");
        assert!(victims.iter().all(|(bytes, at)| clients[*at as usize] == *bytes));
    }

    #[test]
    fn the_largest_go_and_no_more_than_need_be() {
        check(&[], 10, &[]);
        check(&[5, 5], 10, &[]);
        check(&[5, 6], 10, &[6]);
        check(&[1, 8, 3, 9, 2], 10, &[9, 8]);
        check(&[1, 8, 3, 9, 2], 22, &[9]);
        check(&[4, 4, 4], 1, &[4, 4, 4]);
        check(&[11], 10, &[11]);
        // A thousand, each far below the limit: as many go as are beyond it.
        check(&[9; 1000], 4500, &[9; 500]);
    }
}
