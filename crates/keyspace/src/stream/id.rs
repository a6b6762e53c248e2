//! The ids of stream entries: a time in milliseconds and a sequence number within it, 128 bits in order.
//!
//! Clients write them `ms-seq`. What a client may leave out or abbreviate is the business of whoever reads its arguments.

use std::fmt;

/// The id of a stream entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds, by convention since the epoch.
    pub ms: u64,
    /// The number among the entries of one millisecond.
    pub seq: u64,
}

impl StreamId {
    /// The least id, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };
    /// Bytes of a key that sorts like the id.
    pub(crate) const KEY_BYTES: usize = 16;

    /// Makes an id.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// Returns the id that follows; none follows the greatest.
    pub fn next(self) -> Option<StreamId> {
        match (self.ms, self.seq) {
            (u64::MAX, u64::MAX) => None,
            (ms, u64::MAX) => Some(StreamId::new(ms + 1, 0)),
            (ms, seq) => Some(StreamId::new(ms, seq + 1)),
        }
    }

    /// Returns the id before; there is none before the least.
    pub fn previous(self) -> Option<StreamId> {
        match (self.ms, self.seq) {
            (0, 0) => None,
            (ms, 0) => Some(StreamId::new(ms - 1, u64::MAX)),
            (ms, seq) => Some(StreamId::new(ms, seq - 1)),
        }
    }

    /// Reads what [`StreamId::to_key`] has written.
    pub(crate) fn from_key(key: [u8; StreamId::KEY_BYTES]) -> StreamId {
        let both = u128::from_be_bytes(key);
        StreamId::new((both >> 64) as u64, both as u64)
    }

    /// Returns 16 bytes that sort like the id.
    pub(crate) fn to_key(self) -> [u8; StreamId::KEY_BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_between_the_halves() {
        let carried = StreamId::new(5, u64::MAX);
        assert_eq!(carried.next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).previous(), Some(carried));
        assert_eq!(StreamId::new(6, 1).previous(), Some(StreamId::new(6, 0)));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
    }

    #[test]
    fn keys_sort_like_ids() {
        let ids = [StreamId::MIN, StreamId::new(0, 256), StreamId::new(1, 0), StreamId::new(256, 1), StreamId::MAX];
        assert!(ids.is_sorted() && ids.map(StreamId::to_key).is_sorted());
        assert_eq!(StreamId::new(12, 3).to_string(), "12-3");
    }
}
