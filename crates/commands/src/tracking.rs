//! Client-side caching: who is to be told when a key changes.
//!
//! A client that tracks is remembered for every key it reads, once, until the key changes and the client is told so (the default), or is told of every change of keys
//! with certain prefixes whether it read them or not (broadcast). Being told is a push under RESP3, or a message on `CHANNEL` to another connection that is
//! subscribed to it (redirection).
//!
//! ```text
//! command reads  ─► remember                                    both under the locks of the keys, so a change is
//! command writes ─► Effects::modified ─► forget_key, broadcast    seen by the reader or comes after it was remembered
//! ```
//!
//! The table of remembered keys is bounded by `tracking-table-max-keys`: readers of a key that has to make room are told that it changed, at once if the setting is
//! lowered. Keys count by name, whatever their database. While nobody tracks, commands pay one look at a counter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use redpoll_keyspace::Effects;
use redpoll_resp::{Protocol, Writer};

use crate::args::Args;
use crate::client::Client;
use crate::command::READONLY;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::outbox::Message;
use crate::registry::Resolved;
use crate::session::Session;
use crate::settings::Setting;

/// Where clients under RESP2 are told what changed.
pub(crate) const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Most keys that make room before others get their turn at the table.
const FORGOTTEN_AT_ONCE: usize = 100;

/// What a prefix costs beside its bytes: a place with the client, and one in the table, where the bytes are kept again.
const PREFIX_BYTES: usize = 6 * size_of::<Box<[u8]>>();

/// Which keys a client is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All that it reads.
    Reads,
    /// Those it reads right after CLIENT CACHING YES.
    OptIn,
    /// All that it reads but not right after CLIENT CACHING NO.
    OptOut,
    /// All with its prefixes.
    Broadcast,
}

/// How a client tracks.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    /// It is not told of its own changes.
    pub(crate) no_loop: bool,
    /// The client that is told in its place.
    pub(crate) redirect: Option<u64>,
    /// Prefixes of a broadcast.
    pub(crate) prefixes: BTreeSet<Box<[u8]>>,
}

/// Tracking as its session knows it.
#[derive(Debug)]
pub(crate) struct Tracking {
    pub(crate) mode: Mode,
    /// CLIENT CACHING was called for the next command.
    pub(crate) caching: bool,
}

impl Tracking {
    /// Tells whether what is read now is to be remembered.
    fn remembers(&self) -> bool {
        match self.mode {
            Mode::Reads => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast => false,
        }
    }
}

/// All clients that track and what is remembered of them.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Number of clients, so that nobody tracking is seen at a glance.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<u64, Tracked>,
    /// Readers of each key. They may have stopped tracking meanwhile.
    readers: BTreeMap<Box<[u8]>, Vec<u64>>,
    /// Sum of the lengths of all `readers`.
    items: usize,
    /// The last key that had to make room.
    evicted: Box<[u8]>,
    /// Clients by prefix.
    prefixes: BTreeMap<Box<[u8]>, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Tracked {
    client: Arc<Client>,
    options: Options,
}

/// Numbers for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrackerSize {
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    pub(crate) items: usize,
    pub(crate) prefixes: usize,
}

/// What changed.
#[derive(Clone, Copy)]
enum News<'a> {
    Keys(&'a [&'a [u8]]),
    Everything,
}

impl Tracker {
    /// Tells whether any client tracks.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Begins or changes the tracking of a client.
    pub(crate) fn begin(&self, client: &Arc<Client>, options: Options) {
        let mut table = self.table.lock();
        for prefix in &options.prefixes {
            table.prefixes.entry(prefix.clone()).or_default().insert(client.id);
        }
        client.note_tracking(options.redirect, options.mode == Mode::Broadcast);
        client.prefixes.set(options.prefixes.iter().map(|prefix| PREFIX_BYTES + prefix.len()).sum());
        table.clients.insert(client.id, Tracked { client: Arc::clone(client), options });
        self.count.store(table.clients.len(), Ordering::Relaxed);
    }

    /// Ends the tracking of a client; keys it has read are forgotten when they change.
    pub(crate) fn end(&self, client: &Client) {
        let mut table = self.table.lock();
        let Some(tracked) = table.clients.remove(&client.id) else { return };
        for prefix in &tracked.options.prefixes {
            if let Some(ids) = table.prefixes.get_mut(prefix) {
                ids.remove(&client.id);
                if ids.is_empty() {
                    table.prefixes.remove(prefix);
                }
            }
        }
        if table.clients.is_empty() {
            *table = Table::default();
        }
        client.note_no_tracking();
        client.prefixes.set(0);
        self.count.store(table.clients.len(), Ordering::Relaxed);
    }

    /// Returns how a client tracks.
    pub(crate) fn options(&self, client: &Client) -> Option<Options> {
        self.table.lock().clients.get(&client.id).map(|tracked| tracked.options.clone())
    }

    pub(crate) fn size(&self) -> TrackerSize {
        let table = self.table.lock();
        TrackerSize {
            clients: table.clients.len(),
            keys: table.readers.len(),
            items: table.items,
            prefixes: table.prefixes.len(),
        }
    }
}

/// Passes on what a handler changed. Called with the locks of the keys held.
#[cold]
pub(crate) fn settle(cx: &mut Cx<'_, '_>) {
    let (engine, author) = (cx.engine, cx.session.client.id);
    let effects = &mut cx.db.effects;
    if std::mem::take(&mut effects.flushed) {
        tell_flushed(engine);
    }
    let mut table = engine.tracker.table.lock();
    for key in &effects.modified[effects.told..] {
        table.forget_key(engine, key, Some(author));
    }
    effects.told = effects.modified.len();
}

/// Remembers what a tracking client has read. Called with the locks of the keys held.
#[cold]
pub(crate) fn remember(cx: &Cx<'_, '_>, resolved: &Resolved, args: Args<'_>) {
    // A script is remembered by the commands it calls.
    let reads = resolved.has(READONLY) && resolved.group != "scripting";
    if !reads || !cx.session.tracking.as_ref().is_some_and(Tracking::remembers) {
        return;
    }
    let mut positions = Vec::new();
    resolved.key_positions(args, &mut positions);
    let keys_max = cx.engine.settings.size(Setting::TrackingTableMaxKeys);
    let mut table = cx.engine.tracker.table.lock();
    positions.into_iter().for_each(|at| table.remember(args.at(at), cx.session.client.id));
    while table.shrink(cx.engine, keys_max) {}
}

/// Has as many keys make room as the settings ask for, now that they ask for more.
#[cold]
pub(crate) fn make_room(engine: &Engine) {
    let keys_max = engine.settings.size(Setting::TrackingTableMaxKeys);
    while engine.tracker.table.lock().shrink(engine, keys_max) {}
}

/// Ends a command of a client: those who track prefixes are told what changed in all of it, and CLIENT CACHING has had its effect, unless the command
/// was CLIENT itself or a transaction is open.
#[cold]
pub(crate) fn command_ended(engine: &Engine, session: &mut Session, effects: &Effects, resolved: &Resolved) {
    if !effects.modified.is_empty() {
        engine.tracker.table.lock().broadcast(engine, &effects.modified, Some(session.client.id));
    }
    let lasts = session.in_transaction() || resolved.name.starts_with("client");
    if let Some(tracking) = &mut session.tracking
        && !lasts
    {
        tracking.caching = false;
    }
}

/// Tells everybody concerned that keys have changed outside any command.
#[cold]
pub(crate) fn tell(engine: &Engine, keys: &[Box<[u8]>]) {
    let mut table = engine.tracker.table.lock();
    for key in keys {
        table.forget_key(engine, key, None);
    }
    table.broadcast(engine, keys, None);
}

/// Tells everybody that everything has changed, and forgets all keys.
fn tell_flushed(engine: &Engine) {
    let mut table = engine.tracker.table.lock();
    table.readers.clear();
    table.items = 0;
    table.tell(engine, table.clients.keys().copied(), News::Everything, None);
}

impl Table {
    fn remember(&mut self, key: &[u8], reader: u64) {
        let readers = self.readers.entry(key.into()).or_default();
        if !readers.contains(&reader) {
            readers.push(reader);
            self.items += 1;
        }
    }

    /// Tells those who track prefixes: one message for each prefix.
    fn broadcast(&self, engine: &Engine, keys: &[Box<[u8]>], author: Option<u64>) {
        if self.prefixes.is_empty() {
            return;
        }
        let keys: BTreeSet<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        for (prefix, ids) in &self.prefixes {
            let changed: Vec<&[u8]> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
            if !changed.is_empty() {
                self.tell(engine, ids.iter().copied(), News::Keys(&changed), author);
            }
        }
    }

    /// Lets some of the keys beyond a number make room (0 for no bound); tells whether there are still too many.
    fn shrink(&mut self, engine: &Engine, keys_max: usize) -> bool {
        let is_full = |table: &Table| keys_max != 0 && table.readers.len() > keys_max;
        for _ in 0..FORGOTTEN_AT_ONCE {
            if !is_full(self) {
                return false;
            }
            self.evict_one(engine);
        }
        is_full(self)
    }

    /// Lets one key make room: its readers are told that it changed. Keys are taken in turn, so none is spared.
    fn evict_one(&mut self, engine: &Engine) {
        let beyond = (Bound::Excluded(&*self.evicted), Bound::Unbounded);
        let next = self.readers.range::<[u8], _>(beyond).next().or_else(|| self.readers.iter().next());
        if let Some(key) = next.map(|(key, _)| key.clone()) {
            self.forget_key(engine, &key, None);
            self.evicted = key;
        }
    }

    fn forget_key(&mut self, engine: &Engine, key: &[u8], author: Option<u64>) {
        if let Some(readers) = self.readers.remove(key) {
            self.items -= readers.len();
            let reads = |id: &u64| self.clients.get(id).is_some_and(|known| known.options.mode != Mode::Broadcast);
            self.tell(engine, readers.iter().copied().filter(reads), News::Keys(&[key]), author);
        }
    }

    fn tell(&self, engine: &Engine, ids: impl Iterator<Item = u64>, news: News<'_>, author: Option<u64>) {
        let mut encoder = Encoder { news, made: Default::default() };
        for tracked in ids.filter_map(|id| self.clients.get(&id)) {
            if tracked.options.no_loop && author == Some(tracked.client.id) {
                continue;
            }
            tracked.tell(engine, &mut encoder);
        }
    }
}

impl Tracked {
    fn tell(&self, engine: &Engine, encoder: &mut Encoder<'_>) {
        let target = match self.options.redirect {
            None => Some(Arc::clone(&self.client)),
            Some(id) => engine.clients.find(id),
        };
        let Some(target) = target else { return self.tell_broken(engine) };
        // Without pushes there is only the channel, and only for another client.
        if target.speaks_resp3() || (self.options.redirect.is_some() && target.is_subscriber()) {
            send(engine, &target, encoder.message(target.spoken()));
        }
    }

    /// Whoever was to be told in the client's place has gone; under RESP3 the client learns so.
    fn tell_broken(&self, engine: &Engine) {
        self.client.broken_redirect.store(true, Ordering::Relaxed);
        if self.client.speaks_resp3() {
            let mut out = Writer::new(Protocol::Resp3);
            out.push(2);
            out.bulk(b"tracking-redir-broken");
            out.int(self.options.redirect.unwrap_or_default() as i64);
            send(engine, &self.client, &out.take().into());
        }
    }
}

fn send(engine: &Engine, client: &Arc<Client>, message: &Message) {
    engine.clients.deliver(client, message, &engine.settings.output_limits, engine.clock.now());
}

/// News in each protocol version, encoded when first asked for.
struct Encoder<'a> {
    news: News<'a>,
    made: [Option<Message>; 2],
}

impl Encoder<'_> {
    fn message(&mut self, protocol: Protocol) -> &Message {
        let news = self.news;
        self.made[usize::from(protocol == Protocol::Resp3)].get_or_insert_with(|| {
            let mut out = Writer::new(protocol);
            match protocol {
                Protocol::Resp2 => {
                    out.push(3);
                    out.bulk(b"message");
                    out.bulk(CHANNEL);
                }
                Protocol::Resp3 => {
                    out.push(2);
                    out.bulk(b"invalidate");
                }
            }
            match news {
                News::Everything => out.null(),
                News::Keys(keys) => {
                    out.array(keys.len());
                    keys.iter().for_each(|key| out.bulk(key));
                }
            }
            out.take().into()
        })
    }
}
