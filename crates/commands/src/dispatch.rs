//! The dispatcher: from arguments to a reply, on one page.
//!
//! ```text
//! make room ► resolve ► arity ► logged in? ► memory? ► loaded? ► busy? ► paused? ─► queue, if MULTI is open
//!                                                               └► lock the shards of the keys ► handler ► journal, counts ► serve who waited ► unlock
//! ```
//!
//! Bookkeeping that must follow a command happens here or in the view, never in a handler.

mod expired;
mod from_script;

pub(crate) use expired::settle_removed;
pub use expired::{announce, sweep};
pub use from_script::{ScriptRights, call_from_script, script_may_run};
pub use redpoll_keyspace::AHEAD_MAX;
use redpoll_keyspace::{Effects, Gate, Held, Millis, View};
use redpoll_resp::Writer;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acl::admin;
use crate::args::Args;
use crate::blocking;
use crate::client::Client;
use crate::command::{
    ADMIN, ALLOW_BUSY, DENYOOM, EXCLUSIVE, Flags, Keys, LOADING, MAY_REPLICATE, NO_AUTH, NOT_QUEUED, PROTECTED,
    RUNS_SCRIPT, SKIP_MONITOR, TRANSACTION, WHOLE, WRITE,
};
use crate::cx::{Cx, Origin};
use crate::engine::{Engine, Moment};
use crate::error::{
    DEBUG_NOT_ALLOWED, Error, LOADING as STILL_LOADING, NO_AUTH as NOT_LOGGED_IN, OUT_OF_MEMORY, TOO_FEW_REPLICAS,
    wrong_arity,
};
use crate::journal::Journal;
use crate::registry::Resolved;
use crate::session::{Place, ReplyMode, Session};
use crate::settings::Setting;
use crate::timing::Unfinished;
use crate::{config, disposal, evict, monitor, notifications, pubsub, scripting, timing, tracking, transaction};

/// What a pause of writes holds back.
const CHANGES: Flags = WRITE | MAY_REPLICATE;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It ran or was refused; the reply is written.
    Done,
    /// CLIENT PAUSE holds it back until this time: nothing happened, call again then.
    Paused(Millis),
    /// It runs a script, for which the session is in the wrong [place](crate::session::Place): nothing happened, call again in another.
    Apart,
    /// It waits for data: [`crate::blocking::resume`] writes the reply in the end, and nothing else may be called before.
    Blocked,
}

/// Runs one command of a client and writes its reply.
///
/// `moment` is when the command begins and becomes when it has ended: the commands of a batch share one wall time, and each is timed with a single look
/// at the clock.
#[inline]
pub fn dispatch(
    engine: &Engine,
    session: &mut Session,
    args: Args<'_>,
    out: &mut Writer,
    moment: &mut Moment,
) -> Outcome {
    let mut call = Call::new(Origin::Client, moment.now, *moment);
    let outcome = serve(engine, session, args, out, &mut call);
    moment.ticks = call.ticks;
    outcome
}

/// Runs one command of the log and writes its reply.
///
/// While a log is replayed time stands still at zero and nothing expires: a key that has expired by now may have been read, kept or renamed by what
/// the log says next. What is left over with its time long gone is found expired afterwards. Accesses are stamped with the real time.
pub fn replay(engine: &Engine, session: &mut Session, args: Args<'_>, out: &mut Writer) -> Outcome {
    serve(engine, session, args, out, &mut Call::new(Origin::Replay, 0, engine.clock.moment()))
}

/// When and by whom a command is called.
struct Call {
    /// The time by which keys expire.
    now: Millis,
    /// The time by which accesses are stamped.
    stamped: Millis,
    /// When it began, and in the end when it ended.
    ticks: u64,
    origin: Origin,
    /// It runs a script that needs no more than the locks of its keys.
    keeps_to_its_keys: bool,
}

impl Call {
    fn new(origin: Origin, now: Millis, begun: Moment) -> Call {
        Call { now, stamped: begun.now, ticks: begun.ticks, origin, keeps_to_its_keys: false }
    }

    /// Takes the time anew when everybody else has been waited for: what they did and what expired meanwhile was not later than this.
    fn catch_up(&mut self, engine: &Engine) {
        if self.origin != Origin::Replay {
            let Moment { now, ticks } = engine.clock.moment();
            (self.now, self.stamped, self.ticks) = (now, now, ticks);
        }
    }
}

fn serve(engine: &Engine, session: &mut Session, args: Args<'_>, out: &mut Writer, call: &mut Call) -> Outcome {
    evict::before_command(engine, session, out, call.origin);
    let reply_start = out.len();
    if !session.authenticated && engine.users.default_needs_no_password() {
        // The password that was missing is not asked for any more.
        session.authenticated = true;
    }
    match admit(engine, session, args, call.origin) {
        Err(_) if args.is(0, "POST") || args.is(0, "HOST:") => {
            // A browser was made to send this; what stands in the body must not be run.
            session.closing = true;
        }
        Err(mut error) => {
            if engine.registry.resolve(args).is_ok_and(|resolved| resolved.original_name == "exec") {
                error = transaction::refuse(engine, session, &error);
            } else if let Some(transaction) = &mut session.transaction {
                transaction.aborted = true;
            }
            reject(engine, &error, out);
        }
        Ok(resolved) => {
            let flags = transaction::flags(session, resolved);
            let changes = flags & CHANGES != 0;
            if let Some(until) = engine.pause.holds(changes, call.now)
                && is_held_back(engine, session, resolved, args, call)
            {
                return Outcome::Paused(until);
            }
            session.client.last_active.store(call.now, Ordering::Relaxed);
            session.client.last_command.store(resolved.id, Ordering::Relaxed);
            if session.transaction.is_some() && !resolved.has(NOT_QUEUED) {
                transaction::queue(session, resolved, args, out);
            } else {
                if flags & RUNS_SCRIPT != 0 {
                    call.keeps_to_its_keys = scripting::keeps_to_its_keys(engine, resolved, args);
                    if matches!(session.place, Place::Shared) && !call.keeps_to_its_keys {
                        return Outcome::Apart;
                    }
                }
                let served = execute(engine, session, resolved, args, out, call);
                blocking::wake(&served);
                if session.blocked {
                    return Outcome::Blocked;
                }
            }
        }
    }
    finish_reply(session, out, reply_start);
    Outcome::Done
}

/// Tells whether a pause holds a command back, now that one is on which may. Ending it is never held back, a script only if it may write.
#[cold]
fn is_held_back(engine: &Engine, session: &Session, resolved: &Resolved, args: Args<'_>, call: &Call) -> bool {
    if call.origin == Origin::Replay || resolved.original_name == "client|unpause" {
        return false;
    }
    engine.pause.holds(false, call.now).is_some()
        || match &session.transaction {
            Some(transaction) if resolved.original_name == "exec" => transaction.queued.iter().any(|queued| {
                let args: SmallVec<[&[u8]; 8]> = queued.args.iter().map(AsRef::as_ref).collect();
                may_change(engine, &engine.registry.all()[queued.id], Args(&args))
            }),
            _ => may_change(engine, resolved, args),
        }
}

/// Tells whether a command may change something; one that runs a script may not if that declares so.
fn may_change(engine: &Engine, resolved: &Resolved, args: Args<'_>) -> bool {
    resolved.has(CHANGES) && !scripting::only_reads(engine, resolved, args)
}

/// Drops a reply that the client does not want.
#[inline]
pub(crate) fn finish_reply(session: &mut Session, out: &mut Writer, reply_start: usize) {
    if session.reply_mode != ReplyMode::On {
        silence(session, out, reply_start);
    }
}

/// Checks everything that can refuse a command before it runs.
fn admit<'e>(engine: &'e Engine, session: &Session, args: Args<'_>, origin: Origin) -> Result<&'e Resolved, Error> {
    let resolved = match origin {
        Origin::Replay => engine.registry.resolve_logged(args)?,
        _ => engine.registry.resolve(args)?,
    };
    let refuse = |error| {
        engine.stats.rejected(session.slot, resolved.id);
        Err(error)
    };
    if !resolved.accepts(args.len()) {
        return refuse(wrong_arity(&resolved.name));
    }
    if !session.authenticated && !resolved.has(NO_AUTH) {
        return refuse(NOT_LOGGED_IN);
    }
    if let Err(denial) = session.user.may_run(resolved, args) {
        session.client.last_command.store(resolved.id, Ordering::Relaxed);
        admin::note(engine, session, origin, &denial);
        return refuse(denial.to_client());
    }
    if resolved.has(PROTECTED)
        && origin != Origin::Replay
        && !config::permits(engine, Setting::EnableDebugCommand, &session.client)
    {
        return refuse(DEBUG_NOT_ALLOWED);
    }
    if session.is_listening()
        && let Err(error) = confine(session, resolved)
    {
        return refuse(error);
    }
    let flags = transaction::flags(session, resolved);
    if session.out_of_memory && (flags & DENYOOM != 0 || transaction::is_kept_from_growing(session, resolved)) {
        return refuse(OUT_OF_MEMORY);
    }
    // PING too, so that who watches the server by it sees the state it is in.
    if engine.log_health.is_failing()
        && (flags & WRITE != 0 || resolved.original_name == "ping")
        && let Some(refusal) = engine.log_health.refusal()
    {
        return refuse(refusal);
    }
    if flags & WRITE != 0 && engine.lacks_replicas() && origin != Origin::Replay {
        return refuse(TOO_FEW_REPLICAS);
    }
    if origin != Origin::Replay
        && let Some(refusal) = engine.persistence.refusal(engine)
        && (flags & WRITE != 0 || resolved.original_name == "ping")
    {
        return refuse(refusal);
    }
    if engine.load_state.is_on() && origin != Origin::Replay && !resolved.has(LOADING) {
        return refuse(STILL_LOADING);
    }
    if let Some(kind) = engine.turn.busy()
        && !resolved.has(ALLOW_BUSY)
    {
        return refuse(kind.busy());
    }
    Ok(resolved)
}

/// Refuses what subscribers and monitors may not do.
#[cold]
fn confine(session: &Session, resolved: &Resolved) -> Result<(), Error> {
    if session.subscriptions.is_some() {
        pubsub::confine(session, resolved)?;
    }
    if session.client.is_monitor.load(Ordering::Relaxed) { monitor::confine(resolved) } else { Ok(()) }
}

/// Locks what the command needs, runs it and settles its effects while still holding the locks; returns the clients that were served by the way.
fn execute(
    engine: &Engine,
    session: &mut Session,
    resolved: &Resolved,
    args: Args<'_>,
    out: &mut Writer,
    call: &mut Call,
) -> Vec<Arc<Client>> {
    let mut passage;
    let held = if needs_nothing(session, resolved) {
        Held::Nothing
    } else {
        let exclusive = needs_all(session, resolved, call) || resolved.is_unbound(args);
        let passed =
            if exclusive { engine.turn.enter_exclusive(&engine.keyspace) } else { engine.turn.enter(&engine.keyspace) };
        passage = match passed {
            Ok(passage) => passage,
            Err(busy) => {
                turn_away(engine, session, resolved, &busy, out);
                return Vec::new();
            }
        };
        if exclusive || passage.waited {
            call.catch_up(engine);
        }
        let held = lock(engine, session, resolved, args, &mut passage.gate);
        if resolved.has(RUNS_SCRIPT) && !exclusive {
            // It may have waited for its keys, and reads the time.
            call.catch_up(engine);
        }
        held
    };
    let effects = engine.effects();
    let mut view = View::new(&engine.keyspace, held, session.db, call.now, engine.stamping(call.stamped), effects);
    if session.no_touch {
        view.stop_touching();
    }
    if engine.pause.is_on(call.now) && call.origin != Origin::Replay {
        view.keep_expired();
    }
    let (mut journal, origin, begun) = (Journal::new(engine.log().is_some()), call.origin, call.ticks);
    let mut cx = Cx { db: &mut view, out, session, engine, journal: &mut journal, origin, begun };
    run(&mut cx, resolved, args);
    let ended = engine.clock.ticks();
    let nanos = ended.saturating_sub(begun);
    timing::ran(&cx, resolved, args, nanos);
    if cx.session.blocked {
        blocking::note_unfinished(cx.session, Unfinished::note(resolved, args, nanos));
    }
    call.ticks = ended;
    if !journal.is_empty()
        && let Some(log) = engine.log()
    {
        session.log_offset = log.append(&journal, engine.noted_time());
    }
    let mut served = if view.effects.ready.is_empty() { Vec::new() } else { blocking::serve(engine, &mut view) };
    if !view.effects.overdue.is_empty() {
        served.append(&mut expired::remove_overdue(engine, &mut view));
    }
    if !view.effects.waste.is_empty() {
        disposal::dispose(engine, &mut view.effects);
    }
    if view.effects.dirty > 0 {
        engine.stats.changed(session.slot, view.effects.dirty);
    }
    if view.effects.wants_modified {
        tracking::command_ended(engine, session, &view.effects, resolved);
    }
    served
}

/// Locks the shards of a command's keys.
fn lock<'g>(
    engine: &Engine,
    session: &Session,
    resolved: &Resolved,
    args: Args<'_>,
    gate: &'g mut Gate<'_>,
) -> Held<'g> {
    if let Some(keys) = resolved.keys_in_a_row(args) {
        return gate.lock(keys.map(|at| args.at(at)));
    }
    match resolved.keys {
        _ if resolved.has(TRANSACTION) => transaction::lock(engine, session, gate),
        Keys::None => gate.lock(std::iter::empty()),
        _ => {
            let mut positions = Vec::new();
            resolved.key_positions(args, &mut positions);
            gate.lock(positions.into_iter().map(|at| args.at(at)))
        }
    }
}

/// Refuses a command that has waited for a script which runs too long.
#[cold]
fn turn_away(engine: &Engine, session: &mut Session, resolved: &Resolved, busy: &Error, out: &mut Writer) {
    engine.stats.rejected(session.slot, resolved.id);
    if resolved.original_name == "exec" {
        return reject(engine, &transaction::refuse(engine, session, busy), out);
    }
    reject(engine, busy, out);
}

/// Tells whether a command touches no key, so that it need not wait for those who do: it has none, and no watch to end either.
#[inline]
fn needs_nothing(session: &Session, resolved: &Resolved) -> bool {
    matches!(resolved.keys, Keys::None)
        && !resolved.has(WHOLE | EXCLUSIVE)
        && (!resolved.has(TRANSACTION) || (resolved.original_name != "exec" && !session.is_watching()))
}

/// Tells whether a command needs the gate exclusive.
#[inline]
fn needs_all(session: &Session, resolved: &Resolved, call: &Call) -> bool {
    (resolved.has(EXCLUSIVE) && !call.keeps_to_its_keys)
        || (resolved.has(TRANSACTION) && transaction::needs_all(session))
}

/// Runs a handler under locks already held, turns its error into a reply, counts it and records its changes.
pub(crate) fn run(cx: &mut Cx<'_, '_>, resolved: &Resolved, args: Args<'_>) {
    let (db, reply_start) = (cx.db.db(), cx.out.len());
    let dirty_before = std::mem::take(&mut cx.db.effects.dirty);
    if let Err(error) = (resolved.command.handler)(cx, args) {
        cx.out.truncate(reply_start);
        cx.engine.stats.failed(cx.session.slot, resolved.id);
        if !matches!(error, Error::Counted(_)) {
            cx.engine.stats.error(&error.code());
        }
        cx.out.error(error.text());
    }
    settle(cx, db, args.0);
    cx.db.effects.dirty += dirty_before;
    if cx.session.tracking.is_some() {
        tracking::remember(cx, resolved, args);
    }
    if cx.engine.monitors.any() && !resolved.has(SKIP_MONITOR | ADMIN) && !cx.is_replay() {
        monitor::show(cx, args);
    }
}

/// Records what a handler has changed, after what it found expired.
pub(crate) fn settle(cx: &mut Cx<'_, '_>, db: usize, args: &[&[u8]]) {
    if cx.journal.enabled {
        for expired in std::mem::take(&mut cx.db.effects.expired) {
            cx.journal.record_expired(&expired);
        }
        if cx.journal.take_always() || cx.db.effects.dirty > 0 {
            record(cx.engine, cx.journal, db, args);
        } else {
            cx.journal.settle_unchanged();
        }
    }
    if !cx.db.effects.events.is_empty() {
        notifications::publish(cx.engine, &mut cx.db.effects.events);
    }
    if cx.db.effects.wants_modified {
        tracking::settle(cx);
    }
}

/// Records a command that changed something, under the name it has in the table, whatever the settings call it.
fn record(engine: &Engine, journal: &mut Journal, db: usize, args: &[&[u8]]) {
    let registry = &engine.registry;
    let resolved = if registry.has_renamed() && !args.is_empty() { registry.resolve(Args(args)).ok() } else { None };
    match resolved.and_then(Resolved::replaced_name) {
        None => journal.settle(db, args),
        Some(original) => {
            let mut renamed = args.to_vec();
            renamed[0] = original.as_bytes();
            journal.settle(db, &renamed);
        }
    }
}

/// Runs a handler inside another command, which is timed by itself.
pub(crate) fn run_nested(cx: &mut Cx<'_, '_>, resolved: &Resolved, args: Args<'_>) {
    let started = cx.engine.clock.ticks();
    run(cx, resolved, args);
    timing::ran(cx, resolved, args, cx.engine.clock.ticks().saturating_sub(started));
}

/// Runs a queued command of a transaction, unless its user lost the right to.
pub(crate) fn run_queued(cx: &mut Cx<'_, '_>, resolved: &Resolved, args: Args<'_>) {
    if let Err(denial) = cx.session.user.may_run(resolved, args) {
        admin::note(cx.engine, cx.session, Origin::Transaction, &denial);
        return reject(cx.engine, &denial.to_transaction(), cx.out);
    }
    run_nested(cx, resolved, args);
}

fn reject(engine: &Engine, error: &Error, out: &mut Writer) {
    engine.stats.error(&error.code());
    out.error(error.text());
}

/// Drops a reply the client does not want.
#[cold]
fn silence(session: &mut Session, out: &mut Writer, reply_start: usize) {
    if !std::mem::take(&mut session.wrote_messages) {
        out.truncate(reply_start);
    }
    match session.reply_mode {
        ReplyMode::SkipNext => session.reply_mode = ReplyMode::Skip,
        ReplyMode::Skip => session.reply_mode = ReplyMode::On,
        ReplyMode::On | ReplyMode::Off => {}
    }
}

/// The keys of one call, as the transaction needs them for locking.
pub(crate) fn call_keys<'a>(resolved: &Resolved, args: &'a [Box<[u8]>]) -> SmallVec<[&'a [u8]; 4]> {
    let borrowed: SmallVec<[&[u8]; 8]> = args.iter().map(AsRef::as_ref).collect();
    let mut positions = Vec::new();
    resolved.key_positions(Args(&borrowed), &mut positions);
    positions.into_iter().map(|at| &*args[at]).collect()
}

/// Opens the gate for callers that look at the whole keyspace outside any command.
pub fn whole<R>(engine: &Engine, now: Millis, visit: impl FnOnce(&mut View<'_>) -> R) -> R {
    let mut gate: Gate<'_> = engine.keyspace.enter();
    let held = gate.lock(std::iter::empty());
    visit(&mut View::new(&engine.keyspace, held, 0, now, engine.stamping(now), Effects::default()))
}
