//! The store, its disk, and a step at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_store::disk::Disk;
use redpoll_store::faulty::{Call, Fault, FaultyDisk};
use redpoll_store::{Config, Connection, Error, Store, Value};
use redpoll_testkit::Random;
use redpoll_testkit::differential::Commands;

use crate::history::History;
use crate::tally::Tally;

/// Where the data is.
pub(crate) const DIR: &str = "/data";

/// Connections at a time.
const CONNECTIONS: usize = 3;

/// Time within which the threads of a store must have done what they have to.
const PATIENCE: Duration = Duration::from_secs(60);

/// Steps that are remembered for a message.
const REMEMBERED: usize = 60;

/// Bytes of a file's end that a message shows.
const SHOWN_LEN: usize = 500;

/// A fault, planned for a call of a number.
type Planned = (Call, fn(usize) -> Fault);

/// What a start reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The log.
    Log,
    /// The snapshot.
    Snapshot,
}

/// A store that runs.
pub(crate) struct Running {
    store: Store,
    connections: Vec<(Connection, Commands)>,
    /// Successful snapshots and rewrites so far, as INFO counts them.
    saves: u64,
    rewrites: u64,
}

/// What is being written in the background.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Writing {
    /// A snapshot, and its place in the history of snapshots.
    Snapshot(usize),
    /// The log, which is on, since a state.
    Log(usize),
    /// The first base of a log that was just switched on, after a state.
    FirstBase(usize),
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) disk: FaultyDisk,
    pub(crate) running: Option<Running>,
    pub(crate) mode: Mode,
    pub(crate) policy: &'static str,
    pub(crate) writing: Option<Writing>,
    /// States as the log should bring them back, and as snapshots should.
    pub(crate) log: History,
    pub(crate) snapshots: History,
    /// The last state that a command was acknowledged in under `always`.
    pub(crate) acknowledged: usize,
    /// Changes were written under `no` and not synced since: a sync that fails may drop them, and nobody has them any more.
    pub(crate) is_on_trust: bool,
    pub(crate) remembered: Vec<String>,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let mode = if random.chance(1, 4) { Mode::Snapshot } else { Mode::Log };
        let policy = *random.pick(&["always", "always", "everysec", "no"]);
        let disk = FaultyDisk::new(seed);
        let empty = "0".repeat(40);
        let (log, snapshots) = (History::new(empty.clone()), History::new(empty));
        let mut world = World {
            seed,
            random,
            disk,
            running: None,
            mode,
            policy,
            writing: None,
            log,
            snapshots,
            acknowledged: 0,
            is_on_trust: false,
            remembered: Vec::new(),
            tally: Tally::default(),
        };
        world.start().unwrap_or_else(|error| panic!("an empty disk is refused: {error}"));
        world
    }

    pub(crate) fn remember(&mut self, step: String) {
        self.remembered.push(step);
        if self.remembered.len() > REMEMBERED {
            self.remembered.remove(0);
        }
    }

    pub(crate) fn fail(&self, what: &str) -> ! {
        let shown = |path: &PathBuf| {
            let content = self.disk.seen(path);
            let end = &content[content.len().saturating_sub(SHOWN_LEN)..];
            format!("{} ({} bytes): …{}", path.display(), content.len(), end.escape_ascii())
        };
        let files: Vec<String> = self.disk.files().iter().map(shown).collect();
        panic!(
            "seed {}: {what}\nlog {:?}, appendfsync {}\nfiles:\n  {}\nafter:\n  {}",
            self.seed,
            self.mode,
            self.policy,
            files.join("\n  "),
            self.remembered.join("\n  ")
        );
    }

    pub(crate) fn start(&mut self) -> Result<(), Error> {
        let form = if self.seed.is_multiple_of(2) { "yes" } else { "no" };
        let config = Config::in_directory(DIR)
            .set("appendonly", if self.mode == Mode::Log { "yes" } else { "no" })?
            .set("appendfsync", self.policy)?
            .set("aof-use-rdb-preamble", form)?
            .set("save", "")?
            .set("enable-debug-command", "yes")?
            .on_disk(Arc::new(self.disk.clone()));
        let store = Store::open(config)?;
        let connections = (0..CONNECTIONS).map(|_| (store.connect(), Commands::new(self.random.next_u64()))).collect();
        self.running = Some(Running { store, connections, saves: 0, rewrites: 0 });
        self.writing = None;
        Ok(())
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the store runs between two steps")
    }

    pub(crate) fn call(&mut self, line: &str) -> Value {
        self.running().store.call(&line.split(' ').collect::<Vec<_>>())
    }

    /// Notes the state there is now; tells whether it is another one.
    fn note_state(&mut self) -> bool {
        let Value::Simple(digest) = self.call("DEBUG DIGEST") else { self.fail("there is no digest") };
        self.log.note(&digest)
    }

    /// Takes a step; false if the schedule ends with it.
    pub(crate) fn step(&mut self) -> bool {
        self.observe();
        match self.random.below(200) {
            0..=7 => return self.restart(),
            8..=13 => self.flush(),
            14..=17 => self.save(),
            18..=23 => self.begin_save(),
            24..=31 => self.begin_rewrite(),
            32..=34 => self.switch_log(),
            35..=37 => self.change_policy(),
            38..=43 => self.plan_faults(),
            44..=49 => self.be_well_again(),
            50..=53 => self.wait_for_writing(),
            _ => self.command(),
        }
        true
    }

    fn command(&mut self) {
        let index = self.random.below(CONNECTIONS as u64) as usize;
        let (connection, commands) = &mut self.running().connections[index];
        let command = commands.next().expect("the stream has no end");
        let reply = connection.call(&command);
        let shown: Vec<_> = command.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        let is_refused = matches!(reply, Value::Error(_));
        self.remember(format!("{index}: {}{}", shown.join(" "), if is_refused { " (refused)" } else { "" }));
        let has_changed = self.note_state();
        self.tally.commands += 1;
        self.tally.changes += usize::from(has_changed);
        self.is_on_trust |= self.policy == "no" && has_changed;
        if has_changed && !is_refused && self.policy == "always" {
            self.acknowledged = self.log.now();
            self.is_on_trust &= !self.disk.deceptive().is_empty();
            if self.mode == Mode::Log {
                self.log.is_safe(self.acknowledged);
            }
        }
        self.settle();
    }

    /// Waits until the thread of the log has written what it was given, unless the disk refuses.
    fn settle(&mut self) {
        let began = Instant::now();
        while self.mode == Mode::Log && self.writing.is_none() {
            let info = self.info();
            let dir = Path::new(DIR).join("appendonlydir");
            let names = self.disk.list(&dir).unwrap_or_default();
            let logs = names.iter().filter(|name| name.ends_with(".aof") || name.ends_with(".rdb"));
            let written: u64 = logs.filter_map(|name| self.disk.length(&dir.join(name)).ok()).sum();
            if number(&info, "aof_current_size") <= written || info.contains("aof_last_write_status:err") {
                return;
            }
            if began.elapsed() > PATIENCE {
                self.fail("the log is not written");
            }
            std::thread::yield_now();
        }
    }

    fn info(&mut self) -> String {
        match self.call("INFO persistence") {
            Value::Verbatim { text, .. } => String::from_utf8(text).expect("INFO is text"),
            other => self.fail(&format!("INFO was answered by {other:?}")),
        }
    }

    /// Notes what has come to its end in the background.
    fn observe(&mut self) {
        let Some(writing) = self.writing else { return };
        let info = self.info();
        let is_busy = ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1"].iter().any(|busy| info.contains(busy));
        let is_put_off = matches!(writing, Writing::FirstBase(_)) && info.contains("aof_rewrite_scheduled:1");
        if is_busy || is_put_off {
            return;
        }
        let (saves, rewrites) = (number(&info, "rdb_saves"), number(&info, "aof_rewrites"));
        let running = self.running();
        let is_saved = std::mem::replace(&mut running.saves, saves) < saves;
        let is_rewritten = std::mem::replace(&mut running.rewrites, rewrites) < rewrites;
        self.writing = None;
        match writing {
            Writing::Snapshot(place) if is_saved => {
                self.tally.saves += 1;
                self.snapshots.is_safe(place);
            }
            Writing::Log(place) if is_rewritten => {
                self.tally.rewrites += 1;
                self.log.is_safe(place);
            }
            Writing::FirstBase(place) if is_rewritten => {
                self.tally.rewrites += 1;
                self.mode = Mode::Log;
                self.log.is_safe(place.max(self.acknowledged));
            }
            _ => self.remember("(that failed)".to_owned()),
        }
    }

    fn wait_for_writing(&mut self) {
        self.remember("wait for what is being written".to_owned());
        let began = Instant::now();
        // A first base that failed is tried again, perhaps after a minute: that is not waited for.
        while self.writing.is_some() && !self.info().contains("aof_rewrite_scheduled:1") {
            self.observe();
            if began.elapsed() > PATIENCE {
                self.fail("what is being written comes to no end");
            }
            std::thread::yield_now();
        }
    }

    fn flush(&mut self) {
        let flushed = self.running().store.flush_log();
        self.remember(format!("flush: {flushed:?}"));
        if flushed.is_ok() && self.mode == Mode::Log {
            self.is_on_trust &= !self.disk.deceptive().is_empty();
            let now = self.log.now();
            self.log.is_safe(now);
        }
    }

    /// Notes a snapshot of the state there is now, that may come to be.
    fn note_snapshot(&mut self) -> usize {
        let Value::Simple(digest) = self.call("DEBUG DIGEST") else { self.fail("there is no digest") };
        self.snapshots.note(&digest);
        self.snapshots.now()
    }

    fn save(&mut self) {
        let place = self.note_snapshot();
        let reply = self.call("SAVE");
        self.remember(format!("SAVE: {reply:?}"));
        if reply == Value::Simple("OK".into()) {
            self.tally.saves += 1;
            self.running().saves += 1;
            self.snapshots.is_safe(place);
        }
    }

    fn begin_save(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let place = self.note_snapshot();
        let reply = self.call("BGSAVE");
        self.remember(format!("BGSAVE: {reply:?}"));
        if !matches!(reply, Value::Error(_)) {
            self.writing = Some(Writing::Snapshot(place));
            self.wait_perhaps();
        }
    }

    fn begin_rewrite(&mut self) {
        if self.writing.is_some() || self.mode == Mode::Snapshot {
            return;
        }
        let place = self.log.now();
        let reply = self.call("BGREWRITEAOF");
        self.remember(format!("BGREWRITEAOF: {reply:?}"));
        if !matches!(reply, Value::Error(_)) {
            self.writing = Some(Writing::Log(place));
            self.wait_perhaps();
        }
    }

    fn wait_perhaps(&mut self) {
        if self.random.chance(1, 2) {
            self.wait_for_writing();
        }
    }

    fn switch_log(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let place = self.log.now();
        let wanted = if self.mode == Mode::Log { "no" } else { "yes" };
        let reply = self.call(&format!("CONFIG SET appendonly {wanted}"));
        self.remember(format!("CONFIG SET appendonly {wanted}: {reply:?}"));
        if matches!(reply, Value::Error(_)) {
            return;
        }
        match self.mode {
            Mode::Log => self.mode = Mode::Snapshot,
            Mode::Snapshot => {
                self.writing = Some(Writing::FirstBase(place));
                self.wait_perhaps();
            }
        }
    }

    fn change_policy(&mut self) {
        let policy = *self.random.pick(&["always", "everysec", "no"]);
        let reply = self.call(&format!("CONFIG SET appendfsync {policy}"));
        self.remember(format!("CONFIG SET appendfsync {policy}: {reply:?}"));
        if !matches!(reply, Value::Error(_)) {
            self.policy = policy;
        }
    }

    pub(crate) fn draw_faults(&mut self) -> Vec<Fault> {
        let count = self.random.between(1, 3);
        let mut draw = |_| {
            let kinds: [Planned; 7] = [
                (Call::Write, Fault::ShortWrite),
                (Call::Write, Fault::Write),
                (Call::Sync, Fault::Sync),
                (Call::Truncate, Fault::Truncate),
                (Call::Create, Fault::Create),
                (Call::Rename, Fault::Rename),
                (Call::SyncDir, Fault::SyncDir),
            ];
            let (call, fault) = *self.random.pick(&kinds);
            fault(self.disk.calls(call) + self.random.below(3) as usize)
        };
        (0..count).map(&mut draw).collect()
    }

    fn plan_faults(&mut self) {
        if self.random.chance(1, 3) {
            let room = self.random.below(800) as usize;
            self.remember(format!("{room} bytes are left"));
            self.disk.limit(self.disk.used() + room);
        } else {
            let faults = self.draw_faults();
            self.remember(format!("{faults:?}"));
            self.disk.plan(faults);
        }
    }

    pub(crate) fn be_well_again(&mut self) {
        self.disk.limit(usize::MAX);
        self.disk.plan(Vec::new());
    }
}

/// Reads a number of INFO.
fn number(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
