//! Users from settings and from a file, renamed commands, and what the log makes of both.

use crate::support;
use redpoll_store::{Config, Error, Store, Value};
use redpoll_testkit::Scratch;

fn ok(store: &Store, args: &[&str]) -> Value {
    let reply = store.call(args);
    assert!(!matches!(reply, Value::Error(_)), "{args:?} was answered by {reply:?}");
    reply
}

fn refused(config: Config) -> String {
    match Store::open(config) {
        Ok(_) => panic!("the settings are wrong"),
        Err(error @ Error::Setting { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn users_of_the_settings() {
    let config = Config::in_memory().set("user", "alice on >secret ~a* +@read").unwrap();
    let store = Store::open(config.set("user", "default off").unwrap()).unwrap();
    // The process itself is not kept out.
    ok(&store, &["SET", "abc", "1"]);
    let mut connection = store.connect();
    assert!(matches!(connection.call(&["AUTH", "alice", "wrong"]), Value::Error(_)));
    assert_eq!(connection.call(&["AUTH", "alice", "secret"]), Value::Simple("OK".into()));
    assert_eq!(connection.call(&["GET", "abc"]).as_bytes(), Some(&b"1"[..]));
    for denied in [&["GET", "other"][..], &["SET", "abc", "2"], &["ACL", "LIST"], &["EVAL", "return 1", "0"]] {
        assert!(matches!(connection.call(denied), Value::Error(text) if text.starts_with("NOPERM")), "{denied:?}");
    }
    let twice = Config::in_memory().set("user", "alice on").unwrap().set("user", "alice off").unwrap();
    assert!(refused(twice).contains("Error in user declaration 'alice': Duplicate user found."));
    for wrong in ["", "alice nosuch", "alice +nosuch", "alice (+get"] {
        assert!(!refused(Config::in_memory().set("user", wrong).unwrap()).is_empty());
    }
}

#[test]
fn users_of_a_file() {
    let dir = Scratch::new().unwrap();
    let path = dir.path().join("users.acl").display().to_string();
    let with_file = || Config::in_memory().set("aclfile", &path).unwrap();
    assert!(refused(with_file()).contains("users.acl"));
    std::fs::write(&path, "# people\nuser default on nopass ~* &* +@all\n\nuser alice on nopass ~a* +get\n").unwrap();
    assert!(refused(with_file().set("user", "bob on").unwrap()).contains("either"));
    let store = Store::open(with_file()).unwrap();
    ok(&store, &["ACL", "SETUSER", "bob", "on", ">pw", "%R~b*", "(+set ~s*)"]);
    let before = ok(&store, &["ACL", "LIST"]);
    ok(&store, &["ACL", "SAVE"]);
    drop(store);
    let store = Store::open(with_file()).unwrap();
    assert_eq!(ok(&store, &["ACL", "LIST"]), before);
    // A file with an error changes nothing; one without a user takes the user's sessions their rights.
    let mut alice = store.connect();
    alice.call(&["AUTH", "alice", "x"]);
    std::fs::write(&path, "user carol on nopass\nuser carol off\nuser dave x y +nosuch\nbad line\nuser eve (+get\n")
        .unwrap();
    match store.call(&["ACL", "LOAD"]) {
        Value::Error(text) => {
            for part in [
                "WARNING: Duplicate user 'carol' found on line 2. ",
                ":3: Error in applying operation '+nosuch': Unknown",
                ":3: Syntax error. ",
                ":4 should start with user keyword",
                ":5: Unmatched parenthesis",
                "no change",
            ] {
                assert!(text.contains(part), "{part} is missing in {text}");
            }
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(ok(&store, &["ACL", "LIST"]), before);
    assert_eq!(alice.call(&["GET", "abc"]), Value::Nil);
    std::fs::write(&path, "user carol on nopass\n").unwrap();
    ok(&store, &["ACL", "LOAD"]);
    assert!(matches!(alice.call(&["GET", "abc"]), Value::Error(_)));
    assert_eq!(
        ok(&store, &["ACL", "USERS"]),
        Value::Array(vec![Value::Bulk(b"carol".to_vec()), Value::Bulk(b"default".to_vec())])
    );
}

#[test]
fn passwords_made_up_are_long_enough_and_never_the_same() {
    let store = support::in_memory();
    for (bits, digits) in [("1", 1), ("5", 2), ("8", 2), ("256", 64), ("4096", 1024)] {
        let reply = ok(&store, &["ACL", "GENPASS", bits]);
        let text = reply.as_bytes().expect("a password is a string").to_vec();
        assert!(text.len() == digits && text.iter().all(u8::is_ascii_hexdigit), "{reply:?}");
    }
    assert_ne!(ok(&store, &["ACL", "GENPASS"]), ok(&store, &["ACL", "GENPASS"]));
}

#[test]
fn renamed_commands_are_logged_under_their_own_names() {
    let dir = Scratch::new().unwrap();
    let in_directory = || Config::in_directory(dir.path().display().to_string());
    let renamed = || {
        let config = in_directory().set("rename-command", "SET put").unwrap().set("rename-command", "DEL SET").unwrap();
        config.set("rename-command", "FLUSHALL \"\"").unwrap().set("rename-command", "CONFIG settings").unwrap()
    };
    let store = Store::open(renamed()).unwrap();
    ok(&store, &["PUT", "a", "1"]);
    ok(&store, &["PUT", "b", "1"]);
    ok(&store, &["SET", "b"]);
    ok(&store, &["SETTINGS", "GET", "port"]);
    for gone in [&["DEL", "a"][..], &["FLUSHALL"], &["CONFIG", "GET", "port"]] {
        assert!(matches!(store.call(gone), Value::Error(text) if text.starts_with("ERR unknown command")), "{gone:?}");
    }
    drop(store);
    let again = Store::open(renamed()).unwrap();
    assert_eq!(ok(&again, &["DBSIZE"]), Value::Int(1));
    drop(again);
    let plain = Store::open(in_directory()).unwrap();
    assert_eq!(plain.get("a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(ok(&plain, &["DBSIZE"]), Value::Int(1));
    drop(plain);
    assert!(refused(Config::in_memory().set("rename-command", "NOSUCH x").unwrap()).contains("No such command"));
    assert!(refused(Config::in_memory().set("rename-command", "GET set").unwrap()).contains("already exists"));
}
