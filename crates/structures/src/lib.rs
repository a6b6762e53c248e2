//! Compact data structures. They know nothing of Redis: no command, no reply, no clock.
//!
//! | module | what it is |
//! |---|---|
//! | [`record`] | one heap block holding a key, an optional deadline and a small value |
//! | [`table`] | hash table of cache-line buckets: incremental growth, stable scan cursors |
//! | [`packed`] | a sequence of short strings and integers in one block (listpack bytes) |
//! | [`int_set`] | a sorted set of integers in 2, 4 or 8 bytes each |
//! | [`chunked_list`] | a deque of packed chunks for long lists |
//! | [`ranked_map`] | members with scores, ordered, with ranks: a counted B+tree and a table over shared nodes |
//! | [`bits`] | strings of bytes as arrays of bits: counting, searching, fields |
//! | [`hyper_log_log`] | counting different elements approximately, in the bytes of Redis |
//! | [`geohash`] | positions on Earth as numbers that keep neighbours together |
//! | [`glob`] | the glob patterns of KEYS and SCAN |
//! | [`decimal`] | numbers as text, exactly as clients expect them |
//! | [`crc`] | CRC-16 for hash slots, CRC-64 for dumps |
//! | [`lzf`] | the compression of strings in dumps |
//! | [`heap`] | what a block takes from an allocator |
//!
//! This is the only crate that may contain `unsafe`; every block says why it is sound.

pub mod bits;
pub mod chunked_list;
pub mod crc;
pub mod decimal;
pub mod geohash;
pub mod glob;
pub mod heap;
pub mod hyper_log_log;
pub mod int_set;
pub mod lzf;
pub mod packed;
mod prefetch;
pub mod ranked_map;
pub mod record;
pub mod table;
