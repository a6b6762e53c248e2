//! Rewriting the log: by the thread, beside those who use the store.
//!
//! Three cases differ in what happens at the moment of the image. A log that is on goes over to its new increment. One that was just switched on begins,
//! and is worth something once its first base is there. Where there is no log, BGREWRITEAOF makes a base all the same: a start with the log on finds everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_commands::engine::Engine;
use redpoll_commands::persistence::{self, Writing};
use redpoll_commands::settings::Setting;
use redpoll_keyspace::View;
use redpoll_persist::disk::Lock;
use redpoll_persist::{BaseForm, Error as FileError, Increment, LogFiles, Replaced, Rewrite};

use super::Keeper;
use super::job::{Job, Purpose};
use super::stop::Stop;
use crate::Error;
use crate::log::{StoreLog, open_directory};

/// What happens at the moment.
enum Moment {
    /// The log goes on in another file.
    Switch(Arc<StoreLog>, Option<Increment>),
    /// The log begins.
    Begin(Arc<StoreLog>),
    /// There is no log.
    None { _lock: Box<dyn Lock> },
}

/// Why a rewrite ends early.
enum Failure {
    /// Something refused.
    Error(Error),
    /// A script has held everything for too long, or the way to the increment before is not finished: it is tried again.
    Later,
    /// It is not wanted any more.
    GivenUp,
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        Failure::Error(error.into())
    }
}

/// Rewrites the log of a store and notes how that ended.
pub(super) fn run(keeper: &Keeper, engine: &Engine, stop: &Arc<Stop>) {
    let result = rewrite(keeper, engine, stop);
    let outcome = match result {
        Ok(()) => return,
        Err(Failure::GivenUp) => return,
        Err(Failure::Later) => {
            engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
            "the store is busy".to_owned()
        }
        Err(Failure::Error(error)) => error.to_string(),
    };
    tracing::error!(reason = outcome, "Background AOF rewrite terminated with error");
    try_first_base_again(keeper, engine);
    keeper.conclude(engine, stop, Writing::Log, || Err::<(), ()>(()));
}

/// Has the log rewritten soon if it has no base yet: without its first one it is worth nothing.
fn try_first_base_again(keeper: &Keeper, engine: &Engine) {
    if keeper.log.log().is_none_or(|log| log.is_unlisted()) && engine.settings.is_on(Setting::Appendonly) {
        engine.persistence.rewrite_scheduled.store(true, Ordering::Relaxed);
    }
}

fn rewrite(keeper: &Keeper, engine: &Engine, stop: &Arc<Stop>) -> Result<(), Failure> {
    let form = form(engine);
    let (rewrite, mut moment) = prepare(keeper, engine)?;
    let begun =
        persistence::with_everything(engine, |view| begin(keeper, engine, view, &rewrite, &mut moment, (form, stop)));
    let (job, offset) = begun.map_err(|_| Failure::Later)??;
    let output = job.write(engine)?;
    let mut failure = None;
    keeper.conclude(engine, stop, Writing::Log, || {
        let is_kept = engine.settings.is_on(Setting::AofDisableAutoGc);
        let replaced = if is_kept { Replaced::Kept } else { Replaced::Removed };
        let finished = rewrite.finish(form, replaced, |place| output.commit(place));
        match (finished, &moment) {
            (Ok(len), Moment::Switch(log, _) | Moment::Begin(log)) => log.rewritten(len, offset),
            (Ok(_), Moment::None { .. }) => {}
            (Err(error), _) => {
                failure = Some(error);
                return Err(());
            }
        }
        tracing::info!("Background AOF rewrite terminated with success");
        Ok(())
    });
    if let Some(error) = failure {
        tracing::error!(%error, "Background AOF rewrite finished with an error");
        try_first_base_again(keeper, engine);
    }
    Ok(())
}

/// Returns in which format a base is written.
fn form(engine: &Engine) -> BaseForm {
    if engine.settings.is_on(Setting::AofUseRdbPreamble) { BaseForm::Snapshot } else { BaseForm::Commands }
}

/// Gives a log that is about to begin its base, which holds what there is: nothing but functions, if any.
pub(crate) fn write_first_base(engine: &Engine, files: &LogFiles) -> Result<(), Error> {
    let (rewrite, form) = (Rewrite::aside(files)?, form(engine));
    let written = persistence::with_everything(engine, |view| {
        let temporary = rewrite.temporary();
        Job::new(engine, files.disk(), view, temporary, Purpose::Base(form), Arc::default())?.write_now(view)
    });
    let output = written.expect("no script runs in a store that is not open yet")?;
    rewrite.finish(form, Replaced::Kept, |place| output.commit(place))?;
    Ok(())
}

fn prepare(keeper: &Keeper, engine: &Engine) -> Result<(Rewrite, Moment), Failure> {
    let _placing = keeper.placing.lock();
    let is_wanted = engine.settings.is_on(Setting::Appendonly);
    match keeper.log.log() {
        Some(log) => {
            let (rewrite, increment) = Rewrite::prepare(&log.files, log.standing())?;
            Ok((rewrite, Moment::Switch(log, Some(increment))))
        }
        None if is_wanted => {
            let onlookers = Arc::clone(&keeper.log.onlookers);
            let (log, rewrite) =
                StoreLog::begin(engine, onlookers, &keeper.disk, &keeper.dir).map_err(Failure::Error)?;
            Ok((rewrite, Moment::Begin(Arc::new(log))))
        }
        None => {
            let (files, lock) = open_directory(engine, &keeper.disk, &keeper.dir).map_err(Failure::Error)?;
            Ok((Rewrite::aside(&files)?, Moment::None { _lock: lock }))
        }
    }
}

/// Begins the image and lets the log go on behind it; returns the offset at which that begins. Every shard is held.
fn begin(
    keeper: &Keeper,
    engine: &Engine,
    view: &mut View<'_>,
    rewrite: &Rewrite,
    moment: &mut Moment,
    (form, stop): (BaseForm, &Arc<Stop>),
) -> Result<(Job, u64), Failure> {
    let still_wanted = engine.settings.is_on(Setting::Appendonly) || matches!(moment, Moment::None { .. });
    if stop.is_demanded() || !still_wanted {
        return Err(Failure::GivenUp);
    }
    let job = Job::new(engine, &keeper.disk, view, rewrite.temporary(), Purpose::Base(form), Arc::clone(stop))?;
    let offset = match moment {
        Moment::Switch(log, increment) => {
            let increment = increment.take().expect("the log goes on once");
            log.log.switch(increment).ok_or(Failure::Later)?
        }
        Moment::Begin(log) => {
            // The settings may have changed since it was made.
            log.take_policy(engine);
            keeper.log.replace(Some(Arc::clone(log)));
            engine.log_is_off.store(false, Ordering::Relaxed);
            0
        }
        Moment::None { .. } => 0,
    };
    job.begin(view);
    let keys = job.keys();
    engine.persistence.note(|known| {
        if let Some(active) = &mut known.active {
            active.keys = keys;
        }
    });
    Ok((job, offset))
}
