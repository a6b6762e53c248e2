//! What an operator does to clients: killing, pausing, limiting their number and their idleness.

use std::time::{Duration, Instant};

use crate::support::{Raw, Running, eventually};

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(60);

#[test]
fn a_killed_client_is_gone() {
    let running = Running::start(&[]);
    let (mut operator, mut victim) = (running.connect(), running.connect());
    victim.call("CLIENT SETNAME victim", "+OK");
    victim.send("CLIENT ID\r\n");
    let id = victim.line().trim_start_matches(':').to_owned();
    operator.call(&format!("CLIENT KILL ID {id}"), ":1");
    assert_eq!(victim.until_closed(), b"");
    operator.call(&format!("CLIENT KILL ID {id}"), ":0");

    let mut victim = running.connect();
    victim.call("MULTI", "+OK");
    let address = victim.0.local_addr().expect("it is connected");
    operator.call(&format!("CLIENT KILL {address}"), "+OK");
    assert_eq!(victim.until_closed(), b"");
    operator.call(&format!("CLIENT KILL {address}"), "-ERR No such client");

    // Who kills himself gets his answer first.
    operator.send("CLIENT ID\r\n");
    let own = operator.line().trim_start_matches(':').to_owned();
    operator.send(format!("CLIENT KILL ID {own} SKIPME no\r\nPING\r\n"));
    assert_eq!(operator.until_closed(), b":1\r\n");
    eventually("all are gone", || running.store.engine().clients.connected() == 0);
}

#[test]
fn who_is_logged_in_as_a_deleted_user_is_disconnected() {
    let running = Running::start(&[]);
    let (mut operator, mut alice, mut bob) = (running.connect(), running.connect(), running.connect());
    operator.call("ACL SETUSER alice on >secret +@all -@dangerous ~a*", "+OK");
    operator.call("ACL SETUSER bob on nopass +@all", "+OK");
    alice.call("AUTH alice wrong", "-WRONGPASS invalid username-password pair or user is disabled.");
    alice.call("AUTH alice secret", "+OK");
    bob.call("AUTH bob x", "+OK");
    alice.call("SET abc 1", "+OK");
    alice.call("GET other", "-NOPERM this user has no permissions to access one of the keys used as arguments");
    // Rights hold from the next command on.
    operator.call("ACL SETUSER alice -set", "+OK");
    alice.call("SET abc 1", "-NOPERM this user has no permissions to run the 'set' command");
    operator.call("ACL DELUSER alice", ":1");
    assert_eq!(alice.until_closed(), b"");
    // Who deletes himself gets his answer first.
    bob.send("ACL DELUSER bob\r\nPING\r\n");
    assert_eq!(bob.until_closed(), b":1\r\n");
    operator.call("PING", "+PONG");
}

#[test]
fn who_may_not_hear_a_channel_any_more_is_disconnected() {
    let running = Running::start(&[]);
    let mut operator = running.connect();
    operator.call("ACL SETUSER alice on nopass +@all &news &weather*", "+OK");
    let listen = |what: &str| {
        let mut client = running.connect();
        client.call("AUTH alice x", "+OK");
        client.call(what, "*3");
        client
    };
    // Who has just been cut may still be counted.
    let publish = |operator: &mut Raw, line: &str| {
        operator.send(format!("{line}\r\n"));
        assert!(operator.line().starts_with(':'));
    };
    let rows =
        ["SUBSCRIBE news", "PSUBSCRIBE weather*", "SSUBSCRIBE weather:1", "SUBSCRIBE weather:2", "SSUBSCRIBE news"];
    let [news, pattern, shard, mut weather, shard_news] = rows.map(listen);
    // What was not lost stays: a right of a selector is as good, and others are not meant.
    operator.call("ACL SETUSER bob on nopass +@all resetchannels", "+OK");
    operator.call("ACL SETUSER alice resetchannels &weather:2 (&weather:* +@all)", "+OK");
    for mut lost in [news, pattern, shard_news] {
        let rest = lost.until_closed();
        assert!(!rest.windows(7).any(|window| window == b"message"));
    }
    publish(&mut operator, "PUBLISH weather:2 rain");
    publish(&mut operator, "SPUBLISH weather:1 rain");
    operator.call("ACL SETUSER alice clearselectors", "+OK");
    let mut shard = shard;
    assert!(shard.until_closed().windows(4).any(|window| window == b"rain"));
    publish(&mut operator, "PUBLISH weather:2 sun");
    operator.call("ACL DELUSER alice", ":1");
    operator.call("CLIENT KILL TYPE pubsub", ":0");
    let heard = weather.until_closed();
    assert!(heard.windows(4).any(|window| window == b"rain") && heard.windows(3).any(|window| window == b"sun"));
    // Of itself a client takes the right after the answer.
    let mut own = running.connect();
    own.call("HELLO 3", "%7");
    own.send("SUBSCRIBE x\r\nACL SETUSER default resetchannels\r\nPING\r\n");
    let end = own.until_closed();
    assert!(end.ends_with(b"+OK\r\n"), "{}", String::from_utf8_lossy(&end));
}

#[test]
fn a_pause_of_writes_holds_back_writes_only() {
    let running = Running::start(&[]);
    let (mut operator, mut writer, mut reader) = (running.connect(), running.connect(), running.connect());
    operator.call("CLIENT PAUSE 60000 WRITE", "+OK");
    writer.send("SET key value\r\n");
    assert!(writer.is_silent_for(A_WHILE));
    reader.call("EXISTS key", ":0");
    operator.call("CLIENT UNPAUSE", "+OK");
    writer.expect("+OK\r\n");
    reader.call("EXISTS key", ":1");
}

#[test]
fn a_pause_of_writes_lets_scripts_pass_that_only_read() {
    let running = Running::start(&[]);
    let (mut operator, mut reader, mut writer) = (running.connect(), running.connect(), running.connect());
    let library = r##"FUNCTION LOAD "#!lua name=l\nredis.register_function{function_name='look',callback=function() return 5 end,flags={'no-writes'}}""##;
    operator.send(format!("{library}\r\n"));
    operator.expect("$1\r\nl\r\n");
    operator.send("SCRIPT LOAD \"#!lua flags=no-writes\\nreturn 2\"\r\n");
    let sha = (operator.line(), operator.line()).1;
    operator.call("CLIENT PAUSE 60000 WRITE", "+OK");
    reader.call(r##"EVAL "#!lua flags=no-writes\nreturn 1" 0"##, ":1");
    reader.call(&format!("EVALSHA {} 0", sha.trim()), ":2");
    reader.call("EVAL_RO \"return 3\" 0", ":3");
    reader.call("FCALL look 0", ":5");
    reader.call("MULTI", "+OK");
    reader.call(r##"EVAL "#!lua flags=no-writes\nreturn 12" 0"##, "+QUEUED");
    reader.send("EXEC\r\n");
    reader.expect("*1\r\n:12\r\n");
    for held in [r##"EVAL "return 1" 0"##, r##"EVAL "#!lua\nreturn 1" 0"##, "EVALSHA nothing 0", "FCALL nothing 0"] {
        writer.send(format!("{held}\r\n"));
    }
    assert!(writer.is_silent_for(A_WHILE));
    operator.call("CLIENT UNPAUSE", "+OK");
    writer.expect(":1\r\n:1\r\n-NOSCRIPT No matching script. Please use EVAL.\r\n-ERR Function not found\r\n");
}

#[test]
fn nothing_is_removed_during_a_pause() {
    let running = Running::start(&[]);
    let (mut operator, mut reader) = (running.connect(), running.connect());
    operator.send("MULTI\r\nSET soon 1 PX 1\r\nHSET due f v\r\nPEXPIRE due 1\r\nHSET half a 1 b 2\r\nHPEXPIRE half 1 FIELDS 1 a\r\nCLIENT PAUSE 60000 WRITE\r\nEXEC\r\n");
    operator.expect(format!("+OK\r\n{}*6\r\n+OK\r\n:1\r\n:1\r\n:2\r\n*1\r\n:1\r\n+OK\r\n", "+QUEUED\r\n".repeat(6)));
    eventually("both are gone to the eye", || {
        reader.send("EXISTS soon due\r\n");
        reader.line().trim() == ":0"
    });
    eventually("a field is gone to the eye", || {
        reader.send("HEXISTS half a\r\n");
        reader.line().trim() == ":0"
    });
    // Drawing among the fields removes none, as the length tells, which counts what is still there.
    for (line, drawn) in [
        ("HRANDFIELD half", "$1\r\nb"),
        ("HRANDFIELD half -2", "*2\r\n$1\r\nb\r\n$1\r\nb"),
        ("HRANDFIELD half 5", "*1\r\n$1\r\nb"),
    ] {
        reader.call(line, drawn);
    }
    reader.call("HRANDFIELD due", "$-1");
    reader.call("HLEN half", ":2");
    reader.call("GET soon", "$-1");
    reader.call("HGET due f", "$-1");
    reader.call("HGETALL due", "*0");
    reader.call("TTL soon", ":-2");
    reader.call("DBSIZE", ":3");
    operator.call("CLIENT UNPAUSE", "+OK");
    reader.call("GET soon", "$-1");
    reader.call("HGET due f", "$-1");
    reader.call("HRANDFIELD half", "$1\r\nb");
    reader.call("HLEN half", ":1");
    reader.call("DBSIZE", ":1");
}

#[test]
fn a_pause_of_all_ends_by_itself_and_loses_nothing() {
    let running = Running::start(&[]);
    let (mut operator, mut client) = (running.connect(), running.connect());
    let paused = Instant::now();
    operator.call("CLIENT PAUSE 300 ALL", "+OK");
    client.send("INCR counter\r\nINCR counter\r\nGET counter\r\n");
    client.expect(":1\r\n:2\r\n$1\r\n2\r\n");
    let waited = paused.elapsed();
    assert!(waited >= Duration::from_millis(290), "{waited:?}");
}

#[test]
fn a_paused_client_can_be_killed_and_can_leave() {
    let running = Running::start(&[]);
    let (mut operator, mut victim, mut leaver) = (running.connect(), running.connect(), running.connect());
    victim.send("CLIENT ID\r\n");
    let id = victim.line().trim_start_matches(':').to_owned();
    operator.call("CLIENT PAUSE 60000 WRITE", "+OK");
    victim.send("SET victim was-here\r\n");
    leaver.send("SET leaver was-here\r\n");
    assert!(victim.is_silent_for(A_WHILE));
    operator.call(&format!("CLIENT KILL ID {id}"), ":1");
    assert_eq!(victim.until_closed(), b"");
    operator.call("CLIENT UNPAUSE", "+OK");
    leaver.expect("+OK\r\n");
    operator.call("EXISTS victim leaver", ":1");
}

#[test]
fn no_more_clients_than_allowed_however_fast_they_come() {
    let running = Running::start_with(2, &[("maxclients", "5")]);
    let mut clients: Vec<_> = (0..20).map(|_| running.connect()).collect();
    let refused = clients.split_off(5);
    for mut client in refused {
        assert_eq!(client.line(), "-ERR max number of clients reached");
    }
    clients.iter_mut().for_each(|client| client.call("PING", "+PONG"));
}

#[test]
fn no_more_clients_than_allowed() {
    let running = Running::start(&[("maxclients", "3")]);
    let mut clients: Vec<_> = (0..3).map(|_| running.connect()).collect();
    clients.iter_mut().for_each(|client| client.call("PING", "+PONG"));
    let refused = running.connect().until_closed();
    assert_eq!(String::from_utf8_lossy(&refused), "-ERR max number of clients reached\r\n");
    clients.iter_mut().for_each(|client| client.call("PING", "+PONG"));
    drop(clients.pop());
    eventually("one place is free", || running.connect().is_silent_for(Duration::from_millis(50)));
    clients[0].call("CONFIG SET maxclients 100", "+OK");
    let mut more: Vec<_> = (0..10).map(|_| running.connect()).collect();
    more.iter_mut().for_each(|client| client.call("PING", "+PONG"));
}

#[test]
fn who_is_idle_too_long_is_closed() {
    let running = Running::start(&[("timeout", "1")]);
    let mut idle = running.connect();
    idle.call("PING", "+PONG");
    let since = Instant::now();
    assert_eq!(idle.until_closed(), b"");
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    running.connect().call("PING", "+PONG");
}

#[test]
fn quitting_answers_first_and_reset_starts_over() {
    let running = Running::start(&[]);
    let mut client = running.connect();
    client.send("SET a 1\r\nQUIT\r\nSET a 2\r\n");
    assert_eq!(client.until_closed(), b"+OK\r\n+OK\r\n");
    let mut client = running.connect();
    client.call("GET a", "$1\r\n1");
    client.send("MULTI\r\nSET a 3\r\nRESET\r\nGET a\r\n");
    client.expect("+OK\r\n+QUEUED\r\n+RESET\r\n$1\r\n1\r\n");
}

#[test]
fn a_stopping_server_finishes_what_it_has_and_leaves() {
    let running = Running::start(&[]);
    let (mut client, mut idle) = (running.connect(), running.connect());
    idle.call("PING", "+PONG");
    client.call("SET key value", "+OK");
    let started = Instant::now();
    let Running { store, server } = running;
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(5), "stopping took {:?}", started.elapsed());
    assert_eq!((client.until_closed(), idle.until_closed()), (Vec::new(), Vec::new()));
    assert_eq!(store.get("key").expect("a string").as_deref(), Some(&b"value"[..]));
    assert_eq!(store.engine().clients.connected(), 0);
}
