//! A script that does not end: what other clients are told, and how it is ended.

use crate::support::{Raw, Running, eventually};
use redpoll_resp::encode_command;
use redpoll_store::commands::blocking::blocked_clients;
use redpoll_store::commands::settings::{SETTINGS, Setting, SettingValue};

const BUSY_SCRIPT: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str = "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
const ENDLESS: &str = "while true do end";

fn send(client: &mut Raw, args: &[&str]) {
    let mut request = Vec::new();
    encode_command(args, &mut request);
    client.send(request);
}

fn ask(client: &mut Raw, args: &[&str]) -> String {
    send(client, args);
    client.line()
}

fn server(threshold_ms: &str) -> Running {
    Running::start(&[("busy-reply-threshold", threshold_ms)])
}

fn two_clients(running: &Running) -> (Raw, Raw) {
    (running.connect(), running.connect())
}

#[test]
fn who_waits_is_sent_away_and_may_kill() {
    let running = server("20");
    let (mut busy, mut other) = two_clients(&running);
    send(&mut busy, &["EVAL", ENDLESS, "0"]);
    // Waits for the script, until that has run too long.
    eventually("the script runs", || ask(&mut other, &["GET", "x"]) == BUSY_SCRIPT);
    for refused in [
        &["PING"][..],
        &["EVAL", "return 1", "0"],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["FUNCTION", "KILL"],
        &["FUNCTION", "STATS"],
        &["SCRIPT", "EXISTS", "x"],
    ] {
        assert_eq!(ask(&mut other, refused), BUSY_SCRIPT, "{refused:?}");
    }
    assert_eq!(ask(&mut other, &["MULTI"]), "+OK");
    assert_eq!(ask(&mut other, &["SET", "x", "1"]), BUSY_SCRIPT);
    assert!(ask(&mut other, &["EXEC"]).starts_with("-EXECABORT Transaction discarded because of: BUSY "));
    assert_eq!(ask(&mut other, &["SCRIPT", "KILL"]), "+OK");
    assert!(busy.line().starts_with("-ERR Script killed by user with SCRIPT KILL... script: "));
    assert_eq!(ask(&mut busy, &["GET", "x"]), "$-1");
    assert_eq!(ask(&mut other, &["SCRIPT", "KILL"]), "-NOTBUSY No scripts in execution right now.");
}

#[test]
fn who_shares_the_only_worker_is_answered_too() {
    let running = Running::start_with(1, &[("busy-reply-threshold", "20")]);
    let (mut busy, mut other, mut third) = (running.connect(), running.connect(), running.connect());
    let mut waiting = running.connect();
    send(&mut waiting, &["BLPOP", "list", "0"]);
    eventually("it waits", || blocked_clients(running.store.engine()) == 1);
    // Again and again: each time another thread stands in.
    for round in 0..5 {
        send(&mut busy, &["EVAL", ENDLESS, "0"]);
        // Half a request, which is whole when the script runs.
        third.send("*2\r\n$3\r\nGE");
        eventually("the script runs", || ask(&mut other, &["PING"]) == BUSY_SCRIPT);
        third.send("T\r\n$1\r\nx\r\n");
        assert_eq!(third.line(), BUSY_SCRIPT);
        assert_eq!(ask(&mut running.connect(), &["EVAL", "return 1", "0"]), BUSY_SCRIPT);
        let killer = if round % 2 == 0 { &mut other } else { &mut third };
        assert_eq!(ask(killer, &["SCRIPT", "KILL"]), "+OK");
        assert!(busy.line().starts_with("-ERR Script killed by user with SCRIPT KILL... script: "));
        for client in [&mut busy, &mut other, &mut third] {
            assert_eq!(ask(client, &["EVAL", "return redis.call('INCR', 'n')", "0"])[..1], *":");
        }
    }
    assert_eq!(ask(&mut other, &["RPUSH", "list", "a"]), ":1");
    waiting.expect("*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
    assert_eq!(ask(&mut third, &["GET", "n"]), "$2");
    third.expect("15\r\n");
}

#[test]
fn a_transaction_with_a_script_keeps_nobody_waiting_either() {
    let running = Running::start_with(1, &[("busy-reply-threshold", "20")]);
    let (mut busy, mut other) = two_clients(&running);
    busy.send(format!("MULTI\r\nEVAL \"{ENDLESS}\" 0\r\n"));
    busy.expect("+OK\r\n+QUEUED\r\n");
    busy.send("EXEC\r\nPING\r\n");
    eventually("the script runs", || ask(&mut other, &["PING"]) == BUSY_SCRIPT);
    assert_eq!(ask(&mut other, &["SCRIPT", "KILL"]), "+OK");
    assert_eq!(busy.line(), "*1");
    assert!(busy.line().starts_with("-ERR Script killed by user with SCRIPT KILL... script: "));
    assert_eq!(busy.line(), "+PONG");
}

#[test]
fn a_pipeline_with_scripts_is_answered_in_its_order() {
    let running = Running::start_with(1, &[]);
    let mut client = running.connect();
    let round = "SET a 1\r\nEVAL \"return redis.call('INCR', 'a')\" 0\r\nGET a\r\nEVAL \"return 'x'\" 0\r\nMULTI\r\nEVAL \"return 1\" 0\r\nEXEC\r\n";
    client.send(round.repeat(100));
    let replies = "+OK\r\n:2\r\n$1\r\n2\r\n$1\r\nx\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n";
    client.expect(replies.repeat(100));
}

#[test]
fn a_function_tells_what_it_does() {
    let running = server("20");
    let (mut busy, mut other) = two_clients(&running);
    let library = format!("#!lua name=l\nredis.register_function('loop', function() {ENDLESS} end)");
    send(&mut busy, &["FUNCTION", "LOAD", &library]);
    busy.expect("$1\r\nl\r\n");
    send(&mut busy, &["FCALL", "loop", "0", "argument"]);
    eventually("the function runs", || ask(&mut other, &["GET", "x"]) == BUSY_FUNCTION);
    assert_eq!(ask(&mut other, &["SCRIPT", "KILL"]), BUSY_FUNCTION);
    send(&mut other, &["FUNCTION", "STATS"]);
    other.expect("*4\r\n$14\r\nrunning_script\r\n*6\r\n$4\r\nname\r\n$4\r\nloop\r\n$7\r\ncommand\r\n");
    other.expect("*4\r\n$5\r\nFCALL\r\n$4\r\nloop\r\n$1\r\n0\r\n$8\r\nargument\r\n$11\r\nduration_ms\r\n:");
    other.line();
    other.expect(
        "$7\r\nengines\r\n*2\r\n$3\r\nLUA\r\n*4\r\n$15\r\nlibraries_count\r\n:1\r\n$15\r\nfunctions_count\r\n:1\r\n",
    );
    assert_eq!(ask(&mut other, &["FUNCTION", "KILL"]), "+OK");
    assert!(busy.line().ends_with("script: loop, on @user_function:2."));
}

#[test]
fn what_has_written_cannot_be_killed_but_by_the_setting_for_that() {
    let running = server("20");
    let (mut busy, mut other) = two_clients(&running);
    send(&mut busy, &["EVAL", "redis.call('SET', KEYS[1], '1') while true do end", "1", "half"]);
    eventually("the script runs", || ask(&mut other, &["GET", "x"]) == BUSY_SCRIPT);
    assert!(ask(&mut other, &["SCRIPT", "KILL"]).starts_with("-UNKILLABLE Sorry the script already executed write"));
    let limit = &SETTINGS[Setting::ScriptTimeLimit as usize];
    running.store.engine().settings.put(limit, SettingValue::Number(1));
    assert!(busy.line().starts_with("-ERR Script stopped after "));
    assert_eq!(ask(&mut other, &["GET", "half"]), "$1");
}

#[test]
fn who_connects_meanwhile_is_served() {
    let running = server("20");
    let mut busy: Vec<Raw> = (0..2).map(|_| running.connect()).collect();
    // One of the two runs the script, the other waits for it until it is declared busy.
    busy.iter_mut().for_each(|client| send(client, &["EVAL", ENDLESS, "0"]));
    eventually("the script is declared busy", || running.store.engine().turn.busy().is_some());
    let mut newcomer = running.connect();
    assert_eq!(ask(&mut newcomer, &["GET", "x"]), BUSY_SCRIPT);
    eventually("both scripts are ended", || {
        let mut operator = running.connect();
        ask(&mut operator, &["SCRIPT", "KILL"]);
        running.store.engine().turn.busy().is_none() && ask(&mut newcomer, &["GET", "x"]) == "$-1"
    });
    for client in &mut busy {
        let line = client.line();
        assert!(line.starts_with("-ERR Script killed by user") || line == BUSY_SCRIPT, "{line}");
    }
}
