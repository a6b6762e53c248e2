//! The exchange: who listens to which channels and patterns, and the way a message takes to them.
//!
//! ```text
//! lanes, by hash of the channel ─ Mutex ─ channels and shard channels ─► subscribers
//! patterns ─ RwLock ─ pattern ─► subscribers
//! ```
//!
//! A message goes to the subscribers of its channel and of every pattern that matches, while its lane is locked: all messages of one channel reach all its
//! listeners in one order, and channels of different lanes do not wait for each other. It is encoded once for each protocol version that a listener speaks and
//! put into outboxes; nothing is sent here. Lanes, patterns and outboxes are leaf locks, in this order.
//!
//! Shard channels are a namespace of their own, without patterns. There is no cluster here, so every shard is ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use redpoll_keyspace::SeededState;
use redpoll_resp::{Protocol, Writer};
use redpoll_structures::glob;

use crate::client::Client;
use crate::engine::Engine;
use crate::outbox::Message;

/// Number of lanes, so many cores can publish at a time.
const LANES: usize = 16;

/// Most channels, patterns and shard channels one client can be subscribed to.
pub const SUBSCRIPTIONS_MAX: usize = 1 << 20;

/// What a subscription costs beside the bytes of its name: a place with the client, and one here, where the name is kept again.
const SUBSCRIPTION_BYTES: usize = 6 * size_of::<Box<[u8]>>();

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A channel.
    Channel,
    /// All channels that match a pattern.
    Pattern,
    /// A shard channel.
    Shard,
}

/// By client id.
type Subscribers = BTreeMap<u64, Arc<Client>>;

#[derive(Debug, Default)]
struct Lane {
    channels: HashMap<Box<[u8]>, Subscribers>,
    shard_channels: HashMap<Box<[u8]>, Subscribers>,
}

impl Lane {
    fn of(&mut self, scope: Scope) -> &mut HashMap<Box<[u8]>, Subscribers> {
        match scope {
            Scope::Shard => &mut self.shard_channels,
            Scope::Channel | Scope::Pattern => &mut self.channels,
        }
    }
}

/// All subscriptions.
#[derive(Debug)]
pub struct Exchange {
    lanes: [Mutex<Lane>; LANES],
    patterns: RwLock<BTreeMap<Box<[u8]>, Subscribers>>,
    /// Subscriptions of all clients, so that nobody listening is seen at a glance.
    subscriptions: AtomicUsize,
    hasher: SeededState,
}

impl Exchange {
    /// Makes an exchange that nobody is subscribed to.
    pub(crate) fn new(seed: u64) -> Exchange {
        Exchange {
            lanes: Default::default(),
            patterns: RwLock::default(),
            subscriptions: AtomicUsize::new(0),
            hasher: SeededState::with_seed(seed),
        }
    }

    /// Tells whether anybody is subscribed to anything.
    #[inline]
    pub fn has_subscribers(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed) > 0
    }

    fn lane(&self, name: &[u8]) -> &Mutex<Lane> {
        &self.lanes[self.hasher.hash_one(name) as usize % LANES]
    }

    fn subscribe(&self, client: &Arc<Client>, scope: Scope, name: &[u8]) {
        let add = |subscribers: &mut Subscribers| subscribers.insert(client.id, Arc::clone(client));
        match scope {
            Scope::Pattern => add(self.patterns.write().entry(name.into()).or_default()),
            Scope::Channel | Scope::Shard => add(self.lane(name).lock().of(scope).entry(name.into()).or_default()),
        };
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    fn unsubscribe(&self, client: &Client, scope: Scope, name: &[u8]) {
        let emptied = |subscribers: &mut Subscribers| {
            subscribers.remove(&client.id);
            subscribers.is_empty()
        };
        if scope == Scope::Pattern {
            let mut patterns = self.patterns.write();
            if patterns.get_mut(name).is_some_and(emptied) {
                patterns.remove(name);
            }
        } else {
            let mut lane = self.lane(name).lock();
            if lane.of(scope).get_mut(name).is_some_and(emptied) {
                lane.of(scope).remove(name);
            }
        }
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sends a message to everybody who listens to the channel and returns how many subscriptions it met.
    pub fn publish(&self, engine: &Engine, scope: Scope, channel: &[u8], payload: &[u8]) -> usize {
        if !self.has_subscribers() {
            return 0;
        }
        let now = engine.clock.now();
        let limits = &engine.settings.output_limits;
        let mut receivers = 0;
        let mut send = |subscribers: &Subscribers, parts: &[&[u8]]| {
            let mut shared = Shared::default();
            for client in subscribers.values() {
                engine.clients.deliver(client, shared.encoded(client.spoken(), parts), limits, now);
            }
            receivers += subscribers.len();
        };
        let mut lane = self.lane(channel).lock();
        let kind: &[u8] = if scope == Scope::Shard { b"smessage" } else { b"message" };
        if let Some(subscribers) = lane.of(scope).get(channel) {
            send(subscribers, &[kind, channel, payload]);
        }
        if scope == Scope::Channel {
            for (pattern, subscribers) in &*self.patterns.read() {
                if glob::matches(pattern, channel) {
                    send(subscribers, &[b"pmessage", pattern, channel, payload]);
                }
            }
        }
        receivers
    }

    /// Shows every subscription, in no order. Its lane is locked meanwhile.
    pub(crate) fn visit(&self, mut see: impl FnMut(&Arc<Client>, Scope, &[u8])) {
        let mut see_all = |scope, name: &[u8], subscribers: &Subscribers| {
            subscribers.values().for_each(|client| see(client, scope, name));
        };
        for lane in &self.lanes {
            let lane = lane.lock();
            lane.channels.iter().for_each(|(name, subscribers)| see_all(Scope::Channel, name, subscribers));
            lane.shard_channels.iter().for_each(|(name, subscribers)| see_all(Scope::Shard, name, subscribers));
        }
        self.patterns.read().iter().for_each(|(name, subscribers)| see_all(Scope::Pattern, name, subscribers));
    }

    /// Returns the channels of a scope that somebody is subscribed to and that match a pattern, in ascending order.
    pub(crate) fn channels(&self, scope: Scope, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let mut found = Vec::new();
        for lane in &self.lanes {
            found.extend(lane.lock().of(scope).keys().filter(|name| wanted(name)).cloned());
        }
        found.sort_unstable();
        found
    }

    /// Returns the number of channels of a scope that somebody is subscribed to.
    pub(crate) fn channel_count(&self, scope: Scope) -> usize {
        self.lanes.iter().map(|lane| lane.lock().of(scope).len()).sum()
    }

    /// Returns the number of different patterns that somebody is subscribed to.
    pub(crate) fn pattern_count(&self) -> usize {
        self.patterns.read().len()
    }

    /// Returns the number of subscribers of a channel.
    pub(crate) fn subscribers(&self, scope: Scope, channel: &[u8]) -> usize {
        self.lane(channel).lock().of(scope).get(channel).map_or(0, BTreeMap::len)
    }
}

/// One message in each protocol version, encoded when first asked for.
#[derive(Default)]
struct Shared([Option<Message>; 2]);

impl Shared {
    fn encoded(&mut self, protocol: Protocol, parts: &[&[u8]]) -> &Message {
        self.0[usize::from(protocol == Protocol::Resp3)].get_or_insert_with(|| {
            let mut out = Writer::new(protocol);
            out.push(parts.len());
            parts.iter().for_each(|part| out.bulk(part));
            out.take().into()
        })
    }
}

/// What one client is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions([BTreeSet<Box<[u8]>>; 3]);

impl Subscriptions {
    /// Subscribes to one thing more; nothing happens if the client is already. False if it is subscribed to too much.
    pub(crate) fn add(&mut self, exchange: &Exchange, client: &Arc<Client>, scope: Scope, name: &[u8]) -> bool {
        let names = &mut self.0[scope as usize];
        if names.contains(name) {
            return true;
        }
        if names.len() >= SUBSCRIPTIONS_MAX {
            return false;
        }
        names.insert(name.into());
        // The limits of subscribers hold from the first message on.
        client.subscriptions[scope as usize].store(names.len(), Ordering::Relaxed);
        client.subscribed.set(client.subscribed.bytes() + SUBSCRIPTION_BYTES + name.len());
        exchange.subscribe(client, scope, name);
        true
    }

    /// Ends one subscription; nothing happens if there is none.
    pub(crate) fn remove(&mut self, exchange: &Exchange, client: &Client, scope: Scope, name: &[u8]) {
        let names = &mut self.0[scope as usize];
        if names.remove(name) {
            exchange.unsubscribe(client, scope, name);
            client.subscriptions[scope as usize].store(names.len(), Ordering::Relaxed);
            client.subscribed.set(client.subscribed.bytes() - SUBSCRIPTION_BYTES - name.len());
        }
    }

    /// Returns what the client is subscribed to.
    pub(crate) fn names(&self, scope: Scope) -> Vec<Box<[u8]>> {
        self.0[scope as usize].iter().cloned().collect()
    }

    /// Ends all subscriptions.
    pub(crate) fn clear(&mut self, exchange: &Exchange, client: &Client) {
        for scope in [Scope::Channel, Scope::Pattern, Scope::Shard] {
            for name in std::mem::take(&mut self.0[scope as usize]) {
                exchange.unsubscribe(client, scope, &name);
            }
            client.subscriptions[scope as usize].store(0, Ordering::Relaxed);
        }
        client.subscribed.set(0);
    }

    /// Returns the number a confirmation carries: channels and patterns count together, shard channels by themselves.
    pub(crate) fn count(&self, scope: Scope) -> usize {
        let [channels, patterns, shard_channels] = &self.0;
        match scope {
            Scope::Shard => shard_channels.len(),
            Scope::Channel | Scope::Pattern => channels.len() + patterns.len(),
        }
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeSet::is_empty)
    }
}
