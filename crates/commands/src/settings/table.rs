//! The rows of the settings table: what redis-server 7 knows, and some of our own.
//!
//! A row without effect here says so. It is there because configuration files, client libraries and monitoring set it or ask for it, and because what it
//! is about (replicas, cluster, snapshots, the allocator) is off or done otherwise. Values that would promise what is not done are refused
//! (`values.rs`).

use super::{Mutability, SettingKind, SettingRow, Words};
use crate::output_limit;

macro_rules! settings {
    ($($id:ident $name:literal $kind:expr, $default:expr, $mutability:ident, $summary:literal;)*) => {
        /// Every setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Setting { $(#[doc = $summary] $id),* }

        /// The table.
        pub const SETTINGS: &[SettingRow] = &[$(SettingRow {
            setting: Setting::$id, name: $name, kind: $kind, default: $default, mutability: Mutability::$mutability, summary: $summary,
        }),*];
    };
}

const fn int(min: i64, max: i64) -> SettingKind {
    SettingKind::Int { min, max }
}

const INT: SettingKind = int(0, i32::MAX as i64);
const PORT: SettingKind = int(0, 65_535);
const SIZE: SettingKind = int(0, i64::MAX);
const MEMORY: SettingKind = SettingKind::Memory { min: 0, max: i64::MAX };
/// Keys and strings are never longer than 512 MB, so nobody can ask for longer ones.
const STRING: SettingKind = SettingKind::Memory { min: 1 << 20, max: 512 << 20 };
const POLICIES: SettingKind = SettingKind::Choice(&[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
]);

/// Settings that are only shown to who asks for them by name.
pub(super) const HIDDEN: &[Setting] = &[
    Setting::KeyLoadDelay,
    Setting::LoadingProcessEventsIntervalBytes,
    Setting::RdbKeySaveDelay,
    Setting::UseExitOnPanic,
    Setting::WatchdogPeriod,
];

/// Settings that only who `enable-protected-configs` names may change: they say which files are written.
pub(super) const PROTECTED: &[Setting] = &[Setting::Dir, Setting::Dbfilename];

#[rustfmt::skip]
settings! {
    Databases "databases" int(1, 16_384), "16", AtStart, "Number of databases.";
    Maxmemory "maxmemory" MEMORY, "0", Always, "Bytes of memory beyond which keys are evicted or writes that need memory are refused; 0 for no limit.";
    MaxmemoryPolicy "maxmemory-policy" POLICIES, "noeviction", Always, "What to do when memory is full; also decides how accesses are stamped.";
    MaxmemorySamples "maxmemory-samples" int(1, i32::MAX as i64), "5", Always, "Keys drawn for each one that is evicted; more than 64 are not.";
    MaxmemoryEvictionTenacity "maxmemory-eviction-tenacity" int(0, 100), "10", Always, "How long a command may evict before it goes on: up to 500 microseconds at 10, for as long as it takes at 100.";
    NonEvictablePrefixes "non-evictable-prefixes" SettingKind::Words(Words::Prefixes), "", Always, "Beginnings of the names of keys that are never evicted, whatever the policy; `*` is any text without a colon.";
    Maxclients "maxclients" int(1, 1_000_000), "10000", Always, "Connections beyond this number are refused.";
    Timeout "timeout" INT, "0", Always, "Seconds after which an idle connection is closed; 0 for never.";
    ProtoMaxBulkLen "proto-max-bulk-len" STRING, "512mb", Always, "Longest string a client can send or make, at most 512mb.";
    ClientQueryBufferLimit "client-query-buffer-limit" MEMORY, "1gb", Always, "Most bytes a client can have sent without a complete command.";
    ClientOutputBufferLimit "client-output-buffer-limit" SettingKind::OutputLimits, output_limit::DEFAULT, Always, "What may wait to be sent to clients of a kind: bytes at once, bytes for long, and how many seconds long is.";
    Requirepass "requirepass" SettingKind::Text, "", Always, "Password of the default user; empty for none.";
    Aclfile "aclfile" SettingKind::Text, "", AtStart, "File of the users, which ACL LOAD and ACL SAVE use; empty for none.";
    AclPubsubDefault "acl-pubsub-default" SettingKind::Choice(&["resetchannels", "allchannels"]), "resetchannels", Always, "Which channels a new user may use.";
    AcllogMaxLen "acllog-max-len" SIZE, "128", Always, "Length of the log of refusals.";
    ProtectedMode "protected-mode" SettingKind::Bool, "yes", Always, "Whether clients of other machines are turned away while the default user needs no password.";
    TlsPort "tls-port" PORT, "0", Always, "TCP port with TLS; 0 for none. With it, `port` 0 means that there is none without TLS.";
    TlsCertFile "tls-cert-file" SettingKind::Text, "", AtStart, "File of the server's certificate, PEM.";
    TlsKeyFile "tls-key-file" SettingKind::Text, "", AtStart, "File of the key of the server's certificate, PEM.";
    TlsCaCertFile "tls-ca-cert-file" SettingKind::Text, "", AtStart, "File of the authorities whose clients are trusted, PEM.";
    TlsAuthClients "tls-auth-clients" SettingKind::Choice(&["no", "yes", "optional"]), "yes", AtStart, "Whether clients must show a certificate.";
    LfuLogFactor "lfu-log-factor" INT, "10", Always, "How slowly the access counter of LFU policies grows.";
    LfuDecayTime "lfu-decay-time" INT, "1", Always, "Minutes after which the access counter of LFU policies is lowered by one.";
    ListMaxListpackSize "list-max-listpack-size" int(i32::MIN as i64, i32::MAX as i64), "-2", Always, "Entries of a list's packed block if positive; -1 to -5 for 4 to 64 KiB.";
    ListCompressDepth "list-compress-depth" INT, "0", NoEffect, "Chunks at either end of a list that are not compressed; no chunk is.";
    HashMaxListpackEntries "hash-max-listpack-entries" SIZE, "512", Always, "Fields up to which a hash stays packed.";
    HashMaxListpackValue "hash-max-listpack-value" MEMORY, "64", Always, "Bytes of a field or value up to which a hash stays packed.";
    SetMaxIntsetEntries "set-max-intset-entries" SIZE, "512", Always, "Members up to which a set of integers stays an array.";
    SetMaxListpackEntries "set-max-listpack-entries" SIZE, "128", Always, "Members up to which a set stays packed.";
    SetMaxListpackValue "set-max-listpack-value" MEMORY, "64", Always, "Bytes of a member up to which a set stays packed.";
    ZsetMaxListpackEntries "zset-max-listpack-entries" SIZE, "128", Always, "Members up to which a sorted set stays packed.";
    ZsetMaxListpackValue "zset-max-listpack-value" MEMORY, "64", Always, "Bytes of a member up to which a sorted set stays packed.";
    StreamNodeMaxBytes "stream-node-max-bytes" MEMORY, "4096", Always, "Bytes up to which a node of a stream takes another entry; 0 for no limit.";
    StreamNodeMaxEntries "stream-node-max-entries" SIZE, "100", Always, "Entries of a node of a stream; 0 for no limit.";
    BusyReplyThreshold "busy-reply-threshold" SIZE, "5000", Always, "Milliseconds after which a running script is reported to other clients and can be killed; 0 for never.";
    ScriptTimeLimit "script-time-limit" SIZE, "0", Always, "Milliseconds after which a script is stopped, whether or not it has written, which leaves its changes half done; 0 for never.";
    HllSparseMaxBytes "hll-sparse-max-bytes" MEMORY, "3000", Always, "Bytes up to which a HyperLogLog stays sparse.";
    LuaMemoryLimit "lua-memory-limit" MEMORY, "256mb", Always, "Bytes a script may hold.";
    Appendonly "appendonly" SettingKind::Bool, "no", Always, "Whether changes are written to the append-only log.";
    Appendfsync "appendfsync" SettingKind::Choice(&["always", "everysec", "no"]), "everysec", Always, "When the log is forced to disk.";
    Dir "dir" SettingKind::Text, "./data", AtStart, "Directory of the data files.";
    Appendfilename "appendfilename" SettingKind::Text, "appendonly.aof", AtStart, "Stem of the log's file names.";
    Appenddirname "appenddirname" SettingKind::Text, "appendonlydir", AtStart, "Directory of the log inside `dir`.";
    EncryptionKeyFile "encryption-key-file" SettingKind::Text, "", Always, "File of the keys that data files are sealed with, each 32 bytes in hexadecimal or Base64 on a line: the first to write with, all to read with; empty for none. It is read whenever this is set.";
    EnableDebugCommand "enable-debug-command" SettingKind::Choice(&["no", "local", "yes"]), "no", AtStart, "Who may use DEBUG: nobody (no), clients on this machine (local), or everybody (yes).";
    Save "save" SettingKind::Words(Words::Save), "", Always, "When snapshots are made: pairs of seconds and the number of changes from which one is due then; empty for never.";
    Bind "bind" SettingKind::Words(Words::Addresses), "127.0.0.1", Always, "Addresses to listen on. A change opens and closes listeners; connections stay.";
    Port "port" PORT, "6379", Always, "TCP port; at the start 0 stands for a free one, later for none.";
    TcpBacklog "tcp-backlog" INT, "511", AtStart, "Connections that may wait to be accepted.";
    TcpKeepalive "tcp-keepalive" INT, "300", Always, "Seconds between TCP keep-alive probes; 0 for none.";
    ActiveExpireEffort "active-expire-effort" int(1, 10), "1", Always, "How much processor time the removal of expired keys may take.";
    NotifyKeyspaceEvents "notify-keyspace-events" SettingKind::Events, "", Always, "Which keyspace events are published: K and E for the kinds of channels, a letter for each class, A for most of them.";
    TrackingTableMaxKeys "tracking-table-max-keys" SIZE, "1000000", Always, "Keys that CLIENT TRACKING remembers for all clients together; 0 for no limit.";
    SlowlogLogSlowerThan "slowlog-log-slower-than" int(-1, i64::MAX), "10000", Always, "Microseconds from which a command is logged as slow.";
    SlowlogMaxLen "slowlog-max-len" SIZE, "128", Always, "Length of the slow log.";
    LatencyTracking "latency-tracking" SettingKind::Bool, "yes", Always, "Whether latency histograms are kept.";
    AlwaysShowLogo "always-show-logo" SettingKind::Bool, "no", NoEffectAtStart, "Whether a logo is printed at start; none is.";
    Activedefrag "activedefrag" SettingKind::Bool, "no", NoEffect, "Whether memory is defragmented; the allocator needs no help.";
    ActiveDefragCycleMax "active-defrag-cycle-max" int(1, 99), "25", NoEffect, "Most processor time for defragmentation, percent.";
    ActiveDefragCycleMin "active-defrag-cycle-min" int(1, 99), "1", NoEffect, "Least processor time for defragmentation, percent.";
    ActiveDefragIgnoreBytes "active-defrag-ignore-bytes" SettingKind::Memory { min: 1, max: i64::MAX }, "100mb", NoEffect, "Wasted bytes from which defragmentation begins.";
    ActiveDefragMaxScanFields "active-defrag-max-scan-fields" int(1, i64::MAX), "1000", NoEffect, "Fields of a collection that defragmentation visits at once.";
    ActiveDefragThresholdLower "active-defrag-threshold-lower" int(0, 1000), "10", NoEffect, "Fragmentation from which defragmentation begins, percent.";
    ActiveDefragThresholdUpper "active-defrag-threshold-upper" int(0, 1000), "100", NoEffect, "Fragmentation at which defragmentation does its utmost, percent.";
    Activerehashing "activerehashing" SettingKind::Bool, "yes", NoEffect, "Whether tables grow in the background; they grow in steps of a command.";
    AofDisableAutoGc "aof-disable-auto-gc" SettingKind::Bool, "no", Always, "Whether files of the log that a rewrite has replaced are kept.";
    AofLoadTruncated "aof-load-truncated" SettingKind::Bool, "yes", Always, "Whether a log with a torn tail is loaded without it; otherwise the store does not open.";
    AofRewriteIncrementalFsync "aof-rewrite-incremental-fsync" SettingKind::Bool, "yes", NoEffect, "Whether a log being rewritten is forced to disk bit by bit.";
    AofTimestampEnabled "aof-timestamp-enabled" SettingKind::Bool, "no", Always, "Whether the log notes the time of its records, to the second: redis-check-aof can cut it off at one.";
    AofUseRdbPreamble "aof-use-rdb-preamble" SettingKind::Bool, "yes", Always, "Whether the base of the log is a snapshot; otherwise it is a RESTORE for each key.";
    AofRewriteCpulist "aof_rewrite_cpulist" SettingKind::Text, "", NoEffectAtStart, "Processors on which the log is rewritten.";
    AutoAofRewriteMinSize "auto-aof-rewrite-min-size" MEMORY, "64mb", Always, "Bytes from which the log is rewritten by itself.";
    AutoAofRewritePercentage "auto-aof-rewrite-percentage" INT, "100", Always, "Growth since the last time at which the log is rewritten by itself, percent; 0 for never.";
    BgsaveCpulist "bgsave_cpulist" SettingKind::Text, "", NoEffectAtStart, "Processors on which snapshots are written.";
    BindSourceAddr "bind-source-addr" SettingKind::Text, "", NoEffect, "Address from which other servers are connected to.";
    BioCpulist "bio_cpulist" SettingKind::Text, "", NoEffectAtStart, "Processors for background work.";
    ClusterAllowPubsubshardWhenDown "cluster-allow-pubsubshard-when-down" SettingKind::Bool, "yes", NoEffect, "Cluster: whether shard channels work while it is down.";
    ClusterAllowReadsWhenDown "cluster-allow-reads-when-down" SettingKind::Bool, "no", NoEffect, "Cluster: whether reads work while it is down.";
    ClusterAllowReplicaMigration "cluster-allow-replica-migration" SettingKind::Bool, "yes", NoEffect, "Cluster: whether replicas go over to masters without any.";
    ClusterAnnounceBusPort "cluster-announce-bus-port" PORT, "0", NoEffect, "Cluster: the port others are told.";
    ClusterAnnounceHostname "cluster-announce-hostname" SettingKind::Text, "", NoEffect, "Cluster: the name others are told.";
    ClusterAnnounceIp "cluster-announce-ip" SettingKind::Text, "", NoEffect, "Cluster: the address others are told.";
    ClusterAnnouncePort "cluster-announce-port" PORT, "0", NoEffect, "Cluster: the port clients are told.";
    ClusterAnnounceTlsPort "cluster-announce-tls-port" PORT, "0", NoEffect, "Cluster: the TLS port clients are told.";
    ClusterConfigFile "cluster-config-file" SettingKind::Text, "nodes.conf", NoEffectAtStart, "Cluster: file of its state.";
    ClusterEnabled "cluster-enabled" SettingKind::Bool, "no", NoEffectAtStart, "Whether this is a node of a cluster; there is no cluster.";
    ClusterLinkSendbufLimit "cluster-link-sendbuf-limit" MEMORY, "0", NoEffect, "Cluster: most bytes that wait for another node.";
    ClusterMigrationBarrier "cluster-migration-barrier" INT, "1", NoEffect, "Cluster: replicas a master keeps.";
    ClusterNodeTimeout "cluster-node-timeout" SIZE, "15000", NoEffect, "Cluster: milliseconds after which a node counts as failed.";
    ClusterPort "cluster-port" PORT, "0", NoEffectAtStart, "Cluster: port of its bus.";
    ClusterPreferredEndpointType "cluster-preferred-endpoint-type" SettingKind::Choice(&["ip", "hostname", "unknown-endpoint"]), "ip", NoEffect, "Cluster: what clients are sent to.";
    ClusterReplicaNoFailover "cluster-replica-no-failover" SettingKind::Bool, "no", NoEffect, "Cluster: whether this replica never becomes a master.";
    ClusterReplicaValidityFactor "cluster-replica-validity-factor" INT, "10", NoEffect, "Cluster: how old a replica's data may be to become a master.";
    ClusterRequireFullCoverage "cluster-require-full-coverage" SettingKind::Bool, "yes", NoEffect, "Cluster: whether it stops when slots are lost.";
    CrashLogEnabled "crash-log-enabled" SettingKind::Bool, "yes", NoEffect, "Whether a crash is reported in the program's log.";
    CrashMemcheckEnabled "crash-memcheck-enabled" SettingKind::Bool, "yes", NoEffect, "Whether memory is tested after a crash.";
    Daemonize "daemonize" SettingKind::Bool, "no", AtStart, "Whether the program goes to the background; only when called as redis-server.";
    Dbfilename "dbfilename" SettingKind::Text, "dump.rdb", Always, "File of the snapshot in `dir`.";
    DisableThp "disable-thp" SettingKind::Bool, "yes", NoEffectAtStart, "Whether huge pages are switched off for the process.";
    DynamicHz "dynamic-hz" SettingKind::Bool, "yes", NoEffect, "Whether `hz` grows with the number of clients.";
    EnableModuleCommand "enable-module-command" SettingKind::Choice(&["no", "yes", "local"]), "no", NoEffectAtStart, "Who may use MODULE; there are no modules.";
    EnableProtectedConfigs "enable-protected-configs" SettingKind::Choice(&["no", "yes", "local"]), "no", AtStart, "Who may set `dir` and `dbfilename`: nobody (no), clients on this machine (local), or everybody (yes).";
    Hz "hz" INT, "10", NoEffect, "Turns a second of background work, 1 to 500.";
    IgnoreWarnings "ignore-warnings" SettingKind::Text, "", NoEffectAtStart, "Warnings that do not keep the program from starting.";
    IoThreads "io-threads" int(1, 128), "1", NoEffectAtStart, "Threads for connections; `--threads` says how many serve.";
    IoThreadsDoReads "io-threads-do-reads" SettingKind::Bool, "no", NoEffectAtStart, "Whether those threads read too.";
    JemallocBgThread "jemalloc-bg-thread" SettingKind::Bool, "yes", NoEffect, "Whether the allocator has a thread of its own.";
    LatencyMonitorThreshold "latency-monitor-threshold" SIZE, "0", Always, "Milliseconds from which what takes long is remembered (LATENCY); 0 for never.";
    LatencyTrackingInfoPercentiles "latency-tracking-info-percentiles" SettingKind::Words(Words::Percentiles), "50 99 99.9", Always, "Percentiles that INFO latencystats shows.";
    LazyfreeLazyEviction "lazyfree-lazy-eviction" SettingKind::Bool, "no", Always, "Whether what is evicted is freed in the background, if that takes long.";
    LazyfreeLazyExpire "lazyfree-lazy-expire" SettingKind::Bool, "no", Always, "Whether what expired is freed in the background, if that takes long.";
    LazyfreeLazyServerDel "lazyfree-lazy-server-del" SettingKind::Bool, "no", Always, "Whether what is overwritten is freed in the background, if that takes long.";
    LazyfreeLazyUserDel "lazyfree-lazy-user-del" SettingKind::Bool, "no", Always, "Whether DEL frees in the background, as UNLINK does, what takes long to free.";
    LazyfreeLazyUserFlush "lazyfree-lazy-user-flush" SettingKind::Bool, "no", Always, "Whether FLUSHALL and FLUSHDB free in the background without being told ASYNC.";
    Logfile "logfile" SettingKind::Text, "", AtStart, "File of the program's log; empty for standard output, or standard error of `redpoll serve`.";
    Loglevel "loglevel" SettingKind::Choice(&["debug", "verbose", "notice", "warning"]), "notice", Always, "How much the program's log says; a change holds from the next start.";
    Masterauth "masterauth" SettingKind::Text, "", NoEffect, "Password for a master; there are no replicas.";
    Masteruser "masteruser" SettingKind::Text, "", NoEffect, "User for a master; there are no replicas.";
    MaxmemoryClients "maxmemory-clients" SettingKind::MemoryOrPercent, "0", Always, "Bytes all clients together may take but those with CLIENT NO-EVICT on, or percent of `maxmemory`; the largest are disconnected when it is more. 0 for no limit.";
    MinReplicasMaxLag "min-replicas-max-lag" INT, "10", Always, "Seconds by which a replica may be late and still count for `min-replicas-to-write`; 0 asks for none.";
    MinReplicasToWrite "min-replicas-to-write" INT, "0", Always, "Replicas without which writes are refused; there are none, so above 0 nothing can be written.";
    NoAppendfsyncOnRewrite "no-appendfsync-on-rewrite" SettingKind::Bool, "no", NoEffect, "Whether the log is not forced to disk while it is rewritten.";
    OomScoreAdj "oom-score-adj" SettingKind::Choice(&["no", "yes", "relative", "absolute"]), "no", NoEffect, "Whether the system is told whom to end when memory is short.";
    OomScoreAdjValues "oom-score-adj-values" SettingKind::Words(Words::OomScores), "0 200 800", NoEffect, "What it is told.";
    Pidfile "pidfile" SettingKind::Text, "", AtStart, "File with the process id; only when called as redis-server.";
    ProcTitleTemplate "proc-title-template" SettingKind::Text, "{title} {listen-addr} {server-mode}", NoEffect, "How the process calls itself.";
    PropagationErrorBehavior "propagation-error-behavior" SettingKind::Choice(&["ignore", "panic", "panic-on-replicas"]), "ignore", NoEffect, "What a replica does when a command fails.";
    RdbDelSyncFiles "rdb-del-sync-files" SettingKind::Bool, "no", NoEffect, "Whether snapshots made for replicas are deleted.";
    RdbSaveIncrementalFsync "rdb-save-incremental-fsync" SettingKind::Bool, "yes", NoEffect, "Whether a snapshot is forced to disk bit by bit.";
    Rdbchecksum "rdbchecksum" SettingKind::Bool, "yes", AtStart, "Whether snapshots end with a checksum.";
    Rdbcompression "rdbcompression" SettingKind::Bool, "yes", Always, "Whether strings in snapshots are compressed.";
    ReplBacklogSize "repl-backlog-size" SettingKind::Memory { min: 1, max: i64::MAX }, "1mb", NoEffect, "Bytes kept for replicas that come back.";
    ReplBacklogTtl "repl-backlog-ttl" SIZE, "3600", NoEffect, "Seconds they are kept without any replica.";
    ReplDisableTcpNodelay "repl-disable-tcp-nodelay" SettingKind::Bool, "no", NoEffect, "Whether data for replicas is gathered into fewer packets.";
    ReplDisklessLoad "repl-diskless-load" SettingKind::Choice(&["disabled", "on-empty-db", "swapdb"]), "disabled", NoEffect, "How a replica loads a snapshot.";
    ReplDisklessSync "repl-diskless-sync" SettingKind::Bool, "yes", NoEffect, "Whether replicas are sent snapshots without a file.";
    ReplDisklessSyncDelay "repl-diskless-sync-delay" INT, "5", NoEffect, "Seconds to wait for further replicas.";
    ReplDisklessSyncMaxReplicas "repl-diskless-sync-max-replicas" INT, "0", NoEffect, "Replicas that are not waited for any longer.";
    ReplPingReplicaPeriod "repl-ping-replica-period" int(1, i32::MAX as i64), "10", NoEffect, "Seconds between signs of life to replicas.";
    ReplTimeout "repl-timeout" int(1, i32::MAX as i64), "60", NoEffect, "Seconds after which a replica counts as lost.";
    ReplicaAnnounceIp "replica-announce-ip" SettingKind::Text, "", NoEffect, "Address a replica tells its master.";
    ReplicaAnnouncePort "replica-announce-port" PORT, "0", NoEffect, "Port a replica tells its master.";
    ReplicaAnnounced "replica-announced" SettingKind::Bool, "yes", NoEffect, "Whether this replica is shown to clients.";
    ReplicaIgnoreDiskWriteErrors "replica-ignore-disk-write-errors" SettingKind::Bool, "no", NoEffect, "Whether a replica goes on when its disk is full.";
    ReplicaIgnoreMaxmemory "replica-ignore-maxmemory" SettingKind::Bool, "yes", NoEffect, "Whether a replica leaves eviction to its master.";
    ReplicaLazyFlush "replica-lazy-flush" SettingKind::Bool, "no", NoEffect, "Whether a replica frees its old data in the background.";
    ReplicaPriority "replica-priority" INT, "100", NoEffect, "Which replica becomes master first.";
    ReplicaReadOnly "replica-read-only" SettingKind::Bool, "yes", NoEffect, "Whether a replica refuses writes.";
    ReplicaServeStaleData "replica-serve-stale-data" SettingKind::Bool, "yes", NoEffect, "Whether a replica answers while it is cut off.";
    Replicaof "replicaof" SettingKind::Words(Words::Master), "", NoEffectAtStart, "The master of this replica; there are no replicas.";
    SanitizeDumpPayload "sanitize-dump-payload" SettingKind::Choice(&["no", "yes", "clients"]), "no", NoEffect, "Whether payloads of RESTORE are checked thoroughly; they always are.";
    ServerCpulist "server_cpulist" SettingKind::Text, "", NoEffectAtStart, "Processors on which commands run.";
    SetProcTitle "set-proc-title" SettingKind::Bool, "yes", NoEffectAtStart, "Whether the process calls itself by `proc-title-template`.";
    ShutdownOnSigint "shutdown-on-sigint" SettingKind::Words(Words::Shutdown), "default", Always, "How SIGINT ends the program: with a snapshot if they are made by rule (default), in any case (save) or not (nosave); even if that fails (force).";
    ShutdownOnSigterm "shutdown-on-sigterm" SettingKind::Words(Words::Shutdown), "default", Always, "How SIGTERM ends the program, as SIGINT does.";
    ShutdownTimeout "shutdown-timeout" INT, "10", NoEffect, "Seconds to wait for replicas at the end.";
    SocketMarkId "socket-mark-id" SIZE, "0", NoEffect, "Mark of the sockets for the system's packet filter.";
    StopWritesOnBgsaveError "stop-writes-on-bgsave-error" SettingKind::Bool, "yes", Always, "Whether writes are refused after a snapshot failed.";
    Supervised "supervised" SettingKind::Choice(&["upstart", "systemd", "auto", "no"]), "no", NoEffectAtStart, "Who watches over the process.";
    SyslogEnabled "syslog-enabled" SettingKind::Bool, "no", NoEffectAtStart, "Whether the program's log goes to the system's.";
    SyslogFacility "syslog-facility" SettingKind::Choice(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), "local0", NoEffectAtStart, "Under which heading it goes there.";
    SyslogIdent "syslog-ident" SettingKind::Text, "redis", NoEffectAtStart, "Under which name it goes there.";
    TlsCaCertDir "tls-ca-cert-dir" SettingKind::Text, "", NoEffect, "Directory of the authorities whose clients are trusted; `tls-ca-cert-file` names them.";
    TlsCiphers "tls-ciphers" SettingKind::Text, "", NoEffect, "Ciphers of TLS 1.2; the library's choice holds.";
    TlsCiphersuites "tls-ciphersuites" SettingKind::Text, "", NoEffect, "Ciphers of TLS 1.3; the library's choice holds.";
    TlsClientCertFile "tls-client-cert-file" SettingKind::Text, "", NoEffect, "Certificate for connections to other servers.";
    TlsClientKeyFile "tls-client-key-file" SettingKind::Text, "", NoEffect, "Key of that certificate.";
    TlsClientKeyFilePass "tls-client-key-file-pass" SettingKind::Text, "", NoEffect, "Password of that key.";
    TlsCluster "tls-cluster" SettingKind::Bool, "no", NoEffect, "Cluster: whether nodes speak TLS.";
    TlsDhParamsFile "tls-dh-params-file" SettingKind::Text, "", NoEffect, "Parameters of old ciphers.";
    TlsKeyFilePass "tls-key-file-pass" SettingKind::Text, "", NoEffect, "Password of the server's key; a key with one cannot be read.";
    TlsPreferServerCiphers "tls-prefer-server-ciphers" SettingKind::Bool, "no", NoEffect, "Whether the server chooses the cipher.";
    TlsProtocols "tls-protocols" SettingKind::Text, "", NoEffect, "Versions of TLS; 1.2 and 1.3 are spoken.";
    TlsReplication "tls-replication" SettingKind::Bool, "no", NoEffect, "Whether replicas speak TLS.";
    TlsSessionCacheSize "tls-session-cache-size" INT, "20480", NoEffect, "Sessions of TLS that are remembered.";
    TlsSessionCacheTimeout "tls-session-cache-timeout" INT, "300", NoEffect, "Seconds they are remembered.";
    TlsSessionCaching "tls-session-caching" SettingKind::Bool, "yes", NoEffect, "Whether they are remembered.";
    Unixsocket "unixsocket" SettingKind::Text, "", AtStart, "Path of a socket for clients on this machine; empty for none.";
    Unixsocketperm "unixsocketperm" SettingKind::Octal, "0", AtStart, "Permissions of that socket, octal; 0 leaves them as the system makes them.";
    KeyLoadDelay "key-load-delay" int(i32::MIN as i64, i32::MAX as i64), "0", Always, "For tests: microseconds to wait for each key that is loaded at the start.";
    LoadingProcessEventsIntervalBytes "loading-process-events-interval-bytes" int(1024, i32::MAX as i64), "2097152", NoEffect, "For tests of redis-server: how often clients are looked after while loading; here they are at any time.";
    RdbKeySaveDelay "rdb-key-save-delay" int(i32::MIN as i64, i32::MAX as i64), "0", Always, "For tests: microseconds to wait for each key that is saved.";
    UseExitOnPanic "use-exit-on-panic" SettingKind::Bool, "no", NoEffect, "For tests of redis-server: how it ends after a broken invariant.";
    WatchdogPeriod "watchdog-period" INT, "0", NoEffect, "For tests of redis-server: reports what takes long.";
}
