//! The append-only log, changes on disk in the order they were made, in the multi-part layout of Redis 7; and snapshots.
//!
//! ```text
//! dir/dump.rdb                                   REDIS0010 …
//! dir/appendonlydir/appendonly.aof.manifest      file appendonly.aof.1.base.rdb seq 1 type b
//!                                                file appendonly.aof.1.incr.aof seq 1 type i
//! dir/appendonlydir/appendonly.aof.1.base.rdb    REDIS0010 …
//! dir/appendonlydir/appendonly.aof.1.incr.aof    *2␍␊$6␍␊SELECT␍␊$1␍␊0␍␊ *3␍␊$3␍␊SET␍␊ …
//! ```
//!
//! redis-server opens such a directory, and we open one of redis-server.
//!
//! * [`AppendLog`] takes records while the store's shards are locked (it copies them to a buffer and returns), and a thread of its own writes and
//!   fsyncs them in groups. Who must not answer before the disk has it waits for an offset ([`AppendLog::wait`]).
//! * [`replay`] reads a log back command by command. A tail torn off by a crash is cut away and said so; damage before the end stops
//!   the start with file and offset. A transaction whose EXEC is missing never happened.
//! * [`SnapshotWriter`] and [`read_snapshot`] write and read all data as one file in the format of Redis's RDB; [`SnapshotFile`] puts it in its place.
//! * [`check_log`] looks at files without loading them, and [`cut`] takes a damaged end away.
//! * [`Rewrite`] makes the log short again: a snapshot as its base, and an increment for what follows.
//!
//! All files are reached through a [`disk::Disk`], on which a [`sealed::SealedDisk`] may be put. What a command means is not known here.

mod check;
pub mod disk;
mod error;
pub mod faulty;
mod manifest;
mod replay;
mod rewrite;
pub mod sealed;
mod snapshot;
mod tail;
mod writer;

pub use check::{
    COPY_SUFFIX, Fault, Finding, Kind, Known, Remedy, check_log, check_log_file, check_snapshot, cut, export,
};
pub use error::{Error, Form, Place};
pub use manifest::{BaseForm, LogFiles, Manifest, Replaced};
pub use replay::{Apply, Reading, Record, Replayed, Torn, replay};
pub use rewrite::{Increment, Rewrite, Standing};
pub use snapshot::{
    Head, Into, Item, Read, SnapshotFile, SnapshotWriter, Take, as_commands, read_snapshot, read_snapshot_from,
};
pub use writer::{AppendLog, SyncPolicy, annotate};
