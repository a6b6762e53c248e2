//! The disk: everything that a store does with files in its data directory.
//!
//! The log, its manifest and the snapshots go through this seam, so that tests can put a disk in its place that fails, fills up and loses its power. It is
//! as narrow as what is needed: files are read from their beginning or written at their end, and nothing is changed in the middle.
//!
//! What is durable is what was synced: the content of a file with [`WriteFile::sync`], its name, a new one or a change of it, with [`Disk::sync_dir`].
//! A file that has a new name is durable under it only if both were done. Nothing here syncs by itself, except that a directory that is made
//! ([`Disk::make_dir`]) stays.
//!
//! Locks are part of it because a crash lets go of them. Configuration files and lists of users are not: they are of the administrator, and small.

use std::fmt::Debug;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Seek, Write};
use std::path::Path;

/// Where a store keeps its files.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file for reading, at its beginning.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>>;

    /// Makes an empty file in the place of what is there. Until it is closed nobody else can do that.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::WouldBlock`] if somebody is just writing it.
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>>;

    /// Makes a file as [`Disk::create`] does whose content tells nothing of the data.
    ///
    /// # Errors
    /// As [`Disk::create`].
    fn create_public(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.create(path)
    }

    /// Tells whether a file has the form in which files are written now: another one is not appended to.
    ///
    /// # Errors
    /// What the system says.
    fn is_as_written(&self, _path: &Path) -> Result<bool> {
        Ok(true)
    }

    /// Opens a file to append to it, making it if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>>;

    /// Cuts a file back to a length, bytes, and forces that to the disk.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&self, path: &Path, length: u64) -> Result<()> {
        let mut file = self.append(path)?;
        file.truncate(length)?;
        file.sync()
    }

    /// Gives a file another name in one step, in the place of what has that name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file; who has it open keeps its content.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes a directory and those above it, unless they are there, and forces their names to the disk.
    ///
    /// # Errors
    /// What the system says.
    fn make_dir(&self, path: &Path) -> Result<()>;

    /// Forces the names in a directory to the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Returns the names in a directory, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, path: &Path) -> Result<Vec<String>>;

    /// Returns the length of a file, bytes.
    ///
    /// # Errors
    /// What the system says, and that it is no file.
    fn length(&self, path: &Path) -> Result<u64>;

    /// Takes the lock that a file stands for, making the file if there is none. It is let go of when what is returned is dropped, or the process ends.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::WouldBlock`] if somebody has it.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>>;
}

/// A file opened for reading.
pub trait ReadFile: Debug + Read + Seek + Send {
    /// Returns its length, bytes; at least that, if it is a sealed log.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> Result<u64>;

    /// Returns how many bytes at the end of what was read to its end are no content, because a crash has torn them.
    fn torn(&self) -> u64 {
        0
    }

    /// Tells whether others see anything else than what is read.
    fn is_sealed(&self) -> bool {
        false
    }
}

/// A file that is written at its end.
pub trait WriteFile: Debug + Write + Send {
    /// Returns its length, bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> Result<u64>;

    /// Forces what was written, and the length, to the disk.
    ///
    /// # Errors
    /// What the system says. What was written since the last sync may be on the disk or not then, and another sync says nothing about it.
    fn sync(&mut self) -> Result<()>;

    /// Cuts the file back to a length, bytes: one at which it was opened or something that was written ended.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&mut self, length: u64) -> Result<()>;

    /// Says that it will not be cut back any more to less than a length, bytes.
    fn release(&mut self, _length: u64) {}
}

/// A lock that is held.
pub trait Lock: Debug + Send + Sync {}

/// The disk of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        // What is there belongs to whoever has locked it.
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.try_lock()?;
        file.set_len(0)?;
        Ok(Box::new(file))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        Ok(Box::new(File::options().create(true).append(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = directory_of(path);
        self.make_dir(above)?;
        match std::fs::create_dir(path) {
            // Somebody else may have made it just now; if it is anything else, this says so.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => std::fs::read_dir(path).map(drop)?,
            made => made?,
        }
        self.sync_dir(above)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        // A name that is no text is none of ours.
        Ok(std::fs::read_dir(path)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn length(&self, path: &Path) -> Result<u64> {
        let metadata = std::fs::metadata(path)?;
        if metadata.is_file() { Ok(metadata.len()) } else { Err(Error::new(ErrorKind::InvalidInput, "it is no file")) }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(SystemLock(file))),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl ReadFile for File {
    fn length(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl WriteFile for File {
    fn length(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> Result<()> {
        self.set_len(length)
    }
}

/// A lock of the operating system on a file.
#[derive(Debug)]
struct SystemLock(File);

impl Lock for SystemLock {}

impl Drop for SystemLock {
    fn drop(&mut self) {
        // Closing is not enough: a process just being started by another thread has a copy of the file until it runs its program.
        self.0.unlock().ok();
    }
}

/// Returns the directory that a path is in.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}
