//! A snapshot on its way into a file: written beside it, and put in its place when it is whole and on the disk.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Head, SnapshotWriter};
use crate::Error;
use crate::disk::{Disk, ReadFile, WriteFile, directory_of};

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 1 << 18;

/// A file in the making; it goes away if it is not finished.
#[derive(Debug)]
pub struct SnapshotFile {
    /// None once the file is finished.
    writer: Option<SnapshotWriter<BufWriter<Box<dyn WriteFile>>>>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// It has its place, and no name for the time being any more.
    placed: bool,
}

impl SnapshotFile {
    /// Begins a file under a name for the time being; refused if another store is just writing it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(disk: &Arc<dyn Disk>, path: PathBuf, head: &Head) -> Result<SnapshotFile, Error> {
        let file = disk.create(&path).map_err(Error::io(&path))?;
        let mut made = SnapshotFile { writer: None, disk: Arc::clone(disk), path, placed: false };
        let begun = SnapshotWriter::begin(BufWriter::with_capacity(BUFFER_LEN, file), head);
        made.writer = Some(begun.map_err(Error::io(&made.path))?);
        Ok(made)
    }

    /// Writes entries of a database.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn part(&mut self, db: usize, entries: &[u8]) -> Result<(), Error> {
        let writer = self.writer.as_mut().expect("a finished file is gone");
        writer.part(db, entries).map_err(Error::io(&self.path))
    }

    /// Ends the file, forces it to the disk and puts it in the place of what is there; returns its length in bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there stays then.
    pub fn commit(mut self, place: &Path) -> Result<u64, Error> {
        let (file, len) = self.finish()?;
        self.disk.rename(&self.path, place).map_err(Error::io(place))?;
        self.placed = true;
        drop(file);
        let dir = directory_of(place);
        self.disk.sync_dir(dir).map_err(Error::io(dir))?;
        Ok(len)
    }

    /// Ends the file without giving it a place and returns it, at its beginning, with its length in bytes: its name goes away, its content with the last handle.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn detach(mut self) -> Result<(Box<dyn ReadFile>, u64), Error> {
        self.finish()?;
        let file = self.disk.open(&self.path).map_err(Error::io(&self.path))?;
        let len = file.length().map_err(Error::io(&self.path))?;
        Ok((file, len))
    }

    fn finish(&mut self) -> Result<(Box<dyn WriteFile>, u64), Error> {
        let writer = self.writer.take().expect("a file is finished once");
        let finished = writer.finish().and_then(|(mut out, len)| {
            out.flush()?;
            let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.sync()?;
            Ok((file, len))
        });
        finished.map_err(Error::io(&self.path))
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if !self.placed {
            self.disk.remove(&self.path).ok();
        }
    }
}
