//! Keys with their values as a snapshot holds them.
//!
//! ```text
//! entry     [ 0xfc deadline, u64 little endian ] [ 0xf8 idle seconds, length │ 0xf9 frequency, 1 byte ] type │ key │ value …
//! ```

use redpoll_structures::lzf::Compressor;

use super::write::{self, Output, length};
use crate::{Entry, Stamping, lfu_counter, lru_idle_seconds};

/// Stands before a deadline, an idle time and a frequency.
const DEADLINE: u8 = 0xfc;
const IDLE: u8 = 0xf8;
const FREQUENCY: u8 = 0xf9;

/// Whether strings are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Where it saves something.
    Lzf,
    /// Not at all.
    Off,
}

/// Entries being written.
pub struct Entries {
    out: Output<'static>,
    stamping: Option<Stamping>,
}

impl Entries {
    /// Begins; with a stamping it is told of each key how long it has not been used, or how often it was.
    pub fn new(compression: Compression, stamping: Option<Stamping>) -> Entries {
        let compressor = (compression == Compression::Lzf).then(Compressor::default);
        Entries { out: Output { compressor, ..Output::default() }, stamping }
    }

    /// Writes one more entry.
    pub fn add(&mut self, entry: &Entry) {
        let mut out = Output {
            bytes: std::mem::take(&mut self.out.bytes),
            compressor: self.out.compressor.take(),
            key: Some(entry.key()),
        };
        if let Some(deadline) = entry.deadline() {
            out.push(DEADLINE);
            out.extend(deadline.to_le_bytes());
        }
        match self.stamping {
            None => {}
            Some(Stamping::Lru { clock }) => {
                out.push(IDLE);
                length(u64::from(lru_idle_seconds(entry.stamp(), clock)), &mut out);
            }
            Some(stamping) => out.extend([FREQUENCY, lfu_counter(entry.stamp(), stamping)]),
        }
        write::entry(entry, &mut out);
        (self.out.bytes, self.out.compressor) = (out.bytes, out.compressor);
    }

    /// Returns the number of bytes written since they were taken last.
    pub fn len(&self) -> usize {
        self.out.bytes.len()
    }

    /// Tells whether nothing was written since.
    pub fn is_empty(&self) -> bool {
        self.out.bytes.is_empty()
    }

    /// Takes what was written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out.bytes)
    }
}
