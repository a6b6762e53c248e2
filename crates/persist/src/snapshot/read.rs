//! Reading a snapshot from its beginning to its end mark.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use redpoll_keyspace::rdb::{
    Extent, KEY_LEN_MAX, Refused, StoredKey, VERSION_MAX, is_empty_value, length_extent, read_length,
    read_stored_entry, read_string, string_extent, value_extent,
};
use redpoll_keyspace::{Limits, Millis};

use super::window::{Fault, Window};
use super::{HEAD_LEN, MAGIC, opcode};
use crate::Error;
use crate::disk::Disk;

/// The first version that ends with a checksum.
const CHECKSUM_SINCE: u16 = 5;

/// Most keys handed on together, and the bytes in the file after which fewer are.
pub(super) const TOGETHER_MAX: usize = 64;
const TOGETHER_LEN: u64 = 1 << 18;

/// Bytes that a key takes in a file, about: more keys than would fit into it are not believed in.
const KEY_LEN: u64 = 8;

/// What values are made into.
#[derive(Clone, Copy, Debug)]
pub struct Into<'a> {
    /// The thresholds of forms.
    pub limits: &'a Limits,
    /// A secret that goes into hash functions.
    pub seed: u64,
    /// Counts the bytes that are read, for who asks how far that has come.
    pub read: &'a AtomicU64,
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
    /// About so many keys will follow.
    Coming(usize),
    /// Keys that stand one behind the other. Who takes them takes them one by one from the front: what is refused is the one taken last.
    Keys(&'a mut VecDeque<StoredKey>),
    /// A key of a collection without members, which old servers have left in files; there is nothing to load.
    Empty(&'a [u8]),
}

impl Item<'_> {
    /// Returns how many keys these are.
    pub(crate) fn keys(&self) -> u64 {
        match self {
            Item::Keys(keys) => keys.len() as u64,
            _ => 0,
        }
    }
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
    let mut reader = Reader {
        window: Window::new(source, file_len, into.read),
        into,
        begin: 0,
        version: 0,
        next: Next::default(),
        keys: VecDeque::with_capacity(TOGETHER_MAX),
        begins: Vec::with_capacity(TOGETHER_MAX),
        coming_max: file_len / KEY_LEN,
    };
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
    window: Window<'a, R>,
    into: Into<'a>,
    /// Offset of what is being read.
    begin: u64,
    version: u16,
    next: Next,
    /// Keys to be handed on, and their offsets.
    keys: VecDeque<StoredKey>,
    begins: Vec<u64>,
    /// As many keys may still be said to come.
    coming_max: u64,
}

impl<R: std::io::Read> Reader<'_, R> {
    fn run(&mut self, take: &mut Take<'_>) -> Result<(), Fault> {
        let read = self.items(take);
        // What stands before the damage is taken, or refused, before it.
        self.hand_keys_on(take)?;
        read
    }

    fn items(&mut self, take: &mut Take<'_>) -> Result<(), Fault> {
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
                self.hand_on(Item::Aux(&name, &value), take)
            }
            opcode::LIBRARY => {
                let text = self.string()?;
                self.hand_on(Item::Library(&text), take)
            }
            opcode::DATABASE => {
                let number = self.length()?;
                self.hand_on(Item::Database(number), take)
            }
            opcode::SIZES => {
                let (keys, _volatile) = (self.length()?, self.length()?);
                let coming = keys.min(self.coming_max);
                self.coming_max -= coming;
                self.hand_on(Item::Coming(usize::try_from(coming).unwrap_or(usize::MAX)), take)
            }
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
        let key_len = self.window.whole(string_extent)?;
        let whole = self.window.whole(|bytes| match value_extent(kind, &bytes[key_len..]) {
            Extent::Whole(len) => Extent::Whole(key_len + len),
            Extent::More(len) => Extent::More(len.saturating_add(key_len as u64)),
            Extent::Unknown => Extent::Unknown,
        });
        let (key, bytes) = self.window.rest().split_at(key_len);
        let key = text(key)?;
        if key.len() > KEY_LEN_MAX {
            return Fault::wrong("a key is too long");
        }
        let len = whole.map_err(|fault| match fault {
            Fault::Wrong(reason) => Fault::Value(key.to_vec(), format!("type {kind}: {reason}")),
            fault => fault,
        })?;
        let bytes = &bytes[..len - key_len];
        let Next { deadline, idle_seconds, frequency } = std::mem::take(&mut self.next);
        match read_stored_entry(kind, &key, bytes, self.into.limits, self.into.seed) {
            Ok(mut entry) => {
                if deadline.is_some() {
                    entry.set_deadline(deadline);
                }
                self.keys.push_back(StoredKey { entry, idle_seconds, frequency });
                self.begins.push(self.begin);
            }
            Err(_) if is_empty_value(kind, bytes) => {
                let key = key.into_owned();
                self.window.advance(len);
                return self.hand_on(Item::Empty(&key), take);
            }
            Err(refused) => return Err(Fault::Value(key.into_owned(), damaged(refused))),
        }
        self.window.advance(len);
        let together = self.window.offset - self.begins[0];
        if self.keys.len() >= TOGETHER_MAX || together >= TOGETHER_LEN { self.hand_keys_on(take) } else { Ok(()) }
    }

    /// Hands on what is no key, after the keys before it.
    fn hand_on(&mut self, item: Item<'_>, take: &mut Take<'_>) -> Result<(), Fault> {
        self.hand_keys_on(take)?;
        take(item).map_err(Fault::Wrong)
    }

    fn hand_keys_on(&mut self, take: &mut Take<'_>) -> Result<(), Fault> {
        if self.keys.is_empty() {
            return Ok(());
        }
        if let Err(reason) = take(Item::Keys(&mut self.keys)) {
            let taken = self.begins.len() - self.keys.len();
            self.begin = self.begins[taken.saturating_sub(1)];
            self.keys.clear();
            return Err(Fault::Wrong(reason));
        }
        self.keys.clear();
        self.begins.clear();
        Ok(())
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
        let text = text(&self.window.rest()[..len])?.into_owned();
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

fn text(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    match read_string(bytes) {
        Some((text, [])) => Ok(text),
        _ => Fault::wrong("a compressed string is damaged"),
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
