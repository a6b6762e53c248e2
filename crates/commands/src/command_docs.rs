//! COMMAND DOCS: what there is to say about a command, for people and for the tools that help them type.
//!
//! What there is now comes from the row: the prose as it stands there, the arguments from its syntax line. What changed from version to version of Redis
//! stands in a table beside the rows ([`command_history`]).

use crate::arguments::{self, Argument};
use crate::command_history;
use crate::cx::Cx;
use crate::key_spec;
use crate::registry::Resolved;

/// Writes what is known of a command, name first.
pub(crate) fn document(cx: &mut Cx<'_, '_>, resolved: &Resolved) {
    let row = resolved.command;
    let facts =
        [("summary", row.summary), ("since", row.since), ("group", resolved.group), ("complexity", row.complexity)];
    let known = || facts.iter().filter(|(_, value)| !value.is_empty());
    let arguments = if resolved.subcommands.is_empty() { arguments::of(resolved) } else { Vec::new() };
    cx.out.bulk(resolved.name.as_bytes());
    let changes = command_history::of(&resolved.original_name);
    let flag = command_history::flag(&resolved.original_name);
    let (deprecated_since, replaced_by) = command_history::deprecated(&resolved.original_name).unzip();
    let advice = [("deprecated_since", deprecated_since), ("replaced_by", replaced_by)];
    let parts = [
        flag.is_some(),
        deprecated_since.is_some(),
        replaced_by.is_some(),
        !changes.is_empty(),
        !arguments.is_empty(),
        !resolved.subcommands.is_empty(),
    ];
    cx.out.map(known().count() + parts.iter().filter(|is_there| **is_there).count());
    for (name, value) in known() {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    if let Some(flag) = flag {
        cx.out.bulk(b"doc_flags");
        cx.out.set(1);
        cx.out.simple(flag);
    }
    for (name, value) in advice.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    if !changes.is_empty() {
        cx.out.bulk(b"history");
        cx.out.set(changes.len());
        for (version, what) in changes {
            cx.out.array(2);
            cx.out.bulk(version.as_bytes());
            cx.out.bulk(what.as_bytes());
        }
    }
    if !arguments.is_empty() {
        let keys = key_spec::specs(resolved).len();
        describe_all(cx, &arguments, &mut Place { command: &resolved.original_name, seen: 0, keys });
    }
    if !resolved.subcommands.is_empty() {
        cx.out.bulk(b"subcommands");
        cx.out.map(resolved.subcommands.len());
        for id in &resolved.subcommands {
            document(cx, &cx.engine.registry.all()[*id]);
        }
    }
}

/// Where an argument stands: in which command, and with which key specification it goes: the first with the first, later ones with the later ones.
struct Place<'a> {
    command: &'a str,
    seen: usize,
    keys: usize,
}

impl Place<'_> {
    fn next_key(&mut self) -> usize {
        self.seen += 1;
        (self.seen - 1).min(self.keys.saturating_sub(1))
    }
}

fn describe_all(cx: &mut Cx<'_, '_>, arguments: &[Argument], place: &mut Place<'_>) {
    cx.out.bulk(b"arguments");
    cx.out.array(arguments.len());
    arguments.iter().for_each(|argument| describe(cx, argument, place));
}

fn describe(cx: &mut Cx<'_, '_>, argument: &Argument, place: &mut Place<'_>) {
    let flags: Vec<&str> = argument.flags().collect();
    let is_key = argument.kind == "key" && place.keys > 0;
    let is_value = argument.arguments.is_empty();
    let called = argument.token.as_ref().unwrap_or(&argument.name);
    let since = command_history::since(place.command, called);
    let deprecated_since = command_history::argument_deprecated(place.command, called);
    let versions = [("since", since), ("deprecated_since", deprecated_since)];
    let parts = [
        is_value,
        is_key,
        argument.token.is_some(),
        since.is_some(),
        deprecated_since.is_some(),
        !flags.is_empty(),
        !is_value,
    ];
    cx.out.map(2 + parts.iter().filter(|is_there| **is_there).count());
    let mut put = |name: &str, value: &str| {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    };
    put("name", &argument.name);
    put("type", argument.kind);
    if is_value {
        put("display_text", &argument.name);
    }
    if is_key {
        cx.out.bulk(b"key_spec_index");
        cx.out.int(place.next_key() as i64);
    }
    if let Some(token) = &argument.token {
        cx.out.bulk(b"token");
        cx.out.bulk(token.as_bytes());
    }
    for (name, version) in versions.into_iter().filter_map(|(name, version)| Some((name, version?))) {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(version.as_bytes());
    }
    if !flags.is_empty() {
        cx.out.bulk(b"flags");
        cx.out.set(flags.len());
        flags.into_iter().for_each(|flag| cx.out.simple(flag));
    }
    if !is_value {
        describe_all(cx, &argument.arguments, place);
    }
}
