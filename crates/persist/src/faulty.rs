//! A disk for tests: in memory, with what goes wrong where a test says so.
//!
//! It has two layers, as a real one has: what programs see (the page cache) and what is left after the power went. A file's content gets from the one to the
//! other when the file is synced, its name when its directory is. Tests plan [`Fault`]s by the number of the call, take space away, turn bits, or end it all:
//! after [`FaultyDisk::crash`] everything that was not synced may be there, in part, in another order, or not at all; after [`FaultyDisk::kill`], the end of
//! a process, all of it is. Both give the disk that a restart would find, and whoever still works on the old one is refused.
//!
//! It is as unkind as POSIX allows: a file that was synced has no name if its directory was not; of two renames the second may survive alone; a sync
//! that fails stores some blocks and drops the others from what is yet to be stored, as Linux does, so that the next one succeeds and says nothing. Two things
//! are taken for granted: a rename is there or not, never half, and directories stay when they are made.
//!
//! What is random comes from the seed that the disk or the crash was given.

mod content;
mod fault;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, Lock, ReadFile, WriteFile, directory_of};
use content::{Content, Dice};
use fault::CALLS;
pub use fault::{Call, Fault};

/// Whether the disk works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Power {
    #[default]
    On,
    /// Everything that changes something is refused.
    Refusing,
    /// Whoever uses it belongs to a program that is no more.
    Off,
}

/// A change of names that is not durable yet: all of its entries are there after a crash, or none.
#[derive(Clone, Debug)]
struct Renaming {
    dir: PathBuf,
    entries: Vec<(PathBuf, Option<u64>)>,
}

#[derive(Clone, Debug)]
struct State {
    /// What names stand for, as programs see them.
    names: BTreeMap<PathBuf, u64>,
    /// What they stand for after the power went.
    stored_names: BTreeMap<PathBuf, u64>,
    renamings: Vec<Renaming>,
    contents: BTreeMap<u64, Content>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    /// Files that are being made.
    making: BTreeSet<u64>,
    power: Power,
    capacity: usize,
    faults: Vec<Fault>,
    calls: [usize; CALLS],
    struck: usize,
    dice: Dice,
    /// Files of which a crash has left a later part and not an earlier one.
    holes: Vec<PathBuf>,
}

/// The disk; clones share it.
#[derive(Clone, Debug)]
pub struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    /// Makes an empty disk without faults.
    pub fn new(seed: u64) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(State {
            names: BTreeMap::new(),
            stored_names: BTreeMap::new(),
            renamings: Vec::new(),
            contents: BTreeMap::new(),
            dirs: BTreeSet::new(),
            locks: BTreeSet::new(),
            making: BTreeSet::new(),
            power: Power::On,
            capacity: usize::MAX,
            faults: Vec::new(),
            calls: [0; CALLS],
            struck: 0,
            dice: Dice(seed),
            holes: Vec::new(),
        })))
    }

    /// Plans faults in the place of those that were planned.
    pub fn plan(&self, faults: Vec<Fault>) {
        self.0.lock().faults = faults;
    }

    /// Refuses every change from now on.
    pub fn refuse(&self) {
        self.0.lock().power = Power::Refusing;
    }

    /// Ends [`FaultyDisk::refuse`].
    pub fn relent(&self) {
        self.0.lock().power = Power::On;
    }

    /// Lets files have so many bytes in all.
    pub fn limit(&self, capacity: usize) {
        self.0.lock().capacity = capacity;
    }

    /// Returns the bytes of all files that have a name.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// Returns how many calls of a kind there were.
    pub fn calls(&self, call: Call) -> usize {
        self.0.lock().calls[call as usize]
    }

    /// Returns how many planned faults have struck.
    pub fn struck(&self) -> usize {
        self.0.lock().struck
    }

    /// Returns what programs see of a file; nothing if there is none.
    pub fn seen(&self, path: &Path) -> Vec<u8> {
        let state = self.0.lock();
        state.names.get(path).map(|id| state.contents[id].seen().to_vec()).unwrap_or_default()
    }

    /// Returns what is left of a file after the power went, wherever its name is; nothing if there is none.
    pub fn stored(&self, path: &Path) -> Vec<u8> {
        let state = self.0.lock();
        state.names.get(path).map(|id| state.contents[id].stored().to_vec()).unwrap_or_default()
    }

    /// Returns the files there are.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// Returns the files of which the crash before this disk has left a later part and not an earlier one.
    pub fn holes(&self) -> Vec<PathBuf> {
        self.0.lock().holes.clone()
    }

    /// Returns the files of which something is seen that no sync will store any more, because one that failed has dropped it. Nobody can know that who
    /// reads them after [`FaultyDisk::kill`].
    pub fn deceptive(&self) -> Vec<PathBuf> {
        let state = self.0.lock();
        state.names.iter().filter(|(_, id)| state.contents[id].is_deceptive()).map(|(path, _)| path.clone()).collect()
    }

    /// Turns a bit of a file, counted from its beginning, wherever it is kept.
    ///
    /// # Panics
    /// If there is no such file or it is not that long.
    pub fn flip(&self, path: &Path, bit: usize) {
        let state = &mut *self.0.lock();
        state.contents.get_mut(&state.names[path]).expect("a name stands for a file").flip(bit);
    }

    /// Cuts the power; returns the disk that is found when it is back.
    pub fn crash(&self, seed: u64) -> FaultyDisk {
        let mut state = self.end();
        let mut dice = Dice(seed);
        let in_order = dice.chance(1, 2);
        let mut surviving = dice.below(state.renamings.len() + 1);
        for renaming in std::mem::take(&mut state.renamings) {
            let survives = if in_order { surviving > 0 } else { dice.chance(1, 2) };
            surviving = surviving.saturating_sub(1);
            if survives {
                apply(&mut state.stored_names, &renaming.entries);
            }
        }
        state.names = state.stored_names.clone();
        state.contents.retain(|id, _| state.stored_names.values().any(|named| named == id));
        state.holes.clear();
        for (path, id) in &state.names {
            let content = state.contents.get_mut(id).expect("a name stands for a file");
            if content.tear(&mut dice) {
                state.holes.push(path.clone());
            }
        }
        state.dice = dice;
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    /// Ends the program; returns the disk that the next one finds.
    pub fn kill(&self) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(self.end())))
    }

    /// Refuses whoever still uses this disk; returns a copy that nobody uses.
    fn end(&self) -> State {
        let state = &mut *self.0.lock();
        let left = State {
            power: Power::On,
            locks: BTreeSet::new(),
            making: BTreeSet::new(),
            faults: Vec::new(),
            calls: [0; CALLS],
            struck: 0,
            ..state.clone()
        };
        state.power = Power::Off;
        left
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, entries: &[(PathBuf, Option<u64>)]) {
    for (name, id) in entries {
        match id {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::other("the disk refuses"))
}

impl State {
    /// Counts a call and refuses it if that is planned.
    fn begin(&mut self, call: Call, fault: fn(usize) -> Fault) -> Result<()> {
        let index = self.calls[call as usize];
        self.calls[call as usize] += 1;
        if self.power != Power::On || self.strikes(fault(index)) { refused() } else { Ok(()) }
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        let planned = self.faults.len();
        self.faults.retain(|planned| *planned != fault);
        self.struck += planned - self.faults.len();
        self.faults.len() < planned
    }

    fn used(&self) -> usize {
        self.names.values().map(|id| self.contents[id].seen().len()).sum()
    }

    fn content(&mut self, id: u64) -> &mut Content {
        self.contents.get_mut(&id).expect("who has a file open keeps its content")
    }

    /// Finds a file, or makes an empty one.
    fn find_or_make(&mut self, path: &Path) -> Result<u64> {
        if let Some(id) = self.names.get(path) {
            return Ok(*id);
        }
        if !self.dirs.contains(directory_of(path)) {
            return Err(ErrorKind::NotFound.into());
        }
        let id = self.contents.last_key_value().map_or(0, |(last, _)| last + 1);
        self.contents.insert(id, Content::default());
        self.rename(directory_of(path), vec![(path.to_owned(), Some(id))]);
        Ok(id)
    }

    fn rename(&mut self, dir: &Path, entries: Vec<(PathBuf, Option<u64>)>) {
        apply(&mut self.names, &entries);
        self.renamings.push(Renaming { dir: dir.to_owned(), entries });
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> Result<Box<dyn ReadFile>> {
        let id = *self.0.lock().names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(OpenFile { disk: self.clone(), id, at: 0, made: false }))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        let state = &mut *self.0.lock();
        state.begin(Call::Create, Fault::Create)?;
        let id = state.find_or_make(path)?;
        if !state.making.insert(id) {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.content(id).truncate(0);
        Ok(Box::new(OpenFile { disk: self.clone(), id, at: 0, made: true }))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        let state = &mut *self.0.lock();
        state.begin(Call::Create, Fault::Create)?;
        let id = state.find_or_make(path)?;
        Ok(Box::new(OpenFile { disk: self.clone(), id, at: 0, made: false }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let state = &mut *self.0.lock();
        state.begin(Call::Rename, Fault::Rename)?;
        let id = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        state.rename(directory_of(to), vec![(from.to_owned(), None), (to.to_owned(), Some(id))]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let state = &mut *self.0.lock();
        if state.power != Power::On {
            return refused();
        }
        state.names.get(path).ok_or(ErrorKind::NotFound)?;
        state.rename(directory_of(path), vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        let state = &mut *self.0.lock();
        if state.dirs.contains(path) {
            return Ok(());
        }
        if state.power != Power::On {
            return refused();
        }
        state.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let state = &mut *self.0.lock();
        state.begin(Call::SyncDir, Fault::SyncDir)?;
        let (synced, rest) =
            std::mem::take(&mut state.renamings).into_iter().partition(|renaming| renaming.dir == path);
        state.renamings = rest;
        let synced: Vec<Renaming> = synced;
        synced.iter().for_each(|renaming| apply(&mut state.stored_names, &renaming.entries));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let state = self.0.lock();
        let inside = state.names.keys().chain(&state.dirs).filter(|name| name.parent() == Some(path));
        Ok(inside.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn length(&self, path: &Path) -> Result<u64> {
        let state = self.0.lock();
        let id = state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(state.contents[id].seen().len() as u64)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let state = &mut *self.0.lock();
        if !state.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(HeldLock { disk: self.clone(), path: path.to_owned() }))
    }
}

/// A lock that is let go of when this is dropped.
#[derive(Debug)]
struct HeldLock {
    disk: FaultyDisk,
    path: PathBuf,
}

impl Lock for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}

/// A file that somebody has open.
#[derive(Debug)]
struct OpenFile {
    disk: FaultyDisk,
    id: u64,
    /// Where reading goes on.
    at: usize,
    /// Nobody else may make this file.
    made: bool,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.made {
            self.disk.0.lock().making.remove(&self.id);
        }
    }
}

impl Read for OpenFile {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let state = &mut *self.disk.0.lock();
        let rest = state.content(self.id).seen().get(self.at..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

impl Seek for OpenFile {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let end = self.disk.0.lock().content(self.id).seen().len();
        let at = match to {
            SeekFrom::Start(at) => usize::try_from(at).ok(),
            SeekFrom::End(by) => isize::try_from(by).ok().and_then(|by| end.checked_add_signed(by)),
            SeekFrom::Current(by) => isize::try_from(by).ok().and_then(|by| self.at.checked_add_signed(by)),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at as u64)
    }
}

impl ReadFile for OpenFile {
    fn length(&self) -> Result<u64> {
        Ok(self.disk.0.lock().content(self.id).seen().len() as u64)
    }
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let state = &mut *self.disk.0.lock();
        let call = state.calls[Call::Write as usize];
        state.calls[Call::Write as usize] += 1;
        if state.power != Power::On {
            return refused();
        }
        let room = state.capacity.saturating_sub(state.used());
        let (is_refused, is_short) = (state.strikes(Fault::Write(call)), state.strikes(Fault::ShortWrite(call)));
        let wanted = match () {
            () if is_refused => 2,
            () if is_short => 3,
            () => bytes.len(),
        };
        let taken = wanted.min(bytes.len()).min(room);
        state.content(self.id).append(&bytes[..taken]);
        match taken {
            _ if is_refused => refused(),
            0 if !bytes.is_empty() => Err(ErrorKind::StorageFull.into()),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl WriteFile for OpenFile {
    fn length(&self) -> Result<u64> {
        ReadFile::length(self)
    }

    fn sync(&mut self) -> Result<()> {
        let state = &mut *self.disk.0.lock();
        let begun = state.begin(Call::Sync, Fault::Sync);
        if state.power == Power::Off {
            return begun;
        }
        let content = state.contents.get_mut(&self.id).expect("who has a file open keeps its content");
        match begun {
            Ok(()) => content.sync(),
            Err(_) => content.fail_to_sync(&mut state.dice),
        }
        begun
    }

    fn truncate(&mut self, length: u64) -> Result<()> {
        let state = &mut *self.disk.0.lock();
        state.begin(Call::Truncate, Fault::Truncate)?;
        state.content(self.id).truncate(usize::try_from(length).expect("it fits in memory"));
        Ok(())
    }
}
