//! The store's log: recovery at start, the way from the dispatcher's journal to the disk, and its coming and going while the store runs.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use redpoll_commands::cx::Cx;
use redpoll_commands::engine::{Engine, Log};
use redpoll_commands::error::Error as CommandError;
use redpoll_commands::journal::Journal;
use redpoll_commands::settings::{Setting, Settings};
use redpoll_commands::sync_wait::{SyncWaits, sync_waits};
use redpoll_persist::disk::{Disk, Lock};
use redpoll_persist::{AppendLog, LogFiles, Manifest, Replayed, Rewrite, Standing, SyncPolicy};

use crate::{Error, loading, snapshots};

/// How the name of the file goes on behind that of the log; it stands in the data directory and says by its lock that somebody uses the log.
const LOCK_SUFFIX: &str = ".lock";

/// The open log of a store.
#[derive(Debug)]
pub(crate) struct StoreLog {
    pub(crate) log: AppendLog,
    pub(crate) files: LogFiles,
    /// The manifest does not name what is appended: the log was begun while the store ran, and its first base is still to come.
    is_unlisted: AtomicBool,
    /// Bytes of the files beyond what was appended since the start; rewriting makes them fewer.
    more: AtomicI64,
    /// Bytes of the files when the log was opened or rewritten.
    base_len: AtomicI64,
    onlookers: Arc<Onlookers>,
    /// Two stores that append to one log would destroy it. Given back last, when the log is closed or switched off.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl StoreLog {
    /// Makes the data directory if need be, replays the log found there and opens it for appending.
    pub(crate) fn recover(
        engine: &Engine,
        onlookers: Arc<Onlookers>,
        disk: &Arc<dyn Disk>,
        dir: &Path,
    ) -> Result<StoreLog, Error> {
        let (files, lock) = open_directory(engine, disk, dir)?;
        Manifest::take_over_single_file(&files)?;
        if !files.is_begun() {
            snapshots::write_first_base(engine, &files)?;
        } else if !engine.settings.is_on(Setting::AofDisableAutoGc) {
            Manifest::remove_history(&files)?;
        }
        let Replayed { len, .. } = loading::replay_log(engine, &files)?;
        let log = AppendLog::open(&files, policy(engine))?;
        Ok(StoreLog::new(onlookers, log, (files, lock), Standing::Listed, len))
    }

    /// Begins a log while the store runs; it is of no use before the rewrite that comes with it is finished.
    pub(crate) fn begin(
        engine: &Engine,
        onlookers: Arc<Onlookers>,
        disk: &Arc<dyn Disk>,
        dir: &Path,
    ) -> Result<(StoreLog, Rewrite), Error> {
        let (files, lock) = open_directory(engine, disk, dir)?;
        let (rewrite, increment) = Rewrite::prepare(&files, Standing::Unlisted)?;
        let log = increment.begin(policy(engine))?;
        Ok((StoreLog::new(onlookers, log, (files, lock), Standing::Unlisted, 0), rewrite))
    }

    fn new(
        onlookers: Arc<Onlookers>,
        log: AppendLog,
        (files, lock): (LogFiles, Box<dyn Lock>),
        standing: Standing,
        len: u64,
    ) -> StoreLog {
        let told = Arc::clone(&onlookers);
        log.on_turn(move || told.tell());
        let len = AtomicI64::new(len as i64);
        let base_len = AtomicI64::new(len.load(Ordering::Relaxed));
        let is_unlisted = AtomicBool::new(standing == Standing::Unlisted);
        StoreLog { log, files, is_unlisted, more: len, base_len, onlookers, lock: Mutex::new(Some(lock)) }
    }

    /// Tells whether the first base is still to come.
    pub(crate) fn is_unlisted(&self) -> bool {
        self.is_unlisted.load(Ordering::Acquire)
    }

    /// Tells whether the manifest names what is appended.
    pub(crate) fn standing(&self) -> Standing {
        if self.is_unlisted() { Standing::Unlisted } else { Standing::Listed }
    }

    /// Notes that the log has a new base of a length, and that what was appended from an offset on follows it.
    pub(crate) fn rewritten(&self, base_len: u64, offset: u64) {
        self.is_unlisted.store(false, Ordering::Release);
        self.more.store(base_len as i64 - offset as i64, Ordering::Relaxed);
        self.base_len.store(self.len() as i64, Ordering::Relaxed);
        self.onlookers.tell();
    }

    /// Returns the bytes of all files.
    pub(crate) fn len(&self) -> u64 {
        let (appended, _) = self.log.offsets();
        u64::try_from(self.more.load(Ordering::Relaxed) + appended as i64).unwrap_or(0)
    }

    /// Returns the bytes of all files when the log was opened or rewritten last.
    pub(crate) fn base_len(&self) -> u64 {
        u64::try_from(self.base_len.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Loads the log anew in the place of the data set, whose shards the caller holds: nothing is appended meanwhile.
    fn reload(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        let refuse = |error: redpoll_persist::Error| CommandError::from(format!("ERR loading the log failed: {error}"));
        if self.is_unlisted() {
            return Err(CommandError::Text("ERR the log was just switched on and is not complete yet"));
        }
        self.log.flush().map_err(refuse)?;
        loading::reload_log(cx, &self.files)
    }

    /// Waits as `appendfsync` asks; the error is what a client is told.
    pub(crate) fn wait(&self, offset: u64) -> Result<(), String> {
        self.log.wait(offset)
    }

    /// Tells whether everything up to an offset comes back after a crash: it is synced, and the manifest names where it is.
    fn is_synced(&self, offset: u64) -> bool {
        !self.is_unlisted() && self.log.is_synced(offset)
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.log.flush().map_err(Error::Log)
    }

    /// Forces everything to the disk and gives the directory back: nothing is appended any more.
    pub(crate) fn leave(&self) -> Result<(), Error> {
        self.flush()?;
        self.lock.lock().take();
        Ok(())
    }

    /// Forces what is appended to the disk as the settings say now.
    pub(crate) fn take_policy(&self, engine: &Engine) {
        self.log.set_policy(policy(engine));
    }

    /// Returns what the disk said, if it refuses.
    pub(crate) fn failure(&self) -> Option<String> {
        self.log.failure()
    }
}

/// Something that is told when the log may have gone on: its thread has ended a turn, or it comes or goes.
pub trait Onlooker: Send + Sync {
    /// Looks for itself, soon and on a thread of its own: the log waits for it.
    fn look(&self);
}

/// All who are told.
pub(crate) struct Onlookers {
    /// Clients in WAITAOF.
    waits: Arc<SyncWaits>,
    others: RwLock<Vec<Weak<dyn Onlooker>>>,
}

impl std::fmt::Debug for Onlookers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onlookers").field("others", &self.others.read().len()).finish_non_exhaustive()
    }
}

impl Onlookers {
    fn tell(&self) {
        self.waits.stir();
        self.others.read().iter().filter_map(Weak::upgrade).for_each(|onlooker| onlooker.look());
    }

    pub(crate) fn add(&self, onlooker: Weak<dyn Onlooker>) {
        let mut others = self.others.write();
        others.retain(|other| other.strong_count() > 0);
        others.push(onlooker);
    }
}

/// Where the log is while there is one.
#[derive(Debug)]
pub(crate) struct LogSlot {
    log: RwLock<Option<Arc<StoreLog>>>,
    is_there: AtomicBool,
    /// They stay while the log comes and goes.
    pub(crate) onlookers: Arc<Onlookers>,
}

impl LogSlot {
    /// Makes a place for an engine's log.
    pub(crate) fn new(engine: &Engine) -> LogSlot {
        let onlookers = Onlookers { waits: sync_waits(engine), others: RwLock::default() };
        LogSlot { log: RwLock::default(), is_there: AtomicBool::new(false), onlookers: Arc::new(onlookers) }
    }

    /// Asks the log, if there is one.
    #[inline]
    pub(crate) fn ask<R>(&self, question: impl FnOnce(&AppendLog) -> R) -> Option<R> {
        if !self.is_there() {
            return None;
        }
        self.log.read().as_ref().map(|log| question(&log.log))
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> Option<Arc<StoreLog>> {
        if self.is_there() { self.log.read().clone() } else { None }
    }

    /// Tells whether there is a log.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// Puts another log or none in its place and returns the one there was.
    pub(crate) fn replace(&self, log: Option<Arc<StoreLog>>) -> Option<Arc<StoreLog>> {
        let before = {
            let mut slot = self.log.write();
            self.is_there.store(log.is_some(), Ordering::Relaxed);
            std::mem::replace(&mut *slot, log)
        };
        self.onlookers.tell();
        before
    }
}

/// Gives the engine its log.
pub(crate) struct SharedLog(pub(crate) Arc<LogSlot>);

impl Log for SharedLog {
    fn append(&self, journal: &Journal, time: Option<u64>) -> u64 {
        // It was there when the command began; what comes just after it was switched off is not logged.
        self.0.log.read().as_ref().map_or(0, |log| log.log.append(time, journal.records()))
    }

    fn write_soon(&self) {
        self.0.ask(AppendLog::write_soon);
    }

    fn is_synced(&self, offset: u64) -> bool {
        // Asked under the lock of a wait: nobody may be left there to close the log, whose thread stirs waits.
        self.0.log.read().as_ref().is_some_and(|log| log.is_synced(offset))
    }

    fn request_sync(&self, offset: u64) -> u64 {
        self.0.log.read().as_ref().map_or(offset, |log| log.log.request_sync(offset))
    }

    fn change_policy(&self, engine: &Engine) {
        if let Some(log) = &*self.0.log.read() {
            log.take_policy(engine);
        }
    }

    fn reload(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        let log = self.0.log().ok_or(redpoll_commands::error::NOTHING_TO_LOAD)?;
        log.reload(cx)
    }
}

fn policy(engine: &Engine) -> SyncPolicy {
    match engine.settings.int(Setting::Appendfsync) {
        0 => SyncPolicy::Always,
        1 => SyncPolicy::EverySecond,
        _ => SyncPolicy::No,
    }
}

/// Makes the directories of the log and takes them for this store alone.
pub(crate) fn open_directory(
    engine: &Engine,
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<(LogFiles, Box<dyn Lock>), Error> {
    prepare(&**disk, dir)?;
    let files = log_files(&engine.settings, disk, dir);
    prepare(&**disk, files.dir())?;
    let lock = lock(&**disk, dir, files.stem())?;
    Ok((files, lock))
}

/// Returns where the settings say that the log of a data directory is or would be.
pub(crate) fn log_files(settings: &Settings, disk: &Arc<dyn Disk>, dir: &Path) -> LogFiles {
    let log_dir = dir.join(settings.text(Setting::Appenddirname));
    LogFiles::on(Arc::clone(disk), log_dir, settings.text(Setting::Appendfilename))
}

/// Makes a directory and checks that files can be written in it.
fn prepare(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let refuse = |error: std::io::Error| Error::Directory { path: dir.to_owned(), reason: error.to_string() };
    disk.make_dir(dir).map_err(refuse)?;
    let probe = dir.join(format!(".redpoll-probe-{}", std::process::id()));
    disk.create(&probe).and_then(|_| disk.remove(&probe)).map_err(refuse)
}

/// Tells whether a directory is one in which a log was locked at some time.
pub(crate) fn is_locked_by(dir: &Path, stem: &str) -> bool {
    dir.join(format!("{stem}{LOCK_SUFFIX}")).is_file()
}

/// Takes the log for this store alone. Another log may stand beside it.
pub(crate) fn lock(disk: &dyn Disk, dir: &Path, stem: &str) -> Result<Box<dyn Lock>, Error> {
    disk.lock(&dir.join(format!("{stem}{LOCK_SUFFIX}"))).map_err(|error| {
        let is_held = error.kind() == ErrorKind::WouldBlock;
        let reason = if is_held { "another store is using it".to_owned() } else { error.to_string() };
        Error::Directory { path: dir.to_owned(), reason }
    })
}
