//! The end of the log: bytes on their way into the file and to the disk.
//!
//! ```text
//!  file   ├── released ──┼──── written ────┤
//!  memory                ├──── written ────┼── unwritten ──┤      = kept
//!                        └ what a repair cuts the file back to
//! ```
//!
//! A byte is kept in memory until it is known to be on the disk, not merely until it is written: after a failed fsync Linux counts the pages as clean
//! although they were never stored, so an fsync that succeeds afterwards says nothing about them. redis-server ends itself when that happens under
//! `appendfsync always`. We stay up and repair: the file is cut back to the last length that was synced, which takes the doubtful pages away, and what
//! followed is written again from memory before the next fsync. Reading it back from the file instead would trust the very pages that are in doubt.
//!
//! A write that stops half-way goes on where it stopped. One that fails outright is followed by a cut to the length that is known, in case something
//! arrived after all. So no byte is ever in the file twice, and never behind a torn one.
//!
//! Under `appendfsync no` nobody says when bytes reach the disk; they are released as soon as they are written, and a later fsync that fails can only
//! bring back what is still kept.

use std::io::{Error, ErrorKind, Result};

use crate::disk::WriteFile;

/// The bytes that are not known to be on the disk, and the file they go to.
#[derive(Debug)]
pub(crate) struct Tail {
    file: Box<dyn WriteFile>,
    /// Length of the file when it was opened.
    start: u64,
    /// Bytes that went into files before this one.
    base: u64,
    /// Bytes that went into files since and are no longer kept.
    released: u64,
    kept: Vec<u8>,
    /// How many of the kept bytes are in the file.
    written: usize,
    /// The file may be longer than what is known to be in it.
    doubtful: bool,
    /// A sync has failed and none has succeeded since.
    unsynced: bool,
}

impl Tail {
    /// Begins behind what the file holds.
    pub(crate) fn new(file: Box<dyn WriteFile>, length: u64) -> Tail {
        Tail {
            file,
            start: length,
            base: 0,
            released: 0,
            kept: Vec::new(),
            written: 0,
            doubtful: false,
            unsynced: false,
        }
    }

    /// Goes on in another, empty file. Everything must be synced.
    pub(crate) fn switch(&mut self, file: Box<dyn WriteFile>) {
        assert!(self.kept.is_empty() && !self.unsynced, "what belongs to the old file is on the disk");
        self.file = file;
        self.start = 0;
        self.base = self.released;
    }

    /// Takes bytes over, leaving the buffer empty.
    pub(crate) fn take(&mut self, bytes: &mut Vec<u8>) {
        if self.kept.is_empty() {
            std::mem::swap(&mut self.kept, bytes);
        } else {
            self.kept.append(bytes);
        }
    }

    /// Bytes in memory.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Bytes that are in the files, counted from the opening of the first.
    pub(crate) fn written(&self) -> u64 {
        self.released + self.written as u64
    }

    /// Tells whether something is left to write.
    pub(crate) fn is_behind(&self) -> bool {
        self.written < self.kept.len()
    }

    /// Tells whether the failure of a sync is still to be made good: only another sync can do that.
    pub(crate) fn must_sync(&self) -> bool {
        self.unsynced
    }

    /// Writes what is kept and not yet in the file.
    ///
    /// # Errors
    /// What the disk said; what went into the file until then is remembered.
    pub(crate) fn write(&mut self) -> Result<()> {
        if self.doubtful {
            self.file.truncate(self.start + self.written() - self.base)?;
            self.doubtful = false;
        }
        while self.is_behind() {
            match self.file.write(&self.kept[self.written..]) {
                Ok(0) => return Err(Error::new(ErrorKind::WriteZero, "the file takes no more bytes")),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.doubtful = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Forces what is written to the disk and releases it.
    ///
    /// # Errors
    /// What the disk said; everything kept counts as not written again.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if let Err(error) = self.file.sync() {
            self.written = 0;
            self.doubtful = true;
            self.unsynced = true;
            return Err(error);
        }
        self.unsynced = false;
        self.release();
        Ok(())
    }

    /// Forgets what is written.
    pub(crate) fn release(&mut self) {
        self.released += self.written as u64;
        self.file.release(self.start + self.released - self.base);
        if self.written == self.kept.len() {
            self.kept.clear();
        } else {
            self.kept.drain(..self.written);
        }
        self.written = 0;
    }
}

#[cfg(test)]
mod tests;
