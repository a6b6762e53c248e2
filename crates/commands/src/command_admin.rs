//! COMMAND: the command table, as clients ask for it.

use redpoll_structures::glob;

use crate::args::Args;
use crate::command::{ADMIN, BLOCKING, Command, FAST, Family, Keys, LOADING, PUBSUB, READONLY, STALE, WRITE, cmd};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::error::{Error, SYNTAX};
use crate::key_spec::{self, Begin, Find, KeyFlags, KeySpec};
use crate::registry::Resolved;
use crate::{command_docs, help};

/// Asking for the table is part of setting up a connection.
const CATEGORIES: &[&str] = &["connection"];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("COMMAND", command, LOADING | STALE, "2.8.13", "O(N) where N is the total number of Redis commands", "Returns detailed information about all commands.").arity(-1).subcommands(&[
        cmd("COMMAND COUNT", count, LOADING | STALE, "2.8.13", "O(1)", "Returns a count of commands.").categories(CATEGORIES),
        cmd("COMMAND DOCS [command-name [command-name ...]]", docs, LOADING | STALE, "7.0.0", "O(N) where N is the number of commands to look up", "Returns documentary information about one, multiple or all commands.").categories(CATEGORIES),
        cmd("COMMAND GETKEYS command [arg [arg ...]]", getkeys, LOADING | STALE, "2.8.13", "O(N) where N is the number of arguments to the command", "Extracts the key names from an arbitrary command.").categories(CATEGORIES),
        cmd("COMMAND GETKEYSANDFLAGS command [arg [arg ...]]", getkeysandflags, LOADING | STALE, "7.0.0", "O(N) where N is the number of arguments to the command", "Extracts the key names and access flags for an arbitrary command.").categories(CATEGORIES),
        cmd("COMMAND HELP", help, LOADING | STALE, "5.0.0", "O(1)", "Returns helpful text about the different subcommands.").categories(CATEGORIES),
        cmd("COMMAND INFO [command-name [command-name ...]]", info, LOADING | STALE, "2.8.13", "O(N) where N is the number of commands to look up", "Returns information about one, multiple or all commands.").categories(CATEGORIES),
        cmd("COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]", list, LOADING | STALE, "7.0.0", "O(N) where N is the total number of Redis commands", "Returns a list of command names.").categories(CATEGORIES),
    ]).categories(CATEGORIES),
];

/// The command table.
pub(crate) const FAMILY: Family = Family { group: "server", commands: COMMANDS };

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

/// COMMAND
fn command(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    describe_all(cx);
    Ok(())
}

/// COMMAND COUNT
fn count(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    let count = commands(cx.engine).count();
    cx.out.int(count as i64);
    Ok(())
}

/// COMMAND DOCS [command-name [command-name ...]]
fn docs(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let registry = &cx.engine.registry;
    let asked: Vec<&Resolved> = match args.len() {
        2 => commands(cx.engine).collect(),
        _ => args.from(2).iter().filter_map(|name| registry.find(name)).collect(),
    };
    cx.out.map(asked.len());
    asked.into_iter().for_each(|resolved| command_docs::document(cx, resolved));
    Ok(())
}

/// COMMAND GETKEYS command [arg [arg ...]]
fn getkeys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let call = Args(args.from(2));
    let (_, positions) = keys_of(cx.engine, call)?;
    cx.out.array(positions.len());
    positions.into_iter().for_each(|at| cx.out.bulk(call.at(at)));
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS command [arg [arg ...]]
fn getkeysandflags(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let call = Args(args.from(2));
    let (resolved, _) = keys_of(cx.engine, call)?;
    let keys = key_spec::uses_in_call(resolved, call);
    cx.out.array(keys.len());
    for (at, flags) in keys {
        cx.out.array(2);
        cx.out.bulk(call.at(at));
        describe_key_flags(cx, flags);
    }
    Ok(())
}

/// Finds the command of a call and the argument numbers of its keys.
fn keys_of<'e>(engine: &'e Engine, call: Args<'_>) -> Result<(&'e Resolved, Vec<usize>), Error> {
    let resolved = engine.registry.resolve(call).map_err(|_| Error::Text("ERR Invalid command specified"))?;
    if matches!(resolved.keys, Keys::None) {
        return Err(Error::Text("ERR The command has no key arguments"));
    }
    if !resolved.accepts(call.len()) {
        return Err(Error::Text("ERR Invalid number of arguments specified for command"));
    }
    let mut positions = Vec::new();
    resolved.key_positions(call, &mut positions);
    // Scripts may go without keys.
    let none_declared = resolved.group == "scripting" && call.int(2) == Ok(0);
    if positions.is_empty() && !none_declared {
        return Err(Error::Text("ERR Invalid arguments specified for command"));
    }
    Ok((resolved, positions))
}

/// COMMAND HELP
fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Result<(), Error> {
    help::reply(cx.out, "COMMAND", HELP);
    Ok(())
}

/// COMMAND INFO [command-name [command-name ...]]
fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    if args.len() == 2 {
        describe_all(cx);
        return Ok(());
    }
    cx.out.array(args.len() - 2);
    for name in args.from(2) {
        match cx.engine.registry.find(name) {
            Some(resolved) => describe(cx, resolved),
            None => cx.out.null_array(),
        }
    }
    Ok(())
}

/// COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]
fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<(), Error> {
    let wanted: Box<dyn Fn(&Resolved) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "FILTERBY") => {
            let value = args.at(4).to_ascii_lowercase();
            match () {
                () if args.is(3, "MODULE") => Box::new(|_| false),
                () if args.is(3, "ACLCAT") => {
                    Box::new(move |resolved| categories(resolved).iter().any(|category| category.as_bytes() == value))
                }
                () if args.is(3, "PATTERN") => {
                    Box::new(move |resolved| glob::matches_ignore_case(&value, resolved.name.as_bytes()))
                }
                () => return Err(SYNTAX),
            }
        }
        _ => return Err(SYNTAX),
    };
    let all = cx.engine.registry.all().iter();
    let names: Vec<&str> = all.filter(|resolved| wanted(resolved)).map(|resolved| resolved.name.as_str()).collect();
    cx.out.array(names.len());
    names.into_iter().for_each(|name| cx.out.bulk(name.as_bytes()));
    Ok(())
}

fn commands(engine: &Engine) -> impl Iterator<Item = &Resolved> {
    engine.registry.all().iter().filter(|resolved| !resolved.is_subcommand())
}

fn describe_all(cx: &mut Cx<'_, '_>) {
    let all: Vec<&Resolved> = commands(cx.engine).collect();
    cx.out.array(all.len());
    all.into_iter().for_each(|resolved| describe(cx, resolved));
}

/// Writes the ten elements COMMAND INFO has for a command.
fn describe(cx: &mut Cx<'_, '_>, resolved: &Resolved) {
    let (first, last, step) = key_range(resolved);
    let flags: Vec<&str> = resolved.flag_names().collect();
    let categories = categories(resolved);
    cx.out.array(10);
    cx.out.bulk(resolved.name.as_bytes());
    cx.out.int(i64::from(resolved.arity));
    cx.out.set(flags.len());
    flags.into_iter().for_each(|flag| cx.out.simple(flag));
    cx.out.int(first);
    cx.out.int(last);
    cx.out.int(step);
    cx.out.set(categories.len());
    categories.into_iter().for_each(|category| cx.out.simple(&format!("@{category}")));
    cx.out.set(0);
    let specs = key_spec::specs(resolved);
    cx.out.set(specs.len());
    specs.iter().for_each(|spec| describe_key_spec(cx, spec));
    cx.out.set(resolved.subcommands.len());
    for id in &resolved.subcommands {
        describe(cx, &cx.engine.registry.all()[*id]);
    }
}

/// Writes a key specification: three maps in one.
fn describe_key_spec(cx: &mut Cx<'_, '_>, spec: &KeySpec) {
    cx.out.map(3);
    cx.out.bulk(b"flags");
    describe_key_flags(cx, spec.flags);
    cx.out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => describe_search(cx, "index", &[("index", index as i64)]),
        Begin::Keyword(word, from) => {
            open_search(cx, "keyword", 2);
            cx.out.bulk(b"keyword");
            cx.out.bulk(word.as_bytes());
            cx.out.bulk(b"startfrom");
            cx.out.int(from as i64);
        }
        Begin::Unknown => describe_search(cx, "unknown", &[]),
    }
    cx.out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            let facts = [("lastkey", last as i64), ("keystep", step as i64), ("limit", limit as i64)];
            describe_search(cx, "range", &facts);
        }
        Find::Counted { step } => {
            describe_search(cx, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", step as i64)]);
        }
        Find::Unknown => describe_search(cx, "unknown", &[]),
    }
}

fn describe_search(cx: &mut Cx<'_, '_>, kind: &str, facts: &[(&str, i64)]) {
    open_search(cx, kind, facts.len());
    for (name, value) in facts {
        cx.out.bulk(name.as_bytes());
        cx.out.int(*value);
    }
}

/// Writes one half of a key specification up to its facts.
fn open_search(cx: &mut Cx<'_, '_>, kind: &str, facts: usize) {
    cx.out.map(2);
    cx.out.bulk(b"type");
    cx.out.bulk(kind.as_bytes());
    cx.out.bulk(b"spec");
    cx.out.map(facts);
}

fn describe_key_flags(cx: &mut Cx<'_, '_>, flags: KeyFlags) {
    let names: Vec<&str> = key_spec::names(flags).collect();
    cx.out.set(names.len());
    names.into_iter().for_each(|name| cx.out.simple(name));
}

/// First key, last key and step as COMMAND INFO counts them; zeros if there is no fixed range.
fn key_range(resolved: &Resolved) -> (i64, i64, i64) {
    match resolved.keys {
        Keys::Custom(_) => match key_spec::specs(resolved).first() {
            Some(KeySpec { begin: Begin::Index(first), find: Find::Range { last, step, .. }, .. }) => {
                (*first as i64, *first as i64 + *last as i64, *step as i64)
            }
            _ => (0, 0, 0),
        },
        Keys::Range { first, last, step } => (first as i64, last as i64, step as i64),
        Keys::Counted { destination, .. } if destination > 0 => (destination as i64, destination as i64, 1),
        Keys::First { .. } => (1, 1, 1),
        _ => (0, 0, 0),
    }
}

/// Returns the ACL categories of a command: what flags and family imply and what the row adds.
pub(crate) fn categories(resolved: &Resolved) -> Vec<&'static str> {
    let mut categories = Vec::new();
    let implied: &[(bool, &'static str)] = &[
        (resolved.has(WRITE), "write"),
        (resolved.has(READONLY) && resolved.group != "scripting", "read"),
        (resolved.has(ADMIN), "admin"),
        (resolved.has(ADMIN), "dangerous"),
        (resolved.has(PUBSUB), "pubsub"),
        (resolved.has(BLOCKING), "blocking"),
        (resolved.has(FAST), "fast"),
        (!resolved.has(FAST), "slow"),
    ];
    categories.extend(implied.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name));
    categories.extend(match resolved.group {
        _ if resolved.is_container() => None,
        // SORT counts among the commands on what it sorts.
        "generic" if resolved.command.categories.contains(&"sortedset") => None,
        // WAIT stands among the commands on keys, but is about the connection.
        "generic" if resolved.command.categories.contains(&"connection") => None,
        "generic" => Some("keyspace"),
        "string" => Some("string"),
        "bitmap" => Some("bitmap"),
        "geo" => Some("geo"),
        "hyperloglog" => Some("hyperloglog"),
        "hash" => Some("hash"),
        "list" => Some("list"),
        "set" => Some("set"),
        "sorted-set" => Some("sortedset"),
        "stream" => Some("stream"),
        "connection" => Some("connection"),
        "transactions" => Some("transaction"),
        "scripting" => Some("scripting"),
        _ => None,
    });
    for category in resolved.command.categories {
        if !categories.contains(category) {
            categories.push(category);
        }
    }
    categories
}
