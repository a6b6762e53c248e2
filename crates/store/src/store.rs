//! The handle: opening, calling, closing.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redpoll_commands::acl;
use redpoll_commands::engine::{Clock, Engine, System};
use redpoll_commands::persistence::{self, Ending};
use redpoll_commands::registry::Registry;
use redpoll_commands::session::CopyOf;
use redpoll_commands::settings::Setting;
use redpoll_persist::disk::{ReadFile, SystemDisk};
use redpoll_resp::Value;
use redpoll_script::twin::Twins;

use crate::disposer::Disposer;
use crate::host::StoreHost;
use crate::housekeeper::Housekeeper;
use crate::loading::Load;
use crate::log::{LogSlot, Onlooker};
use crate::machine::Machine;
use crate::seals::Seals;
use crate::snapshots::Keeper;
use crate::{Config, Connection, Error, Subscription, SystemClock};

/// Connections kept for [`Store::call`] to borrow.
const POOLED_MAX: usize = 64;

/// A handle on a store; clones share it. The data lives until the last handle and connection are gone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// In boxes, since each call takes one out and puts it back: half a kilobyte each time.
    #[expect(clippy::vec_box)]
    pool: Arc<Mutex<Vec<Box<Connection>>>>,
    housekeeper: Arc<Housekeeper>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) log: Arc<LogSlot>,
    /// Makes snapshots, if there is a data directory.
    pub(crate) keeper: Option<Arc<Keeper>>,
    twins: Twins,
}

impl Inner {
    /// Waits until the log is on disk up to an offset, if the settings ask for that; the error is what a client is told.
    #[inline]
    pub(crate) fn wait_for_log(&self, offset: u64) -> Result<(), String> {
        self.log.log().map_or(Ok(()), |log| log.wait(offset))
    }
}

impl Store {
    /// Opens a store: recovers what the log in the data directory holds, if the log is on, or else the snapshot, if there is one.
    ///
    /// # Errors
    /// [`Error::Directory`] if the data directory cannot be made or written, [`Error::Log`] if the log is damaged in the middle or the snapshot anywhere.
    pub fn open(config: Config) -> Result<Store, Error> {
        let (store, load) = Store::begin(config)?;
        load.run()?;
        Ok(store)
    }

    /// Opens a store as [`Store::open`] does, without its data: until that is [loaded](Load::run), which may take long, it refuses what needs it with `-LOADING`.
    ///
    /// # Errors
    /// Those of [`Store::open`] that are about settings.
    pub fn begin(config: Config) -> Result<(Store, Load), Error> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Error::System(error.to_string()))?;
        let mut registry = Registry::new(redpoll_commands::families());
        registry.rename(&config.renames).map_err(|reason| Error::Setting { name: "rename-command".into(), reason })?;
        let clock = config.clock.map_or_else(|| Box::new(SystemClock::new()) as Box<dyn Clock>, |given| given.0);
        let settings = config.settings;
        let engine = Engine::new(registry, settings, clock, u64::from_le_bytes(seed));
        let twins = Twins::default();
        engine
            .scripting
            .set(redpoll_script::scripting(&engine.settings, twins.clone()))
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
        let disk = config.disk.unwrap_or_else(|| Arc::new(SystemDisk));
        let seals = Seals::open(&engine.settings.text(Setting::EncryptionKeyFile), config.keys, disk)?;
        let log = Arc::new(LogSlot::new(&engine));
        let keeper = keeper(&engine, seals, &log)?;
        engine.load_state.begin(engine.clock.now());
        let host = StoreHost { log: Arc::clone(&log), on_shutdown: config.on_shutdown };
        engine.host.set(Box::new(host)).ok().expect("a new engine has no host yet");
        let inner = Arc::new(Inner { engine, log, keeper, twins });
        if let Some(keeper) = &inner.keeper {
            keeper.serve(Arc::downgrade(&inner));
        }
        let housekeeper =
            Housekeeper::start(&inner, inner.keeper.clone()).map_err(|error| Error::System(error.to_string()))?;
        let load = Load { inner: Arc::clone(&inner) };
        Ok((Store { inner, pool: Arc::default(), housekeeper: Arc::new(housekeeper) }, load))
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

    /// Scripts that this program has in Rust as well, for it to add to.
    pub fn twins(&self) -> &Twins {
        &self.inner.twins
    }

    /// Returns the engine, for layers that serve it to others.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Tells whether the reply to a change at this offset has to wait until the log is [settled](Store::settle_log), and up to which offset; none if it may
    /// go out at once.
    #[inline]
    pub fn unsettled(&self, offset: u64) -> Option<u64> {
        self.inner.log.ask(|log| log.unsettled(offset)).flatten()
    }

    /// Has what is logged go on its way to the disk, without waiting for a sync, and returns up to which offset nobody has to wait any longer: of what is before
    /// it [`Store::log_verdict`] knows what to say. If the settings ask for a sync, [onlookers](Store::watch_log) are told when there was one.
    pub fn settle_log(&self) -> u64 {
        self.inner.log.log().map_or(u64::MAX, |log| log.log.settle())
    }

    /// Tells what is to be said of a change at an offset: that it is acknowledged, or what the disk said that refuses; none while it has to wait.
    pub fn log_verdict(&self, offset: u64) -> Option<Result<(), String>> {
        self.inner.log.ask(|log| log.verdict(offset)).unwrap_or(Some(Ok(())))
    }

    /// Tells somebody from now on when the log may have gone on, for as long as there is somebody.
    pub fn watch_log(&self, onlooker: Weak<dyn Onlooker>) {
        self.inner.log.onlookers.add(onlooker);
    }

    /// Forces everything logged so far to disk.
    ///
    /// # Errors
    /// [`Error::Log`] if the disk refuses.
    pub fn flush_log(&self) -> Result<(), Error> {
        self.inner.log.log().map_or(Ok(()), |log| log.flush())
    }

    /// Writes a snapshot before the program ends, if that is wanted; gives up one that is being written.
    ///
    /// # Errors
    /// [`Error::Command`] if it cannot be written; the program's log says why.
    pub fn save_before_end(&self, ending: Ending) -> Result<(), Error> {
        let saved = persistence::save_before_end(&self.inner.engine, ending);
        saved.map_err(|error| Error::Command(String::from_utf8_lossy(error.text()).into_owned()))
    }

    /// Writes a snapshot once nobody uses the store any more: of what was changed after [`Store::save_before_end`], if that was to save at all.
    ///
    /// # Errors
    /// [`Error::Command`] if it cannot be written.
    pub fn save_rest(&self) -> Result<(), Error> {
        let engine = &self.inner.engine;
        let ends_without = engine.persistence.ends_without_save.load(Ordering::Relaxed);
        if ends_without || persistence::changes_since_save(engine) == 0 {
            return Ok(());
        }
        self.save_before_end(Ending::Save)
    }

    /// Writes a copy of the data, in the format of snapshots, to a file without a name; returns the file, at its beginning, and its length in bytes.
    ///
    /// # Errors
    /// [`Error::Log`] if it cannot be written, [`Error::Command`] if there is no directory to write it in, or a script has held everything for too long.
    pub fn copy(&self, of: CopyOf) -> Result<(Box<dyn ReadFile>, u64), Error> {
        let keeper = self.inner.keeper.as_ref();
        let keeper = keeper.ok_or_else(|| Error::Command("ERR there is no data directory".into()))?;
        keeper.copy(&self.inner.engine, of)
    }

    /// Gives up every snapshot and rewrite, also one that somebody waits for, and removes what is left of it.
    pub fn give_up_saving(&self) {
        if let Some(keeper) = &self.inner.keeper {
            keeper.end();
        }
    }

    fn borrow<R>(&self, call: impl FnOnce(&mut Connection) -> R) -> R {
        let pooled = self.pool.lock().pop();
        let mut connection = pooled.unwrap_or_else(|| Box::new(self.connect()));
        let result = call(&mut connection);
        let mut pool = self.pool.lock();
        if connection.is_pristine() && pool.len() < POOLED_MAX {
            pool.push(connection);
        }
        result
    }
}

/// Returns who keeps the data directory, if the settings name one.
fn keeper(engine: &Engine, seals: Seals, log: &Arc<LogSlot>) -> Result<Option<Arc<Keeper>>, Error> {
    let dir = engine.settings.text(Setting::Dir);
    if !dir.is_empty() {
        return Ok(Some(Arc::new(Keeper::new(seals, PathBuf::from(dir), Arc::clone(log)))));
    }
    let reason = "a log needs a directory ('dir')".into();
    let log_wanted = engine.settings.is_on(Setting::Appendonly);
    if log_wanted { Err(Error::Setting { name: "appendonly".into(), reason }) } else { Ok(None) }
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
