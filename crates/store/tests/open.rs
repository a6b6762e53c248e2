//! Opening a store: whom a directory belongs to, and who needs the password.

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
