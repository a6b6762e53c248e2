//! Looking at files without loading them: is everything whole that a start would read, what is wrong, where, and what a cut would take away.
//!
//! ```text
//! appendonly.aof.3.incr.aof   ├── whole changes ──┤ what is wrong ┤ … whole commands behind it …┤
//!                                                 └ a cut takes all of this away
//! ```
//!
//! Files are read by the code that reads them at a start, which parses everything: values of snapshots, checksums, the framing of commands, transactions to
//! their EXEC. What only a store can tell is not asked: whether a command fits the data it would meet.
//!
//! Nothing is changed by looking. [`cut`] shortens the last file of a log to the changes that are whole, after a copy of it was put beside it; a file that
//! others follow is never cut, because what they say builds upon it. A finding holds nothing of the data but, on its own, the key whose value is damaged.

use std::fs::File;
use std::io::{Read, SeekFrom};
use std::path::{Path, PathBuf};

use redpoll_resp::{Parse, RequestParser};

use crate::disk::{Disk, ReadFile, directory_of};
use crate::replay::{Reached, TORN_IN_THE_MIDDLE, is_empty, read_log_file};
use crate::snapshot::read_snapshot;
use crate::{Error, LogFiles, Manifest, Reading, Record};

/// How the name of a copy goes on that is made before a file is cut.
pub const COPY_SUFFIX: &str = ".before-repair";

/// Bytes within which a command must end to be counted among what a cut takes away.
const COUNTED_MAX: usize = 16 << 20;

/// Bytes read at a time to count them.
const READ_SIZE: usize = 1 << 20;

/// What kind of file was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The manifest of a log.
    Manifest,
    /// The base of a log.
    Base,
    /// An increment of a log.
    Increment,
    /// A log of one file, as before Redis 7, or a file of a log looked at by itself.
    Log,
    /// A snapshot.
    Snapshot,
}

/// What was found in a file.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub len: u64,
    /// The version of the format of snapshots, if it begins with one.
    pub version: Option<u16>,
    /// Keys of the snapshot it begins with.
    pub keys: u64,
    /// Commands, those of the transaction a log may end within left out.
    pub commands: u64,
    /// Bytes behind the end of a snapshot, which are not loaded.
    pub rest: u64,
    /// It is sealed; lengths and places are those of the content then.
    pub is_sealed: bool,
    /// What is wrong; none if it is sound.
    pub fault: Option<Fault>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, bytes, if it has a place.
    pub offset: Option<u64>,
    /// What, without anything of the data.
    pub reason: String,
    /// The key whose value is damaged, if it is one.
    pub key: Option<Vec<u8>>,
    /// What can be done.
    pub remedy: Remedy,
}

/// What can be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The file can be cut to its whole changes.
    Cut {
        /// Where the last whole change ends, bytes.
        from: u64,
        /// Bytes that go; at most that many, if the file is sealed.
        bytes: u64,
        /// Whole commands among them, as far as they can be told.
        commands: u64,
    },
    /// Nothing; the reason why a cut would not do.
    None(&'static str),
}

/// Says why a command cannot be one of this store, without anything of the data.
pub type Known<'a> = dyn Fn(&[&[u8]]) -> Result<(), &'static str> + 'a;

/// Looks at all files of a log.
///
/// # Errors
/// [`Error::Io`] if a file cannot be read.
pub fn check_log(files: &LogFiles, reading: &Reading<'_>, known: &Known<'_>) -> Result<Vec<Finding>, Error> {
    let path = files.manifest();
    let disk = &**files.disk();
    let len = disk.length(&path).map_err(Error::io(&path))?;
    let mut found = Finding::new(path, Kind::Manifest, len);
    let manifest = match Manifest::read(files) {
        Ok(manifest) => manifest,
        Err(Error::Manifest { place, reason, .. }) => {
            let remedy = Remedy::None("it says which files there are in which order");
            found.fault = Some(Fault { offset: None, reason: format!("{place}: {reason}"), key: None, remedy });
            return Ok(vec![found]);
        }
        Err(error) => return Err(error),
    };
    let mut findings = vec![found];
    let bases = manifest.base.iter().map(|(name, _)| (name, Kind::Base));
    for (name, kind) in bases.chain(manifest.increments.iter().map(|(name, _)| (name, Kind::Increment))) {
        findings.push(check_log_file(disk, &files.path(name), kind, reading, known)?);
    }
    // From the last file that holds anything backwards: what others follow is not cut.
    let mut is_followed = false;
    for found in findings.iter_mut().skip(1).rev() {
        if let Some(fault) = found.fault.as_mut().filter(|_| is_followed) {
            if fault.reason == TORN {
                fault.reason = TORN_IN_THE_MIDDLE.into();
            }
            fault.remedy = Remedy::None("other files of the log follow, and what they say builds upon it");
        }
        is_followed |= !is_empty(files, &found.path);
    }
    Ok(findings)
}

/// What is wrong with a file that a crash has torn.
const TORN: &str = "the file ends in the middle of a change, which a start cuts off (aof-load-truncated)";

/// Looks at one file of a log.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub fn check_log_file(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    reading: &Reading<'_>,
    known: &Known<'_>,
) -> Result<Finding, Error> {
    let (mut reached, mut keys) = (Reached::default(), 0);
    let result = read_log_file(
        disk,
        path,
        reading,
        &mut |record| match record {
            Record::Command(args) => known(args).map_err(str::to_owned),
            Record::Stored(item) => {
                keys += item.keys();
                Ok(())
            }
        },
        &mut reached,
    );
    let mut found = Finding::new(path.to_owned(), kind, reached.len);
    (found.keys, found.commands, found.version) = (keys, reached.commands, reached.snapshot.map(|read| read.version));
    found.is_sealed = reached.is_sealed;
    let (whole, torn) = (reached.whole, reached.whole < reached.len);
    found.fault = match result {
        Ok(()) if torn => Some(Fault::new(whole, TORN.into(), cut_of(disk, path, whole)?)),
        Ok(()) => None,
        Err(Error::Damaged { offset, reason, .. } | Error::Inapplicable { offset, reason, .. }) => {
            Some(Fault::new(offset, reason, cut_of(disk, path, whole)?))
        }
        Err(error) => Some(Fault::of_unreadable(error)?),
    };
    Ok(found)
}

/// Looks at a snapshot.
///
/// # Errors
/// [`Error::Io`] if it cannot be read.
pub fn check_snapshot(disk: &dyn Disk, path: &Path, reading: &Reading<'_>) -> Result<Finding, Error> {
    let file = disk.open(path).map_err(Error::io(path))?;
    let mut found = Finding::new(path.to_owned(), Kind::Snapshot, file.length().map_err(Error::io(path))?);
    found.is_sealed = file.is_sealed();
    let read = read_snapshot(disk, path, reading.into, &mut |item| {
        found.keys += item.keys();
        Ok(())
    });
    match read {
        Ok(read) => (found.version, found.rest) = (Some(read.version), read.file_len - read.len),
        Err(error) => found.fault = Some(Fault::of_unreadable(error)?),
    }
    Ok(found)
}

/// Cuts a file of a log to its first bytes and forces that to the disk, after a copy was put beside it; returns the copy's path.
///
/// # Errors
/// [`Error::Io`], also if there is a copy of an earlier repair; the file is as it was then.
pub fn cut(disk: &dyn Disk, path: &Path, len: u64) -> Result<PathBuf, Error> {
    let mut copy = path.as_os_str().to_owned();
    copy.push(COPY_SUFFIX);
    let copy = PathBuf::from(copy);
    copy_to(&mut File::open(path).map_err(Error::io(path))?, &copy)?;
    disk.cut(path, len).map_err(Error::io(path))?;
    Ok(copy)
}

/// Copies what a file of the data holds to a new one.
///
/// # Errors
/// [`Error::Io`], also if there is one already.
pub fn export(disk: &dyn Disk, path: &Path, copy: &Path) -> Result<(), Error> {
    copy_to(&mut disk.open(path).map_err(Error::io(path))?, copy)
}

fn copy_to(content: &mut impl Read, place: &Path) -> Result<(), Error> {
    let mut copy = File::create_new(place).map_err(Error::io(place))?;
    std::io::copy(content, &mut copy).and_then(|_| copy.sync_all()).map_err(Error::io(place))?;
    let dir = directory_of(place);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir))
}

impl Finding {
    fn new(path: PathBuf, kind: Kind, len: u64) -> Finding {
        Finding { path, kind, len, version: None, keys: 0, commands: 0, rest: 0, is_sealed: false, fault: None }
    }
}

impl Fault {
    fn new(offset: u64, reason: String, remedy: Remedy) -> Fault {
        Fault { offset: Some(offset), reason, key: None, remedy }
    }

    /// Takes over what keeps a file from being read as what it should be. That the system refuses is no fault of the file.
    fn of_unreadable(error: Error) -> Result<Fault, Error> {
        match error {
            Error::Snapshot { offset, key, reason, .. } => {
                let remedy = Remedy::None("a snapshot cannot be read in parts: a copy of it is needed");
                Ok(Fault { offset: Some(offset), reason, key, remedy })
            }
            Error::Missing { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                let remedy = Remedy::None("a copy of it is needed");
                Ok(Fault { offset: None, reason: "the file is not there".into(), key: None, remedy })
            }
            other => Err(other),
        }
    }
}

/// Finds out what a cut takes away.
fn cut_of(disk: &dyn Disk, path: &Path, from: u64) -> Result<Remedy, Error> {
    let mut file = disk.open(path).map_err(Error::io(path))?;
    let bytes = file.length().map_err(Error::io(path))?.saturating_sub(from);
    file.seek(SeekFrom::Start(from)).map_err(Error::io(path))?;
    let commands = count_commands(&mut *file).map_err(Error::io(path))?;
    Ok(Remedy::Cut { from, bytes, commands })
}

/// Counts whole commands in the rest of a file, wherever a line begins that could be the first of one.
fn count_commands(file: &mut dyn ReadFile) -> std::io::Result<u64> {
    let (mut buf, mut at, mut commands, mut is_over) = (Vec::new(), 0, 0, false);
    let limits = redpoll_resp::Limits { max_bulk_len: COUNTED_MAX, ..Default::default() };
    loop {
        if at == buf.len() || (buf.len() - at < COUNTED_MAX && !is_over) {
            if is_over {
                return Ok(commands);
            }
            buf.drain(..at);
            at = 0;
            is_over = fill(file, &mut buf)?;
            continue;
        }
        let rest: &[u8] = &buf[at..];
        match RequestParser::new().parse(rest, &limits) {
            Parse::Complete { consumed } if rest[0] == b'*' => {
                commands += 1;
                at += consumed;
            }
            _ => at += next_candidate(rest),
        }
    }
}

/// Reads until a command fits that is counted; true at the end of the file.
fn fill(file: &mut dyn ReadFile, buf: &mut Vec<u8>) -> std::io::Result<bool> {
    while buf.len() < COUNTED_MAX + READ_SIZE {
        let before = buf.len();
        buf.resize(before + READ_SIZE, 0);
        // Behind a part that cannot be opened nothing can be.
        let count = match file.read(&mut buf[before..]) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => 0,
            read => read?,
        };
        buf.truncate(before + count);
        if count == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns how far it is to the next line that begins like a command, or to the end.
fn next_candidate(bytes: &[u8]) -> usize {
    bytes.windows(2).position(|pair| pair == b"\n*").map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests;
