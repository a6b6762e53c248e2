//! The arguments COMMAND DOCS tells of, held against a real redis-server: what both call by one name or token has one type, and nothing the server names
//! by a token is missing. Where not, the reason stands here; the list is exact.

mod support;

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
        if let Some(token) = text(argument, "token") {
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
