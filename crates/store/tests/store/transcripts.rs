//! The transcripts of this folder, which need scripts or a data directory, run on a store in this process; `cargo xtask oracle` runs the same files on a real redis-server.

use std::collections::HashMap;

use redpoll_store::{Config, Connection, Store};
use redpoll_testkit::{Protocol, Reply, Scratch, Target};

/// The client that a fresh or reset target uses.
const MAIN: &str = "main";

/// A store and its callers.
struct Embedded {
    store: Store,
    clients: HashMap<String, Connection>,
    current: String,
    _dir: Scratch,
}

impl Embedded {
    fn new() -> Embedded {
        let dir = Scratch::new().expect("there is room for a directory");
        let config = Config::in_memory().set("enable-debug-command", "yes").expect("there is such a setting");
        let config = config.set("dir", &dir.path().display().to_string()).expect("there is such a setting");
        let store = Store::open(config).expect("a store without a log opens");
        let mut target = Embedded { store, clients: HashMap::new(), current: MAIN.to_owned(), _dir: dir };
        target.set_protocol(Protocol::Resp2);
        target
    }
}

impl Target for Embedded {
    fn call(&mut self, args: &[Vec<u8>]) -> Reply {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let client = self.clients.get_mut(&self.current).expect("the current client is connected");
        Reply::read(&mut client.call_raw(&args)).expect("a reply is well formed")
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        let mut client = self.store.connect();
        let version: &[u8] = if protocol == Protocol::Resp3 { b"3" } else { b"2" };
        client.call_raw(&[b"HELLO", version]);
        self.clients.insert(self.current.clone(), client);
    }

    fn reset(&mut self) {
        self.clients.clear();
        MAIN.clone_into(&mut self.current);
        self.set_protocol(Protocol::Resp2);
    }

    fn use_client(&mut self, name: &str) {
        self.current = name.to_owned();
        if !self.clients.contains_key(name) {
            self.set_protocol(Protocol::Resp2);
        }
    }

    fn advance(&mut self, _: u64) {
        panic!("a store has the system's clock: what lets time pass is for the transcripts of `commands`");
    }
}

#[test]
fn every_transcript_holds() {
    redpoll_testkit::transcript::run_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), Embedded::new);
}
