//! Snapshots: all data in one file, in the format of Redis's RDB.
//!
//! ```text
//! REDIS0010 │ 0xfa name value … │ 0xf5 library … │ 0xfe database, 0xfb sizes, entry … │ … │ 0xff │ CRC-64 of everything before, or 0
//! ```
//!
//! The version written is the lowest that can hold the data: 10, that of Redis 7.0, unless a field of a hash has a deadline, which is of Redis 7.4 and
//! version 12. So redis-server 7.0 and its tools read what holds nothing that they do not know. Versions 1 to 12 are read.
//!
//! A file comes into being beside its place ([`SnapshotFile`]) and takes it once all of it is on the disk: there is the old one or the new one, never a part.
//! Reading goes through the file once with a window as large as the largest value; a length is compared with what is left of the file before anything is
//! read, and what is wrong is told with its offset. Entries and values have their format in `keyspace::rdb`; which keys go where is not known here.

mod as_commands;
mod file;
mod read;
#[cfg(test)]
mod tests;
mod window;
mod write;

pub use as_commands::as_commands;
pub use file::SnapshotFile;
pub use read::{Into, Item, Read, Take, read_snapshot, read_snapshot_from};
pub use write::{Head, SnapshotWriter};

/// What every snapshot begins with.
pub(crate) const MAGIC: &[u8] = b"REDIS";

/// Bytes of the beginning: the word and four digits.
const HEAD_LEN: usize = 9;

/// The first byte of what is no entry.
mod opcode {
    pub(super) const SLOT_INFO: u8 = 0xf4;
    pub(super) const LIBRARY: u8 = 0xf5;
    pub(super) const LIBRARY_BEFORE_RELEASE: u8 = 0xf6;
    pub(super) const MODULE_AUX: u8 = 0xf7;
    pub(super) const IDLE: u8 = 0xf8;
    pub(super) const FREQUENCY: u8 = 0xf9;
    pub(super) const AUX: u8 = 0xfa;
    pub(super) const SIZES: u8 = 0xfb;
    pub(super) const DEADLINE: u8 = 0xfc;
    pub(super) const DEADLINE_SECONDS: u8 = 0xfd;
    pub(super) const DATABASE: u8 = 0xfe;
    pub(super) const END: u8 = 0xff;
}
