//! The data set as a whole: counting it, emptying it, swapping databases, measuring its memory.
//!
//! Memory is our own accounting, the heap bytes of entries and tables, and not what an allocator says: the store may share its process with anything.
//! So MEMORY answers what is known and leaves out what is not (fragmentation, allocator statistics).

use redpoll_keyspace::heap_size;

use crate::args::Args;
use crate::command::{Command, EXCLUSIVE, FAST, Family, LOADING, READONLY, STALE, WHOLE, WRITE, cmd, container};
use crate::cx::Cx;
use crate::disposal::Free;
use crate::error::{DB_INDEX, Error, FIRST_DB_INDEX, SECOND_DB_INDEX, SYNTAX};
use crate::help;
use crate::info::memory::{MemoryUse, percent};
use crate::key_spec::RO;
use crate::persistence::everything_deleted;
use crate::settings::Setting;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("DBSIZE", dbsize, READONLY | FAST | WHOLE, "1.0.0", "O(1)", "Returns the number of keys in the database.").categories(&["keyspace"]),
    cmd("FLUSHALL [ASYNC | SYNC]", flushall, WRITE | EXCLUSIVE, "1.0.0", "O(N) where N is the total number of keys in all databases", "Removes all keys from all databases.").categories(&["keyspace", "dangerous"]),
    cmd("FLUSHDB [ASYNC | SYNC]", flushdb, WRITE | EXCLUSIVE, "1.0.0", "O(N) where N is the number of keys in the selected database", "Remove all keys from the current database.").categories(&["keyspace", "dangerous"]),
    cmd("MEMORY", container, 0, "4.0.0", "Depends on subcommand.", "A container for memory diagnostics commands.").subcommands(MEMORY),
    cmd("SWAPDB index1 index2", swapdb, WRITE | FAST | EXCLUSIVE, "4.0.0", "O(N) where N is the count of clients watching or blocking on keys from both databases.", "Swaps two Redis databases.").categories(&["keyspace", "dangerous"]),
    cmd("TIME", time, LOADING | STALE | FAST, "2.6.0", "O(1)", "Returns the server time."),
];

#[rustfmt::skip]
const MEMORY: &[Command] = &[
    cmd("MEMORY DOCTOR", memory_doctor, WHOLE, "4.0.0", "O(1)", "Outputs a memory problems report."),
    cmd("MEMORY HELP", memory_help, LOADING | STALE, "4.0.0", "O(1)", "Returns helpful text about the different subcommands."),
    cmd("MEMORY MALLOC-STATS", memory_malloc_stats, 0, "4.0.0", "Depends on how much memory is allocated, could be slow", "Returns the allocator statistics."),
    cmd("MEMORY PURGE", memory_purge, 0, "4.0.0", "Depends on how much memory is allocated, could be slow", "Asks the allocator to release memory."),
    cmd("MEMORY STATS", memory_stats, WHOLE, "4.0.0", "O(1)", "Returns details about memory usage."),
    cmd("MEMORY USAGE key [SAMPLES count]", memory_usage, READONLY, "4.0.0", "O(N) where N is the number of samples.", "Estimates the memory usage of a key.").uses(&[RO]),
];

/// The data set as a whole.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const MEMORY_HELP: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

/// DBSIZE
fn dbsize(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let db = cx.db.db();
    let keys = cx.db.size(db).keys;
    cx.out.int(keys as i64);
    Ok(())
}

/// FLUSHALL [ASYNC | SYNC]
fn flushall(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let freed = flush_mode(cx, args)?;
    for db in 0..cx.db.databases() {
        flush(cx, db, freed);
    }
    everything_deleted(cx);
    cx.journal.always();
    cx.out.ok();
    Ok(())
}

/// FLUSHDB [ASYNC | SYNC]
fn flushdb(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let freed = flush_mode(cx, args)?;
    let db = cx.db.db();
    flush(cx, db, freed);
    cx.journal.always();
    cx.out.ok();
    Ok(())
}

/// SWAPDB index1 index2
fn swapdb(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let index = |at, error| args.int(at).ok().and_then(|index| i32::try_from(index).ok()).ok_or(error);
    let (one, other) = (index(1, FIRST_DB_INDEX)?, index(2, SECOND_DB_INDEX)?);
    let existing = |index| usize::try_from(index).ok().filter(|db| *db < cx.db.databases()).ok_or(DB_INDEX);
    let (one, other) = (existing(one)?, existing(other)?);
    cx.db.swap(one, other);
    cx.out.ok();
    Ok(())
}

/// TIME
fn time(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let micros = cx.now_us();
    cx.out.array(2);
    cx.out.bulk_int((micros / 1_000_000) as i64);
    cx.out.bulk_int((micros % 1_000_000) as i64);
    Ok(())
}

/// MEMORY DOCTOR
fn memory_doctor(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    /// The share of `maxmemory` from which on the data set is worth a warning.
    const NEARLY_FULL_PERCENT: usize = 90;
    let used = cx.db.totals().1 + cx.engine.overhead_bytes();
    let limit = cx.engine.settings.size(Setting::Maxmemory);
    let finding = match limit {
        0 => "There is no limit (maxmemory); what it takes is only bounded by the machine.".to_owned(),
        _ if used > limit => {
            format!(
                "That is more than maxmemory, {limit} bytes: keys are evicted or commands that need memory refused."
            )
        }
        _ if used / NEARLY_FULL_PERCENT >= limit / 100 => format!("That is close to maxmemory, {limit} bytes."),
        _ => format!("That is well below maxmemory, {limit} bytes."),
    };
    cx.out.verbatim("txt", format!("The store takes {used} bytes. {finding}\n").as_bytes());
    Ok(())
}

/// MEMORY HELP
fn memory_help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "MEMORY", MEMORY_HELP);
    Ok(())
}

/// MEMORY MALLOC-STATS
fn memory_malloc_stats(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    cx.out.bulk(b"Stats not supported for the current allocator");
    Ok(())
}

/// MEMORY PURGE
fn memory_purge(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    // Nothing is held back that could be given to the allocator.
    cx.out.ok();
    Ok(())
}

/// MEMORY STATS
fn memory_stats(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let measured = MemoryUse::measure(cx);
    let total = measured.total();
    let used: Vec<usize> = (0..cx.db.databases()).filter(|db| cx.db.size(*db).keys > 0).collect();
    let before = [
        ("peak.allocated", measured.peak),
        ("total.allocated", total),
        ("startup.allocated", measured.startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", measured.clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", measured.scripts),
        ("functions.caches", 0),
    ];
    let after = [
        ("overhead.total", measured.overhead()),
        ("keys.count", measured.keys),
        ("keys.bytes-per-key", measured.dataset.checked_div(measured.keys).unwrap_or(0)),
        ("dataset.bytes", measured.dataset),
    ];
    let (ratio, bytes) = measured.fragmentation();
    let ratios = [
        ("dataset.percentage", percent(measured.dataset, total)),
        ("peak.percentage", percent(total, measured.peak)),
        ("fragmentation", ratio),
    ];
    cx.out.map(before.len() + used.len() + after.len() + ratios.len() + 1);
    put_numbers(cx, &before);
    for db in used {
        // Deadlines are part of the entries, and there are no slots.
        cx.out.bulk(format!("db.{db}").as_bytes());
        let tables = cx.db.table_bytes(db) as u64;
        cx.out.map(3);
        put_numbers(
            cx,
            &[
                ("overhead.hashtable.main", tables),
                ("overhead.hashtable.expires", 0),
                ("overhead.hashtable.slot-to-keys", 0),
            ],
        );
    }
    put_numbers(cx, &after);
    for (name, value) in ratios {
        cx.out.bulk(name.as_bytes());
        cx.out.double(value);
    }
    cx.out.bulk(b"fragmentation.bytes");
    cx.out.int(bytes);
    Ok(())
}

fn put_numbers(cx: &mut Cx<'_, '_>, rows: &[(&str, u64)]) {
    for (name, value) in rows {
        cx.out.bulk(name.as_bytes());
        cx.out.int(*value as i64);
    }
}

/// MEMORY USAGE key [SAMPLES count]
fn memory_usage(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    // Sizes are kept up to date and need no sampling; the option is only checked.
    for at in (3..args.len()).step_by(2) {
        let count = if args.is(at, "SAMPLES") && at + 1 < args.len() { args.int(at + 1)? } else { -1 };
        if count < 0 {
            return Err(SYNTAX);
        }
    }
    match cx.db.peek(args.at(2)).map(heap_size) {
        Some(bytes) => cx.out.int(bytes as i64),
        None => cx.out.null(),
    }
    Ok(())
}

fn flush_mode(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<Free, Error> {
    match args.len() {
        1 => Ok(Free::by(cx.engine, Setting::LazyfreeLazyUserFlush)),
        2 if args.is(1, "ASYNC") => Ok(Free::Later),
        2 if args.is(1, "SYNC") => Ok(Free::AtOnce),
        _ => Err(SYNTAX),
    }
}

fn flush(cx: &mut Cx<'_, '_>, db: usize, free: Free) {
    let waste = cx.db.flush(db);
    if free == Free::Later && waste.objects() > 0 {
        cx.engine.disposal.hand_over(waste);
    }
}
