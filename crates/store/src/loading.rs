//! Data on its way from files into the engine: at the start, and when DEBUG RELOAD and LOADAOF ask for it.
//!
//! At the start nobody else uses the data, but the store may be asked how far it is ([`Load`]). With a log, the log is what counts, and a snapshot beside it is not looked at. Without one the snapshot is loaded, if there is one. A file that is damaged
//! keeps the store from opening: it says where the damage is, and nothing is overwritten.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redpoll_commands::args::Args;
use redpoll_commands::cx::Cx;
use redpoll_commands::dispatch::{self, Outcome};
use redpoll_commands::engine::{Engine, Existing};
use redpoll_commands::error::{Error as CommandError, RELOAD_FAILED};
use redpoll_commands::persistence::Reload;
use redpoll_commands::reload::{self, Before, Stored};
use redpoll_commands::settings::Setting;
use redpoll_keyspace::{Effects, Limits as Thresholds, View};
use redpoll_persist::disk::Disk;
use redpoll_persist::{
    Error as FileError, Into, Item, LogFiles, Manifest, Read, Reading, Record, Replayed, Torn, read_snapshot, replay,
};
use redpoll_resp::{Limits, Protocol, Writer};

use crate::Error;
use crate::store::Inner;

/// Data that is still to be loaded. Until it [is](Load::run), its store refuses whatever needs it.
#[must_use = "the store serves nothing before its data is loaded"]
pub struct Load {
    pub(crate) inner: Arc<Inner>,
}

impl Load {
    /// Loads what the log in the data directory holds, if the log is on, or else the snapshot, if there is one. It takes as long as it takes; INFO says how far it is.
    ///
    /// # Errors
    /// [`Error::Directory`] if the data directory cannot be made or written, [`Error::Log`] if the log is damaged in the middle or the snapshot anywhere; [`Error::GivenUp`]. The
    /// store is of no use then.
    pub fn run(self) -> Result<(), Error> {
        let engine = &self.inner.engine;
        let loaded = self.inner.keeper.as_ref().map_or(Ok(()), |keeper| keeper.load(engine));
        loaded.map_err(|error| if engine.load_state.is_given_up() { Error::GivenUp } else { error })?;
        engine.load_state.end();
        Ok(())
    }
}

/// What is read back: everything the parser can hold, whatever the settings say now. They may have said something else when it was written.
pub(crate) fn readable() -> Limits {
    Limits { max_bulk_len: usize::MAX, max_request_len: usize::MAX, ..Limits::default() }
}

/// Returns what values are made into: with the secret from which hash tables inside them seed their hash functions.
fn into<'a>(engine: &'a Engine, thresholds: &'a Thresholds) -> Into<'a> {
    Into { limits: thresholds, seed: engine.keyspace.member_seed(), read: &engine.load_state.read }
}

/// Replays the log at the start.
pub(crate) fn replay_log(engine: &Engine, files: &LogFiles) -> Result<Replayed, Error> {
    let mut session = engine.trusted_session();
    let mut out = Writer::new(Protocol::Resp2);
    let mut stored = Stored::new(Existing::Refuse, None);
    let thresholds = engine.settings.limits();
    let torn = if engine.settings.is_on(Setting::AofLoadTruncated) { Torn::CutOff } else { Torn::Refuse };
    let reading = Reading { limits: readable(), into: into(engine, &thresholds), torn };
    engine.load_state.expect(Manifest::read(files)?.length(files));
    let replayed = replay(files, &reading, &mut |record| {
        let args = match record {
            Record::Command(args) => {
                go_on(engine, 1)?;
                args
            }
            Record::Stored(item) => {
                look_at(engine, &item)?;
                return put(engine, &mut stored, item, |run| with_first_view(engine, run));
            }
        };
        out.clear();
        match dispatch::replay(engine, &mut session, Args(args), &mut out) {
            Outcome::Done if out.as_slice().starts_with(b"-ERR unknown command") => {
                Err(format!("Unknown command '{}'", args[0].escape_ascii()))
            }
            Outcome::Done if out.as_slice().starts_with(b"-") => {
                Err(String::from_utf8_lossy(out.as_slice()[1..].trim_ascii()).into_owned())
            }
            Outcome::Done => Ok(()),
            Outcome::Paused(_) => unreachable!("no pause holds the log back"),
            Outcome::Apart => unreachable!("whoever reads the log has a thread of its own"),
            Outcome::Blocked => unreachable!("nothing waits while the log is replayed"),
        }
    });
    engine.clients.leave(session.client.id);
    let replayed = replayed?;
    begin_counting(engine, &stored);
    if replayed.truncated > 0 {
        tracing::warn!(
            bytes = replayed.truncated,
            "the log ended in the middle of a change; the torn tail was cut off"
        );
    }
    let (commands, keys) = (replayed.commands, stored.loaded);
    tracing::info!(keys, commands, dir = %files.dir().display(), "log replayed");
    Ok(replayed)
}

/// Loads the snapshot at the start, if there is one.
pub(crate) fn load_snapshot(engine: &Engine, disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let mut stored = Stored::new(Existing::Refuse, Some(engine.clock.now()));
    let thresholds = engine.settings.limits();
    engine.load_state.expect(disk.length(path).unwrap_or(0));
    let read = match read(engine, disk, &thresholds, path, &mut |item| {
        look_at(engine, &item)?;
        put(engine, &mut stored, item, |run| with_first_view(engine, run))
    }) {
        Ok(read) => read,
        Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            if let FileError::Snapshot { offset, reason, .. } = &error {
                tracing::warn!("Internal error in RDB reading offset {offset} -> {reason}");
            }
            return Err(error.into());
        }
    };
    warn_of_rest(path, read);
    begin_counting(engine, &stored);
    let Stored { loaded, expired, empty, .. } = stored;
    tracing::info!("Done loading RDB, keys loaded: {loaded}, keys expired: {expired}, empty keys skipped: {empty}.");
    Ok(())
}

/// Looks at something of a snapshot on its way at the start.
fn look_at(engine: &Engine, item: &Item<'_>) -> Result<(), String> {
    match item {
        Item::Aux(b"used-mem", bytes) => {
            let bytes = std::str::from_utf8(bytes).ok().and_then(|digits| digits.parse().ok());
            engine.load_state.note_memory(bytes.unwrap_or(0));
            Ok(())
        }
        Item::Keys(keys) => go_on(engine, keys.len()),
        _ => Ok(()),
    }
}

/// Tells whether so many more keys are to be loaded at the start, and takes the time that the settings want them to take.
fn go_on(engine: &Engine, keys: usize) -> Result<(), String> {
    if engine.load_state.is_given_up() {
        return Err("loading was given up".into());
    }
    let micros = engine.settings.size(Setting::KeyLoadDelay) * keys;
    if micros > 0 {
        engine.clock.sleep(Duration::from_micros(micros as u64));
    }
    Ok(())
}

/// Counts what happens from now on; what was loaded is no change.
fn begin_counting(engine: &Engine, stored: &Stored) {
    engine.stats.reset();
    let changes = engine.stats.changes();
    engine.persistence.note(|known| {
        known.saved_changes = changes;
        (known.loaded, known.load_expired) = (stored.loaded, stored.expired);
    });
}

fn read(
    engine: &Engine,
    disk: &dyn Disk,
    thresholds: &Thresholds,
    path: &Path,
    take: &mut redpoll_persist::Take<'_>,
) -> Result<Read, FileError> {
    read_snapshot(disk, path, into(engine, thresholds), take)
}

fn warn_of_rest(path: &Path, read: Read) {
    if read.file_len > read.len {
        let bytes = read.file_len - read.len;
        tracing::warn!(bytes, path = %path.display(), "what stands behind the end of the snapshot is not loaded");
    }
}

/// Does something with a view of everything.
type Run<'a> = dyn FnMut(&mut View<'_>) -> Result<(), String> + 'a;

/// Puts something of a snapshot into the engine; `with_view` runs what needs a view.
fn put(
    engine: &Engine,
    stored: &mut Stored,
    item: Item<'_>,
    with_view: impl FnOnce(&mut Run<'_>) -> Result<(), String>,
) -> Result<(), String> {
    match item {
        Item::Aux(..) => Ok(()),
        Item::Library(text) => stored.library(engine, text),
        Item::Database(number) => stored.database(engine, number),
        Item::Coming(keys) => with_view(&mut |view| {
            stored.coming(view, keys);
            Ok(())
        }),
        Item::Keys(keys) => with_view(&mut |view| stored.keys(view, keys)),
        Item::Empty(key) => {
            stored.empty_key(key);
            Ok(())
        }
    }
}

/// Runs something on a store that nobody uses yet.
fn with_first_view(engine: &Engine, run: &mut Run<'_>) -> Result<(), String> {
    let mut gate = engine.keyspace.enter_exclusive();
    let held = gate.lock(std::iter::empty());
    // Time stands still at zero, as for the log, but accesses are stamped with the real time.
    let stamping = engine.stamping(engine.clock.now());
    run(&mut View::new(&engine.keyspace, held, 0, 0, stamping, Effects::default()))
}

/// Loads the log in the place of the data set, whose shards the caller holds.
pub(crate) fn reload_log(cx: &mut Cx<'_, '_>, files: &LogFiles) -> Result<(), CommandError> {
    let (engine, mut stored) = (cx.engine, Stored::new(Existing::Refuse, None));
    reload::reload(cx, Before::Replaced, |loading| {
        let thresholds = engine.settings.limits();
        // What was just flushed has no torn end.
        let reading = Reading { limits: readable(), into: into(engine, &thresholds), torn: Torn::Refuse };
        let replayed = replay(files, &reading, &mut |record| match record {
            Record::Command(args) => loading.command(args),
            Record::Stored(item) => put(engine, &mut stored, item, |run| run(loading.view())),
        });
        replayed.map(drop).map_err(|error| format!("ERR loading the log failed: {error}").into())
    })
}

/// Loads a snapshot into the data set, whose shards the caller holds.
pub(crate) fn reload_snapshot(
    cx: &mut Cx<'_, '_>,
    disk: &dyn Disk,
    path: &Path,
    how: Reload,
) -> Result<(), CommandError> {
    let existing = if how.merge { Existing::Replace } else { Existing::Refuse };
    let now = cx.engine.clock.now();
    let refuse = |error: FileError| {
        tracing::error!(%error, "DEBUG RELOAD failed");
        RELOAD_FAILED
    };
    if how.noflush {
        // What is kept must not be left half changed: all is looked at before anything is loaded.
        check(cx, disk, path, existing).map_err(refuse)?;
    }
    let before = if how.noflush { Before::Kept } else { Before::Replaced };
    let (engine, mut stored) = (cx.engine, Stored::new(existing, Some(now)));
    reload::reload(cx, before, |loading| {
        let read = read(engine, disk, &engine.settings.limits(), path, &mut |item| {
            put(engine, &mut stored, item, |run| run(loading.view()))
        })
        .map_err(refuse)?;
        warn_of_rest(path, read);
        Ok(())
    })?;
    cx.engine.persistence.note(|known| (known.loaded, known.load_expired) = (stored.loaded, stored.expired));
    Ok(())
}

/// Reads a snapshot without loading it: it is whole, and nothing in it is there already unless it may be.
fn check(cx: &mut Cx<'_, '_>, disk: &dyn Disk, path: &Path, existing: Existing) -> Result<(), FileError> {
    let engine = cx.engine;
    let (thresholds, mut stored) = (engine.settings.limits(), Stored::new(existing, None));
    let db = cx.db.db();
    let libraries = engine.scripting.get().map(|scripting| scripting.libraries()).unwrap_or_default();
    let checked = read(engine, disk, &thresholds, path, &mut |item| match item {
        Item::Aux(..) | Item::Empty(_) | Item::Coming(_) => Ok(()),
        Item::Library(text) if existing == Existing::Refuse && libraries.iter().any(|known| known.code == text) => {
            Err("a library of functions is there already".into())
        }
        Item::Library(_) => Ok(()),
        Item::Database(number) => stored.database(engine, number),
        Item::Keys(keys) => stored.admit(cx.db, keys),
    });
    cx.db.select(db);
    checked.map(drop)
}
