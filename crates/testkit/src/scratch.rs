//! Directories and processes that do not outlive the test that made them.
//!
//! [`Scratch`] is a directory removed on drop. [`Guarded`] is a child process killed on drop; a test that is killed
//! itself runs no drops, and neither does a static at the end of a program, so a shell waits on a pipe whose other end
//! the test holds; when the pipe breaks it kills the child and removes the child's directory. (A parent-death signal
//! would need unsafe code and fires when the starting thread ends, not the process.)

use anyhow::{Context, Result};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A directory of its own under the system's temporary directory, removed with its contents on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates an empty directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redpoll-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Gives the directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that is left behind harms nobody; a panic here would hide why the test failed.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A child process that ends when this value is dropped or this process dies.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    watchdog: Child,
}

impl Guarded {
    /// Starts the process, whose directory goes with it; it never shares our standard input.
    pub(crate) fn spawn(command: &mut Command, scratch: &Scratch) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\" 2>/dev/null; rm -rf \"$1\"", &child.id().to_string()])
            .arg(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { child, watchdog }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Gives the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives the child, to take its pipes or look at its state.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        anyhow::ensure!(sent.context("cannot run kill")?.success(), "kill -{name} {} failed", self.child.id());
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let mut status = None;
        poll(patience, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.with_context(|| format!("process {} did not end within {patience:?}", self.child.id()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The watchdog goes first: afterwards the child's id may belong to somebody else.
        end(&mut self.watchdog);
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Asks `done` again and again until it answers true or `patience` is over; says whether it did.
///
/// This is for states of other processes, which offer nothing to wait on. A state of our own has a condition variable.
pub(crate) fn poll(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asks the system for a port that is free at the moment. Another process may take it before it is used.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("cannot bind a port on 127.0.0.1")?.local_addr()?.port())
}

/// Reads the last lines of a log file, for error messages.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outlives_its_owner() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        let guarded = Guarded::spawn(Command::new("cat").stdout(Stdio::null()), &scratch).unwrap();
        let process = PathBuf::from(format!("/proc/{}", guarded.id()));
        drop((scratch, guarded));
        assert!(!path.exists());
        assert!(!process.exists());
    }

    #[test]
    fn the_watchdog_clears_away_what_an_owner_left_behind() {
        let scratch = Scratch::new().unwrap();
        let mut guarded = Guarded::spawn(Command::new("sleep").arg("600"), &scratch).unwrap();
        // Closing the pipe is what the death of this process would do.
        drop(guarded.watchdog.stdin.take());
        assert!(!guarded.wait(Duration::from_secs(20)).unwrap().success());
        assert!(poll(Duration::from_secs(20), || !scratch.path().exists()));
    }
}
