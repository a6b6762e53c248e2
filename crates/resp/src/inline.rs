//! Words of a line: how inline commands and configuration lines are split into arguments.
//!
//! Blanks separate. Double quotes keep blanks and know the escapes `\n \r \t \b \a \xHH`, any other escaped byte stands
//! for itself; single quotes know only `\'`. A quote may open in the middle of a word, but what follows a closing quote
//! must be a blank or the end. These are the rules of Redis, down to which blanks end a word (space, tab, CR, LF) and
//! which are also skipped before one (vertical tab, form feed).
//!
//! This is not a shell: no variables, no comments, no line continuation.

use std::fmt;

/// Says that a line opens a quote it does not close, or goes on right after a closing quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnbalancedQuotes;

impl fmt::Display for UnbalancedQuotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unbalanced quotes")
    }
}

impl std::error::Error for UnbalancedQuotes {}

/// Splits a line into its arguments, unescaped.
///
/// ```
/// let args = redpoll_resp::split_args(br#"SET greeting "hello\x21 world""#).expect("quotes are balanced");
/// assert_eq!(args, [b"SET".to_vec(), b"greeting".to_vec(), b"hello! world".to_vec()]);
/// ```
pub fn split_args(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut args = Vec::new();
    let mut rest = line;
    let mut text = Vec::new();
    while let Some(after) = next_arg(rest, &mut text)? {
        args.push(std::mem::take(&mut text));
        rest = after;
    }
    Ok(args)
}

/// Appends the first argument of `line` to `text` and returns what follows it; `None` if only blanks are left.
pub(crate) fn next_arg<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Result<Option<&'a [u8]>, UnbalancedQuotes> {
    let Some(start) = line.iter().position(|byte| !is_blank(*byte)) else { return Ok(None) };
    let mut rest = &line[start..];
    while let [byte, after @ ..] = rest {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => break,
            b'"' => return double_quoted(after, text).map(Some),
            b'\'' => return single_quoted(after, text).map(Some),
            plain => text.push(*plain),
        }
        rest = after;
    }
    Ok(Some(rest))
}

fn double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', after @ ..] => return after_quote(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push(hex_digit(*high) << 4 | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    itself => *itself,
                });
                after
            }
            [plain, after @ ..] => {
                text.push(*plain);
                after
            }
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\'', after @ ..] => return after_quote(after),
            [b'\\', b'\'', after @ ..] => {
                text.push(b'\'');
                after
            }
            [plain, after @ ..] => {
                text.push(*plain);
                after
            }
        };
    }
}

fn after_quote(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match rest.first() {
        Some(byte) if !is_blank(*byte) => Err(UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        letter => (letter | 0x20) - b'a' + 10,
    }
}
