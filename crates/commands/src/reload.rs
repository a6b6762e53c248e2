//! Loading the log again into the running engine: DEBUG RELOAD and LOADAOF.
//!
//! The caller holds every shard, so nobody sees a half-loaded data set, and the log's commands run under those very locks. As at start time stands at zero
//! meanwhile and nothing is logged. If a command of the log fails, everything is as it was before.

use redpoll_resp::{Protocol, Writer};

use crate::args::Args;
use crate::cx::{Cx, Origin};
use crate::dispatch::run;
use crate::engine::{Loading, RestorePolicy};
use crate::error::{Error, LOAD_NOT_HERE};
use crate::journal::Journal;
use crate::session::Session;

/// Applies one command of the log; the error says why it cannot be.
pub type Apply<'a> = dyn FnMut(&[&[u8]]) -> Result<(), String> + 'a;

/// Empties the data set and fills it with what `load` reads and passes on, command by command.
///
/// # Errors
/// What `load` says, and [`LOAD_NOT_HERE`] inside a transaction or script: its own changes so far are not in the log yet.
pub fn reload(cx: &mut Cx<'_, '_>, load: impl FnOnce(&mut Apply<'_>) -> Result<(), Error>) -> Result<(), Error> {
    if matches!(cx.origin, Origin::Transaction | Origin::Script) {
        return Err(LOAD_NOT_HERE);
    }
    let before = cx.db.set_aside();
    let scripting = cx.engine.scripting.get();
    let libraries = scripting.map(|scripting| scripting.libraries()).unwrap_or_default();
    if let Some(scripting) = scripting {
        scripting.flush_libraries();
    }
    let effects = std::mem::take(&mut cx.db.effects);
    let (now, db) = (cx.db.set_now(0), cx.db.db());
    let mut session = cx.engine.trusted_session();
    let mut out = Writer::new(Protocol::Resp2);
    cx.db.select(0);
    let result = load(&mut |args| apply(cx, &mut session, &mut out, args));
    cx.engine.clients.leave(session.client.id);
    cx.db.select(db);
    cx.db.set_now(now);
    cx.db.effects = effects;
    if result.is_err() {
        cx.db.put_back(before);
        if let Some(scripting) = scripting {
            let texts: Vec<Vec<u8>> = libraries.into_iter().map(|library| library.code).collect();
            let loading = Loading { engine: cx.engine, limited: false };
            scripting.restore_libraries(&texts, RestorePolicy::Flush, &loading)?;
        }
    }
    result
}

fn apply(cx: &mut Cx<'_, '_>, session: &mut Session, out: &mut Writer, args: &[&[u8]]) -> Result<(), String> {
    out.clear();
    let args = Args(args);
    let engine = cx.engine;
    match engine.registry.resolve_logged(args) {
        Ok(resolved) if resolved.accepts(args.len()) => {
            let mut journal = Journal::new(false);
            let mut nested = Cx { db: cx.db, out, session, engine, journal: &mut journal, origin: Origin::Replay };
            run(&mut nested, resolved, args);
        }
        Ok(_) => out.error("ERR wrong number of arguments"),
        Err(error) => out.error(error.text()),
    }
    match out.as_slice() {
        [b'-', text @ ..] => Err(String::from_utf8_lossy(text.trim_ascii_end()).into_owned()),
        _ => Ok(()),
    }
}
