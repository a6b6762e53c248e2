//! What a block takes from an allocator.
//!
//! The structures say how much memory they take ([`record::Record::heap_size`](crate::record::Record::heap_size) and its kin), which is what a memory limit
//! goes by. An allocator gives more than it was asked for: it has blocks of certain sizes only. Which allocator there is, is for the program to say, but mimalloc
//! and jemalloc have the same sizes: multiples of 16 bytes up to 128, and from there four to each doubling. Other allocators waste less within a block and a
//! few bytes beside it.

/// Blocks up to this come in multiples of [`GRAIN`].
const FINE_MAX: usize = 128;
const GRAIN: usize = 16;
/// Blocks from here on are rounded to pages, which is little.
const COARSE_MIN: usize = 1 << 20;

/// Returns how many bytes are taken by a block of so many; none is taken for none.
#[inline]
pub const fn block_size(bytes: usize) -> usize {
    let step = match bytes {
        0..=FINE_MAX => GRAIN,
        COARSE_MIN.. => 4096,
        _ => (1 << (usize::BITS - (bytes - 1).leading_zeros())) / 8,
    };
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::block_size;

    #[test]
    fn sizes_are_those_of_allocators() {
        for (bytes, size) in [
            (0, 0),
            (1, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (256, 256),
            (257, 320),
            (512, 512),
            (513, 640),
            (8192, 8192),
            (8193, 10_240),
            (14_337, 16_384),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + 4096),
        ] {
            assert_eq!(block_size(bytes), size, "{bytes}");
        }
    }
}
