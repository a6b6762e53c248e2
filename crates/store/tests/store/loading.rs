//! A store whose data is still on its way: what it refuses, what it answers, and that what is half there neither expires, nor is evicted, nor saved.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redpoll_store::{Error, Load, Store, Value};
use redpoll_testkit::Scratch;

use crate::support::{begin_slowly, in_directory, info, run};

/// Commands in the log: at the pace at which a slow store loads them they take ten seconds and more.
const COMMANDS: usize = 200;

const REFUSED: &str = "LOADING Redis is loading the dataset in memory";

/// Writes a log that begins with some commands.
fn log_of(dir: &Scratch, first: &[&str]) {
    let store = in_directory(dir);
    let mut connection = store.connect();
    for line in first {
        assert!(!matches!(run(&mut connection, line), Value::Error(_)), "{line}");
    }
    for number in 0..COMMANDS {
        run(&mut connection, &format!("SET key:{number} {number}"));
    }
}

/// Loads on a thread of its own; returns when that has begun.
fn load(store: &Store, load: Load) -> JoinHandle<Result<(), Error>> {
    let thread = std::thread::spawn(move || load.run());
    let began = Instant::now();
    while info(store, "loading_loaded_bytes") == "0" {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing is read");
        std::thread::yield_now();
    }
    thread
}

/// Loads the rest at once.
fn load_rest(store: &Store, thread: JoinHandle<Result<(), Error>>) {
    assert_eq!(store.call(&["CONFIG", "SET", "key-load-delay", "0"]), Value::Simple("OK".into()));
    thread.join().unwrap().unwrap();
}

fn assert_refused(reply: &Value) {
    assert!(matches!(reply, Value::Error(text) if text == REFUSED), "{reply:?}");
}

#[test]
fn what_needs_the_data_is_refused_until_all_is_there() {
    let dir = Scratch::new().unwrap();
    log_of(&dir, &[]);
    let (store, begun) = begin_slowly(&dir, &[]);
    assert_eq!(info(&store, "loading"), "1", "from the beginning");
    let thread = load(&store, begun);
    let mut connection = store.connect();
    for line in ["PING", "GET key:1", "SET key:1 x", "DBSIZE", "EVAL return 0", "FLUSHALL", "BGSAVE", "WAITAOF 0 0 0"] {
        assert_refused(&run(&mut connection, line));
    }
    for line in ["CONFIG SET appendonly no", "CONFIG SET hz 20 dir /tmp", "CONFIG SET encryption-key-file /tmp/none"] {
        assert_refused(&run(&mut connection, line));
    }
    assert!(format!("{:?}", store.call(&["CONFIG", "GET", "hz"])).contains("[49, 48]"), "nothing is changed");
    assert!(matches!(run(&mut connection, "CLIENT ID"), Value::Int(_)));
    assert_eq!(run(&mut connection, "MULTI"), Value::Simple("OK".into()));
    assert_refused(&run(&mut connection, "SET key:1 x"));
    assert!(matches!(run(&mut connection, "EXEC"), Value::Error(text) if text.starts_with("EXECABORT")));
    let number = |name: &str| info(&store, name).parse::<f64>().unwrap();
    assert!(number("loading_total_bytes") > 4_000.0 && number("loading_start_time") > 1_700_000_000.0);
    assert!((0.0..=100.0).contains(&number("loading_loaded_perc")) && number("loading_eta_seconds") >= 0.0);
    load_rest(&store, thread);
    assert_eq!(info(&store, "loading"), "0");
    assert_eq!(run(&mut connection, "DBSIZE"), Value::Int(COMMANDS as i64));
    assert_eq!(run(&mut connection, "GET key:1"), Value::Bulk(b"1".to_vec()));
    run(&mut connection, "SET key:1 x");
    drop((connection, store));
    assert_eq!(in_directory(&dir).get("key:1").unwrap(), Some(b"x".to_vec()), "changes are logged as ever");
}

#[test]
fn what_is_half_there_does_not_expire() {
    let dir = Scratch::new().unwrap();
    // What the log says about a key comes later than the key's end.
    log_of(
        &dir,
        &["SET kept v PX 100", "SET a 1", "SET b 2", "SET c 3", "SET d 4", "PERSIST kept", "SET gone v PX 100"],
    );
    let (store, begun) = begin_slowly(&dir, &[]);
    // Rounds of the housekeeper, ten a second, come between the key and what saves it.
    let thread = load(&store, begun);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(600) {
        info(&store, "loading");
    }
    load_rest(&store, thread);
    assert_eq!(store.get("kept").unwrap(), Some(b"v".to_vec()));
    assert_eq!(store.get("gone").unwrap(), None);
}

#[test]
fn what_is_half_there_is_not_evicted() {
    let dir = Scratch::new().unwrap();
    log_of(&dir, &[]);
    let tight = [("maxmemory", "1"), ("maxmemory-policy", "allkeys-random"), ("save", "")];
    let (store, begun) = begin_slowly(&dir, &tight);
    let thread = load(&store, begun);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(600) {
        assert_eq!(info(&store, "evicted_keys"), "0");
    }
    assert_eq!(store.call(&["CONFIG", "SET", "maxmemory", "0"]), Value::Simple("OK".into()));
    load_rest(&store, thread);
    assert_eq!(store.call(&["DBSIZE"]), Value::Int(COMMANDS as i64));
}

#[test]
fn loading_is_given_up_and_nothing_of_it_is_saved() {
    for settings in [&[("appendonly", "yes"), ("save", "1 1")][..], &[("appendonly", "no"), ("save", "1 1")]] {
        let dir = Scratch::new().unwrap();
        log_of(&dir, &[]);
        assert_eq!(in_directory(&dir).call(&["SAVE"]), Value::Simple("OK".into()));
        let (store, begun) = begin_slowly(&dir, settings);
        let thread = std::thread::spawn(move || begun.run());
        store.engine().load_state.give_up();
        assert!(matches!(thread.join().unwrap(), Err(Error::GivenUp)));
        store.save_rest().unwrap();
        assert_refused(&store.call(&["PING"]));
        drop(store);
        let (store, begun) = begin_slowly(&dir, &[settings[0], ("key-load-delay", "0")]);
        begun.run().unwrap();
        assert_eq!(store.call(&["DBSIZE"]), Value::Int(COMMANDS as i64));
    }
}
