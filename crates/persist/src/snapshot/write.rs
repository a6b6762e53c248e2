//! Writing a snapshot: its frame, around entries that come in parts.

use std::io::{Result, Write};

use redpoll_keyspace::rdb::{checksum_after, write_length, write_string};

use super::{MAGIC, opcode};

/// What stands at the beginning.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The version of the format.
    pub version: u16,
    /// Whether a checksum stands at the end.
    pub checksum: bool,
    /// What else there is to know, such as who wrote it and when.
    pub aux: Vec<(&'static str, String)>,
    /// The texts of libraries of functions.
    pub libraries: Vec<Vec<u8>>,
    /// Keys of each database, and how many of them have a deadline.
    pub sizes: Vec<(u64, u64)>,
}

/// Writes a snapshot to something.
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    out: W,
    checksum: bool,
    sum: u64,
    len: u64,
    /// The database that the next entries belong to.
    db: Option<usize>,
    /// The sizes that were not told yet.
    sizes: Vec<Option<(u64, u64)>>,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins a snapshot.
    ///
    /// # Errors
    /// What the disk said.
    pub fn begin(out: W, head: &Head) -> Result<SnapshotWriter<W>> {
        let sizes = head.sizes.iter().copied().map(Some).collect();
        let mut writer = SnapshotWriter { out, checksum: head.checksum, sum: 0, len: 0, db: None, sizes };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(format!("{:04}", head.version).as_bytes());
        for (name, value) in &head.aux {
            bytes.push(opcode::AUX);
            write_string(name.as_bytes(), &mut bytes);
            write_string(value.as_bytes(), &mut bytes);
        }
        for library in &head.libraries {
            bytes.push(opcode::LIBRARY);
            write_string(library, &mut bytes);
        }
        writer.put(&bytes)?;
        Ok(writer)
    }

    /// Writes entries of a database, as `keyspace::rdb::Entries` makes them.
    ///
    /// # Errors
    /// What the disk said.
    pub fn part(&mut self, db: usize, entries: &[u8]) -> Result<()> {
        if self.db != Some(db) {
            let mut bytes = vec![opcode::DATABASE];
            write_length(db as u64, &mut bytes);
            // A database can come up several times, its sizes stand where it comes up first.
            if let Some((keys, volatile)) = self.sizes.get_mut(db).and_then(Option::take) {
                bytes.push(opcode::SIZES);
                write_length(keys, &mut bytes);
                write_length(volatile, &mut bytes);
            }
            self.put(&bytes)?;
            self.db = Some(db);
        }
        self.put(entries)
    }

    /// Ends the snapshot; returns what it was written to, and its length in bytes.
    ///
    /// # Errors
    /// What the disk said.
    pub fn finish(mut self) -> Result<(W, u64)> {
        self.put(&[opcode::END])?;
        let sum = if self.checksum { self.sum } else { 0 };
        self.put(&sum.to_le_bytes())?;
        Ok((self.out, self.len))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.checksum {
            self.sum = checksum_after(self.sum, bytes);
        }
        self.len += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
