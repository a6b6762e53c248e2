//! Values as bytes, in the format of Redis's RDB files: what DUMP answers and RESTORE reads, and what a snapshot holds for each key.
//!
//! ```text
//! payload   ┌ type 1 ┬ value … ┬ version, u16 ┬ CRC-64 of everything before, u64 ┐        little endian
//! length    00llllll │ 01llllll llllllll │ 0x80 u32 │ 0x81 u64                         big endian
//! string    length and bytes │ 0xc0 i8 │ 0xc1 i16 │ 0xc2 i32 │ 0xc3 packed length, length, LZF
//! ```
//!
//! Written are types of Redis 7.0 (version 10), which every later server reads; only a hash of which a field has a deadline is written as Redis
//! 7.4 does (version 12). Payloads are not compressed; [`Entries`] of a snapshot are, if the settings say so. Read is every type of strings, lists, sets, sorted sets, hashes and streams up to Redis 7.4: also zipmaps and ziplists, which servers
//! before 7.0 wrote (`older`), and the hashes of the release candidates of 7.4. Modules' values are refused.
//!
//! Nothing that is read is believed. Lengths are compared with what is there before anything is allocated, blocks are walked once from end to end, members that
//! occur twice and scores that are no numbers are refused, and what decompression may yield is limited for a value as a whole. A value that is read comes out in
//! the form its size calls for here, whatever form it had there.

#[cfg(test)]
mod deadline_tests;
mod entries;
mod extent;
mod older;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod write;

use redpoll_structures::crc::crc64;

pub use redpoll_structures::crc::crc64_after as checksum_after;
pub use redpoll_structures::record::MAX_KEY_LEN as KEY_LEN_MAX;

pub use entries::{Compression, Entries};
pub use extent::{Extent, length_extent, string_extent, value_extent};
pub use read::{is_empty_value, read_length, read_stored_entry, read_string, read_value};
pub use write::{write_length, write_object, write_string};

use crate::{Entry, Object};

/// Version written: that of Redis 7.0.
pub const VERSION: u16 = 10;
/// The latest version that is read: that of Redis 7.4. It is written where a field of a hash has a deadline.
pub const VERSION_MAX: u16 = 12;
/// Bytes of version and checksum.
const FOOTER: usize = 10;

/// The first byte of a value.
mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const SET: u8 = 2;
    /// Scores as text.
    pub(super) const SORTED_SET_TEXT: u8 = 3;
    pub(super) const HASH: u8 = 4;
    pub(super) const SORTED_SET: u8 = 5;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const SET_INTS: u8 = 11;
    pub(super) const SORTED_SET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_ZIPLISTS: u8 = 14;
    pub(super) const HASH_PACKED: u8 = 16;
    pub(super) const SORTED_SET_PACKED: u8 = 17;
    pub(super) const LIST_CHUNKS: u8 = 18;
    pub(super) const STREAM_5: u8 = 15;
    pub(super) const STREAM: u8 = 19;
    pub(super) const STREAM_7_2: u8 = 21;
    /// Of Redis 7.2, never written.
    pub(super) const SET_PACKED: u8 = 20;
    /// Of release candidates of Redis 7.4, never written.
    pub(super) const HASH_DEADLINES_RC: u8 = 22;
    pub(super) const HASH_TRIPLES_RC: u8 = 23;
    /// Deadline, field, value, …; of Redis 7.4, as is the next.
    pub(super) const HASH_DEADLINES: u8 = 24;
    /// A packed block of field, value, deadline, …
    pub(super) const HASH_TRIPLES: u8 = 25;

    /// Says what is wrong with a value of a kind that cannot be read, in the words of Redis's log.
    pub(super) fn complaint(kind: u8) -> &'static str {
        match kind {
            STRING => "String integrity check failed.",
            LIST => "List integrity check failed.",
            SET => "Duplicate set members detected, or set integrity check failed.",
            SORTED_SET_TEXT | SORTED_SET => "Duplicate zset fields detected, or zset integrity check failed.",
            HASH => "Duplicate hash fields detected, or hash integrity check failed.",
            HASH_ZIPMAP => "Zipmap integrity check failed.",
            LIST_ZIPLIST => "List ziplist integrity check failed.",
            SET_INTS => "Intset integrity check failed.",
            SET_PACKED => "Set listpack integrity check failed.",
            SORTED_SET_ZIPLIST => "Zset ziplist integrity check failed.",
            HASH_ZIPLIST => "Hash ziplist integrity check failed.",
            LIST_ZIPLISTS => "Ziplist integrity check failed.",
            HASH_PACKED | HASH_TRIPLES | HASH_TRIPLES_RC => "Hash listpack integrity check failed.",
            HASH_DEADLINES | HASH_DEADLINES_RC => "Hash integrity check failed.",
            SORTED_SET_PACKED => "Zset listpack integrity check failed.",
            LIST_CHUNKS => "Listpack integrity check failed.",
            STREAM_5 | STREAM | STREAM_7_2 => "Stream listpack integrity check failed.",
            _ => "Unknown type of value.",
        }
    }
}

/// How a chunk of a list is held.
mod container {
    /// One long element.
    pub(super) const PLAIN: u64 = 1;
    /// A packed block.
    pub(super) const PACKED: u64 = 2;
}

/// A value that was read.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(Vec<u8>),
    /// Anything else.
    Object(Object),
}

/// A key of a snapshot with what is said of it.
#[derive(Debug)]
pub struct StoredKey {
    /// The key with its value and its deadline.
    pub entry: Entry,
    /// For how long it had not been used.
    pub idle_seconds: Option<u64>,
    /// How often it had been used, on a logarithmic scale.
    pub frequency: Option<u8>,
}

/// Why a payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its version is unknown or its checksum is wrong.
    Footer,
    /// It holds no value, or one that cannot be held here; the text says what is wrong.
    Value(&'static str),
}

/// Whether the checksum of a payload counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// A payload whose checksum is wrong is refused.
    Checked,
    /// It may be wrong: what is tested is how damage is found without it.
    Ignored,
}

/// Makes the payload of DUMP.
pub fn dump(entry: &Entry) -> Vec<u8> {
    let mut out = write::Output::default();
    write::entry(entry, &mut out);
    let mut payload = out.bytes;
    let version = match payload.first() {
        Some(&kind::HASH_DEADLINES | &kind::HASH_TRIPLES) => VERSION_MAX,
        _ => VERSION,
    };
    payload.extend(version.to_le_bytes());
    payload.extend(crc64(&payload).to_le_bytes());
    payload
}

/// Reads the payload of RESTORE. `seed` must be secret, it goes into hash functions.
pub fn restore(payload: &[u8], checksum: Checksum, limits: &crate::Limits, seed: u64) -> Result<Value, Refused> {
    let end = payload.len().checked_sub(FOOTER).ok_or(Refused::Footer)?;
    let (version, sum) = payload[end..].split_at(2);
    let version = u16::from_le_bytes([version[0], version[1]]);
    let agrees = checksum == Checksum::Ignored || crc64(&payload[..end + 2]).to_le_bytes() == sum;
    if version > VERSION_MAX || !agrees {
        return Err(Refused::Footer);
    }
    match read_value(&payload[..end], limits, seed)? {
        (value, []) => Ok(value),
        _ => Err(Refused::Value("Bytes follow the value")),
    }
}
