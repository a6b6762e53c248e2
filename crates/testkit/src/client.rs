//! [`Target`], the one thing every comparison talks to, and [`Client`], the target at the other end of a TCP connection.
//!
//! A target answers commands. What stands behind it (an embedded store, our server, redis-server) is its own affair,
//! which is what lets one transcript judge all of them. The provided methods cover what only some targets can do:
//! several connections, sending without waiting, moving a fake clock.
//!
//! The client blocks, has no pool and no retries; a command that gets no answer within [`PATIENCE`] is answered by
//! [`Reply::Lost`].

use crate::Reply;
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a client waits for a reply before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The connection that a fresh or reset client uses.
const MAIN: &str = "main";

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, what every connection starts with.
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// Something that answers commands.
pub trait Target {
    /// Runs one command and gives its reply.
    fn call(&mut self, args: &[Vec<u8>]) -> Reply;

    /// Replaces the current connection by a fresh one speaking `protocol`: database 0, no transaction, no name.
    fn set_protocol(&mut self, protocol: Protocol);

    /// Forgets all connections but a fresh RESP2 one. The data stays.
    fn reset(&mut self) {
        self.set_protocol(Protocol::Resp2);
    }

    /// Runs commands in order and gives their replies; a networked target sends all before it reads any.
    fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        commands.iter().map(|args| self.call(args)).collect()
    }

    /// Makes the connection called `name` current, opening it (RESP2) at first use.
    fn use_client(&mut self, name: &str) {
        panic!("this target has one connection only, `@client {name}` cannot be served");
    }

    /// Sends a command without waiting for its reply, which [`receive`](Self::receive) will give; comes back once the
    /// target has taken the command up, so that what is sent next, by whom ever, comes after it.
    fn send(&mut self, args: &[Vec<u8>]) {
        panic!("this target cannot send without waiting: {}", display(args));
    }

    /// Waits for the next reply or pushed message of the current connection.
    fn receive(&mut self) -> Reply {
        panic!("this target receives nothing but replies");
    }

    /// Lets `ms` milliseconds pass. A target with a clock of its own moves that clock instead of waiting.
    fn advance(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// Splits a command line at blanks into arguments; no quoting.
pub fn command(line: &str) -> Vec<Vec<u8>> {
    line.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// Shows a command as a transcript would.
pub(crate) fn display(args: &[Vec<u8>]) -> String {
    let plain =
        |arg: &[u8]| !arg.is_empty() && arg.iter().all(|&byte| byte.is_ascii_graphic() && !b"\"'\\%".contains(&byte));
    let words: Vec<String> = args
        .iter()
        .map(|arg| if plain(arg) { String::from_utf8_lossy(arg).into_owned() } else { crate::reply::quote(arg) })
        .collect();
    words.join(" ").replace("%(", "\\x25(")
}

/// A blocking client of one server, with any number of named connections.
///
/// ```no_run
/// use redpoll_testkit::{Client, RedisServer};
/// let server = RedisServer::start().expect("redis-server is installed");
/// let mut client = Client::connect(server.address()).expect("the server listens");
/// assert_eq!(client.run("SET key value").print(), "OK");
/// ```
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connections: HashMap<String, Connection>,
    current: String,
    /// Sees which of the others wait; opened when one may.
    watcher: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<TcpStream>,
    /// Messages pushed by the server while a reply was awaited.
    pushed: VecDeque<Reply>,
}

impl Client {
    /// Connects to a server.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let connections = HashMap::from([(MAIN.to_owned(), Connection::open(address)?)]);
        Ok(Self { address, connections, current: MAIN.to_owned(), watcher: None })
    }

    /// Runs a command given as one line of words without quoting.
    pub fn run(&mut self, line: &str) -> Reply {
        self.call(&command(line))
    }

    fn reopen(&mut self) -> &mut Connection {
        let fresh = Connection::open(self.address)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.address));
        self.connections.insert(self.current.clone(), fresh);
        self.connection()
    }

    /// Waits until the server holds the current connection's command back, or answers it.
    fn wait_until_taken(&mut self) -> io::Result<()> {
        let connection = &self.connections[&self.current];
        let address = format!(" addr={} ", connection.stream.get_ref().local_addr()?);
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(Connection::open(self.address)?),
        };
        let started = Instant::now();
        while !connection.is_answered()? {
            let clients = watcher.call(&command("CLIENT LIST"))?.print();
            let line = clients.split("\\n").find(|line| line.contains(&address));
            let flags = line.and_then(|line| line.split(" flags=").nth(1)).and_then(|rest| rest.split(' ').next());
            if flags.is_some_and(|flags| flags.contains('b')) {
                break;
            }
            if started.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    fn connection(&mut self) -> &mut Connection {
        self.connections.get_mut(&self.current).expect("the current connection is in the map")
    }
}

impl Target for Client {
    fn call(&mut self, args: &[Vec<u8>]) -> Reply {
        self.connection().call(args).unwrap_or_else(|error| lost(&error))
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        let connection = self.reopen();
        if protocol == Protocol::Resp3 {
            let hello = connection.call(&command("HELLO 3")).unwrap_or_else(|error| lost(&error));
            assert!(matches!(hello, Reply::Map(_)), "HELLO 3 was answered by {}", hello.print());
        }
    }

    fn reset(&mut self) {
        self.connections.clear();
        self.watcher = None;
        MAIN.clone_into(&mut self.current);
        self.set_protocol(Protocol::Resp2);
    }

    fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        commands.iter().for_each(|args| encode(&mut bytes, args));
        let connection = self.connection();
        if let Err(error) = connection.stream.get_mut().write_all(&bytes) {
            return vec![lost(&error); commands.len()];
        }
        commands.iter().map(|args| connection.reply_to(args).unwrap_or_else(|error| lost(&error))).collect()
    }

    fn use_client(&mut self, name: &str) {
        name.clone_into(&mut self.current);
        if !self.connections.contains_key(name) {
            self.reopen();
        }
    }

    fn send(&mut self, args: &[Vec<u8>]) {
        let mut bytes = Vec::new();
        encode(&mut bytes, args);
        let sent = self.connection().stream.get_mut().write_all(&bytes);
        let taken = sent.and_then(|()| self.wait_until_taken());
        taken.unwrap_or_else(|error| panic!("cannot send {}: {error}", display(args)));
    }

    fn receive(&mut self) -> Reply {
        let connection = self.connection();
        match connection.pushed.pop_front() {
            Some(message) => message,
            None => Reply::read(&mut connection.stream).unwrap_or_else(|error| lost(&error)),
        }
    }
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), pushed: VecDeque::new() })
    }

    /// Whether there is something to read.
    fn is_answered(&self) -> io::Result<bool> {
        if !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            peeked => peeked.map(|_| true),
        }
    }

    fn call(&mut self, args: &[Vec<u8>]) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        encode(&mut bytes, args);
        self.stream.get_mut().write_all(&bytes)?;
        self.reply_to(args)
    }

    /// Reads the reply to `args`, setting aside messages pushed in between; a subscription is answered by a push.
    fn reply_to(&mut self, args: &[Vec<u8>]) -> io::Result<Reply> {
        let subscribes = args.first().is_some_and(|name| name.to_ascii_lowercase().ends_with(b"subscribe"));
        loop {
            match Reply::read(&mut self.stream)? {
                message @ Reply::Push(_) if !subscribes => self.pushed.push_back(message),
                reply => return Ok(reply),
            }
        }
    }
}

fn encode(bytes: &mut Vec<u8>, args: &[Vec<u8>]) {
    bytes.extend(format!("*{}\r\n", args.len()).bytes());
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
}

fn lost(error: &io::Error) -> Reply {
    Reply::Lost(match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("none within {} s", PATIENCE.as_secs()),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "connection closed".to_owned()
        }
        _ => error.to_string(),
    })
}
