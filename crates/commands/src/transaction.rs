//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC locks the shards of all keys of all queued commands (or everything, if one of them needs that) before it looks at the watch flag: a change of a watched key is
//! either seen, or comes after the transaction. Watched keys are locked too, so that their watches can be taken away in the same step.

use std::sync::atomic::Ordering;

use redpoll_keyspace::{Gate, Held};
use redpoll_resp::Writer;
use smallvec::SmallVec;

use crate::args::Args;
use crate::client::Client;
use crate::command::{
    ALLOW_BUSY, Command, EXCLUSIVE, FAST, Family, Flags, LOADING, NO_MULTI, NOSCRIPT, NOT_QUEUED, SKIP_SLOWLOG, STALE,
    TRANSACTION, WHOLE, cmd,
};
use crate::cx::{Cx, Origin};
use crate::dispatch::{call_keys, run_queued};
use crate::engine::Engine;
use crate::error::{
    DISCARD_WITHOUT_MULTI, EXEC_ABORT, EXEC_WITHOUT_MULTI, Error, NESTED_MULTI, WATCH_IN_MULTI, exec_refused,
};
use crate::key_spec::RO;
use crate::registry::Resolved;
use crate::session::{Queued, Session, Transaction, Watching};

/// Most bytes one transaction may queue, arguments with where they are kept.
const QUEUED_BYTES_MAX: usize = 1 << 30;

/// What a watched key costs beside its bytes: its place in the session, and a place with its shard, where the bytes are kept again.
const WATCHED_BYTES: usize = 4 * size_of::<(usize, Box<[u8]>)>();

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("DISCARD", discard, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED | TRANSACTION, "2.0.0", "O(N), when N is the number of queued commands", "Discards a transaction."),
    cmd("EXEC", exec, NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | NOT_QUEUED | TRANSACTION, "1.2.0", "Depends on commands in the transaction", "Executes all commands in a transaction."),
    cmd("MULTI", multi, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED, "1.2.0", "O(1)", "Starts a transaction."),
    cmd("UNWATCH", unwatch, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | TRANSACTION, "2.2.0", "O(1)", "Forgets about watched keys of a transaction."),
    cmd("WATCH key [key ...]", watch, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED, "2.2.0", "O(1) for every key.", "Monitors changes to keys to determine the execution of a transaction.").uses(&[RO]),
];

/// Transactions.
pub const FAMILY: Family = Family { group: "transactions", commands: COMMANDS };

/// Puts a command into the open transaction.
pub(crate) fn queue(session: &mut Session, resolved: &Resolved, args: Args<'_>, out: &mut Writer) {
    let transaction = session.transaction.as_mut().expect("the caller saw it open");
    let bytes = size_of::<Queued>() + args.0.iter().map(|arg| size_of::<Box<[u8]>>() + arg.len()).sum::<usize>();
    if resolved.has(NO_MULTI) {
        transaction.aborted = true;
        return out.error("ERR Command not allowed inside a transaction");
    }
    if transaction.bytes + bytes > QUEUED_BYTES_MAX {
        transaction.aborted = true;
        return out.error("ERR transaction too large");
    }
    transaction.bytes += bytes;
    transaction.flags |= resolved.flags | if resolved.is_unbound(args) { EXCLUSIVE } else { 0 };
    let args = args.0.iter().map(|arg| Box::from(*arg)).collect();
    transaction.queued.push(Queued { id: resolved.id, args });
    session.client.queued.store(transaction.queued.len(), Ordering::Relaxed);
    session.client.queue.set(transaction.bytes);
    out.simple("QUEUED");
}

/// Returns the properties that decide whether a command may run now: its own, for EXEC also those of everything queued.
#[inline]
pub(crate) fn flags(session: &Session, resolved: &Resolved) -> Flags {
    match &session.transaction {
        Some(transaction) if resolved.original_name == "exec" => resolved.flags | transaction.flags,
        _ => resolved.flags,
    }
}

/// Tells whether a command is refused while memory is full because it stands in a transaction, which takes memory with whatever is queued: all but what ends it.
#[cold]
pub(crate) fn is_kept_from_growing(session: &Session, resolved: &Resolved) -> bool {
    session.transaction.is_some() && !matches!(resolved.original_name.as_str(), "exec" | "discard" | "quit" | "reset")
}

/// Tells whether one of the queued commands needs more than the shards of its keys.
pub(crate) fn needs_all(session: &Session) -> bool {
    session.transaction.as_ref().is_some_and(|transaction| transaction.flags & (EXCLUSIVE | WHOLE) != 0)
}

/// Ends the transaction because EXEC itself was refused, and says so.
#[cold]
pub(crate) fn refuse(engine: &Engine, session: &mut Session, error: &Error) -> Error {
    abandon(engine, session);
    exec_refused(error)
}

/// Locks the shards of all queued commands and of all watched keys.
pub(crate) fn lock<'g>(engine: &Engine, session: &Session, gate: &'g mut Gate<'_>) -> Held<'g> {
    let queued = session.transaction.iter().flat_map(|transaction| &transaction.queued);
    let queued = queued.flat_map(|queued| call_keys(&engine.registry.all()[queued.id], &queued.args));
    let watched = session.watching.iter().flat_map(|watching| &watching.keys).map(|(_, key)| &**key);
    gate.lock(queued.chain(watched))
}

/// MULTI
fn multi(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    if cx.session.transaction.is_some() {
        return Err(NESTED_MULTI);
    }
    cx.session.transaction = Some(Transaction::default());
    cx.session.client.queued.store(0, Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// DISCARD
fn discard(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    if cx.session.transaction.is_none() {
        return Err(DISCARD_WITHOUT_MULTI);
    }
    close(cx);
    cx.out.ok();
    Ok(())
}

/// EXEC
fn exec(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let Some(transaction) = cx.session.transaction.take() else { return Err(EXEC_WITHOUT_MULTI) };
    let unchanged = watched_unchanged(cx);
    close(cx);
    if transaction.aborted {
        return Err(EXEC_ABORT);
    }
    if !unchanged {
        cx.out.null_array();
        return Ok(());
    }
    cx.out.array(transaction.queued.len());
    for Queued { id, args } in &transaction.queued {
        let args: SmallVec<[&[u8]; 8]> = args.iter().map(AsRef::as_ref).collect();
        let Cx { db, out, session, engine, journal, begun, .. } = cx;
        let (origin, begun) = (Origin::Transaction, *begun);
        let mut nested = Cx { db, out, session, engine, journal, origin, begun };
        run_queued(&mut nested, &engine.registry.all()[*id], Args(&args));
    }
    cx.journal.nothing();
    Ok(())
}

/// WATCH key [key ...]
fn watch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if cx.session.transaction.is_some() {
        return Err(WATCH_IN_MULTI);
    }
    let watching = cx.session.watching.get_or_insert_with(Watching::default);
    let db = cx.db.db();
    for key in args.from(1) {
        if !watching.keys.iter().any(|(watched_db, watched)| *watched_db == db && **watched == **key) {
            cx.db.watch(key, &watching.flag);
            watching.keys.push((db, Box::from(*key)));
            watching.bytes += WATCHED_BYTES + key.len();
        }
    }
    cx.session.client.watching.store(watching.keys.len(), Ordering::Relaxed);
    cx.session.client.watched.set(watching.bytes);
    cx.out.ok();
    Ok(())
}

/// UNWATCH
fn unwatch(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    if cx.origin == Origin::Client {
        stop_watching(cx);
    }
    cx.out.ok();
    Ok(())
}

fn watched_unchanged(cx: &mut Cx<'_, '_>) -> bool {
    let Some(Watching { flag, keys, .. }) = &cx.session.watching else { return true };
    !flag.is_raised() && !keys.iter().any(|(db, key)| cx.db.expired_since_watch(*db, key, flag))
}

/// Ends the transaction and all watches; the watched keys' shards must be locked.
pub(crate) fn close(cx: &mut Cx<'_, '_>) {
    end_queue(cx.session);
    stop_watching(cx);
}

fn stop_watching(cx: &mut Cx<'_, '_>) {
    if let Some(Watching { flag, keys, .. }) = cx.session.watching.take() {
        keys.iter().for_each(|(db, key)| cx.db.unwatch(*db, key, &flag));
        note_unwatched(&cx.session.client);
    }
}

/// Ends a session's transaction and watches from outside any command: the client has gone or sent RESET.
pub fn abandon(engine: &Engine, session: &mut Session) {
    end_queue(session);
    let Some(Watching { flag, keys, .. }) = session.watching.take() else { return };
    let now = engine.clock.now();
    let mut gate = engine.keyspace.enter();
    let held = gate.lock(keys.iter().map(|(_, key)| &**key));
    let effects = redpoll_keyspace::Effects::default();
    let mut view = redpoll_keyspace::View::new(&engine.keyspace, held, 0, now, engine.stamping(now), effects);
    keys.iter().for_each(|(db, key)| view.unwatch(*db, key, &flag));
    note_unwatched(&session.client);
}

fn end_queue(session: &mut Session) {
    session.transaction = None;
    session.client.queued.store(usize::MAX, Ordering::Relaxed);
    session.client.queue.set(0);
}

fn note_unwatched(client: &Client) {
    client.watching.store(0, Ordering::Relaxed);
    client.watched.set(0);
}
