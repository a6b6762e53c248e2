//! OBJECT: what can be learned about the value of a key. Nothing here counts as an access to it.

use redpoll_keyspace::{Entry, Stamping, encoding, lfu_counter, lru_idle_seconds};

use redpoll_structures::record::Payload;

use crate::args::Args;
use crate::command::{Command, Family, LOADING, READONLY, STALE, cmd, container};
use crate::cx::Cx;
use crate::error::{Error, FREQUENCY_NOT_TRACKED, IDLE_TIME_NOT_TRACKED};
use crate::key_spec::RO;
use crate::{evict, help};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("OBJECT", container, 0, "2.2.3", "Depends on subcommand.", "A container for object introspection commands.").subcommands(SUBCOMMANDS),
];

#[rustfmt::skip]
const SUBCOMMANDS: &[Command] = &[
    cmd("OBJECT ENCODING key", object_encoding, READONLY, "2.2.3", "O(1)", "Returns the internal encoding of a Redis object.").uses(&[RO]),
    cmd("OBJECT FREQ key", object_freq, READONLY, "4.0.0", "O(1)", "Returns the logarithmic access frequency counter of a Redis object.").uses(&[RO]),
    cmd("OBJECT HELP", object_help, LOADING | STALE, "6.2.0", "O(1)", "Returns helpful text about the different subcommands."),
    cmd("OBJECT IDLETIME key", object_idletime, READONLY, "2.2.3", "O(1)", "Returns the time since the last access to a Redis object.").uses(&[RO]),
    cmd("OBJECT REFCOUNT key", object_refcount, READONLY, "2.2.3", "O(1)", "Returns the reference count of a value of a key.").uses(&[RO]),
];

/// What can be learned about values.
pub(crate) const FAMILY: Family = Family { group: "generic", commands: COMMANDS };

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];

/// Integers below this are one object each in Redis.
const SHARED_INTEGERS: i64 = 10_000;
/// What Redis says of an object that is never freed.
const SHARED: i64 = i32::MAX as i64;

/// OBJECT ENCODING key
fn object_encoding(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match cx.db.peek(args.at(2)) {
        Some(entry) => cx.out.bulk(encoding(entry).as_bytes()),
        None => cx.out.null(),
    }
    Ok(())
}

/// OBJECT FREQ key
fn object_freq(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let stamping = cx.db.stamping();
    match (cx.db.peek(args.at(2)).map(Entry::stamp), stamping) {
        (None, _) => cx.out.null(),
        (Some(_), Stamping::Lru { .. }) => return Err(FREQUENCY_NOT_TRACKED),
        (Some(stamp), Stamping::Lfu { .. }) => cx.out.int(i64::from(lfu_counter(stamp, stamping))),
    }
    Ok(())
}

/// OBJECT HELP
fn object_help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "OBJECT", HELP);
    Ok(())
}

/// OBJECT IDLETIME key
fn object_idletime(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let stamping = cx.db.stamping();
    match (cx.db.peek(args.at(2)).map(Entry::stamp), stamping) {
        (None, _) => cx.out.null(),
        (Some(stamp), Stamping::Lru { clock }) => cx.out.int(i64::from(lru_idle_seconds(stamp, clock))),
        (Some(_), Stamping::Lfu { .. }) => return Err(IDLE_TIME_NOT_TRACKED),
    }
    Ok(())
}

/// OBJECT REFCOUNT key
fn object_refcount(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    // Nothing is shared between keys here, but clients know small integers as shared for ever, unless each key needs a stamp of its own.
    let shares = !evict::needs_stamps(cx.engine);
    match cx.db.peek(args.at(2)).map(Entry::payload) {
        Some(Payload::Int(0..SHARED_INTEGERS)) if shares => cx.out.int(SHARED),
        Some(_) => cx.out.int(1),
        None => cx.out.null(),
    }
    Ok(())
}
