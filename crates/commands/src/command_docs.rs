//! COMMAND DOCS: what there is to say about a command, for people and for the tools that help them type.
//!
//! Everything comes from the row: the prose as it stands there, the arguments from its syntax line. What changed from version to version of Redis is not
//! told.

use crate::arguments::{self, Argument};
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
    let parts = usize::from(!arguments.is_empty()) + usize::from(!resolved.subcommands.is_empty());
    cx.out.map(known().count() + parts);
    for (name, value) in known() {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    if !arguments.is_empty() {
        let keys = key_spec::specs(resolved).len();
        describe_all(cx, &arguments, &mut KeyCount { seen: 0, keys });
    }
    if !resolved.subcommands.is_empty() {
        cx.out.bulk(b"subcommands");
        cx.out.map(resolved.subcommands.len());
        for id in &resolved.subcommands {
            document(cx, &cx.engine.registry.all()[*id]);
        }
    }
}

/// Which key specification an argument goes with: the first with the first, later ones with the later ones.
struct KeyCount {
    seen: usize,
    keys: usize,
}

impl KeyCount {
    fn next(&mut self) -> usize {
        self.seen += 1;
        (self.seen - 1).min(self.keys.saturating_sub(1))
    }
}

fn describe_all(cx: &mut Cx<'_, '_>, arguments: &[Argument], keys: &mut KeyCount) {
    cx.out.bulk(b"arguments");
    cx.out.array(arguments.len());
    arguments.iter().for_each(|argument| describe(cx, argument, keys));
}

fn describe(cx: &mut Cx<'_, '_>, argument: &Argument, keys: &mut KeyCount) {
    let flags: Vec<&str> = argument.flags().collect();
    let is_key = argument.kind == "key" && keys.keys > 0;
    let is_value = argument.arguments.is_empty();
    let parts = [is_value, is_key, argument.token.is_some(), !flags.is_empty(), !is_value];
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
        cx.out.int(keys.next() as i64);
    }
    if let Some(token) = &argument.token {
        cx.out.bulk(b"token");
        cx.out.bulk(token.as_bytes());
    }
    if !flags.is_empty() {
        cx.out.bulk(b"flags");
        cx.out.set(flags.len());
        flags.into_iter().for_each(|flag| cx.out.simple(flag));
    }
    if !is_value {
        describe_all(cx, &argument.arguments, keys);
    }
}
