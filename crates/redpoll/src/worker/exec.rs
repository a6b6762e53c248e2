//! A process as a handler.
//!
//! | exit code | the job |
//! |---|---|
//! | 0 | is completed; what was printed is its result, nothing is none |
//! | 65 | is given up: dead at once (`EX_DATAERR` of sysexits: trying again would not help) |
//! | 75 | is handed back and left alone for a while, and has not failed (`EX_TEMPFAIL`) |
//! | any other, or a signal | has failed; the end of standard error is the cause |
//!
//! Each process leads a group of its own, so that a signal reaches what it has started too. When the job is cancelled, its lease lost, or the worker's time to
//! end is up, the group gets SIGTERM, and SIGKILL after the grace. Past the job's own timeout it gets SIGKILL at once. A process that was stopped and has not
//! said that it is done ends with the last of its group: nothing of it runs beside the next who has the job.
//!
//! Output is read as it comes: of standard output as much as a result may have, beyond which the process is killed and has failed; standard
//! error is passed on, and its end kept.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use redpoll_services::jobs::{MAX_ERROR_BYTES, Payload};
use redpoll_services::workers::{Context, Done, Failure, HandlerResult, Stop};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

/// Exit codes that mean something, as sysexits.h has them.
const EX_DATAERR: i32 = 65;
const EX_TEMPFAIL: i32 = 75;

/// What is kept of standard error: with the exit code before it, it is no longer than a cause may be.
const CAUSE_MAX: usize = MAX_ERROR_BYTES - 64;

/// Bytes read at a time.
const CHUNK: usize = 8 << 10;

/// How long output is waited for after the process has ended: something that it has started may keep the pipe open.
const LINGER: Duration = Duration::from_secs(1);

/// How often it is looked whether the rest of a group has ended, of which nobody is told.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is run, and how its answer is read.
#[derive(Debug, Clone)]
pub(super) struct Exec {
    pub(super) command: String,
    /// Largest result, in bytes.
    pub(super) output_max: usize,
    /// How long jobs are left alone that are to be tried later.
    pub(super) release: Duration,
    pub(super) json_results: bool,
}

/// A process group that is killed when nobody waits for it any more. Its number is nobody else's until its leader has been waited for, and as long as it has members.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0
            && let Err(error) = killpg(leader, signal)
        {
            tracing::debug!(%leader, %signal, %error, "a process group could not be signalled");
        }
    }

    /// Waits until there are no members. Whoever gives that up, as is done after the grace, kills them.
    async fn ended(&mut self) {
        while let Some(leader) = self.0 {
            match killpg(leader, None) {
                Ok(()) => tokio::time::sleep(LOOK_EVERY).await,
                // The number may be another's from now on.
                Err(_) => self.0 = None,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Why a process was not waited for to its end.
enum Ended {
    Status(ExitStatus),
    TooMuchOutput,
}

impl Exec {
    /// Runs the command for a job.
    pub(super) async fn run(self, cx: Context) -> HandlerResult {
        let mut child = self.start(&cx).map_err(|error| Failure::new(format!("cannot start /bin/sh: {error}")))?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = tokio::spawn(feed(stdin, cx.payload().as_bytes().to_vec()));
        let max = self.output_max;
        let (full, mut is_full) = oneshot::channel();
        let (printed, told) = (Kept::default(), Kept::default());
        let output = tokio::spawn(read_up_to(stdout, max, printed.clone(), full));
        let errors = tokio::spawn(read_tail(stderr, told.clone()));
        let (mut stopped, cause) = (None, cx.clone());
        let ended = loop {
            tokio::select! {
                status = child.wait() => break Ended::Status(status?),
                Ok(()) = &mut is_full => break Ended::TooMuchOutput,
                reason = cause.stopped(), if stopped.is_none() => {
                    stopped = Some(reason);
                    group.signal(Signal::SIGTERM);
                }
            }
        };
        let Ended::Status(status) = ended else {
            return Err(Failure::new(format!("printed more than {max} bytes")));
        };
        input.abort();
        if stopped.is_some() && !status.success() {
            group.ended().await;
        }
        // What it has started and left behind is its own business, if nobody is to begin anew.
        group.0 = None;
        // What the process itself has written is in the pipes by now, and read long before this is over.
        let until = tokio::time::Instant::now() + LINGER;
        for mut reader in [output, errors] {
            if tokio::time::timeout_at(until, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        match is_full.try_recv() {
            Ok(()) => Err(Failure::new(format!("printed more than {max} bytes"))),
            Err(_) => self.answer(status, stopped, printed.take(), &told.take()),
        }
    }

    fn start(&self, cx: &Context) -> std::io::Result<Child> {
        let (job, ticket) = (cx.job(), cx.ticket());
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.command).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("REDPOLL_JOB_ID", &job.id).env("REDPOLL_JOB_NAME", &job.name);
        command.env("REDPOLL_JOB_QUEUE", cx.queue().name()).env("REDPOLL_JOB_TENANT", cx.queue().tenant().name());
        command.env("REDPOLL_JOB_ATTEMPT", cx.attempt().to_string());
        command.env("REDPOLL_JOB_TOKEN", ticket.token.to_string());
        for name in ["TRACEPARENT", "TRACESTATE", "REDPOLL_JOB_HEADERS"] {
            // Not those of whoever started the worker.
            command.env_remove(name);
        }
        if let Some(trace) = cx.trace() {
            command.env("TRACEPARENT", trace.traceparent);
            trace.tracestate.map(|state| command.env("TRACESTATE", state));
        }
        if !job.headers.is_empty() {
            command.env("REDPOLL_JOB_HEADERS", serde_json::to_string(&job.headers)?);
        }
        command.spawn()
    }

    fn answer(&self, status: ExitStatus, stopped: Option<Stop>, output: Vec<u8>, errors: &[u8]) -> HandlerResult {
        if status.success() {
            return self.result(output);
        }
        if stopped == Some(Stop::Draining) {
            // It ended because it was told to.
            return Err(Failure::release(Duration::ZERO));
        }
        let told = String::from_utf8_lossy(errors);
        let cause = match told.trim() {
            "" => status.to_string(),
            told => format!("{status}: {told}"),
        };
        Err(match status.code() {
            Some(EX_DATAERR) => Failure::give_up(cause),
            Some(EX_TEMPFAIL) => Failure::release(self.release),
            _ => Failure::new(cause),
        })
    }

    fn result(&self, output: Vec<u8>) -> HandlerResult {
        if output.is_empty() {
            return Ok(Done::default());
        }
        if !self.json_results {
            return Ok(Payload::bytes(output).into());
        }
        let value: serde_json::Value = serde_json::from_slice(&output)
            .map_err(|error| Failure::new(format!("what was printed is not JSON: {error}")))?;
        Ok(Payload::json(&value)?.into())
    }
}

/// Gives a process its input. One that does not read it to the end does not want it.
async fn feed(stdin: Option<ChildStdin>, payload: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        // The pipe breaks when the process has ended.
        let _ = stdin.write_all(&payload).await;
    }
}

/// What a process has written so far.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn with<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        change(&mut self.0.lock().expect("nothing panics while it is held"))
    }

    fn take(&self) -> Vec<u8> {
        self.with(std::mem::take)
    }
}

/// Reads output to its end; if it is more than `max`, says so and reads no more.
async fn read_up_to(from: Option<impl AsyncRead + Unpin>, max: usize, kept: Kept, full: oneshot::Sender<()>) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if kept.with(|output| output.len()) + count > max {
            // Whoever has ended meanwhile asks for it.
            let _ = full.send(());
            return;
        }
        kept.with(|output| output.extend_from_slice(&chunk[..count]));
    }
}

/// Passes all of standard error on and keeps its end.
async fn read_tail(from: Option<impl AsyncRead + Unpin>, kept: Kept) {
    let Some(mut from) = from else { return };
    let (mut own, mut chunk) = (tokio::io::stderr(), vec![0; CHUNK]);
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        // Whoever reads it may be gone.
        let _ = own.write_all(&chunk[..count]).await;
        kept.with(|tail| {
            tail.extend_from_slice(&chunk[..count]);
            tail.drain(..tail.len().saturating_sub(CAUSE_MAX));
        });
    }
}
