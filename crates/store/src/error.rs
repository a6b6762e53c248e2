//! What can go wrong with a store.

use std::path::PathBuf;

/// An error of the embeddable store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A command was refused; the text is what a client would see.
    #[error("{0}")]
    Command(String),
    /// The connection let more messages wait than `client-output-buffer-limit` allows: it was cut off, and what waited is lost.
    #[error("the connection was cut off: it received too slowly")]
    CutOff,
    /// A setting has an unknown name or a bad value.
    #[error("setting '{name}': {reason}")]
    Setting {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of the configuration file is wrong.
    #[error("{0}")]
    ConfigLine(redpoll_commands::config_file::Fault),
    /// A configuration file cannot be read.
    #[error("Fatal error, can't open config file '{path}': {reason}")]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Loading was [given up](crate::commands::load_state::LoadState::give_up).
    #[error("loading was given up, since the program ends")]
    GivenUp,
    /// The data directory cannot be used.
    #[error("data directory {path}: {reason}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] redpoll_persist::Error),
    /// The operating system gave no random numbers or no thread.
    #[error("the operating system refused: {0}")]
    System(String),
}
