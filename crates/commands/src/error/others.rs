//! Error texts about other servers: those this one does not work with, and the one MIGRATE takes keys to.

use super::Error;

texts! {
    /// REPLICAOF of another server.
    NO_REPLICATION = "ERR there is no replication here: this server neither follows another one nor is followed";
    /// REPLCONF rdb-only.
    NOT_A_SWITCH = "ERR value is out of range, value must between 0 and 1";
    /// FAILOVER.
    NO_REPLICAS = "ERR FAILOVER requires connected replicas.";
    /// A write while `min-replicas-to-write` asks for replicas.
    TOO_FEW_REPLICAS = "NOREPLICAS Not enough good replicas to write.";
    /// FAILOVER ABORT.
    NO_FAILOVER = "ERR No failover in progress.";
    /// CLUSTER.
    NO_CLUSTER = "ERR This instance has cluster support disabled";
    /// MODULE LOAD.
    MODULE_NOT_ALLOWED = "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";
    /// MIGRATE with KEYS and a key in the other place too.
    MIGRATE_KEYS = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";
    /// MIGRATE on a store whose owner gave it no way out.
    CANNOT_MIGRATE = "ERR This store cannot reach other servers";
    /// MIGRATE to where nobody listens.
    MIGRATE_CONNECT = "IOERR error or timeout connecting to the client";
    /// MIGRATE to who does not read.
    MIGRATE_WRITE = "IOERR error or timeout writing to target instance";
    /// MIGRATE to who does not answer.
    MIGRATE_READ = "IOERR error or timeout reading from target instance";
}
