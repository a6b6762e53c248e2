//! Blocking: commands that wait for data, and how they come to be served.
//!
//! ```text
//! BLPOP finds nothing ─► a Wait at its client, a ticket in the queue of each key (under the locks it looked with) ─► Outcome::Blocked
//! RPUSH fills the key ─► after its command, transaction or script, still under its locks: the first in the queue is served
//!                        (pop, reply, log record) ─► locks released ─► the waiting connection is woken and sends the reply it finds
//! ```
//!
//! The one who fills a key does the work of those who wait for it. So a client is served in the very moment the data comes, in the order of arrival, and
//! nobody can take the data in between; what a served command moves to another key serves those who wait there in the same moment. The log gets
//! one unit for the filling command and one for each served one, in that order.
//!
//! A wait ends exactly once, under the mutex at its client: served, timed out, unblocked or abandoned, whichever comes first. Tickets left in other
//! queues are stale then; the connection takes them out when it wakes. Nothing is popped for a client that was told to go.
//!
//! Two commands wait for no key: WAIT for replicas there are not, WAITAOF for the disk ([`crate::sync_wait`]).
//!
//! A mutex of a wait is locked after shards and before the leaves. Design note: `docs/design/0003-who-fills-a-key-serves-those-who-wait.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redpoll_keyspace::{Effects, Keyspace, Kind, Millis, View, Waiter, Wanted};
use redpoll_resp::{Protocol, Writer};
use redpoll_structures::decimal;

use crate::client::Client;
use crate::cx::{Cx, Origin};
use crate::dispatch;
use crate::engine::Engine;
use crate::error::{
    Error, LOG_IS_OFF, TIMEOUT_NEGATIVE, TIMEOUT_NOT_A_FLOAT, TIMEOUT_NOT_AN_INTEGER, TIMEOUT_OUT_OF_RANGE, UNBLOCKED,
};
use crate::journal::Journal;
use crate::session::Session;
use crate::sync_wait::{Goal, Prospect, SyncWaits};
use crate::timing::Unfinished;

/// What serving came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// The reply is written.
    Yes,
    /// The key holds nothing for this client: it waits on, and nothing was written.
    Nothing,
}

/// Serves one key to the client that waits for it: takes what it wants, writes the reply, and says by [`Journal::instead`] what to log.
pub(crate) type Serve = Box<dyn Fn(&mut Cx<'_, '_>, &[u8]) -> Result<Served, Error> + Send>;

/// What a command waits for that found nothing.
pub(crate) struct Request<'a> {
    /// The keys, in the selected database; the command has locked them.
    pub(crate) keys: &'a [&'a [u8]],
    /// When to look at one of them again.
    pub(crate) wanted: Wanted,
    /// The key elements are moved to, if they are.
    pub(crate) destination: Option<&'a [u8]>,
    /// How long to wait.
    pub(crate) timeout: Timeout,
    /// What to reply if nothing came.
    pub(crate) empty: Empty,
    /// What to do when a key is ready.
    pub(crate) serve: Serve,
}

/// What is replied when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Null in place of an array.
    NullArray,
    /// The number 0 (WAIT).
    Zero,
    /// What is on the disk by then (WAITAOF).
    Synced(Goal),
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(Option<Duration>);

impl Timeout {
    /// Reads seconds with decimals; 0 is for ever.
    pub(crate) fn seconds(arg: &[u8], now: Millis) -> Result<Timeout, Error> {
        let seconds = decimal::parse_f64(arg).ok_or(TIMEOUT_NOT_A_FLOAT)?;
        let millis = (seconds * 1000.0).ceil();
        // 2^63, the first number that is too large for 64 bits.
        if millis >= i64::MAX as f64 { Err(TIMEOUT_OUT_OF_RANGE) } else { Timeout::checked(millis as i64, now) }
    }

    /// Reads whole milliseconds; 0 is for ever.
    pub(crate) fn millis(arg: &[u8], now: Millis) -> Result<Timeout, Error> {
        Timeout::checked(decimal::parse_i64(arg).ok_or(TIMEOUT_NOT_AN_INTEGER)?, now)
    }

    fn checked(millis: i64, now: Millis) -> Result<Timeout, Error> {
        let millis = u64::try_from(millis).map_err(|_| TIMEOUT_NEGATIVE)?;
        if millis > (i64::MAX as u64).saturating_sub(now) {
            return Err(TIMEOUT_OUT_OF_RANGE);
        }
        Ok(Timeout((millis > 0).then(|| Duration::from_millis(millis))))
    }
}

/// What all waits have in common.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    tickets: AtomicU64,
    blocked: AtomicUsize,
    /// Tickets of waits that ended while a script kept everybody out: whoever ends a wait next takes them out of their queues.
    left_over: Mutex<Vec<Tickets>>,
    /// Who waits for the disk.
    pub(crate) sync_waits: Arc<SyncWaits>,
}

/// Where a ticket may stand: the queues of these keys.
#[derive(Debug)]
struct Tickets {
    ticket: u64,
    db: usize,
    keys: Vec<Box<[u8]>>,
}

/// Returns the number of blocked clients.
pub fn blocked_clients(engine: &Engine) -> usize {
    engine.blocking.blocked.load(Ordering::Relaxed)
}

/// A client's wait, from the command that blocked to the reply.
pub(crate) struct Wait {
    tickets: Tickets,
    /// Id of the command in the registry.
    command: usize,
    protocol: Protocol,
    empty: Empty,
    serve: Serve,
    /// When the wait ends by itself, in ticks of the clock.
    deadline: Option<u64>,
    answer: Option<Answer>,
    /// The disk may have come to where it is waited for: [`resume`] is to look.
    is_stirred: bool,
    /// What is counted once it is served.
    unfinished: Option<Unfinished>,
}

/// The reply to a blocked command.
struct Answer {
    reply: Vec<u8>,
    /// Offset in the log up to which the change reaches.
    log_offset: u64,
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait").field("tickets", &self.tickets).field("open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Wait {
    /// Tells whether the client is still waiting.
    pub(crate) fn is_open(&self) -> bool {
        self.answer.is_none()
    }

    fn close(&mut self, engine: &Engine, reply: Writer, log_offset: u64) {
        let mut reply = reply;
        self.answer = Some(Answer { reply: reply.take(), log_offset });
        engine.blocking.blocked.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends the wait because its time is over.
    fn time_out(&mut self, engine: &Engine) {
        let mut reply = Writer::new(self.protocol);
        match self.empty {
            Empty::NullArray => reply.null_array(),
            Empty::Zero => reply.int(0),
            Empty::Synced(goal) => goal.reply(engine, &mut reply),
        }
        self.close(engine, reply, 0);
    }

    /// Ends a wait for the disk that has reached what it is for, or never will.
    fn look_at_log(&mut self, engine: &Engine, session: &Session) {
        self.is_stirred = false;
        let Empty::Synced(goal) = &mut self.empty else { return };
        let mut reply = Writer::new(self.protocol);
        match goal.look(engine) {
            Prospect::Ahead => return,
            Prospect::Vain => self.fail(engine, session.slot, &LOG_IS_OFF, &mut reply),
            Prospect::Reached => {
                goal.reply(engine, &mut reply);
                if let Some(unfinished) = self.unfinished.take() {
                    unfinished.served(engine, session, self.command, 0);
                }
            }
        }
        self.close(engine, reply, 0);
    }

    fn fail(&self, engine: &Engine, session_slot: usize, error: &Error, reply: &mut Writer) {
        engine.stats.failed(session_slot, self.command);
        engine.stats.error(&error.code());
        reply.clear();
        reply.error(error.text());
    }
}

impl Cx<'_, '_> {
    /// Tells whether the command that runs may wait: it came from a client directly. Inside a transaction or script it replies as after a timeout.
    pub(crate) fn may_block(&self) -> bool {
        self.origin == Origin::Client
    }

    /// Pops from the first of several keys that holds something of a kind, as `pop` does, or waits for one that does. Where waiting is not possible the reply is
    /// that of a timeout.
    pub(crate) fn pop_or_wait(
        &mut self,
        keys: &[&[u8]],
        kind: Kind,
        timeout: Timeout,
        pop: impl Fn(&mut Cx<'_, '_>, &[u8]) -> Result<Served, Error> + Send + 'static,
    ) -> Result<(), Error> {
        for key in keys {
            if pop(self, key)? == Served::Yes {
                return Ok(());
            }
        }
        if self.may_block() {
            let (wanted, empty, serve) = (Wanted::Value(kind), Empty::NullArray, Box::new(pop));
            self.block(Request { keys, wanted, destination: None, timeout, empty, serve });
        } else {
            self.out.null_array();
        }
        Ok(())
    }

    /// Lets the client wait for something else than keys, or for its time to be over.
    pub(crate) fn block_without_keys(&mut self, timeout: Timeout, empty: Empty) {
        let (wanted, serve) =
            (Wanted::Value(Kind::String), Box::new(|_: &mut Cx<'_, '_>, _: &[u8]| Ok(Served::Nothing)));
        self.block(Request { keys: &[], wanted, destination: None, timeout, empty, serve });
    }

    /// Lets the client wait; the reply comes later. The caller has made sure that it may.
    pub(crate) fn block(&mut self, request: Request<'_>) {
        let engine = self.engine;
        let client = &self.session.client;
        let ticket = engine.blocking.tickets.fetch_add(1, Ordering::Relaxed);
        let mut keys: Vec<Box<[u8]>> = Vec::with_capacity(request.keys.len());
        let destination = request.destination.map(Keyspace::shard_of);
        for key in request.keys {
            if !keys.iter().any(|known| **known == **key) {
                self.db.wait(key, Waiter { ticket, client: client.id, wanted: request.wanted, destination });
                keys.push(Box::from(*key));
            }
        }
        let nanos = request.timeout.0.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let wait = Wait {
            tickets: Tickets { ticket, db: self.db.db(), keys },
            command: client.last_command.load(Ordering::Relaxed),
            protocol: self.out.protocol(),
            empty: request.empty,
            serve: request.serve,
            deadline: nanos.map(|nanos| engine.clock.ticks().saturating_add(nanos)),
            answer: None,
            is_stirred: false,
            unfinished: None,
        };
        engine.blocking.blocked.fetch_add(1, Ordering::Relaxed);
        *client.wait.lock() = Some(wait);
        self.session.blocked = true;
    }
}

/// Notes of a command that has begun to wait what is counted once it is served. Its keys are still locked, so it was not served before.
#[cold]
pub(crate) fn note_unfinished(session: &Session, unfinished: Unfinished) {
    if let Some(wait) = session.client.wait.lock().as_mut() {
        wait.unfinished = Some(unfinished);
    }
}

/// Serves those who wait for keys that have become ready; the shards are still locked. Returns the clients to wake once they are not.
#[cold]
pub(crate) fn serve(engine: &Engine, view: &mut View<'_>) -> Vec<Arc<Client>> {
    let mut served = Vec::new();
    // A transaction or script may have taken long: what has expired meanwhile serves nobody.
    view.set_now(view.now().max(engine.clock.now()));
    while let Some((db, key)) = view.effects.ready.take_next() {
        view.select(db);
        let mut from = 0;
        while let Some((at, waiter)) = view.next_waiter(&key, from) {
            match serve_one(engine, view, waiter, &key) {
                Turn::Passed => {
                    from = at + 1;
                    continue;
                }
                Turn::Gone => {}
                Turn::Served(client) => served.push(client),
            }
            view.stop_waiting(db, &key, waiter.ticket);
            from = at;
        }
    }
    log_expired(engine, &mut view.effects);
    served
}

/// What became of the one whose turn it was.
enum Turn {
    Served(Arc<Client>),
    /// The key holds nothing for it.
    Passed,
    /// It no longer waits.
    Gone,
}

fn serve_one(engine: &Engine, view: &mut View<'_>, waiter: Waiter, key: &[u8]) -> Turn {
    let Some(client) = engine.clients.find(waiter.client).filter(|client| !client.is_killed()) else {
        return Turn::Gone;
    };
    let mut slot = client.wait.lock();
    let Some(wait) = slot.as_mut().filter(|wait| wait.tickets.ticket == waiter.ticket && wait.is_open()) else {
        return Turn::Gone;
    };
    let (mut reply, mut journal) = (Writer::new(wait.protocol), Journal::new(engine.log().is_some()));
    let mut session = Session::new(Arc::clone(&client), Arc::clone(engine.users.trusted()), true);
    session.db = wait.tickets.db;
    let dirty_before = std::mem::take(&mut view.effects.dirty);
    let (out, origin) = (&mut reply, Origin::Client);
    let begun = engine.clock.ticks();
    let mut cx = Cx { db: view, out, session: &mut session, engine, journal: &mut journal, origin, begun };
    let served = (wait.serve)(&mut cx, key);
    dispatch::settle(&mut cx, wait.tickets.db, &[]);
    view.effects.dirty += dirty_before;
    let log = engine.log().filter(|_| !journal.is_empty());
    let log_offset = log.map_or(0, |log| log.append(&journal, engine.noted_time()));
    match served {
        Ok(Served::Nothing) => return Turn::Passed,
        Ok(Served::Yes) => {}
        Err(error) => wait.fail(engine, session.slot, &error, &mut reply),
    }
    if let Some(unfinished) = wait.unfinished.take() {
        unfinished.served(engine, &session, wait.command, engine.clock.ticks().saturating_sub(begun));
    }
    wait.close(engine, reply, log_offset);
    wait.tickets.keys.retain(|waited| **waited != *key);
    drop(slot);
    Turn::Served(client)
}

/// Logs the removal of keys that were found expired outside a command of their own.
pub(crate) fn log_expired(engine: &Engine, effects: &mut Effects) {
    let expired = std::mem::take(&mut effects.expired);
    if let Some(log) = engine.log().filter(|_| !expired.is_empty()) {
        let mut journal = Journal::new(true);
        expired.iter().for_each(|expired| journal.record_expired(expired));
        log.append(&journal, engine.noted_time());
        log.write_soon();
    }
}

/// Wakes clients that have been served.
#[inline]
pub(crate) fn wake(served: &[Arc<Client>]) {
    served.iter().for_each(|client| client.wake());
}

/// Has a client that waits for the disk look where it is.
pub(crate) fn stir(client: &Client) {
    if let Some(wait) = client.wait.lock().as_mut() {
        wait.is_stirred = true;
    }
    client.wake();
}

/// Why CLIENT UNBLOCK ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unblock {
    /// As if its time were over.
    Timeout,
    /// With an error.
    Error,
}

/// Ends a client's wait from outside; false if it does not wait.
pub(crate) fn unblock(engine: &Engine, client: &Client, how: Unblock) -> bool {
    let mut slot = client.wait.lock();
    let Some(wait) = slot.as_mut().filter(|wait| wait.is_open()) else { return false };
    match how {
        Unblock::Timeout => wait.time_out(engine),
        Unblock::Error => {
            let mut reply = Writer::new(wait.protocol);
            wait.fail(engine, client.id as usize, &UNBLOCKED, &mut reply);
            wait.close(engine, reply, 0);
        }
    }
    drop(slot);
    client.wake();
    true
}

/// What a blocked session finds when it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Resumed {
    /// The reply is written: the session can go on.
    Done,
    /// Nothing yet: look again when woken, or when this time is over.
    Waiting(Option<Duration>),
}

/// Looks whether a session's wait has ended, by being served or because its time is over, and if so writes the reply.
pub fn resume(engine: &Engine, session: &mut Session, out: &mut Writer) -> Resumed {
    if !session.blocked {
        return Resumed::Done;
    }
    let client = Arc::clone(&session.client);
    let mut slot = client.wait.lock();
    let wait = slot.as_mut().expect("a wait stays at its client until the session is resumed");
    if wait.is_open() {
        wait.look_at_log(engine, session);
    }
    if wait.is_open() {
        let now = engine.clock.ticks();
        match wait.deadline {
            Some(deadline) if deadline <= now => wait.time_out(engine),
            deadline => return Resumed::Waiting(deadline.map(|deadline| Duration::from_nanos(deadline - now))),
        }
    }
    let wait = slot.take();
    drop(slot);
    session.blocked = false;
    let reply_start = out.len();
    if let Some(wait) = wait {
        leave_queues(engine, &client, wait.empty, wait.tickets);
        let answer = wait.answer.expect("the wait has just been seen to be over");
        out.raw(&answer.reply);
        session.log_offset = session.log_offset.max(answer.log_offset);
    }
    dispatch::finish_reply(session, out, reply_start);
    Resumed::Done
}

/// Waits on the calling thread until a blocked session can go on, and writes the reply; null if the client was told to go.
pub fn wait(engine: &Engine, session: &mut Session, out: &mut Writer) {
    while let Resumed::Waiting(left) = resume(engine, session, out) {
        let mut slot = session.client.wait.lock();
        // What ended the wait meanwhile, or stirred it, has been told already.
        if !slot.as_ref().is_some_and(|wait| wait.is_open() && !wait.is_stirred) {
            continue;
        }
        if session.client.is_killed() {
            drop(slot);
            abandon(engine, session);
            return out.null();
        }
        match left {
            Some(left) => drop(session.client.woken.wait_for(&mut slot, left)),
            None => session.client.woken.wait(&mut slot),
        }
    }
}

/// Ends a session's wait without a reply: the client has gone. Nothing is popped for it from now on.
pub fn abandon(engine: &Engine, session: &mut Session) {
    if !std::mem::take(&mut session.blocked) {
        return;
    }
    let wait = session.client.wait.lock().take();
    if let Some(wait) = wait {
        if wait.is_open() {
            engine.blocking.blocked.fetch_sub(1, Ordering::Relaxed);
        }
        leave_queues(engine, &session.client, wait.empty, wait.tickets);
    }
}

/// Takes the tickets of a wait out of the queues where they still stand. A client whose wait ends may be answered while a script runs for long, so nobody
/// waits here for that.
fn leave_queues(engine: &Engine, client: &Client, empty: Empty, tickets: Tickets) {
    if matches!(empty, Empty::Synced(_)) {
        engine.blocking.sync_waits.leave(client);
    }
    if tickets.keys.is_empty() {
        return;
    }
    let Ok(mut passage) = engine.turn.enter(&engine.keyspace) else {
        return engine.blocking.left_over.lock().push(tickets);
    };
    let left_over = std::mem::take(&mut *engine.blocking.left_over.lock());
    let now = engine.clock.now();
    for Tickets { ticket, db, keys } in left_over.into_iter().chain([tickets]) {
        let held = passage.gate.lock(keys.iter().map(|key| &**key));
        let mut view = View::new(&engine.keyspace, held, db, now, engine.stamping(now), Effects::default());
        keys.iter().for_each(|key| view.stop_waiting(db, key, ticket));
    }
}
