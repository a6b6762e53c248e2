//! Rewriting the log: a new base that holds what all files so far come to, and an increment for what follows.
//!
//! ```text
//! before      base 1   increment 1
//! prepare     base 1   increment 1   increment 2 (empty)       named by the manifest, so that a crash at any time loses nothing
//! the moment  …        …             ◄ the log goes on here while the image of the moment is written beside it
//! finish      base 2                 increment 2               the manifest is replaced in one step, then the old files go
//! ```
//!
//! A log that is begun while the store runs has no base yet. Until it has one its increment means nothing, so the manifest of an older log stays as it
//! is and names neither.

use std::path::{Path, PathBuf};

use crate::disk::WriteFile;
use crate::manifest::{BaseForm, Replaced, TEMPORARY_BASE};
use crate::{AppendLog, Error, LogFiles, Manifest, SyncPolicy};

/// Whether the manifest names what is appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Listed,
    /// The log was begun while the store ran and has no base yet.
    Unlisted,
}

/// An increment to go on in.
#[derive(Debug)]
pub struct Increment {
    pub(crate) file: Box<dyn WriteFile>,
    pub(crate) path: PathBuf,
}

impl Increment {
    /// Opens one that is there. A program that was killed may have left in it what is not on the disk yet: that is forced there now.
    pub(crate) fn open(files: &LogFiles, name: &str) -> Result<Increment, Error> {
        let path = files.path(name);
        let synced = |mut file: Box<dyn WriteFile>| file.sync().map(|()| file);
        let file = files.disk().append(&path).and_then(synced).map_err(Error::io(&path))?;
        Ok(Increment { file, path })
    }

    /// Makes an empty one behind those that a manifest names, and names it there. It is on the disk before the manifest is.
    pub(crate) fn add(manifest: &mut Manifest, files: &LogFiles) -> Result<Increment, Error> {
        let increment = Increment::open(files, manifest.add_increment(files))?;
        files.sync()?;
        Ok(increment)
    }

    /// Begins a log with it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(self, policy: SyncPolicy) -> Result<AppendLog, Error> {
        AppendLog::begin(self.file, self.path, policy)
    }
}

/// A rewrite under way.
#[derive(Debug)]
pub struct Rewrite {
    files: LogFiles,
    /// What the manifest will say in the end.
    manifest: Manifest,
}

impl Rewrite {
    /// Makes the increment to go on in.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Manifest`]; everything is as before then.
    pub fn prepare(files: &LogFiles, standing: Standing) -> Result<(Rewrite, Increment), Error> {
        let mut manifest = Manifest::read(files)?;
        let increment = Increment::add(&mut manifest, files)?;
        if standing == Standing::Listed {
            manifest.write(files)?;
        }
        let added = manifest.increments.pop().expect("one was just added");
        let after = Manifest { base: manifest.base, increments: vec![added], history: Vec::new() };
        Ok((Rewrite { files: files.clone(), manifest: after }, increment))
    }

    /// Makes a log of nothing but a base, where none is appended to.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Manifest`].
    pub fn aside(files: &LogFiles) -> Result<Rewrite, Error> {
        let manifest = Manifest { base: Manifest::read(files)?.base, ..Manifest::default() };
        Ok(Rewrite { files: files.clone(), manifest })
    }

    /// Returns where the base is to be written before it has its name.
    pub fn temporary(&self) -> PathBuf {
        self.files.path(&format!("{TEMPORARY_BASE}{}.aof", std::process::id()))
    }

    /// Ends the rewrite: names the base, which `place` puts where it is told to, once it is on the disk.
    ///
    /// # Errors
    /// What `place` said, [`Error::Io`], [`Error::Manifest`]; the log is as it was after [`Rewrite::prepare`] then.
    pub fn finish<R>(
        mut self,
        form: BaseForm,
        replaced: Replaced,
        place: impl FnOnce(&Path) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.manifest.replace_base(&self.files, form);
        if replaced == Replaced::Kept {
            // Read again: history may have gone since the rewrite began.
            self.manifest.keep(Manifest::read(&self.files)?);
        }
        let (name, _) = self.manifest.base.as_ref().expect("the base was just named");
        let result = place(&self.files.path(name))?;
        self.manifest.write(&self.files)?;
        if replaced == Replaced::Removed {
            self.manifest.remove_others(&self.files);
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use redpoll_testkit::Scratch;

    use super::*;

    fn log() -> (Scratch, LogFiles) {
        let dir = Scratch::new().unwrap();
        let files = LogFiles::new(dir.path(), "appendonly.aof");
        (dir, files)
    }

    fn names(dir: &Scratch) -> BTreeSet<String> {
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn manifest(files: &LogFiles) -> String {
        std::fs::read_to_string(files.path("appendonly.aof.manifest")).unwrap()
    }

    fn put(path: &Path) -> Result<(), Error> {
        std::fs::write(path, b"base").map_err(Error::io(path))
    }

    #[test]
    fn the_manifest_names_what_holds_everything_at_any_time() {
        let (dir, files) = log();
        drop(AppendLog::open(&files, SyncPolicy::Always).unwrap());
        std::fs::write(dir.path().join("appendonly.aof.9.incr.aof"), b"left behind").unwrap();
        std::fs::write(dir.path().join("appendonly.aof.notes"), b"of somebody else").unwrap();
        std::fs::write(dir.path().join("temp-rewriteaof-bg-1.aof"), b"left behind").unwrap();
        let (rewrite, increment) = Rewrite::prepare(&files, Standing::Listed).unwrap();
        let both = "file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        assert_eq!(manifest(&files), both);
        rewrite.finish(BaseForm::Snapshot, Replaced::Removed, put).unwrap();
        let after = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
        assert_eq!(manifest(&files), after);
        let expected = [
            "appendonly.aof.1.base.rdb",
            "appendonly.aof.2.incr.aof",
            "appendonly.aof.manifest",
            "appendonly.aof.notes",
        ];
        assert_eq!(names(&dir), expected.map(str::to_owned).into());
        drop(increment);

        let (rewrite, _increment) = Rewrite::prepare(&files, Standing::Listed).unwrap();
        let failed = rewrite.finish(BaseForm::Commands, Replaced::Removed, |path| put(&path.join("nowhere")));
        assert!(failed.is_err());
        let three = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\nfile appendonly.aof.3.incr.aof seq 3 type i\n";
        assert_eq!(manifest(&files), three);
        let (rewrite, _increment) = Rewrite::prepare(&files, Standing::Listed).unwrap();
        rewrite.finish(BaseForm::Commands, Replaced::Removed, put).unwrap();
        let after = "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.4.incr.aof seq 4 type i\n";
        assert_eq!(manifest(&files), after);
        assert_eq!(names(&dir).len(), 4);
    }

    #[test]
    fn an_older_log_stays_until_the_new_one_has_a_base() {
        let (dir, files) = log();
        drop(AppendLog::open(&files, SyncPolicy::Always).unwrap());
        let before = manifest(&files);
        let (first, _increment) = Rewrite::prepare(&files, Standing::Unlisted).unwrap();
        assert_eq!(manifest(&files), before);
        drop(first);
        let (second, increment) = Rewrite::prepare(&files, Standing::Unlisted).unwrap();
        drop(increment.begin(SyncPolicy::Always).unwrap());
        second.finish(BaseForm::Snapshot, Replaced::Removed, put).unwrap();
        assert_eq!(names(&dir).len(), 3);
    }

    #[test]
    fn what_is_replaced_stays_as_history_until_that_is_removed() {
        let (dir, files) = log();
        drop(AppendLog::open(&files, SyncPolicy::Always).unwrap());
        let rewrite = |replaced| {
            let (rewrite, _increment) = Rewrite::prepare(&files, Standing::Listed).unwrap();
            rewrite.finish(BaseForm::Snapshot, replaced, put).unwrap();
        };
        let named = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| format!("file appendonly.aof.{line}\n")).collect();
            assert_eq!(manifest(&files), lines.concat());
            assert_eq!(names(&dir).len(), lines.len() + 1, "all that is named is there, and the manifest");
        };
        rewrite(Replaced::Kept);
        named(&["1.base.rdb seq 1 type b", "1.incr.aof seq 1 type h", "2.incr.aof seq 2 type i"]);
        // Another attempt failed before, so that there are two increments to replace.
        drop(Rewrite::prepare(&files, Standing::Listed).unwrap());
        rewrite(Replaced::Kept);
        named(&[
            "2.base.rdb seq 2 type b",
            "2.incr.aof seq 2 type h",
            "3.incr.aof seq 3 type h",
            "1.base.rdb seq 1 type h",
            "1.incr.aof seq 1 type h",
            "4.incr.aof seq 4 type i",
        ]);
        let (rewrite_begun, _increment) = Rewrite::prepare(&files, Standing::Listed).unwrap();
        Manifest::remove_history(&files).unwrap();
        named(&["2.base.rdb seq 2 type b", "4.incr.aof seq 4 type i", "5.incr.aof seq 5 type i"]);
        rewrite_begun.finish(BaseForm::Snapshot, Replaced::Kept, put).unwrap();
        named(&[
            "3.base.rdb seq 3 type b",
            "4.incr.aof seq 4 type h",
            "2.base.rdb seq 2 type h",
            "5.incr.aof seq 5 type i",
        ]);
        rewrite(Replaced::Removed);
        named(&["4.base.rdb seq 4 type b", "6.incr.aof seq 6 type i"]);
    }

    #[test]
    fn a_log_goes_on_in_no_file_that_is_there_already() {
        let (dir, files) = log();
        std::fs::write(dir.path().join("appendonly.aof.1.incr.aof"), b"of a log that lost its manifest").unwrap();
        drop(AppendLog::open(&files, SyncPolicy::Always).unwrap());
        assert_eq!(manifest(&files), "file appendonly.aof.2.incr.aof seq 2 type i\n");
        // The log is switched off, rewritten aside, and switched on again, while what is replaced is kept.
        Rewrite::aside(&files).unwrap().finish(BaseForm::Snapshot, Replaced::Kept, put).unwrap();
        let (rewrite, _increment) = Rewrite::prepare(&files, Standing::Unlisted).unwrap();
        rewrite.finish(BaseForm::Snapshot, Replaced::Kept, put).unwrap();
        let after = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.base.rdb seq 1 type h\n\
                     file appendonly.aof.2.incr.aof seq 2 type h\nfile appendonly.aof.3.incr.aof seq 3 type i\n";
        assert_eq!(manifest(&files), after);
        Manifest::remove_history(&files).unwrap();
        assert!(names(&dir).contains("appendonly.aof.3.incr.aof") && names(&dir).contains("appendonly.aof.1.incr.aof"));
        assert!(!names(&dir).contains("appendonly.aof.2.incr.aof"));
    }
}
