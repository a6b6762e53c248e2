//! A script that does not end: what other clients are told, and how it is ended.

mod support;

use redpoll_resp::encode_command;
use redpoll_store::commands::settings::{SETTINGS, Setting, SettingValue};
use support::{Raw, Running, eventually};

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

/// Connects clients until one is served by another thread than the first.
fn two_workers(running: &Running) -> (Raw, Raw) {
    (running.connect(), running.connect())
}

#[test]
fn who_waits_is_sent_away_and_may_kill() {
    let running = server("20");
    let (mut busy, mut other) = two_workers(&running);
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
fn a_function_tells_what_it_does() {
    let running = server("20");
    let (mut busy, mut other) = two_workers(&running);
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
    let (mut busy, mut other) = two_workers(&running);
    send(&mut busy, &["EVAL", "redis.call('SET', KEYS[1], '1') while true do end", "1", "half"]);
    eventually("the script runs", || ask(&mut other, &["GET", "x"]) == BUSY_SCRIPT);
    assert!(ask(&mut other, &["SCRIPT", "KILL"]).starts_with("-UNKILLABLE Sorry the script already executed write"));
    let limit = &SETTINGS[Setting::ScriptTimeLimit as usize];
    running.store.engine().settings.put(limit, SettingValue::Number(1));
    assert!(busy.line().starts_with("-ERR Script stopped after "));
    assert_eq!(ask(&mut other, &["GET", "half"]), "$1");
}

#[test]
fn who_connects_meanwhile_is_served_by_a_thread_of_its_own() {
    let running = server("20");
    let mut busy: Vec<Raw> = (0..2).map(|_| running.connect()).collect();
    // One of the two runs the script, the other waits for it until it is declared busy; no worker is known to be free before that.
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
