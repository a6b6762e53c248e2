//! HyperLogLogs: counting different elements approximately. What a value looks like is told in `structures::hyper_log_log`.
//!
//! A value is an ordinary string, so GET and SET move it from one server to another. PFCOUNT of one key writes the count it estimated into the value: a read that
//! changes data, and is logged as a change.

use redpoll_keyspace::Change;
use redpoll_structures::hyper_log_log::{self, Corrupt, HyperLogLog, REGISTERS, Registers, Run};

use crate::args::Args;
use crate::command::{ADMIN, Command, DENYOOM, FAST, Family, Keys, MAY_REPLICATE, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{Error, HLL_CORRUPT, HLL_MISSING, HLL_NOT_SPARSE, NOT_A_HLL, unknown_pfdebug_subcommand};
use crate::key_spec::{ACCESS, INSERT, RO, RW};
use crate::settings::Setting;

const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("PFADD key [element [element ...]]", pfadd, WRITE | DENYOOM | FAST, "2.8.9", "O(1) to add every element.", "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.").uses(&[RW | INSERT]),
    cmd("PFCOUNT key [key ...]", pfcount, READONLY | MAY_REPLICATE, "2.8.9", "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.", "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).").uses(&[RW | ACCESS]),
    cmd("PFDEBUG subcommand key", pfdebug, WRITE | DENYOOM | ADMIN, "2.8.9", "N/A", "Internal commands for debugging HyperLogLog values.").keys(SECOND).uses(&[RW | ACCESS]),
    cmd("PFMERGE destkey [sourcekey [sourcekey ...]]", pfmerge, WRITE | DENYOOM, "2.8.9", "O(N) to merge N HyperLogLogs, but with high constant times.", "Merges one or more HyperLogLog values into a single key.").keys(ALL).uses(&[RW | ACCESS | INSERT, RO | ACCESS]),
    cmd("PFSELFTEST", pfselftest, ADMIN, "2.8.9", "N/A", "An internal command for testing HyperLogLog values."),
];

/// HyperLogLogs.
pub(crate) const FAMILY: Family = Family { group: "hyperloglog", commands: COMMANDS };

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        HLL_CORRUPT
    }
}

/// PFADD key [element [element ...]]
fn pfadd(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let elements = args.from(2);
    let changes = update(cx, args.at(1), |mut log, created, sparse_max_bytes| {
        let mut changes = u64::from(created);
        for element in elements {
            changes += u64::from(log.add(element, sparse_max_bytes)?);
        }
        if changes > 0 {
            log.forget_count();
        }
        Ok((changes, Change::of("pfadd", changes)))
    })?;
    cx.out.int(i64::from(changes > 0));
    Ok(())
}

/// PFCOUNT key [key ...]
fn pfcount(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let keys = args.from(1);
    if keys.len() > 1 {
        let mut registers = [0; REGISTERS];
        for key in keys {
            read(cx, key, |log| log.merge_into(&mut registers))?;
        }
        cx.out.int(hyper_log_log::estimate(&registers) as i64);
        return Ok(());
    }
    let key = args.at(1);
    let known = match read(cx, key, |log| Ok(log.cached_count()))? {
        None => Some(0),
        Some(known) => known,
    };
    let count = match known {
        Some(count) => count,
        None => update(cx, key, |mut log, _, _| {
            let count = log.count()?;
            log.cache_count(count);
            Ok((count, Change::of("", 1)))
        })?,
    };
    cx.out.int(count as i64);
    Ok(())
}

/// PFDEBUG subcommand key
fn pfdebug(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let key = args.at(2);
    let Some(dense) = read(cx, key, |log| Ok(log.is_dense()))? else { return Err(HLL_MISSING) };
    match () {
        () if args.is(1, "GETREG") => {
            make_dense(cx, key)?;
            let mut registers: Registers = [0; REGISTERS];
            read(cx, key, |log| log.merge_into(&mut registers))?;
            cx.out.array(REGISTERS);
            registers.iter().for_each(|register| cx.out.int(i64::from(*register)));
        }
        () if args.is(1, "DECODE") => {
            if dense {
                return Err(HLL_NOT_SPARSE);
            }
            let mut runs: Vec<String> = Vec::new();
            read(cx, key, |log| {
                log.runs(|run| {
                    runs.push(match run {
                        Run::Zeros(len) => format!("z:{len}"),
                        Run::ManyZeros(len) => format!("Z:{len}"),
                        Run::Values(value, len) => format!("v:{value},{len}"),
                    });
                })
            })?;
            cx.out.bulk(runs.join(" ").as_bytes());
        }
        () if args.is(1, "ENCODING") => cx.out.simple(if dense { "dense" } else { "sparse" }),
        () if args.is(1, "TODENSE") => {
            let turned = make_dense(cx, key)?;
            cx.out.int(i64::from(turned));
        }
        () => return Err(unknown_pfdebug_subcommand(args.at(1))),
    }
    Ok(())
}

/// PFMERGE destkey [sourcekey [sourcekey ...]]
fn pfmerge(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (mut registers, mut dense) = ([0; REGISTERS], false);
    for key in args.from(1) {
        read(cx, key, |log| {
            dense |= log.is_dense();
            log.merge_into(&mut registers)
        })?;
    }
    update(cx, args.at(1), |mut log, _, sparse_max_bytes| {
        if dense {
            log.make_dense()?;
        }
        for (index, value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            log.raise(index, *value, sparse_max_bytes)?;
        }
        log.forget_count();
        Ok(((), Change::of("pfadd", 1)))
    })?;
    cx.out.ok();
    Ok(())
}

/// PFSELFTEST
fn pfselftest(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    /// How many elements are added, and how many standard errors a count may be off.
    const ELEMENTS: u64 = 100_000;
    const ERRORS_MAX: f64 = 6.0;
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let sparse_max_bytes = cx.engine.settings.size(Setting::HllSparseMaxBytes);
    let (mut sparse, mut dense) = (hyper_log_log::empty(), hyper_log_log::empty());
    HyperLogLog::of(&mut dense).ok_or(NOT_A_HLL)?.make_dense()?;
    let mut checkpoint = 1;
    let seed = cx.random();
    for number in 1..=ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        HyperLogLog::of(&mut sparse).ok_or(NOT_A_HLL)?.add(&element, sparse_max_bytes)?;
        HyperLogLog::of(&mut dense).ok_or(NOT_A_HLL)?.add(&element, sparse_max_bytes)?;
        if number == checkpoint {
            let counts = [&sparse, &dense].map(|log| HyperLogLog::of(log).map(|log| log.count()));
            let [Some(Ok(count)), Some(Ok(other))] = counts else { return Err(HLL_CORRUPT) };
            let off = count.abs_diff(number);
            let allowed = (ERRORS_MAX * standard_error * number as f64).ceil() as u64 + 1;
            if count != other || off > allowed {
                return Err(format!("TESTFAILED {number} elements were counted as {count} and {other}").into());
            }
            checkpoint *= 10;
        }
    }
    cx.out.ok();
    Ok(())
}

/// Reads the value at a key, if there is one.
fn read<R>(
    cx: &mut Cx<'_, '_>,
    key: &[u8],
    look: impl FnOnce(HyperLogLog<&[u8]>) -> Result<R, Corrupt>,
) -> Result<Option<R>, Error> {
    let mut buf = [0; 20];
    let Some(text) = cx.db.read_text(key)? else { return Ok(None) };
    let log = HyperLogLog::of(text.bytes(&mut buf)).ok_or(NOT_A_HLL)?;
    Ok(Some(look(log)?))
}

/// Changes the value at a key, made empty if it is missing. The closure learns whether it was, and the limit of the sparse form.
fn update<R>(
    cx: &mut Cx<'_, '_>,
    key: &[u8],
    change: impl FnOnce(HyperLogLog<&mut Vec<u8>>, bool, usize) -> Result<(R, Change), Corrupt>,
) -> Result<R, Error> {
    read(cx, key, |_| Ok(()))?;
    let sparse_max_bytes = cx.engine.settings.size(Setting::HllSparseMaxBytes);
    cx.db.update_text(key, |bytes| {
        let created = bytes.is_empty();
        if created {
            *bytes = hyper_log_log::empty();
        }
        let log = HyperLogLog::of(bytes).expect("it was just looked at or made");
        match change(log, created, sparse_max_bytes) {
            Ok((result, change)) => (Ok(result), change),
            Err(corrupt) => (Err(corrupt.into()), Change::NONE),
        }
    })?
}

/// Gives every register bits of its own; tells whether that was new.
fn make_dense(cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<bool, Error> {
    update(cx, key, |mut log, _, _| {
        let turned = log.make_dense()?;
        Ok((turned, Change::of("", u64::from(turned))))
    })
}
