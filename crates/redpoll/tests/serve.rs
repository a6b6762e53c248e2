//! The program as a user starts it: ports, data, signals, flags.

#![allow(clippy::unwrap_used)]

mod call;
mod check;
mod redis_server;
mod support;
mod worker;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use redpoll_testkit::{Client, Launch, Program, RedisServer, Reply, Scratch};
use serde_json::json;
use support::{Http, Served, finish, run};

/// Kills of a recorder in the test of durability.
const KILLS: usize = 20;

fn int(reply: &Reply) -> i64 {
    reply.as_integer().unwrap_or_else(|| panic!("{}", reply.print()))
}

/// Increments a counter until the server is gone, handing over each reply.
fn increment(address: SocketAddr, replies: &Sender<i64>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while stream.write_all(b"INCR counter\r\n").is_ok() {
        let Some(Ok(line)) = lines.next() else { break };
        replies.send(line.strip_prefix(':').unwrap().parse().unwrap()).unwrap();
    }
}

#[test]
fn both_protocols_serve_one_store() {
    let program = Program::start(&[]).unwrap();
    let http = Http::new(program.http().unwrap());
    assert_eq!(http.get("/healthz").json(), json!({"status": "healthy"}));
    let ready = http.get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("healthy")));
    let set = http.send("PUT", "/v1/cache/pages/entries/home", Some(&json!({"value": {"title": "x"}})));
    assert_eq!((set.status, set.json()), (200, json!({"done": true})));
    assert_eq!(http.get("/v1/cache/pages/entries/home").json(), json!({"outcome": "hit", "value": {"title": "x"}}));
    let mut client = program.client().unwrap();
    assert!(client.run("SET plain value").print().contains("OK"));
    assert!(int(&client.run("DBSIZE")) >= 2, "what the cache stored is in the same store");
    let metrics = http.get("/metrics").body;
    assert!(metrics.contains("\nredis_up 1\n") && metrics.contains("\nredis_connected_clients 1\n"), "{metrics}");
    assert_eq!(http.get("/openapi.json").json()["openapi"], "3.1.0");
    assert_eq!(program.terminate().unwrap().code(), Some(0));
}

#[test]
fn the_actual_port_is_what_the_settings_show() {
    let program = Program::start(&[]).unwrap();
    let port = program.address().port().to_string();
    let mut client = program.client().unwrap();
    assert!(client.run("CONFIG GET port").print().contains(&port));
    assert!(client.run("CONFIG GET bind").print().contains("127.0.0.1"));
    assert!(client.run("INFO server").print().contains(&format!("tcp_port:{port}")));
}

#[test]
fn settings_are_flags_under_their_redis_names() {
    let args = "--maxmemory 2gb --maxmemory-policy allkeys-lru --appendfsync always --requirepass secret --databases 32 \
                --timeout 100 --save 900 1 --hash-max-ziplist-entries 7";
    let program = Program::start(&args.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>()).unwrap();
    let mut client = program.client().unwrap();
    assert!(client.run("PING").print().contains("NOAUTH"));
    assert!(client.run("AUTH secret").print().contains("OK"));
    for (name, value) in [
        ("maxmemory", "2147483648"),
        ("maxmemory-policy", "allkeys-lru"),
        ("appendfsync", "always"),
        ("databases", "32"),
        ("timeout", "100"),
        ("save", "900 1"),
        ("hash-max-listpack-entries", "7"),
    ] {
        let reply = client.run(&format!("CONFIG GET {name}")).print();
        assert!(reply.contains(value), "{name}: {reply}");
    }
    // The password keeps clients out, not the services in the same process.
    let http = Http::new(program.http().unwrap());
    assert_eq!(http.get("/readyz").status, 200);
}

#[test]
fn data_outlives_a_restart() {
    let scratch = Scratch::new().unwrap();
    let launch = Launch { dir: Some(scratch.path().join("data")), ..Launch::default() };
    let program = launch.start().unwrap();
    let set = Http::new(program.http().unwrap()).send("PUT", "/v1/cache/n/entries/k", Some(&json!({"value": 7})));
    assert_eq!(set.status, 200, "{}", set.body);
    let mut client = program.client().unwrap();
    for index in 0..1000 {
        client.run(&format!("SET key:{index} {index}"));
    }
    assert_eq!(program.terminate().unwrap().code(), Some(0));
    let program = launch.start().unwrap();
    let mut client = program.client().unwrap();
    assert!(client.run("GET key:999").print().contains("999"));
    assert_eq!(Http::new(program.http().unwrap()).get("/v1/cache/n/entries/k").json()["value"], 7);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let scratch = Scratch::new().unwrap();
    let args = ["--appendfsync", "always"].map(str::to_owned).to_vec();
    let launch = Launch { dir: Some(scratch.path().join("data")), args, ..Launch::default() };
    let mut acknowledged = 0;
    for round in 0..KILLS {
        let program = launch.start().unwrap();
        let found = int(&program.client().unwrap().run("INCRBY counter 0"));
        assert!(found >= acknowledged, "round {round}: {found} of {acknowledged} acknowledged increments are there");
        // A writer goes on until the kill cuts it off; every reply it got counts.
        let (sender, replies) = channel();
        let address = program.address();
        let writer = std::thread::spawn(move || increment(address, &sender));
        for _ in 0..=round * 7 {
            acknowledged = replies.recv().unwrap();
        }
        program.kill().unwrap();
        writer.join().unwrap();
        acknowledged = replies.try_iter().last().unwrap_or(acknowledged);
    }
    assert!(acknowledged > KILLS as i64);
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let program = Program::start(&[]).unwrap();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path().join("data");
    let dir = dir.to_str().unwrap();
    for (flag, port) in [("--port", program.address().port()), ("--http-port", program.http().unwrap().port())] {
        let port = port.to_string();
        let (resp, http) = if flag == "--port" { (port.as_str(), "0") } else { ("0", port.as_str()) };
        let ended = run(&["serve", "--port", resp, "--http-port", http, "--dir", dir]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(&port) && ended.stderr.contains(flag), "{}", ended.stderr);
        assert!(!std::path::Path::new(dir).exists(), "nothing is touched before the ports are known to be free");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_one_clear_line() {
    let scratch = Scratch::new().unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    let program = Program::start(&[]).unwrap();
    for (dir, reason) in
        [(file.join("data"), "Not a directory"), (program.dir().to_owned(), "another store is using it")]
    {
        let dir = dir.to_str().unwrap();
        let ended = run(&["serve", "--port", "0", "--http-port", "0", "--dir", dir]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.contains(dir) && last.contains(reason), "{last}");
    }
}

#[test]
fn http_beyond_loopback_wants_a_token() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path().to_str().unwrap();
    let ended = run(&["serve", "--port", "0", "--http-port", "0", "--http-bind", "0.0.0.0", "--dir", dir]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("--http-token"), "{}", ended.stderr);
    let program = Program::start(&["--http-token", "s3cret"]).unwrap();
    let http = Http::new(program.http().unwrap());
    assert_eq!(http.get("/metrics").status, 401);
    assert_eq!(http.with_header("Authorization: Bearer s3cret").get("/metrics").status, 200);
}

#[test]
fn the_command_line_is_checked_and_explained() {
    let help = run(&["serve", "--help"]);
    assert_eq!(help.code, 0);
    for flag in ["--port", "--http-port", "--backend", "--http-token", "--maxmemory", "--appendfsync", "--requirepass"]
    {
        assert!(help.stdout.contains(flag), "{flag}");
    }
    for line in
        [&["serve", "--maxmemory", "lots"][..], &["serve", "--backend", "localhost:6379"], &["serve", "--set", "a=b"]]
    {
        let ended = run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{line:?}: {}", ended.stderr);
    }
}

#[test]
fn with_a_backend_elsewhere_only_http_is_served() {
    let redis = RedisServer::start().unwrap();
    let mut served = Served::start(&["--backend", &redis.url()]);
    let ready = served.ready_line();
    assert_eq!(ready["resp"], json!(null));
    assert_eq!(ready["backend"], redis.url());
    let http = Http::new(ready["http"].as_str().unwrap().parse().unwrap());
    assert_eq!(http.get("/readyz").json()["status"], "healthy");
    let set = http.send("PUT", "/v1/cache/n/entries/k", Some(&json!({"value": 7})));
    assert_eq!(set.status, 200, "{}", set.body);
    assert!(int(&redis.client().unwrap().run("DBSIZE")) > 0);
    assert!(http.get("/metrics").body.contains("\nredis_up 1\n"));
    served.signal();
    assert_eq!(served.wait().0, Some(0));
    let refused = run(&["serve", "--http-port", "0", "--backend", &redis.url(), "--maxmemory", "1gb"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("--maxmemory"), "{}", refused.stderr);
}

#[test]
fn background_work_is_left_to_others_if_that_is_wanted() {
    // Looking for what is due runs a script.
    let looks = |client: &mut Client| client.run("INFO commandstats").print().contains("cmdstat_eval");
    let program = Program::start(&[]).unwrap();
    let mut client = program.client().unwrap();
    let began = Instant::now();
    while !looks(&mut client) {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody looks for what is due");
    }
    let took = began.elapsed();
    let program = Program::start(&["--no-background"]).unwrap();
    let mut client = program.client().unwrap();
    let began = Instant::now();
    while began.elapsed() < (took * 3).max(Duration::from_millis(200)) {
        assert!(!looks(&mut client));
    }
    assert_eq!(Http::new(program.http().unwrap()).get("/readyz").status, 200);
}

#[test]
fn the_document_is_printed() {
    let printed = run(&["openapi"]);
    let document: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn a_request_that_has_begun_is_finished_before_the_end() {
    let mut served = Served::start(&[]);
    let http = Http::new(served.ready_line()["http"].as_str().unwrap().parse().unwrap());
    let body = json!({"limit": 1, "window_ms": 1000}).to_string();
    let mut stream = http.begin("POST", "/v1/rate/rule/subject/take", body.len());
    stream.write_all(&body.as_bytes()[..1]).unwrap();
    served.signal();
    served.wait_for_stderr("stopping");
    stream.write_all(&body.as_bytes()[1..]).unwrap();
    let answer = finish(stream);
    assert_eq!((answer.status, &answer.json()["allowed"]), (200, &json!(true)), "{}", answer.body);
    assert_eq!(served.wait().0, Some(0));
}

#[test]
fn shutdown_ends_the_program_with_the_log_on_disk() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path().join("data");
    for (round, command) in ["SHUTDOWN", "shutdown nosave now", "SHUTDOWN SAVE FORCE"].into_iter().enumerate() {
        // A minute between two writes to the disk: what the next round finds was written by the end.
        let mut served = Served::start_in(&dir, &["--appendfsync", "everysec"]);
        let ready = served.ready_line();
        let mut client = Client::connect(ready["resp"].as_str().unwrap().parse().unwrap()).unwrap();
        assert_eq!(int(&client.run("INCR rounds")), round as i64 + 1);
        let info = client.run("INFO").print();
        assert!(info.contains("aof_enabled:1"), "{info}");
        for field in ["used_cpu_sys:", "used_cpu_user:", "used_cpu_sys_children:", "used_memory_rss:", "executable:"] {
            assert!(info.contains(field), "{field} is missing in {info}");
        }
        assert_eq!(client.run("SHUTDOWN ABORT").print(), "(error) ERR No shutdown in progress.");
        let reply = client.run(command);
        assert!(reply.print().contains("closed"), "{command} was answered by {}", reply.print());
        let (code, said) = served.wait();
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn shutdown_ends_a_server_without_a_log_saving_or_not() {
    for command in ["SHUTDOWN SAVE", "SHUTDOWN NOSAVE"] {
        let mut served = Served::start(&["--appendonly", "no"]);
        let mut client = Client::connect(served.ready_line()["resp"].as_str().unwrap().parse().unwrap()).unwrap();
        client.run(command);
        assert_eq!(served.wait().0, Some(0), "{command}");
    }
}

#[test]
fn a_second_signal_ends_a_stop_that_waits_for_a_request() {
    let mut served = Served::start(&[]);
    let http = Http::new(served.ready_line()["http"].as_str().unwrap().parse().unwrap());
    let _stream = http.begin("POST", "/v1/rate/rule/subject/take", 10);
    served.signal();
    served.wait_for_stderr("stopping");
    served.signal();
    let (code, said) = served.wait();
    assert_eq!(code, Some(1));
    assert!(said.contains("second signal"), "{said}");
}

/// Starts the program in a directory whose log takes long to load, and waits until it lets clients in; returns its addresses, Redis protocol and HTTP.
fn begin_slowly(scratch: &Scratch) -> (Served, SocketAddr, SocketAddr) {
    let config = scratch.path().join("slow.conf");
    std::fs::write(&config, "key-load-delay 100000\n").unwrap();
    let mut served = Served::start_in(&scratch.path().join("data"), &["--config", config.to_str().unwrap()]);
    let line = served.wait_for_stderr("loading takes a while");
    let address = |mark: &str| {
        let rest = line.split_once(mark).unwrap_or_else(|| panic!("{mark} is not in {line}")).1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let (resp, http) = (address("resp=\""), address("http=\"http://"));
    (served, resp, http)
}

#[test]
fn while_data_is_loaded_clients_are_told_so_and_the_end_does_not_wait() {
    let scratch = Scratch::new().unwrap();
    let launch = Launch { dir: Some(scratch.path().join("data")), ..Launch::default() };
    let program = launch.start().unwrap();
    let mut client = program.client().unwrap();
    (0..200).for_each(|index| drop(client.run(&format!("SET key:{index} {index}"))));
    assert_eq!(program.terminate().unwrap().code(), Some(0));

    for end in ["TERM", "SHUTDOWN SAVE", "KILL"] {
        let (mut served, resp, http) = begin_slowly(&scratch);
        let mut client = Client::connect(resp).unwrap();
        assert!(client.run("GET key:1").print().contains("LOADING Redis is loading the dataset in memory"));
        let info = client.run("INFO persistence").print();
        assert!(info.contains("loading:1") && info.contains("loading_total_bytes:"), "{info}");
        // Who restarts what is not alive lets it load; who sends requests to what is ready sends none.
        let http = Http::new(http);
        assert_eq!(http.get("/healthz").status, 200);
        let ready = http.get("/readyz");
        assert!(ready.status == 503 && ready.body.contains("loading"), "{}", ready.body);
        match end {
            "SHUTDOWN SAVE" => assert!(client.run(end).print().contains("closed")),
            signal => served.send_signal(signal),
        }
        let (code, said) = served.wait();
        assert_eq!(code, if end == "KILL" { None } else { Some(0) }, "{end}: {said}");
    }
    let (mut served, resp, http) = begin_slowly(&scratch);
    let mut client = Client::connect(resp).unwrap();
    assert!(client.run("CONFIG SET key-load-delay 0").print().contains("OK"));
    assert_eq!(served.ready_line()["resp"], json!(resp));
    assert_eq!(int(&client.run("DBSIZE")), 200);
    assert_eq!(Http::new(http).get("/readyz").status, 200);
    served.signal();
    assert_eq!(served.wait().0, Some(0));
}

#[test]
fn damage_that_is_found_late_ends_the_program_all_the_same() {
    let scratch = Scratch::new().unwrap();
    let launch = Launch { dir: Some(scratch.path().join("data")), ..Launch::default() };
    let program = launch.start().unwrap();
    let mut client = program.client().unwrap();
    (0..20).for_each(|index| drop(client.run(&format!("SET key:{index} {index}"))));
    let file = program.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
    assert_eq!(program.terminate().unwrap().code(), Some(0));
    let mut log = std::fs::read(&file).unwrap();
    log.extend_from_slice(b"?3\r\n$3\r\nSET\r\n");
    std::fs::write(&file, &log).unwrap();
    let (mut served, resp, _) = begin_slowly(&scratch);
    let _client = Client::connect(resp).unwrap();
    let (code, said) = served.wait();
    assert_eq!(code, Some(1));
    assert!(said.contains("damaged at offset") && said.contains("appendonly.aof.1.incr.aof"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), log, "nothing is repaired unasked");
}
