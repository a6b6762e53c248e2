//! How many nodes a radix tree with path compression has that holds some keys of 16 bytes.
//!
//! XINFO STREAM tells this number of the tree in which Redis keeps the nodes of a stream. There is no such tree here, but it is determined by its keys: a
//! run of bytes that all keys below share is one node, a place where they part is one, and so is the end of each key.

use super::StreamId;

/// Returns the number of nodes for keys that are in order and differ.
pub(super) fn nodes(keys: &[[u8; StreamId::KEY_BYTES]]) -> usize {
    // A tree without keys is its root.
    if keys.is_empty() { 1 } else { below(keys, 0) }
}

/// Counts the nodes for keys that are equal up to a depth; never deeper than a key is long.
fn below(keys: &[[u8; StreamId::KEY_BYTES]], depth: usize) -> usize {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 0 };
    let shared = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
    if depth == StreamId::KEY_BYTES {
        return 1;
    }
    if shared > 0 {
        return 1 + below(keys, depth + shared);
    }
    1 + keys.chunk_by(|a, b| a[depth] == b[depth]).map(|part| below(part, depth + 1)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_forks_and_ends_count() {
        let key = |ms, seq| StreamId::new(ms, seq).to_key();
        assert_eq!(nodes(&[]), 1);
        assert_eq!(nodes(&[key(1, 1)]), 2);
        // A run of 15 bytes, a fork, two ends.
        assert_eq!(nodes(&[key(1, 1), key(1, 2)]), 4);
        // A run of 7, a fork, a run of 8 bytes and an end on each side.
        assert_eq!(nodes(&[key(1, 1), key(2, 1)]), 6);
    }
}
