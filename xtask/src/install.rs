//! Programs and packages that are not ours: found, or installed through the ordinary registries.
//!
//! Programs come from Debian, and only when we are root; otherwise the error names the line to type. Client libraries
//! come from PyPI and npm into a folder of the build directory, in a version fixed here, so nothing of the machine is
//! changed and a second run installs nothing.

use crate::workspace::{output, program};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and the Debian packages it comes from.
pub(crate) struct Tool {
    /// Its name, with an argument that makes it end at once.
    pub(crate) probe: &'static [&'static str],
    /// Separated by blanks.
    pub(crate) packages: &'static str,
}

/// The oracle, and the clients that come with it.
pub(crate) const REDIS_SERVER: Tool =
    Tool { probe: &["redis-server", "--version"], packages: "redis-server redis-tools" };
/// The command line client.
pub(crate) const REDIS_CLI: Tool = Tool { probe: &["redis-cli", "--version"], packages: "redis-tools" };
/// Python with what makes virtual environments.
const PYTHON: Tool =
    Tool { probe: &["python3", "-c", "import ensurepip, venv"], packages: "python3 python3-venv python3-pip" };
/// A browser, which the scripts find at `/usr/bin/chromium`.
pub(crate) const CHROMIUM: Tool = Tool { probe: &["/usr/bin/chromium", "--version"], packages: "chromium" };
/// The runtime of JavaScript.
pub(crate) const NODE: Tool = Tool { probe: &["node", "--version"], packages: "nodejs npm" };
/// Its package manager.
const NPM: Tool = Tool { probe: &["npm", "--version"], packages: "nodejs npm" };

impl Tool {
    /// Makes sure that the program runs.
    ///
    /// # Errors
    /// When it is missing and cannot be installed; the message is the line that installs it.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.runs() {
            return Ok(());
        }
        let (name, install) = (self.probe[0], format!("apt-get install --yes {}", self.packages));
        if output(program("id").arg("-u"))?.trim() != "0" {
            bail!("{name} is missing or incomplete; install it with `sudo {install}`");
        }
        quietly(program("sh").args(["-c", &format!("{install} || (apt-get update && {install})")]))
            .with_context(|| format!("{name} is missing and `{install}` failed"))?;
        ensure!(self.runs(), "`{install}` did not bring a {name} that runs");
        Ok(())
    }

    fn runs(&self) -> bool {
        let mut probe = program(self.probe[0]);
        probe.args(&self.probe[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }
}

/// Gives a Python that can import packages of PyPI, such as `redis==8.1.0`, from an environment of its own.
///
/// # Errors
/// When Python or a package cannot be had.
pub(crate) fn python_with(folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    let (python, done, wanted) = (folder.join("bin/python"), folder.join("installed"), packages.join(" "));
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    PYTHON.ensure()?;
    quietly(program("python3").args(["-m", "venv", "--clear"]).arg(folder)).context("no Python environment")?;
    let pip = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install"];
    quietly(program(&python.display().to_string()).args(pip).args(packages))
        .with_context(|| format!("{wanted} could not be installed from PyPI"))?;
    std::fs::write(&done, wanted).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(python)
}

/// Installs packages of npm, such as `ioredis@6.0.0`, below a folder of its own.
///
/// # Errors
/// When npm or a package cannot be had.
pub(crate) fn node_modules_with(folder: &Path, packages: &[&str]) -> Result<()> {
    let (done, wanted) = (folder.join("installed"), packages.join(" "));
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    NODE.ensure()?;
    NPM.ensure()?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let npm = ["install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix"];
    quietly(program("npm").args(npm).arg(folder).args(packages))
        .with_context(|| format!("{wanted} could not be installed from npm"))?;
    std::fs::write(&done, wanted).with_context(|| format!("cannot write {}", done.display()))
}

/// Runs an installer; it is heard only when it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let text = [done.stdout, done.stderr].concat();
    let last = String::from_utf8_lossy(&text).trim_end().lines().last().unwrap_or_default().to_owned();
    ensure!(done.status.success(), "{last} ({})", done.status);
    Ok(())
}
