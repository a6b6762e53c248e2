//! Snapshots and the rewriting of the log: when they are made, and by whom.
//!
//! SAVE and the end of the program write on the calling thread, with every shard held. BGSAVE, the rules of `save` and the rewriting of the log begin an
//! image, which takes microseconds, and leave the rest to a thread (`job`, `rewrite`) that works beside everybody else. The housekeeper begins what is due or
//! was scheduled.
//!
//! What is written can be given up at any time: FLUSHALL does that to a snapshot, and the end of the program to anything. What was given up never takes the
//! place of what came after it: giving up waits out a file that is just taking its place (`placing`).

mod copy;
mod job;
mod rewrite;
mod rules;
mod spool;
mod stop;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redpoll_commands::cx::Cx;
use redpoll_commands::engine::Engine;
use redpoll_commands::error::{
    Error as CommandError, NOTHING_TO_LOAD, REWRITE_FAILED, REWRITE_IN_PROGRESS, SAVE_FAILED, SAVE_IN_PROGRESS,
};
use redpoll_commands::persistence::{self, Active, Reload, Snapshots, Switch, Writing};
use redpoll_commands::reload;
use redpoll_commands::settings::Setting;
use redpoll_keyspace::View;
use redpoll_persist::disk::Disk;
use redpoll_persist::{Error as FileError, Manifest};

use crate::Error;
use crate::loading;
use crate::log::{LogSlot, SharedLog, StoreLog, log_files};
use crate::seals::{DataFiles, Seals};
use crate::store::Inner;
use job::{Job, Purpose};
pub(crate) use rewrite::write_first_base;
use stop::Stop;

/// Tells the files of several snapshots of one process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Makes snapshots and rewrites the log of a store.
pub(crate) struct Keeper {
    seals: Seals,
    /// The disk that the seals are on.
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log: Arc<LogSlot>,
    store: OnceLock<Weak<Inner>>,
    running: Mutex<Running>,
    /// Held while a file takes its place, or the manifest is changed.
    placing: Mutex<()>,
    /// Held while a snapshot is written by SAVE or at the end, and how to stop that.
    saving: Mutex<()>,
    saving_stop: Mutex<Option<Arc<Stop>>>,
}

/// The threads at work, of which all but the last were given up.
#[derive(Default)]
struct Running {
    threads: Vec<JoinHandle<()>>,
    current: Option<Arc<Stop>>,
    has_ended: bool,
}

impl Keeper {
    /// Makes a keeper for a data directory.
    pub(crate) fn new(seals: Seals, dir: PathBuf, log: Arc<LogSlot>) -> Keeper {
        let disk = seals.disk();
        remove_leftovers(&*disk, &dir);
        Keeper {
            seals,
            disk,
            dir,
            log,
            store: OnceLock::new(),
            running: Mutex::default(),
            placing: Mutex::new(()),
            saving: Mutex::new(()),
            saving_stop: Mutex::new(None),
        }
    }

    /// Tells it which store it works for.
    pub(crate) fn serve(&self, store: Weak<Inner>) {
        self.store.set(store).expect("a keeper serves one store");
    }

    /// Loads what the data directory holds, and keeps it from now on.
    pub(crate) fn load(self: &Arc<Self>, engine: &Engine) -> Result<(), Error> {
        let log_wanted = engine.settings.is_on(Setting::Appendonly);
        if log_wanted {
            let onlookers = Arc::clone(&self.log.onlookers);
            self.log.replace(Some(Arc::new(StoreLog::recover(engine, onlookers, &self.disk, &self.dir)?)));
        } else {
            loading::load_snapshot(engine, &*self.disk, &self.place(engine))?;
        }
        self.renew_seals(engine);
        engine.log_is_off.store(!log_wanted, Ordering::Relaxed);
        let log = Box::new(SharedLog(Arc::clone(&self.log)));
        engine.log.set(log).ok().expect("a new engine has no log yet");
        let snapshots = Box::new(SharedKeeper(Arc::clone(self)));
        engine.snapshots.set(snapshots).ok().expect("a new engine makes no snapshots yet");
        Ok(())
    }

    /// Returns where the snapshot is.
    pub(crate) fn place(&self, engine: &Engine) -> PathBuf {
        self.dir.join(engine.settings.text(Setting::Dbfilename))
    }

    /// Returns a name for a snapshot in the making, which no other one has.
    fn temporary(&self) -> PathBuf {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("temp-{}-{number}.rdb", std::process::id()))
    }

    /// Has files rewritten that are not sealed as they would be now.
    pub(crate) fn renew_seals(&self, engine: &Engine) {
        self.seals.renew(engine, &self.data_files(engine));
    }

    fn data_files(&self, engine: &Engine) -> DataFiles {
        DataFiles { log: log_files(&engine.settings, &self.disk, &self.dir), snapshot: self.place(engine) }
    }

    /// Begins a snapshot of this moment. Every shard is held.
    fn begin_save_of(&self, engine: &Engine, view: &mut View<'_>) -> Result<(), CommandError> {
        if !engine.persistence.begin(active(engine, Writing::Snapshot)) {
            return Err(SAVE_IN_PROGRESS);
        }
        let stop = Arc::new(Stop::default());
        let begin = |()| Job::new(engine, &self.disk, view, self.temporary(), Purpose::Snapshot, Arc::clone(&stop));
        let job = self.make_dir().and_then(begin);
        let job = match job {
            Ok(job) => job,
            Err(error) => {
                // As if a process had been forked that failed.
                tracing::error!(%error, "Background saving error");
                note_end(engine, Writing::Snapshot, Err(()));
                return Ok(());
            }
        };
        job.begin(view);
        engine.persistence.note(|known| known.active.iter_mut().for_each(|active| active.keys = job.keys()));
        self.spawn(engine, Writing::Snapshot, stop, |keeper, engine, stop| match job.write(engine) {
            Ok(output) => keeper.conclude(engine, stop, Writing::Snapshot, || {
                let committed = output.commit(&keeper.place(engine));
                match &committed {
                    Ok(_) => tracing::info!("Background saving terminated with success"),
                    Err(error) => tracing::error!(%error, "Background saving error"),
                }
                committed.map(drop).map_err(drop)
            }),
            Err(error) => keeper.conclude(engine, stop, Writing::Snapshot, || {
                tracing::error!(%error, "Background saving error");
                Err(())
            }),
        })
    }

    /// Lets a thread work; it ends with [`Keeper::conclude`], or was given up.
    fn spawn(
        &self,
        engine: &Engine,
        writing: Writing,
        stop: Arc<Stop>,
        work: impl FnOnce(&Keeper, &Engine, &Arc<Stop>) + Send + 'static,
    ) -> Result<(), CommandError> {
        let mut running = self.running.lock();
        running.threads.retain(|thread| !thread.is_finished());
        let store = self.store.get().and_then(Weak::upgrade).filter(|_| !running.has_ended);
        let given = Arc::clone(&stop);
        let spawned = store.map(|inner| {
            let work = move || {
                if let Some(keeper) = &inner.keeper {
                    work(keeper, &inner.engine, &given);
                }
            };
            std::thread::Builder::new().name("redpoll-snapshot".into()).spawn(work)
        });
        if let Some(Ok(thread)) = spawned {
            running.threads.push(thread);
            running.current = Some(stop);
            return Ok(());
        }
        drop(running);
        tracing::error!("a snapshot or rewrite cannot begin: the system gives no thread, or the store is ending");
        note_end(engine, writing, Err(()));
        Err(if writing == Writing::Log { REWRITE_FAILED } else { SAVE_FAILED })
    }

    /// Puts a file in its place and notes how that ended, unless it was given up.
    fn conclude(&self, engine: &Engine, stop: &Stop, writing: Writing, place: impl FnOnce() -> Result<(), ()>) {
        let _placing = self.placing.lock();
        if !stop.is_demanded() {
            note_end(engine, writing, place());
        }
    }

    /// Gives up what is being written; it has no end to be noted.
    fn give_up(&self, engine: &Engine) {
        engine.persistence.note(|known| known.active = None);
        self.stop();
    }

    fn stop(&self) {
        let current = self.running.lock().current.take();
        if let Some(stop) = current {
            stop.demand();
            // What is just taking its place has taken it when this returns.
            drop(self.placing.lock());
        }
    }

    /// Gives up everything and waits until nobody is at work any more.
    pub(crate) fn end(&self) {
        self.running.lock().has_ended = true;
        self.stop();
        if let Some(stop) = &*self.saving_stop.lock() {
            stop.demand();
        }
        drop(self.saving.lock());
        let threads = std::mem::take(&mut self.running.lock().threads);
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                thread.join().ok();
            }
        }
    }

    /// Writes a snapshot to its place on this thread. Every shard is held.
    fn save_now(&self, engine: &Engine, view: &mut View<'_>) -> Result<(), FileError> {
        let _saving = self.saving.lock();
        let stop = Arc::new(Stop::default());
        *self.saving_stop.lock() = Some(Arc::clone(&stop));
        let changes = engine.stats.changes();
        let temporary = self.dir.join(format!("temp-{}.rdb", std::process::id()));
        let written = self.make_dir().and_then(|()| {
            let output = Job::new(engine, &self.disk, view, temporary, Purpose::Snapshot, stop)?.write_now(view)?;
            let _placing = self.placing.lock();
            output.commit(&self.place(engine))
        });
        *self.saving_stop.lock() = None;
        match &written {
            Ok(_) => {
                tracing::info!("DB saved on disk");
                engine.persistence.note(|known| {
                    (known.last_save, known.saved_changes) = (engine.clock.now(), changes);
                    known.snapshots.failures = 0;
                    known.snapshots.succeeded += 1;
                });
            }
            Err(error) => tracing::error!(%error, "the snapshot cannot be written"),
        }
        written.map(drop)
    }

    fn make_dir(&self) -> Result<(), FileError> {
        self.disk.make_dir(&self.dir).map_err(FileError::io(&self.dir))
    }
}

/// What begins now.
fn active(engine: &Engine, writing: Writing) -> Active {
    Active { writing, began: engine.clock.now(), keys: 0, keys_written: 0, changes: engine.stats.changes() }
}

/// Notes that writing has come to its end.
fn note_end(engine: &Engine, writing: Writing, result: Result<(), ()>) {
    let now = engine.clock.now();
    engine.persistence.note(|known| {
        let Some(active) = known.active.take() else { return };
        let record = match writing {
            Writing::Snapshot => &mut known.snapshots,
            Writing::Log => &mut known.rewrites,
            Writing::Copy => return,
        };
        record.last_seconds = Some(now.saturating_sub(active.began) / 1000);
        match result {
            Ok(()) => {
                record.failures = 0;
                record.succeeded += 1;
                if writing == Writing::Snapshot {
                    (known.last_save, known.saved_changes) = (now, active.changes);
                }
            }
            Err(()) => record.failures += 1,
        }
    });
}

/// Removes snapshots that processes did not finish which are no more.
fn remove_leftovers(disk: &dyn Disk, dir: &Path) {
    let processes = Path::new("/proc");
    for name in disk.list(dir).unwrap_or_default() {
        let middle = name.strip_prefix("temp-").and_then(|rest| rest.strip_suffix(".rdb"));
        let process = middle.and_then(|middle| middle.split('-').next()).filter(|pid| pid.parse::<u32>().is_ok());
        // Where the system does not list its processes nothing is known of them.
        if process.is_some_and(|pid| processes.join("self").exists() && !processes.join(pid).exists()) {
            disk.remove(&dir.join(&name)).ok();
        }
    }
}

/// Gives the engine its keeper.
pub(crate) struct SharedKeeper(pub(crate) Arc<Keeper>);

impl Snapshots for SharedKeeper {
    fn save(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        self.0.save_now(cx.engine, cx.db).map_err(|_| SAVE_FAILED)
    }

    fn begin_save(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        self.0.begin_save_of(cx.engine, cx.db)
    }

    fn begin_rewrite(&self, engine: &Engine) -> Result<(), CommandError> {
        if !engine.persistence.begin(active(engine, Writing::Log)) {
            return Err(REWRITE_IN_PROGRESS);
        }
        self.0.spawn(engine, Writing::Log, Arc::default(), rewrite::run)
    }

    fn reload(&self, cx: &mut Cx<'_, '_>, how: Reload) -> Result<(), CommandError> {
        reload::may_load(cx)?;
        if !how.nosave {
            self.save(cx)?;
        }
        loading::reload_snapshot(cx, &*self.0.disk, &self.0.place(cx.engine), how)?;
        if how != Reload::default() && cx.engine.log().is_some() {
            // The log does not know what was loaded.
            cx.engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn reload_log(&self, cx: &mut Cx<'_, '_>) -> Result<(), CommandError> {
        let files = log_files(&cx.engine.settings, &self.0.disk, &self.0.dir);
        if !files.is_begun() {
            return Err(NOTHING_TO_LOAD);
        }
        loading::reload_log(cx, &files)
    }

    fn give_up_save(&self, engine: &Engine) {
        if engine.persistence.known().active.is_some_and(|active| active.writing == Writing::Snapshot) {
            self.0.give_up(engine);
        }
    }

    fn save_at_end(&self, engine: &Engine) -> Result<(), CommandError> {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        let saved = persistence::with_everything(engine, |view| self.0.save_now(engine, view));
        let saved = saved.and_then(|saved| saved.map_err(|_| SAVE_FAILED));
        if saved.is_err() {
            tracing::error!("Error trying to save the DB, can't exit.");
        }
        saved
    }

    fn check_keys(&self, engine: &Engine, path: &str) -> Result<(), String> {
        self.0.seals.check(engine, path, &self.0.data_files(engine))
    }

    fn change_keys(&self, engine: &Engine) {
        self.0.seals.change(engine, &self.0.data_files(engine));
    }

    fn switch_log(&self, engine: &Engine, wanted: Switch) {
        let keeper = &self.0;
        if wanted == Switch::On {
            if keeper.log.is_there() {
                return;
            }
            if self.begin_rewrite(engine).is_err() {
                engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
                tracing::info!("AOF background was scheduled");
            }
            return;
        }
        engine.log_is_off.store(true, Ordering::Relaxed);
        engine.persistence.rewrite_scheduled.store(false, Ordering::Relaxed);
        if engine.persistence.known().active.is_some_and(|active| active.writing == Writing::Log) {
            tracing::info!("Killing running AOF rewrite: a thread, no child process");
            keeper.give_up(engine);
        }
        // Who waits for a sync gets it before nobody asks for one any more.
        if let Some(Err(error)) = keeper.log.log().map(|log| log.flush()) {
            tracing::error!(%error, "the log is switched off while the disk refuses");
        }
        if let Some(log) = keeper.log.replace(None)
            && let Err(error) = log.leave()
        {
            tracing::error!(%error, "the log was switched off before all of it was on the disk");
        }
    }

    fn remove_history(&self) {
        let _placing = self.0.placing.lock();
        // Without a log the directory may be another's; the next log removes it.
        let removed = self.0.log.log().map_or(Ok(()), |log| Manifest::remove_history(&log.files));
        if let Err(error) = removed {
            tracing::error!(%error, "files of the log that were replaced are not removed");
        }
    }
}
