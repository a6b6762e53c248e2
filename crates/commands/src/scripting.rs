//! Scripts: EVAL and its relatives. The language itself lives behind [`crate::engine::Scripting`].
//!
//! A script may reach any key, so it runs with the gate exclusive, unless it is known to keep to the keys of its call ([`keeps_to_its_keys`]); what it calls is
//! logged command by command. Looking at the known scripts or changing
//! them needs the gate too: nobody waits for a running script with no way to be sent away.

use crate::args::Args;
use crate::command::{
    ALLOW_BUSY, Command, EXCLUSIVE, Family, Keys, LOADING, MAY_REPLICATE, NOSCRIPT, READONLY, RUNS_SCRIPT,
    SKIP_MONITOR, STALE, cmd, container,
};
use crate::cx::Cx;
use crate::engine::{Engine, ScriptCall, ScriptName, Scripting};
use crate::error::{Error, NO_SCRIPT};
use crate::key_spec::{ACCESS, RW, UPDATE};
use crate::registry::Resolved;
use crate::turn::ScriptKind;
use crate::{help, monitor};

const RUNS: u32 = NOSCRIPT | STALE | SKIP_MONITOR | MAY_REPLICATE | EXCLUSIVE | RUNS_SCRIPT;
const RUNS_READ_ONLY: u32 = NOSCRIPT | READONLY | STALE | SKIP_MONITOR | EXCLUSIVE | RUNS_SCRIPT;
const KEYS: Keys = Keys::Counted { destination: 0, count: 2 };

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("EVAL script numkeys [key [key ...]] [arg [arg ...]]", eval, RUNS, "2.6.0", "Depends on the script that is executed.", "Executes a server-side Lua script.").keys(KEYS).uses(&[RW | ACCESS | UPDATE]),
    cmd("EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]", evalsha, RUNS, "2.6.0", "Depends on the script that is executed.", "Executes a server-side Lua script by SHA1 digest.").keys(KEYS).uses(&[RW | ACCESS | UPDATE]),
    cmd("EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]", evalsha_ro, RUNS_READ_ONLY, "7.0.0", "Depends on the script that is executed.", "Executes a read-only server-side Lua script by SHA1 digest.").keys(KEYS),
    cmd("EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]", eval_ro, RUNS_READ_ONLY, "7.0.0", "Depends on the script that is executed.", "Executes a read-only server-side Lua script.").keys(KEYS),
    cmd("SCRIPT", container, 0, "2.6.0", "Depends on subcommand.", "A container for Lua scripts management commands.").subcommands(&[
        cmd("SCRIPT EXISTS sha1 [sha1 ...]", exists, NOSCRIPT | EXCLUSIVE, "2.6.0", "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).", "Determines whether server-side Lua scripts exist in the script cache."),
        cmd("SCRIPT FLUSH [ASYNC | SYNC]", flush, NOSCRIPT | EXCLUSIVE, "2.6.0", "O(N) with N being the number of scripts in cache", "Removes all server-side Lua scripts from the script cache."),
        cmd("SCRIPT HELP", help, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("SCRIPT KILL", kill, NOSCRIPT | ALLOW_BUSY, "2.6.0", "O(1)", "Terminates a server-side Lua script during execution."),
        cmd("SCRIPT LOAD script", load, NOSCRIPT | STALE | EXCLUSIVE, "2.6.0", "O(N) with N being the length in bytes of the script body.", "Loads a server-side Lua script to the script cache."),
    ]),
];

/// Scripts.
pub(crate) const FAMILY: Family = Family { group: "scripting", commands: COMMANDS };

const HELP: &[&str] = &[
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
];

/// Digits of a script's sum; nothing else is looked up, not even when the number of keys is wrong as well.
const SHA_LEN: usize = 40;

/// EVAL script numkeys [key [key ...]] [arg [arg ...]]
fn eval(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    run(cx, args, ScriptName::Body(args.at(1)), Rights::ReadWrite)
}

/// EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]
fn evalsha(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    run(cx, args, ScriptName::Sha(args.at(1)), Rights::ReadWrite)
}

/// EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]
fn evalsha_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    run(cx, args, ScriptName::Sha(args.at(1)), Rights::ReadOnly)
}

/// EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]
fn eval_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    run(cx, args, ScriptName::Body(args.at(1)), Rights::ReadOnly)
}

/// SCRIPT EXISTS sha1 [sha1 ...]
fn exists(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let scripting = scripting(cx)?;
    cx.out.array(args.len() - 2);
    args.from(2).iter().for_each(|sha| cx.out.int(i64::from(scripting.exists(sha))));
    Ok(())
}

/// SCRIPT FLUSH [ASYNC | SYNC]
fn flush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let known = args.len() == 2 || (args.len() == 3 && (args.is(2, "ASYNC") || args.is(2, "SYNC")));
    if !known {
        return Err(Error::Text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    scripting(cx)?.flush();
    cx.out.ok();
    Ok(())
}

/// SCRIPT HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "SCRIPT", HELP);
    Ok(())
}

/// SCRIPT KILL
fn kill(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    scripting(cx)?.kill(ScriptKind::Script)?;
    cx.out.ok();
    Ok(())
}

/// SCRIPT LOAD script
fn load(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let sha = scripting(cx)?.load(args.at(2))?;
    cx.out.bulk(sha.as_bytes());
    Ok(())
}

/// What a caller lets a script do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Everything.
    ReadWrite,
    /// Reading.
    ReadOnly,
}

/// Runs a script or function with the keys and arguments of its call.
pub(crate) fn run(cx: &mut Cx<'_, '_>, args: Args<'_>, script: ScriptName<'_>, rights: Rights) -> Result<(), Error> {
    if let ScriptName::Sha(sha) = script
        && sha.len() != SHA_LEN
    {
        return Err(NO_SCRIPT);
    }
    let count = match script {
        ScriptName::Function(_) => args.int(2).map_err(|_| Error::Text("ERR Bad number of keys provided"))?,
        _ => args.int(2)?,
    };
    let rest = args.from(3);
    let count = usize::try_from(count).map_err(|_| Error::Text("ERR Number of keys can't be negative"))?;
    if count > rest.len() {
        return Err(Error::Text("ERR Number of keys can't be greater than number of args"));
    }
    let (keys, script_args) = rest.split_at(count);
    let read_only = rights == Rights::ReadOnly;
    // Before the commands it calls, which are shown when they have run.
    if cx.engine.monitors.any() {
        monitor::show(cx, args);
    }
    let result = scripting(cx)?.run(cx, &ScriptCall { script, keys, args: script_args, read_only, command: args.0 });
    // What the script called is logged by itself, also when the script failed afterwards.
    cx.journal.nothing();
    result
}

/// Tells whether a command runs a script that is known to need no more than the locks of its keys.
pub(crate) fn keeps_to_its_keys(engine: &Engine, resolved: &Resolved, args: Args<'_>) -> bool {
    let script = match resolved.original_name.as_str() {
        "evalsha" | "evalsha_ro" => ScriptName::Sha(args.at(1)),
        "eval" | "eval_ro" => ScriptName::Body(args.at(1)),
        _ => return false,
    };
    engine.scripting.get().is_some_and(|scripting| scripting.keeps_to_its_keys(script))
}

/// Tells whether a command runs a script that declares it does not write. While another script keeps everybody out there is no telling.
pub(crate) fn only_reads(engine: &Engine, resolved: &Resolved, args: Args<'_>) -> bool {
    let script = match resolved.original_name.as_str() {
        "eval" => ScriptName::Body(args.at(1)),
        "evalsha" => ScriptName::Sha(args.at(1)),
        "fcall" => ScriptName::Function(args.at(1)),
        _ => return false,
    };
    let passage = engine.turn.enter_exclusive(&engine.keyspace);
    passage.is_ok() && engine.scripting.get().is_some_and(|scripting| scripting.only_reads(script))
}

/// Returns the language, if the store was opened with it.
pub(crate) fn scripting<'e>(cx: &Cx<'e, '_>) -> Result<&'e dyn Scripting, Error> {
    let engine: &'e crate::engine::Engine = cx.engine;
    engine.scripting.get().map(AsRef::as_ref).ok_or(Error::Text("ERR This store was opened without scripts"))
}
