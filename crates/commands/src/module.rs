//! MODULE: there are none, and none can be loaded.
//!
//! What would load one is refused as by a redis-server whose settings forbid it, which is the default there.

use crate::args::Args;
use crate::command::{ADMIN, Command, Family, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE, cmd, container};
use crate::cx::Cx;
use crate::error::{Error, MODULE_NOT_ALLOWED};
use crate::help;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("MODULE", container, 0, "4.0.0", "Depends on subcommand.", "A container for module commands.").subcommands(&[
        cmd("MODULE HELP", help, LOADING | STALE, "5.0.0", "O(1)", "Show helpful text about the different subcommands."),
        cmd("MODULE LIST", list, ADMIN | NOSCRIPT, "4.0.0", "O(N) where N is the number of loaded modules.", "List all modules loaded by the server."),
        cmd("MODULE LOAD path [arg [arg ...]]", refuse, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, "4.0.0", "O(1)", "Load a module."),
        cmd("MODULE LOADEX path [CONFIG name value [CONFIG name value ...]] [ARGS arg [ARGS arg ...]]", refuse, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, "7.0.0", "O(1)", "Load a module with extended parameters."),
        cmd("MODULE UNLOAD name", refuse, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, "4.0.0", "O(1)", "Unload a module."),
    ]),
];

/// What would be modules.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const HELP: &[&str] = &[
    "LIST",
    "    Return a list of loaded modules.",
    "LOAD <path> [<arg> ...]",
    "    Load a module library from <path>, passing to it any optional arguments.",
    "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
    "    Load a module library from <path>, while passing it module configurations and optional arguments.",
    "UNLOAD <name>",
    "    Unload a module.",
];

/// MODULE HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "MODULE", HELP);
    Ok(())
}

/// MODULE LIST
fn list(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.array(0);
    Ok(())
}

/// What would change something.
fn refuse(_: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    Err(MODULE_NOT_ALLOWED)
}
