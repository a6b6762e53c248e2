//! One element as it is read: an integer or bytes.

use crate::decimal;

/// An element of a packed sequence.
///
/// Text that is a canonical decimal integer of 64 bits is always stored, and always read, as [`Item::Int`]; so two items
/// read from sequences, or made by [`Item::of`], are equal exactly when their texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item<'a> {
    /// Text that is the decimal form of this number.
    Int(i64),
    /// Any other text.
    Str(&'a [u8]),
}

impl<'a> Item<'a> {
    /// Classifies text the way a sequence would store it.
    #[inline]
    pub fn of(text: &'a [u8]) -> Item<'a> {
        match integer(text) {
            Some(value) => Item::Int(value),
            None => Item::Str(text),
        }
    }

    /// Returns the length of the text in bytes.
    pub fn len(self) -> usize {
        match self {
            Item::Int(value) => decimal::i64_text_len(value),
            Item::Str(text) => text.len(),
        }
    }

    /// Reports whether the text is empty.
    pub fn is_empty(self) -> bool {
        matches!(self, Item::Str([]))
    }

    /// Returns the text; `buf` is where the digits of an integer are written.
    #[inline]
    pub fn text<'b>(self, buf: &'b mut [u8; 20]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Int(value) => decimal::format_i64(value, buf),
            Item::Str(text) => text,
        }
    }

    /// Appends the text to `sink`.
    pub fn write_to(self, sink: &mut Vec<u8>) {
        sink.extend_from_slice(self.text(&mut [0; 20]));
    }

    /// Returns the text in a vector of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.text(&mut [0; 20]).to_vec()
    }

    /// Reports whether the text is `other`. For many comparisons with one text, compare with its [`Item::of`] instead.
    pub fn eq_bytes(self, other: &[u8]) -> bool {
        match self {
            Item::Int(value) => integer(other) == Some(value),
            Item::Str(text) => text == other,
        }
    }

    /// Returns the number whose canonical decimal form the text is.
    #[inline]
    pub fn as_int(self) -> Option<i64> {
        match self {
            Item::Int(value) => Some(value),
            Item::Str(text) => integer(text),
        }
    }
}

/// Reads a canonical integer; most text is told apart by its length, its first or its last byte.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (first, last) = (text.first()?, text.last()?);
    let plausible = text.len() <= decimal::I64_TEXT_MAX && last.is_ascii_digit();
    if plausible && (first.is_ascii_digit() || *first == b'-') { decimal::parse_i64(text) } else { None }
}
