//! Writing the log: a buffer filled under the store's locks, emptied by a thread.
//!
//! Group commit: whatever has gathered while the disk was busy is written and synced at once. Offsets count bytes since the log was opened; `always` means
//! that a reply waits until the offset of its own change is synced.
//!
//! If the disk refuses, the thread keeps the bytes and tries again every second ([`crate::tail`] says how nothing is written twice or believed
//! synced that is not). Meanwhile the log says that it is failing: the store refuses writes, and who waits is told. Memory has a bound: when
//! [`PENDING_MAX`] bytes are not known to be safe, callers wait behind their change, or are told of the failure if there is one; before it comes to that a
//! sync is brought forward. What goes beyond is one batch of commands per connection, and the removals of keys that expire meanwhile, which nobody
//! waits for and of which there are no more than keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::WriteFile;
use crate::rewrite::Increment;
use crate::tail::Tail;
use crate::{Error, LogFiles, Manifest};

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
    state: Mutex<State>,
    /// Told when there is something to write, or the end has come.
    work: Condvar,
    /// Told when something was written or synced, or the disk refused.
    progress: Condvar,
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
    /// Bytes the thread holds because they are not known to be safe.
    kept: usize,
    policy: SyncPolicy,
    /// Database selected by what was appended last.
    db: Option<usize>,
    /// The time that was noted last, seconds.
    noted: u64,
    appended: u64,
    written: u64,
    synced: u64,
    /// Somebody waits for a sync regardless of the policy.
    sync_wanted: bool,
    failure: Option<String>,
    closing: bool,
    /// Who is told when a sync has ended.
    listener: Option<Listener>,
}

/// What is called when a sync has ended.
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
    fn covers(&self, offset: u64) -> bool {
        match self.policy {
            SyncPolicy::Always => self.synced >= self.here(offset),
            SyncPolicy::EverySecond | SyncPolicy::No => {
                self.written >= self.here(offset) || self.unsafe_len() <= PENDING_MAX
            }
        }
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
            sync_wanted: false,
            failure: None,
            closing: false,
            listener: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new() });
        let (incoming, last_sync) = (Vec::new(), Instant::now());
        let writer = Writer { shared: Arc::clone(&shared), tail, next: None, incoming, last_sync, pause };
        let thread = std::thread::Builder::new().name("redpoll-log".into()).spawn(move || writer.run());
        let thread = thread.map_err(Error::io(path))?;
        Ok(AppendLog { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Appends encoded commands as one unit (framed by MULTI and EXEC if there are several) and returns the offset after them; before them goes the
    /// time, if it is to be noted and later than the one that was noted last, in seconds since the Unix epoch.
    /// Copies and returns: it never waits for the disk.
    pub fn append<'a>(&self, time: Option<u64>, records: impl ExactSizeIterator<Item = (usize, &'a [u8])>) -> u64 {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let was_empty = state.pending.is_empty();
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
        if was_empty {
            self.shared.work.notify_one();
        }
        state.appended
    }

    /// Tells whether [`AppendLog::wait`] would return at once.
    pub fn covers(&self, offset: u64) -> bool {
        self.shared.state.lock().covers(offset)
    }

    /// Tells whether everything up to an offset is on the disk, whatever the policy.
    pub fn is_synced(&self, offset: u64) -> bool {
        let state = self.shared.state.lock();
        state.synced >= state.here(offset)
    }

    /// Asks for a sync up to an offset, whatever the policy, and does not wait for it; returns the offset, or that of the end if it comes first.
    ///
    /// The sync that comes next may end before the offset: who is [told](AppendLog::on_sync) asks again.
    pub fn request_sync(&self, offset: u64) -> u64 {
        let mut state = self.shared.state.lock();
        let offset = state.here(offset);
        if state.synced < offset {
            state.sync_wanted = true;
            self.shared.work.notify_one();
        }
        offset
    }

    /// Calls this from now on whenever a sync has ended, well or not: on the log's thread, with nothing locked.
    pub fn on_sync(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.shared.state.lock().listener = Some(Listener(Arc::new(listener)));
    }

    /// Waits as the policy asks: until `offset` is synced under `always`; otherwise only while too much waits for the disk.
    ///
    /// # Errors
    /// What the disk said, if it refuses.
    pub fn wait(&self, offset: u64) -> Result<(), String> {
        let mut state = self.shared.state.lock();
        loop {
            if state.covers(offset) {
                return Ok(());
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            self.shared.progress.wait(&mut state);
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
            if let Some(failure) = &state.failure {
                return Err(Error::Io { path: state.path.clone(), source: std::io::Error::other(failure.clone()) });
            }
            state.sync_wanted = true;
            self.shared.work.notify_one();
            self.shared.progress.wait(&mut state);
        }
        Ok(())
    }

    /// Changes when the log is forced to disk.
    pub fn set_policy(&self, policy: SyncPolicy) {
        let before = std::mem::replace(&mut self.shared.state.lock().policy, policy);
        if before != policy {
            self.shared.work.notify_one();
        }
    }

    /// Returns what the disk said last, if it refuses.
    pub fn failure(&self) -> Option<String> {
        self.shared.state.lock().failure.clone()
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

/// What the thread is to do.
struct Task {
    sync: bool,
    /// Nobody but a sync says when bytes are safe, and the policy wants none: they are released when written.
    release: bool,
    closing: bool,
}

struct Writer {
    shared: Arc<Shared>,
    tail: Tail,
    /// The file to go on in once all of this one is synced. Until then nothing more is taken over.
    next: Option<Box<dyn WriteFile>>,
    /// What was taken over last, on its way to the tail outside the lock.
    incoming: Vec<u8>,
    last_sync: Instant,
    pause: Duration,
}

impl Writer {
    fn run(mut self) {
        loop {
            let task = self.gather();
            self.tail.take(&mut self.incoming);
            let result = self.carry_out(&task);
            let mut state = self.shared.state.lock();
            state.kept = self.tail.len();
            state.written = self.tail.written();
            match result {
                Ok(()) => {
                    if task.sync {
                        state.synced = state.written;
                    }
                    if let Some(file) = self.next.take() {
                        self.tail.switch(file);
                        state.switching = false;
                    }
                    state.failure = None;
                }
                Err(error) => state.failure = Some(error.to_string()),
            }
            self.shared.progress.notify_all();
            if let Some(Listener(tell)) = state.listener.clone().filter(|_| task.sync) {
                MutexGuard::unlocked(&mut state, || tell());
            }
            let is_done = state.pending.is_empty() && state.switch.is_none();
            if task.closing && (state.failure.is_some() || is_done) {
                return;
            }
            if state.failure.is_some() {
                let next = Instant::now() + self.pause;
                while !state.closing && !self.shared.work.wait_until(&mut state, next).timed_out() {}
            }
        }
    }

    /// Waits for something to do and takes over what was appended.
    fn gather(&mut self) -> Task {
        let mut state = self.shared.state.lock();
        loop {
            let unsynced = state.synced < state.appended;
            let due = match state.policy {
                SyncPolicy::Always => unsynced,
                SyncPolicy::EverySecond => {
                    unsynced && (self.last_sync.elapsed() >= SECOND || state.unsafe_len() >= SYNC_EARLY)
                }
                SyncPolicy::No => false,
            };
            if let Some(Switch { before, file }) = state.switch.take() {
                self.incoming = before;
                self.next = Some(file);
                state.kept += self.incoming.len();
            }
            let is_switching = self.next.is_some();
            let sync =
                due || is_switching || self.tail.must_sync() || (unsynced && (state.sync_wanted || state.closing));
            if sync || state.closing || !state.pending.is_empty() || self.tail.is_behind() {
                state.sync_wanted = false;
                if !is_switching {
                    std::mem::swap(&mut state.pending, &mut self.incoming);
                    state.kept += self.incoming.len();
                }
                return Task { sync, release: state.policy == SyncPolicy::No, closing: state.closing };
            }
            let timeout = if unsynced && state.policy == SyncPolicy::EverySecond {
                SECOND.saturating_sub(self.last_sync.elapsed()).max(Duration::from_millis(1))
            } else {
                SECOND
            };
            self.shared.work.wait_for(&mut state, timeout);
        }
    }

    fn carry_out(&mut self, task: &Task) -> std::io::Result<()> {
        self.tail.write()?;
        if task.sync {
            self.tail.sync()?;
            self.last_sync = Instant::now();
        } else if task.release {
            self.tail.release();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
