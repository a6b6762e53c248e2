//! SHUTDOWN: a client ends the program.
//!
//! The engine cannot end anything: it reads what is wanted and hands it to the [`Host`](crate::engine::Host). A program that
//! serves others ends in its own good order, as after SIGTERM; a store inside somebody else's program refuses, since
//! that program is not a client's to end. There is no reply to a shutdown that began, the connection just closes.
//!
//! If snapshots are made by rule, or with SAVE, one is made first; if that fails nothing ends, unless FORCE says so.
//!
//! While a script runs too long only NOSAVE is accepted. It ends the script too, whose changes are then not logged: better none of
//! them than some.
//!
//! Replicas are not waited for, as there are none, so a shutdown that began cannot be taken back: ABORT finds nothing to
//! abort, and NOW changes nothing.

use crate::args::Args;
use crate::command::{ADMIN, ALLOW_BUSY, Command, Family, LOADING, NO_MULTI, NOSCRIPT, STALE, cmd};
use crate::cx::Cx;
use crate::engine::Shutdown;
use crate::error::{Error, NO_DIRECTORY, NO_SHUTDOWN, NOTHING_TO_END, SHUTDOWN_FAILED, SYNTAX};
use crate::persistence::{self, Ending};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", shutdown, ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY, "1.0.0", "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)", "Synchronously saves the database(s) to disk and shuts down the Redis server."),
];

/// Ending the program.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// What the words ask for.
#[derive(Debug, Default)]
struct Words {
    nosave: bool,
    save: bool,
    now: bool,
    force: bool,
    abort: bool,
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
fn shutdown(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let words = parse(args)?;
    if words.abort {
        return Err(NO_SHUTDOWN);
    }
    let host = cx.engine.host.get().ok_or(NOTHING_TO_END)?;
    if let Some(kind) = cx.engine.turn.busy()
        && !words.nosave
    {
        return Err(kind.busy());
    }
    if !host.can_end() {
        return Err(NOTHING_TO_END);
    }
    let ending = match () {
        () if words.save => Ending::Save,
        () if words.nosave => Ending::NoSave,
        () => Ending::ByRule,
    };
    if let Err(error) = persistence::save_before_end(cx.engine, ending)
        && !words.force
    {
        return Err(if error == NO_DIRECTORY { error } else { SHUTDOWN_FAILED });
    }
    host.shut_down(Shutdown { force: words.force })?;
    if let Some(scripting) = cx.engine.scripting.get().filter(|_| words.nosave) {
        scripting.abandon();
    }
    cx.session.closing = true;
    Ok(())
}

fn parse(args: Args<'_>) -> Result<Words, Error> {
    let mut words = Words::default();
    for at in 1..args.len() {
        let word = match () {
            () if args.is(at, "NOSAVE") => &mut words.nosave,
            () if args.is(at, "SAVE") => &mut words.save,
            () if args.is(at, "NOW") => &mut words.now,
            () if args.is(at, "FORCE") => &mut words.force,
            () if args.is(at, "ABORT") => &mut words.abort,
            () => return Err(SYNTAX),
        };
        *word = true;
    }
    let contradicts =
        (words.nosave && words.save) || (words.abort && (words.nosave || words.save || words.now || words.force));
    if contradicts { Err(SYNTAX) } else { Ok(words) }
}
