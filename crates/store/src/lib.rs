//! The embeddable store: the same commands on the same table as the server, without a server.
//!
//! ```
//! use redpoll_store::{Config, Store};
//!
//! let store = Store::open(Config::in_memory())?;
//! store.set("greeting", "hello")?;
//! assert_eq!(store.get("greeting")?.as_deref(), Some(&b"hello"[..]));
//!
//! // Any command, from any thread; a reply is a `Value`.
//! let store2 = store.clone();
//! std::thread::spawn(move || store2.call(&["INCRBY", "counter", "5"])).join().unwrap();
//! assert_eq!(store.call(&["GET", "counter"]).as_bytes(), Some(&b"5"[..]));
//! # Ok::<(), redpoll_store::Error>(())
//! ```
//!
//! A [`Store`] is a cheap handle that threads clone and share. A [`Connection`] is one caller's session on it, with a selected database, transactions and
//! buffers of its own: the fastest way in. No async runtime is involved: a call runs on the calling thread and returns when it is done.
//!
//! One background thread removes expired keys, watches memory, flushes the log and begins the snapshots that are due, for each of which there is a thread while
//! it is written; they end with the last handle or connection.

pub mod check;
mod clock;
mod config;
mod config_file;
mod connection;
mod disposer;
mod error;
mod host;
mod housekeeper;
mod loading;
mod log;
mod machine;
mod seals;
mod snapshots;
mod store;
mod subscription;

pub use clock::SystemClock;
pub use config::Config;
pub use connection::Connection;
pub use error::Error;
pub use loading::Load;
pub use log::Onlooker;
pub use redpoll_commands as commands;
pub use redpoll_persist::{Error as LogError, disk, faulty};
pub use redpoll_resp::Value;
pub use redpoll_script::twin;
pub use store::Store;
pub use subscription::{Message, Subscription};
