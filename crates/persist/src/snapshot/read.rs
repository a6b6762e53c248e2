//! Reading a snapshot from its beginning to its end mark.

use std::path::Path;

use redpoll_keyspace::rdb::{
    Refused, StoredKey, VERSION_MAX, is_empty_value, length_extent, read_length, read_stored_value, read_string,
    string_extent, value_extent,
};
use redpoll_keyspace::{Limits, Millis};

use super::window::{Fault, Window};
use super::{HEAD_LEN, MAGIC, opcode};
use crate::Error;
use crate::disk::Disk;

/// The first version that ends with a checksum.
const CHECKSUM_SINCE: u16 = 5;

/// What values are made into.
#[derive(Clone, Copy, Debug)]
pub struct Into<'a> {
    /// The thresholds of forms.
    pub limits: &'a Limits,
    /// A secret that goes into hash functions.
    pub seed: u64,
}

/// What a snapshot holds, one after the other.
#[derive(Debug)]
pub enum Item<'a> {
    /// Something to know about it.
    Aux(&'a [u8], &'a [u8]),
    /// The text of a library of functions.
    Library(&'a [u8]),
    /// The next keys belong to this database.
    Database(u64),
    /// A key.
    Key(StoredKey<'a>),
    /// A key of a collection without members, which old servers have left in files; there is nothing to load.
    Empty(&'a [u8]),
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The version of the format.
    pub version: u16,
    /// Bytes up to the end of the snapshot.
    pub len: u64,
    /// Bytes of the file.
    pub file_len: u64,
}

/// Takes what a snapshot holds, or says why it cannot.
pub type Take<'a> = dyn FnMut(Item<'_>) -> Result<(), String> + 'a;

/// Reads a snapshot and hands on what it holds.
///
/// # Errors
/// [`Error::Io`], or [`Error::Snapshot`] with the offset at which what is wrong begins. What was handed on until then is for the caller to take back.
pub fn read_snapshot(disk: &dyn Disk, path: &Path, into: Into<'_>, take: &mut Take<'_>) -> Result<Read, Error> {
    let file = disk.open(path).map_err(Error::io(path))?;
    let file_len = file.length().map_err(Error::io(path))?;
    read_snapshot_from(file, file_len, path, into, take)
}

/// Reads a snapshot as [`read_snapshot`] does, of anything that has so many bytes; `path` is what errors call it.
///
/// # Errors
/// As [`read_snapshot`].
pub fn read_snapshot_from(
    source: impl std::io::Read,
    file_len: u64,
    path: &Path,
    into: Into<'_>,
    take: &mut Take<'_>,
) -> Result<Read, Error> {
    let window = Window::new(source, file_len);
    let mut reader = Reader { window, into, begin: 0, version: 0, next: Next::default() };
    let wrong = |offset, key, reason| Error::Snapshot { path: path.to_owned(), offset, key, reason };
    match reader.run(take) {
        Ok(()) => Ok(Read { version: reader.version, len: reader.window.offset, file_len }),
        Err(Fault::Io(error)) => Err(Error::io(path)(error)),
        Err(Fault::Wrong(reason)) => Err(wrong(reader.begin, None, reason)),
        Err(Fault::Value(key, reason)) => Err(wrong(reader.begin, Some(key), reason)),
    }
}

/// What was said of the next key.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    deadline: Option<Millis>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

struct Reader<'a, R> {
    window: Window<R>,
    into: Into<'a>,
    /// Offset of what is being read.
    begin: u64,
    version: u16,
    next: Next,
}

impl<R: std::io::Read> Reader<'_, R> {
    fn run(&mut self, take: &mut Take<'_>) -> Result<(), Fault> {
        self.version = self.head()?;
        loop {
            self.begin = self.window.offset;
            let [code] = self.window.array()?;
            if code == opcode::END {
                return self.end();
            }
            self.step(code, take)?;
        }
    }

    fn head(&mut self) -> Result<u16, Fault> {
        let head: [u8; HEAD_LEN] = self.window.array()?;
        let version = head.strip_prefix(MAGIC).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        match version {
            Some(version @ 1..=VERSION_MAX) => Ok(version),
            Some(version) => Fault::wrong(format!("version {version} of the format is not known")),
            None => Fault::wrong("this is no snapshot"),
        }
    }

    fn step(&mut self, code: u8, take: &mut Take<'_>) -> Result<(), Fault> {
        match code {
            opcode::AUX => {
                let (name, value) = (self.string()?, self.string()?);
                take(Item::Aux(&name, &value)).map_err(Fault::Wrong)
            }
            opcode::LIBRARY => take(Item::Library(&self.string()?)).map_err(Fault::Wrong),
            opcode::DATABASE => take(Item::Database(self.length()?)).map_err(Fault::Wrong),
            // Sizes are hints for tables, which grow without pausing here.
            opcode::SIZES => self.lengths(2),
            opcode::SLOT_INFO => self.lengths(3),
            opcode::DEADLINE => {
                self.next.deadline = Some(deadline(i64::from_le_bytes(self.window.array()?)));
                Ok(())
            }
            opcode::DEADLINE_SECONDS => {
                self.next.deadline = Some(deadline(i64::from(i32::from_le_bytes(self.window.array()?)) * 1000));
                Ok(())
            }
            opcode::IDLE => {
                self.next.idle_seconds = Some(self.length()?);
                Ok(())
            }
            opcode::FREQUENCY => {
                let [frequency] = self.window.array()?;
                self.next.frequency = Some(frequency);
                Ok(())
            }
            opcode::MODULE_AUX => Fault::wrong("it holds data of a module"),
            opcode::LIBRARY_BEFORE_RELEASE => Fault::wrong("it holds functions as a release candidate wrote them"),
            kind => self.key(kind, take),
        }
    }

    fn key(&mut self, kind: u8, take: &mut Take<'_>) -> Result<(), Fault> {
        let key = self.string()?;
        let len = self.window.whole(|bytes| value_extent(kind, bytes)).map_err(|fault| match fault {
            Fault::Wrong(reason) => Fault::Value(key.clone(), format!("type {kind}: {reason}")),
            fault => fault,
        })?;
        let bytes = &self.window.rest()[..len];
        let value = match read_stored_value(kind, bytes, self.into.limits, self.into.seed) {
            Ok(value) => Some(value),
            Err(_) if is_empty_value(kind, bytes) => None,
            Err(refused) => return Err(Fault::Value(key, damaged(refused))),
        };
        self.window.advance(len);
        let Next { deadline, idle_seconds, frequency } = std::mem::take(&mut self.next);
        let Some(value) = value else { return take(Item::Empty(&key)).map_err(Fault::Wrong) };
        take(Item::Key(StoredKey { key: &key, value, deadline, idle_seconds, frequency })).map_err(Fault::Wrong)
    }

    /// Compares the checksum, if there is one.
    fn end(&mut self) -> Result<(), Fault> {
        if self.version < CHECKSUM_SINCE {
            return Ok(());
        }
        let expected = self.window.sum;
        match u64::from_le_bytes(self.window.array()?) {
            0 => Ok(()),
            found if found == expected => Ok(()),
            _ => Fault::wrong("CRC error: the checksum at the end does not agree with the content"),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let len = self.window.whole(string_extent)?;
        let Some((text, [])) = read_string(&self.window.rest()[..len]) else {
            return Fault::wrong("a compressed string is damaged");
        };
        let text = text.into_owned();
        self.window.advance(len);
        Ok(text)
    }

    fn length(&mut self) -> Result<u64, Fault> {
        let len = self.window.whole(length_extent)?;
        let (number, _) = read_length(&self.window.rest()[..len]).expect("the length is whole");
        self.window.advance(len);
        Ok(number)
    }

    fn lengths(&mut self, count: usize) -> Result<(), Fault> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }
}

fn damaged(refused: Refused) -> String {
    let complaint = match refused {
        Refused::Value(complaint) => complaint,
        Refused::Footer => unreachable!("a value of a file has none"),
    };
    format!("its value is damaged: {complaint}")
}

/// What is long gone by counting backwards is gone at the beginning of time.
fn deadline(millis: i64) -> Millis {
    Millis::try_from(millis).unwrap_or(0)
}
