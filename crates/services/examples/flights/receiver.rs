//! The receiver: a process that accepts webhooks and can be killed at any moment.
//!
//! It accepts a trigger by writing a line to its log before it answers. When it starts it reads the log, so it knows what
//! it has accepted before; a trigger that comes again (its answer was lost, or it died in between) is answered like the
//! first time and noted as a repetition. A line cut off by its death was never answered and is dropped.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use redpoll_services::events::Trigger;
use redpoll_services::events::webhook::{ATTEMPT_HEADER, ID_HEADER, SIGNATURE_HEADER, verify};
use serde::{Deserialize, Serialize};

/// Signs the triggers of this demonstration.
pub(crate) const SECRET: &str = "only for this demonstration";

/// How old a signed request may be.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Receives webhooks.
#[derive(Debug, clap::Args)]
pub(crate) struct Receive {
    /// Port of 127.0.0.1, 0 for a free one.
    #[arg(long)]
    port: u16,
    /// File for what was accepted.
    #[arg(long)]
    log: PathBuf,
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) trigger: Trigger,
    /// Which attempt it was.
    pub(crate) attempt: u32,
    /// Whether it had been accepted before.
    pub(crate) repetition: bool,
}

struct Accepted {
    ids: HashSet<String>,
    log: File,
}

impl Receive {
    /// Serves until killed, or until the process that started it is gone.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let ids = read_log(&self.log)?.into_iter().map(|line| line.trigger.id).collect();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let state = Arc::new(Mutex::new(Accepted { ids, log }));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await?;
        println!("{}", listener.local_addr()?);
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        axum::serve(listener, Router::new().route("/hook", post(accept)).with_state(state)).await?;
        Ok(())
    }
}

async fn accept(State(state): State<Arc<Mutex<Accepted>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    if verify(SECRET.as_bytes(), header(SIGNATURE_HEADER), &body, now, TOLERANCE).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let (Ok(trigger), Ok(attempt)) = (serde_json::from_slice::<Trigger>(&body), header(ATTEMPT_HEADER).parse()) else {
        return StatusCode::BAD_REQUEST;
    };
    if trigger.id != header(ID_HEADER) {
        return StatusCode::BAD_REQUEST;
    }
    let mut accepted = state.lock().expect("no holder panics");
    let repetition = !accepted.ids.insert(trigger.id.clone());
    let mut text = serde_json::to_vec(&Line { trigger, attempt, repetition }).expect("it came from JSON");
    text.push(b'\n');
    match accepted.log.write_all(&text) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Reads a log; drops a last line that was cut off.
pub(crate) fn read_log(path: &Path) -> anyhow::Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    text[..whole].lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The receiver's process as its parent sees it; killed on drop.
pub(crate) struct Receiver {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Receiver {
    /// Starts a receiver on a free port with an empty log.
    pub(crate) fn start(log: PathBuf) -> anyhow::Result<Self> {
        let _ = std::fs::remove_file(&log);
        let (child, address) = spawn(0, &log)?;
        Ok(Self { child, address, log })
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again where it was, with what it had accepted.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        (self.child, self.address) = spawn(self.address.port(), &self.log)?;
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(port: u16, log: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["receive", "--port", &port.to_string(), "--log"])
        .arg(log)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the receiver")?;
    let mut line = String::new();
    let output = child.stdout.take().expect("standard output was piped");
    BufReader::new(output).read_line(&mut line)?;
    match line.trim().parse() {
        Ok(address) => Ok((child, address)),
        Err(_) => {
            let status = child.wait()?;
            anyhow::bail!("the receiver did not start: {status}")
        }
    }
}
