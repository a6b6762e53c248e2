//! Copies of the data for clients: `redis-cli --rdb`.
//!
//! A copy is a snapshot in a file that has no name any more, written on the thread of whoever wants it and read from there. It is of the moment at which it is
//! begun, which is when nothing else is being written.

use std::sync::Arc;
use std::time::Duration;

use redpoll_commands::engine::Engine;
use redpoll_commands::persistence::{self, Writing};
use redpoll_commands::session::CopyOf;
use redpoll_persist::disk::ReadFile;

use super::job::{Job, Purpose};
use super::spool::Output;
use super::stop::Stop;
use super::{Keeper, active, note_end};
use crate::Error;

/// How long a copy waits for what is being written before it looks whether the store is ending.
const PATIENCE: Duration = Duration::from_secs(1);

impl Keeper {
    /// Makes a copy; returns the file, at its beginning, and its length.
    pub(crate) fn copy(&self, engine: &Engine, of: CopyOf) -> Result<(Box<dyn ReadFile>, u64), Error> {
        let stop = Arc::new(Stop::default());
        while !engine.persistence.begin(active(engine, Writing::Copy)) {
            engine.persistence.wait_until_free(PATIENCE);
            if self.running.lock().has_ended {
                return Err(Error::System("the store is ending".into()));
            }
        }
        self.running.lock().current = Some(Arc::clone(&stop));
        let written = self.write_copy(engine, of, &stop);
        if !stop.is_demanded() {
            note_end(engine, Writing::Copy, Ok(()));
        }
        written
    }

    fn write_copy(&self, engine: &Engine, of: CopyOf, stop: &Arc<Stop>) -> Result<(Box<dyn ReadFile>, u64), Error> {
        self.make_dir()?;
        let temporary = self.temporary();
        let purpose = match of {
            CopyOf::Everything => Purpose::Snapshot,
            CopyOf::Functions => Purpose::Functions,
        };
        let begun = persistence::with_everything(engine, |view| {
            let job = Job::new(engine, &self.disk, view, temporary, purpose, Arc::clone(stop))?;
            if purpose == Purpose::Snapshot {
                job.begin(view);
            }
            Ok::<Job, redpoll_persist::Error>(job)
        });
        let job = begun.map_err(|busy| Error::Command(String::from_utf8_lossy(busy.text()).into_owned()))??;
        match job.write(engine)? {
            Output::Snapshot(file) => Ok(file.detach()?),
            Output::Commands(_) => unreachable!("only a base of the log holds commands"),
        }
    }
}
