//! `redpoll check`: looks at a data directory or at one file and says what is wrong and where; `--repair` cuts a damaged end away, `--export` copies.
//!
//! ```text
//! data/appendonlydir/appendonly.aof.manifest: manifest, 88 bytes: sound
//! data/appendonlydir/appendonly.aof.1.base.rdb: base, 1042 bytes, snapshot of version 10, 12 keys, 0 commands: sound
//! data/appendonlydir/appendonly.aof.1.incr.aof: increment, 733 bytes, 8 commands: wrong at offset 512: expected '*'
//!   a cut at offset 512 takes 221 bytes away, with 3 whole commands among them
//! ```
//!
//! Nothing of the data is printed, so the output can be shown around; `--show-keys` names the key whose value is damaged. Exit codes: 0 if everything is
//! sound, 1 if something is wrong, 2 if it cannot be looked at or what was asked for cannot be done.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use redpoll_store::Config;
use redpoll_store::check::{Checker, Finding, Kind, Remedy};

use crate::keys;

/// What is looked at unless something else is said.
const DEFAULT_DIR: &str = "./data";

/// What `redpoll check` is told.
#[derive(clap::Args)]
pub(crate) struct Check {
    /// A data directory, or one file: a manifest, a log or a snapshot.
    #[arg(default_value = DEFAULT_DIR, value_name = "DIR|FILE")]
    path: PathBuf,
    /// Cuts a damaged end of the log away, after saying what goes and putting a copy beside the file.
    #[arg(long)]
    repair: bool,
    /// Does not ask before cutting.
    #[arg(long, requires = "repair")]
    yes: bool,
    /// Copies what is there, if it is sound, to a new directory that any server of the protocol opens.
    #[arg(long, value_name = "DIR", conflicts_with = "repair")]
    export: Option<PathBuf>,
    /// Names keys whose values are damaged.
    #[arg(long)]
    show_keys: bool,
    /// File of settings that names the files in the data directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the log's directory in the data directory.
    #[arg(long, value_name = "NAME")]
    appenddirname: Option<String>,
    /// What the names of the log's files begin with.
    #[arg(long, value_name = "NAME")]
    appendfilename: Option<String>,
    /// Name of the snapshot.
    #[arg(long, value_name = "NAME")]
    dbfilename: Option<String>,
    /// File of the keys that the files are sealed with.
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<String>,
}

/// Exit code if it cannot be looked at.
const CANNOT_LOOK: u8 = 2;

impl Check {
    /// Looks, and does what else is asked for.
    pub(crate) fn run(self) -> ExitCode {
        match self.check() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("redpoll: {error:#}");
                ExitCode::from(CANNOT_LOOK)
            }
        }
    }

    /// Returns whether everything is sound in the end.
    fn check(&self) -> anyhow::Result<bool> {
        let checker = Checker::new(self.settings()?)?;
        let is_changing = self.repair || self.export.is_some();
        let held = is_changing.then(|| checker.hold(&self.path)).transpose()?;
        let mut out = std::io::stdout().lock();
        let findings = self.look(&checker, &mut out)?;
        match (&held, &self.export) {
            (Some(held), Some(to)) => {
                if !is_sound(&findings) {
                    bail!("what is not sound is not copied; repair it first");
                }
                for copy in checker.export(&self.path, to, held)? {
                    writeln!(out, "{}: copied", copy.display())?;
                }
            }
            (Some(held), None) if !is_sound(&findings) => {
                for finding in findings.iter().filter(|finding| finding.fault.is_some()) {
                    if !self.may_cut(finding)? {
                        return Ok(false);
                    }
                    let copy = checker.repair(finding, held)?;
                    writeln!(out, "{}: cut; as it was: {}", finding.path.display(), copy.display())?;
                }
                return Ok(is_sound(&self.look(&checker, &mut out)?));
            }
            _ => {}
        }
        Ok(is_sound(&findings))
    }

    /// Looks at everything and says what was found.
    fn look(&self, checker: &Checker, out: &mut impl Write) -> anyhow::Result<Vec<Finding>> {
        let findings = checker.look(&self.path)?;
        findings.iter().try_for_each(|finding| self.print(out, finding))?;
        Ok(findings)
    }

    fn settings(&self) -> anyhow::Result<Config> {
        let mut config = keys::given(Config::in_memory())?;
        if let Some(file) = &self.config {
            config = config.read(Some(file), "")?;
        }
        let names = [
            ("appenddirname", &self.appenddirname),
            ("appendfilename", &self.appendfilename),
            ("dbfilename", &self.dbfilename),
            ("encryption-key-file", &self.encryption_key_file),
        ];
        for (name, value) in names {
            if let Some(value) = value {
                config = config.set(name, value)?;
            }
        }
        Ok(config)
    }

    fn print(&self, out: &mut impl Write, finding: &Finding) -> anyhow::Result<()> {
        let Finding { path, kind, len, version, keys, commands, rest, is_sealed, fault } = finding;
        write!(out, "{}: {}, {len} bytes", path.display(), name(*kind))?;
        if *is_sealed {
            write!(out, ", sealed")?;
        }
        if let Some(version) = version {
            write!(out, ", snapshot of version {version}, {keys} keys")?;
        }
        if !matches!(kind, Kind::Manifest | Kind::Snapshot) {
            write!(out, ", {commands} commands")?;
        }
        if *rest > 0 {
            write!(out, ", {rest} bytes behind its end are not loaded")?;
        }
        let Some(fault) = fault else { return Ok(writeln!(out, ": sound")?) };
        match fault.offset {
            Some(offset) => write!(out, ": wrong at offset {offset}: ")?,
            None => write!(out, ": wrong: ")?,
        }
        if let Some(key) = fault.key.as_ref().filter(|_| self.show_keys) {
            write!(out, "key '{}': ", key.escape_ascii())?;
        }
        writeln!(out, "{}", fault.reason)?;
        match fault.remedy {
            Remedy::Cut { from, bytes, commands } => writeln!(
                out,
                "  a cut at offset {from} takes {bytes} bytes away, with {commands} whole commands among them"
            )?,
            Remedy::None(reason) => writeln!(out, "  it cannot be repaired here: {reason}")?,
        }
        Ok(())
    }

    /// Asks before something is cut away; what cannot be cut is left alone.
    fn may_cut(&self, finding: &Finding) -> anyhow::Result<bool> {
        if !matches!(finding.fault.as_ref().map(|fault| fault.remedy), Some(Remedy::Cut { .. })) {
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            bail!("nobody can be asked whether {} may be cut: say --yes", finding.path.display());
        }
        eprint!("Cut {}? A copy of it is kept. [y/N] ", finding.path.display());
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.fault.is_none())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Manifest => "manifest",
        Kind::Base => "base",
        Kind::Increment => "increment",
        Kind::Log => "log",
        Kind::Snapshot => "snapshot",
    }
}
