//! Reading `redis.conf`.
//!
//! Files are read as redis-server reads them: line by line, later lines before earlier ones, `include` in place, and what else there is to set (a command
//! line) as further lines behind the file's. The first wrong line ends it, and the error says which and why in the words redis-server has for that.
//!
//! What is known but has no effect here is taken and noted; the store says so in its log when it opens. What belongs to other programs or to what is
//! not there (modules, Sentinel) is refused.

use std::path::{Path, PathBuf};

use redpoll_commands::config_file::{Line, Save, lines};
use redpoll_commands::settings::{self, Setting, SettingRow};
use redpoll_structures::glob;

use crate::config::LISTS;
use crate::{Config, Error};

/// How deep files may include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Settings of earlier versions of Redis that mean nothing any more.
const FORGOTTEN: &[&str] = &["list-max-ziplist-entries", "list-max-ziplist-value"];

/// Names that are no settings, and why they are refused.
const REFUSED: &[(&str, &str)] = &[
    ("loadmodule", "modules are not supported"),
    ("sentinel", "sentinel directive while not in sentinel mode"),
    ("locale-collate", "the collation cannot be changed"),
];

/// What is known while lines are taken one after the other.
#[derive(Default)]
struct Reading {
    save: Save,
    depth: usize,
}

impl Config {
    /// Reads a configuration file, and lines that stand as if behind it, after a line that is empty.
    ///
    /// The file is the one CONFIG REWRITE brings up to date.
    ///
    /// # Errors
    /// [`Error::ConfigUnreadable`] if a file cannot be read, [`Error::ConfigLine`] with the first line that is wrong.
    pub fn read(mut self, file: Option<&Path>, further: &str) -> Result<Config, Error> {
        let mut text = Vec::new();
        if let Some(path) = file {
            text = read_text(path)?;
            let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            self.file = Some(absolute.to_string_lossy().into_owned());
        }
        if !further.is_empty() {
            text.push(b'\n');
            text.extend_from_slice(further.as_bytes());
        }
        self.take_text(&text, &mut Reading::default())?;
        Ok(self)
    }

    /// Tells whether the settings come from a file.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    fn take_text(&mut self, text: &[u8], reading: &mut Reading) -> Result<(), Error> {
        for line in lines(text).map_err(Error::ConfigLine)? {
            self.take(&line, reading)?;
        }
        Ok(())
    }

    fn take(&mut self, line: &Line, reading: &mut Reading) -> Result<(), Error> {
        let refuse = |reason: String| Error::ConfigLine(line.fault(reason));
        let name = line.name.as_str();
        if name == "include" {
            let [path] = line.words.as_slice() else { return Err(refuse("wrong number of arguments".into())) };
            return self.include(&String::from_utf8_lossy(path), line, reading);
        }
        if LISTS.contains(&name) && !line.words.is_empty() {
            return self.add(name, &line.words).map_err(refuse);
        }
        if FORGOTTEN.contains(&name) {
            return Ok(());
        }
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(refuse((*reason).to_owned()));
        }
        let row = settings::find(name).ok_or_else(|| refuse("Bad directive or wrong number of arguments".into()))?;
        self.put(row, line, reading).map_err(refuse)
    }

    fn put(&mut self, row: &'static SettingRow, line: &Line, reading: &mut Reading) -> Result<(), String> {
        let value = if row.setting == Setting::Save {
            // A line without any rule says the same as an empty one.
            let none = [Vec::new()];
            reading.save.add(row, if line.words.is_empty() { &none } else { &line.words })?;
            reading.save.value().expect("a rule has just been added")
        } else {
            settings::parse_words(row, &line.words)?
        };
        if row.setting == Setting::Dir
            && let Some(path) = line.words.first()
        {
            let path = String::from_utf8_lossy(path).into_owned();
            std::fs::read_dir(&path).map_err(|error| format!("Can't chdir to '{path}': {}", said(&error)))?;
        }
        if !row.mutability.has_effect() && value != row.default_value() && !self.without_effect.contains(&row.name) {
            self.without_effect.push(row.name);
        }
        self.settings.put(row, value);
        Ok(())
    }

    /// Reads further files in the place of a line; the last part of the path may be a pattern.
    fn include(&mut self, path: &str, line: &Line, reading: &mut Reading) -> Result<(), Error> {
        if reading.depth == INCLUDE_DEPTH_MAX {
            return Err(Error::ConfigLine(line.fault("too many files include each other")));
        }
        reading.depth += 1;
        for path in matching(Path::new(path)) {
            let text = read_text(&path)?;
            self.take_text(&text, reading)?;
        }
        reading.depth -= 1;
        Ok(())
    }
}

/// Says what the system said, as C programs do.
fn said(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn read_text(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| Error::ConfigUnreadable { path: path.to_owned(), reason: said(&error) };
    std::fs::read(path).map_err(unreadable)
}

/// Returns the files a path with a pattern in its last part means, by name; the path itself if it has none.
fn matching(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return vec![path.to_owned()];
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let fits = |entry: &PathBuf| {
        entry.file_name().is_some_and(|found| glob::matches(name.as_bytes(), found.to_string_lossy().as_bytes()))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use redpoll_commands::config_file::Fault;

    use super::*;

    /// Reads lines without a file and prints a setting, or what is wrong.
    fn check(text: &str, name: &str, expected: &str) {
        let read = Config::in_memory().read(None, text);
        let shown = match read {
            Ok(config) => config.settings.text(settings::find(name).unwrap().setting),
            Err(Error::ConfigLine(Fault { number, text, reason })) => format!("{number}|{text}|{reason}"),
            Err(other) => other.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn lines_are_read_as_redis_reads_them() {
        check("# a comment\n\n  maxmemory 100mb \n", "maxmemory", "104857600");
        check("MAXMEMORY 1gb\nmaxmemory 2kb", "maxmemory", "2048");
        check("requirepass \"a \\x41\\n\"", "requirepass", "a A\n");
        check("requirepass 'it\\'s'", "requirepass", "it's");
        check("save 900 1\nsave 300 10", "save", "900 1 300 10");
        check("save 900 1\nsave \"\"", "save", "");
        check("save 900 1\nsave ", "save", "");
        check("save 900 1\nsave \"\"\nsave 60 5", "save", "60 5");
        check("bind 127.0.0.1 -::1", "bind", "127.0.0.1 -::1");
        check(
            "client-output-buffer-limit pubsub 1mb 2mb 3",
            "client-output-buffer-limit",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 2097152 3",
        );
        check("hash-max-ziplist-entries 7", "hash-max-listpack-entries", "7");
        check("slave-read-only no", "replica-read-only", "no");
        check("list-max-ziplist-entries 7", "maxmemory", "0");
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_redis() {
        check("port 1\n\nno-such 1", "port", "4|no-such 1|Bad directive or wrong number of arguments");
        check("port", "port", "2|port|wrong number of arguments");
        check(r#"port "1" "2""#, "port", r#"2|port "1" "2"|wrong number of arguments"#);
        check("port x", "port", "2|port x|argument couldn't be parsed into an integer");
        check("port \"1", "port", "2|port \"1|Unbalanced quotes in configuration line");
        check("replicaof a 1", "port", "2|replicaof a 1|replication is not supported");
        check("cluster-enabled yes", "port", "2|cluster-enabled yes|cluster mode is not supported");
        check("loadmodule a.so", "port", "2|loadmodule a.so|modules are not supported");
        check("rename-command GET", "port", "2|rename-command GET|wrong number of arguments");
        check("dir /no/such", "port", "2|dir /no/such|Can't chdir to '/no/such': No such file or directory");
    }

    #[test]
    fn files_include_each_other_up_to_a_depth() {
        let folder = std::env::temp_dir().join(format!("redpoll-config-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("more")).unwrap();
        let path = |name: &str| folder.join(name);
        std::fs::write(path("a.conf"), format!("port 1\ninclude {}\ntimeout 3", path("more/*.conf").display()))
            .unwrap();
        std::fs::write(path("more/1.conf"), "port 2\ntimeout 1").unwrap();
        std::fs::write(path("more/2.conf"), "hz 50\ntimeout 2").unwrap();
        std::fs::write(path("loop.conf"), format!("include {}", path("loop.conf").display())).unwrap();
        let config = Config::in_memory().read(Some(&path("a.conf")), "hz 60").unwrap();
        let text = |setting| config.settings.text(setting);
        assert_eq!([Setting::Port, Setting::Timeout, Setting::Hz].map(text), ["2", "3", "60"]);
        assert!(config.has_file());
        let endless = Config::in_memory().read(Some(&path("loop.conf")), "").unwrap_err();
        assert!(endless.to_string().contains("too many files"), "{endless}");
        let missing = Config::in_memory().read(Some(&path("none.conf")), "").unwrap_err();
        assert!(missing.to_string().contains("No such file"), "{missing}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
