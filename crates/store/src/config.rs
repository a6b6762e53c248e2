//! How a store is set up.

use std::sync::Arc;

use redpoll_commands::engine::Clock;
use redpoll_commands::settings::{self, Setting, Settings};

use redpoll_persist::disk::Disk;
use redpoll_persist::sealed::KeyRing;

use crate::Error;
use crate::host::OnShutdown;

/// What is no setting of the table, since it can be given several times.
pub(crate) const LISTS: [&str; 2] = ["user", "rename-command"];

/// Settings of a store, checked as they are made.
#[derive(Debug, Default)]
pub struct Config {
    pub(crate) settings: Settings,
    pub(crate) on_shutdown: Option<OnShutdown>,
    /// Lines `user …`, without that word.
    pub(crate) users: Vec<String>,
    /// Names of commands and the names they get instead.
    pub(crate) renames: Vec<(String, String)>,
    /// Path of the configuration file, if there is one.
    pub(crate) file: Option<String>,
    /// Settings of that file that have no effect here.
    pub(crate) without_effect: Vec<&'static str>,
    /// Where the data directory is, if not on the disk of the operating system.
    pub(crate) disk: Option<Arc<dyn Disk>>,
    /// What tells the time, if not the computer.
    pub(crate) clock: Option<GivenClock>,
    /// Keys of data files that are no settings, so that nobody can ask for them.
    pub(crate) keys: KeyRing,
}

/// A clock from outside.
pub(crate) struct GivenClock(pub(crate) Box<dyn Clock>);

impl std::fmt::Debug for GivenClock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("GivenClock")
    }
}

impl Config {
    /// Returns the defaults: 16 databases, no memory limit, no data directory, so neither a log nor snapshots.
    pub fn in_memory() -> Config {
        let config = Config::default();
        let dir = &settings::SETTINGS[Setting::Dir as usize];
        config.settings.put(dir, settings::SettingValue::Text(String::new()));
        config
    }

    /// Returns a configuration that keeps its data in a directory, with the log on.
    pub fn in_directory(dir: impl Into<String>) -> Config {
        let config = Config::default();
        let put = |setting, value| {
            config.settings.put(&settings::SETTINGS[setting as usize], value);
        };
        put(Setting::Dir, settings::SettingValue::Text(dir.into()));
        put(Setting::Appendonly, settings::SettingValue::Number(1));
        config
    }

    /// Sets any setting by the name it has in `redis.conf`, such as `maxmemory` or `appendfsync`. `user` (a name and its rules) and `rename-command`
    /// (two names, the second of which may be `""`) can be given several times.
    ///
    /// # Errors
    /// [`Error::Setting`] if the name is unknown or the value does not fit.
    pub fn set(mut self, name: &str, value: &str) -> Result<Config, Error> {
        let refuse = |reason: String| Error::Setting { name: name.to_owned(), reason };
        if LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) {
            let words = redpoll_resp::split_args(value.as_bytes()).map_err(|error| refuse(error.to_string()))?;
            self.add(&name.to_ascii_lowercase(), &words).map_err(refuse)?;
            return Ok(self);
        }
        let row = settings::find(name).ok_or_else(|| refuse("unknown setting".into()))?;
        let value = settings::parse(row, value.as_bytes()).map_err(refuse)?;
        self.settings.put(row, value);
        Ok(self)
    }

    /// Takes a user or another name of a command.
    pub(crate) fn add(&mut self, name: &str, words: &[Vec<u8>]) -> Result<(), String> {
        let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        match (name, words) {
            ("user", _) => self.users.push(words.iter().map(text).collect::<Vec<_>>().join(" ")),
            ("rename-command", [old, new]) => self.renames.push((text(old), text(new))),
            _ => return Err("wrong number of arguments".into()),
        }
        Ok(())
    }

    /// Says how a client's SHUTDOWN ends the program; without this it is refused.
    ///
    /// `end` is called with the log on the disk, while the command runs: it tells the program to end and does not wait.
    #[must_use]
    pub fn on_shutdown(self, end: impl Fn() + Send + Sync + 'static) -> Config {
        Config { on_shutdown: Some(OnShutdown(Box::new(end))), ..self }
    }

    /// Seals data files with keys: 32 bytes in hexadecimal or Base64, one on a line. Those of the setting `encryption-key-file` come before them; the first of all is
    /// the one that is written with. Unlike settings they are never shown.
    ///
    /// # Errors
    /// [`Error::Setting`] if one is no key.
    pub fn encryption_keys(self, text: &str) -> Result<Config, Error> {
        let refuse = |reason| Error::Setting { name: "encryption keys".into(), reason };
        let keys = self.keys.clone().and(KeyRing::parse(text).map_err(refuse)?);
        Ok(Config { keys, ..self })
    }

    /// Puts the data directory on another disk than that of the operating system: for tests, on one that fails.
    #[must_use]
    pub fn on_disk(self, disk: Arc<dyn Disk>) -> Config {
        Config { disk: Some(disk), ..self }
    }

    /// Has another clock than the computer's tell the time: for tests, one that jumps.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Config {
        Config { clock: Some(GivenClock(Box::new(clock))), ..self }
    }

    /// Returns the settings as they stand.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
