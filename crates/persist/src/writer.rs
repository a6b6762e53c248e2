//! Writing the log: a buffer filled under the store's locks, and turns that empty it.
//!
//! ```text
//! under the shards' locks    append ─► pending ─┐
//! a turn, one at a time                         └► tail ─► file ─► disk
//!   of the log's thread                              write   sync      when it is asked to, when a second is over, after a failure
//!   of who is about to reply                         write             unless `always` asks for more, or the thread is syncing
//! ```
//!
//! **Group commit.** Nothing that is appended starts anything: who has appended and is about to reply [settles](AppendLog::settle) first, once for all the
//! changes there are by then. Under `always` that asks the thread for a sync, and whatever gathers while the disk is busy shares the next one; otherwise it
//! writes on the spot, so that a change is with the operating system before it is acknowledged. While the thread is syncing nobody waits for it: what is
//! appended then is acknowledged and written when it has ended. Offsets count bytes since the log was opened.
//!
//! Clients that each wait for their reply would fall into two halves, one whose sync is under way and one that came too late for it, and each sync would carry
//! half of what it could. So under `always` a sync waits until as many changes have gathered as the last one covered and found waiting behind it, for
//! at most half the time that it took: who was just answered is back by then. A lone writer, and who comes later than that, waits for nobody.
//!
//! If the disk refuses, the thread keeps the bytes and tries again every second ([`crate::tail`] says how nothing is written twice or believed
//! synced that is not). Meanwhile the log says that it is failing: the store refuses writes, and who waits is told. Memory has a bound: when
//! [`PENDING_MAX`] bytes are not known to be safe, callers wait behind their change, or are told of the failure if there is one; before it comes to that a
//! sync is brought forward. What goes beyond is one batch of commands per connection, and the removals of keys that expire meanwhile, which nobody
//! waits for and of which there are no more than keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::WriteFile;
use crate::rewrite::Increment;
use crate::tail::Tail;
use crate::{Error, LogFiles, Manifest};
use turn::Writer;

mod turn;

/// Bytes that may wait for the disk before callers are held back, written or not.
const PENDING_MAX: usize = 64 << 20;

/// Bytes not known to be safe at which a sync does not wait for its second.
const SYNC_EARLY: usize = PENDING_MAX / 2;

/// Time between attempts while the disk refuses, and between syncs under `everysec`.
const SECOND: Duration = Duration::from_secs(1);

/// When the log is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before a change is acknowledged.
    Always,
    /// Once a second.
    EverySecond,
    /// When the operating system likes.
    No,
}

/// The log of a running store.
#[derive(Debug)]
pub struct AppendLog {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    /// Belongs to who has taken the turn: nobody else locks it.
    writer: Mutex<Writer>,
    state: Mutex<State>,
    /// Changes up to this offset are [safe](State::safe), as the last turn found: who has changed nothing since need not lock the state to learn it.
    settled: AtomicU64,
    /// Told when the thread has something to do, or the end has come.
    work: Condvar,
    /// Told when something was written or synced, or the disk refused.
    progress: Condvar,
    /// Told when a turn has ended.
    turn_ended: Condvar,
}

#[derive(Debug)]
struct State {
    /// The file that is appended to, for errors.
    path: PathBuf,
    pending: Vec<u8>,
    /// What belongs to the file before, if what is pending belongs to another.
    switch: Option<Switch>,
    /// The switch is not done yet.
    switching: bool,
    /// Bytes the tail holds because they are not known to be safe.
    kept: usize,
    policy: SyncPolicy,
    /// Database selected by what was appended last.
    db: Option<usize>,
    /// The time that was noted last, seconds.
    noted: u64,
    appended: u64,
    written: u64,
    synced: u64,
    last_sync: Instant,
    /// How long it took.
    sync_time: Duration,
    /// Changes that are pending, and how many there are likely to be before the next sync is worth it: as many as the last one covered and found waiting behind it.
    changes: usize,
    expected: usize,
    /// The thread waits for them.
    gathering: bool,
    /// The thread is to take a turn: somebody waits for what is pending, or will wait.
    asked: bool,
    /// Somebody waits for a sync regardless of the policy.
    sync_wanted: bool,
    /// Somebody has taken a turn; with it goes the writer.
    turn_taken: bool,
    /// The thread is about to sync or at it, which may take long.
    syncing: bool,
    failure: Option<Failure>,
    closing: bool,
    /// Who is told when the thread has ended a turn.
    listener: Option<Listener>,
}

/// The disk refused, and nothing has succeeded since.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// When it refused last.
    at: Instant,
}

/// What is called when the thread has ended a turn.
#[derive(Clone)]
struct Listener(Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// The way from one file to the next.
struct Switch {
    /// What still belongs to the old one.
    before: Vec<u8>,
    file: Box<dyn WriteFile>,
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch").field("before", &self.before.len()).finish_non_exhaustive()
    }
}

impl State {
    /// Tells what is to be said of a change at an offset: that it is acknowledged, or why not; none while it has to wait.
    fn verdict(&self, offset: u64) -> Option<Result<(), String>> {
        let offset = self.here(offset);
        let is_good = match self.policy {
            SyncPolicy::Always => self.synced >= offset,
            SyncPolicy::EverySecond | SyncPolicy::No => self.written >= offset || self.unsafe_len() <= PENDING_MAX,
        };
        let refused = || self.failure.as_ref().map(|failure| Err(failure.reason.clone()));
        if is_good { Some(Ok(())) } else { refused() }
    }

    /// Returns the offset up to which changes are as safe as the policy wants them to be before they are acknowledged.
    fn safe(&self) -> u64 {
        match self.policy {
            SyncPolicy::Always => self.synced,
            SyncPolicy::EverySecond | SyncPolicy::No => self.written,
        }
    }

    /// Tells whether a turn would be of use to who waits: while the disk refuses, the thread tries again by itself.
    fn needs_turn(&self) -> bool {
        self.failure.is_none() && self.safe() < self.appended
    }

    /// Returns what an offset means here: one of a log before this one means everything.
    fn here(&self, offset: u64) -> u64 {
        offset.min(self.appended)
    }

    /// Bytes in memory that are not known to be safe.
    fn unsafe_len(&self) -> usize {
        self.pending.len() + self.kept + self.switch.as_ref().map_or(0, |switch| switch.before.len())
    }
}

impl AppendLog {
    /// Opens the last increment for appending and starts the thread. What the log holds is on the disk then.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Manifest`].
    pub fn open(files: &LogFiles, policy: SyncPolicy) -> Result<AppendLog, Error> {
        let mut manifest = Manifest::read(files)?;
        let mut last = None;
        for (name, _) in &manifest.increments {
            // All of them are forced to the disk: what is appended now must not be safer than what it follows.
            last = Some(Increment::open(files, name)?);
        }
        if let Some(increment) = last
            && files.disk().is_as_written(&increment.path).map_err(Error::io(&increment.path))?
        {
            files.sync()?;
            return increment.begin(policy);
        }
        let increment = Increment::add(&mut manifest, files)?;
        manifest.write(files)?;
        increment.begin(policy)
    }

    /// Begins to append to a file.
    pub(crate) fn begin(file: Box<dyn WriteFile>, path: PathBuf, policy: SyncPolicy) -> Result<AppendLog, Error> {
        let length = file.length().map_err(Error::io(&path))?;
        AppendLog::start(Tail::new(file, length), path, policy, SECOND)
    }

    /// Goes on in another, empty file: what is appended from now on belongs to it. Returns the offset at which it begins; none if the way to
    /// the file before is not finished yet, because the disk refuses.
    ///
    /// Never waits for the disk. Nothing goes into the new file before all of the old one is synced, so that no gap can be left behind.
    pub fn switch(&self, increment: Increment) -> Option<u64> {
        self.switch_to(increment.file, increment.path)
    }

    fn switch_to(&self, file: Box<dyn WriteFile>, path: PathBuf) -> Option<u64> {
        let mut state = self.shared.state.lock();
        if state.switching {
            return None;
        }
        let before = std::mem::take(&mut state.pending);
        state.switch = Some(Switch { before, file });
        state.switching = true;
        state.path = path;
        state.db = None;
        self.shared.work.notify_one();
        Some(state.appended)
    }

    /// Starts the thread; while the disk refuses it rests for `pause` between attempts.
    fn start(tail: Tail, path: PathBuf, policy: SyncPolicy, pause: Duration) -> Result<AppendLog, Error> {
        let state = State {
            path: path.clone(),
            pending: Vec::new(),
            switch: None,
            switching: false,
            kept: 0,
            policy,
            db: None,
            noted: 0,
            appended: 0,
            written: 0,
            synced: 0,
            last_sync: Instant::now(),
            sync_time: Duration::ZERO,
            changes: 0,
            expected: 0,
            gathering: false,
            asked: false,
            sync_wanted: false,
            turn_taken: false,
            syncing: false,
            failure: None,
            closing: false,
            listener: None,
        };
        let shared = Arc::new(Shared {
            writer: Mutex::new(Writer::new(tail)),
            state: Mutex::new(state),
            settled: AtomicU64::new(0),
            work: Condvar::new(),
            progress: Condvar::new(),
            turn_ended: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("redpoll-log".into()).spawn(move || turn::run(&theirs, pause));
        let thread = thread.map_err(Error::io(path))?;
        Ok(AppendLog { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Appends encoded commands as one unit (framed by MULTI and EXEC if there are several) and returns the offset after them; before them goes the
    /// time, if it is to be noted and later than the one that was noted last, in seconds since the Unix epoch.
    /// Copies and returns: it never waits for the disk.
    pub fn append<'a>(&self, time: Option<u64>, records: impl ExactSizeIterator<Item = (usize, &'a [u8])>) -> u64 {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let before = state.pending.len();
        if let Some(second) = time.filter(|second| *second > state.noted) {
            annotate(second, &mut state.pending);
            state.noted = second;
        }
        let framed = records.len() > 1;
        for (index, (db, record)) in records.enumerate() {
            if state.db != Some(db) {
                select(&mut state.pending, db);
                state.db = Some(db);
            }
            if framed && index == 0 {
                state.pending.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
            }
            state.pending.extend_from_slice(record);
        }
        if framed {
            state.pending.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
        state.appended += (state.pending.len() - before) as u64;
        state.changes += 1;
        state.appended
    }

    fn is_settled(&self, offset: u64) -> bool {
        offset <= self.shared.settled.load(Ordering::Acquire)
    }

    /// Tells up to which offset the log is to be [settled](AppendLog::settle) before a change at an offset is acknowledged; none if that has happened. An offset
    /// of an older, longer log means all that there is.
    pub fn unsettled(&self, offset: u64) -> Option<u64> {
        if self.is_settled(offset) {
            return None;
        }
        let here = self.shared.state.lock().here(offset);
        (!self.is_settled(here)).then_some(here)
    }

    /// Has what is appended go on its way, without waiting for a sync, and returns the offset up to which nobody has to wait any longer: for changes before it
    /// there is a [verdict](AppendLog::verdict).
    pub fn settle(&self) -> u64 {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        if state.needs_turn() {
            let is_written = state.policy != SyncPolicy::Always && MutexGuard::unlocked(&mut state, || shared.write());
            if !is_written {
                shared.ask(&mut state);
            }
        }
        let appended = state.appended;
        if state.verdict(appended).is_some() { appended } else { state.safe() }
    }

    /// Has the thread write what is appended as soon as it comes to it, and sync it under `always`, though nobody waits for it.
    pub fn write_soon(&self) {
        self.shared.ask_if_needed(&mut self.shared.state.lock());
    }

    /// Tells what is to be said of a change at an offset: that it is acknowledged, or what the disk said that refuses; none while it has to wait.
    pub fn verdict(&self, offset: u64) -> Option<Result<(), String>> {
        self.shared.state.lock().verdict(offset)
    }

    /// Tells whether everything up to an offset is on the disk, whatever the policy.
    pub fn is_synced(&self, offset: u64) -> bool {
        let state = self.shared.state.lock();
        state.synced >= state.here(offset)
    }

    /// Asks for a sync up to an offset, whatever the policy, and does not wait for it; returns the offset, or that of the end if it comes first.
    ///
    /// The sync that comes next may end before the offset: who is [told](AppendLog::on_turn) asks again.
    pub fn request_sync(&self, offset: u64) -> u64 {
        let mut state = self.shared.state.lock();
        let offset = state.here(offset);
        if state.synced < offset {
            state.sync_wanted = true;
            self.shared.work.notify_one();
        }
        offset
    }

    /// Calls this from now on whenever the thread has ended a turn, well or not: on that thread, with nothing locked.
    pub fn on_turn(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.shared.state.lock().listener = Some(Listener(Arc::new(listener)));
    }

    /// Waits as the policy asks: until `offset` is synced under `always`; otherwise only while too much waits for the disk, since who calls from within
    /// the process need not wait until the thread has come to write what was appended.
    ///
    /// # Errors
    /// What the disk said, if it refuses.
    pub fn wait(&self, offset: u64) -> Result<(), String> {
        if self.is_settled(offset) {
            return Ok(());
        }
        let mut state = self.shared.state.lock();
        loop {
            self.shared.ask_if_needed(&mut state);
            match state.verdict(offset) {
                Some(verdict) => return verdict,
                None => self.shared.progress.wait(&mut state),
            }
        }
    }

    /// Forces everything appended so far to disk and waits for it.
    ///
    /// # Errors
    /// [`Error::Io`] with what the disk said.
    pub fn flush(&self) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        let target = state.appended;
        while state.synced < target {
            if let Some(Failure { reason, .. }) = &state.failure {
                return Err(Error::Io { path: state.path.clone(), source: std::io::Error::other(reason.clone()) });
            }
            state.sync_wanted = true;
            self.shared.work.notify_one();
            self.shared.progress.wait(&mut state);
        }
        Ok(())
    }

    /// Changes when the log is forced to disk.
    pub fn set_policy(&self, policy: SyncPolicy) {
        let mut state = self.shared.state.lock();
        if state.policy != policy {
            state.policy = policy;
            self.shared.ask(&mut state);
        }
    }

    /// Returns what the disk said last, if it refuses.
    pub fn failure(&self) -> Option<String> {
        self.shared.state.lock().failure.as_ref().map(|failure| failure.reason.clone())
    }

    /// Returns the bytes appended since the log was opened and how many of them are synced.
    pub fn offsets(&self) -> (u64, u64) {
        let state = self.shared.state.lock();
        (state.appended, state.synced)
    }
}

impl Drop for AppendLog {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            thread.join().ok();
        }
    }
}

/// Writes the annotation that says when what follows it happened, in seconds since the Unix epoch: redis-check-aof can cut a log off there.
pub fn annotate(second: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("#TS:{second}\r\n").as_bytes());
}

fn select(out: &mut Vec<u8>, db: usize) {
    redpoll_resp::encode_command(&[b"SELECT".as_slice(), db.to_string().as_bytes()], out);
}

#[cfg(test)]
mod tests;
