//! What can go wrong with a log.
//!
//! Where redis-server says the same when it does not start, the words are its own: people and tools look for them in its log.

use std::path::PathBuf;

/// An error of the append-only log; each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file that the manifest names cannot be opened.
    #[error("Fatal error: can't open the append log file {name} for reading: {source}; it is looked for at {path}")]
    Missing {
        /// Its name in the manifest.
        name: String,
        /// Where it would be.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The manifest is not one.
    #[error("FATAL AOF MANIFEST FILE ERROR: {path}: {place}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong.
        reason: &'static str,
    },
    /// The log ends within a change, and the settings do not allow to leave that one out.
    #[error(
        "Unexpected end of file reading the append only file {path}: the last change, at offset {offset}, is not whole. You can: 1) Make a backup of it, then use redis-check-aof --fix on the manifest, or redpoll check --repair on the data directory, which cuts it off there. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server."
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the change begins that is not whole, bytes.
        offset: u64,
    },
    /// The log holds a command that cannot be applied.
    #[error(
        "{reason} reading the append only file {path}: damaged at offset {offset}; make a backup of it, then repair it with redis-check-aof --fix or redpoll check --repair, which cuts it off there"
    )]
    Inapplicable {
        /// The file.
        path: PathBuf,
        /// Where the command ends, bytes.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The log is damaged before its end.
    #[error(
        "Bad file format reading the append only file {path}: damaged at offset {offset}: {reason}; make a backup of it, then repair it with redis-check-aof --fix or redpoll check --repair, which cuts it off there"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged command begins, bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A snapshot is damaged, or holds what is not known here.
    #[error(
        "{path}: the snapshot cannot be loaded: offset {offset}: {}{reason}. Terminating server after rdb file reading failure.",
        of_key(.key)
    )]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Where what is wrong begins, bytes.
        offset: u64,
        /// The key whose value is wrong, if it is one.
        key: Option<Vec<u8>>,
        /// What is wrong, without anything of the data.
        reason: String,
    },
}

/// Names a key as the beginning of a reason.
pub(crate) fn of_key(key: &Option<Vec<u8>>) -> String {
    key.as_ref().map_or_else(String::new, |key| format!("key '{}': ", key.escape_ascii()))
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// A place in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(usize),
    /// No line of its own.
    Whole,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Line(number) => write!(out, "line {number}"),
            Place::Whole => out.write_str("all of it"),
        }
    }
}
