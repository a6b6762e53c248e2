//! The handle: opening, calling, closing.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redpoll_commands::acl;
use redpoll_commands::engine::{Engine, System};
use redpoll_commands::registry::Registry;
use redpoll_commands::settings::Setting;
use redpoll_resp::Value;

use crate::disposer::Disposer;
use crate::host::StoreHost;
use crate::housekeeper::Housekeeper;
use crate::log::{SharedLog, StoreLog};
use crate::machine::Machine;
use crate::{Config, Connection, Error, Subscription, SystemClock};

/// Connections kept for [`Store::call`] to borrow.
const POOLED_MAX: usize = 64;

/// A handle on a store; clones share it. The data lives until the last handle and connection are gone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    pool: Arc<Mutex<Vec<Connection>>>,
    housekeeper: Arc<Housekeeper>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) log: Option<Arc<StoreLog>>,
}

impl Inner {
    /// Waits until the log is on disk up to an offset, if the settings ask for that; the error is what a client is told.
    #[inline]
    pub(crate) fn wait_for_log(&self, offset: u64) -> Result<(), String> {
        self.log.as_ref().map_or(Ok(()), |log| log.wait(offset))
    }
}

impl Store {
    /// Opens a store: recovers what the log in the data directory holds, if the log is on.
    ///
    /// # Errors
    /// [`Error::Directory`] if the data directory cannot be made or written, [`Error::Log`] if the log is damaged in the middle.
    pub fn open(config: Config) -> Result<Store, Error> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Error::System(error.to_string()))?;
        let mut registry = Registry::new(redpoll_commands::families());
        registry.rename(&config.renames).map_err(|reason| Error::Setting { name: "rename-command".into(), reason })?;
        let clock = Box::new(SystemClock::new());
        let settings = config.settings;
        let log_wanted = settings.is_on(Setting::Appendonly);
        let engine = Engine::new(registry, settings, clock, u64::from_le_bytes(seed));
        engine
            .scripting
            .set(redpoll_script::scripting(&engine.settings))
            .ok()
            .expect("a new engine has no scripts yet");
        let disposer = Disposer::start().map_err(|error| Error::System(error.to_string()))?;
        engine.disposal.background.set(Box::new(disposer)).ok().expect("a new engine has no thread yet");
        engine.system.set(Box::new(Machine)).ok().expect("a new engine has no system yet");
        if let Some(file) = config.file {
            engine.config_file.set(file).expect("a new engine has no configuration file yet");
        }
        for name in config.without_effect {
            tracing::info!("the setting '{name}' has no effect here");
        }
        make_users(&engine, &config.users)?;
        let log = log_wanted.then(|| StoreLog::recover(&engine)).transpose()?;
        if let Some(log) = &log {
            engine.log.set(Box::new(SharedLog(Arc::clone(log)))).ok().expect("a new engine has no log yet");
        }
        let host = StoreHost { log: log.clone(), on_shutdown: config.on_shutdown };
        engine.host.set(Box::new(host)).ok().expect("a new engine has no host yet");
        let inner = Arc::new(Inner { engine, log });
        let housekeeper =
            Housekeeper::start(Arc::downgrade(&inner)).map_err(|error| Error::System(error.to_string()))?;
        Ok(Store { inner, pool: Arc::default(), housekeeper: Arc::new(housekeeper) })
    }

    /// Makes a connection: a session with a database and buffers of its own, for one thread.
    pub fn connect(&self) -> Connection {
        Connection::new(Arc::clone(&self.inner), Arc::clone(&self.housekeeper))
    }

    /// Runs one command in a session that begins and ends with it and returns its reply; an error reply is [`Value::Error`].
    ///
    /// State does not last from call to call (SELECT, MULTI, WATCH): use a [`Connection`] for that.
    pub fn call<A: AsRef<[u8]>>(&self, args: &[A]) -> Value {
        self.borrow(|connection| connection.call(args))
    }

    /// Returns the string at a key, `None` if there is no such key.
    ///
    /// # Errors
    /// [`Error::Command`] if the key holds another type.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        match self.call(&[b"GET", key.as_ref()]) {
            Value::Bulk(bytes) => Ok(Some(bytes)),
            Value::Error(text) => Err(Error::Command(text)),
            _ => Ok(None),
        }
    }

    /// Sets a key to a string, whatever it held before; a deadline it had goes away.
    ///
    /// # Errors
    /// [`Error::Command`] if the store refuses writes (memory is full).
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        match self.call(&[b"SET", key.as_ref(), value.as_ref()]) {
            Value::Error(text) => Err(Error::Command(text)),
            _ => Ok(()),
        }
    }

    /// Listens to channels: what is published from now on waits to be received.
    ///
    /// # Errors
    /// [`Error::Command`] with what a client would be told.
    pub fn subscribe<C: AsRef<[u8]>>(&self, channels: &[C]) -> Result<Subscription, Error> {
        let mut subscription = Subscription::new(self.connect());
        subscription.subscribe(channels)?;
        Ok(subscription)
    }

    /// Publishes a message to a channel and returns how many subscriptions it met.
    ///
    /// # Errors
    /// [`Error::Command`] with what a client would be told.
    pub fn publish(&self, channel: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Result<u64, Error> {
        match self.call(&[b"PUBLISH", channel.as_ref(), payload.as_ref()]) {
            Value::Error(text) => Err(Error::Command(text)),
            reply => Ok(reply.as_i64().map_or(0, i64::unsigned_abs)),
        }
    }

    /// Returns the engine, for layers that serve it to others.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Waits until the log is on disk up to an offset, if the settings ask for that.
    ///
    /// # Errors
    /// What the disk said, if it refuses.
    pub fn wait_for_log(&self, offset: u64) -> Result<(), String> {
        self.inner.wait_for_log(offset)
    }

    /// Tells whether a reply to a change at this offset can go out at once.
    pub fn log_covers(&self, offset: u64) -> bool {
        self.inner.log.as_ref().is_none_or(|log| log.covers(offset))
    }

    /// Tells whether there is a log that replies may have to wait for.
    pub fn waits_for_log(&self) -> bool {
        self.inner.log.is_some()
    }

    /// Forces everything logged so far to disk.
    ///
    /// # Errors
    /// [`Error::Log`] if the disk refuses.
    pub fn flush_log(&self) -> Result<(), Error> {
        self.inner.log.as_ref().map_or(Ok(()), |log| log.flush())
    }

    fn borrow<R>(&self, call: impl FnOnce(&mut Connection) -> R) -> R {
        let pooled = self.pool.lock().pop();
        let mut connection = pooled.unwrap_or_else(|| self.connect());
        let result = call(&mut connection);
        let mut pool = self.pool.lock();
        if connection.is_pristine() && pool.len() < POOLED_MAX {
            pool.push(connection);
        }
        result
    }
}

/// Makes the users that the settings or the file they name tell of.
fn make_users(engine: &Engine, lines: &[String]) -> Result<(), Error> {
    let path = engine.settings.text(Setting::Aclfile);
    let refuse = |name: &str, reason: String| Error::Setting { name: name.into(), reason };
    if path.is_empty() {
        return acl::configure(engine, lines).map_err(|reason| refuse("user", reason));
    }
    if !lines.is_empty() {
        return Err(refuse("user", "users come either from the settings or from the file that aclfile names".into()));
    }
    let text = Machine.read(&path).map_err(|error| refuse("aclfile", format!("{path}: {error}")))?;
    acl::load_text(engine, &path, &text)
        .map_err(|error| refuse("aclfile", String::from_utf8_lossy(error.text()).into_owned()))
}

/// Looks at a store that may have gone.
pub(crate) fn upgrade(inner: &Weak<Inner>) -> Option<Arc<Inner>> {
    inner.upgrade()
}
