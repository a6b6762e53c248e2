//! Opening a store: whom a directory belongs to, who needs the password, and whom a client may end.

use redpoll_store::{Config, Error, Store, Value};
use redpoll_testkit::Scratch;

#[test]
fn a_directory_belongs_to_one_store_at_a_time() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path().to_str().unwrap();
    let first = Store::open(Config::in_directory(dir)).unwrap();
    first.set("key", "value").unwrap();
    let refused = Store::open(Config::in_directory(dir)).err().expect("the directory is in use");
    assert!(matches!(&refused, Error::Directory { reason, .. } if reason.contains("another store")), "{refused}");
    drop(first);
    let second = Store::open(Config::in_directory(dir)).unwrap();
    assert_eq!(second.get("key").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn the_embedding_program_needs_no_password() {
    let store = Store::open(Config::in_memory().set("requirepass", "secret").unwrap()).unwrap();
    store.set("key", "value").unwrap();
    assert_eq!(store.call(&["RESET"]), Value::Simple("RESET".into()));
    assert_eq!(store.call(&["EXISTS", "key"]), Value::Int(1));
}

#[test]
fn a_store_ends_no_program_that_did_not_say_how() {
    let store = Store::open(Config::in_memory()).unwrap();
    let Value::Error(text) = store.call(&["SHUTDOWN"]) else { panic!("SHUTDOWN was not refused") };
    assert!(text.contains("ends with its last handle"), "{text}");
    assert_eq!(store.call(&["PING"]), Value::Simple("PONG".into()));
}

#[test]
fn shutdown_is_told_to_the_program_once_the_log_is_on_disk() {
    let (told, ends) = std::sync::mpsc::channel();
    let scratch = Scratch::new().unwrap();
    let config = Config::in_directory(scratch.path().to_str().unwrap());
    let store = Store::open(config.on_shutdown(move || told.send(()).unwrap())).unwrap();
    store.set("key", "value").unwrap();
    assert_eq!(store.call(&["SHUTDOWN", "SAVE", "NOSAVE"]), Value::Error("ERR syntax error".into()));
    assert_eq!(ends.try_iter().count(), 0);
    assert_eq!(store.call(&["SHUTDOWN"]), Value::Nil);
    assert_eq!(ends.try_iter().count(), 1);
    let log = std::fs::read_dir(scratch.path().join("appendonlydir")).unwrap();
    let bytes: Vec<u8> = log.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(bytes.windows(5).any(|part| part == b"value"), "the log is not written");
}

#[test]
fn info_tells_of_the_process() {
    let store = Store::open(Config::in_memory()).unwrap();
    let info = store.call(&["INFO"]);
    let info = String::from_utf8_lossy(info.as_bytes().unwrap());
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} is missing")).to_owned()
    };
    assert_eq!(field("process_id"), std::process::id().to_string());
    for name in ["used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children"] {
        assert!(field(name).parse::<f64>().unwrap() >= 0.0);
    }
    assert!(field("os").contains(std::env::consts::ARCH));
    assert_eq!(field("config_file"), "");
    assert_eq!(field("executable"), std::env::current_exe().unwrap().display().to_string());
    if cfg!(target_os = "linux") {
        let (resident, total) = (field("used_memory_rss"), field("total_system_memory"));
        assert!(resident.parse::<u64>().unwrap() > 100_000 && total.parse::<u64>().unwrap() > 1 << 24);
        assert!(field("mem_fragmentation_ratio").parse::<f64>().unwrap() > 0.0);
    }
}
