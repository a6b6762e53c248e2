//! The thread's part: going round the shares of an image until all are in the file.

use std::path::PathBuf;
use std::sync::Arc;

use redpoll_commands::REDIS_VERSION;
use redpoll_commands::engine::Engine;
use redpoll_commands::evict;
use redpoll_commands::reload;
use redpoll_commands::settings::Setting;
use redpoll_keyspace::rdb::{Compression, VERSION, VERSION_MAX};
use redpoll_keyspace::{DatabaseSize, Image, SHARDS, ShardIndex, Stamping, View};
use redpoll_persist::disk::Disk;
use redpoll_persist::{BaseForm, Error as FileError, Head, SnapshotFile};

use super::spool::{CommandFile, Output, Parts, Spool};
use super::stop::Stop;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A snapshot.
    Snapshot,
    /// A snapshot of nothing but functions.
    Functions,
    /// The base of a log.
    Base(BaseForm),
}

/// An image on its way into a file.
pub(super) struct Job {
    image: Arc<Image>,
    spool: Arc<Spool>,
    stop: Arc<Stop>,
    sizes: Vec<DatabaseSize>,
}

impl Job {
    /// Begins a file for an image of this moment. Every shard must be held.
    pub(super) fn new(
        engine: &Engine,
        disk: &Arc<dyn Disk>,
        view: &mut View<'_>,
        temporary: PathBuf,
        purpose: Purpose,
        stop: Arc<Stop>,
    ) -> Result<Job, FileError> {
        let mut sizes: Vec<DatabaseSize> = (0..view.databases()).map(|db| view.size(db)).collect();
        if purpose == Purpose::Functions {
            sizes.fill(DatabaseSize::default());
        }
        let head = head(engine, &sizes, purpose);
        let output = match purpose {
            Purpose::Base(BaseForm::Commands) => {
                Output::Commands(CommandFile::create(disk, temporary, &head, engine.noted_time())?)
            }
            _ => Output::Snapshot(SnapshotFile::create(disk, temporary, &head)?),
        };
        let spool = Arc::new(Spool::new(engine, output, Arc::clone(&stop)));
        let stamping = if purpose == Purpose::Base(BaseForm::Commands) { None } else { stamping(engine) };
        let is_packed = engine.settings.is_on(Setting::Rdbcompression);
        let compression = if is_packed { Compression::Lzf } else { Compression::Off };
        let image = Arc::new(Image::new(compression, stamping, Box::new(Parts(Arc::clone(&spool)))));
        Ok(Job { image, spool, stop, sizes })
    }

    /// Returns the number of keys there are.
    pub(super) fn keys(&self) -> u64 {
        self.sizes.iter().map(|size| size.keys as u64).sum()
    }

    /// Begins the image. Every shard must be held, and nothing have changed since the job was made.
    pub(super) fn begin(&self, view: &mut View<'_>) {
        view.begin_image(&self.image);
    }

    /// Writes everything at once. Every shard must be held.
    pub(super) fn write_now(self, view: &mut View<'_>) -> Result<Output, FileError> {
        view.write_image(&self.image);
        self.spool.finish()
    }

    /// Writes everything, beside those who use the store.
    pub(super) fn write(self, engine: &Engine) -> Result<Output, FileError> {
        let used = self.sizes.iter().enumerate().filter(|(_, size)| size.keys > 0).map(|(db, _)| db);
        let shares = used.flat_map(|db| (0..SHARDS as ShardIndex).map(move |index| (db, index)));
        for (db, index) in shares {
            if self.is_unwanted() {
                self.image.abandon();
                break;
            }
            engine.keyspace.write_share(&self.image, db, index, || self.between_pieces());
            let keys_written = self.spool.empty();
            if index % 16 == 0 {
                engine.persistence.note(|known| {
                    if let Some(active) = &mut known.active {
                        active.keys_written = keys_written;
                    }
                });
            }
        }
        engine.keyspace.end_image(&self.image, || self.between_pieces());
        self.spool.finish()
    }

    /// Writes what waits, and lets those have the processor who wait for it: who serves clients would otherwise wait until this thread has used up its time,
    /// which is milliseconds.
    fn between_pieces(&self) {
        self.spool.empty();
        if self.is_unwanted() {
            self.image.abandon();
        }
        std::thread::yield_now();
    }

    fn is_unwanted(&self) -> bool {
        self.stop.is_demanded() || self.spool.has_failed()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // One that was begun and then found no thread is not to be written by those who change something.
        self.image.abandon();
    }
}

/// Tells how accesses are stamped, if the policy of eviction wants to know of them after a start.
fn stamping(engine: &Engine) -> Option<Stamping> {
    evict::goes_by_stamps(engine).then(|| engine.stamping(engine.clock.now()))
}

fn head(engine: &Engine, sizes: &[DatabaseSize], purpose: Purpose) -> Head {
    // A field's deadline is all there is that Redis 7.0 does not know.
    let version = if sizes.iter().any(|size| size.volatile_hashes > 0) { VERSION_MAX } else { VERSION };
    let is_base = u8::from(matches!(purpose, Purpose::Base(_)));
    let aux = vec![
        ("redis-ver", REDIS_VERSION.to_owned()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", (engine.clock.now() / 1000).to_string()),
        ("used-mem", engine.memory_used.load(std::sync::atomic::Ordering::Relaxed).to_string()),
        ("aof-base", is_base.to_string()),
    ];
    Head {
        version,
        checksum: engine.settings.is_on(Setting::Rdbchecksum),
        aux,
        libraries: reload::libraries(engine),
        sizes: sizes.iter().map(|size| (size.keys as u64, size.volatile as u64)).collect(),
    }
}
