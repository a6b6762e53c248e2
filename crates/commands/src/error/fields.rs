//! Errors of the commands about deadlines of fields of hashes, as Redis 7.4 and 8.0 word them: no two of these commands complain quite alike.

use super::{Error, shown};

texts! {
    /// Fields of a hash without the word before them.
    FIELDS_MISSING = "ERR Mandatory argument FIELDS is missing or not at the right position";
    /// A number of fields below one, for most commands.
    FIELD_COUNT = "ERR Number of fields must be a positive integer";
    /// The same for HEXPIRE and its siblings.
    HEXPIRE_FIELD_COUNT = "ERR Parameter `numFields` should be greater than 0";
    /// The same for HSETEX.
    HSETEX_FIELD_COUNT = "ERR invalid number of fields";
    /// Another number of fields than was said.
    FIELD_COUNT_DIFFERS = "ERR The `numfields` parameter must match the number of arguments";
    /// A deadline of a field before the epoch or now.
    NEGATIVE_EXPIRE = "ERR invalid expire time, must be >= 0";
    /// HSETEX with a word for a deadline and none behind it.
    NO_EXPIRE_TIME = "ERR missing expire time";
    /// HSETEX with two conditions.
    ONE_FIELD_CONDITION = "ERR Only one of FXX or FNX arguments can be specified";
    /// HSETEX with two things to do about deadlines.
    ONE_FIELD_EXPIRY = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
}

/// An option that HSETEX does not know.
pub fn unknown_argument(argument: &[u8]) -> Error {
    Error::of(&[b"ERR unknown argument: ", shown(argument, argument.len())])
}
