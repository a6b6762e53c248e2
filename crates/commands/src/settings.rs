//! The settings table: every CONFIG parameter with its kind, bounds and default.
//!
//! Numbers are atomics that a command reads in a nanosecond; texts stand behind a lock. CONFIG GET/SET, the configuration file and the command line all
//! read this table.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use redpoll_keyspace::Limits;
use redpoll_structures::decimal;

use crate::notifications;
use crate::output_limit::{self, OutputLimits};

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
    /// Bytes within bounds, with units `kb`, `mb`, `gb` (1024-based) and `k`, `m`, `g` (1000-based).
    Memory {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
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

macro_rules! settings {
    ($($id:ident $name:literal $kind:expr, $default:expr, $mutability:ident, $summary:literal;)*) => {
        /// Every setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Setting { $(#[doc = $summary] $id),* }

        /// The table.
        pub const SETTINGS: &[SettingRow] = &[$(SettingRow {
            setting: Setting::$id, name: $name, kind: $kind, default: $default, mutability: Mutability::$mutability, summary: $summary,
        }),*];
    };
}

const fn int(min: i64, max: i64) -> SettingKind {
    SettingKind::Int { min, max }
}

const SIZE: SettingKind = int(0, i64::MAX);
const MEMORY: SettingKind = SettingKind::Memory { min: 0, max: i64::MAX };
/// Keys and strings are never longer than 512 MB, so nobody can ask for longer ones.
const STRING: SettingKind = SettingKind::Memory { min: 1 << 20, max: 512 << 20 };
const POLICIES: SettingKind = SettingKind::Choice(&[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
]);

#[rustfmt::skip]
settings! {
    Databases "databases" int(1, 16_384), "16", AtStart, "Number of databases.";
    Maxmemory "maxmemory" MEMORY, "0", Always, "Bytes of data above which writes that need memory are refused; 0 for no limit.";
    MaxmemoryPolicy "maxmemory-policy" POLICIES, "noeviction", Always, "What to do when memory is full; also decides how accesses are stamped.";
    Maxclients "maxclients" int(1, 1_000_000), "10000", Always, "Connections beyond this number are refused.";
    Timeout "timeout" int(0, i32::MAX as i64), "0", Always, "Seconds after which an idle connection is closed; 0 for never.";
    ProtoMaxBulkLen "proto-max-bulk-len" STRING, "512mb", Always, "Longest string a client can send or make, at most 512mb.";
    ClientQueryBufferLimit "client-query-buffer-limit" MEMORY, "1gb", Always, "Most bytes a client can have sent without a complete command.";
    ClientOutputBufferLimit "client-output-buffer-limit" SettingKind::OutputLimits, output_limit::DEFAULT, Always, "What may wait to be sent to clients of a kind: bytes at once, bytes for long, and how many seconds long is.";
    Requirepass "requirepass" SettingKind::Text, "", Always, "Password of the default user; empty for none.";
    Aclfile "aclfile" SettingKind::Text, "", AtStart, "File of the users, which ACL LOAD and ACL SAVE use; empty for none.";
    AclPubsubDefault "acl-pubsub-default" SettingKind::Choice(&["resetchannels", "allchannels"]), "resetchannels", Always, "Which channels a new user may use.";
    AcllogMaxLen "acllog-max-len" SIZE, "128", Always, "Length of the log of refusals.";
    ProtectedMode "protected-mode" SettingKind::Bool, "yes", Always, "Whether clients of other machines are turned away while the default user needs no password.";
    TlsPort "tls-port" int(0, 65_535), "0", AtStart, "TCP port with TLS; 0 for none. With it, `port` 0 means that there is none without TLS.";
    TlsCertFile "tls-cert-file" SettingKind::Text, "", AtStart, "File of the server's certificate, PEM.";
    TlsKeyFile "tls-key-file" SettingKind::Text, "", AtStart, "File of the key of the server's certificate, PEM.";
    TlsCaCertFile "tls-ca-cert-file" SettingKind::Text, "", AtStart, "File of the authorities whose clients are trusted, PEM.";
    TlsAuthClients "tls-auth-clients" SettingKind::Choice(&["no", "yes", "optional"]), "yes", AtStart, "Whether clients must show a certificate.";
    LfuLogFactor "lfu-log-factor" int(0, i32::MAX as i64), "10", Always, "How slowly the access counter of LFU policies grows.";
    LfuDecayTime "lfu-decay-time" int(0, i32::MAX as i64), "1", Always, "Minutes after which the access counter of LFU policies is lowered by one.";
    ListMaxListpackSize "list-max-listpack-size" int(i32::MIN as i64, i32::MAX as i64), "-2", Always, "Entries of a list's packed block if positive; -1 to -5 for 4 to 64 KiB.";
    ListCompressDepth "list-compress-depth" int(0, i32::MAX as i64), "0", NoEffect, "Chunks at either end of a list that are not compressed; no chunk is.";
    HashMaxListpackEntries "hash-max-listpack-entries" SIZE, "512", Always, "Fields up to which a hash stays packed.";
    HashMaxListpackValue "hash-max-listpack-value" MEMORY, "64", Always, "Bytes of a field or value up to which a hash stays packed.";
    SetMaxIntsetEntries "set-max-intset-entries" SIZE, "512", Always, "Members up to which a set of integers stays an array.";
    SetMaxListpackEntries "set-max-listpack-entries" SIZE, "128", Always, "Members up to which a set stays packed.";
    SetMaxListpackValue "set-max-listpack-value" MEMORY, "64", Always, "Bytes of a member up to which a set stays packed.";
    ZsetMaxListpackEntries "zset-max-listpack-entries" SIZE, "128", Always, "Members up to which a sorted set stays packed.";
    ZsetMaxListpackValue "zset-max-listpack-value" MEMORY, "64", Always, "Bytes of a member up to which a sorted set stays packed.";
    StreamNodeMaxBytes "stream-node-max-bytes" MEMORY, "4096", Always, "Bytes up to which a node of a stream takes another entry; 0 for no limit.";
    StreamNodeMaxEntries "stream-node-max-entries" SIZE, "100", Always, "Entries of a node of a stream; 0 for no limit.";
    BusyReplyThreshold "busy-reply-threshold" int(0, i64::MAX), "5000", Always, "Milliseconds after which a running script is reported to other clients and can be killed; 0 for never.";
    ScriptTimeLimit "script-time-limit" int(0, i64::MAX), "0", Always, "Milliseconds after which a script is stopped, whether or not it has written, which leaves its changes half done; 0 for never.";
    HllSparseMaxBytes "hll-sparse-max-bytes" MEMORY, "3000", Always, "Bytes up to which a HyperLogLog stays sparse.";
    LuaMemoryLimit "lua-memory-limit" MEMORY, "256mb", Always, "Bytes a script may hold.";
    Appendonly "appendonly" SettingKind::Bool, "no", AtStart, "Whether changes are written to the append-only log.";
    Appendfsync "appendfsync" SettingKind::Choice(&["always", "everysec", "no"]), "everysec", Always, "When the log is forced to disk.";
    Dir "dir" SettingKind::Text, "./data", AtStart, "Directory of the data files.";
    Appendfilename "appendfilename" SettingKind::Text, "appendonly.aof", AtStart, "Stem of the log's file names.";
    Appenddirname "appenddirname" SettingKind::Text, "appendonlydir", AtStart, "Directory of the log inside `dir`.";
    EnableDebugCommand "enable-debug-command" SettingKind::Choice(&["no", "local", "yes"]), "no", AtStart, "Who may use DEBUG: nobody (no), clients on this machine (local), or everybody (yes).";
    Save "save" SettingKind::Text, "", NoEffect, "Snapshot rules; there are no snapshots yet.";
    Bind "bind" SettingKind::Text, "127.0.0.1", AtStart, "Addresses to listen on.";
    Port "port" int(0, 65_535), "6379", AtStart, "TCP port; 0 for a free one.";
    TcpBacklog "tcp-backlog" int(0, i32::MAX as i64), "511", AtStart, "Connections that may wait to be accepted.";
    TcpKeepalive "tcp-keepalive" int(0, i32::MAX as i64), "300", AtStart, "Seconds between TCP keep-alive probes; 0 for none.";
    ActiveExpireEffort "active-expire-effort" int(1, 10), "1", Always, "How much processor time the removal of expired keys may take.";
    NotifyKeyspaceEvents "notify-keyspace-events" SettingKind::Events, "", Always, "Which keyspace events are published: K and E for the kinds of channels, a letter for each class, A for most of them.";
    TrackingTableMaxKeys "tracking-table-max-keys" SIZE, "1000000", Always, "Keys that CLIENT TRACKING remembers for all clients together; 0 for no limit.";
    SlowlogLogSlowerThan "slowlog-log-slower-than" int(-1, i64::MAX), "10000", NoEffect, "Microseconds from which a command is logged as slow.";
    SlowlogMaxLen "slowlog-max-len" SIZE, "128", NoEffect, "Length of the slow log.";
    LatencyTracking "latency-tracking" SettingKind::Bool, "yes", NoEffect, "Whether latency histograms are kept.";
}

/// The current values.
#[derive(Debug)]
pub struct Settings {
    numbers: Box<[AtomicI64]>,
    texts: Box<[RwLock<String>]>,
    /// How much may wait to be sent to clients.
    pub output_limits: OutputLimits,
}

impl Default for Settings {
    fn default() -> Settings {
        let settings = Settings {
            numbers: SETTINGS.iter().map(|_| AtomicI64::new(0)).collect(),
            texts: SETTINGS.iter().map(|_| RwLock::default()).collect(),
            output_limits: OutputLimits::default(),
        };
        for row in SETTINGS {
            let value = parse(row, row.default.as_bytes()).expect("defaults are valid");
            settings.put(row, value);
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
            SettingKind::Text => self.texts[setting as usize].read().clone(),
            SettingKind::OutputLimits => self.output_limits.text(),
            SettingKind::Events => notifications::text(self.int(setting)),
            SettingKind::Bool => if self.is_on(setting) { "yes" } else { "no" }.into(),
            SettingKind::Choice(words) => words[self.size(setting)].into(),
            SettingKind::Int { .. } | SettingKind::Memory { .. } => self.int(setting).to_string(),
        }
    }

    /// Returns a setting as [`Settings::put`] takes it.
    pub fn value(&self, row: &SettingRow) -> SettingValue {
        match row.kind {
            SettingKind::Text | SettingKind::OutputLimits => SettingValue::Text(self.text(row.setting)),
            _ => SettingValue::Number(self.int(row.setting)),
        }
    }

    /// Puts a checked value in place.
    pub fn put(&self, row: &SettingRow, value: SettingValue) {
        match value {
            SettingValue::Number(number) => self.numbers[row.setting as usize].store(number, Ordering::Relaxed),
            SettingValue::Text(text) if row.kind == SettingKind::OutputLimits => self.output_limits.put(&text),
            SettingValue::Text(text) => *self.texts[row.setting as usize].write() = text,
        }
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
            _ if self.name.contains("listpack") => Some(self.name.replace("listpack", "ziplist")),
            _ => None,
        }
    }
}

/// Checks a value for a setting; the error is the reason CONFIG SET gives.
pub fn parse(row: &SettingRow, value: &[u8]) -> Result<SettingValue, String> {
    match row.kind {
        SettingKind::Int { min, max } => match decimal::parse_i64(value) {
            Some(number) if (min..=max).contains(&number) => Ok(SettingValue::Number(number)),
            Some(_) => Err(format!("argument must be between {min} and {max} inclusive")),
            None => Err("argument couldn't be parsed into an integer".into()),
        },
        SettingKind::Memory { min, max } => match parse_memory(value) {
            Some(bytes) if (min..=max).contains(&bytes) => Ok(SettingValue::Number(bytes)),
            Some(_) => Err(format!("argument must be between {min} and {max} inclusive")),
            None => Err("argument must be a memory value".into()),
        },
        SettingKind::Bool if value.eq_ignore_ascii_case(b"yes") => Ok(SettingValue::Number(1)),
        SettingKind::Bool if value.eq_ignore_ascii_case(b"no") => Ok(SettingValue::Number(0)),
        SettingKind::Bool => Err("argument must be 'yes' or 'no'".into()),
        SettingKind::Choice(words) => match words.iter().position(|word| value.eq_ignore_ascii_case(word.as_bytes())) {
            Some(index) => Ok(SettingValue::Number(index as i64)),
            None => Err(format!("argument(s) must be one of the following: {}", words.join(", "))),
        },
        SettingKind::Events => match notifications::parse(value) {
            Some(classes) => Ok(SettingValue::Number(classes)),
            None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
        },
        SettingKind::OutputLimits => {
            let text = String::from_utf8_lossy(value).into_owned();
            output_limit::parse(&text).map(|_| SettingValue::Text(text))
        }
        SettingKind::Text => {
            String::from_utf8(value.to_vec()).map(SettingValue::Text).map_err(|_| "argument must be UTF-8".into())
        }
    }
}

/// Reads `2gb`, `100mb`, `1k`, `512`; no digits are none, as redis-server reads them.
pub fn parse_memory(value: &[u8]) -> Option<i64> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = if digits == 0 { 0 } else { decimal::parse_i64(&value[..digits])? };
    let unit: i64 = match value[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}
