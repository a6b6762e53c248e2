//! Reads replies of RESP2 and RESP3 into [`Value`]s.
//!
//! [`Decoder`] is incremental and never looks twice at an element it has taken: aggregates that are still open wait on
//! an explicit stack, so nesting costs no recursion and is held against [`DecodeLimits::max_depth`], and the bytes of
//! finished elements can be dropped while the reply is still coming in.
//!
//! ```text
//! *2  ─► stack: [Array, 2 to come]
//! %1  ─► stack: [Array, 2 to come] [Map, 2 to come]
//! :1  ─► stack: [Array, 2 to come] [Map, 1 to come, items 1]
//! :2  ─► stack: [Array, 1 to come, items {1: 2}]
//! ```
//!
//! [`decode`] is the same for a buffer that holds the whole reply, and takes the short way through what most replies consist of. Not read: the streamed types of the RESP3 draft
//! (`$?`, `*?`), which no server sends.

use memchr::memchr;

use crate::error::ProtocolError;
use crate::number::{parse_double, parse_integer};
use crate::value::{Value, pair_up};

/// Aggregates that may be open inside one another.
pub const MAX_DEPTH: usize = 128;
/// Elements for which room is made before they have arrived.
const PREALLOCATED_ITEMS: usize = 64;
/// What follows the content of a bulk string: CR LF.
const TERMINATOR_LEN: usize = 2;
/// Digits of an integer that no sum of them overflows.
const SHORT_DIGITS: usize = 18;
/// Bytes of a verbatim string before its text: `txt:`.
const VERBATIM_PREFIX_LEN: usize = 4;

/// What a peer may reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Aggregates inside one another; [`MAX_DEPTH`].
    pub max_depth: usize,
    /// Bytes of one bulk string; 512 MiB.
    pub max_bulk_len: usize,
    /// Elements of one aggregate, a map's pairs counting twice; `i32::MAX`.
    pub max_elements: usize,
    /// Bytes of a simple string, an error or a number; 1 MiB.
    pub max_line_len: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits {
            max_depth: MAX_DEPTH,
            max_bulk_len: 512 * 1024 * 1024,
            max_elements: i32::MAX as usize,
            max_line_len: 1024 * 1024,
        }
    }
}

/// Reads the reply at the start of `buf`; returns it with its length in bytes, or `None` if it is not there as a whole.
///
/// ```
/// use redpoll_resp::{DecodeLimits, Value, decode};
///
/// let limits = DecodeLimits::default();
/// assert_eq!(decode(b"*1\r\n:4", &limits), Ok(None));
/// assert_eq!(decode(b"*1\r\n:4\r\n+OK\r\n", &limits), Ok(Some((Value::Array(vec![Value::Int(4)]), 8))));
/// ```
pub fn decode(buf: &[u8], limits: &DecodeLimits) -> Result<Option<(Value, usize)>, ProtocolError> {
    if let Some(usual) = whole(buf, limits, 0) {
        return Ok(Some(usual));
    }
    let progress = Decoder::new().feed(buf, limits)?;
    Ok(progress.value.map(|value| (value, progress.consumed)))
}

/// What one call of [`Decoder::feed`] achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Bytes taken; drop them before the next call, also when no value is complete.
    pub consumed: usize,
    /// The reply, if it is complete.
    pub value: Option<Value>,
}

/// Reads one reply after the other from bytes that arrive in pieces; one decoder per connection.
#[derive(Debug, Default)]
pub struct Decoder {
    stack: Vec<Frame>,
    /// Bytes at the start of the next input known to hold no CR.
    scanned: usize,
}

/// An aggregate whose elements are still coming.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    remaining: usize,
    items: Vec<Value>,
}

#[derive(Debug)]
enum Kind {
    Array,
    Map,
    Set,
    Push,
    Attribute,
    /// Attributes that are complete and wait for the value they belong to.
    Attributed(Vec<(Value, Value)>),
}

/// What an element turned out to be.
enum Element {
    Whole(Value),
    Open(Frame),
}

impl Decoder {
    /// Creates a decoder that waits for a reply.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whether no reply has been begun.
    pub fn is_idle(&self) -> bool {
        self.stack.is_empty() && self.scanned == 0
    }

    /// Takes elements from `buf` until a reply is complete or bytes are missing.
    ///
    /// `buf` starts where the previous call stopped: the bytes it consumed are gone, the others are still there. After
    /// an error the decoder has forgotten the reply it was in.
    pub fn feed(&mut self, buf: &[u8], limits: &DecodeLimits) -> Result<Progress, ProtocolError> {
        let outcome = self.take_elements(buf, limits);
        if outcome.is_err() {
            self.stack.clear();
            self.scanned = 0;
        }
        outcome
    }

    fn take_elements(&mut self, buf: &[u8], limits: &DecodeLimits) -> Result<Progress, ProtocolError> {
        let mut consumed = 0;
        loop {
            if self.scanned == 0
                && let Some((value, len)) = usual(&buf[consumed..], limits)
            {
                consumed += len;
                if let Some(whole) = self.place(value) {
                    return Ok(Progress { consumed, value: Some(whole) });
                }
                continue;
            }
            let Some((element, len)) = self.element(&buf[consumed..], limits)? else { break };
            consumed += len;
            self.scanned = 0;
            let whole = match element {
                Element::Whole(value) => self.place(value),
                Element::Open(frame) if self.stack.len() < limits.max_depth => {
                    self.stack.push(frame);
                    None
                }
                Element::Open(_) => return Err(ProtocolError::TooDeepReply),
            };
            if whole.is_some() {
                return Ok(Progress { consumed, value: whole });
            }
        }
        Ok(Progress { consumed, value: None })
    }

    /// Puts a complete value into the innermost open aggregate and closes what it completes; returns the value that
    /// has no aggregate around it.
    fn place(&mut self, mut value: Value) -> Option<Value> {
        loop {
            let Some(frame) = self.stack.last_mut() else { return Some(value) };
            frame.items.push(value);
            frame.remaining -= 1;
            if frame.remaining > 0 {
                return None;
            }
            let frame = self.stack.pop().expect("the frame was just looked at");
            value = match frame.close() {
                Element::Whole(value) => value,
                Element::Open(next) => {
                    self.stack.push(next);
                    return None;
                }
            };
        }
    }

    /// Reads the element at the start of `buf`; returns it with its length.
    fn element(&mut self, buf: &[u8], limits: &DecodeLimits) -> Result<Option<(Element, usize)>, ProtocolError> {
        let Some((tag, rest)) = buf.split_first() else { return Ok(None) };
        if !b"+-:_,#($!=*%~>|".contains(tag) {
            return Err(ProtocolError::UnknownReplyType(*tag));
        }
        let Some(line) = self.line(rest, limits)? else { return Ok(None) };
        let header_len = 1 + line.len() + TERMINATOR_LEN;
        let element = match tag {
            b'$' | b'!' | b'=' => {
                let Some(len) = parse_length(line, limits.max_bulk_len)? else {
                    return nil_unless(*tag != b'$', header_len);
                };
                let Some(content) = bulk_content(&buf[header_len..], len)? else { return Ok(None) };
                return Ok(Some((Element::Whole(bulk(*tag, content)?), header_len + len + TERMINATOR_LEN)));
            }
            b'*' | b'%' | b'~' | b'>' | b'|' => match parse_length(line, limits.max_elements)? {
                Some(len) => open(*tag, len, limits)?,
                None => return nil_unless(*tag != b'*', header_len),
            },
            _ => Element::Whole(scalar(*tag, line)?),
        };
        Ok(Some((element, header_len)))
    }

    /// Finds the line at the start of `rest`, which begins one byte into the element.
    fn line<'a>(&mut self, rest: &'a [u8], limits: &DecodeLimits) -> Result<Option<&'a [u8]>, ProtocolError> {
        let from = self.scanned.min(rest.len());
        let found = memchr(b'\r', &rest[from..]).map(|offset| from + offset);
        let end = found.unwrap_or(rest.len());
        if end > limits.max_line_len {
            return Err(ProtocolError::TooBigReplyLine);
        }
        self.scanned = end;
        match (found, rest.get(end + 1)) {
            (Some(_), Some(b'\n')) => Ok(Some(&rest[..end])),
            (Some(_), Some(_)) => Err(ProtocolError::InvalidReplyTerminator),
            _ => Ok(None),
        }
    }
}

impl Frame {
    fn close(self) -> Element {
        Element::Whole(match self.kind {
            Kind::Array => Value::Array(self.items),
            Kind::Set => Value::Set(self.items),
            Kind::Push => Value::Push(self.items),
            Kind::Map => Value::Map(pair_up(self.items)),
            Kind::Attribute => {
                let kind = Kind::Attributed(pair_up(self.items));
                return Element::Open(Frame { kind, remaining: 1, items: Vec::with_capacity(1) });
            }
            Kind::Attributed(attributes) => {
                let value = self.items.into_iter().next().expect("closed upon its one value");
                Value::Attribute { attributes, value: Box::new(value) }
            }
        })
    }
}

/// Reads an announced length; `None` is RESP2's -1.
fn parse_length(line: &[u8], max: usize) -> Result<Option<usize>, ProtocolError> {
    match parse_integer(line) {
        Some(-1) => Ok(None),
        Some(len) => match usize::try_from(len) {
            Ok(len) if len <= max => Ok(Some(len)),
            _ => Err(ProtocolError::InvalidReplyLength),
        },
        None => Err(ProtocolError::InvalidReplyLength),
    }
}

fn nil_unless(invalid: bool, len: usize) -> Result<Option<(Element, usize)>, ProtocolError> {
    if invalid { Err(ProtocolError::InvalidReplyLength) } else { Ok(Some((Element::Whole(Value::Nil), len))) }
}

/// Opens an aggregate, or closes it at once if it is empty.
fn open(tag: u8, len: usize, limits: &DecodeLimits) -> Result<Element, ProtocolError> {
    let (kind, remaining) = match tag {
        b'%' => (Kind::Map, len.saturating_mul(2)),
        b'|' => (Kind::Attribute, len.saturating_mul(2)),
        b'~' => (Kind::Set, len),
        b'>' => (Kind::Push, len),
        _ => (Kind::Array, len),
    };
    if remaining > limits.max_elements {
        return Err(ProtocolError::InvalidReplyLength);
    }
    let frame = Frame { kind, remaining, items: Vec::with_capacity(remaining.min(PREALLOCATED_ITEMS)) };
    Ok(if remaining == 0 { frame.close() } else { Element::Open(frame) })
}

/// Reads the integer or bulk string at the start of `buf`, with its length, if it is there whole and its number has few digits: what most replies consist of.
/// Whatever else there is, also what is wrong with it, is for [`Decoder::element`] to say.
#[inline]
fn usual(buf: &[u8], limits: &DecodeLimits) -> Option<(Value, usize)> {
    let (tag, rest) = buf.split_first()?;
    if !matches!(tag, b':' | b'$') || limits.max_line_len < SHORT_DIGITS {
        return None;
    }
    let (number, digits) = short_number(rest)?;
    let header_len = 1 + digits + TERMINATOR_LEN;
    if *tag == b':' {
        return Some((Value::Int(number), header_len));
    }
    let len = usize::try_from(number).ok().filter(|len| *len <= limits.max_bulk_len)?;
    let content = bulk_content(&buf[header_len..], len).ok()??;
    Some((Value::Bulk(content.to_vec()), header_len + len + TERMINATOR_LEN))
}

/// Reads the reply at the start of `buf`, with its length, if it is there whole and consists of what is [usual], of nothing, and of arrays and maps of such.
fn whole(buf: &[u8], limits: &DecodeLimits, depth: usize) -> Option<(Value, usize)> {
    let (tag, rest) = buf.split_first()?;
    if limits.max_line_len < SHORT_DIGITS {
        return None;
    }
    let width = match tag {
        b'*' => 1,
        b'%' => 2,
        b'_' => return rest.starts_with(b"\r\n").then_some((Value::Nil, 1 + TERMINATOR_LEN)),
        _ => return usual(buf, limits),
    };
    let (len, digits) = short_number(rest)?;
    let count = usize::try_from(len).ok()?.checked_mul(width)?;
    if count > limits.max_elements || depth == limits.max_depth.min(MAX_DEPTH) {
        return None;
    }
    let mut items = Vec::with_capacity(count.min(PREALLOCATED_ITEMS));
    let mut consumed = 1 + digits + TERMINATOR_LEN;
    for _ in 0..count {
        let (item, len) = whole(&buf[consumed..], limits, depth + 1)?;
        items.push(item);
        consumed += len;
    }
    Some((if width == 1 { Value::Array(items) } else { Value::Map(pair_up(items)) }, consumed))
}

/// Reads the line of digits at the start of `line`, with how many they are.
#[inline]
fn short_number(line: &[u8]) -> Option<(i64, usize)> {
    let mut number = 0;
    for (index, byte) in line.iter().take(SHORT_DIGITS + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 && index < SHORT_DIGITS {
            number = number * 10 + i64::from(digit);
            continue;
        }
        let is_whole = *byte == b'\r' && line.get(index + 1) == Some(&b'\n');
        let is_plain = index == 1 || (index > 1 && line[0] != b'0');
        return (is_whole && is_plain).then_some((number, index));
    }
    None
}

/// Cuts `len` bytes and their CR LF off the start of `rest`.
fn bulk_content(rest: &[u8], len: usize) -> Result<Option<&[u8]>, ProtocolError> {
    let terminator = rest.get(len..).unwrap_or_default();
    match terminator {
        [b'\r', b'\n', ..] => Ok(Some(&rest[..len])),
        [] | [b'\r'] => Ok(None),
        _ => Err(ProtocolError::InvalidReplyTerminator),
    }
}

fn bulk(tag: u8, content: &[u8]) -> Result<Value, ProtocolError> {
    Ok(match tag {
        b'!' => Value::Error(String::from_utf8_lossy(content).into_owned()),
        b'=' => {
            let Some((prefix, text)) = content.split_at_checked(VERBATIM_PREFIX_LEN) else {
                return Err(ProtocolError::InvalidReplyContent);
            };
            let [format @ .., b':'] = prefix else { return Err(ProtocolError::InvalidReplyContent) };
            let format = format.try_into().map_err(|_| ProtocolError::InvalidReplyContent)?;
            Value::Verbatim { format, text: text.to_vec() }
        }
        _ => Value::Bulk(content.to_vec()),
    })
}

/// Reads a reply that is one line.
fn scalar(tag: u8, line: &[u8]) -> Result<Value, ProtocolError> {
    let value = match (tag, line) {
        (b'+', _) => Some(Value::Simple(String::from_utf8_lossy(line).into_owned())),
        (b'-', _) => Some(Value::Error(String::from_utf8_lossy(line).into_owned())),
        (b':', _) => parse_integer(line.strip_prefix(b"+").unwrap_or(line)).map(Value::Int),
        (b',', _) => parse_double(line).map(Value::Double),
        (b'_', []) => Some(Value::Nil),
        (b'#', [b't']) => Some(Value::Bool(true)),
        (b'#', [b'f']) => Some(Value::Bool(false)),
        (b'(', _) => big_number(line).map(Value::BigNumber),
        _ => None,
    };
    value.ok_or(ProtocolError::InvalidReplyContent)
}

fn big_number(line: &[u8]) -> Option<String> {
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| String::from_utf8_lossy(line).into_owned())
}
