//! What can go wrong with a log.
//!
//! Where redis-server says the same when it does not start, the words are its own: people and tools look for them in its log.

use std::path::PathBuf;

use crate::sealed::{Fault, Kind};

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
        "Unexpected end of file reading the append only file {path}: the last change, at offset {offset}, is not whole. You can: 1) Make a backup of it, then use {}, which cuts it off there. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server.",
        .form.tools()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the change begins that is not whole, bytes.
        offset: u64,
        /// What the file is.
        form: Form,
    },
    /// The log holds a command that cannot be applied.
    #[error(
        "{reason} reading the append only file {path}: damaged at offset {offset}; make a backup of it, then repair it with {}, which cuts it off there",
        .form.tools()
    )]
    Inapplicable {
        /// The file.
        path: PathBuf,
        /// Where the command ends, bytes.
        offset: u64,
        /// What the file is.
        form: Form,
        /// What is wrong with it.
        reason: String,
    },
    /// The log is damaged before its end.
    #[error(
        "Bad file format reading the append only file {path}: damaged at offset {offset}: {reason}; make a backup of it, then repair it with {}, which cuts it off there",
        .form.tools()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged command begins, bytes.
        offset: u64,
        /// What the file is.
        form: Form,
        /// What is wrong.
        reason: String,
    },
    /// A sealed file cannot be opened.
    #[error("{path}: {reason}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Which key is missing.
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
    /// Makes an error of what was said when a file was used.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| match source.downcast() {
            Ok(Fault::Damaged { offset, kind: Kind::Whole, reason }) => {
                Error::Snapshot { path, offset, key: None, reason }
            }
            Ok(Fault::Damaged { offset, kind: Kind::Growing, reason }) => {
                Error::Damaged { path, offset, form: Form::Sealed, reason }
            }
            Ok(fault @ Fault::NoKey { .. }) => Error::Sealed { path, reason: fault.to_string() },
            Err(source) => Error::Io { path, source },
        }
    }
}

/// Whether others can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// They can.
    Plain,
    /// It is sealed: tools of Redis would take it for garbage and cut all of it off.
    Sealed,
}

impl Form {
    fn tools(self) -> &'static str {
        match self {
            Form::Plain => "redis-check-aof --fix on the manifest or redpoll check --repair on the data directory",
            Form::Sealed => "redpoll check --repair on the data directory",
        }
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
