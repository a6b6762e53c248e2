//! The store's log: recovery at start, and the way from the dispatcher's journal to the disk.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redpoll_commands::args::Args;
use redpoll_commands::cx::Cx;
use redpoll_commands::dispatch::{self, Outcome};
use redpoll_commands::engine::{Engine, Log};
use redpoll_commands::error::Error as CommandError;
use redpoll_commands::journal::Journal;
use redpoll_commands::reload;
use redpoll_commands::settings::Setting;
use redpoll_persist::{AppendLog, LogFiles, SyncPolicy, replay};
use redpoll_resp::{Limits, Protocol, Writer};

use crate::Error;

/// Name of the file in the data directory that says by its lock that somebody uses the directory.
const LOCK_FILE: &str = "redpoll.lock";

/// What is read back: everything the parser can hold, whatever the settings say now. They may have said something else when it was written.
fn readable() -> Limits {
    Limits { max_bulk_len: usize::MAX, max_request_len: usize::MAX, ..Limits::default() }
}

/// The open log of a store.
#[derive(Debug)]
pub(crate) struct StoreLog {
    log: AppendLog,
    files: LogFiles,
    /// Two stores that append to one log would destroy it. Given back last, when the log is closed.
    _lock: DirectoryLock,
}

impl StoreLog {
    /// Makes the data directory if need be, replays the log found there and opens it for appending.
    pub(crate) fn recover(engine: &Engine) -> Result<Arc<StoreLog>, Error> {
        let dir = PathBuf::from(engine.settings.text(Setting::Dir));
        prepare(&dir)?;
        let lock = lock(&dir)?;
        let log_dir = dir.join(engine.settings.text(Setting::Appenddirname));
        prepare(&log_dir)?;
        let files = LogFiles::new(log_dir, engine.settings.text(Setting::Appendfilename));
        replay_into(engine, &files)?;
        let log = AppendLog::open(&files, policy(engine))?;
        Ok(Arc::new(StoreLog { log, files, _lock: lock }))
    }

    /// Loads the log anew in the place of the data set, whose shards the caller holds: nothing is appended meanwhile.
    fn reload(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        let refuse = |error: redpoll_persist::Error| CommandError::from(format!("ERR loading the log failed: {error}"));
        self.log.flush().map_err(refuse)?;
        reload::reload(cx, |apply| replay(&self.files, &readable(), apply).map(drop).map_err(refuse))
    }

    /// Waits as `appendfsync` asks; the error is what a client is told.
    pub(crate) fn wait(&self, offset: u64) -> Result<(), String> {
        self.log.wait(offset)
    }

    /// Tells whether [`StoreLog::wait`] would return at once.
    pub(crate) fn covers(&self, offset: u64) -> bool {
        self.log.covers(offset)
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.log.flush().map_err(Error::Log)
    }

    /// Takes over a changed setting and returns what the disk said, if it refuses.
    pub(crate) fn check(&self, engine: &Engine) -> Option<String> {
        self.log.set_policy(policy(engine));
        self.log.failure()
    }
}

/// The lock on a data directory; the system lets go of it when the process ends.
#[derive(Debug)]
struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a process just being started by another thread has a copy of the file until it runs its program.
        self.0.unlock().ok();
    }
}

/// Gives the engine its log without a second handle type in the engine.
pub(crate) struct SharedLog(pub(crate) Arc<StoreLog>);

impl Log for SharedLog {
    fn append(&self, journal: &Journal) -> u64 {
        self.0.log.append(journal.records())
    }

    fn reload(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        self.0.reload(cx)
    }
}

fn policy(engine: &Engine) -> SyncPolicy {
    match engine.settings.int(Setting::Appendfsync) {
        0 => SyncPolicy::Always,
        1 => SyncPolicy::EverySecond,
        _ => SyncPolicy::No,
    }
}

/// Makes a directory and checks that files can be written in it.
fn prepare(dir: &Path) -> Result<(), Error> {
    let refuse = |error: std::io::Error| Error::Directory { path: dir.to_owned(), reason: error.to_string() };
    std::fs::create_dir_all(dir).map_err(refuse)?;
    let probe = dir.join(format!(".redpoll-probe-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(refuse)
}

/// Takes the data directory for this store alone.
fn lock(dir: &Path) -> Result<DirectoryLock, Error> {
    let refuse = |reason: String| Error::Directory { path: dir.to_owned(), reason };
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE));
    let file = file.map_err(|error| refuse(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock(file)),
        Err(TryLockError::WouldBlock) => Err(refuse("another store is using it".to_owned())),
        Err(TryLockError::Error(error)) => Err(refuse(error.to_string())),
    }
}

fn replay_into(engine: &Engine, files: &LogFiles) -> Result<(), Error> {
    let mut session = engine.trusted_session();
    let mut out = Writer::new(Protocol::Resp2);
    let replayed = replay(files, &readable(), &mut |args| {
        out.clear();
        match dispatch::replay(engine, &mut session, Args(args), &mut out) {
            Outcome::Done if out.as_slice().starts_with(b"-") => {
                Err(String::from_utf8_lossy(out.as_slice()[1..].trim_ascii()).into_owned())
            }
            Outcome::Done => Ok(()),
            Outcome::Paused(_) => unreachable!("nobody can pause a store that is not open yet"),
            Outcome::Apart => unreachable!("whoever reads the log has a thread of its own"),
            Outcome::Blocked => unreachable!("nothing waits while the log is replayed"),
        }
    });
    engine.clients.leave(session.client.id);
    let replayed = replayed?;
    engine.stats.reset();
    if replayed.truncated > 0 {
        tracing::warn!(
            bytes = replayed.truncated,
            "the log ended in the middle of a change; the torn tail was cut off"
        );
    }
    tracing::info!(commands = replayed.commands, dir = %files.dir().display(), "log replayed");
    Ok(())
}
