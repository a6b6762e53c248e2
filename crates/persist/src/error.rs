//! What can go wrong with a log.

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
    /// The manifest is not one.
    #[error("{path}: line {line}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The log is damaged before its end.
    #[error(
        "{path}: damaged at offset {offset}: {reason}; repair it with `redis-check-aof --fix`, which cuts the file off there"
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
    #[error("{path}: the snapshot cannot be loaded: offset {offset}: {reason}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Where what is wrong begins, bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
