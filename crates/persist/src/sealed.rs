//! Encryption at rest: a disk on a disk that seals what is written and opens what is read.
//!
//! The log, the snapshots and all files beside them that hold data for a while go through the disk, so this is all there is to it: what stands above counts bytes of content,
//! what stands below sees sealed files (`cipher` draws one). Only the manifest, which says names and numbers, is written as it is. Files that are not
//! sealed, or sealed with another of the keys, are read as well; they are not appended to, so a rewrite of the log and a new snapshot are all a change of keys
//! takes.
//!
//! What it guards against: who has the disk, a copy of it or what was thrown away learns lengths, times of writing and how many files there are, and nothing of
//! keys or values. Who changes a file is found out: no bit can be flipped, no chunk moved, repeated, left out or brought from another file, and a snapshot
//! cannot be cut. What it does not guard against: a log that somebody cuts at the end of a chunk is that of an earlier time, an emptied file is read as one that
//! nothing was written to, one that is not sealed is read, and old files put back together with their manifest are an earlier state; nothing within a
//! directory can tell. Who can read the memory of the program, its environment or the file of
//! the keys has the data. What goes over the wire (DUMP, MIGRATE, copies for clients) is not sealed.
//!
//! Losing the key is losing the data.

mod cipher;
mod keys;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::io::{BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

pub use keys::{KeyId, KeyRing};

use crate::disk::{Disk, Lock, ReadFile, WriteFile, directory_of};
use crate::manifest::TEMPORARY_BASE;
pub(crate) use cipher::Kind;
use cipher::{CHUNK_MORE, Cipher, HEAD_LEN, Head, LENGTH_LEN, MAGIC};
use read::{Opened, TornHead};
use write::{Growing, Mark, Whole};

/// Why a sealed file cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its key is not among those there are.
    NoKey { id: KeyId, there: Arc<KeyRing> },
    /// It is not what was sealed.
    Damaged {
        /// Where in the content.
        offset: u64,
        /// Whether the file can be cut off there.
        kind: Kind,
        /// What is wrong with which part of the file.
        reason: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoKey { id, there } if there.is_empty() => {
                write!(out, "it is sealed with the key {id}, and there is no key (encryption-key-file)")
            }
            Fault::NoKey { id, there } => {
                write!(out, "it is sealed with the key {id}, which is not among those there are: {there:?}")
            }
            Fault::Damaged { reason, .. } => out.write_str(reason),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::new(ErrorKind::InvalidData, fault)
    }
}

/// What a file is.
enum Form {
    Empty,
    Plain,
    /// A part of a head.
    TornHead(u64),
    Sealed(Head),
}

/// A disk whose files are sealed with the first of some keys, if there is one, and read with all of them.
#[derive(Debug)]
pub struct SealedDisk {
    disk: Arc<dyn Disk>,
    keys: RwLock<Arc<KeyRing>>,
}

impl SealedDisk {
    /// Puts keys on a disk; without any files are written as they are.
    pub fn new(disk: Arc<dyn Disk>, keys: KeyRing) -> SealedDisk {
        SealedDisk { disk, keys: RwLock::new(Arc::new(keys)) }
    }

    /// Returns the keys.
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read())
    }

    /// Puts other keys in their place. What is just being written goes on with those before.
    pub fn set_keys(&self, keys: KeyRing) {
        *self.keys.write() = Arc::new(keys);
    }

    /// Returns the id of the key that a file is sealed with, if it is.
    ///
    /// # Errors
    /// What the system says, and that the file is of an unknown form.
    pub fn key_of(&self, path: &Path) -> Result<Option<KeyId>> {
        match form(&mut *self.disk.open(path)?)? {
            Form::Sealed(head) => Ok(Some(head.id)),
            Form::Empty | Form::Plain | Form::TornHead(_) => Ok(None),
        }
    }

    fn cipher(&self, head: Head) -> Result<Cipher> {
        let keys = self.keys();
        match keys.find(head.id) {
            Some(key) => Ok(Cipher::of(key, head)),
            None => Err(Fault::NoKey { id: head.id, there: keys }.into()),
        }
    }

    /// Copies the first bytes of the content of a file into one that takes its place.
    fn cut_within(&self, path: &Path, length: u64) -> Result<()> {
        let keys = self.keys();
        let key = keys.writing().ok_or_else(|| Error::other("there is no key to seal with"))?;
        let dir = directory_of(path);
        let beside = dir.join(format!("{TEMPORARY_BASE}cut-{}.aof", std::process::id()));
        let mut copy = Growing::begin(self.disk.create(&beside)?, key);
        let copied = self.open(path).and_then(|file| std::io::copy(&mut file.take(length), &mut copy));
        let placed = copied.and_then(|_| {
            copy.sync()?;
            self.disk.rename(&beside, path)?;
            self.disk.sync_dir(dir)
        });
        if placed.is_err() {
            self.disk.remove(&beside).ok();
        }
        placed
    }
}

impl Disk for SealedDisk {
    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        let mut file = self.disk.open(path)?;
        match form(&mut *file)? {
            Form::Empty | Form::Plain => {
                file.rewind()?;
                Ok(file)
            }
            Form::TornHead(len) => Ok(Box::new(TornHead(len))),
            Form::Sealed(head) => Ok(Box::new(Opened::new(file, self.cipher(head)?)?)),
        }
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        let file = self.disk.create(path)?;
        match self.keys().writing() {
            Some(key) => Ok(Box::new(Whole::begin(file, key)?)),
            None => Ok(file),
        }
    }

    fn create_public(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.disk.create_public(path)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        let keys = self.keys();
        let file = self.disk.append(path)?;
        let Some(key) = keys.writing() else { return Ok(file) };
        let mut there = self.disk.open(path)?;
        let growing = match form(&mut *there)? {
            Form::Empty => Growing::begin(file, key),
            Form::Sealed(head) if head.kind == Kind::Growing && head.id == key.id => match last_chunk_end(there)? {
                Some(end) => Growing::resume(file, key, Cipher::of(key, head), end),
                None => Growing::barred(file, key, self.disk.length(path)?, "the end of the sealed file is torn"),
            },
            Form::Plain | Form::TornHead(_) | Form::Sealed(_) => {
                Growing::barred(file, key, self.disk.length(path)?, "the file is not sealed with the key in use")
            }
        };
        Ok(Box::new(growing))
    }

    fn cut(&self, path: &Path, length: u64) -> Result<()> {
        let mut file = self.disk.open(path)?;
        let head = match form(&mut *file)? {
            Form::Empty | Form::Plain => return self.disk.cut(path, length),
            Form::TornHead(_) => return self.disk.cut(path, 0),
            Form::Sealed(head) => head,
        };
        let mut opened = Opened::new(file, self.cipher(head)?)?;
        while opened.next().content < length && opened.advance()? {}
        match opened.next() {
            _ if length == 0 => self.disk.cut(path, 0),
            end if end.content == length => self.disk.cut(path, end.file),
            // It ends within a chunk, which cannot be cut.
            _ => self.cut_within(path, length),
        }
    }

    fn is_as_written(&self, path: &Path) -> Result<bool> {
        let keys = self.keys();
        Ok(match (form(&mut *self.disk.open(path)?)?, keys.writing()) {
            (Form::Empty, _) => true,
            (Form::Plain, key) => key.is_none(),
            (Form::TornHead(_), _) => false,
            (Form::Sealed(head), key) => key.is_some_and(|key| key.id == head.id),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path)
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        self.disk.make_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.disk.list(path)
    }

    fn length(&self, path: &Path) -> Result<u64> {
        self.disk.length(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

/// Finds out what a file is by its beginning.
fn form(file: &mut dyn ReadFile) -> Result<Form> {
    let mut start = Vec::new();
    Read::take(&mut *file, HEAD_LEN as u64).read_to_end(&mut start)?;
    if start.is_empty() {
        return Ok(Form::Empty);
    }
    if let Some(bytes) = start.first_chunk::<HEAD_LEN>().filter(|bytes| bytes.starts_with(MAGIC)) {
        let unknown = || Fault::Damaged { offset: 0, kind: Kind::Whole, reason: "sealed in an unknown form".into() };
        return Head::parse(*bytes).map(Form::Sealed).ok_or_else(|| unknown().into());
    }
    // A crash may have left a part of a head.
    let is_torn = start.len() < HEAD_LEN && start.iter().zip(MAGIC).all(|(byte, of)| byte == of);
    Ok(if is_torn { Form::TornHead(start.len() as u64) } else { Form::Plain })
}

/// Finds the end of the last chunk of a growing file; none if something follows that is no chunk.
fn last_chunk_end(file: Box<dyn ReadFile>) -> Result<Option<Mark>> {
    let len = file.length()?;
    let mut file = BufReader::new(file);
    let mut end = Mark::FIRST;
    file.seek(SeekFrom::Start(end.file))?;
    while len - end.file >= CHUNK_MORE as u64 {
        let mut length = [0; LENGTH_LEN];
        file.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(*length.first_chunk().expect("four bytes")));
        let next = end.file + CHUNK_MORE as u64 + length;
        if next > len {
            return Ok(None);
        }
        file.seek_relative((next - end.file) as i64 - LENGTH_LEN as i64)?;
        end = Mark { content: end.content + length, file: next, chunks: end.chunks + 1 };
    }
    Ok((end.file == len).then_some(end))
}
