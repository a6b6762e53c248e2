//! Keys, whatever they hold. Their deadlines are in `expire.rs`, what can be learned about their values in `object.rs`.

use redpoll_keyspace::{EventClass, kind};
use redpoll_resp::Writer;
use redpoll_structures::glob;

use crate::args::Args;
use crate::blocking::{Empty, Timeout};
use crate::command::{BLOCKING, Command, DENYOOM, FAST, Family, NOSCRIPT, READONLY, WHOLE, WRITE, cmd};
use crate::cx::Cx;
use crate::disposal::Free;
use crate::error::{DB_INDEX, Error, NO_SUCH_KEY, OUT_OF_INT_RANGE, SAME_OBJECT, SYNTAX};
use crate::key_spec::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE};
use crate::scan::{self, ScanOptions, Scanned};
use crate::settings::Setting;
use crate::sync_wait::waitaof;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("COPY source destination [DB destination-db] [REPLACE]", copy, WRITE | DENYOOM, "6.2.0", "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.", "Copies the value of a key to a new key.").uses(&[RO | ACCESS, OW | UPDATE]),
    cmd("DEL key [key ...]", del, WRITE, "1.0.0", "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).", "Deletes one or more keys.").uses(&[RM | DELETE]),
    cmd("EXISTS key [key ...]", exists, READONLY | FAST, "1.0.0", "O(N) where N is the number of keys to check.", "Determines whether one or more keys exist.").uses(&[RO]),
    cmd("KEYS pattern", keys, READONLY | WHOLE, "1.0.0", "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.", "Returns all key names that match a pattern.").categories(&["dangerous"]),
    cmd("MOVE key db", move_key, WRITE | FAST, "1.0.0", "O(1)", "Moves a key to another database.").uses(&[RW | ACCESS | UPDATE]),
    cmd("RANDOMKEY", randomkey, READONLY | WHOLE, "1.0.0", "O(1)", "Returns a random key name from the database."),
    cmd("RENAME key newkey", rename, WRITE, "1.0.0", "O(1)", "Renames a key and overwrites the destination.").uses(&[RW | ACCESS | DELETE, OW | UPDATE]),
    cmd("RENAMENX key newkey", renamenx, WRITE | FAST, "1.0.0", "O(1)", "Renames a key only when the target key name doesn't exist.").uses(&[RW | ACCESS | DELETE, OW | INSERT]),
    cmd("SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]", scan_keys, READONLY | WHOLE, "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.", "Iterates over the key names in the database."),
    cmd("TOUCH key [key ...]", touch, READONLY | FAST, "3.2.1", "O(N) where N is the number of keys that will be touched.", "Returns the number of existing keys out of those specified after updating the time they were last accessed.").uses(&[RO]),
    cmd("TYPE key", type_of, READONLY | FAST, "1.0.0", "O(1)", "Determines the type of value stored at a key.").uses(&[RO]),
    cmd("UNLINK key [key ...]", unlink, WRITE | FAST, "4.0.0", "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.", "Asynchronously deletes one or more keys.").uses(&[RM | DELETE]),
    cmd("WAIT numreplicas timeout", wait, NOSCRIPT, "3.0.0", "O(1)", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.").categories(&["connection"]),
    cmd("WAITAOF numlocal numreplicas timeout", waitaof, BLOCKING, "7.2.0", "O(1)", "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas.").categories(&["connection"]),
];

/// Keys.
pub(crate) const FAMILY: Family = Family { group: "generic", commands: COMMANDS };

/// COPY source destination [DB destination-db] [REPLACE]
fn copy(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (source, destination, source_db) = (args.at(1), args.at(2), cx.db.db());
    let (mut destination_db, mut replace) = (source_db, false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "REPLACE") {
            replace = true;
            at += 1;
        } else if args.is(at, "DB") && at + 1 < args.len() {
            destination_db = database(cx, args, at + 1)?;
            at += 2;
        } else {
            return Err(SYNTAX);
        }
    }
    if source == destination && source_db == destination_db {
        return Err(SAME_OBJECT);
    }
    let copied = cx.db.read(source).is_some() && {
        cx.db.select(destination_db);
        let free = replace || !cx.db.contains(destination);
        cx.db.select(source_db);
        free
    };
    if copied {
        let entry = cx.db.peek(source).expect("it was just read").clone();
        cx.db.select(destination_db);
        cx.db.insert(destination, entry);
        cx.db.notify(EventClass::Generic, "copy_to", destination);
        cx.db.select(source_db);
    }
    cx.out.int(i64::from(copied));
    Ok(())
}

/// DEL key [key ...]
fn del(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    remove_all(cx, args, Free::by(cx.engine, Setting::LazyfreeLazyUserDel))
}

/// UNLINK key [key ...]
fn unlink(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    remove_all(cx, args, Free::Later)
}

/// EXISTS key [key ...]
fn exists(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let found = args.from(1).iter().filter(|key| cx.db.look(key).is_some()).count();
    cx.out.int(found as i64);
    Ok(())
}

/// KEYS pattern
fn keys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let pattern = args.at(1);
    let Cx { db, out, .. } = cx;
    let (mark, mut count) = (out.begin_array(), 0);
    // The pattern that matches everything also matches the empty key, which no other star does.
    let everything = pattern == b"*";
    db.for_each(|entry| {
        if everything || glob::matches(pattern, entry.key()) {
            out.bulk(entry.key());
            count += 1;
        }
    });
    out.end_array(mark, count);
    Ok(())
}

/// MOVE key db
fn move_key(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, from, to) = (args.at(1), cx.db.db(), database(cx, args, 2)?);
    if from == to {
        return Err(SAME_OBJECT);
    }
    let movable = cx.db.contains(key) && {
        cx.db.select(to);
        let free = !cx.db.contains(key);
        cx.db.select(from);
        free
    };
    if movable {
        let entry = cx.db.remove(key).expect("it was just seen");
        cx.db.notify(EventClass::Generic, "move_from", key);
        cx.db.select(to);
        cx.db.insert(key, entry);
        cx.db.notify(EventClass::Generic, "move_to", key);
        cx.db.select(from);
    }
    cx.out.int(i64::from(movable));
    Ok(())
}

/// RANDOMKEY
fn randomkey(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let random = cx.random();
    match cx.db.random_key(random) {
        Some(key) => cx.out.bulk(&key),
        None => cx.out.null(),
    }
    Ok(())
}

/// RENAME key newkey
fn rename(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, new_key) = (args.at(1), args.at(2));
    if !cx.db.contains(key) {
        return Err(NO_SUCH_KEY);
    }
    if key != new_key {
        put_under(cx, key, new_key);
    }
    cx.out.ok();
    Ok(())
}

/// RENAMENX key newkey
fn renamenx(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (key, new_key) = (args.at(1), args.at(2));
    if !cx.db.contains(key) {
        return Err(NO_SUCH_KEY);
    }
    let free = !cx.db.contains(new_key);
    if free {
        put_under(cx, key, new_key);
    }
    cx.out.int(i64::from(free));
    Ok(())
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan_keys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args.at(1))?;
    let options = ScanOptions::parse(args, 2, Scanned::Keys)?;
    // The cursor to go on from stands before the keys and is known after them.
    let mut found = Writer::new(cx.out.protocol());
    let (mark, mut count) = (found.begin_array(), 0);
    let next = cx.db.scan(cursor, options.count, |entry| {
        let right_type = |name: &[u8]| kind(entry).name().as_bytes().eq_ignore_ascii_case(name);
        if options.admits(entry.key()) && options.type_name.is_none_or(right_type) {
            found.bulk(entry.key());
            count += 1;
        }
    });
    found.end_array(mark, count);
    scan::reply(cx.out, next, &found);
    Ok(())
}

/// TOUCH key [key ...]
fn touch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let found = args.from(1).iter().filter(|key| cx.db.read(key).is_some()).count();
    cx.out.int(found as i64);
    Ok(())
}

/// TYPE key
fn type_of(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let name = cx.db.look(args.at(1)).map_or("none", |entry| kind(entry).name());
    cx.out.simple(name);
    Ok(())
}

/// WAIT numreplicas timeout
fn wait(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let (wanted, timeout) = (args.int(1)?, Timeout::millis(args.at(2), cx.now())?);
    // There are no replicas: who wants one waits in vain, and for no key.
    if wanted <= 0 || !cx.may_block() {
        cx.out.int(0);
        return Ok(());
    }
    cx.block_without_keys(timeout, Empty::Zero);
    Ok(())
}

/// Reads the number of a database that exists.
pub(crate) fn database(cx: &Cx<'_, '_>, args: Args<'_>, at: usize) -> Result<usize, Error> {
    let number = i32::try_from(args.int(at)?).map_err(|_| OUT_OF_INT_RANGE)?;
    usize::try_from(number).ok().filter(|db| *db < cx.db.databases()).ok_or(DB_INDEX)
}

/// Moves an entry that exists to another key, over whatever is there; value and deadline stay.
fn put_under(cx: &mut Cx<'_, '_>, key: &[u8], new_key: &[u8]) {
    let entry = cx.db.remove(key).expect("the caller has seen it");
    cx.db.insert(new_key, entry);
    cx.db.notify(EventClass::Generic, "rename_from", key);
    cx.db.notify(EventClass::Generic, "rename_to", new_key);
}

fn remove_all(cx: &mut Cx<'_, '_>, args: Args<'_>, free: Free) -> Result<(), Error> {
    let mut removed = 0;
    for key in args.from(1) {
        let Some(entry) = cx.db.remove(key) else { continue };
        cx.engine.disposal.free(entry, free);
        cx.db.notify(EventClass::Generic, "del", key);
        removed += 1;
    }
    cx.out.int(removed);
    Ok(())
}
