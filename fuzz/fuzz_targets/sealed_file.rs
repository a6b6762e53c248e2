//! Sealed files: whatever stands behind the head of one, reading it ends, and nothing comes out that was not sealed there. A sealed log in which a byte was changed is
//! refused, or what comes out is where it begins.

#![no_main]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use redpoll_persist::disk::{Disk, SystemDisk};
use redpoll_persist::sealed::{KeyRing, SealedDisk};

/// Bytes that are no head any more when one of them is changed.
const MAGIC_LEN: usize = 8;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("redpoll-fuzz-sealed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
});

static DISK: LazyLock<SealedDisk> = LazyLock::new(|| {
    let keys = KeyRing::parse(&"5e".repeat(32)).expect("it is a key");
    SealedDisk::new(Arc::new(SystemDisk), keys)
});

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    DISK.open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[high, low, change], content)) = input.split_first_chunk::<3>() else { return };
    let path = FOLDER.join("file");
    fs::remove_file(&path).ok();
    let mut file = DISK.append(&path).expect("a file can be made");
    content.chunks(16).for_each(|part| file.write_all(part).expect("it can be written"));
    drop(file);
    assert_eq!(read(&path).expect("nothing was changed"), content);

    let mut bytes = fs::read(&path).expect("it is there");
    let head = bytes.iter().take(49).copied().collect::<Vec<_>>();
    let at = usize::from(high) << 8 | usize::from(low);
    if change != 0 && (MAGIC_LEN..bytes.len()).contains(&at) {
        bytes[at] ^= change;
        fs::write(&path, &bytes).expect("it can be written");
        if let Ok(read) = read(&path) {
            assert!(content.starts_with(&read) && read.len() < content.len());
        }
    }
    // Anything behind a good head.
    fs::write(&path, [head.as_slice(), content].concat()).expect("it can be written");
    if let Ok(read) = read(&path) {
        assert!(read.is_empty());
    }
});
