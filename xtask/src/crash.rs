//! `cargo xtask crash`: our server killed again and again while it is written to, and what comes back compared with what it had acknowledged.
//!
//! ```text
//!   start ─► what is there?  ─► writers, a rewrite or a snapshot beside them ─► kill -9 at a random moment ─► start …
//!              a beginning of what each writer sent, with all that was acknowledged
//! ```
//!
//! A kill takes away what the process held in memory and leaves what it gave to the operating system. So under `always` nothing acknowledged may be
//! lost, under `everysec` and `no` what the thread of the log had not written yet: how long ago the oldest such change was acknowledged is measured and
//! may not be more than a second. Without a log there is the last snapshot: everything that was acknowledged before its SAVE began. What a cut of the
//! power does is the matter of `cargo xtask simulate`.
//!
//! `--full-disk` fills a small disk, for which it needs to be root ([`full_disk`]).

mod full_disk;
mod writer;

use crate::workspace::{Profile, build_redpoll};
use anyhow::{Context, Result, bail, ensure};
use redpoll_testkit::{Launch, Program, Random, Scratch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use writer::{Found, Writer};

/// Crashes in `cargo xtask ci`.
const SMOKE_CRASHES: usize = 24;

/// Connections that write at a time.
const WRITERS: usize = 4;

/// Crashes after which a new directory is begun, so that starts stay fast.
const CRASHES_PER_DIRECTORY: usize = 25;

/// How long a server is written to at most, milliseconds.
const RUN_MS_MAX: u64 = 120;

/// What may be lost under `everysec`.
const SECOND: Duration = Duration::from_secs(1);

/// Arguments of `cargo xtask crash`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many crashes.
    #[arg(long, default_value_t = 1_000)]
    crashes: usize,
    /// The seed of the moments; drawn from the clock when none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Fills a small disk instead; needs to be root.
    #[arg(long)]
    full_disk: bool,
    /// Builds for release.
    #[arg(long)]
    release: bool,
}

/// Runs the crashes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binary = build_redpoll(if args.release { Profile::Release } else { Profile::Debug })?;
    if args.full_disk {
        return full_disk::run(&binary);
    }
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    crash(&binary, args.crashes, args.seed.unwrap_or_else(clock))
}

/// Runs a few crashes.
pub(crate) fn smoke() -> Result<()> {
    crash(&build_redpoll(Profile::Debug)?, SMOKE_CRASHES, 1)
}

/// How the server keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Always,
    EverySecond,
    No,
    Snapshots,
}

impl Keeping {
    const ALL: [Self; 4] = [Self::Always, Self::EverySecond, Self::No, Self::Snapshots];

    fn args(self) -> Vec<String> {
        let line = match self {
            Self::Always => "--appendonly yes --appendfsync always",
            Self::EverySecond => "--appendonly yes --appendfsync everysec",
            Self::No => "--appendonly yes --appendfsync no",
            Self::Snapshots => "--appendonly no",
        };
        line.split(' ').map(str::to_owned).collect()
    }
}

/// What the crashes of one keeping came to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    crashes: usize,
    acknowledged: u64,
    lost: u64,
    oldest_lost: Duration,
    beside: usize,
}

fn crash(binary: &Path, crashes: usize, seed: u64) -> Result<()> {
    println!("seed {seed}");
    let (mut random, began) = (Random::new(seed), Instant::now());
    let mut tallies = Keeping::ALL.map(|_| Tally::default());
    let mut left = crashes;
    while left > 0 {
        for (keeping, tally) in Keeping::ALL.into_iter().zip(&mut tallies) {
            let count = left.min(CRASHES_PER_DIRECTORY).min(crashes.div_ceil(Keeping::ALL.len()));
            let mut life = Life::begin(binary, keeping)?;
            for _ in 0..count {
                life.crash(&mut random, tally).with_context(|| format!("{keeping:?}, seed {seed}"))?;
            }
            life.look().with_context(|| format!("{keeping:?}, seed {seed}"))?;
            left -= count;
        }
    }
    for (keeping, tally) in Keeping::ALL.iter().zip(&tallies) {
        let Tally { crashes, acknowledged, lost, oldest_lost, beside } = tally;
        println!(
            "{:<12}{crashes:>6} crashes, {beside} of them beside a rewrite or snapshot; {acknowledged} changes acknowledged, {lost} of them lost, the oldest {} ms old",
            format!("{keeping:?}"),
            oldest_lost.as_millis()
        );
    }
    println!("{crashes} crashes in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// A data directory through many crashes.
struct Life {
    launch: Launch,
    keeping: Keeping,
    writers: Vec<Writer>,
    /// Goes away with its content.
    _scratch: Scratch,
}

impl Life {
    fn begin(binary: &Path, keeping: Keeping) -> Result<Self> {
        let scratch = Scratch::new()?;
        let dir: PathBuf = scratch.path().join("data");
        let launch = Launch { binary: Some(binary.to_owned()), dir: Some(dir), args: keeping.args() };
        Ok(Self { launch, keeping, writers: (0..WRITERS).map(Writer::new).collect(), _scratch: scratch })
    }

    /// Starts the server and looks whether what every writer finds is what it may find; returns what they have lost.
    fn start(&mut self) -> Result<(Program, Vec<Found>)> {
        let program = self.launch.start()?;
        let mut client = program.client()?;
        let found = self.writers.iter_mut().map(|writer| writer.look(&mut client)).collect::<Result<_>>()?;
        Ok((program, found))
    }

    /// Looks what there is once more, and ends the server in peace.
    fn look(&mut self) -> Result<()> {
        let (program, _) = self.start()?;
        program.terminate().map(drop)
    }

    fn crash(&mut self, random: &mut Random, tally: &mut Tally) -> Result<()> {
        let (program, found) = self.start()?;
        for Found { lost, oldest_lost } in found {
            tally.lost += lost;
            tally.oldest_lost = tally.oldest_lost.max(oldest_lost);
            ensure!(lost == 0 || self.keeping != Keeping::Always, "{lost} acknowledged changes are lost");
            let is_bounded = self.keeping == Keeping::EverySecond || self.keeping == Keeping::No;
            ensure!(!is_bounded || oldest_lost < SECOND, "a change is lost that was acknowledged {oldest_lost:?} ago");
        }
        let before: u64 = self.writers.iter().map(Writer::acknowledged).sum();
        let killed = self.write_and_kill(random, program, tally)?;
        self.writers.iter_mut().for_each(|writer| writer.killed_at(killed));
        tally.acknowledged += self.writers.iter().map(Writer::acknowledged).sum::<u64>() - before;
        tally.crashes += 1;
        Ok(())
    }

    /// Lets the writers write until a random moment, and something else be written beside them; returns when it ended.
    fn write_and_kill(&self, random: &mut Random, program: Program, tally: &mut Tally) -> Result<Instant> {
        let moment = Duration::from_micros(random.below(RUN_MS_MAX * 1000));
        let beside = *random.pick(&["BGREWRITEAOF", "BGSAVE", "SAVE", ""]);
        tally.beside += usize::from(!beside.is_empty());
        let (address, (told, heard)) = (program.address(), channel());
        std::thread::scope(|scope| {
            for writer in &self.writers {
                let (progress, told) = (Arc::clone(&writer.progress), told.clone());
                scope.spawn(move || {
                    // Only what goes wrong before the kill is heard.
                    let _ = told.send(progress.write(address));
                });
            }
            let half = moment / 2;
            let early = heard.recv_timeout(half);
            let safe: Vec<u64> = self.writers.iter().map(Writer::acknowledged).collect();
            if !beside.is_empty() {
                let reply = program.client()?.run(beside);
                if reply.is_simple("OK") && self.keeping == Keeping::Snapshots {
                    self.writers.iter().zip(safe).for_each(|(writer, safe)| writer.is_saved(safe));
                }
            }
            let late = heard.recv_timeout(moment - half);
            let killed = Instant::now();
            program.kill()?;
            for ended in [early, late] {
                match ended {
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => unreachable!("this thread holds a sender"),
                    Ok(result) => bail!("a writer ended before the kill: {result:?}"),
                }
            }
            Ok(killed)
        })
    }
}
