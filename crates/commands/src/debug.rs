//! DEBUG: what tests of clients and servers need and nobody else should use.
//!
//! Off unless `enable-debug-command` allows it. Every subcommand runs with the gate exclusive, so SLEEP holds everybody up, as its users expect, and DIGEST sees one
//! moment. COMMAND knows DEBUG as one command without subcommands, so they are rows of a table of this file, with their lines of HELP.
//!
//! Where Redis has something to switch that does not exist here (plain nodes of quicklists, the buffers of replies), the switch is accepted and does nothing, and
//! HELP says so. What would crash the process is left out.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redpoll_keyspace::{
    Direction, Entry, Expiry, List, Object, Set, SortedSet, Stamping, StreamId, encoding, lru_idle_seconds,
};
use redpoll_resp::Protocol;
use redpoll_structures::decimal::F64_TEXT_MAX;
use redpoll_structures::packed::{Item, Packed};
use redpoll_structures::record::Payload;
use redpoll_structures::{decimal, glob};

use crate::args::Args;
use crate::command::{ADMIN, Command, EXCLUSIVE, Family, Handler, LOADING, NOSCRIPT, PROTECTED, STALE, cmd};
use crate::config;
use crate::config_file::Scope;
use crate::cx::Cx;
use crate::digest;
use crate::error::{
    Error, NO_DIRECTORY, NO_HASH_TABLE, NO_LISTPACK, NO_SUCH_KEY, NOT_A_STRING_OF_BYTES, NOT_IN_RESP2, NOT_POSITIVE,
    NOTHING_TO_LOAD, PACKED_THRESHOLD, PROTOCOL_TYPE, RELOAD_OPTION, unknown_debug_subcommand,
};
use crate::help;
use crate::persistence::Reload;
use crate::settings::{Setting, parse_memory};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("DEBUG subcommand [arg ...]", debug, ADMIN | NOSCRIPT | LOADING | STALE | EXCLUSIVE | PROTECTED, "1.0.0", "Depends on subcommand.", "A container for debugging commands."),
];

/// What tests need.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

/// A subcommand: its name, how many arguments may follow it, what runs it, and what HELP says of it.
struct Subcommand {
    name: &'static str,
    args: RangeInclusive<usize>,
    run: Handler,
    help: &'static [&'static str],
}

const ANY: usize = usize::MAX;

#[rustfmt::skip]
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "CHANGE-REPL-ID", args: 0..=0, run: change_repl_id, help: &["CHANGE-REPL-ID", "    Change the replication ID that INFO reports."] },
    Subcommand { name: "CONFIG-REWRITE-FORCE-ALL", args: 0..=0, run: config_rewrite_force_all, help: &["CONFIG-REWRITE-FORCE-ALL", "    Like CONFIG REWRITE but writes all configuration options, including keywords", "    not listed in original configuration file or default values."] },
    Subcommand { name: "DIGEST", args: 0..=0, run: digest, help: &["DIGEST", "    Output a hex signature representing the current DB content."] },
    Subcommand { name: "DIGEST-VALUE", args: 0..=ANY, run: digest_value, help: &["DIGEST-VALUE <key> [<key> ...]", "    Output a hex signature of the values of all the specified keys."] },
    Subcommand { name: "ERROR", args: 1..=1, run: error, help: &["ERROR <string>", "    Return a Redis protocol error with <string> as message. Useful for clients", "    unit tests to simulate Redis errors."] },
    Subcommand { name: "HELP", args: 0..=0, run: help, help: &[] },
    Subcommand { name: "HTSTATS-KEY", args: 1..=1, run: htstats_key, help: &["HTSTATS-KEY <key>", "    Return statistics of the hash table stored at <key>'s value."] },
    Subcommand { name: "JMAP", args: 0..=0, run: accept, help: &["JMAP", "    Accepted without effect: there is no heap map to write."] },
    Subcommand { name: "LISTPACK", args: 1..=1, run: listpack, help: &["LISTPACK <key>", "    Show low level info about the listpack encoding of <key>."] },
    Subcommand { name: "LOADAOF", args: 0..=0, run: loadaof, help: &["LOADAOF", "    Flush the log to disk and load it again."] },
    Subcommand { name: "LOG", args: 1..=1, run: log, help: &["LOG <message>", "    Write <message> to the server log."] },
    Subcommand { name: "OBJECT", args: 1..=2, run: object, help: &["OBJECT <key> [FAST]", "    Show low level info about `key` and associated value; FAST leaves out", "    serializedlength, the only part that takes long for large values."] },
    Subcommand { name: "PAUSE-CRON", args: 1..=1, run: pause_cron, help: &["PAUSE-CRON <0|1>", "    Stop periodic background work."] },
    Subcommand { name: "POPULATE", args: 1..=3, run: populate, help: &["POPULATE <count> [<prefix>] [<size>]", "    Create <count> string keys named key:<num>. If <prefix> is specified then", "    it is used instead of the 'key' prefix."] },
    Subcommand { name: "PROTOCOL", args: 1..=1, run: protocol, help: &["PROTOCOL <type>", "    Reply with a test value of the specified type. <type> can be: string,", "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,", "    true, false."] },
    Subcommand { name: "QUICKLIST-PACKED-THRESHOLD", args: 1..=1, run: quicklist_packed_threshold, help: &["QUICKLIST-PACKED-THRESHOLD <size>", "    Accepted without effect: an element too large for a chunk of a list always", "    has a chunk of its own."] },
    Subcommand { name: "RELOAD", args: 0..=ANY, run: reload, help: &["RELOAD [option ...]", "    Save the RDB on disk and reload it back to memory. Valid <option> values:", "    * MERGE: conflicting keys will be loaded from RDB.", "    * NOFLUSH: the existing database will not be removed before load, but", "      conflicting keys are an error that changes nothing.", "    * NOSAVE: the database will be loaded from an existing RDB file.", "    Examples:", "    * DEBUG RELOAD: verify that the server is able to persist, flush and reload", "      the database.", "    * DEBUG RELOAD NOSAVE: replace the current database with the contents of an", "      existing RDB file.", "    * DEBUG RELOAD NOSAVE NOFLUSH MERGE: add the contents of an existing RDB", "      file to the database."] },
    Subcommand { name: "REPLYBUFFER", args: 2..=2, run: replybuffer, help: &["REPLYBUFFER <PEAK-RESET-TIME|RESIZING> <value>", "    Accepted without effect: reply buffers are not resized by time."] },
    Subcommand { name: "SDSLEN", args: 1..=1, run: sdslen, help: &["SDSLEN <key>", "    Show how much room `key` and its string value take."] },
    Subcommand { name: "SET-ACTIVE-EXPIRE", args: 1..=1, run: set_active_expire, help: &["SET-ACTIVE-EXPIRE <0|1>", "    Setting it to 0 disables expiring keys in background when they are not", "    accessed. Setting it to 1 reenables back the default."] },
    Subcommand { name: "SET-DISABLE-DENY-SCRIPTS", args: 1..=1, run: set_disable_deny_scripts, help: &["SET-DISABLE-DENY-SCRIPTS <0|1>", "    Setting it to 1 lets scripts call commands that are not for scripts, except", "    those about transactions and scripts themselves."] },
    Subcommand { name: "SET-SKIP-CHECKSUM-VALIDATION", args: 1..=1, run: set_skip_checksum_validation, help: &["SET-SKIP-CHECKSUM-VALIDATION <0|1>", "    Setting it to 1 lets RESTORE take payloads whose checksum is wrong; whether they", "    hold a value is checked all the same."] },
    Subcommand { name: "SLEEP", args: 1..=1, run: sleep, help: &["SLEEP <seconds>", "    Stop the server for <seconds>. Decimals allowed."] },
    Subcommand { name: "STRINGMATCH-LEN", args: 2..=2, run: stringmatch_len, help: &["STRINGMATCH-LEN <pattern> <string>", "    Tell whether the glob-style <pattern> matches <string>."] },
];

/// Most keys one POPULATE makes.
const POPULATE_MAX: usize = 1 << 27;

/// Longest SLEEP, seconds.
const SLEEP_MAX: f64 = 3600.0;

/// DEBUG subcommand [arg ...]
fn debug(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let named = SUBCOMMANDS.iter().find(|subcommand| args.is(1, subcommand.name));
    match named.filter(|subcommand| subcommand.args.contains(&(args.len() - 2))) {
        Some(subcommand) => (subcommand.run)(cx, args),
        None => Err(unknown_debug_subcommand(args.at(1))),
    }
}

/// DEBUG CHANGE-REPL-ID
fn change_repl_id(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    *cx.engine.replication_id.write() = cx.engine.random_id();
    cx.out.ok();
    Ok(())
}

/// DEBUG CONFIG-REWRITE-FORCE-ALL
fn config_rewrite_force_all(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    config::write_file(cx.engine, Scope::All)?;
    cx.out.ok();
    Ok(())
}

/// DEBUG DIGEST
fn digest(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let digest = digest::of_everything(cx.db);
    cx.out.simple(&digest.hex());
    Ok(())
}

/// DEBUG DIGEST-VALUE key [key ...]
fn digest_value(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.out.array(args.len() - 2);
    for key in args.from(2) {
        let digest = cx.db.peek(key).map(digest::of_value).unwrap_or_default();
        cx.out.simple(&digest.hex());
    }
    Ok(())
}

/// DEBUG ERROR string
fn error(_: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    Err(Error::of(&[args.at(2)]))
}

/// DEBUG HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let lines: Vec<&str> = SUBCOMMANDS.iter().flat_map(|subcommand| subcommand.help).copied().collect();
    help::reply(cx.out, "DEBUG", &lines);
    Ok(())
}

/// DEBUG HTSTATS-KEY key
fn htstats_key(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let object = cx.db.peek(args.at(2)).ok_or(NO_SUCH_KEY)?.object();
    let (elements, bytes) = match object {
        Some(Object::Hash(hash)) => {
            hash.as_table().map(|table| (table.len(), table.heap_size())).ok_or(NO_HASH_TABLE)?
        }
        Some(Object::Set(Set::Table(table))) => (table.len(), table.heap_size()),
        Some(Object::SortedSet(SortedSet::Ranked(map))) => (map.len(), map.heap_size()),
        _ => return Err(NO_HASH_TABLE),
    };
    let text = format!("Hash table 0 stats (main hash table):\n number of elements: {elements}\n bytes: {bytes}\n");
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// DEBUG JMAP
fn accept(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.ok();
    Ok(())
}

/// DEBUG LISTPACK key
fn listpack(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let object = cx.db.peek(args.at(2)).ok_or(NO_SUCH_KEY)?.object();
    let packed: &Packed = match object {
        Some(Object::Hash(hash)) => hash.as_packed().ok_or(NO_LISTPACK)?,
        Some(
            Object::List(List::Packed(packed))
            | Object::Set(Set::Packed(packed))
            | Object::SortedSet(SortedSet::Packed(packed)),
        ) => packed,
        _ => return Err(NO_LISTPACK),
    };
    cx.out.simple(&format!("Listpack of {} elements in {} bytes", packed.len(), packed.byte_len()));
    Ok(())
}

/// DEBUG LOADAOF
fn loadaof(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    match cx.engine.log() {
        Some(log) => log.reload(cx)?,
        None => cx.engine.snapshots.get().ok_or(NOTHING_TO_LOAD)?.reload_log(cx)?,
    }
    cx.out.ok();
    Ok(())
}

/// DEBUG LOG message
fn log(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    tracing::warn!(target: "debug", "DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
    cx.out.ok();
    Ok(())
}

/// DEBUG OBJECT key [FAST]
fn object(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let fast = args.is(3, "FAST");
    let stamping = cx.db.stamping();
    let entry = cx.db.find_even_expired(args.at(2)).ok_or(NO_SUCH_KEY)?;
    let idle = match stamping {
        Stamping::Lru { clock } => lru_idle_seconds(entry.stamp(), clock),
        Stamping::Lfu { .. } => 0,
    };
    let (address, encoding, lru) = (entry.key().as_ptr(), encoding(entry), entry.stamp());
    let mut text = format!("Value at:{address:p} refcount:1 encoding:{encoding}");
    if !fast {
        text.push_str(&format!(" serializedlength:{}", text_length(entry)));
    }
    text.push_str(&format!(" lru:{lru} lru_seconds_idle:{idle}"));
    if let Some(Object::List(List::Chunked(list))) = entry.object() {
        let (chunks, bytes) = list.chunks().fold((0, 0), |(count, bytes), chunk| (count + 1, bytes + chunk.byte_len()));
        let average = list.len() as f64 / f64::from(chunks.max(1));
        let limit = cx.engine.settings.int(Setting::ListMaxListpackSize);
        let chunks = format!(" ql_nodes:{chunks} ql_avg_node:{average:.2} ql_listpack_max:{limit} ql_compressed:0");
        text.push_str(&format!("{chunks} ql_uncompressed_size:{bytes}"));
    }
    cx.out.simple(&text);
    Ok(())
}

/// DEBUG PAUSE-CRON <0|1>
fn pause_cron(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.engine.debug.background_paused.store(is_set(args), Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// DEBUG POPULATE count [prefix] [size]
fn populate(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let count = args.size_from(2, 0, NOT_POSITIVE)?;
    let prefix = args.optional(3).unwrap_or(b"key");
    let size = if args.len() > 4 { args.size_from(4, 0, NOT_POSITIVE)? } else { 0 };
    if count > POPULATE_MAX || size > cx.engine.settings.size(Setting::ProtoMaxBulkLen) {
        return Err(NOT_POSITIVE);
    }
    for number in 0..count {
        let key = [prefix, b":", number.to_string().as_bytes()].concat();
        if !cx.db.contains(&key) {
            let mut value = format!("value:{number}").into_bytes();
            if size > 0 {
                value.resize(size, 0);
            }
            cx.db.set_plain_text(&key, &value, Expiry::Clear);
        }
    }
    cx.out.ok();
    Ok(())
}

/// DEBUG PROTOCOL type
fn protocol(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let out = &mut *cx.out;
    let resp3 = out.protocol() == Protocol::Resp3;
    let is = |word| args.is(2, word);
    match () {
        () if is("string") => out.bulk(b"Hello World"),
        () if is("integer") => out.int(12345),
        () if is("double") => out.double_text(b"3.141"),
        () if is("null") => out.null(),
        () if is("array") => {
            out.array(3);
            (0..3).for_each(|number| out.int(number));
        }
        () if is("set") => {
            out.set(3);
            (0..3).for_each(|number| out.int(number));
        }
        () if is("map") => {
            out.map(3);
            for number in 0..3 {
                out.int(number);
                out.bool(number == 1);
            }
        }
        () if is("attrib") => {
            if out.attribute(1) {
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            // Attributes are not a reply of their own: one must follow.
            out.bulk(b"Some real reply following the attribute");
        }
        () if is("push") && !resp3 => return Err(NOT_IN_RESP2),
        () if is("push") => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            // A push is not a reply either.
            out.bulk(b"Some real reply following the push reply");
        }
        () if is("true") => out.bool(true),
        () if is("false") => out.bool(false),
        () if is("verbatim") => out.verbatim("txt", b"This is a verbatim\nstring"),
        () if is("bignum") => out.big_number("1234567999999999999999999999999999999"),
        () => return Err(PROTOCOL_TYPE),
    }
    Ok(())
}

/// DEBUG QUICKLIST-PACKED-THRESHOLD size
fn quicklist_packed_threshold(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    /// The sizes Redis takes end here, bytes.
    const SIZE_MAX: i64 = 1 << 32;
    let size = parse_memory(args.at(2)).filter(|size| (0..SIZE_MAX).contains(size));
    size.ok_or(PACKED_THRESHOLD)?;
    cx.out.ok();
    Ok(())
}

/// DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]
fn reload(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let options = 2..args.len();
    if !options.clone().all(|at| ["MERGE", "NOFLUSH", "NOSAVE"].iter().any(|option| args.is(at, option))) {
        return Err(RELOAD_OPTION);
    }
    let says = |option| options.clone().any(|at| args.is(at, option));
    let reload = Reload { nosave: says("NOSAVE"), noflush: says("NOFLUSH"), merge: says("MERGE") };
    cx.engine.snapshots.get().ok_or(NO_DIRECTORY)?.reload(cx, reload)?;
    cx.out.ok();
    Ok(())
}

/// DEBUG REPLYBUFFER <PEAK-RESET-TIME | RESIZING> value
fn replybuffer(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if !args.is(2, "PEAK-RESET-TIME") && !args.is(2, "RESIZING") {
        return Err(unknown_debug_subcommand(args.at(1)));
    }
    accept(cx, args)
}

/// DEBUG SDSLEN key
fn sdslen(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let entry = cx.db.peek(args.at(2)).ok_or(NO_SUCH_KEY)?;
    let (len, spare, bytes) = match entry.payload() {
        Payload::Bytes(bytes) => (bytes.len(), 0, bytes.len()),
        Payload::Object(Object::Bytes(bytes)) => (bytes.len(), bytes.capacity() - bytes.len(), bytes.capacity()),
        Payload::Int(_) | Payload::Object(_) => return Err(NOT_A_STRING_OF_BYTES),
    };
    let (key_len, record) = (entry.key().len(), entry.heap_size());
    let key = format!("key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {record}");
    cx.out.simple(&format!("{key}, val_sds_len:{len}, val_sds_avail:{spare}, val_zmalloc: {bytes}"));
    Ok(())
}

/// DEBUG SET-ACTIVE-EXPIRE <0|1>
fn set_active_expire(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.engine.debug.lazy_expire_only.store(!is_set(args), Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// DEBUG SET-DISABLE-DENY-SCRIPTS <0|1>
fn set_disable_deny_scripts(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.engine.debug.scripts_unbound.store(is_set(args), Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// DEBUG SET-SKIP-CHECKSUM-VALIDATION 0|1
fn set_skip_checksum_validation(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.engine.debug.checksums_unchecked.store(is_set(args), Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// DEBUG SLEEP seconds
fn sleep(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let seconds = args.float(2)?.clamp(0.0, SLEEP_MAX);
    cx.engine.clock.sleep(Duration::from_secs_f64(seconds));
    cx.out.ok();
    Ok(())
}

/// DEBUG STRINGMATCH-LEN pattern string
fn stringmatch_len(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    cx.out.int(i64::from(glob::matches(args.at(2), args.at(3))));
    Ok(())
}

/// A switch is on for any number but 0.
fn is_set(args: Args<'_>) -> bool {
    decimal::parse_i64(args.at(2)).is_some_and(|number| number != 0)
}

/// The bytes of everything in a value as text. There is no format of snapshots yet whose length could be told.
fn text_length(entry: &Entry) -> usize {
    match entry.payload() {
        Payload::Int(number) => decimal::i64_text_len(number),
        Payload::Bytes(bytes) => bytes.len(),
        Payload::Object(Object::Bytes(bytes)) => bytes.len(),
        Payload::Object(Object::List(list)) => list.iter().map(Item::len).sum(),
        Payload::Object(Object::Hash(hash)) => {
            hash.iter_with_deadlines().map(|(field, value, _)| field.len() + value.len()).sum()
        }
        Payload::Object(Object::Set(set)) => set.iter().map(Item::len).sum(),
        Payload::Object(Object::SortedSet(set)) => set
            .iter()
            .map(|(member, score)| member.len() + decimal::format_f64(score, &mut [0; F64_TEXT_MAX]).len())
            .sum(),
        Payload::Object(Object::Stream(stream)) => stream
            .range(StreamId::MIN..=StreamId::MAX, Direction::Ascending)
            .flat_map(|entry| entry.fields())
            .map(|(name, value)| name.len() + value.len())
            .sum(),
    }
}
