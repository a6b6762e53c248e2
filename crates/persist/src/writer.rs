//! Writing the log: a buffer filled under the store's locks, emptied by a thread.
//!
//! Group commit: whatever has gathered while the disk was busy is written and synced at once. Offsets count bytes since the log was opened; `always` means
//! that a reply waits until the offset of its own change is synced. If the disk refuses, the thread keeps the bytes and tries again every second; meanwhile the
//! log says that it is failing, so that the store can refuse writes and waiters are told.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::{Error, LogFiles, Manifest};

/// Bytes that may wait for the disk before callers are held back.
const PENDING_MAX: usize = 64 << 20;

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
    path: PathBuf,
}

#[derive(Debug)]
struct State {
    pending: Vec<u8>,
    policy: SyncPolicy,
    /// Database selected by what was appended last.
    db: Option<usize>,
    appended: u64,
    written: u64,
    synced: u64,
    /// Somebody waits for a sync regardless of the policy.
    sync_wanted: bool,
    failure: Option<String>,
    closing: bool,
}

impl State {
    fn covers(&self, offset: u64) -> bool {
        match self.policy {
            SyncPolicy::Always => self.synced >= offset,
            SyncPolicy::EverySecond | SyncPolicy::No => self.pending.len() <= PENDING_MAX,
        }
    }
}

impl AppendLog {
    /// Opens the last increment for appending and starts the thread.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Manifest`].
    pub fn open(files: &LogFiles, policy: SyncPolicy) -> Result<AppendLog, Error> {
        let mut manifest = Manifest::read(files)?;
        let before = manifest.clone();
        let path = files.path(manifest.open_increment(files));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        if manifest != before {
            manifest.write(files)?;
        }
        let state = State {
            pending: Vec::new(),
            policy,
            db: None,
            appended: 0,
            written: 0,
            synced: 0,
            sync_wanted: false,
            failure: None,
            closing: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
            path: path.clone(),
        });
        let writer = Writer { shared: Arc::clone(&shared), file, last_sync: Instant::now() };
        let thread = std::thread::Builder::new().name("redpoll-log".into()).spawn(move || writer.run());
        let thread = thread.map_err(Error::io(path))?;
        Ok(AppendLog { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Appends encoded commands as one unit (framed by MULTI and EXEC if there are several) and returns the offset after them.
    /// Copies and returns: it never waits for the disk.
    pub fn append<'a>(&self, records: impl ExactSizeIterator<Item = (usize, &'a [u8])>) -> u64 {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let was_empty = state.pending.is_empty();
        let before = state.pending.len();
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

    /// Waits as the policy asks: until `offset` is synced under `always`; otherwise only while too much waits for the disk.
    ///
    /// # Errors
    /// What the disk said, if it refuses and the policy is `always`.
    pub fn wait(&self, offset: u64) -> Result<(), String> {
        let mut state = self.shared.state.lock();
        loop {
            if state.covers(offset) {
                return Ok(());
            }
            if let (Some(failure), SyncPolicy::Always) = (&state.failure, state.policy) {
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
                return Err(Error::Io {
                    path: self.shared.path.clone(),
                    source: std::io::Error::other(failure.clone()),
                });
            }
            state.sync_wanted = true;
            self.shared.work.notify_one();
            self.shared.progress.wait(&mut state);
        }
        Ok(())
    }

    /// Changes when the log is forced to disk.
    pub fn set_policy(&self, policy: SyncPolicy) {
        self.shared.state.lock().policy = policy;
        self.shared.work.notify_one();
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

fn select(out: &mut Vec<u8>, db: usize) {
    redpoll_resp::encode_command(&[b"SELECT".as_slice(), db.to_string().as_bytes()], out);
}

struct Writer {
    shared: Arc<Shared>,
    file: File,
    last_sync: Instant,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let (sync, closing) = self.gather(&mut batch);
            let result = self.write(&batch, sync);
            let mut state = self.shared.state.lock();
            match result {
                Ok(()) => {
                    state.written += batch.len() as u64;
                    batch.clear();
                    if sync {
                        state.synced = state.written;
                    }
                    state.failure = None;
                }
                Err(error) => state.failure = Some(error.to_string()),
            }
            self.shared.progress.notify_all();
            if closing && (state.failure.is_some() || state.pending.is_empty()) {
                return;
            }
            if state.failure.is_some() {
                self.shared.work.wait_for(&mut state, SECOND);
            }
        }
    }

    /// Waits for something to do and takes it over; returns whether it must be synced and whether the end has come.
    fn gather(&mut self, batch: &mut Vec<u8>) -> (bool, bool) {
        let mut state = self.shared.state.lock();
        loop {
            let unsynced = state.synced < state.appended;
            let due = match state.policy {
                SyncPolicy::Always => unsynced,
                SyncPolicy::EverySecond => unsynced && self.last_sync.elapsed() >= SECOND,
                SyncPolicy::No => false,
            };
            let sync = due || (unsynced && (state.sync_wanted || state.closing));
            if sync || state.closing || !state.pending.is_empty() || !batch.is_empty() {
                state.sync_wanted = false;
                if batch.is_empty() {
                    std::mem::swap(&mut state.pending, batch);
                } else {
                    batch.append(&mut state.pending);
                }
                return (sync, state.closing);
            }
            let timeout = if unsynced && state.policy == SyncPolicy::EverySecond {
                SECOND.saturating_sub(self.last_sync.elapsed()).max(Duration::from_millis(1))
            } else {
                SECOND
            };
            self.shared.work.wait_for(&mut state, timeout);
        }
    }

    /// Writes the batch and syncs. A write that fails half-way is undone, so that trying again does not leave a torn command in the middle.
    fn write(&mut self, batch: &[u8], sync: bool) -> std::io::Result<()> {
        if !batch.is_empty() {
            let length = self.file.metadata()?.len();
            if let Err(error) = self.file.write_all(batch) {
                self.file.set_len(length)?;
                return Err(error);
            }
        }
        if sync {
            self.file.sync_data()?;
            self.last_sync = Instant::now();
        }
        Ok(())
    }
}
