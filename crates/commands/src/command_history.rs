//! What changed in commands from version to version of Redis, which COMMAND DOCS tells: of a command as history, of an argument as the
//! version that brought it, and of both when something else took their place.
//!
//! The tables stand beside the rows rather than in them, because few commands have any, and those that have much of it would be hard to read. Up to 7.0 they say
//! what redis-server 7.0 says, word for word, which a test holds against it; what is newer is what the documentation of those versions says, as far as it
//! is done here.

/// A version of Redis and what it changed.
pub(crate) type Change = (&'static str, &'static str);

/// What changed, by command.
#[rustfmt::skip]
const HISTORY: &[(&str, &[Change])] = &[
    ("acl|getuser", &[("6.2.0", "Added Pub/Sub channel patterns."), ("7.0.0", "Added selectors and changed the format of key and channel patterns from a list to their rule representation.")]),
    ("acl|log", &[("7.2.0", "Added entry ID, timestamp created, and timestamp last updated.")]),
    ("acl|setuser", &[("6.2.0", "Added Pub/Sub channel patterns."), ("7.0.0", "Added selectors and key based permissions.")]),
    ("auth", &[("6.0.0", "Added ACL style (username and password).")]),
    ("bgsave", &[("3.2.2", "Added the `SCHEDULE` option.")]),
    ("bitcount", &[("7.0.0", "Added the `BYTE|BIT` option.")]),
    ("bitop", &[("8.2.0", "Added the `DIFF`, `DIFF1`, `ANDOR` and `ONE` operations.")]),
    ("bitpos", &[("7.0.0", "Added the `BYTE|BIT` option.")]),
    ("blpop", &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")]),
    ("brpop", &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")]),
    ("brpoplpush", &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")]),
    ("bzpopmax", &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")]),
    ("bzpopmin", &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")]),
    ("client|kill", &[("2.8.12", "Added new filter format."), ("2.8.12", "`ID` option."), ("3.2.0", "Added `master` type in for `TYPE` option."), ("5.0.0", "Replaced `slave` `TYPE` with `replica`. `slave` still supported for backward compatibility."), ("6.2.0", "`LADDR` option."), ("7.4.0", "`MAXAGE` option.")]),
    ("client|list", &[("2.8.12", "Added unique client `id` field."), ("5.0.0", "Added optional `TYPE` filter."), ("6.0.0", "Added `user` field."), ("6.2.0", "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter."), ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."), ("7.0.3", "Added `ssub` field."), ("7.2.0", "Added `lib-name` and `lib-ver` fields."), ("7.4.0", "Added `watch` field.")]),
    ("client|pause", &[("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option.")]),
    ("cluster|meet", &[("4.0.0", "Added the optional `cluster_bus_port` argument.")]),
    ("cluster|slots", &[("4.0.0", "Added node IDs."), ("7.0.0", "Added additional networking metadata field.")]),
    ("command|info", &[("7.0.0", "Allowed to be called with no argument to get info on all commands.")]),
    ("config|get", &[("7.0.0", "Added the ability to pass multiple pattern parameters in one call")]),
    ("config|set", &[("7.0.0", "Added the ability to set multiple parameters in one call.")]),
    ("exists", &[("3.0.3", "Accepts multiple `key` arguments.")]),
    ("expire", &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    ("expireat", &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    ("flushall", &[("4.0.0", "Added the `ASYNC` flushing mode modifier."), ("6.2.0", "Added the `SYNC` flushing mode modifier.")]),
    ("flushdb", &[("4.0.0", "Added the `ASYNC` flushing mode modifier."), ("6.2.0", "Added the `SYNC` flushing mode modifier.")]),
    ("geoadd", &[("6.2.0", "Added the `CH`, `NX` and `XX` options.")]),
    ("georadius", &[("6.2.0", "Added the `ANY` option for `COUNT`."), ("7.0.0", "Added support for uppercase unit names.")]),
    ("georadius_ro", &[("6.2.0", "Added the `ANY` option for `COUNT`.")]),
    ("georadiusbymember", &[("7.0.0", "Added support for uppercase unit names.")]),
    ("geosearch", &[("7.0.0", "Added support for uppercase unit names.")]),
    ("geosearchstore", &[("7.0.0", "Added support for uppercase unit names.")]),
    ("hdel", &[("2.4.0", "Accepts multiple `field` arguments.")]),
    ("hello", &[("6.2.0", "`protover` made optional; when called without arguments the command reports the current connection's context.")]),
    ("hset", &[("4.0.0", "Accepts multiple `field` and `value` arguments.")]),
    ("info", &[("7.0.0", "Added support for taking multiple section arguments.")]),
    ("lpop", &[("6.2.0", "Added the `count` argument.")]),
    ("lpush", &[("2.4.0", "Accepts multiple `element` arguments.")]),
    ("lpushx", &[("4.0.0", "Accepts multiple `element` arguments.")]),
    ("migrate", &[("3.0.0", "Added the `COPY` and `REPLACE` options."), ("3.0.6", "Added the `KEYS` option."), ("4.0.7", "Added the `AUTH` option."), ("6.0.0", "Added the `AUTH2` option.")]),
    ("pexpire", &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    ("pexpireat", &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")]),
    ("pttl", &[("2.8.0", "Added the -2 reply.")]),
    ("renamenx", &[("3.2.0", "The command no longer returns an error when source and destination names are the same.")]),
    ("restore", &[("3.0.0", "Added the `REPLACE` modifier."), ("5.0.0", "Added the `ABSTTL` modifier."), ("5.0.0", "Added the `IDLETIME` and `FREQ` options.")]),
    ("restore-asking", &[("3.0.0", "Added the `REPLACE` modifier."), ("5.0.0", "Added the `ABSTTL` modifier."), ("5.0.0", "Added the `IDLETIME` and `FREQ` options.")]),
    ("rpop", &[("6.2.0", "Added the `count` argument.")]),
    ("rpush", &[("2.4.0", "Accepts multiple `element` arguments.")]),
    ("rpushx", &[("4.0.0", "Accepts multiple `element` arguments.")]),
    ("sadd", &[("2.4.0", "Accepts multiple `member` arguments.")]),
    ("scan", &[("6.0.0", "Added the `TYPE` subcommand.")]),
    ("script|flush", &[("6.2.0", "Added the `ASYNC` and `SYNC` flushing mode modifiers.")]),
    ("set", &[("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."), ("6.0.0", "Added the `KEEPTTL` option."), ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."), ("7.0.0", "Allowed the `NX` and `GET` options to be used together."), ("8.4.0", "Added the `IFEQ`, `IFNE`, `IFDEQ` and `IFDNE` options.")]),
    ("shutdown", &[("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers.")]),
    ("slowlog|get", &[("4.0.0", "Added client IP address, port and name to the reply.")]),
    ("spop", &[("3.2.0", "Added the `count` argument.")]),
    ("srandmember", &[("2.6.0", "Added the optional `count` argument.")]),
    ("srem", &[("2.4.0", "Accepts multiple `member` arguments.")]),
    ("ttl", &[("2.8.0", "Added the -2 reply.")]),
    ("xadd", &[("6.2.0", "Added the `NOMKSTREAM` option, `MINID` trimming strategy and the `LIMIT` option."), ("7.0.0", "Added support for the `<ms>-*` explicit ID form."), ("8.2.0", "Added the `KEEPREF`, `DELREF` and `ACKED` options.")]),
    ("xautoclaim", &[("7.0.0", "Added an element to the reply array, containing deleted entries the command cleared from the PEL")]),
    ("xgroup|create", &[("7.0.0", "Added the `entries_read` named argument.")]),
    ("xgroup|setid", &[("7.0.0", "Added the optional `entries_read` argument.")]),
    ("xinfo|consumers", &[("7.2.0", "Added the `inactive` field.")]),
    ("xinfo|groups", &[("7.0.0", "Added the `entries-read` and `lag` fields")]),
    ("xinfo|stream", &[("6.0.0", "Added the `FULL` modifier."), ("7.0.0", "Added the `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and `lag` fields"), ("7.2.0", "Added the `active-time` field, and changed the meaning of `seen-time`.")]),
    ("xpending", &[("6.2.0", "Added the `IDLE` option and exclusive range intervals.")]),
    ("xrange", &[("6.2.0", "Added exclusive ranges.")]),
    ("xrevrange", &[("6.2.0", "Added exclusive ranges.")]),
    ("xsetid", &[("7.0.0", "Added the `entries_added` and `max_deleted_entry_id` arguments.")]),
    ("xtrim", &[("6.2.0", "Added the `MINID` trimming strategy and the `LIMIT` option."), ("8.2.0", "Added the `KEEPREF`, `DELREF` and `ACKED` options.")]),
    ("zadd", &[("2.4.0", "Accepts multiple elements."), ("3.0.2", "Added the `XX`, `NX`, `CH` and `INCR` options."), ("6.2.0", "Added the `GT` and `LT` options.")]),
    ("zrange", &[("6.2.0", "Added the `REV`, `BYSCORE`, `BYLEX` and `LIMIT` options.")]),
    ("zrangebyscore", &[("2.0.0", "Added the `WITHSCORES` modifier.")]),
    ("zrank", &[("7.2.0", "Added the optional `WITHSCORE` argument.")]),
    ("zrem", &[("2.4.0", "Accepts multiple elements.")]),
    ("zrevrangebyscore", &[("2.1.6", "`min` and `max` can be exclusive.")]),
    ("zrevrank", &[("7.2.0", "Added the optional `WITHSCORE` argument.")]),
];

/// Commands that others have taken the place of: the version since when, and what to use.
#[rustfmt::skip]
const DEPRECATED: &[(&str, &str, &str)] = &[
    ("brpoplpush", "6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    ("cluster|slaves", "5.0.0", "`CLUSTER REPLICAS`"),
    ("cluster|slots", "7.0.0", "`CLUSTER SHARDS`"),
    ("georadius", "6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    ("georadius_ro", "6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    ("georadiusbymember", "6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    ("georadiusbymember_ro", "6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    ("getset", "6.2.0", "`SET` with the `!GET` argument"),
    ("hmset", "4.0.0", "`HSET` with multiple field-value pairs"),
    ("rpoplpush", "6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    ("slaveof", "5.0.0", "`REPLICAOF`"),
    ("substr", "2.0.0", "`GETRANGE`"),
    ("zrangebylex", "6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    ("zrangebyscore", "6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    ("zrevrange", "6.2.0", "`ZRANGE` with the `REV` argument"),
    ("zrevrangebylex", "6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    ("zrevrangebyscore", "6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
];

/// Commands that servers send each other, or that are for who works on a server.
const SYSTEM: &[&str] = &["debug", "pfdebug", "pfselftest", "replconf", "restore-asking"];

/// Arguments that others have taken the place of: command, token or name, version.
const OUTDATED: &[(&str, &str, &str)] = &[("client|kill", "ip:port", "2.8.12")];

/// Arguments that are younger than their commands: command, token or name, version.
#[rustfmt::skip]
const YOUNGER: &[(&str, &str, &str)] = &[
    ("auth", "username", "6.0.0"),
    ("bgsave", "SCHEDULE", "3.2.2"),
    ("bitcount", "unit", "7.0.0"),
    ("bitop", "ANDOR", "8.2.0"),
    ("bitop", "DIFF", "8.2.0"),
    ("bitop", "DIFF1", "8.2.0"),
    ("bitop", "ONE", "8.2.0"),
    ("bitpos", "unit", "7.0.0"),
    ("client|kill", "ID", "2.8.12"),
    ("client|kill", "LADDR", "6.2.0"),
    ("client|kill", "MASTER", "3.2.0"),
    ("client|kill", "MAXAGE", "7.4.0"),
    ("client|kill", "REPLICA", "5.0.0"),
    ("client|kill", "TYPE", "2.8.12"),
    ("client|list", "ID", "6.2.0"),
    ("client|list", "TYPE", "5.0.0"),
    ("client|pause", "write", "6.2.0"),
    ("cluster|meet", "cluster-bus-port", "4.0.0"),
    ("expire", "condition", "7.0.0"),
    ("expireat", "condition", "7.0.0"),
    ("flushall", "ASYNC", "4.0.0"),
    ("flushall", "SYNC", "6.2.0"),
    ("flushdb", "ASYNC", "4.0.0"),
    ("flushdb", "SYNC", "6.2.0"),
    ("geoadd", "CH", "6.2.0"),
    ("geoadd", "condition", "6.2.0"),
    ("georadius", "ANY", "6.2.0"),
    ("georadius_ro", "ANY", "6.2.0"),
    ("lpop", "count", "6.2.0"),
    ("migrate", "AUTH", "4.0.7"),
    ("migrate", "AUTH2", "6.0.0"),
    ("migrate", "COPY", "3.0.0"),
    ("migrate", "KEYS", "3.0.6"),
    ("migrate", "REPLACE", "3.0.0"),
    ("pexpire", "condition", "7.0.0"),
    ("pexpireat", "condition", "7.0.0"),
    ("restore", "ABSTTL", "5.0.0"),
    ("restore", "FREQ", "5.0.0"),
    ("restore", "IDLETIME", "5.0.0"),
    ("restore", "REPLACE", "3.0.0"),
    ("restore-asking", "ABSTTL", "5.0.0"),
    ("restore-asking", "FREQ", "5.0.0"),
    ("restore-asking", "IDLETIME", "5.0.0"),
    ("restore-asking", "REPLACE", "3.0.0"),
    ("rpop", "count", "6.2.0"),
    ("scan", "TYPE", "6.0.0"),
    ("script|flush", "flush-type", "6.2.0"),
    ("set", "EX", "2.6.12"),
    ("set", "EXAT", "6.2.0"),
    ("set", "GET", "6.2.0"),
    ("set", "IFDEQ", "8.4.0"),
    ("set", "IFDNE", "8.4.0"),
    ("set", "IFEQ", "8.4.0"),
    ("set", "IFNE", "8.4.0"),
    ("set", "KEEPTTL", "6.0.0"),
    ("set", "PX", "2.6.12"),
    ("set", "PXAT", "6.2.0"),
    ("set", "condition", "2.6.12"),
    ("shutdown", "ABORT", "7.0.0"),
    ("shutdown", "FORCE", "7.0.0"),
    ("shutdown", "NOW", "7.0.0"),
    ("spop", "count", "3.2.0"),
    ("srandmember", "count", "2.6.0"),
    ("xadd", "ACKED", "8.2.0"),
    ("xadd", "DELREF", "8.2.0"),
    ("xadd", "KEEPREF", "8.2.0"),
    ("xadd", "LIMIT", "6.2.0"),
    ("xadd", "MINID", "6.2.0"),
    ("xadd", "NOMKSTREAM", "6.2.0"),
    ("xpending", "IDLE", "6.2.0"),
    ("xsetid", "ENTRIESADDED", "7.0.0"),
    ("xsetid", "MAXDELETEDID", "7.0.0"),
    ("xtrim", "ACKED", "8.2.0"),
    ("xtrim", "DELREF", "8.2.0"),
    ("xtrim", "KEEPREF", "8.2.0"),
    ("xtrim", "LIMIT", "6.2.0"),
    ("xtrim", "MINID", "6.2.0"),
    ("zadd", "CH", "3.0.2"),
    ("zadd", "INCR", "3.0.2"),
    ("zadd", "comparison", "6.2.0"),
    ("zadd", "condition", "3.0.2"),
    ("zrange", "LIMIT", "6.2.0"),
    ("zrange", "REV", "6.2.0"),
    ("zrange", "byscore", "6.2.0"),
    ("zrangebyscore", "WITHSCORES", "2.0.0"),
    ("zrank", "WITHSCORE", "7.2.0"),
    ("zrevrank", "WITHSCORE", "7.2.0"),
];

/// Returns what changed in a command since it came, oldest first.
pub(crate) fn of(command: &str) -> &'static [Change] {
    HISTORY.iter().find(|(name, _)| *name == command).map_or(&[], |(_, changes)| changes)
}

/// Returns the version that brought an argument, if that was not the one that brought the command.
pub(crate) fn since(command: &str, argument: &str) -> Option<&'static str> {
    find(YOUNGER, command, argument)
}

/// Returns since when a command is deprecated, and what to use in its place.
pub(crate) fn deprecated(command: &str) -> Option<(&'static str, &'static str)> {
    DEPRECATED.iter().find(|row| row.0 == command).map(|row| (row.1, row.2))
}

/// Returns since when an argument is deprecated.
pub(crate) fn argument_deprecated(command: &str, argument: &str) -> Option<&'static str> {
    find(OUTDATED, command, argument)
}

/// Tells why a command is none to be used, if so: it is for the system, or deprecated.
pub(crate) fn flag(command: &str) -> Option<&'static str> {
    if SYSTEM.contains(&command) { Some("syscmd") } else { deprecated(command).map(|_| "deprecated") }
}

fn find(table: &[(&str, &str, &'static str)], command: &str, argument: &str) -> Option<&'static str> {
    table.iter().find(|row| (row.0, row.1) == (command, argument)).map(|row| row.2)
}
