//! Sets, member by member; what combines several of them is in `set_algebra.rs`.
//!
//! Whatever chooses at random is logged as what it chose: a pop as the removal of the members it happened to pop.

use redpoll_keyspace::{Change, Kind, Set};
use redpoll_resp::Writer;
use redpoll_structures::packed::Item;

use crate::args::Args;
use crate::command::{Command, DENYOOM, FAST, Family, READONLY, WRITE, cmd};
use crate::cx::Cx;
use crate::error::{Error, NOT_POSITIVE, OUT_OF_LONG_RANGE, SYNTAX, VALUE_OUT_OF_RANGE, WRONG_TYPE};
use crate::key_spec::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE};
use crate::scan::{ScanOptions, Scanned};
use crate::set_algebra::{sdiff, sdiffstore, sinter, sintercard, sinterstore, sunion, sunionstore};
use crate::{reply, scan};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("SADD key member [member ...]", sadd, WRITE | DENYOOM | FAST, "1.0.0", "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.", "Adds one or more members to a set. Creates the key if it doesn't exist.").uses(&[RW | INSERT]),
    cmd("SCARD key", scard, READONLY | FAST, "1.0.0", "O(1)", "Returns the number of members in a set.").uses(&[RO]),
    cmd("SDIFF key [key ...]", sdiff, READONLY, "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Returns the difference of multiple sets."),
    cmd("SDIFFSTORE destination key [key ...]", sdiffstore, WRITE | DENYOOM, "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Stores the difference of multiple sets in a key.").uses(&[OW | UPDATE, RO | ACCESS]),
    cmd("SINTER key [key ...]", sinter, READONLY, "1.0.0", "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.", "Returns the intersect of multiple sets."),
    cmd("SINTERCARD numkeys key [key ...] [LIMIT limit]", sintercard, READONLY, "7.0.0", "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.", "Returns the number of members of the intersect of multiple sets."),
    cmd("SINTERSTORE destination key [key ...]", sinterstore, WRITE | DENYOOM, "1.0.0", "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.", "Stores the intersect of multiple sets in a key.").uses(&[RW | UPDATE, RO | ACCESS]),
    cmd("SISMEMBER key member", sismember, READONLY | FAST, "1.0.0", "O(1)", "Determines whether a member belongs to a set.").uses(&[RO]),
    cmd("SMEMBERS key", smembers, READONLY, "1.0.0", "O(N) where N is the set cardinality.", "Returns all members of a set."),
    cmd("SMISMEMBER key member [member ...]", smismember, READONLY | FAST, "6.2.0", "O(N) where N is the number of elements being checked for membership", "Determines whether multiple members belong to a set."),
    cmd("SMOVE source destination member", smove, WRITE | FAST, "1.0.0", "O(1)", "Moves a member from one set to another.").uses(&[RW | ACCESS | DELETE, RW | INSERT]),
    cmd("SPOP key [count]", spop, WRITE | FAST, "1.0.0", "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.", "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped.").uses(&[RW | ACCESS | DELETE]),
    cmd("SRANDMEMBER key [count]", srandmember, READONLY, "1.0.0", "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.", "Get one or multiple random members from a set"),
    cmd("SREM key member [member ...]", srem, WRITE | FAST, "1.0.0", "O(N) where N is the number of members to be removed.", "Removes one or more members from a set. Deletes the set if the last member was removed.").uses(&[RW | DELETE]),
    cmd("SSCAN key cursor [MATCH pattern] [COUNT count]", sscan, READONLY, "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over members of a set."),
    cmd("SUNION key [key ...]", sunion, READONLY, "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Returns the union of multiple sets."),
    cmd("SUNIONSTORE destination key [key ...]", sunionstore, WRITE | DENYOOM, "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Stores the union of multiple sets in a key.").uses(&[OW | UPDATE, RO | ACCESS]),
];

/// Sets.
pub(crate) const FAMILY: Family = Family { group: "set", commands: COMMANDS };

/// Most members that SRANDMEMBER chooses with repetition; a set itself bounds how many it chooses without.
const CHOICES_MAX: usize = 1 << 24;

/// SADD key member [member ...]
fn sadd(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (limits, seed, members) = (cx.limits(), cx.db.hash_seed(), args.from(2));
    let added = cx.db.update_or_create::<Set, _>(args.at(1), |set| {
        set.reserve(members[0], members.len(), &limits, seed);
        let added = members.iter().filter(|member| set.insert(Item::Str(member), &limits, seed)).count();
        (added, Change::of("sadd", added as u64))
    })?;
    cx.out.int(added as i64);
    Ok(())
}

/// SCARD key
fn scard(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let len = cx.db.read_as::<Set>(args.at(1))?.map_or(0, Set::len);
    cx.out.int(len as i64);
    Ok(())
}

/// SISMEMBER key member
fn sismember(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let found = cx.db.read_as::<Set>(args.at(1))?.is_some_and(|set| set.contains(Item::Str(args.at(2))));
    cx.out.int(i64::from(found));
    Ok(())
}

/// SMEMBERS key
fn smembers(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match cx.db.read_as::<Set>(args.at(1))? {
        Some(set) => reply_all(cx.out, set),
        None => cx.out.set(0),
    }
    Ok(())
}

/// SMISMEMBER key member [member ...]
fn smismember(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (set, members) = (cx.db.read_as::<Set>(args.at(1))?, args.from(2));
    cx.out.array(members.len());
    for member in members {
        cx.out.int(i64::from(set.is_some_and(|set| set.contains(Item::Str(member)))));
    }
    Ok(())
}

/// SMOVE source destination member
fn smove(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (source, destination, member) = (args.at(1), args.at(2), Item::Str(args.at(3)));
    let Some(kind) = cx.db.kind(source) else {
        cx.out.int(0);
        return Ok(());
    };
    if kind != Kind::Set || cx.db.kind(destination).is_some_and(|kind| kind != Kind::Set) {
        return Err(WRONG_TYPE);
    }
    let moved = if source == destination {
        cx.db.read_as::<Set>(source)?.is_some_and(|set| set.contains(member))
    } else {
        let (limits, seed) = (cx.limits(), cx.db.hash_seed());
        let removed = cx.db.update::<Set, _>(source, |set| {
            let removed = set.remove(member);
            (removed, Change::of("srem", u64::from(removed)))
        })?;
        if removed == Some(true) {
            cx.db.update_or_create::<Set, _>(destination, |set| {
                let added = set.insert(member, &limits, seed);
                ((), Change::of("sadd", u64::from(added)))
            })?;
        }
        removed == Some(true)
    };
    cx.out.int(i64::from(moved));
    Ok(())
}

/// SPOP key [count]
fn spop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    match args.len() {
        2 => pop_one(cx, args.at(1)),
        3 => pop_several(cx, args.at(1), args.size_from(2, 0, NOT_POSITIVE)?),
        _ => Err(SYNTAX),
    }
}

/// SRANDMEMBER key [count]
fn srandmember(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, engine) = (args.at(1), cx.engine);
    if args.len() == 2 {
        let chosen = cx.db.read_as::<Set>(key)?.and_then(|set| set.random(engine.random()));
        reply::item_or_null(cx.out, chosen);
        return Ok(());
    }
    if args.len() > 3 {
        return Err(SYNTAX);
    }
    let count = args.int_in(2, -i64::MAX..=i64::MAX, OUT_OF_LONG_RANGE)?;
    let wanted = usize::try_from(count.unsigned_abs()).map_err(|_| VALUE_OUT_OF_RANGE)?;
    let Some(set) = cx.db.read_as::<Set>(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    if count < 0 {
        if wanted > CHOICES_MAX {
            return Err(VALUE_OUT_OF_RANGE);
        }
        cx.out.array(wanted);
        set.choose(wanted, || engine.random(), |member| reply::item(cx.out, member));
    } else {
        cx.out.array(wanted.min(set.len()));
        set.sample(wanted, || engine.random(), |member| reply::item(cx.out, member));
    }
    Ok(())
}

/// SREM key member [member ...]
fn srem(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let removed = cx.db.update::<Set, _>(args.at(1), |set| {
        let removed = args.from(2).iter().filter(|member| set.remove(Item::Str(member))).count();
        (removed, Change::of("srem", removed as u64))
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// SSCAN key cursor [MATCH pattern] [COUNT count]
fn sscan(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args.at(2))?;
    let mut found = Writer::new(cx.out.protocol());
    let (mark, mut count, mut next) = (found.begin_array(), 0, 0);
    if let Some(set) = cx.db.read_as::<Set>(args.at(1))? {
        let options = ScanOptions::parse(args, 3, Scanned::Members)?;
        let mut buf = [0; 20];
        next = set.scan(cursor, options.count, |member| {
            let text = member.text(&mut buf);
            if options.admits(text) {
                found.bulk(text);
                count += 1;
            }
        });
    }
    found.end_array(mark, count);
    scan::reply(cx.out, next, &found);
    Ok(())
}

fn reply_all(out: &mut Writer, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|member| reply::item(out, member));
}

fn pop_one(cx: &mut Cx<'_, '_>, key: &[u8]) -> Result<(), Error> {
    let Cx { db, out, engine, journal, .. } = cx;
    let popped = db.update::<Set, _>(key, |set| {
        let popped = set.pop(engine.random(), |member| {
            reply::item(out, member);
            journal.instead(&[b"SREM", key, member.text(&mut [0; 20])]);
        });
        ((), Change::of("spop", u64::from(popped)))
    })?;
    if popped.is_none() {
        out.null();
    }
    Ok(())
}

fn pop_several(cx: &mut Cx<'_, '_>, key: &[u8], count: usize) -> Result<(), Error> {
    let Cx { db, out, engine, journal, .. } = cx;
    let popped = db.update::<Set, _>(key, |set| {
        let count = count.min(set.len());
        if count == set.len() {
            reply_all(out, set);
            *set = Set::new();
            journal.instead(&[b"DEL", key]);
            return ((), Change::of("spop", count as u64));
        }
        out.set(count);
        let mut members = Vec::new();
        for _ in 0..count {
            set.pop(engine.random(), |member| {
                reply::item(out, member);
                if journal.enabled {
                    members.push(member.to_vec());
                }
            });
        }
        let command = [b"SREM".as_slice(), key].into_iter().chain(members.iter().map(Vec::as_slice));
        journal.instead(&command.collect::<Vec<_>>());
        ((), Change::of("spop", count as u64))
    })?;
    if popped.is_none() {
        out.set(0);
    }
    Ok(())
}
