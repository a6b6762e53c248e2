//! Writes replies, in the protocol version the connection speaks.
//!
//! Handlers say what they mean (a map, a double, nothing at all) and [`Writer`] spells it in RESP3 or in what RESP2 has
//! for it, so no handler asks for the version:
//!
//! ```text
//!              RESP2                 RESP3
//! null         $-1                   _
//! null array   *-1                   _
//! map of n     *2n                   %n
//! set, push    *n                    ~n, >n
//! double       $3 1.5                ,1.5
//! bool         :1 :0                 #t #f
//! big number   $n …                  (…
//! verbatim     $n text               =n txt:text
//! attribute    (left out)            |n
//! ```
//!
//! A writer is an append-only byte buffer and checks no structure: whoever announces three elements writes three. Where
//! the number is known only at the end, [`Writer::begin_array`] leaves room for the header and [`Writer::end_array`]
//! fills it in. Nothing here formats through `core::fmt` except [`Writer::double`].

use memchr::memchr2;

use crate::number;

/// Version of the protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// What every client understands; what a connection starts with.
    #[default]
    Resp2,
    /// Negotiated with `HELLO 3`.
    Resp3,
}

const CRLF: &[u8; 2] = b"\r\n";
/// Longest header: tag, sign, 19 digits, CR LF, rounded up.
const HEADER_MAX_LEN: usize = 24;
/// Bytes a deferred header takes before its count is known: tag, digit, CR LF.
const DEFERRED_LEN: usize = 4;

/// Remembers where a deferred header stands and of what kind it is.
#[derive(Debug)]
#[must_use = "the header says zero elements until the mark is ended"]
pub struct Mark {
    at: usize,
    kind: Aggregate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Array,
    Map,
    Set,
    Push,
    Attribute,
}

/// Appends replies to a buffer.
///
/// ```
/// use redpoll_resp::{Protocol, Writer};
///
/// let mut writer = Writer::new(Protocol::Resp3);
/// writer.map(1);
/// writer.bulk(b"hits");
/// writer.int(42);
/// assert_eq!(writer.as_slice(), b"%1\r\n$4\r\nhits\r\n:42\r\n");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Writer {
    buf: Vec<u8>,
    protocol: Protocol,
}

impl Writer {
    /// Creates an empty writer.
    pub fn new(protocol: Protocol) -> Self {
        Writer { buf: Vec::new(), protocol }
    }

    /// Creates a writer that appends to `buf`.
    pub fn with_buffer(buf: Vec<u8>, protocol: Protocol) -> Self {
        Writer { buf, protocol }
    }

    /// Returns the protocol version written.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol version of what is written from here on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Writes `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// Writes a simple string. Line ends inside become spaces.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// Writes an error, given as the whole line: `ERR syntax error`. Line ends inside become spaces.
    #[inline]
    pub fn error(&mut self, line: impl AsRef<[u8]>) {
        self.line(b'-', line.as_ref());
    }

    /// Writes an integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.number(b':', value);
    }

    /// Writes a bulk string.
    #[inline]
    pub fn bulk(&mut self, content: &[u8]) {
        self.buf.reserve(content.len() + HEADER_MAX_LEN + CRLF.len());
        self.header(b'$', content.len());
        self.buf.extend_from_slice(content);
        self.buf.extend_from_slice(CRLF);
    }

    /// Writes an integer as a bulk string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Writes the absence of a value.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Writes the absence of an array.
    #[inline]
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Announces an array; `len` elements follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.aggregate(Aggregate::Array, len);
    }

    /// Announces a map; `len` pairs of key and value follow.
    #[inline]
    pub fn map(&mut self, len: usize) {
        self.aggregate(Aggregate::Map, len);
    }

    /// Announces a set; `len` elements follow.
    #[inline]
    pub fn set(&mut self, len: usize) {
        self.aggregate(Aggregate::Set, len);
    }

    /// Announces an out-of-band message; `len` elements follow, the first being its kind.
    #[inline]
    pub fn push(&mut self, len: usize) {
        self.aggregate(Aggregate::Push, len);
    }

    /// Announces attributes of the reply that comes after them; `len` pairs follow.
    ///
    /// RESP2 has none: nothing is written and the answer is false, upon which the pairs must be left out too.
    #[must_use = "without RESP3 the pairs must not be written"]
    pub fn attribute(&mut self, len: usize) -> bool {
        if self.protocol == Protocol::Resp3 {
            self.aggregate(Aggregate::Attribute, len);
        }
        self.protocol == Protocol::Resp3
    }

    /// Writes a double as the shortest digits that read back as the same value; `inf`, `-inf` and `nan` otherwise.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(HEADER_MAX_LEN);
        number::write_double(value, &mut text);
        self.double_text(&text);
    }

    /// Writes a double whose digits the caller has chosen.
    #[inline]
    pub fn double_text(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// Writes a truth value.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.buf.extend_from_slice(match (self.protocol, value) {
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
        });
    }

    /// Writes an integer of any size, given as decimal digits with an optional sign.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Writes text that is meant to be shown as it is; `format` is `txt` or `mkd`.
    ///
    /// # Panics
    /// If `format` is not three bytes long.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        assert_eq!(format.len(), 3, "the protocol gives a format three bytes");
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.header(b'=', format.len() + 1 + text.len());
        self.buf.extend_from_slice(format.as_bytes());
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.buf.extend_from_slice(CRLF);
    }

    /// Appends bytes that are replies already.
    #[inline]
    pub fn raw(&mut self, replies: &[u8]) {
        self.buf.extend_from_slice(replies);
    }

    /// Opens an array whose length is not known yet. Marks are ended innermost first.
    #[inline]
    pub fn begin_array(&mut self) -> Mark {
        self.begin(Aggregate::Array)
    }

    /// Closes a deferred array that got `len` elements.
    #[inline]
    pub fn end_array(&mut self, mark: Mark, len: usize) {
        debug_assert_eq!(mark.kind, Aggregate::Array);
        self.end(&mark, len);
    }

    /// Opens a map whose number of pairs is not known yet. Marks are ended innermost first.
    pub fn begin_map(&mut self) -> Mark {
        self.begin(Aggregate::Map)
    }

    /// Closes a deferred map that got `len` pairs.
    pub fn end_map(&mut self, mark: Mark, len: usize) {
        debug_assert_eq!(mark.kind, Aggregate::Map);
        self.end(&mark, len);
    }

    /// Opens a set whose length is not known yet. Marks are ended innermost first.
    pub fn begin_set(&mut self) -> Mark {
        self.begin(Aggregate::Set)
    }

    /// Closes a deferred set that got `len` elements.
    pub fn end_set(&mut self, mark: Mark, len: usize) {
        debug_assert_eq!(mark.kind, Aggregate::Set);
        self.end(&mark, len);
    }

    /// Returns the number of bytes written.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Tells whether nothing has been written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Returns what has been written.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.buf
    }

    /// Returns what has been written and starts over with an empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buf)
    }

    /// Drops what has been written and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
    }

    /// Drops everything after the first `len` bytes, to take back a reply begun.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// Makes room for `additional` bytes.
    pub fn reserve(&mut self, additional: usize) {
        self.buf.reserve(additional);
    }

    #[inline]
    fn aggregate(&mut self, kind: Aggregate, len: usize) {
        let (tag, count) = self.spell(kind, len);
        self.header(tag, count);
    }

    fn begin(&mut self, kind: Aggregate) -> Mark {
        let at = self.buf.len();
        self.aggregate(kind, 0);
        Mark { at, kind }
    }

    fn end(&mut self, mark: &Mark, len: usize) {
        let (tag, count) = self.spell(mark.kind, len);
        if let Ok(digit @ 0..=9) = u8::try_from(count) {
            self.buf[mark.at + 1] = b'0' + digit;
            return;
        }
        let mut header = Writer::with_buffer(Vec::with_capacity(HEADER_MAX_LEN), self.protocol);
        header.header(tag, count);
        self.buf.splice(mark.at..mark.at + DEFERRED_LEN, header.buf);
    }

    /// Returns the tag and the count by which the protocol version announces an aggregate.
    #[inline]
    fn spell(&self, kind: Aggregate, len: usize) -> (u8, usize) {
        match (self.protocol, kind) {
            (_, Aggregate::Array) | (Protocol::Resp2, Aggregate::Set | Aggregate::Push) => (b'*', len),
            (Protocol::Resp2, Aggregate::Map | Aggregate::Attribute) => (b'*', len * 2),
            (Protocol::Resp3, Aggregate::Map) => (b'%', len),
            (Protocol::Resp3, Aggregate::Set) => (b'~', len),
            (Protocol::Resp3, Aggregate::Push) => (b'>', len),
            (Protocol::Resp3, Aggregate::Attribute) => (b'|', len),
        }
    }

    #[inline]
    fn header(&mut self, tag: u8, count: usize) {
        self.number(tag, count as i64);
    }

    /// Writes a tag, a number and CR LF; one and two digits, nearly all there are, without a division loop.
    #[inline]
    fn number(&mut self, tag: u8, value: i64) {
        match value {
            0..=9 => self.buf.extend_from_slice(&[tag, b'0' + value as u8, b'\r', b'\n']),
            10..=99 => {
                let (tens, ones) = (value as u8 / 10, value as u8 % 10);
                self.buf.extend_from_slice(&[tag, b'0' + tens, b'0' + ones, b'\r', b'\n']);
            }
            _ => self.long_number(tag, value),
        }
    }

    fn long_number(&mut self, tag: u8, value: i64) {
        self.buf.reserve(HEADER_MAX_LEN);
        self.buf.push(tag);
        self.buf.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.buf.extend_from_slice(CRLF);
    }

    /// Writes a one-line reply; a line end inside would break the framing and becomes a space.
    fn line(&mut self, tag: u8, text: &[u8]) {
        self.buf.reserve(text.len() + 1 + CRLF.len());
        self.buf.push(tag);
        let start = self.buf.len();
        self.buf.extend_from_slice(text);
        if memchr2(b'\r', b'\n', text).is_some() {
            for byte in &mut self.buf[start..] {
                if matches!(byte, b'\r' | b'\n') {
                    *byte = b' ';
                }
            }
        }
        self.buf.extend_from_slice(CRLF);
    }
}
