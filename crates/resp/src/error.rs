//! Everything that can be wrong with bytes on the wire.
//!
//! The first group is about requests. Its texts reach clients, so they are those of Redis 7.0 to the letter, as a running
//! server was seen to send them. The second group is about replies and stays on this side of the socket.
//!
//! After any of these the stream has lost its framing: report it and close the connection.

use std::fmt;

/// Says why bytes are not RESP, or are RESP beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The line that announces the number of arguments does not end within the line limit.
    TooBigCountString,
    /// The number of arguments is not a number, or above the limit.
    InvalidMultibulkLength,
    /// A client that has not authenticated announced more arguments than it may send.
    UnauthenticatedMultibulkLength,
    /// An argument starts with this byte instead of `$`.
    ExpectedDollar(u8),
    /// The line that announces the length of an argument does not end within the line limit.
    TooBigBulkCountString,
    /// The length of an argument is not a number, negative, or above the limit.
    InvalidBulkLength,
    /// A client that has not authenticated announced an argument longer than it may send.
    UnauthenticatedBulkLength,
    /// An inline command does not end within the line limit.
    TooBigInlineRequest,
    /// An inline command opens a quote it does not close, or goes on right after a closing quote.
    UnbalancedQuotes,
    /// The request as a whole would be longer than the limit. Redis closes the connection without a word here.
    TooBigRequest,

    /// A reply starts with a byte that is no RESP type.
    UnknownReplyType(u8),
    /// A reply announces a length that is not a number, negative where it may not be, or above the limit.
    InvalidReplyLength,
    /// The content of a reply is not what its type requires, for example an integer with letters in it.
    InvalidReplyContent,
    /// A carriage return or the end of a bulk string is not followed by the line end it needs.
    InvalidReplyTerminator,
    /// A one-line reply does not end within the line limit.
    TooBigReplyLine,
    /// Replies are nested deeper than the limit.
    TooDeepReply,
}

const PREFIX: &str = "Protocol error: ";

impl ProtocolError {
    /// Returns the line to send a client before closing: `ERR Protocol error: …`, without the leading `-`.
    ///
    /// Bytes rather than text, because [`ProtocolError::ExpectedDollar`] quotes the byte it got.
    pub fn reply_line(&self) -> Vec<u8> {
        let mut line = b"ERR ".to_vec();
        line.extend_from_slice(PREFIX.as_bytes());
        match self {
            ProtocolError::ExpectedDollar(got) => {
                line.extend_from_slice(b"expected '$', got '");
                line.extend_from_slice(&[*got, b'\'']);
            }
            other => line.extend_from_slice(other.text().as_bytes()),
        }
        line
    }

    fn text(&self) -> &'static str {
        match self {
            ProtocolError::TooBigCountString => "too big mbulk count string",
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::ExpectedDollar(_) => "expected '$'",
            ProtocolError::TooBigBulkCountString => "too big bulk count string",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ProtocolError::TooBigInlineRequest => "too big inline request",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::TooBigRequest => "too big request",
            ProtocolError::UnknownReplyType(_) => "unknown reply type",
            ProtocolError::InvalidReplyLength => "invalid reply length",
            ProtocolError::InvalidReplyContent => "invalid reply content",
            ProtocolError::InvalidReplyTerminator => "reply without line end",
            ProtocolError::TooBigReplyLine => "too big reply line",
            ProtocolError::TooDeepReply => "too deeply nested reply",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(self.text())?;
        match self {
            ProtocolError::ExpectedDollar(got) => write!(f, ", got '{}'", got.escape_ascii()),
            ProtocolError::UnknownReplyType(got) => write!(f, " '{}'", got.escape_ascii()),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ProtocolError {}
