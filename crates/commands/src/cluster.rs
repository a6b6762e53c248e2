//! CLUSTER and what clients of a cluster say: a server that stands alone is no node of one.
//!
//! Every call that is well formed gets the answer of a redis-server without `cluster-enabled`, by which clients that ask learn that all keys are here.

use crate::args::Args;
use crate::command::{ADMIN, Command, FAST, Family, Keys, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE, cmd, container};
use crate::cx::Cx;
use crate::error::{Error, NO_CLUSTER};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("ASKING", absent, FAST, "3.0.0", "O(1)", "Sent by cluster clients after an -ASK redirect.").categories(&["connection"]),
    cmd("CLUSTER", container, 0, "3.0.0", "Depends on subcommand.", "A container for cluster commands.").subcommands(&[
        cmd("CLUSTER ADDSLOTS slot [slot ...]", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(N) where N is the total number of hash slot arguments", "Assign new hash slots to receiving node."),
        cmd("CLUSTER ADDSLOTSRANGE start-slot end-slot [start-slot end-slot ...]", absent, ADMIN | STALE | NO_ASYNC_LOADING, "7.0.0", "O(N) where N is the total number of the slots between the start slot and end slot arguments.", "Assign new hash slots to receiving node."),
        cmd("CLUSTER BUMPEPOCH", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Advance the cluster config epoch."),
        cmd("CLUSTER COUNT-FAILURE-REPORTS node-id", absent, ADMIN | STALE, "3.0.0", "O(N) where N is the number of failure reports", "Return the number of failure reports active for a given node."),
        cmd("CLUSTER COUNTKEYSINSLOT slot", absent, STALE, "3.0.0", "O(1)", "Return the number of local keys in the specified hash slot."),
        cmd("CLUSTER DELSLOTS slot [slot ...]", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(N) where N is the total number of hash slot arguments", "Set hash slots as unbound in receiving node."),
        cmd("CLUSTER DELSLOTSRANGE start-slot end-slot [start-slot end-slot ...]", absent, ADMIN | STALE | NO_ASYNC_LOADING, "7.0.0", "O(N) where N is the total number of the slots between the start slot and end slot arguments.", "Set hash slots as unbound in receiving node."),
        cmd("CLUSTER FAILOVER [FORCE | TAKEOVER]", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Forces a replica to perform a manual failover of its master."),
        cmd("CLUSTER FLUSHSLOTS", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Delete a node's own slots information."),
        cmd("CLUSTER FORGET node-id", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Remove a node from the nodes table."),
        cmd("CLUSTER GETKEYSINSLOT slot count", absent, STALE, "3.0.0", "O(log(N)) where N is the number of requested keys", "Return local key names in the specified hash slot."),
        cmd("CLUSTER HELP", absent, LOADING | STALE, "5.0.0", "O(1)", "Show helpful text about the different subcommands."),
        cmd("CLUSTER INFO", absent, STALE, "3.0.0", "O(1)", "Provides info about Redis Cluster node state."),
        cmd("CLUSTER KEYSLOT key", absent, STALE, "3.0.0", "O(N) where N is the number of bytes in the key", "Returns the hash slot of the specified key.").keys(Keys::None),
        cmd("CLUSTER LINKS", absent, STALE, "7.0.0", "O(N) where N is the total number of Cluster nodes", "Returns a list of all TCP links to and from peer nodes in cluster."),
        cmd("CLUSTER MEET ip port [cluster-bus-port]", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Force a node cluster to handshake with another node."),
        cmd("CLUSTER MYID", absent, STALE, "3.0.0", "O(1)", "Return the node id."),
        cmd("CLUSTER NODES", absent, STALE, "3.0.0", "O(N) where N is the total number of Cluster nodes", "Get Cluster config for the node."),
        cmd("CLUSTER REPLICAS node-id", absent, ADMIN | STALE, "5.0.0", "O(1)", "List replica nodes of the specified master node."),
        cmd("CLUSTER REPLICATE node-id", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Reconfigure a node as a replica of the specified master node."),
        cmd("CLUSTER RESET [HARD | SOFT]", absent, ADMIN | NOSCRIPT | STALE, "3.0.0", "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.", "Reset a Redis Cluster node."),
        cmd("CLUSTER SAVECONFIG", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Forces the node to save cluster state on disk."),
        cmd("CLUSTER SET-CONFIG-EPOCH config-epoch", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Set the configuration epoch in a new node."),
        cmd("CLUSTER SETSLOT slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>", absent, ADMIN | STALE | NO_ASYNC_LOADING, "3.0.0", "O(1)", "Bind a hash slot to a specific node."),
        cmd("CLUSTER SHARDS", absent, STALE, "7.0.0", "O(N) where N is the total number of cluster nodes", "Get array of cluster slots to node mappings."),
        cmd("CLUSTER SLAVES node-id", absent, ADMIN | STALE, "3.0.0", "O(1)", "List replica nodes of the specified master node."),
        cmd("CLUSTER SLOTS", absent, STALE, "3.0.0", "O(N) where N is the total number of Cluster nodes", "Get array of Cluster slot to node mappings."),
    ]),
    cmd("READONLY", absent, LOADING | STALE | FAST, "3.0.0", "O(1)", "Enables read queries for a connection to a cluster replica node.").categories(&["connection"]),
    cmd("READWRITE", absent, LOADING | STALE | FAST, "3.0.0", "O(1)", "Disables read queries for a connection to a cluster replica node.").categories(&["connection"]),
];

/// What would be a cluster.
pub(crate) const FAMILY: Family = Family { group: "cluster", commands: COMMANDS };

/// Any of them.
fn absent(_: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    Err(NO_CLUSTER)
}
