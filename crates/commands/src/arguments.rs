//! From the documented syntax line to the tree of arguments that COMMAND DOCS tells.
//!
//! ```text
//! SET key value [NX | XX] [EX seconds | KEEPTTL]
//!     key   value   oneof, optional: NX, XX   oneof, optional: seconds (token EX), KEEPTTL
//! ```
//!
//! Brackets are optional groups, angles are choices, capitals are tokens that take the words behind them, and `x [x ...]` is an argument that can be
//! repeated. Types follow from the words, with a few exceptions by command. Clients make hints and typed calls of this; how a command reads its
//! arguments does not depend on it.

use crate::registry::Resolved;
use crate::syntax::{KEY_WORDS, tokens};

/// An argument, or several that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// `string`, `integer`, `double`, `key`, `pattern`, `unix-time`, `pure-token`, `oneof` or `block`.
    pub kind: &'static str,
    /// The word it begins with, if it does.
    pub token: Option<String>,
    /// It may be left out.
    pub optional: bool,
    /// It may be repeated.
    pub multiple: bool,
    /// Each time with its token.
    pub multiple_token: bool,
    /// What it consists of.
    pub arguments: Vec<Argument>,
}

/// A piece of a syntax line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node<'a> {
    Word(&'a str),
    Group { optional: bool, choices: Vec<Vec<Node<'a>>> },
    Dots,
}

/// Returns the arguments of a command, behind its name.
pub fn of(command: &Resolved) -> Vec<Argument> {
    let tokens = tokens(command.command.syntax);
    let name_words = if command.is_subcommand() { 2 } else { 1 };
    let mut at = name_words;
    let nodes = choices(&tokens, &mut at).swap_remove(0);
    let mut arguments = sequence(&nodes);
    arguments.iter_mut().for_each(|argument| argument.give_types(command));
    arguments
}

/// Reads alternatives up to a closing bracket or the end.
fn choices<'a>(tokens: &[&'a str], at: &mut usize) -> Vec<Vec<Node<'a>>> {
    let mut choices_read = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        let node = match *token {
            "]" | ">" => break,
            "|" => {
                choices_read.push(Vec::new());
                continue;
            }
            "[" | "<" => Node::Group { optional: *token == "[", choices: choices(tokens, at) },
            "..." => Node::Dots,
            word => Node::Word(word),
        };
        choices_read.last_mut().expect("there is always one").push(node);
    }
    choices_read
}

/// Tells whether a word stands for itself.
fn is_token(word: &str) -> bool {
    !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Tells whether a group says that the nodes before it may be repeated; returns how many.
fn repeats(group: &Node<'_>, before: &[Node<'_>]) -> Option<usize> {
    let Node::Group { optional: true, choices } = group else { return None };
    let [content] = choices.as_slice() else { return None };
    let (Node::Dots, repeated) = content.split_last()? else { return None };
    before.ends_with(repeated).then_some(repeated.len())
}

/// Turns nodes into arguments.
fn sequence(nodes: &[Node<'_>]) -> Vec<Argument> {
    // Each with the number of nodes it was made of.
    let mut found: Vec<(usize, Argument)> = Vec::new();
    let mut at = 0;
    while let Some(node) = nodes.get(at) {
        if let Some(count) = repeats(node, &nodes[..at]) {
            repeat(&mut found, count);
            at += 1;
            continue;
        }
        let (used, argument) = match node {
            Node::Word(word) if is_token(word) => {
                let values = values(&nodes[at + 1..]);
                (1 + values, with_token(word, sequence(&nodes[at + 1..at + 1 + values])))
            }
            Node::Word(word) => (1, Argument { name: (*word).to_owned(), kind: "string", ..Argument::default() }),
            Node::Group { optional, choices } => (1, Argument { optional: *optional, ..choice(choices) }),
            Node::Dots => {
                found.iter_mut().for_each(|(_, argument)| argument.multiple = true);
                at += 1;
                continue;
            }
        };
        at += used;
        found.push((used, argument));
    }
    found.into_iter().map(|(_, argument)| argument).collect()
}

/// Says of what was made of the last nodes that it can be repeated.
fn repeat(found: &mut Vec<(usize, Argument)>, mut count: usize) {
    let mut first = found.len();
    while count > 0 && first > 0 {
        first -= 1;
        count = count.saturating_sub(found[first].0);
    }
    let (used, repeated): (Vec<usize>, Vec<Argument>) = found.drain(first..).unzip();
    let mut argument = together(repeated);
    argument.multiple = true;
    argument.multiple_token = argument.token.is_some();
    found.push((used.into_iter().sum(), argument));
}

/// Returns how many of the nodes behind a token belong to it.
fn values(nodes: &[Node<'_>]) -> usize {
    let belongs = |at: usize| match &nodes[at] {
        Node::Word(word) => !is_token(word),
        Node::Group { optional: false, .. } => true,
        group @ Node::Group { .. } => repeats(group, &nodes[..at]).is_some(),
        Node::Dots => false,
    };
    (0..nodes.len()).take_while(|at| belongs(*at)).count()
}

fn with_token(word: &str, mut values: Vec<Argument>) -> Argument {
    let token = Some(word.to_owned());
    match values.len() {
        0 => Argument { name: token_name(word), kind: "pure-token", token, ..Argument::default() },
        1 => Argument { token, ..values.swap_remove(0) },
        _ => Argument { name: token_name(word), kind: "block", token, arguments: values, ..Argument::default() },
    }
}

fn token_name(word: &str) -> String {
    match word {
        "*" => "auto-id".to_owned(),
        "=" => "equal".to_owned(),
        "~" => "approximately".to_owned(),
        "$" => "last-id".to_owned(),
        word => word.to_ascii_lowercase(),
    }
}

/// Makes one argument of a group's content.
fn choice(choices: &[Vec<Node<'_>>]) -> Argument {
    if let [only] = choices {
        return together(sequence(only));
    }
    let arguments: Vec<Argument> = choices.iter().map(|nodes| together(sequence(nodes))).collect();
    Argument { name: choice_name(&arguments), kind: "oneof", arguments, ..Argument::default() }
}

/// Makes one argument of several.
fn together(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 {
        return arguments.swap_remove(0);
    }
    let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
    Argument { name: names.join("-"), kind: "block", arguments, ..Argument::default() }
}

/// Names a choice after what is chosen.
fn choice_name(arguments: &[Argument]) -> String {
    let first = arguments.first().map_or("", |argument| argument.name.as_str());
    let name = match first {
        "nx" | "xx" => "condition",
        "gt" => "comparison",
        "seconds" => "expiration",
        "asc" => "order",
        "left" | "before" | "min" => "where",
        "m" => "unit",
        "sum" => "aggregate",
        "async" => "flush-type",
        "equal" => "operator",
        "maxlen" => "strategy",
        "byte" => "unit",
        other => other,
    };
    name.to_owned()
}

impl Argument {
    /// Gives every value its type.
    fn give_types(&mut self, command: &Resolved) {
        if self.kind == "string" {
            self.kind = kind(&self.name, command);
        }
        self.arguments.iter_mut().for_each(|argument| argument.give_types(command));
    }

    /// Returns the words for what it may be, as COMMAND DOCS lists them.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = [(self.optional, "optional"), (self.multiple, "multiple"), (self.multiple_token, "multiple_token")];
        flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name)
    }
}

/// Returns the type of a value by its name.
fn kind(name: &str, command: &Resolved) -> &'static str {
    let of = |part: &str| command.name.contains(part);
    match name {
        // It is hashed, not looked for.
        "key" if command.group == "cluster" => "string",
        name if KEY_WORDS.contains(&name) || name == "dst" || name == "src" => "key",
        "pattern" => "pattern",
        "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
        "start" | "end" if command.group == "stream" => "string",
        "start" | "stop" if command.name == "zrange" => "string",
        "value" if of("bitfield") || command.name == "setbit" => "integer",
        "increment" if of("float") => "double",
        "timeout" if !of("wait") && !of("pause") && !of("migrate") => "double",
        "min" | "max" if of("score") || command.name == "zcount" => "double",
        "height" | "width" | "radius" | "longitude" | "latitude" | "score" => "double",
        "bit" | "bits" | "client-id" | "cluster-bus-port" | "config-epoch" | "count" | "cursor" | "db"
        | "decrement" | "destination-db" | "end" | "end-slot" | "entries-added" | "entries-read" | "frequency"
        | "increment" | "index" | "index1" | "index2" | "len" | "limit" | "maxage" | "milliseconds"
        | "min-idle-time" | "min-match-len" | "ms" | "num-matches" | "numids" | "numkeys" | "numlocal"
        | "numreplicas" | "offset" | "port" | "protover" | "rank" | "seconds" | "slot" | "start" | "start-slot"
        | "stop" | "timeout" | "ttl" | "version" | "weight" => "integer",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    /// Writes an argument as it stands in a syntax line.
    fn show(argument: &Argument) -> String {
        let parts = |separator: &str| argument.arguments.iter().map(show).collect::<Vec<_>>().join(separator);
        let content = match argument.kind {
            "oneof" if argument.optional && argument.token.is_none() => parts(" | "),
            "oneof" => format!("<{}>", parts(" | ")),
            "block" => parts(" "),
            "pure-token" => argument.token.clone().unwrap(),
            _ => argument.name.clone(),
        };
        let repeated = |text: String| match argument.multiple {
            true => format!("{text} [{text} ...]"),
            false => text,
        };
        let text = match &argument.token {
            Some(token) if argument.kind != "pure-token" && argument.multiple_token => {
                repeated(format!("{token} {content}"))
            }
            Some(token) if argument.kind != "pure-token" => format!("{token} {}", repeated(content)),
            _ => repeated(content),
        };
        if argument.optional { format!("[{text}]") } else { text }
    }

    #[test]
    fn every_syntax_line_can_be_made_of_its_arguments() {
        /// Lines whose repetition is more than a repetition.
        const MORE: &[&str] = &["bitfield", "debug"];
        let registry = Registry::new(crate::families());
        for command in registry.all().iter().filter(|command| command.subcommands.is_empty()) {
            let name = command.name.to_ascii_uppercase().replace('|', " ");
            let shown = std::iter::once(name).chain(of(command).iter().map(show)).collect::<Vec<_>>().join(" ");
            assert_eq!(shown == command.command.syntax, !MORE.contains(&command.name.as_str()), "{shown}");
        }
    }
}
