//! The log: whatever the bytes of its last file, reading it ends, a torn end is cut off and nothing else, and what was read once is read again.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use libfuzzer_sys::fuzz_target;
use redpoll_keyspace::Limits as Thresholds;
use redpoll_persist::{Error, Into, LogFiles, Manifest, Reading, Record, Replayed, Torn, replay};
use redpoll_resp::Limits;

/// The file whose end may be torn.
const FILE: &str = "log.1.incr.aof";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("redpoll-fuzz-log-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let manifest = Manifest { increments: vec![(FILE.to_owned(), 1)], ..Manifest::default() };
    manifest.write(&LogFiles::new(&folder, "log")).expect("a manifest can be written");
    folder
});

fn read() -> (Result<Replayed, Error>, Vec<Vec<Vec<u8>>>) {
    let mut commands = Vec::new();
    let thresholds = Thresholds::default();
    let reading = Reading { limits: Limits::default(), into: Into { limits: &thresholds, seed: 1, read: &AtomicU64::new(0) }, torn: Torn::CutOff };
    let result = replay(&LogFiles::new(&*FOLDER, "log"), &reading, &mut |record| {
        if let Record::Command(args) = record {
            commands.push(args.iter().map(|arg| arg.to_vec()).collect());
        }
        Ok(())
    });
    (result, commands)
}

fuzz_target!(|input: &[u8]| {
    let path = FOLDER.join(FILE);
    fs::write(&path, input).expect("a file can be written");
    let (first, commands) = read();
    let left = fs::read(&path).expect("it is still there");
    assert!(input.starts_with(&left));
    let Ok(first) = first else {
        assert_eq!(left.len(), input.len(), "what is damaged is left as it is");
        return;
    };
    assert_eq!(first.truncated, (input.len() - left.len()) as u64);
    let (again, same) = read();
    assert_eq!(again.expect("it was read before"), Replayed { truncated: 0, ..first });
    assert_eq!(same, commands);
});
