//! The keys that data files are sealed with: whence they come, and bringing files into the form that is written now.
//!
//! Keys come from a file that the settings name, and behind them from whoever opens the store. The file is read at the start and whenever the setting is
//! set, to whatever it was before or not; that is how keys change: a new one goes to the first line, the setting is set again, and once everything is rewritten
//! the old line can go. A store goes on with the keys it has if the file is not what it should be, and no file is left behind that only a forgotten key opens.
//!
//! What is found in another form (never sealed, or sealed with an older key) is rewritten in the background, and again until that has succeeded.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redpoll_commands::engine::Engine;
use redpoll_commands::settings::Setting;
use redpoll_persist::disk::Disk;
use redpoll_persist::sealed::{KeyRing, SealedDisk};
use redpoll_persist::{LogFiles, Manifest};

use crate::Error;

/// The setting that names the file.
const SETTING: &str = "encryption-key-file";

/// Rights of a file's group and of others.
const OTHERS: u32 = 0o077;

/// Keys and the disk they are on.
#[derive(Debug)]
pub(crate) struct Seals {
    disk: Arc<SealedDisk>,
    /// Keys that come from elsewhere than from the file.
    given: KeyRing,
    /// What was read from a file when it was checked: that is what is used, whatever becomes of the file before.
    checked: Mutex<Option<(String, KeyRing)>>,
    /// Files are being renewed, and it is not known yet that they all were.
    is_renewing: AtomicBool,
}

/// What in a data directory may be sealed.
pub(crate) struct DataFiles {
    pub(crate) log: LogFiles,
    pub(crate) snapshot: PathBuf,
}

impl Seals {
    /// Puts the keys of a file, if one is named, and those given on a disk.
    pub(crate) fn open(path: &str, given: KeyRing, disk: Arc<dyn Disk>) -> Result<Seals, Error> {
        let refuse = |reason| Error::Setting { name: SETTING.into(), reason };
        let keys = read(path).map_err(refuse)?.and(given.clone());
        let (checked, is_renewing) = (Mutex::default(), AtomicBool::new(false));
        Ok(Seals { disk: Arc::new(SealedDisk::new(disk, keys)), given, checked, is_renewing })
    }

    /// Returns the disk.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::<SealedDisk>::clone(&self.disk)
    }

    /// Says why the keys of a file cannot be used from now on.
    pub(crate) fn check(&self, engine: &Engine, path: &str, files: &DataFiles) -> Result<(), String> {
        let keys = read(path)?.and(self.given.clone());
        let has = |id| keys.ids().any(|known| known == id);
        if keys.is_empty() && !self.disk.keys().is_empty() {
            return Err("without a key nothing can be sealed; redpoll check --export makes a copy that is not".into());
        }
        if engine.persistence.known().active.is_some() && !self.disk.keys().ids().all(has) {
            return Err("a file is just being written with a key that is not among the new ones".into());
        }
        for file in files.there() {
            let id = self.disk.key_of(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            if let Some(id) = id.filter(|id| !has(*id)) {
                return Err(format!("{} is sealed with the key {id}, which is not among the new ones", file.display()));
            }
        }
        *self.checked.lock() = Some((path.to_owned(), keys));
        Ok(())
    }

    /// Uses the keys of a file that was checked from now on, and has rewritten what is not sealed with the first of them.
    pub(crate) fn change(&self, engine: &Engine, files: &DataFiles) {
        let named = engine.settings.text(Setting::EncryptionKeyFile);
        let Some((_, keys)) = self.checked.lock().take().filter(|(path, _)| *path == *named) else {
            return tracing::error!("the keys of data files stay as they were: those of {named} were not checked");
        };
        let before = self.disk.keys().ids().next();
        self.disk.set_keys(keys);
        if self.disk.keys().ids().next() != before && engine.settings.is_on(Setting::Appendonly) {
            // Also if what is appended to is empty: it was opened as files were written before.
            engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
        }
        self.renew(engine, files);
    }

    /// Tells whether it is to be looked whether files were renewed.
    pub(crate) fn is_renewing(&self) -> bool {
        self.is_renewing.load(Ordering::Relaxed)
    }

    /// Has files rewritten in the background that are not in the form that is written now.
    pub(crate) fn renew(&self, engine: &Engine, files: &DataFiles) {
        let Some(id) = self.disk.keys().ids().next() else { return };
        let is_older = |path: &PathBuf| matches!(self.disk.is_as_written(path), Ok(false));
        let persistence = &engine.persistence;
        let mut is_renewing = false;
        if files.of_log().iter().any(is_older) {
            if engine.settings.is_on(Setting::Appendonly) {
                tracing::info!("the log is rewritten to be sealed with the key {id}");
                persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
                is_renewing = true;
            } else {
                // What it holds may be found nowhere else.
                tracing::warn!(
                    "the log that is switched off is not sealed with the key {id}; BGREWRITEAOF makes it anew"
                );
            }
        }
        if is_older(&files.snapshot) {
            tracing::info!("a snapshot is made that is sealed with the key {id}");
            persistence.save_scheduled.store(true, Ordering::Relaxed);
            is_renewing = true;
        }
        self.is_renewing.store(is_renewing, Ordering::Relaxed);
    }
}

impl DataFiles {
    /// Lists the files of the log.
    fn of_log(&self) -> Vec<PathBuf> {
        let Manifest { base, increments, .. } = Manifest::read(&self.log).unwrap_or_default();
        base.into_iter().chain(increments).map(|(name, _)| self.log.path(&name)).collect()
    }

    fn there(&self) -> Vec<PathBuf> {
        let mut paths = self.of_log();
        paths.push(self.snapshot.clone());
        paths.retain(|path| self.log.disk().length(path).is_ok());
        paths
    }
}

/// Reads a file of keys; there are none if none is named.
fn read(path: &str) -> Result<KeyRing, String> {
    if path.is_empty() {
        return Ok(KeyRing::default());
    }
    let refuse = |error: std::io::Error| format!("{path}: {error}");
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(refuse)?);
    let mode = std::fs::metadata(Path::new(path)).map_err(refuse)?.permissions().mode();
    if mode & OTHERS != 0 {
        tracing::warn!(
            "the file of keys {path} is open to others (mode {:o}): chmod 600 keeps it to its owner",
            mode & 0o777
        );
    }
    let keys = KeyRing::parse(&text).map_err(|reason| format!("{path}: {reason}"))?;
    if keys.is_empty() { Err(format!("{path}: there is no key in it")) } else { Ok(keys) }
}
