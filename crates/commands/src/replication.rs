//! REPLICAOF, ROLE and what replicas say, as a server answers that stands alone.
//!
//! There is no replication. Scripts of operators and clients that look for the master ask all the same: the role is
//! always that of a master without replicas, and becoming one changes nothing. To follow another server is refused
//! rather than pretended, and so is to be followed.
//!
//! `redis-cli --rdb` speaks as a replica does, but wants a copy and no more: REPLCONF rdb-only says so, and then SYNC is answered with a snapshot, which the
//! server sends.

use crate::args::Args;
use crate::client::Transport;
use crate::command::{
    ADMIN, ALLOW_BUSY, ASKING, Command, DENYOOM, FAST, Family, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, STALE,
    WRITE, cmd,
};
use crate::cx::Cx;
use crate::dump::restore;
use crate::error::{Error, NO_FAILOVER, NO_REPLICAS, NO_REPLICATION, NOT_A_SWITCH, SYNTAX};
use crate::key_spec::{OW, UPDATE};
use crate::session::CopyOf;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", failover, ADMIN | NOSCRIPT | STALE, "6.2.0", "O(1)", "Starts a coordinated failover between this server and one of its replicas."),
    cmd("PSYNC replicationid offset", refuse, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, "2.8.0", "", "Would follow this server.").arity(-3),
    cmd("REPLCONF [arg [arg ...]]", replconf, ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "3.0.0", "O(1)", "Says what a copy of the data is to hold that SYNC asks for."),
    cmd("REPLICAOF <host port | NO ONE>", replicaof, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, "5.0.0", "O(1)", "Make the server a replica of another instance, or promote it as master."),
    cmd("RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]", restore, WRITE | DENYOOM | ASKING, "3.0.0", "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).", "Creates a key as RESTORE does; what nodes of a cluster say to each other.").categories(&["keyspace", "dangerous"]).uses(&[OW | UPDATE]),
    cmd("ROLE", role, NOSCRIPT | LOADING | STALE | FAST, "2.8.12", "O(1)", "Return the role of the instance in the context of replication").categories(&["admin", "dangerous"]),
    cmd("SLAVEOF <host port | NO ONE>", replicaof, ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING, "1.0.0", "O(1)", "Make the server a replica of another instance, or promote it as master."),
    cmd("SYNC", sync, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, "1.0.0", "", "Sends a copy of the data to a client that wants no more than that."),
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

/// REPLCONF [arg [arg ...]]
fn replconf(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    for at in (1..args.len()).step_by(2) {
        let copies = &mut cx.session.copies;
        match () {
            // What a replica can do is of no interest.
            () if args.is(at, "capa") => {}
            () if args.is(at, "rdb-only") => match args.int(at + 1) {
                Ok(wanted @ 0..=1) => copies.only = wanted == 1,
                _ => return Err(NOT_A_SWITCH),
            },
            () if args.is(at, "rdb-filter-only") => {
                copies.functions_only = false;
                for word in args.at(at + 1).split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
                    if !word.eq_ignore_ascii_case(b"functions") {
                        return Err(Error::of(&[b"ERR Unsupported rdb-filter-only option: ", word]));
                    }
                    copies.functions_only = true;
                }
            }
            () if REPLICA_WORDS.iter().any(|word| args.is(at, word)) => return Err(NO_REPLICATION),
            () => return Err(Error::of(&[b"ERR Unrecognized REPLCONF option: ", args.at(at)])),
        }
    }
    cx.out.ok();
    Ok(())
}

/// What replicas tell of themselves.
const REPLICA_WORDS: [&str; 5] = ["listening-port", "ip-address", "ack", "fack", "getack"];

/// SYNC
fn sync(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let copies = cx.session.copies;
    if !copies.only || cx.session.client.transport == Transport::Embedded {
        return Err(NO_REPLICATION);
    }
    cx.session.copy_due = Some(if copies.functions_only { CopyOf::Functions } else { CopyOf::Everything });
    Ok(())
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
