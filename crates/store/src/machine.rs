//! What commands need of the machine: small files and secrets.
//!
//! Not the log, which has its own crate, and not the clock.

use std::fs::File;
use std::io::{Error, Result, Write};
use std::path::Path;

use redpoll_commands::engine::System;

/// The machine the store runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine;

impl System for Machine {
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let path = Path::new(path);
        let name = path.file_name().ok_or_else(|| Error::other("the path names no file"))?;
        let beside = path.with_file_name(format!("{}.tmp-{}", name.to_string_lossy(), std::process::id()));
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        // After a crash there is the old file or the new one, never a part.
        let renamed = written.and_then(|()| std::fs::rename(&beside, path));
        if renamed.is_err() {
            std::fs::remove_file(&beside).ok();
        }
        renamed
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        getrandom::fill(bytes).map_err(|error| Error::other(error.to_string()))
    }
}
