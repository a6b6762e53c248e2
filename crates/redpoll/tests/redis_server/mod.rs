//! The program called as redis-server: command line, configuration file, CONFIG REWRITE, log.

mod kept;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Served, as_redis_server::AsRedisServer};
use redpoll_testkit::{Client, Scratch, Target};

/// Writes a configuration file that listens nowhere else than on a free port of this machine.
fn config(scratch: &Scratch, text: &str) -> PathBuf {
    let path = scratch.path().join("redis.conf");
    fs::write(&path, text).unwrap();
    path
}

/// Runs a command whose words stand between blanks; `~` stands for a blank inside a word.
fn line(client: &mut Client, command: &str) -> String {
    let words = command.split(' ').map(|word| word.replace('~', " ").into_bytes()).collect::<Vec<_>>();
    client.call(&words).print()
}

/// Returns the value CONFIG GET has for a name.
fn setting(client: &mut Client, name: &str) -> String {
    let printed = line(client, &format!("CONFIG GET {name}"));
    let value = printed.lines().nth(1).unwrap_or_else(|| panic!("{name}: {printed}"));
    value.trim_start_matches("2) ").trim_matches('"').to_owned()
}

#[test]
fn a_file_and_options_are_taken_and_the_log_says_what_suites_look_for() {
    let scratch = Scratch::new().unwrap();
    let path = config(&scratch, "# mine\nbind 127.0.0.1\nmaxmemory 100mb\nsave 900 1\nslave-read-only no\ntimeout 5\n");
    let server = AsRedisServer::start(Some(&path), scratch.path(), &["--timeout", "7", "--hz 20"]);
    let mut client = server.client();
    assert_eq!(setting(&mut client, "maxmemory"), "104857600");
    assert_eq!(setting(&mut client, "timeout"), "7");
    assert_eq!(setting(&mut client, "hz"), "20");
    assert_eq!(setting(&mut client, "slave-read-only"), "no");
    assert_eq!(setting(&mut client, "dir"), scratch.path().canonicalize().unwrap().to_str().unwrap());
    let info = line(&mut client, "INFO server");
    assert!(info.contains(&format!("config_file:{}", path.canonicalize().unwrap().display())), "{info}");
    let (id, log) = (server.id(), server.end());
    for wanted in [
        &format!(" PID: {id}\n"),
        "Ready to accept connections",
        "Server initialized",
        "bye bye",
        "'replica-read-only' has no effect",
    ] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
    assert!(log.lines().all(|line| line.starts_with(&format!("{id}:M "))), "{log}");
}

#[test]
fn a_wrong_line_is_said_in_the_words_of_redis() {
    let scratch = Scratch::new().unwrap();
    let path = config(&scratch, "port 0\nno-such 1\n");
    for (args, expected) in [
        (vec![path.to_str().unwrap()], "at line 2\n>>> 'no-such 1'\nBad directive or wrong number of arguments"),
        (vec!["--port"], "at line 2\n>>> 'port'\nwrong number of arguments"),
        (vec!["--port", "1", "2"], "at line 2\n>>> 'port \"1\" \"2\"'\nwrong number of arguments"),
        (
            vec!["--hz", "1", "--cluster-enabled", "yes"],
            "at line 3\n>>> 'cluster-enabled \"yes\"'\ncluster mode is not supported",
        ),
        (vec!["/no/such.conf"], "can't open config file '/no/such.conf': No such file or directory"),
    ] {
        let ended = AsRedisServer::run(&args);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{args:?}");
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    assert!(AsRedisServer::run(&["--version"]).stdout.starts_with("Redis server v="));
}

#[test]
fn a_taken_port_is_told() {
    let scratch = Scratch::new().unwrap();
    let server = AsRedisServer::start(None, scratch.path(), &[]);
    let port = server.port().to_string();
    let ended = AsRedisServer::run(&["--port", &port, "--bind", "127.0.0.1"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stdout.contains(&format!("Failed listening on port {port}")), "{}", ended.stdout);
}

#[test]
fn rewriting_keeps_what_holds_and_changes_what_does_not() {
    let scratch = Scratch::new().unwrap();
    let text = "# first\nbind 127.0.0.1\n\n# memory\nmaxmemory 100mb\nhash-max-ziplist-entries 7\n# rules\nsave 900 1\nsave 300 10\nrename-command DEBUG hidden\nuser bob on >x ~* +get\n";
    let path = config(&scratch, text);
    let server = AsRedisServer::start(Some(&path), scratch.path(), &[]);
    let mut client = server.client();
    for command in [
        "CONFIG SET maxmemory 3mb requirepass a~b hash-max-listpack-entries 9",
        "CONFIG SET save 60~5 latency-tracking-info-percentiles 50~99",
        "CONFIG SET client-output-buffer-limit pubsub~1mb~1mb~1",
        "ACL SETUSER eve on nopass allkeys +@read",
        "CONFIG REWRITE",
    ] {
        assert_eq!(line(&mut client, command), "OK", "{command}");
    }
    let rewritten = fs::read_to_string(&path).unwrap();
    let begin = "# first\nbind 127.0.0.1\n\n# memory\nmaxmemory 3mb\nhash-max-listpack-entries 9\n# rules\nsave 60 5\nrename-command DEBUG hidden\nuser bob on";
    assert!(rewritten.starts_with(begin), "{rewritten}");
    let (_, added) = rewritten.split_once("\n# Generated by CONFIG REWRITE\n").unwrap();
    for wanted in [
        "requirepass \"a b\"",
        "latency-tracking-info-percentiles 50 99",
        "client-output-buffer-limit pubsub 1mb 1mb 1",
    ] {
        let wanted = wanted.replace("1mb 1mb", "1048576 1048576");
        assert!(added.lines().any(|line| line == wanted), "{wanted}: {rewritten}");
    }
    assert!(rewritten.contains("\nuser eve on"), "{rewritten}");
    // Nothing more to say, nothing changed.
    assert_eq!(line(&mut client, "CONFIG REWRITE"), "OK");
    assert_eq!(fs::read_to_string(&path).unwrap(), rewritten);
    server.end();
    let server = AsRedisServer::start(Some(&path), scratch.path(), &[]);
    let mut client = server.client();
    assert_eq!(line(&mut client, "AUTH a~b"), "OK");
    assert_eq!(setting(&mut client, "maxmemory"), "3145728");
    assert_eq!(setting(&mut client, "save"), "60 5");
    assert!(line(&mut client, "ACL LIST").contains("user eve on"));
    assert!(line(&mut client, "DEBUG SLEEP 0").contains("unknown command"));
}

#[test]
fn everything_can_be_written_and_read_back() {
    let scratch = Scratch::new().unwrap();
    let path = config(&scratch, "bind 127.0.0.1\nenable-debug-command yes\n");
    let server = AsRedisServer::start(Some(&path), scratch.path(), &[]);
    let mut client = server.client();
    let before = line(&mut client, "CONFIG GET *");
    assert_eq!(line(&mut client, "DEBUG CONFIG-REWRITE-FORCE-ALL"), "OK");
    let port = server.port();
    server.end();
    let server = AsRedisServer::start_on(Some(&path), scratch.path(), port, &[]);
    assert_eq!(line(&mut server.client(), "CONFIG GET *"), before);
}

#[test]
fn without_a_file_there_is_nothing_to_rewrite() {
    let scratch = Scratch::new().unwrap();
    let server = AsRedisServer::start(None, scratch.path(), &[]);
    assert_eq!(line(&mut server.client(), "CONFIG REWRITE"), "(error) ERR The server is running without a config file");
}

#[test]
fn the_log_goes_to_a_file_and_the_process_id_to_another() {
    let scratch = Scratch::new().unwrap();
    let (log, pid) = (scratch.path().join("a.log"), scratch.path().join("a.pid"));
    let args = ["--logfile", log.to_str().unwrap(), "--pidfile", pid.to_str().unwrap(), "--loglevel", "verbose"];
    let server = AsRedisServer::start(None, scratch.path(), &args);
    assert_eq!(fs::read_to_string(&pid).unwrap().trim(), server.id().to_string());
    assert_eq!(server.end(), "");
    assert!(fs::read_to_string(&log).unwrap().contains("Ready to accept"));
    assert!(!Path::exists(&pid));
}

#[test]
fn serve_takes_a_file_and_flags_count_more() {
    let scratch = Scratch::new().unwrap();
    let path = config(&scratch, "timeout 5\nhz 20\nport 0\n");
    let args = ["--config", path.to_str().unwrap(), "--hz", "30"];
    let mut served = Served::start(&args);
    let address = served.ready_line()["resp"].as_str().unwrap().parse().unwrap();
    let mut client = Client::connect(address).unwrap();
    assert_eq!(setting(&mut client, "timeout"), "5");
    assert_eq!(setting(&mut client, "hz"), "30");
    assert_eq!(line(&mut client, "CONFIG SET timeout 6"), "OK");
    assert_eq!(line(&mut client, "CONFIG REWRITE"), "OK");
    assert!(fs::read_to_string(&path).unwrap().starts_with("timeout 6\nhz 30\n"));
}
