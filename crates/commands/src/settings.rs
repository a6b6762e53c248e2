//! The settings table: every CONFIG parameter with its kind, bounds and default.
//!
//! Numbers are atomics that a command reads in a nanosecond; texts stand behind a lock. CONFIG GET/SET, the configuration file and the command line all
//! read this table.

mod table;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;
use redpoll_keyspace::Limits;

use crate::evict::Prefixes;
use crate::notifications;
use crate::output_limit::OutputLimits;

pub use table::{SETTINGS, Setting};
pub use values::{parse, parse_memory, parse_words};

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// A number within bounds.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// A number written in base 8.
    Octal,
    /// Bytes within bounds, with units `kb`, `mb`, `gb` (1024-based) and `k`, `m`, `g` (1000-based).
    Memory {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// Bytes, or a share of `maxmemory` such as `5%`, which is kept as a negative number.
    MemoryOrPercent,
    /// `yes` or `no`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// Classes of keyspace events, one letter each.
    Events,
    /// Limits of what waits for clients: `pubsub 32mb 8mb 60`.
    OutputLimits,
    /// Several words.
    Words(Words),
}

/// Settings of several words, and what the words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Addresses to listen on; one with a `-` before it may be missing.
    Addresses,
    /// Pairs of seconds and changes.
    Save,
    /// Percentiles.
    Percentiles,
    /// Three numbers for the system.
    OomScores,
    /// `default`, or how to shut down.
    Shutdown,
    /// Host and port of a master, or `no one`.
    Master,
    /// Beginnings of keys.
    Prefixes,
}

impl SettingKind {
    /// Tells whether a value may be several words, on the command line and in the configuration file.
    pub fn takes_several_words(self) -> bool {
        matches!(self, SettingKind::OutputLimits | SettingKind::Words(_))
    }
}

/// When a setting can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// By CONFIG SET at any time.
    Always,
    /// Only at start.
    AtStart,
    /// Accepted and reported for clients' sake; it has no effect here, as its documentation says.
    NoEffect,
    /// As [`Mutability::NoEffect`], and it can only be given at start.
    NoEffectAtStart,
}

impl Mutability {
    /// Tells whether CONFIG SET is refused.
    pub fn is_fixed(self) -> bool {
        matches!(self, Mutability::AtStart | Mutability::NoEffectAtStart)
    }

    /// Tells whether anything depends on the setting.
    pub fn has_effect(self) -> bool {
        matches!(self, Mutability::Always | Mutability::AtStart)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct SettingRow {
    /// The setting's identity.
    pub setting: Setting,
    /// The name in CONFIG and configuration files.
    pub name: &'static str,
    /// What values it takes.
    pub kind: SettingKind,
    /// The default, as text.
    pub default: &'static str,
    /// When it can change.
    pub mutability: Mutability,
    /// What it does.
    pub summary: &'static str,
}

/// The current values.
#[derive(Debug)]
pub struct Settings {
    numbers: Box<[AtomicI64]>,
    texts: Box<[RwLock<String>]>,
    /// How much may wait to be sent to clients.
    pub output_limits: OutputLimits,
    /// Beginnings of the keys that are never evicted.
    pub(crate) non_evictable: RwLock<Arc<Prefixes>>,
    /// The least time of a command that slow log or latency monitor want to know of.
    watched_nanos: AtomicU64,
}

impl Default for Settings {
    fn default() -> Settings {
        let settings = Settings {
            numbers: SETTINGS.iter().map(|_| AtomicI64::new(0)).collect(),
            texts: SETTINGS.iter().map(|_| RwLock::default()).collect(),
            output_limits: OutputLimits::default(),
            non_evictable: RwLock::default(),
            watched_nanos: AtomicU64::new(u64::MAX),
        };
        for row in SETTINGS {
            settings.put(row, row.default_value());
        }
        settings
    }
}

/// A checked value, ready to be put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A number; for choices the index of the word.
    Number(i64),
    /// A text.
    Text(String),
}

impl Settings {
    /// Returns a numeric setting.
    #[inline]
    pub fn int(&self, setting: Setting) -> i64 {
        self.numbers[setting as usize].load(Ordering::Relaxed)
    }

    /// Returns a setting that cannot be negative.
    #[inline]
    pub fn size(&self, setting: Setting) -> usize {
        usize::try_from(self.int(setting)).unwrap_or(0)
    }

    /// Returns a yes/no setting.
    pub fn is_on(&self, setting: Setting) -> bool {
        self.int(setting) != 0
    }

    /// Returns a setting as CONFIG GET prints it.
    pub fn text(&self, setting: Setting) -> String {
        let row = &SETTINGS[setting as usize];
        match row.kind {
            SettingKind::Text | SettingKind::Words(_) => self.texts[setting as usize].read().clone(),
            SettingKind::OutputLimits => self.output_limits.text(),
            SettingKind::Events => notifications::text(self.int(setting)),
            SettingKind::Bool => if self.is_on(setting) { "yes" } else { "no" }.into(),
            SettingKind::Choice(words) => words[self.size(setting)].into(),
            SettingKind::Octal => format!("{:o}", self.int(setting)),
            SettingKind::MemoryOrPercent if self.int(setting) < 0 => format!("{}%", self.int(setting).unsigned_abs()),
            SettingKind::Int { .. } | SettingKind::Memory { .. } | SettingKind::MemoryOrPercent => {
                self.int(setting).to_string()
            }
        }
    }

    /// Returns a setting as [`Settings::put`] takes it.
    pub fn value(&self, row: &SettingRow) -> SettingValue {
        match row.kind {
            SettingKind::Text | SettingKind::Words(_) | SettingKind::OutputLimits => {
                SettingValue::Text(self.text(row.setting))
            }
            _ => SettingValue::Number(self.int(row.setting)),
        }
    }

    /// Puts a checked value in place.
    pub fn put(&self, row: &SettingRow, value: SettingValue) {
        match value {
            SettingValue::Number(number) => self.numbers[row.setting as usize].store(number, Ordering::Relaxed),
            SettingValue::Text(text) if row.kind == SettingKind::OutputLimits => self.output_limits.put(&text),
            SettingValue::Text(text) => {
                if row.setting == Setting::NonEvictablePrefixes {
                    *self.non_evictable.write() = Arc::new(Prefixes::of_words(&text));
                }
                *self.texts[row.setting as usize].write() = text;
            }
        }
        if matches!(row.setting, Setting::SlowlogLogSlowerThan | Setting::LatencyMonitorThreshold) {
            let slow_nanos = match self.int(Setting::SlowlogLogSlowerThan) {
                micros @ 0.. => micros.unsigned_abs().saturating_mul(1000),
                _ => u64::MAX,
            };
            let latency_nanos = match self.int(Setting::LatencyMonitorThreshold) {
                0 => u64::MAX,
                millis => millis.unsigned_abs().saturating_mul(1_000_000),
            };
            self.watched_nanos.store(slow_nanos.min(latency_nanos), Ordering::Relaxed);
        }
    }

    /// Returns the least time of a command that slow log or latency monitor want to know of, nanoseconds.
    #[inline]
    pub fn watched_nanos(&self) -> u64 {
        self.watched_nanos.load(Ordering::Relaxed)
    }

    /// Returns the thresholds at which values leave their compact form.
    #[inline]
    pub fn limits(&self) -> Limits {
        Limits {
            list_max_listpack_size: self.int(Setting::ListMaxListpackSize),
            hash_max_listpack_entries: self.size(Setting::HashMaxListpackEntries),
            hash_max_listpack_value: self.size(Setting::HashMaxListpackValue),
            set_max_intset_entries: self.size(Setting::SetMaxIntsetEntries),
            set_max_listpack_entries: self.size(Setting::SetMaxListpackEntries),
            set_max_listpack_value: self.size(Setting::SetMaxListpackValue),
            zset_max_listpack_entries: self.size(Setting::ZsetMaxListpackEntries),
            zset_max_listpack_value: self.size(Setting::ZsetMaxListpackValue),
            stream_node_max_bytes: self.size(Setting::StreamNodeMaxBytes),
            stream_node_max_entries: self.size(Setting::StreamNodeMaxEntries),
        }
    }
}

/// Finds a row by name in any case; older names are understood too.
pub fn find(name: &str) -> Option<&'static SettingRow> {
    let name = name.to_ascii_lowercase();
    SETTINGS.iter().find(|row| row.name == name || row.older_name().is_some_and(|older| older == name))
}

impl SettingRow {
    /// Returns the name the setting had in earlier versions of Redis, if another.
    pub fn older_name(&self) -> Option<String> {
        match self.setting {
            Setting::BusyReplyThreshold => Some("lua-time-limit".to_owned()),
            Setting::ReplicaAnnounced
            | Setting::ReplicaIgnoreDiskWriteErrors
            | Setting::ClusterAllowReplicaMigration
            | Setting::SetMaxListpackEntries
            | Setting::SetMaxListpackValue => None,
            _ if self.name.contains("listpack") => Some(self.name.replace("listpack", "ziplist")),
            _ if self.name.starts_with("repl-diskless") => None,
            _ if self.name.contains("replica") => Some(self.name.replace("replica", "slave")),
            _ => None,
        }
    }

    /// Tells whether the setting is only shown to who asks for it by name.
    pub fn is_hidden(&self) -> bool {
        table::HIDDEN.contains(&self.setting)
    }

    /// Tells whether only who `enable-protected-configs` names may change the setting.
    pub fn is_protected(&self) -> bool {
        table::PROTECTED.contains(&self.setting)
    }

    /// Returns the default as [`Settings::put`] takes it.
    pub fn default_value(&self) -> SettingValue {
        parse(self, self.default.as_bytes()).expect("defaults are valid")
    }
}
