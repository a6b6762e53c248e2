//! Splits the text of a command into arguments.
//!
//! Quoting is redis-cli's: double quotes with `\n \r \t \a \b \\ \" \xHH`, single quotes with `\'` only. On top come
//! two expansions that keep transcripts readable where a value has to be long: `%(COUNT * TEXT)` repeats text inside
//! an argument, `%(FROM..TO: TEMPLATE)` as an argument of its own becomes several, with `{}` replaced by the number.

use anyhow::{Context, Result, bail, ensure};

/// Most bytes or arguments that one expansion may give.
const EXPANSION_LIMIT: usize = 16 << 20;

/// The arguments of a command.
type Words = Vec<Vec<u8>>;

/// Splits a line.
pub(super) fn split(line: &str) -> Result<Words> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (series, after) = match series(rest)? {
            Some(found) => found,
            None => {
                let (word, after) = word(rest)?;
                (vec![word], after)
            }
        };
        words.extend(series);
        ensure!(words.len() <= EXPANSION_LIMIT, "more than {EXPANSION_LIMIT} arguments");
        rest = after.trim_start();
    }
    ensure!(!words.is_empty(), "a command without a name");
    Ok(words)
}

/// `%(FROM..TO: TEMPLATE)` at the start of `text`.
fn series(text: &str) -> Result<Option<(Words, &str)>> {
    let Some((inner, after)) = text.strip_prefix("%(").and_then(|rest| rest.split_once(')')) else {
        return Ok(None);
    };
    let Some((range, template)) = inner.split_once(": ") else { return Ok(None) };
    let (from, to) = range.split_once("..").context("a series is written %(FROM..TO: TEMPLATE)")?;
    let (from, to): (i64, i64) = (from.trim().parse()?, to.trim().parse()?);
    ensure!(after.is_empty() || after.starts_with(' '), "a series is an argument of its own");
    ensure!(from <= to && (to - from) < EXPANSION_LIMIT as i64, "the series {range} is empty or too long");
    let numbers = from..=to;
    let words = numbers.flat_map(|number| {
        let words = template.split_ascii_whitespace();
        words.map(move |word| word.replace("{}", &number.to_string()).into_bytes())
    });
    Ok(Some((words.collect(), after)))
}

/// One argument at the start of `text`, which is not empty and starts with no blank.
fn word(text: &str) -> Result<(Vec<u8>, &str)> {
    let mut word = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            ' ' | '\t' => break,
            '"' => {
                rest = double_quoted(&rest[1..], &mut word)?;
                ensure_separated(rest)?;
            }
            '\'' => {
                rest = single_quoted(&rest[1..], &mut word)?;
                ensure_separated(rest)?;
            }
            '%' if rest.starts_with("%(") => rest = repetition(&rest[2..], &mut word)?,
            _ => {
                word.extend(&rest.as_bytes()[..first.len_utf8()]);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    Ok((word, rest))
}

fn double_quoted<'a>(text: &'a str, word: &mut Vec<u8>) -> Result<&'a str> {
    let mut chars = text.char_indices();
    while let Some((at, symbol)) = chars.next() {
        match symbol {
            '"' => return Ok(&text[at + 1..]),
            '\\' => {
                let (_, escaped) = chars.next().context("a backslash ends the line")?;
                match escaped {
                    'n' => word.push(b'\n'),
                    'r' => word.push(b'\r'),
                    't' => word.push(b'\t'),
                    'a' => word.push(7),
                    'b' => word.push(8),
                    'x' => {
                        let digits = text.get(at + 2..at + 4).context("\\x needs two digits")?;
                        word.push(u8::from_str_radix(digits, 16).with_context(|| format!("\\x{digits}"))?);
                        chars.nth(1);
                    }
                    other => word.extend(other.to_string().bytes()),
                }
            }
            other => word.extend(other.to_string().bytes()),
        }
    }
    bail!("a double quote is not closed")
}

fn single_quoted<'a>(text: &'a str, word: &mut Vec<u8>) -> Result<&'a str> {
    let mut rest = text;
    while let Some(at) = rest.find('\'') {
        match rest[..at].strip_suffix('\\') {
            Some(before) => {
                word.extend(before.bytes());
                word.push(b'\'');
                rest = &rest[at + 1..];
            }
            None => {
                word.extend(rest[..at].bytes());
                return Ok(&rest[at + 1..]);
            }
        }
    }
    bail!("a single quote is not closed")
}

fn ensure_separated(rest: &str) -> Result<()> {
    ensure!(rest.is_empty() || rest.starts_with([' ', '\t']), "text follows a closing quote");
    Ok(())
}

/// `COUNT * TEXT)`, after its opening.
fn repetition<'a>(text: &'a str, word: &mut Vec<u8>) -> Result<&'a str> {
    let (inner, after) = text.split_once(')').context("%( is not closed")?;
    let (count, text) = inner.split_once(" * ").context("a repetition is written %(COUNT * TEXT)")?;
    let count: usize = count.trim().parse().with_context(|| format!("the count {count}"))?;
    ensure!(count.saturating_mul(text.len()) <= EXPANSION_LIMIT, "more than {EXPANSION_LIMIT} bytes");
    word.extend(text.repeat(count).bytes());
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: &[&[u8]]) {
        assert_eq!(split(line).unwrap(), expect.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn quoting() {
        check(r#"SET k "a b\x00\n\"\q""#, &[b"SET", b"k", b"a b\0\n\"q"]);
        check(r"SET '' 'it\'s \n'", &[b"SET", b"", br"it's \n"]);
        check("  PING  ", &[b"PING"]);
        check("SET k é", &[b"SET", b"k", "é".as_bytes()]);
    }

    #[test]
    fn expansions() {
        check("SET k a%(3 * xy)b", &[b"SET", b"k", b"axyxyxyb"]);
        check("ZADD z %(9..10: {} m{}) NX", &[b"ZADD", b"z", b"9", b"m9", b"10", b"m10", b"NX"]);
    }

    #[test]
    fn mistakes() {
        for line in
            ["", "SET \"a", "SET 'a", "SET \"a\"b", "SET %(x", "SET %(a * b)", "SET %(2..1: a)", "SET \"\\xg0\""]
        {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
