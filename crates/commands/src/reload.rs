//! Loading data into the running engine: DEBUG RELOAD and LOADAOF; and keys of a snapshot wherever they are loaded.
//!
//! The caller of [`reload`] holds every shard, so nobody sees a half-loaded data set, and the log's commands run under those very locks. As at start time stands at
//! zero meanwhile and nothing is logged. If something cannot be loaded, everything is as it was before.

use std::collections::VecDeque;

use redpoll_keyspace::rdb::StoredKey;
use redpoll_keyspace::{Millis, View};
use redpoll_resp::{Protocol, Writer};

use crate::args::Args;
use crate::cx::{Cx, Origin};
use crate::dispatch::run;
use crate::engine::{Engine, Existing, Loading, RestorePolicy};
use crate::error::{Error, LOAD_NOT_HERE};
use crate::journal::Journal;
use crate::session::Session;

/// What a snapshot holds on its way into the engine.
#[derive(Debug)]
pub struct Stored {
    /// The database that the next keys belong to.
    pub db: usize,
    /// Whether what is there is replaced; otherwise it is an error that it is there.
    pub existing: Existing,
    /// Keys whose time has come by then are left out; none are if commands follow that may have known them.
    pub expired_at: Option<Millis>,
    /// Keys taken.
    pub loaded: u64,
    /// Keys left out.
    pub expired: u64,
    /// Keys left out because there is nothing in them.
    pub empty: u64,
}

impl Stored {
    /// Begins with the first database.
    pub fn new(existing: Existing, expired_at: Option<Millis>) -> Stored {
        Stored { db: 0, existing, expired_at, loaded: 0, expired: 0, empty: 0 }
    }

    /// Goes on with another database.
    ///
    /// # Errors
    /// There is no such database.
    pub fn database(&mut self, engine: &Engine, number: u64) -> Result<(), String> {
        let databases = engine.keyspace.databases();
        self.db = usize::try_from(number)
            .ok()
            .filter(|db| *db < databases)
            .ok_or_else(|| format!("database {number} is out of range: the setting 'databases' allows {databases}"))?;
        Ok(())
    }

    /// Loads a library of functions.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn library(&mut self, engine: &Engine, text: &[u8]) -> Result<(), String> {
        let scripting = engine.scripting.get().ok_or("there are no functions here")?;
        let loaded = scripting.load_library(text, self.existing, &Loading { engine, limited: false });
        loaded.map(drop).map_err(|error| String::from_utf8_lossy(error.text()).into_owned())
    }

    /// Leaves a key out in which there is nothing.
    pub fn empty_key(&mut self, key: &[u8]) {
        tracing::info!("skipping empty key: {}", key.escape_ascii());
        self.empty += 1;
    }

    /// Makes room for keys; all shards must be held.
    pub fn coming(&self, view: &mut View<'_>, keys: usize) {
        view.select(self.db);
        view.reserve(keys);
    }

    /// Puts keys in their places, from the front; all shards must be held.
    ///
    /// # Errors
    /// The one taken last is there already.
    pub fn keys(&mut self, view: &mut View<'_>, keys: &mut VecDeque<StoredKey>) -> Result<(), String> {
        view.select(self.db);
        view.ask_for(keys.iter().map(|stored| stored.entry.key()));
        while let Some(stored) = keys.pop_front() {
            if let (Some(now), Some(deadline)) = (self.expired_at, stored.entry.deadline())
                && deadline < now
            {
                self.expired += 1;
                continue;
            }
            match self.existing {
                Existing::Refuse => view.load_new(stored).map_err(|stored| is_there(stored.entry.key()))?,
                Existing::Replace => view.load(stored),
            }
            self.loaded += 1;
        }
        Ok(())
    }

    /// Tells whether keys may be put into their places, from the front.
    ///
    /// # Errors
    /// The one taken last is there already.
    pub fn admit(&self, view: &mut View<'_>, keys: &mut VecDeque<StoredKey>) -> Result<(), String> {
        view.select(self.db);
        while let Some(stored) = keys.pop_front() {
            if self.existing == Existing::Refuse && view.contains(stored.entry.key()) {
                return Err(is_there(stored.entry.key()));
            }
        }
        Ok(())
    }
}

fn is_there(key: &[u8]) -> String {
    format!("key '{}' is there already", key.escape_ascii())
}

/// What becomes of the data there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It goes, and comes back if loading fails.
    Replaced,
    /// It stays.
    Kept,
}

/// Takes what is loaded.
pub struct Reloading<'l, 'a, 'g> {
    cx: &'l mut Cx<'a, 'g>,
    session: Session,
    out: Writer,
}

impl<'g> Reloading<'_, '_, 'g> {
    /// Returns the view that everything is put into.
    pub fn view(&mut self) -> &mut View<'g> {
        self.cx.db
    }

    /// Applies one command of the log.
    ///
    /// # Errors
    /// Why it cannot be applied.
    pub fn command(&mut self, args: &[&[u8]]) -> Result<(), String> {
        self.out.clear();
        let (args, engine) = (Args(args), self.cx.engine);
        match engine.registry.resolve_logged(args) {
            Ok(resolved) if resolved.accepts(args.len()) => {
                let mut journal = Journal::new(false);
                let (db, out, session) = (&mut *self.cx.db, &mut self.out, &mut self.session);
                let (origin, begun) = (Origin::Replay, self.cx.begun);
                let mut nested = Cx { db, out, session, engine, journal: &mut journal, origin, begun };
                run(&mut nested, resolved, args);
            }
            Ok(_) => self.out.error("ERR wrong number of arguments"),
            Err(error) => self.out.error(error.text()),
        }
        match self.out.as_slice() {
            [b'-', text @ ..] => Err(String::from_utf8_lossy(text.trim_ascii_end()).into_owned()),
            _ => Ok(()),
        }
    }
}

/// Fills the data set with what `load` reads and passes on.
///
/// # Errors
/// What `load` says, and [`LOAD_NOT_HERE`] inside a transaction or script: its own changes so far are not in the log yet.
pub fn reload(
    cx: &mut Cx<'_, '_>,
    before: Before,
    load: impl FnOnce(&mut Reloading<'_, '_, '_>) -> Result<(), Error>,
) -> Result<(), Error> {
    may_load(cx)?;
    let aside = (before == Before::Replaced).then(|| (cx.db.set_aside(), libraries(cx.engine)));
    if let (Some(_), Some(scripting)) = (&aside, cx.engine.scripting.get()) {
        scripting.flush_libraries();
    }
    let effects = std::mem::take(&mut cx.db.effects);
    let (now, db) = (cx.db.set_now(0), cx.db.db());
    cx.db.select(0);
    let session = cx.engine.trusted_session();
    let client = session.client.id;
    let result = load(&mut Reloading { cx, session, out: Writer::new(Protocol::Resp2) });
    cx.engine.clients.leave(client);
    cx.db.select(db);
    cx.db.set_now(now);
    cx.db.effects = effects;
    let Some((contents, texts)) = aside else { return result };
    if result.is_ok() {
        // Whoever remembers what was there is told, as by FLUSHALL.
        cx.db.effects.flushed = true;
        return result;
    }
    cx.db.put_back(contents);
    if let Some(scripting) = cx.engine.scripting.get() {
        let loading = Loading { engine: cx.engine, limited: false };
        scripting.restore_libraries(&texts, RestorePolicy::Flush, &loading)?;
    }
    result
}

/// Refuses to load anything where changes are under way.
///
/// # Errors
/// [`LOAD_NOT_HERE`].
pub fn may_load(cx: &Cx<'_, '_>) -> Result<(), Error> {
    match cx.origin {
        Origin::Transaction | Origin::Script => Err(LOAD_NOT_HERE),
        Origin::Client | Origin::Replay => Ok(()),
    }
}

/// Returns the texts of all libraries of functions.
pub fn libraries(engine: &Engine) -> Vec<Vec<u8>> {
    let libraries = engine.scripting.get().map(|scripting| scripting.libraries()).unwrap_or_default();
    libraries.into_iter().map(|library| library.code).collect()
}
