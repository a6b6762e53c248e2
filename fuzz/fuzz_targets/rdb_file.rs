//! Snapshot files: whatever the bytes, reading them ends, names the offset of what is wrong, and takes no more memory than they call for.

#![no_main]

use std::path::Path;
use std::sync::atomic::AtomicU64;

use libfuzzer_sys::fuzz_target;
use redpoll_keyspace::Limits;
use redpoll_persist::{Error, Into, read_snapshot_from};

fuzz_target!(|input: &[u8]| {
    // A checksum would keep everything else from being looked at.
    let mut bytes = b"REDIS0004".to_vec();
    bytes.extend_from_slice(input);
    let (limits, len) = (Limits::default(), bytes.len() as u64);
    let into = Into { limits: &limits, seed: 1, read: &AtomicU64::new(0) };
    match read_snapshot_from(bytes.as_slice(), len, Path::new("fuzzed.rdb"), into, &mut |_| Ok(())) {
        Ok(read) => assert!(read.len <= len),
        Err(Error::Snapshot { offset, reason, .. }) => assert!(offset <= len && !reason.is_empty()),
        Err(other) => panic!("{other}"),
    }
});
