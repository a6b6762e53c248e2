//! A reply as an owned tree, and commands as bytes: the client's side of the protocol.
//!
//! [`Value`] is what [`crate::decode`](mod@crate::decode) yields. It keeps what the wire said (a bulk string stays a bulk string, a map a map)
//! and the accessors bridge what RESP2 and RESP3 spell differently: [`Value::as_i64`] reads `:5` and `$1 5` alike, and
//! [`Value::into_map`] takes a map as well as the flat array RESP2 sends for one. `Display` prints like redis-cli.
//!
//! Text the protocol declares as such (simple strings, errors) is kept as `String`; bytes in it that are no UTF-8 are
//! replaced. Data is in bulk strings, and those are kept to the byte.

use crate::number;
use crate::reply::Writer;

/// A decoded reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value: `_`, `$-1` or `*-1`.
    Nil,
    /// A status line such as `OK`.
    Simple(String),
    /// An error, as the whole line: `WRONGTYPE Operation …`. Bulk errors of RESP3 are read as these.
    Error(String),
    /// An integer.
    Int(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Values in order.
    Array(Vec<Value>),
    /// Pairs in the order sent; keys may repeat.
    Map(Vec<(Value, Value)>),
    /// Values that differ, in the order sent; not checked.
    Set(Vec<Value>),
    /// An out-of-band message.
    Push(Vec<Value>),
    /// A floating point number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// Decimal digits of an integer of any size, with an optional sign.
    BigNumber(String),
    /// Text to be shown as it is.
    Verbatim {
        /// `txt` or `mkd`.
        format: [u8; 3],
        /// The text without its format.
        text: Vec<u8>,
    },
    /// A value with information about it.
    Attribute {
        /// The information.
        attributes: Vec<(Value, Value)>,
        /// The value.
        value: Box<Value>,
    },
}

impl Value {
    /// Tells whether this is the absence of a value.
    pub fn is_nil(&self) -> bool {
        matches!(self.data(), Value::Nil)
    }

    /// Returns the line of an error, `None` for anything else.
    pub fn as_error(&self) -> Option<&str> {
        match self.data() {
            Value::Error(line) => Some(line),
            _ => None,
        }
    }

    /// Returns the bytes of a simple, bulk or verbatim string or of a big number.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self.data() {
            Value::Simple(text) | Value::BigNumber(text) => Some(text.as_bytes()),
            Value::Bulk(bytes) | Value::Verbatim { text: bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// Returns what [`Value::as_bytes`] does, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Returns an integer, be it sent as such, as a truth value, or as a string of decimal digits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.data() {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            other => number::parse_integer(other.as_bytes()?),
        }
    }

    /// Returns an integer that is not negative, spelled as for [`Value::as_i64`].
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i64().and_then(|value| value.try_into().ok())
    }

    /// Returns a number, be it sent as double, as integer, or as text.
    pub fn as_f64(&self) -> Option<f64> {
        match self.data() {
            Value::Double(value) => Some(*value),
            Value::Int(value) => Some(*value as f64),
            other => number::parse_double(other.as_bytes()?),
        }
    }

    /// Returns the elements of an array, set or push message.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self.data() {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the elements of an array, set or push message; a map's as keys and values in turn, as RESP2 sends it.
    /// Anything else comes back as it was.
    pub fn into_array(self) -> Result<Vec<Value>, Value> {
        match self.into_data() {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Ok(items),
            Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
            other => Err(other),
        }
    }

    /// Returns the pairs of a map, or of an array of even length read as keys and values in turn. Anything else comes
    /// back as it was.
    pub fn into_map(self) -> Result<Vec<(Value, Value)>, Value> {
        match self.into_data() {
            Value::Map(pairs) => Ok(pairs),
            Value::Array(items) if items.len().is_multiple_of(2) => Ok(pair_up(items)),
            other => Err(other),
        }
    }

    /// Returns the bytes [`Value::as_bytes`] shows. Anything else comes back as it was.
    pub fn into_bytes(self) -> Result<Vec<u8>, Value> {
        match self.into_data() {
            Value::Simple(text) | Value::BigNumber(text) => Ok(text.into_bytes()),
            Value::Bulk(bytes) | Value::Verbatim { text: bytes, .. } => Ok(bytes),
            other => Err(other),
        }
    }

    /// Returns the value, or the line if it is an error.
    pub fn into_result(self) -> Result<Value, String> {
        match self.into_data() {
            Value::Error(line) => Err(line),
            other => Ok(other),
        }
    }

    /// Writes the value in the writer's protocol version. RESP2 loses what it has no spelling for.
    pub fn write_to(&self, writer: &mut Writer) {
        match self {
            Value::Nil => writer.null(),
            Value::Simple(text) => writer.simple(text),
            Value::Error(line) => writer.error(line),
            Value::Int(value) => writer.int(*value),
            Value::Bulk(bytes) => writer.bulk(bytes),
            Value::Array(items) => write_items(items, writer, Writer::array),
            Value::Set(items) => write_items(items, writer, Writer::set),
            Value::Push(items) => write_items(items, writer, Writer::push),
            Value::Map(pairs) => {
                writer.map(pairs.len());
                write_pairs(pairs, writer);
            }
            Value::Double(value) => writer.double(*value),
            Value::Bool(value) => writer.bool(*value),
            Value::BigNumber(digits) => writer.big_number(digits),
            Value::Verbatim { format, text } => match std::str::from_utf8(format) {
                Ok(format) => writer.verbatim(format, text),
                Err(_) => writer.bulk(text),
            },
            Value::Attribute { attributes, value } => {
                if writer.attribute(attributes.len()) {
                    write_pairs(attributes, writer);
                }
                value.write_to(writer);
            }
        }
    }

    /// Returns the value without attributes around it.
    fn data(&self) -> &Value {
        let mut value = self;
        while let Value::Attribute { value: inner, .. } = value {
            value = inner;
        }
        value
    }

    fn into_data(self) -> Value {
        let mut value = self;
        while let Value::Attribute { value: inner, .. } = value {
            value = *inner;
        }
        value
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Bulk(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Bulk(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bulk(bytes)
    }
}

/// Appends a command as clients send it: an array of bulk strings.
///
/// ```
/// let mut out = Vec::new();
/// redpoll_resp::encode_command(&["GET", "key"], &mut out);
/// assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
/// ```
pub fn encode_command(args: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    let mut writer = Writer::with_buffer(std::mem::take(out), crate::reply::Protocol::Resp2);
    writer.array(args.len());
    for arg in args {
        writer.bulk(arg.as_ref());
    }
    *out = writer.take();
}

/// Reads a flat list of even length as pairs.
pub(crate) fn pair_up(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn write_items(items: &[Value], writer: &mut Writer, announce: fn(&mut Writer, usize)) {
    announce(writer, items.len());
    for item in items {
        item.write_to(writer);
    }
}

fn write_pairs(pairs: &[(Value, Value)], writer: &mut Writer) {
    for (key, value) in pairs {
        key.write_to(writer);
        value.write_to(writer);
    }
}
