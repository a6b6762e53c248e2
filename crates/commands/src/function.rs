//! FUNCTION, as far as a store without libraries can answer it.
//!
//! Libraries cannot be loaded yet, so there is none to list and none to flush, and that is what LIST and FLUSH say. They exist because whoever cleans a
//! server before using it, as test suites and deployment tools do, sends FUNCTION FLUSH and gives up on an error. What would need a library is absent
//! and answered as an unknown subcommand.

use crate::args::Args;
use crate::command::{Command, Family, LOADING, NOSCRIPT, STALE, WRITE, cmd, container};
use crate::cx::Cx;
use crate::error::Error;
use crate::help;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("FUNCTION", container, 0, "7.0.0", "Depends on subcommand.", "A container for function commands.").subcommands(&[
        cmd("FUNCTION FLUSH [ASYNC | SYNC]", flush, WRITE | NOSCRIPT, "7.0.0", "O(N) where N is the number of functions deleted", "Deletes all libraries and functions."),
        cmd("FUNCTION HELP", help, LOADING | STALE, "7.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        cmd("FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]", list, NOSCRIPT, "7.0.0", "O(N) where N is the number of functions", "Returns information about all libraries."),
    ]),
];

/// Functions.
pub(crate) const FAMILY: Family = Family { group: "scripting", commands: COMMANDS };

const HELP: &[&str] = &[
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries.",
];

/// FUNCTION FLUSH [ASYNC | SYNC]
fn flush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match args.len() {
        2 => {}
        3 if args.is(2, "ASYNC") || args.is(2, "SYNC") => {}
        3 => return Err(Error::Text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => {
            const END: &[u8] = b"'. Try FUNCTION HELP.";
            return Err(Error::of(&[b"ERR unknown subcommand or wrong number of arguments for '", args.at(1), END]));
        }
    }
    cx.out.ok();
    Ok(())
}

/// FUNCTION HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "FUNCTION", HELP);
    Ok(())
}

/// FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]
fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (mut named, mut with_code, mut at) = (false, false, 2);
    while at < args.len() {
        if !with_code && args.is(at, "WITHCODE") {
            with_code = true;
        } else if !named && args.is(at, "LIBRARYNAME") {
            named = true;
            at += 1;
            if at == args.len() {
                return Err(Error::Text("ERR library name argument was not given"));
            }
        } else {
            return Err(Error::of(&[b"ERR Unknown argument ", args.at(at)]));
        }
        at += 1;
    }
    cx.out.array(0);
    Ok(())
}
