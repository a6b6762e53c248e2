//! Parts of an image on their way into a file.
//!
//! Who writes a share because it is about to change it must not wait for a disk, so parts are put in a queue, which the background thread empties into the
//! file. The queue has a bound: who finds it full empties it itself. That is slow for one client, but nobody's memory runs over because the disk is slow.

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redpoll_commands::engine::Engine;
use redpoll_commands::settings::Setting;
use redpoll_keyspace::{Collector, Part};
use redpoll_persist::disk::{Disk, WriteFile, directory_of};
use redpoll_persist::{Error, Head, SnapshotFile, annotate, as_commands};
use redpoll_resp::encode_command;

use super::stop::Stop;

/// Bytes that wait in the queue before who adds to it writes them.
const QUEUED_MAX: usize = 32 << 20;

/// What is written.
pub(super) enum Output {
    /// A snapshot.
    Snapshot(SnapshotFile),
    /// Commands.
    Commands(CommandFile),
}

impl Output {
    fn part(&mut self, part: &Part) -> Result<(), Error> {
        match self {
            Output::Snapshot(file) => file.part(part.db, &part.bytes),
            Output::Commands(file) => file.part(part),
        }
    }

    /// Ends the file and puts it in its place; returns its length.
    pub(super) fn commit(self, place: &Path) -> Result<u64, Error> {
        match self {
            Output::Snapshot(file) => file.commit(place),
            Output::Commands(file) => file.commit(place),
        }
    }
}

/// A base of the log in the making that holds commands; it goes away if it is not finished.
pub(super) struct CommandFile {
    out: BufWriter<Box<dyn WriteFile>>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    db: Option<usize>,
}

impl CommandFile {
    /// Begins with the time, if it is to be noted, and the libraries of functions.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        head: &Head,
        time: Option<u64>,
    ) -> Result<CommandFile, Error> {
        let file = disk.create(&path).map_err(Error::io(&path))?;
        let mut made = CommandFile { out: BufWriter::new(file), disk: Arc::clone(disk), path, db: None };
        let mut bytes = Vec::new();
        if let Some(second) = time {
            annotate(second, &mut bytes);
        }
        for library in &head.libraries {
            encode_command(&[b"FUNCTION".as_slice(), b"LOAD", library], &mut bytes);
        }
        made.write(&bytes)?;
        Ok(made)
    }

    fn part(&mut self, part: &Part) -> Result<(), Error> {
        let mut bytes = Vec::new();
        if self.db != Some(part.db) {
            encode_command(&[b"SELECT".as_slice(), part.db.to_string().as_bytes()], &mut bytes);
            self.db = Some(part.db);
        }
        as_commands(&part.bytes, &mut bytes);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    fn commit(mut self, place: &Path) -> Result<u64, Error> {
        let placed = self.out.flush().and_then(|()| {
            self.out.get_mut().sync()?;
            self.disk.rename(&self.path, place)?;
            self.disk.sync_dir(directory_of(place))?;
            self.out.get_ref().length()
        });
        placed.map_err(Error::io(place))
    }
}

impl Drop for CommandFile {
    fn drop(&mut self) {
        // A file that has its place has no name here any more.
        self.disk.remove(&self.path).ok();
    }
}

#[derive(Default)]
struct Queue {
    parts: VecDeque<Part>,
    bytes: usize,
    /// Keys that are in the file.
    written: u64,
}

/// The queue and the file.
pub(super) struct Spool {
    queue: Mutex<Queue>,
    /// Locked while parts are written, before the queue. None once the file was taken; what the disk said, if it refused.
    output: Mutex<Option<Result<Output, Error>>>,
    /// Time that each key is to take, for tests.
    delay: Duration,
    stop: Arc<Stop>,
}

impl Spool {
    pub(super) fn new(engine: &Engine, output: Output, stop: Arc<Stop>) -> Spool {
        let delay = Duration::from_micros(engine.settings.size(Setting::RdbKeySaveDelay) as u64);
        Spool { queue: Mutex::default(), output: Mutex::new(Some(Ok(output))), delay, stop }
    }

    /// Writes what waits; returns how many keys are written by now.
    pub(super) fn empty(&self) -> u64 {
        let mut output = self.output.lock();
        loop {
            let mut queue = self.queue.lock();
            let Some(part) = queue.parts.pop_front() else { return queue.written };
            queue.bytes -= part.bytes.len();
            drop(queue);
            if let Some(Ok(file)) = output.as_mut() {
                let written = if self.stop.is_demanded() { Err(given_up()) } else { file.part(&part) };
                if let Err(error) = written {
                    *output = Some(Err(error));
                }
            }
            self.queue.lock().written += part.keys as u64;
            self.stop.rest(self.delay.saturating_mul(part.keys as u32));
        }
    }

    /// Tells whether the disk refused.
    pub(super) fn has_failed(&self) -> bool {
        matches!(&*self.output.lock(), Some(Err(_)))
    }

    /// Writes what waits and takes the file.
    pub(super) fn finish(&self) -> Result<Output, Error> {
        self.empty();
        self.output.lock().take().expect("the file is taken once")
    }
}

fn given_up() -> Error {
    Error::Io { path: PathBuf::new(), source: std::io::Error::other("it was given up") }
}

/// Takes parts for a spool.
pub(super) struct Parts(pub(super) Arc<Spool>);

impl Collector for Parts {
    fn collect(&self, part: Part) {
        let mut queue = self.0.queue.lock();
        queue.bytes += part.bytes.len();
        queue.parts.push_back(part);
        let is_full = queue.bytes > QUEUED_MAX;
        drop(queue);
        if is_full {
            self.0.empty();
        }
    }
}
