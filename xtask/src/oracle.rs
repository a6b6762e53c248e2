//! `cargo xtask oracle`: transcripts against a real redis-server, which is where their expectations come from.
//!
//! Every file gets a server of its own, so that settings do not leak from one into the next. `--record` rewrites the
//! expectations; what the markers exempt from the installed version stays as it is. `--on redpoll` runs the same files
//! against our own server over TCP.

use crate::workspace::{Profile, build_redpoll, root};
use anyhow::{Context, Result, ensure};
use redpoll_testkit::transcript::{self, Subject, Transcript};
use redpoll_testkit::{Client, Launch, Program, RedisServer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The folders whose transcripts are run when no file is named.
const FOLDERS: &[&str] = &["crates/commands/tests", "crates/store/tests"];

/// Arguments of `cargo xtask oracle`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Transcripts; all when none is named.
    files: Vec<PathBuf>,
    /// Rewrites the expectations from what redis-server answers.
    #[arg(long, conflicts_with = "on")]
    record: bool,
    /// The server to run against.
    #[arg(long, value_enum, default_value_t = Server::Redis)]
    on: Server,
}

/// Servers that transcripts are run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Server {
    /// The installed redis-server.
    Redis,
    /// Our own program.
    Redpoll,
}

impl Server {
    /// Gives its name as people know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Redpoll => "Redpoll",
        }
    }
}

/// How many transcripts passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Transcripts without a difference.
    pub(crate) passed: usize,
    /// Transcripts with one.
    pub(crate) failed: usize,
}

/// Runs or records.
pub(crate) fn run(args: &Args) -> Result<()> {
    let files = if args.files.is_empty() { all_files()? } else { args.files.clone() };
    if args.record {
        return files.iter().try_for_each(|path| record(path));
    }
    let tally = check(&files, args.on)?;
    ensure!(tally.failed == 0, "{} of {} transcripts differ", tally.failed, files.len());
    Ok(())
}

/// Lists the transcripts of the workspace.
pub(crate) fn all_files() -> Result<Vec<PathBuf>> {
    let folders = FOLDERS.iter().map(|folder| root().join(folder)).filter(|folder| folder.is_dir());
    let files = folders.map(|folder| transcript::files(&folder)).collect::<Result<Vec<_>>>()?;
    // Paths relative to the root read better in messages.
    let relative = |path: PathBuf| path.strip_prefix(root()).map(Path::to_owned).unwrap_or(path);
    Ok(files.into_iter().flatten().map(relative).collect())
}

/// Runs transcripts and prints what differs.
pub(crate) fn check(files: &[PathBuf], on: Server) -> Result<Tally> {
    let binary = (on == Server::Redpoll).then(|| build_redpoll(Profile::Debug)).transpose()?;
    let mut tally = Tally::default();
    for path in files {
        let transcript = load(path)?;
        let started = start(binary.clone())?;
        let report = transcript.check(&mut started.client()?, started.subject()?);
        println!("{report}");
        if report.passed() { tally.passed += 1 } else { tally.failed += 1 }
    }
    Ok(tally)
}

fn record(path: &Path) -> Result<()> {
    let transcript = load(path)?;
    let started = start(None)?;
    let text = transcript.record(&mut started.client()?, started.subject()?)?;
    let path = root().join(path);
    let changed = std::fs::read_to_string(&path)? != text;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {}", path.display(), if changed { "rewritten" } else { "unchanged" });
    Ok(())
}

fn load(path: &Path) -> Result<Transcript> {
    let text = std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {}", path.display()))?;
    Transcript::parse(&path.display().to_string(), &text)
}

/// A running server of either kind.
pub(crate) enum Started {
    Redis(RedisServer),
    Redpoll(Program),
}

/// Starts redis-server, or our program when its binary is given.
pub(crate) fn start(binary: Option<PathBuf>) -> Result<Started> {
    Ok(match binary {
        None => Started::Redis(RedisServer::start()?),
        Some(binary) => {
            Started::Redpoll(Launch { binary: Some(binary), args: like_redis(), ..Launch::default() }.start()?)
        }
    })
}

impl Started {
    /// Gives the address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Redis(server) => server.address(),
            Self::Redpoll(program) => program.address(),
        }
    }

    /// Opens a client.
    pub(crate) fn client(&self) -> Result<Client> {
        match self {
            Self::Redis(server) => server.client(),
            Self::Redpoll(program) => program.client(),
        }
    }

    fn subject(&self) -> Result<Subject> {
        Ok(match self {
            Self::Redis(server) => Subject::Redis { version: server.version()? },
            Self::Redpoll(_) => Subject::Redpoll,
        })
    }
}

/// What makes our own server like the redis-server it is compared with: DEBUG is allowed, nothing is logged, and no command is run but the client's.
fn like_redis() -> Vec<String> {
    ["--enable-debug-command", "yes", "--appendonly", "no", "--no-http", "--no-background"].map(str::to_owned).to_vec()
}
