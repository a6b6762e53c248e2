//! The program called as redis-server.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use redpoll_testkit::Client;

use super::{Ended, PATIENCE, program};

/// The program called as redis-server, killed when dropped.
pub(crate) struct AsRedisServer {
    child: Child,
    stdout: BufReader<ChildStdout>,
    said: String,
    port: u16,
}

impl AsRedisServer {
    /// Starts it on a free port with its data in a directory, and waits until it is ready or its log goes elsewhere.
    pub(crate) fn start(config: Option<&Path>, dir: &Path, args: &[&str]) -> AsRedisServer {
        // The port is free now; nobody else here listens on what it does not get from the system.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        AsRedisServer::start_on(config, dir, free, args)
    }

    /// Starts it on a port.
    pub(crate) fn start_on(config: Option<&Path>, dir: &Path, port: u16, args: &[&str]) -> AsRedisServer {
        let mut command = redis_server();
        command.args(config).args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ready to accept") && !args.contains(&"--logfile") {
            assert_ne!(stdout.read_line(&mut said).unwrap(), 0, "it ended with {said}");
        }
        let server = AsRedisServer { child, stdout, said, port };
        let begun = std::time::Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen on {port}");
            std::thread::yield_now();
        }
        server
    }

    /// Runs it to its end.
    pub(crate) fn run(args: &[&str]) -> Ended {
        let output = redis_server().args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGTERM and gives everything it said on standard output.
    pub(crate) fn end(mut self) -> String {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.stdout.read_to_string(&mut self.said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for AsRedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn redis_server() -> Command {
    let mut command = program();
    command.arg0("redis-server").env_remove("RUST_LOG");
    command
}
