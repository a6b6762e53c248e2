//! The clients: what everybody can see of every session, for CLIENT LIST and KILL and for INFO.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Condvar, Mutex};
use redpoll_keyspace::Millis;
use redpoll_resp::Protocol;

use crate::acl::User;
use crate::blocking::Wait;
use crate::client_limit::ClientLimit;
use crate::gauge::{Gauge, GaugeSum};
use crate::outbox::{Message, Outbox, Put};
use crate::output_limit::{OutputClass, OutputLimits};
use crate::session::Session;

/// Bytes that a connection takes in any case.
const FIXED_BYTES: usize = size_of::<Client>() + size_of::<Session>();

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// A connection over a Unix socket.
    Unix,
    /// A thread of the process the store is embedded in.
    Embedded,
}

/// The public side of a session.
#[derive(Debug)]
pub struct Client {
    /// Unique, ascending.
    pub id: u64,
    /// `host:port` of the peer, `path:0` over a Unix socket; empty when embedded.
    pub address: String,
    /// `host:port` of the listener.
    pub local_address: String,
    /// How it is connected.
    pub transport: Transport,
    /// File descriptor number, for CLIENT LIST; -1 when embedded.
    pub descriptor: i32,
    /// When it came.
    pub created: Millis,
    /// When it sent its last command.
    pub last_active: AtomicU64,
    /// Id of its last command in the registry; `usize::MAX` if none.
    pub last_command: AtomicUsize,
    /// The selected database.
    pub db: AtomicUsize,
    /// Protocol version, 2 or 3.
    pub protocol: AtomicUsize,
    /// Number of queued commands if MULTI is open, `usize::MAX` if not.
    pub queued: AtomicUsize,
    /// Number of watched keys.
    pub watching: AtomicUsize,
    /// CLIENT NO-EVICT is on.
    pub no_evict: AtomicBool,
    /// CLIENT NO-TOUCH is on.
    pub no_touch: AtomicBool,
    /// Texts the client set.
    pub names: Mutex<Names>,
    /// Bytes received that are not used up, without those of arguments.
    pub query_buffer: Gauge,
    /// Bytes that are free behind them.
    pub query_free: Gauge,
    /// Bytes of arguments of a command that is not there as a whole, with what is kept of where they are.
    pub arguments: Gauge,
    /// Bytes of commands that wait for EXEC.
    pub(crate) queue: Gauge,
    /// Bytes of what it watches.
    pub(crate) watched: Gauge,
    /// Bytes of the names it is subscribed to.
    pub(crate) subscribed: Gauge,
    /// Bytes of the prefixes it tracks.
    pub(crate) prefixes: Gauge,
    /// Bytes that are there for it as long as it is connected.
    fixed: Gauge,
    /// What it took when it was told to go because all together take too much.
    pub(crate) going: AtomicUsize,
    /// Bytes of replies and messages that are being sent; those not yet begun wait in the outbox.
    pub output_buffer: Gauge,
    /// What others sent it.
    pub outbox: Outbox,
    /// Number of channels, patterns and shard channels it is subscribed to.
    pub subscriptions: [AtomicUsize; 3],
    /// What it waits for, if it is blocked; the wait ends under this mutex.
    pub(crate) wait: Mutex<Option<Wait>>,
    /// Wakes the thread that waits, if it is one of this process.
    pub(crate) woken: Condvar,
    /// It is shown every command.
    pub is_monitor: AtomicBool,
    /// Who is told in its place what changed: -1 if it does not track, 0 for itself, otherwise the id of another client.
    pub redirect: AtomicI64,
    /// Who was to be told in its place has gone.
    pub broken_redirect: AtomicBool,
    /// It tracks prefixes.
    pub broadcasts: AtomicBool,
    killed: AtomicBool,
    waker: OnceLock<Waker>,
}

/// What a client says about itself.
#[derive(Clone, Debug)]
pub struct Names {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub library: String,
    /// CLIENT SETINFO LIB-VER.
    pub library_version: String,
    /// The user it is logged in as.
    pub user: Arc<User>,
}

/// Wakes the task or thread that serves a connection. What there is to do it must find out itself: see [`Client::wake`].
pub struct Waker(pub Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Client {
    /// Asks the connection to close and wakes it up.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        // A thread that is about to wait holds this mutex until it does.
        drop(self.wait.lock());
        self.wake();
    }

    /// Wakes whoever serves the connection, who then looks at everything that can have happened to it: was it killed, is there mail, was it
    /// served.
    ///
    /// A wake that comes before the connection waits is not lost; several may count as one.
    pub fn wake(&self) {
        self.woken.notify_all();
        if let Some(Waker(wake)) = self.waker.get() {
            wake();
        }
    }

    /// Leaves a message in the outbox and wakes the connection if that is the news. A client that lets too much wait is closed instead.
    #[inline]
    pub(crate) fn put(&self, message: &Message, limits: &OutputLimits, now: Millis) -> Put {
        if self.is_killed() {
            return Put::Closed;
        }
        let unsent = self.output_buffer.bytes();
        let put = self.outbox.put(message, unsent, limits.of(self.output_class()), now);
        match put {
            Put::First | Put::Lagging => self.wake(),
            Put::Overflow => self.cut_off(),
            Put::Behind | Put::Closed => {}
        }
        put
    }

    /// Closes the connection of a client that let too much wait.
    #[cold]
    pub fn cut_off(&self) {
        tracing::warn!(
            client = self.id,
            address = self.address,
            "closing a client that reached its output buffer limit"
        );
        self.kill();
    }

    /// Tells whether it is subscribed to anything.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Tells which limits hold for what waits for the client.
    pub fn output_class(&self) -> OutputClass {
        if self.is_subscriber() { OutputClass::Pubsub } else { OutputClass::Normal }
    }

    /// Tells whether what it is sent without having asked can be told from replies.
    pub fn speaks_resp3(&self) -> bool {
        self.protocol.load(Ordering::Relaxed) == 3
    }

    /// Returns the protocol it speaks.
    pub fn spoken(&self) -> Protocol {
        if self.speaks_resp3() { Protocol::Resp3 } else { Protocol::Resp2 }
    }

    /// Notes how it tracks, for CLIENT LIST.
    pub(crate) fn note_tracking(&self, redirect: Option<u64>, broadcasts: bool) {
        self.redirect.store(redirect.unwrap_or(0) as i64, Ordering::Relaxed);
        self.broadcasts.store(broadcasts, Ordering::Relaxed);
        self.broken_redirect.store(false, Ordering::Relaxed);
    }

    /// Notes that it does not track any more.
    pub(crate) fn note_no_tracking(&self) {
        self.redirect.store(-1, Ordering::Relaxed);
        self.broadcasts.store(false, Ordering::Relaxed);
        self.broken_redirect.store(false, Ordering::Relaxed);
    }

    /// Changes what the client says about itself.
    pub(crate) fn name(&self, change: impl FnOnce(&mut Names)) {
        let mut names = self.names.lock();
        change(&mut names);
        let texts = names.name.len() + names.library.len() + names.library_version.len();
        // A caller within the process keeps its session itself.
        let fixed = if self.transport == Transport::Embedded { 0 } else { FIXED_BYTES };
        self.fixed.set(fixed + texts);
    }

    /// Returns the bytes received that are not used up, with what is kept for them.
    pub fn input_bytes(&self) -> usize {
        self.query_buffer.bytes() + self.query_free.bytes() + self.arguments.bytes()
    }

    /// Returns the bytes that are held for the client.
    pub fn held_bytes(&self) -> usize {
        let state = [&self.queue, &self.watched, &self.subscribed, &self.prefixes, &self.fixed];
        self.input_bytes() + self.unsent_bytes() + state.iter().map(|gauge| gauge.bytes()).sum::<usize>()
    }

    /// Returns the bytes that wait for the client or are being sent.
    pub fn unsent_bytes(&self) -> usize {
        self.output_buffer.bytes() + self.outbox.bytes()
    }

    /// Tells whether the client waits for data (BLPOP and its kin).
    pub fn is_blocked(&self) -> bool {
        self.wait.lock().as_ref().is_some_and(Wait::is_open)
    }

    /// Tells whether the connection was asked to close.
    #[inline]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Tells whether the client runs on this machine.
    pub fn is_local(&self) -> bool {
        match self.transport {
            Transport::Embedded | Transport::Unix => true,
            Transport::Tcp => self.address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()),
        }
    }

    /// Says how to wake whoever serves the connection; the first word counts. What was put in the outbox before wakes nobody.
    pub fn set_waker(&self, waker: Waker) {
        self.waker.get_or_init(|| waker);
    }
}

/// What is known of a client when it comes.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// `host:port` of the peer.
    pub address: String,
    /// `host:port` of the listener.
    pub local_address: String,
    /// How it is connected.
    pub transport: Transport,
    /// File descriptor number.
    pub descriptor: i32,
}

impl Arrival {
    /// A caller inside the process.
    pub fn embedded() -> Arrival {
        Arrival { address: String::new(), local_address: String::new(), transport: Transport::Embedded, descriptor: -1 }
    }
}

/// All clients by id.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    /// Bytes that are held for all of them.
    held: GaugeSum,
    by_id: Mutex<BTreeMap<u64, Arc<Client>>>,
    /// What is remembered of the limit of all together.
    pub(crate) limit: ClientLimit,
    /// Those for whom more waits than may wait for long.
    lagging: Mutex<Vec<Weak<Client>>>,
}

impl Clients {
    /// Registers a client, which is a user until it logs in as another.
    pub fn arrive(&self, arrival: Arrival, user: Arc<User>, now: Millis) -> Arc<Client> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let names = Names { name: String::new(), library: String::new(), library_version: String::new(), user };
        let client = Arc::new(Client {
            id,
            address: arrival.address,
            local_address: arrival.local_address,
            transport: arrival.transport,
            descriptor: arrival.descriptor,
            created: now,
            last_active: AtomicU64::new(now),
            last_command: AtomicUsize::new(usize::MAX),
            db: AtomicUsize::new(0),
            protocol: AtomicUsize::new(2),
            queued: AtomicUsize::new(usize::MAX),
            watching: AtomicUsize::new(0),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            names: Mutex::new(names),
            query_buffer: Gauge::new(&self.held),
            query_free: Gauge::new(&self.held),
            arguments: Gauge::new(&self.held),
            queue: Gauge::new(&self.held),
            watched: Gauge::new(&self.held),
            subscribed: Gauge::new(&self.held),
            prefixes: Gauge::new(&self.held),
            fixed: Gauge::new(&self.held),
            going: AtomicUsize::new(0),
            output_buffer: Gauge::new(&self.held),
            outbox: Outbox::counted(&self.held),
            subscriptions: Default::default(),
            wait: Mutex::new(None),
            woken: Condvar::new(),
            is_monitor: AtomicBool::new(false),
            redirect: AtomicI64::new(-1),
            broken_redirect: AtomicBool::new(false),
            broadcasts: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            waker: OnceLock::new(),
        });
        client.name(|_| {});
        self.by_id.lock().insert(id, Arc::clone(&client));
        client
    }

    /// Sends a client bytes it did not ask for. Called from any thread: nothing is sent here, the connection is told that there is mail.
    pub fn deliver(&self, client: &Arc<Client>, message: &Message, limits: &OutputLimits, now: Millis) {
        if client.put(message, limits, now) == Put::Lagging {
            self.lagging.lock().push(Arc::downgrade(client));
        }
    }

    /// Closes the clients for whom too much has been waiting for too long; called a few times a second.
    pub fn cut_off_overdue(&self, limits: &OutputLimits, now: Millis) {
        self.lagging.lock().retain(|client| {
            let Some(client) = client.upgrade() else { return false };
            let unsent = client.output_buffer.bytes();
            if client.outbox.is_overdue(unsent, limits.of(client.output_class()), now) {
                client.cut_off();
                return false;
            }
            client.outbox.is_lagging()
        });
    }

    /// Forgets a client.
    pub fn leave(&self, id: u64) {
        let left = self.by_id.lock().remove(&id);
        if let Some(client) = left {
            self.limit.gone(&client);
        }
    }

    /// Finds a client.
    pub fn find(&self, id: u64) -> Option<Arc<Client>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// Returns all clients, oldest first, without those that have been killed and are about to go.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.by_id.lock().values().filter(|client| !client.is_killed()).cloned().collect()
    }

    /// Returns how many bytes are held for all clients: what they sent and what is to be sent to them.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Returns the number of clients connected over the network or a Unix socket.
    pub fn connected(&self) -> usize {
        self.by_id.lock().values().filter(|client| client.transport != Transport::Embedded).count()
    }
}
