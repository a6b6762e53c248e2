//! Looking at a data directory without opening it: what a start would read, whether that is whole, and cutting a damaged end of the log away.
//!
//! A [`Checker`] goes by the settings of a store for the names of files. It is shown a data directory, the directory of a log, or one file: a manifest, a log, a
//! snapshot. What can be told of files by themselves is `persist`'s; here the commands of a log are held against the command table as well, by name and
//! number of arguments. What only a loaded store can tell stays unsaid: that a key comes twice, or that a command meets a value of another type.
//!
//! Sealed files are opened with the keys of the settings, and copied as what they hold.
//!
//! Looking changes nothing and goes on beside a store that runs. Cutting and copying take the log's lock first, as a store does.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redpoll_commands::args::Args;
use redpoll_commands::registry::Registry;
use redpoll_commands::settings::Setting;
use redpoll_keyspace::Limits as Thresholds;
use redpoll_persist::disk::{Disk, Lock, SystemDisk, directory_of};
use redpoll_persist::{Error as FileError, Into, LogFiles, Manifest, Reading, Torn};
use redpoll_persist::{check_log, check_log_file, check_snapshot, cut, export};

pub use redpoll_persist::{Fault, Finding, Kind, Remedy};

use crate::log::{is_locked_by, lock, log_files};
use crate::seals::Seals;
use crate::{Config, Error, loading};

/// What a snapshot begins with.
const SNAPSHOT: &[u8] = b"REDIS";

/// Looks at files.
pub struct Checker {
    config: Config,
    disk: Arc<dyn Disk>,
    registry: Registry,
    thresholds: Thresholds,
}

/// Something that can be looked at.
enum Subject {
    Log(LogFiles),
    LogFile(PathBuf),
    Snapshot(PathBuf),
}

/// What can be looked at belongs to whoever holds this: no store writes to it.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "it is given back when it is dropped")] Vec<Box<dyn Lock>>);

impl Checker {
    /// Makes one for the files of a store with these settings.
    ///
    /// # Errors
    /// [`Error::Setting`] if the file of keys is none.
    pub fn new(mut config: Config) -> Result<Checker, Error> {
        let key_file = config.settings.text(Setting::EncryptionKeyFile);
        let seals = Seals::open(&key_file, std::mem::take(&mut config.keys), Arc::new(SystemDisk))?;
        let thresholds = config.settings.limits();
        let registry = Registry::new(redpoll_commands::families());
        Ok(Checker { config, disk: seals.disk(), registry, thresholds })
    }

    /// Looks at a directory or a file.
    ///
    /// # Errors
    /// [`Error::Directory`] if nothing is there to be looked at, [`Error::Log`] if the system refuses.
    pub fn look(&self, path: &Path) -> Result<Vec<Finding>, Error> {
        let into = Into { limits: &self.thresholds, seed: 0, read: &AtomicU64::new(0) };
        let reading = Reading { limits: loading::readable(), into, torn: Torn::Refuse };
        let known = |args: &[&[u8]]| match self.registry.resolve_logged(Args(args)) {
            Ok(command) if command.accepts(args.len()) => Ok(()),
            Ok(_) => Err("wrong number of arguments"),
            Err(_) => Err("Unknown command"),
        };
        let (disk, mut findings) = (&*self.disk, Vec::new());
        for subject in self.subjects(path)? {
            match subject {
                Subject::Log(files) => findings.extend(check_log(&files, &reading, &known)?),
                Subject::LogFile(path) => findings.push(check_log_file(disk, &path, Kind::Log, &reading, &known)?),
                Subject::Snapshot(path) => findings.push(check_snapshot(disk, &path, &reading)?),
            }
        }
        Ok(findings)
    }

    /// Takes what is there so that no store opens it meanwhile.
    ///
    /// # Errors
    /// [`Error::Directory`] if a store uses it.
    pub fn hold(&self, path: &Path) -> Result<Held, Error> {
        let stem = self.config.settings.text(Setting::Appendfilename);
        let mut locks = Vec::new();
        for subject in self.subjects(path)? {
            match subject {
                Subject::Log(files) => locks.push(lock(&*self.disk, directory_of(files.dir()), files.stem())?),
                Subject::LogFile(path) => {
                    let dir = directory_of(&path);
                    locks.push(lock(&*self.disk, dir, &stem)?);
                    // It may be a part of the log of the directory above.
                    if is_locked_by(directory_of(dir), &stem) {
                        locks.push(lock(&*self.disk, directory_of(dir), &stem)?);
                    }
                }
                Subject::Snapshot(_) => {}
            }
        }
        Ok(Held(locks))
    }

    /// Cuts a damaged end away as its finding says, after a copy of the file was put beside it, and returns the copy's path. `_held` says that no store is at work.
    ///
    /// # Errors
    /// [`Error::Log`] if the system refuses, or there is a copy already; [`Error::Directory`] if a cut is no remedy.
    pub fn repair(&self, finding: &Finding, _held: &Held) -> Result<PathBuf, Error> {
        let refuse = |reason: &str| Error::Directory { path: finding.path.clone(), reason: reason.to_owned() };
        match finding.fault.as_ref().map(|fault| fault.remedy) {
            Some(Remedy::Cut { .. }) if self.is_listed(finding) => {
                Err(refuse("it is one file of a log: repair the log by its manifest or its directory"))
            }
            Some(Remedy::Cut { from, .. }) => Ok(cut(&*self.disk, &finding.path, from)?),
            Some(Remedy::None(reason)) => Err(refuse(reason)),
            None => Err(refuse("nothing is wrong with it")),
        }
    }

    /// Copies what is there to a new directory, in the form that every server of the protocol opens. `_held` says that no store is at work.
    ///
    /// # Errors
    /// [`Error::Directory`] if there is something in the directory already, [`Error::Log`] if the system refuses.
    pub fn export(&self, path: &Path, to: &Path, _held: &Held) -> Result<Vec<PathBuf>, Error> {
        let refuse = |reason: String| Error::Directory { path: to.to_owned(), reason };
        std::fs::create_dir_all(to).map_err(|error| refuse(error.to_string()))?;
        if std::fs::read_dir(to).map_err(|error| refuse(error.to_string()))?.next().is_some() {
            return Err(refuse("it is not empty".into()));
        }
        let mut copies = Vec::new();
        for subject in self.subjects(path)? {
            match subject {
                Subject::Log(files) => {
                    let manifest = Manifest { history: Vec::new(), ..Manifest::read(&files)? };
                    let copied =
                        LogFiles::new(to.join(self.config.settings.text(Setting::Appenddirname)), files.stem());
                    std::fs::create_dir(copied.dir()).map_err(|error| refuse(error.to_string()))?;
                    for (name, _) in manifest.base.iter().chain(&manifest.increments) {
                        export(&*self.disk, &files.path(name), &copied.path(name))?;
                        copies.push(copied.path(name));
                    }
                    manifest.write(&copied)?;
                    copies.push(copied.manifest());
                }
                Subject::LogFile(path) | Subject::Snapshot(path) => {
                    let copy = to.join(path.file_name().unwrap_or_default());
                    export(&*self.disk, &path, &copy)?;
                    copies.push(copy);
                }
            }
        }
        Ok(copies)
    }

    /// Finds out what is meant.
    fn subjects(&self, path: &Path) -> Result<Vec<Subject>, Error> {
        let refuse = |reason: String| Error::Directory { path: path.to_owned(), reason };
        // Where it really is: what lies beside it and above it counts, too.
        let path = &std::fs::canonicalize(path).map_err(|error| refuse(error.to_string()))?;
        if !path.is_dir() {
            return Ok(vec![self.subject_of_file(path)?]);
        }
        let settings = &self.config.settings;
        let (stem, snapshot) = (settings.text(Setting::Appendfilename), path.join(settings.text(Setting::Dbfilename)));
        let mut subjects = Vec::new();
        let single = path.join(&stem);
        // The log of a data directory, or the directory is that of a log, or it is as servers before Redis 7 left it.
        let logs = [log_files(settings, &self.disk, path), LogFiles::on(Arc::clone(&self.disk), path, stem)];
        match logs.into_iter().find(LogFiles::is_begun) {
            Some(files) => subjects.push(Subject::Log(files)),
            None if single.is_file() => subjects.push(Subject::LogFile(single)),
            None => {}
        }
        if snapshot.is_file() {
            subjects.push(Subject::Snapshot(snapshot));
        }
        if subjects.is_empty() {
            return Err(refuse("there is neither a log nor a snapshot".into()));
        }
        Ok(subjects)
    }

    fn subject_of_file(&self, path: &Path) -> Result<Subject, Error> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(stem) = name.strip_suffix(".manifest") {
            return Ok(Subject::Log(LogFiles::on(Arc::clone(&self.disk), directory_of(path), stem)));
        }
        let path = path.to_owned();
        // The base of a log may go on with commands behind its snapshot.
        if !name.ends_with(".aof") && self.begins_with(&path, SNAPSHOT)? {
            return Ok(Subject::Snapshot(path));
        }
        Ok(Subject::LogFile(path))
    }

    fn begins_with(&self, path: &Path, magic: &[u8]) -> Result<bool, Error> {
        let mut head = Vec::new();
        let read = self.disk.open(path).and_then(|file| file.take(magic.len() as u64).read_to_end(&mut head));
        read.map_err(FileError::io(path))?;
        Ok(head == magic)
    }

    /// Tells whether a file that was looked at by itself is one of a log of several.
    fn is_listed(&self, finding: &Finding) -> bool {
        let (Kind::Log, Some(dir), Some(name)) = (finding.kind, finding.path.parent(), finding.path.file_name()) else {
            return false;
        };
        let manifests = std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".manifest").map(|stem| LogFiles::new(dir, stem))
        });
        let names =
            |manifest: Manifest| manifest.base.into_iter().chain(manifest.increments).any(|(named, _)| *name == *named);
        manifests.filter_map(|files| Manifest::read(&files).ok()).any(names)
    }
}
