//! Clients that wait for data, seen from outside: when they get their replies, and what becomes of what was theirs when they go.

use std::time::{Duration, Instant};

use crate::support::{Raw, Running, eventually};
use redpoll_store::commands::blocking::blocked_clients;

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(60);

/// Sends a command that has to wait, and waits until it does.
#[track_caller]
fn block(running: &Running, client: &mut Raw, line: &str) {
    let before = blocked_clients(running.store.engine());
    client.send(format!("{line}\r\n"));
    eventually(line, || blocked_clients(running.store.engine()) == before + 1);
}

fn id(client: &mut Raw) -> String {
    client.send("CLIENT ID\r\n");
    client.line().trim_start_matches(':').to_owned()
}

/// What BLPOP answers.
fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{element}\r\n", key.len(), element.len())
}

#[test]
fn what_is_sent_behind_a_waiting_command_waits_for_it() {
    let running = Running::start(&[]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    client.send("PING\r\n");
    client.expect("+PONG\r\n");
    client.send("SET before 1\r\nBLPOP q 0\r\nSET behind 1\r\n");
    client.expect("+OK\r\n");
    eventually("it waits", || blocked_clients(running.store.engine()) == 1);
    client.send("SELECT 1\r\nRESET\r\nPING again\r\n");
    assert!(client.is_silent_for(A_WHILE));
    producer.call("EXISTS before behind", ":1");
    producer.call("RPUSH q a", ":1");
    client.expect(popped("q", "a") + "+OK\r\n+OK\r\n+RESET\r\n$5\r\nagain\r\n");
    producer.call("EXISTS before behind", ":2");
}

#[test]
fn many_waits_in_one_pipeline_are_served_one_after_the_other() {
    let running = Running::start(&[]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    client.send("BLPOP q 0\r\n".repeat(1000));
    for round in 0..10 {
        let elements: Vec<String> = (0..100).map(|n| format!("{}", round * 100 + n)).collect();
        producer.send(format!("RPUSH q {}\r\n", elements.join(" ")));
        producer.line();
        elements.iter().for_each(|element| client.expect(popped("q", element)));
    }
    producer.call("EXISTS q", ":0");
}

#[test]
fn the_first_to_come_is_the_first_to_be_served() {
    let running = Running::start(&[]);
    let mut producer = running.connect();
    let mut clients: Vec<Raw> = (0..20).map(|_| running.connect()).collect();
    for client in &mut clients {
        block(&running, client, "BLPOP other q 0");
    }
    producer.call("RPUSH q 0 1 2 3 4", ":5");
    producer.send("MULTI\r\nRPUSH q 5\r\nRPUSH q 6 7 8 9\r\nEXEC\r\n");
    for element in 10..20 {
        producer.send(format!("RPUSH q {element}\r\n"));
    }
    for (element, client) in clients.iter_mut().enumerate() {
        client.expect(popped("q", &element.to_string()));
    }
    assert_eq!(blocked_clients(running.store.engine()), 0);
}

#[test]
fn a_script_does_not_wait_and_serves_after_its_end() {
    let running = Running::start(&[]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    producer.call("EVAL \"return redis.call('BLMPOP', 0, 1, KEYS[1], 'LEFT')\" 1 q", "$-1");
    let script = "return redis.pcall('BLPOP', KEYS[1], 0).err:sub(1, 32)";
    producer.call(&format!("EVAL \"{script}\" 1 q"), "$32\r\nERR This Redis command is not al");
    block(&running, &mut client, "BLPOP q 0");
    producer.call("EVAL \"redis.call('RPUSH', KEYS[1], 'a', 'b') return redis.call('LLEN', KEYS[1])\" 1 q", ":2");
    client.expect(popped("q", "a"));
    block(&running, &mut client, "BLMOVE p r LEFT LEFT 0");
    producer.call("EVAL \"redis.call('RPUSH', KEYS[1], 'a') return redis.call('DEL', KEYS[1])\" 1 p", ":1");
    assert!(client.is_silent_for(A_WHILE));
    producer.call("EVAL \"return redis.call('RPUSH', 'p', 'c')\" 0", ":1");
    client.expect("$1\r\nc\r\n");
}

#[test]
fn nothing_is_popped_for_a_client_that_has_gone() {
    let running = Running::start(&[]);
    let (mut producer, mut leaver, mut victim) = (running.connect(), running.connect(), running.connect());
    let victim_id = id(&mut victim);
    block(&running, &mut leaver, "BLMOVE q p LEFT RIGHT 0");
    block(&running, &mut victim, "BLPOP q 0");
    drop(leaver);
    eventually("one has left", || blocked_clients(running.store.engine()) == 1);
    // Killed and filled in one batch: the kill counts at once.
    producer.send(format!("CLIENT KILL ID {victim_id}\r\nRPUSH q a\r\nLRANGE q 0 -1\r\nEXISTS p\r\n"));
    producer.expect(":1\r\n:1\r\n*1\r\n$1\r\na\r\n:0\r\n");
    assert_eq!(victim.until_closed(), b"");
    eventually("both have gone", || blocked_clients(running.store.engine()) == 0);
    producer.call("BLPOP q 0", popped("q", "a").trim_end());
}

#[test]
fn who_is_served_before_being_killed_gets_what_is_his() {
    let running = Running::start(&[]);
    let mut producer = running.connect();
    for _ in 0..50 {
        let mut victim = running.connect();
        let victim_id = id(&mut victim);
        block(&running, &mut victim, "BLPOP q 0");
        producer.send(format!("RPUSH q a\r\nCLIENT KILL ID {victim_id}\r\nEXISTS q\r\n"));
        producer.expect(":1\r\n:1\r\n:0\r\n");
        assert_eq!(String::from_utf8_lossy(&victim.until_closed()), popped("q", "a"));
    }
}

#[test]
fn client_unblock_ends_a_wait_with_or_without_an_error() {
    let running = Running::start(&[]);
    let (mut operator, mut client) = (running.connect(), running.connect());
    let (own_id, client_id) = (id(&mut operator), id(&mut client));
    operator.call(&format!("CLIENT UNBLOCK {client_id}"), ":0");
    operator.call(&format!("CLIENT UNBLOCK {own_id}"), ":0");
    block(&running, &mut client, "BLPOP q 0");
    operator.call(&format!("CLIENT UNBLOCK {client_id}"), ":1");
    operator.call(&format!("CLIENT UNBLOCK {client_id}"), ":0");
    client.expect("*-1\r\n");
    block(&running, &mut client, "BLMOVE q p LEFT LEFT 0");
    operator.call(&format!("CLIENT UNBLOCK {client_id} timeout"), ":1");
    client.expect("*-1\r\n");
    block(&running, &mut client, "WAIT 1 0");
    operator.call(&format!("CLIENT UNBLOCK {client_id} TIMEOUT"), ":1");
    client.expect(":0\r\n");
    operator.call("CONFIG RESETSTAT", "+OK");
    block(&running, &mut client, "BZPOPMIN q 0");
    // Unblocked and filled in one batch: nothing is popped any more.
    operator.send(format!("CLIENT UNBLOCK {client_id} ERROR\r\nZADD q 1 a\r\nZCARD q\r\n"));
    operator.expect(":1\r\n:1\r\n:1\r\n");
    client.expect("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    let info = text(&mut operator, "INFO commandstats errorstats");
    assert!(info.contains("errorstat_UNBLOCKED:count=1\r\n"), "{info}");
    let line = info.lines().find(|line| line.starts_with("cmdstat_bzpopmin:")).expect("it ran");
    assert!(line.starts_with("cmdstat_bzpopmin:calls=1,") && line.ends_with("failed_calls=1"), "{line}");
    client.call("PING", "+PONG");
}

/// Receives a bulk string.
fn text(client: &mut Raw, line: &str) -> String {
    use std::io::Read;
    client.send(format!("{line}\r\n"));
    let len = client.line().trim_start_matches('$').parse::<usize>().expect("a bulk string comes");
    let mut bytes = vec![0; len + 2];
    client.0.read_exact(&mut bytes).expect("all of it");
    String::from_utf8(bytes).expect("it is text")
}

#[test]
fn who_waits_is_seen_to_wait() {
    let running = Running::start(&[]);
    let (mut operator, mut client) = (running.connect(), running.connect());
    let client_id = id(&mut client);
    assert!(text(&mut operator, "INFO clients").contains("blocked_clients:0\r\n"));
    block(&running, &mut client, "BLPOP q 0");
    assert!(text(&mut operator, "INFO clients").contains("blocked_clients:1\r\n"));
    let line = text(&mut operator, &format!("CLIENT LIST ID {client_id}"));
    assert!(line.contains(" flags=b ") && line.contains(" cmd=blpop "), "{line}");
    operator.call("RPUSH q a", ":1");
    assert!(text(&mut operator, "INFO clients").contains("blocked_clients:0\r\n"));
    client.expect(popped("q", "a"));
    let line = text(&mut operator, &format!("CLIENT LIST ID {client_id}"));
    assert!(line.contains(" flags=N "), "{line}");
}

#[test]
fn a_timeout_comes_in_time_and_not_before() {
    let running = Running::start(&[]);
    let mut client = running.connect();
    let started = Instant::now();
    client.send("BLPOP q 0.15\r\nBLMOVE q p LEFT LEFT 0.05\r\nWAIT 2 50\r\nPING\r\n");
    client.expect("*-1\r\n*-1\r\n:0\r\n+PONG\r\n");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(249), "{waited:?}");
    assert_eq!(blocked_clients(running.store.engine()), 0);
    client.send("HELLO 3\r\n");
    client.line();
    eventually("the greeting is over", || client.line() == "*0");
    client.call("BZPOPMIN q 0.01", "_");
}

#[test]
fn who_waits_is_not_idle() {
    let running = Running::start(&[("timeout", "1")]);
    let (mut client, mut idle) = (running.connect(), running.connect());
    idle.call("PING", "+PONG");
    block(&running, &mut client, "BLPOP q 0");
    assert_eq!(idle.until_closed(), b"");
    assert!(client.is_silent_for(Duration::from_millis(300)));
    running.connect().call("RPUSH q a", ":1");
    client.expect(popped("q", "a"));
}

#[test]
fn replies_that_are_not_wanted_are_not_sent_late_either() {
    let running = Running::start(&[]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    client.send("CLIENT REPLY SKIP\r\n");
    block(&running, &mut client, "BLPOP q 0");
    client.send("PING first\r\n");
    producer.call("RPUSH q a", ":1");
    client.expect("$5\r\nfirst\r\n");
    client.send("CLIENT REPLY OFF\r\n");
    block(&running, &mut client, "BLPOP q 0");
    client.send("CLIENT REPLY ON\r\nPING second\r\n");
    producer.call("RPUSH q b", ":1");
    client.expect("+OK\r\n$6\r\nsecond\r\n");
    producer.call("EXISTS q", ":0");
}

#[test]
fn who_is_served_hears_of_the_change_after_the_reply() {
    let running = Running::start(&[]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    client.send("HELLO 3\r\n");
    std::iter::repeat_with(|| client.line()).find(|line| line == "*0").expect("the list of modules is the last field");
    client.call("CLIENT TRACKING ON", "+OK");
    for number in 0..20 {
        client.call("LLEN to", &format!(":{number}"));
        block(&running, &mut client, "BLMOVE from to LEFT RIGHT 0");
        producer.call("RPUSH from x", ":1");
        client.expect("$1\r\nx\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nto\r\n");
    }
}

#[test]
fn a_pause_holds_back_those_who_would_fill_the_key() {
    let running = Running::start(&[]);
    let (mut operator, mut client, mut producer) = (running.connect(), running.connect(), running.connect());
    block(&running, &mut client, "BLPOP q 0");
    operator.call("CLIENT PAUSE 60000 WRITE", "+OK");
    producer.send("RPUSH q a\r\n");
    assert!(client.is_silent_for(A_WHILE));
    assert_eq!(told_blocked(&running), "blocked_clients:2", "the one who waits and the one held back");
    operator.call("CLIENT UNPAUSE", "+OK");
    client.expect(popped("q", "a"));
    producer.expect(":1\r\n");
    assert_eq!(told_blocked(&running), "blocked_clients:0");
}

/// What INFO says of blocked clients.
fn told_blocked(running: &Running) -> String {
    let mut client = running.connect();
    client.send("INFO clients\r\n");
    std::iter::repeat_with(|| client.line()).find(|line| line.starts_with("blocked_clients:")).expect("lines go on")
}

#[test]
fn who_sends_too_much_behind_a_wait_is_closed_and_pops_nothing() {
    let running = Running::start(&[("client-query-buffer-limit", "1mb")]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    block(&running, &mut client, "BLPOP q 0");
    use std::io::Write;
    let filler = vec![b'\n'; 1 << 16];
    eventually("the client is closed", || client.0.write_all(&filler).is_err());
    eventually("it no longer waits", || blocked_clients(running.store.engine()) == 0);
    producer.call("RPUSH q a", ":1");
    producer.call("LLEN q", ":1");
}

#[test]
fn a_stopping_server_does_not_wait_for_those_who_wait() {
    let running = Running::start(&[]);
    let mut client = running.connect();
    block(&running, &mut client, "BLPOP q 0");
    let started = Instant::now();
    running.server.stop();
    assert_eq!(client.until_closed(), b"");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_wait_across_many_keys_leaves_nothing_behind() {
    let running = Running::start(&[]);
    let (mut client, mut producer) = (running.connect(), running.connect());
    let keys: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
    for round in 0..3 {
        block(&running, &mut client, &format!("BLPOP {} 0", keys.join(" ")));
        let key = &keys[round * 200];
        producer.call(&format!("RPUSH {key} a"), ":1");
        client.expect(popped(key, "a"));
    }
    // A ticket left in another queue would pop this for nobody.
    client.call("PING", "+PONG");
    for key in &keys {
        producer.call(&format!("RPUSH {key} b"), ":1");
        producer.call(&format!("LLEN {key}"), ":1");
    }
}
