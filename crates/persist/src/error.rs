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
    /// The base is a snapshot.
    #[error(
        "{path}: the base is an RDB snapshot, which cannot be read yet; let redis-server rewrite the log with `aof-use-rdb-preamble no`"
    )]
    SnapshotBase {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
