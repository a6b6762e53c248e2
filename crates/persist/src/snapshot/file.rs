//! A snapshot on its way into a file: written beside it, and put in its place when it is whole and on the disk.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Head, SnapshotWriter};
use crate::Error;

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 1 << 18;

/// A file in the making; it goes away if it is not finished.
#[derive(Debug)]
pub struct SnapshotFile {
    /// None once the file is finished.
    writer: Option<SnapshotWriter<BufWriter<File>>>,
    path: PathBuf,
    /// It has its place, and no name for the time being any more.
    placed: bool,
}

impl SnapshotFile {
    /// Begins a file under a name for the time being. Who finds it locked leaves it alone: another store is writing it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: PathBuf, head: &Head) -> Result<SnapshotFile, Error> {
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
        file.try_lock().map_err(|error| Error::io(&path)(error.into()))?;
        let mut made = SnapshotFile { writer: None, path, placed: false };
        let begun =
            file.set_len(0).and_then(|()| SnapshotWriter::begin(BufWriter::with_capacity(BUFFER_LEN, file), head));
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
        std::fs::rename(&self.path, place).map_err(Error::io(place))?;
        self.placed = true;
        drop(file);
        let dir = place.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir))?;
        Ok(len)
    }

    /// Ends the file without giving it a place and returns it, at its beginning, with its length in bytes: its name goes away, its content with the last handle.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn detach(mut self) -> Result<(File, u64), Error> {
        self.finish()?;
        let mut file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let len = file.seek(SeekFrom::End(0)).map_err(Error::io(&self.path))?;
        file.rewind().map_err(Error::io(&self.path))?;
        Ok((file, len))
    }

    fn finish(&mut self) -> Result<(File, u64), Error> {
        let writer = self.writer.take().expect("a file is finished once");
        let finished = writer.finish().and_then(|(mut out, len)| {
            out.flush()?;
            let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.sync_all()?;
            Ok((file, len))
        });
        finished.map_err(Error::io(&self.path))
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if !self.placed {
            std::fs::remove_file(&self.path).ok();
        }
    }
}
