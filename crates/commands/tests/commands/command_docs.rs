//! What COMMAND DOCS tells, held against a real redis-server. What both call by one name or token has one type and came with one version, and nothing the server
//! names by a token is missing. Where not, the reason stands here; the list is exact. What the server says of a command's history, we say, and only
//! what is newer besides.

use crate::support;
use std::collections::BTreeMap;

use redpoll_commands::registry::Registry;
use redpoll_testkit::{RedisServer, Reply, Target, command};

/// Arguments in which we differ from the installed redis-server: command, name or token, reason.
#[rustfmt::skip]
const DIVERGENCES: &[(&str, &str, &str)] = &[
    ("migrate", "", "the empty string is a token that no line of syntax can name"),
    ("xautoclaim", "min-idle-time", "it is a number, and redis-server refuses anything else"),
    ("xclaim", "min-idle-time", "it is a number, and redis-server refuses anything else"),
];

/// What a server says: the type of each value by its name, and `token` for each token.
type Arguments = BTreeMap<String, String>;

fn field<'r>(map: &'r [Reply], name: &str) -> Option<&'r Reply> {
    let at = map.iter().step_by(2).position(|key| key.as_bytes() == Some(name.as_bytes()))?;
    map.get(2 * at + 1)
}

fn text(map: &[Reply], name: &str) -> Option<String> {
    field(map, name)?.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Collects the arguments of a list and of everything in it.
fn collect(list: &Reply, found: &mut Arguments) {
    for argument in list.as_slice().expect("arguments are a list") {
        let argument = argument.as_slice().expect("an argument is a map");
        let token = text(argument, "token");
        let called = token.clone().unwrap_or_else(|| text(argument, "name").expect("an argument has a name"));
        found.insert(format!("since of {called}"), text(argument, "since").unwrap_or_default());
        found.insert(format!("end of {called}"), text(argument, "deprecated_since").unwrap_or_default());
        if let Some(token) = token {
            found.insert(token, "token".to_owned());
        }
        match (field(argument, "arguments"), text(argument, "type").expect("an argument has a type")) {
            (Some(inner), _) => collect(inner, found),
            (None, kind) if kind == "pure-token" => {}
            (None, kind) => {
                drop(found.insert(text(argument, "name").expect("an argument has a name").replace('_', "-"), kind));
            }
        }
    }
}

/// Asks a server; nothing if it does not know the command.
fn ask(target: &mut dyn Target, name: &str) -> Option<Arguments> {
    let reply = target.call(&command(&format!("COMMAND DOCS {name}")));
    let docs = reply.as_slice()?.get(1)?.as_slice()?;
    let mut found = Arguments::new();
    if let Some(list) = field(docs, "arguments") {
        collect(list, &mut found);
    }
    Some(found)
}

#[test]
fn arguments_are_those_of_redis() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    let registry = Registry::new(redpoll_commands::families());
    let mut unlisted = Vec::new();
    let mut listed: Vec<_> = DIVERGENCES.iter().collect();
    for command in registry.all() {
        let Some(expected) = ask(&mut redis, &command.name) else { continue };
        let found = ask(&mut ours, &command.name).expect("we know our commands");
        for (name, kind) in expected {
            let same = match found.get(&name) {
                Some(found) => *found == kind,
                None => kind != "token",
            };
            let at = listed.iter().position(|(listed, argument, _)| (*listed, *argument) == (&command.name, &name));
            match (same, at) {
                (true, _) => {}
                (false, Some(at)) => drop(listed.swap_remove(at)),
                (false, None) => {
                    unlisted.push(format!("{} {name}: redis has {kind}, we have {:?}", command.name, found.get(&name)));
                }
            }
        }
    }
    let stale = listed.iter().map(|(command, name, reason)| format!("{command} {name}: listed ({reason}), but equal"));
    unlisted.extend(stale);
    assert!(unlisted.is_empty(), "\n{}", unlisted.join("\n"));
}

/// What changed in a command, as far as the version is not newer than that of the installed server.
fn history(target: &mut dyn Target, name: &str) -> Option<Vec<String>> {
    let reply = target.call(&command(&format!("COMMAND DOCS {name}")));
    let docs = reply.as_slice()?.get(1)?.as_slice()?;
    let changes = field(docs, "history").and_then(Reply::as_slice).unwrap_or_default();
    let words = |change: &Reply| {
        let parts = change.as_slice().expect("a change is a pair").iter();
        parts.map(|part| String::from_utf8_lossy(part.as_bytes().expect("it is text")).into_owned()).collect::<Vec<_>>()
    };
    let known = changes.iter().map(words).filter(|change| *change[0] < *"7.1");
    Some(known.map(|change| change.join(": ")).collect())
}

#[test]
fn history_is_that_of_redis() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    let mut compared = 0;
    for command in Registry::new(redpoll_commands::families()).all() {
        let Some(expected) = history(&mut redis, &command.name) else { continue };
        compared += expected.len();
        assert_eq!(history(&mut ours, &command.name), Some(expected), "{}", command.name);
    }
    assert!(compared > 90, "only {compared} changes were compared");
}

/// Why a command is none to be used, since when, and what to use: flags and texts as they come.
fn advice(target: &mut dyn Target, name: &str) -> Option<Vec<Option<Reply>>> {
    let reply = target.call(&command(&format!("COMMAND DOCS {name}")));
    let docs = reply.as_slice()?.get(1)?.as_slice()?;
    Some(["doc_flags", "deprecated_since", "replaced_by"].map(|part| field(docs, part).cloned()).to_vec())
}

#[test]
fn what_is_deprecated_is_what_redis_says() {
    let server = RedisServer::start().expect("redis-server is installed");
    let mut redis = server.client().expect("the server listens");
    let mut ours = support::InProcess::new();
    let mut compared = 0;
    for command in Registry::new(redpoll_commands::families()).all() {
        let Some(expected) = advice(&mut redis, &command.name) else { continue };
        compared += expected.iter().flatten().count();
        assert_eq!(advice(&mut ours, &command.name), Some(expected), "{}", command.name);
    }
    assert!(compared > 50, "only {compared} parts were compared");
}
