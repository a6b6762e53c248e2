//! A host with just enough commands for the scripts of these tests.

use std::collections::BTreeMap;

use redpoll_script::{Engine, EngineConfig, Host, Interrupt, Invocation, LogLevel, Origin, Protocol, Replication};

/// A value under a key.
pub(crate) enum Stored {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(Vec<Vec<u8>>),
    Scores(BTreeMap<Vec<u8>, f64>),
}

/// A keyspace of its own for every run, with a record of what the script asked for.
#[derive(Default)]
pub(crate) struct TestHost {
    pub(crate) keys: BTreeMap<Vec<u8>, Stored>,
    pub(crate) calls: usize,
    pub(crate) log: Vec<(LogLevel, Vec<u8>)>,
    pub(crate) replication: Option<Replication>,
    /// How many times the script may be interrupted before it is killed; `None` for never.
    pub(crate) patience: Option<usize>,
    pub(crate) interrupts: usize,
    pub(crate) read_only: bool,
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const WRONG_ARITY: &str = "-ERR Wrong number of args calling Redis command from script\r\n";

impl Host for TestHost {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, reply: &mut Vec<u8>) {
        self.calls += 1;
        let name = String::from_utf8_lossy(args[0]).to_ascii_lowercase();
        let answer = self.command(&name, &args[1..], protocol);
        reply.extend_from_slice(&answer);
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.log.push((level, message.to_vec()));
    }

    fn set_replication(&mut self, replication: Replication) {
        self.replication = Some(replication);
    }

    fn permits(&mut self, args: &[&[u8]]) -> Option<bool> {
        match args[0] {
            b"get" => Some(true),
            b"set" => Some(false),
            _ => None,
        }
    }

    fn interrupt(&mut self) -> Interrupt {
        self.interrupts += 1;
        match self.patience {
            Some(patience) if self.interrupts > patience => {
                Interrupt::Kill(b"ERR Script killed by user with SCRIPT KILL.".to_vec())
            }
            _ => Interrupt::Continue,
        }
    }
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

fn array(items: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = format!("*{}\r\n", items.len()).into_bytes();
    items.for_each(|item| out.extend(item));
    out
}

fn null(protocol: Protocol) -> Vec<u8> {
    if protocol == Protocol::Resp3 { b"_\r\n".to_vec() } else { b"$-1\r\n".to_vec() }
}

impl TestHost {
    fn command(&mut self, name: &str, args: &[&[u8]], protocol: Protocol) -> Vec<u8> {
        let arity_is_right = match name {
            "get" | "echo" | "incr" | "hgetall" | "smembers" | "strlen" => args.len() == 1,
            "set" | "incrby" | "zscore" => args.len() == 2,
            "lpush" | "rpush" | "sadd" | "hmget" => args.len() >= 2,
            "hset" | "zadd" | "lrange" => args.len() == 3,
            "del" | "exists" | "raw" => !args.is_empty(),
            "ping" => args.is_empty(),
            _ => return b"-ERR Unknown Redis command called from script\r\n".to_vec(),
        };
        if !arity_is_right {
            return WRONG_ARITY.into();
        }
        match name {
            "ping" => b"+PONG\r\n".to_vec(),
            "raw" => args[0].to_vec(),
            "echo" => bulk(args[0]),
            "set" if self.read_only => b"-ERR Write commands are not allowed from read-only scripts.\r\n".to_vec(),
            "set" => {
                self.keys.insert(args[0].to_vec(), Stored::Text(args[1].to_vec()));
                b"+OK\r\n".to_vec()
            }
            "del" | "exists" => {
                let count = args.iter().filter(|key| self.keys.contains_key(**key)).count();
                if name == "del" {
                    args.iter().for_each(|key| drop(self.keys.remove(*key)));
                }
                format!(":{count}\r\n").into_bytes()
            }
            "get" | "incr" | "incrby" | "strlen" => self.text_command(name, args, protocol),
            "lpush" | "rpush" | "lrange" => self.list_command(name, args),
            _ => self.aggregate_command(name, args, protocol),
        }
    }

    fn text_command(&mut self, name: &str, args: &[&[u8]], protocol: Protocol) -> Vec<u8> {
        let text = match self.keys.get(args[0]) {
            Some(Stored::Text(text)) => Some(text.clone()),
            Some(_) => return WRONG_TYPE.into(),
            None => None,
        };
        match name {
            "get" => text.map_or_else(|| null(protocol), |text| bulk(&text)),
            "strlen" => format!(":{}\r\n", text.map_or(0, |text| text.len())).into_bytes(),
            _ => {
                let parse = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
                let by = args.get(1).map_or(Some(1), |by| parse(by));
                let Some((old, by)) = parse(&text.unwrap_or(b"0".to_vec())).zip(by) else {
                    return b"-ERR value is not an integer or out of range\r\n".to_vec();
                };
                self.keys.insert(args[0].to_vec(), Stored::Text((old + by).to_string().into_bytes()));
                format!(":{}\r\n", old + by).into_bytes()
            }
        }
    }

    fn list_command(&mut self, name: &str, args: &[&[u8]]) -> Vec<u8> {
        let list = self.keys.entry(args[0].to_vec()).or_insert_with(|| Stored::List(Vec::new()));
        let Stored::List(list) = list else { return WRONG_TYPE.into() };
        match name {
            "lrange" => return array(list.iter().map(|item| bulk(item))),
            "rpush" => list.extend(args[1..].iter().map(|item| item.to_vec())),
            _ => args[1..].iter().for_each(|item| list.insert(0, item.to_vec())),
        }
        format!(":{}\r\n", list.len()).into_bytes()
    }

    fn aggregate_command(&mut self, name: &str, args: &[&[u8]], protocol: Protocol) -> Vec<u8> {
        let resp3 = protocol == Protocol::Resp3;
        let empty = match name {
            "hset" | "hgetall" | "hmget" => Stored::Hash(BTreeMap::new()),
            "sadd" | "smembers" => Stored::Set(Vec::new()),
            _ => Stored::Scores(BTreeMap::new()),
        };
        match (name, self.keys.entry(args[0].to_vec()).or_insert(empty)) {
            ("hset", Stored::Hash(hash)) => {
                hash.insert(args[1].to_vec(), args[2].to_vec());
                b":1\r\n".to_vec()
            }
            ("hgetall", Stored::Hash(hash)) => {
                let head = if resp3 { format!("%{}\r\n", hash.len()) } else { format!("*{}\r\n", hash.len() * 2) };
                let fields = hash.iter().flat_map(|(field, value)| [bulk(field), bulk(value)].concat());
                head.into_bytes().into_iter().chain(fields).collect()
            }
            ("hmget", Stored::Hash(hash)) => array(
                args[1..].iter().map(|field| hash.get(*field).map_or_else(|| null(protocol), |value| bulk(value))),
            ),
            ("sadd", Stored::Set(set)) => {
                set.extend(args[1..].iter().map(|item| item.to_vec()));
                format!(":{}\r\n", args.len() - 1).into_bytes()
            }
            ("smembers", Stored::Set(set)) => {
                let mut out = array(set.iter().map(|item| bulk(item)));
                if resp3 {
                    out[0] = b'~';
                }
                out
            }
            ("zadd", Stored::Scores(scores)) => {
                let score = std::str::from_utf8(args[1]).expect("test scores are ASCII").parse();
                scores.insert(args[2].to_vec(), score.expect("test scores are numbers"));
                b":1\r\n".to_vec()
            }
            ("zscore", Stored::Scores(scores)) => match scores.get(args[1]) {
                Some(score) if resp3 => format!(",{score}\r\n").into_bytes(),
                Some(score) => bulk(score.to_string().as_bytes()),
                None => null(protocol),
            },
            _ => WRONG_TYPE.into(),
        }
    }
}

/// An engine that calls itself 7.0.15.
pub(crate) fn engine() -> Engine {
    Engine::new(EngineConfig { version: [7, 0, 15], ..EngineConfig::default() })
}

/// Runs a script as EVAL does; a script that does not load answers by its error.
pub(crate) fn eval(engine: &mut Engine, host: &mut TestHost, script: &[u8], invocation: &Invocation<'_>) -> Vec<u8> {
    let mut reply = Vec::new();
    match engine.load(script, Origin::Eval) {
        Ok(sha) => {
            host.read_only = engine.flags(&sha).expect("the script was just loaded").no_writes;
            engine.run(&sha, invocation, host, &mut reply);
        }
        Err(error) => reply = format!("-{error}\r\n").into_bytes(),
    }
    reply
}

/// A reply with line breaks and bytes that are not printable ASCII escaped.
pub(crate) fn printable(reply: &[u8]) -> String {
    let mut out = String::new();
    for &byte in reply {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}
