//! The manifest: which files make up the log, in which order; and the names they have.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Error;

/// Where the log of one store lives.
#[derive(Clone, Debug)]
pub struct LogFiles {
    dir: PathBuf,
    stem: String,
}

impl LogFiles {
    /// Names the directory (`dir/appenddirname`) and the stem (`appendfilename`).
    pub fn new(dir: impl Into<PathBuf>, stem: impl Into<String>) -> LogFiles {
        LogFiles { dir: dir.into(), stem: stem.into() }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join(format!("{}.manifest", self.stem))
    }

    /// Forces the names of the files to the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(Error::io(&self.dir))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The base, if there is one: name and sequence number.
    pub base: Option<(String, u64)>,
    /// The increments in order: names and sequence numbers.
    pub increments: Vec<(String, u64)>,
}

impl Manifest {
    /// Reads the manifest; an empty one if there is none yet.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Manifest`] with the line that makes no sense.
    pub fn read(files: &LogFiles) -> Result<Manifest, Error> {
        let path = files.manifest();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Manifest::default()),
            Err(error) => return Err(Error::io(path)(error)),
        };
        let mut manifest = Manifest::default();
        for (index, line) in text.lines().enumerate() {
            let refuse = |reason: &str| Error::Manifest { path: path.clone(), line: index + 1, reason: reason.into() };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["file", name, "seq", seq, "type", kind, ..] = words[..] else {
                return Err(refuse("expected 'file NAME seq NUMBER type b|h|i'"));
            };
            if name.contains('/') {
                return Err(refuse("a file name must not name a directory"));
            }
            let seq = seq.parse().map_err(|_| refuse("the sequence number is not a number"))?;
            match kind {
                "b" if manifest.base.is_none() => manifest.base = Some((name.to_owned(), seq)),
                "b" => return Err(refuse("a second base")),
                "i" => manifest.increments.push((name.to_owned(), seq)),
                "h" => {}
                _ => return Err(refuse("unknown type")),
            }
        }
        Ok(manifest)
    }

    /// Replaces the manifest on disk in one step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, files: &LogFiles) -> Result<(), Error> {
        let mut text = String::new();
        if let Some((name, seq)) = &self.base {
            text.push_str(&format!("file {name} seq {seq} type b\n"));
        }
        for (name, seq) in &self.increments {
            text.push_str(&format!("file {name} seq {seq} type i\n"));
        }
        let (path, temporary) = (files.manifest(), files.path(&format!("temp-{}.manifest", files.stem)));
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(Error::io(&temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io(&path))?;
        files.sync()
    }

    /// Returns the name of the increment to append to, adding the first one if there is none.
    pub fn open_increment(&mut self, files: &LogFiles) -> &str {
        if self.increments.is_empty() {
            self.add_increment(files);
        }
        &self.increments[self.increments.len() - 1].0
    }

    /// Adds an increment behind those there are.
    pub(crate) fn add_increment(&mut self, files: &LogFiles) {
        let seq = self.increments.iter().map(|(_, seq)| *seq).max().unwrap_or(0) + 1;
        self.increments.push((format!("{}.{seq}.incr.aof", files.stem), seq));
    }

    /// Puts a new base in the place of the one there is.
    pub(crate) fn replace_base(&mut self, files: &LogFiles, form: BaseForm) {
        let seq = self.base.as_ref().map_or(0, |(_, seq)| *seq) + 1;
        let extension = match form {
            BaseForm::Snapshot => "rdb",
            BaseForm::Commands => "aof",
        };
        self.base = Some((format!("{}.{seq}.base.{extension}", files.stem), seq));
    }

    fn names(&self, name: &str) -> bool {
        self.base.iter().chain(&self.increments).any(|(named, _)| named == name)
    }

    /// Removes files of this log that the manifest does not name: those that were replaced, and what an attempt left behind that did not come to its end.
    ///
    /// A file that cannot be removed is tried again the next time.
    pub(crate) fn remove_others(&self, files: &LogFiles) {
        let Ok(entries) = fs::read_dir(&files.dir) else { return };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let rest = name.strip_prefix(&files.stem).and_then(|rest| rest.strip_prefix('.'));
            let is_part = rest.is_some_and(is_part) || name.starts_with(TEMPORARY_BASE);
            if is_part && !self.names(&name) {
                fs::remove_file(files.path(&name)).ok();
            }
        }
    }
}

/// Tells whether a name goes on behind the stem as those of increments and bases do.
fn is_part(rest: &str) -> bool {
    rest.split_once('.')
        .is_some_and(|(seq, kind)| seq.parse::<u64>().is_ok() && ["incr.aof", "base.rdb", "base.aof"].contains(&kind))
}

/// What the name of a base begins with while it is written.
pub(crate) const TEMPORARY_BASE: &str = "temp-rewriteaof-bg-";

/// In which format a base is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseForm {
    /// As a snapshot.
    Snapshot,
    /// As commands.
    Commands,
}
