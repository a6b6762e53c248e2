//! FUNCTION and FCALL: libraries of functions that stay, and calling them.
//!
//! The libraries themselves live behind [`Scripting`], with the language. A change of them is logged as the command that made it and
//! nothing else, so they come back with the data. Everything here that looks at the libraries or changes them holds the gate exclusively: the
//! order of the log is the order of changes, and nobody waits for a running script with no way to be sent away.
//!
//! FUNCTION STATS and KILL must be answered while a function runs, so they look at nothing but what its run tells about itself.

use redpoll_structures::glob;

use crate::args::Args;
use crate::command::{
    ALLOW_BUSY, Command, DENYOOM, EXCLUSIVE, Family, Keys, LOADING, MAY_REPLICATE, NOSCRIPT, READONLY, RUNS_SCRIPT,
    SKIP_MONITOR, STALE, WRITE, cmd, container,
};
use crate::cx::{Cx, Origin};
use crate::engine::{Existing, Library, Loading, RestorePolicy, ScriptName, Scripting};
use crate::error::Error;
use crate::key_spec::{ACCESS, RW, UPDATE};
use crate::scripting::{Rights, run, scripting};
use crate::turn::ScriptKind;
use crate::{function_payload, help};

const CALLS: u32 = NOSCRIPT | STALE | SKIP_MONITOR | MAY_REPLICATE | EXCLUSIVE | RUNS_SCRIPT;
const CALLS_READ_ONLY: u32 = NOSCRIPT | READONLY | STALE | SKIP_MONITOR | EXCLUSIVE | RUNS_SCRIPT;
const CHANGES: u32 = WRITE | NOSCRIPT | EXCLUSIVE;
const KEYS: Keys = Keys::Counted { destination: 0, count: 2 };

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("FCALL function numkeys [key [key ...]] [arg [arg ...]]", fcall, CALLS, "7.0.0", "Depends on the function that is executed.", "Invokes a function.").keys(KEYS).uses(&[RW | ACCESS | UPDATE]),
    cmd("FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]", fcall_ro, CALLS_READ_ONLY, "7.0.0", "Depends on the function that is executed.", "Invokes a read-only function.").keys(KEYS),
    cmd("FUNCTION", container, 0, "7.0.0", "Depends on subcommand.", "A container for function commands.").subcommands(&[
        cmd("FUNCTION DELETE library-name", delete, CHANGES, "7.0.0", "O(1)", "Deletes a library and its functions."),
        cmd("FUNCTION DUMP", dump, NOSCRIPT | EXCLUSIVE, "7.0.0", "O(N) where N is the number of functions", "Dumps all libraries into a serialized binary payload."),
        cmd("FUNCTION FLUSH [ASYNC | SYNC]", flush, CHANGES, "7.0.0", "O(N) where N is the number of functions deleted", "Deletes all libraries and functions."),
        cmd("FUNCTION HELP", help, LOADING | STALE, "7.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("FUNCTION KILL", kill, NOSCRIPT | ALLOW_BUSY, "7.0.0", "O(1)", "Terminates a function during execution."),
        cmd("FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]", list, NOSCRIPT | EXCLUSIVE, "7.0.0", "O(N) where N is the number of functions", "Returns information about all libraries."),
        cmd("FUNCTION LOAD [REPLACE] function-code", load, CHANGES | DENYOOM, "7.0.0", "O(1) (considering compilation time is redundant)", "Creates a library."),
        cmd("FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]", restore, CHANGES | DENYOOM, "7.0.0", "O(N) where N is the number of functions on the payload", "Restores all libraries from a payload."),
        cmd("FUNCTION STATS", stats, NOSCRIPT | ALLOW_BUSY, "7.0.0", "O(1)", "Returns information about a function during execution."),
    ]),
];

/// Functions.
pub(crate) const FAMILY: Family = Family { group: "scripting", commands: COMMANDS };

const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];

/// FCALL function numkeys [key [key ...]] [arg [arg ...]]
fn fcall(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    run(cx, args, ScriptName::Function(args.at(1)), Rights::ReadWrite)
}

/// FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]
fn fcall_ro(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    run(cx, args, ScriptName::Function(args.at(1)), Rights::ReadOnly)
}

/// FUNCTION DELETE library-name
fn delete(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if !scripting(cx)?.delete_library(args.at(2)) {
        return Err(Error::Text("ERR Library not found"));
    }
    cx.db.effects.dirty += 1;
    cx.out.ok();
    Ok(())
}

/// FUNCTION DUMP
fn dump(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let libraries = scripting(cx)?.libraries();
    cx.out.bulk(&function_payload::write(libraries.iter().map(|library| &*library.code)));
    Ok(())
}

/// FUNCTION FLUSH [ASYNC | SYNC]
fn flush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match args.len() {
        2 => {}
        3 if args.is(2, "ASYNC") || args.is(2, "SYNC") => {}
        3 => return Err(Error::Text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return Err(wrong_arguments(args)),
    }
    // Without a language there are no libraries, which is what was asked for.
    if let Ok(scripting) = scripting(cx) {
        scripting.flush_libraries();
    }
    cx.db.effects.dirty += 1;
    cx.out.ok();
    Ok(())
}

/// FUNCTION HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "FUNCTION", HELP);
    Ok(())
}

/// FUNCTION KILL
fn kill(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    scripting(cx)?.kill(ScriptKind::Function)?;
    cx.out.ok();
    Ok(())
}

/// FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]
fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (mut pattern, mut with_code, mut at) = (None, false, 2);
    while at < args.len() {
        if !with_code && args.is(at, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.is(at, "LIBRARYNAME") {
            at += 1;
            pattern = Some(args.optional(at).ok_or(Error::Text("ERR library name argument was not given"))?);
        } else {
            return Err(Error::of(&[b"ERR Unknown argument ", args.at(at)]));
        }
        at += 1;
    }
    let mut libraries = scripting(cx).map_or_else(|_| Vec::new(), Scripting::libraries);
    libraries.retain(|library| pattern.is_none_or(|pattern| glob::matches_ignore_case(pattern, &library.name)));
    cx.out.array(libraries.len());
    libraries.iter().for_each(|library| describe(cx, library, with_code.then_some(&*library.code)));
    Ok(())
}

/// FUNCTION LOAD [REPLACE] function-code
fn load(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let mut existing = Existing::Refuse;
    for option in &args.0[2..args.len() - 1] {
        if !option.eq_ignore_ascii_case(b"REPLACE") {
            return Err(Error::of(&[b"ERR Unknown option given: ", option]));
        }
        existing = Existing::Replace;
    }
    let name = scripting(cx)?.load_library(args.at(args.len() - 1), existing, &loading(cx))?;
    cx.db.effects.dirty += 1;
    cx.out.bulk(&name);
    Ok(())
}

/// FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]
fn restore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let policy = match args.len() {
        3 => RestorePolicy::Append,
        4 if args.is(3, "APPEND") => RestorePolicy::Append,
        4 if args.is(3, "REPLACE") => RestorePolicy::Replace,
        4 if args.is(3, "FLUSH") => RestorePolicy::Flush,
        4 => {
            return Err(Error::Text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
        _ => return Err(wrong_arguments(args)),
    };
    let texts = function_payload::read(args.at(2))?;
    scripting(cx)?.restore_libraries(&texts, policy, &loading(cx))?;
    cx.db.effects.dirty += 1;
    cx.out.ok();
    Ok(())
}

/// FUNCTION STATS
fn stats(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let (running, (libraries, functions)) = match scripting(cx) {
        Ok(scripting) => (scripting.running(), scripting.library_counts()),
        Err(_) => (None, (0, 0)),
    };
    if let Some((ScriptKind::Script, _)) = running {
        return Err(ScriptKind::Script.busy());
    }
    cx.out.map(2);
    cx.out.bulk(b"running_script");
    match running {
        None => cx.out.null(),
        Some((_, run)) => {
            cx.out.map(3);
            cx.out.bulk(b"name");
            cx.out.bulk(&run.name);
            cx.out.bulk(b"command");
            cx.out.array(run.command.len());
            run.command.iter().for_each(|arg| cx.out.bulk(arg));
            cx.out.bulk(b"duration_ms");
            cx.out.int((cx.engine.clock.ticks().saturating_sub(run.started) / 1_000_000) as i64);
        }
    }
    cx.out.bulk(b"engines");
    cx.out.map(1);
    cx.out.bulk(b"LUA");
    cx.out.map(2);
    for (name, count) in [("libraries_count", libraries), ("functions_count", functions)] {
        cx.out.bulk(name.as_bytes());
        cx.out.int(count as i64);
    }
    Ok(())
}

/// What a library being loaded may do.
fn loading<'e>(cx: &Cx<'e, '_>) -> Loading<'e> {
    // What was loaded once within its time is not lost because the machine is slower today.
    Loading { engine: cx.engine, limited: cx.origin != Origin::Replay }
}

fn wrong_arguments(args: Args<'_>) -> Error {
    const END: &[u8] = b"'. Try FUNCTION HELP.";
    Error::of(&[b"ERR unknown subcommand or wrong number of arguments for '", args.at(1), END])
}

/// Writes what FUNCTION LIST says about a library.
fn describe(cx: &mut Cx<'_, '_>, library: &Library, code: Option<&[u8]>) {
    let out = &mut *cx.out;
    out.map(3 + usize::from(code.is_some()));
    out.bulk(b"library_name");
    out.bulk(&library.name);
    out.bulk(b"engine");
    out.bulk(b"LUA");
    out.bulk(b"functions");
    out.array(library.functions.len());
    for function in &library.functions {
        out.map(3);
        out.bulk(b"name");
        out.bulk(&function.name);
        out.bulk(b"description");
        match &function.description {
            Some(description) => out.bulk(description),
            None => out.null(),
        }
        out.bulk(b"flags");
        out.set(function.flags.len());
        function.flags.iter().for_each(|flag| out.simple(flag));
    }
    if let Some(code) = code {
        out.bulk(b"library_code");
        out.bulk(code);
    }
}
