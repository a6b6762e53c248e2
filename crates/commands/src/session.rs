//! A session: what one client (a connection, or a thread using the embedded store) has set up for itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_keyspace::WatchFlag;

use crate::acl::User;
use crate::blocking;
use crate::client::Client;
use crate::command::Flags;
use crate::engine::Engine;
use crate::exchange::Subscriptions;
use crate::tracking::Tracking;
use crate::transaction;

/// A command waiting for EXEC.
#[derive(Debug)]
pub(crate) struct Queued {
    /// Its id in the registry.
    pub(crate) id: usize,
    pub(crate) args: Vec<Box<[u8]>>,
}

/// An open MULTI.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) queued: Vec<Queued>,
    /// Bytes of all queued commands.
    pub(crate) bytes: usize,
    /// The flags of all queued commands together.
    pub(crate) flags: Flags,
    /// A command could not be queued: EXEC will refuse.
    pub(crate) aborted: bool,
}

/// The keys a session watches.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    pub(crate) flag: Arc<WatchFlag>,
    pub(crate) keys: Vec<(usize, Box<[u8]>)>,
    /// What they cost.
    pub(crate) bytes: usize,
}

/// Which replies a client wants, as set by CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// None for the next command (the state while CLIENT REPLY SKIP itself runs).
    SkipNext,
    /// None for this command.
    Skip,
}

/// Where a session's commands run, which matters for scripts: they may keep a thread for ever.
#[derive(Clone, Default)]
pub enum Place {
    /// On a thread of its own.
    #[default]
    Own,
    /// On a thread that serves others too: no script is run here that might not end, but [`Outcome::Apart`](crate::dispatch::Outcome::Apart) returned.
    Shared,
    /// On a thread that others can do without, once this has been told that a script runs too long.
    Relieved(Arc<dyn Relief>),
}

/// Takes over what else a thread has to do.
pub trait Relief: Send + Sync {
    /// Does so from now on, if it has not begun to yet. Called by a script that has run too long, from within.
    fn relieve(&self);
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Place::Own => "Own",
            Place::Shared => "Shared",
            Place::Relieved(_) => "Relieved",
        })
    }
}

/// One client's state.
#[derive(Debug)]
pub struct Session {
    /// What others can see of this client.
    pub client: Arc<Client>,
    /// The selected database.
    pub db: usize,
    /// Who it is logged in as.
    pub user: Arc<User>,
    /// Logged in, or no password is needed.
    pub authenticated: bool,
    /// Which replies the client wants.
    pub reply_mode: ReplyMode,
    /// The running command has written messages instead of a reply, which are sent whatever replies the client wants.
    pub(crate) wrote_messages: bool,
    /// The connection is to be closed after the replies written so far (QUIT).
    pub closing: bool,
    /// Memory is full and nothing can be evicted, as it was when the running command began.
    pub out_of_memory: bool,
    /// Reads leave no access stamps.
    pub no_touch: bool,
    /// Which slot of the statistics it counts in.
    pub slot: usize,
    /// Where its commands run.
    pub place: Place,
    /// Offset in the log up to which its own changes reach; replies under `appendfsync always` wait for it.
    pub log_offset: u64,
    /// A command waits for data: nothing else runs before [`crate::blocking::resume`] has written its reply.
    pub(crate) blocked: bool,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) watching: Option<Watching>,
    /// What the client is subscribed to, if anything.
    pub(crate) subscriptions: Option<Subscriptions>,
    /// CLIENT TRACKING.
    pub(crate) tracking: Option<Tracking>,
    /// Of what it wants a copy that asks for one as a replica would.
    pub(crate) copies: Copies,
    /// SYNC has run: whoever serves the client sends it such a copy in the place of a reply.
    pub copy_due: Option<CopyOf>,
}

/// What REPLCONF has said of the copy that SYNC makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// The client wants a copy and is no replica.
    pub(crate) only: bool,
    pub(crate) functions_only: bool,
}

/// Of what a copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOf {
    /// Everything.
    Everything,
    /// The libraries of functions.
    Functions,
}

impl Session {
    /// Begins a session for a client.
    pub fn new(client: Arc<Client>, user: Arc<User>, authenticated: bool) -> Session {
        let slot = client.id as usize;
        Session {
            client,
            db: 0,
            user,
            authenticated,
            reply_mode: ReplyMode::On,
            wrote_messages: false,
            closing: false,
            out_of_memory: false,
            no_touch: false,
            slot,
            place: Place::Own,
            log_offset: 0,
            blocked: false,
            transaction: None,
            watching: None,
            subscriptions: None,
            tracking: None,
            copies: Copies::default(),
            copy_due: None,
        }
    }

    /// Ends the session: the client has gone. Everything others hold of it is taken back.
    pub fn end(&mut self, engine: &Engine) {
        blocking::abandon(engine, self);
        transaction::abandon(engine, self);
        if let Some(mut subscriptions) = self.subscriptions.take() {
            subscriptions.clear(&engine.exchange, &self.client);
        }
        if self.tracking.take().is_some() {
            engine.tracker.end(&self.client);
        }
        engine.monitors.remove(&self.client);
        engine.clients.leave(self.client.id);
    }

    /// Tells whether a command waits for data.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Goes on as a user.
    pub(crate) fn become_user(&mut self, user: Arc<User>) {
        self.client.names.lock().user = Arc::clone(&user);
        self.user = user;
    }

    /// Tells whether MULTI is open.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Tells whether the client is sent what it did not ask for: it is subscribed, tracks or monitors.
    pub fn is_listening(&self) -> bool {
        self.subscriptions.is_some() || self.tracking.is_some() || self.client.is_monitor.load(Ordering::Relaxed)
    }

    /// Tells whether keys are watched.
    pub fn is_watching(&self) -> bool {
        self.watching.is_some()
    }
}
