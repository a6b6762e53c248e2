//! A disk that fails where a test says so.
//!
//! It has two layers, as a real one has: what programs see (the page cache) and what is left after the power went. A sync that fails stores a part and
//! drops the rest from what is yet to be stored, as Linux does; a write that is refused may leave something behind all the same.

use std::io::{Error, Result, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::WriteFile;

/// What goes wrong, and at which call of its kind, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The write takes three bytes.
    ShortWrite(usize),
    /// The write is refused, though two bytes have arrived.
    Write(usize),
    /// The sync is refused.
    Sync(usize),
    /// The cut is refused.
    Truncate(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Platter {
    /// What a reader sees.
    pub(crate) seen: Vec<u8>,
    /// What is there after the power went.
    pub(crate) stored: Vec<u8>,
    /// Where what is to be stored by the next sync begins.
    dirty_from: usize,
    pub(crate) faults: Vec<Fault>,
    /// Refuses everything.
    pub(crate) refusing: bool,
    writes: usize,
    pub(crate) syncs: usize,
    truncates: usize,
}

impl Platter {
    fn strikes(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn store(&mut self, end: usize) {
        self.stored.resize(self.stored.len().max(end), 0);
        let from = self.dirty_from.min(end);
        self.stored[from..end].copy_from_slice(&self.seen[from..end]);
        self.dirty_from = self.seen.len();
    }
}

/// A handle on the disk for the log and one for the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailingFile(pub(crate) Arc<Mutex<Platter>>);

fn refused<T>() -> Result<T> {
    Err(Error::other("the disk refuses"))
}

impl Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let disk = &mut *self.0.lock();
        let call = disk.writes;
        disk.writes += 1;
        if disk.refusing {
            return refused();
        }
        let taken = match () {
            () if disk.strikes(Fault::Write(call)) => 2,
            () if disk.strikes(Fault::ShortWrite(call)) => 3,
            () => bytes.len(),
        };
        let taken = taken.min(bytes.len());
        disk.seen.extend_from_slice(&bytes[..taken]);
        if disk.strikes(Fault::Write(call)) { refused() } else { Ok(taken) }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl WriteFile for FailingFile {
    fn length(&self) -> Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn sync(&mut self) -> Result<()> {
        let disk = &mut *self.0.lock();
        let call = disk.syncs;
        disk.syncs += 1;
        if disk.refusing || disk.strikes(Fault::Sync(call)) {
            disk.store(disk.dirty_from.midpoint(disk.seen.len()));
            return refused();
        }
        disk.store(disk.seen.len());
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> Result<()> {
        let disk = &mut *self.0.lock();
        let call = disk.truncates;
        disk.truncates += 1;
        if disk.refusing || disk.strikes(Fault::Truncate(call)) {
            return refused();
        }
        let length = usize::try_from(length).expect("it fits in memory");
        assert!(length <= disk.seen.len(), "a cut must not make the file longer");
        disk.seen.truncate(length);
        disk.stored.truncate(length);
        disk.dirty_from = disk.dirty_from.min(length);
        Ok(())
    }
}
