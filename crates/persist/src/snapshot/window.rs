//! A window on a file that is read once from its beginning: as much of it in memory as is needed at a time.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use redpoll_keyspace::rdb::{Extent, checksum_after};

/// Bytes read at a time, at least.
const READ_LEN: usize = 1 << 18;

/// Why reading cannot go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// The system refuses.
    Io(std::io::Error),
    /// What stands in the file is wrong.
    Wrong(String),
    /// The value of a key is wrong.
    Value(Vec<u8>, String),
}

impl Fault {
    pub(super) fn wrong<T>(reason: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Wrong(reason.into()))
    }
}

/// The window.
pub(super) struct Window<'a, R> {
    source: R,
    /// Counts what is read.
    read: &'a AtomicU64,
    buf: Vec<u8>,
    /// How much of the buffer is used up.
    at: usize,
    /// Bytes of the file that were not read yet.
    left: u64,
    /// Offset in the file of what is not used up.
    pub(super) offset: u64,
    /// Checksum of what is used up.
    pub(super) sum: u64,
}

impl<'a, R: Read> Window<'a, R> {
    /// Begins a file of a length.
    pub(super) fn new(source: R, len: u64, read: &'a AtomicU64) -> Window<'a, R> {
        Window { source, read, buf: Vec::new(), at: 0, left: len, offset: 0, sum: 0 }
    }

    /// Returns what is in memory and not used up.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    /// Has at least so many bytes in memory.
    pub(super) fn need(&mut self, count: u64) -> Result<&[u8], Fault> {
        let there = self.rest().len();
        if count > there as u64 {
            if count - there as u64 > self.left {
                return Fault::wrong("the file ends too early");
            }
            let missing = (count as usize - there).max(READ_LEN);
            self.read(usize::try_from(self.left).map_or(missing, |left| missing.min(left)))?;
        }
        Ok(self.rest())
    }

    fn read(&mut self, count: usize) -> Result<(), Fault> {
        self.buf.drain(..self.at);
        self.at = 0;
        let before = self.buf.len();
        self.buf.resize(before + count, 0);
        match self.source.read_exact(&mut self.buf[before..]) {
            Ok(()) => {
                self.left -= count as u64;
                self.read.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Fault::wrong("the file became shorter"),
            Err(error) => return Err(Fault::Io(error)),
        }
        Ok(())
    }

    /// Has all of something in memory and returns its length. Who cannot tell yet how long it is gets twice as much to look at each time.
    pub(super) fn whole(&mut self, extent: impl Fn(&[u8]) -> Extent) -> Result<usize, Fault> {
        loop {
            match extent(self.rest()) {
                Extent::Whole(len) => return Ok(len),
                Extent::Unknown => return Fault::wrong("a length or a string of an unknown form"),
                Extent::More(count) => {
                    let there = self.rest().len() as u64;
                    let all = there + self.left;
                    self.need(count.max((there * 2).min(all)))?;
                }
            }
        }
    }

    /// Uses up bytes that are in memory.
    pub(super) fn advance(&mut self, count: usize) {
        self.sum = checksum_after(self.sum, &self.buf[self.at..self.at + count]);
        self.at += count;
        self.offset += count as u64;
    }

    /// Uses up some bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.need(N as u64)?;
        let bytes = *self.rest().first_chunk().expect("as many bytes are there");
        self.advance(N);
        Ok(bytes)
    }
}
