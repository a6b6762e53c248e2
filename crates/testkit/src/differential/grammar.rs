//! Templates of commands: the documented syntax line, with placeholders that can be drawn.
//!
//! ```text
//!   SET key value [NX | XX] [GET] [EX seconds | KEEPTTL]
//!   word      upper case or behind an apostrophe: itself; lower case: a placeholder, see `Kind`
//!   [a | b]   nothing, or one of the alternatives
//!   (a | b)   one of the alternatives
//!   x...      one to four times the placeholder or group
//! ```

/// Alternatives of a group; each is a sequence.
pub(super) type Choice = Vec<Vec<Node>>;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A word that stands for itself.
    Word(&'static str),
    /// A placeholder.
    Drawn(Kind),
    /// `[…]`
    Optional(Choice),
    /// `(…)`
    OneOf(Choice),
    /// `x...`
    Repeated(Box<Node>),
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a placeholder stands for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            fn parse(word: &str) -> Self {
                match word {
                    $($name => Self::$variant,)*
                    _ => panic!("the placeholder `{word}` is unknown"),
                }
            }
        }
    };
}

kinds! {
    /// A key, mostly of the command's own family.
    Key = "key",
    /// A key that only ever holds members of equal score.
    LexKey = "lexkey",
    /// A count of keys and that many keys; sometimes the count is wrong.
    CountedKeys = "countedkeys",
    /// Any bytes, often a number.
    Value = "value",
    /// A field of a hash.
    Field = "field",
    /// A member of a set or sorted set.
    Member = "member",
    /// An integer, small or at an edge.
    Integer = "integer",
    /// A floating point number as text, also a broken one.
    Float = "float",
    /// A score.
    Score = "score",
    /// A bound of a score range.
    ScoreBound = "scorebound",
    /// A bound of a lexicographical range.
    LexBound = "lexbound",
    /// A position in a list or sorted set.
    Index = "index",
    /// A small count.
    Count = "count",
    /// A byte or bit offset, small or too large to be allowed.
    Offset = "offset",
    /// A bit.
    Bit = "bit",
    /// A relative expiry in seconds: far away or not in the future at all.
    Seconds = "seconds",
    /// The same in milliseconds.
    Milliseconds = "milliseconds",
    /// An absolute expiry in seconds: decades away or long past.
    Unix = "unix",
    /// The same in milliseconds.
    UnixMs = "unixms",
    /// An absolute expiry in seconds, decades away or invalid: some commands keep a key that expired in the past
    /// until somebody looks, which may be either target's timer.
    FutureUnix = "futureunix",
    /// The same in milliseconds.
    FutureUnixMs = "futureunixms",
    /// A glob pattern.
    Pattern = "pattern",
    /// The number of a database that is used.
    Database = "database",
    /// A script, the number of its keys, its keys and its arguments.
    Script = "script",
    /// The same with the sum of the script in its place.
    Sha = "sha",
    /// A script alone.
    ScriptText = "scripttext",
    /// The sum of a script alone.
    ShaSum = "shasum",
}

impl Kind {
    /// Says whether a value of this kind is a moment or a duration, which damage must not make short.
    pub(super) fn is_time(self) -> bool {
        use Kind::{FutureUnix, FutureUnixMs, Milliseconds, Seconds, Unix, UnixMs};
        matches!(self, Seconds | Milliseconds | Unix | UnixMs | FutureUnix | FutureUnixMs)
    }
}

/// Parses a template.
///
/// # Panics
/// When it is malformed: templates are constants of this crate.
pub(super) fn parse(template: &'static str) -> Vec<Node> {
    let tokens = tokens(template);
    let mut rest = tokens.as_slice();
    let mut choice = alternatives(&mut rest);
    assert!(rest.is_empty() && choice.len() == 1, "brackets of `{template}` do not match");
    choice.remove(0)
}

/// Says whether a template draws a moment or a duration.
pub(super) fn has_time(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Word(_) => false,
        Node::Drawn(kind) => kind.is_time(),
        Node::Optional(choice) | Node::OneOf(choice) => choice.iter().any(|nodes| has_time(nodes)),
        Node::Repeated(node) => has_time(std::slice::from_ref(node)),
    })
}

/// Brackets, bars and `...` are tokens of their own, even without blanks around them.
fn tokens(template: &'static str) -> Vec<&'static str> {
    let mut tokens = Vec::new();
    for mut word in template.split_ascii_whitespace() {
        while !word.is_empty() {
            let len = match word.find(['[', ']', '(', ')', '|', '.']) {
                Some(0) if word.starts_with("...") => 3,
                Some(0) => 1,
                Some(at) => at,
                None => word.len(),
            };
            tokens.push(&word[..len]);
            word = &word[len..];
        }
    }
    tokens
}

/// Reads alternatives up to a closing bracket, which stays.
fn alternatives(rest: &mut &[&'static str]) -> Choice {
    let mut choice = vec![Vec::new()];
    while let Some((&token, after)) = rest.split_first() {
        if matches!(token, "]" | ")") {
            break;
        }
        *rest = after;
        let sequence = choice.last_mut().expect("there is one alternative from the start");
        match token {
            "|" => choice.push(Vec::new()),
            "[" | "(" => {
                let inner = alternatives(rest);
                let (closing, after) = rest.split_first().expect("a bracket is closed");
                *rest = after;
                match (token, *closing) {
                    ("[", "]") => sequence.push(Node::Optional(inner)),
                    ("(", ")") => sequence.push(Node::OneOf(inner)),
                    _ => panic!("`{token}` is closed by `{closing}`"),
                }
            }
            "..." => {
                let last = sequence.pop().expect("`...` follows what it repeats");
                sequence.push(Node::Repeated(Box::new(last)));
            }
            word if word.starts_with(|first: char| first.is_ascii_lowercase()) => {
                sequence.push(Node::Drawn(Kind::parse(word)));
            }
            word => sequence.push(Node::Word(word.trim_start_matches('\''))),
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_trees() {
        assert_eq!(
            parse("SET key [NX | EX seconds] (field value)..."),
            [
                Node::Word("SET"),
                Node::Drawn(Kind::Key),
                Node::Optional(vec![vec![Node::Word("NX")], vec![Node::Word("EX"), Node::Drawn(Kind::Seconds)]]),
                Node::Repeated(Box::new(Node::OneOf(vec![vec![Node::Drawn(Kind::Field), Node::Drawn(Kind::Value)]]))),
            ]
        );
        assert!(has_time(&parse("GETEX key [EX seconds]")) && !has_time(&parse("GET key")));
    }

    #[test]
    #[should_panic(expected = "is closed by")]
    fn brackets_must_match() {
        parse("A [B)");
    }
}
