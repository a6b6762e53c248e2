//! How far a value reaches, before it is read: a file is read piece by piece, and a value is read when all of it is there.
//!
//! A walk over lengths and strings; nothing is unpacked and nothing is believed but what the walk needs. What it says of damaged bytes is of no
//! use, but it ends, and reading the value finds the damage.

use super::kind;
use super::stream::Form;

/// How far something reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes.
    Whole(usize),
    /// At least so many bytes, which is more than there are.
    More(u64),
    /// It is nothing that can be walked over.
    Unknown,
}

/// Returns how far the value at the beginning reaches, its type not counted.
pub fn value_extent(kind: u8, bytes: &[u8]) -> Extent {
    Walk { bytes, at: 0 }.extent(|walk| walk.value(kind))
}

/// Returns how far the string at the beginning reaches.
pub fn string_extent(bytes: &[u8]) -> Extent {
    Walk { bytes, at: 0 }.extent(Walk::string)
}

/// Returns how far the length at the beginning reaches.
pub fn length_extent(bytes: &[u8]) -> Extent {
    Walk { bytes, at: 0 }.extent(|walk| walk.length().map(drop))
}

/// Why a walk stops early.
enum Stop {
    More(u64),
    Unknown,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn extent(mut self, over: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Extent {
        match over(&mut self) {
            Ok(()) => Extent::Whole(self.at),
            Err(Stop::More(need)) => Extent::More(need),
            Err(Stop::Unknown) => Extent::Unknown,
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), Stop> {
        let end = (self.at as u64).saturating_add(count);
        if end > self.bytes.len() as u64 {
            return Err(Stop::More(end));
        }
        self.at += count as usize;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.skip(1)?;
        Ok(self.bytes[self.at - 1])
    }

    fn length(&mut self) -> Result<u64, Stop> {
        let first = self.byte()?;
        self.length_after(first)
    }

    fn length_after(&mut self, first: u8) -> Result<u64, Stop> {
        match first {
            0..0x40 => Ok(u64::from(first)),
            0x40..0x80 => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            0x80 => self.big_endian(4),
            0x81 => self.big_endian(8),
            _ => Err(Stop::Unknown),
        }
    }

    fn big_endian(&mut self, len: u64) -> Result<u64, Stop> {
        let start = self.at;
        self.skip(len)?;
        Ok(self.bytes[start..self.at].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn string(&mut self) -> Result<(), Stop> {
        match self.byte()? {
            0xc0 => self.skip(1),
            0xc1 => self.skip(2),
            0xc2 => self.skip(4),
            0xc3 => {
                let packed = self.length()?;
                self.length()?;
                self.skip(packed)
            }
            first => {
                let len = self.length_after(first)?;
                self.skip(len)
            }
        }
    }

    /// Walks over a number, and over so many times what `one` walks over. Each takes a byte at least, so bytes end before a wrong number does.
    fn times(&mut self, mut one: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        for _ in 0..self.length()? {
            one(self)?;
        }
        Ok(())
    }

    fn lengths(&mut self, count: usize) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    fn pair(&mut self) -> Result<(), Stop> {
        self.string()?;
        self.string()
    }

    fn field(&mut self) -> Result<(), Stop> {
        self.length()?;
        self.pair()
    }

    fn value(&mut self, kind: u8) -> Result<(), Stop> {
        match kind {
            kind::STRING
            | kind::LIST_ZIPLIST
            | kind::SET_INTS
            | kind::SET_PACKED
            | kind::HASH_PACKED
            | kind::HASH_ZIPLIST
            | kind::HASH_ZIPMAP
            | kind::HASH_TRIPLES_RC
            | kind::SORTED_SET_PACKED
            | kind::SORTED_SET_ZIPLIST => self.string(),
            kind::LIST | kind::SET | kind::LIST_ZIPLISTS => self.times(Self::string),
            kind::LIST_CHUNKS => self.times(|walk| {
                walk.length()?;
                walk.string()
            }),
            kind::HASH => self.times(Self::pair),
            kind::SORTED_SET => self.times(|walk| {
                walk.string()?;
                walk.skip(8)
            }),
            kind::SORTED_SET_TEXT => self.times(|walk| {
                walk.string()?;
                match walk.byte()? {
                    253.. => Ok(()),
                    len => walk.skip(u64::from(len)),
                }
            }),
            kind::HASH_TRIPLES => {
                self.skip(8)?;
                self.string()
            }
            kind::HASH_DEADLINES => {
                self.skip(8)?;
                self.times(Self::field)
            }
            kind::HASH_DEADLINES_RC => self.times(Self::field),
            kind::STREAM_5 => self.stream(Form::Redis5),
            kind::STREAM => self.stream(Form::Redis70),
            kind::STREAM_7_2 => self.stream(Form::Redis72),
            _ => Err(Stop::Unknown),
        }
    }

    fn stream(&mut self, form: Form) -> Result<(), Stop> {
        self.times(Self::pair)?;
        // Length and last id; since 7.0 first and greatest deleted id and a count.
        self.lengths(if form == Form::Redis5 { 3 } else { 8 })?;
        self.times(|walk| {
            walk.string()?;
            walk.lengths(if form == Form::Redis5 { 2 } else { 3 })?;
            walk.times(|walk| {
                walk.skip(16 + 8)?;
                walk.length().map(drop)
            })?;
            walk.times(|walk| {
                walk.string()?;
                walk.skip(if form == Form::Redis72 { 16 } else { 8 })?;
                walk.times(|walk| walk.skip(16))
            })
        })
    }
}
