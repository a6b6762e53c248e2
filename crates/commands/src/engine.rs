//! The engine: what all sessions share. It owns no thread, no socket, no file and no clock; the store around it lends them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use redpoll_keyspace::{Effects, EventClasses, Keyspace, Millis, Stamping};
use redpoll_resp::encode_command;

use crate::acl::Users;
use crate::blocking::Blocking;
use crate::client::{Arrival, Clients};
use crate::cx::Cx;
use crate::disposal::Disposal;
use crate::error::Error;
use crate::evict::Evictor;
use crate::exchange::Exchange;
use crate::journal::Journal;
use crate::latency::LatencyMonitor;
use crate::load_state::LoadState;
use crate::log_health::LogHealth;
use crate::monitor::Monitors;
use crate::notifications;
use crate::pause::Pause;
use crate::persistence::{Persistence, Snapshots};
use crate::registry::Registry;
use crate::session::Session;
use crate::settings::{Setting, Settings};
use crate::slow_log::SlowLog;
use crate::stats::Stats;
use crate::tracking::Tracker;
use crate::turn::{ScriptKind, Turn};

/// One look at the clock: wall time and the monotonic count it was taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub now: Millis,
    /// Nanoseconds since some fixed moment, never going back.
    pub ticks: u64,
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Looks at the clock once for both kinds of time.
    fn moment(&self) -> Moment {
        Moment { now: self.now(), ticks: self.ticks() }
    }
    /// Returns milliseconds since the Unix epoch.
    fn now(&self) -> Millis;
    /// Returns microseconds since the Unix epoch, for TIME.
    fn micros(&self) -> u64;
    /// Returns the microseconds since the Unix epoch at a moment, given in ticks, that has just been.
    fn micros_at(&self, _ticks: u64) -> u64 {
        self.micros()
    }
    /// Returns nanoseconds since some fixed moment, never going back.
    fn ticks(&self) -> u64;
    /// Takes over changes of the wall clock; called a few times a second.
    fn synchronise(&self) {}
    /// Lets time pass on the calling thread (DEBUG SLEEP); a clock of a test moves itself.
    fn sleep(&self, duration: Duration);
}

/// Runs scripts and keeps libraries of functions.
///
/// What looks at scripts and libraries or changes them is called with the gate held exclusively, except [`Scripting::run`] of one that keeps to its keys, [`Scripting::size`],
/// [`Scripting::library_counts`], [`Scripting::kill`] and [`Scripting::running`], which never wait.
pub trait Scripting: Send + Sync {
    /// Runs a script or function and writes its reply.
    fn run(&self, cx: &mut Cx<'_, '_>, call: &ScriptCall<'_>) -> Result<(), Error>;
    /// Compiles a script and returns its SHA1 in lower-case hex.
    fn load(&self, body: &[u8]) -> Result<String, Error>;
    /// Tells whether a script with this SHA1 is known.
    fn exists(&self, sha: &[u8]) -> bool;
    /// Tells whether a script or function declares that it does not write; false also where there is none of this name.
    fn only_reads(&self, script: ScriptName<'_>) -> bool;
    /// Tells whether a script is known to keep to the keys its caller declares and to end by itself, so that it needs no more than their locks. Asked with and
    /// without the gate.
    fn keeps_to_its_keys(&self, script: ScriptName<'_>) -> bool;
    /// Forgets all scripts.
    fn flush(&self);
    /// Returns the number of known scripts and the bytes their texts take.
    fn size(&self) -> (usize, usize);
    /// Asks the running script to stop, if it is of this kind.
    fn kill(&self, kind: ScriptKind) -> Result<(), Error>;
    /// Ends what runs although it has written, because the program ends; nothing it did is logged.
    fn abandon(&self);
    /// Returns what runs, once it has run too long.
    fn running(&self) -> Option<(ScriptKind, Running)>;
    /// Loads a library and returns its name.
    fn load_library(&self, code: &[u8], existing: Existing, loading: &Loading<'_>) -> Result<Vec<u8>, Error>;
    /// Forgets a library; false if there is none of this name.
    fn delete_library(&self, name: &[u8]) -> bool;
    /// Forgets all libraries.
    fn flush_libraries(&self);
    /// Loads all of these libraries or, if one is refused, none.
    fn restore_libraries(&self, texts: &[Vec<u8>], policy: RestorePolicy, loading: &Loading<'_>) -> Result<(), Error>;
    /// Returns all libraries by name.
    fn libraries(&self) -> Vec<Library>;
    /// Returns the number of libraries and of functions.
    fn library_counts(&self) -> (usize, usize);
}

/// Which script to run.
#[derive(Clone, Copy, Debug)]
pub enum ScriptName<'a> {
    /// By text: EVAL.
    Body(&'a [u8]),
    /// By SHA1: EVALSHA.
    Sha(&'a [u8]),
    /// A function by its name: FCALL.
    Function(&'a [u8]),
}

/// A call of a script.
#[derive(Clone, Copy, Debug)]
pub struct ScriptCall<'a> {
    /// Which script.
    pub script: ScriptName<'a>,
    /// KEYS.
    pub keys: &'a [&'a [u8]],
    /// ARGV.
    pub args: &'a [&'a [u8]],
    /// Writes are refused (EVAL_RO).
    pub read_only: bool,
    /// The whole command.
    pub command: &'a [&'a [u8]],
}

/// A script that has run for a while.
#[derive(Clone, Debug)]
pub struct Running {
    /// Name of the function, or SHA1 of the script.
    pub name: Vec<u8>,
    /// The command that called it.
    pub command: Vec<Vec<u8>>,
    /// When it began, in ticks of the clock.
    pub started: u64,
}

/// Whether a library may take the place of one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It must not exist.
    Refuse,
    /// It is replaced.
    Replace,
}

/// What becomes of the libraries there are when others are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    /// All go.
    Flush,
    /// They stay, and restoring one of the same name is refused.
    Append,
    /// They stay unless one of the same name is restored.
    Replace,
}

/// What a library reaches while it is loaded.
pub struct Loading<'e> {
    /// The clock, for one.
    pub engine: &'e Engine,
    /// Loading that takes too long is ended.
    pub limited: bool,
}

/// A library, as it is listed.
#[derive(Clone, Debug)]
pub struct Library {
    /// Its name.
    pub name: Vec<u8>,
    /// Its text.
    pub code: Vec<u8>,
    /// What it registered.
    pub functions: Vec<Function>,
}

/// A function, as it is listed.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: Vec<u8>,
    /// What its author says about it.
    pub description: Option<Vec<u8>>,
    /// What it declares about itself.
    pub flags: Vec<&'static str>,
}

/// Takes the records of changes, in the order the changes were made.
pub trait Log: Send + Sync {
    /// Appends the records as one unit and returns the log's length after them; before them it notes the time, if there is one and it is later than that it
    /// noted last, in seconds since the Unix epoch. Called while the shards are locked: it must not wait for a disk.
    fn append(&self, journal: &Journal, time: Option<u64>) -> u64;
    /// Has what was appended written soon, though no reply waits for it.
    fn write_soon(&self);
    /// Tells whether everything up to an offset would survive a crash of the machine.
    fn is_synced(&self, offset: u64) -> bool;
    /// Asks for that, without waiting; returns the offset, or the log's length if that is less.
    fn request_sync(&self, offset: u64) -> u64;
    /// Takes over a changed `appendfsync`: what is appended from now on waits as it says.
    fn change_policy(&self, engine: &Engine);
    /// Empties the data set and loads the log again (DEBUG LOADAOF), by [`crate::reload::reload`]. Called with every shard held.
    fn reload(&self, cx: &mut Cx<'_, '_>) -> Result<(), Error>;
}

/// Who listens for clients, and can be told to listen elsewhere.
pub trait Listener: Send + Sync {
    /// Listens where the settings say from now on (`bind`, `port`, `tls-port`), or says why not, and then everything is as it was. Connections live on.
    fn listen(&self, settings: &Settings) -> Result<(), String>;
}

/// What the layers above report about themselves in INFO and to DEBUG, and do for commands that reach out of the engine.
pub trait Host: Send + Sync {
    /// Returns lines `name:value` for a section of INFO that this layer adds to.
    fn info(&self, section: &str) -> Vec<(String, String)>;
    /// Returns how much of the machine's memory the process takes, if the system tells.
    fn resident_bytes(&self) -> Option<u64>;
    /// Opens a connection to another server (a name or address, and a port) and sends it batches of commands, each when the one before was answered
    /// without an error. The timeout is for connecting and for every read and write.
    fn exchange(&self, address: (&str, &str), timeout: Duration, batches: &[Batch]) -> Exchanged;
    /// Tells whether the program can be ended by a client.
    fn can_end(&self) -> bool;
    /// Begins to end the program, or says why not; nothing has ended when this returns.
    fn shut_down(&self, wanted: Shutdown) -> Result<(), Error>;
}

/// Commands for another server, sent at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The commands as they are sent.
    pub bytes: Vec<u8>,
    /// How many they are; each is answered by one line.
    pub commands: usize,
}

impl Batch {
    /// Adds a command.
    pub fn add(&mut self, args: &[&[u8]]) {
        encode_command(args, &mut self.bytes);
        self.commands += 1;
    }
}

/// What another server was heard to say.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// The replies that came to all batches, without line ends.
    pub replies: Vec<Vec<u8>>,
    /// Why there are no more.
    pub failure: Option<Error>,
}

/// How a program is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// Even if the data cannot be written.
    pub force: bool,
}

/// What commands need of the operating system.
pub trait System: Send + Sync {
    /// Reads a whole file.
    fn read(&self, path: &str) -> std::io::Result<Vec<u8>>;
    /// Puts a file in the place of what is there, at once or not at all.
    fn write(&self, path: &str, content: &[u8]) -> std::io::Result<()>;
    /// Fills bytes with what nobody can guess.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// What DEBUG has switched off or on.
#[derive(Debug, Default)]
pub struct DebugSwitches {
    /// Expired keys are only removed when somebody asks for them (SET-ACTIVE-EXPIRE 0).
    pub lazy_expire_only: AtomicBool,
    /// No work is done in the background (PAUSE-CRON 1).
    pub background_paused: AtomicBool,
    /// Scripts may call commands that are not for them (SET-DISABLE-DENY-SCRIPTS 1).
    pub scripts_unbound: AtomicBool,
    /// RESTORE believes payloads whose checksum is wrong.
    pub checksums_unchecked: AtomicBool,
}

/// What all sessions share.
pub struct Engine {
    /// The data.
    pub keyspace: Keyspace,
    /// The commands.
    pub registry: Registry,
    /// Who may log in and do what.
    pub users: Users,
    /// The settings.
    pub settings: Settings,
    /// Counts of what happened.
    pub stats: Stats,
    /// Commands that took long.
    pub slow_log: SlowLog,
    /// What took long, by kind.
    pub latency: LatencyMonitor,
    /// Who is connected.
    pub clients: Clients,
    /// The waits of blocked clients.
    pub(crate) blocking: Blocking,
    /// Who listens to which channels.
    pub exchange: Exchange,
    /// Who is told when keys change.
    pub tracker: Tracker,
    /// Who is shown every command.
    pub monitors: Monitors,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// Whose turn it is to hold the gate exclusively.
    pub turn: Turn,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// The scripts.
    pub scripting: OnceLock<Box<dyn Scripting>>,
    /// The log, if there is one.
    pub log: OnceLock<Box<dyn Log>>,
    /// The operating system.
    pub system: OnceLock<Box<dyn System>>,
    /// Path of the configuration file, if the settings come from one.
    pub config_file: OnceLock<String>,
    /// The program around.
    pub host: OnceLock<Box<dyn Host>>,
    /// Wakes the thread that works in the background, if there is one.
    pub background: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// When the engine was made.
    pub started: Millis,
    /// A random name of this run, 40 hex digits.
    pub run_id: String,
    /// A random name of the data set's history, 40 hex digits.
    pub replication_id: RwLock<String>,
    /// What DEBUG has switched off or on.
    pub debug: DebugSwitches,
    /// What makes room when memory is full.
    pub evictor: Evictor,
    /// Bytes of memory used, as last measured.
    pub memory_used: AtomicU64,
    /// The most memory that was found used.
    pub memory_peak: AtomicU64,
    /// Whether the log can be written.
    pub log_health: LogHealth,
    /// Who listens for clients, if anybody does.
    pub listener: RwLock<Option<Box<dyn Listener>>>,
    /// What is freed in the background.
    pub disposal: Disposal,
    /// The log is switched off for the time being.
    pub log_is_off: AtomicBool,
    /// Snapshots and rewrites of the log.
    pub persistence: Persistence,
    /// Whether the data is still being loaded.
    pub load_state: LoadState,
    /// Who writes them, if there is a data directory.
    pub snapshots: OnceLock<Box<dyn Snapshots>>,
    random: AtomicU64,
}

impl Engine {
    /// Makes an engine with an empty keyspace. `seed` must be random per process.
    pub fn new(registry: Registry, settings: Settings, clock: Box<dyn Clock>, seed: u64) -> Engine {
        let started = clock.now();
        let commands = registry.all().len();
        let engine = Engine {
            keyspace: Keyspace::new(settings.size(Setting::Databases), seed),
            users: Users::new(&registry),
            registry,
            settings,
            stats: Stats::new(commands),
            slow_log: SlowLog::default(),
            latency: LatencyMonitor::default(),
            clients: Clients::default(),
            blocking: Blocking::default(),
            exchange: Exchange::new(seed),
            tracker: Tracker::default(),
            monitors: Monitors::default(),
            pause: Pause::default(),
            turn: Turn::default(),
            clock,
            scripting: OnceLock::new(),
            log: OnceLock::new(),
            system: OnceLock::new(),
            config_file: OnceLock::new(),
            host: OnceLock::new(),
            background: OnceLock::new(),
            started,
            run_id: String::new(),
            replication_id: RwLock::default(),
            debug: DebugSwitches::default(),
            evictor: Evictor::default(),
            memory_used: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            log_health: LogHealth::default(),
            listener: RwLock::default(),
            disposal: Disposal::default(),
            log_is_off: AtomicBool::new(false),
            persistence: Persistence::default(),
            load_state: LoadState::default(),
            snapshots: OnceLock::new(),
            random: AtomicU64::new(seed),
        };
        *engine.replication_id.write() = engine.random_id();
        engine.persistence.note(|known| known.last_save = started);
        let password = engine.settings.text(Setting::Requirepass);
        if !password.is_empty() {
            engine.users.require_password(&password);
        }
        Engine { run_id: engine.random_id(), ..engine }
    }

    /// Returns the log, if there is one and it is on.
    #[inline]
    pub fn log(&self) -> Option<&dyn Log> {
        self.log.get().filter(|_| !self.log_is_off.load(Ordering::Relaxed)).map(|log| &**log)
    }

    /// Returns a random name, 40 hex digits.
    pub fn random_id(&self) -> String {
        (0..5).map(|_| format!("{:08x}", self.random() as u32)).collect()
    }

    /// Begins a session, as the default user.
    pub fn session(&self, arrival: Arrival) -> Session {
        let user = Arc::clone(self.users.default_user());
        let client = self.clients.arrive(arrival, Arc::clone(&user), self.clock.now());
        Session::new(client, user, self.users.default_needs_no_password())
    }

    /// Begins a session of a caller in the process itself, who may do everything: passwords and rights keep strangers out of the network, not the
    /// process out of its own store.
    pub fn trusted_session(&self) -> Session {
        let user = Arc::clone(self.users.trusted());
        let client = self.clients.arrive(Arrival::embedded(), Arc::clone(&user), self.clock.now());
        Session::new(client, user, true)
    }

    /// Returns a random number: one step of SplitMix64, so a seed repeats a run.
    pub fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns how accesses are stamped at this time under the current policy.
    #[inline]
    pub fn stamping(&self, now: Millis) -> Stamping {
        /// Positions of the LFU policies in the setting's list of words.
        const LFU: [i64; 2] = [1, 5];
        if !LFU.contains(&self.settings.int(Setting::MaxmemoryPolicy)) {
            return Stamping::Lru { clock: (now / 1000) as u32 & 0xff_ffff };
        }
        Stamping::Lfu {
            minutes: (now / 60_000) as u16,
            log_factor: self.settings.int(Setting::LfuLogFactor) as u32,
            decay_minutes: self.settings.int(Setting::LfuDecayTime) as u32,
            random: self.random() as u32,
        }
    }

    /// Tells whether writes are refused because the settings ask for replicas, of which there are none.
    #[inline]
    pub fn lacks_replicas(&self) -> bool {
        self.settings.int(Setting::MinReplicasToWrite) > 0 && self.settings.int(Setting::MinReplicasMaxLag) > 0
    }

    /// Returns which keyspace events anybody wants.
    #[inline]
    pub fn wanted_events(&self) -> EventClasses {
        notifications::wanted(self)
    }

    /// Returns what a command collects its effects in.
    #[inline]
    pub fn effects(&self) -> Effects {
        Effects { wanted: self.wanted_events(), wants_modified: self.tracker.is_used(), ..Effects::default() }
    }
}
