//! From the documented syntax line to arity and key positions.
//!
//! `SET key value [NX | XX] [EX seconds | …]` says it all: two mandatory words after the name and options behind them make arity -3; a word called `key`
//! at a fixed place is a key. The rules below hold for almost every command; rows for which they do not carry `.keys(…)` or `.arity(…)`.

use crate::command::Keys;

/// Words that name a key when they stand at a fixed, mandatory place.
pub(crate) const KEY_WORDS: &[&str] =
    &["key", "newkey", "source", "destination", "key1", "key2", "sourcekey", "destkey"];

/// Returns the arity of a command whose name has `name_words` words: exact if positive, a minimum if negative.
pub(crate) fn arity(syntax: &str, name_words: usize) -> i32 {
    let tokens = tokens(syntax);
    let shape = Parser { tokens: &tokens[name_words..], at: 0 }.sequence();
    let least = i32::try_from(name_words + shape.least).expect("a syntax line is short");
    if shape.fixed { least } else { -least }
}

/// Returns where the keys stand.
pub(crate) fn keys(syntax: &str, name_words: usize) -> Keys {
    let tokens = tokens(syntax);
    let words = &tokens[name_words..];
    let is_key = |word: &str| KEY_WORDS.contains(&word);
    let mut first = None;
    for (index, word) in words.iter().enumerate() {
        let position = name_words + index;
        match *word {
            "numkeys" => return Keys::Counted { destination: first.unwrap_or(0), count: position },
            "[" | "<" | "|" => break,
            word if is_key(word) => {
                first.get_or_insert(position);
                let after = &words[index + 1..];
                if is_key(after.first().copied().unwrap_or_default()) || after.first() == Some(&"numkeys") {
                    continue;
                }
                let first = first.expect("it was just set");
                return repeated(after, word).map_or(
                    Keys::Range { first, last: position as isize, step: 1 },
                    |(step, last)| Keys::Range { first, last, step },
                );
            }
            _ => {}
        }
    }
    match first {
        Some(first) => Keys::Range { first, last: first as isize, step: 1 },
        None => Keys::None,
    }
}

/// Recognises `[key …]`, `[key value …]` and `value [key value …]` after a key: the step and the last key, counted from the end.
fn repeated(after: &[&str], key: &str) -> Option<(usize, isize)> {
    let open = after.iter().position(|word| *word == "[")?;
    let close = open + after[open..].iter().position(|word| *word == "]")?;
    let group = &after[open + 1..close];
    let repeats = group.last() == Some(&"...") && KEY_WORDS.contains(group.first()?) && open <= 1;
    if !repeats || (open == 1 && group.len() != 3) {
        return None;
    }
    debug_assert!(KEY_WORDS.contains(&key));
    let step = group.len() - 1;
    let behind = after[close + 1..].len();
    Some((step, -1 - behind as isize))
}

/// Splits a syntax line into words and brackets.
pub(crate) fn tokens(syntax: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in syntax.split_whitespace() {
        let mut rest = word;
        while let Some(at) = rest.find(['[', ']', '<', '>', '|']) {
            if at > 0 {
                tokens.push(&rest[..at]);
            }
            tokens.push(&rest[at..at + 1]);
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            tokens.push(rest);
        }
    }
    tokens
}

/// How long a part of a syntax line is.
struct Shape {
    least: usize,
    fixed: bool,
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl Parser<'_> {
    /// Reads items and alternatives up to a closing bracket or the end.
    fn sequence(&mut self) -> Shape {
        let mut alternatives = vec![Shape { least: 0, fixed: true }];
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            let current = alternatives.last_mut().expect("there is always one");
            match *token {
                "]" | ">" => break,
                "|" => alternatives.push(Shape { least: 0, fixed: true }),
                "[" => {
                    self.sequence();
                    current.fixed = false;
                }
                "<" => {
                    let inner = self.sequence();
                    current.least += inner.least;
                    current.fixed &= inner.fixed;
                }
                "..." => current.fixed = false,
                _ => current.least += 1,
            }
        }
        let least = alternatives.iter().map(|shape| shape.least).min().unwrap_or(0);
        let fixed = alternatives.iter().all(|shape| shape.fixed && shape.least == least);
        Shape { least, fixed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(syntax: &str, words: usize, expected_arity: i32, expected_keys: Keys) {
        assert_eq!(arity(syntax, words), expected_arity, "{syntax}");
        assert_eq!(format!("{:?}", keys(syntax, words)), format!("{expected_keys:?}"), "{syntax}");
    }

    #[test]
    fn arity_and_keys_follow_from_the_syntax_line() {
        let one = |first| Keys::Range { first, last: first as isize, step: 1 };
        check("PING [message]", 1, -1, Keys::None);
        check("GET key", 1, 2, one(1));
        check("SET key value [NX | XX] [GET] [EX seconds | KEEPTTL]", 1, -3, one(1));
        check("DEL key [key ...]", 1, -2, Keys::Range { first: 1, last: -1, step: 1 });
        check("MSET key value [key value ...]", 1, -3, Keys::Range { first: 1, last: -1, step: 2 });
        check("BLPOP key [key ...] timeout", 1, -3, Keys::Range { first: 1, last: -2, step: 1 });
        check("RENAME key newkey", 1, 3, Keys::Range { first: 1, last: 2, step: 1 });
        check("SMOVE source destination member", 1, 4, Keys::Range { first: 1, last: 2, step: 1 });
        check("SINTERSTORE destination key [key ...]", 1, -3, Keys::Range { first: 1, last: -1, step: 1 });
        check("HSET key field value [field value ...]", 1, -4, one(1));
        check("ZADD key [NX | XX] score member [score member ...]", 1, -4, one(1));
        check("ZUNIONSTORE destination numkeys key [key ...]", 1, -4, Keys::Counted { destination: 1, count: 2 });
        check("EVAL script numkeys [key [key ...]] [arg [arg ...]]", 1, -3, Keys::Counted { destination: 0, count: 2 });
        check("OBJECT ENCODING key", 2, 3, one(2));
        check("LINSERT key <BEFORE | AFTER> pivot element", 1, 5, one(1));
        check(
            "LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>",
            1,
            5,
            Keys::Range { first: 1, last: 2, step: 1 },
        );
        check("SINTERCARD numkeys key [key ...] [LIMIT limit]", 1, -3, Keys::Counted { destination: 0, count: 1 });
    }
}
