//! How large a chunk of a long list may be: what the setting `list-max-listpack-size` says, within bounds.

/// The most bytes a chunk of more than one element may have, whatever the limit: few enough that its listpack always
/// knows how many there are.
const MAX_CHUNK_BYTES: usize = 128 << 10;
/// The most bytes a chunk of more than one element may have when the limit is a number of elements.
const ENTRIES_CHUNK_BYTES: usize = 8 << 10;

/// When a chunk takes no more elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkLimit {
    /// Its listpack would have more than this many bytes.
    Bytes(usize),
    /// It would have more than this many elements, or more than 8 KB.
    Entries(usize),
}

impl ChunkLimit {
    /// Reads the setting `list-max-listpack-size`: -1 to -5 stand for 4, 8, 16, 32 and 64 KB, and what is below counts
    /// as -5; other numbers are numbers of elements, 0 counting as 1.
    pub fn from_setting(setting: i64) -> ChunkLimit {
        match setting {
            0.. => ChunkLimit::Entries(usize::try_from(setting.max(1)).unwrap_or(usize::MAX)),
            -4..0 => ChunkLimit::Bytes(4096 << (-1 - setting)),
            _ => ChunkLimit::Bytes(64 << 10),
        }
    }

    /// Reports whether a chunk may have so many listpack bytes and elements.
    #[inline]
    pub fn admits(self, bytes: usize, entries: usize) -> bool {
        match self {
            ChunkLimit::Bytes(limit) => bytes <= limit.min(MAX_CHUNK_BYTES),
            ChunkLimit::Entries(limit) => entries <= limit && bytes <= ENTRIES_CHUNK_BYTES,
        }
    }
}

impl Default for ChunkLimit {
    /// 8 KB.
    fn default() -> ChunkLimit {
        ChunkLimit::Bytes(8 << 10)
    }
}
