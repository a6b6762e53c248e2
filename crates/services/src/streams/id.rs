//! Ids of entries: the store's time in milliseconds when one was added, and a number among those of the same millisecond.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Id of an entry, `1795336596140-0`. Later entries have larger ones, also when the clock was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct EntryId {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Number within the millisecond.
    pub number: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, number: 0 };

    /// Behind every entry.
    pub const MAX: Self = Self { ms: u64::MAX, number: u64::MAX };

    /// Returns the largest id below this one; zero's is zero.
    #[must_use]
    pub fn before(self) -> Self {
        match (self.ms, self.number) {
            (0, 0) => Self::ZERO,
            (ms, 0) => Self { ms: ms - 1, number: u64::MAX },
            (ms, number) => Self { ms, number: number - 1 },
        }
    }

    /// Returns the smallest id above this one; that of the greatest is the greatest.
    #[must_use]
    pub fn after(self) -> Self {
        match (self.ms, self.number) {
            (u64::MAX, u64::MAX) => Self::MAX,
            (ms, u64::MAX) => Self { ms: ms + 1, number: 0 },
            (ms, number) => Self { ms, number: number + 1 },
        }
    }

    /// Returns the first id of a millisecond.
    pub fn first_of(ms: u64) -> Self {
        Self { ms, number: 0 }
    }

    /// Returns the last id of a millisecond.
    pub fn last_of(ms: u64) -> Self {
        Self { ms, number: u64::MAX }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.ms, self.number)
    }
}

impl FromStr for EntryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // One way to write each: steps compare and look up ids as they are written.
        let number = |part: &str| part.parse::<u64>().ok().filter(|number| number.to_string() == part);
        let parts = text.split_once('-').and_then(|(ms, rest)| Some((number(ms)?, number(rest)?)));
        let (ms, number) = parts.ok_or_else(|| Error::invalid("id", format_args!("{text:?} is no id of an entry")))?;
        Ok(Self { ms, number })
    }
}

impl TryFrom<String> for EntryId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_one_way() {
        for text in ["0-0", "1795336596140-3", "18446744073709551615-18446744073709551615"] {
            assert_eq!(text.parse::<EntryId>().unwrap().to_string(), text);
        }
        for text in ["", "1", "-", "1-", "-1", "01-1", "1-+1", "1-1-1", " 1-1", "18446744073709551616-0", "$", "1-*"] {
            assert!(text.parse::<EntryId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn neighbours() {
        for (id, before) in [("5-1", "5-0"), ("5-0", "4-18446744073709551615"), ("0-0", "0-0")] {
            let (id, before): (EntryId, EntryId) = (id.parse().unwrap(), before.parse().unwrap());
            assert!(id.before() == before && (id == EntryId::ZERO || before.after() == id));
        }
    }
}
