//! REPLICAOF, ROLE and what replicas say, as a server answers that stands alone.
//!
//! There is no replication. Scripts of operators and clients that look for the master ask all the same: the role is
//! always that of a master without replicas, and becoming one changes nothing. To follow another server is refused
//! rather than pretended, and so is to be followed.

use crate::args::Args;
use crate::command::{
    ADMIN, ALLOW_BUSY, ASKING, Command, DENYOOM, FAST, Family, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, STALE,
    WRITE, cmd,
};
use crate::cx::Cx;
use crate::dump::restore;
use crate::error::{Error, NO_FAILOVER, NO_REPLICAS, NO_REPLICATION};
use crate::key_spec::{OW, UPDATE};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", failover, ADMIN | NOSCRIPT | STALE, "6.2.0", "O(1)", "Starts a coordinated failover between this server and one of its replicas."),
    cmd("PSYNC replicationid offset", refuse, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, "2.8.0", "", "Would follow this server.").arity(-3),
    cmd("REPLCONF [arg [arg ...]]", refuse, ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "3.0.0", "O(1)", "Would say to this server what its replica can do."),
    cmd("REPLICAOF <host port | NO ONE>", replicaof, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, "5.0.0", "O(1)", "Make the server a replica of another instance, or promote it as master."),
    cmd("RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]", restore, WRITE | DENYOOM | ASKING, "3.0.0", "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).", "Creates a key as RESTORE does; what nodes of a cluster say to each other.").categories(&["keyspace", "dangerous"]).uses(&[OW | UPDATE]),
    cmd("ROLE", role, NOSCRIPT | LOADING | STALE | FAST, "2.8.12", "O(1)", "Return the role of the instance in the context of replication").categories(&["admin", "dangerous"]),
    cmd("SLAVEOF <host port | NO ONE>", replicaof, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, "1.0.0", "O(1)", "Make the server a replica of another instance, or promote it as master."),
    cmd("SYNC", refuse, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, "1.0.0", "", "Would follow this server."),
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

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
fn failover(_: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    Err(if args.len() == 2 && args.is(1, "ABORT") { NO_FAILOVER } else { NO_REPLICAS })
}

/// What only replicas say.
fn refuse(_: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    Err(NO_REPLICATION)
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
