//! CRC-16 for hash slots, and the CRC-64 that ends dumps and snapshots.
//!
//! A cluster spreads keys over 16,384 slots: the CRC-16 of the key, modulo the number of slots. The variant is
//! CRC-16/XMODEM: polynomial `0x1021`, initial value zero, no reflection, no final xor; its check value (of
//! `123456789`) is `0x31c3`. The keyspace takes its shard from the slot too, so this runs once for every key of every
//! command and is worth eight tables: eight bytes a step, the tables computed at compile time (4 KiB of constants).
//!
//! A key may carry a *hash tag*: when it holds a `{` and a later `}` with at least one byte between, only the bytes
//! between the first `{` and the first `}` after it are hashed, so that keys with the same tag live together.

/// Number of hash slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// Bytes folded in per step, one table each.
const STRIDE: usize = 8;

/// Keys up to this length are searched for a brace without a call, bytes.
const SHORT_MAX: usize = 64;

const POLYNOMIAL: u16 = 0x1021;

static TABLES: [[u16; 256]; STRIDE] = tables();

/// `tables()[n][byte]` is the CRC of `byte` followed by `n` zero bytes.
const fn tables() -> [[u16; 256]; STRIDE] {
    let mut tables = [[0u16; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = (shorter << 8) ^ tables[0][(shorter >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// Computes the CRC-16/XMODEM of `bytes`.
///
/// ```
/// assert_eq!(redpoll_structures::crc::crc16(b"123456789"), 0x31c3);
/// ```
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    for stride in strides {
        let head = crc ^ u16::from_be_bytes([stride[0], stride[1]]);
        crc = TABLES[7][usize::from(head >> 8)] ^ TABLES[6][usize::from(head & 0xff)];
        for (at, &byte) in stride[2..].iter().enumerate() {
            crc ^= TABLES[5 - at][usize::from(byte)];
        }
    }
    for &byte in rest {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// Returns the part of `key` that decides its slot: the hash tag if it has one, the whole key otherwise.
#[inline]
#[must_use]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if short_without_brace(key) { key } else { find_hash_tag(key) }
}

/// Tells whether a key is short enough to be looked over here, and holds no `{`: eight bytes a step, the last ones perhaps twice.
#[inline]
fn short_without_brace(key: &[u8]) -> bool {
    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let (strides, rest) = key.as_chunks::<STRIDE>();
    let Some(last) = key.last_chunk::<STRIDE>() else { return !rest.contains(&b'{') };
    // A byte that is zero after the xor was a brace; the high bit of the lowest such byte is always set.
    let braces = |stride: &[u8; STRIDE]| {
        let difference = u64::from_le_bytes(*stride) ^ (LOW_BITS * u64::from(b'{'));
        difference.wrapping_sub(LOW_BITS) & !difference & HIGH_BITS
    };
    key.len() <= SHORT_MAX && strides.iter().fold(braces(last), |found, stride| found | braces(stride)) == 0
}

fn find_hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        None | Some(0) => key,
        Some(close) => &after[..close],
    }
}

/// Returns the hash slot of `key`, below [`SLOTS`].
#[must_use]
pub fn hash_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// The polynomial of Jones, bits reversed.
const CRC64_POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `CRC64_TABLES[n][byte]` is the CRC of `byte` followed by `n` zero bytes.
static CRC64_TABLES: [[u64; 256]; STRIDE] = {
    let mut tables = [[0; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ CRC64_POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = (shorter >> 8) ^ tables[0][(shorter & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

/// CRC-64 as Redis ends its dumps with.
///
/// ```
/// assert_eq!(redpoll_structures::crc::crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
/// ```
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    crc64_after(0, bytes)
}

/// Goes on with a CRC-64: what stands before `bytes` has this sum.
///
/// ```
/// use redpoll_structures::crc::{crc64, crc64_after};
///
/// assert_eq!(crc64_after(crc64(b"12345"), b"6789"), crc64(b"123456789"));
/// ```
#[must_use]
pub fn crc64_after(sum: u64, bytes: &[u8]) -> u64 {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    let sum = strides.iter().fold(sum, |sum, stride| {
        let mixed = (sum ^ u64::from_le_bytes(*stride)).to_le_bytes();
        mixed.iter().enumerate().fold(0, |sum, (at, byte)| sum ^ CRC64_TABLES[STRIDE - 1 - at][usize::from(*byte)])
    });
    rest.iter().fold(sum, |sum, byte| (sum >> 8) ^ CRC64_TABLES[0][usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit_by_bit(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for &byte in bytes {
            crc ^= u16::from(byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            }
        }
        crc
    }

    #[test]
    fn agrees_with_the_definition_at_every_length() {
        let bytes: Vec<u8> = (0..100u32).map(|at| (at * 37 + 11) as u8).collect();
        for start in 0..8 {
            for end in start..bytes.len() {
                assert_eq!(crc16(&bytes[start..end]), bit_by_bit(&bytes[start..end]), "{start}..{end}");
            }
        }
    }

    #[test]
    fn strides_of_the_long_sum_agree_with_single_bytes() {
        let bytes: Vec<u8> = (0..100u32).map(|at| (at * 37 + 11) as u8).collect();
        for end in 0..bytes.len() {
            let one_by_one = bytes[..end].iter().fold(0, |sum, byte| crc64_after(sum, &[*byte]));
            assert_eq!(crc64(&bytes[..end]), one_by_one, "{end}");
        }
    }

    #[test]
    fn check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn a_brace_is_found_wherever_it_stands() {
        for len in 0..100 {
            let mut key = vec![0x7a_u8; len];
            assert_eq!(hash_tag(&key), key.as_slice());
            for at in 0..len {
                for (byte, other) in [(b'{', b'|'), (b'{', 0xfb), (b'{', b'}')] {
                    key[at] = byte;
                    assert!(!short_without_brace(&key), "{at} of {len}");
                    key[at] = other;
                    assert_eq!(hash_tag(&key), key.as_slice(), "{at} of {len}");
                }
                key[at] = b'z';
            }
        }
    }

    /// As `CLUSTER KEYSLOT` answers.
    #[test]
    fn slots() {
        for (key, slot) in SLOTS_SEEN {
            assert_eq!(hash_slot(key), *slot, "{}", key.escape_ascii());
        }
    }

    #[rustfmt::skip]
    const SLOTS_SEEN: &[(&[u8], u16)] = &[
        (b"", 0),
        (b"foo", 12182),
        (b"bar", 5061),
        (b"hello", 866),
        (b"{user1000}.following", 3443),
        (b"{user1000}.followers", 3443),
        (b"user1000", 3443),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"{bar", 4015),
        (b"foo{bar}{zap}", 5061),
        (b"}{a}", 15495),
        (b"{}", 15257),
        (b"{}a", 10875),
        (b"a{b}c", 3300),
        (b"a}b{c", 13587),
        (b"{{}}", 4092),
        (b"a longer key, beyond one stride of eight bytes", 2126),
    ];
}
