//! REPLICAOF, SLAVEOF and ROLE, as a server answers that stands alone.
//!
//! There is no replication. Scripts of operators and clients that look for the master ask all the same: the role is
//! always that of a master without replicas, and becoming one changes nothing. To follow another server is refused
//! rather than pretended.

use crate::args::Args;
use crate::command::{ADMIN, Command, FAST, Family, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE, cmd};
use crate::cx::Cx;
use crate::error::{Error, NO_REPLICATION};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("REPLICAOF <host port | NO ONE>", replicaof, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, "5.0.0", "O(1)", "Make the server a replica of another instance, or promote it as master."),
    cmd("ROLE", role, NOSCRIPT | LOADING | STALE | FAST, "2.8.12", "O(1)", "Return the role of the instance in the context of replication").categories(&["admin", "dangerous"]),
    cmd("SLAVEOF <host port | NO ONE>", replicaof, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, "1.0.0", "O(1)", "Make the server a replica of another instance, or promote it as master."),
];

/// What would be replication.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// REPLICAOF <host port | NO ONE>
fn replicaof(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if !args.is(1, "NO") || !args.is(2, "ONE") {
        return Err(NO_REPLICATION);
    }
    cx.out.ok();
    Ok(())
}

/// ROLE
fn role(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.array(3);
    cx.out.bulk(b"master");
    // Nothing is streamed, so there is no offset in a stream; and nobody follows.
    cx.out.int(0);
    cx.out.array(0);
    Ok(())
}
