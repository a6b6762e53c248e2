//! Reads requests from a growing buffer, without copying them.
//!
//! ```text
//! *3\r\n $3\r\nSET\r\n $5\r\nhello\r\n $5\r\nworld\r\n        an array of bulk strings
//!        └┬┘ └┬┘      └┬┘ └─┬─┘       └┬┘ └─┬─┘
//!       header range  header range    header range
//! SET hello "world"\r\n                                       an inline command
//! ```
//!
//! [`RequestParser::parse`] is called with all bytes received since the end of the previous request. A command that is
//! there as a whole, the usual case, is taken in one pass. When bytes are missing the parser remembers how far it got
//! (arguments found, length of the awaited one, bytes already searched for a line end), so a command that arrives in a
//! thousand reads is still looked at once. All positions count from the start of the request; the caller may move its
//! buffer between calls as long as the request's first byte stays the slice's first byte.
//!
//! The result depends only on the bytes, never on how reads cut them. Redis is followed to the letter in what it
//! accepts, including what it does not look at: the two bytes after an argument, and the byte after a header's CR, may
//! be anything. Two deliberate differences: where Redis stops searching a header at a NUL byte and then waits for ever,
//! the header is refused here; and an over-long line is refused even when it arrives in one read. An inline command
//! with a NUL byte in it never ends, here as there, until the line limit cuts it off.

use std::ops::Range;

use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use crate::error::ProtocolError;
use crate::inline::next_arg;
use crate::number::parse_integer;

/// Arguments a request may have without allocating.
pub const INLINE_ARGS: usize = 8;
/// Arguments a client may send before it has authenticated.
pub const UNAUTHENTICATED_MAX_ARGS: usize = 10;
/// Bytes an argument may have before its client has authenticated.
pub const UNAUTHENTICATED_MAX_BULK_LEN: usize = 16 * 1024;
/// Bytes a request may have whatever the settings say: positions inside it are kept in 32 bits.
pub const MAX_REQUEST_LEN: usize = u32::MAX as usize;
/// Argument slots kept for the next request; a larger table is given back to the allocator.
const KEPT_ARGS: usize = 1024;
/// Bytes of unescaped inline text kept for the next request.
const KEPT_TEXT: usize = 4 * 1024;
/// Digits read by the short cut for headers; longer ones take the careful path.
const QUICK_DIGITS: usize = 9;
/// Bytes every line limit allows, so that a limit cannot forbid ordinary headers.
const MIN_LINE_LEN: usize = 32;
/// What follows the content of an argument: CR LF.
const TERMINATOR_LEN: usize = 2;

/// Whether the client has authenticated, or need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// The ordinary limits apply.
    #[default]
    Authenticated,
    /// Only small requests are taken: [`UNAUTHENTICATED_MAX_ARGS`] and [`UNAUTHENTICATED_MAX_BULK_LEN`].
    Unauthenticated,
}

/// What a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one argument; the setting `proto-max-bulk-len`, 512 MiB by default.
    pub max_bulk_len: usize,
    /// Arguments of one request; `i32::MAX` as in Redis 7.
    pub max_args: usize,
    /// Bytes of an inline command or of a header line; 64 KiB.
    pub max_inline_len: usize,
    /// Bytes of a whole request; [`MAX_REQUEST_LEN`] by default and at most.
    pub max_request_len: usize,
    /// Whether the client has authenticated.
    pub access: Access,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_bulk_len: 512 * 1024 * 1024,
            max_args: i32::MAX as usize,
            max_inline_len: 64 * 1024,
            max_request_len: MAX_REQUEST_LEN,
            access: Access::Authenticated,
        }
    }
}

impl Limits {
    fn line_len(&self) -> usize {
        self.max_inline_len.max(MIN_LINE_LEN)
    }

    /// Judges an announced number of arguments; zero and less mean a request without any.
    fn check_args(&self, count: i64) -> Result<u32, ProtocolError> {
        let count = u32::try_from(count.max(0)).map_err(|_| ProtocolError::InvalidMultibulkLength)?;
        if count as usize > self.max_args {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if self.access == Access::Unauthenticated && count as usize > UNAUTHENTICATED_MAX_ARGS {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(count)
    }

    /// Judges an announced argument whose content starts at `start`; returns where it ends.
    #[inline]
    fn check_bulk(&self, start: usize, len: usize) -> Result<usize, ProtocolError> {
        if len > self.max_bulk_len {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if len > UNAUTHENTICATED_MAX_BULK_LEN && self.access == Access::Unauthenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let end = start.saturating_add(len);
        if end.saturating_add(TERMINATOR_LEN) > self.max_request_len.min(MAX_REQUEST_LEN) {
            return Err(ProtocolError::TooBigRequest);
        }
        Ok(end)
    }
}

/// Where an argument's content lies, counted from the start of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgRange {
    /// First byte.
    pub start: u32,
    /// First byte after it.
    pub end: u32,
}

impl ArgRange {
    /// Returns the range for slicing.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Where the arguments of a request lie, in order.
pub type ArgRanges = SmallVec<[ArgRange; INLINE_ARGS]>;

/// What a look at the buffer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Parse {
    /// A request with at least one argument. Its arguments are at hand until the next call of `parse`.
    Complete {
        /// Bytes to drop from the buffer once the arguments have been used.
        consumed: usize,
    },
    /// Bytes that ask for nothing: an empty line, `*0` or `*-1`. Drop them and parse on.
    Empty {
        /// Bytes to drop from the buffer.
        consumed: usize,
    },
    /// The request is not there as a whole. Keep all bytes and call again with more behind them.
    Incomplete,
    /// The bytes are no request. Report it and close; the parser has forgotten the request.
    Error(ProtocolError),
}

/// Where the text of the arguments stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Source {
    /// In the caller's buffer.
    #[default]
    Buffer,
    /// In the parser's own `text`: an inline command, unescaped.
    Text,
}

/// Reads one request after the other; one parser per connection.
///
/// ```
/// use redpoll_resp::{Limits, Parse, RequestParser};
///
/// let mut parser = RequestParser::new();
/// let limits = Limits::default();
/// let mut buf = b"*2\r\n$3\r\nGET\r\n$1\r".to_vec();
/// assert_eq!(parser.parse(&buf, &limits), Parse::Incomplete);
/// buf.extend_from_slice(b"\nk\r\nPING\r\n");
/// let Parse::Complete { consumed } = parser.parse(&buf, &limits) else { unreachable!() };
/// assert_eq!(parser.args(&buf).as_slice(), [b"GET".as_slice(), b"k"]);
/// buf.drain(..consumed);
/// assert_eq!(parser.parse(&buf, &limits), Parse::Complete { consumed: 6 });
/// assert_eq!(parser.args(&buf).as_slice(), [b"PING".as_slice()]);
/// ```
#[derive(Debug, Default)]
pub struct RequestParser {
    ranges: ArgRanges,
    source: Source,
    text: Vec<u8>,
    /// Arguments of a begun array that are still to come; zero between requests.
    remaining: u32,
    /// Where the next header starts, or the awaited content.
    position: usize,
    /// Length of the argument whose header has been read but whose content is not there yet.
    awaited: Option<usize>,
    /// Bytes of the request known to hold no line end after `position`.
    scanned: usize,
    /// Bytes missing from the awaited argument when `parse` last looked.
    needed: usize,
}

impl RequestParser {
    /// Creates a parser that waits for a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for a whole request at the start of `buf`.
    ///
    /// After [`Parse::Incomplete`] the same request must be presented again from its first byte, longer.
    #[inline]
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Parse {
        if self.remaining == 0 {
            let Some(first) = buf.first() else { return Parse::Incomplete };
            if *first != b'*' {
                return self.parse_inline(buf, limits);
            }
            if let Some(outcome) = self.begin_array(buf, limits) {
                return outcome;
            }
        }
        self.parse_arguments(buf, limits)
    }

    /// Returns the arguments of the request that `parse` just completed; `buf` is the slice `parse` was given.
    ///
    /// # Panics
    /// If `buf` does not hold the request any more.
    #[inline]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> SmallVec<[&'a [u8]; INLINE_ARGS]> {
        let text = self.source_of(buf);
        self.ranges.iter().map(|arg| &text[arg.range()]).collect()
    }

    /// Returns one argument of the request that `parse` just completed, counted from zero.
    ///
    /// # Panics
    /// If there is no such argument, or `buf` does not hold the request any more.
    #[inline]
    pub fn arg<'a>(&'a self, buf: &'a [u8], index: usize) -> &'a [u8] {
        &self.source_of(buf)[self.ranges[index].range()]
    }

    /// Returns how many arguments the request that `parse` just completed has.
    #[inline]
    pub fn arg_count(&self) -> usize {
        self.ranges.len()
    }

    /// Returns how many bytes were missing from the awaited argument when `parse` last answered incomplete, CR LF
    /// included; zero while no argument's length is known. Sizes the next read.
    #[inline]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Returns how many bytes of a half-received request have been taken apart: whole arguments, and headers.
    pub fn taken_apart(&self) -> usize {
        self.position
    }

    /// Returns the heap bytes kept of arguments, their text not counted unless it was unescaped.
    pub fn kept_bytes(&self) -> usize {
        let table = if self.ranges.spilled() { self.ranges.capacity() * size_of::<ArgRange>() } else { 0 };
        table + self.text.capacity()
    }

    /// Tells whether no request has been begun, so that the connection may be closed without cutting one.
    pub fn is_idle(&self) -> bool {
        self.remaining == 0 && self.scanned == 0
    }

    /// Forgets a half-received request.
    pub fn reset(&mut self) {
        self.ranges.clear();
        self.rewind();
    }

    #[inline]
    fn source_of<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match self.source {
            Source::Buffer => buf,
            Source::Text => &self.text,
        }
    }

    /// Reads `*count\r\n`. Returns an outcome unless arguments are to follow.
    #[inline]
    fn begin_array(&mut self, buf: &[u8], limits: &Limits) -> Option<Parse> {
        let (count, next) = match quick_length(buf, 1) {
            Some((count, next)) => (count as i64, next),
            None => match self.array_header(buf, limits) {
                Ok(Some(header)) => header,
                Ok(None) => return Some(Parse::Incomplete),
                Err(error) => return Some(self.fail(error)),
            },
        };
        match limits.check_args(count) {
            Err(error) => Some(self.fail(error)),
            Ok(0) => {
                self.rewind();
                Some(Parse::Empty { consumed: next })
            }
            Ok(count) => {
                self.begin_request(Source::Buffer);
                self.remaining = count;
                self.position = next;
                None
            }
        }
    }

    #[inline]
    fn parse_arguments(&mut self, buf: &[u8], limits: &Limits) -> Parse {
        let mut position = self.position;
        let mut remaining = self.remaining;
        let mut awaited = self.awaited.take();
        while remaining > 0 {
            let (start, len) = match awaited.take() {
                Some(len) => (position, len),
                None => match self.bulk_header(buf, position, limits) {
                    Ok(Some((start, len))) => (start, len),
                    Ok(None) => return self.suspend(position, remaining, None, 0),
                    Err(error) => return self.fail(error),
                },
            };
            let end = match limits.check_bulk(start, len) {
                Ok(end) => end,
                Err(error) => return self.fail(error),
            };
            let next = end + TERMINATOR_LEN;
            if next > buf.len() {
                return self.suspend(start, remaining, Some(len), next - buf.len());
            }
            // Both fit: `check_bulk` holds the end against MAX_REQUEST_LEN.
            self.ranges.push(ArgRange { start: start as u32, end: end as u32 });
            position = next;
            remaining -= 1;
        }
        self.rewind();
        Parse::Complete { consumed: position }
    }

    /// Reads `$len\r\n` at `at`; returns where the content starts and its length.
    #[inline]
    fn bulk_header(&mut self, buf: &[u8], at: usize, limits: &Limits) -> Result<Option<(usize, usize)>, ProtocolError> {
        if buf.get(at) == Some(&b'$')
            && let Some((len, start)) = quick_length(buf, at + 1)
        {
            return Ok(Some((start, len)));
        }
        self.careful_bulk_header(buf, at, limits)
    }

    #[cold]
    fn careful_bulk_header(
        &mut self,
        buf: &[u8],
        at: usize,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let Some(line) = self.header_line(buf, at, limits).map_err(|TooLong| ProtocolError::TooBigBulkCountString)?
        else {
            return Ok(None);
        };
        if buf[at] != b'$' {
            return Err(ProtocolError::ExpectedDollar(buf[at]));
        }
        let len = parse_integer(&buf[at + 1..line]).and_then(|len| usize::try_from(len).ok());
        len.map(|len| Some((line + TERMINATOR_LEN, len))).ok_or(ProtocolError::InvalidBulkLength)
    }

    #[cold]
    fn array_header(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<(i64, usize)>, ProtocolError> {
        let Some(line) = self.header_line(buf, 0, limits).map_err(|TooLong| ProtocolError::TooBigCountString)? else {
            return Ok(None);
        };
        let count = parse_integer(&buf[1..line]).ok_or(ProtocolError::InvalidMultibulkLength)?;
        Ok(Some((count, line + TERMINATOR_LEN)))
    }

    /// Finds the CR that ends the header at `at`; `None` while it, or the byte after it, has not arrived.
    fn header_line(&mut self, buf: &[u8], at: usize, limits: &Limits) -> Result<Option<usize>, TooLong> {
        let from = self.scanned.max(at);
        let found = memchr(b'\r', buf.get(from..).unwrap_or_default()).map(|offset| from + offset);
        let line = found.unwrap_or(buf.len());
        if line.saturating_sub(at) > limits.line_len() {
            return Err(TooLong);
        }
        self.scanned = line;
        Ok(found.filter(|line| line + 1 < buf.len()))
    }

    /// Reads an inline command: a line, split into words.
    #[cold]
    fn parse_inline(&mut self, buf: &[u8], limits: &Limits) -> Parse {
        let found = memchr2(b'\n', 0, buf.get(self.scanned..).unwrap_or_default()).map(|offset| self.scanned + offset);
        let line = found.unwrap_or(buf.len());
        let ended = found.is_some_and(|line| buf[line] == b'\n');
        if line > limits.line_len() || !ended && buf.len() > limits.line_len() {
            return self.fail(ProtocolError::TooBigInlineRequest);
        }
        if !ended {
            self.scanned = line;
            return Parse::Incomplete;
        }
        self.begin_request(Source::Text);
        self.rewind();
        let consumed = line + 1;
        let mut rest = buf[..line].strip_suffix(b"\r").unwrap_or(&buf[..line]);
        loop {
            let start = self.text.len();
            match next_arg(rest, &mut self.text) {
                Ok(Some(after)) => rest = after,
                Ok(None) => break,
                Err(_) => return self.fail(ProtocolError::UnbalancedQuotes),
            }
            // Both fit: unescaped text is no longer than its line.
            self.ranges.push(ArgRange { start: start as u32, end: self.text.len() as u32 });
        }
        if self.ranges.is_empty() { Parse::Empty { consumed } } else { Parse::Complete { consumed } }
    }

    /// Clears the previous request and gives back what it made grow beyond measure.
    #[inline]
    fn begin_request(&mut self, source: Source) {
        self.ranges.clear();
        if self.ranges.spilled() && self.ranges.capacity() > KEPT_ARGS {
            self.ranges = ArgRanges::new();
        }
        if self.source == Source::Text {
            self.text.clear();
            self.text.shrink_to(KEPT_TEXT);
        }
        self.source = source;
    }

    /// Keeps what is known of the request until more bytes come.
    #[cold]
    fn suspend(&mut self, position: usize, remaining: u32, awaited: Option<usize>, needed: usize) -> Parse {
        self.position = position;
        self.remaining = remaining;
        self.awaited = awaited;
        self.needed = needed;
        Parse::Incomplete
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) -> Parse {
        self.reset();
        Parse::Error(error)
    }

    /// Gets ready for the next request; the arguments of this one stay.
    #[inline]
    fn rewind(&mut self) {
        self.remaining = 0;
        self.position = 0;
        self.awaited = None;
        self.scanned = 0;
        self.needed = 0;
    }
}

struct TooLong;

/// Reads a plain non-negative number and the CR LF after it, if all of it is there and short; returns the number and
/// what follows. Anything unusual is left to the careful path, which knows the error texts.
#[inline]
pub(crate) fn quick_length(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = buf.get(at..)?;
    match *rest {
        [ones @ b'0'..=b'9', b'\r', _, ..] => Some((digit(ones), at + 1 + TERMINATOR_LEN)),
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _, ..] => {
            Some((digit(tens) * 10 + digit(ones), at + 2 + TERMINATOR_LEN))
        }
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', ..] => quick_long_length(rest, at),
        _ => None,
    }
}

/// Does the same for three digits and more.
fn quick_long_length(rest: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for (digits, byte) in rest.iter().take(QUICK_DIGITS + 1).enumerate() {
        match *byte {
            b'0'..=b'9' => value = value * 10 + digit(*byte),
            b'\r' if digits + 1 < rest.len() => return Some((value, at + digits + TERMINATOR_LEN)),
            _ => return None,
        }
    }
    None
}

#[inline]
fn digit(byte: u8) -> usize {
    usize::from(byte - b'0')
}
