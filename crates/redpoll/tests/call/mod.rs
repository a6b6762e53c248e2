//! The services from the command line: arguments, flags, input as JSON, exit codes.

use redpoll_testkit::{Program, RedisServer, Scratch};
use serde_json::{Value as Json, json};

use super::support::{Ended, run, run_with_input};

fn result(ended: &Ended) -> Json {
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn check_entries(url: &str) {
    let at = |words: &[&str]| run(&[words, &["--url", url]].concat());
    let set = [
        "cache",
        "set",
        "pages",
        "home",
        "--value",
        r#"{"title": "x"}"#,
        "--ttl-ms",
        "60000",
        "--tags",
        "a",
        "--tags",
        "b",
    ];
    assert_eq!(result(&at(&set)), json!({"done": true}));
    let found = json!({"outcome": "hit", "value": {"title": "x"}});
    assert_eq!(result(&at(&["cache", "get", "pages", "home"])), found);
    assert_eq!(result(&at(&["cache", "get", "pages", "home", "--tenant", "other"]))["outcome"], "miss");
    assert_eq!(result(&at(&["cache", "invalidate-tag", "pages", "b"])), json!({"count": 1}));
    let taken = result(&at(&["rate", "take", "login", "ann", "--limit", "1", "--window-ms", "60000"]));
    assert_eq!((&taken["allowed"], &taken["remaining"]), (&json!(true), &json!(0)));
}

#[test]
fn operations_are_commands_on_every_backend() {
    check_entries(Program::start(&["--no-http"]).unwrap().url().as_str());
    check_entries(RedisServer::start().unwrap().url().as_str());
    let scratch = Scratch::new().unwrap();
    check_entries(&format!("embedded:{}", scratch.path().display()));
}

#[test]
fn input_comes_as_json_and_flags_win() {
    let server = RedisServer::start().unwrap();
    let url = server.url();
    let entries = r#"{"entries": [{"key": "a", "value": 1}, {"key": "b", "value": "two"}], "ttl_ms": 1}"#;
    let set =
        run_with_input(&["cache", "set-many", "pages", "--input", "-", "--ttl-ms", "60000", "--url", &url], entries);
    assert_eq!(result(&set), json!({"errors": [null, null]}));
    let found = result(&run(&["cache", "get-many", "pages", "--input", r#"{"keys": ["b", "a"]}"#, "--url", &url]));
    assert_eq!(found["entries"][0]["value"], "two", "{found}");
    assert_eq!(found["entries"][1]["value"], 1, "{found}");
}

#[test]
fn what_cannot_be_meant_is_told_apart_from_what_fails() {
    let misused: &[(&[&str], &str)] = &[
        (&["rate", "take", "login", "ann", "--limit", "ten", "--window-ms", "1"], "limit: \"ten\" is not an integer"),
        (&["cache", "get", "pages"], "<KEY>"),
        (&["cache", "vanish"], "vanish"),
        (&["cache", "get", "pages", "home", "--input", "[]"], "must be a JSON object"),
        (&["cache", "get", "pages", "home", "--input", "{"], "not JSON"),
        (&["rate", "take", "login", "ann", "--limit", "1", "--limit", "2", "--window-ms", "1"], "more than once"),
    ];
    for (words, said) in misused {
        let ended = run(words);
        assert_eq!(ended.code, 2, "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stdout.is_empty(), "{words:?}: {}", ended.stderr);
    }
    let server = RedisServer::start().unwrap();
    let missing = run(&["cache", "touch", "pages", "home", "--url", &server.url()]);
    assert_eq!((missing.code, missing.stdout.as_str()), (1, ""));
    assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
    let zero = run(&["cache", "touch", "pages", "home", "--ttl-ms", "0", "--url", &server.url()]);
    assert_eq!(zero.code, 2, "{}", zero.stderr);
    let down = run(&["cache", "touch", "pages", "home", "--url", "redis://user:secret@127.0.0.1:1"]);
    assert_eq!(down.code, 1);
    assert!(!down.stderr.contains("secret"), "{}", down.stderr);
}

#[test]
fn help_says_what_there_is() {
    let services = run(&["--help"]);
    assert!(services.stdout.contains("cache") && services.stdout.contains("serve"), "{}", services.stdout);
    let operations = run(&["cache", "--help"]);
    assert!(operations.stdout.contains("invalidate-tag"), "{}", operations.stdout);
    let flags = run(&["rate", "take", "--help"]);
    assert!(flags.stdout.contains("--window-ms") && flags.stdout.contains("<SUBJECT>"), "{}", flags.stdout);
}
