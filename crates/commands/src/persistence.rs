//! SAVE, BGSAVE, LASTSAVE and BGREWRITEAOF, and what is known of snapshots and of the rewriting of the log.
//!
//! The engine owns no files: the store around it writes them ([`Snapshots`]) and keeps [`Persistence`] up to date, which INFO and LASTSAVE read.
//! One thing is written at a time. What comes in between waits until that is done: BGSAVE only if it says SCHEDULE, the others always; and so does what is asked
//! for in a transaction, whose changes are not in the log yet.
//!
//! Nothing is forked. An image of one moment is begun by BGSAVE itself, so it holds what came before the command and nothing of what comes after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use redpoll_keyspace::{Effects, Millis, View};

use crate::args::Args;
use crate::command::{
    ADMIN, Command, EXCLUSIVE, FAST, Family, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, STALE, cmd,
};
use crate::cx::{Cx, Origin};
use crate::engine::Engine;
use crate::error::{
    Error, NO_DIRECTORY, REWRITE_IN_PROGRESS, REWRITE_IN_THE_WAY, SAVE_IN_PROGRESS, SNAPSHOT_FAILING, SYNTAX,
};
use crate::settings::Setting;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("BGREWRITEAOF", bgrewriteaof, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, "1.0.0", "O(1)", "Asynchronously rewrites the append-only file to disk."),
    cmd("BGSAVE [SCHEDULE]", bgsave, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | EXCLUSIVE, "1.0.0", "O(1)", "Asynchronously saves the database(s) to disk.").arity(-1),
    cmd("LASTSAVE", lastsave, LOADING | STALE | FAST, "1.0.0", "O(1)", "Returns the Unix timestamp of the last successful save to disk.").categories(&["admin", "dangerous"]),
    cmd("SAVE", save, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | EXCLUSIVE, "1.0.0", "O(N) where N is the total number of keys in all databases", "Synchronously saves the database(s) to disk."),
];

/// Snapshots and the rewriting of the log.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// Writes snapshots and rewrites the log.
pub trait Snapshots: Send + Sync {
    /// Writes a snapshot to its place. Called with every shard held.
    fn save(&self, cx: &mut Cx<'_, '_>) -> Result<(), Error>;
    /// Begins to write a snapshot of this moment in the background; nothing else is being written. Called with every shard held.
    fn begin_save(&self, cx: &mut Cx<'_, '_>) -> Result<(), Error>;
    /// Begins to rewrite the log in the background; nothing else is being written. Called with any locks held.
    fn begin_rewrite(&self, engine: &Engine) -> Result<(), Error>;
    /// Writes a snapshot if that is wanted and loads the one there is. Called with every shard held.
    fn reload(&self, cx: &mut Cx<'_, '_>, reload: Reload) -> Result<(), Error>;
    /// Loads the files of a log that is switched off in the place of what is there. Called with every shard held.
    fn reload_log(&self, cx: &mut Cx<'_, '_>) -> Result<(), Error>;
    /// Everything was deleted: a snapshot being taken is of no use any more. Called with every shard held.
    fn give_up_save(&self, engine: &Engine);
    /// Writes what is to be written before the program ends; the error has been told in the program's log. Called with no lock held.
    fn save_at_end(&self, engine: &Engine) -> Result<(), Error>;
    /// Says why data files cannot be sealed with the keys of a file.
    fn check_keys(&self, engine: &Engine, path: &str) -> Result<(), String>;
    /// Seals data files with the keys of the file that the settings name from now on. Called with any locks held.
    fn change_keys(&self, engine: &Engine);
    /// Switches the log off, or on again with a rewrite. Called with any locks held.
    fn switch_log(&self, engine: &Engine, wanted: Switch);
    /// Removes files of the log that were replaced and kept. Called with any locks held.
    fn remove_history(&self);
}

/// Whether there is to be a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Changes are logged.
    On,
    /// They are not.
    Off,
}

/// Whether a snapshot is made before the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// If snapshots are made by rule.
    ByRule,
    /// In any case.
    Save,
    /// In no case.
    NoSave,
}

/// What DEBUG RELOAD does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Loads the snapshot there is instead of making one.
    pub nosave: bool,
    /// Leaves the data in place.
    pub noflush: bool,
    /// What is loaded replaces what is there.
    pub merge: bool,
}

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// A snapshot.
    Snapshot,
    /// A new base of the log.
    Log,
    /// A copy for a client, which is no snapshot of ours.
    Copy,
}

/// What is written in the background right now.
#[derive(Clone, Copy, Debug)]
pub struct Active {
    /// What it is.
    pub writing: Writing,
    /// When it began.
    pub began: Millis,
    /// Keys in all.
    pub keys: u64,
    /// Keys that are written.
    pub keys_written: u64,
    /// Changes that it holds, of all since the start.
    pub changes: u64,
}

/// How writing of one kind went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    /// Times it succeeded.
    pub succeeded: u64,
    /// Times it failed since it last succeeded.
    pub failures: u32,
    /// How long it took last, seconds.
    pub last_seconds: Option<u64>,
    /// When it was tried last.
    pub last_try: Millis,
}

/// What is known; the store keeps it up to date.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// What is being written.
    pub active: Option<Active>,
    /// When a snapshot last came to its place, or the store began.
    pub last_save: Millis,
    /// Changes of all since the start that the last snapshot holds.
    pub saved_changes: u64,
    /// Snapshots.
    pub snapshots: Record,
    /// Rewrites of the log.
    pub rewrites: Record,
    /// Keys that were loaded at the start, or by DEBUG RELOAD.
    pub loaded: u64,
    /// Keys that were not, since their time had come.
    pub load_expired: u64,
    /// Moments that were held fast to be written, which redis-server forks for.
    pub moments: u64,
}

/// Snapshots and rewrites: what is known and what is to be done next.
#[derive(Debug, Default)]
pub struct Persistence {
    known: Mutex<Known>,
    /// Told when nothing is being written.
    free: Condvar,
    /// A snapshot is to be begun as soon as nothing else is written.
    pub save_scheduled: AtomicBool,
    /// A rewrite is.
    pub rewrite_scheduled: AtomicBool,
    /// The last snapshot failed.
    failing: AtomicBool,
    /// SHUTDOWN NOSAVE: nothing more is saved.
    pub ends_without_save: AtomicBool,
}

impl Persistence {
    /// Returns what is known.
    pub fn known(&self) -> Known {
        *self.known.lock()
    }

    /// Changes what is known.
    pub fn note<R>(&self, change: impl FnOnce(&mut Known) -> R) -> R {
        let mut known = self.known.lock();
        let result = change(&mut known);
        self.failing.store(known.snapshots.failures > 0, Ordering::Relaxed);
        if known.active.is_none() {
            self.free.notify_all();
        }
        result
    }

    /// Waits until nothing is being written, at most for so long.
    pub fn wait_until_free(&self, patience: Duration) {
        let mut known = self.known.lock();
        self.free.wait_while_for(&mut known, |known| known.active.is_some(), patience);
    }

    /// Begins to write something; false if something is being written.
    pub fn begin(&self, active: Active) -> bool {
        self.note(|known| {
            match active.writing {
                Writing::Snapshot => known.snapshots.last_try = active.began,
                Writing::Log => known.rewrites.last_try = active.began,
                Writing::Copy => {}
            }
            let is_free = known.active.is_none();
            if is_free {
                known.active = Some(active);
                known.moments += 1;
            }
            is_free
        })
    }

    /// Returns the refusal of a command that writes, if a snapshot has failed and the settings want that.
    #[inline]
    pub(crate) fn refusal(&self, engine: &Engine) -> Option<Error> {
        if self.failing.load(Ordering::Relaxed) { refusal(engine) } else { None }
    }
}

#[cold]
fn refusal(engine: &Engine) -> Option<Error> {
    let settings = &engine.settings;
    let refuses = settings.is_on(Setting::StopWritesOnBgsaveError) && !rules(engine).is_empty();
    refuses.then_some(SNAPSHOT_FAILING)
}

impl Engine {
    /// Returns the time that the log is to note, seconds since the Unix epoch, if the settings ask for that.
    #[inline]
    pub fn noted_time(&self) -> Option<u64> {
        (self.settings.int(Setting::AofTimestampEnabled) != 0).then(|| self.clock.now() / 1000)
    }
}

/// Returns the rules of snapshots: after so many seconds if there were so many changes.
pub fn rules(engine: &Engine) -> Vec<(u64, u64)> {
    let text = engine.settings.text(Setting::Save);
    let numbers: Vec<u64> = text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.chunks_exact(2).map(|rule| (rule[0], rule[1])).collect()
}

/// Runs with every shard held, outside any command.
///
/// # Errors
/// A script holds everything for too long.
pub fn with_everything<R>(engine: &Engine, run: impl FnOnce(&mut View<'_>) -> R) -> Result<R, Error> {
    let mut passage = engine.turn.enter_exclusive(&engine.keyspace)?;
    let now = engine.clock.now();
    let held = passage.gate.lock(std::iter::empty());
    let mut view = View::new(&engine.keyspace, held, 0, now, engine.stamping(now), Effects::default());
    Ok(run(&mut view))
}

/// Returns the number of changes since the last snapshot.
pub fn changes_since_save(engine: &Engine) -> u64 {
    engine.stats.changes().saturating_sub(engine.persistence.known().saved_changes)
}

fn snapshots(engine: &Engine) -> Result<&dyn Snapshots, Error> {
    engine.snapshots.get().map(|snapshots| &**snapshots).ok_or(NO_DIRECTORY)
}

/// Deletes what snapshots hold after everything was deleted here: an empty one is written if snapshots are made by rule.
pub(crate) fn everything_deleted(cx: &mut Cx<'_, '_>) {
    let Some(snapshots) = cx.engine.snapshots.get().filter(|_| !cx.is_replay()) else { return };
    snapshots.give_up_save(cx.engine);
    if rules(cx.engine).is_empty() {
        return;
    }
    // What fails is told in the program's log; the data is gone all the same.
    if snapshots.save(cx).is_ok() {
        // This command's own changes are counted when it has ended.
        let changes = cx.db.effects.dirty;
        cx.engine.persistence.note(|known| known.saved_changes += changes);
    }
}

/// Says why data files cannot be sealed with the keys of a file.
pub(crate) fn check_keys(engine: &Engine, path: &str) -> Result<(), String> {
    engine.snapshots.get().map_or(Ok(()), |snapshots| snapshots.check_keys(engine, path))
}

/// Seals data files with the keys that the settings name now.
pub(crate) fn change_keys(engine: &Engine) {
    if let Some(snapshots) = engine.snapshots.get() {
        snapshots.change_keys(engine);
    }
}

/// Has a log or none, as the settings say now; one that begins in a transaction does so when that has ended.
pub(crate) fn switch_log(cx: &Cx<'_, '_>) {
    let engine = cx.engine;
    let wanted = if engine.settings.is_on(Setting::Appendonly) { Switch::On } else { Switch::Off };
    if wanted == Switch::On && cx.origin == Origin::Transaction && engine.log().is_none() {
        engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
        tracing::info!("AOF background was scheduled");
    } else if let Some(snapshots) = engine.snapshots.get() {
        snapshots.switch_log(engine, wanted);
    }
}

/// Removes replaced files of the log, unless the settings say now that they are kept.
pub(crate) fn remove_history(engine: &Engine) {
    let snapshots = engine.snapshots.get().filter(|_| !engine.settings.is_on(Setting::AofDisableAutoGc));
    if let Some(snapshots) = snapshots {
        snapshots.remove_history();
    }
}

/// Saves before the program ends; never what is not all loaded.
///
/// # Errors
/// Nothing could be saved; the program's log says why.
pub fn save_before_end(engine: &Engine, ending: Ending) -> Result<(), Error> {
    let ending = if engine.load_state.is_on() { Ending::NoSave } else { ending };
    let is_wanted = match ending {
        Ending::NoSave => false,
        Ending::ByRule => !rules(engine).is_empty(),
        Ending::Save => true,
    };
    engine.persistence.ends_without_save.store(!is_wanted, Ordering::Relaxed);
    let Some(snapshots) = engine.snapshots.get() else {
        return if ending == Ending::Save { Err(NO_DIRECTORY) } else { Ok(()) };
    };
    snapshots.give_up_save(engine);
    if is_wanted { snapshots.save_at_end(engine) } else { Ok(()) }
}

/// BGREWRITEAOF
fn bgrewriteaof(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let (engine, snapshots) = (cx.engine, snapshots(cx.engine)?);
    let active = engine.persistence.known().active;
    if active.is_some_and(|active| active.writing == Writing::Log) {
        return Err(REWRITE_IN_PROGRESS);
    }
    if active.is_some() || cx.origin == Origin::Transaction {
        engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
        cx.out.simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    snapshots.begin_rewrite(engine)?;
    cx.out.simple("Background append only file rewriting started");
    Ok(())
}

/// BGSAVE [SCHEDULE]
fn bgsave(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let schedule = match args.len() {
        1 => false,
        2 if args.is(1, "SCHEDULE") => true,
        _ => return Err(SYNTAX),
    };
    let (engine, snapshots) = (cx.engine, snapshots(cx.engine)?);
    let active = engine.persistence.known().active;
    if active.is_some_and(|active| active.writing != Writing::Log) {
        return Err(SAVE_IN_PROGRESS);
    }
    if active.is_some() || cx.origin == Origin::Transaction {
        if !schedule && cx.origin != Origin::Transaction {
            return Err(REWRITE_IN_THE_WAY);
        }
        engine.persistence.save_scheduled.store(true, Ordering::Relaxed);
        cx.out.simple("Background saving scheduled");
        return Ok(());
    }
    snapshots.begin_save(cx)?;
    cx.out.simple("Background saving started");
    Ok(())
}

/// LASTSAVE
fn lastsave(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.int((cx.engine.persistence.known().last_save / 1000) as i64);
    Ok(())
}

/// SAVE
fn save(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let snapshots = snapshots(cx.engine)?;
    if cx.engine.persistence.known().active.is_some_and(|active| active.writing == Writing::Snapshot) {
        return Err(SAVE_IN_PROGRESS);
    }
    snapshots.save(cx)?;
    cx.out.ok();
    Ok(())
}
