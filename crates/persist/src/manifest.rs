//! The manifest: which files make up the log, in which order; and the names they have.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redpoll_resp::split_args;

use crate::Error;
use crate::disk::{Disk, SystemDisk};
use crate::error::Place;

/// Bytes of a line from which on it is too long.
const LINE_MAX: usize = 1024;

/// Where the log of one store lives.
#[derive(Clone, Debug)]
pub struct LogFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    stem: String,
}

impl LogFiles {
    /// Names the directory (`dir/appenddirname`) and the stem (`appendfilename`).
    pub fn new(dir: impl Into<PathBuf>, stem: impl Into<String>) -> LogFiles {
        LogFiles::on(Arc::new(SystemDisk), dir, stem)
    }

    /// Names the directory and the stem as [`LogFiles::new`] does, on another disk.
    pub fn on(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>, stem: impl Into<String>) -> LogFiles {
        LogFiles { disk, dir: dir.into(), stem: stem.into() }
    }

    /// Returns the disk.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what the names of all files begin with.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// Tells whether there is a log.
    pub fn is_begun(&self) -> bool {
        self.disk.length(&self.manifest()).is_ok()
    }

    /// Returns where the manifest is or would be.
    pub fn manifest(&self) -> PathBuf {
        self.dir.join(format!("{}.manifest", self.stem))
    }

    /// Forces the names of the files to the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.disk.sync_dir(&self.dir).map_err(Error::io(&self.dir))
    }

    /// Returns where a file is that the manifest names.
    pub fn path(&self, name: &str) -> PathBuf {
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
    /// Files that were replaced and are kept all the same, the latest first: names and sequence numbers. Nobody reads them.
    pub history: Vec<(String, u64)>,
}

/// What becomes of the files that a new base replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// They go.
    Removed,
    /// They stay, named as history, until [`Manifest::remove_history`]; so does whatever else lies there.
    Kept,
}

impl Manifest {
    /// Reads the manifest; an empty one if there is none yet.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Manifest`] with the line that makes no sense.
    pub fn read(files: &LogFiles) -> Result<Manifest, Error> {
        let path = files.manifest();
        let mut text = Vec::new();
        match files.disk.open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Manifest::default()),
            Err(error) => return Err(Error::io(path)(error)),
        }
        Manifest::parse(&text).map_err(|(place, reason)| Error::Manifest { path, place, reason })
    }

    /// Returns how many bytes there are to read, as far as the disk tells.
    pub fn length(&self, files: &LogFiles) -> u64 {
        let names = self.base.iter().chain(&self.increments).map(|(name, _)| files.path(name));
        names.map(|path| files.disk.length(&path).unwrap_or(0)).sum()
    }

    fn parse(text: &[u8]) -> Result<Manifest, (Place, &'static str)> {
        if text.is_empty() {
            return Err((Place::Whole, "Found an empty AOF manifest"));
        }
        let mut manifest = Manifest::default();
        for (index, line) in text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n').enumerate() {
            if !line.starts_with(b"#") {
                manifest.line(line).map_err(|reason| (Place::Line(index + 1), reason))?;
            }
        }
        Ok(manifest)
    }

    /// Takes a line over: pairs of a key and its value, of which those that are not known are passed over.
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const MALFORMED: &str = "Invalid AOF manifest file format";
        if line.len() >= LINE_MAX {
            return Err("The AOF manifest file contains too long line");
        }
        let words = split_args(line.trim_ascii()).map_err(|_| MALFORMED)?;
        if words.len() < 6 || !words.len().is_multiple_of(2) {
            return Err(MALFORMED);
        }
        let value = |key: &str| {
            let pair = words.chunks_exact(2).find(|pair| pair[0].eq_ignore_ascii_case(key.as_bytes()));
            pair.and_then(|pair| std::str::from_utf8(&pair[1]).ok()).ok_or(MALFORMED)
        };
        let (name, seq, kind) = (value("file")?, value("seq")?, value("type")?);
        if name.is_empty() || name.contains('/') {
            return Err("File can't be a path, just a filename");
        }
        let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(MALFORMED)?;
        let file = (name.to_owned(), seq);
        match kind {
            "b" if self.base.is_some() => Err("Found duplicate base file information"),
            "b" => {
                self.base = Some(file);
                Ok(())
            }
            "i" if self.increments.last().is_some_and(|(_, last)| seq <= *last) => {
                Err("Found a non-monotonic sequence number")
            }
            "i" => {
                self.increments.push(file);
                Ok(())
            }
            "h" => {
                self.history.push(file);
                Ok(())
            }
            _ => Err("Unknown AOF file type"),
        }
    }

    /// Takes over a log of one file beside the directory of the log, as Redis kept it before 7.0: it becomes the base.
    ///
    /// The manifest is written before the file is moved, so that a crash between the two leaves what the next start goes on with.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Manifest`].
    pub fn take_over_single_file(files: &LogFiles) -> Result<(), Error> {
        let (Some(parent), place) = (files.dir.parent(), files.path(&files.stem)) else { return Ok(()) };
        let single = parent.join(&files.stem);
        let taken_over = Manifest { base: Some((files.stem.clone(), 1)), ..Manifest::default() };
        let is_due = if files.is_begun() { Manifest::read(files)? == taken_over } else { true };
        if !is_due || files.disk.length(&place).is_ok() || files.disk.length(&single).is_err() {
            return Ok(());
        }
        taken_over.write(files)?;
        files.disk.rename(&single, &place).map_err(Error::io(&single))?;
        files.sync()
    }

    /// Replaces the manifest on disk in one step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, files: &LogFiles) -> Result<(), Error> {
        let bases = self.base.iter().map(|file| (file, 'b'));
        let history = self.history.iter().map(|file| (file, 'h'));
        let increments = self.increments.iter().map(|file| (file, 'i'));
        let mut text = String::new();
        for ((name, seq), kind) in bases.chain(history).chain(increments) {
            text.push_str(&format!("file {} seq {seq} type {kind}\n", written(name)));
        }
        let (path, temporary) = (files.manifest(), files.path(&format!("temp-{}.manifest", files.stem)));
        let written = files.disk.create_public(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync()
        });
        written.map_err(Error::io(&temporary))?;
        files.disk.rename(&temporary, &path).map_err(Error::io(&path))?;
        files.sync()
    }

    /// Adds an increment behind those there are and those that are kept as history, and returns its name. A file that lies there is not taken: what it holds
    /// belongs to another log.
    pub(crate) fn add_increment(&mut self, files: &LogFiles) -> &str {
        let first = self.increments.iter().map(|(_, seq)| *seq).max().unwrap_or(0) + 1;
        let mut named = (first..).map(|seq| (format!("{}.{seq}.incr.aof", files.stem), seq));
        // A file of which nothing can be said is somebody's.
        let is_absent = |name: &str| {
            files.disk.length(&files.path(name)).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let is_free = |name: &str| !self.names(name) && is_absent(name);
        let added = named.find(|(name, _)| is_free(name)).expect("numbers do not run out");
        self.increments.push(added);
        &self.increments[self.increments.len() - 1].0
    }

    /// Puts a new base in the place of the one there is. A file that bears its name is never written over: it may be all that a lost manifest named.
    pub(crate) fn replace_base(&mut self, files: &LogFiles, form: BaseForm) {
        let extension = match form {
            BaseForm::Snapshot => "rdb",
            BaseForm::Commands => "aof",
        };
        let first = self.base.as_ref().map_or(0, |(_, seq)| *seq) + 1;
        let mut named = (first..).map(|seq| (format!("{}.{seq}.base.{extension}", files.stem), seq));
        self.base = named.find(|(name, _)| files.disk.length(&files.path(name)).is_err());
    }

    fn names(&self, name: &str) -> bool {
        self.base.iter().chain(&self.increments).chain(&self.history).any(|(named, _)| named == name)
    }

    /// Takes over as history what another manifest names and this one does not, and its history.
    pub(crate) fn keep(&mut self, before: Manifest) {
        let replaced = before.increments.into_iter().chain(before.base).filter(|(name, _)| !self.names(name));
        let kept = before.history.into_iter().filter(|(name, _)| !self.names(name));
        self.history = replaced.chain(kept).collect();
    }

    /// Removes the files that were replaced and kept. The manifest is written first, so that it never names what is not there.
    ///
    /// A file that cannot be removed is tried again when the log is rewritten.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Manifest`].
    pub fn remove_history(files: &LogFiles) -> Result<(), Error> {
        let mut manifest = Manifest::read(files)?;
        let history = std::mem::take(&mut manifest.history);
        if history.is_empty() {
            return Ok(());
        }
        manifest.write(files)?;
        for (name, _) in history.iter().filter(|(name, _)| !manifest.names(name)) {
            files.disk.remove(&files.path(name)).ok();
        }
        Ok(())
    }

    /// Removes files of this log that the manifest does not name: those that were replaced, and what an attempt left behind that did not come to its end.
    ///
    /// A file that cannot be removed is tried again the next time.
    pub(crate) fn remove_others(&self, files: &LogFiles) {
        for name in files.disk.list(&files.dir).unwrap_or_default() {
            let rest = name.strip_prefix(&files.stem).and_then(|rest| rest.strip_prefix('.'));
            let is_part = rest.is_some_and(is_part) || name.starts_with(TEMPORARY_BASE) || name == files.stem;
            if is_part && !self.names(&name) {
                files.disk.remove(&files.path(&name)).ok();
            }
        }
    }
}

/// Puts a name in quotes if it would be several words otherwise, or another one.
fn written(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if name.bytes().all(is_plain) {
        return name.into();
    }
    let mut text = String::from("\"");
    for char in name.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ => text.push(char),
        }
    }
    text.push('"');
    text.into()
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

#[cfg(test)]
mod tests {
    use std::fs;

    use redpoll_testkit::Scratch;

    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let shown = |Manifest { base, increments, history }| format!("{base:?} {increments:?} {history:?}");
        let parsed =
            Manifest::parse(text.as_bytes()).map(shown).map_err(|(place, reason)| format!("{place}: {reason}"));
        assert_eq!(parsed, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn lines_are_pairs_of_a_key_and_a_value() {
        check("# one\nfile a seq 2 type b more said\n", Ok(r#"Some(("a", 2)) [] []"#));
        check("type i seq 3 file \" a\\n\"\nfile x seq 1 type h\n", Ok(r#"None [(" a\n", 3)] [("x", 1)]"#));
        check("", Err("all of it: Found an empty AOF manifest"));
        check("file a seq 1 type b\n\nfile b seq 1 type i\n", Err("line 2: Invalid AOF manifest file format"));
        for malformed in ["file a seq 1 type", "filx a seq 1 type b", "file a seq 1 type b odd", "file a seq x type b"]
        {
            check(malformed, Err("line 1: Invalid AOF manifest file format"));
        }
        check("file ../a seq 1 type b", Err("line 1: File can't be a path, just a filename"));
        check("file a seq 1 type x", Err("line 1: Unknown AOF file type"));
        check("file a seq 1 type b\nfile b seq 2 type b", Err("line 2: Found duplicate base file information"));
        check("file a seq 2 type i\nfile b seq 2 type i", Err("line 2: Found a non-monotonic sequence number"));
        check(&"file a seq 1 type b ".repeat(60), Err("line 1: The AOF manifest file contains too long line"));
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for name in ["appendonly.aof.1.incr.aof", " file seq \n\n.aof ", "a\"b\\c\rd\te", "grün"] {
            let line = format!("file {} seq 1 type i", written(name));
            assert_eq!(Manifest::parse(line.as_bytes()).unwrap().increments, [(name.to_owned(), 1)], "{line}");
        }
    }

    #[test]
    fn a_log_of_one_file_becomes_the_base_and_nothing_else_is_moved() {
        let scratch = Scratch::new().unwrap();
        let dir = scratch.path();
        let files = LogFiles::new(dir.join("log"), "one.aof");
        fs::create_dir_all(files.dir()).unwrap();
        let (single, place) = (dir.join("one.aof"), files.path("one.aof"));
        fs::write(&single, "old").unwrap();
        Manifest::take_over_single_file(&files).unwrap();
        let taken_over = Manifest::read(&files).unwrap();
        assert_eq!((taken_over.base, single.exists()), (Some(("one.aof".to_owned(), 1)), false));
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        // A crash between the manifest and the move is made good; a second file is left where it is.
        fs::rename(&place, &single).unwrap();
        Manifest::take_over_single_file(&files).unwrap();
        assert!(place.exists() && !single.exists());
        fs::write(&single, "another").unwrap();
        Manifest::take_over_single_file(&files).unwrap();
        assert_eq!((fs::read_to_string(&place).unwrap(), single.exists()), ("old".to_owned(), true));
    }
}
