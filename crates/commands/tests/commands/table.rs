//! The command table, held against a real redis-server: what COMMAND INFO and COMMAND DOCS say about every command we have must be what Redis says.
//!
//! Compared are arity, flags, key positions, key specifications and ACL categories, the group and the version that brought the command. Where we differ on purpose, or the
//! installed server is older than the version we follow, the difference stands in [`DIVERGENCES`] with its reason. The list is exact: a row that no longer
//! applies fails the test too. Summaries and complexities are prose and not compared.

use crate::support;
use std::collections::BTreeMap;

use redpoll_commands::registry::Registry;
use redpoll_testkit::{RedisServer, Reply, Target};

/// A field of a command in which we differ from the installed redis-server.
struct Divergence {
    command: &'static str,
    field: &'static str,
    reason: &'static str,
}

const fn differs(command: &'static str, field: &'static str, reason: &'static str) -> Divergence {
    Divergence { command, field, reason }
}

#[rustfmt::skip]
const DIVERGENCES: &[Divergence] = &[
    differs("client|no-touch", "name", "new in 7.2"),
    differs("client|pause", "since", "documented as 3.0.0 since 7.2; 2.9.50 was the preview of it"),
    differs("client|setinfo", "name", "new in 7.2"),
    differs("command|getkeys", "arity", "7.2 takes a command without arguments"),
    differs("command|getkeysandflags", "arity", "7.2 takes a command without arguments"),
    differs("spublish", "keys", "shard channels are no keys, and there are no slots to find"),
    differs("spublish", "key specifications", "shard channels are no keys, and there are no slots to find"),
    differs("ssubscribe", "keys", "shard channels are no keys, and there are no slots to find"),
    differs("ssubscribe", "key specifications", "shard channels are no keys, and there are no slots to find"),
    differs("sunsubscribe", "keys", "shard channels are no keys, and there are no slots to find"),
    differs("sunsubscribe", "key specifications", "shard channels are no keys, and there are no slots to find"),
    differs("xackdel", "name", "new in Redis 8.2"),
    differs("xdelex", "name", "new in Redis 8.2"),
    differs("cl.throttle", "name", "the command of the module redis-cell"),
    differs("delex", "name", "new in 8.4"),
    differs("digest", "name", "new in 8.4"),
    differs("hexpire", "name", "new in 7.4"),
    differs("hexpireat", "name", "new in 7.4"),
    differs("hexpiretime", "name", "new in 7.4"),
    differs("hgetdel", "name", "new in 8.0"),
    differs("hgetex", "name", "new in 8.0"),
    differs("hpersist", "name", "new in 7.4"),
    differs("hpexpire", "name", "new in 7.4"),
    differs("hpexpireat", "name", "new in 7.4"),
    differs("hpexpiretime", "name", "new in 7.4"),
    differs("hpttl", "name", "new in 7.4"),
    differs("hsetex", "name", "new in 8.0"),
    differs("httl", "name", "new in 7.4"),
    differs("increx", "name", "new in 8.8"),
    differs("msetex", "name", "new in 8.4"),
    differs("waitaof", "name", "new in 7.2"),
    differs("zrank", "arity", "7.2 takes WITHSCORE"),
    differs("zrevrank", "arity", "7.2 takes WITHSCORE"),
];

/// Flags of redis-server that say nothing about how a command behaves here, with the reason.
const FLAGS_WITHOUT_MEANING: &[(&str, &str)] =
    &[("no_mandatory_keys", "a hint for cluster clients that follows from the key positions")];

#[test]
fn the_table_says_what_redis_says() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    let registry = Registry::new(redpoll_commands::families());
    let mut unlisted = Vec::new();
    let mut listed: Vec<&Divergence> = DIVERGENCES.iter().collect();
    for command in registry.all() {
        let (found, expected) = (facts(&mut ours, &command.name), facts(&mut redis, &command.name));
        for (field, expected, found) in differences(&expected, &found) {
            match listed.iter().position(|row| row.command == command.name && row.field == field) {
                Some(at) => drop(listed.swap_remove(at)),
                None => unlisted.push(format!("{} {field}: redis has {expected}, we have {found}", command.name)),
            }
        }
    }
    let stale = listed.iter().map(|row| format!("{} {}: listed ({}), but equal", row.command, row.field, row.reason));
    unlisted.extend(stale);
    assert!(unlisted.is_empty(), "\n{}", unlisted.join("\n"));
}

/// What a server says about a command, by field; nothing if it does not know it.
type Facts = Option<BTreeMap<&'static str, String>>;

fn facts(target: &mut dyn Target, name: &str) -> Facts {
    let mut ask = |subcommand: &str| {
        let reply = target.call(&[b"COMMAND".to_vec(), subcommand.into(), name.into()]);
        assert!(reply.as_slice().is_some(), "COMMAND {subcommand} {name} was answered by {}", reply.print());
        reply
    };
    let (info, docs) = (ask("INFO"), ask("DOCS"));
    let rows = info.as_slice()?.first()?.as_slice()?;
    let docs = docs.as_slice()?.get(1)?.as_slice()?;
    let doc = |field: &str| {
        let at = docs.iter().step_by(2).position(|name| name.as_bytes() == Some(field.as_bytes()));
        at.map_or_else(String::new, |at| words(&docs[2 * at + 1]))
    };
    Some(BTreeMap::from([
        ("arity", words(&rows[1])),
        ("flags", words(&rows[2])),
        ("keys", [&rows[3], &rows[4], &rows[5]].map(words).join(" ")),
        ("categories", words(&rows[6])),
        ("key specifications", key_specs(&rows[8])),
        ("group", doc("group")),
        ("since", doc("since")),
    ]))
}

/// A reply as words, those of a list sorted.
fn words(reply: &Reply) -> String {
    match reply {
        Reply::Integer(number) => number.to_string(),
        Reply::Array(items) | Reply::Set(items) => {
            let meaning = |word: &String| !FLAGS_WITHOUT_MEANING.iter().any(|(flag, _)| flag == word);
            let mut words: Vec<String> = items.iter().map(words).filter(meaning).collect();
            words.sort();
            words.join(" ")
        }
        other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
    }
}

/// Key specifications as words, each in its order; notes on them are prose and not compared.
fn key_specs(reply: &Reply) -> String {
    let specs = reply.as_slice().expect("key specifications are a list").iter().map(|spec| {
        let fields = spec.as_slice().expect("a key specification is a list of names and values").chunks_exact(2);
        let compared = fields.filter(|field| field[0].as_bytes() != Some(b"notes"));
        compared.flatten().map(in_order).collect::<Vec<_>>().join(" ")
    });
    specs.collect::<Vec<_>>().join("; ")
}

/// A reply as words in its order.
fn in_order(reply: &Reply) -> String {
    match reply.as_slice() {
        Some(items) => items.iter().map(in_order).collect::<Vec<_>>().join(" "),
        None => words(reply),
    }
}

/// The fields that differ, with both values.
fn differences(expected: &Facts, found: &Facts) -> Vec<(&'static str, String, String)> {
    let found = found.as_ref().expect("we know every command of our own table");
    let Some(expected) = expected else { return vec![("name", "no such command".into(), "one".into())] };
    let both = found.iter().map(|(field, found)| (*field, expected[field].clone(), found.clone()));
    both.filter(|(_, expected, found)| expected != found).collect()
}
