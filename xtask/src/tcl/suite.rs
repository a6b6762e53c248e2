//! Where the suite comes from: the tests of Debian's source package of redis, unpacked below the build directory.
//!
//! apt is asked with lists of its own, so the machine's sources of packages stay as they are and nobody has to be
//! root. Nothing of the package is built; its tests call redis-server and its tools in `src`, which are links.
//!
//! What the copy does otherwise than the original stands in one file, `xtask/tcl/redpoll.tcl`, with a switch for each
//! change.

use crate::install::{Tool, quietly};
use crate::workspace::{output, program};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The language of the tests.
const TCLSH: Tool = Tool { probe: &["sh", "-c", "echo exit | tclsh"], packages: "tcl" };

/// What the copy of the suite does otherwise than the original.
const CHANGES: &str = include_str!("../../tcl/redpoll.tcl");
/// Where it stands in the copy.
const CHANGES_FILE: &str = "tests/support/redpoll.tcl";
/// The line of `tests/test_helper.tcl` before which everything is defined.
const BEGIN: &str = "\nif {$::client} {\n";

/// The programs the tests call.
const PROGRAMS: &[&str] = &["redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb"];

/// An unpacked suite.
pub(super) struct Suite {
    /// The directory that holds `tests` and `src`.
    pub(super) root: PathBuf,
}

impl Suite {
    /// Fetches and unpacks the suite unless that was done before.
    pub(super) fn prepare(folder: &Path) -> Result<Self> {
        TCLSH.ensure()?;
        let suite = Self { root: folder.join("suite") };
        let done = folder.join("unpacked");
        if !done.is_file() {
            let archive = fetch(&folder.join("apt")).context(
                "Debian's source package of redis, which holds the tests, cannot be had; \
                 needed are apt and a Debian or Ubuntu mirror",
            )?;
            unpack(&archive, &suite.root)?;
            std::fs::write(&done, "")?;
        }
        std::fs::write(suite.root.join(CHANGES_FILE), CHANGES)?;
        Ok(suite)
    }

    /// Makes the binary the redis-server of the tests.
    pub(super) fn link_server(&self, binary: &Path) -> Result<()> {
        link(binary, &self.root.join("src/redis-server"))
    }
}

/// Gives the path of the package's original archive.
fn fetch(folder: &Path) -> Result<PathBuf> {
    for part in ["state/lists/partial", "cache/archives/partial", "source"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    std::fs::write(folder.join("sources.list"), sources()?)?;
    quietly(apt(folder).args(["update", "-q"]))?;
    let source = folder.join("source");
    quietly(apt(folder).args(["source", "--download-only", "-q", "redis"]).current_dir(&source))?;
    let files = std::fs::read_dir(&source)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let archive = files.into_iter().find(|path| path.to_string_lossy().contains(".orig.tar"));
    archive.context("the source package holds no original archive")
}

/// The distribution's own archives, as lines that name sources instead of programs.
fn sources() -> Result<String> {
    let format = "$(ORIGIN) deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets = output(program("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let own = |line: &str| line.strip_prefix("Debian ").or_else(|| line.strip_prefix("Ubuntu ")).map(str::to_owned);
    let mut lines: Vec<String> = targets.lines().filter_map(own).collect();
    lines.sort();
    lines.dedup();
    ensure!(!lines.is_empty(), "apt knows no archive of Debian or Ubuntu");
    Ok(lines.join("\n") + "\n")
}

/// Prepares apt with lists and a cache of its own.
fn apt(folder: &Path) -> Command {
    let mut apt = program("apt-get");
    let at = |name: &str| folder.join(name).display().to_string();
    for option in [
        format!("Dir::Etc::SourceList={}", at("sources.list")),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State={}", at("state")),
        format!("Dir::Cache={}", at("cache")),
        "Debug::NoLocking=1".to_owned(),
        // As root apt would become another user, who may not write here.
        "APT::Sandbox::User=".to_owned(),
    ] {
        apt.args(["-o", &option]);
    }
    apt
}

fn unpack(archive: &Path, root: &Path) -> Result<()> {
    std::fs::create_dir_all(root)?;
    let mut tar = program("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(root).args(["--strip-components=1", "--wildcards"]);
    quietly(tar.args(["*/tests", "*/utils", "*/redis.conf", "*/sentinel.conf", "*/runtest*"]))?;
    std::fs::create_dir_all(root.join("src"))?;
    for name in PROGRAMS {
        link(Path::new(output(program("which").arg(name))?.trim()), &root.join("src").join(name))?;
    }
    let main = root.join("tests/test_helper.tcl");
    let text = std::fs::read_to_string(&main).with_context(|| format!("cannot read {}", main.display()))?;
    ensure!(text.matches(BEGIN).count() == 1, "the suite does not begin where it did");
    std::fs::write(&main, text.replace(BEGIN, &format!("\nsource {CHANGES_FILE}{BEGIN}")))?;
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    if at.is_symlink() {
        std::fs::remove_file(at)?;
    }
    std::os::unix::fs::symlink(to, at).with_context(|| format!("cannot make the link {}", at.display()))
}
