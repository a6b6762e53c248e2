//! Commands of scripts: what is checked before one runs under the locks of the script that calls it.
//!
//! A script is not served like a client: it cannot be paused, has no transaction and answers for itself, so less is asked
//! than of a client's command, and what is refused is refused in other words.

use std::sync::atomic::Ordering;

use redpoll_resp::Writer;

use super::{reject, run_nested};
use crate::acl::admin;
use crate::args::Args;
use crate::command::{DENYOOM, EXCLUSIVE, MAY_REPLICATE, NOSCRIPT, NOT_QUEUED, PROTECTED, TRANSACTION, WHOLE, WRITE};
use crate::config;
use crate::cx::{Cx, Origin};
use crate::engine::Engine;
use crate::error::{
    DEBUG_NOT_ALLOWED, Error, NOT_IN_SCRIPT, OUT_OF_MEMORY, TOO_FEW_REPLICAS, UNDECLARED_IN_SCRIPT, UNKNOWN_IN_SCRIPT,
    WRITE_IN_READ_ONLY_SCRIPT,
};
use crate::registry::Resolved;
use crate::settings::Setting;

/// What a script may do.
#[derive(Clone, Copy, Debug)]
pub struct ScriptRights<'a> {
    /// It must not write.
    pub read_only: bool,
    /// It may use memory although there is none left.
    pub allow_oom: bool,
    /// It has written already and may finish although memory is full, the log cannot be written any more or replicas are missing, rather than end half-way.
    pub has_written: bool,
    /// The keys whose shards are locked, if not all are.
    pub reach: Option<&'a [&'a [u8]]>,
}

impl ScriptRights<'_> {
    /// The rights of a script that begins, which may reach any key.
    pub fn new(read_only: bool, allow_oom: bool) -> Self {
        ScriptRights { read_only, allow_oom, has_written: false, reach: None }
    }

    /// Tells whether a command uses no key beside those in reach.
    fn reaches(&self, resolved: &Resolved, args: Args<'_>) -> bool {
        let Some(reach) = self.reach else { return true };
        if resolved.has(EXCLUSIVE | WHOLE) || resolved.is_unbound(args) {
            return false;
        }
        if let Some(mut keys) = resolved.keys_in_a_row(args) {
            return keys.all(|at| reach.contains(&args.at(at)));
        }
        let mut positions = Vec::new();
        resolved.key_positions(args, &mut positions);
        positions.into_iter().all(|at| reach.contains(&args.at(at)))
    }
}

/// Runs a command for a script, under the locks the script holds. The reply, error or not, goes to `out`.
pub fn call_from_script(cx: &mut Cx<'_, '_>, args: Args<'_>, rights: ScriptRights<'_>, out: &mut Writer) {
    let Ok(resolved) = cx.engine.registry.resolve(args) else {
        return reject(cx.engine, &UNKNOWN_IN_SCRIPT, out);
    };
    if let Err(error) = admit_from_script(cx, resolved, args, rights) {
        cx.engine.stats.rejected(cx.session.slot, resolved.id);
        return reject(cx.engine, &error, out);
    }
    let Cx { db, session, engine, journal, begun, .. } = cx;
    let mut nested = Cx { db, out, session, engine, journal, origin: Origin::Script, begun: *begun };
    run_nested(&mut nested, resolved, args);
}

/// Checks everything that can refuse a command to a script before it runs.
fn admit_from_script(
    cx: &Cx<'_, '_>,
    resolved: &Resolved,
    args: Args<'_>,
    rights: ScriptRights<'_>,
) -> Result<(), Error> {
    if !resolved.accepts(args.len()) {
        return Err(Error::Text("ERR Wrong number of args calling Redis command from script"));
    }
    if resolved.has(NOSCRIPT) && !lifted(cx.engine, resolved) {
        return Err(NOT_IN_SCRIPT);
    }
    if !rights.reaches(resolved, args) {
        return Err(UNDECLARED_IN_SCRIPT);
    }
    if let Err(denial) = cx.session.user.may_run(resolved, args) {
        admin::note(cx.engine, cx.session, Origin::Script, &denial);
        return Err(denial.to_script());
    }
    if resolved.has(PROTECTED) && !config::permits(cx.engine, Setting::EnableDebugCommand, &cx.session.client) {
        return Err(DEBUG_NOT_ALLOWED);
    }
    if rights.read_only && resolved.has(WRITE | MAY_REPLICATE) {
        return Err(WRITE_IN_READ_ONLY_SCRIPT);
    }
    if resolved.has(WRITE)
        && !rights.has_written
        && cx.engine.log_health.is_failing()
        && let Some(refusal) = cx.engine.log_health.refusal()
    {
        return Err(refusal);
    }
    if resolved.has(WRITE) && !rights.has_written && cx.engine.lacks_replicas() {
        return Err(TOO_FEW_REPLICAS);
    }
    if resolved.has(DENYOOM) && !rights.allow_oom && !rights.has_written && cx.session.out_of_memory {
        return Err(OUT_OF_MEMORY);
    }
    Ok(())
}

/// Tells whether the caller of a script may run a command (`redis.acl_check_cmd`); nothing if there is no such command.
pub fn script_may_run(cx: &Cx<'_, '_>, args: Args<'_>) -> Option<bool> {
    let resolved = cx.engine.registry.resolve(args).ok()?;
    Some(cx.session.user.may_run(resolved, args).is_ok())
}

/// Tells whether a command that is not for scripts may be called by one all the same, which is for tests. Never those that begin or end a script or a
/// transaction: they would wait for locks the script holds.
fn lifted(engine: &Engine, resolved: &Resolved) -> bool {
    engine.debug.scripts_unbound.load(Ordering::Relaxed)
        && !resolved.has(TRANSACTION | NOT_QUEUED)
        && resolved.group != "scripting"
}
