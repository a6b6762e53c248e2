//! Our own binary, started as a user would start it.
//!
//! The program is asked for free ports (`--port 0 --http-port 0`) and says on standard output which it got, as one
//! line of JSON: `{"event":"ready","resp":"127.0.0.1:PORT","http":"127.0.0.1:PORT"}`. The binary is found through
//! `REDPOLL_BIN`, through what cargo tells tests of the package that builds it, or next to the running test.

use crate::client::Client;
use crate::scratch::{Guarded, Scratch, tail};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long the program may take until it is ready; a debug build loading a large log is slow.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the program may take to end after a signal.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How to start the program.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The binary; found as the module says when none is given.
    pub binary: Option<PathBuf>,
    /// The data directory; one that goes with the program when none is given.
    pub dir: Option<PathBuf>,
    /// Arguments after `serve --port 0 --http-port 0 --dir DIR --json`.
    pub args: Vec<String>,
}

impl Launch {
    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is not found, ends early or is not ready in time; the message carries its last words.
    pub fn start(&self) -> Result<Program> {
        let binary = match &self.binary {
            Some(path) => path.clone(),
            None => locate()?,
        };
        let scratch = Scratch::new()?;
        let dir = self.dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let log = scratch.path().join("stderr");
        let mut command = Command::new(&binary);
        command.args(["serve", "--port", "0", "--http-port", "0", "--json", "--dir"]).arg(&dir).args(&self.args);
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
        let started = Guarded::spawn(&mut command, &scratch);
        let mut process = started.with_context(|| format!("cannot start {}", binary.display()))?;
        let lines = follow(&mut process);
        let (resp, http) = await_ready(&lines).with_context(|| {
            format!("{} serve did not become ready; standard error ends with:\n{}", binary.display(), tail(&log))
        })?;
        Ok(Program { process, scratch, dir, resp, http })
    }
}

/// The running program, killed on drop.
#[derive(Debug)]
pub struct Program {
    process: Guarded,
    scratch: Scratch,
    dir: PathBuf,
    resp: SocketAddr,
    http: Option<SocketAddr>,
}

impl Program {
    /// Starts `redpoll serve` with further arguments in a directory of its own.
    ///
    /// # Errors
    /// As [`Launch::start`].
    pub fn start(args: &[&str]) -> Result<Self> {
        Launch { args: args.iter().map(|&arg| arg.to_owned()).collect(), ..Launch::default() }.start()
    }

    /// Gives the address of the Redis protocol.
    pub fn address(&self) -> SocketAddr {
        self.resp
    }

    /// Gives the URL that Redis clients take.
    pub fn url(&self) -> String {
        format!("redis://{}", self.resp)
    }

    /// Gives the address of the HTTP API, if it is on.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Gives the data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives the last lines the program wrote to standard error.
    pub fn stderr_tail(&self) -> String {
        tail(&self.scratch.path().join("stderr"))
    }

    /// Opens a client.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.resp).with_context(|| format!("cannot connect to {}", self.resp))
    }

    /// Asks the program to end (SIGTERM) and waits until it did.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        self.process.signal("TERM")?;
        self.process.wait(STOP_PATIENCE)
    }

    /// Kills the program as a crash would (SIGKILL). A directory given by the caller stays for the next start.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal("KILL")?;
        self.process.wait(STOP_PATIENCE).map(drop)
    }
}

fn locate() -> Result<PathBuf> {
    for name in ["REDPOLL_BIN", "CARGO_BIN_EXE_redpoll"] {
        if let Some(path) = std::env::var_os(name) {
            return Ok(path.into());
        }
    }
    // A test runs from target/PROFILE/deps, an example from target/PROFILE/examples, xtask from target/PROFILE.
    let own = std::env::current_exe().context("the running program has no path")?;
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("redpoll")).find(|path| path.is_file());
    found.context("the redpoll binary is not built: run `cargo build -p redpoll` or set REDPOLL_BIN")
}

/// Reads the program's output to its end, so that it never blocks on a full pipe.
fn follow(process: &mut Guarded) -> Receiver<String> {
    let (sender, lines) = channel();
    let output = process.child().stdout.take().expect("standard output was piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens any more once the program is ready; reading goes on.
            let _ = sender.send(line);
        }
    });
    lines
}

fn await_ready(lines: &Receiver<String>) -> Result<(SocketAddr, Option<SocketAddr>)> {
    loop {
        let line = match lines.recv_timeout(START_PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => bail!("it ended before it was ready"),
            Err(RecvTimeoutError::Timeout) => bail!("it said nothing for {} s", START_PATIENCE.as_secs()),
        };
        if json_field(&line, "event") != Some("ready") {
            continue;
        }
        let resp = json_field(&line, "resp").context("the ready line names no resp address")?;
        let http = json_field(&line, "http").map(str::parse).transpose().context("the http address is no address")?;
        ensure!(!resp.is_empty(), "the resp address is empty");
        return Ok((resp.parse().context("the resp address is no address")?, http));
    }
}

/// Finds a string field of a flat JSON object whose strings hold no escapes.
fn json_field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\""))?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let (sender, lines) = channel();
        sender.send("starting".to_owned()).unwrap();
        sender.send(r#"{"event": "ready", "resp":"127.0.0.1:6379","http":"127.0.0.1:8379"}"#.to_owned()).unwrap();
        let (resp, http) = await_ready(&lines).unwrap();
        assert_eq!((resp.port(), http.unwrap().port()), (6379, 8379));
        drop(sender);
        assert!(await_ready(&lines).unwrap_err().to_string().contains("ended"));
    }

    fn fake(behaviour: &str) -> Result<Program> {
        let binary = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_program.sh");
        Launch { binary: Some(binary.into()), dir: None, args: vec![behaviour.to_owned()] }.start()
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_last_words() {
        let error = fake("fail").unwrap_err();
        assert!(error.to_string().contains("port taken"), "{error:#}");
    }

    #[test]
    fn a_terminated_program_gives_its_status() {
        let program = fake("run").unwrap();
        assert_eq!(program.http(), None);
        assert_eq!(program.terminate().unwrap().code(), Some(7));
    }
}
