//! The program run to its end, the program run with its output watched, and a small HTTP client.

pub(crate) mod as_redis_server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redpoll_testkit::Scratch;
use serde_json::Value as Json;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll"));
    command
        .stdin(Stdio::null())
        .env_remove("REDPOLL_BACKEND")
        .env_remove("REDIS_URL")
        .env_remove("REDPOLL_HTTP_TOKEN")
        .env_remove("REDPOLL_ENCRYPTION_KEY");
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    run_with_input(args, "")
}

/// Runs the program to its end with a text on its standard input.
pub(crate) fn run_with_input(args: &[&str], input: &str) -> Ended {
    let mut child =
        program().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that does not read it has ended before.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running `redpoll serve` or the like, killed when dropped.
pub(crate) struct Served {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: BufReader<std::process::ChildStderr>,
    _scratch: Option<Scratch>,
}

impl Served {
    /// Starts it on free ports and in a directory of its own.
    pub(crate) fn start(args: &[&str]) -> Served {
        let scratch = Scratch::new().unwrap();
        let mut served = Served::start_in(scratch.path(), args);
        served._scratch = Some(scratch);
        served
    }

    /// Starts it on free ports with its data in a directory.
    pub(crate) fn start_in(dir: &Path, args: &[&str]) -> Served {
        let mut command = program();
        command.args(["serve", "--port", "0", "--http-port", "0", "--json", "--dir"]).arg(dir).args(args);
        Served::of(command)
    }

    /// Starts another command of the program that runs until a signal comes.
    pub(crate) fn start_command(args: &[&str]) -> Served {
        let mut command = program();
        command.args(args);
        Served::of(command)
    }

    fn of(mut command: Command) -> Served {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Served { child, stdout, stderr, _scratch: None }
    }

    /// Waits for the line that says that it is ready.
    pub(crate) fn ready_line(&mut self) -> Json {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Waits for a line on standard error that contains a text, and returns it.
    pub(crate) fn wait_for_stderr(&mut self, wanted: &str) -> String {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended without saying {wanted:?}");
        }
        line
    }

    /// Sends SIGTERM.
    pub(crate) fn signal(&self) {
        self.send_signal("TERM");
    }

    pub(crate) fn send_signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end and gives the exit code; what it has started may hold its standard error.
    pub(crate) fn wait_for_end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Waits for the end and gives the exit code and what was said on standard error meanwhile.
    pub(crate) fn wait(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client that opens a connection for each request.
pub(crate) struct Http {
    address: SocketAddr,
    header: String,
}

/// What came back.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl HttpAnswer {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Http {
        Http { address, header: String::new() }
    }

    /// Sends a further header with each request.
    pub(crate) fn with_header(&self, header: &str) -> Http {
        Http { address: self.address, header: format!("{header}\r\n") }
    }

    pub(crate) fn get(&self, path: &str) -> HttpAnswer {
        self.send("GET", path, None)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Json>) -> HttpAnswer {
        let body = body.map(Json::to_string).unwrap_or_default();
        let mut stream = self.head(method, path, body.len(), "");
        stream.write_all(body.as_bytes()).unwrap();
        finish(stream)
    }

    /// Sends a request without its body and waits until the server has begun to read that.
    pub(crate) fn begin(&self, method: &str, path: &str, body_len: usize) -> TcpStream {
        const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut stream = self.head(method, path, body_len, "Expect: 100-continue\r\n");
        let mut answer = [0; GO_ON.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, GO_ON);
        stream
    }

    fn head(&self, method: &str, path: &str, body_len: usize, expect: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (host, header) = (self.address, &self.header);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {body_len}\r\n{expect}{header}\r\n"
        )
        .unwrap();
        stream
    }
}

/// Reads the answer to a request that has been sent.
pub(crate) fn finish(mut stream: TcpStream) -> HttpAnswer {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    HttpAnswer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_owned() }
}
