//! The table of what is generated: a syntax line per command and how replies to it are compared.
//!
//! A row repeated or given twice is drawn twice as often. Commands newer than Redis 7.0 are absent, because the oracle
//! that distributions install does not know them; so are commands that read the clock, block, or draw at random in a
//! way that changes data. ZRANK and ZREVRANK are never damaged: 7.2 takes one more argument, WITHSCORE, so that a
//! transaction with one is refused by 7.0 only and everything after it differs. BITFIELD is drawn without OVERFLOW FAIL:
//! when all of it fails on a missing key, redis-server makes the key but tells nobody who watches it. Nor does its SET
//! draw the least integer, which redis-server takes for too large a number instead of too small a one.
//!
//! The thresholds of encodings change in mid-stream like any other data. `set-max-listpack-*` is newer than 7.0; what a
//! 7.0 answers to it is one of the differences the caller of the test lists.

use super::compare::Rule;
use super::places::PLACES;
use super::streams::STREAMS;

/// A family of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// GET, SET and the like.
    Strings,
    /// SETBIT and the like, on strings.
    Bitmaps,
    /// Commands on keys of any type, expiry, databases.
    Keys,
    /// Hashes.
    Hashes,
    /// Lists.
    Lists,
    /// Sets.
    Sets,
    /// Sorted sets.
    SortedSets,
    /// GEOADD and the like, on sorted sets.
    Places,
    /// Streams.
    Streams,
    /// MULTI, EXEC, WATCH.
    Transactions,
    /// EVAL and its relatives, with the scripts of `scripts`.
    Scripts,
    /// CONFIG SET of the thresholds at which values change their encoding.
    Thresholds,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) template: &'static str,
    pub(super) rule: Rule,
    /// Whether commands of the row may be damaged.
    pub(super) damage: Damage,
}

/// What damage a row bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// Any.
    Any,
    /// None: another argument would make the reply or the contents a matter of chance.
    None,
}

impl Row {
    /// The name of the command.
    pub(super) fn name(&self) -> &'static str {
        self.template.split(' ').next().unwrap_or_default()
    }
}

pub(super) const fn row(template: &'static str, rule: Rule) -> Row {
    Row { template, rule, damage: Damage::Any }
}

pub(super) const fn intact(template: &'static str, rule: Rule) -> Row {
    Row { template, rule, damage: Damage::None }
}

use Rule::{Encoding, Exact, Floats, Near, Pairs, Scan, ScanPairs, Shape, Unordered};

impl Family {
    /// All families.
    pub const ALL: [Self; 12] = [
        Self::Strings,
        Self::Bitmaps,
        Self::Keys,
        Self::Hashes,
        Self::Lists,
        Self::Sets,
        Self::SortedSets,
        Self::Places,
        Self::Streams,
        Self::Transactions,
        Self::Scripts,
        Self::Thresholds,
    ];

    /// Gives the lower-case name, as on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strings => "strings",
            Self::Bitmaps => "bitmaps",
            Self::Keys => "keys",
            Self::Hashes => "hashes",
            Self::Lists => "lists",
            Self::Sets => "sets",
            Self::SortedSets => "sortedsets",
            Self::Places => "places",
            Self::Streams => "streams",
            Self::Transactions => "transactions",
            Self::Scripts => "scripts",
            Self::Thresholds => "thresholds",
        }
    }

    /// The keys that commands of this family mostly use.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Strings | Self::Keys | Self::Transactions | Self::Scripts | Self::Thresholds => {
                &["s0", "s1", "s2", "{t}s"]
            }
            Self::Bitmaps => &["b0", "b1", "s2"],
            Self::Hashes => &["h0", "h1", "h2", "{t}h"],
            Self::Lists => &["l0", "l1", "l2", "{t}l"],
            Self::Sets => &["t0", "t1", "t2", "{t}t"],
            Self::SortedSets => &["z0", "z1", "z2", "{t}z"],
            Self::Places => &["g0", "g1", "{t}g"],
            Self::Streams => &["x0", "x1", "x2", "{t}x"],
        }
    }

    pub(super) fn rows(self) -> &'static [Row] {
        match self {
            Self::Strings => STRINGS,
            Self::Bitmaps => BITMAPS,
            Self::Keys => KEYS,
            Self::Hashes => HASHES,
            Self::Lists => LISTS,
            Self::Sets => SETS,
            Self::SortedSets => SORTED_SETS,
            Self::Places => PLACES,
            Self::Streams => STREAMS,
            Self::Transactions => TRANSACTIONS,
            Self::Scripts => SCRIPTS,
            Self::Thresholds => THRESHOLDS,
        }
    }

    /// The upper-case names of its commands, a name for each row.
    pub fn commands(self) -> impl Iterator<Item = &'static str> {
        self.rows().iter().map(Row::name)
    }

    /// How many of the draws that hit this family are drawn again, in eighths: what decides about everything after it is
    /// wanted less often.
    pub(super) fn reluctance(self) -> u64 {
        match self {
            Self::Transactions => 6,
            Self::Thresholds => 7,
            _ => 0,
        }
    }
}

#[rustfmt::skip]
const STRINGS: &[Row] = &[
    row("SET key value", Exact),
    row("SET key value", Exact),
    row("SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT futureunix | PXAT futureunixms | KEEPTTL]", Exact),
    row("GET key", Exact),
    row("GET key", Exact),
    row("GETDEL key", Exact),
    row("GETEX key [EX seconds | PX milliseconds | EXAT unix | PXAT unixms | PERSIST]", Exact),
    row("GETSET key value", Exact),
    row("SETNX key value", Exact),
    row("SETEX key seconds value", Exact),
    row("PSETEX key milliseconds value", Exact),
    row("MSET (key value)...", Exact),
    row("MSETNX (key value)...", Exact),
    row("MGET key...", Exact),
    row("APPEND key value", Exact),
    row("STRLEN key", Exact),
    row("GETRANGE key index index", Exact),
    row("SUBSTR key index index", Exact),
    row("SETRANGE key offset value", Exact),
    row("INCR key", Exact),
    row("DECR key", Exact),
    row("INCRBY key integer", Exact),
    row("DECRBY key integer", Exact),
    row("INCRBYFLOAT key float", Exact),
    row("LCS key key [LEN] [IDX] [MINMATCHLEN count] [WITHMATCHLEN]", Exact),
];

#[rustfmt::skip]
const BITMAPS: &[Row] = &[
    row("SETBIT key offset bit", Exact),
    row("GETBIT key offset", Exact),
    row("BITCOUNT key [index index [BYTE | BIT]]", Exact),
    row("BITPOS key bit [index [index [BYTE | BIT]]]", Exact),
    row("BITOP (AND | OR | XOR) key key...", Exact),
    row("BITOP NOT key key", Exact),
    row("BITFIELD key [GET ('u8 | 'i16 | 'u63 | 'i64 | 'u64) offset] [OVERFLOW (WRAP | SAT)] [SET ('u8 | 'i16) offset count] [INCRBY ('u8 | 'i5 | 'i64) (offset | #3) integer]", Exact),
    row("PFADD 'p0 value...", Exact),
    row("PFADD 'p1 value...", Exact),
    row("PFCOUNT ('p0 | 'p1 | key | 'p0 'p1)", Exact),
    row("PFMERGE ('p0 | 'p1) ('p0 | 'p1)", Exact),
    row("GET ('p0 | 'p1)", Exact),
    row("BITFIELD_RO key GET ('u8 | 'i16 | 'i64) offset", Exact),
];

#[rustfmt::skip]
const KEYS: &[Row] = &[
    row("DEL key...", Exact),
    row("UNLINK key...", Exact),
    row("EXISTS key...", Exact),
    row("TOUCH key...", Exact),
    row("TYPE key", Exact),
    row("RENAME key key", Exact),
    row("RENAMENX key key", Exact),
    row("COPY key key [DB database] [REPLACE]", Exact),
    row("MOVE key database", Exact),
    row("EXPIRE key seconds [NX | XX | GT | LT]", Exact),
    row("PEXPIRE key milliseconds [NX | XX | GT | LT]", Exact),
    row("EXPIREAT key unix [NX | XX | GT | LT]", Exact),
    row("PEXPIREAT key unixms [NX | XX | GT | LT]", Exact),
    row("EXPIRE key seconds (NX GT | XX GT | GT LT | XX LT)", Exact),
    row("PERSIST key", Exact),
    row("TTL key", Near(2)),
    row("PTTL key", Near(2_000)),
    row("EXPIRETIME key", Near(2)),
    row("PEXPIRETIME key", Near(2_000)),
    row("KEYS pattern", Unordered),
    intact("SCAN 0 COUNT 100000 [MATCH pattern] [TYPE ('string | 'list | 'set | 'zset | 'hash | 'stream)]", Scan),
    intact("SCAN (0 COUNT 0 | 0 COUNT 'x | 'x | 0 MATCH)", Exact),
    row("DBSIZE", Exact),
    intact("RANDOMKEY", Shape),
    row("OBJECT ENCODING key", Encoding),
    row("OBJECT IDLETIME key", Near(5)),
    row("SELECT database", Exact),
    row("SWAPDB database database", Exact),
    row("ECHO value", Exact),
    row("PING [value]", Exact),
    row("NOSUCHCOMMAND [value]...", Exact),
];

#[rustfmt::skip]
const HASHES: &[Row] = &[
    row("HSET key (field value)...", Exact),
    row("HSET key (field value)...", Exact),
    row("HMSET key (field value)...", Exact),
    row("HSETNX key field value", Exact),
    row("HGET key field", Exact),
    row("HMGET key field...", Exact),
    row("HGETALL key", Pairs),
    row("HKEYS key", Unordered),
    row("HVALS key", Unordered),
    row("HLEN key", Exact),
    row("HEXISTS key field", Exact),
    row("HSTRLEN key field", Exact),
    row("HDEL key field...", Exact),
    row("HINCRBY key field integer", Exact),
    row("HINCRBYFLOAT key field float", Exact),
    intact("HRANDFIELD key", Shape),
    intact("HRANDFIELD key count [WITHVALUES]", Shape),
    intact("HRANDFIELD key 100000", Unordered),
    intact("HSCAN key 0 COUNT 100000 [MATCH pattern]", ScanPairs),
    row("OBJECT ENCODING key", Encoding),
];

#[rustfmt::skip]
const LISTS: &[Row] = &[
    row("RPUSH key value...", Exact),
    row("LPUSH key value...", Exact),
    row("RPUSHX key value...", Exact),
    row("LPUSHX key value...", Exact),
    row("LPOP key [count]", Exact),
    row("RPOP key [count]", Exact),
    row("LLEN key", Exact),
    row("LINDEX key index", Exact),
    row("LSET key index value", Exact),
    row("LRANGE key index index", Exact),
    row("LTRIM key index index", Exact),
    row("LREM key index value", Exact),
    row("LINSERT key (BEFORE | AFTER) value value", Exact),
    row("LPOS key value [RANK index] [COUNT count] [MAXLEN count]", Exact),
    row("LMOVE key key (LEFT | RIGHT) (LEFT | RIGHT)", Exact),
    row("RPOPLPUSH key key", Exact),
    row("SORT key [LIMIT index count] [ASC | DESC] [ALPHA] [STORE key]", Exact),
    row("SORT key BY ('nosort | 's*) [LIMIT index count] GET ('# | 's* | 'h*->f1)", Exact),
    row("LMPOP countedkeys (LEFT | RIGHT) [COUNT count]", Exact),
    row("OBJECT ENCODING key", Encoding),
];

#[rustfmt::skip]
const SETS: &[Row] = &[
    row("SADD key member...", Exact),
    row("SADD key member...", Exact),
    row("SADD key integer...", Exact),
    row("SREM key member...", Exact),
    row("SCARD key", Exact),
    row("SISMEMBER key member", Exact),
    row("SMISMEMBER key member...", Exact),
    row("SMEMBERS key", Unordered),
    row("SMOVE key key member", Exact),
    row("SINTER key...", Unordered),
    row("SUNION key...", Unordered),
    row("SDIFF key...", Unordered),
    row("SINTERSTORE key key...", Exact),
    row("SUNIONSTORE key key...", Exact),
    row("SDIFFSTORE key key...", Exact),
    row("SINTERCARD countedkeys [LIMIT count]", Exact),
    intact("SPOP key 100000", Unordered),
    intact("SRANDMEMBER key", Shape),
    intact("SRANDMEMBER key count", Shape),
    intact("SRANDMEMBER key 100000", Unordered),
    intact("SSCAN key 0 COUNT 100000 [MATCH pattern]", Scan),
    row("OBJECT ENCODING key", Encoding),
];

#[rustfmt::skip]
const SORTED_SETS: &[Row] = &[
    row("ZADD key (score member)...", Floats),
    row("ZADD key (score member)...", Floats),
    row("ZADD key [NX | XX] [GT | LT] [CH] (score member)...", Floats),
    row("ZADD key [NX | XX | GT | LT] INCR score member", Floats),
    row("ZINCRBY key score member", Floats),
    row("ZREM key member...", Exact),
    row("ZCARD key", Exact),
    row("ZSCORE key member", Floats),
    row("ZMSCORE key member...", Floats),
    intact("ZRANK key member", Exact),
    intact("ZREVRANK key member", Exact),
    row("ZCOUNT key scorebound scorebound", Exact),
    row("ZRANGE key index index [REV] [WITHSCORES]", Floats),
    row("ZRANGE key scorebound scorebound BYSCORE [REV] [LIMIT index index] [WITHSCORES]", Floats),
    row("ZREVRANGE key index index [WITHSCORES]", Floats),
    row("ZRANGEBYSCORE key scorebound scorebound [WITHSCORES] [LIMIT index index]", Floats),
    row("ZREVRANGEBYSCORE key scorebound scorebound [WITHSCORES] [LIMIT index index]", Floats),
    row("ZRANGESTORE key key index index [REV]", Exact),
    row("ZRANGESTORE key key scorebound scorebound BYSCORE [REV] [LIMIT index index]", Exact),
    row("ZREMRANGEBYRANK key index index", Exact),
    row("ZREMRANGEBYSCORE key scorebound scorebound", Exact),
    row("ZPOPMIN key [count]", Floats),
    row("ZPOPMAX key [count]", Floats),
    row("ZMPOP countedkeys (MIN | MAX) [COUNT count]", Floats),
    row("ZUNION countedkeys [WEIGHTS float...] [AGGREGATE (SUM | MIN | MAX)] [WITHSCORES]", Floats),
    row("ZINTER countedkeys [WEIGHTS float...] [AGGREGATE (SUM | MIN | MAX)] [WITHSCORES]", Floats),
    row("ZDIFF countedkeys [WITHSCORES]", Floats),
    row("ZUNIONSTORE key countedkeys [WEIGHTS float...] [AGGREGATE (SUM | MIN | MAX)]", Exact),
    row("ZINTERSTORE key countedkeys [WEIGHTS float...] [AGGREGATE (SUM | MIN | MAX)]", Exact),
    row("ZDIFFSTORE key countedkeys", Exact),
    row("ZINTERCARD countedkeys [LIMIT count]", Exact),
    intact("ZRANDMEMBER key", Shape),
    intact("ZRANDMEMBER key count [WITHSCORES]", Shape),
    intact("ZSCAN key 0 COUNT 100000 [MATCH pattern]", ScanPairs),
    intact("ZADD lexkey 0 member", Exact),
    intact("ZADD lexkey 0 member 0 member", Exact),
    row("ZRANGE lexkey lexbound lexbound BYLEX [REV] [LIMIT index index]", Exact),
    row("ZRANGEBYLEX lexkey lexbound lexbound [LIMIT index index]", Exact),
    row("ZREVRANGEBYLEX lexkey lexbound lexbound [LIMIT index index]", Exact),
    row("ZLEXCOUNT lexkey lexbound lexbound", Exact),
    row("ZREMRANGEBYLEX lexkey lexbound lexbound", Exact),
    row("OBJECT ENCODING key", Encoding),
];

#[rustfmt::skip]
const TRANSACTIONS: &[Row] = &[
    row("MULTI", Exact),
    row("EXEC", Exact),
    row("DISCARD", Exact),
    row("WATCH key...", Exact),
    row("UNWATCH", Exact),
];

#[rustfmt::skip]
const SCRIPTS: &[Row] = &[
    row("EVAL script", Exact),
    row("EVAL script", Exact),
    row("EVAL_RO script", Exact),
    row("EVALSHA sha", Exact),
    row("EVALSHA_RO sha", Exact),
    row("SCRIPT LOAD scripttext", Exact),
    row("SCRIPT EXISTS shasum...", Exact),
    row("SCRIPT FLUSH [SYNC | ASYNC]", Exact),
];

/// A name and what it is set to; the template has room for several at once, as CONFIG SET has.
#[rustfmt::skip]
const THRESHOLDS: &[Row] = &[
    row("CONFIG SET 'hash-max-listpack-entries (3 | 4 | 16 | 128 | 512) ['hash-max-listpack-value (0 | 4 | 16 | 64 | 1000)]", Exact),
    row("CONFIG SET 'zset-max-listpack-entries (3 | 4 | 16 | 128) ['zset-max-listpack-value (0 | 4 | 16 | 64 | 1000)]", Exact),
    row("CONFIG SET 'set-max-intset-entries (3 | 4 | 16 | 512)", Exact),
    row("CONFIG SET 'set-max-listpack-entries (0 | 1 | 3 | 16 | 128) ['set-max-listpack-value (0 | 4 | 16 | 64 | 1000)]", Exact),
    row("CONFIG SET 'list-max-listpack-size (-5 | -2 | -1 | 0 | 1 | 3 | 128)", Exact),
    row("CONFIG GET ('hash-max-listpack-* | 'zset-max-listpack-* | 'set-max-intset-entries | 'list-max-listpack-size)", Pairs),
];
