//! What can go wrong, by the number of the call.

/// What goes wrong, and at which call of its kind, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write takes three bytes.
    ShortWrite(usize),
    /// The write is refused, though two bytes have arrived.
    Write(usize),
    /// The sync is refused, and drops what it did not store.
    Sync(usize),
    /// The cut is refused.
    Truncate(usize),
    /// Making a file, or opening one to append, is refused.
    Create(usize),
    /// The rename is refused.
    Rename(usize),
    /// The sync of a directory is refused.
    SyncDir(usize),
}

/// Kinds of calls that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Write,
    Sync,
    Truncate,
    Create,
    Rename,
    SyncDir,
}

/// How many kinds of calls there are.
pub(super) const CALLS: usize = 6;
