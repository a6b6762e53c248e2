//! A command's arguments, with the conversions every handler needs.

use redpoll_structures::decimal;

use crate::error::{Error, NOT_A_FLOAT, NOT_AN_INTEGER, SYNTAX};

/// The arguments of one command; number 0 is its name (for a subcommand, still the name of the container).
#[derive(Clone, Copy, Debug)]
pub struct Args<'a>(pub &'a [&'a [u8]]);

impl<'a> Args<'a> {
    /// Returns the number of arguments, the name included.
    #[inline]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no arguments at all, which the parser never yields.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns an argument that the arity check has shown to exist.
    #[inline]
    pub fn at(self, index: usize) -> &'a [u8] {
        self.0[index]
    }

    /// Returns an argument if there is one.
    #[inline]
    pub fn optional(self, index: usize) -> Option<&'a [u8]> {
        self.0.get(index).copied()
    }

    /// Returns the arguments from an index on.
    #[inline]
    pub fn from(self, index: usize) -> &'a [&'a [u8]] {
        &self.0[index.min(self.0.len())..]
    }

    /// Tells whether an argument is this word, in any case.
    #[inline]
    pub fn is(self, index: usize, word: &str) -> bool {
        self.0.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Reads a 64-bit integer.
    #[inline]
    pub fn int(self, index: usize) -> Result<i64, Error> {
        self.optional(index).ok_or(SYNTAX).and_then(int)
    }

    /// Reads an integer within bounds, or fails with the given error.
    pub fn int_in(self, index: usize, bounds: std::ops::RangeInclusive<i64>, error: Error) -> Result<i64, Error> {
        let value = self.int(index)?;
        if bounds.contains(&value) { Ok(value) } else { Err(error) }
    }

    /// Reads a number of things, at least `min`; anything else is the given error, only a missing argument is a syntax error.
    pub fn size_from(self, index: usize, min: usize, error: Error) -> Result<usize, Error> {
        let number = self.optional(index).ok_or(SYNTAX).map(decimal::parse_i64)?;
        number.and_then(|number| usize::try_from(number).ok()).filter(|size| *size >= min).ok_or(error)
    }

    /// Reads a float.
    pub fn float(self, index: usize) -> Result<f64, Error> {
        self.optional(index).ok_or(SYNTAX).and_then(|arg| decimal::parse_f64(arg).ok_or(NOT_A_FLOAT))
    }
}

/// Reads a 64-bit integer in canonical form.
#[inline]
pub fn int(arg: &[u8]) -> Result<i64, Error> {
    decimal::parse_i64(arg).ok_or(NOT_AN_INTEGER)
}

/// Returns a text as far as a C string goes, which is what redis-server takes some for: up to the first zero byte.
pub fn before_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}
