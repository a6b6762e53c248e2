//! Replies: what a server answered, read from the wire and printed for people.
//!
//! The printed form follows redis-cli's formatted output, with one change: kinds that redis-cli prints alike are kept
//! apart, because a transcript must fail when a server answers `$2 OK` for `+OK` or `*-1` for `$-1`.
//!
//! ```text
//! OK                    simple string          (integer) 3       integer
//! "a\x00b"              bulk string            (double) 1.5      double, text as sent
//! (error) ERR no        error                  (true) (false)    boolean
//! (nil)                 $-1                    (null)            _ of RESP3
//! (nil array)           *-1                    (big number) 12   big number
//! 1) "a"                array                  1~ "a"            set of RESP3
//! 1# "f" => "v"         map of RESP3           1> "a"            push of RESP3
//! (empty array|map|set|push)                   (verbatim txt) "…"
//! (no reply) reason     the connection ended or timed out
//! ```
//!
//! It is not a protocol library: it trusts the server enough to buffer what it sends, with limits that only keep a
//! broken server from taking the machine along.

use std::fmt::Write as _;
use std::io::{self, BufRead, Read};

/// Longest bulk string that is read, in bytes; the limit of the protocol.
const BULK_LIMIT: i64 = 512 << 20;
/// Most elements that are read in one aggregate.
const AGGREGATE_LIMIT: i64 = 1 << 24;
/// Deepest nesting of aggregates that is read.
const DEPTH_LIMIT: u32 = 64;
/// Longest line of a reply that is no bulk string, in bytes.
const LINE_LIMIT: u64 = 1 << 20;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR …`, with its code
    Error(Vec<u8>),
    /// `:3`
    Integer(i64),
    /// `$3 abc`
    Bulk(Vec<u8>),
    /// `$-1`, the null of RESP2
    NullBulk,
    /// `*-1`, the other null of RESP2
    NullArray,
    /// `*2 …`
    Array(Vec<Reply>),
    /// `_`, the null of RESP3
    Null,
    /// `#t` or `#f`
    Boolean(bool),
    /// `,1.5`, the text as sent
    Double(Vec<u8>),
    /// `(123`
    BigNumber(Vec<u8>),
    /// `=7 txt:abc`
    Verbatim([u8; 3], Vec<u8>),
    /// `%1 key value`
    Map(Vec<(Reply, Reply)>),
    /// `~2 …`
    Set(Vec<Reply>),
    /// `>2 …`
    Push(Vec<Reply>),
    /// No reply came: the connection ended, timed out or sent what is no reply. The text says which.
    Lost(String),
}

impl Reply {
    /// Reads one reply, blocking until it is complete.
    ///
    /// # Errors
    /// Those of the reader; `InvalidData` for bytes that are no reply or exceed the limits of this module.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        read_nested(from, 0)
    }

    /// Decodes the reply at the start of `bytes` and says how many bytes it took.
    ///
    /// # Errors
    /// `UnexpectedEof` when the reply is incomplete, `InvalidData` when it is none.
    pub fn decode(bytes: &[u8]) -> io::Result<(Self, usize)> {
        let mut rest = bytes;
        let reply = Self::read(&mut rest)?;
        Ok((reply, bytes.len() - rest.len()))
    }

    /// Prints the reply as transcripts show it: lines without a final line break, never empty.
    pub fn print(&self) -> String {
        let mut text = String::new();
        self.print_to(&mut text, &mut String::new());
        text
    }

    /// Gives the bytes of a bulk, simple or verbatim string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) | Self::Simple(bytes) | Self::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Gives the elements of an array, set or push.
    pub fn as_slice(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }

    /// Gives the value of an integer reply.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Says whether the reply is the simple string `text`.
    pub fn is_simple(&self, text: &str) -> bool {
        matches!(self, Self::Simple(bytes) if bytes == text.as_bytes())
    }

    fn print_to(&self, text: &mut String, indent: &mut String) {
        match self {
            Self::Simple(bytes) if is_plain_status(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
            Self::Simple(bytes) => *text += &format!("(status) {}", quote(bytes)),
            Self::Error(bytes) => *text += &format!("(error) {}", escape(bytes)),
            Self::Integer(value) => *text += &format!("(integer) {value}"),
            Self::Bulk(bytes) => *text += &quote(bytes),
            Self::NullBulk => text.push_str("(nil)"),
            Self::NullArray => text.push_str("(nil array)"),
            Self::Null => text.push_str("(null)"),
            Self::Boolean(value) => *text += &format!("({value})"),
            Self::Double(digits) => *text += &format!("(double) {}", escape(digits)),
            Self::BigNumber(digits) => *text += &format!("(big number) {}", escape(digits)),
            Self::Verbatim(format, bytes) => *text += &format!("(verbatim {}) {}", escape(format), quote(bytes)),
            Self::Array(items) => print_items(text, indent, items, "array", ')'),
            Self::Set(items) => print_items(text, indent, items, "set", '~'),
            Self::Push(items) => print_items(text, indent, items, "push", '>'),
            Self::Map(pairs) => print_pairs(text, indent, pairs),
            Self::Lost(reason) => *text += &format!("(no reply) {}", escape(reason.as_bytes())),
        }
    }
}

/// A status is printed bare when it can be mistaken neither for another kind nor for the syntax of a transcript.
fn is_plain_status(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_graphic)
        && bytes.iter().all(|&byte| byte != b'\\' && (byte == b' ' || byte.is_ascii_graphic()))
}

fn print_items(text: &mut String, indent: &mut String, items: &[Reply], name: &str, mark: char) {
    if items.is_empty() {
        *text += &format!("(empty {name})");
    }
    print_numbered(text, indent, items.len(), mark, |index, text, indent| items[index].print_to(text, indent));
}

fn print_pairs(text: &mut String, indent: &mut String, pairs: &[(Reply, Reply)]) {
    if pairs.is_empty() {
        text.push_str("(empty map)");
    }
    print_numbered(text, indent, pairs.len(), '#', |index, text, indent| {
        pairs[index].0.print_to(text, indent);
        text.push_str(" => ");
        pairs[index].1.print_to(text, indent);
    });
}

fn print_numbered(
    text: &mut String,
    indent: &mut String,
    count: usize,
    mark: char,
    print: impl Fn(usize, &mut String, &mut String),
) {
    let width = count.to_string().len();
    let outer = indent.len();
    for index in 0..count {
        if index > 0 {
            text.push('\n');
            text.push_str(indent);
        }
        let _ = write!(text, "{:>width$}{mark} ", index + 1);
        indent.extend(std::iter::repeat_n(' ', width + 2));
        print(index, text, indent);
        indent.truncate(outer);
    }
}

/// Writes bytes in double quotes, escaped as redis-cli does.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let inner = escape(bytes);
    format!("\"{}\"", inner.replace('"', "\\\""))
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b' '..=b'~' => text.push(byte as char),
            _ => _ = write!(text, "\\x{byte:02x}"),
        }
    }
    text
}

fn read_nested(from: &mut impl BufRead, depth: u32) -> io::Result<Reply> {
    if depth > DEPTH_LIMIT {
        return Err(invalid("nested deeper than any reply"));
    }
    let line = read_line(from)?;
    let (&kind, rest) = line.split_first().ok_or_else(|| invalid("an empty line"))?;
    Ok(match kind {
        b'+' => Reply::Simple(rest.to_vec()),
        b'-' => Reply::Error(rest.to_vec()),
        b':' => Reply::Integer(number(rest)?),
        b'_' => Reply::Null,
        b'#' => Reply::Boolean(rest == b"t"),
        b',' => Reply::Double(rest.to_vec()),
        b'(' => Reply::BigNumber(rest.to_vec()),
        b'$' if rest == b"-1" => Reply::NullBulk,
        b'$' => Reply::Bulk(read_bulk(from, rest)?),
        b'=' => verbatim(read_bulk(from, rest)?)?,
        b'*' if rest == b"-1" => Reply::NullArray,
        b'*' => Reply::Array(read_items(from, rest, depth)?),
        b'~' => Reply::Set(read_items(from, rest, depth)?),
        b'>' => Reply::Push(read_items(from, rest, depth)?),
        b'%' => Reply::Map(read_pairs(from, rest, depth)?),
        // An attribute annotates the reply that follows it; nothing here looks at attributes.
        b'|' => {
            read_pairs(from, rest, depth)?;
            read_nested(from, depth + 1)?
        }
        _ => return Err(invalid(&format!("the line {}", quote(&line)))),
    })
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed"));
    }
    line.pop();
    if line.pop() != Some(b'\r') {
        return Err(invalid("a line that does not end in CR LF"));
    }
    Ok(line)
}

fn read_bulk(from: &mut impl BufRead, len: &[u8]) -> io::Result<Vec<u8>> {
    let len = bounded(len, BULK_LIMIT)?;
    let mut bytes = vec![0; len + 2];
    from.read_exact(&mut bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(invalid("a bulk string longer than announced"));
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn read_items(from: &mut impl BufRead, count: &[u8], depth: u32) -> io::Result<Vec<Reply>> {
    (0..bounded(count, AGGREGATE_LIMIT)?).map(|_| read_nested(from, depth + 1)).collect()
}

fn read_pairs(from: &mut impl BufRead, count: &[u8], depth: u32) -> io::Result<Vec<(Reply, Reply)>> {
    (0..bounded(count, AGGREGATE_LIMIT)?)
        .map(|_| Ok((read_nested(from, depth + 1)?, read_nested(from, depth + 1)?)))
        .collect()
}

fn verbatim(bytes: Vec<u8>) -> io::Result<Reply> {
    match bytes.as_slice() {
        [a, b, c, b':', text @ ..] => Ok(Reply::Verbatim([*a, *b, *c], text.to_vec())),
        _ => Err(invalid("a verbatim string without format")),
    }
}

fn bounded(digits: &[u8], limit: i64) -> io::Result<usize> {
    let value = number(digits)?;
    if !(0..=limit).contains(&value) {
        return Err(invalid(&format!("the length {value}")));
    }
    Ok(value as usize)
}

fn number(digits: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(&format!("the number {}", quote(digits))))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("server sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wire: &str, printed: &str) {
        let (reply, used) = Reply::decode(wire.as_bytes()).unwrap();
        assert_eq!(used, wire.len());
        assert_eq!(reply.print(), printed);
    }

    #[test]
    fn kinds_print_apart() {
        check("+OK\r\n", "OK");
        check("+> odd\r\n", "(status) \"> odd\"");
        check("+\r\n", "(status) \"\"");
        check("$2\r\nOK\r\n", "\"OK\"");
        check("-ERR a\tb\r\n", "(error) ERR a\\tb");
        check(":-3\r\n", "(integer) -3");
        check("$-1\r\n", "(nil)");
        check("*-1\r\n", "(nil array)");
        check("_\r\n", "(null)");
        check("#t\r\n", "(true)");
        check(",1.5\r\n", "(double) 1.5");
        check("(12345678901234567890\r\n", "(big number) 12345678901234567890");
        check("=6\r\ntxt:ab\r\n", "(verbatim txt) \"ab\"");
        check("$4\r\n\"\\\r\n\r\n", r#""\"\\\r\n""#);
        check("*0\r\n", "(empty array)");
        check("%0\r\n", "(empty map)");
        check("|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", "\"a\"");
    }

    #[test]
    fn nesting_is_indented() {
        check("*2\r\n$1\r\n0\r\n*2\r\n:1\r\n*0\r\n", "1) \"0\"\n2) 1) (integer) 1\n   2) (empty array)");
        check("%1\r\n+a\r\n~2\r\n+b\r\n+c\r\n", "1# a => 1~ b\n   2~ c");
        let ten = format!("*10\r\n{}", ":7\r\n".repeat(10));
        let (reply, _) = Reply::decode(ten.as_bytes()).unwrap();
        assert!(reply.print().starts_with(" 1) (integer) 7\n 2)"));
        assert!(reply.print().ends_with("\n10) (integer) 7"));
    }

    #[test]
    fn broken_bytes_are_errors() {
        for wire in ["", "+OK", "+OK\n", "$3\r\nab", "$1\r\nabc", "*1\r\n", "$-2\r\n", ":x\r\n", "?\r\n", "=1\r\na\r\n"]
        {
            assert!(Reply::decode(wire.as_bytes()).is_err(), "{wire:?}");
        }
        assert!(Reply::decode("*1\r\n".repeat(100).as_bytes()).is_err());
    }
}
