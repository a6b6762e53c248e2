//! Error replies: every text a client can see stands here and in the files of this folder, exactly as Redis words it.

use std::borrow::Cow;

use redpoll_keyspace::WrongType;

use crate::args::before_nul;

/// An error reply; its text begins with a code such as `ERR` or `WRONGTYPE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A fixed text.
    Text(&'static str),
    /// A text made for the occasion. What a client sent stands in it as it came, which need not be UTF-8.
    Owned(Vec<u8>),
    /// The error of a command inside the one that fails with it, which has been counted already.
    Counted(Vec<u8>),
}

impl Error {
    /// Joins the parts of a text, some of which a client sent.
    pub fn of(parts: &[&[u8]]) -> Error {
        Error::Owned(parts.concat())
    }

    /// Returns the text as it goes over the wire, without the leading `-`.
    pub fn text(&self) -> &[u8] {
        match self {
            Error::Text(text) => text.as_bytes(),
            Error::Owned(text) | Error::Counted(text) => text,
        }
    }

    /// Returns the code: the text up to the first space.
    pub fn code(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.text().split(|byte| *byte == b' ').next().unwrap_or_default())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Error {
        Error::Owned(text.into_bytes())
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Error {
        WRONG_TYPE
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Error = Error::Text($text);)*
    };
}

mod fields;
mod others;
mod persistence;

pub use fields::*;
pub use others::*;
pub use persistence::*;

texts! {
    /// The key holds another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// Options that do not fit together or are unknown.
    SYNTAX = "ERR syntax error";
    /// Not a 64-bit integer.
    NOT_AN_INTEGER = "ERR value is not an integer or out of range";
    /// Not a float.
    NOT_A_FLOAT = "ERR value is not a valid float";
    /// An index outside the value.
    OUT_OF_RANGE = "ERR index out of range";
    /// A key that must exist does not.
    NO_SUCH_KEY = "ERR no such key";
    /// Negative where only non-negative makes sense.
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    /// INCR and friends past 64 bits.
    OVERFLOW = "ERR increment or decrement would overflow";
    /// INCRBYFLOAT to infinity.
    NAN_OR_INFINITY = "ERR increment would produce NaN or Infinity";
    /// SETRANGE and SETBIT with a negative offset.
    OFFSET = "ERR offset is out of range";
    /// A string would exceed proto-max-bulk-len.
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// SELECT and friends.
    DB_INDEX = "ERR DB index is out of range";
    /// The timeout of a command that waits, in seconds.
    TIMEOUT_NOT_A_FLOAT = "ERR timeout is not a float or out of range";
    /// The timeout of a command that waits, in milliseconds.
    TIMEOUT_NOT_AN_INTEGER = "ERR timeout is not an integer or out of range";
    /// Waiting for less than no time.
    TIMEOUT_NEGATIVE = "ERR timeout is negative";
    /// Waiting past the end of time.
    TIMEOUT_OUT_OF_RANGE = "ERR timeout is out of range";
    /// CLIENT UNBLOCK with ERROR.
    UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    /// CLIENT UNBLOCK with a word it does not know.
    UNBLOCK_REASON = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
    /// A database number that is no number.
    INVALID_DB_INDEX = "ERR invalid DB index";
    /// Source and destination are one.
    SAME_OBJECT = "ERR source and destination objects are the same";
    /// Not logged in.
    NO_AUTH = "NOAUTH Authentication required.";
    /// Wrong user or password.
    WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled.";
    /// AUTH without a password set.
    AUTH_WITHOUT_PASSWORD = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
    /// EXEC after a queueing error.
    EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors.";
    /// MULTI inside MULTI.
    NESTED_MULTI = "ERR MULTI calls can not be nested";
    /// WATCH inside MULTI.
    WATCH_IN_MULTI = "ERR WATCH inside MULTI is not allowed";
    /// EXEC outside MULTI.
    EXEC_WITHOUT_MULTI = "ERR EXEC without MULTI";
    /// DISCARD outside MULTI.
    DISCARD_WITHOUT_MULTI = "ERR DISCARD without MULTI";
    /// SHUTDOWN ABORT.
    NO_SHUTDOWN = "ERR No shutdown in progress.";
    /// SHUTDOWN of a store in somebody else's program.
    NOTHING_TO_END = "ERR SHUTDOWN is for a server: this store is part of a program and ends with its last handle";
    /// SHUTDOWN while the log cannot be written.
    SHUTDOWN_FAILED = "ERR Errors trying to SHUTDOWN. Check logs.";
    /// EVALSHA of an unknown script.
    NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL.";
    /// Invalid cursor in the SCAN family.
    INVALID_CURSOR = "ERR invalid cursor";
    /// numkeys of zero or less.
    NUMKEYS = "ERR numkeys should be greater than 0";
    /// A command not allowed in scripts.
    NOT_IN_SCRIPT = "ERR This Redis command is not allowed from script";
    /// A script calls what is no command.
    UNKNOWN_IN_SCRIPT = "ERR Unknown Redis command called from script";
    /// A script that runs with no more than the keys of its call locked wants another.
    UNDECLARED_IN_SCRIPT = "ERR Script attempted to access a key that it was not given";
    /// A write inside a read-only script.
    WRITE_IN_READ_ONLY_SCRIPT = "ERR Write commands are not allowed from read-only scripts.";
    /// Writes refused while memory is above its limit.
    OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";
    /// A script runs too long.
    BUSY_SCRIPT = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    /// A function runs too long.
    BUSY_FUNCTION = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
    /// What needs the data while it is loaded at the start.
    LOADING = "LOADING Redis is loading the dataset in memory";
    /// SCRIPT KILL and FUNCTION KILL while nothing runs.
    NOT_BUSY = "NOTBUSY No scripts in execution right now.";
    /// SCRIPT KILL and FUNCTION KILL of what has written.
    UNKILLABLE = "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.";
    /// HELLO with an unsupported version.
    NO_PROTO = "NOPROTO unsupported protocol version";
    /// Not a 32-bit integer.
    OUT_OF_INT_RANGE = "ERR value is out of range, value must between -2147483648 and 2147483647";
    /// SWAPDB.
    FIRST_DB_INDEX = "ERR invalid first DB index";
    /// SWAPDB.
    SECOND_DB_INDEX = "ERR invalid second DB index";
    /// EXPIRE with NX and another condition.
    EXPIRE_NX_AND_OTHERS = "ERR NX and XX, GT or LT options at the same time are not compatible";
    /// EXPIRE with GT and LT.
    EXPIRE_GT_AND_LT = "ERR GT and LT options at the same time are not compatible";
    /// OBJECT FREQ under an LRU policy.
    FREQUENCY_NOT_TRACKED = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    /// OBJECT IDLETIME under an LFU policy.
    IDLE_TIME_NOT_TRACKED = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    /// HINCRBY of a field that holds no integer.
    HASH_NOT_AN_INTEGER = "ERR hash value is not an integer";
    /// HINCRBYFLOAT of a field that holds no float.
    HASH_NOT_A_FLOAT = "ERR hash value is not a float";
    /// HINCRBYFLOAT by infinity.
    INFINITE_INCREMENT = "ERR value is NaN or Infinity";
    /// A count or size that is too large.
    VALUE_OUT_OF_RANGE = "ERR value is out of range";
    /// An integer that has no positive counterpart.
    OUT_OF_LONG_RANGE = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    /// COUNT of LMPOP and its kin.
    COUNT_NOT_POSITIVE = "ERR count should be greater than 0";
    /// LPOS with RANK 0.
    RANK_ZERO = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";
    /// LPOS with a negative COUNT.
    COUNT_NEGATIVE = "ERR COUNT can't be negative";
    /// DEBUG while the settings forbid it.
    DEBUG_NOT_ALLOWED = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";
    /// DEBUG HTSTATS-KEY of a value without a hash table.
    NO_HASH_TABLE = "ERR The value stored at the specified key is not represented using an hash table";
    /// DEBUG LISTPACK of a value in another form.
    NO_LISTPACK = "ERR Not a listpack encoded object.";
    /// DEBUG SDSLEN of a number or a collection.
    NOT_A_STRING_OF_BYTES = "ERR Not an sds encoded string.";
    /// DEBUG PROTOCOL of an unknown type.
    PROTOCOL_TYPE = "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false";
    /// DEBUG PROTOCOL push to a client that cannot be pushed to.
    NOT_IN_RESP2 = "ERR RESP2 is not supported by this command";
    /// DEBUG QUICKLIST-PACKED-THRESHOLD.
    PACKED_THRESHOLD = "ERR argument must be a memory value bigger than 1 and smaller than 4gb";
    /// DEBUG RELOAD with an unknown option.
    RELOAD_OPTION = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
    /// LPOS with a negative MAXLEN.
    MAXLEN_NEGATIVE = "ERR MAXLEN can't be negative";
    /// LIMIT of SINTERCARD and ZINTERCARD.
    LIMIT_NEGATIVE = "ERR LIMIT can't be negative";
    /// numkeys of SINTERCARD beyond the arguments.
    TOO_MANY_KEYS = "ERR Number of keys can't be greater than number of args";
    /// ZADD with NX and XX.
    ZADD_NX_AND_XX = "ERR XX and NX options at the same time are not compatible";
    /// ZADD with two of GT, LT and NX.
    ZADD_GT_LT_NX = "ERR GT, LT, and/or NX options at the same time are not compatible";
    /// ZADD INCR with several members.
    ZADD_INCR_SINGLE = "ERR INCR option supports a single increment-element pair";
    /// An increment from one infinity to the other.
    SCORE_NOT_A_NUMBER = "ERR resulting score is not a number (NaN)";
    /// A bound of a range of scores.
    SCORE_BOUND = "ERR min or max is not a float";
    /// A bound of a range of members.
    MEMBER_BOUND = "ERR min or max not valid string range item";
    /// ZRANGE with LIMIT by index.
    LIMIT_BY_INDEX = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
    /// ZRANGE with WITHSCORES and BYLEX.
    SCORES_BY_LEX = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
    /// An offset into a bitmap.
    BIT_OFFSET = "ERR bit offset is not an integer or out of range";
    /// SETBIT with a value other than 0 and 1.
    BIT_VALUE = "ERR bit is not an integer or out of range";
    /// BITPOS for a value other than 0 and 1.
    BIT_ARGUMENT = "ERR The bit argument must be 1 or 0.";
    /// BITOP NOT of several keys.
    BITOP_NOT_SINGLE = "ERR BITOP NOT must be called with a single source key.";
    /// A type of BITFIELD.
    BITFIELD_TYPE = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
    /// An overflow behaviour of BITFIELD.
    BITFIELD_OVERFLOW = "ERR Invalid OVERFLOW type specified";
    /// BITFIELD_RO with a subcommand that writes.
    BITFIELD_READ_ONLY = "ERR BITFIELD_RO only supports the GET subcommand";
    /// A pattern behind BY, by a user who may not read every key.
    SORT_BY_DENIED = "ERR BY option of SORT denied due to insufficient ACL permissions.";
    /// A pattern behind GET, by a user who may not read every key.
    SORT_GET_DENIED = "ERR GET option of SORT denied due to insufficient ACL permissions.";
    /// SORT of what is no number, without ALPHA.
    SORT_NOT_NUMBERS = "ERR One or more scores can't be converted into double";
    /// XREAD or XREADGROUP with a number of ids that is not that of keys.
    UNBALANCED_STREAMS = "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.";
    /// XREAD as a member of a group.
    GROUP_IN_XREAD = "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.";
    /// XREAD with NOACK.
    NOACK_IN_XREAD = "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.";
    /// XREAD from `>`.
    NEW_ID_IN_XREAD = "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.";
    /// XREADGROUP from `$`.
    TOP_ID_IN_XREADGROUP = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.";
    /// XREADGROUP from `+`.
    LAST_ID_IN_XREADGROUP = "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.";
    /// XREADGROUP without GROUP.
    MISSING_GROUP = "ERR Missing GROUP option for XREADGROUP";
    /// XGROUP of a key that does not exist.
    GROUP_NEEDS_KEY = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.";
    /// XGROUP CREATE of a group that exists.
    GROUP_EXISTS = "BUSYGROUP Consumer Group name already exists";
    /// ENTRIESREAD of XGROUP.
    ENTRIES_READ = "ERR value for ENTRIESREAD must be positive or -1";
    /// The minimum idle time of XCLAIM.
    CLAIM_MIN_IDLE = "ERR Invalid min-idle-time argument for XCLAIM";
    /// The minimum idle time of XAUTOCLAIM.
    AUTOCLAIM_MIN_IDLE = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
    /// IDLE of XCLAIM.
    CLAIM_IDLE = "ERR Invalid IDLE option argument for XCLAIM";
    /// TIME of XCLAIM.
    CLAIM_TIME = "ERR Invalid TIME option argument for XCLAIM";
    /// RETRYCOUNT of XCLAIM.
    CLAIM_RETRYCOUNT = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
    /// COUNT of XAUTOCLAIM.
    AUTOCLAIM_COUNT = "ERR COUNT must be > 0";
    /// An id of a stream entry.
    INVALID_STREAM_ID = "ERR Invalid stream ID specified as stream command argument";
    /// A range that starts behind the greatest id.
    INTERVAL_START = "ERR invalid start ID for the interval";
    /// A range that ends before the least id.
    INTERVAL_END = "ERR invalid end ID for the interval";
    /// XADD with an id that is not greater than the last.
    XADD_ID_TOO_SMALL = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
    /// XADD with the least id, which no entry has.
    XADD_ID_ZERO = "ERR The ID specified in XADD must be greater than 0-0";
    /// XADD after the greatest id.
    STREAM_EXHAUSTED = "ERR The stream has exhausted the last possible ID, unable to add more items";
    /// XADD with more than a node can hold.
    ENTRY_TOO_LARGE = "ERR Elements are too large to be stored";
    /// Trimming to two things.
    MAXLEN_AND_MINID = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
    /// Trimming to a negative length.
    TRIM_MAXLEN_NEGATIVE = "ERR The MAXLEN argument must be >= 0.";
    /// Trimming with a negative limit.
    TRIM_LIMIT_NEGATIVE = "ERR The LIMIT argument must be >= 0.";
    /// LIMIT without anything to trim.
    LIMIT_WITHOUT_TRIMMING = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
    /// LIMIT of exact trimming.
    LIMIT_WITHOUT_APPROXIMATION = "ERR syntax error, LIMIT cannot be used without the special ~ option";
    /// XSETID with contradicting ids.
    SETID_BELOW_MAXDELETEDID = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
    /// XSETID to before the last entry.
    SETID_BELOW_TOP = "ERR The ID specified in XSETID is smaller than the target stream top item";
    /// XSETID with a negative number of entries.
    ENTRIES_ADDED_NEGATIVE = "ERR entries_added must be positive";
    /// XSETID with fewer entries than there are.
    ENTRIES_ADDED_TOO_SMALL = "ERR The entries_added specified in XSETID is smaller than the target stream length";
    /// numids of XDELEX and XACKDEL.
    NUMIDS = "ERR Number of IDs must be a positive integer";
    /// numids of XDELEX and XACKDEL beside another number of ids.
    NUMIDS_MISMATCH = "ERR The `numids` parameter must match the number of arguments";
    /// A string that is no HyperLogLog.
    NOT_A_HLL = "WRONGTYPE Key is not a valid HyperLogLog string value.";
    /// A HyperLogLog whose runs do not add up.
    HLL_CORRUPT = "INVALIDOBJ Corrupted HLL object detected";
    /// PFDEBUG of a missing key.
    HLL_MISSING = "ERR The specified key does not exist";
    /// PFDEBUG DECODE of a dense HyperLogLog.
    HLL_NOT_SPARSE = "ERR HLL encoding is not sparse";
    /// A unit of distance.
    GEO_UNIT = "ERR unsupported unit provided. please use M, KM, FT, MI";
    /// A radius that is no number.
    GEO_RADIUS = "ERR need numeric radius";
    /// A radius below zero.
    GEO_RADIUS_NEGATIVE = "ERR radius cannot be negative";
    /// A width that is no number.
    GEO_WIDTH = "ERR need numeric width";
    /// A height that is no number.
    GEO_HEIGHT = "ERR need numeric height";
    /// A box with a side below zero.
    GEO_BOX_NEGATIVE = "ERR height or width cannot be negative";
    /// COUNT of GEOSEARCH and its kin.
    GEO_COUNT = "ERR COUNT must be > 0";
    /// A centre that is no member.
    GEO_MEMBER = "ERR could not decode requested zset member";
    /// ANY alone.
    GEO_ANY_WITHOUT_COUNT = "ERR the ANY argument requires COUNT argument";
    /// RESTORE over an existing key.
    BUSY_KEY = "BUSYKEY Target key name already exists.";
    /// RESTORE with a negative time to live.
    BAD_TTL = "ERR Invalid TTL value, must be >= 0";
    /// RESTORE with a negative IDLETIME.
    BAD_IDLE_TIME = "ERR Invalid IDLETIME value, must be >= 0";
    /// RESTORE with a FREQ beyond a byte.
    BAD_FREQUENCY = "ERR Invalid FREQ value, must be >= 0 and <= 255";
    /// RESTORE of what is no payload, or from a later version.
    PAYLOAD_FOOTER = "ERR DUMP payload version or checksum are wrong";
    /// RESTORE of a payload that holds no value.
    BAD_PAYLOAD = "ERR Bad data format";
    /// DELEX with a condition of a key that holds no string.
    DELEX_TYPE = "WRONGTYPE Key should be of string type if conditions are specified";
    /// DELEX with an unknown condition.
    DELEX_CONDITION = "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE";
    /// A digest that is none.
    DIGEST_TEXT = "ERR must be exactly 16 hexadecimal characters";
    /// numkeys of MSETEX.
    NUMKEYS_INVALID = "ERR invalid numkeys value";
    /// INCREX with contradicting bounds.
    INCREX_BOUNDS = "ERR LBOUND can't be greater than UBOUND";
    /// INCREX with ENX and no deadline.
    INCREX_ENX = "ERR ENX flag requires an expiration";
    /// A weight of ZUNION and its kin.
    WEIGHT_NOT_A_FLOAT = "ERR weight value is not a float";
}

/// The command does not exist; the first arguments are quoted as Redis does.
pub fn unknown_command(args: &[&[u8]]) -> Error {
    /// How much of the name and of the arguments is repeated, bytes.
    const QUOTED_MAX: usize = 128;
    let mut text = [b"ERR unknown command '", shown(args[0], QUOTED_MAX), b"', with args beginning with: "].concat();
    let mut left = QUOTED_MAX;
    for arg in &args[1..] {
        if left == 0 {
            break;
        }
        let part = shown(arg, left);
        left = left.saturating_sub(part.len() + 3);
        text.extend([b"'", part, b"' "].concat());
    }
    Error::Owned(text)
}

/// The part of an argument that is repeated: at most `max` bytes, and nothing from a zero byte on.
fn shown(arg: &[u8], max: usize) -> &[u8] {
    let end = arg.iter().position(|byte| *byte == 0).unwrap_or(arg.len());
    &arg[..end.min(max)]
}

/// The command exists, its subcommand does not.
pub fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Error {
    /// How much of the subcommand is repeated, bytes.
    const QUOTED_MAX: usize = 128;
    let container = command.to_ascii_uppercase();
    let parts: [&[u8]; 5] =
        [b"ERR unknown subcommand '", shown(subcommand, QUOTED_MAX), b"'. Try ", container.as_bytes(), b" HELP."];
    Error::of(&parts)
}

/// Too few or too many arguments; `name` is `command` or `command|subcommand`.
pub fn wrong_arity(name: &str) -> Error {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

/// A stream has no such group.
pub fn no_group(group: &[u8], key: &[u8]) -> Error {
    let (group, key) = (shown(group, usize::MAX), shown(key, usize::MAX));
    Error::of(&[b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"])
}

/// There is no such stream, or it has no such group; `place` ends the sentence.
pub fn no_key_or_group(key: &[u8], group: &[u8], place: &str) -> Error {
    let (key, group) = (shown(key, usize::MAX), shown(group, usize::MAX));
    Error::of(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'", place.as_bytes()])
}

/// XREAD or XREADGROUP with BLOCK from a script.
pub fn block_from_script(command: &[u8]) -> Error {
    Error::of(&[b"ERR ", shown(command, usize::MAX), b" command is not allowed with BLOCK option from scripts"])
}

/// An option that XCLAIM does not know.
pub fn unrecognized_claim_option(option: &[u8]) -> Error {
    Error::of(&[b"ERR Unrecognized XCLAIM option '", shown(option, usize::MAX), b"'"])
}

/// A subcommand with options it does not know.
pub fn subcommand_syntax(command: &str, subcommand: &[u8]) -> Error {
    /// How much of the subcommand is repeated, bytes.
    const QUOTED_MAX: usize = 128;
    let (shown, command) = (shown(subcommand, QUOTED_MAX), command.as_bytes());
    Error::of(&[b"ERR unknown subcommand or wrong number of arguments for '", shown, b"'. Try ", command, b" HELP."])
}

/// numkeys of zero or less in ZUNION and its kin.
pub fn no_input_keys(command: &str) -> Error {
    format!("ERR at least 1 input key is needed for '{command}' command").into()
}

/// An operation of BITOP on fewer keys than it compares.
pub fn bitop_needs_two(operation: &str) -> Error {
    format!("ERR BITOP {operation} must be called with at least two source keys.").into()
}

/// PFDEBUG with a subcommand it does not know.
pub fn unknown_pfdebug_subcommand(subcommand: &[u8]) -> Error {
    Error::of(&[b"ERR Unknown PFDEBUG subcommand '", shown(subcommand, subcommand.len()), b"'"])
}

/// A position that is not on the map.
pub fn invalid_position(longitude: f64, latitude: f64) -> Error {
    format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into()
}

/// GEOSEARCH without a centre or an extent.
pub fn geo_needs_one(of: &str, command: &[u8]) -> Error {
    Error::of(&[b"ERR exactly one of ", of.as_bytes(), b" be specified for ", shown(command, command.len())])
}

/// Options about a reply where there is none.
pub fn geo_store_with(what: &str) -> Error {
    format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options").into()
}

/// An expiry that makes no sense in a command.
pub fn invalid_expire(command: &str) -> Error {
    format!("ERR invalid expire time in '{command}' command").into()
}

/// EXEC could not run, for this reason.
pub fn exec_refused(reason: &Error) -> Error {
    let reason = reason.text();
    let reason = reason.strip_prefix(b"ERR ").unwrap_or(reason);
    Error::of(&[b"EXECABORT Transaction discarded because of: ", reason])
}

/// An option that EXPIRE does not know.
pub fn unsupported_option(option: &[u8]) -> Error {
    let shown = before_nul(option);
    // The end of the text is cut off before other ends of lines become blanks.
    let end = shown.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    Error::of(&[b"ERR Unsupported option ", &shown[..end]])
}

/// The log cannot be written.
pub fn log_failing(reason: &str) -> Error {
    format!("MISCONF Errors writing to the AOF file: {reason}").into()
}

/// DEBUG with a subcommand it does not know, or with the wrong number of arguments for it.
pub fn unknown_debug_subcommand(subcommand: &[u8]) -> Error {
    subcommand_syntax("DEBUG", subcommand)
}
