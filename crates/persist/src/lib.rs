//! The append-only log: changes on disk in the order they were made, in the multi-part layout of Redis 7.
//!
//! ```text
//! dir/appendonlydir/appendonly.aof.manifest      file appendonly.aof.1.incr.aof seq 1 type i
//! dir/appendonlydir/appendonly.aof.1.incr.aof    *2␍␊$6␍␊SELECT␍␊$1␍␊0␍␊ *3␍␊$3␍␊SET␍␊ …
//! ```
//!
//! redis-server opens such a directory, and we open one whose base, if it has one, is in the same command format.
//!
//! * [`AppendLog`] takes records while the store's shards are locked (it copies them to a buffer and returns), and a thread of its own writes and
//!   fsyncs them in groups. Who must not answer before the disk has it waits for an offset ([`AppendLog::wait`]).
//! * [`replay`] reads a log back command by command. A tail torn off by a crash is cut away and said so; damage before the end stops
//!   the start with file and offset. A transaction whose EXEC is missing never happened.
//!
//! What a command means is not known here.

mod error;
#[cfg(test)]
mod failing;
mod manifest;
mod replay;
mod tail;
mod writer;

pub use error::Error;
pub use manifest::{LogFiles, Manifest};
pub use replay::{Apply, Replayed, replay};
pub use writer::{AppendLog, SyncPolicy};
